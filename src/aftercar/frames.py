"""Tables from disk and for it: Parquet files by their exact names, and results of virtual patients labelled as such.

Polars itself takes `[1]`, `?` and `*` in a name for a pattern, and reads what stands beside the file.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl


def scan(path: Path) -> pl.LazyFrame:
    """A Parquet file, here or on an object store, to be read when it is asked for."""
    return pl.scan_parquet(str(path), glob=False)


def load(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """A Parquet file, or some of its columns."""
    return pl.read_parquet(str(path), glob=False, columns=columns)


def labelled(table: pl.DataFrame, simulated: bool) -> pl.DataFrame:
    """A table as it is written: where its patients are virtual, `simulated` is true in every row; else there is no such column."""
    return table.with_columns(simulated=pl.lit(True)) if simulated else table
