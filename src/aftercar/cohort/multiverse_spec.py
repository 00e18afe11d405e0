"""What a multiverse asks: outcomes, scales and options, from the TOML of a user."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from aftercar.cohort.outcome import Outcome
from aftercar.files import read_text, toml_of
from aftercar.grade.options import OPTIONS, Options
from aftercar.grade.run import SCALES
from aftercar.grade.scale import Scale
from aftercar.options import Value, pairs
from aftercar.told import list_of, need, only, read_as, reading, table_of, words_of

ALL = "all"
KEYS = ("title", "outcomes", "scales", "options", "pairs", "values", "day", "limit", "groups")

Change = tuple[tuple[str, Value], ...]  # options that differ from the default, sorted by name


@dataclass(frozen=True)
class Groups:
    """Two groups whose difference is asked in each universe: the words of a column, or periods between `cuts`."""

    by: str
    group: str
    reference: str
    cuts: tuple[date, ...] = ()


@dataclass(frozen=True)
class Spec:
    """What is asked; `docs/compare.md` has every key.

    Attributes:
        outcomes: of each word, such as `crs:3`, the outcome on each scale of the toxicity, its default scale first.
        changes: sets of options that differ from the default, each asked of the scales that read all of them.
        day: the outcome by the end of this day; by default over the whole record.
        limit: a share that the conclusion is about: is it surely more, or surely less?
    """

    title: str
    outcomes: dict[str, tuple[Outcome, ...]]
    changes: tuple[Change, ...]
    day: int | None = None
    limit: float | None = None
    groups: Groups | None = None

    @property
    def scales(self) -> list[Scale]:
        wanted = {name for several in self.outcomes.values() for outcome in several for name in outcome.scales}
        return [s for s in SCALES.values() if s.name in wanted]


def read_spec(path: Path | str | None = None) -> Spec:
    """Read a spec; what it does not say is as in the one that comes with aftercar.

    Raises:
        InputError: it is not there, is not TOML, or a key does not exist or cannot be.
        OptionError: a scale, option or value that does not exist.
    """
    own = tomllib.loads(files("aftercar.cohort").joinpath("multiverse.toml").read_text(encoding="utf-8"))
    if path is None:
        return _spec(own)
    file = Path(path)
    told = toml_of(read_text(file), file.name)
    with reading(file.name, "docs/compare.md"):
        values = own["values"] | table_of(told.get("values", {}), "values")
        return _spec(own | {"title": file.stem} | told | {"values": values})


def _spec(told: dict[str, Any]) -> Spec:
    only(told, KEYS, "the file")
    limit, day = told.get("limit"), told.get("day")
    need(limit is None or (isinstance(limit, int | float) and 0 < limit < 1), "limit: must be a share between 0 and 1.")
    whole = isinstance(day, int) and not isinstance(day, bool) and day >= 0
    need(day is None or whole, "day: must be a whole number, 0 or more.")
    outcomes = {word: _on_each_scale(word, told.get("scales", ALL)) for word in words_of(told["outcomes"], "outcomes")}
    need(bool(outcomes) and all(outcomes.values()), "outcomes: with these scales nothing is left to be asked.")
    read = {o for several in outcomes.values() for outcome in several for s in outcome.scales for o in SCALES[s].options}
    single = _single(told["options"], told["values"], read)
    several = [_change(words_of(words, f"pairs {n}")) for n, words in enumerate(list_of(told["pairs"], "pairs"), 1)]
    groups = read_as(Groups, told["groups"], "groups") if "groups" in told else None
    return Spec(str(told["title"]), outcomes, tuple(dict.fromkeys([*single, *several])), day, limit, groups)


def _on_each_scale(word: str, scales: object) -> tuple[Outcome, ...]:
    """An outcome on each scale of its toxicity, where a toxicity is named; else on that scale."""
    told = Outcome.of(word)
    if word.partition(":")[0].strip().lower() in SCALES:
        return (told,)
    families = dict.fromkeys(s.family for s in SCALES.values() if s.toxicity == told.toxicity)
    if scales != ALL:
        wanted = {Outcome.of(w).family for w in words_of(scales, "scales")}
        families = {f: None for f in families if f in wanted}
    return tuple(replace(told, family=f) for f in families)


def _single(options: object, values: dict[str, Any], read: set[str]) -> list[Change]:
    """Each option changed by itself."""
    only(values, tuple(OPTIONS), "values")
    if options != ALL:
        return [_change([word]) for word in words_of(options, "options")]
    found = []
    for option in OPTIONS.values():
        if option.name in read:
            # A choice such as `day:n` is a pattern; `values` says which n.
            plain = [c for c in option.choices if ":n" not in str(c)]
            asked = [*plain, *list_of(values.get(option.name, []), f"values.{option.name}")]
            found += [((option.name, v),) for v in dict.fromkeys(option.parse(a) for a in asked) if v != option.default]
    return found


def _change(words: list[str]) -> Change:
    given = pairs(words)
    chosen = Options(given)
    return tuple(sorted((name, chosen[name]) for name in given))
