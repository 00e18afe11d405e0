"""When to stop for harm: the boundary as a table, and what it does at any true rate, exactly.

A patient counts when the outcome is known. After looks at `n` patients the trial stops at `events[n]` events or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aftercar.trial.chances import distributions
from aftercar.trial.design import Stopping

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Delta of Wang and Tsiatis 1987: how the demanded evidence falls with the patients seen.
SHAPES = {"pocock": 0.5, "obrien_fleming": 0.0}


@dataclass(frozen=True, eq=False)
class Boundary:
    """Looks at `n` patients, ascending, the last at all of them, and from how many events on the trial stops at each; more than `n`: it cannot."""

    n: Ints
    events: Ints

    def after(self, patients: int) -> Ints:
        """The events by patients seen, 0 to `patients`; without a look there, more than there can be."""
        table = np.arange(1, patients + 2)
        seen = self.n <= patients
        table[self.n[seen]] = self.events[seen]
        return table

    def steps(self) -> list[tuple[int, int, int]]:
        """`first look, last look, events` for each number of events at which a trial can stop."""
        can = self.events <= self.n
        n, events = self.n[can], self.events[can]
        edges = np.flatnonzero(np.diff(events, prepend=-1))
        ends = np.append(edges, len(n))[1:]
        return [(int(n[a]), int(n[b - 1]), int(events[a])) for a, b in zip(edges, ends, strict=True)]


@dataclass(frozen=True, eq=False)
class Operating:
    """What a boundary does at each true rate.

    Attributes:
        rates: shape `[rate]`.
        at_look: probability to stop at each look, shape `[rate, look]`.
        stops: probability to stop at all.
        patients: expected number whose outcome is known at the end.
        events: expected number among them.
    """

    rates: Floats
    at_look: Floats
    stops: Floats
    patients: Floats
    events: Floats


def boundary(told: Stopping, patients: int) -> Boundary:
    """The boundary of an arm of so many patients.

    `bayes`: the posterior probability of a rate above the limit, from a beta prior. `pocock`: at each look the exact binomial probability of so
    many events at the limit (Ivanova, Qaqish and Schell 2005). `obrien_fleming`: the same, with its normal quantile asked to be larger
    by the root of the inverse share of patients seen. Where a `chance` is given, the least strict boundary of that form
    that stops at the limit with no more than this probability.
    """
    if told.method == "table":
        own = {patients: patients + 1} | {s.of: s.events for s in told.at if s.of <= patients}
        return Boundary(np.array(sorted(own)), np.array([own[n] for n in sorted(own)]))
    looks = np.union1d(np.arange(told.first, patients + 1, told.every), [patients])
    assert told.limit is not None
    evidence = _evidence(told, looks, patients)
    if told.certainty is not None:
        return _from(evidence > told.certainty, looks)
    assert told.chance is not None
    # A boundary of this form stops from some of these values on. The fewer it spares, the likelier it stops.
    values = np.unique(evidence[np.isfinite(evidence)])
    strict, loose = len(values), 0  # values[strict:] never stops too often
    while strict > loose:
        middle = (strict + loose) // 2
        found = _from(evidence >= values[middle], looks)
        if operating(found, [told.limit]).stops[0] <= told.chance:
            strict = middle
        else:
            loose = middle + 1
    never = np.zeros_like(evidence, bool)
    return _from(evidence >= values[strict] if strict < len(values) else never, looks)


def _evidence(told: Stopping, looks: Ints, patients: int) -> Floats:
    """Evidence against the limit, `[look, events]`, rising with the events; events above the patients seen tell nothing."""
    stats = distributions()
    n, events = looks[:, None], np.arange(patients + 1)[None, :]
    if told.method == "bayes":
        a, b = told.prior
        found = stats.beta.sf(told.limit, a + events, b + np.maximum(n - events, 0))
    else:
        shape = SHAPES[told.method]
        found = stats.norm.isf(stats.binom.sf(events - 1, n, told.limit)) * (n / patients) ** (0.5 - shape)
    return np.where(events <= n, found, -np.inf)


def _from(stops: NDArray[np.bool_], looks: Ints) -> Boundary:
    """The boundary from whether a number of events stops, `[look, events]`."""
    least = np.where(stops.any(axis=1), stops.argmax(axis=1), looks + 1)
    return Boundary(looks, least.astype(np.int64))


def operating(found: Boundary, rates: ArrayLike) -> Operating:
    """Exact operating characteristics, by recursion over the looks on the number of events so far.

    Args:
        rates: true rates of the event.
    """
    binom = distributions().binom
    p = np.asarray(rates, np.float64)
    last = int(found.n[-1])
    going = np.zeros((len(p), last + 1))  # probability to be under way with so many events
    going[:, 0] = 1.0
    at_look = np.zeros((len(p), len(found.n)))
    patients, events = np.zeros(len(p)), np.zeros(len(p))
    count, before = np.arange(last + 1), 0
    for k, (n, least) in enumerate(zip(found.n, found.events, strict=True)):
        more = binom.pmf(np.arange(n - before + 1)[None, :], n - before, p[:, None])
        going = np.stack([np.convolve(a, b)[: last + 1] for a, b in zip(going, more, strict=True)])
        out = np.where(count >= least, going, 0.0)
        at_look[:, k] = out.sum(axis=1)
        patients += n * at_look[:, k]
        events += (out * count).sum(axis=1)
        going -= out
        before = n
    left = going.sum(axis=1)
    return Operating(p, at_look, at_look.sum(axis=1), patients + last * left, events + (going * count).sum(axis=1))
