"""Who gets which treatment, and when patients come: lists of many trials at once, each the same however many are drawn beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aftercar.trial.design import Accrual, Design, ratio

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def allocation(design: Design, trials: int, rng: np.random.Generator, strata: Ints | None = None) -> Ints:
    """The arm of each patient, by place in the order of enrolment.

    Args:
        rng: goes on from the trials that were drawn before.
        strata: number of the stratum of each patient, `[trial, patient]`; without it all are in one.
    Returns:
        shape `[trial, patient]`.
    """
    n = design.n
    if design.randomisation.method == "simple":
        edges = np.cumsum([arm.n for arm in design.arms]) / n
        return np.minimum(np.searchsorted(edges, rng.random((trials, n)), side="right"), len(edges) - 1)
    if strata is None:
        return permuted(_sizes(design), ratio(design), trials, n, rng)
    kinds = kinds_of(design)
    lists = permuted(_sizes(design), ratio(design), trials * kinds, n, rng).reshape(trials, kinds, n)
    return lists[np.arange(trials)[:, None], strata, rank_within(strata)]


def kinds_of(design: Design) -> int:
    """How many strata there are."""
    return int(np.prod([len(s.cuts) + 1 for s in design.randomisation.stratum], dtype=np.int64))


def _sizes(design: Design) -> tuple[int, ...]:
    return design.randomisation.blocks or (design.n,)


def permuted(sizes: tuple[int, ...], shares: list[int], lists: int, n: int, rng: np.random.Generator) -> Ints:
    """Lists of `n` arms in permuted blocks; the size of each block is drawn from `sizes`, and its arms stand to one another as `shares`."""
    blocks, widest = -(-n // min(sizes)), max(sizes)
    drawn = rng.random((lists, blocks, 1 + widest))  # all that a list needs at once: the next one begins at the same place
    size = np.array(sizes)[(drawn[:, :, 0] * len(sizes)).astype(np.int64)]
    # The places of a block in random order; those that a smaller block does not have come last.
    inside = np.arange(widest) < size[:, :, None]
    order = np.argsort(np.where(inside, drawn[:, :, 1:], 2.0), axis=2)
    pattern = np.repeat(np.arange(len(shares)), shares)
    shuffled = pattern[order % len(pattern)].reshape(lists, -1)
    kept = np.argsort(~inside.reshape(lists, -1), axis=1, kind="stable")[:, :n]
    return np.take_along_axis(shuffled, kept, axis=1)


def rank_within(groups: Ints) -> Ints:
    """How many of the same group stand before each, along the last axis."""
    order = np.argsort(groups, axis=1, kind="stable")
    ranked = np.take_along_axis(groups, order, axis=1)
    place = np.arange(groups.shape[1])[None, :]
    begins = np.maximum.accumulate(np.where(np.diff(ranked, axis=1, prepend=-1) != 0, place, 0), axis=1)
    ranks = np.empty_like(groups)
    np.put_along_axis(ranks, order, place - begins, axis=1)
    return ranks


def arrivals(accrual: Accrual, trials: int, n: int, rng: np.random.Generator) -> Floats:
    """When each patient is enrolled, in weeks from the first; shape `[trial, patient]`."""
    if accrual.arrivals == "even":
        return np.tile(np.arange(n) / accrual.per_week, (trials, 1))
    gaps = -np.log1p(-rng.random((trials, n))) / accrual.per_week
    gaps[:, 0] = 0.0
    return np.cumsum(gaps, axis=1)
