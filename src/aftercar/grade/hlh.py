"""What IEC-HS was called before: carHLH [neelapu2018] and HLH-2004 [henter2007]."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from polars import col, lit

from aftercar.grade import ctcae
from aftercar.grade.lookback import Lookback, count, either
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import concept
from aftercar.timeline.state import DAY, SPAN, Record, of_course
from aftercar.timeline.units import TOLERANCE_C

_CARHLH = ("liver", "kidney", "lung", "haemophagocytosis")
_CARHLH_LEAST = 2
ITEMS = ("fever", "splenomegaly", "cytopenias", "fat_or_fibrinogen", "haemophagocytosis", "nk_low", "ferritin_high", "scd25_high")
LEAST = 5  # of the eight items
YEAR_D = 365.2425
NEONATE_D = 28  # days of age below which the haemoglobin cut is 10 g/dL


def carhlh_criteria(options: Options) -> tuple[Criterion, ...]:
    """Ferritin and two of four."""
    return (
        Criterion(0, "ferritin", "ferritin > 10,000 ng/mL", col("ferritin"), ("ferritin_event_id",), mark="M"),
        Criterion(0, "liver", "transaminases or bilirubin CTCAE grade 3 or more", col("liver"), ("alt_3_event_id", "ast_3_event_id", "bilirubin_3_event_id"), mark="M"),
        Criterion(0, "kidney", "creatinine or oliguria CTCAE grade 3 or more", col("kidney"), ("creatinine_3_event_id", "oliguria_event_id"), mark="M"),
        Criterion(0, "lung", "pulmonary oedema CTCAE grade 3 or more", col("lung"), ("lung_event_id",), mark="M"),
        Criterion(0, "haemophagocytosis", "haemophagocytosis", col("haemophagocytosis"), ("haemophagocytosis_event_id",), mark="M"),
        Criterion(1, "diagnosis", "ferritin and two others", col("diagnosed"), mark="M"),
    )  # fmt: skip


def carhlh_state(record: Record, options: Options) -> pl.DataFrame:
    """Ferritin, liver, kidney, lung and haemophagocytosis within the window."""
    back = Lookback(record, options)
    back.value("ferritin", "ferritin", lambda v: v > 10_000)
    for name in ("alt", "ast", "bilirubin", "creatinine"):
        back.graded(f"{name}_3", name, 3)
    back.value("oliguria", "oliguria", lambda v: v >= 3)
    back.value("lung", "pulmonary_oedema", lambda v: v >= 3)
    back.stands("haemophagocytosis")
    frame = back.frame()
    frame = frame.with_columns(
        liver=either("alt_3", "ast_3", "bilirubin_3"),
        # Oliguria that nobody charted is not claimed.
        kidney=col("creatinine_3") | col("oliguria").fill_null(False),
    )
    sure, most = count(_CARHLH)
    enough = pl.when(sure >= _CARHLH_LEAST).then(True).when(most < _CARHLH_LEAST).then(False)
    return frame.with_columns(diagnosed=col("ferritin") & enough, score=sure, score_upper=most).collect(engine="in-memory")


def criteria(options: Options) -> tuple[Criterion, ...]:
    """The eight items of HLH-2004; five of them, or a molecular diagnosis."""
    over, under = (">=", "<=") if options["hlh_inclusive"] else (">", "<")
    return (
        Criterion(0, "fever", f"fever {over} 38.5 C", col("fever"), ("fever_event_id",)),
        Criterion(0, "spleen", "splenomegaly", col("splenomegaly"), ("splenomegaly_event_id",)),
        Criterion(0, "cytopenias", "two of: haemoglobin < 9 g/dL (newborns < 10), platelets < 100 x 10^9/L, ANC < 1000/uL", col("cytopenias"), ("hb_low_event_id", "platelets_low_event_id", "anc_low_event_id")),
        Criterion(0, "triglycerides or fibrinogen", f"triglycerides {over} 265 mg/dL or fibrinogen {under} 150 mg/dL", col("fat_or_fibrinogen"), ("triglycerides_high_event_id", "fibrinogen_low_event_id")),
        Criterion(0, "haemophagocytosis", "haemophagocytosis", col("haemophagocytosis"), ("haemophagocytosis_event_id",)),
        Criterion(0, "NK cells", "NK activity low or absent", col("nk_low"), ("nk_low_event_id",)),
        Criterion(0, "ferritin", f"ferritin {over} 500 ng/mL", col("ferritin_high"), ("ferritin_high_event_id",)),
        Criterion(0, "sCD25", f"soluble CD25 {over} 2400 U/mL", col("scd25_high"), ("scd25_high_event_id",)),
        Criterion(1, "diagnosis", "five of the eight", col("five")),
        Criterion(1, "diagnosis", "molecular diagnosis", col("hlh_gene").fill_null(False), ("hlh_gene_event_id",)),
    )  # fmt: skip


def state(record: Record, options: Options) -> pl.DataFrame:
    """The eight items within the window."""
    strict = not options["hlh_inclusive"]

    def over(cut: float, tolerance: float = 0.0) -> Callable[[pl.Expr], pl.Expr]:
        return lambda v: v > cut + tolerance if strict else v >= cut - tolerance

    back = Lookback(record, options)
    back.value("fever", "temperature", over(38.5, TOLERANCE_C), drawn=False)
    back.stands("splenomegaly")
    back.stands("haemophagocytosis")
    back.stands("hlh_gene")
    words = concept("nk_activity").values
    back.value("nk_low", "nk_activity", lambda v: v >= float(words.index("low")))
    back.value("triglycerides_high", "triglycerides", over(265))
    back.value("fibrinogen_low", "fibrinogen", lambda v: v < 150 if strict else v <= 150)
    back.value("ferritin_high", "ferritin", over(500))
    back.value("scd25_high", "scd25", over(2400))
    back.value("platelets_low", "platelets", lambda v: v < 100)
    back.value("anc_low", "anc", lambda v: v < 1000)
    hemoglobin = back.values("hemoglobin")
    hemoglobin = hemoglobin.with_columns(of_course(record.courses, hemoglobin["at"] // SPAN, "age_y", "day0_at"))
    age_d = col("age_y") * YEAR_D + (col("at") - col("day0_at")) / DAY
    newborn = (age_d.round(3) < NEONATE_D).fill_null(False)
    back.within("hb_low", hemoglobin, col("value") < pl.when(newborn).then(10.0).otherwise(9.0))
    frame = back.frame()
    sure, most = count(("hb_low", "platelets_low", "anc_low"))
    frame = frame.with_columns(
        cytopenias=pl.when(sure >= 2).then(True).when(most < 2).then(False),
        fat_or_fibrinogen=either("triglycerides_high", "fibrinogen_low"),
    )
    sure, most = count(ITEMS)
    frame = frame.with_columns(score=sure, score_upper=most)
    five = pl.when(col("score") >= LEAST).then(True).when(col("score_upper") < LEAST).then(False)
    return frame.with_columns(five=five).collect(engine="in-memory")


def _word() -> pl.Expr:
    return (
        pl.when(col("grade") == 1).then(lit("criteria_met"))
        .when(col("grade_upper") == 0).then(lit("not_met"))
        .otherwise(lit("incomplete"))
    )  # fmt: skip


_WINDOW = ("day0", "unknown_attribution", "iechs_window_h", "resolution_h", "new_episode_gap_h")
_MEASURES = {"score": col("score"), "score_upper": col("score_upper")}

SCALES = (
    Scale(
        name="carhlh", title="carHLH, Neelapu 2018", toxicity="iec_hs", source="neelapu2018", version="1", criteria=carhlh_criteria,
        state=carhlh_state, default=False, status=_word(), measures=_MEASURES, options=(*_WINDOW, "ctcae"),
        codes=("ferritin", *ctcae.ORGAN, *(f"{n}_uln" for n in ctcae.ORGAN), "oliguria", "pulmonary_oedema", "haemophagocytosis", "record_complete"),
        marks={"criteria": "M", "features within the window": "P"},
    ),
    Scale(
        name="hlh2004", title="HLH-2004", toxicity="iec_hs", source="henter2007", version="1", criteria=criteria, state=state, default=False,
        status=_word(), measures=_MEASURES, options=(*_WINDOW, "hlh_inclusive"),
        codes=("temperature", "splenomegaly", "haemophagocytosis", "hlh_gene", "nk_activity", "triglycerides", "fibrinogen", "ferritin", "scd25", "platelets", "anc", "hemoglobin"),
        marks={"items within the window": "P"},
    ),
)  # fmt: skip
