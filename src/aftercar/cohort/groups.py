"""Which group each course is of: a column, the year of its infusion, or a period between dates; and columns of the user's own beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from itertools import pairwise

import polars as pl
from polars import col, lit

from aftercar.cohort.outcome import COURSE
from aftercar.errors import InputError, OptionError, many, nearest

YEAR, PERIOD = "year", "period"
EVERYBODY = "all"
UNKNOWN = "not recorded"  # the group of a course of which it is not known, where it is shown, and the level of a covariate
_DAY = r"\d{4}-\d\d-\d\d"
MOST = 20  # groups that a table can hold and be read


def group_of(courses: pl.DataFrame, by: str, cuts: tuple[date, ...] = ()) -> pl.Series:
    """The group of each course, null where it is not known.

    Args:
        courses: the columns of `subjects`, perhaps with others of the user's own (`with_beside`).
        by: a column of words or numbers, `year` (of the infusion), or `period`.
        cuts: with `period`: the days with which a new one begins.
    Raises:
        OptionError: there is no such column, it holds more than `MOST` values or one that is called as all together are, or days and `period` are not given together.
    """
    known = [c for c in courses.columns if c not in (*COURSE, "day0") and not courses.schema[c].is_temporal()]
    if (by == PERIOD) != bool(cuts):
        raise OptionError(
            "Periods are asked for by `--by period` and the days with which a new one begins: --cut 2025-01-01, once or more."
        )
    if by == PERIOD:
        group = _period(sorted(set(cuts)))
    elif by == YEAR:
        group = col("day0").dt.year().cast(pl.String)
    elif by in known:
        group = col(by).cast(pl.String)
    else:
        raise OptionError(f"Courses cannot be grouped by {by!r}: no column is called so. {nearest(by, [*known, YEAR, PERIOD])}")
    found = courses.select(group=group).to_series()
    if (n := found.drop_nulls().n_unique()) > MOST:
        raise OptionError(
            f"{by} has {n} values, more than the {MOST} that a table can show. Group by a coarser column, such as one of --beside FILE.csv."
        )
    if EVERYBODY in found:
        raise OptionError(f"A group of {by} is called {EVERYBODY!r}, as all together are here. Name it otherwise.")
    return found


def _period(cuts: list[date]) -> pl.Expr:
    day = col("day0").dt.date()
    words = [f"before {cuts[0]}", *(f"{a} to before {b}" for a, b in pairwise(cuts)), f"from {cuts[-1]} on"]
    period = pl.when(day.is_null()).then(None)
    for cut, word in zip(cuts, words, strict=False):
        period = period.when(day < cut).then(lit(word))
    return period.otherwise(lit(words[-1]))


def grouped(
    subjects: pl.DataFrame, by: str | None, beside: pl.DataFrame | None = None, cuts: tuple[date, ...] = ()
) -> pl.DataFrame:
    """The courses with an infusion, with `group` (`group_of`); null throughout without `by`.

    Args:
        beside: a row a course or subject, with columns of the user's own, such as `centre`.
    Raises:
        InputError: `beside` has several rows of a course.
        OptionError: as for `group_of`.
    """
    treated = subjects.filter(col("day0").is_not_null())
    if beside is not None:
        treated = with_beside(treated, beside)
    if by is None:
        if cuts:
            raise OptionError("Days that part periods, --cut, go with --by period.")
        return treated.with_columns(group=lit(None, pl.String))
    return treated.with_columns(group_of(treated, by, cuts))


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


def of_nobody(courses: pl.DataFrame, beside: pl.DataFrame, name: str = "the table beside") -> list[str]:
    """What is to be said of rows of a table beside that are of no course here; nothing where there are none.

    Args:
        courses: all of the results, those without an infusion too.
        name: what the table is called.
    """
    keys = [c for c in COURSE if c in beside.columns]
    there = courses.select(pl.col(k).cast(pl.String) for k in keys).unique()
    n = beside.select(pl.col(k).cast(pl.String) for k in keys).join(there, on=keys, how="anti").height
    return [f"{many(n, 'row')} of {name} {'is' if n == 1 else 'are'} of no course of the results."] if n else []


def in_order(names: Iterable[str]) -> list[str]:
    """Groups as they are shown: periods by their days, all else by name.

    >>> in_order(["from 2026-01-01 on", "2025-01-01 to before 2026-01-01", "before 2025-01-01"])
    ['before 2025-01-01', '2025-01-01 to before 2026-01-01', 'from 2026-01-01 on']
    """

    def place(name: str) -> tuple[str, bool]:
        period = re.fullmatch(rf"before ({_DAY})|({_DAY}) to before {_DAY}|from ({_DAY}) on", name)
        return (name, False) if period is None else (next(filter(None, period.groups())), not period[1])

    return sorted(names, key=place)
