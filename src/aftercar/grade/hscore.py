"""HScore: the probability of haemophagocytic syndrome from nine items [fardet2014].

An item that was not measured is not 0: the score is a range, from all unknown items at 0 to all at their most.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from math import exp, log

import polars as pl
from polars import col, lit

from aftercar.grade.lookback import Lookback, count
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.state import Record
from aftercar.timeline.units import TOLERANCE_C

CUT = 169  # the best cut: sensitivity 93 %, specificity 86 %
TRIGLYCERIDE_MG_MMOL = 88.57  # mg/dL in one mmol/L, as the published table was converted
# Points and what they are for, worst first; each line of an item is "at least so bad".
ITEMS: dict[str, tuple[tuple[int, str, str], ...]] = {
    "immunosuppression": ((18, "immunosuppressed", "known underlying immunosuppression"),),
    "temperature": ((49, "temp_394", "temperature > 39.4 C"), (33, "temp_384", "temperature 38.4-39.4 C")),
    "organomegaly": ((38, "organs_2", "liver and spleen enlarged"), (23, "organs_1", "liver or spleen enlarged")),
    "cytopenias": ((34, "lineages_3", "three cytopenias (Hb <= 9.2 g/dL, WBC <= 5.0, platelets <= 110 x 10^9/L)"), (24, "lineages_2", "two cytopenias")),
    "ferritin": ((50, "ferritin_6000", "ferritin > 6000 ng/mL"), (35, "ferritin_2000", "ferritin 2000-6000 ng/mL")),
    "triglycerides": ((64, "triglycerides_4", "triglycerides > 4 mmol/L"), (44, "triglycerides_1", "triglycerides 1.5-4 mmol/L")),
    "fibrinogen": ((30, "fibrinogen_25", "fibrinogen <= 2.5 g/L"),),
    "AST": ((19, "ast_30", "AST >= 30 U/L"),),
    "haemophagocytosis": ((35, "haemophagocytosis", "haemophagocytosis in marrow"),),
}  # fmt: skip
# Published probabilities; below 90 under 1 %, from 250 on over 99 %.
PROBABILITY = {
    100: 0.01, 110: 0.03, 120: 0.05, 130: 0.09, 140: 0.16, 150: 0.25, 160: 0.40, 170: 0.54, 180: 0.70, 190: 0.80, 200: 0.88, 210: 0.93,
    220: 0.96, 230: 0.98, 240: 0.99,
}  # fmt: skip
_EVIDENCE = {
    "organs_2": ("splenomegaly", "hepatomegaly"),
    "organs_1": ("splenomegaly", "hepatomegaly"),
    "lineages_3": ("hb_low", "wbc_low", "platelets_low"),
    "lineages_2": ("hb_low", "wbc_low", "platelets_low"),
    "immunosuppressed": ("immunosuppression",),
}


def criteria(options: Options) -> tuple[Criterion, ...]:
    """The items with their points, and the cut."""
    rows = []
    for axis, lines in ITEMS.items():
        worse = lit(False)  # a line that is unknown leaves the points of a lesser one that is met
        for points, name, text in lines:
            evidence = tuple(f"{n}_event_id" for n in _EVIDENCE.get(name, (name,)))
            rows.append(Criterion(0, axis, f"{text}: {points} points", col(name) & ~worse, evidence))
            worse = col(name).fill_null(False)
    above = pl.when(col("score") >= CUT).then(True).when(col("score_upper") < CUT).then(False)
    return (*rows, Criterion(1, "score", f"HScore >= {CUT}", above))


def state(record: Record, options: Options) -> pl.DataFrame:
    """Each item at its worst within the window, the score's bounds, and the probability as a share of 1."""
    back = Lookback(record, options)
    back.value("temp_384", "temperature", lambda v: v >= 38.4 - TOLERANCE_C, drawn=False)
    back.value("temp_394", "temperature", lambda v: v > 39.4 + TOLERANCE_C, drawn=False)
    for organ in ("splenomegaly", "hepatomegaly", "haemophagocytosis", "immunosuppression"):
        back.stands(organ)
    back.value("hb_low", "hemoglobin", lambda v: v <= 9.2)
    back.value("wbc_low", "wbc", lambda v: v <= 5.0)
    back.value("platelets_low", "platelets", lambda v: v <= 110)
    back.value("ferritin_2000", "ferritin", lambda v: v >= 2000)
    back.value("ferritin_6000", "ferritin", lambda v: v > 6000)
    back.value("triglycerides_1", "triglycerides", lambda v: (v / TRIGLYCERIDE_MG_MMOL).round(6) >= 1.5)
    back.value("triglycerides_4", "triglycerides", lambda v: (v / TRIGLYCERIDE_MG_MMOL).round(6) > 4)
    back.value("fibrinogen_25", "fibrinogen", lambda v: v <= 250)
    back.value("ast_30", "ast", lambda v: v >= 30)
    frame = back.frame()
    counted = {}
    for name, parts, least in (
        ("organs_1", ("splenomegaly", "hepatomegaly"), 1), ("organs_2", ("splenomegaly", "hepatomegaly"), 2),
        ("lineages_2", ("hb_low", "wbc_low", "platelets_low"), 2), ("lineages_3", ("hb_low", "wbc_low", "platelets_low"), 3),
    ):  # fmt: skip
        sure, most = count(parts)
        counted[name] = pl.when(sure >= least).then(True).when(most < least).then(False)
    everyone = options["hscore_immunosuppressed"] == "always"
    frame = frame.with_columns(**counted, immunosuppressed=lit(True) if everyone else col("immunosuppression"))

    def total(unknown: bool) -> pl.Expr:
        return pl.sum_horizontal(
            pl.max_horizontal(lit(0, pl.Int32), *(col(n).fill_null(unknown).cast(pl.Int32) * points for points, n, _ in lines))
            for lines in ITEMS.values()
        )

    frame = frame.with_columns(score=total(False), score_upper=total(True))
    chance = lit(_chances())
    frame = frame.with_columns(probability=chance.gather("score"), probability_upper=chance.gather("score_upper"))
    return frame.collect(engine="in-memory")


@cache
def _chances() -> pl.Series:
    """The probability of each score from 0 on."""
    return pl.Series([probability(score) for score in range(sum(lines[0][0] for lines in ITEMS.values()) + 1)])


def probability(score: int) -> float:
    """The probability of a score: linear in logit between the published anchors, beyond them by the slope of the nearest pair. A convention
    of this project; the anchors are exact.

    >>> [round(probability(s), 2) for s in (100, 165, 169, 240)]
    [0.01, 0.47, 0.53, 0.99]
    """
    if score in PROBABILITY:
        return PROBABILITY[score]
    pairs = list(pairwise(PROBABILITY))
    low, high = next((p for p in pairs if p[0] < score < p[1]), pairs[0] if score < min(PROBABILITY) else pairs[-1])
    a, b = (log(PROBABILITY[s] / (1 - PROBABILITY[s])) for s in (low, high))
    logit = a + (b - a) * (score - low) / (high - low)
    return 1 / (1 + exp(-logit))


HSCORE = Scale(
    name="hscore", title="HScore, Fardet 2014", toxicity="iec_hs", source="fardet2014", version="1", criteria=criteria, state=state, default=False,
    codes=(
        "temperature", "splenomegaly", "hepatomegaly", "haemophagocytosis", "immunosuppression", "hemoglobin", "wbc", "platelets", "ferritin",
        "triglycerides", "fibrinogen", "ast",
    ),
    options=("day0", "unknown_attribution", "iechs_window_h", "hscore_immunosuppressed", "resolution_h", "new_episode_gap_h"),
    measures={
        "score": col("score"), "score_upper": col("score_upper"),
        "probability": col("probability"), "probability_upper": col("probability_upper"),
    },
    marks={"items at their worst within the window": "P", "probability between the published anchors": "P", "who is immunosuppressed": "P"},
)  # fmt: skip

SCALES = (HSCORE,)
