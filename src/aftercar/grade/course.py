"""Scales with one row a course: bounds, and the row as the `grades` table wants it."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.scale import STATUS, Criterion, measured
from aftercar.timeline.state import Record


def bounded(frame: pl.DataFrame, criteria: tuple[Criterion, ...], widened: tuple[str, ...] = ()) -> pl.DataFrame:
    """Add `grade`, `grade_upper`, `criteria`, `missing`, `status` from cells that are met, unmet or unknown (null).

    An unknown cell counts as unmet for `grade` and as met for `grade_upper`. Columns named in `widened` have a twin `<name>_up` with
    which the upper bound is read instead.
    """

    def worst(unknown: bool) -> pl.Expr:
        cells = (c.when.fill_null(unknown).cast(pl.Int8) * c.grade for c in criteria)
        return pl.max_horizontal(lit(0, pl.Int8), *cells).cast(pl.Int8)

    # A flag of the frame may bear a name that is used here.
    swapped = frame.with_columns(col(f"{w}_up").alias(w) for w in widened)
    upper = swapped.select(worst(True)).to_series()
    frame = frame.with_columns(grade=worst(False)).with_columns(grade_upper=pl.max_horizontal("grade", upper))
    cells = [
        pl.when(c.when.fill_null(False) & (lit(c.grade == 0) | (col("grade") == c.grade))).then(lit(c.label)) for c in criteria
    ]
    opens = {c.axis: [] for c in criteria}
    for n, c in enumerate(criteria):
        swapped = swapped.with_columns(c.when.fill_null(True).alias(f"_up{n}"))
        opens[c.axis].append((col("grade") < c.grade) & swapped[f"_up{n}"])
    missing = [pl.when(pl.any_horizontal(parts)).then(lit(axis)) for axis, parts in opens.items()]
    return frame.with_columns(
        criteria=pl.concat_list(cells).list.drop_nulls(),
        missing=pl.concat_list(missing).list.drop_nulls(),
        status=pl.when(col("grade") < col("grade_upper")).then(lit("incomplete")).otherwise(lit("graded")),
    )


def course_rows(
    frame: pl.DataFrame, record: Record, *, first: pl.Expr, last: pl.Expr, onset: pl.Expr, stop: pl.Expr | None = None,
    flags: dict[str, pl.Expr] | None = None, measures: dict[str, pl.Expr] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """The frame as grade rows, `course, start, end, ...`, with days as times at local midnight.

    Args:
        frame: `course, grade, grade_upper, status, criteria, missing`; `evidence` (lists of `event_id`) and `group` where there are any.
        first, last: days of the window, both included; a null `last` is the end of the record.
        onset, stop: first and last day of the toxicity; without `stop` it has no end.
        flags, measures: warnings and numbers by name.
    """
    frame = frame.join(record.courses.select("course", "day0", "record_end"), on="course", how="left", maintain_order="left")
    midnight = col("day0").dt.truncate("1d")

    def time(day: pl.Expr) -> pl.Expr:
        return (midnight + pl.duration(days=day)).cast(pl.Datetime("us"))

    for name, empty in (("evidence", lit([], pl.List(pl.Int64))), ("group", lit(None, pl.String))):
        if name not in frame.columns:
            frame = frame.with_columns(empty.alias(name))
    absent = col("status") == "not_applicable"
    stop = lit(None, pl.Int32) if stop is None else stop
    warned = [pl.when(f.fill_null(False)).then(lit(n)) for n, f in (flags or {}).items()]
    there = (col("grade") > 0) & ~absent
    return frame.select(
        "course",
        start=pl.max_horizontal(time(first), "day0"),
        end=pl.when(last.is_null())
        .then(pl.max_horizontal("record_end", "day0"))
        .otherwise(pl.max_horizontal(time(last + 1), time(first))),
        grade=pl.when(absent).then(lit(0, pl.Int8)).otherwise("grade"),
        grade_upper=pl.when(absent).then(lit(0, pl.Int8)).otherwise("grade_upper"),
        upper_assessed=pl.when(absent).then(lit(0, pl.Int8)).otherwise("grade_upper"),
        status=col("status").cast(STATUS),
        group="group",
        criteria="criteria",
        missing="missing",
        flags=pl.concat_list(warned).list.drop_nulls() if warned else lit([], pl.List(pl.String)),
        evidence="evidence",
        measures=measured(measures or {}),
        onset=pl.when(there & onset.is_not_null()).then(pl.max_horizontal(time(onset), "day0")),
        resolution=pl.when(there & (stop < last)).then(time(stop + 1)),
    )


def blank_rows(record: Record) -> pl.DataFrame:
    """A row a course to which a scale does not apply, as nothing that it needs was charted of anybody."""
    none = lit([], pl.List(pl.String))
    frame = record.courses.select(
        "course", grade=lit(0, pl.Int8), grade_upper=lit(0, pl.Int8), status=lit("not_applicable"), criteria=none, missing=none
    )
    nowhere = lit(None, pl.Int32)
    return course_rows(frame, record, first=lit(0), last=nowhere, onset=nowhere)
