"""Shares and days of a description as people write them: with their interval, and between two where missing data leave them open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aftercar.cohort.decided import MOST_OPEN
from aftercar.cohort.episodes import QUARTILES


def percent(share: float | None, digits: int = 0) -> str:
    """A share as per cent, without the sign; empty where there is none."""
    return "" if share is None else f"{100 * share:.{digits}f}"


def share(row: Mapping[str, Any], value: str = "incidence") -> str:
    """`23 (12-38)`, in per cent; `13-15 (5-27)` where missing data leave it between two shares; `-` where there is none.

    >>> share({"incidence": 0.23, "low": 0.12, "high": 0.38})
    '23 (12-38)'
    """
    if row[value] is None:
        return "-"
    first, last = percent(row[value]), percent(row.get("greatest", row[value]))
    low, high = row.get("least_low", row["low"]), row.get("greatest_high", row["high"])
    ends = "" if low is None and high is None else f" ({percent(low) or first}-{percent(high) or last})"
    return (first if first == last else f"{first}-{last}") + ends


def of_decided(yes: int, no: int, undecided: int, interval: tuple[float | None, float | None]) -> tuple[str, str]:
    """`3 of 8, 38% (14-69)`, of those in whom it is decided, with its interval; and between which shares of all the undecided leave it.

    Where more than `MOST_OPEN` are undecided the decided alone say little: then only how many surely had it.

    >>> of_decided(2, 0, 37, (0.34, 1.0))
    ('2 of 39 surely', '37 undecided: between 5% and 100% of all 39')
    """
    decided, n = yes + no, yes + no + undecided
    bounds = f"{undecided} undecided: between {yes / n:.0%} and {(yes + undecided) / n:.0%} of all {n}" if undecided else ""
    if not decided:
        return "none decided", bounds
    if undecided > MOST_OPEN * n:
        return f"{yes} of {n} surely", bounds
    low, high = interval
    return f"{yes} of {decided}{' decided' if undecided else ''}, {yes / decided:.0%} ({percent(low)}-{percent(high)})", bounds


def plain_days(row: Mapping[str, Any]) -> str:
    """Median and quartiles of a row of `times`, as if the first sure sign were the onset and the first clear reading the end."""
    low, middle, high = (_days(row[f"{q}_plain"]) for q in QUARTILES)
    return f"{middle} ({low}-{high})"


def days_between(row: Mapping[str, Any]) -> str:
    """The same from the earliest to the latest that the record allows."""
    low, middle, high = (_between(row[f"{q}_least"], row[f"{q}_greatest"]) for q in QUARTILES)
    return f"{middle} ({low}; {high})"


def _between(low: float | None, high: float | None) -> str:
    if low is None:
        return "-"
    if high is None:
        return f">{_days(low)}"
    return _days(low) if f"{low:.1f}" == f"{high:.1f}" else f"{_days(low)}-{_days(high)}"


def _days(days: float | None) -> str:
    return "not reached" if days is None else f"{days:.1f}"


def cell(row: Mapping[str, Any]) -> str:
    """A cell of Table 1: number (%), or median (quartiles)."""
    if row["level"] is not None:
        return f"{row['n']:,} ({percent(row['share'])})" if row["share"] is not None else f"{row['n']:,}"
    if row["median"] is None:
        return "-"
    low, middle, high = (f"{row[q]:,.0f}" if abs(row[q]) >= 1000 else f"{row[q]:.3g}" for q in ("q1", "median", "q3"))
    return f"{middle} ({low}-{high})"


def rate(row: Mapping[str, Any]) -> str:
    """Second malignancies by 1,000 person-years, with the exact interval."""
    return "-" if row["rate"] is None else f"{row['rate']:.1f} ({row['rate_low']:.1f}-{row['rate_high']:.1f})"
