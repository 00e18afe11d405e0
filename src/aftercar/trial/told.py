"""Tables of TOML as dataclasses; what is wrong with them is told with place and what to do."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from aftercar.errors import OptionError, nearest
from aftercar.grade.run import scales_named
from aftercar.trial.design import Component, Stopping


class Wrong(Exception):
    """Where, and what to do."""


_T = TypeVar("_T")


def components(told: dict[str, Any], where: str) -> tuple[Component, ...]:
    """The parts of an endpoint; one that names no day has that of the whole."""
    where = f"{where}.any_of"
    whole = {k: told[k] for k in ("by_day",) if k in told}
    return several(Component, [whole | table_of(part, where) for part in listed(told.get("any_of", []), where)], where)


def without_day(told: dict[str, Any]) -> dict[str, Any]:
    """An endpoint without the day that its parts have from it."""
    return {k: v for k, v in told.items() if k != "by_day"}


def read_as(kind: type[_T], told: Any, where: str, **ready: Any) -> _T:
    """A table as a dataclass; `ready` are fields that were read already."""
    told = table_of(told, where)
    hints = get_type_hints(kind)
    only(told, tuple(hints), where)
    values = dict(ready)
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name in told and one.name not in ready:
            values[one.name] = field_of(hints[one.name], told[one.name], f"{where}.{one.name}")
        elif one.name not in ready and one.default is MISSING and one.default_factory is MISSING:
            raise Wrong(f"{where}.{one.name}: is missing.")
    return kind(**values)


def field_of(hint: Any, value: Any, where: str) -> Any:
    """A value as its type asks."""
    words = [
        w
        for h in (get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,))
        if get_origin(h) is Literal
        for w in get_args(h)
    ]
    if words and value not in words:
        raise Wrong(f"{where}: {value!r} is none of {', '.join(words)}.")
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        text = re.sub(r" - at `\$(.*)`", r" (at \1)", str(error)).replace("`", "").replace("Expected", "must be")
        raise Wrong(f"{where}: {text}.") from None


def several(kind: type[_T], told: Any, where: str) -> tuple[_T, ...]:
    """A list of tables as dataclasses."""
    rows = listed(told, where)
    return tuple(read_as(kind, row, f"{where} {n}") for n, row in enumerate(rows, 1))


def listed(told: Any, where: str) -> list[Any]:
    """What must be a list of tables."""
    if not isinstance(told, list):
        raise Wrong(f"{where}: must be a list of tables, each begun by [[{where}]].")
    return told


def table_of(told: Any, where: str) -> dict[str, Any]:
    """What must be a table."""
    if not isinstance(told, dict):
        raise Wrong(f"{where}: must be a table.")
    return told


def only(told: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuse a key that is not known."""
    for key in told:
        if key not in known:
            raise Wrong(f"{where}: {key!r} is not known. {nearest(key, known) or 'Known: ' + ', '.join(known) + '.'}")


def need(holds: bool, otherwise: str) -> None:
    """Refuse what cannot be, in these words."""
    if not holds:
        raise Wrong(otherwise)


def share(value: float | None, where: str) -> None:
    """Refuse what is no share between 0 and 1."""
    need(value is not None, f"{where}: is missing.")
    need(value is None or 0 < value < 1, f"{where}: must be between 0 and 1.")


def check_parts(parts: tuple[Component, ...], table: str) -> None:
    """Refuse parts of an endpoint that no scale, grade or day can be."""
    for n, part in enumerate(parts, 1):
        where = f"{table}.any_of {n}"
        try:
            found = {s.toxicity for s in scales_named([part.scale])}
        except OptionError as error:
            raise Wrong(f"{where}.scale: {error}") from None
        need(
            len(found) == 1,
            f"{where}.scale: {part.scale!r} names scales of several toxicities ({', '.join(sorted(found))}); name one.",
        )
        need(1 <= part.grade <= 5, f"{where}.grade: must be 1 to 5.")
        need(0 <= part.by_day <= 3650, f"{where}.by_day: must be 0 to 3650.")


def check_stopping(told: Stopping, most: int) -> None:
    """Refuse a rule that an arm of `most` patients cannot have."""
    need(told.first > 0 and told.every > 0, "stopping: `first` and `every` count patients, from 1 on.")
    need(told.first <= most, f"stopping.first: the arm has {most} patients.")
    if told.method == "table":
        need(bool(told.at), "stopping.at: is missing; write at = [{ events = 3, of = 6 }].")
        rows = [(s.of, s.events) for s in told.at]
        need(
            rows == sorted(set(rows)) and all(0 < e <= n <= most for n, e in rows),
            f"stopping.at: `of` must rise, up to {most}, and `events` be 1 to `of`.",
        )
        need(len({n for n, _ in rows}) == len(rows), "stopping.at: the same `of` stands there twice.")
        return
    need(not told.at, 'stopping.at: is for method = "table".')
    share(told.limit, "stopping.limit")
    if told.method == "bayes":
        need(min(told.prior) > 0, "stopping.prior: must be two numbers above 0.")
        need((told.certainty is None) != (told.chance is None), "stopping: `bayes` needs either `certainty` or `chance`.")
    need(
        told.certainty is None or told.method == "bayes", 'stopping.certainty: is for method = "bayes"; the others take `chance`.'
    )
    if told.certainty is None:
        share(told.chance, "stopping.chance")
    else:
        share(told.certainty, "stopping.certainty")
