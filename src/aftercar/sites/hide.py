"""Small cells of tables hidden, and as many others as it takes that none of them can be worked out from what is left."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sum:
    """One cell that is the sum of others, by their places."""

    total: int
    parts: tuple[int, ...]


def hidden(
    values: list[int],
    sums: list[Sum],
    least: int,
    *,
    secret: Set[int] = frozenset(),
    public: Set[int] = frozenset(),
    stage: list[int] | None = None,
) -> frozenset[int]:
    """The places of the cells that must not be told.

    A cell of 1 to `least - 1` is small. It is safe if, as far as what is told and the sums say, it might as well be `least` or more; so nothing that is told
    shows that it is small, nor what it is. Cells of 0 are told, so that a reader knows of a hidden one that it is 1 or more. Only where a small cell could not be kept otherwise are
    those of 0 beside it hidden too: so where all parts of a sum are hidden, each of them might be 0.

    Args:
        values: whole numbers, 0 or more.
        sums: which cells add up to which; all of them are known to the reader.
        secret: places that are never told, such as differences of tables that a reader could form.
        public: places that are told whatever they are, such as how many there are in all.
        stage: of each cell; those of a later stage are hidden for the sake of those of an earlier one, never the other way round. A stage in which all is hidden must tell nothing.
    """
    steps = stage or [0] * len(values)
    out: set[int] = set()
    for now in sorted(set(steps)):
        there = {n for n, s in enumerate(steps) if s <= now}
        known = [s for s in sums if there.issuperset((s.total, *s.parts))]
        out |= {n for n in there if (0 < values[n] < least and n not in public) or n in secret}
        left = [n for n in sorted(out) if 0 < values[n] < least]
        own = {n for n in there if steps[n] == now and n not in public}
        some, none = {n for n in own if values[n]}, {n for n in own if not values[n]}
        nobody = {p for s in known if not values[s.total] for p in s.parts}  # hidden or not, they are 0
        while left and (left := _unproven(_System(values, known, out, nobody, secret), least, left)):
            # What is safe stays safe when more is hidden.
            more = _further(values, known, out, some, left[0])
            rest = {more} if more is not None else _rest_of_sum(known, out | nobody, none, left[0])
            if not rest:
                raise AssertionError("a small cell cannot be kept: nothing is left to hide")
            out |= rest
    return frozenset(out)


def _unproven(system: _System, least: int, small: list[int]) -> list[int]:
    """The small cells without those that are found to be safe; the first of the rest is not."""
    shown = system.at_once(small, least)
    left = [n for n in small if n not in shown]
    while left and system.most(left[0]) >= least:
        left.pop(0)
    return left


class _System:
    """What a reader knows of the cells that are hidden: they fit the sums, and are 1 or more, or 0 or more those that are secret or parts of a sum of which no part is told."""

    def __init__(self, values: list[int], sums: list[Sum], out: set[int], nobody: set[int], secret: Set[int]) -> None:
        self.places = sorted(out)
        untold = out | nobody
        perhaps_none = {p for s in sums if untold.issuperset(s.parts) for p in s.parts} | secret
        self.bounds: list[tuple[int, int | None]] = [(0 if n in perhaps_none else 1, None) for n in self.places]
        self.column = {n: k for k, n in enumerate(self.places)}
        rows, sides = [], []
        for one in sums:
            row, side = np.zeros(len(self.places)), 0.0
            for n, sign in ((one.total, -1.0), *((p, 1.0) for p in one.parts)):
                if n in self.column:
                    row[self.column[n]] += sign
                else:
                    side -= sign * values[n]
            if row.any():
                rows.append(row)
                sides.append(side)
        self.rows, self.sides = np.array(rows).reshape(-1, len(self.places)), np.array(sides)

    def most(self, n: int) -> float:
        """The most that a hidden cell can be, rounded down to a whole number."""
        from scipy.optimize import linprog

        aim = np.zeros(len(self.places))
        aim[self.column[n]] = -1.0
        found = linprog(
            aim, A_eq=self.rows if len(self.rows) else None, b_eq=self.sides if len(self.rows) else None, bounds=self.bounds,
            method="highs",
        )  # fmt: skip
        return float("inf") if found.status == 3 else float(np.floor(-found.fun + 1e-7))

    def at_once(self, small: list[int], least: int) -> set[int]:
        """Small cells of which one solution shows that they can be `least` or more: spares most of the single questions."""
        from scipy.optimize import linprog

        k, m = len(small), len(self.places)
        # Beside the cells one number each, at most the cell and `least`, whose sum is made as great as it can be.
        upper = np.zeros((k, m + k))
        for j, n in enumerate(small):
            upper[j, self.column[n]], upper[j, m + j] = -1.0, 1.0
        equal = np.hstack([self.rows, np.zeros((len(self.rows), k))])
        found = linprog(
            np.concatenate([np.zeros(m), -np.ones(k)]), A_ub=upper, b_ub=np.zeros(k), A_eq=equal if len(equal) else None,
            b_eq=self.sides if len(equal) else None, bounds=[*self.bounds, *[(0, least)] * k], method="highs",
        )  # fmt: skip
        if found.x is None:
            return set()
        return {n for n in small if found.x[self.column[n]] >= least - 1e-7}


def _further(values: list[int], sums: list[Sum], out: set[int], free: set[int], exposed: int) -> int | None:
    """A further cell to hide: the smallest that shares a sum with the exposed one, a total only where no part is left; else one that shares a sum with
    any that is hidden."""
    for near in ({exposed}, out):
        touching = [s for s in sums if near & {s.total, *s.parts}]
        for places in ({p for s in touching for p in s.parts}, {s.total for s in touching}):
            if choice := [(values[p], p) for p in (places & free) - out]:
                return min(choice)[1]
    return None


def _rest_of_sum(sums: list[Sum], untold: set[int], none: set[int], exposed: int) -> set[int]:
    """The fewest cells of 0 by whose hiding no part of a sum is told, of one that has the exposed cell if there is any; empty where all sums tell a part that
    must be told."""
    gaps = [
        (exposed not in s.parts, gap) for s in sums if (gap := set(s.parts) - untold) and gap <= none and untold & set(s.parts)
    ]
    return min(gaps, key=lambda one: (one[0], len(one[1]), min(one[1])))[1] if gaps else set()
