"""What people and programs hand in, read as every file is: by the readers, with units converted and impossible values refused."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.errors import InputError
from aftercar.timeline.concepts import concepts
from aftercar.timeline.readers import Imported, Intake, open_pieces
from aftercar.timeline.readers.mapping import Mappings, Target, read_mapping
from aftercar.timeline.readers.normalise import DATE_ONLY, REFUSED

COLUMNS = ("time", "code", "numeric_value", "text_value", "unit", "end_time")
CLOCKS_DIFFER = timedelta(minutes=10)  # so far ahead of our clock a time may lie that a program hands in
_ROW = col("source").str.split(":").list.get(1, null_on_oob=True).cast(pl.Int64, strict=False)  # the row in what was handed in
ENTRY = "entry"  # where rows came from that were handed in one by one
SYSTEM = "urn:aftercar:concept"  # the code system of our concepts in FHIR, for what has no public code


def mappings(path: Path | None = None, zone: str | None = None) -> Mappings:
    """How records are read: a mapping file of the hospital, our own concepts as a code system, and times brought to the zone of the ward.

    Raises:
        MappingError: the file is wrong.
    """
    told = read_mapping(path)
    ours = {f"{SYSTEM}//{name}": Target(name) for name in concepts() if name != "record_complete"}  # the record says that itself
    return replace(told, parts=tuple(replace(p, zone=p.zone or zone, codes=ours | p.codes) for p in told.parts))


def rows(entries: Iterable[Mapping[str, Any]], subject_id: int, source: str = ENTRY, told: Mappings | None = None) -> Imported:
    """Entries of one patient as a timeline, and those that cannot be used: `row` counts them from 1.

    Args:
        entries: with keys of `COLUMNS`; `code` may be one of our concepts or a public code. A text of several lines becomes one of one line.
        source: where they came from, for the record.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["subject_id", *COLUMNS])
    for entry in entries:
        writer.writerow([subject_id, *("" if entry.get(c) is None else " ".join(str(entry[c]).splitlines()) for c in COLUMNS)])
    return file(text.getvalue().encode(), "entries.csv", subject_id, source, told)


def file(
    content: bytes, name: str, subject_id: int, source: str, told: Mappings | None = None, known_as: str | None = None
) -> Imported:
    """A file of one patient, in any format that the readers know, as a timeline of that patient.

    Args:
        name: its ending says what it is.
        told: how it is read.
        known_as: who the patient is in the file, where that is known.
    Raises:
        InputError: it is no such file, or is of several patients or of another one.
    """
    told = told or mappings()
    with tempfile.TemporaryDirectory(prefix="aftercar-") as folder:
        path, room = Path(folder) / name, Path(folder) / "room"
        room.mkdir()
        path.write_bytes(content)
        intake = Intake(told)
        intake.take(open_pieces(path, told, room))
        timeline = pl.concat(list(intake.timeline()))
        found = Imported(timeline=timeline, rejected=intake.rejected().collect(), **vars(intake.counts()))
    subjects = timeline["subject_id"].cast(pl.String).unique()
    if subjects.len() > 1 or (known_as is not None and not subjects.is_in([known_as]).all()):
        raise InputError("The resources are of several patients, or of another one. Hand in those of one patient at a time.")
    said = timeline["code"] == "record_complete"
    own, refused = timeline.filter(~said), _of_the_record(timeline.filter(said))
    placed = pl.concat_str(lit(f"{source}:"), col("source").str.split(":").list.slice(1).list.join(":"))
    return replace(
        found, timeline=own.with_columns(subject_id=lit(subject_id, pl.Int64), source=placed), accepted=found.accepted - refused.height,
        rejected=pl.concat([found.rejected, refused]).sort("row", maintain_order=True),
    )  # fmt: skip


def time_of(text: str) -> datetime | None:
    """The local time that a form names, `2026-11-25T14:30`; null where it is none, or names an offset."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is None else None


def ahead(rows: pl.DataFrame, now: datetime) -> list[int | None]:
    """The rows, counted from 1, whose time lies ahead: nothing of it has happened. A death or follow-up of today of which the day alone is known does not."""
    end_of_today = now.replace(hour=23, minute=59, second=59)
    last = (
        pl.when(col("note").eq_missing(lit(DATE_ONLY)))
        .then(lit(max(end_of_today, now + CLOCKS_DIFFER)))
        .otherwise(lit(now + CLOCKS_DIFFER))
    )
    return rows.filter(col("time") > last).select(_ROW)["source"].to_list()


def read_otherwise() -> pl.Expr:
    """Whether a row was read otherwise than it was charted; not so what is left beside a row that was refused."""
    return col("note").is_not_null() & ~col("note").str.starts_with(REFUSED)


def noted(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that were read otherwise than they were charted, as `row, code, detail`, such as a temperature in Fahrenheit that was charted as Celsius."""
    return rows.drop_nulls("note").select(_ROW.alias("row"), "code", detail="note").sort("row", maintain_order=True)


def _of_the_record(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that say which streams are complete, as rejected ones: the record says so itself. What a mapping declares is no row of what was read."""
    told = rows.with_columns(row=_ROW).drop_nulls("row")
    return told.select(
        file=col("source").str.split(":").list.first(), row="row", column=lit(None, pl.String), reason=lit("of_the_record"), code="code",
        detail=lit("which streams are complete is said when the patient is registered"),
    )  # fmt: skip
