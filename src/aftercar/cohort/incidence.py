"""Cumulative incidence of a grade with death as a competing event."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from polars import col, lit

from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.errors import OptionError, nearest
from aftercar.intervals import Z95, most_of_none

WHAT = pl.Enum(["event", "competing", "censored"])
FORESTALLS = ("death", "progression", "next_therapy")
_ROUNDING = 1e-12


def first_days(
    subjects: pl.DataFrame,
    grades: pl.DataFrame,
    outcome: Outcome,
    *,
    episodes: pl.DataFrame | None = None,
    competing: Sequence[str] = ("death",),
    possibly: bool = False,
) -> pl.DataFrame:
    """When each course first reached a grade, or what came before: `subject_id, infusion, day, what`.

    Args:
        subjects: the table `subjects`; courses without an infusion are left out.
        grades: the table `grades`. A stretch counts by its lower bound: one that missing data leave open has not surely reached the grade.
        episodes: the table `episodes`, where the scale has one row a course or a window, which does not say when it began.
        competing: what forestalls it: columns of dates of `subjects`, any of `FORESTALLS`. One of the same day comes after it.
        possibly: count also, from its first possible time on, each course of which missing data leave open whether it reached the grade at all.
    Returns:
        `day`: calendar days since the infusion; `what`: `event`, `competing`, or `censored` at the end of the record.
    Raises:
        OptionError: it cannot be told on which day it began, or something else is to compete.
    """
    if strange := set(competing) - set(FORESTALLS):
        raise OptionError(f"{min(strange)!r} cannot compete. {nearest(min(strange), FORESTALLS)}")
    begun = _begun(grades, outcome, episodes)
    if possibly:
        begun = pl.concat([begun, _perhaps_begun(grades, outcome).join(begun, on=COURSE, how="anti")])
    courses = subjects.filter(col("day0").is_not_null()).join(begun, on=COURSE, how="left", maintain_order="left")
    forestalled = pl.min_horizontal(*dict.fromkeys(["death", *competing]))
    came = col("begun").is_not_null() & (col("begun").dt.date() <= forestalled.dt.date()).fill_null(True)
    time = pl.when(came).then("begun").otherwise(pl.coalesce(forestalled, "record_end"))
    what = pl.when(came).then(lit("event")).when(forestalled.is_not_null()).then(lit("competing")).otherwise(lit("censored"))
    return courses.select(*COURSE, day=days_since(time), what=what.cast(WHAT))


def days_since(time: pl.Expr) -> pl.Expr:
    """Calendar days from the infusion to a time."""
    return (time.dt.date() - col("day0").dt.date()).dt.total_days().clip(0).cast(pl.Int32)


def _begun(grades: pl.DataFrame, outcome: Outcome, episodes: pl.DataFrame | None) -> pl.DataFrame:
    """`subject_id, infusion, begun` of the courses that surely reached a grade."""
    reached = grades.filter(outcome.reached()).group_by(COURSE).agg(begun=col("start").min())
    if outcome.over_time:
        return reached
    if episodes is None:
        raise OptionError(f"{outcome.name}: when it began stands in the table of episodes, which is needed.")
    own = episodes.filter(col("scale").is_in(outcome.scales) & (col("max_grade") >= outcome.cut))
    onset = own.group_by(COURSE).agg(begun=col("onset").min())
    if undated := reached.join(onset, on=COURSE, how="anti").height:
        raise OptionError(
            f"{outcome.name}: of {undated} courses that reached it no day of onset is known, so it has no incidence by day."
        )
    return onset.join(reached, on=COURSE, how="semi")


def _perhaps_begun(grades: pl.DataFrame, outcome: Outcome) -> pl.DataFrame:
    """`subject_id, infusion, begun` of the courses that may have reached a grade. Time in which all had expired counts as in `worst`: only where there is no other."""
    seen = (~col("flags").list.contains("stale") & (col("status").cast(pl.String) != "not_applicable")).any().over(COURSE)
    upper = pl.when(seen).then(pl.max_horizontal("grade", "upper_assessed")).otherwise("grade_upper")
    own = grades.filter(col("scale").is_in(outcome.scales)).with_columns(upper=upper)
    return own.filter(outcome.reached("upper")).group_by(COURSE).agg(begun=col("start").min())


def cumulative_incidence(first: pl.DataFrame) -> pl.DataFrame:
    """The Aalen-Johansen estimate by day: the share that has had the event by the end of each day, as one that death can forestall.

    Events of a day come before those who are censored on it. The interval is that of log(-log), with the variance of Marubini and Valsecchi (1995). Where nobody or everybody has had it that is not
    defined, and its place takes the exact one of Clopper and Pearson (1934): of all, if nobody was censored; else the widest of those that the share and the number still followed on each day allow.

    Args:
        first: `day, what`, a row a course, as `first_days` gives.
    Returns:
        `day, at_risk, events, competing, incidence, low, high`, a row a day on which anything happened.
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
    left_over = col("at_risk") - col("gone")
    most = pl.max_horizontal(
        (col("before") * most_of_none(col("at_risk"))).cum_max(),
        pl.when(left_over > 0).then(col("before") * left * most_of_none(left_over)),
    )
    nobody, everybody = f <= 0, f >= 1 - _ROUNDING
    return days.select(
        "day", col("at_risk", "events", "competing").cast(pl.Int64), "incidence",
        low=pl.when(nobody).then(0.0).when(everybody).then(1 - most).otherwise(low),
        high=pl.when(nobody).then(most).when(everybody).then(1.0).otherwise(high),
    )  # fmt: skip


def log_log(share: pl.Expr, error: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The 95 % interval of log(-log) of a share, from its standard error; null where the share is 0 or 1."""
    spread = (Z95 * error / (share * share.log()).abs()).exp()
    open_ = (share > 0) & (share < 1 - _ROUNDING)
    return pl.when(open_).then(share**spread), pl.when(open_).then(share ** (1 / spread))


def by_day(curve: pl.DataFrame, day: int) -> dict[str, float | None]:
    """`incidence, low, high` by the end of a day; null where nobody was followed so long, unless one of the two had come to everybody by then."""
    unknown: dict[str, float | None] = {"incidence": None, "low": None, "high": None}
    if curve.is_empty():
        return unknown
    last = curve.row(-1, named=True)
    if day > last["day"] and last["events"] + last["competing"] < last["at_risk"]:
        return unknown
    until = curve.filter(col("day") <= day).tail(1)
    if until.height:
        return until.select("incidence", "low", "high").row(0, named=True)
    return {"incidence": 0.0, "low": 0.0, "high": curve.select(most_of_none(col("at_risk").first())).item()}


def incidence_by(
    first: pl.DataFrame, perhaps: pl.DataFrame, days: Sequence[int]
) -> tuple[dict[str, int], list[dict[str, float | None]]]:
    """How many courses had the event, had what forestalls it, were censored, or leave it open; and `by_day_between` of each day.

    Args:
        first, perhaps: of `first_days`, surely and `possibly`.
    """
    counts = {
        name: int((first["what"] == what).sum())
        for name, what in (("events", "event"), ("competing", "competing"), ("censored", "censored"))
    }
    counts = {"n": first.height, **counts, "open": int((perhaps["what"] == "event").sum()) - counts["events"]}
    curve, most = cumulative_incidence(first), cumulative_incidence(perhaps)
    return counts, [by_day_between(curve, most, day) for day in days]


def by_day_between(curve: pl.DataFrame, most: pl.DataFrame, day: int) -> dict[str, float | None]:
    """`by_day` of a curve, with `greatest` and `greatest_high`, by that day of a curve of what may have happened.

    Where records end early, courses that had it sooner may leave less for others: `greatest` is never below `incidence`.
    """
    sure, perhaps = by_day(curve, day), by_day(most, day)
    if sure["incidence"] is None or perhaps["incidence"] is None:
        return sure | {"greatest": None, "greatest_high": None}
    return sure | {
        "greatest": max(sure["incidence"], perhaps["incidence"]),
        "greatest_high": max(end for end in (sure["high"], perhaps["high"]) if end is not None),
    }
