"""Second primary malignancies [tix2024], and the cytopenia for which to look in the marrow."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.course import bounded, course_rows, gather
from aftercar.grade.cytopenia import CUTS as CYTOPENIA
from aftercar.grade.days import course_days
from aftercar.grade.late import any_charted, charted, joined, signs
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.state import Record

WATCH_AFTER_D = 90
CUTS = CYTOPENIA[3]  # per uL, 10^9/L, g/dL


def criteria(options: Options) -> tuple[Criterion, ...]:
    """Any new malignancy; else a cytopenia that asks for a marrow."""
    watch = f"ANC < {CUTS['anc']:g}/uL, platelets < {CUTS['platelets']:g} x 10^9/L or Hb < {CUTS['hemoglobin']:g} g/dL after day {WATCH_AFTER_D}"
    return (
        Criterion(1, "malignancy", "second primary malignancy", col("group").is_not_null()),
        Criterion(0, "counts", watch, col("low").fill_null(False), mark="M"),
    )


def window(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """One row a course."""
    found = signs(record, "second_malignancy").group_by("course").agg(
        onset=col("day").min(), group=joined("second_malignancy"), spm_ids=col("event_id"), unsure=col("unsure").any()
    )  # fmt: skip
    late = charted(record, *CUTS).filter((col("day") > WATCH_AFTER_D) & ~col("away"))
    low = late.filter(col("numeric_value") < col("code").replace_strict(CUTS, return_dtype=pl.Float64))
    low = low.group_by("course").agg(low=lit(True), low_day=col("day").min(), low_ids=col("event_id"))
    frame = gather(course_days(record), found, low, any_charted(record, *SPM.codes))
    there, watch = col("group").is_not_null(), col("low").fill_null(False)
    status = pl.when(there).then(lit("criteria_met")).when(watch).then(lit("watch")).when("charted").then(lit("not_met"))
    frame = bounded(frame, scale.criteria(options)).with_columns(status=status.otherwise(lit("not_applicable")))
    flags = {"cytopenia_after_day_90": ~there & watch, "attribution_unknown": col("unsure")}
    measures = {"onset_day": col("onset"), "cytopenia_day": col("low_day")}
    evidence = pl.when(there).then("spm_ids").otherwise("low_ids")
    return course_rows(frame, onset=col("onset"), evidence=evidence, group=col("group"), flags=flags, measures=measures)


SPM = Scale(
    name="spm", title="Second primary malignancy", toxicity="spm", source="tix2024", version="1",
    criteria=criteria, window=window, lasts=False, codes=("second_malignancy", *CUTS), options=("day0", "unknown_attribution"),
    marks={"watch": "M"},
)  # fmt: skip

SCALES = (SPM,)
