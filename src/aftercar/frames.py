"""Tables from disk and for it: Parquet files by their exact names, and results of virtual patients labelled as such.

Polars itself takes `[1]`, `?` and `*` in a name for a pattern, and reads what stands beside the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from aftercar.errors import InputError

# What reading a damaged Parquet file ends in.
DAMAGE = (pl.exceptions.ComputeError, pl.exceptions.PanicException)


def scan(path: Path) -> pl.LazyFrame:
    """A Parquet file, here or on an object store, to be read when it is asked for."""
    return pl.scan_parquet(str(path), glob=False)


def load(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """A Parquet file, or some of its columns."""
    return pl.read_parquet(str(path), glob=False, columns=columns)


@contextlib.contextmanager
def whole(path: Path, remedy: str) -> Generator[None]:
    """Within, a Parquet file that is gone or damaged is an InputError that names it and ends with the remedy.

    A file may be found damaged only when a frame that scans it is collected: that must be within, too.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there. {remedy}") from error
    except DAMAGE as error:
        raise InputError(f"{path} is damaged. {remedy}") from error


def require_columns(path: Path, found: Mapping[str, pl.DataType], wanted: Mapping[str, Any], remedy: str) -> None:
    """Refuse a table of other columns or types.

    Args:
        wanted: the columns that it must have, among others, with their types; None where any type will do. Of an enumeration the words may be others.
    Raises:
        InputError: a column is missing, or of another type.
    """
    for name, dtype in wanted.items():
        if name not in found:
            raise InputError(f"{path} has no column {name}: it is of another version of aftercar, or of something else. {remedy}")
        enums = isinstance(dtype, pl.Enum) and isinstance(found[name], pl.Enum)
        if dtype is not None and found[name] != dtype and not enums:
            raise InputError(f"{path}: its column {name} is {found[name]}, and should be {_said(dtype)}. {remedy}")


def _said(dtype: Any) -> str:
    return "an enumeration" if isinstance(dtype, pl.Enum) else str(dtype)


def labelled(table: pl.DataFrame, simulated: bool) -> pl.DataFrame:
    """A table as it is written: where its patients are virtual, `simulated` is true in every row; else there is no such column."""
    return table.with_columns(simulated=pl.lit(True)) if simulated else table
