"""The slow grader, continued: platelets, recovery and cytopenia, each rule as `docs/conventions.md` words it.

As in `tests/naive.py` nothing is shared with `aftercar`. Days are calendar days from the infusion. What the page leaves open stands
in the docstring of the function that had to choose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import naive
from naive import Course

Options = Mapping[str, Any]
Counts = dict[int, float]  # lowest count by day


@dataclass(frozen=True)
class Moment:
    """The answer of a time course from `t` to the next moment."""

    t: int
    grade: int
    upper: int
    status: str
    measures: dict[str, float] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()

    @property
    def says(self) -> tuple[Any, ...]:
        """All but when."""
        return self.grade, self.upper, self.status, self.measures, self.flags


@dataclass(frozen=True)
class Verdict:
    """The answer of a scale with one row a course; `None` for a grade or status that the page gives no rule for."""

    grade: int | None
    grade_upper: int | None
    status: str | None
    group: str | None = None
    measures: dict[str, float | None] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    criteria: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


NOT_APPLICABLE = Verdict(0, 0, "not_applicable")


def status(grade: int, upper: int) -> str:
    """Incomplete where the bounds differ, else by the grade."""
    return "incomplete" if grade != upper else "graded" if grade else "not_met"


def merged(moments: list[Moment]) -> list[Moment]:
    """Leave out the moments that change nothing."""
    return [m for n, m in enumerate(moments) if n == 0 or m.says != moments[n - 1].says]


# Counts and windows


def lowest(course: Course, code: str, options: Options) -> Counts:
    """The lowest count of each day; neutrophils without those that `gcsf` drops. Attribution does not matter, as for ICAHT."""
    if code == "anc":
        return naive.daily(course, options)
    found: Counts = {}
    for r in course.of(code):
        if r.value is not None and r.time <= course.record_end:
            day = course.day(r.time)
            found[day] = min(r.value, found.get(day, r.value))
    return found


def last_day(course: Course, day: int) -> int:
    """The last day of a window that ends on `day`, progression, next therapy, last follow-up (or death), or the next infusion."""
    ends = [day, *naive.followed_until(course)]
    ends += [d for c in ("progression", "next_therapy") if (d := course.date(c)) is not None]
    return min(ends)


def between(counts: Counts, first: int, last: int) -> Counts:
    return {d: counts[d] for d in sorted(counts) if first <= d <= last}


def grid(counts: Counts, first: int, last: int, options: Options) -> list[float | None]:
    """One value a day, interpolated as for ICAHT."""
    return naive.fill([counts.get(d) for d in range(first, last + 1)], options)


def lengths(values: list[float | None], below: Callable[[float], bool], options: Options, unknown: bool = False) -> list[int]:
    """The length of each joined run of days that are below."""
    days = [unknown if v is None else below(v) for v in values]
    return [b - a + 1 for a, b in naive.runs(days, options["recovery_days"])]


# Platelets


def ticaht_early(course: Course, options: Options) -> Verdict:
    last = last_day(course, 30)
    if last < 0:
        return NOT_APPLICABLE
    values = grid(lowest(course, "platelets", options), 0, last, options)

    def bound(unknown: bool) -> tuple[int, int, int]:
        d50 = sum(lengths(values, lambda v: v < 50, options, unknown))
        d20 = sum(lengths(values, lambda v: v < 20, options, unknown))
        return (4 if d20 >= 14 else 3 if d20 >= 1 else 2 if d50 >= 7 else 1 if d50 >= 1 else 0), d50, d20

    grade, d50, d20 = bound(unknown=False)
    upper, _, _ = bound(unknown=True)
    transfused = [r for r in course.everything if r.code == "platelet_transfusion" and r.time <= course.record_end]
    given = {course.day(r.time) for r in transfused}
    recovery = recovery_day(values, given)
    flags = frozenset({"platelets_transfused"} if any(0 <= d <= last for d in given) else ())
    return Verdict(grade, upper, status(grade, upper), measures={"d50": d50, "d20": d20, "recovery_day": recovery}, flags=flags)


def recovery_day(values: list[float | None], transfused: set[int]) -> int | None:
    """Three days literally, whatever `recovery_days`; none where no day was below 20."""
    below = [d for d, v in enumerate(values) if v is not None and v < 20]
    if not below:
        return None
    for day in range(below[-1] + 1, len(values) - 2):
        three = values[day : day + 3]
        recovered = all(v is not None and v >= 20 for v in three)
        if recovered and not any(day - 7 <= d <= day for d in transfused):
            return day
    return None


def ticaht_late(course: Course, options: Options) -> Verdict:
    """Grade 4 is read as grade 3 that lasts: its cut must count as well."""
    last = last_day(course, options["late_end_day"])
    counts = between(lowest(course, "platelets", options), 31, last)
    if not counts:
        return NOT_APPLICABLE if options["late_no_data"] == "na" else Verdict(0, 0, "not_met")

    def cut(limit: int) -> bool:
        below = [v for v in counts.values() if v < limit]
        return len(below) >= 2 or (len(counts) == 1 and len(below) == 1)

    d20 = sum(lengths(grid(counts, 31, last, options), lambda v: v < 20, options))
    grade = 4 if cut(20) and d20 >= 14 else 3 if cut(20) else 2 if cut(50) else 1 if cut(100) else 0
    return Verdict(grade, grade, status(grade, grade))


# Neutrophils and all lineages


def anc_phenotype(course: Course, options: Options) -> Verdict:
    """Quick: three days at or above 500 after the last day below it, and no late dip."""
    last = last_day(course, 60)
    if last < 0:
        return NOT_APPLICABLE
    counts = between(lowest(course, "anc", options), 0, last)
    if not counts:
        return Verdict(None, None, "incomplete")
    values = grid(counts, 0, last, options)
    if max(lengths(values, lambda v: v < 500, options), default=0) >= 14:
        return Verdict(None, None, "graded", "aplastic")
    late = {d: v for d, v in counts.items() if d > 21}
    if not late:
        return Verdict(None, None, "incomplete")
    dips = [d for d, v in late.items() if v < 1000]
    if any(v > 1500 and any(dip > d for dip in dips) for d, v in counts.items()):
        return Verdict(None, None, "graded", "intermittent")
    lows = [d for d, v in enumerate(values) if v is not None and v < 500]
    high = [v is not None and v >= 500 for v in values]
    after = range(lows[-1] + 1 if lows else 0, len(high) - 2)
    if not dips and any(all(high[d : d + 3]) for d in after):
        return Verdict(None, None, "graded", "quick")
    return Verdict(None, None, "graded", "unclassified")


def cytopenia_endpoints(course: Course, options: Options) -> Verdict:
    last = last_day(course, options["late_end_day"])
    if last < 0:
        return NOT_APPLICABLE
    anc = between(lowest(course, "anc", options), 0, last)
    platelets = between(lowest(course, "platelets", options), 0, last)
    hemoglobin = between(lowest(course, "hemoglobin", options), 0, last)
    early = grid(anc, 0, min(last, 30), options)
    red_cells = [course.day(r.time) for r in course.of("red_cell_transfusion") if r.time <= course.record_end]
    met = {
        "severe_neutropenia": any(v <= 500 for v in anc.values()),
        "profound_neutropenia": any(v <= 100 for v in anc.values()),
        "protracted_neutropenia": max(lengths(early, lambda v: v <= 500, options), default=0) >= 7,
        "prolonged_neutropenia": any(v <= 1000 for d, v in anc.items() if d >= 21),
        "severe_thrombocytopenia": any(v < 50 for v in platelets.values()),
        "anaemia": any(v < 8 for v in hemoglobin.values()) or any(0 <= d <= last for d in red_cells),
    }
    late = {d: v for d, v in anc.items() if d >= 21}
    lineage = dict.fromkeys(met, anc) | {
        "severe_thrombocytopenia": platelets, "anaemia": hemoglobin, "prolonged_neutropenia": late,
    }  # fmt: skip
    criteria = tuple(name for name, holds in met.items() if holds)
    missing = tuple(name for name, holds in met.items() if not holds and not lineage[name])
    grade, upper = int(bool(criteria)), int(bool(criteria or missing))
    return Verdict(grade, upper, status(grade, upper), criteria=criteria, missing=missing)


PERIODS = {
    "lecture": {"early": (0, 29), "delayed": (30, 90)},
    "ash": {"early": (0, 29), "prolonged": (30, 90), "late": (91, naive.FOREVER)},
}
CYTOPENIA = {3: {"anc": 1000, "platelets": 50, "hemoglobin": 8}, 4: {"anc": 500, "platelets": 25}}


def cytopenia_split(course: Course, options: Options) -> Verdict:
    """The page names no end of its own: the whole record. Any count of the three lineages makes a period known."""
    limits = CYTOPENIA[options["cytopenia_min_grade"]]
    counts = {code: lowest(course, code, options) for code in ("anc", "platelets", "hemoglobin")}
    held, missing = [], []
    for name, (first, last) in PERIODS[options["cytopenia_split"]].items():
        within = {code: between(c, first, last) for code, c in counts.items()}
        if any(v < limits[code] for code, c in within.items() if code in limits for v in c.values()):
            held.append(name)
        elif not any(within.values()):
            missing.append(name)
    return Verdict(None, None, None, "+".join(held) or "none", missing=tuple(missing))
