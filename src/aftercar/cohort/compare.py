"""Groups of courses compared: Gray's test of their cumulative incidences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col

from aftercar.errors import OptionError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """A test of the hypothesis that the groups have the same cumulative incidence.

    Attributes:
        groups: in the order of `excess`.
        excess: events of each group beyond those expected, weighted by those still at risk.
        statistic: chi-square, with `df` degrees of freedom; null where no two groups can be told apart.
    """

    groups: tuple[str, ...]
    excess: tuple[float, ...]
    statistic: float | None
    df: int
    p: float | None


def gray(first: pl.DataFrame, by: str) -> Compared:
    """Gray's test (Gray 1988, Ann Stat 16:1141, with rho 0) of one event where another can forestall it.

    Ties are events of the same day: their variance is that of draws without replacement. Events of a day come before those who are censored on it.

    Args:
        first: `day, what` and the group, a row a course, as `incidence.first_days` gives. Courses of no group are left out.
        by: the column of the group.
    Raises:
        OptionError: there are not two groups.
    """
    groups, *table = counts(first, by)
    return compared(groups, *_gray(*table))


def compared(groups: tuple[str, ...], excess: Floats, variance: Floats) -> Compared:
    """The test of excesses, shape `[group]`, that add up to 0, by their covariance."""
    kept = np.flatnonzero(np.diag(variance)[:-1] > 0)  # the last group is what the others leave
    if not kept.size:
        return Compared(groups, tuple(map(float, excess)), None, 0, None)
    from scipy.stats import chi2

    own = variance[np.ix_(kept, kept)]
    df = int(np.linalg.matrix_rank(own))
    statistic = float(excess[kept] @ np.linalg.pinv(own, hermitian=True) @ excess[kept])
    return Compared(groups, tuple(map(float, excess)), statistic, df, float(chi2.sf(statistic, df)))


def counts(first: pl.DataFrame, by: str) -> tuple[tuple[str, ...], Floats, Floats, Floats]:
    """The groups, and at risk, events and competing events, each of shape `[day, group]`, of the days on which one of the two happened.

    Raises:
        OptionError: there are not two groups.
    """
    known = first.filter(col(by).is_not_null()).with_columns(col(by).cast(pl.String), col("what").cast(pl.String)).sort(by)
    parts = {str(name): own for (name,), own in known.partition_by(by, as_dict=True, maintain_order=True).items()}
    if len(parts) < 2:
        raise OptionError(f"A comparison by {by} needs two groups at least; there is {'1' if parts else 'none'}.")
    days = known.filter(col("what") != "censored")["day"].unique().sort().to_numpy()
    at_risk, events, competing = np.zeros((3, len(days), len(parts)))
    for g, own in enumerate(parts.values()):
        day, what = own["day"].to_numpy(), own["what"].to_numpy()
        at_risk[:, g] = len(day) - np.searchsorted(np.sort(day), days, side="left")
        for word, table in (("event", events), ("competing", competing)):
            np.add.at(table[:, g], np.searchsorted(days, day[what == word]), 1.0)
    return tuple(parts), at_risk, events, competing


def _gray(at_risk: Floats, events: Floats, competing: Floats) -> tuple[Floats, Floats]:
    """Excess of events by group, and its covariance.

    With `S` the share of a group that had neither event, `F` the share that had the event, and `Y` its courses at risk, the group counts as `R = Y (1 - F) / S` courses at risk: as if who had
    the competing event stayed. The excess is the events beyond the share of `R` in the events of all. Its covariance follows from that of `F` in each group, where all have the same `F`.
    """
    k = at_risk.shape[1]
    if not len(at_risk):  # nobody had either event
        return np.zeros(k), np.zeros((k, k))
    there = at_risk > 0
    y = np.where(there, at_risk, 1.0)
    after = np.cumprod(1 - (events + competing) / y, axis=0)  # S at the end of the day
    before = np.vstack([np.ones(at_risk.shape[1]), after[:-1]])
    own = np.cumsum(before * events / y, axis=0)  # F
    own_before = np.vstack([np.zeros(at_risk.shape[1]), own[:-1]])
    h = np.where(there, at_risk / np.where(there, before, 1.0), 0.0)  # Y / S
    risk = h * (1 - own_before)
    total = events.sum(axis=1)
    all_risk = risk.sum(axis=1)
    shares = np.divide(risk, all_risk[:, None], out=np.zeros_like(risk), where=all_risk[:, None] > 0)
    excess = (events - shares * total[:, None]).sum(axis=0)

    # Where the hypothesis holds, all groups have one F: the events of all by the courses of all.
    all_h = h.sum(axis=1)
    rise = np.divide(total, all_h, out=np.zeros_like(total), where=all_h > 0)
    pooled = np.cumsum(rise)
    pooled_before = np.concatenate([[0.0], pooled[:-1]])
    part = np.divide(h, all_h[:, None], out=np.zeros_like(h), where=all_h[:, None] > 0)
    # a[t, i, r]: how an event of group r at t moves the excess of group i.
    a = np.eye(k) * h[:, :, None] - h[:, :, None] * part[:, None, :]
    c = np.cumsum(a * (rise / (1 - pooled_before))[:, None, None], axis=0)
    to_come = c[-1] - c
    ratio = np.divide((1 - pooled)[:, None], after, out=np.ones_like(after), where=after > 0)  # (1 - F) / S
    by_event = a + (1 - ratio)[:, None, :] * to_come
    by_other = ratio[:, None, :] * to_come
    # Draws without replacement: of events of all, of competing events of a group.
    n_all = all_h[:, None] * before
    tied = np.where(total[:, None] > 1, 1 - (total[:, None] - 1) / np.maximum(n_all - 1, 1e-300), 1.0)
    weight_event = np.divide(rise[:, None] * tied, h, out=np.zeros_like(h), where=h > 0)
    other_tied = np.where(competing > 1, 1 - (competing - 1) / np.maximum(at_risk - 1, 1e-300), 1.0)
    weight_other = np.divide(competing * other_tied, h**2, out=np.zeros_like(h), where=(h > 0) & (after > 0))
    variance = np.einsum("tir,tjr,tr->ij", by_event, by_event, weight_event) + np.einsum(
        "tir,tjr,tr->ij", by_other, by_other, weight_other
    )
    return excess, variance
