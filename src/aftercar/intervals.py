"""Intervals of counted shares."""

from __future__ import annotations

from math import sqrt

Z95 = 1.959963984540054  # normal quantile of a two-sided 95 % interval


def wilson(k: int, n: int) -> tuple[float | None, float | None]:
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
