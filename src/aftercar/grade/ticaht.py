"""T-ICAHT: thrombocytopenia after CAR-T, early and late [rejeski2025].

Cuts are strictly below, unlike those of ICAHT; days add up, and days of a recovery that does not last count. Platelets are 10^9 per litre,
values after a transfusion as measured.
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.course import bounded, course_rows, gather
from aftercar.grade.days import EARLY_LAST_DAY, course_window, daily, days_after, filled, runs, with_day, within
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.state import Record

TRANSFUSION_FREE_D = 7  # days before a recovery without a transfusion


def early_criteria(options: Options) -> tuple[Criterion, ...]:
    """Day 0-30: days below 50 and below 20."""
    return (
        Criterion(1, "platelets < 50", "platelets < 50 x 10^9/L for 1-6 days", col("d50") >= 1),
        Criterion(2, "platelets < 50", "platelets < 50 x 10^9/L for 7 days or more", col("d50") >= 7),
        Criterion(3, "platelets < 20", "platelets < 20 x 10^9/L for 1-13 days", col("d20") >= 1),
        Criterion(4, "platelets < 20", "platelets < 20 x 10^9/L for 14 days or more", col("d20") >= 14),
    )


def late_criteria(options: Options) -> tuple[Criterion, ...]:
    """After day 30: two tests below a cut, or the only one."""
    return (
        Criterion(1, "platelets", "platelets < 100 x 10^9/L, two tests or non-transient", col("low100")),
        Criterion(2, "platelets", "platelets < 50 x 10^9/L, two tests or non-transient", col("low50")),
        Criterion(3, "platelets", "platelets < 20 x 10^9/L for 1-13 days, two tests or non-transient", col("low20")),
        Criterion(4, "platelets", "platelets < 20 x 10^9/L for 14 days or more", col("low20") & (col("d20") >= 14)),
    )


def _total(days: pl.LazyFrame, cut: float, options: Options, *, unknown: bool = False) -> pl.LazyFrame:
    """Days below a cut, those of breaks that are no recovery among them: `course, n, start, stop`."""
    found = runs(days, col("filled") < cut, options, unknown=unknown)
    return found.group_by("course").agg(n=col("days").sum(), start=col("start").min(), stop=col("stop").max())


def _transfused(record: Record, window: pl.LazyFrame, first: int = 0) -> pl.LazyFrame:
    """On how many days of each window platelets were given: `course, transfused_days`."""
    given = within(with_day(record, "platelet_transfusion"), window, first)
    return given.group_by("course").agg(transfused_days=col("day").n_unique())


def early(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """One row a course."""
    window = course_window(record, EARLY_LAST_DAY).with_columns(last=col("last").clip(0))
    days = filled(daily(record, options, "platelets"), window, options)
    totals = [
        _total(days, cut, options, unknown=unknown).select("course", col("n").alias(name), col("start", "stop").name.prefix(f"{name}_"))
        for cut, unknown, name in ((50, False, "d50"), (50, True, "d50_up"), (20, False, "d20"), (20, True, "d20_up"))
    ]  # fmt: skip
    facts = days.group_by("course").agg(
        counted=col("count").is_not_null().sum(),
        blank=col("filled").is_null().sum(),
        every=col("event_id").drop_nulls(),
        low=col("event_id").filter(col("count") < 50).drop_nulls(),
    )
    frame = gather(window, *totals, facts, _recovery(record, days), _transfused(record, window))
    frame = frame.with_columns(col("d50", "d20", "d50_up", "d20_up").fill_null(0))
    frame = bounded(frame, scale.criteria(options), ("d50", "d20"))
    flags = {"sparse_platelets": col("blank") > 0, "platelets_transfused": col("transfused_days") > 0}
    measures = {n: col(n) for n in ("d50", "d20", "counted", "blank", "recovery_day", "transfused_days")}
    return course_rows(
        frame, last=col("last"), onset=col("d50_start"), stop=col("d50_stop"),
        evidence=pl.when(col("grade") > 0).then("low").otherwise("every"), flags=flags, measures=measures,
    )  # fmt: skip


def _recovery(record: Record, days: pl.LazyFrame) -> pl.LazyFrame:
    """First of three consecutive days at or above 20 after the last day below, without a transfusion on it or in the 7 days before."""
    low = days.filter(col("filled") < 20).group_by("course").agg(after=col("day").max())
    well = gather(days, low).filter((col("filled") >= 20) & (col("day") > col("after")))
    well = well.filter((col("day").shift(-2).over("course") - col("day")) == 2)
    under = days_after(with_day(record, "platelet_transfusion"), TRANSFUSION_FREE_D)
    free = well.join(under, on=["course", "day"], how="anti", maintain_order="left")
    return free.group_by("course").agg(recovery_day=col("day").min())


def late(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """One row a course."""
    first = EARLY_LAST_DAY + 1
    window = course_window(record, int(options["late_end_day"]))
    days = filled(daily(record, options, "platelets"), window, options, first=first)
    tests = days.filter(col("count").is_not_null()).group_by("course").agg(
        counted=pl.len(),
        nadir=col("count").min(),
        nadir_day=col("day").get(col("count").arg_min()),
        **{f"n{cut}": (col("count") < cut).sum() for cut in (100, 50, 20)},
        every=col("event_id"),
        low=col("event_id").filter(col("count") < 100),
        low_day=col("day").filter(col("count") < 100).min(),
    )  # fmt: skip
    below = _total(days, 20, options).select("course", d20="n")
    alone = col("counted") == 1
    frame = gather(window, tests, below, _transfused(record, window, first)).with_columns(
        col("d20").fill_null(0),
        **{f"low{cut}": ((col(f"n{cut}") >= 2) | (alone & (col(f"n{cut}") >= 1))).fill_null(False) for cut in (100, 50, 20)},
    )
    frame = bounded(frame, scale.criteria(options))
    no_data = col("counted").is_null()
    absent = lit("graded" if options["late_no_data"] == 0 else "not_applicable")
    frame = frame.with_columns(status=pl.when(no_data).then(absent).otherwise("status"))
    flags = {
        "transient_dip": (col("nadir") < 100) & (col("grade") == 0), "platelets_transfused": col("transfused_days") > 0, "no_platelets": no_data,
    }  # fmt: skip
    measures = {n: col(n) for n in ("nadir", "nadir_day", "d20", "counted", "transfused_days")}
    return course_rows(
        frame, first=lit(first), last=col("last"), onset=col("low_day"),
        evidence=pl.when(col("grade") > 0).then("low").otherwise("every"), flags=flags, measures=measures,
    )  # fmt: skip


_CODES = ("platelets", "platelet_transfusion")
_GAPS = ("day0", "max_gap_days", "fill_ends", "recovery_days")

SCALES = (
    Scale(
        name="ticaht_early", title="T-ICAHT early, 2025", toxicity="ticaht_early", source="rejeski2025", version="1", criteria=early_criteria,
        window=early, codes=_CODES, options=_GAPS,
        marks={"gaps are interpolated as for ICAHT": "P", "values after a transfusion count as measured": "P"},
    ),
    Scale(
        name="ticaht_late", title="T-ICAHT late, 2025", toxicity="ticaht_late", source="rejeski2025", version="1", criteria=late_criteria,
        window=late, lasts=False, codes=_CODES, options=(*_GAPS, "late_end_day", "late_no_data"),
        marks={"two tests below each cut": "P", "values after a transfusion count as measured": "P"},
    ),
)  # fmt: skip
