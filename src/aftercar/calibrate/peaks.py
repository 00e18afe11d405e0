"""Peaks of cytokines beside the ranges that are told for patients with and without severe CRS. Nothing is fitted to them: most are orders of magnitude."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col

from aftercar.calibrate.ensemble import varied
from aftercar.calibrate.published import trials
from aftercar.calibrate.virtual import DAYS, Outcome, graded_by
from aftercar.evidence import table
from aftercar.simulate.run import follow

PATIENTS, SEED = 480, 2_030
TRIAL = "ZUMA-1"  # CD19 CAR-T whose cytokines were told most
STATES = {
    "IL-6": "il6", "IFN-g": "ifng", "GM-CSF": "gmcsf", "IL-1b": "il1", "TNF": "tnf", "IL-2": "il2", "IL-5": "il5", "IL-18": "il18", "CRP": "crp",
    "ferritin": "ferritin",
}  # fmt: skip


def peaks(ensemble: pl.DataFrame, *, patients: int = PATIENTS, seed: int = SEED) -> pl.DataFrame:
    """The highest level of each cytokine in virtual patients of one trial, whose parameters are of the ensemble's members in turn.

    Returns:
        `analyte, group, unit, low, high, patients, simulated, simulated_low, simulated_high, inside, source, verified`: the median of a group's
        peaks with the middle half of them, and whether the median lies in the range that is told. Null where no virtual patient is of the group.
    """
    trial = trials()[TRIAL]
    followed = follow(
        trial.scenario({}, DAYS), patients, seed, varied=varied(ensemble, trial.product, trial.disease, np.arange(patients))
    )
    outcome = graded_by(followed, trial.crs, trial.nt)
    told = table("cytokine_kinetics").filter(
        col("record_type") == "peak", col("analyte").is_in(list(STATES)), col("low").is_not_null()
    )
    rows: list[dict[str, Any]] = []
    for row in told.to_dicts():
        own = followed.states.of(STATES[row["analyte"]]).max(axis=1)[_of_group(row["group"], outcome)]
        low, middle, high = np.percentile(own, [25, 50, 75]) if len(own) else (None, None, None)
        rows.append(
            {
                "analyte": row["analyte"], "group": row["group"], "unit": row["unit"], "low": row["low"], "high": row["high"], "patients": len(own),
                "simulated": middle, "simulated_low": low, "simulated_high": high,
                "inside": None if middle is None else bool(row["low"] <= middle <= row["high"]), "source": row["ref_id"], "verified": row["verified"],
            }
        )  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def _of_group(group: str, outcome: Outcome) -> NDArray[np.bool_]:
    """Who belongs to a group as the table calls it."""
    severe = outcome.crs >= 3
    return {
        "no or mild CRS": outcome.crs <= 1, "grade 0-1": outcome.crs <= 1, "grade 2": outcome.crs == 2, "any CRS": outcome.crs >= 1,
        "grade >=3": severe, "grade >=3 or 4-5": severe, "severe": severe, "severe or ICANS": severe | (outcome.nt >= 1),
        "severe CRS or ICANS": severe | (outcome.nt >= 1),
    }[group]  # fmt: skip
