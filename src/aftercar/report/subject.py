"""The section of one subject: heading, line, figure, and the table of its grade course."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from aftercar.report.course import FIRST_DAY, Course, Grade
from aftercar.report.figure import figure_svg, summary
from aftercar.report.names import in_order, scale_name, toxicity_name
from aftercar.report.other import Others, others
from aftercar.report.panels import not_charted
from aftercar.report.svg import readable

MOST_ROWS = 60  # of a grade table; the whole course is in grades.parquet
MOST_SOURCES = 6  # of a row


@dataclass(frozen=True)
class Line:
    """A row of the grade table."""

    name: str
    scale: str
    when: str
    until: str
    day: str
    grade: int
    upper: int
    status: str
    criteria: str
    missing: str
    flags: str
    evidence: str


@dataclass(frozen=True)
class Section:
    """What the page shows of one subject and infusion."""

    anchor: str
    heading: str
    line: str
    summary: str
    figure: Markup
    caption: list[str]
    adjudicated: list[str]
    rows: list[Line]
    left_out: int
    others: Others


def section(course: Course, n: int, worst: list[dict[str, Any]], *, simulated: bool) -> Section:
    """The n-th section of the page; `worst` holds the course's rows on all scales."""
    heading = f"Subject {course.subject}" + (f", infusion {course.infusion}" if course.infusion > 1 else "")
    said = summary(course)
    figure, notes = "", []
    if course.infused is not None:
        name = f"{heading}, days {FIRST_DAY} to {course.axis.last} after CAR-T infusion." + " Simulated." * simulated
        figure, notes = figure_svg(course, f"{name} {said}", simulated=simulated)
    rows, left_out = _rows(course)
    return Section(
        anchor=f"s{n}",
        heading=heading,
        line=_line(course),
        summary=said,
        figure=Markup(figure),  # built from escaped parts
        caption=_caption(course, notes),
        adjudicated=_adjudicated(worst),
        rows=rows,
        left_out=left_out,
        others=others(worst),
    )


def _line(course: Course) -> str:
    about = course.about
    age = about.get("age_y")
    day0 = about.get("day0")
    product = about.get("product")
    parts = [
        product or "product not recorded",
        f"target {about['target']}" if about.get("target") else None,
        f"infused {day0:%Y-%m-%d %H:%M}" if day0 else "no infusion on record",
        f"{age:.0f} years" if age is not None else "age not recorded",
        about.get("sex"),
        f"died {_date(about['death'])}, cause: {(about.get('death_cause') or 'not recorded').replace('_', ' ')}"
        if about.get("death")
        else None,
        f"last follow-up {_date(about['last_follow_up'])}" if about.get("last_follow_up") else None,
    ]
    return " · ".join(p for p in parts if p)


def _date(time: object) -> str:
    return f"{time:%Y-%m-%d}"


def _caption(course: Course, notes: list[str]) -> list[str]:
    if course.infused is None:
        return []
    said = []
    absent = not_charted(course)
    if absent:
        said.append(f"Not charted on these days: {', '.join(absent)}.")
    if course.after:
        where = f"after day {course.axis.last} (the last on day {course.last_row_day})"
        said.append(
            f"Not drawn: {_rows_text(course.after)} {where}{f', {course.before} before day −1' if course.before else ''}."
        )
    elif course.before:
        said.append(f"Not drawn: {_rows_text(course.before)} before day −1.")
    return [*said, *(f"{note}." for note in notes)]


def _adjudicated(worst: list[dict[str, Any]]) -> list[str]:
    """What two readers locked."""
    return [
        f"Adjudicated: {scale_name(r['scale'])} grade {r['adjudicated_grade']}, by {' and '.join(r['adjudicated_by'])}, {_date(r['adjudicated_at'])}."
        for r in worst
        if r.get("adjudicated_grade") is not None
    ]


def _rows_text(n: int) -> str:
    return f"{n} charted row" + "s" * (n != 1)


def _rows(course: Course) -> tuple[list[Line], int]:
    """Rows of the toxicities that are drawn, in order of time; where there are too many, those with the highest grades stay."""
    every = [(t, g) for t in in_order(course.drawn) for g in course.grades.get(t, ()) if g.status != "not_applicable"]
    keep = sorted(range(len(every)), key=lambda n: (-every[n][1].grade, every[n][1].stale, -every[n][1].upper, n))[:MOST_ROWS]
    rows = [_row(*every[n]) for n in sorted(keep)]
    return rows, len(every) - len(rows)


def _status(g: Grade) -> str:
    if g.stale:
        return f"stale, at least {g.grade}" if g.grade else "cannot grade (stale)"
    return g.status.replace("_", " ")


def _row(toxicity: str, g: Grade) -> Line:
    sources = "; ".join(g.sources[:MOST_SOURCES])
    more = len(g.sources) - MOST_SOURCES
    return Line(
        name=toxicity_name(toxicity),
        scale=scale_name(g.scale),
        when=g.when or "",
        until=g.until or "end of record",
        day="" if g.day is None else str(g.day).replace("-", "−"),
        grade=g.grade,
        upper=g.upper,
        status=_status(g),
        criteria=readable("; ".join(g.criteria)),
        missing=readable("; ".join(g.missing)),
        flags=", ".join(f.replace("_", " ") for f in g.flags if f != "stale"),
        evidence=sources + (f"; and {more} more" if more > 0 else ""),
    )
