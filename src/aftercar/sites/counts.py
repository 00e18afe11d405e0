"""The file of one site: counts alone, `null` where a cell is hidden. `docs/federated.md` describes it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from aftercar.errors import InputError
from aftercar.files import write_text

Cell = int | None
Cells = dict[str, Cell]
Kind = Literal["aftercar site counts"]
KIND: Kind = "aftercar site counts"
SCHEMA: Literal[1] = 1
MOST_BYTES = 20_000_000

# Where the worst grade of a course lies, as far as it was charted, in the classes 0, 1-2 and 3-5.
CLASSES = ("0", "0-2", "0-5", "1-2", "1-5", "3-5", "not applicable")
# Of each least grade, the classes that surely reach it and those that surely do not; the others are undecided.
YES = {1: ("1-2", "1-5", "3-5"), 3: ("3-5",)}
NO = {1: ("0",), 3: ("0", "0-2", "1-2")}
BANDS = ((0, 2), (3, 6), (7, 13), (14, 29), (30, 99), (100, None))  # days since the infusion, both ends included
WHAT = ("events", "competing", "censored")


class Band(msgspec.Struct, forbid_unknown_fields=True):
    """What happened first within some days; `at_risk` had none of the three before."""

    first: int
    last: int | None
    at_risk: Cell
    events: Cell
    competing: Cell
    censored: Cell


class ScaleCounts(msgspec.Struct, forbid_unknown_fields=True):
    """The counts of one scale (a family: scales that take turns by age)."""

    toxicity: str
    rules: list[str]
    options: dict[str, str | float | int | bool]
    worst: Cells
    by: dict[str, dict[str, Cells]]
    onset: dict[str, list[Band]]


class Site(msgspec.Struct, forbid_unknown_fields=True):
    """All counts of a site.

    Attributes:
        cohort: a fingerprint by which the same cohort is known again; nothing can be read out of it.
        courses: first infusions, each of another subject.
        groups: `product` and `disease`, each with its groups and their sizes.
        check: of all the rest, so that a file that was damaged or edited is seen.
    """

    kind: Kind
    schema: Literal[1]
    aftercar: str
    site: str
    cohort: str
    simulated: bool
    min_cell: int
    courses: int
    groups: dict[str, dict[str, int]]
    scales: dict[str, ScaleCounts]
    check: str = ""


def write_site(site: Site, path: Path | str) -> None:
    """Write a site's file whole."""
    site.check = _check(site)
    text = msgspec.json.format(msgspec.json.encode(site), indent=1).decode()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text + "\n")


def read_site(path: Path | str) -> Site:
    """Read a site's file.

    Raises:
        InputError: it is not there, is no such file, or was damaged or edited.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: is too large for counts of a site.")
        site = msgspec.json.decode(path.read_bytes(), type=Site)
    except OSError as error:
        raise InputError(f"{path}: cannot be read.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        where = str(error).partition(" - at ")[2].strip("`") or "the file"
        raise InputError(f"{path}: is no file of `aftercar summarise`, or was cut off or edited ({where}).") from None
    if site.check != _check(site):
        raise InputError(
            f"{path}: was damaged or edited since `aftercar summarise` wrote it (its check does not fit). Ask the site for it again."
        )
    if wrong := _wrong(site):
        raise InputError(f"{path}: {wrong}. Ask the site for it again.")
    return site


def _check(site: Site) -> str:
    told = msgspec.to_builtins(site)
    del told["check"]
    return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()[:16]


def _wrong(site: Site) -> str:
    """What cannot be in counts, or nothing."""
    for name, scale in site.scales.items():
        tables = [(site.courses, scale.worst)]
        for by, groups in scale.by.items():
            if set(groups) != set(site.groups.get(by, {})):
                return f"the groups of {name} by {by} are not those of the site"
            tables += [(site.groups[by][group], cells) for group, cells in groups.items()]
        for n, cells in tables:
            if set(cells) != set(CLASSES) or not _fits(n, list(cells.values())):
                return f"the counts of {name} do not add up"
        for bands in scale.onset.values():
            if tuple((b.first, b.last) for b in bands) != BANDS or not _fits(
                site.courses, [c for b in bands for c in (b.events, b.competing, b.censored)]
            ):
                return f"the counts of {name} by day do not add up"
    return ""


def _fits(n: int, cells: list[Cell]) -> bool:
    known = [c for c in cells if c is not None]
    return all(c >= 0 for c in known) and (sum(known) == n if len(known) == len(cells) else sum(known) <= n)
