"""eIPM: the probability of early ICAHT of grade 3-4 by two logistic models [liang2025].

The form is known, the coefficients are not: without a file of them, from somebody who has them, there is no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from polars import col

from aftercar.errors import InputError, nearest
from aftercar.files import read_text, toml_of
from aftercar.risk.inputs import BEFORE_LD, DAY_3, Input
from aftercar.risk.options import Options
from aftercar.risk.score import Finding, Score, Value, exactly
from aftercar.risk.unpublished import NO_COEFFICIENTS
from aftercar.timeline.subjects import ALL_LEUKAEMIA

ZERO = 0.01  # stands for 0 before the logarithm is taken
_COUNTS = (
    Input("anc", "anc", "10*9/L"),
    Input("platelets", "platelets", "10*9/L"),
    Input("ldh", "ldh", "U/L"),
)
# The 5th and 95th centile of the training cohort.
RANGES = {"anc": (0.7, 8), "platelets": (25, 290), "ldh": (115, 645)}
FERRITIN = {"eipm_pre": (30, 3900), "eipm_post": (70, 4930)}
FINDINGS = (
    Finding("logistic, of log10 values: disease (ALL or other), ANC, platelets, LDH and ferritin", "liang2025"),
    Finding("shown in bands: below 33 %, 33-66 %, above 66 %", "liang2025"),
)


def _slot(name: str, title: str, ferritin: Input) -> Score:
    return Score(
        name=name, title=title, predicts="early ICAHT of grade 3 or 4", population="CD19 and BCMA products, one centre", source="liang2025", version="1",
        inputs=(*_COUNTS, ferritin), windows=(BEFORE_LD,), findings=FINDINGS, options=("day0", "ht_window_days"),
        groups=lambda _: ((0, "below 33 %"), (0.33, "33-66 %"), (0.66, "above 66 %")),
        unpublished="; ".join([f"{NO_COEFFICIENTS}; --coefficients FILE.toml takes them from who has them [liang2025]", *map(str, FINDINGS)]),
    )  # fmt: skip


PRE = _slot("eipm_pre", "eIPM before lymphodepletion, Liang 2025", Input("ferritin", "ferritin", "ng/mL"))
POST = _slot("eipm_post", "eIPM with ferritin of day 3, Liang 2025", Input("ferritin", "ferritin", "ng/mL", window=DAY_3))
SCORES = (PRE, POST)
TERMS = ("intercept", "all", "anc", "platelets", "ldh", "ferritin")


@dataclass(frozen=True)
class Coefficients:
    """Of one model: a number a term (`intercept`, `all` for acute lymphoblastic leukaemia, the rest for a log10), and where they come from."""

    terms: Mapping[str, float]
    source: str


def read_coefficients(path: Path | str) -> dict[str, Coefficients]:
    """Coefficients by model from a TOML file: a table a model, with `source` and every term.

    Raises:
        InputError: the file cannot be read, names no known model, or lacks a term.
    """
    path = Path(path)
    content = toml_of(read_text(path), str(path))
    known = [s.name for s in SCORES]
    found = {}
    for name, told in content.items():
        if name not in known:
            raise InputError(f"{path}: no model is called {name!r}. {nearest(name, known)}")
        found[name] = _coefficients(path, name, told)
    return found


def _coefficients(path: Path, name: str, told: Any) -> Coefficients:
    terms = dict(told) if isinstance(told, dict) else {}
    source = terms.pop("source", None)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in terms.values())
    if not isinstance(source, str) or set(terms) != set(TERMS) or not numbers:
        raise InputError(f"{path}: [{name}] needs source, a text, and numbers for {', '.join(TERMS)}, and nothing else.")
    return Coefficients({k: float(v) for k, v in terms.items()}, source)


def with_coefficients(score: Score, given: Coefficients) -> Score:
    """The model with its coefficients, which results then name."""

    def value(_: Options) -> Value:
        t = given.terms
        logs = (t[i.name] * pl.when(col(i.name) == 0).then(ZERO).otherwise(i.name).log10() for i in score.inputs)
        leukaemia = col("disease").str.contains(ALL_LEUKAEMIA).cast(pl.Float64)
        logit = pl.lit(t["intercept"]) + t["all"] * leukaemia + pl.sum_horizontal(logs, ignore_nulls=False)
        return exactly(1 / (1 + (-logit).exp()), *(i.name for i in score.inputs), "disease")

    ranges = {**RANGES, "ferritin": FERRITIN[score.name]}
    outside = pl.any_horizontal((~col(name).is_between(*ends)).fill_null(False) for name, ends in ranges.items())
    own = Finding(f"coefficients from: {given.source}", "liang2025", "P")
    return replace(score, value=value, unpublished="", flags={"outside_training_range": outside}, findings=(*score.findings, own))
