"""The EASIX family: ratios of LDH, creatinine or CRP, and platelets as signs of a stressed endothelium [luft2017, pennisi2021].

No cut is accepted everywhere, so there are no groups; the cuts of the literature stand beside the value.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from polars import col

from aftercar.risk.inputs import BEFORE_LD, DAY_3, Input, on_day
from aftercar.risk.options import Options
from aftercar.risk.score import Finding, Score, Value, exactly

LDH = Input("ldh", "ldh", "U/L")
CREATININE = Input("creatinine", "creatinine", "mg/dL")
CRP = Input("crp", "crp", "mg/dL")
PLATELETS = Input("platelets", "platelets", "10*9/L")
WINDOWS = (BEFORE_LD, on_day(0), on_day(1), DAY_3)


def easix(options: Options) -> Value:
    """LDH x creatinine / platelets."""
    return exactly(_ratio(col("creatinine")), "ldh", "creatinine", "platelets")


def s_easix(options: Options) -> Value:
    """LDH / platelets."""
    return exactly(_ratio(pl.lit(1.0)), "ldh", "platelets")


def m_easix(options: Options) -> Value:
    """LDH x CRP / platelets. A CRP below what the assay measures is what `crp_lod` says."""
    below = (col("crp_limit") == -1) & (options["crp_lod"] == "half")
    return exactly(_ratio(pl.when(below).then(col("crp") / 2).otherwise(col("crp"))), "ldh", "crp", "platelets")


def _ratio(factor: pl.Expr) -> pl.Expr:
    return (col("ldh") * factor / col("platelets")).round_sig_figs(9)


def _easix(
    name: str,
    title: str,
    value: Callable[[Options], Value],
    inputs: tuple[Input, ...],
    *findings: Finding,
    options: tuple[str, ...] = (),
) -> Score:
    return Score(
        name=name, title=title, predicts="severe CRS and ICANS", population="large B-cell lymphoma and B-cell acute lymphoblastic leukaemia",
        source="luft2017" if name == "easix" else "pennisi2021", version="1", inputs=inputs, windows=WINDOWS, value=value, ratio=True,
        refused={f"{i.name}_not_above_0": col(i.name) <= 0 for i in inputs},
        flags={
            "beyond_assay": pl.any_horizontal((col(f"{i.name}_limit") != 0).fill_null(False) for i in inputs),
            "platelets_transfused": col("platelets_given"),
        },
        beside=("platelet_transfusion",), options=("day0", "ht_window_days", *options), findings=findings, mark="V",
    )  # fmt: skip


EASIX = _easix(
    "easix", "EASIX, Luft 2017", easix, (LDH, CREATININE, PLATELETS),
    Finding("before lymphodepletion, for grade >= 3 CRS or ICANS: odds ratio 1.72 (1.26-2.46) for twice the value; above 4.67 odds ratio 4.3 (training n = 93, validation n = 121)", "korell2022"),
    Finding("before lymphodepletion, for ICANS >= 2: AUC 0.61-0.62; none with grade >= 3 (n = 154)", "deboer"),
)  # fmt: skip
S_EASIX = _easix(
    "s_easix", "s-EASIX, Pennisi 2021", s_easix, (LDH, PLATELETS),
    Finding("before lymphodepletion, for ICANS >= 2: AUC 0.61-0.62; none with grade >= 3 (n = 154)", "deboer"),
)  # fmt: skip
M_EASIX = _easix(
    "m_easix", "m-EASIX, Pennisi 2021", m_easix, (LDH, CRP, PLATELETS),
    Finding("for severe CRS the best of the three, before and early after infusion (53 B-ALL, 65 DLBCL)", "pennisi2021"),
    Finding("AUC about 0.8 on days 1 and 3", "pennisi2021", "M?"),
    Finding("that CRP counts in mg/dL", "pennisi2021", "M"),
    options=("crp_lod",),
)  # fmt: skip

SCORES = (EASIX, S_EASIX, M_EASIX)
