"""What a user wrote in a TOML, as dataclasses; what is wrong with it is told with file, place and what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from dataclasses import MISSING, fields
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from aftercar.errors import InputError, nearest


class Wrong(Exception):
    """Where, and what to do."""


_T = TypeVar("_T")


@contextlib.contextmanager
def reading(name: str, manual: str) -> Generator[None]:
    """Within, what is wrong with a file is an InputError.

    Args:
        name: what messages call the file.
        manual: the page that lists its keys.
    """
    try:
        yield
    except Wrong as wrong:
        raise InputError(f"{name}, {str(wrong).strip()} {manual} lists every key.") from None


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


def list_of(told: Any, where: str) -> list[Any]:
    """What must be a list."""
    if not isinstance(told, list):
        raise Wrong(f"{where}: must be a list.")
    return told


def words_of(told: Any, where: str) -> list[str]:
    """What must be a list of words."""
    words = list_of(told, where)
    need(all(isinstance(w, str) for w in words), f"{where}: must be a list of words in quotes.")
    return words


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
