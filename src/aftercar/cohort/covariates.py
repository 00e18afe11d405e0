"""What is known of each course before treatment, as columns of numbers: from `subjects` and what stands beside it, and from the record."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from polars import col

from aftercar.cohort.outcome import COURSE
from aftercar.timeline.concepts import concepts

OF_SUBJECTS = ("age_y", "weight_kg", "sex", "product", "target", "disease")
BASELINE_DAYS = 30  # before the infusion, in which a measurement is a baseline
UNKNOWN = "not recorded"


def baseline(subjects: pl.DataFrame, timeline: pl.LazyFrame, names: list[str]) -> pl.DataFrame:
    """`subjects` with the last measurement of concepts at or before the infusion, within `BASELINE_DAYS`; null where there is none."""
    rows = timeline.filter(col("code").is_in(names) & col("numeric_value").is_not_null()).select(
        "subject_id", "time", "code", "numeric_value", "event_id"
    ).collect()  # fmt: skip
    courses = subjects.filter(col("day0").is_not_null()).select(*COURSE, "day0")
    rows = rows.join(courses, on="subject_id").filter(
        (col("time") <= col("day0")) & (col("time") >= col("day0") - pl.duration(days=BASELINE_DAYS))
    )
    last = rows.sort("time", "event_id").group_by(*COURSE, "code").agg(col("numeric_value").last())
    for name in names:
        own = last.filter(col("code") == name).select(*COURSE, col("numeric_value").alias(name))
        subjects = subjects.join(own, on=COURSE, how="left", maintain_order="left")
    return subjects


def measured(name: str) -> bool:
    """Whether a concept is one of numbers, so that it can be a covariate."""
    known = concepts().get(name)
    return known is not None and known.unit is not None


@dataclass(frozen=True)
class Encoded:
    """Covariates as numbers.

    Attributes:
        names: of the columns: `age_y`, `sex: male`, `crp: not recorded`.
        columns: a list of numbers each, null where missing.
        missing: by covariate, how many lack it.
    """

    names: list[str]
    columns: list[list[float | None]]
    missing: dict[str, int]

    def whole(self) -> list[bool]:
        """Of each course, whether no covariate is missing."""
        return [all(v is not None for v in row) for row in zip(*self.columns, strict=True)] if self.columns else []


def encoded(courses: pl.DataFrame, names: list[str], *, as_category: bool) -> Encoded:
    """Columns as numbers: words by an indicator for each but the commonest, numbers as they are.

    Args:
        as_category: what is missing is a level of its own: a further word, or for numbers the mean beside an indicator. Else it stays missing.
    """
    labels: list[str] = []
    columns: list[list[float | None]] = []
    missing: dict[str, int] = {}
    for name in names:
        values = courses[name]
        missing[name] = values.null_count()
        if values.dtype.is_numeric() or values.dtype == pl.Boolean:
            numbers = values.cast(pl.Float64)
            if as_category and missing[name]:
                labels += [name, f"{name}: {UNKNOWN}"]
                columns += [numbers.fill_null(numbers.mean()).to_list(), values.is_null().cast(pl.Float64).to_list()]
            else:
                labels.append(name)
                columns.append(numbers.to_list())
            continue
        words = values.cast(pl.String)
        words = words.fill_null(UNKNOWN) if as_category else words
        levels = words.drop_nulls().value_counts().sort(["count", words.name], descending=[True, False])[words.name].to_list()
        labels += [f"{name}: {level}" for level in levels[1:]]
        columns += [(words == level).cast(pl.Float64).to_list() for level in levels[1:]]
        if len(levels) < 2:  # it says nothing, but who lacks it still falls out
            labels.append(f"{name}: {levels[0] if levels else UNKNOWN}")
            columns.append((words == levels[0]).cast(pl.Float64).to_list() if levels else [None] * courses.height)
    return Encoded(labels, columns, missing)
