"""The evidence tables: CSV files beside this module, described by `schema.toml`, as plain rows or as frames."""

from __future__ import annotations

import csv
import io
import tomllib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec
import polars as pl

from aftercar.errors import OptionError, nearest

REFERENCES = "references"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `schema.toml` says of a table; its head says what each entry means."""

    file: str
    title: str
    key: tuple[str, ...]
    required: tuple[str, ...]
    columns: dict[str, str | tuple[str | int, ...]]
    name: str = ""
    command: str = ""
    marks: dict[str, tuple[str, ...]] | None = None
    shares: tuple[tuple[str, str, str], ...] = ()
    ranges: tuple[tuple[str, str, str], ...] = ()
    picks: dict[str, dict[str, str]] = {}
    product: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    toxicity: tuple[str, ...] = ()
    drug: tuple[str, ...] = ()

    def of_type(self, *kinds: str) -> list[str]:
        """The columns of some types."""
        return [column for column, kind in self.columns.items() if kind in kinds]

    def cites(self) -> list[str]:
        """The columns that name references."""
        return self.of_type(f"key of {REFERENCES}", f"keys of {REFERENCES}")


@cache
def _schema() -> dict[str, dict[str, object]]:
    return tomllib.loads(files("aftercar.evidence").joinpath("schema.toml").read_text(encoding="utf-8"))


@cache
def verified() -> dict[str, str]:
    """What may stand behind a number, in words.

    >>> verified()["memory"]
    'from memory'
    """
    return {mark: str(words) for mark, words in _schema()["marks"].items()}


@cache
def tables() -> dict[str, Table]:
    """All tables, by name.

    >>> tables()["toxicity_rates"].key
    ('trial_id', 'endpoint')
    """
    described = {name: {"name": name, **entry} for name, entry in _schema().items() if name != "marks"}
    return msgspec.convert(described, dict[str, Table])


def named(name: str) -> Table:
    """The table of that name, or of that command.

    Raises:
        OptionError: there is none.
    """
    for table in tables().values():
        if name in (table.name, table.command):
            return table
    raise OptionError(f"There is no evidence table {name!r}. {nearest(name, tables())}")


def folder() -> Traversable:
    """Where the files are."""
    return files("aftercar.evidence").joinpath("data")


@cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    """The rows of a table as they are written; quicker than a frame where a few words are asked.

    >>> rows("diagnoses")[0]["code"]
    'D89.839'
    """
    text = folder().joinpath(named(name).file).read_text(encoding="utf-8")
    return tuple(csv.DictReader(io.StringIO(text, newline="")))


def table(name: str) -> pl.DataFrame:
    """A table as a frame: numbers as numbers, blank cells null, lists as they are written (parts by `;`).

    Args:
        name: as in `schema.toml`, or as the command line calls it.
    Raises:
        OptionError: there is no such table.

    >>> table("rates").filter(trial_id="KarMMa", endpoint="crs_any")["lecture_pct", "recommended_pct"].row(0)
    (76.0, 84.0)
    """
    about = named(name)
    frame = pl.DataFrame(list(rows(about.name)), schema=dict.fromkeys(about.columns, pl.String))
    return typed(frame.with_columns(pl.all().replace("", None)), about)


_NUMBERS = {"count": pl.Int64, "year": pl.Int64, "number": pl.Float64, "percent": pl.Float64}


def typed(frame: pl.DataFrame, about: Table) -> pl.DataFrame:
    """The text of a table as the types of its columns."""
    whole = [column for column, kind in about.columns.items() if isinstance(kind[0], int)]
    numbers = {column: _NUMBERS[kind] for column, kind in about.columns.items() if isinstance(kind, str) and kind in _NUMBERS}
    return frame.cast({**numbers, **dict.fromkeys(whole, pl.Int64)})
