"""Marks that several panels share: readings on an axis, doses in lanes, running drugs as bars, words as squares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from aftercar.report.course import LEFT, RIGHT, Course, Event
from aftercar.report.svg import CHAR_PX, ValueAxis, label, line, mark, number, polyline, px, rect, tip, unit_text
from aftercar.timeline.concepts import concepts

LANE = 15.0  # px of a lane
MOST_MARKS = 40  # marks of one series; beyond it the highest and lowest of FEW stretches are marked
FEW = 16
LINE_PX = 6.0  # a dense line is drawn through the extremes of each so many px
MOST_CALM = 16  # unremarkable states with a mark of their own; beyond it they share one
VALID_H = 6.0  # how long a running drug without an end stands, where its concept does not say


@dataclass
class Panel:
    """A strip of the figure, drawn from its own y = 0 downwards."""

    name: str
    unit: str
    height: float
    body: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    sparse: list[str] = field(default_factory=list[str])

    def plot(self, axis: ValueAxis, ticks: Sequence[float]) -> None:
        """Frame of a plot: grid lines and their values."""
        for value in ticks:
            y = axis.y(value)
            self.body.append(line(LEFT, y, RIGHT, y, "g"))
            self.body.append(label(LEFT - 6, y + 3.7, f"{value:,.6g}", "t", "end"))

    def threshold(self, axis: ValueAxis, value: float, text: str, *, below: bool = False) -> None:
        """A dashed line at a cut-off, named at its right end."""
        y = axis.y(value)
        self.body.append(line(LEFT, y, RIGHT, y, "cut"))
        self.body.append(label(RIGHT - 3, y + 10 if below else y - 3, text, "t h", "end"))


def title_of(code: str) -> str:
    """A concept's label."""
    item = concepts().get(code)
    return item.label if item else code.replace("_", " ")


def readings(
    panel: Panel,
    course: Course,
    events: list[Event],
    axis: ValueAxis,
    name: str,
    *,
    filled: Callable[[float], bool] = lambda value: True,
    shape: str = "circle",
    gap_d: float = 1.0,
    cls: str = "",
) -> None:
    """Readings as a line and marks. Marks are solid where `filled`, open elsewhere, grey where due to another cause.

    The line joins readings at most `gap_d` days apart, so that a stretch without readings stays empty.
    """
    events = [e for e in events if e.number is not None]
    places = [(course.axis.x(e.x), axis.y(e.number or 0.0)) for e in events]
    drawn = _extremes(events, [x for x, _ in places], int((RIGHT - LEFT) / LINE_PX))
    joined = [n > 0 and events[i].x - events[drawn[n - 1]].x <= gap_d for n, i in enumerate(drawn)]
    panel.body.append(polyline(((*places[i], j) for i, j in zip(drawn, joined, strict=True)), f"l {cls}".rstrip()))
    kept = list(range(len(events)))
    if len(events) > MOST_MARKS:
        kept = _extremes(events, [x for x, _ in places], FEW)
        panel.sparse.append(f"{name}, {len(kept)} of {len(events)}")
    groups: dict[str, list[str]] = {"m": [], "o": [], "x": []}
    for n in kept:
        event = events[n]
        kind = "x" if event.attributed == "other" else "m" if filled(event.number or 0.0) else "o"
        groups[kind].append(mark(shape, *places[n], event.tip(name)))
    panel.body += [
        f'<g class="{kind} {cls}">'.replace(' ">', '">') + "".join(marks) + "</g>" for kind, marks in groups.items() if marks
    ]


def _extremes(events: list[Event], x: list[float], bins: int) -> list[int]:
    """Positions of the highest and lowest reading of each of so many equal stretches of px; all where they are few."""
    if len(events) <= 2 * bins:
        return list(range(len(events)))
    width = (x[-1] - x[0]) / bins or 1.0
    found: dict[int, list[int]] = {}
    for n in range(len(events)):
        found.setdefault(min(int((x[n] - x[0]) / width), bins - 1), []).append(n)
    value = [e.number or 0.0 for e in events]
    return sorted({pick(members, key=value.__getitem__) for members in found.values() for pick in (max, min)})


def _lane(panel: Panel, name: str) -> float:
    """Open a lane under what is drawn so far; returns its middle."""
    middle = panel.height + LANE / 2
    panel.height += LANE
    panel.body.append(label(LEFT - 6, middle + 3.8, name, "n", "end"))
    panel.body.append(line(LEFT, middle, RIGHT, middle, "g"))
    return middle


def doses(panel: Panel, course: Course, code: str, shape: str) -> None:
    """A lane of doses of one drug, each with its amount where there is room; prophylaxis is open."""
    events = course.of(code)
    if not events:
        return
    y = _lane(panel, title_of(code).lower())
    x = [course.axis.x(e.x) for e in events]
    said: list[str] = []
    pending: list[str] = []
    solid, hollow, texts = [], [], []
    for n, event in enumerate(events):
        mild = event.text == "prophylaxis" or event.attributed == "other"
        if event.end is not None and event.end > event.x:
            panel.body.append(line(x[n], y, course.axis.x(event.end), y, "run"))
        (hollow if mild else solid).append(mark(shape, x[n], y, event.tip(title_of(code))))
        text = event.value.replace(", treatment", "").replace(", prophylaxis", "")
        room = (x[n + 1] if n + 1 < len(x) else RIGHT) - x[n] - 14
        if text != "charted" and text not in pending:
            pending.append(text)
        text = ", ".join(pending)
        if pending and pending != said and len(pending) <= 3 and len(text) * CHAR_PX <= room:
            texts.append(label(x[n] + 7, y + 3.8, text, "v h"))
            said, pending = pending, []
    panel.body += [f'<g class="{c}">{"".join(g)}</g>' for c, g in (("m", solid), ("o", hollow)) if g]
    panel.body += texts


def infusions(panel: Panel, course: Course, code: str) -> None:
    """A lane of a running drug: bars with their rate. A rate of 0 stops it; a bar whose end is assumed is open at the right.

    As in grading, a row without an end stands until the next row of the drug, at most the time its concept allows.
    """
    events = course.of(code)
    if not events:
        return
    y = _lane(panel, title_of(code).lower())
    item = concepts().get(code)
    valid = ((item.valid_for_h if item else None) or VALID_H) / 24
    said, free = None, -1.0
    for n, event in enumerate(events):
        following = events[n + 1].x if n + 1 < len(events) else None
        bolus = event.text == "bolus" and event.end is None
        if event.number == 0 and event.end is None:
            panel.body.append(
                f'<g class="o">{mark("square", course.axis.x(event.x), y, event.tip(title_of(code), "stopped"))}</g>'
            )
            continue
        if bolus:
            panel.body.append(f'<g class="m">{mark("up", course.axis.x(event.x), y, event.tip(title_of(code)))}</g>')
            continue
        end = event.end if event.end is not None else event.x + valid
        assumed = event.end is None and (following is None or following > end)
        if event.end is None and following is not None:
            end = min(end, following)
        x1, x2 = course.axis.x(event.x), course.axis.x(end)
        about = "end assumed" if assumed else f"for {(end - event.x) * 24:.3g} h" if event.end is not None else "to the next row"
        cls = "bx" if event.attributed == "other" else "ba" if assumed else "b"
        panel.body.append(rect(x1, y - 5, x2 - x1, 10, cls, event.tip(title_of(code), f"{event.value}, {about}")))
        text = number(event.number) if event.number is not None else ""
        if text and text != said and x1 >= free and len(text) * CHAR_PX + 4 <= max(x2, x1 + 12) - x1:
            panel.body.append(label(x1 + 3, y + 3.6, text, "r"))
            said, free = text, x1 + len(text) * CHAR_PX + 4
    units = {e.unit for e in events if e.unit and e.number is not None}
    if len(units) == 1:
        panel.notes.append(f"{title_of(code)} in {unit_text(units.pop())}")


def words(panel: Panel, course: Course, code: str, name: str, *, quiet: Sequence[str]) -> None:
    """A lane of charted states: small and open where `quiet`, solid and named where not."""
    events = [e for e in course.of(code) if e.text or e.number is not None]
    if not events:
        return
    y = _lane(panel, name)
    free = -1.0
    calm, loud, texts = [], [], []
    ordinary = [e for e in events if _state(e) in quiet]
    if len(ordinary) > MOST_CALM:
        calm.append(_shared(course, ordinary, y, title_of(code)))
    for event in events:
        state = _state(event)
        x = course.axis.x(event.x)
        if event.end is not None and event.end > event.x:
            panel.body.append(line(x, y, course.axis.x(event.end), y, "run"))
        quietly = state in quiet
        if not (quietly and len(ordinary) > MOST_CALM):
            (calm if quietly else loud).append(mark("square", x, y, event.tip(title_of(code), state.replace("_", " "))))
    for _, same in groupby(events, key=_state):  # the word stands after the last mark of a run of one state
        run = list(same)
        x, text = course.axis.x(run[-1].x), _state(run[0]).replace("_", " ")
        if _state(run[0]) not in quiet and x >= free:
            right = x + 7 + len(text) * CHAR_PX > RIGHT
            texts.append(label(course.axis.x(run[0].x) - 6 if right else x + 6, y + 3.8, text, "v h", "end" if right else ""))
            free = x + 10 + len(text) * CHAR_PX
    panel.body += [f'<g class="{c}">{"".join(g)}</g>' for c, g in (("o", calm), ("m", loud)) if g]
    panel.body += texts


def _state(event: Event) -> str:
    return event.text or ("yes" if event.number else "no")


def _shared(course: Course, events: list[Event], y: float, name: str) -> str:
    """Many unremarkable states as one path of small squares, a hover text for all."""
    squares = "".join(f"M{px(course.axis.x(e.x) - 2)} {px(y - 2)}h4v4h-4z" for e in events)
    states = ", ".join(sorted({_state(e).replace("_", " ") for e in events}))
    first, last = events[0], events[-1]
    text = (
        f"{name}: {states}; charted {len(events)} times, {first.when} to {last.when}; events {first.event_id} to {last.event_id}"
    )
    return f'<path d="{squares}">{tip(text)}</path>'
