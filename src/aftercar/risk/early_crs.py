"""Two trees of the first 36 hours: severe CRS [hay2017] and severe neurotoxicity [gust2017]. Their cuts hold for one assay of one centre."""

from __future__ import annotations

import polars as pl
from polars import col

from aftercar.risk.inputs import EARLY_H, FIRST_36_H, Input
from aftercar.risk.options import Options
from aftercar.risk.score import Finding, Score, Value, all_of, at_least
from aftercar.timeline.state import HOUR
from aftercar.timeline.units import TOLERANCE_C

FEVER_C = 38.9  # belongs to fever
MCP1_CUT = 1343.5  # pg/mL
IL6_CUT = 16.0  # pg/mL


def _watched(options: Options) -> pl.Expr:
    """Over the temperatures of the window: none of its stretches is longer than the gap that is allowed."""
    at = col("elapsed_s")
    longest = pl.max_horizontal(at.min(), at.sort().diff().max(), EARLY_H * HOUR - at.max())
    return longest <= float(options["hay_max_gap_h"]) * HOUR


TEMPERATURE = Input("temperature", "temperature", "Cel", "highest", whole=_watched)
MCP1 = Input("mcp1", "mcp1", "pg/mL", "highest")
IL6 = Input("il6", "il6", "pg/mL", "highest")

FEVER = at_least("temperature", FEVER_C - TOLERANCE_C)
# Before the 36 hours are over, fever may still come.
OVER = pl.when(FEVER | (col("followed_s") >= EARLY_H * HOUR)).then(FEVER)


def hay(options: Options) -> Value:
    """Fever, then MCP-1."""
    return all_of({
        "temperature": (f"temperature >= {FEVER_C} C", OVER),
        "mcp1": (f"MCP-1 >= {MCP1_CUT} pg/mL", at_least("mcp1", MCP1_CUT)),
    })  # fmt: skip


def gust(options: Options) -> Value:
    """Fever, interleukin 6 and MCP-1."""
    return all_of({
        "temperature": (f"temperature >= {FEVER_C} C", OVER),
        "il6": (f"IL-6 >= {IL6_CUT:g} pg/mL", at_least("il6", IL6_CUT)),
        "mcp1": (f"MCP-1 >= {MCP1_CUT} pg/mL", at_least("mcp1", MCP1_CUT)),
    })  # fmt: skip


HAY_2017 = Score(
    name="hay2017", title="severe CRS tree, Hay 2017", predicts="CRS of grade 4 or more", population="adults with B-ALL, CLL or NHL, one centre",
    source="hay2017", version="1", mark="M", inputs=(TEMPERATURE, MCP1), windows=(FIRST_36_H,), value=hay, cut=1,
    groups=lambda _: ((0, "low"), (1, "high")), open_group=(FEVER.fill_null(False) & col("mcp1").is_null(), "needs_mcp1"),
    options=("day0", "hay_max_gap_h"),
    findings=(
        Finding("sensitivity 100 %, specificity 95 %, n = 133, where it was made: overfitted", "hay2017", "M"),
        Finding("the cut holds for the assay that was used", "hay2017", "M"),
    ),
)  # fmt: skip

GUST_2017 = Score(
    name="gust2017", title="severe neurotoxicity rule, Gust 2017", predicts="neurotoxicity of grade 4 or more", population="adults with B-ALL, CLL or NHL, one centre",
    source="gust2017", version="1", mark="M", inputs=(TEMPERATURE, IL6, MCP1), windows=(FIRST_36_H,), value=gust, cut=1,
    groups=lambda _: ((0, "low"), (1, "high")), options=("day0", "hay_max_gap_h"),
    findings=(Finding("sensitivity 100 %, specificity 94 %, where it was made", "gust2017", "M"),),
)  # fmt: skip

SCORES = (HAY_2017, GUST_2017)
