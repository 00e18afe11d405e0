"""Rows that are too many for memory, on disk: in the order in which they came, or brought together by subject.

Rows go to disk in runs. A run that is to be read by subject is sorted by it, and a stretch of subjects is read back from all runs at once;
so memory is bounded by a run and the largest subject.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.files import writing
from aftercar.frames import scan
from aftercar.timeline.readers.batches import Batch

RUN_ROWS = 500_000  # of a run, and of a stretch of subjects; memory is some hundred MB for so many

_WHOLE = r"^(0|-?[1-9]\d{0,17})$"  # an id that is a whole number, written as such
_ROW_GROUPS = 64  # of a run: a stretch of subjects reads only those that hold it
_SUBJECT = "aftercar:subject"

Schema = Mapping[str, type[pl.DataType] | pl.DataType]


class Spill:
    """Rows in the order in which they came; without a `room` (a folder) all stay in memory."""

    def __init__(self, room: Path | None, name: str, schema: Schema) -> None:
        self._room, self._name, self._schema = room, name, schema
        self._held: list[pl.DataFrame] = []
        self._rows = 0
        self._files: list[Path] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Take rows in."""
        self._held.append(frame)
        self._rows += frame.height
        if self._rows >= RUN_ROWS and self._room is not None:
            self._put_down(self._room)

    def _put_down(self, room: Path) -> None:
        path = room / f"{self._name}-{len(self._files):05d}.parquet"
        _write(self._taken(), path)
        self._files.append(path)

    def _taken(self) -> pl.DataFrame:
        """What was held in memory."""
        frame = pl.concat([pl.DataFrame(schema=self._schema), *self._held])
        self._held, self._rows = [], 0
        return frame

    def scan(self) -> pl.LazyFrame:
        """All rows, in order."""
        held = pl.concat([pl.DataFrame(schema=self._schema), *self._held])
        return pl.concat([*map(scan, self._files), held.lazy()])


class BySubject(Spill):
    """Rows to be read by subject (the column `subject`, of text); ids are numbers if all of them are whole numbers."""

    def __init__(self, room: Path | None, name: str, schema: Schema, subject: str = "subject_id") -> None:
        super().__init__(room, name, schema)
        self._subject = subject
        self._whole = True
        self._sizes = pl.DataFrame(schema={subject: pl.String, "rows": pl.UInt32})

    def _taken(self) -> pl.DataFrame:
        frame = super()._taken()
        sizes = frame.group_by(self._subject).agg(rows=pl.len())
        self._sizes = pl.concat([self._sizes, sizes]).group_by(self._subject).agg(col("rows").sum())
        self._whole &= bool(sizes.select(col(self._subject).str.contains(_WHOLE).all()).item())
        return self._sorted(frame)

    def _sorted(self, frame: pl.DataFrame) -> pl.DataFrame:
        dtype = pl.Int64 if self._whole and frame.height else pl.String
        return frame.with_columns(col(self._subject).cast(dtype)).sort(self._subject, maintain_order=True)

    def stretches(self) -> Iterator[pl.DataFrame]:
        """All rows in stretches of whole subjects, by the order of their ids; at least one, which may be empty. To be called once."""
        if self._room is None or not self._files:
            yield self._taken()
            return
        if self._rows:
            self._put_down(self._room)
        for path in self._files:
            run = scan(path)
            if not self._whole and run.collect_schema()[self._subject] != pl.String:  # sorted before a word was among them
                _write(self._sorted(run.collect()), path)
        sizes = self._sorted(self._sizes)
        number = (col("rows").cum_sum() - col("rows")) // RUN_ROWS
        ends = sizes.group_by(number.alias("number"), maintain_order=True).agg(
            first=col(self._subject).first(), last=col(self._subject).last()
        )
        runs = pl.scan_parquet(self._files, glob=False)
        for _, first, last in ends.iter_rows():
            yield runs.filter(col(self._subject).is_between(lit(first), lit(last))).collect()


def _write(frame: pl.DataFrame, path: Path) -> None:
    with writing(path.parent):
        frame.write_parquet(path, compression="lz4", row_group_size=max(1, frame.height // _ROW_GROUPS))


def whole_subjects(batches: Iterator[Batch], subject: pl.Expr, room: Path) -> Iterator[Batch]:
    """The same rows in batches that part no subject's rows; those of a file of several batches go through `room`."""
    first, second = next(batches), next(batches, None)
    if second is None:
        yield first
        return
    rows: BySubject | None = None
    for frame, malformed, share in itertools.chain([first, second], batches):
        yield Batch(pl.DataFrame(), malformed, share)
        if frame.width:
            named = frame.with_columns(subject.fill_null("").alias(_SUBJECT))
            rows = rows or BySubject(room, "subjects", named.schema, _SUBJECT)
            rows.add(named)
    if rows is not None:
        yield from (Batch(stretch.drop(_SUBJECT), first.malformed.clear(), 1.0) for stretch in rows.stretches())
