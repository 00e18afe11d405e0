"""CAR-HEMATOTOX: five items before lymphodepletion foretell cytopenia after CAR-T [rejeski2021]. One row below is one cell of that table."""

from __future__ import annotations

import polars as pl
from polars import col

from aftercar.risk.inputs import BEFORE_LD, Input
from aftercar.risk.options import Options
from aftercar.risk.score import Cell, Finding, Groups, Item, Score, Value, points
from aftercar.timeline.concepts import of_group
from aftercar.timeline.subjects import ALL_LEUKAEMIA

VALIDATED = r"(?i)LBCL|large.?b.?cell|\bMCL\b|mantle|\bMM\b|myeloma"  # lymphoma it was built in, and those in which it was tested

INPUTS = (
    Input("platelets", "platelets", "10*9/L"),
    Input("anc", "anc", "/uL"),
    Input("haemoglobin", "hemoglobin", "g/dL"),
    Input("crp", "crp", "mg/dL"),
    Input("ferritin", "ferritin", "ng/mL"),
)
G_CSF = of_group("g_csf")


def items(options: Options) -> tuple[Item, ...]:
    """The table. It leaves three values open, which `ht_ties` decides."""
    ties = {"anc0_hb0_crp1": (0, 0, 1), "all_0": (0, 0, 0), "all_1": (1, 1, 1)}[options["ht_ties"]]
    platelets, ferritin = col("platelets"), col("ferritin")
    return (
        Item("platelets", (
            Cell(0, "platelets > 175 x 10^9/L", platelets > 175),
            Cell(1, "platelets 75-175 x 10^9/L", platelets.is_between(75, 175)),
            Cell(2, "platelets < 75 x 10^9/L", platelets < 75),
        )),
        _two("anc", "ANC", 1200, "/uL", ties[0]),
        _two("haemoglobin", "haemoglobin", 9, "g/dL", ties[1]),
        _two("crp", "CRP", 3, "mg/dL", ties[2], high_is_bad=True),
        Item("ferritin", (
            Cell(0, "ferritin < 650 ng/mL", ferritin < 650),
            Cell(1, "ferritin 650-2000 ng/mL", ferritin.is_between(650, 2000)),
            Cell(2, "ferritin > 2000 ng/mL", ferritin > 2000),
        )),
    )  # fmt: skip


def _two(name: str, label: str, cut: float, unit: str, tie: int, *, high_is_bad: bool = False) -> Item:
    """One point beyond a cut; `tie` says what a value exactly at it has."""
    value = col(name)
    beyond = value > cut if high_is_bad else value < cut
    bad, good = (">", "<") if high_is_bad else ("<", ">")
    bad, good = (f"{bad}=", good) if tie else (bad, f"{good}=")
    met = beyond | (value == cut) if tie else beyond
    return Item(name, (Cell(0, f"{label} {good} {cut:g} {unit}", ~met), Cell(1, f"{label} {bad} {cut:g} {unit}", met)))


def value(options: Options) -> Value:
    """The sum of the items, 0 to 7."""
    return points(items(options))


def groups(options: Options) -> Groups:
    """Low and high; the three tiers are of secondary literature only."""
    return ((0, "low"), (2, "high")) if options["ht_tiers"] == 2 else ((0, "low"), (2, "intermediate"), (5, "high"))


def applies(options: Options) -> pl.Expr:
    """In acute lymphoblastic leukaemia the marrow itself is the disease: the score is not used unchanged there."""
    return ~col("disease").str.contains(ALL_LEUKAEMIA) if options["ht_in_all"] == "refuse" else pl.lit(True)


CAR_HEMATOTOX = Score(
    name="car_hematotox", title="CAR-HEMATOTOX, Rejeski 2021", predicts="prolonged severe neutropenia and other cytopenia after CAR-T",
    population="large B-cell lymphoma (also tested in mantle cell lymphoma and myeloma)", source="rejeski2021", version="1", mark="M",
    inputs=INPUTS, windows=(BEFORE_LD,), value=value, groups=groups, cut=2, applies=applies,
    flags={
        "not_for_all": col("disease").str.contains(ALL_LEUKAEMIA),
        "other_population": ~col("disease").str.contains(VALIDATED),
        "population_unknown": col("disease").is_null(),
        "lymphodepletion_not_charted": col("ld_began").is_null(),
        "platelets_transfused": col("platelets_given"),
        "g_csf": col("anc_given"),
    },
    beside=("platelet_transfusion", *G_CSF),
    options=("day0", "ht_window_days", "ht_ties", "ht_tiers", "ht_in_all"),
    findings=(
        Finding("severe neutropenia in days 0-60, median 12 d (high) and 5.5 d (low), n = 180", "rejeski2025ht"),
        Finding("ANC <= 500 for 14 d or more: 48 % (high), 5 % (low)", "rejeski2025ht"),
        Finding("ANC <= 100 for 7 d or more: 47 % and 5 %", "rejeski2025ht"),
        Finding("platelets < 50: 87 % and 34 %", "rejeski2025ht"),
        Finding("Hb < 8 or transfusion: 96 % and 40 %", "rejeski2025ht"),
        Finding("AUC 0.89, sensitivity 89 %, specificity 68 %, derivation", "rejeski2021"),
        Finding("AUC 0.73, odds ratio 2.94, external, n = 245 of whom 70 % high", "rejeski2025ht"),
        Finding("good for ruling out: not all high-risk patients develop it", "rejeski2021"),
    ),
)  # fmt: skip

SCORES = (CAR_HEMATOTOX,)
