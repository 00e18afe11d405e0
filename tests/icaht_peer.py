"""The rules of the public automated ICAHT grader of E. C. Liang [liang2024], day by day, with its quirks, from their description alone.

Slow and plain, to be compared with: by `test_icaht_peer.py`, and by `benchmarks.icaht` where there is no R. Fractions make halves exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction


class PeerStops(Exception):
    """The peer ends with an error."""


@dataclass
class Patient:
    """Neutrophil counts as (day, count), and the days of what may end a window."""

    counts: Sequence[tuple[int, float]]
    last_fu: int | None = None
    progression: int | None = None
    next_therapy: int | None = None
    hours: list[int] = field(default_factory=list)


def lowest(patient: Patient, first: int, last: int) -> dict[int, Fraction]:
    by_day: dict[int, Fraction] = {}
    for day, count in patient.counts:
        if first <= day <= last:
            by_day[day] = min(by_day.get(day, Fraction(count)), Fraction(count))
    return by_day


def fill(known: dict[int, Fraction], last: int) -> list[Fraction | None]:
    """Days 0 to `last`; stretches of at most 7 missing days are filled."""
    days: list[Fraction | None] = [known.get(d) for d in range(last + 1)]
    if len(known) == 1:
        (only,) = known
        before, after = only, last - only
        if before > 7 and after > 7:
            return days
        if before > 7 or after > 7:
            raise PeerStops
    d = 0
    while d <= last:
        if d in known:
            d += 1
            continue
        begin = d
        while d <= last and d not in known:
            d += 1
        if d - begin > 7:
            continue
        left, right = begin - 1, d
        for gap in range(begin, d):
            if left < 0:
                days[gap] = known[right]
            elif right > last:
                days[gap] = known[left]
            else:
                days[gap] = known[left] + (known[right] - known[left]) * Fraction(gap - left, right - left)
    return days


def round10(value: Fraction) -> int:
    return 10 * round(value / 10)  # halves to even


def runs(below: list[bool]) -> list[tuple[int, int]]:
    """Runs as (first day, last day), with gaps of 1 or 2 days joined, at the very end as well."""
    filled, d = list(below), 0
    while d < len(below):
        if below[d]:
            d += 1
            continue
        begin = d
        while d < len(below) and not below[d]:
            d += 1
        if begin > 0 and d - begin <= 2:
            filled[begin:d] = [True] * (d - begin)
    found: list[tuple[int, int]] = []
    for day, low in enumerate(filled):
        if low and found and found[-1][1] == day - 1:
            found[-1] = (found[-1][0], day)
        elif low:
            found.append((day, day))
    return found


def peer_early(patient: Patient) -> tuple[int, int, int] | None:
    """Grade, d500 and d100; None: the patient is not in the table."""
    last = 30 if patient.last_fu is None else min(patient.last_fu, 30)
    known = lowest(patient, 0, last)
    if not known:
        return None
    rounded = [None if v is None else round10(v) for v in fill(known, last)]
    severe = runs([v is not None and v < 501 for v in rounded])
    profound = runs([v is not None and v < 101 for v in rounded])
    d500 = max((stop - start + 1 for start, stop in severe), default=0)
    d100 = max((stop - start + 1 for start, stop in profound), default=0)
    if (d500 >= 31 and d100 < 14) or d100 >= 14:
        grade = 4
    elif (14 <= d500 <= 30 and d100 < 7) or (d500 < 31 and 7 <= d100 <= 13):
        grade = 3
    elif 7 <= d500 <= 13 and d100 < 7:
        grade = 2
    else:
        grade = 1 if d500 else 0
    if any(start <= 3 and stop == last for start, stop in severe):
        grade = 4
    return grade, d500, d100


def peer_late(patient: Patient) -> int | None:
    """Grade by whole numbers; None: no grade."""
    ends = [e for e in (patient.next_therapy, patient.progression, patient.last_fu) if e is not None]
    values = sorted(lowest(patient, 31, min([100, *ends])).values())
    if not values:
        return None
    a1, a2 = values[0], values[1] if len(values) > 1 else None
    if a2 is not None and a2 > 1500:
        return 0
    # Membership of whole numbers: 1000.5 is in none of these ranges.
    for grade, members in ((4, range(101)), (3, range(101, 501)), (2, range(501, 1001)), (1, range(1001, 1501))):
        if a1 in members:
            return grade
    return 0
