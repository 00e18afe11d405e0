"""Published rates and onsets beside those of virtual trials, with the intervals of both, trials that were not fitted apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aftercar.calibrate.ensemble import simulated
from aftercar.calibrate.published import ENDPOINTS, interval, onsets, rates, trials
from aftercar.calibrate.virtual import Outcome, medians

DAYS = 56.0  # as most trials counted: events within 8 weeks
PATIENTS = 100  # virtual ones of each member in each trial
SEED = 2_026


@dataclass(frozen=True)
class Comparison:
    """Virtual trials beside published ones; each frame has a row a trial and endpoint.

    Attributes:
        rates: `trial, use, in_lecture, scale, endpoint, events, n, published_pct, published_low, published_high, simulated_pct, simulated_low,
            simulated_high, difference, inside` (the simulated rate within the published 95 % interval), `covered` (the published rate within
            what an ensemble's trial of that size would give in 95 of 100), `source, verified`.
        onsets: `trial, use, what, n, published_d, simulated_d, simulated_low_d, simulated_high_d, source, verified`.
    """

    rates: pl.DataFrame
    onsets: pl.DataFrame

    def summary(self) -> list[dict[str, Any]]:
        """How far the two lie apart: of the ten trials of the lecture, of those that were fitted, and of those that were not."""
        every = self.rates
        chosen = {
            "lecture": every.filter("in_lecture"), "fitted": every.filter(use="fit"), "held out": every.filter(use="held out"),
            **{f"held out: {t}": every.filter(trial=t) for t in every.filter(use="held out")["trial"].unique(maintain_order=True)},
        }  # fmt: skip
        return [
            {
                "of": name, "cells": rows.height, "mean_absolute_error": round(float(np.abs(rows["difference"].to_numpy()).mean()), 1),
                "inside": int(rows["inside"].sum()), "covered": int(rows["covered"].sum()),
            }
            for name, rows in chosen.items()
        ]  # fmt: skip


def compare(
    ensemble: pl.DataFrame, *, patients: int = PATIENTS, seed: int = SEED, days: float = DAYS, workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:  # fmt: skip
    """Simulate every published trial with every member of an ensemble, each graded on the trial's own scales."""
    found = simulated(list(trials()), ensemble, patients, seed, days=days, workers=workers, progress=progress)
    draw = np.random.default_rng(seed)
    by_rate = [_rate(row, found[row["trial"]], ensemble.height, draw) for row in rates().to_dicts()]
    by_onset = [_onset(row, found[row["trial"]], ensemble.height) for row in onsets().to_dicts()]
    return Comparison(pl.DataFrame(by_rate), pl.DataFrame(by_onset))


def _of(trial: str) -> dict[str, Any]:
    known = trials()[trial]
    return {"trial": trial, "use": "held out" if known.held_out else "fit", "in_lecture": known.in_lecture}


def _rate(row: dict[str, Any], outcome: Outcome, members: int, draw: np.random.Generator) -> dict[str, Any]:
    trial, endpoint, n = trials()[row["trial"]], row["endpoint"], row["n"]
    had = outcome.had()[:, ENDPOINTS.index(endpoint)].reshape(members, -1)
    low, high = interval(row["events"], n)
    # A trial of the published size, of the patients of one member: what the parameters leave open, and chance.
    trials_of_n = 100 * draw.binomial(n, np.repeat(had.mean(axis=1), 200)) / n
    simulated_low, simulated_high = np.percentile(trials_of_n, [2.5, 97.5])
    pct = 100 * float(had.mean())
    return _of(row["trial"]) | {
        "scale": trial.crs if endpoint.startswith("crs") else trial.nt, "endpoint": endpoint, "events": row["events"], "n": n,
        "published_pct": row["pct"], "published_low": low, "published_high": high, "simulated_pct": pct,
        "simulated_low": float(simulated_low), "simulated_high": float(simulated_high), "difference": pct - row["pct"],
        "inside": low <= pct <= high, "covered": bool(simulated_low <= row["pct"] <= simulated_high),
        "source": row["source"], "verified": row["verified"],
    }  # fmt: skip


def _onset(row: dict[str, Any], outcome: Outcome, members: int) -> dict[str, Any]:
    days: NDArray[np.float64] = getattr(outcome, f"{row['what']}_day")
    each = medians(days.reshape(members, -1))
    low, middle, high = np.nanpercentile(each, [2.5, 50, 97.5])
    return _of(row["trial"]) | {
        "what": row["what"], "n": row["n"], "published_d": row["median_d"], "simulated_d": float(middle),
        "simulated_low_d": float(low), "simulated_high_d": float(high), "source": row["source"], "verified": row["verified"],
    }  # fmt: skip
