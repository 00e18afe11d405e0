"""The ward at a glance: each patient's grades now and at worst, what changed, what cannot be graded, and what is overdue."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl
from polars import col

import aftercar.ward
from aftercar.ward.found import NOW, Found
from aftercar.ward.record import Patient

RECENT = timedelta(hours=24)  # a change is shown as one for so long


@dataclass(frozen=True)
class Round:
    """An assessment that is made again and again.

    Attributes:
        days: after the infusion, from and to.
        mark: what stands behind `every_h`.
    """

    label: str
    any_of: tuple[str, ...]
    every_h: float
    days: tuple[float, float]
    source: str
    mark: str


@dataclass(frozen=True)
class Standing:
    """A toxicity now.

    Attributes:
        grade, upper: bounds; `upper` is above where missing data leave it open.
        gradable: no, where what it rests on is too old: nothing stands.
        since: when this began.
        worst, worst_upper: of the whole course.
        change: how much the grade rose (or fell) within a day.
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
    change: int
    missing: tuple[str, ...]

    @property
    def text(self) -> str:
        """`2`, `1–3`, or that it cannot be graded."""
        if not self.gradable:
            return "cannot grade"
        return str(self.grade) if self.grade == self.upper else f"{self.grade}–{self.upper}"


@dataclass(frozen=True)
class Overdue:
    """An assessment that should have been made: `due` then, `last` made."""

    what: Round
    last: datetime | None
    due: datetime


@dataclass(frozen=True)
class Line:
    """A patient in the list; `found` is null while the record is being graded."""

    patient: Patient
    found: Found | None
    infused: datetime | None
    day: int | None
    product: str | None
    standing: tuple[Standing, ...]
    overdue: tuple[Overdue, ...]

    @property
    def urgency(self) -> tuple[Any, ...]:
        """What changed most comes first; then what cannot be graded, the grade, and what is overdue."""
        rise = max((s.change for s in self.standing), default=0)
        return (
            -rise, -sum(not s.gradable for s in self.standing), -max((s.grade for s in self.standing), default=0), -len(self.overdue), self.patient.label,
        )  # fmt: skip


@cache
def rounds() -> tuple[Round, ...]:
    """The assessments of a ward."""
    told = tomllib.loads(files(aftercar.ward).joinpath("rounds.toml").read_text(encoding="utf-8"))
    return tuple(
        Round(r["label"], tuple(r["any_of"]), r["every_h"], (r["days"][0], r["days"][1]), r["source"], r["mark"])
        for r in told.values()
    )


def line(who: Patient, found: Found | None, now: datetime) -> Line:
    """What the list says of a patient at a time."""
    if found is None or found.subjects.is_empty():
        return Line(who, found, None, None, None, (), ())
    course = found.subjects.row(-1, named=True)
    infused: datetime | None = course["day0"]
    day = None if infused is None else (now.date() - infused.date()).days
    ended = course["death"] is not None
    standing = () if infused is None or ended else _standing(found, now, course["infusion"])
    return Line(who, found, infused, day, course["product"], standing, () if ended else tuple(_overdue(found, infused, now)))


def _standing(found: Found, now: datetime, infusion: int) -> tuple[Standing, ...]:
    rows = found.standing(now).filter((col("infusion") == infusion) & (col("status") != "not_applicable"))
    worst = {w["toxicity"]: w for w in found.worst.filter(col("infusion") == infusion).iter_rows(named=True)}
    return tuple(
        _one(row, worst.get(toxicity), found.ahead.filter((col("infusion") == infusion) & (col("scale") == row["scale"])), now)
        for toxicity in NOW
        for row in rows.filter(col("toxicity") == toxicity).iter_rows(named=True)
    )


def _one(row: dict[str, Any], worst: dict[str, Any] | None, course: pl.DataFrame, now: datetime) -> Standing:
    stale = "stale" in row["flags"]
    before = course.filter((col("start") <= now - RECENT) & (col("end").is_null() | (col("end") > now - RECENT)))
    former = before["grade"][0] if before.height else 0
    return Standing(
        row["toxicity"], row["scale"], row["grade"], row["grade_upper"], not (stale and row["grade"] < row["grade_upper"]), row["start"],
        worst["grade"] if worst else None, worst["grade_upper"] if worst else None, row["grade"] - former if not stale else 0, tuple(row["missing"]),
    )  # fmt: skip


def _overdue(found: Found, infused: datetime | None, now: datetime) -> list[Overdue]:
    """Assessments that are late, the latest of them first."""
    if infused is None:
        return []
    last = dict(found.last.select("code", "time").iter_rows())
    late: list[Overdue] = []
    for what in rounds():
        begins, ends = (infused + timedelta(days=d) for d in what.days)
        times = [last[code] for code in what.any_of if last.get(code) is not None]
        made = max(times) if times else None
        due = max(made, begins) + timedelta(hours=what.every_h) if made else begins + timedelta(hours=what.every_h)
        if begins <= now < ends + timedelta(days=1) and due < now:
            late.append(Overdue(what, made, due))
    return sorted(late, key=lambda o: o.due)


def by_urgency(lines: Sequence[Line]) -> list[Line]:
    """The list in the order in which one would look."""
    return sorted(lines, key=lambda each: each.urgency)
