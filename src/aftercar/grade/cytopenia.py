"""Cytopenia after CAR-T by its usual endpoints [rejeski2021], and by period: early and delayed [lecture], or early, prolonged and late [jain2023ash]."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.course import bounded, course_rows, gather, ids, texts
from aftercar.grade.days import EARLY_LAST_DAY, course_days, course_window, daily, filled, runs, with_day, within
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import of_group
from aftercar.timeline.state import Record

PROTRACTED_D = 7
PROLONGED_FROM_D = 21
# CTCAE cells of a cytopenia by its least grade: below these counts.
CUTS = {3: {"anc": 1000.0, "platelets": 50.0, "hemoglobin": 8.0}, 4: {"anc": 500.0, "platelets": 25.0}}
# Periods by who divides: name, first and last day (none: to the end of the record).
PERIODS: dict[str, tuple[tuple[str, int, int | None], ...]] = {
    "lecture": (("early", 0, 29), ("delayed", 30, 90)),
    "ash": (("early", 0, 29), ("prolonged", 30, 90), ("late", 91, None)),
}


# ---- endpoints


def criteria(options: Options) -> tuple[Criterion, ...]:
    """Each endpoint that is met; the grade only says whether any is."""
    return (
        Criterion(1, "ANC", "severe neutropenia: ANC <= 500/uL", col("severe")),
        Criterion(1, "ANC", "profound neutropenia: ANC <= 100/uL", col("profound")),
        Criterion(1, "ANC", "protracted severe neutropenia: 7 days or more", col("protracted")),
        Criterion(1, "ANC from day 21", "prolonged neutropenia: ANC <= 1000/uL on day 21 or later", col("prolonged")),
        Criterion(1, "platelets", "severe thrombocytopenia: platelets < 50 x 10^9/L", col("thrombocytopenia")),
        Criterion(1, "haemoglobin", "anaemia: haemoglobin < 8 g/dL or transfused", col("anaemia")),
    )


def endpoints(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """One row a course."""
    window = course_window(record, int(options["late_end_day"]))
    value, day, rows = col("count"), col("day"), col("event_id")
    beyond = day >= PROLONGED_FROM_D
    low_anc = (value <= 500) | ((value <= 1000) & beyond)
    neutrophils = daily(record, options, "anc")
    anc = within(neutrophils, window).group_by("course").agg(
        severe=(value <= 500).any(), profound=(value <= 100).any(), prolonged=((value <= 1000) & beyond).any(), beyond=beyond.any(),
        anc_ids=rows.filter(low_anc), anc_all=rows, anc_day=day.filter(low_anc).min(),
    )  # fmt: skip
    platelets = within(daily(record, options, "platelets"), window).group_by("course").agg(
        thrombocytopenia=(value < 50).any(), platelet_ids=rows.filter(value < 50), platelet_all=rows, platelet_day=day.filter(value < 50).min()
    )  # fmt: skip
    hb = within(daily(record, options, "hemoglobin"), window).group_by("course").agg(
        low_hb=(value < 8).any(), hb_ids=rows.filter(value < 8), hb_all=rows, hb_day=day.filter(value < 8).min()
    )  # fmt: skip
    given = with_day(record, "red_cell_transfusion").filter((col("numeric_value") != 0).fill_null(True))
    given = within(given, window).group_by("course").agg(transfused=lit(True), red_ids=rows, red_day=day.min())
    early = window.with_columns(last=pl.min_horizontal("last", lit(EARLY_LAST_DAY, pl.Int32)).clip(0))
    days = filled(neutrophils, early, options)
    long = runs(days, col("filled") <= 500, options, unknown=False).group_by("course").agg(d500=col("days").max())
    frame = gather(window, anc, platelets, hb, given, long).with_columns(
        protracted=pl.when(col("severe").is_not_null()).then((col("d500") >= PROTRACTED_D).fill_null(False)),
        prolonged=pl.when("beyond").then("prolonged"),
        # A transfusion is anaemia; without one a count must say.
        anaemia=pl.when("transfused").then(True).otherwise("low_hb"),
    )
    cells = scale.criteria(options)
    frame = bounded(frame, cells)
    # Endpoints are told one by one: those that are unknown are missing, whatever the others say.
    axes = {c.axis: [d.when for d in cells if d.axis == c.axis] for c in cells}
    frame = frame.with_columns(
        missing=texts((pl.any_horizontal(w.is_null() for w in whens), axis) for axis, whens in axes.items())
    )
    found, every = ids("anc_ids", "platelet_ids", "hb_ids", "red_ids"), ids("anc_all", "platelet_all", "hb_all")
    return course_rows(
        frame, last=col("last"), onset=pl.min_horizontal("anc_day", "platelet_day", "hb_day", "red_day"),
        evidence=pl.when(col("grade") > 0).then(found).otherwise(every), measures={"d500": col("d500")},
    )  # fmt: skip


# ---- periods


def period_criteria(options: Options) -> tuple[Criterion, ...]:
    """A cytopenia in each period."""
    words = {None: "after day {first}", 1: "day {first}-{last}"}
    mark = "lecture-only" if options["cytopenia_split"] == "lecture" else "V"
    cells = []
    for name, first, last in PERIODS[str(options["cytopenia_split"])]:
        when = words[None].format(first=first - 1) if last is None else words[1].format(first=first, last=last)
        cells.append(Criterion(1, name, f"{name} cytopenia: {when}", col(name), mark=mark))
    return tuple(cells)


def periods(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """One row a course."""
    cuts = CUTS[int(options["cytopenia_min_grade"])]
    split = PERIODS[str(options["cytopenia_split"])]
    # Periods end by the calendar alone; a null `last` is the end of the record.
    window = course_days(record).with_columns(last=lit(split[-1][2], pl.Int32))
    counts = pl.concat(daily(record, options, code).with_columns(low=col("count") < cut) for code, cut in cuts.items())
    cells = {}
    for name, first, last in split:
        own = (col("day") >= first) & (col("day") <= last if last is not None else lit(True))
        # A period without any count is unknown.
        cells[name] = pl.when(own.any()).then(col("low").filter(own).any())
    found = (
        within(counts, window)
        .group_by("course")
        .agg(**cells, low_ids=col("event_id").filter("low"), every="event_id", onset=col("day").filter("low").min())
    )
    frame = bounded(gather(window, found), scale.criteria(options))
    names = [name for name, _, _ in split]
    group = texts((col(n), n) for n in names).list.join("+").replace({"": "none"})
    missing = texts((col(n).is_null(), n) for n in names)
    return course_rows(
        frame.with_columns(missing=missing), last=col("last"), onset=col("onset"),
        evidence=pl.when(col("grade") > 0).then("low_ids").otherwise("every"), group=group,
    )  # fmt: skip


_G_CSF = of_group("g_csf")

SCALES = (
    Scale(
        name="cytopenia_endpoints", title="Cytopenia endpoints", toxicity="cytopenia", source="rejeski2021", version="1", criteria=criteria,
        window=endpoints, lasts=False, codes=("anc", "platelets", "hemoglobin", "red_cell_transfusion", *_G_CSF),
        options=("day0", "late_end_day", "max_gap_days", "fill_ends", "recovery_days", "gcsf"), marks={"day 0-100": "P"},
    ),
    Scale(
        name="cytopenia_split", title="Cytopenia by period", toxicity="cytopenia_period", source="lecture", also=("jain2023ash",), version="1",
        criteria=period_criteria, window=periods, lasts=False, codes=("anc", "platelets", "hemoglobin", *_G_CSF),
        options=("day0", "cytopenia_min_grade", "cytopenia_split", "gcsf"), marks={"which counts are a cytopenia": "P"},
    ),
)  # fmt: skip
