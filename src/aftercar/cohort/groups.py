"""Which group each course is of: a column, the year of its infusion, or the time before and since a date."""

from __future__ import annotations

from datetime import date

import polars as pl
from polars import col, lit

from aftercar.cohort.outcome import COURSE
from aftercar.errors import InputError, OptionError, nearest

COLUMNS = ("product", "target", "disease", "sex")
YEAR, PERIOD = "year", "period"
EVERYBODY = "all"
MOST = 20  # groups that a table can hold and be read


def grouped(
    subjects: pl.DataFrame, by: str | None, beside: pl.DataFrame | None = None, since: date | None = None
) -> pl.DataFrame:
    """The courses with an infusion, with `group`; null where it is not known, and throughout without `by`.

    Args:
        subjects: the table `subjects`.
        by: `product`, `target`, `disease`, `sex`, `year` (of the infusion), `period` (before `since`, and from it on), or a column of `beside`.
        beside: a row a course or subject, with columns of the user's own, such as `centre`.
    Raises:
        OptionError: there is no such column, or `period` and `since` are not given together.
        InputError: it has more than `MOST` groups, or `beside` has several rows of a course.
    """
    treated = subjects.filter(col("day0").is_not_null())
    if (by == PERIOD) != (since is not None):
        raise OptionError(
            "Two periods are asked for by `--by period` and the day on which the second begins, `--since 2024-07-01`."
        )
    if beside is not None:
        treated = with_beside(treated, beside)
    known = [*COLUMNS, YEAR, PERIOD, *(c for c in (beside.columns if beside is not None else ()) if c not in COURSE)]
    if by is None:
        group = lit(None, pl.String)
    elif by not in known:
        raise OptionError(f"Courses cannot be grouped by {by!r}. {nearest(by, known)}")
    elif by == YEAR:
        group = col("day0").dt.year().cast(pl.String)
    elif since is not None:
        group = pl.when(col("day0").dt.date() < since).then(lit(f"before {since}")).otherwise(lit(f"since {since}"))
    else:
        group = col(by).cast(pl.String)
    found = treated.with_columns(group=group)
    if (n := found["group"].drop_nulls().n_unique()) > MOST:
        raise InputError(f"{by} has {n} values, more than the {MOST} that a table can show. Group by a coarser column.")
    if EVERYBODY in found["group"]:
        raise InputError(f"A group of {by} is called {EVERYBODY!r}, as all together are here. Name it otherwise.")
    return found


def with_beside(courses: pl.DataFrame, beside: pl.DataFrame) -> pl.DataFrame:
    """Courses with the columns of a table of the user's own, by subject, and by infusion where it has one.

    Raises:
        InputError: it has several rows of a course, or a column of a name that is taken.
    """
    keys = [c for c in COURSE if c in beside.columns]
    if taken := sorted(set(beside.columns) & set(courses.columns) - {*keys}):
        raise InputError(f"The column {taken[0]!r} of the table beside is one of ours already. Rename it.")
    own = beside.with_columns(col("subject_id").cast(pl.String), *(col(c).cast(pl.Int32, strict=False) for c in keys[1:]))
    if own.select(keys).is_duplicated().any():
        raise InputError("The table beside has several rows of a course. It needs one a subject, or one a subject and infusion.")
    named = courses.with_columns(_id=col("subject_id").cast(pl.String))
    joined = named.join(own.rename({"subject_id": "_id"}), on=["_id", *keys[1:]], how="left", maintain_order="left")
    return joined.drop("_id")
