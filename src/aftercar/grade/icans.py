"""ICANS grade by the ASTCT consensus [lee2019astct]: ICE from 12 years on, CAPD below, the other domains at any age.

An assessment stands until the next one, at most a day; an ICE score is not carried into an assessment that lacks one unless
`ice_locf_h` says so.
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.deaths import death_at, deaths, died_of
from aftercar.grade.findings import covered
from aftercar.grade.late import bears
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import concept
from aftercar.timeline.state import (
    DAY,
    HOUR,
    SPAN,
    Record,
    age_at,
    calendar_day,
    elsewhere,
    grid,
    look,
    midnight,
    origin,
    ranked,
    readings,
)

ICE_ITEMS = {"ice_orientation": 4, "ice_naming": 3, "ice_command": 1, "ice_writing": 1, "ice_attention": 1}
CHILD_BELOW_Y = 12  # exactly 12 is ICE
DELAY_BELOW_Y = 21  # CAPD is used up to here with developmental delay
SEIZURE_LONG_MIN = 5  # longer is grade 4; exactly 5 is not
CN6_LATE_D = 21  # later, a sixth nerve palsy alone need not be raised pressure
UNTESTABLE_RASS = -4  # CAPD is not valid at or below it

_WORDS = {
    name: {w: float(n) for n, w in enumerate(concept(name).values)}
    for name in ("consciousness", "seizure", "seizure_outcome", "motor")
}


CONSCIOUSNESS = _WORDS["consciousness"]


def _below(column: str, cut: float) -> pl.Expr:
    """Whether a score of which only a range is known lies at or under a cut; null where the range leaves it open."""
    return pl.when(col(f"{column}_max") <= cut).then(True).when(col(f"{column}_min") > cut).then(False)


def _awake_less_than(level: str) -> pl.Expr:
    return col("consciousness") >= CONSCIOUSNESS[level]


def _domains() -> tuple[Criterion, ...]:
    """Consciousness, seizure, motor and pressure: one table for all ages."""
    return (
        Criterion(1, "consciousness", "awakens spontaneously", _awake_less_than("drowsy_spontaneous"), ("consciousness_event_id",)),
        Criterion(2, "consciousness", "awakens to voice", _awake_less_than("voice"), ("consciousness_event_id",)),
        Criterion(3, "consciousness", "awakens only to touch", _awake_less_than("touch"), ("consciousness_event_id",)),
        Criterion(4, "consciousness", "unarousable, or vigorous or repeated touch", _awake_less_than("vigorous_or_none"), ("consciousness_event_id",)),
        Criterion(3, "seizure", "seizure that resolves", col("seizure"), ("seizure_event_id",)),
        Criterion(4, "seizure", "seizure > 5 min, or no return to baseline between", col("seizure_severe"), ("seizure_severe_event_id", "seizure_event_id")),
        Criterion(4, "motor", "deep focal weakness", col("motor_deep"), ("motor_event_id",)),
        Criterion(3, "pressure", "focal oedema", col("icp_focal"), ("icp_event_id",)),
        Criterion(4, "pressure", "diffuse oedema, posturing, CN VI palsy, papilloedema or Cushing's triad", col("icp_severe"), ("icp_event_id",)),
        Criterion(5, "death", "death due to ICANS", col("death_icans"), ("death_event_id",), gated=False, assessed=col("death_assessed")),
    )  # fmt: skip


def criteria(options: Options) -> tuple[Criterion, ...]:
    """Age 12 and over. ICE 0 is grade 3 awake; unarousable is the consciousness domain's grade 4."""
    evidence = ("ice_event_ids",)
    return (
        Criterion(1, "ICE", "ICE 7-9", _below("ice", 9), evidence),
        Criterion(2, "ICE", "ICE 3-6", _below("ice", 6), evidence),
        Criterion(3, "ICE", "ICE 0-2", _below("ice", 2), evidence),
        *_domains(),
    )


def criteria_child(options: Options) -> tuple[Criterion, ...]:
    """Under 12. CAPD 1-8 cannot tell grade 1 from 2; consciousness does."""
    capd, evidence = col("capd_value"), ("capd_event_id",)
    return (
        Criterion(1, "CAPD", "CAPD 1-8", capd >= 1, evidence),
        Criterion(3, "CAPD", "CAPD >= 9", capd >= 9, evidence),
        *_domains(),
    )


def state(record: Record, options: Options) -> pl.DataFrame:
    """Every domain at each time."""
    neuro = record.of("ice", *ICE_ITEMS, "capd", "consciousness", "motor", "icp_sign", "seizure")
    assessed = neuro.select("at").unique().sort("at").with_columns(col("at").set_sorted())
    hold = float(options["seizure_hold_h"])
    seizures = _seizures(record, hold)
    tables = {
        "ice": until_next(_ice(record), assessed, float(options["ice_locf_h"])),
        "capd": readings(record, "capd"),
        "rass": readings(record, "rass"),
        "sedated": readings(record, "sedated"),
        "consciousness": readings(record, "consciousness"),
        "motor": readings(record, "motor"),
        "icp": pressure_signs(record),
        "seizure": seizures,
        "seizure_severe": seizures.filter(col("severe")),
        "seizure_open": seizures.filter(col("severe").is_null()),
        "seizure_said": readings(record, "seizure").filter(~col("excluded")),
        "haemorrhage": readings(record, "haemorrhage"),
        "death": deaths(record),
        **{f"all_{stream}": covered(record, stream) for stream in ("seizure", "motor", "icp")},
    }
    # Findings before the infusion are the baseline, not ICANS.
    for name in ("ice", "capd", "consciousness", "motor", "icp", "seizure", "seizure_severe", "seizure_open", "seizure_said"):
        tables[name] = tables[name].filter(col("at") >= origin(col("at")))
    frame = look(grid(record, *tables.values()), tables)
    frame = frame.join(subject_facts(record), on="course", how="left", maintain_order="left")
    frame = frame.join(_baseline(record), on="course", how="left", maintain_order="left")
    frame = frame.with_columns(age=age_at(frame, record.courses))
    return _outcome(_judge(frame, options))


def subject_facts(record: Record) -> pl.DataFrame:
    """What is fixed about each course: `course, target, death_cause, midnight, death_at, delayed, focal_before, only_capd`."""
    delayed = record.of("developmental_delay").filter(col("numeric_value") == 1).select("course", delayed=lit(True)).unique()
    scores = record.of("capd", "ice", *ICE_ITEMS)
    focal = record.of("icp_sign").filter((col("text_value") == "focal_oedema") & (col("at") < origin(col("at"))))
    return (
        record.courses.select(
            "course",
            "target",
            "death_cause",
            midnight=midnight(),
            death_at=death_at(),
        )
        .join(delayed, on="course", how="left")
        .join(focal.select("course", focal_before=lit(True)).unique(), on="course", how="left")
        .join(scores.group_by("course").agg(only_capd=(col("code") == "capd").all()), on="course", how="left")
        .sort("course")
    )


def _baseline(record: Record) -> pl.DataFrame:
    """The ICE score before infusion: as stated, else the last one charted before day 0."""
    stated = record.of("ice_baseline").group_by("course").agg(stated=col("numeric_value").last())
    before = _ice(record).filter((col("at") < origin(col("at"))) & (col("min") == col("max")))
    charted = before.group_by(course=col("at") // SPAN).agg(charted=col("max").last())
    both = stated.join(charted, on="course", how="full", coalesce=True)
    return both.select("course", ice_baseline=pl.coalesce("stated", "charted"))


def _ice(record: Record) -> pl.DataFrame:
    """ICE as a range: the total, or the sum of items with each missing item between 0 and its most."""
    total = readings(record, "ice").select(
        "at", "event_id", "excluded", "unsure", low="value", high="value", event_ids=pl.concat_list("event_id")
    )
    items = record.of(*ICE_ITEMS).filter(col("numeric_value").is_not_null())
    if items.is_empty():
        found = total
    else:
        summed = ice_of_items(items, "at", elsewhere(record)).with_columns(excluded=lit(False))
        found = pl.concat([total, summed.join(total, on="at", how="anti").select(total.columns)]).sort("at")
    return found.select(
        "at",
        until=col("at") + DAY,
        event_id=col("event_id"),
        event_ids=col("event_ids"),
        excluded=col("excluded"),
        unsure=col("unsure"),
        min="low",
        max="high",
    )


def ice_of_items(items: pl.DataFrame, at: str, away: pl.Expr) -> pl.DataFrame:
    """ICE at each time as the range that its items leave: `event_id, event_ids, unsure, low, high`, beside the time.

    Args:
        items: rows of `ICE_ITEMS` with a number.
        at: the column of their time.
        away: whether an item was lost for another reason: it then takes nothing off the score.
    """
    most = col("code").replace_strict(ICE_ITEMS, return_dtype=pl.Float64)
    scored = items.with_columns(most=most, points=pl.when(away).then(most).otherwise("numeric_value"))
    worst = scored.group_by(at, "code").agg(
        col("points").min(),
        col("most").first(),
        col("event_id").max(),
        unsure=col("attributable_to").eq_missing(lit("unknown")).any(),
    )
    return worst.group_by(at).agg(
        event_id=col("event_id").max(),
        unsure=col("unsure").any(),
        low=col("points").sum(),
        high=col("points").sum() + 10.0 - col("most").sum(),
        event_ids=col("event_id").sort(),
    )


def until_next(scores: pl.DataFrame, assessed: pl.DataFrame, locf_h: float) -> pl.DataFrame:
    """End each score at the next assessment of any domain or after a day, or after `locf_h` where that is later."""
    after = assessed.select(next_at="at").with_columns(col("next_at").set_sorted())
    joined = scores.with_columns(_from=col("at") + 1).join_asof(after, left_on="_from", right_on="next_at", strategy="forward")
    own = pl.min_horizontal("until", "next_at")
    return joined.with_columns(until=pl.max_horizontal(own, col("at") + int(locf_h * HOUR))).drop("_from", "next_at")


def _seizures(record: Record, hold_h: float) -> pl.DataFrame:
    """Seizures held for `hold_h`: `severe` is true (grade 4), false (grade 3), or null where duration and outcome leave it open."""
    kinds = readings(record, "seizure", hold_h).filter((col("value") > 0) & ~col("excluded"))
    minutes = readings(record, "seizure_duration", hold_h).filter(~col("excluded")).select("at", minutes="value")
    outcomes = outcomes_read(record, hold_h)
    both = kinds.join(minutes, on="at", how="left").join(outcomes, on="at", how="left").sort("at")
    outcome = _WORDS["seizure_outcome"]
    electrical = col("value") == _WORDS["seizure"]["eeg_nonconvulsive"]
    severe = (
        pl.when(col("minutes") > SEIZURE_LONG_MIN).then(True)
        .when(col("outcome") == outcome["no_return_to_baseline"]).then(True)
        .when(col("outcome") == outcome["resolved_fast"]).then(False)
        .when(electrical & (col("outcome") == outcome["resolved_with_treatment"])).then(False)
        .when(brief() & (col("outcome") != outcome["ongoing"]).fill_null(True)).then(False)
    )  # fmt: skip
    return both.select("at", "until", "event_id", "unsure", severe=severe)


def outcomes_read(record: Record, hold_h: float) -> pl.DataFrame:
    """How seizures ended: `at, outcome`, and `unread` where the word for it is not known."""
    found = readings(record, "seizure_outcome", hold_h).filter(~col("excluded"))
    return found.select("at", outcome="value", unread=col("value").is_null())


def brief() -> pl.Expr:
    """Whether a seizure was short, and nobody charted of it what cannot be read: it may not have ended."""
    return (col("minutes") <= SEIZURE_LONG_MIN) & ~col("unread").fill_null(False)


def pressure_signs(record: Record) -> pl.DataFrame:
    """Signs of raised pressure, all those of one examination together; a word that is not known may be any of them."""
    sign = pl.when(ranked("icp_sign").is_not_null()).then("text_value")
    real = ~elsewhere(record)

    def shown(*words: str) -> pl.Expr:
        return (real & sign.is_in(words)).any(ignore_nulls=False)

    return (
        record.of("icp_sign")
        .group_by("at")
        .agg(
            event_id=pl.coalesce(col("event_id").filter(sign != "none").min(), col("event_id").min()),
            focal=shown("focal_oedema"),
            diffuse=shown("diffuse_oedema"),
            cn6=shown("cn6"),
            papilloedema=shown("papilloedema"),
            other=shown("posturing", "papilloedema", "cushing"),
            unsure=col("attributable_to").eq_missing(lit("unknown")).any(),
        )
        .with_columns(until=col("at") + DAY)
        .sort("at")
    )


def silent(name: str) -> pl.Expr:
    """Whether nobody charted a finding in a record that is complete; a word that is not known is no silence."""
    return col(f"{name}_at").is_null() & col(f"all_{name}_at").is_not_null()


def seizure_ruled_out() -> pl.Expr:
    """Whether the last word on seizures is that there was none, or the record is complete and the last word is known."""
    return (col("seizure_said_value") == 0).fill_null(False) | (col("all_seizure_at").is_not_null() & ~seizure_unread())


def seizure_unread() -> pl.Expr:
    """Whether the last word on seizures is not known: it may be another one, or a worse."""
    return col("seizure_said_at").is_not_null() & col("seizure_said_value").is_null()


def death_due(signs: tuple[pl.Expr, ...]) -> dict[str, pl.Expr]:
    """Death of neurotoxicity: unknown where nobody said of what, while a sign was there (`death_assessed`) or may have been."""
    return {
        "death_icans": died_of("icans", pl.any_horizontal(s.fill_null(True) for s in signs)),
        "death_assessed": died_of("icans", pl.any_horizontal(s.fill_null(False) for s in signs)),
    }


def _outcome(frame: pl.DataFrame) -> pl.DataFrame:
    asked = pl.when("child").then(col("capd_value") >= 1).otherwise(_below("ice", 9))
    others = (_awake_less_than("drowsy_spontaneous"), col("seizure"), col("motor_deep"), col("icp_focal"), col("icp_severe"))
    return frame.with_columns(**death_due((asked, *others)))


def _judge(frame: pl.DataFrame, options: Options) -> pl.DataFrame:
    sedated = (col("sedated_value") == 1).fill_null(False)
    # Consciousness under sedation cannot be judged; due to another cause, it does not count.
    consciousness = pl.when(sedated).then(None).when("consciousness_excluded").then(0.0).otherwise("consciousness_value")
    low, high = col("ice_min"), col("ice_max")
    if options["ice_baseline"] == "shift":
        shift = 10.0 - col("ice_baseline").fill_null(10.0)
        low, high = ((x + shift).clip(upper_bound=10.0) for x in (low, high))
    # ICE 0 because the patient is sedated is not a score.
    blind = sedated & (col("ice_max") == 0)
    ice_min = pl.when(blind | low.is_null()).then(0.0).when("ice_excluded").then(10.0).otherwise(low)
    ice_max = pl.when(blind | high.is_null()).then(10.0).when("ice_excluded").then(10.0).otherwise(high)
    untestable = sedated | (col("rass_value") <= UNTESTABLE_RASS).fill_null(False)
    capd = pl.when(untestable).then(None).when("capd_excluded").then(0.0).otherwise("capd_value")
    bled = (col("haemorrhage_value") == 1).fill_null(False)
    covered_icp, examined = col("all_icp_at").is_not_null(), col("icp_at").is_not_null()
    focal_before = col("focal_before").fill_null(False)
    late = calendar_day(col("icp_at"), col("midnight")) > CN6_LATE_D
    focal = col("icp_focal") & ~bled & ~focal_before
    others = (col("icp_diffuse") & ~bled) | col("icp_other")
    ask_cn6 = (
        col("icp_cn6") & late & ~others.fill_null(False) & ~focal.fill_null(False) & bears("BCMA").fill_null(True)
    ).fill_null(False)
    severe = others | pl.when(ask_cn6).then(None).otherwise("icp_cn6")
    no_seizure = seizure_ruled_out()
    seized = col("seizure_at").is_not_null()
    age = col("age")
    child = (age < CHILD_BELOW_Y) | (col("delayed").fill_null(False) & (age < DELAY_BELOW_Y))
    charted = ("ice", "capd", "consciousness", "motor", "icp", "seizure", "seizure_said")
    return frame.with_columns(
        observed=pl.any_horizontal(col(f"{c}_at") == col("at") for c in charted).fill_null(False),
        consciousness=consciousness,
        ice_min=ice_min,
        ice_max=ice_max,
        capd_value=capd,
        seizure=pl.when(seized).then(True).when(no_seizure).then(False),
        seizure_severe=pl.when(col("seizure_severe_at").is_not_null()).then(True)
        .when(col("seizure_open_at").is_not_null() | seizure_unread()).then(None)
        .when(seized | no_seizure).then(False),
        motor_deep=pl.when("motor_excluded").then(False)
        .when(col("motor_value").is_not_null()).then(col("motor_value") > 0)
        .when(silent("motor")).then(False),
        icp_focal=pl.when(examined).then(focal).when(covered_icp).then(False),
        icp_severe=pl.when(examined).then(severe).when(covered_icp).then(False),
        child=child.fill_null(col("only_capd").fill_null(False)),
        sedated=sedated,
        ask_cn6=ask_cn6,
        bled=bled & (col("icp_focal") | col("icp_diffuse")),
        tian=col("icp_focal") & focal_before,
        baseline_low=col("ice_baseline") < 10,
        unsure=pl.any_horizontal(col(f"{c}_unsure").fill_null(False) for c in ("ice", "consciousness", "motor", "icp", "seizure")),
    )  # fmt: skip


_FLAGS = {
    "sedated": col("sedated"),
    "ice_baseline_below_10": col("baseline_low"),
    "possible_cranial_nerve_palsy": col("ask_cn6"),
    "haemorrhage_oedema_excluded": col("bled"),
    "consider_tian": col("tian"),
    "age_unknown": col("age").is_null(),
    "attribution_unknown": col("unsure"),
    "death_cause_unknown": col("death_assessed").is_null(),
}
_MARKS = {
    "I2 ICE 0 with unknown consciousness is at least grade 3": "P", "I3 awakens spontaneously is grade 1 only if drowsy": "P",
    "I4 a missing score is not carried forward": "P", "I6 how long a seizure holds the grade": "P",
    "I8 a baseline below 10 is not adjusted": "P", "I9 a late sixth nerve palsy alone, after BCMA": "P",
    "I10 focal oedema from before the infusion": "P", "when an episode ends and a new one begins": "P",
}  # fmt: skip
_OPTIONS = (
    "day0",
    "unknown_attribution",
    "ice_locf_h",
    "seizure_hold_h",
    "ice_baseline",
    "resolution_h",
    "new_episode_gap_h",
)
_CODES = (
    "ice", *ICE_ITEMS, "ice_baseline", "capd", "rass", "sedated", "consciousness", "seizure", "seizure_duration", "seizure_outcome",
    "motor", "icp_sign", "haemorrhage", "developmental_delay", "death", "record_complete",
)  # fmt: skip

ICANS_ASTCT = Scale(
    name="icans_astct", title="ICANS, ASTCT 2019", toxicity="icans", source="lee2019astct", version="1",
    criteria=criteria, state=state, codes=_CODES, options=_OPTIONS, applies=~col("child"), flags=_FLAGS,
    gate_evidence=("ice_event_ids", "consciousness_event_id"), hidden=col("sedated"),
    marks={"I1 ICE 10 and all normal is grade 0": "M"} | _MARKS,
)  # fmt: skip

ICANS_ASTCT_PEDS = Scale(
    name="icans_astct_peds", title="ICANS under 12 years, ASTCT 2019", toxicity="icans", source="lee2019astct", version="1",
    criteria=criteria_child, state=state, codes=_CODES, options=_OPTIONS, applies=col("child"), flags=_FLAGS,
    gate_evidence=("capd_event_id", "consciousness_event_id"), hidden=col("sedated"),
    marks={
        "CAPD 1-8 is grade 1 or 2 by consciousness": "M", "grades of CAPD": "M", "CAPD unable because of sedation is not grade 4": "P",
    } | _MARKS,
)  # fmt: skip
