"""Times to an event: Kaplan-Meier where each is known to the day, Turnbull's estimate where it is only known between two looks, and the log-rank test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col, lit

from aftercar.cohort.compare import Compared, compared, counts
from aftercar.cohort.incidence import log_log
from aftercar.errors import InputError

Floats = NDArray[np.float64]

MOST_ROUNDS = 50_000  # of Turnbull's estimate
_GAIN = 1e-9  # of the log likelihood, by course, that any change could still bring
_LEVEL = 1e-6  # a share this near to a quantile is it


def kaplan_meier(first: pl.DataFrame) -> pl.DataFrame:
    """The share that is still without the event at the end of each day. The interval is that of log(-log), with Greenwood's variance.

    Args:
        first: `day, what`, a row a course; whatever is not `event` is censored, after the events of its day.
    Returns:
        `day, at_risk, events, share, low, high`, a row a day on which anybody left; `low` and `high` are null where nobody or everybody has had it.
    """
    days = first.group_by("day").agg(events=(col("what") == "event").sum(), gone=pl.len()).sort("day")
    days = days.with_columns(at_risk=lit(first.height) - col("gone").cum_sum().shift(1, fill_value=0))
    d, n = col("events").cast(pl.Float64), col("at_risk").cast(pl.Float64)
    # On a day on which all who are left have it the share falls to 0, and what its variance would be counts nowhere.
    greenwood = pl.when(d < n).then(d / (n * (n - d))).otherwise(0.0).cum_sum()
    days = days.with_columns(share=(1 - d / n).cum_prod(), greenwood=greenwood)
    low, high = log_log(col("share"), col("share") * col("greenwood").sqrt())
    return days.select("day", col("at_risk", "events").cast(pl.Int64), "share", low=low, high=high)


def median(curve: pl.DataFrame) -> tuple[float | None, float | None, float | None]:
    """The day by which half have had the event, with its interval (Brookmeyer and Crowley 1982); null where that is not reached.

    Args:
        curve: of `kaplan_meier`.
    """
    return quantile(curve, 0.5), quantile(curve, 0.5, "low"), quantile(curve, 0.5, "high")


def quantile(curve: pl.DataFrame, part: float, column: str = "share") -> float | None:
    """The day by which a part has had the event; null where that is not reached. Where just that part has had it for a while, the middle of that while.

    Args:
        curve: of `kaplan_meier`.
        column: the curve itself, or an end of its interval.
    """
    left = 1 - part
    fallen = curve.filter((col(column) <= left + 1e-12) | (col("share") == 0))
    if fallen.is_empty():
        return None
    day, at = float(fallen["day"][0]), fallen[column][0]
    below = fallen.filter((col(column) < left - 1e-12) | (col("share") == 0))
    level = at is not None and abs(at - left) <= 1e-12
    return (day + float(below["day"][0])) / 2 if level and below.height else day


def log_rank(first: pl.DataFrame, by: str) -> Compared:
    """The log-rank test of groups; what competes is censored, so it compares how often the event comes among those who could still have it.

    Args:
        first: `day, what` and the group, a row a course. Courses of no group are left out.
        by: the column of the group.
    Raises:
        OptionError: there are not two groups.
    """
    groups, at_risk, events, _ = counts(
        first.with_columns(what=pl.when(col("what") == "event").then(lit("event")).otherwise(lit("censored"))), by
    )
    n, d = at_risk.sum(axis=1), events.sum(axis=1)
    part = at_risk / n[:, None]
    excess = (events - part * d[:, None]).sum(axis=0)
    tied = d * (n - d) / np.maximum(n - 1, 1)  # draws without replacement
    variance = np.diag((part * tied[:, None]).sum(axis=0)) - np.einsum("ti,tj,t->ij", part, part, tied)
    return compared(groups, excess, variance)


@dataclass(frozen=True, eq=False)
class Between:
    """Turnbull's estimate: shares of events in the stretches of time to which the records bind them.

    Attributes:
        after, until: the stretches, `after < event <= until`; equal: at that very time. The last may be without an end.
        share: of all events, in each.
    """

    after: Floats
    until: Floats
    share: Floats

    def by(self, time: float) -> tuple[float, float]:
        """Least and greatest share that had the event by a time: within a stretch the records do not say when."""
        return float(self.share[self.until <= time].sum()), float(self.share[(self.after < time) | (self.until <= time)].sum())

    def quantile(self, part: float) -> tuple[float, float]:
        """Between which times a part comes to have had the event; infinite where that is not reached."""
        grown = np.cumsum(self.share)
        low, high = (min(int(np.searchsorted(grown, part + slack)), len(grown) - 1) for slack in (-_LEVEL, _LEVEL))
        return float(self.after[low]), float(self.until[high])


def turnbull(after: Floats, until: Floats) -> Between:
    """The most likely distribution of times that are only known to lie between two looks (Turnbull 1976, J R Stat Soc B 38:290).

    Args:
        after: of each course, the last time at which it had not happened.
        until: the first at which it had; infinite where it was never seen. Equal to `after`: it happened at that very time.
    Raises:
        InputError: a time is missing, or one interval ends before it begins.
    """
    if np.isnan(after).any() or np.isnan(until).any() or (after > until).any() or not after.size:
        raise InputError("Each course needs two times, the second not before the first.")
    pairs, weight = np.unique(np.column_stack([after, until]), axis=0, return_counts=True)
    low, high = _innermost(pairs)
    first, last = _held(pairs, low, high)
    share = np.full(len(low), 1 / len(low))
    n = float(weight.sum())
    for _ in range(MOST_ROUNDS):
        grown = np.concatenate([[0.0], np.cumsum(share)])
        each = weight / (grown[last] - grown[first])
        changes = np.bincount(first, each, len(low) + 1) - np.bincount(last, each, len(low) + 1)
        gain = np.cumsum(changes[:-1]) / n  # more than 1: more belongs here
        share = share * gain
        if gain.max() - 1 < _GAIN:
            break
    return Between(low, high, share / share.sum())


def _innermost(pairs: Floats) -> tuple[Floats, Floats]:
    """The stretches that may hold events: from a left end to a right end with no other end between. A very time is one of its own."""
    exact = pairs[:, 0] == pairs[:, 1]
    at, (after, until) = pairs[exact, 0], pairs[~exact].T
    # In the order in which they come at one time: a very time begins and ends there, then intervals end, then others begin, for they are open on the left.
    ends = ((at, True), (at, False), (until, False), (after, True))
    times = np.concatenate([each for each, _ in ends])
    order = np.repeat(np.arange(len(ends)), [len(each) for each, _ in ends])
    place = np.lexsort((order, times))
    times, opens = times[place], np.array([opens for _, opens in ends])[order[place]]
    inner = opens[:-1] & ~opens[1:]
    low, high = np.unique(np.column_stack([times[:-1][inner], times[1:][inner]]), axis=0).T
    return low, high


def _held(pairs: Floats, low: Floats, high: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of each pair which stretches lie within it: those from the first up to the last, which is left out. They are in order and apart from each other."""
    times = np.unique(np.concatenate([pairs.ravel(), low, high]))

    def places(after: Floats, until: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        # A very time begins and ends before anything that ends or begins at it.
        exact = after == until
        begins, ends = (4 * np.searchsorted(times, at) for at in (after, until))
        return begins + np.where(exact, 0, 3), ends + np.where(exact, 1, 2)

    (begins, ends), (begun, ended) = places(*pairs.T), places(low, high)
    return np.searchsorted(begun, begins), np.searchsorted(ended, ends, side="right")
