"""Cytopenia after CAR-T by its usual endpoints [rejeski2021], and by period: early and delayed [lecture], or early, prolonged and late [jain2023ash]."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.course import bounded, course_rows
from aftercar.grade.days import EARLY_LAST_DAY, course_window, daily, filled, grid, runs, with_day
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


def _within(record: Record, options: Options, code: str, window: pl.DataFrame) -> pl.DataFrame:
    counts = daily(record, options, code).join(window, on="course")
    return counts.filter((col("day") >= 0) & ((col("day") <= col("last")) | col("last").is_null()))


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


def endpoints(record: Record, options: Options, scale: Scale) -> pl.DataFrame:
    """One row a course."""
    window = course_window(record, int(options["late_end_day"])).select("course", "last").sort("course")
    value = col("count")
    low_anc = (value <= 500) | ((value <= 1000) & (col("day") >= PROLONGED_FROM_D))
    anc = _within(record, options, "anc", window).group_by("course").agg(
        severe=(value <= 500).any(), profound=(value <= 100).any(),
        prolonged=((value <= 1000) & (col("day") >= PROLONGED_FROM_D)).any(), beyond=(col("day") >= PROLONGED_FROM_D).any(),
        anc_ids=col("event_id").filter(low_anc), anc_all="event_id", anc_day=col("day").filter(low_anc).min(),
    )  # fmt: skip
    platelets = _within(record, options, "platelets", window).group_by("course").agg(
        thrombocytopenia=(value < 50).any(), platelet_ids=col("event_id").filter(value < 50), platelet_all="event_id",
        platelet_day=col("day").filter(value < 50).min(),
    )  # fmt: skip
    hb = _within(record, options, "hemoglobin", window).group_by("course").agg(
        low_hb=(value < 8).any(), hb_ids=col("event_id").filter(value < 8), hb_all="event_id", hb_day=col("day").filter(value < 8).min(),
    )  # fmt: skip
    given = with_day(record, "red_cell_transfusion").join(window, on="course").filter(
        (col("day") >= 0) & ((col("day") <= col("last")) | col("last").is_null()) & (col("numeric_value") != 0).fill_null(True)
    )  # fmt: skip
    given = given.group_by("course").agg(transfused=lit(True), red_ids="event_id", red_day=col("day").min())
    early = window.with_columns(last=pl.min_horizontal("last", lit(EARLY_LAST_DAY, pl.Int32)).clip(0))
    days = filled(grid(daily(record, options, "anc"), early), options)
    long = runs(days, col("filled") <= 500, options, unknown=False).group_by("course").agg(d500=col("days").max())
    frame = window
    for table in (anc, platelets, hb, given, long):
        frame = frame.join(table, on="course", how="left", maintain_order="left")
    frame = frame.with_columns(
        protracted=pl.when(col("severe").is_not_null()).then((col("d500") >= PROTRACTED_D).fill_null(False)),
        prolonged=pl.when("beyond").then("prolonged"),
        # A transfusion is anaemia; without one a count must say.
        anaemia=pl.when("transfused").then(True).otherwise("low_hb"),
    )
    frame = bounded(frame, scale.criteria(options))
    # Endpoints are told one by one: those that are unknown are missing, whatever the others say.
    cells = {c.axis: [d.when for d in scale.criteria(options) if d.axis == c.axis] for c in scale.criteria(options)}
    open_ = [pl.when(pl.any_horizontal(w.is_null() for w in parts)).then(lit(axis)) for axis, parts in cells.items()]
    empty = lit([], pl.List(pl.Int64))
    found = pl.concat_list(col(c).fill_null(empty) for c in ("anc_ids", "platelet_ids", "hb_ids", "red_ids"))
    every = pl.concat_list(col(c).fill_null(empty) for c in ("anc_all", "platelet_all", "hb_all"))
    frame = frame.with_columns(
        missing=pl.concat_list(open_).list.drop_nulls(),
        evidence=pl.when(col("grade") > 0).then(found).otherwise(every),
        onset=pl.min_horizontal("anc_day", "platelet_day", "hb_day", "red_day"),
    )
    return course_rows(frame, record, measures={"d500": col("d500")}, first=lit(0), last=col("last"), onset=col("onset"))


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


def periods(record: Record, options: Options, scale: Scale) -> pl.DataFrame:
    """One row a course."""
    cuts = CUTS[int(options["cytopenia_min_grade"])]
    split = PERIODS[str(options["cytopenia_split"])]
    # Periods end by the calendar alone; a null `last` is the end of the record.
    window = record.courses.select("course", last=lit(split[-1][2], pl.Int32)).sort("course")
    counts = pl.concat(_within(record, options, code, window).with_columns(low=col("count") < cut) for code, cut in cuts.items())
    cells = {}
    for name, first, last in split:
        own = (col("day") >= first) & (col("day") <= last if last is not None else lit(True))
        cells |= {name: col("low").filter(own).any(), f"{name}_n": own.sum()}
    found = counts.group_by("course").agg(
        **cells, low_ids=col("event_id").filter("low"), every="event_id", onset=col("day").filter("low").min()
    )
    frame = window.join(found, on="course", how="left", maintain_order="left")
    names = [name for name, _, _ in split]
    # A period without any count is unknown.
    frame = frame.with_columns(pl.when(col(f"{n}_n") > 0).then(n).alias(n) for n in names)
    frame = bounded(frame, scale.criteria(options))
    group = pl.concat_list([pl.when(col(n).fill_null(False)).then(lit(n)) for n in names]).list.drop_nulls().list.join("+")
    missing = pl.concat_list([pl.when(col(n).is_null()).then(lit(n)) for n in names]).list.drop_nulls()
    frame = frame.with_columns(
        group=group.replace({"": "none"}),
        missing=missing,
        evidence=pl.when(col("grade") > 0).then("low_ids").otherwise("every"),
    )
    return course_rows(frame, record, first=lit(0), last=col("last"), onset=col("onset"))


_G_CSF = of_group("g_csf")

SCALES = (
    Scale(
        name="cytopenia_endpoints", title="Cytopenia endpoints", toxicity="cytopenia", source="rejeski2021", version="1", criteria=criteria,
        window=endpoints, lasts=False, codes=("anc", "platelets", "hemoglobin", "red_cell_transfusion", *_G_CSF),
        options=("day0", "late_end_day", "max_gap_days", "fill_ends", "recovery_days", "gcsf"), marks={"day 0-100": "P"},
    ),
    Scale(
        name="cytopenia_split", title="Cytopenia by period", toxicity="cytopenia_period", source="lecture", version="1", criteria=period_criteria,
        window=periods, lasts=False, codes=("anc", "platelets", "hemoglobin", *_G_CSF),
        options=("day0", "cytopenia_min_grade", "cytopenia_split", "gcsf"), marks={"which counts are a cytopenia": "P"},
    ),
)  # fmt: skip
