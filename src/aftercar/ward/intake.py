"""What people and programs hand in, read as every file is: by the readers, with units converted and impossible values refused."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.timeline.readers import Imported, read

COLUMNS = ("time", "code", "numeric_value", "text_value", "unit", "end_time")
ENTRY = "entry"  # where rows came from that were handed in one by one


def rows(entries: Iterable[Mapping[str, Any]], subject_id: int, source: str = ENTRY) -> Imported:
    """Entries of one patient as a timeline, and those that cannot be used: `row` counts them from 1.

    Args:
        entries: with keys of `COLUMNS`; `code` may be one of our concepts or a public code.
        source: where they came from, for the record.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["subject_id", *COLUMNS])
    for entry in entries:
        writer.writerow([subject_id, *("" if entry.get(c) is None else str(entry[c]) for c in COLUMNS)])
    return file(text.getvalue().encode(), "entries.csv", subject_id, source)


def file(content: bytes, name: str, subject_id: int, source: str) -> Imported:
    """A file of one patient, in any format that the readers know, as a timeline of that patient.

    Args:
        name: its ending says what it is.
    Raises:
        InputError: it is no such file, or is of several patients.
    """
    with tempfile.TemporaryDirectory(prefix="aftercar-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        found = read(path)
    own = found.timeline.filter(col("code") != "record_complete")
    placed = pl.concat_str(lit(f"{source}:"), col("source").str.split(":").list.slice(1).list.join(":"))
    return Imported(
        timeline=own.with_columns(subject_id=lit(subject_id, pl.Int64), source=placed), rejected=found.rejected, **_counts(found)
    )


def _counts(found: Imported) -> dict[str, Any]:
    return {k: v for k, v in vars(found).items() if k not in ("timeline", "rejected")}
