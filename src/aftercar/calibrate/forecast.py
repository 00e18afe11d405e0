"""What became of the virtual twins most like a record, in the week that follows, under each of some policies.

Approximate Bayesian: twins are drawn from the virtual population of the record's product and disease, and weighted by how like the record their first
days are (`likeness`). Nothing that was charted after the asked time has a part in it. It is a simulation, and no prediction for the person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col, lit

from aftercar.calibrate.likeness import TOXICITIES, Floats, charted, compared, effective, gaps, misfit, weights
from aftercar.calibrate.record import Asked, asked
from aftercar.calibrate.twins import AHEAD, twins
from aftercar.intervals import Z95, wilson

BANNER = "SIMULATED: virtual patients; calibrated to published summary rates; not a prediction for a person"
TWINS, SEED = 2_000, 1
LEAST = 50  # twins that count: with fewer the data cannot tell
LEVELS = (50, 80, 95)  # of central intervals, in per cent
CANNOT_TELL = "the data cannot tell"
FAR = 1.0  # widths: where the twins that count lie farther from a record, they are not much alike


@dataclass(frozen=True)
class Forecast:
    """A forecast of one record.

    Attributes:
        asked: the record, and from where its twins went on.
        table: a row a policy, toxicity, day ahead and measure; `docs/forecast.md` describes it.
        compared: `finding, meaning, days` (on which it is compared), `telling` (on which twins differ in it), `misfit` (of the weighted twins, in widths).
        twins, effective: how many there are, and how many equally weighted ones they are worth.
        misfit: how far the weighted twins lie from the record, in widths.
    """

    asked: Asked
    table: pl.DataFrame
    compared: pl.DataFrame
    twins: int
    effective: float
    misfit: float

    @property
    def tells(self) -> bool:
        """Whether there are enough twins, and they are alike."""
        return tells(self.effective, self.misfit)

    def warnings(self) -> list[str]:
        """What must be said beside the numbers."""
        said = list(self.asked.notes)
        if not self.compared["days"].sum():
            said.append("Nothing in the record by then is compared: this is what became of all virtual patients.")
        if not self.tells:
            said.append(
                f"{CANNOT_TELL.capitalize()}: too few twins are near ({self.effective:.0f} effective, {LEAST} are needed)."
            )
        if self.misfit > FAR:
            said.append(
                f"{CANNOT_TELL.capitalize()}: the record lies outside of its twins, {self.misfit:.1f} widths from those that count, most of all in "
                f"{self.compared.sort('misfit')['finding'][-1]}. The mechanism does not fit it; more twins will not help."
            )
        return said


def forecast(
    timeline: pl.DataFrame, at: datetime | float, policies: Sequence[str], ensemble: pl.DataFrame, *, product: str | None = None,
    disease: str | None = None, infusion: int = 1, n: int = TWINS, seed: int = SEED, workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Forecast:  # fmt: skip
    """Forecast the grades of one record for the next seven days.

    Args:
        timeline: one subject, in our schema.
        at: a time, or hours since the infusion: what was charted later has no part.
        policies: of which the first is the comparator.
        ensemble: sets of parameters, as `ensemble.read` gives them.
        product, disease: of the mechanism; by default those of the record.
    Raises:
        InputError: the record has no such infusion, or ends with a death before `at`.
        OptionError: `at` is not after the infusion, a policy does not exist, or product or disease is not known to the mechanism.
    """
    start = asked(timeline, at, infusion, product, disease)
    found = twins(start.start, list(dict.fromkeys(policies)), ensemble, n, seed, workers=workers, progress=progress)
    one = charted(timeline, start.start.at_d, infusion)
    apart = gaps(one, found.charted)
    weight = weights(apart)
    size, far = effective(weight), misfit(apart, weight)
    return Forecast(start, told(found.worst, weight, tells(size, far)), fit_of(apart, weight), n, size, far)


def tells(size: float, far: float) -> bool:
    """Whether so many effective twins, so many widths away, say something of a record."""
    return size >= LEAST and far <= FAR


def fit_of(apart: Floats, weight: Floats) -> pl.DataFrame:
    """How the weighted twins fit each finding: `Forecast.compared`."""
    there = ~np.isnan(apart).any(axis=0)
    telling = there & (np.nan_to_num(apart).max(axis=0) > np.nan_to_num(apart).min(axis=0))
    squares = np.nansum(apart**2 * weight[:, None, None], axis=(0, 2))
    days = there.sum(axis=1)
    return pl.DataFrame(
        {
            "finding": list(compared()), "meaning": [c.meaning for c in compared().values()], "days": days, "telling": telling.sum(axis=1),
            "misfit": pl.Series(np.where(days > 0, np.sqrt(squares / np.maximum(days, 1)), np.nan), nan_to_null=True),
        }
    )  # fmt: skip


def told(worst: dict[str, NDArray[np.int64]], weight: Floats, tell: bool) -> pl.DataFrame:
    """What weighted twins say of the worst grade from now to the end of each day ahead.

    Args:
        worst: of each policy `[twin, toxicity, day]`; the first policy is the comparator.
        tell: whether the twins say something; else every row says that the data cannot tell.
    Returns:
        `policy, against, toxicity, days_ahead, measure, value, low, high, finds, effective`. Measures: `P(grade >= k)` with the 95 % interval that so few
        twins leave; its `difference` from the comparator, likewise; `worst grade, 50 %` (80 %, 95 %), the median and a central interval.
    """
    n = effective(weight)
    first = next(iter(worst))
    rows: list[dict[str, Any]] = []
    for policy, grades in worst.items():
        for k, toxicity in enumerate(TOXICITIES):
            for day in range(AHEAD):
                own, other = grades[:, k, day], worst[first][:, k, day]
                key = {"policy": policy, "against": None, "toxicity": toxicity, "days_ahead": day + 1}
                rows += [key | _chance(own, least, weight, n) for least in range(1, 5)]
                rows += [key | _central(own, level, weight) for level in LEVELS]
                if policy != first:
                    rows += [key | {"against": first} | _difference(own, other, least, weight, n) for least in range(1, 5)]
    schema = {"policy": pl.String, "against": pl.String, "toxicity": pl.String, "days_ahead": pl.Int64, "measure": pl.String}
    return pl.DataFrame(
        rows, schema=schema | dict.fromkeys(("value", "low", "high"), pl.Float64) | {"finds": pl.String}
    ).with_columns(finds=col("finds") if tell else lit(CANNOT_TELL), effective=lit(n))


def _chance(grades: NDArray[np.int64], least: int, weight: Floats, n: float) -> dict[str, Any]:
    p = float(weight @ (grades >= least))
    p = min(max(p, 0.0), 1.0)  # sums of weights miss 0 and 1 by a hair
    low, high = wilson(p * n, n)
    return {"measure": f"P(grade >= {least})", "value": p, "low": low, "high": high, "finds": None}


def _central(grades: NDArray[np.int64], level: int, weight: Floats) -> dict[str, Any]:
    low, middle, high = (quantile(grades, weight, q) for q in (0.5 - level / 200, 0.5, 0.5 + level / 200))
    return {
        "measure": f"worst grade, {level} %", "value": float(middle), "low": float(low), "high": float(high), "finds": None,
    }  # fmt: skip


def _difference(own: NDArray[np.int64], other: NDArray[np.int64], least: int, weight: Floats, n: float) -> dict[str, Any]:
    """A paired difference of shares with the interval of Agresti and Min 2005: half a pair is added to each cell of two by two."""
    change = (own >= least).astype(int) - (other >= least)
    up, down = (n * float(weight @ (change == sign)) for sign in (1, -1))
    middle = (up - down) / (n + 2)
    half = Z95 * np.sqrt(up + down + 1 - (up - down) ** 2 / (n + 2)) / (n + 2)
    low, high = middle - half, middle + half
    finds = CANNOT_TELL if low <= 0 <= high else "lower" if high < 0 else "higher"
    return {"measure": f"difference of P(grade >= {least})", "value": (up - down) / n, "low": low, "high": high, "finds": finds}


def quantile(grades: NDArray[np.int64], weight: Floats, share: float) -> int:
    """The least grade that so great a share of the weight does not exceed."""
    below = np.cumsum(np.bincount(grades, weights=weight, minlength=6))
    return int(np.searchsorted(below, share - 1e-9))
