"""Intervals of counted shares and of counts."""

from __future__ import annotations

from math import exp, lgamma, log, sqrt

import polars as pl

Z95 = 1.959963984540054  # normal quantile of a two-sided 95 % interval
_TAIL = 0.025


def wilson(k: float, n: float) -> tuple[float | None, float | None]:
    """Wilson score interval of a proportion, 95 % (Wilson 1927): `k` of `n`, as shares of 1; null where `n` is 0.

    >>> tuple(round(x, 3) for x in wilson(1, 10))
    (0.018, 0.404)
    """
    if n == 0:
        return None, None
    p, z2 = k / n, Z95 * Z95
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends rounding may leave the limit a hair inside of the share itself.
    return 0.0 if k == 0 else middle - half, 1.0 if k == n else middle + half


def most_of_none(n: pl.Expr) -> pl.Expr:
    """Upper end of the exact 95 % interval of a share that nobody of `n` had (Clopper and Pearson 1934).

    >>> round(pl.select(most_of_none(pl.lit(6.0))).item(), 3)
    0.459
    """
    return 1 - _TAIL ** (1 / n)


def poisson(k: int) -> tuple[float, float]:
    """Exact interval of the expectation of a Poisson count, 95 % (Garwood 1936).

    >>> tuple(round(x, 3) for x in poisson(10))
    (4.795, 18.39)
    >>> tuple(round(x, 3) for x in poisson(0))
    (0.0, 3.689)
    """
    return (_expected(k, _TAIL) if k else 0.0), _expected(k + 1, 1 - _TAIL)


def _expected(k: int, chance: float) -> float:
    """The expectation with which a count is `k`, at least 1, or more with a given chance."""
    z = Z95 if chance > 0.5 else -Z95
    mean = k * (1 - 1 / (9 * k) + z / (3 * sqrt(k))) ** 3  # Wilson and Hilferty 1931: right to a hundredth or better
    for _ in range(50):
        # The chance of k or more rises with the expectation by the chance of k - 1.
        step = (_or_more(k, mean) - chance) / _of(k - 1, mean)
        mean = max(mean - step, mean / 2)
        if abs(step) <= 1e-12 * mean:
            break
    return mean


def _of(k: int, mean: float) -> float:
    """The chance that a Poisson count is `k`."""
    return exp(k * log(mean) - mean - lgamma(k + 1))


def _or_more(k: int, mean: float) -> float:
    """The chance that a Poisson count is `k` or more, summed from the larger terms to the smaller on the side where they fall."""
    if k > mean:
        n, term, total = k, _of(k, mean), 0.0
        while term > total * 1e-17:
            n, total, term = n + 1, total + term, term * mean / (n + 1)
        return total
    n, term, total = k - 1, _of(k - 1, mean), 0.0
    while n >= 0 and term > total * 1e-17:
        n, total, term = n - 1, total + term, term * n / mean
    return 1 - total
