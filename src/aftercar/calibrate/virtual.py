"""A virtual trial: its patients graded as the trial graded, and what became of them in its endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col

from aftercar.calibrate.published import ENDPOINTS, Trial
from aftercar.grade.run import Result, scales_named
from aftercar.simulate.chart import as_days
from aftercar.simulate.population import Values
from aftercar.simulate.run import Followed, follow

ASTCT = ("crs_astct2019", "icans_astct")
# Cytokines and markers, as the evidence names them, and the states that hold their levels.
ANALYTES = {
    "IL-6": "il6", "IFN-g": "ifng", "GM-CSF": "gmcsf", "IL-1b": "il1", "TNF": "tnf", "IL-2": "il2", "IL-5": "il5", "IL-18": "il18", "CRP": "crp",
    "ferritin": "ferritin",
}  # fmt: skip
DAYS = 28.0  # nearly all of the endpoints' events begin before


@dataclass(frozen=True)
class Outcome:
    """What became of virtual patients.

    Attributes:
        crs, nt: the worst grade of each, lower bound; 0 is none.
        crs_day, nt_day: when the first episode of it began, in days since the infusion; NaN for none.
        peak: the highest level of each of `ANALYTES`, `[patient, analyte]`, in the unit of its state.
    """

    crs: NDArray[np.int64]
    nt: NDArray[np.int64]
    crs_day: NDArray[np.float64]
    nt_day: NDArray[np.float64]
    peak: NDArray[np.float64]

    def had(self) -> NDArray[np.bool_]:
        """Who had each of `ENDPOINTS`, `[patient, endpoint]`."""
        told = ((getattr(self, e.split("_")[0]), 3 if e.endswith("g3plus") else 1) for e in ENDPOINTS)
        return np.stack([grade >= least for grade, least in told], axis=1)


def run(
    trial: Trial, n: int, seed: int, *, changed: dict[str, float] | None = None, varied: Mapping[str, Values] | None = None, first: int = 0,
    days: float = DAYS, workers: int | None = None,
) -> Outcome:  # fmt: skip
    """Simulate the virtual patients `first` to `first + n` of a trial and grade them on its own scales.

    Args:
        changed: parameters of all patients.
        varied: parameters with one value for each patient.
    """
    followed = follow(trial.scenario(changed or {}, days), n, seed, first=first, varied=varied, workers=workers)
    return graded_by(followed, trial.crs, trial.nt)


def graded_by(followed: Followed, crs: str, nt: str) -> Outcome:
    """What became of virtual patients by a scale of CRS and one of neurotoxicity, and the peaks of their cytokines."""
    result = followed.graded(scales_named([crs, nt]))
    first = result.episodes.group_by("subject_id", "scale").agg(day=as_days(col("onset").min()))
    worst = _worst(followed, result, (crs, nt))
    peak = np.stack([followed.states.of(state).max(axis=1) for state in ANALYTES.values()], axis=1)
    crs_day, nt_day = (_of(followed, first, scale)["day"].to_numpy() for scale in (crs, nt))
    return Outcome(worst[0], worst[1], crs_day, nt_day, peak)


def worst_by(followed: Followed, scales: Sequence[str]) -> list[NDArray[np.int64]]:
    """The worst grade of each virtual patient by each scale, lower bound; 0 is none."""
    return _worst(followed, followed.graded(scales_named(list(scales))), scales)


def _worst(followed: Followed, result: Result, scales: Sequence[str]) -> list[NDArray[np.int64]]:
    return [_of(followed, result.worst, scale)["grade"].fill_null(0).cast(pl.Int64).to_numpy() for scale in scales]


def _of(followed: Followed, frame: pl.DataFrame, scale: str) -> pl.DataFrame:
    """The rows of a scale, one for each virtual patient in order."""
    everyone = pl.DataFrame({"subject_id": followed.people.numbers + 1})
    return everyone.join(frame.filter(col("scale") == scale), on="subject_id", how="left", maintain_order="left")


def medians(days: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each row of `[member, patient]` over those who have one; NaN where nobody has."""
    count = (~np.isnan(days)).sum(axis=1)
    ordered = np.sort(days, axis=1)  # NaN last
    each, last = np.arange(len(days)), np.maximum(count - 1, 0)
    return (ordered[each, last // 2] + ordered[each, (last + 1) // 2]) / 2
