"""Cumulative incidence of a grade with death as a competing event."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.intervals import Z95

WHAT = pl.Enum(["event", "competing", "censored"])


def first_days(subjects: pl.DataFrame, grades: pl.DataFrame, outcome: Outcome) -> pl.DataFrame:
    """When each course first reached a grade, or what came before: `subject_id, infusion, day, what`.

    Args:
        subjects: the table `subjects`; courses without an infusion are left out.
        grades: the table `grades`. A stretch counts by its lower bound: one that missing data leave open has not surely reached the grade.
    Returns:
        `day`: calendar days since the infusion; `what`: `event`, `competing` (death), or `censored` at the end of the record.
    """
    reached = grades.filter(outcome.reached())
    courses = subjects.filter(col("day0").is_not_null()).join(
        reached.group_by(COURSE).agg(begun=col("start").min()), on=COURSE, how="left"
    )
    time = pl.coalesce("begun", "death", "record_end")
    what = (
        pl.when(col("begun").is_not_null())
        .then(lit("event"))
        .when(col("death").is_not_null())
        .then(lit("competing"))
        .otherwise(lit("censored"))
    )
    day = (time.dt.date() - col("day0").dt.date()).dt.total_days().clip(0).cast(pl.Int32)
    return courses.select(*COURSE, day=day, what=what.cast(WHAT))


def cumulative_incidence(first: pl.DataFrame) -> pl.DataFrame:
    """The Aalen-Johansen estimate by day: the share that has had the event by the end of each day, as one that death can forestall.

    Events of a day come before those who are censored on it. The interval is that of log(-log), with the variance of Marubini and Valsecchi (1995).

    Args:
        first: `day, what`, a row a course, as `first_days` gives.
    Returns:
        `day, at_risk, events, competing, incidence, low, high`, a row a day on which anything happened; `low` and `high` are null where nobody or everybody has had it.
    """
    n = pl.len().cast(pl.Float64)
    days = first.group_by("day").agg(
        events=(col("what") == "event").sum().cast(pl.Float64), competing=(col("what") == "competing").sum().cast(pl.Float64), gone=n
    ).sort("day")  # fmt: skip
    days = days.with_columns(at_risk=lit(float(first.height)) - col("gone").cum_sum().shift(1, fill_value=0.0))
    left = 1 - (col("events") + col("competing")) / col("at_risk")
    days = days.with_columns(before=left.cum_prod().shift(1, fill_value=1.0))  # the share that has had neither
    days = days.with_columns(incidence=(col("before") * col("events") / col("at_risk")).cum_sum())
    either, f = col("events") + col("competing"), col("incidence")
    # Nobody is at risk after a day on which all the others had one of the two: that day's term would be divided by 0, and counts nowhere.
    a = pl.when(either < col("at_risk")).then(either / (col("at_risk") * (col("at_risk") - either))).otherwise(0.0)
    b = col("before") ** 2 * (col("at_risk") - col("events")) * col("events") / col("at_risk") ** 3
    c = col("before") * col("events") / col("at_risk") ** 2
    variance = (
        f**2 * a.cum_sum() - 2 * f * (a * f).cum_sum() + (a * f**2).cum_sum()
        + b.cum_sum() - 2 * (f * c.cum_sum() - (c * f).cum_sum())
    )  # fmt: skip
    low, high = log_log(f, variance.clip(0).sqrt())
    return days.select("day", col("at_risk", "events", "competing").cast(pl.Int64), "incidence", low=low, high=high)


def log_log(share: pl.Expr, error: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The 95 % interval of log(-log) of a share, from its standard error; null where the share is 0 or 1."""
    spread = (Z95 * error / (share * share.log()).abs()).exp()
    open_ = (share > 0) & (share < 1 - 1e-12)
    return pl.when(open_).then(share**spread), pl.when(open_).then(share ** (1 / spread))


def by_day(curve: pl.DataFrame, day: int) -> dict[str, float | None]:
    """`incidence, low, high` by the end of a day; null where nobody was followed so long."""
    unknown: dict[str, float | None] = {"incidence": None, "low": None, "high": None}
    if curve.is_empty() or day > curve["day"][-1]:
        return unknown
    until = curve.filter(col("day") <= day).tail(1)
    return until.select("incidence", "low", "high").row(0, named=True) if until.height else unknown | {"incidence": 0.0}
