"""A design from TOML; what is wrong with it is told with file, place and what to do."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from aftercar.errors import InputError, OptionError, nearest
from aftercar.grade.options import Options
from aftercar.grade.run import scales_named
from aftercar.timeline.concepts import concepts
from aftercar.trial.design import (
    Accrual,
    Arm,
    Comparison,
    Component,
    Criterion,
    Design,
    Endpoint,
    Null,
    Population,
    Randomisation,
    Stop,
    Stopping,
    Stratum,
    ratio,
)


def read_design(path: Path | str) -> Design:
    """Read a design.

    Raises:
        InputError: the file is not there, is not TOML, or says something that cannot be: where, and what to do.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as a text file.") from error
    return design_of(text, file.name, file.parent)


def design_of(text: str, name: str = "design.toml", folder: Path = Path()) -> Design:
    """A design from its text.

    Args:
        name: what messages call it.
        folder: where a model that it names begins.
    Raises:
        InputError: as `read_design`.
    """
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name} is not TOML: {error}.") from error
    try:
        design = _design(told, text, folder)
        _check(design)
    except _Wrong as wrong:
        raise InputError(f"{name}, {str(wrong).strip()} docs/trial.md lists every key.") from None
    return design


# ---- reading


class _Wrong(Exception):
    """Where, and what to do."""


_TABLES = ("population", "arm", "endpoint", "test", "randomisation", "eligibility", "stopping", "accrual", "null")
_T = TypeVar("_T")


def _design(told: dict[str, Any], text: str, folder: Path) -> Design:
    _only(told, ("title", *_TABLES), "the file")
    for name in ("population", "arm", "endpoint", "test"):
        if name not in told:
            raise _Wrong(f"[{name}]: is missing.")
    spread = _table(told.get("randomisation", {}), "randomisation")
    strata = _several(Stratum, spread.get("stratum", []), "randomisation.stratum")
    endpoint = _table(told["endpoint"], "endpoint")
    stopping = _table(told.get("stopping", {}), "stopping")
    return Design(
        title=_field(str, told.get("title", "A trial without a title"), "title"),
        population=_read(Population, told["population"], "population"),
        arms=_several(Arm, told["arm"], "arm"),
        endpoint=_read(Endpoint, _without_day(endpoint), "endpoint", any_of=_components(endpoint, "endpoint")),
        test=_read(Comparison, told["test"], "test"),
        randomisation=_read(Randomisation, spread, "randomisation", stratum=strata),
        eligibility=_several(Criterion, told.get("eligibility", []), "eligibility"),
        stopping=_read(
            Stopping, _without_day(stopping), "stopping", any_of=_components(stopping, "stopping"),
            at=_several(Stop, stopping.get("at", []), "stopping.at"),
        ) if "stopping" in told else None,
        accrual=_read(Accrual, told["accrual"], "accrual") if "accrual" in told else None,
        null=_read(Null, told.get("null", {}), "null"),
        text=text,
        beside=folder,
    )  # fmt: skip


def _components(told: dict[str, Any], where: str) -> tuple[Component, ...]:
    """The parts of an endpoint; one that names no day has that of the whole."""
    where = f"{where}.any_of"
    whole = {k: told[k] for k in ("by_day",) if k in told}
    return _several(Component, [whole | _table(part, where) for part in _list(told.get("any_of", []), where)], where)


def _without_day(told: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in told.items() if k != "by_day"}


def _read(kind: type[_T], told: Any, where: str, **ready: Any) -> _T:
    """A table as a dataclass; `ready` are fields that were read already."""
    told = _table(told, where)
    hints = get_type_hints(kind)
    _only(told, tuple(hints), where)
    values = dict(ready)
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name in told and one.name not in ready:
            values[one.name] = _field(hints[one.name], told[one.name], f"{where}.{one.name}")
        elif one.name not in ready and one.default is MISSING and one.default_factory is MISSING:
            raise _Wrong(f"{where}.{one.name}: is missing.")
    return kind(**values)


def _field(hint: Any, value: Any, where: str) -> Any:
    words = [
        w
        for h in (get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,))
        if get_origin(h) is Literal
        for w in get_args(h)
    ]
    if words and value not in words:
        raise _Wrong(f"{where}: {value!r} is none of {', '.join(words)}.")
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        text = re.sub(r" - at `\$(.*)`", r" (at \1)", str(error)).replace("`", "").replace("Expected", "must be")
        raise _Wrong(f"{where}: {text}.") from None


def _several(kind: type[_T], told: Any, where: str) -> tuple[_T, ...]:
    rows = _list(told, where)
    return tuple(_read(kind, row, f"{where} {n}") for n, row in enumerate(rows, 1))


def _list(told: Any, where: str) -> list[Any]:
    if not isinstance(told, list):
        raise _Wrong(f"{where}: must be a list of tables, each begun by [[{where}]].")
    return told


def _table(told: Any, where: str) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise _Wrong(f"{where}: must be a table.")
    return told


def _only(told: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in told:
        if key not in known:
            raise _Wrong(f"{where}: {key!r} is not known. {nearest(key, known) or 'Known: ' + ', '.join(known) + '.'}")


# ---- what cannot be


def _check(design: Design) -> None:
    _arms(design)
    _endpoint(design.endpoint)
    _parts(design.stopping.any_of if design.stopping else (), "stopping")
    _baseline(design)
    _randomisation(design)
    _test(design)
    if design.stopping is not None:
        _stopping(design, design.stopping)
    if design.accrual is not None:
        _need(0 < design.accrual.per_week < math.inf, "accrual.per_week: must be above 0.")


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _Wrong(otherwise)


def _share(value: float | None, where: str) -> None:
    _need(value is not None, f"{where}: is missing.")
    _need(value is None or 0 < value < 1, f"{where}: must be between 0 and 1.")


def _arms(design: Design) -> None:
    names = [arm.name for arm in design.arms]
    _need(bool(names), "arm: a trial has one arm at least: [[arm]].")
    for n, arm in enumerate(design.arms, 1):
        # Columns of the tables are called by it.
        _need(
            re.fullmatch(r"[A-Za-z]\w*", arm.name) is not None,
            f"arm {n}.name: {arm.name!r}: letters, digits and _, a letter first.",
        )
        _need(arm.name not in names[: n - 1], f"arm {n}.name: {arm.name!r} is there already.")
        _need(arm.n > 0, f"arm {n}.n: must be above 0.")


def _endpoint(endpoint: Endpoint) -> None:
    _need(bool(endpoint.any_of), 'endpoint.any_of: names no toxicity; write any_of = [{ scale = "crs", grade = 3 }].')
    _parts(endpoint.any_of, "endpoint")
    try:
        Options(endpoint.options)
    except OptionError as error:
        raise _Wrong(f"endpoint.options: {error}") from None


def _parts(parts: tuple[Component, ...], table: str) -> None:
    for n, part in enumerate(parts, 1):
        where = f"{table}.any_of {n}"
        try:
            found = {s.toxicity for s in scales_named([part.scale])}
        except OptionError as error:
            raise _Wrong(f"{where}.scale: {error}") from None
        _need(
            len(found) == 1,
            f"{where}.scale: {part.scale!r} names scales of several toxicities ({', '.join(sorted(found))}); name one.",
        )
        _need(1 <= part.grade <= 5, f"{where}.grade: must be 1 to 5.")
        _need(0 <= part.by_day <= 3650, f"{where}.by_day: must be 0 to 3650.")


def _baseline(design: Design) -> None:
    rows = [(f"eligibility {n}", c) for n, c in enumerate(design.eligibility, 1)]
    rows += [(f"randomisation.stratum {n}", s) for n, s in enumerate(design.randomisation.stratum, 1)]
    for where, row in rows:
        _need(
            (row.charted is None) != (row.patient is None),
            f"{where}: name either a value that is `charted`, or one of the `patient`.",
        )
        known = concepts()
        if row.charted is not None and row.charted not in known:
            raise _Wrong(f"{where}.charted: there is no concept {row.charted!r}. {nearest(row.charted, known)}")
        if isinstance(row, Criterion):
            _need(row.least <= row.most, f"{where}: `least` is above `most`.")
            _need(row.least > -math.inf or row.most < math.inf, f"{where}: give `least`, `most` or both.")
        else:
            _need(bool(row.cuts) and list(row.cuts) == sorted(set(row.cuts)), f"{where}.cuts: must be numbers that rise.")


def _randomisation(design: Design) -> None:
    told, least = design.randomisation, sum(ratio(design))
    if told.method == "simple":
        _need(not told.blocks and not told.stratum, 'randomisation: blocks and strata need method = "blocks".')
    for size in told.blocks:
        shown = ":".join(map(str, ratio(design)))
        _need(
            size > 0 and size % least == 0,
            f"randomisation.blocks: {size} does not hold the arms {shown}; take a multiple of {least}.",
        )
    _need(not told.stratum or bool(told.blocks), "randomisation.blocks: strata need the sizes of their blocks, such as [4, 6].")


def _test(design: Design) -> None:
    test, arms = design.test, len(design.arms)
    _share(test.alpha, "test.alpha")
    one = test.method == "exact_binomial"
    _need(
        one == (arms == 1),
        f"test.method: {test.method} is for {'one arm' if one else 'two arms or more'}, and there {'is 1' if arms == 1 else f'are {arms}'}.",
    )
    if one:
        _share(test.rate, "test.rate")
    _need(one or test.rate is None, "test.rate: is what one arm is held against; several arms are held against the first.")
    if test.method == "farrington_manning":
        _share(test.margin, "test.margin")
        _need(
            test.asked == "lower", "test.sides: non-inferiority asks whether the rate is lower than the control's and the margin."
        )
    _need(test.method == "farrington_manning" or test.margin is None, 'test.margin: is for method = "farrington_manning".')
    _need(arms < 3 or test.adjust is not None, 'test.adjust: several comparisons: say "bonferroni", or "none".')


def _stopping(design: Design, told: Stopping) -> None:
    names = [arm.name for arm in design.arms]
    for name in told.arms:
        _need(name in names, f"stopping.arms: there is no arm {name!r}. {nearest(name, names)}")
    _need(told.first > 0 and told.every > 0, "stopping: `first` and `every` count patients, from 1 on.")
    most = max(design.arms[k].n for k in design.monitored)
    _need(told.first <= most, f"stopping.first: the arm has {most} patients.")
    if told.method == "table":
        _need(bool(told.at), "stopping.at: is missing; write at = [{ events = 3, of = 6 }].")
        rows = [(s.of, s.events) for s in told.at]
        _need(
            rows == sorted(set(rows)) and all(0 < e <= n <= most for n, e in rows),
            f"stopping.at: `of` must rise, up to {most}, and `events` be 1 to `of`.",
        )
        _need(len({n for n, _ in rows}) == len(rows), "stopping.at: the same `of` stands there twice.")
        return
    _need(not told.at, 'stopping.at: is for method = "table".')
    _share(told.limit, "stopping.limit")
    if told.method == "bayes":
        _need(min(told.prior) > 0, "stopping.prior: must be two numbers above 0.")
        _need((told.certainty is None) != (told.chance is None), "stopping: `bayes` needs either `certainty` or `chance`.")
    _need(
        told.certainty is None or told.method == "bayes", 'stopping.certainty: is for method = "bayes"; the others take `chance`.'
    )
    if told.certainty is None:
        _share(told.chance, "stopping.chance")
    else:
        _share(told.certainty, "stopping.certainty")
