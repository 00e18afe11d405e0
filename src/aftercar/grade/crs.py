"""CRS grade by the ASTCT consensus, table 2 of [lee2019astct].

Fever opens the scale. Once CRS has begun, fever is no longer needed after an antipyretic, an anticytokine drug or a steroid;
the rules F1-F8 that make this a state machine are written as running maxima, so that all subjects go through at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from polars import col, lit

from aftercar.grade import findings
from aftercar.grade.deaths import deaths, died_of
from aftercar.grade.findings import HIGH_FLOW, LOW_FLOW, POSITIVE_PRESSURE, at_least
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale, quiet_once
from aftercar.timeline.concepts import concepts, of_group
from aftercar.timeline.state import DAY, HOUR, Record, origin, split_at
from aftercar.timeline.units import TOLERANCE_C

FEVER_C = 38.0  # inclusive
LATE_ONSET_D = 14
PREMEDICATION_S = DAY  # a drug given up to a day before the infusion is prophylaxis of it


def criteria(options: Options) -> tuple[Criterion, ...]:
    """The table, cell by cell; the highest cell counts."""
    alone = int(options["vasopressin_alone"])
    return (
        Criterion(1, "fever", "fever >= 38.0 C", col("fever"), ("fever_event_id",), assessed=col("fever_assessed")),
        Criterion(2, "hypotension", "hypotension, no vasopressor", col("hypotension"), ("bp_event_id",)),
        Criterion(3, "hypotension", "one vasopressor, with or without vasopressin", col("pressors") >= 1, ("pressors_event_id",)),
        Criterion(alone, "hypotension", "vasopressin alone", col("vasopressin") & (col("pressors") == 0).fill_null(True), ("vasopressin_event_id",), mark="P"),
        Criterion(4, "hypotension", "several vasopressors, vasopressin not counted", col("pressors_concurrent"), ("pair_event_id", "pair_other_id")),
        Criterion(2, "hypoxia", "low-flow oxygen (<= 6 L/min) or blow-by", at_least(LOW_FLOW), ("o2_event_id", "o2_flow_event_id", "fio2_event_id")),
        Criterion(3, "hypoxia", "high-flow oxygen (> 6 L/min) or mask", at_least(HIGH_FLOW), ("o2_event_id", "o2_flow_event_id")),
        Criterion(4, "hypoxia", "positive pressure", at_least(POSITIVE_PRESSURE), ("o2_event_id",)),
        Criterion(5, "death", "death due to CRS", col("death_crs"), ("death_event_id",), gated=False, assessed=col("death_assessed")),
    )  # fmt: skip


_NEVER = lit(False)
# The signs of the circulation, by the column with the row behind each.
_PRESSURE = {
    "bp_event_id": col("hypotension"),
    "pressors_event_id": col("pressors") >= 1,
    "vasopressin_event_id": col("vasopressin"),
}
_FOUND = (*_PRESSURE.values(), at_least(LOW_FLOW))


def signs() -> tuple[pl.Expr, pl.Expr]:
    """Hypotension or hypoxia, surely and possibly."""
    return pl.any_horizontal(f.fill_null(False) for f in _FOUND), pl.any_horizontal(f.fill_null(True) for f in _FOUND)


def some_sign_unknown() -> pl.Expr:
    """Whether one of the signs is not known."""
    return pl.any_horizontal(f.is_null() for f in _FOUND)


def base(record: Record, options: Options) -> pl.DataFrame:
    """Findings, waiver drugs and deaths at each time, for all CRS scales."""
    return record.once("crs", lambda: _base(record, options))


def _base(record: Record, options: Options) -> pl.DataFrame:
    drugs = _waiver_drugs(record, options)
    died = deaths(record)
    frame = findings.states(record, options, [drugs.select("at", until="at"), died])
    frame = frame.join_asof(
        drugs.select("at", drug_at="at", drug_event_id="event_id"), on="at", strategy="backward", coalesce=True
    )
    frame = frame.join_asof(died.select("at", death_event_id="event_id"), on="at", strategy="backward", coalesce=True)
    return frame.with_columns(fever_now=_fever(options))


def state(record: Record, options: Options) -> pl.DataFrame:
    """Findings at each time, and what the fever rules make of them."""
    return ruled(eventful(base(record, options), options, ("inotrope", "untreated_hypoxia")), options, _ASTCT)


# What `eventful` reads.
EVENTFUL = (
    "course", "at", "last_at", "death_at", "fever_now", "hypotension", "pressors", "vasopressin", "o2", "o2_upper", "inotrope",
    "untreated_hypoxia",
)  # fmt: skip


def eventful(frame: pl.DataFrame, options: Options, warnings: tuple[str, ...], symptom: pl.Expr = _NEVER) -> pl.DataFrame:
    """Leave out all but the first row of a stretch that is long after any fever, sign or `symptom`: no episode can be open there.

    Most rows of a record are such; the fever rules and every table would go over them in vain.
    """
    _, possible = signs()
    active = col("fever_now").fill_null(True) | possible | symptom
    longest = max(int(float(options[name]) * HOUR) for name in ("fever_carry_h", "resolution_h")) + 1
    over = pl.when(active).then(_row_end() + longest).cum_max().forward_fill()
    calm = ~active & (over <= col("at")).fill_null(True)
    return quiet_once(frame.with_columns(_calm=calm), col("_calm"), warnings).drop("_calm")


def _row_end() -> pl.Expr:
    return pl.when(col("course").shift(-1) == col("course")).then(col("at").shift(-1)).otherwise("at")


@dataclass(frozen=True)
class Onset:
    """What begins CRS on a scale beside a fever: columns that hold surely (`low`) or possibly (`up`); `always` is active without being a sign."""

    low: pl.Expr
    up: pl.Expr
    always: pl.Expr


_ASTCT = Onset(_NEVER, _NEVER, _NEVER)  # CRS must begin with fever


def ruled(frame: pl.DataFrame, options: Options, onset: Onset) -> pl.DataFrame:
    """What the fever rules make of findings: segments, gate, waiver, and death."""
    frame = split_at(frame, _turns(frame, options, onset))
    sure, possible = signs()
    frame = frame.with_columns(
        row_end=_row_end(), sign_low=sure, sign_up=possible, begins_low=onset.low, begins_up=onset.up, symptom=onset.always
    )
    low = _machine(frame, options, unknown=False)
    up = _machine(frame, options, unknown=True)
    frame = pl.concat([frame, low, up], how="horizontal")
    return _outcome(frame)


def _waiver_drugs(record: Record, options: Options) -> pl.DataFrame:
    names = sorted({d for g in str(options["fever_waiver_drugs"]).split(",") for d in of_group(g)})
    given = record.of(*names).filter((col("numeric_value") != 0).fill_null(True))
    return given.select("at", "event_id").unique("at", keep="last").sort("at").with_columns(col("at").set_sorted())


def _fever(options: Options) -> pl.Expr:
    temperature = col("temperature")
    if options["temp_round"] == 0.1:
        temperature = temperature.round(1)
    return pl.when("temperature_excluded").then(False).otherwise(temperature >= FEVER_C - TOLERANCE_C)


def _turns(frame: pl.DataFrame, options: Options, onset: Onset) -> pl.Series:
    """When the carry of a fever or the clear hours of an episode are over: the grade may change with nothing charted."""
    sure, possible = signs()
    carry, clear = (int(float(options[name]) * HOUR) for name in ("fever_carry_h", "resolution_h"))
    turns = [frame.filter(col("fever_now"))["temperature_at"].unique() + carry + 1]
    if options["waiver_duration_h"] != "episode":
        turns.append(frame["drug_at"].drop_nulls().unique() + int(float(options["waiver_duration_h"]) * HOUR))
    ended = ~col("on") & col("on").shift(1) & (col("course") == col("course").shift(1))
    for fever, sign in ((col("fever_now").fill_null(False), sure), (col("fever_now").fill_null(True), possible)):
        turns.append(frame.select("at", "course", on=fever | sign | onset.always).filter(ended)["at"] + clear)
        turns.append(frame.select("at", "course", on=fever).filter(ended)["at"] + carry + 1)
    return pl.concat(turns)


def _machine(frame: pl.DataFrame, options: Options, *, unknown: bool) -> pl.DataFrame:
    """The fever rules with unknown findings taken as absent (`unknown` false) or present.

    Adds, suffixed `_low` or `_up`: `open` (an episode has begun and is not over), `gate` (the axes count), `carried`,
    `waived`, `crs_start`. Times on the axis `at` rise from course to course, so a running maximum never looks back into another
    course: what it brings from there lies before this course's day 0.
    """
    suffix = "_up" if unknown else "_low"
    carry = int(float(options["fever_carry_h"]) * HOUR)
    clear = int(float(options["resolution_h"]) * HOUR)
    fever = col("fever_now").fill_null(unknown)
    sign = col("sign_up" if unknown else "sign_low")
    at, drug = col("at"), col("drug_at")
    # A fever that is only possible may have been there until the end of its interval.
    last_fever = pl.when(col("fever_now").fill_null(False)).then("temperature_at").otherwise("row_end")
    lazy = frame.lazy().with_columns(
        _fever=fever,
        _sign=sign,
        _carry_until=pl.when(fever).then(last_fever + carry + 1).cum_max().forward_fill(),
        _first_fever=pl.when(fever).then(at),
    )
    before = col("_first_fever").forward_fill().shift(1)
    lazy = lazy.with_columns(_first_fever=pl.when(col("_fever") & (before < origin(at)).fill_null(True)).then(at).forward_fill())
    # F5, and the return without fever after a dated waiver: a sign may open an episode under an earlier drug.
    prior = lit(False)
    if options["prophylaxis_waives_fever"]:
        prior = _within(drug, options) & (drug >= origin(at) - PREMEDICATION_S)
    if options["waiver_duration_h"] != "episode":
        prior = prior | ((col("_first_fever") >= origin(at)) & (drug >= col("_first_fever")) & _within(drug, options))
    lazy = lazy.with_columns(_prior=prior.fill_null(False))
    active = col("_fever") | col("_sign") | col("symptom")
    opener = col("_fever") | col("symptom") | (col("_sign") & (col("_prior") | col("begins_up" if unknown else "begins_low")))
    close = pl.max_horizontal(pl.when(active).then(col("row_end") + clear), pl.when("_fever").then("_carry_until"))
    lazy = lazy.with_columns(_close=close.cum_max().forward_fill(), _opener=opener, _active=active)
    new = col("_active") & (col("_close").shift(1) <= at).fill_null(True)
    lazy = lazy.with_columns(_segment=pl.when(new).then(at).forward_fill())
    before = pl.when("_opener").then(at).forward_fill().shift(1)
    first = col("_opener") & (before < col("_segment")).fill_null(True)
    lazy = lazy.with_columns(_start=pl.when(first).then(at).forward_fill())
    is_open = ((col("_start") >= col("_segment")) & (col("_segment") >= origin(at)) & (at < col("_close"))).fill_null(False)
    lazy = lazy.with_columns(_open=is_open)
    carried = (at < col("_carry_until")).fill_null(False)
    waived = (col("_open") & (((drug >= col("_start")) & _within(drug, options)) | col("_prior"))).fill_null(False)
    return lazy.select(
        col("_open").alias(f"open{suffix}"),
        carried.alias(f"carried{suffix}"),
        waived.alias(f"waived{suffix}"),
        (col("_open") & (col("_fever") | carried | waived)).alias(f"gate{suffix}"),
        (col("_active") & col("_open")).alias(f"active{suffix}"),
        col("_start").alias(f"crs_start{suffix}"),
    ).collect(engine="in-memory")


def _within(drug: pl.Expr, options: Options) -> pl.Expr:
    """Whether a waiver drug still counts."""
    duration = options["waiver_duration_h"]
    return drug.is_not_null() if duration == "episode" else col("at") < drug + int(float(duration) * HOUR)


def _outcome(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that the tables and their flags read."""
    fever = col("fever_now")
    # Under a waiver an afebrile reading is believed: the carry is for gaps without one (F7, F8).
    fever_low = fever.fill_null(False) | (col("carried_low") & ~col("waived_up"))
    fever_up = fever.fill_null(True) | (col("carried_up") & ~col("waived_low"))
    masked = col("sign_low") & ~col("open_low") & (col("drug_at") >= origin(col("at")) - PREMEDICATION_S).fill_null(False)
    return frame.with_columns(
        gate=pl.when("gate_low").then(True).when(~col("gate_up")).then(False),
        fever=pl.when(fever_low).then(True).when(~fever_up).then(False),
        # Without what earlier gaps leave open: only a temperature that is missing now may be a fever.
        gate_assessed=pl.when("gate_low").then(True).when(fever.is_not_null()).then(False),
        fever_assessed=pl.when(fever_low).then(True).when(fever.is_not_null()).then(False),
        fever_event_id=_last_fever_id(),
        drug_event_id=pl.when(col("waived_low") | masked).then("drug_event_id"),
        masked_pressure_event_id=pl.when(masked).then(_first_of(_PRESSURE)),
        masked_oxygen_event_id=pl.when(masked & at_least(LOW_FLOW)).then("o2_event_id"),
        observed=(col("observed_at") == col("at")).fill_null(False),
        death_crs=died_of("crs", col("open_up")),
        death_assessed=died_of("crs", col("open_low")),
    ).with_columns(
        possible_masked_crs=masked,
        late_onset=col("open_low") & (col("crs_start_low") - col("day0_at") > LATE_ONSET_D * DAY),
    )  # fmt: skip


def _first_of(signs: dict[str, pl.Expr]) -> pl.Expr:
    """The row behind the first sign that is there."""
    return pl.coalesce(pl.when(there).then(event_id) for event_id, there in signs.items())


def _last_fever_id() -> pl.Expr:
    """The reading behind the fever criterion: the present one, or the last fever while it is carried or waived."""
    fever = col("fever_now").fill_null(False)
    latest, when = pl.when(fever).then("temperature_event_id").forward_fill(), pl.when(fever).then("at").forward_fill()
    # The axis goes on into the next course: a fever of the one before is not this one's.
    return pl.when(col("gate_low") & (when >= origin(col("at")))).then(latest).otherwise("temperature_event_id")


CRS_ASTCT_2019 = Scale(
    name="crs_astct2019",
    title="CRS, ASTCT 2019",
    toxicity="crs",
    source="lee2019astct",
    also=("mahadeo2019",),
    version="1",
    criteria=criteria,
    state=state,
    codes=(*findings.CODES, "death", *(c.name for c in concepts().values() if c.kind == "drug")),
    options=(
        "day0", "unknown_attribution", "temp_round", "fever_waiver_drugs", "prophylaxis_waives_fever", "waiver_duration_h",
        "fever_carry_h", "map_cut", "hypotension_evidence", "vasopressin_alone", "angiotensin_counts", "count_inodilators",
        "pressor_overlap_min", "push_dose_counts", "baseline_o2", "hfnc_le6", "untreated_hypoxia", "resolution_h",
        "new_episode_gap_h",
    ),
    gate=col("gate"),
    gate_assessed=col("gate_assessed"),
    gate_evidence=("fever_event_id", "drug_event_id", "masked_pressure_event_id", "masked_oxygen_event_id"),
    met=col("open_low"),
    present=(col("active_low") | (col("grade") == 5)),
    flags={
        "possible_masked_crs": col("possible_masked_crs"),
        "episode_open": col("open_low") & (col("grade") == 0),
        "fever_waived": col("waived_low") & ~col("fever_now").fill_null(False),
        "fever_carried": col("carried_low") & ~col("fever_now").fill_null(False) & ~col("waived_low") & col("open_low"),
        "inotrope_not_counted": col("inotrope"),
        "untreated_hypoxia": col("untreated_hypoxia"),
        "attribution_unknown": col("gate_low") & (col("unsure") | col("pressors_unsure").fill_null(False)),
        "assumed_end": col("pressors_assumed_end"),
        "late_onset": col("late_onset"),
        "death_cause_unknown": col("death_assessed").is_null(),
    },
    marks={
        "F2 CRS must begin with fever": "M", "F4 which drugs waive fever": "P", "F5 a drug before any fever does not waive it": "P",
        "F6 how long a waiver lasts": "P", "F7 afebrile under a waiver, without another sign, is grade 0": "P",
        "F8 a fever counts between readings": "P", "H1 a clinician's statement goes before numbers": "M", "H2 mean pressure below 65": "P",
        "H3 which agents are vasopressors": "P", "H5 vasopressin alone is grade 3": "P", "H6 inotropes and adjuncts do not count": "P",
        "H7 a short overlap is a hand-over": "P", "H9 a push dose counts": "P", "the patient's own oxygen is left out": "P",
        "a high-flow cannula at <= 6 L/min is low flow": "P", "collar, hyperbaric oxygen and nitric oxide count as a mask": "P",
        "intubation to protect the airway is not hypoxia": "M", "low saturation without oxygen is not graded": "P",
        "when an episode ends and a new one begins": "P", "onset is expected by day 14": "M", "grade 5 needs CRS as the principal cause": "M",
        "unknown attribution counts, with a warning": "P",
    },
)  # fmt: skip
