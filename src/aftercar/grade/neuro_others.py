"""Neurotoxicity beside ASTCT: CRES with CARTOX-10 [neelapu2018], and the terms of CTCAE [ctcae5].

A short generalised seizure shows how the scales part: CRES 4, ASTCT 3, CTCAE 2.
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade import icans
from aftercar.grade.deaths import deaths
from aftercar.grade.findings import covered
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import concept
from aftercar.timeline.state import HOUR, Record, elsewhere, grid, look, origin, ranked, readings

HIGH_PRESSURE = 20.0  # mm[Hg], inclusive: CRES grade 4
HIGH_STAGE = 3  # of papilloedema, inclusive: CRES grade 4
SEIZURE_LONG_MIN = icans.SEIZURE_LONG_MIN
_OUTCOME = {w: float(n) for n, w in enumerate(concept("seizure_outcome").values)}
_ENDED_BADLY = [_OUTCOME["ongoing"], _OUTCOME["no_return_to_baseline"]]
_RESOLVED = [_OUTCOME["resolved_fast"], _OUTCOME["resolved_with_treatment"]]
_SYMPTOMS = ("confusion", "dysphasia", "tremor")


def cres(options: Options) -> tuple[Criterion, ...]:
    """CRES: the score, consciousness, pressure, seizures and weakness."""
    score, pressure = ("cartox_event_id",), ("icp_event_id", "pressure_event_id", "stage_event_id")
    seizure = ("seizure_event_id",)
    return (
        Criterion(1, "CARTOX-10", "CARTOX-10 7-9", col("score") <= 9, score),
        Criterion(2, "CARTOX-10", "CARTOX-10 3-6", col("score") <= 6, score),
        Criterion(3, "CARTOX-10", "CARTOX-10 0-2", col("score") <= 2, score, mark="M"),
        Criterion(4, "consciousness", "critical or obtunded, cannot perform the tasks", col("consciousness") >= icans.CONSCIOUSNESS["vigorous_or_none"], ("consciousness_event_id",), mark="M"),
        Criterion(3, "pressure", "papilloedema stage 1-2, or raised opening pressure < 20 mm[Hg]", col("pressure_raised"), pressure, mark="M"),
        Criterion(4, "pressure", "papilloedema stage 3-5, opening pressure >= 20 mm[Hg], or cerebral oedema", col("pressure_high"), pressure, mark="M"),
        Criterion(3, "seizure", "partial seizure, or non-convulsive on EEG that responds to treatment", col("seizure"), seizure, mark="M"),
        Criterion(4, "seizure", "generalised seizure or status epilepticus", col("seizure_severe"), ("seizure_severe_event_id", *seizure), mark="M"),
        Criterion(4, "motor", "new motor weakness", col("motor_deep"), ("motor_event_id",), mark="M"),
        Criterion(5, "death", "death due to neurotoxicity", col("death_icans_cres"), ("death_event_id",), gated=False, assessed=col("death_assessed_cres")),
    )  # fmt: skip


def ctcae(options: Options) -> tuple[Criterion, ...]:
    """The neurologic terms of CTCAE; the highest counts."""
    words = {
        "confusion": ("confusion, mild", "confusion, instrumental ADL limited", "confusion, self-care ADL limited", "confusion, life-threatening"),
        "dysphasia": ("dysphasia, aware and communicating", "dysphasia, spontaneous communication impaired", "dysphasia, cannot read, write or communicate"),
        "tremor": ("tremor, mild", "tremor, instrumental ADL limited", "tremor, self-care ADL limited"),
    }  # fmt: skip
    somnolence = ("somnolence, mild", "somnolence that limits instrumental ADL", "stupor", "somnolence, life-threatening")
    charted = tuple(
        Criterion(k, term, text, col(term) >= k, (f"{term}_event_id",), mark="M")
        for term, texts in words.items()
        for k, text in enumerate(texts, 1)
    )
    sleepy = tuple(
        Criterion(k, "somnolence", text, col("consciousness") >= k, ("consciousness_event_id",), mark="M")
        for k, text in enumerate(somnolence, 1)
    )
    seizure = ("seizure_event_id",)
    return (
        *charted,
        *sleepy,
        Criterion(1, "seizure", "brief partial seizure", col("seizure"), seizure, mark="M"),
        Criterion(2, "seizure", "brief generalised seizure", col("seizure_general"), ("general_event_id", *seizure), mark="M"),
        Criterion(3, "seizure", "several seizures", col("seizure_several"), seizure, mark="M"),
        Criterion(4, "seizure", "life-threatening or prolonged seizure", col("seizure_long"), ("long_event_id", *seizure), mark="M"),
        Criterion(5, "death", "death due to neurotoxicity", col("death_icans_ctcae"), ("death_event_id",), gated=False, assessed=col("death_assessed_ctcae")),
    )  # fmt: skip


def _unless_other(name: str) -> pl.Expr:
    """A finding's rank; 0 where it is due to another cause."""
    return pl.when(f"{name}_excluded").then(0.0).otherwise(f"{name}_value")


def _seizures(every: pl.DataFrame, record: Record, hold_h: float) -> pl.DataFrame:
    """Each time at which seizures began, the worst of them: `at, until, event_id`, `cres` (grade 4: true, false, unknown) and `prolonged`
    likewise.
    """
    minutes = readings(record, "seizure_duration", hold_h).filter(~col("excluded")).select("at", minutes="value")
    both = every.join(minutes, on="at", how="left").join(icans.outcomes_read(record, hold_h), on="at", how="left")
    kind, outcome, minutes = col("text_value"), col("outcome"), col("minutes")
    bad = (minutes > SEIZURE_LONG_MIN).fill_null(False) | outcome.is_in(_ENDED_BADLY).fill_null(False)
    electrical = kind == "eeg_nonconvulsive"
    settled = pl.when(electrical).then(outcome.is_in(_RESOLVED)).otherwise(icans.brief() | outcome.is_in(_RESOLVED))
    cres = pl.when(bad | (kind == "clinical_generalised")).then(True).when(settled.fill_null(False)).then(False)
    prolonged = (
        pl.when(bad).then(True)
        .when(outcome == _OUTCOME["resolved_fast"]).then(False)
        .when(electrical & (outcome == _OUTCOME["resolved_with_treatment"])).then(False)
        .when(icans.brief()).then(False)
    )  # fmt: skip
    both = both.with_columns(cres=cres, prolonged=prolonged).sort("at", "event_id")
    return both.group_by("at", maintain_order=True).agg(
        col("until").max(), col("event_id").first(), *(col(c).any(ignore_nulls=False) for c in ("cres", "prolonged"))
    )  # fmt: skip


def _signs(record: Record) -> pl.DataFrame:
    """Signs of pressure; `staged` where the stage of papilloedema was charted with them."""
    stages = record.of("papilloedema_stage").select("at", staged=lit(True)).unique("at")
    return icans.pressure_signs(record).join(stages, on="at", how="left", maintain_order="left")


def _every_seizure(record: Record, hold_h: float) -> pl.DataFrame:
    """Every charted seizure with the end of its hold, also several at one time: `at, until, event_id, text_value`."""
    rows = record.of("seizure").filter((ranked("seizure") > 0) & ~elsewhere(record) & (col("at") >= origin(col("at"))))
    until = pl.coalesce("end_at", col("at") + int(hold_h * HOUR))
    rows = rows.select("at", "event_id", "text_value", until=until).sort("at", "until")
    return rows.unique(["at", "text_value"], keep="last", maintain_order=True)  # a row that stands twice is one seizure


def state(record: Record, options: Options) -> pl.DataFrame:
    """Every domain of both scales at each time."""
    hold = float(options["seizure_hold_h"])
    every = _every_seizure(record, hold)
    seizures = _seizures(every, record, hold)
    assessed = record.of("cartox", "consciousness", "motor", "icp_sign", "seizure").select("at").unique().sort("at")
    tables = {
        "cartox": icans.until_next(readings(record, "cartox"), assessed, 0),
        "consciousness": readings(record, "consciousness"),
        "motor": readings(record, "motor"),
        "icp": _signs(record),
        "pressure": readings(record, "opening_pressure"),
        "stage": readings(record, "papilloedema_stage"),
        "seizure": seizures,
        "seizure_severe": seizures.filter(col("cres")),
        "seizure_open": seizures.filter(col("cres").is_null()),
        "general": every.filter(col("text_value") != "clinical_focal").unique("at", keep="last", maintain_order=True),
        "long": seizures.filter(col("prolonged")),
        "long_open": seizures.filter(col("prolonged").is_null()),
        "several": every.select(col("at").shift(-1), pl.min_horizontal("until", col("until").shift(-1)), "event_id")
        .filter(col("at") < col("until"))
        .unique("at", keep="last", maintain_order=True),
        "seizure_said": readings(record, "seizure").filter(~col("excluded")),
        **{s: readings(record, s) for s in _SYMPTOMS},
    }
    tables = {name: table.filter(col("at") >= origin(col("at"))) for name, table in tables.items()}
    tables |= {
        "sedated": readings(record, "sedated"),
        "haemorrhage": readings(record, "haemorrhage"),
        "death": deaths(record),
        **{f"all_{stream}": covered(record, stream) for stream in ("seizure", "motor", "icp", "symptoms")},
    }
    frame = look(grid(record, *tables.values()), tables)
    frame = frame.join(icans.subject_facts(record), on="course", how="left", maintain_order="left")
    return _judge(frame, options)


def _judge(frame: pl.DataFrame, options: Options) -> pl.DataFrame:
    sedated = (col("sedated_value") == 1).fill_null(False)
    bled = (col("haemorrhage_value") == 1).fill_null(False)
    score = pl.when(sedated & (col("cartox_value") == 0)).then(None).when("cartox_excluded").then(10.0).otherwise("cartox_value")
    # A word charted as not known is unknown, also where the record is complete.
    symptoms = {
        s: pl.when(col(f"{s}_at").is_not_null()).then(_unless_other(s)).when(col("all_symptoms_at").is_not_null()).then(0.0)
        for s in _SYMPTOMS
    }
    none = icans.seizure_ruled_out()
    seized = col("seizure_at").is_not_null()

    def seizure(sure: str, doubtful: str | None = None) -> pl.Expr:
        open_ = icans.seizure_unread() | (lit(False) if doubtful is None else col(f"{doubtful}_at").is_not_null())
        return pl.when(col(f"{sure}_at").is_not_null()).then(True).when(open_).then(None).when(seized | none).then(False)

    frame = frame.with_columns(
        sedated=sedated,
        score=score,
        consciousness=pl.when(sedated).then(None).otherwise(_unless_other("consciousness")),
        motor_deep=pl.coalesce(_unless_other("motor") > 0, pl.when(icans.silent("motor")).then(False)),
        seizure=pl.when(seized).then(True).when(none).then(False),
        seizure_severe=seizure("seizure_severe", "seizure_open"),
        seizure_general=seizure("general"),
        seizure_several=seizure("several"),
        seizure_long=seizure("long", "long_open"),
        **_pressure(options, bled),
        **symptoms,
        **{
            f"unsure_{scale}": pl.any_horizontal(col(f"{c}_unsure").fill_null(False) for c in (*finds, "consciousness", "seizure_said"))
            for scale, finds in (("cres", ("cartox", "motor", "icp", "pressure", "stage")), ("ctcae", _SYMPTOMS))
        },
    )  # fmt: skip
    charted = ("cartox", "consciousness", "motor", "icp", "pressure", "stage", "seizure", "seizure_said", *_SYMPTOMS)
    obtunded = col("consciousness") >= icans.CONSCIOUSNESS["vigorous_or_none"]
    of_cres = (col("score") <= 9, obtunded, col("motor_deep"), col("seizure"), col("pressure_raised"), col("pressure_high"))
    of_ctcae = (col("consciousness") >= 1, col("seizure"), *(col(s) >= 1 for s in _SYMPTOMS))
    return frame.with_columns(
        observed=pl.any_horizontal(col(f"{c}_at") == col("at") for c in charted).fill_null(False),
        **{f"{name}_cres": e for name, e in icans.death_due(of_cres).items()},
        **{f"{name}_ctcae": e for name, e in icans.death_due(of_ctcae).items()},
    )


def _pressure(options: Options, bled: pl.Expr) -> dict[str, pl.Expr]:
    """CRES reads signs, the stage of papilloedema and opening pressure; stage and pressure that nobody charted are not claimed."""
    pressure, stage = _unless_other("pressure"), _unless_other("stage")
    raised = (pressure >= float(options["raised_pressure_mmhg"])) | (stage >= 1)
    high = (pressure >= HIGH_PRESSURE) | (stage >= HIGH_STAGE)
    # Papilloedema without a stage is somewhere on the scale.
    unstaged = col("icp_papilloedema") & col("icp_staged").is_null()
    oedema = (col("icp_focal") & ~bled & ~col("focal_before").fill_null(False)) | (col("icp_diffuse") & ~bled)
    examined, complete = col("icp_at").is_not_null(), col("all_icp_at").is_not_null()
    signs_high = pl.when(examined).then(oedema | pl.when(~unstaged).then(False)).when(complete).then(False)
    signs_raised = pl.when(examined).then(oedema | unstaged).when(complete).then(False)
    return {
        "pressure_raised": raised.fill_null(False) | high.fill_null(False) | signs_raised,
        "pressure_high": high.fill_null(False) | signs_high,
    }


_CODES = (
    "cartox", "consciousness", "motor", "icp_sign", "opening_pressure", "papilloedema_stage", "seizure", "seizure_duration",
    "seizure_outcome", *_SYMPTOMS, "sedated", "haemorrhage", "death", "record_complete",
)  # fmt: skip


def _flags(scale: str) -> dict[str, pl.Expr]:
    """Warnings about what one of the two tables reads."""
    return {
        "sedated": col("sedated"),
        "attribution_unknown": col(f"unsure_{scale}"),
        "death_cause_unknown": col(f"death_assessed_{scale}").is_null(),
    }


_OPTIONS = ("day0", "unknown_attribution", "seizure_hold_h", "resolution_h", "new_episode_gap_h")

SCALES = (
    Scale(
        name="cres_cartox", title="CRES (CARTOX-10), Neelapu 2018", toxicity="icans", source="neelapu2018", version="1", criteria=cres,
        state=state, codes=_CODES, options=(*_OPTIONS, "raised_pressure_mmhg"), default=False,
        flags=_flags("cres"), hidden=col("sedated"),
        gate_evidence=("cartox_event_id", "consciousness_event_id"), marks={"raised opening pressure": "P", "seizure hold": "P"},
    ),
    Scale(
        name="neuro_ctcae", title="Neurotoxicity, CTCAE v5 terms", toxicity="icans", source="ctcae5", version="1", criteria=ctcae,
        state=state, codes=_CODES, options=_OPTIONS, default=False,
        flags=_flags("ctcae"), hidden=col("sedated"),
        gate_evidence=("consciousness_event_id",), marks={"somnolence by level of consciousness": "P", "seizure hold": "P"},
    ),
)  # fmt: skip
