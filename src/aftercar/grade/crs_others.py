"""CRS on the scales of the trials: Lee 2014, Penn, MSKCC, CTCAE and CARTOX, over the findings that ASTCT reads.

Fever opens CRS but need not be there later, and organ toxicity, doses and FiO2 count. Where a paper gives no rule, `docs/conventions.md`
says what was chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from polars import col, lit

from aftercar.grade import crs, ctcae, doses
from aftercar.grade.crs import CRS_ASTCT_2019
from aftercar.grade.findings import LEAN, LOW_FLOW, RICH, at_least, counted, covered, longest, settings, share_at_least
from aftercar.grade.lookback import lately
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import of_group
from aftercar.timeline.state import DAY, HOUR, SPAN, Record, elsewhere, look, outside, overlaps, readings, running, split_at

_IV_ANTICYTOKINE = ("tocilizumab", "siltuximab")  # given into a vein by their labels; anakinra is not
_IV = (*_IV_ANTICYTOKINE, "iv_therapy", "parenteral_nutrition")
_OTHER_ORGANS = ("creatinine", "bilirubin")  # all but transaminases
_ORGANS = ("transaminases", *_OTHER_ORGANS)


def _organ(organs: tuple[str, ...], grade: int) -> pl.Expr:
    """Whether one of the organs is at least of a grade; null where the record leaves it open."""
    sure, possible = (pl.max_horizontal(f"{o}{side}" for o in organs) for side in ("", "_upper"))
    return pl.when(sure >= grade).then(True).when(possible < grade).then(False)


_ORGAN_EVIDENCE = tuple(f"{n}_event_id" for n in ctcae.ORGAN)
_LIVER_EVIDENCE = tuple(f"{n}_event_id" for n in ("alt", "ast", "bilirubin"))
_PRESSOR_EVIDENCE = ("pressors_event_id", "vasopressin_event_id")
_EVIDENCE = (
    "several_event_id", "several_other_id", "high_event_id", "penn_event_id", "long_event_id", "boluses_event_id", "factors_event_id",
    "iv_event_id", "setting_event_id", "constitutional_event_id", "life_threatening_event_id",
)  # fmt: skip
_O2_EVIDENCE = ("o2_event_id", "o2_flow_event_id", "fio2_event_id")


def _active() -> Criterion:
    return Criterion(
        1, "symptoms", "fever, constitutional symptom or another sign of CRS", col("active"),
        ("fever_event_id", "constitutional_event_id"), assessed=col("active_assessed"),
    )  # fmt: skip


def _death() -> Criterion:
    return Criterion(
        5, "death", "death due to CRS", col("death_crs"), ("death_event_id",), gated=False, assessed=col("death_assessed")
    )


def _pressor() -> pl.Expr:
    return (col("pressors") >= 1) | col("vasopressin")


def lee2014(options: Options) -> tuple[Criterion, ...]:
    """Lee 2014, table 2; high doses are those of its vasopressor table."""
    multiple = col("multiple") if options["lee_vasopressin_counts"] else col("pressors_concurrent")
    ventilator = col("vent_any") | col("niv_any") if options["lee_niv"] == 4 else col("vent_any")
    return (
        _active(),
        Criterion(2, "oxygen", "oxygen, FiO2 < 40 %", share_at_least(LEAN), _O2_EVIDENCE),
        Criterion(2, "hypotension", "hypotension that responds to fluids", col("hypotension"), ("bp_event_id",)),
        Criterion(2, "hypotension", "one low-dose vasopressor", _pressor(), _PRESSOR_EVIDENCE),
        Criterion(2, "organ", "organ toxicity grade 2", _organ(_ORGANS, 2), _ORGAN_EVIDENCE),
        Criterion(3, "oxygen", "oxygen, FiO2 >= 40 %", share_at_least(RICH), _O2_EVIDENCE),
        Criterion(3, "hypotension", "high-dose vasopressor for at least 3 h", col("high_dose"), ("high_event_id",), mark="M"),
        Criterion(3, "hypotension", "multiple vasopressors", multiple, ("several_event_id", "several_other_id", "pair_event_id", "pair_other_id")),
        Criterion(3, "organ", "organ toxicity grade 3, or transaminases grade 4", _organ(_ORGANS, 3), _ORGAN_EVIDENCE),
        Criterion(4, "oxygen", "ventilator", ventilator, ("o2_event_id",)),
        Criterion(4, "organ", "organ toxicity grade 4 but transaminases", _organ(_OTHER_ORGANS, 4), ("creatinine_event_id", "bilirubin_event_id")),
        _death(),
    )  # fmt: skip


def penn2018(options: Options) -> tuple[Criterion, ...]:
    """Penn scale, table 1 of Porter 2018."""
    liver = ("transaminases", "bilirubin")
    fever = pl.when(lit(options["penn_fever_inpatient"] == 2)).then(col("inpatient") & col("symptomatic")).otherwise(lit(False))
    bolus = int(options["penn_single_bolus"])
    return (
        _active(),
        Criterion(2, "organ", "creatinine grade 2", _organ(("creatinine",), 2), ("creatinine_event_id",)),
        Criterion(2, "organ", "liver function grade 3", _organ(liver, 3), _LIVER_EVIDENCE),
        Criterion(2, "symptoms", "in hospital for fever or symptoms of CRS", fever, ("fever_event_id", "setting_event_id")),
        Criterion(2, "symptoms", "intravenous therapy or parenteral nutrition", col("iv"), ("iv_event_id",)),
        Criterion(bolus, "hypotension", "one fluid bolus for hypotension", col("boluses") >= 1, ("boluses_event_id",), mark="P"),
        Criterion(3, "organ", "liver function grade 4", _organ(liver, 4), _LIVER_EVIDENCE),
        Criterion(3, "organ", "creatinine grade 3", _organ(("creatinine",), 3), ("creatinine_event_id",)),
        Criterion(3, "hypotension", "several fluid boluses for hypotension", col("boluses") >= 2, ("boluses_event_id",)),
        Criterion(3, "hypotension", "low-dose vasopressor", _pressor(), _PRESSOR_EVIDENCE),
        Criterion(3, "coagulation", "plasma, cryoprecipitate or fibrinogen for coagulopathy", col("factors"), ("factors_event_id",)),
        Criterion(3, "oxygen", "supplemental oxygen of any kind, CPAP and BiPAP among them", at_least(LOW_FLOW), _O2_EVIDENCE),
        Criterion(4, "hypotension", "high-dose vasopressor for at least 3 h", col("penn_dose"), ("penn_event_id",), mark="M"),
        Criterion(4, "oxygen", "mechanical ventilation", col("vent_any"), ("o2_event_id",)),
        Criterion(4, "other", "other life-threatening complication", col("life_threatening"), ("life_threatening_event_id",)),
        _death(),
    )  # fmt: skip


def mskcc(options: Options) -> tuple[Criterion, ...]:
    """MSKCC scale of Park 2018."""
    fluid = int(options["mskcc_fluid"])
    return (
        _active(),
        Criterion(fluid, "hypotension", "hypotension that responds to fluids", col("hypotension"), ("bp_event_id",), mark="P"),
        Criterion(2, "hypotension", "any vasopressor for less than 24 h", _pressor(), _PRESSOR_EVIDENCE),
        Criterion(2, "oxygen", "oxygen < 40 %", share_at_least(LEAN), _O2_EVIDENCE),
        Criterion(3, "hypotension", "any vasopressor for 24 h or more", col("day_long"), ("long_event_id",)),
        Criterion(3, "oxygen", "oxygen >= 40 %", share_at_least(RICH), _O2_EVIDENCE),
        Criterion(4, "hypotension", "hypotension refractory to high-dose vasopressors", col("refractory"), ("bp_event_id", "high_event_id")),
        Criterion(4, "oxygen", "mechanical ventilation", col("vent_any"), ("o2_event_id",)),
        _death(),
    )  # fmt: skip


def ctcae5(options: Options) -> tuple[Criterion, ...]:
    """CTCAE v5, cytokine release syndrome."""
    return (
        _active(),
        Criterion(2, "hypotension", "hypotension that responds to fluids", col("hypotension"), ("bp_event_id",), mark="M"),
        Criterion(2, "oxygen", "hypoxia that responds to < 40 % oxygen", share_at_least(LEAN), _O2_EVIDENCE, mark="M"),
        Criterion(3, "hypotension", "hypotension managed with one vasopressor", _pressor(), _PRESSOR_EVIDENCE, mark="M"),
        Criterion(3, "oxygen", "hypoxia that needs >= 40 % oxygen", share_at_least(RICH), _O2_EVIDENCE, mark="M"),
        Criterion(4, "hypotension", "several vasopressors", col("multiple"), ("several_event_id", "several_other_id"), mark="P"),
        Criterion(4, "oxygen", "ventilator", col("vent_any"), ("o2_event_id",), mark="P"),
        Criterion(4, "other", "life-threatening, urgent intervention", col("life_threatening"), ("life_threatening_event_id",), mark="M"),
        _death(),
    )  # fmt: skip


def cartox(options: Options) -> tuple[Criterion, ...]:
    """CARTOX (MD Anderson), Neelapu 2018."""
    return (
        _active(),
        Criterion(1, "organ", "organ toxicity grade 1", _organ(_ORGANS, 1), _ORGAN_EVIDENCE),
        Criterion(2, "hypotension", "systolic pressure < 90 mm[Hg] that responds to fluids", col("hypotension"), ("bp_event_id",)),
        Criterion(2, "hypotension", "one low-dose vasopressor", _pressor(), _PRESSOR_EVIDENCE),
        Criterion(2, "oxygen", "FiO2 < 40 %", share_at_least(LEAN), _O2_EVIDENCE),
        Criterion(2, "organ", "organ toxicity grade 2", _organ(_ORGANS, 2), _ORGAN_EVIDENCE),
        Criterion(3, "hypotension", "high-dose vasopressor", col("high_dose"), ("high_event_id",)),
        Criterion(3, "hypotension", "multiple vasopressors", col("multiple"), ("several_event_id", "several_other_id")),
        Criterion(3, "oxygen", "FiO2 >= 40 %", share_at_least(RICH), _O2_EVIDENCE),
        Criterion(3, "organ", "organ toxicity grade 3, or transaminases grade 4", _organ(_ORGANS, 3), _ORGAN_EVIDENCE),
        Criterion(4, "hypotension", "life-threatening hypotension", col("refractory") | col("life_threatening"), ("bp_event_id", "high_event_id", "life_threatening_event_id")),
        Criterion(4, "oxygen", "ventilator", col("vent_any"), ("o2_event_id",)),
        Criterion(4, "organ", "organ toxicity grade 4 but transaminases", _organ(_OTHER_ORGANS, 4), ("creatinine_event_id", "bilirubin_event_id")),
        _death(),
    )  # fmt: skip


def state(record: Record, options: Options) -> pl.DataFrame:
    """The findings of ASTCT with doses, FiO2, organs, boluses and setting beside them, under segments that fever need not begin."""
    tables = _tables(record, options)
    base = crs.base(record, options)
    rows = base.select(*crs.EVENTFUL, "share_estimated", row=pl.int_range(pl.len(), dtype=pl.UInt32))
    rows = split_at(rows, pl.concat([t[c].drop_nulls() for t in tables.values() for c in ("at", "until")]))
    rows = look(rows, {"constitutional": tables["constitutional"]})
    rows = crs.eventful(rows, options, _FLAGGED, _stands("constitutional"))
    frame = look(base[rows["row"]].with_columns(rows["at"].set_sorted(), attributes=_attributes(record, options)), tables)
    # A blood draw is no assessment of CRS.
    told = pl.any_horizontal(col(f"{n}_at") == col("at") for n in ("constitutional", "life_threatening")).fill_null(False)
    kept = dict.fromkeys((*base.columns, "attributes", *_EVIDENCE))
    # What the tables read is a third of the columns; the fever rules copy rows.
    frame = frame.select(*kept, told=told, **_findings(), **_organs())
    return _judged(crs.ruled(frame, options, _onset(options)), options)


def _attributes(record: Record, options: Options) -> pl.Expr:
    """Whether a person attributed any sign of the course to the cells; under `any` no statement is asked for."""
    if options["onset_without_fever"] == "any":
        return lit(True)
    return col("course").is_in(record.stated.implode())


def _tables(record: Record, options: Options) -> dict[str, pl.DataFrame]:
    push = bool(options["push_dose_counts"])
    agents = [*counted(options), *of_group("vasopressin_like")]
    runs = running(record, agents, push_doses=push)
    turns = doses.high(doses.rates(record, agents, push_doses=push))
    unknown = outside(record, covered(record, "drugs"))
    (high, high_upper), (penn, penn_upper) = (doses.sustained(turns, scale, unknown) for scale in ("lee", "penn"))
    gap, ran = int(float(options["mskcc_pressor_gap_h"]) * HOUR), runs.select("at", "until", "event_id")
    # A row that stands twice is one bolus.
    boluses = (
        record.of("fluid_bolus")
        .filter(~elsewhere(record))
        .unique(["at", "numeric_value", "unit"], keep="last", maintain_order=True)
    )
    # A volume is one bolus; a bare number is how many.
    number = (
        pl.when(col("unit").is_null())
        .then(col("numeric_value").fill_null(1))
        .otherwise((col("numeric_value") != 0).fill_null(True))
    )
    day_after = pl.max_horizontal("end_at", "at") + DAY
    return {
        "several": longest(overlaps(runs, int(options["pressor_overlap_min"]) * 60)),
        "high": high,
        "high_upper": high_upper,
        "penn": penn,
        "penn_upper": penn_upper,
        "long": doses.day_long(ran, gap, DAY),
        "long_upper": doses.day_long(pl.concat([ran, unknown]), gap, DAY),
        "boluses": doses.rolling_sum(boluses, number, 24),
        "factors": lately(record, of_group("coagulation_factor"), day_after),
        "iv": lately(record, _IV, day_after, ~(col("code").is_in(_IV_ANTICYTOKINE) & col("text_value").eq_missing(lit("prophylaxis")))),
        "setting": settings(record).select("at", "inpatient", "event_id", until=(col("at") // SPAN + 1) * SPAN),
        "constitutional": readings(record, "constitutional"),
        "life_threatening": readings(record, "life_threatening"),
        "organ": covered(record, "organ"),
        **{name: ctcae.graded(record, name, options) for name in ctcae.ORGAN},
    }  # fmt: skip


def _stands(name: str) -> pl.Expr:
    """A person's statement: what nobody said is not there."""
    return ((col(f"{name}_value") == 1) & ~col(f"{name}_excluded")).fill_null(False)


def _bound(name: str) -> pl.Expr:
    """True in a sure stretch, false outside a possible one, else unknown."""
    return pl.when(col(f"{name}_at").is_not_null()).then(True).when(col(f"{name}_upper_at").is_null()).then(False)


def _given(name: str) -> pl.Expr:
    """True where it is charted, false where every drug is recorded, else unknown."""
    return pl.when(col(f"{name}_at").is_not_null()).then(True).when("drugs_known").then(False)


def _findings() -> dict[str, pl.Expr]:
    return {
        "constitutional": _stands("constitutional"),
        "life_threatening": _stands("life_threatening"),
        "multiple": _given("several"),
        "high_dose": _bound("high"),
        "penn_dose": _bound("penn"),
        "day_long": _bound("long"),
        "iv": _given("iv"),
        "factors": _given("factors"),
        "boluses": pl.coalesce("boluses_n", pl.when("drugs_known").then(0.0)),
        "inpatient": col("setting_inpatient"),
        "vent_any": pl.when("vent").then(True).when(~col("vent_upper")).then(False),
        "niv_any": pl.when("niv").then(True).when(~col("niv_upper")).then(False),
    }


def _organs() -> dict[str, pl.Expr]:
    """Each organ's CTCAE grade, surely (`<organ>`) and at most (`<organ>_upper`); transaminases are the higher of AST and ALT."""
    found: dict[str, pl.Expr] = {}
    for organ in _ORGANS:
        names = ("alt", "ast") if organ == "transaminases" else (organ,)
        whole = col("organ_at").is_not_null()
        found[organ], found[f"{organ}_upper"] = ctcae.bounds(*names, whole=whole)
        # An organ that is well does not stand behind a grade.
        found |= {f"{n}_event_id": pl.when(ctcae.bounds(n, whole=whole)[0] > 0).then(f"{n}_event_id") for n in names}
    return found


def _onset(options: Options) -> crs.Onset:
    """Which signs begin CRS without fever; where a record attributes signs to the cells, one that is unknown may be such a sign."""
    low, up = {
        "stated": (col("stated"), col("stated") | (crs.some_sign_unknown() & col("attributes"))),
        "any": (lit(True), lit(True)),
        "never": (lit(False), lit(False)),
    }[str(options["onset_without_fever"])]
    return crs.Onset(low, up, col("constitutional"))


def _judged(frame: pl.DataFrame, options: Options) -> pl.DataFrame:
    """The columns that the tables read after the fever rules."""
    symptom = col("constitutional")
    sure, possible = crs.signs()
    fever_low = col("fever").fill_null(False)
    fever_up = col("fever").fill_null(True)
    now_open = col("fever_now").is_null()
    may_begin = (
        now_open if options["onset_without_fever"] == "never" else now_open | (crs.some_sign_unknown() & col("attributes"))
    )
    frame = frame.with_columns(
        gate=pl.when("open_low").then(True).when(~col("open_up")).then(False),
        gate_assessed=pl.when("open_low").then(True).when(~may_begin).then(False),
        active=pl.when(fever_low | symptom | sure).then(True).when(~(fever_up | symptom | possible)).then(False),
        active_assessed=pl.when(fever_low | symptom | sure).then(True).when(~(now_open | crs.some_sign_unknown())).then(False),
        symptomatic=pl.when(fever_low | symptom).then(True).when(~fever_up).then(False),
        refractory=col("hypotension") & col("high_dose"),
    )
    return frame.with_columns(observed=col("observed") | col("told"))


_FLAGGED = ("share_estimated", "inotrope", "untreated_hypoxia")  # warnings that need no CRS

_CODES = (
    *CRS_ASTCT_2019.codes, "constitutional", "life_threatening", "setting",
    *ctcae.ORGAN, *(f"{n}_uln" for n in ctcae.ORGAN),
)  # fmt: skip
_OPTIONS = (*(o for o in CRS_ASTCT_2019.options if o not in ("vasopressin_alone", "hfnc_le6")), "onset_without_fever")
_ORGAN_OPTIONS = ("ctcae",)
_FIO2 = ("fio2_estimate",)


_ESTIMATED = {"fio2_estimated": col("share_estimated")}


def _scale(
    name: str, title: str, source: str, criteria: Callable[[Options], tuple[Criterion, ...]], options: tuple[str, ...],
    marks: dict[str, str], flags: dict[str, pl.Expr],
) -> Scale:  # fmt: skip
    return Scale(
        name=f"crs_{name}", title=f"CRS, {title}", toxicity="crs", source=source, also=CRS_ASTCT_2019.also, version="1", criteria=criteria, state=state, codes=_CODES,
        options=_OPTIONS + options, default=False, gate=col("gate"), gate_assessed=col("gate_assessed"),
        gate_evidence=("fever_event_id",), met=col("open_low"), present=col("active_low") | (col("grade") == 5), between=col("grade") > 0,
        flags=(CRS_ASTCT_2019.flags or {}) | flags, marks=marks | {"when CRS begins and ends": "P"},
    )  # fmt: skip


SCALES = (
    _scale("lee2014", "Lee 2014", "lee2014", lee2014, (*_FIO2, "lee_niv", "lee_vasopressin_counts", *_ORGAN_OPTIONS), {"high doses": "M", "FiO2 by flow": "P"}, _ESTIMATED | {"vasopressin_counted": col("multiple") & ~col("pressors_concurrent")}),
    _scale("penn2018", "Penn 2018", "porter2018", penn2018, ("penn_fever_inpatient", "penn_single_bolus", *_ORGAN_OPTIONS), {"high doses": "M"}, {}),
    _scale("mskcc", "MSKCC 2018", "park2018", mskcc, (*_FIO2, "mskcc_pressor_gap_h", "mskcc_fluid"), {"24 hours": "P", "refractory": "P"}, _ESTIMATED),
    _scale("ctcae5", "CTCAE v5", "ctcae5", ctcae5, _FIO2, {"table": "M", "grade 4 of several vasopressors or a ventilator": "P"}, _ESTIMATED),
    _scale("cartox", "CARTOX 2018", "neelapu2018", cartox, (*_FIO2, *_ORGAN_OPTIONS), {"life-threatening hypotension": "P"}, _ESTIMATED),
)  # fmt: skip
