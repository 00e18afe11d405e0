"""The counting of a rehearsal once more, patient by patient and hour by hour: slow, plain Python, in sight."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

Course = tuple[object, int]
TOXICITY = {"crs": ["crs_astct2019"], "icans": ["icans_astct", "icans_astct_peds"], "iechs": ["iechs_grade"]}
TOXICITY["refractory"] = TOXICITY["crs"] + TOXICITY["icans"]
KIND = {"option": "option", "measure_first": "measure_first", "perhaps_blocked": "measure_first", "blocked": "blocked"}


def alerts(said: Sequence[str | None], every_h: float, suppress_h: float) -> Iterator[tuple[int, str, bool]]:
    """The alerts of one rule in one course, out of what it says at each asked time: `number of the time, kind, suppressed`."""
    before: str | None = None
    shown: dict[str, float] = {}
    for n, status in enumerate(said):
        kind = KIND.get(status or "")
        if kind and kind != before and (kind, before) != ("measure_first", "option"):
            hour = n * every_h
            hidden = kind in shown and hour - shown[kind] < suppress_h
            if not hidden:
                shown[kind] = hour
            yield n, kind, hidden
        before = kind


@dataclass
class Tally:
    """What is counted of one rule and kind."""

    shown: int = 0
    hidden: int = 0
    hours: float = 0.0
    first: dict[Course, datetime] = field(default_factory=dict)


def tallies(
    said: Mapping[Course, Mapping[str, Sequence[str | None]]],
    begins: Mapping[Course, datetime],
    every_h: float,
    suppress_h: float,
) -> dict[tuple[str, str], Tally]:
    """Of each rule and kind, what the courses give."""
    found: dict[tuple[str, str], Tally] = {}
    for course, rules in said.items():
        for rule, words in rules.items():
            for kind in set(KIND.values()):
                tally = found.setdefault((rule, kind), Tally())
                tally.hours += every_h * sum(KIND.get(w or "") == kind for w in words)
            for n, kind, hidden in alerts(words, every_h, suppress_h):
                tally = found[rule, kind]
                tally.hidden += hidden
                tally.shown += not hidden
                tally.first.setdefault(course, begins[course] + timedelta(hours=n * every_h))
    return found


@dataclass
class Outcome:
    """When a course's toxicity was worst and first severe, by topic."""

    worst: dict[str, datetime] = field(default_factory=dict)
    severe: dict[str, datetime] = field(default_factory=dict)


def outcomes(grades: Sequence[tuple[Course, str, datetime, int]]) -> dict[Course, Outcome]:
    """Out of rows `course, scale, start, grade`. Of two toxicities the earlier worst counts."""
    found: dict[Course, Outcome] = {}
    for course in {g[0] for g in grades}:
        outcome = found.setdefault(course, Outcome())
        for topic in TOXICITY:
            names = {"crs": ["crs"], "icans": ["icans"], "iechs": ["iechs"], "refractory": ["crs", "icans"]}[topic]
            worst, severe = [], []
            for name in names:
                rows = [(start, grade) for c, scale, start, grade in grades if c == course and scale in TOXICITY[name] and grade]
                if rows:
                    most = max(grade for _, grade in rows)
                    worst.append(min(start for start, grade in rows if grade == most))
                    severe += [start for start, grade in rows if grade >= 3]
            if worst:
                outcome.worst[topic] = min(worst)
            if severe:
                outcome.severe[topic] = min(severe)
    return found


def against(tally: Tally, topic: str, found: Mapping[Course, Outcome]) -> tuple[int, int, int, list[float]]:
    """How many courses an alert preceded, followed and missed before a severe grade; and the hours from first alerts to the worst grade."""
    severe = {c: o.severe[topic] for c, o in found.items() if topic in o.severe}
    before = sum(c in tally.first and tally.first[c] < t for c, t in severe.items())
    after = sum(c in tally.first and tally.first[c] >= t for c, t in severe.items())
    leads = [
        (found[c].worst[topic] - t).total_seconds() / 3600
        for c, t in tally.first.items()
        if c in found and topic in found[c].worst
    ]
    return before, after, len(severe) - before - after, leads


def quartiles(values: Sequence[float]) -> list[float | None]:
    """Lower quartile, median and upper quartile; null without a value."""
    if len(values) < 2:
        return [values[0] if values else None] * 3
    return list(statistics.quantiles(values, n=4, method="inclusive"))
