"""Cumulative incidence by group, a panel an outcome, with the numbers at risk beneath."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from polars import col, lit

from aftercar.cohort.incidence import cumulative_incidence, first_days
from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.report.figures.cohort import MOST_GROUPS, Cohort
from aftercar.report.figures.draw import TOP, WIDTH, Figure, empty, framed, notes_of
from aftercar.report.svg import CHAR_PX, DayAxis, ValueAxis, area, label, line, mark, polyline

LEFT, MOST_LEFT, TALL, BETWEEN = 86.0, 190.0, 200.0, 30.0
LAST_DAY = 30
TICKS = (7, 14, 30, 60, 90, 180)  # days from one number to the next, so that there are seven at most
LINES = ("", "d1", "d2", "d3", "d4", "d5")  # classes of lines that differ in grey
MARKS = ("circle", "square", "diamond", "up", "down", "cross")
MOST_BANDS = 2  # groups of which the interval is drawn; of more they would hide one another


def incidence(cohort: Cohort, outcomes: Sequence[Outcome], *, by: str | None = None, last_day: int = LAST_DAY) -> Figure:
    """Draw the share that has reached each outcome by each day, as one that death can forestall.

    Args:
        by: a column of the courses to part them by; the groups with the most courses are drawn, `MOST_GROUPS` at most.
    Raises:
        OptionError: no such column.
    """
    title = "Cumulative incidence" + (f" by {by}" if by else "")
    courses = cohort.grouped(by)
    sizes = courses.group_by("group").len().sort("len", "group", descending=[True, False])
    groups = sizes["group"].head(MOST_GROUPS).to_list()
    reached = cohort.grades.filter(col("scale").is_in([s for o in outcomes for s in o.scales])).collect()
    tables: list[pl.DataFrame] = []
    panels: list[tuple[Outcome, dict[str, pl.DataFrame], pl.DataFrame]] = []
    for outcome in outcomes:
        first = first_days(cohort.courses, reached, outcome, episodes=cohort.episodes).join(
            courses.select(*COURSE, "group"), on=COURSE
        )
        curves = {g: cumulative_incidence(first.filter(group=g)) for g in groups}
        panels.append((outcome, curves, first))
        tables += [
            c.with_columns(outcome=lit(outcome.name), group=lit(g), courses=lit(first.filter(group=g).height))
            for g, c in curves.items()
        ]
    columns = ["outcome", "group", "courses", "day", "at_risk", "events", "competing", "incidence", "low", "high"]
    data = pl.concat(tables).select(columns) if tables else pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    if data.is_empty():
        return empty(title, "No course has an infusion on record.", cohort, data)
    two = len(panels) > 1
    names = min(max(LEFT, 26 + CHAR_PX * max(map(len, groups))), MOST_LEFT)  # px for the names of the groups, left of the days
    wide = (WIDTH - names - 8 - (names + BETWEEN if two else 0)) / (2 if two else 1)
    rows_px = 14 * len(groups) + 46
    parts: list[str] = []
    spoken: list[str] = []
    y = TOP + 22.0
    if by:
        parts += _key(groups, TOP + 8)
        y += 20
    for n, (outcome, curves, first) in enumerate(panels):
        left = names + n % 2 * (wide + names + BETWEEN)
        parts += _panel(outcome, curves, first, names, left, left + wide, y, last_day)
        spoken.append(_spoken(outcome, curves, last_day))
        if n % 2 or n == len(panels) - 1:
            y += TALL + rows_px + 34
    notes = [
        "Aalen-Johansen estimate; death competes, the end of the record censors. A grade counts from when it was surely reached."
    ]
    notes.append(
        "Shaded: 95 % interval, log(-log), exact where nobody or everybody had it."
        if len(groups) <= MOST_BANDS
        else "Intervals are in the data beside this figure."
    )
    notes += [_tested(outcome, first, groups) for outcome, _, first in panels if len(groups) > 1]
    if sizes.height > len(groups):
        notes.append(
            "Smaller groups, not drawn: " + ", ".join(f"{g} (n = {n})" for g, n in sizes.tail(-MOST_GROUPS).iter_rows()) + "."
        )
    return framed(title, " ".join(spoken), y - 30, parts, notes_of(cohort, *filter(None, notes)), data)


def _key(groups: list[str], y: float) -> list[str]:
    parts, x = [], LEFT
    for n, group in enumerate(groups):
        parts += [line(x, y, x + 30, y, f"l w {LINES[n]}".rstrip()), _dot(n, x + 15, y), label(x + 36, y + 4, group, "t")]
        x += 52 + 6 * len(group)
    return parts


def _dot(n: int, x: float, y: float) -> str:
    return f'<g class="o">{mark(MARKS[n], x, y, "")}</g>'


def _panel(
    outcome: Outcome, curves: dict[str, pl.DataFrame], first: pl.DataFrame, names: float, left: float, right: float, top: float, last_day: int
) -> list[str]:  # fmt: skip
    days, share = DayAxis(0, last_day, left, right), ValueAxis(0.0, 1.0, top, top + TALL)
    parts = [label(left, top - 8, outcome.name, "p")]
    for p in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [line(left, share.y(p), right, share.y(p), "g"), label(left - 5, share.y(p) + 4, f"{p:.0%}", "t", "end")]
    ticks = list(range(0, last_day + 1, next((step for step in TICKS if last_day < 7 * step), 365)))
    for d in ticks:
        parts += [
            line(days.x(d), top + TALL, days.x(d), top + TALL + 4, "ax"),
            label(days.x(d), top + TALL + 15, str(d), "t", "middle"),
        ]
    parts.append(label(right, top + TALL + 28, "day (infusion = day 0)", "t", "end"))
    y = top + TALL + 44
    parts.append(label(left - names, y - 2, "At risk", "k"))
    lines: list[str] = []  # above the bands of all groups
    for n, (group, curve) in enumerate(curves.items()):
        own = first.filter(group=group)
        drawn = curve.filter(col("day") <= last_day).with_columns(col("low", "high").fill_null(col("incidence")))
        end = min(int(curve["day"].max() or 0), last_day) if curve.height else 0  # type: ignore[arg-type]
        if len(curves) <= MOST_BANDS and drawn.height:
            parts.append(area(_steps(drawn, "low", end, days, share), _steps(drawn, "high", end, days, share), "most"))
        steps = _steps(drawn, "incidence", end, days, share)
        lines.append(polyline(((x, yy, k > 0) for k, (x, yy) in enumerate(steps)), f"l w {LINES[n]}".rstrip()))
        if len(curves) > 1:
            lines += [_dot(n, days.x(d), share.y(_at(drawn, d))) for d in range(3 + n, end + 1, 9)]
        y += 14
        name = group or "all"
        fits = int((names - 26) / CHAR_PX)
        parts.append(label(left - names, y, name if len(name) <= max(fits, 10) else name[: fits - 1] + "…", "t"))
        parts += [label(days.x(d), y, str(own.filter(col("day") >= d).height), "t", "middle") for d in ticks]
    return [*parts, *lines, line(left, top + TALL, right, top + TALL, "ax")]


def _at(curve: pl.DataFrame, day: int) -> float:
    until = curve.filter(col("day") <= day)
    return float(until["incidence"][-1]) if until.height else 0.0


def _steps(curve: pl.DataFrame, column: str, end: int, days: DayAxis, share: ValueAxis) -> list[tuple[float, float]]:
    """A step function from 0 on, as far as anybody was followed."""
    points, now = [(days.x(0), share.y(0.0))], 0.0
    for day, value in curve.select("day", column).iter_rows():
        points += [(days.x(day), share.y(now)), (days.x(day), share.y(value))]
        now = value
    return [*points, (days.x(end), share.y(now))]


def _tested(outcome: Outcome, first: pl.DataFrame, groups: list[str]) -> str:
    """Gray's test of the groups that are drawn; empty where its libraries are not there."""
    try:
        from aftercar.cohort.compare import gray

        found = gray(first.filter(col("group").is_in(groups)), "group")
    except ImportError:
        return ""
    if found.p is None:
        return f"{outcome.name}: Gray's test cannot tell the groups apart."
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"
    return f"{outcome.name}: Gray's test of the groups, chi-square {found.statistic:.2f} on {found.df}, {p}; nothing is adjusted for."


def _spoken(outcome: Outcome, curves: dict[str, pl.DataFrame], last_day: int) -> str:
    told = [f"{(g + ' ') if g else ''}{_at(c, last_day):.0%} by day {last_day}" for g, c in curves.items()]
    return f"{outcome.name}: {', '.join(told)}."
