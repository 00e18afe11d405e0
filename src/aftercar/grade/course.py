"""Scales with one row a course: bounds, and the row as the `grades` table wants it."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
from polars import col, lit

from aftercar.grade.days import course_days
from aftercar.grade.scale import STATUS, Criterion, measured
from aftercar.timeline.state import Record

NO_IDS = lit([], pl.List(pl.Int64))
_NO_DAY = lit(None, pl.Int32)
_NO_WORD = lit(None, pl.String)


def gather(frame: pl.LazyFrame, *tables: pl.LazyFrame) -> pl.LazyFrame:
    """A frame, and beside each row what each table (a row a course) says of its course; null where a table has no row."""
    for table in tables:
        frame = frame.join(table, on="course", how="left", maintain_order="left")
    return frame


def texts(cells: Iterable[tuple[pl.Expr, str]]) -> pl.Expr:
    """The texts of those cells that are met, as a list."""
    each = [pl.when(met).then(lit(text)) for met, text in cells]
    return pl.concat_arr(each).arr.to_list().list.drop_nulls() if each else lit([], pl.List(pl.String))


def ids(*columns: str) -> pl.Expr:
    """Lists of `event_id`, one after the other."""
    return pl.concat_list(col(c).fill_null(NO_IDS) for c in columns)


def bounded(frame: pl.LazyFrame, criteria: tuple[Criterion, ...], widened: tuple[str, ...] = ()) -> pl.LazyFrame:
    """Add `grade`, `grade_upper`, `criteria`, `missing`, `status` from cells that are met, unmet or unknown (null).

    An unknown cell counts as unmet for `grade` and as met for `grade_upper`. Columns named in `widened` have a twin `<name>_up` with
    which the upper bound is read instead.
    """
    frame = frame.with_columns(c.when.fill_null(False).alias(f"_low{n}") for n, c in enumerate(criteria))
    # The cells name their columns, so the twins take the names while the upper bound is read.
    frame = frame.with_columns(*(col(w).alias(f"{w}_low") for w in widened), *(col(f"{w}_up").alias(w) for w in widened))
    frame = frame.with_columns(c.when.fill_null(True).alias(f"_up{n}") for n, c in enumerate(criteria))
    frame = frame.with_columns(col(f"{w}_low").alias(w) for w in widened)

    def worst(cell: str) -> pl.Expr:
        cells = (col(f"{cell}{n}").cast(pl.Int8) * c.grade for n, c in enumerate(criteria))
        return pl.max_horizontal(lit(0, pl.Int8), *cells).cast(pl.Int8)

    frame = frame.with_columns(grade=worst("_low"), grade_upper=pl.max_horizontal(worst("_low"), worst("_up")))
    grade = col("grade")
    opens: dict[str, list[pl.Expr]] = {c.axis: [] for c in criteria}
    for n, c in enumerate(criteria):
        opens[c.axis].append((grade < c.grade) & col(f"_up{n}"))
    return frame.with_columns(
        criteria=texts((col(f"_low{n}") & ((grade == c.grade) | (c.grade == 0)), c.label) for n, c in enumerate(criteria)),
        missing=texts((pl.any_horizontal(parts), axis) for axis, parts in opens.items()),
        status=pl.when(grade < col("grade_upper")).then(lit("incomplete")).otherwise(lit("graded")),
    )


def course_rows(
    frame: pl.LazyFrame, *, onset: pl.Expr, stop: pl.Expr = _NO_DAY, first: pl.Expr = lit(0), last: pl.Expr = _NO_DAY,
    evidence: pl.Expr = NO_IDS, group: pl.Expr = _NO_WORD,
    flags: dict[str, pl.Expr] | None = None, measures: dict[str, pl.Expr] | None = None,
) -> pl.LazyFrame:  # fmt: skip
    """The frame as grade rows, `course, start, end, ...`, with days as times at local midnight.

    Args:
        frame: `course_days` with `grade, grade_upper, status, criteria, missing`.
        onset, stop: first and last day of the toxicity; without `stop` it has no end.
        first, last: days of the window, both included; by default from day 0 to the end of the record, which a null `last` stands for.
        evidence: lists of `event_id`.
        group: a class beside the grade.
        flags, measures: warnings and numbers by name.
    """
    midnight = col("day0").dt.truncate("1d")

    def time(day: pl.Expr) -> pl.Expr:
        return (midnight + pl.duration(days=day)).cast(pl.Datetime("us"))

    absent = col("status") == "not_applicable"
    there = (col("grade") > 0) & ~absent
    return frame.select(
        "course",
        start=pl.max_horizontal(time(first), "day0"),
        end=pl.when(last.is_null())
        .then(pl.max_horizontal("record_end", "day0"))
        .otherwise(pl.max_horizontal(time(last + 1), time(first), "day0")),
        grade=pl.when(absent).then(lit(0, pl.Int8)).otherwise("grade"),
        grade_upper=pl.when(absent).then(lit(0, pl.Int8)).otherwise("grade_upper"),
        upper_assessed=pl.when(absent).then(lit(0, pl.Int8)).otherwise("grade_upper"),
        status=col("status").cast(STATUS),
        group=group,
        criteria="criteria",
        missing="missing",
        flags=texts((when, name) for name, when in (flags or {}).items()),
        evidence=evidence,
        measures=measured(measures or {}),
        # What has no onset is no episode, whatever grade it bears.
        onset=pl.when(there & onset.is_not_null()).then(pl.max_horizontal(time(onset), "day0")),
        resolution=pl.when(there & (stop < last)).then(time(stop + 1)),
    )


def blank_rows(record: Record) -> pl.LazyFrame:
    """A row a course to which a scale does not apply, as nothing that it needs was charted of anybody."""
    none = lit([], pl.List(pl.String))
    blank = course_days(record).with_columns(
        grade=lit(0, pl.Int8), grade_upper=lit(0, pl.Int8), status=lit("not_applicable"), criteria=none, missing=none
    )
    return course_rows(blank, onset=_NO_DAY)
