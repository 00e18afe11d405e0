"""The ward at a glance: each patient's grades now and at worst, what changed, what cannot be graded, and what is overdue."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

import aftercar.ward
from aftercar.evidence.sources import MARKS, references
from aftercar.grade.worst import bounds_text
from aftercar.manage.items import ENDINGS
from aftercar.ward.found import NOW, Found
from aftercar.ward.record import Patient

RECENT = timedelta(hours=24)  # a change is shown as one for so long


@dataclass(frozen=True)
class Round:
    """An assessment that is made again and again.

    Attributes:
        days: after the infusion, from and to.
        source, mark: what stands behind `every_h`: a paper, where there is one, and a mark of `evidence.sources`.
    """

    label: str
    any_of: tuple[str, ...]
    every_h: float
    days: tuple[float, float]
    source: str | None
    mark: str

    @property
    def behind(self) -> str:
        """How often, when, and what stands behind that, in words."""
        paper = references().get(self.source or "")
        source = f"{paper.first_author} {paper.year}, " if paper else f"{self.source}, " if self.source else ""
        return f"every {self.every_h:g} h, day {self.days[0]:g} to {self.days[1]:g}; {source}{MARKS[self.mark]}"


@dataclass(frozen=True)
class Standing:
    """A toxicity now.

    Attributes:
        grade, upper: bounds; `upper` is above where missing data leave it open.
        gradable: no, where what it rests on is too old: nothing stands.
        since: when this began.
        worst, worst_upper: of the whole course.
        change: how much the grade rose (or fell) within a day; null where it could not be graded then.
        missing: what would settle it.
    """

    toxicity: str
    scale: str
    grade: int
    upper: int
    gradable: bool
    since: datetime | None
    worst: int | None
    worst_upper: int | None
    change: int | None
    missing: tuple[str, ...]

    @property
    def risen(self) -> int:
        """By how much the grade rose within a day, at most: what could not be graded then may have been 0."""
        return max(self.grade if self.change is None else self.change, 0)

    @property
    def text(self) -> str:
        """`2`, `1–3`, or that it cannot be graded."""
        if not self.gradable:
            return "cannot grade"
        return bounds_text(self.grade, self.upper)


@dataclass(frozen=True)
class Overdue:
    """An assessment that should have been made: `due` then, `last` made."""

    what: Round
    last: datetime | None
    due: datetime


@dataclass(frozen=True)
class Line:
    """A patient in the list; `found` is null while the record is being graded.

    Attributes:
        day: after the infusion; of a patient who died, that of the death.
        worst: of each toxicity of `NOW` its grade at worst, in words.
        died: when; nothing stands and nothing is overdue then.
        endings: from when on something else may be behind what is found, in order: words of `ENDINGS` with their time.
    """

    patient: Patient
    found: Found | None
    infused: datetime | None
    day: int | None
    product: str | None
    standing: tuple[Standing, ...]
    overdue: tuple[Overdue, ...]
    worst: tuple[tuple[str, str], ...] = ()
    died: datetime | None = None
    endings: tuple[tuple[str, datetime], ...] = ()

    @property
    def check(self) -> str | None:
        """That a relapse or another therapy may be the cause, and since when; null where neither is on record."""
        if not self.endings:
            return None
        return f"after {' and '.join(f'{word} on {time:%Y-%m-%d}' for word, time in self.endings)}: check the cause"

    @property
    def urgency(self) -> tuple[Any, ...]:
        """What changed most comes first; then what cannot be graded, the grade, and what is overdue. Who died comes last."""
        rise = max((s.risen for s in self.standing), default=0)
        return (
            self.died is not None, -rise, -sum(not s.gradable for s in self.standing), -max((s.grade for s in self.standing), default=0), -len(self.overdue), self.patient.label,
        )  # fmt: skip


@cache
def rounds() -> tuple[Round, ...]:
    """The assessments of a ward."""
    told = tomllib.loads(files(aftercar.ward).joinpath("rounds.toml").read_text(encoding="utf-8"))
    return tuple(
        Round(r["label"], tuple(r["any_of"]), r["every_h"], (r["days"][0], r["days"][1]), r.get("source"), r["mark"])
        for r in told.values()
    )


def line(who: Patient, found: Found | None, now: datetime) -> Line:
    """What the list says of a patient at a time."""
    if found is None or (course := found.course) is None:
        return Line(who, found, None, None, None, (), ())
    infused: datetime | None = course["day0"]
    died: datetime | None = course["death"]
    day = None if infused is None else ((died or now).date() - infused.date()).days
    worst = () if infused is None else _worst(found, course["infusion"])
    if died is not None:
        return Line(who, found, infused, day, course["product"], (), (), worst, died)
    standing = () if infused is None else _standing(found, now, course["infusion"])
    said = ((word, course[code]) for code, word in ENDINGS.items() if course[code] is not None and course[code] <= now)
    endings = tuple(sorted(said, key=lambda each: each[1]))
    overdue = tuple(_overdue(found, infused, now))
    return Line(who, found, infused, day, course["product"], standing, overdue, worst, None, endings)


def _worst(found: Found, infusion: int) -> tuple[tuple[str, str], ...]:
    """The worst grades of a course, in the order of `NOW`."""
    grades = {toxicity: found.worst_grades.get((infusion, toxicity), (None, None)) for toxicity in NOW}
    return tuple((toxicity, bounds_text(low, high)) for toxicity, (low, high) in grades.items() if low is not None)


def _standing(found: Found, now: datetime, infusion: int) -> tuple[Standing, ...]:
    """What stands of each toxicity, in the order of `NOW`."""
    then = [row for row in found.standing(now - RECENT) if row["infusion"] == infusion]
    before = {row["scale"]: row["grade"] if _gradable(row) else None for row in then}
    rows = [row for row in found.standing(now) if row["infusion"] == infusion]
    return tuple(_one(row, before.get(row["scale"], 0), found) for toxicity in NOW for row in rows if row["toxicity"] == toxicity)


def _one(row: dict[str, Any], former: int | None, found: Found) -> Standing:
    stale = "stale" in row["flags"]
    since = _since(row, found)
    worst, worst_upper = found.worst_grades.get((row["infusion"], row["toxicity"]), (None, None))
    return Standing(
        row["toxicity"], row["scale"], row["grade"], row["grade_upper"], _gradable(row), since, worst, worst_upper,
        0 if stale else None if former is None else row["grade"] - former, tuple(row["missing"]),
    )  # fmt: skip


def _since(row: dict[str, Any], found: Found) -> datetime | None:
    """When a grade began, with the stretches before it in which only what is behind it changed."""
    begins: datetime | None = row["start"]
    for before in reversed(found.spans):
        if before["end"] == begins and _said(before) == _said(row):
            begins = before["start"]
    return begins


def _said(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a list says of a stretch; all else of it is behind that."""
    return (*(row[c] for c in ("infusion", "scale", "grade", "grade_upper")), _gradable(row))


def _gradable(row: dict[str, Any]) -> bool:
    """No, where what the grade rests on is too old, and leaves it open."""
    return not ("stale" in row["flags"] and row["grade"] < row["grade_upper"])


def _overdue(found: Found, infused: datetime | None, now: datetime) -> list[Overdue]:
    """Assessments that are late, the latest of them first."""
    if infused is None:
        return []
    late: list[Overdue] = []
    for what in rounds():
        begins, ends = (infused + timedelta(days=d) for d in what.days)
        times = [found.last_charted[code] for code in what.any_of if code in found.last_charted]
        made = max(times) if times else None
        due = max(made, begins) + timedelta(hours=what.every_h) if made else begins + timedelta(hours=what.every_h)
        if begins <= now < ends + timedelta(days=1) and due < now:
            late.append(Overdue(what, made, due))
    return sorted(late, key=lambda o: o.due)


def by_urgency(lines: Sequence[Line]) -> list[Line]:
    """The list in the order in which one would look."""
    return sorted(lines, key=lambda each: each.urgency)
