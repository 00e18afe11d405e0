"""How neutrophils recover: quick, intermittent (biphasic) or aplastic [rejeski2021].

Below 500 here is strict, unlike in ICAHT. Runs are of the interpolated days, dips of measured counts.
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.course import bounded, course_rows
from aftercar.grade.days import course_window, daily, days_given, filled, grid, runs
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


def phenotype(record: Record, options: Options, scale: Scale) -> pl.DataFrame:
    """One row a course."""
    window = course_window(record, LAST_DAY).with_columns(col("last").clip(0)).sort("course")
    counts = daily(record, options, "anc").join(window.select("course", "last"), on="course")
    counts = counts.filter(col("day").is_between(0, "last")).sort("course", "day")
    days = filled(grid(counts.drop("last"), window), options)
    low = runs(days, col("filled") < 500, options, unknown=False)
    longest = low.group_by("course").agg(longest=col("days").max(), start=col("start").sort_by("days", descending=True).first())
    frame = window.select("course", "last").join(longest, on="course", how="left", maintain_order="left")
    high = counts.filter(col("count") > 1500).group_by("course").agg(above=col("day").min())
    dips = counts.filter((col("count") < 1000) & (col("day") > DIP_AFTER_D)).join(high, on="course", how="left")
    dips = dips.group_by("course").agg(dip=col("day").min(), second_dip=col("day").filter(col("day") > col("above")).min())
    tests = counts.group_by("course", maintain_order=True).agg(
        counted=pl.len(), beyond=(col("day") > DIP_AFTER_D).any(), evidence="event_id"
    )
    for table in (high, dips, tests, _sustained(days)):
        frame = frame.join(table, on="course", how="left", maintain_order="left")
    frame = frame.with_columns(aplastic=(col("longest") >= APLASTIC_D).fill_null(False))
    known = col("beyond").fill_null(False)
    frame = frame.with_columns(
        intermittent=pl.when(known).then(col("second_dip").is_not_null()),
        quick=pl.when(known).then((col("recovered") & col("dip").is_null()).fill_null(False)) & ~col("aplastic"),
    )
    frame = bounded(frame, scale.criteria(options))
    word = (
        pl.when("aplastic").then(lit("aplastic")).when(~known).then(None).when("intermittent").then(lit("intermittent"))
        .when("quick").then(lit("quick")).otherwise(lit("unclassified"))
    )  # fmt: skip
    frame = frame.with_columns(group=word, status=pl.when(word.is_null()).then(lit("incomplete")).otherwise("status"))
    g_csf = days_given(record, of_group("g_csf"), 0, LAST_DAY, "g_csf_days")
    frame = frame.join(g_csf, on="course", how="left", maintain_order="left")
    measures = {n: col(n) for n in ("longest", "recovered_day", "above", "dip", "second_dip", "counted", "g_csf_days")}
    onset = pl.when("aplastic").then("start").otherwise("second_dip")
    return course_rows(
        frame, record, flags={"g_csf": col("g_csf_days") > 0}, measures=measures, first=lit(0), last=col("last"), onset=onset
    )


def _sustained(days: pl.DataFrame) -> pl.DataFrame:
    """Three consecutive days at or above 500 after the last day below it: `course, recovered, recovered_day`."""
    low = days.filter(col("filled") < 500).group_by("course").agg(after=col("day").max())
    well = days.filter(col("filled") >= 500).join(low, on="course", how="left", maintain_order="left")
    well = well.filter(col("day") > col("after").fill_null(-1))
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
