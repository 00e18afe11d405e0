"""Blood pressure, vasopressors and oxygen as the CRS scales read them, each with what is unknown left open."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.deaths import death_at
from aftercar.grade.options import Options
from aftercar.timeline.concepts import concept, of_group
from aftercar.timeline.state import (
    HOUR,
    SPAN,
    Record,
    age_at,
    elsewhere,
    grid,
    infusions,
    look,
    of_course,
    origin,
    overlaps,
    ranked,
    readings,
    running,
    steps,
    union,
)

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

# The share of oxygen, for scales that ask for FiO2: none, below 40 %, from 40 % on.
LEAN, RICH = 1, 2
RICH_FIO2 = 40.0  # percent, inclusive
ROOM_AIR_FIO2 = 21.0
RICH_MASK_FLOW = 5.0  # L/min through a simple mask
ALWAYS_RICH = ("partial_rebreather", "non_rebreather")
VENTILATOR = ("ventilator", "ecmo")
NIV = ("cpap", "bipap", "niv")

CODES = (
    "temperature", "hypotension", "sbp", "map", "spo2", "o2_device", "o2_flow", "fio2", "o2_device_baseline",
    "o2_flow_baseline", "record_complete",
    *of_group("vasopressor"), *of_group("vasopressin_like"), *of_group("inodilator"), *of_group("pressure_adjunct"),
)  # fmt: skip


def covered(record: Record, stream: str) -> pl.DataFrame:
    """When a stream of the record is complete: `at, until, event_id`."""
    return record.once(("covered", stream), lambda: _covered(record, stream))


def _covered(record: Record, stream: str) -> pl.DataFrame:
    rows = record.of("record_complete").filter((col("text_value") == stream) & (col("end_at") > col("at")))
    return union(rows.select("at", "event_id", until="end_at"))


def settings(record: Record) -> pl.DataFrame:
    """Where the patient was, one row a time: `course, at, event_id`, and `inpatient` (null: not known). Of several the hospital counts."""
    inpatient = ranked("setting") == float(concept("setting").values.index("inpatient"))
    rows = record.of("setting").select("course", "at", "event_id", inpatient=inpatient)
    rows = rows.sort("at", col("inpatient").cast(pl.Float64).fill_null(0.5), "event_id")
    return rows.unique("at", keep="last", maintain_order=True)


def states(record: Record, options: Options, extra: list[pl.DataFrame] | None = None) -> pl.DataFrame:
    """One row an interval: temperature, hypotension, vasopressors and oxygen.

    Columns: `course, at, last_at`; `observed_at` (`at`, where something was charted at that very time), `supported_at` (but a temperature); `temperature` and the reading
    behind it; `hypotension` (null: unknown); `pressors` (counted agents), `pressors_concurrent` (two or more, no hand-over),
    `vasopressin`, `inotrope`; `drugs_known` (what is not charted did not run); `o2`, `o2_upper` (support, as in `DEVICES`); `share`,
    `share_upper` (`LEAN`, `RICH`), `vent`, `vent_upper`, `niv`, `niv_upper`; the `event_id` behind each; `unsure` (a sign of unknown
    attribution stands); `stated` (a sign that a person attributed to the cells stands).
    """
    tables = {c: readings(record, c) for c in ("temperature", "hypotension", "sbp", "map", "spo2", "o2_flow", "fio2")}
    # A temperature from before the infusion says nothing of CRS.
    tables["temperature"] = tables["temperature"].filter(col("at") >= origin(col("at")))
    agents = counted(options)
    push = bool(options["push_dose_counts"])
    runs = running(record, agents, push_doses=push)
    others = running(record, [*of_group("inodilator"), *of_group("pressure_adjunct")], push_doses=push)
    others = others.filter(~col("code").is_in(agents))
    devices = _devices(record)
    tables |= {
        **devices,
        "pressors": steps(runs),
        **_pairs(runs, int(options["pressor_overlap_min"]) * 60, hindsight=record.hindsight),
        "vasopressin": steps(running(record, list(of_group("vasopressin_like")), push_doses=push)),
        "inotrope": steps(others),
        "pressors_said": union(infusions(record, [*agents, *of_group("vasopressin_like")], push_doses=push).filter("stated")),
        "drug_record": covered(record, "drugs"),
    }
    frame = look(grid(record, *tables.values(), *(extra or [])), tables)
    courses = record.courses.with_columns(death_at=death_at())
    frame = frame.with_columns(of_course(courses, frame["course"], "day0_at", "death_cause", "death_at"))
    frame = frame.join(_baseline_o2(record), on="course", how="left", maintain_order="left")
    frame = frame.with_columns(age=age_at(frame, record.courses).floor())
    hypotension, stated = _hypotension(options)
    frame = frame.with_columns(hypotension=hypotension, bp_stated=stated, **_pressors())
    return _oxygen(frame, options, list(devices)).select(
        "course",
        "at",
        "last_at",
        pl.when(col("temperature_at").eq_missing(col("at")) | _supported(list(devices))).then("at").alias("observed_at"),
        pl.when(_supported(list(devices))).then("at").alias("supported_at"),
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
        col("drug_record_at").is_not_null().alias("drugs_known"),
        "o2",
        "o2_upper",
        "share",
        "share_upper",
        "share_estimated",
        *(f"{c}{side}" for c in ("vent", "niv") for side in ("", "_upper")),
        "o2_event_id",
        "o2_flow_event_id",
        "fio2_event_id",
        "untreated_hypoxia",
        pl.any_horizontal(col(f"{c}_unsure").fill_null(False) for c in ("temperature", "hypotension", "sbp", "map", "o2")).alias(
            "unsure"
        ),
        pl.any_horizontal(
            col("bp_stated"),
            col("o2_stated"),
            col("pressors_said_at").is_not_null(),
        )
        .fill_null(False)
        .alias("stated"),
        "day0_at",
        "death_at",
        "death_cause",
    )


def counted(options: Options) -> list[str]:
    drugs = [d for d in of_group("vasopressor") if d != "angiotensin_ii" or options["angiotensin_counts"]]
    return drugs + (list(of_group("inodilator")) if options["count_inodilators"] else [])


def _pairs(runs: pl.DataFrame, at_least_s: int, *, hindsight: bool) -> dict[str, pl.DataFrame]:
    """When two agents run together and it is no hand-over (`pair`), and when it still may be one (`handover`).

    With hindsight an overlap that lasts long enough is none from its beginning.
    """
    # Two pairs may overlap one another: as of any time the pair that lasts longest is the one to see.
    if hindsight:
        pairs = longest(overlaps(runs, at_least_s))
        return {"pair": pairs, "handover": pairs.clear()}
    lasted = col("at") + at_least_s
    long = overlaps(runs, at_least_s).with_columns(at=lasted, until=pl.max_horizontal("until", lasted + 1))
    begun = overlaps(runs, 0).with_columns(until=pl.min_horizontal("until", lasted))
    return {"pair": longest(long), "handover": longest(begun)}


def longest(pairs: pl.DataFrame) -> pl.DataFrame:
    """Of overlapping spans, those that last longest from each time on."""
    pairs = pairs.sort("at", "until").unique("at", keep="last", maintain_order=True)
    return pairs.filter((col("until") > col("until").cum_max().shift(1)).fill_null(True))


def _supported(devices: list[str]) -> pl.Expr:
    """Whether pressure, a vasopressor or oxygen was charted at this very time."""
    charted = ("hypotension", "sbp", "map", "o2_flow", "fio2", "pressors", "vasopressin")
    times = [*(f"{c}_at" for c in charted), *(f"{d}_begin" for d in devices)]
    return pl.any_horizontal(col(t) == col("at") for t in times).fill_null(False)


def _hypotension(options: Options) -> tuple[pl.Expr, pl.Expr]:
    """A clinician's statement; else systolic pressure by age or, in adults, mean pressure. Null: unknown. And whether a person
    attributed it to the cells.

    Adults: SBP < 90 mm[Hg] or MAP < `map_cut`. Children: SBP < 70 + 2 x age at 1-10 years, < 90 above 10, < 70 below 1.
    Without an age, only what is low or normal at every age is known.
    """
    age = col("age")
    sbp_cut = pl.when(age < 1).then(70.0).when(age <= 10).then(70.0 + 2 * age).when(age.is_not_null()).then(90.0)
    sbp = col("sbp_value")
    sbp_low = pl.when(sbp_cut.is_not_null()).then(sbp < sbp_cut).when(sbp < 70).then(True).when(sbp >= 90).then(False)
    mean_low = lit(None, pl.Boolean)
    if options["map_cut"] != "none":
        low = col("map_value") < float(options["map_cut"])
        mean_low = pl.when(age >= 18).then(low).when(age.is_null() & ~low).then(False)
    # A pressure that is low for another reason is no sign, where its kind counts at this age at all.
    sbp_low = pl.when("sbp_excluded").then(False).otherwise(sbp_low)
    if options["map_cut"] != "none":
        mean_low = pl.when(col("map_excluded") & ((age >= 18) | age.is_null())).then(False).otherwise(mean_low)
    if options["hypotension_evidence"] == "all" and options["map_cut"] != "none":
        measured = sbp_low | pl.when(age < 18).then(False).otherwise(mean_low)
    else:
        undecided = sbp.is_not_null() & sbp_low.is_null()
        if options["map_cut"] != "none":
            undecided = undecided | (age.is_null() & col("map_value").is_not_null() & mean_low.is_null())
        known = sbp_low.is_not_null() | mean_low.is_not_null()
        measured = pl.when(sbp_low | mean_low).then(True).when(undecided).then(None).when(known).then(False)
    said = pl.when("hypotension_excluded").then(False).otherwise(col("hypotension_value") == 1)
    low = (said, "hypotension"), (said.is_null() & sbp_low, "sbp"), (said.is_null() & mean_low, "map")
    return pl.coalesce(said, measured), pl.any_horizontal((is_low & col(f"{c}_stated")).fill_null(False) for is_low, c in low)


def _pressors() -> dict[str, pl.Expr]:
    """Running agents; without a drug record, what is not seen is unknown."""
    none = pl.when(col("drug_record_at").is_not_null()).then(0)
    return {
        "pressors": pl.coalesce(col("pressors_n"), none),
        "pressors_concurrent": pl.when(col("pair_at").is_not_null())
        .then(True)
        .when(col("handover_at").is_null() & col("drug_record_at").is_not_null())
        .then(False),
        "vasopressin": pl.when(col("vasopressin_n") > 0).then(True).when(col("drug_record_at").is_not_null()).then(False),
        "inotrope": col("inotrope_n") > 0,
    }


def _devices(record: Record) -> dict[str, pl.DataFrame]:
    """Devices as charted points (`device`) and, apart for each device, those charted beside others (`beside_...`) and those with an end (`span_...`).

    A point beside others ends like any point. It is not one with a row of its device that has an end: each has a flow and FiO2 of its own.
    """
    charted = record.of("o2_device")
    points = charted.filter(col("end_at").is_null())
    times = points.select("at").unique().sort("at")
    until = times.with_columns(
        end_at=pl.min_horizontal(col("at") + int((concept("o2_device").valid_for_h or 0) * HOUR), col("at").shift(-1))
    )
    beside = points.filter(col("text_value").n_unique().over("at") > 1).drop("end_at").join(until, on="at", how="left")
    spans = {"beside": beside.select(charted.columns), "span": charted.filter(col("end_at") > col("at"))}
    # Whatever is no word of ours is one device that nobody knows; one that is due to another cause does not hide behind it.
    nameless = pl.when(elsewhere(record)).then(lit("elsewhere")).otherwise(lit("unknown"))
    word = pl.when(ranked("o2_device").is_not_null()).then("text_value").otherwise(nameless)
    each = {
        f"{kind}_{name}": _spells(record, rows)
        for kind, found in spans.items()
        for (name,), rows in found.with_columns(word=word).sort("word", maintain_order=True).group_by("word", maintain_order=True)
    }
    return {"device": readings(record, "o2_device", events=points).with_columns(begin="at", begin_last="at"), **each}


def _spells(record: Record, spans: pl.DataFrame) -> pl.DataFrame:
    """When a device ran: at each turn the first begun of the rows that overlap, and when the last of them began (`begin_last`).

    Rows that are not attributed to another cause go before those that are.
    """
    spans = spans.select(
        begin="at",
        stop="end_at",
        own="course",
        value=ranked("o2_device"),
        event_id=col("event_id"),
        excluded=elsewhere(record),
        unsure=col("attributable_to").eq_missing(lit("unknown")),
        stated=col("attributable_to").eq_missing(lit("iec")),
    )
    turns = pl.concat([spans["begin"], spans["stop"]]).unique().sort().to_frame("at")
    turns = turns.with_columns(until=col("at").shift(-1), course=col("at") // SPAN)
    held = turns.join_where(spans, col("course") == col("own"), col("begin") <= col("at"), col("stop") > col("at"))
    standing = held.filter(col("excluded") == col("excluded").min().over("at"))
    first = standing.sort("at", "begin", "event_id").group_by("at", maintain_order=True)
    return first.agg(
        *(col(c).first() for c in ("until", "value", "event_id", "excluded", "begin")),
        col("unsure").any(),
        col("stated").any(),
        begin_last=col("begin").max(),
    )


def _baseline_o2(record: Record) -> pl.DataFrame:
    rows = record.of("o2_device_baseline", "o2_flow_baseline")
    return rows.group_by("course").agg(
        # Ranked among the words of the device itself, so that the two compare.
        baseline_device=ranked("o2_device").filter(col("code") == "o2_device_baseline").drop_nulls().last(),
        baseline_flow=col("numeric_value").filter(col("code") == "o2_flow_baseline").drop_nulls().last(),
    )  # fmt: skip


def _oxygen(frame: pl.DataFrame, options: Options, sources: list[str]) -> pl.DataFrame:
    """Add `o2` and `o2_upper`: the support that is certain, and the most that is possible.

    `sources` are the tables of devices: as charted, and those with an end; the strongest counts. A flow or FiO2 without a device, or against
    room air, is oxygen by some device: low flow at least, positive pressure at most.
    """
    frame = _without_doubted_room_air(frame, sources)
    support = {source: _support(source, options) for source in sources}
    given = [_given(source, options) for source in sources]
    flow, fio2 = col("bare_flow"), col("bare_fio2")
    # Oxygen by a device that nobody charted: its share by FiO2 alone.
    some = pl.when(fio2 > ROOM_AIR_FIO2).then(pl.when(fio2 >= RICH_FIO2).then(RICH).otherwise(LEAN))
    own = _perhaps_own(options, flow)
    bare_given = {
        "share": pl.when(own).then(NONE).otherwise(pl.coalesce(some, pl.when(flow > 0).then(LEAN).otherwise(NONE))),
        "share_upper": pl.coalesce(some, lit(RICH)),
        **{f"{c}{side}": lit(bool(side)) for c in ("vent", "niv") for side in ("", "_upper")},
    }
    bare = (
        pl.when(own).then(NONE)
        .when(flow > LOW_FLOW_MAX).then(HIGH_FLOW)
        .when((flow > 0) | (fio2 > ROOM_AIR_FIO2)).then(LOW_FLOW)
        .otherwise(NONE)
    )  # fmt: skip
    frame = frame.with_columns(
        **{name: pl.max_horizontal(g[name] for g in given).fill_null(bare) for name, bare in bare_given.items()},
        **{f"_{source}": level for source, (level, _) in support.items()},
        o2=pl.max_horizontal(level for level, _ in support.values()).fill_null(bare),
        o2_upper=pl.max_horizontal(upper for _, upper in support.values()).fill_null(POSITIVE_PRESSURE),
    )
    room_air = float(concept("o2_device").values.index("room_air"))
    breathing = pl.max_horizontal(f"{source}_value" for source in sources) == room_air
    breathing = breathing & ~pl.any_horizontal(_unnamed(source) for source in sources)
    untreated = (breathing & (col("spo2_value") < LOW_SATURATION) & ~col("spo2_excluded")).fill_null(False)
    counts = LOW_FLOW if options["untreated_hypoxia"] == 2 else NONE

    def of_strongest(column: str) -> pl.Expr:
        return pl.coalesce(pl.when(col(f"_{source}") == col("o2")).then(f"{source}_{column}") for source in sources)

    charted = pl.any_horizontal(col(f"_{source}").is_not_null() for source in sources)
    by_device = pl.any_horizontal(
        (col(f"{source}_stated") & (col(f"_{source}") >= LOW_FLOW)).fill_null(False) for source in sources
    )
    alone = ((flow > 0) & col("o2_flow_stated")) | ((fio2 > ROOM_AIR_FIO2) & col("fio2_stated"))
    frame = frame.with_columns(
        o2_stated=by_device | (~charted & alone & ~own).fill_null(False),
        **{f"o2_{c}": of_strongest(c) for c in ("unsure", "event_id")},
    )
    cannula = float(concept("o2_device").values.index("nasal_cannula"))
    by_flow = pl.any_horizontal(col(f"{source}_value") == cannula for source in sources)
    by_flow = by_flow & (col("o2_flow_value") <= LOW_FLOW_MAX) & col("fio2_value").is_null()
    lean = LEAN if options["untreated_hypoxia"] == 2 else NONE
    return frame.with_columns(
        pl.max_horizontal("o2", pl.when(untreated).then(counts)).cast(pl.Int8).alias("o2"),
        pl.max_horizontal("o2_upper", pl.when(untreated).then(counts)).cast(pl.Int8).alias("o2_upper"),
        *(pl.max_horizontal(c, pl.when(untreated).then(lean)).cast(pl.Int8).alias(c) for c in ("share", "share_upper")),
        untreated_hypoxia=untreated,
        # The share rests on an estimate from the flow of a cannula.
        share_estimated=(by_flow & (col("share") > NONE)).fill_null(False),
    )


def _unnamed(source: str) -> pl.Expr:
    """Whether a device is on of which nobody knows what it is."""
    return col(f"{source}_begin").is_not_null() & col(f"{source}_value").is_null()


def _without_doubted_room_air(frame: pl.DataFrame, sources: list[str]) -> pl.DataFrame:
    """Take out room air where oxygen was charted since, and add `bare_flow`, `bare_fio2`: what a device that nobody charted may have given.

    A flow above 0 or FiO2 above air, or one of which the number is not known, says that room air no longer holds, not by what device oxygen is
    given. What was charted before a room air or an unknown device belongs to the device before it.
    """
    room_air = float(concept("o2_device").values.index("room_air"))
    is_air = {source: col(f"{source}_value") == room_air for source in sources}
    since = pl.max_horizontal(pl.when(is_air[s] | _unnamed(s)).then(f"{s}_begin_last") for s in sources)
    counts, doubted = {}, lit(False)
    for code, least in (("o2_flow", 0.0), ("fio2", ROOM_AIR_FIO2)):
        counts[code] = (col(f"{code}_at") >= since).fill_null(col(f"{code}_at").is_not_null()) & ~col(f"{code}_excluded")
        doubted = doubted | (counts[code] & (col(f"{code}_value") > least).fill_null(True)).fill_null(False)
    of_device = ("value", "begin", "begin_last", "excluded", "unsure", "stated", "event_id")
    return frame.with_columns(
        *(
            pl.when(~(is_air[s] & doubted).fill_null(False)).then(f"{s}_{c}").alias(f"{s}_{c}")
            for s in sources
            for c in of_device
        ),
        bare_flow=pl.when(counts["o2_flow"]).then("o2_flow_value"),
        bare_fio2=pl.when(counts["fio2"]).then("fio2_value"),
    )


def _charted_with(source: str, code: str, since: str) -> pl.Expr:
    """A flow or FiO2 that was charted with the device of one source, or later; `since` is its `begin` or `begin_last`."""
    return pl.when(col(f"{code}_at") >= col(f"{source}_{since}") - SAME_CHARTING_S).then(f"{code}_value")


def _support(source: str, options: Options) -> tuple[pl.Expr, pl.Expr]:
    """The support that the device of one source surely gives, and the most that it may give; null without a device."""
    words = concept("o2_device").values
    fixed = {float(words.index(d)): level for d, level in DEVICES.items() if level is not None}
    cannula, hfnc = (float(words.index(d)) for d in ("nasal_cannula", "hfnc"))
    device = col(f"{source}_value")
    flow = _charted_with(source, "o2_flow", "begin")
    by_flow = device.is_in([cannula, hfnc])
    level = (
        pl.when(by_flow & (flow > LOW_FLOW_MAX)).then(HIGH_FLOW)
        .when(device == hfnc).then(int(options["hfnc_le6"]))
        .when(device == cannula).then(LOW_FLOW)
        .otherwise(device.replace_strict(fixed, default=None, return_dtype=pl.Int64))
    )  # fmt: skip
    # A flow from before the last of overlapping rows says what one of them gave, not the other.
    for_all = (col("o2_flow_at") >= col(f"{source}_begin_last") - SAME_CHARTING_S).fill_null(False)
    upper = (
        pl.when(by_flow & (flow.is_null() | ~for_all))
        .then(HIGH_FLOW)
        .when(_unnamed(source))
        .then(POSITIVE_PRESSURE)
        .otherwise(level)
    )
    away, perhaps = _no_oxygen(source, options)
    return pl.when(perhaps).then(NONE).otherwise(level), pl.when(away).then(NONE).otherwise(upper)


def _no_oxygen(source: str, options: Options) -> tuple[pl.Expr, pl.Expr]:
    """Whether a device surely is, or may be, no oxygen given for CRS: due to another cause, or the patient's own."""
    words = concept("o2_device").values
    by_flow = [float(words.index(d)) for d in ("nasal_cannula", "hfnc")]
    device = col(f"{source}_value")
    away = col(f"{source}_excluded").fill_null(False)
    perhaps = away
    if options["baseline_o2"] == "subtract":
        base, base_flow = col("baseline_device"), col("baseline_flow")

        def no_more(since: str) -> pl.Expr:
            """By cannula the flow decides; other devices are the same whatever runs through them."""
            flow = _charted_with(source, "o2_flow", since)
            return pl.when(device.is_in(by_flow)).then(flow <= base_flow).otherwise(True)

        away = away | ((device == base) & no_more("begin_last")).fill_null(False)
        perhaps = perhaps | ((device == base) & no_more("begin").fill_null(True)).fill_null(False)
    return away, perhaps


def _perhaps_own(options: Options, flow: pl.Expr) -> pl.Expr:
    """Whether a flow or FiO2 without a device may be what the patient used before CAR-T."""
    words = concept("o2_device").values
    by_flow = [float(words.index(d)) for d in ("nasal_cannula", "hfnc")]
    base = col("baseline_device")
    no_more = pl.when(base.is_in(by_flow)).then((flow <= col("baseline_flow")).fill_null(True)).otherwise(True)
    subtracted = lit(options["baseline_o2"] == "subtract")
    return subtracted & (base > float(words.index("room_air"))).fill_null(False) & no_more


def _given(source: str, options: Options) -> dict[str, pl.Expr]:
    """What the device of one source gives, surely and at most: share of oxygen, ventilator, non-invasive ventilation; null without a device."""
    words = concept("o2_device").values
    device = col(f"{source}_value")

    def is_one(*names: str) -> pl.Expr:
        return device.is_in([float(words.index(n)) for n in names])

    def share(since: str) -> pl.Expr:
        """By FiO2, else by device and flow; null where that is open."""
        fio2, flow = (_charted_with(source, code, since) for code in ("fio2", "o2_flow"))
        estimate = (
            pl.when(is_one("nasal_cannula")).then(100 * (0.20 + 0.04 * flow))
            if options["fio2_estimate"] != "none"
            else lit(None, pl.Float64)
        )
        much = (
            (is_one("nasal_cannula") & (flow > LOW_FLOW_MAX))
            | (is_one("face_mask") & (flow >= RICH_MASK_FLOW))
            | is_one(*ALWAYS_RICH)
        )
        by_fio2 = (
            pl.when(pl.coalesce(fio2, estimate).round(6) >= RICH_FIO2)
            .then(RICH)
            .when(pl.coalesce(fio2, estimate).is_not_null())
            .then(LEAN)
        )
        by_device = pl.when(fio2.is_null() & much.fill_null(False)).then(RICH)
        return pl.when(is_one("room_air")).then(NONE).otherwise(pl.coalesce(by_device, by_fio2))

    away, perhaps = _no_oxygen(source, options)
    there = device.is_not_null()
    given = {
        "share": pl.when(perhaps).then(NONE).when(there).then(share("begin").fill_null(LEAN)),
        "share_upper": pl.when(away)
        .then(NONE)
        .when(there)
        .then(share("begin_last").fill_null(RICH))
        .when(_unnamed(source))
        .then(RICH),
    }
    for name, devices in (("vent", VENTILATOR), ("niv", NIV)):
        given |= {name: is_one(*devices) & ~perhaps, f"{name}_upper": (is_one(*devices) | _unnamed(source)) & ~away}
    return given


def at_least(support: int) -> pl.Expr:
    """Whether oxygen support is at least so much; null where the record leaves it open."""
    return pl.when(col("o2") >= support).then(True).when(col("o2_upper") < support).then(False)


def share_at_least(share: int) -> pl.Expr:
    """Whether the share of oxygen is at least `LEAN` or `RICH`; null where the record leaves it open."""
    return pl.when(col("share") >= share).then(True).when(col("share_upper") < share).then(False)
