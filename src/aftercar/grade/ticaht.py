"""T-ICAHT: thrombocytopenia after CAR-T, early and late [rejeski2025].

Cuts are strictly below, unlike those of ICAHT; days add up, and days of a recovery that does not last count. Platelets are 10^9 per litre,
values after a transfusion as measured.
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.course import bounded, course_rows
from aftercar.grade.days import EARLY_LAST_DAY, course_window, daily, filled, grid, runs, with_day
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


def _total(days: pl.DataFrame, cut: float, options: Options, *, unknown: bool = False) -> pl.DataFrame:
    """Days below a cut, those of breaks that are no recovery among them: `course, n, start, stop`."""
    found = runs(days, col("filled") < cut, options, unknown=unknown)
    return found.group_by("course").agg(n=col("days").sum(), start=col("start").min(), stop=col("stop").max())


def _transfused(record: Record, window: pl.DataFrame, first: int) -> pl.DataFrame:
    """On how many days of each window platelets were given: `course, transfused_days`."""
    given = with_day(record, "platelet_transfusion").select("course", "day").unique()
    within = given.join(window.select("course", "last"), on="course").filter(col("day").is_between(first, "last"))
    return within.group_by("course").agg(transfused_days=pl.len())


def early(record: Record, options: Options, scale: Scale) -> pl.DataFrame:
    """One row a course."""
    window = course_window(record, EARLY_LAST_DAY).with_columns(last=col("last").clip(0))
    days = filled(grid(daily(record, options, "platelets"), window), options)
    frame = window.select("course", "last").sort("course")
    for name, cut in (("d50", 50.0), ("d20", 20.0)):
        low = _total(days, cut, options).rename({"n": name, "start": f"{name}_start", "stop": f"{name}_stop"})
        high = _total(days, cut, options, unknown=True).select("course", col("n").alias(f"{name}_up"))
        frame = frame.join(low, on="course", how="left", maintain_order="left").join(
            high, on="course", how="left", maintain_order="left"
        )
    frame = frame.with_columns(col("d50", "d20", "d50_up", "d20_up").fill_null(0))
    frame = bounded(frame, scale.criteria(options), ("d50", "d20"))
    facts = days.group_by("course").agg(
        counted=col("count").is_not_null().sum(),
        blank=col("filled").is_null().sum(),
        every=col("event_id").drop_nulls(),
        low=col("event_id").filter(col("count") < 50).drop_nulls(),
    )
    frame = frame.join(facts, on="course", how="left", maintain_order="left")
    frame = frame.join(_recovery(record, days), on="course", how="left", maintain_order="left")
    frame = frame.join(_transfused(record, window, 0), on="course", how="left", maintain_order="left")
    frame = frame.with_columns(evidence=pl.when(col("grade") > 0).then("low").otherwise("every"))
    flags = {"sparse_platelets": col("blank") > 0, "platelets_transfused": col("transfused_days") > 0}
    measures = {n: col(n) for n in ("d50", "d20", "counted", "blank", "recovery_day", "transfused_days")}
    return course_rows(
        frame,
        record,
        flags=flags,
        measures=measures,
        first=lit(0),
        last=col("last"),
        onset=col("d50_start"),
        stop=col("d50_stop"),
    )


def _recovery(record: Record, days: pl.DataFrame) -> pl.DataFrame:
    """First of three consecutive days at or above 20 after the last day below, without a transfusion on it or in the 7 days before."""
    low = days.filter(col("filled") < 20).group_by("course").agg(after=col("day").max())
    well = days.join(low, on="course", how="inner", maintain_order="left").filter(
        (col("filled") >= 20) & (col("day") > col("after"))
    )
    well = well.filter((col("day").shift(-2).over("course") - col("day")) == 2)
    given = with_day(record, "platelet_transfusion").select("course", "day").unique()
    held = pl.DataFrame({"later": range(TRANSFUSION_FREE_D + 1)}, schema={"later": pl.Int32})
    under = given.join(held, how="cross").select("course", day=col("day") + col("later")).unique()
    free = well.join(under, on=["course", "day"], how="anti", maintain_order="left")
    return free.group_by("course").agg(recovery_day=col("day").min())


def late(record: Record, options: Options, scale: Scale) -> pl.DataFrame:
    """One row a course."""
    first = EARLY_LAST_DAY + 1
    window = course_window(record, int(options["late_end_day"])).sort("course")
    counts = daily(record, options, "platelets").join(window.select("course", "last"), on="course")
    counts = counts.filter(col("day").is_between(first, "last"))
    days = filled(grid(counts.drop("last"), window, first), options, first=first)
    tests = counts.sort("course", "day").group_by("course", maintain_order=True).agg(
        counted=pl.len(),
        nadir=col("count").min(),
        nadir_day=col("day").get(col("count").arg_min()),
        **{f"n{cut}": (col("count") < cut).sum() for cut in (100, 50, 20)},
        every=col("event_id"),
        low=col("event_id").filter(col("count") < 100),
        low_day=col("day").filter(col("count") < 100).min(),
    )  # fmt: skip
    frame = window.join(tests, on="course", how="left", maintain_order="left")
    frame = frame.join(_total(days, 20, options).select("course", d20="n"), on="course", how="left", maintain_order="left")
    alone = col("counted") == 1
    frame = frame.with_columns(
        col("d20").fill_null(0),
        **{f"low{cut}": ((col(f"n{cut}") >= 2) | (alone & (col(f"n{cut}") >= 1))).fill_null(False) for cut in (100, 50, 20)},
    )
    frame = bounded(frame, scale.criteria(options))
    no_data = col("counted").is_null()
    absent = lit("graded" if options["late_no_data"] == 0 else "not_applicable")
    frame = frame.with_columns(
        status=pl.when(no_data).then(absent).otherwise("status"),
        evidence=pl.when(col("grade") > 0).then("low").otherwise("every"),
    )
    frame = frame.join(_transfused(record, window, first), on="course", how="left", maintain_order="left")
    flags = {
        "transient_dip": (col("nadir") < 100) & (col("grade") == 0), "platelets_transfused": col("transfused_days") > 0, "no_platelets": no_data,
    }  # fmt: skip
    measures = {n: col(n) for n in ("nadir", "nadir_day", "d20", "counted", "transfused_days")}
    return course_rows(frame, record, flags=flags, measures=measures, first=lit(first), last=col("last"), onset=col("low_day"))


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
