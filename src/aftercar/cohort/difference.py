"""Two shares held against each other: difference, ratio, odds ratio, with intervals; and how strong a hidden cause would have to be."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt

from aftercar.intervals import Z95, wilson

Interval = tuple[float, float, float]  # estimate, low, high


@dataclass(frozen=True)
class Difference:
    """`events` of `n` in a group against those of a reference.

    Attributes:
        difference: of the shares, the group's less the reference's; hybrid score interval (Newcombe 1998, Stat Med 17:873, method 10).
        ratio: of the shares (Katz 1978); odds_ratio (Woolf 1955). 0.5 is added to each count where one is 0 (`corrected`); null where in both groups nobody or everybody had it.
    """

    events: int
    n: int
    reference_events: int
    reference_n: int
    difference: Interval
    ratio: Interval | None
    odds_ratio: Interval | None
    corrected: bool


def difference(events: int, n: int, reference_events: int, reference_n: int) -> Difference | None:
    """Compare a group with a reference; null where one of them is empty."""
    if not n or not reference_n:
        return None
    counts = (events, n - events, reference_events, reference_n - reference_events)
    corrected = min(counts) == 0
    a, b, c, d = (x + 0.5 * corrected for x in counts)
    ratio = odds_ratio = None
    if 0 < events + reference_events < n + reference_n:
        ratio = _by_log((a / (a + b)) / (c / (c + d)), sqrt(max(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d), 0.0)))
        odds_ratio = _by_log(a * d / (b * c), sqrt(1 / a + 1 / b + 1 / c + 1 / d))
    gap = newcombe(events, n, reference_events, reference_n)
    return Difference(events, n, reference_events, reference_n, gap, ratio, odds_ratio, corrected and ratio is not None)


def newcombe(k: int, n: int, k0: int, n0: int) -> Interval:
    """The difference of two shares with its 95 % hybrid score interval; both groups hold somebody.

    >>> tuple(round(x, 4) for x in newcombe(56, 70, 48, 80))
    (0.2, 0.0524, 0.3339)
    """
    (low, high), (low0, high0) = wilson(k, n), wilson(k0, n0)
    assert low is not None and high is not None and low0 is not None and high0 is not None
    p, p0 = k / n, k0 / n0
    return p - p0, p - p0 - sqrt((p - low) ** 2 + (high0 - p0) ** 2), p - p0 + sqrt((high - p) ** 2 + (p0 - low0) ** 2)


def _by_log(estimate: float, error: float) -> Interval:
    return estimate, estimate * exp(-Z95 * error), estimate * exp(Z95 * error)


def e_value(ratio: float) -> float:
    """The least risk ratio with group and outcome, both, that a hidden cause needs to explain a risk ratio away (VanderWeele and Ding 2017).

    >>> round(e_value(3.9), 2), round(e_value(0.5), 2)
    (7.26, 3.41)
    """
    up = max(ratio, 1 / ratio) if ratio > 0 else float("inf")
    return up + sqrt(up * (up - 1))


def e_value_of_interval(low: float, high: float) -> float:
    """The same for the end of an interval that is nearer to 1; 1 where the interval holds 1: nothing is left to explain."""
    return 1.0 if low <= 1 <= high else e_value(low if low > 1 else high)
