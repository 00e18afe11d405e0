"""Tests of counted events, tabulated: the p-value of everything that a trial of these sizes can find, so that a thousand trials are looked up at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aftercar.trial.chances import distributions
from aftercar.trial.design import Comparison, Sides

Floats = NDArray[np.float64]

NUISANCE = 1_001  # values of the common rate over which an unconditional test takes its worst
_SAME = 1 + 1e-7  # as likely as: to rounding


@lru_cache(maxsize=1_024)
def p_values(test: Comparison, n: int, control: int) -> Floats:
    """p-values of all outcomes.

    Args:
        n: patients of the arm.
        control: patients of the control; 0 where the arm is held against a rate.
    Returns:
        shape `[events of the arm, events of the control]`.
    """
    if test.method == "exact_binomial":
        assert test.rate is not None
        return exact_binomial(n, test.rate, test.asked)[:, None]
    if not n or not control:  # by chance alone an arm may stay empty
        return np.ones((n + 1, control + 1))
    if test.method == "farrington_manning":
        assert test.margin is not None
        return farrington_manning(n, control, test.margin)
    return TABLES[test.method](n, control, test.asked)


def fisher(n: int, control: int, sides: Sides) -> Floats:
    """Fisher's exact test; with two sides, all outcomes that are at most as likely."""
    hypergeom = distributions().hypergeom
    found = np.ones((n + 1, control + 1))
    for both in range(n + control + 1):  # events in both arms
        own = np.arange(max(0, both - control), min(n, both) + 1)
        chance = hypergeom.pmf(own, n + control, both, n)
        if sides == "two":
            order = np.argsort(chance)
            upto = np.searchsorted(chance[order], chance * _SAME, side="right")
            p = np.cumsum(chance[order])[upto - 1]
        else:
            p = np.cumsum(chance) if sides == "lower" else np.cumsum(chance[::-1])[::-1]
        found[own, both - own] = np.minimum(p, 1.0)
    return found


def chi_square(n: int, control: int, sides: Sides) -> Floats:
    """Pearson's chi-square without a continuity correction; with one side, its signed root."""
    norm = distributions().norm
    z = _pooled(n, control)
    return 2 * norm.sf(np.abs(z)) if sides == "two" else norm.cdf(z if sides == "lower" else -z)


def boschloo(n: int, control: int, sides: Sides) -> Floats:
    """Boschloo's test: the p-value of Fisher's as the statistic of an unconditional one."""
    return _unconditional(fisher(n, control, sides))


def barnard(n: int, control: int, sides: Sides) -> Floats:
    """Barnard's test with the pooled score statistic."""
    z = _pooled(n, control)
    return _unconditional({"two": -np.abs(z), "lower": z, "higher": -z}[sides])


TABLES = {"fisher": fisher, "chi_square": chi_square, "boschloo": boschloo, "barnard": barnard}


def _pooled(n: int, control: int) -> Floats:
    """Difference of the rates over its standard error where both are one rate; 0 where nobody or everybody has the event."""
    own, other = np.arange(n + 1)[:, None] / n, np.arange(control + 1)[None, :] / control
    rate = (n * own + control * other) / (n + control)
    error = np.sqrt(rate * (1 - rate) * (1 / n + 1 / control))
    return np.divide(own - other, error, out=np.zeros_like(error), where=error > 0)


def _unconditional(extreme: Floats) -> Floats:
    """The largest probability, over the common rate, of an outcome at least as extreme: one with as small a value or a smaller."""
    binom = distributions().binom
    n, control = (size - 1 for size in extreme.shape)
    rank = np.unique(np.round(extreme, 10).ravel(), return_inverse=True)[1]
    order = np.argsort(rank, kind="stable")
    last = np.searchsorted(rank[order], np.arange(rank.max() + 1), side="right") - 1
    worst = np.zeros(len(last))
    for rate in np.linspace(0, 1, NUISANCE):
        chance = np.outer(binom.pmf(np.arange(n + 1), n, rate), binom.pmf(np.arange(control + 1), control, rate)).ravel()
        worst = np.maximum(worst, np.cumsum(chance[order])[last])
    return np.minimum(worst[rank], 1.0).reshape(extreme.shape)


def exact_binomial(n: int, rate: float, sides: Sides) -> Floats:
    """The exact test of one arm against a rate; with two sides, all outcomes that are at most as likely."""
    binom = distributions().binom
    events = np.arange(n + 1)
    if sides == "lower":
        return binom.cdf(events, n, rate)
    if sides == "higher":
        return binom.sf(events - 1, n, rate)
    chance = binom.pmf(events, n, rate)
    return np.minimum([chance[chance <= one * _SAME].sum() for one in chance], 1.0)


def farrington_manning(n: int, control: int, margin: float) -> Floats:
    """The score test of non-inferiority: is the rate less than the control's and the margin (Farrington and Manning 1990)?

    The variance is that of the likeliest rates that differ by just the margin.
    """
    norm = distributions().norm
    own, other = np.arange(n + 1)[:, None] / n, np.arange(control + 1)[None, :] / control
    at = restricted(own, other, n, control, margin)
    error = np.sqrt(at * (1 - at) / n + (at - margin) * (1 - at + margin) / control)
    gap = own - other - margin
    return norm.cdf(np.divide(gap, error, out=np.where(gap < 0, -np.inf, np.inf), where=error > 0))


def restricted(own: Floats, other: Floats, n: int, control: int, margin: float) -> Floats:
    """The likeliest rate of the arm, where it is the control's and the margin: the root of a cubic, in closed form."""
    k = control / n
    a = 1 + k
    b = -(1 + k + own + k * other + margin * (k + 2))
    c = margin**2 + margin * (2 * own + k + 1) + own + k * other
    d = -own * margin * (1 + margin)
    v = b**3 / (27 * a**3) - b * c / (6 * a**2) + d / (2 * a)
    u = np.where(v < 0, -1.0, 1.0) * np.sqrt(np.maximum(b**2 / (9 * a**2) - c / (3 * a), 0.0))
    turned = np.divide(v, u**3, out=np.ones_like(v), where=u != 0)
    w = (np.pi + np.arccos(np.clip(turned, -1.0, 1.0))) / 3
    return np.clip(2 * u * np.cos(w) - b / (3 * a), margin, 1.0)


def power(rejected: NDArray[np.bool_], own: Floats, other: float) -> Floats:
    """Exact probability to reject.

    Args:
        rejected: which outcomes are, `[events of the arm, events of the control]`.
        own: true rates of the arm, shape `[rate]`.
        other: true rate of the control; of no account where there is none.
    """
    binom = distributions().binom
    n, control = (size - 1 for size in rejected.shape)
    arm = binom.pmf(np.arange(n + 1)[None, :], n, np.asarray(own)[:, None])
    return arm @ rejected.astype(np.float64) @ binom.pmf(np.arange(control + 1), control, other)
