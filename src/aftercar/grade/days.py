"""Counts by calendar day: the lowest of each day, gaps filled, and runs at or under a threshold.

Shared by all scales of blood counts. Days are calendar-date differences, infusion = day 0.
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.options import Options
from aftercar.timeline.concepts import of_group
from aftercar.timeline.state import Record, calendar_day, days_since_day0, midnight

EARLY_LAST_DAY = 30
G_CSF_WASHOUT_D = 3


def with_day(record: Record, *codes: str) -> pl.DataFrame:
    """Events of these codes with their calendar `day`."""
    zero = record.courses.select("course", midnight=midnight())
    events = record.of(*codes).join(zero, on="course", maintain_order="left")
    return events.with_columns(day=calendar_day(col("at"), col("midnight")))


def daily(record: Record, options: Options, code: str) -> pl.DataFrame:
    """The lowest count of each calendar day: `course, day, count, event_id`."""
    return record.once(("daily", code), lambda: _daily(record, options, code))


def _daily(record: Record, options: Options, code: str) -> pl.DataFrame:
    # A row without a number is no count, and hides none of its day.
    counts = with_day(record, code).filter(col("numeric_value").is_not_null())
    if code == "anc" and options["gcsf"] == "censor_3d_after":
        given = with_day(record, *of_group("g_csf")).select("course", "day").unique()
        washed = given.join(pl.DataFrame({"after": range(G_CSF_WASHOUT_D + 1)}), how="cross")
        under = washed.select("course", day=col("day") + col("after")).unique()
        counts = counts.join(under, on=["course", "day"], how="anti", maintain_order="left")
    counts = counts.sort("course", "day", "numeric_value", "event_id")
    return counts.group_by("course", "day", maintain_order=True).agg(
        count=col("numeric_value").first(), event_id=col("event_id").first()
    )


def last_days(record: Record) -> pl.DataFrame:
    """Calendar days of last follow-up (`last_fu`) and of progression or next therapy (`ended`), by course.

    Death is follow-up's end where nothing else is said.
    """
    return record.courses.select(
        "course",
        # Another infusion ends what can be said of this one.
        last_fu=pl.min_horizontal(
            days_since_day0("last_follow_up").fill_null(days_since_day0("death")), days_since_day0("until")
        ),
        ended=pl.min_horizontal(days_since_day0("progression"), days_since_day0("next_therapy")),
    )


def course_window(record: Record, last: int) -> pl.DataFrame:
    """The columns of `last_days` and the `last` day of each course's window: that day, or earlier last follow-up, progression or next therapy."""
    return last_days(record).with_columns(last=pl.min_horizontal(lit(last, pl.Int32), "last_fu", "ended"))


def grid(counts: pl.DataFrame, window: pl.DataFrame, first: int = 0) -> pl.DataFrame:
    """A row a course and day `first` to `last` of its `window`: `course, day, last, count, event_id`."""
    days = window.select("course", day=pl.int_ranges(first, col("last") + 1, dtype=pl.Int32), last="last")
    days = days.filter(col("day").list.len() > 0).explode("day")
    return days.join(counts, on=["course", "day"], how="left", maintain_order="left")


def filled(grid: pl.DataFrame, options: Options, *, first: int = 0, rounded: bool = False) -> pl.DataFrame:
    """Interpolate runs of at most `max_gap_days` missing days, as `filled`; longer runs stay missing in full."""
    limit = int(options["max_gap_days"])
    known = col("count").is_not_null()
    grid = grid.with_columns(
        _before=pl.when(known).then("day").forward_fill().over("course"),
        _after=pl.when(known).then("day").backward_fill().over("course"),
        _low=col("count").forward_fill().over("course"),
        _high=col("count").backward_fill().over("course"),
    )
    inner = col("_low") + (col("_high") - col("_low")) * (col("day") - col("_before")) / (col("_after") - col("_before"))
    gap = col("_after").fill_null(col("last") + 1) - col("_before").fill_null(first - 1) - 1
    edge = pl.coalesce("_low", "_high") if options["fill_ends"] == "nearest" else lit(None, pl.Float64)
    between = col("_before").is_not_null() & col("_after").is_not_null()
    value = pl.when(known).then("count").when(gap > limit).then(None).when(between).then(inner).otherwise(edge)
    if rounded:
        value = (value / 10).round(mode="half_to_even") * 10
    return grid.with_columns(filled=value).drop("_before", "_after", "_low", "_high")


def runs(grid: pl.DataFrame, low: pl.Expr, options: Options, *, unknown: bool) -> pl.DataFrame:
    """Runs of days on which `low` holds: `course, start, stop, last, days`, joined where the break is too short to be a recovery.

    A break at the very end that is too short to prove recovery belongs to the run.
    """
    recovery = int(options["recovery_days"])
    days = grid.filter(low.fill_null(unknown))
    gap = (col("day") - col("day").shift(1)).over("course")
    days = days.with_columns(run=(gap > recovery).fill_null(True).cum_sum().over("course"))
    found = days.group_by("course", "run").agg(start=col("day").min(), stop=col("day").max(), last=col("last").first())
    found = found.with_columns(stop=pl.when(col("last") - col("stop") < recovery).then("last").otherwise("stop"))
    return found.with_columns(days=col("stop") - col("start") + 1).sort("course", "start")


def days_given(record: Record, codes: tuple[str, ...], first: int, last: int, name: str) -> pl.DataFrame:
    """On how many days of a span a drug was given: `course, <name>`."""
    given = with_day(record, *codes).select("course", "day").unique()
    return given.filter(col("day").is_between(first, last)).group_by("course").agg(pl.len().alias(name))
