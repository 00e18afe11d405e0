"""How neutrophils recover: quick, intermittent (biphasic) or aplastic [rejeski2021].

Below 500 here is strict, unlike in ICAHT. Runs are of the interpolated days, dips of measured counts.
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.course import bounded, course_rows, gather
from aftercar.grade.days import course_window, daily, days_given, filled, runs
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import of_group
from aftercar.timeline.state import Record

LAST_DAY = 60
APLASTIC_D = 14
DIP_AFTER_D = 21
SUSTAINED_D = 3


def criteria(options: Options) -> tuple[Criterion, ...]:
    """Precedence: aplastic, then intermittent, then quick."""
    return (
        Criterion(1, "recovery", "aplastic: ANC < 500/uL for 14 days or more", col("aplastic"), mark="M"),
        Criterion(1, "recovery", "intermittent: ANC > 1500/uL, then < 1000/uL after day 21", col("intermittent") & ~col("aplastic"), mark="M"),
        Criterion(0, "recovery", "quick: sustained recovery without a second dip", col("quick"), mark="M"),
    )  # fmt: skip


def phenotype(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """One row a course."""
    window = course_window(record, LAST_DAY).with_columns(col("last").clip(0))
    days = filled(daily(record, options, "anc"), window, options)
    low = runs(days, col("filled") < 500, options, unknown=False)
    longest = low.group_by("course").agg(
        longest=col("days").max(), start=col("start").filter(col("days") == col("days").max()).first()
    )
    counts = days.filter(col("count").is_not_null())
    high = counts.filter(col("count") > 1500).group_by("course").agg(above=col("day").min())
    dips = gather(counts.filter((col("count") < 1000) & (col("day") > DIP_AFTER_D)), high)
    dips = dips.group_by("course").agg(dip=col("day").min(), second_dip=col("day").filter(col("day") > col("above")).min())
    tests = counts.group_by("course").agg(counted=pl.len(), beyond=(col("day") > DIP_AFTER_D).any(), evidence="event_id")
    g_csf = days_given(record, of_group("g_csf"), 0, LAST_DAY, "g_csf_days")
    known, aplastic = col("beyond").fill_null(False), (col("longest") >= APLASTIC_D).fill_null(False)
    frame = gather(window, longest, high, dips, tests, _sustained(days), g_csf).with_columns(
        aplastic=aplastic,
        intermittent=pl.when(known).then(col("second_dip").is_not_null()),
        quick=pl.when(known).then((col("recovered") & col("dip").is_null()).fill_null(False)) & ~aplastic,
    )
    frame = bounded(frame, scale.criteria(options))
    word = (
        pl.when("aplastic").then(lit("aplastic")).when(~known).then(None).when("intermittent").then(lit("intermittent"))
        .when("quick").then(lit("quick")).otherwise(lit("unclassified"))
    )  # fmt: skip
    frame = frame.with_columns(status=pl.when(word.is_null()).then(lit("incomplete")).otherwise("status"))
    measures = {n: col(n) for n in ("longest", "recovered_day", "above", "dip", "second_dip", "counted", "g_csf_days")}
    return course_rows(
        frame, last=col("last"), onset=pl.when("aplastic").then("start").otherwise("second_dip"),
        evidence=col("evidence"), group=word, flags={"g_csf": col("g_csf_days") > 0}, measures=measures,
    )  # fmt: skip


def _sustained(days: pl.LazyFrame) -> pl.LazyFrame:
    """Three consecutive days at or above 500 after the last day below it: `course, recovered, recovered_day`."""
    low = days.filter(col("filled") < 500).group_by("course").agg(after=col("day").max())
    well = gather(days.filter(col("filled") >= 500), low).filter(col("day") > col("after").fill_null(-1))
    three = well.filter((col("day").shift(1 - SUSTAINED_D).over("course") - col("day")) == SUSTAINED_D - 1)
    return three.group_by("course").agg(recovered=lit(True), recovered_day=col("day").min())


SCALES = (
    Scale(
        name="anc_phenotype", title="Neutrophil recovery, Rejeski 2021", toxicity="neutrophil_recovery", source="rejeski2021", version="1",
        criteria=criteria, window=phenotype, lasts=False, codes=("anc", *of_group("g_csf")),
        options=("day0", "max_gap_days", "fill_ends", "recovery_days", "gcsf"),
        marks={"phenotypes": "M", "joining of runs as in ICAHT": "P", "what is a sustained recovery": "P", "day 0-60": "P"},
    ),
)  # fmt: skip
