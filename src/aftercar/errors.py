"""Errors that a user may meet: what is wrong, where, and what to do. Never a patient's value. And the words that messages are made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AftercarError(Exception):
    """A problem that the user can mend. The command line prints it without a traceback."""


class InputError(AftercarError):
    """A file, folder or table that cannot be read as what it should be."""


class NotFound(InputError):
    """A patient, entry or result of a number that does not exist."""

    status = 404


class NotInstalled(AftercarError):
    """A library of an extra that is not there."""

    status = 501


class MappingError(AftercarError):
    """A mapping file that does not say what it must."""


class OptionError(AftercarError):
    """An option, scale or concept name or value that does not exist."""


class UnitError(AftercarError):
    """A unit that is unknown, or cannot be converted to the concept's own."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that ends an error message: the nearest known names, or all of them when few."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(known)}." if len(known) <= 20 else ""


def many(n: int, noun: str) -> str:
    """So many, in words.

    >>> many(1, "course"), many(1204, "course")
    ('1 course', '1,204 courses')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def place_of(error: BaseException) -> str:
    """Where in our code an error arose, module and line: of a foreign error this is told and not its text, which may quote a value."""
    place, trace = "?", error.__traceback__
    while trace:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if name.startswith("aftercar"):
            place = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
