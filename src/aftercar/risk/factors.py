"""The known risk factors of each course: present, absent or unknown. No weights: the sources give none, and none is invented.

A factor is told only where the timeline can tell it; the rest is unknown. Where a source names no cut, the one here is a convention of
this project, and `by` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.evidence.risk_factors import RiskFactor, risk_factors
from aftercar.risk.inputs import Input
from aftercar.timeline.subjects import ALL_LEUKAEMIA, TARGETS

FACTORS: dict[str, Any] = {
    "subject_id": None,
    "infusion": pl.Int32,
    "factor": pl.String,
    "outcome": pl.String,
    "state": pl.Enum(["present", "absent", "unknown"]),
    "by": pl.String,
    "effect": pl.String,
    "source": pl.String,
    "mark": pl.String,
    "in_lecture": pl.Boolean,
}
# Drawn before lymphodepletion, as for CAR-HEMATOTOX.
INPUTS = (
    Input("platelets", "platelets", "10*9/L"),
    Input("anc", "anc", "/uL"),
    Input("haemoglobin", "hemoglobin", "g/dL"),
    Input("crp", "crp", "mg/dL"),
    Input("ferritin", "ferritin", "ng/mL"),
)
LIMITS = ("platelets_lln", "anc_lln", "hemoglobin_lln")
BESIDE = (*LIMITS, "infection_workup")
# Lower limits of normal where the laboratory's are not charted.
USUAL = {"platelets": 150.0, "anc": 1500.0, "haemoglobin": 10.0}
INFECTION_FROM_D = -30  # earlier ones are history
CD28 = ("axi-cel", "axicabtagene", "yescarta", "brexu-cel", "brexucabtagene", "tecartus")
LOW_AFFINITY = ("obe-cel", "obecabtagene", "aucatzyl")


@dataclass(frozen=True, eq=False)
class Rule:
    """How the timeline tells a factor: true, false or null; `by` says so in words."""

    when: pl.Expr
    by: str


def _named(*names: str) -> pl.Expr:
    return col("product").str.to_lowercase().str.contains("|".join(names))


def _low(name: str, limit: str) -> pl.Expr:
    return col(name) < pl.coalesce(limit, lit(USUAL[name]))


def rules() -> dict[str, Rule]:
    """The rule of each factor that a timeline can tell, by the words of the evidence table."""
    known = _named(*(n for names in TARGETS.values() for n in names))
    cd28 = Rule(pl.when(_named(*CD28)).then(True).when(known).then(False), "product")
    low_platelets = _low("platelets", "platelets_lln")
    cytopenia = pl.any_horizontal(low_platelets, _low("anc", "anc_lln"), _low("haemoglobin", "hemoglobin_lln"))
    elderly = (col("age_y") >= 65) & (col("platelets") <= 140)
    leukaemia_or_mcl = col("disease").str.contains(ALL_LEUKAEMIA + r"|(?i)\bMCL\b|mantle")
    lymphoma = col("disease").str.contains(r"(?i)LBCL|large.?b.?cell")
    flu_cy = pl.all_horizontal(col("ld_drugs").list.contains(d) for d in ("fludarabine", "cyclophosphamide"))
    other = col("ld_drugs").list.contains("bendamustine")
    return {
        "CD28 costimulatory domain (axi-cel, brexu-cel)": cd28,
        "CD28 CAR-T": cd28,
        "High scFv affinity (obe-cel is the low-affinity contrast)": Rule(
            pl.when(_named(*LOW_AFFINITY)).then(False).when(_named(*TARGETS["cd19"])).then(True), "product"
        ),
        "Disease ALL > MCL > DLBCL": Rule(pl.when(leukaemia_or_mcl).then(True).when(lymphoma).then(False), "disease: ALL or MCL"),
        "Increased lymphodepletion (Cy/Flu)": Rule(
            pl.when(flu_cy).then(True).when(other).then(False), "fludarabine with cyclophosphamide, or bendamustine"
        ),
        "Thrombocytopenia before lymphodepletion": Rule(low_platelets, "platelets below the laboratory's limit, else 150 x 10^9/L [P]"),
        "Highly inflammatory state (ferritin, CRP)": Rule(
            (col("crp") >= 3) | (col("ferritin") >= 650), "CRP >= 3 mg/dL or ferritin >= 650 ng/mL before lymphodepletion [P]"
        ),
        "Pre-existing cytopenia": Rule(
            cytopenia, "platelets, ANC or haemoglobin below the laboratory's limit, else 150 x 10^9/L, 1500/uL, 10 g/dL [P]"
        ),
        "Hyperferritinaemia at baseline": Rule(col("ferritin") >= 650, "ferritin >= 650 ng/mL before lymphodepletion [P]"),
        "Severe CRS": Rule(col("crs_3"), "CRS of grade 3 or more, ASTCT, in the grades"),
        "Infections": Rule(pl.when(col("infection")).then(True), "a positive infection work-up from day -30 on [P]"),
        "Age >= 65 and platelets <= 140 x10^9/L": Rule(elderly, "age, and platelets before lymphodepletion"),
    }  # fmt: skip


def factor_rows(drawn: pl.DataFrame) -> list[pl.DataFrame]:
    """A table a factor, of a row a course, with the columns of `FACTORS`."""
    told = rules()
    return [_rows(drawn, factor, told.get(factor.factor)) for factor in risk_factors()]


def _rows(drawn: pl.DataFrame, factor: RiskFactor, rule: Rule | None) -> pl.DataFrame:
    when = lit(None, pl.Boolean) if rule is None else rule.when
    state = pl.when(when).then(lit("present")).when(~when).then(lit("absent")).otherwise(lit("unknown"))
    return drawn.select(
        "subject_id",
        "infusion",
        factor=lit(factor.factor),
        outcome=lit(factor.outcome),
        state=pl.when(col("day0").is_null()).then(lit("unknown")).otherwise(state).cast(FACTORS["state"]),
        by=lit(None if rule is None else rule.by, pl.String),
        effect=lit(factor.effect or None, pl.String),
        source=lit(factor.source or None, pl.String),
        mark=lit(factor.mark),
        in_lecture=lit(factor.in_lecture),
    )
