"""Small cells of tables hidden, and as many others as it takes that none of them can be worked out from what is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sum:
    """One cell that is the sum of others, by their places."""

    total: int
    parts: tuple[int, ...]


def hidden(
    values: list[int], sums: list[Sum], least: int, secret: frozenset[int] = frozenset(), stage: list[int] | None = None
) -> frozenset[int]:
    """The places of the cells that must not be told.

    A cell of 1 to `least - 1` is small. It is safe if, as far as what is told and the sums say, it might as well be `least` or more; so nothing that is told
    shows that it is small, nor what it is.

    Args:
        values: whole numbers, 0 or more.
        sums: which cells add up to which; all of them are known to the reader.
        secret: places that are never told, such as differences of tables that a reader could form.
        stage: of each cell; those of a later stage are hidden for the sake of those of an earlier one, never the other way round. A stage in which all is hidden must tell nothing.
    """
    steps = stage or [0] * len(values)
    out: set[int] = set()
    for now in sorted(set(steps)):
        there = {n for n, s in enumerate(steps) if s <= now}
        known = [s for s in sums if there.issuperset((s.total, *s.parts))]
        out |= {n for n in there if 0 < values[n] < least or n in secret}
        left = [n for n in sorted(out) if 0 < values[n] < least]
        free = {n for n in there if steps[n] == now and values[n] > 0}  # hiding that nobody is there helps nobody
        while left := _unproven(values, known, least, out, left):  # what is safe stays safe when more is hidden
            more = _further(values, known, out, free, left[0])
            if more is None:
                raise AssertionError("a small cell cannot be kept: nothing is left to hide")
            out.add(more)
    return frozenset(out)


def _unproven(values: list[int], sums: list[Sum], least: int, out: set[int], small: list[int]) -> list[int]:
    """The small cells without those that are found to be safe; the first of the rest is not."""
    if not small:
        return []
    system = _System(values, sums, out)
    shown = system.at_once(small, least)
    left = [n for n in small if n not in shown]
    while left and system.most(left[0]) >= least:
        left.pop(0)
    return left


class _System:
    """What a reader knows of the cells that are hidden: they are 0 or more, and fit the sums."""

    def __init__(self, values: list[int], sums: list[Sum], out: set[int]) -> None:
        self.places = sorted(out)
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
            aim, A_eq=self.rows if len(self.rows) else None, b_eq=self.sides if len(self.rows) else None, method="highs"
        )
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
            b_eq=self.sides if len(equal) else None, bounds=[(0, None)] * m + [(0, least)] * k, method="highs",
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
