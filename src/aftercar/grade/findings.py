"""Blood pressure, vasopressors and oxygen as the CRS scales read them, each with what is unknown left open."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.options import Options
from aftercar.timeline.concepts import concept, of_group
from aftercar.timeline.state import HOUR, SPAN, Record, grid, look, origin, overlaps, readings, running, steps

LOW_SATURATION = 90  # percent; below it, without oxygen given, a warning. A convention of this project.
SAME_CHARTING_S = HOUR  # a flow charted this long before its device still belongs to it

# The support that each device gives, by the ASTCT table; `None` depends on the flow. Rows from least to most.
NONE, LOW_FLOW, HIGH_FLOW, POSITIVE_PRESSURE = 0, 2, 3, 4
DEVICES: dict[str, int | None] = {
    "room_air": NONE,
    "nasal_cannula": None,  # up to 6 L/min low flow, above it high flow
    "blow_by": LOW_FLOW,
    "hfnc": None,
    "face_mask": HIGH_FLOW,  # whatever the flow
    "venturi": HIGH_FLOW,
    "partial_rebreather": HIGH_FLOW,
    "non_rebreather": HIGH_FLOW,
    "tracheostomy_collar": HIGH_FLOW,  # mask equivalent: a convention of this project
    "t_piece": HIGH_FLOW,
    "hyperbaric": HIGH_FLOW,
    "nitric_oxide": HIGH_FLOW,
    "cpap": POSITIVE_PRESSURE,
    "bipap": POSITIVE_PRESSURE,
    "niv": POSITIVE_PRESSURE,
    "ventilator": POSITIVE_PRESSURE,
    "ecmo": POSITIVE_PRESSURE,
}
LOW_FLOW_MAX = 6.0  # L/min, inclusive

CODES = (
    "temperature", "hypotension", "sbp", "map", "spo2", "o2_device", "o2_flow", "fio2", "o2_device_baseline",
    "o2_flow_baseline", "record_complete",
    *of_group("vasopressor"), *of_group("vasopressin_like"), *of_group("inodilator"), *of_group("pressure_adjunct"),
)  # fmt: skip


def covered(record: Record, stream: str) -> pl.DataFrame:
    """When a stream of the record is complete: `at, until, event_id`."""
    rows = record.of("record_complete").filter(col("text_value") == stream)
    return (
        rows.select("at", until=col("end_at").fill_null(col("at")) + 1, event_id=col("event_id"))
        .unique("at", keep="last")
        .sort("at")
    )


def states(record: Record, options: Options, extra: list[pl.DataFrame] | None = None) -> pl.DataFrame:
    """One row an interval: temperature, hypotension, vasopressors and oxygen.

    Columns: `course, at, last_at`; `observed_at` (`at`, where something was charted at that very time); `temperature` and the reading
    behind it; `hypotension` (null: unknown); `pressors` (counted agents), `pressors_concurrent` (two or more, no hand-over),
    `vasopressin`, `inotrope`; `o2`, `o2_upper` (support, as in `DEVICES`); the `event_id` behind each; `unsure` (a sign of unknown
    attribution stands).
    """
    tables = {c: readings(record, c) for c in ("temperature", "hypotension", "sbp", "map", "spo2", "o2_flow", "fio2")}
    # A temperature from before the infusion says nothing of CRS.
    tables["temperature"] = tables["temperature"].filter(col("at") >= origin(col("at")))
    devices, device_runs = _devices(record)
    counted = _counted(options)
    push = bool(options["push_dose_counts"])
    runs = running(record, counted, push_doses=push)
    others = running(record, [*of_group("inodilator"), *of_group("pressure_adjunct")], push_doses=push)
    others = others.filter(~col("code").is_in(counted))
    tables |= {
        "device": devices,
        "running": device_runs,
        "pressors": steps(runs),
        "pair": overlaps(runs, int(options["pressor_overlap_min"]) * 60),
        "vasopressin": steps(running(record, list(of_group("vasopressin_like")), push_doses=push)),
        "inotrope": steps(others),
        "drug_record": covered(record, "drugs"),
    }
    # Two pairs may overlap one another: as of any time the pair that lasts longest is the one to see.
    tables["pair"] = _longest(tables["pair"])
    frame = grid(record, *tables.values(), *(extra or []))
    for name, table in tables.items():
        frame = look(frame, table, name)
    subject = record.courses.select(
        "course", "age_y", "death_cause", death_at=pl.when(col("death").is_not_null()).then("last_at")
    )
    frame = frame.join(subject, on="course", how="left", maintain_order="left")
    frame = frame.join(_baseline_o2(record), on="course", how="left", maintain_order="left")
    frame = frame.with_columns(hypotension=_hypotension(options), **_pressors())
    return _oxygen(frame, options).select(
        "course",
        "at",
        "last_at",
        pl.when(_observed()).then("at").alias("observed_at"),
        col("temperature_value").alias("temperature"),
        "temperature_at",
        "temperature_event_id",
        "temperature_excluded",
        "hypotension",
        pl.coalesce("hypotension_event_id", "sbp_event_id", "map_event_id").alias("bp_event_id"),
        "pressors",
        "pressors_event_id",
        "pressors_assumed_end",
        "pressors_unsure",
        "pressors_concurrent",
        "pair_event_id",
        "pair_other_id",
        "vasopressin",
        "vasopressin_event_id",
        "inotrope",
        "o2",
        "o2_upper",
        "o2_event_id",
        "o2_flow_event_id",
        "untreated_hypoxia",
        pl.any_horizontal(col(f"{c}_unsure").fill_null(False) for c in ("temperature", "hypotension", "sbp", "map", "o2")).alias(
            "unsure"
        ),
        "death_at",
        "death_cause",
    )


def _counted(options: Options) -> list[str]:
    drugs = [d for d in of_group("vasopressor") if d != "angiotensin_ii" or options["angiotensin_counts"]]
    return drugs + (list(of_group("inodilator")) if options["count_inodilators"] else [])


def _longest(pairs: pl.DataFrame) -> pl.DataFrame:
    pairs = pairs.sort("at", "until").unique("at", keep="last", maintain_order=True)
    return pairs.filter((col("until") > col("until").cum_max().shift(1)).fill_null(True))


def _observed() -> pl.Expr:
    """Whether a finding was charted at this very time."""
    charted = (
        "temperature",
        "hypotension",
        "sbp",
        "map",
        "device",
        "running",
        "o2_flow",
        "fio2",
        "pressors",
        "vasopressin",
    )
    return pl.any_horizontal(col(f"{c}_at") == col("at") for c in charted).fill_null(False)


def _hypotension(options: Options) -> pl.Expr:
    """A clinician's statement; else systolic pressure by age or, in adults, mean pressure. Null: unknown.

    Adults: SBP < 90 mm[Hg] or MAP < `map_cut`. Children: SBP < 70 + 2 x age at 1-10 years, < 90 above 10, < 70 below 1.
    Without an age, only what is low or normal at every age is known.
    """
    age = col("age_y")
    sbp_cut = pl.when(age < 1).then(70.0).when(age <= 10).then(70.0 + 2 * age.floor()).when(age.is_not_null()).then(90.0)
    sbp = col("sbp_value")
    sbp_low = pl.when(sbp_cut.is_not_null()).then(sbp < sbp_cut).when(sbp < 70).then(True).when(sbp >= 90).then(False)
    mean_low = lit(None, pl.Boolean)
    if options["map_cut"] != "none":
        low = col("map_value") < float(options["map_cut"])
        mean_low = pl.when(age >= 18).then(low).when(age.is_null() & ~low).then(False)
    sbp_low = pl.when("sbp_excluded").then(False).otherwise(sbp_low)
    mean_low = pl.when("map_excluded").then(False).otherwise(mean_low)
    if options["hypotension_evidence"] == "all" and options["map_cut"] != "none":
        measured = sbp_low | pl.when(age < 18).then(False).otherwise(mean_low)
    else:
        measured = (
            pl.when(sbp_low | mean_low)
            .then(True)
            .when(sbp_low.is_not_null() | mean_low.is_not_null())
            .then(pl.when(sbp.is_not_null() & sbp_low.is_null()).then(None).otherwise(False))
        )
    said = pl.when("hypotension_excluded").then(False).otherwise(col("hypotension_value") == 1)
    return pl.coalesce(said, measured)


def _pressors() -> dict[str, pl.Expr]:
    """Running agents; without a drug record, what is not seen is unknown."""
    none = pl.when(col("drug_record_at").is_not_null()).then(0)
    return {
        "pressors": pl.coalesce(col("pressors_n"), none),
        "pressors_concurrent": pl.when(col("pair_at").is_not_null())
        .then(True)
        .when(col("drug_record_at").is_not_null())
        .then(False),
        "vasopressin": pl.when(col("vasopressin_n") > 0).then(True).when(col("drug_record_at").is_not_null()).then(False),
        "inotrope": col("inotrope_n") > 0,
    }


def _devices(record: Record) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Devices as charted points, and devices with an end as the strongest that runs at each time."""
    charted = record.of("o2_device")
    points = readings(record, "o2_device", events=charted.filter(col("end_at").is_null()))
    spans = charted.filter(col("end_at") > col("at"))
    if spans.is_empty():
        return points, points.head(0)
    ranks = {word: rank for rank, word in enumerate(concept("o2_device").values)}
    spans = spans.with_columns(
        code="text_value",
        value=col("text_value").replace_strict(ranks, default=None, return_dtype=pl.Float64),
        excluded=col("attributable_to").eq_missing(lit("other"))
        | (lit(record.exclude_unknown) & col("attributable_to").eq_missing(lit("unknown"))),
        unsure=col("attributable_to").eq_missing(lit("unknown")),
    )
    # At each turn, the strongest of those that run; of equals, one that is not attributed to another cause.
    turns = pl.concat([spans.select("at"), spans.select(at="end_at")]).unique().sort("at")
    turns = turns.with_columns(until=col("at").shift(-1), course=col("at") // SPAN)
    held = turns.join_where(
        spans.rename({"at": "begin", "course": "own"}),
        col("course") == col("own"),
        col("begin") <= col("at"),
        col("end_at") > col("at"),
    )
    held = held.sort("at", col("excluded").not_(), "value", "event_id").unique("at", keep="last", maintain_order=True)
    return points, held.select("at", "until", "value", "event_id", "excluded", "unsure")


def _baseline_o2(record: Record) -> pl.DataFrame:
    ranks = {word: rank for rank, word in enumerate(concept("o2_device").values)}
    rows = record.of("o2_device_baseline", "o2_flow_baseline")
    return rows.group_by("course").agg(
        baseline_device=col("text_value").filter(col("code") == "o2_device_baseline").drop_nulls().last()
        .replace_strict(ranks, default=None, return_dtype=pl.Float64),
        baseline_flow=col("numeric_value").filter(col("code") == "o2_flow_baseline").drop_nulls().last(),
    )  # fmt: skip


def _oxygen(frame: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Add `o2` and `o2_upper`: the support that is certain, and the most that is possible.

    A flow or FiO2 without a device is oxygen by some device: low flow at least, positive pressure at most.
    """
    words = concept("o2_device").values
    fixed = {float(words.index(d)): level for d, level in DEVICES.items() if level is not None}
    cannula, hfnc, room_air = (float(words.index(d)) for d in ("nasal_cannula", "hfnc", "room_air"))
    stronger = col("running_value") >= col("device_value").fill_null(-1)
    frame = frame.with_columns(
        device=pl.when(stronger).then("running_value").otherwise("device_value"),
        o2_at=pl.when(stronger).then("running_at").otherwise("device_at"),
        o2_excluded=pl.when(stronger).then("running_excluded").otherwise("device_excluded").fill_null(False),
        o2_unsure=pl.when(stronger).then("running_unsure").otherwise("device_unsure").fill_null(False),
        o2_event_id=pl.when(stronger).then("running_event_id").otherwise("device_event_id"),
    )
    device = col("device")
    current = col("o2_flow_at") >= col("o2_at") - SAME_CHARTING_S
    flow = pl.when(current).then("o2_flow_value")
    high = flow > LOW_FLOW_MAX
    hfnc_low = int(options["hfnc_le6"])
    level = (
        pl.when(device.is_in([cannula, hfnc]) & high).then(HIGH_FLOW)
        .when(device == hfnc).then(hfnc_low)
        .when(device == cannula).then(LOW_FLOW)
        .otherwise(device.replace_strict(fixed, default=None, return_dtype=pl.Int64))
    )  # fmt: skip
    upper = pl.when(device.is_in([cannula, hfnc]) & flow.is_null()).then(HIGH_FLOW).otherwise(level)
    bare_flow, bare_fio2 = col("o2_flow_value"), col("fio2_value")
    bare = (
        pl.when(bare_flow > LOW_FLOW_MAX).then(HIGH_FLOW)
        .when((bare_flow > 0) | (bare_fio2 > 21)).then(LOW_FLOW)
        .otherwise(NONE)
    )  # fmt: skip
    unknown = device.is_null()
    level = pl.when(unknown).then(bare).otherwise(level)
    upper = pl.when(unknown).then(POSITIVE_PRESSURE).otherwise(upper)
    away = col("o2_excluded")
    if options["baseline_o2"] == "subtract":
        base, base_flow = col("baseline_device"), col("baseline_flow")
        positive = device >= float(words.index("cpap"))
        same = (device == base) & (positive | (flow <= base_flow) | ~device.is_in([cannula, hfnc])).fill_null(False)
        away = away | same.fill_null(False)
    level, upper = (pl.when(away).then(NONE).otherwise(x) for x in (level, upper))
    untreated = (device == room_air) & (col("spo2_value") < LOW_SATURATION) & ~col("spo2_excluded")
    if options["untreated_hypoxia"] == 2:
        level, upper = (pl.when(untreated.fill_null(False)).then(LOW_FLOW).otherwise(x) for x in (level, upper))
    return frame.with_columns(
        o2=level.cast(pl.Int8),
        o2_upper=upper.cast(pl.Int8),
        o2_flow_event_id=pl.when(current | unknown).then("o2_flow_event_id"),
        untreated_hypoxia=untreated.fill_null(False),
    )


def at_least(support: int) -> pl.Expr:
    """Whether oxygen support is at least so much; null where the record leaves it open."""
    return pl.when(col("o2") >= support).then(True).when(col("o2_upper") < support).then(False)
