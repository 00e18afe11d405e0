"""Figures of virtual patients: states of many as small multiples with bands, and one from its states to what was charted and its grades."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from polars import col

from aftercar.errors import OptionError
from aftercar.grade.run import grade_timeline
from aftercar.report.course import Course as Drawn
from aftercar.report.course import courses
from aftercar.report.figure import WIDTH, figure_parts, summary
from aftercar.report.legend import HEIGHT, legend_parts
from aftercar.report.marks import Panel
from aftercar.report.svg import DayAxis, ValueAxis, alone, area, esc, label, line, polyline, px, rect, unit_text
from aftercar.simulate.model import Model, load_model
from aftercar.simulate.run import BANNER, Course, Scenario
from aftercar.simulate.trajectories import Trajectories

Floats = npt.NDArray[np.float64]

# What is drawn unless other states are asked for, a row a topic; states that one's own model does not have are left out.
STATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "CAR-T cells and what they see": ("effector", "memory", "tumour", "normal_target"),
        "Cytokines of CAR-T cells": ("ifng", "gmcsf", "il2", "il5"),
        "Cytokines of macrophages": ("il6", "il1", "il18", "tnf"),
        "Vessels and brain": ("endothelium", "barrier", "microglia", "neuronal_dysfunction"),
        "What a ward sees": ("fever", "vasoplegia", "crp", "ferritin"),
        "Blood": ("neutrophils", "platelets", "host_lymphocytes", "igg"),
    }
)
# Above what was charted of one patient: two states a panel, the second dashed.
PATIENT = (
    ("CAR-T cells", ("effector", "memory")), ("Target", ("tumour", "normal_target")), ("Cytokines", ("il6", "ifng")),
    ("Vessels", ("endothelium", "barrier")), ("Brain", ("neuronal_dysfunction", "microglia")), ("Physiology", ("fever", "vasoplegia")),
)  # fmt: skip
GRADED = ("crs", "icans", "icaht")  # beneath the chart of one patient
BANDS = ((0.05, 0.95, "most"), (0.25, 0.75, "half"))
COLUMNS, GAP, TITLE = 4, 14.0, 42.0  # panels side by side, px between them, px of a panel's title
MARGIN, PLOT = 34.0, 76.0  # px left of a plot, for its numbers; height of a plot
DECADES, SPAN = 4, 30  # the most that a logarithmic axis shows; the ratio from which an axis with a unit is one
STATE_PX = 52.0  # height of the plot of a state above the chart


@dataclass(frozen=True)
class State:
    """A state that is drawn: `values` of `[patient, time]`, in `unit` (UCUM)."""

    name: str
    meaning: str
    unit: str
    values: Floats

    @property
    def scale(self) -> str:
        """What the numbers on its axis mean."""
        return "relative" if self.unit in ("", "1") else unit_text(self.unit).replace("{cells}", "cells").replace("/uL", "/µL")


def states_figure(course: Trajectories, scenario: Scenario, states: Sequence[str] | None = None) -> str:
    """Draw states of simulated patients over time: the median, and the bands that hold half and nine tenths of the patients.

    Args:
        course: the states over time that `simulate` gave for this scenario.
        states: which; by default those of `STATES`.
    Returns:
        an SVG that stands alone.
    Raises:
        OptionError: the model has no such state.
    """
    model = load_model(scenario.folder)
    if states is None:
        rows = {title: [s for s in names if s in model.states] for title, names in STATES.items()}
    else:
        rows = {"" if n else "States": states[n : n + COLUMNS] for n in range(0, len(states), COLUMNS)}
    n = len(course)
    title = f"{scenario.product} in {scenario.disease}, policy {scenario.policy}: {n} virtual patients, simulated"
    body = [label(0, 14, title, "p"), label(0, 30, f"{_first_up(BANNER)}.", "t"), *_key()]
    y = 62.0
    for topic, names in rows.items():
        if not names:
            continue
        body.append(label(0, y + 4, topic, "p"))
        y += 10
        drawn = [_small(state, course.times, k, y) for k, state in enumerate(_states(model, course, names))]
        body += [part for parts in drawn for part in parts]
        y += TITLE + PLOT + 38
    names = ", ".join(s for row in rows.values() for s in row)
    spoken = f"{title}. Median and bands of 25 to 75 and 5 to 95 % of the patients, days 0 to {course.times[-1]:g}, of {names}."
    return _svg(spoken, y - 4, body)


def patient_figure(course: Course, scenario: Scenario, subject: int) -> str:
    """Draw one simulated patient on shared days: states, beneath them what was charted with the doses, beneath that the grades.

    Args:
        course: what `simulate` gave for this scenario.
        subject: the `subject_id` in its timeline.
    Returns:
        an SVG that stands alone.
    Raises:
        OptionError: there is no such subject.
    """
    own = course.timeline.filter(col("subject_id") == subject)
    if own.is_empty():
        raise OptionError(f"No virtual patient {subject} was simulated; there are {len(course.states)}.")
    graded = grade_timeline(own, GRADED)
    last = math.ceil(course.states.times[-1]) - 1
    (drawn,) = courses(graded.subjects, own, graded.grades, graded.episodes, graded.worst, last_day=last)
    row = int(np.flatnonzero(course.people.numbers == subject - 1)[0])
    model = load_model(scenario.folder)
    above = [_pair(drawn, course.states.times, name, _states(model, course.states, names, row)) for name, names in PATIENT]
    parts, height, notes = figure_parts(drawn, simulated=True, before=above)
    title = f"Virtual patient {subject}, seed {course.people.seed}: {scenario.product} in {scenario.disease}, policy {scenario.policy}"
    said = [
        "States of the mechanism above the first line; beneath it what was charted of them, and beneath the second line its grades",
        *notes,
    ]
    lines = [text for note in said for text in textwrap.wrap(f"{note}.", 165)]
    head = [label(0, 14, f"{title}; simulated", "p"), label(0, 30, f"{_first_up(BANNER)}.", "t")]
    foot = 44 + height + 6
    body = [
        *head, f'<g transform="translate(0 44)">{"".join(parts)}</g>',
        *(label(0, foot + 14 * n, text, "t") for n, text in enumerate(lines, 1)),
    ]  # fmt: skip
    foot += 14 * len(lines) + 8
    body.append(f'<g transform="translate(0 {px(foot)})">{"".join(legend_parts())}</g>')
    return _svg(f"{title}; simulated. {summary(drawn)}", foot + HEIGHT, body)


def _states(model: Model, course: Trajectories, names: Iterable[str], row: int | None = None) -> list[State]:
    """States by name, with what `parameters.csv` says of them; of one patient where `row` is given."""
    meaning = dict(model.tables["parameters"].select("name", "meaning").iter_rows())
    found: list[State] = []
    for name in names:
        values = course.of(name)
        shown = values if row is None else values[[row]]
        found.append(State(name, meaning.get(name) or name.replace("_", " "), course.unit(name), shown))
    return found


# ---- many patients


def _key() -> list[str]:
    """What the bands and the line mean, at the top right."""
    parts: list[str] = []
    x = WIDTH - 330.0
    for text, cls in (("5 to 95 %", "most"), ("25 to 75 %", "half")):
        parts += [rect(x, 38, 24, 12, cls), label(x + 30, 48, text, "t")]
        x += 106
    return [*parts, line(x, 44, x + 24, 44, "l w"), label(x + 30, 48, "median patient", "t")]


def _small(state: State, times: Floats, n: int, y: float) -> list[str]:
    """The n-th panel of a row whose top is `y`."""
    width = (WIDTH - (COLUMNS - 1) * GAP) / COLUMNS
    left = n * (width + GAP)
    days = DayAxis(0, max(math.ceil(times[-1]) - 1, 0), left + MARGIN, left + width)
    levels = sorted({q for low, high, _ in BANDS for q in (low, high)} | {0.5})
    at = dict(zip(levels, np.quantile(state.values, levels, axis=0), strict=True))
    top = y + TITLE
    axis, ticks = _axis(at[levels[0]], at[levels[-1]], state.scale != "relative", top, top + PLOT)

    def curve(level: float) -> list[tuple[float, float]]:
        return [(days.x(float(t)), axis.y(float(v))) for t, v in zip(times, at[level], strict=True)]

    titles = textwrap.wrap(state.meaning, 38)[:2]
    parts = [label(left, y + 9 + 11 * k, text, "n") for k, text in enumerate(titles)]
    parts.append(label(left, y + 9 + 11 * len(titles), _scaled(state.scale, axis), "t"))
    for tick in ticks:
        parts += [
            line(days.left, axis.y(tick), days.right, axis.y(tick), "g"),
            label(days.left - 4, axis.y(tick) + 3.7, f"{tick:,.6g}", "t", "end"),
        ]
    parts += [area(curve(low), curve(high), cls) for low, high, cls in BANDS]
    parts += [
        polyline(((*p, k > 0) for k, p in enumerate(curve(0.5))), "l w"),
        line(days.left, top + PLOT, days.right, top + PLOT, "ax"),
    ]
    step = _round(float(times[-1]) / 4)
    parts += [label(days.x(d), top + PLOT + 12, f"{d:g}", "t", "middle") for d in np.arange(0, times[-1] + step / 4, step)]
    return [*parts, label((days.left + days.right) / 2, top + PLOT + 24, "days since infusion", "t", "middle")]


def _axis(low: Floats, high: Floats, has_unit: bool, top: float, bottom: float) -> tuple[ValueAxis, list[float]]:
    """An axis that holds both curves, and its ticks; logarithmic where a state with a unit spans much, of `DECADES` at the most."""
    most = float(high.max()) or 1.0
    least = float(low[low > 0].min(initial=most))
    if has_unit and most >= SPAN * least:
        head = math.ceil(math.log10(most))
        foot = max(math.floor(math.log10(least)), head - DECADES)
        return ValueAxis(10.0**foot, 10.0**head, top, bottom, log=True), [10.0**k for k in range(foot, head + 1)]
    step = _round(most / 3)
    steps = math.ceil(most / step - 1e-9)
    return ValueAxis(0.0, steps * step, top, bottom), [k * step for k in range(steps + 1)]


def _round(value: float) -> float:
    """1, 2 or 5 times a power of ten, at or above a value."""
    size = 10.0 ** math.floor(math.log10(value))
    return next(m * size for m in (1, 2, 5, 10) if m * size >= value * (1 - 1e-9))


def _scaled(text: str, axis: ValueAxis) -> str:
    return f"{text}, log scale" if axis.log else text


# ---- one patient


def _pair(course: Drawn, times: Floats, name: str, states: list[State]) -> Panel:
    """A panel of two states of one patient on the days of its figure."""
    values = np.concatenate([s.values for s in states])
    axis, ticks = _axis(values.min(axis=0), values.max(axis=0), states[0].scale != "relative", 9, 9 + STATE_PX)
    panel = Panel(name, _scaled(states[0].scale, axis), STATE_PX + 12)
    panel.plot(axis, ticks if len(ticks) < 5 else ticks[::2])
    infused = course.infused or 0.0
    for n, (state, cls) in enumerate(zip(states, ("l", "l q"), strict=False)):
        points = (
            (course.axis.x(infused + float(t)), axis.y(float(v)), k > 0)
            for k, (t, v) in enumerate(zip(times, state.values[0], strict=True))
        )
        panel.body.append(polyline(points, cls))
        text = state.meaning if len(state.meaning) <= 20 else state.name.replace("_", " ")
        panel.body += [line(0, 37 + 13 * n, 16, 37 + 13 * n, cls), label(21, 41 + 13 * n, text, "t")]
    return panel


def _svg(spoken: str, height: float, body: list[str]) -> str:
    head = f'<svg class="course" role="img" aria-label="{esc(spoken)}" viewBox="-8 -8 {WIDTH + 16} {px(height + 16)}">'
    return alone(head + "".join(body) + "</svg>")


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]
