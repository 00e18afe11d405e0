"""What is known of each course before treatment, as columns of numbers: from `subjects`, from the record, from a table of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.cohort.outcome import COURSE
from aftercar.errors import InputError, OptionError, nearest
from aftercar.timeline.concepts import concepts

OF_SUBJECTS = ("age_y", "weight_kg", "sex", "product", "target", "disease")
BASELINE_DAYS = 30  # before the infusion, in which a measurement is a baseline
PERIOD = "period"
MOST_GROUPS = 12
UNKNOWN = "not recorded"


def beside(path: Path | str, subjects: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """A CSV of the user's own as columns beside `subjects`, and how many of its rows are of no course there.

    Args:
        path: columns `subject_id`, perhaps `infusion`, and others.
    Raises:
        InputError: it cannot be read, or says something of a course twice.
    """
    path = Path(path)
    try:
        table = pl.read_csv(path, infer_schema_length=None, try_parse_dates=False, schema_overrides={"subject_id": pl.String})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: cannot be read as a CSV ({type(error).__name__}).") from None
    if "subject_id" not in table.columns:
        raise InputError(f"{path}: no column subject_id. {nearest('subject_id', table.columns)}")
    key = [c for c in COURSE if c in table.columns]
    if clash := [c for c in table.columns if c not in key and c in subjects.columns]:
        raise InputError(f"{path}: {', '.join(clash)} is a column of the results already. Give yours another name.")
    table = table.with_columns(col("subject_id").str.strip_chars().cast(subjects.schema["subject_id"], strict=False))
    if len(key) > 1:
        table = table.with_columns(col("infusion").cast(pl.Int32, strict=False))
    if table.select(pl.struct(key).is_duplicated().any()).item():
        raise InputError(
            f"{path}: some {' and '.join(key)} stand in several rows. One row a {'course' if len(key) > 1 else 'subject'}."
        )
    if len(key) == 1 and subjects.filter(col("infusion") > 1).height:
        table = table.join(subjects.select(COURSE), on="subject_id", how="left").with_columns(col("infusion").fill_null(1))
        key = COURSE
    strange = table.join(subjects.select(key).unique(), on=key, how="anti").height
    return subjects.join(table, on=key, how="left", maintain_order="left"), strange


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


def group_of(courses: pl.DataFrame, by: str, cuts: tuple[date, ...] = ()) -> pl.Series:
    """The group of each course: the words of a column, or the period of the infusion between dates; null where it is not known.

    Raises:
        OptionError: there is no such column, or it holds more than a few values; periods without dates, or dates without periods.
    """
    if by == PERIOD:
        if not cuts:
            raise OptionError("Periods need dates at which one ends and the next begins: --cut 2025-01-01, once or more.")
        ends = sorted(set(cuts))
        day = col("day0").dt.date()
        words = [
            f"before {ends[0]}",
            *(f"{a} to before {b}" for a, b in pairwise(ends)),
            f"from {ends[-1]} on",
        ]
        period = pl.when(col("day0").is_null()).then(None)
        for end, word in zip(ends, words, strict=False):
            period = period.when(day < end).then(lit(word))
        return courses.select(group=period.otherwise(lit(words[-1]))).to_series()
    if cuts:
        raise OptionError(f"Dates part periods: --cut goes with --by {PERIOD}.")
    known = [c for c in courses.columns if c not in (*COURSE, "day0") and not courses.schema[c].is_temporal()]
    if by not in known:
        raise OptionError(f"No column is called {by!r}. {nearest(by, [*known, PERIOD])}")
    groups = courses[by].cast(pl.String).alias("group")
    if groups.n_unique() > MOST_GROUPS:
        raise OptionError(
            f"{by} has {groups.n_unique()} values; groups are at most {MOST_GROUPS}. Give a column of groups by --beside FILE.csv."
        )
    return groups


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
