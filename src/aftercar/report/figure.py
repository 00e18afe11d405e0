"""The figure of one subject and infusion: panels on shared days, one inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

from aftercar.report import panels
from aftercar.report.bands import bands
from aftercar.report.course import RIGHT, Course
from aftercar.report.marks import Panel
from aftercar.report.names import WORDS, in_order, toxicity_name
from aftercar.report.svg import esc, label, line, px, readable, rect, tip

WIDTH = 900
GAP = 12.0  # px between panels
HEAD = 34.0  # px above the first panel, for the days and the dates that matter

_DATES = {
    "cart_infusion": "CAR-T",
    "death": "death",
    "progression": "progression",
    "next_therapy": "next therapy",
    "last_follow_up": "last follow-up",
}


def figure_svg(course: Course, name: str, *, simulated: bool = False) -> tuple[str, list[str]]:
    """Draw a course.

    Args:
        name: what a screen reader calls the figure.
        simulated: whether to mark the figure as one of a virtual patient.
    Returns:
        the SVG, and notes that belong in the caption.
    """
    parts, height, notes = figure_parts(course, simulated=simulated)
    head = f'<svg class="course" role="img" aria-label="{esc(name)}" viewBox="0 0 {WIDTH} {px(height)}">'
    return head + "".join(parts) + "</svg>", notes


def figure_parts(course: Course, *, simulated: bool = False, before: Sequence[Panel] = ()) -> tuple[list[str], float, list[str]]:
    """What the figure of a course is drawn of, its height, and notes that belong in the caption.

    Args:
        simulated: whether to mark the figure as one of a virtual patient.
        before: panels on the same days that stand above what was charted.
    """
    charted = [
        p for p in (panels.temperature(course), panels.pressure(course), panels.oxygen(course), panels.neurology(course)) if p
    ]
    charted += panels.labs(course)
    for panel in charted:
        panel.height = max(panel.height, 30.0)  # room for its name and unit
    body: list[str] = []
    y = HEAD
    for group in ([*before], charted, bands(course)):
        if group and body:
            y += 4
            body.append(line(0, y - GAP / 2 - 2, WIDTH, y - GAP / 2 - 2, "div"))
            y += 4
        for panel in group:
            body.append(_placed(panel, y))
            y += panel.height + GAP
    bottom = y - GAP + 4
    days = _days(course, bottom)
    knee = course.axis.knee
    narrower = "" if knee is None else f"; days {knee} to {course.axis.last} drawn narrower (shaded)"
    foot = [label(RIGHT, bottom + 28, f"days since infusion (day 0){narrower}", "t", "end")]
    if simulated:
        foot.append(label(0, bottom + 28, "Virtual patient: simulated, not a person", "k"))
    notes = [note for panel in charted for note in panel.notes]
    sparse = [name for panel in charted for name in panel.sparse]
    if sparse:
        notes.append(f"Of many readings only the highest and lowest of equal stretches carry a mark ({'; '.join(sparse)})")
    return [*days, *body, *_dates(course, bottom), *foot], bottom + 34, notes


def _placed(panel: Panel, y: float) -> str:
    head = label(0, 12, panel.name, "p") + (label(0, 26, panel.unit, "t") if panel.unit else "")
    return f'<g transform="translate(0 {px(y)})">{head}{"".join(panel.body)}</g>'


def _days(course: Course, bottom: float) -> list[str]:
    """A faint line at each midnight, and the day's number in the middle of the day, above and below."""
    axis = course.axis
    top = HEAD - 8
    found = []
    late = axis.last + 2 if axis.knee is None else axis.knee
    if axis.knee is not None:
        x = axis.x(axis.knee)
        found.append(rect(x, top, RIGHT - x, bottom - top, "nar"))
    edges = "".join(
        f"M{px(axis.x(d))} {px(top)}V{px(bottom)}" for d in range(axis.first, axis.last + 2) if d <= late or d % 5 == 0
    )
    found.append(f'<path class="day" d="{edges}"/>')
    for d in axis.labelled():
        text = str(d).replace("-", "−")
        x = axis.x(d + 0.5)
        found += [label(x, bottom + 13, text, "t", "middle"), label(x, top - 4, text, "t", "middle")]
    return found


def _dates(course: Course, bottom: float) -> list[str]:
    """Vertical lines at the infusion and at what ended the course, named at the top."""
    found, free = [], -1.0
    for event in course.of(*_DATES):
        x = course.axis.x(event.x)
        what = _DATES[event.code]
        more = f" ({event.text[:40]})" if event.text and event.code in ("cart_infusion", "death") else ""
        cls = "inf" if event.code == "cart_infusion" else "end"
        found.append(
            f'<path class="{cls}" d="M{px(x)} 1V11M{px(x)} {px(HEAD - 8)}V{px(bottom)}">{tip(event.tip(what, event.text or what))}</path>'
        )
        text = what + more
        width = len(text) * 6.0
        right = x + width > RIGHT
        left = x - width if right else x
        if left >= free:
            found.append(label(x - 3 if right else x + 3, 9, text, "v h", "end" if right else ""))
            free = left + width + 8
    return found


def summary(course: Course) -> str:
    """The figure in words: worst grade, onset, duration and end of each toxicity."""
    if course.infused is None:
        return "No infusion is on record, so nothing can be graded."
    return " ".join(_sentence(course, t) for t in in_order(course.drawn))


def _sentence(course: Course, toxicity: str) -> str:
    worst, name = course.worst[toxicity], toxicity_name(toxicity)
    status, grade, upper = worst["status"], worst["grade"], worst["grade_upper"]
    if status == "not_applicable":
        return f"{name}: not applicable."
    text = f"{name}: grade {grade} at worst"
    if status == "not_met" or grade == upper == 0:
        text = f"{name}: none (grade 0)"
    if status == "incomplete":
        text = f"{name}: incomplete, at least grade {grade} and at most {upper}"
    if status in WORDS:
        text = f"{name}: {WORDS[status]}"
    if (grade or status in WORDS) and worst.get("day") is not None:
        text += f", day {worst['day']}"
    at_worst = next((g for g in course.grades.get(toxicity, ()) if g.grade == grade and g.criteria), None)
    if grade and at_worst:
        text += f" ({', '.join(readable(c) for c in at_worst.criteria)})"
    spells = course.episodes.get(toxicity, [])
    if spells and spells[0].onset_day is not None:
        first = spells[0]
        text += f"; {len(spells)} episodes, the first from" if len(spells) > 1 else "; onset"
        text += f" day {first.onset_day}"
        if first.duration_d is not None:
            text += f", lasting {'at least ' * first.censored}{first.duration_d:.1f} d"
    if worst.get("unassessed_h"):
        text += f"; {worst['unassessed_h']:.0f} h without a valid assessment"
    return text + "."
