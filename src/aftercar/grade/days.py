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


def course_days(record: Record) -> pl.LazyFrame:
    """A row a course, sorted by `course`: what is known of it, and the calendar days of its turns.

    Columns: `course, day0, record_end, target, disease, death_cause, midnight`; the days of death (`death_day`), of last follow-up
    (`last_fu`), and of progression or next therapy (`ended`). Death is follow-up's end where nothing else is said.
    """
    return record.once("course_days", lambda: _course_days(record)).lazy()


def _course_days(record: Record) -> pl.DataFrame:
    return record.courses.select(
        "course", "day0", "record_end", "target", "disease", "death_cause",
        midnight=midnight(),
        death_day=days_since_day0("death"),
        # Another infusion ends what can be said of this one.
        last_fu=pl.min_horizontal(
            days_since_day0("last_follow_up").fill_null(days_since_day0("death")), days_since_day0("until")
        ),
        ended=pl.min_horizontal(days_since_day0("progression"), days_since_day0("next_therapy")),
    )  # fmt: skip


def course_window(record: Record, last: int) -> pl.LazyFrame:
    """`course_days` and the `last` day of each course's window: that day, or earlier last follow-up, progression or next therapy."""
    return course_days(record).with_columns(last=pl.min_horizontal(lit(last, pl.Int32), "last_fu", "ended"))


def within(rows: pl.LazyFrame, window: pl.LazyFrame, first: int = 0) -> pl.LazyFrame:
    """Rows of which the `day` lies in its course's window, from day `first` on; a null `last` is the end of the record."""
    rows = rows.join(window.select("course", "last"), on="course", how="left", maintain_order="left")
    return rows.filter((col("day") >= first) & ((col("day") <= col("last")) | col("last").is_null()))


def ever(record: Record, *codes: str) -> bool:
    """Whether any of these was charted of anybody."""
    return any(code in record.by_code for code in codes)


def with_day(record: Record, *codes: str) -> pl.LazyFrame:
    """Events of these codes with their calendar `day`, code by code."""
    events = [record.by_code[code] for code in codes if code in record.by_code] or [record.of()]
    zero = course_days(record).select("course", "midnight")
    events = pl.concat(e.lazy() for e in events).join(zero, on="course", how="left", maintain_order="left")
    return events.with_columns(day=calendar_day(col("at"), col("midnight")))


def days_after(events: pl.LazyFrame, n: int) -> pl.LazyFrame:
    """The days of events and the `n` days after each: `course, day`."""
    return events.select("course", day=pl.int_ranges("day", col("day") + n + 1, dtype=pl.Int32)).explode("day")


def days_given(record: Record, codes: tuple[str, ...], first: int, last: int, name: str) -> pl.LazyFrame:
    """On how many days of a span a drug was given: `course, <name>`."""
    given = with_day(record, *codes).filter(col("day").is_between(first, last))
    return given.group_by("course").agg(col("day").n_unique().alias(name))


def daily(record: Record, options: Options, code: str) -> pl.LazyFrame:
    """The lowest count of each calendar day: `course, day, count, event_id`."""
    return record.once(("daily", code), lambda: _daily(record, options, code).collect(engine="in-memory")).lazy()


def _daily(record: Record, options: Options, code: str) -> pl.LazyFrame:
    # A row without a number is no count, and hides none of its day.
    counts = with_day(record, code).filter(col("numeric_value").is_not_null())
    if code == "anc" and options["gcsf"] == "censor_3d_after":
        under = days_after(with_day(record, *of_group("g_csf")), G_CSF_WASHOUT_D)
        counts = counts.join(under, on=["course", "day"], how="anti", maintain_order="left")
    counts = counts.sort("course", "day", "numeric_value", "event_id")
    return counts.group_by("course", "day", maintain_order=True).agg(
        count=col("numeric_value").first(), event_id=col("event_id").first()
    )


def filled(
    counts: pl.LazyFrame, window: pl.LazyFrame, options: Options, *, first: int = 0, rounded: bool = False
) -> pl.LazyFrame:
    """A row a course and day `first` to `last` of its `window`: `course, day, last, count, event_id, filled`.

    `filled` interpolates runs of at most `max_gap_days` missing days; longer runs stay missing in full.
    """
    limit = int(options["max_gap_days"])
    known = col("count").is_not_null()
    days = window.select("course", day=pl.int_ranges(first, col("last") + 1, dtype=pl.Int32), last="last")
    days = days.filter(col("day").list.len() > 0).explode("day")
    days = days.join(counts, on=["course", "day"], how="left", maintain_order="left").with_columns(
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
    days = days.select("course", "day", "last", "count", "event_id", filled=value)
    # Several tables are drawn from it: it is made once.
    return days.collect(engine="in-memory").lazy()


def runs(days: pl.LazyFrame, low: pl.Expr, options: Options, *, unknown: bool) -> pl.LazyFrame:
    """Runs of days on which `low` holds: `course, start, stop, last, days`, joined where the break is too short to be a recovery.

    A break at the very end that is too short to prove recovery belongs to the run.
    """
    recovery = int(options["recovery_days"])
    days = days.filter(low.fill_null(unknown))
    begins = (col("course") != col("course").shift(1)) | (col("day") - col("day").shift(1) > recovery)
    found = days.group_by(begins.fill_null(True).cum_sum().alias("run"), maintain_order=True).agg(
        col("course").first(), start=col("day").first(), stop=col("day").last(), last=col("last").first()
    )
    found = found.with_columns(stop=pl.when(col("last") - col("stop") < recovery).then("last").otherwise("stop"))
    return found.with_columns(days=col("stop") - col("start") + 1)
