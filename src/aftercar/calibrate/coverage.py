"""Whether forecasts keep what they promise where the truth is known: virtual patients forecast as if they were records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aftercar.calibrate.forecast import LEVELS, tells
from aftercar.calibrate.likeness import TOXICITIES, Floats, compared, effective, gaps, misfit, weights
from aftercar.calibrate.twins import Start, twins
from aftercar.intervals import wilson

RECORDS = 200
_APART = 1 << 40  # added to the seed of twins for that of the records: other patients
_BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_GRADE = 2  # of the events of which the chances are looked at


@dataclass(frozen=True)
class Coverage:
    """How forecasts of virtual records did.

    Attributes:
        intervals: `toxicity, level, inside, n, share, low, high`: how often a central interval of the worst grade of the week held the truth.
        reliability: `toxicity, from, to, n, forecast, had, low, high`: records by the chance that they were told of grade 2 or more, and how many had it;
            only those who were not there on the last day before.
        skill: `toxicity, n, brier, brier_of_all, skill`: the mean squared error of those chances, and of the share of all twins as the chance of each.
        effective, misfit: of each record.
    """

    intervals: pl.DataFrame
    reliability: pl.DataFrame
    skill: pl.DataFrame
    effective: Floats
    misfit: Floats


def coverage(
    start: Start, policy: str, ensemble: pl.DataFrame, *, records: int = RECORDS, n: int, seed: int, workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Coverage:  # fmt: skip
    """Forecast virtual records, each treated by the policy from the same day on as its twins; one pool of twins serves all.

    Grades are few whole numbers, so a central interval of 80 % holds more than 80 % of them; the place of the truth among the twins is therefore
    taken at random within its grade (randomised probability integral transform), and counts as inside where it falls into the middle 80 %.

    Raises:
        OptionError: product, disease or policy does not exist.
    """
    pool = twins(start, [policy], ensemble, n, seed, workers=workers, progress=progress)
    truth = twins(start, [policy], ensemble, records, seed + _APART, workers=workers)
    draw = np.random.default_rng(seed)
    week, was = pool.worst[policy][:, :, -1], truth.worst[policy][:, :, -1]
    before = truth.charted.low[:, [list(compared()).index(t) for t in TOXICITIES], -1]
    place, chance = np.empty(was.shape), np.empty(was.shape)
    size, far = np.empty(records), np.empty(records)
    for i in range(records):
        apart = gaps(truth.charted.of(i), pool.charted)
        weight = weights(apart)
        size[i], far[i] = effective(weight), misfit(apart, weight)
        chance[i] = weight @ (week >= _GRADE)
        place[i] = weight @ (week < was[i]) + draw.random(was.shape[1]) * (weight @ (week == was[i]))
    intervals = [row for k, t in enumerate(TOXICITIES) for row in _inside(t, place[:, k])]
    reliability: list[dict[str, Any]] = []
    skill: list[dict[str, Any]] = []
    for k, toxicity in enumerate(TOXICITIES):
        free = before[:, k] < _GRADE
        had = was[free, k] >= _GRADE
        here = pool.charted.low[:, list(compared()).index(toxicity), -1] < _GRADE
        reliability += _reliability(toxicity, chance[free, k], had)
        skill.append(_skill(toxicity, chance[free, k], had, float((week[here, k] >= _GRADE).mean())))
    return Coverage(pl.DataFrame(intervals), pl.DataFrame(reliability), pl.DataFrame(skill), size, far)


def _inside(toxicity: str, place: Floats) -> list[dict[str, Any]]:
    """How many places lie in the middle of the scale from 0 to 1."""
    return [
        {"toxicity": toxicity, "level": level, "n": len(place)}
        | _share(int((np.abs(place - 0.5) <= level / 200).sum()), len(place))
        for level in LEVELS
    ]


def _share(k: int, n: int) -> dict[str, Any]:
    low, high = wilson(k, n)
    return {"inside": k, "share": k / n if n else None, "low": low, "high": high}


def _reliability(toxicity: str, chance: Floats, had: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Records by their chance."""
    bins = np.clip(np.searchsorted(_BINS, chance, side="right") - 1, 0, len(_BINS) - 2)
    rows: list[dict[str, Any]] = []
    for k in np.unique(bins):
        own = bins == k
        share = _share(int(had[own].sum()), int(own.sum()))
        rows.append(
            {
                "toxicity": toxicity, "from": _BINS[k], "to": _BINS[k + 1], "n": int(own.sum()), "forecast": float(chance[own].mean()),
                "had": share["inside"], "low": share["low"], "high": share["high"],
            }
        )  # fmt: skip
    return rows


def _skill(toxicity: str, chance: Floats, had: NDArray[np.bool_], of_all: float) -> dict[str, Any]:
    own, all_ = float(((chance - had) ** 2).mean()), float(((of_all - had) ** 2).mean())
    return {"toxicity": toxicity, "n": len(had), "brier": own, "brier_of_all": all_, "skill": 1 - own / all_ if all_ else None}


def summary(found: Coverage) -> dict[str, Any]:
    """Effective sizes and misfits, in short."""
    low, middle, high = np.quantile(found.effective, (0.05, 0.5, 0.95))
    silent = sum(not tells(size, far) for size, far in zip(found.effective, found.misfit, strict=True))
    return {
        "effective_5": float(low), "effective_50": float(middle), "effective_95": float(high),
        "misfit_99": float(np.quantile(found.misfit, 0.99)), "cannot_tell": silent,
    }  # fmt: skip
