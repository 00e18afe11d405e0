"""Delayed neurotoxicity after cells against BCMA: the peak of lymphocytes [ash2025_5953], and features of the history [cohen2022]."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.evidence.cuts import ALC_WATCH
from aftercar.risk.inputs import COURSE, DAYS_0_30, Input
from aftercar.risk.options import Options
from aftercar.risk.score import Finding, Score, Value, all_of, at_least, count_of

# The peak falls into these days; without a count in them a low peak is not known. A convention of this project.
PEAK_DAYS = (10, 21)

ALC = Input("alc", "alc", "10*9/L", "highest", whole=lambda _: col("day").is_between(*PEAK_DAYS).any())
BCMA = col("target").str.to_uppercase() == "BCMA"


def peak(options: Options) -> Value:
    """Whether the peak lies above the cut."""
    return all_of({"alc": (f"peak of lymphocytes > {ALC_WATCH:g} x 10^9/L", at_least("alc", ALC_WATCH, above=True))})


def history(options: Options) -> Value:
    """How many features of the history are there. Two of them stand in no record that is read here."""
    return count_of({
        "high tumour burden": lit(None, pl.Boolean),
        "CRS of grade 2 or more": col("crs_2"),
        "ICANS of any grade": col("icans_1"),
        "high expansion or persistence": lit(None, pl.Boolean),
    })  # fmt: skip


_POPULATION = "multiple myeloma, cilta-cel"

ALC_PEAK = Score(
    name="alc_peak", title="peak of lymphocytes, delayed neurotoxicity", predicts="delayed neurotoxicity after cells against BCMA", population=_POPULATION,
    source="ash2025_5953", version="1", inputs=(ALC,), windows=(DAYS_0_30,), value=peak, cut=1, groups=lambda _: ((0, "low"), (1, "high")),
    applies=lambda _: BCMA, flags={"target_unknown": col("target").is_null(), "not_bcma": ~BCMA}, options=("day0",),
    findings=(
        Finding("delayed neurotoxicity in 20 % (n = 51) above the cut, 2 % (n = 51) below", "ash2025_5953"),
        Finding("earlier series: cranial nerve palsy 20 of 256, parkinsonism 8 of 256", "ash2025_5953"),
    ),
)  # fmt: skip

MNT_HISTORY = Score(
    name="mnt_history", title="history features, movement and neurocognitive toxicity", predicts="movement and neurocognitive toxicity", population=_POPULATION,
    source="cohen2022", version="1", mark="M", windows=(COURSE,), value=history, groups=lambda o: ((0, "no watch"), (o["mnt_min"], "watch")),
    applies=lambda _: BCMA, flags={"target_unknown": col("target").is_null(), "not_bcma": ~BCMA, "no_grades": col("no_grades")},
    options=("day0", "mnt_min"),
    findings=(Finding("two or more features: watch list; no rate was published that is at hand", "cohen2022", "M"),),
)  # fmt: skip

SCORES = (ALC_PEAK, MNT_HISTORY)
