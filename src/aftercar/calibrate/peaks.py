"""Peaks of cytokines in virtual patients with and without severe CRS, beside the ranges that are told for them: most are orders of magnitude."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col

from aftercar.calibrate.ensemble import varied
from aftercar.calibrate.published import trials
from aftercar.calibrate.virtual import ANALYTES, Outcome, run
from aftercar.evidence import table

PATIENTS, SEED = 480, 2_030
TRIAL = "ZUMA-1"  # CD19 CAR-T whose cytokines were told most


def ranges() -> pl.DataFrame:
    """The ranges of peaks that the evidence has of analytes that the mechanism has, a row each."""
    return table("cytokine_kinetics").filter(
        col("record_type") == "peak", col("analyte").is_in(list(ANALYTES)), col("low").is_not_null()
    )


def peaks(ensemble: pl.DataFrame, *, patients: int = PATIENTS, seed: int = SEED) -> pl.DataFrame:
    """The highest level of each cytokine in virtual patients of one trial, whose parameters are of the ensemble's members in turn.

    Returns:
        `analyte, group, unit, low, high, patients, simulated_median, simulated_low, simulated_high, inside, source, verified`: the median of a
        group's peaks with the middle half of them, and whether the median lies in the range that is told. Null where no virtual patient is of the group.
    """
    trial = trials()[TRIAL]
    outcome = run(trial, patients, seed, varied=varied(ensemble, trial.product, trial.disease, np.arange(patients)))
    rows: list[dict[str, Any]] = []
    for row in ranges().to_dicts():
        own = of_group(outcome, row["analyte"], row["group"])
        own = own[~np.isnan(own)]
        low, middle, high = np.percentile(own, [25, 50, 75]) if len(own) else (None, None, None)
        rows.append(
            {
                "analyte": row["analyte"], "group": row["group"], "unit": row["unit"], "low": row["low"], "high": row["high"], "patients": len(own),
                "simulated_median": middle, "simulated_low": low, "simulated_high": high,
                "inside": None if middle is None else bool(row["low"] <= middle <= row["high"]), "source": row["ref_id"], "verified": row["verified"],
            }
        )  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def of_group(outcome: Outcome, analyte: str, group: str) -> NDArray[np.float64]:
    """The peak of an analyte in each patient of a group as the table calls it; NaN in the others."""
    severe = outcome.crs >= 3
    belongs = {
        "no or mild CRS": outcome.crs <= 1, "grade 0-1": outcome.crs <= 1, "grade 2": outcome.crs == 2, "any CRS": outcome.crs >= 1,
        "grade >=3": severe, "grade >=3 or 4-5": severe, "severe": severe, "severe or ICANS": severe | (outcome.nt >= 1),
        "severe CRS or ICANS": severe | (outcome.nt >= 1),
    }[group]  # fmt: skip
    return np.asarray(np.where(belongs, outcome.peak[:, list(ANALYTES).index(analyte)], np.nan), np.float64)
