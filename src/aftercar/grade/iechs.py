"""IEC-HS: the hyperinflammation that follows CRS, its criteria and its grade [hines2023].

The tables are from memory and marked M: the paper could not be retrieved. How many common features it takes is ours (P).
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade import crs, ctcae
from aftercar.grade.crs import CRS_ASTCT_2019
from aftercar.grade.deaths import died_of
from aftercar.grade.findings import LOW_FLOW, at_least
from aftercar.grade.lookback import AGAINST_IECHS, Lookback, count, either, lately
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale, quiet_once
from aftercar.timeline.concepts import concept, of_group
from aftercar.timeline.state import DAY, HOUR, SPAN, ZERO, Record, look, look_at, midnight, origin, split_at, union
from aftercar.timeline.units import TOLERANCE_C

LAST_H = 72  # drugs and dialysis, whatever the window of the features
LATE_D = 30  # onset after it asks for another explanation
_LIVER = ("alt_high", "ast_high")
_LINEAGES = ("anc_4", "platelets_4")
COMMON = ("transaminases", "fibrinogen_low", "haemophagocytosis", "cytopenia")
_SUPPORTING = (
    "ldh_high", "pt_prolonged", "direct_bilirubin_high", "splenomegaly", "fever", "lungs", "creatinine_2", "triglycerides_high",
)  # fmt: skip


def criteria(options: Options) -> tuple[Criterion, ...]:
    """Ferritin is required; of the common features `iechs_min_common`."""
    least = int(options["iechs_min_common"])
    rapid = ", or doubled within 24 h" if options["ferritin_rapid"] == "doubling_24h" else ""
    return (
        Criterion(0, "ferritin", f"ferritin > 2 x ULN or baseline{rapid}", col("ferritin"), ("ferritin_event_id",), mark="M"),
        Criterion(0, "transaminases", "AST or ALT > 5 x ULN (or an abnormal baseline)", col("transaminases"), ("alt_high_event_id", "ast_high_event_id"), mark="M"),
        Criterion(0, "fibrinogen", "fibrinogen < 150 mg/dL or < LLN", col("fibrinogen_low"), ("fibrinogen_low_event_id",), mark="M"),
        Criterion(0, "haemophagocytosis", "haemophagocytosis in marrow or tissue", col("haemophagocytosis"), ("haemophagocytosis_event_id",), mark="M"),
        Criterion(0, "cytopenia", "a lineage of grade 4: ANC < 500/uL or platelets < 25 x 10^9/L", col("cytopenia"), ("anc_4_event_id", "platelets_4_event_id"), mark="M"),
        Criterion(1, "diagnosis", f"ferritin and {least} or more common features, infection work-up negative", col("diagnosed"), ("cleared_event_id",), mark="P"),
    )  # fmt: skip


def state(record: Record, options: Options) -> pl.DataFrame:
    """Ferritin, common and supporting features, and the work-up, at each time."""
    return record.once("iechs", lambda: _state(record, options))


def _state(record: Record, options: Options) -> pl.DataFrame:
    back = Lookback(record, options)
    back.within("ferritin", *_ferritin(record, options))
    back.graded("alt_high", "alt", 3)
    back.graded("ast_high", "ast", 3)

    def against(code: str, name: str, met: pl.Expr) -> None:
        back.within(name, ctcae.beside_limits(record, code), met)

    against("fibrinogen", "fibrinogen_low", (col("value") < 150) | (col("value") < col("fibrinogen_lln")).fill_null(False))
    back.graded("anc_4", "anc", 4)
    back.graded("platelets_4", "platelets", 4)
    back.stands("haemophagocytosis")
    against("ldh", "ldh_high", col("value") > col("ldh_uln"))
    against("direct_bilirubin", "direct_bilirubin_high", col("value") > col("direct_bilirubin_uln"))
    back.value("pt_prolonged", "pt_prolonged", lambda v: v == 1)
    back.value("pulmonary_infiltrate", "pulmonary_infiltrate", lambda v: v == 1)
    back.stands("splenomegaly")
    rounded = options["temp_round"] == 0.1
    back.value("fever", "temperature", lambda v: (v.round(1) if rounded else v) >= crs.FEVER_C - TOLERANCE_C, drawn=False)
    room_air = float(concept("o2_device").values.index("room_air"))
    back.value("hypoxia", "o2_device", lambda v: v > room_air, drawn=False)
    back.graded("creatinine_2", "creatinine", 2)
    back.value("triglycerides_high", "triglycerides", lambda v: v > 265)
    frame = back.frame(_workups(record) | {"late": _after(record, LATE_D)})
    frame = frame.with_columns(
        transaminases=either(*_LIVER), cytopenia=either(*_LINEAGES), lungs=either("hypoxia", "pulmonary_infiltrate")
    )
    sure, most = count(COMMON)
    frame = frame.with_columns(common=sure, common_upper=most, supporting=count(_SUPPORTING)[0])
    return frame.with_columns(word=_word(int(options["iechs_min_common"]))).with_columns(
        diagnosed=pl.when(col("word") == "criteria_met").then(True)
        .when(col("word") == "not_met").then(False)
        .when((col("word") == "suspected") & (col("common_upper") < int(options["iechs_min_common"]))).then(False),
        late=col("late_at").is_not_null() & col("word").is_in(["criteria_met", "possible", "suspected"]),
        infection_found=(col("word") == "possible") & col("workup_positive"),
    ).collect(engine="in-memory")  # fmt: skip


def _word(least: int) -> pl.Expr:
    """How far the criteria are met."""
    enough, some = col("common") >= least, col("common") >= 1
    return (
        pl.when(col("ferritin").is_null()).then(lit("incomplete"))
        .when(~col("ferritin")).then(lit("not_met"))
        .when(enough & col("cleared_at").is_not_null()).then(lit("criteria_met"))
        .when(enough).then(lit("possible"))
        .when(some).then(lit("suspected"))
        .when(col("common_upper") == 0).then(lit("not_met"))
        .otherwise(lit("incomplete"))
    )  # fmt: skip


def _workups(record: Record) -> dict[str, pl.DataFrame]:
    """The last infection work-up, and the last that was negative: both stand to the end of the course."""
    rows = record.of("infection_workup").filter(col("at") >= origin(col("at")))
    rows = rows.select("at", "event_id", until=(col("at") // SPAN + 1) * SPAN, word="text_value")
    # Of several at one time one that is positive is the last.
    last = rows.sort("at", col("word").eq_missing(lit("positive")), maintain_order=True).unique(
        "at", keep="last", maintain_order=True
    )
    negative = rows.filter(col("word") == "negative").unique("at", keep="last", maintain_order=True)
    return {
        "workup": last.select("at", "until", positive=col("word").eq_missing(lit("positive"))),
        "cleared": negative.select("at", "until", "event_id"),
    }


def _after(record: Record, day: int) -> pl.DataFrame:
    """The time of each course after a day: `at, until`."""
    begins = col("course") * SPAN + ZERO - midnight() + (day + 1) * DAY
    return record.courses.select(at=begins, until=(col("course") + 1) * SPAN).sort("at")


def _ferritin(record: Record, options: Options) -> tuple[pl.LazyFrame, pl.Expr]:
    """Ferritin values and whether each is high: against the limit (not where the baseline was high already), the baseline, or rising."""
    rows = ctcae.beside_limits(record, "ferritin")
    value, uln, base = col("value").round_sig_figs(ctcae.DIGITS), col("ferritin_uln"), col("ferritin_base")
    high_before = (base > ctcae.multiple(2, uln)).fill_null(False)
    by_limit = pl.when(high_before).then(False).otherwise(value > ctcae.multiple(2, uln))
    by_base = (value > ctcae.multiple(2, base)).fill_null(False)
    if options["ferritin_rapid"] == "none":
        return rows, by_limit | by_base
    least = col("value").rolling_min_by("at", f"{DAY}i", closed="left")  # of the 24 hours before
    doubled = (col("value") >= ctcae.multiple(2, least)).fill_null(False)
    return rows, by_limit | by_base | doubled


_FEATURE_CODES = (
    "ferritin", "ferritin_uln", "alt", "alt_uln", "ast", "ast_uln", "fibrinogen", "fibrinogen_lln", "anc", "platelets", "ldh", "ldh_uln",
    "direct_bilirubin", "direct_bilirubin_uln", "pt_prolonged", "pulmonary_infiltrate", "haemophagocytosis", "splenomegaly",
    "temperature", "o2_device", "creatinine", "creatinine_uln", "triglycerides", "infection_workup",
    "record_complete",
)  # fmt: skip
_OPTIONS = (
    "day0", "unknown_attribution", "temp_round", "ctcae", "iechs_window_h", "iechs_min_common", "ferritin_rapid", "resolution_h",
    "new_episode_gap_h",
)  # fmt: skip

IECHS_DX = Scale(
    name="iechs_dx", title="IEC-HS diagnosis, Hines 2023", toxicity="iec_hs", source="hines2023", version="1", criteria=criteria, state=state,
    codes=_FEATURE_CODES, options=_OPTIONS, status=col("word"), present=col("word").is_in(["criteria_met", "possible"]),
    flags={"late_onset": col("late"), "infection_found": col("infection_found")},
    measures={"common": col("common"), "common_upper": col("common_upper"), "supporting": col("supporting")},
    marks={
        "criteria": "M", "how many common features": "P", "which rise of ferritin is rapid": "P", "features within 72 h": "M",
        "possible until an infection work-up is negative": "M", "onset by day 30 expected": "M",
    },
)  # fmt: skip


# ---- its grade


def grade_criteria(options: Options) -> tuple[Criterion, ...]:
    """By what was needed; laboratory values alone cannot tell 1 from 2."""
    pressor = (col("pressors") >= 1) | col("vasopressin")
    return (
        Criterion(1, "care", "IEC-HS, observed", lit(True), mark="M"),
        Criterion(2, "care", "a drug against IEC-HS", col("treated"), ("treated_event_id",), mark="M"),
        Criterion(2, "care", "plasma, cryoprecipitate or fibrinogen", col("factors"), ("factors_event_id",), mark="M"),
        Criterion(3, "bleeding", "bleeding, severe or transfused", col("bleeding_severe") | (col("bleeding_mild") & col("factors")), ("bleeding_mild_event_id", "factors_event_id"), mark="M"),
        Criterion(3, "hypotension", "hypotension", col("hypotension"), ("bp_event_id",), mark="M"),
        Criterion(3, "breathing", "oxygen of any kind", at_least(LOW_FLOW), ("o2_event_id",), mark="M"),
        Criterion(3, "kidney", "creatinine CTCAE grade 2 or more", col("kidney"), ("kidney_event_id",), mark="M"),
        Criterion(4, "hypotension", "vasopressor", pressor, ("pressors_event_id", "vasopressin_event_id"), mark="M"),
        Criterion(4, "breathing", "ventilator", pl.when("vent").then(True).when(~col("vent_upper")).then(False), ("o2_event_id",), mark="M"),
        Criterion(4, "kidney", "dialysis", col("dialysed"), ("dialysis_event_id",), mark="M"),
        Criterion(4, "bleeding", "life-threatening bleeding", col("bleeding_life_threatening"), ("bleeding_life_threatening_event_id",), mark="M"),
        Criterion(5, "death", "death due to IEC-HS", col("death_iechs"), ("death_event_id",), gated=False, assessed=col("death_assessed")),
    )  # fmt: skip


_BLEEDING = tuple(f"bleeding_{word}" for word in concept("bleeding").values[1:])


def _failing(record: Record, options: Options) -> pl.DataFrame:
    """Bleeding and kidney within the window: `at, until` and the features."""
    back = Lookback(record, options)
    back.graded("whole", "creatinine", 2)
    back.graded("open", "creatinine", 2, whole=False)
    for n, name in enumerate(_BLEEDING, start=1):
        back.value(name, "bleeding", lambda v, n=n: v >= n)
    frame = back.frame()
    return frame.select(
        "at",
        until=_next(),
        kidney=pl.when(col("organ_at").is_not_null()).then("whole").otherwise("open"),
        kidney_event_id="whole_event_id",
        # Bleeding that nobody charted is not claimed.
        **{name: col(name).fill_null(False) for name in _BLEEDING},
        **{f"{name}_event_id": col(f"{name}_event_id") for name in _BLEEDING},
    ).collect(engine="in-memory")


def _next() -> pl.Expr:
    """When the row of a frame ends."""
    return pl.when(col("course").shift(-1) == col("course")).then(col("at").shift(-1)).otherwise(col("at") + SPAN // 4)


# What the grade reads of the findings of CRS.
_CARE = (
    "course", "at", "last_at", "supported_at", "unsure", "drugs_known", "death_at", "death_cause", "death_event_id",
    "hypotension", "bp_event_id", "pressors", "pressors_event_id", "vasopressin", "vasopressin_event_id",
    "o2", "o2_upper", "o2_event_id", "vent", "vent_upper",
)  # fmt: skip


def grade_state(record: Record, options: Options) -> pl.DataFrame:
    """The diagnosis beside what was given and what failed."""
    dx = state(record, options)
    gate = pl.when(col("word").is_in(["criteria_met", "possible"])).then(True).when(~col("diagnosed")).then(False)
    since, until = col("at") >= origin(col("at")), pl.max_horizontal("end_at", col("at") + LAST_H * HOUR + 1)
    treats = ~col("text_value").eq_missing(lit("prophylaxis"))
    charted = {
        "treated": lately(record, AGAINST_IECHS, until, since, treats),
        "factors": lately(record, of_group("coagulation_factor"), until, since),
        "dialysis": lately(record, ("dialysis",), until, since),
    }
    states = {
        "dx": dx.select("at", until=_next(), gate=gate, observed="observed", event_id="ferritin_event_id"),
        "failing": _failing(record, options),
    }
    base = crs.base(record, options).select(_CARE)
    rows = base.select("course", "at", "last_at", "death_at", row=pl.int_range(pl.len(), dtype=pl.UInt32))
    # Split first: what stands when the diagnosis opens was charted before. A drug given again is no turn.
    turns = [*states.values(), *(union(table) for table in charted.values())]
    rows = split_at(rows, pl.concat([t[c] for t in turns for c in ("at", "until")]))
    # Outside of a diagnosis that may be, nothing is graded: one row of each such stretch will do.
    shut = states["dx"].select("at", "until", shut=~col("gate").fill_null(True))
    rows = quiet_once(look(rows, {"dx": shut}).with_columns(shut=col("dx_shut").fill_null(True)), col("shut"))
    frame = look_at(base[rows["row"]].lazy().with_columns(rows["at"].set_sorted()), states | charted)

    def given(name: str) -> pl.Expr:
        return pl.when(col(f"{name}_at").is_not_null()).then(True).when("drugs_known").then(False)

    return frame.with_columns(
        observed=((col("supported_at") == col("at")) | (col("dx_observed") & (col("dx_at") == col("at")))).fill_null(False),
        gate=col("dx_gate"),
        treated=given("treated"),
        factors=given("factors"),
        dialysed=col("dialysis_at").is_not_null(),
        **{name: col(f"failing_{name}") for part in ("kidney", *_BLEEDING) for name in (part, f"{part}_event_id")},
        death_iechs=died_of("iec_hs", col("dx_gate").fill_null(True)),
        death_assessed=died_of("iec_hs", col("dx_gate").fill_null(False)),
    ).collect(engine="in-memory")


IECHS_GRADE = Scale(
    name="iechs_grade", title="IEC-HS grade, Hines 2023", toxicity="iec_hs_grade", source="hines2023", also=CRS_ASTCT_2019.also, version="1",
    criteria=grade_criteria, state=grade_state,
    codes=tuple(dict.fromkeys((*_FEATURE_CODES, *CRS_ASTCT_2019.codes, *AGAINST_IECHS, "dialysis", "bleeding"))),
    options=tuple(dict.fromkeys((*_OPTIONS, "map_cut", "hypotension_evidence", "angiotensin_counts", "count_inodilators", "push_dose_counts", "baseline_o2", "untreated_hypoxia"))),
    gate=col("gate"), gate_evidence=("dx_event_id",), met=col("gate"),
    flags={"attribution_unknown": col("gate") & col("unsure"), "death_cause_unknown": col("death_assessed").is_null()},
    marks={"grades": "M", "organ support within 72 h": "P"},
)  # fmt: skip

SCALES = (IECHS_DX, IECHS_GRADE)
