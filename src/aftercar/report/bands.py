"""Grade bands: the course of each toxicity as steps whose height is the grade, with its number, limits and gaps."""

from __future__ import annotations

from itertools import groupby

from aftercar.report.course import LEFT, RIGHT, Course, Episode, Grade
from aftercar.report.marks import Panel
from aftercar.report.names import in_order, scale_name, toxicity_name
from aftercar.report.svg import CHAR_PX, label, line, readable, rect, tip

GRADE_PX = 6.5  # height of one grade
NUMBER_PX, BRACKET_PX = 14.0, 12.0  # room for the number above grade 5, and above it for the episodes
DIGIT_PX = 6.5


def bands(course: Course) -> list[Panel]:
    """A band for each toxicity that is drawn, in reading order."""
    return [_band(course, t) for t in in_order(course.drawn) if t in course.grades]


def _band(course: Course, toxicity: str) -> Panel:
    rows = [g for g in course.grades[toxicity] if g.status != "not_applicable"]
    scales = list(dict.fromkeys(g.scale for g in rows or course.grades[toxicity]))
    drawn = [(g, *_extent(course, g)) for g in rows if g.x is not None and _shown(course, g)]
    episodes = course.episodes.get(toxicity, [])
    base = NUMBER_PX + BRACKET_PX * bool(episodes) + 5 * GRADE_PX
    panel = Panel(toxicity_name(toxicity), scale_name(scales[0]), base + 8)
    if not drawn:
        panel.height = 32
        why = ", ".join(f.replace("_", " ") for f in course.grades[toxicity][0].flags)
        text = "not applicable" + (f" ({why})" if why else "")
        if rows:
            text = f"grade {rows[0].range}, from day {rows[0].day}: beyond this figure, see the table"
        panel.body.append(label(course.axis.x(course.infused or 0.0) + 6, 19, text, "n"))
        return panel
    for n in range(1, 6):
        panel.body.append(line(LEFT, base - n * GRADE_PX, RIGHT, base - n * GRADE_PX, "g"))
    panel.body.append(line(LEFT, base, RIGHT, base, "ax"))
    for _, same in groupby(drawn, key=_look):
        run = list(same)
        panel.body += _step(panel.name, _joined([g for g, _, _ in run]), run[0][1], run[-1][2], base)
    panel.body += _numbers(drawn, base)
    for episode in episodes:
        panel.body += _bracket(course, panel.name, episode)
    return panel


def _shown(course: Course, grade: Grade) -> bool:
    start, end = _extent_days(course, grade)
    return start < course.axis.last + 1 and end >= course.axis.first


def _extent_days(course: Course, grade: Grade) -> tuple[float, float]:
    start = grade.x or 0.0
    end = grade.end if grade.end is not None else course.record_end if course.record_end is not None else start
    return start, max(end, start)


def _extent(course: Course, grade: Grade) -> tuple[float, float]:
    start, end = _extent_days(course, grade)
    x1, x2 = course.axis.x(start), course.axis.x(end)
    return min(x1, RIGHT - 3), max(x2, min(x1, RIGHT - 3) + (3 if grade.grade else 0))


def _look(drawn: tuple[Grade, float, float]) -> tuple[int, int, bool, bool]:
    """What makes two stretches look the same."""
    return drawn[0].grade, drawn[0].assessed, drawn[0].gap, drawn[0].stale


def _same_number(drawn: tuple[Grade, float, float]) -> tuple[int, int, bool]:
    """What makes two stretches share one number; the last is true where there is none to give."""
    grade = drawn[0]
    return grade.grade, grade.assessed, grade.stale and grade.assessed == 0


def _joined(run: list[Grade]) -> Grade:
    """Stretches of one grade as one, with all their reasons."""
    if len(run) == 1:
        return run[0]
    criteria = list(dict.fromkeys(c for g in run for c in g.criteria))
    evidence = list(dict.fromkeys(e for g in run for e in g.evidence))
    return run[0]._replace(end=run[-1].end, until=run[-1].until, criteria=criteria, evidence=evidence)


def _step(name: str, grade: Grade, x1: float, x2: float, base: float) -> list[str]:
    """The grade as a step, what missing data leave open hatched on it, and a dotted line over time with a gap."""
    top = base - grade.assessed * GRADE_PX
    parts: list[str] = []
    if grade.assessed > grade.grade:
        parts.append(rect(x1, top, x2 - x1, (grade.assessed - grade.grade) * GRADE_PX, "up"))
    if grade.grade:
        parts.append(rect(x1, base - grade.grade * GRADE_PX, x2 - x1, grade.grade * GRADE_PX, f"g{grade.grade}"))
    elif not grade.stale or grade.assessed:
        parts.append(line(x1, base, x2, base, "z"))
    if grade.gap:
        parts.append(line(x1, top - 3, x2, top - 3, "st"))
    return [f'<g data-band="{band_id(grade.toxicity, grade.when)}">{tip(_tip(name, grade))}{"".join(parts)}</g>']


def band_id(toxicity: str, when: str | None) -> str:
    """What a stretch of a band is called where a page lets one open it: its toxicity and the digits of the time at which it begins."""
    return f"g-{toxicity}-{''.join(c for c in when or '' if c.isdigit())}"


def _tip(name: str, grade: Grade) -> str:
    what = f"grade {grade.range}"
    if grade.stale and grade.grade == 0:
        what = f"cannot grade: a finding has expired; between 0 and {grade.upper}"
    elif grade.gap:
        what += f" (up to {grade.upper} if something came and went between assessments)"
    text = f"{name} {what}; {grade.when} to {grade.until or 'end of record'}, day {grade.day}"
    if grade.criteria:
        text += "; " + ", ".join(readable(c) for c in grade.criteria)
    ids = ", ".join(str(i) for i in grade.evidence[:6]) + " …" * (len(grade.evidence) > 6)
    return text + (f"; events {ids}" if ids else "")


def _numbers(drawn: list[tuple[Grade, float, float]], base: float) -> list[str]:
    """Grade numbers above their steps, one for each run of equal steps that has room; the worst always has one."""
    runs = []
    for key, group in groupby(drawn, key=_same_number):
        members = list(group)
        if not key[2]:
            runs.append((members[0][0], members[0][1], members[-1][2]))
    found = []
    taken: list[tuple[float, float]] = []
    for grade, x1, x2 in sorted(runs, key=lambda r: (-r[0].grade, -r[0].assessed, r[1] - r[2])):
        width = len(grade.range) * DIGIT_PX
        left = min(max((x1 + x2) / 2 - width / 2, LEFT), RIGHT - width)
        if any(left < b + 3 and a - 3 < left + width for a, b in taken) or (grade.assessed == 0 and x2 - x1 < 16):
            continue
        taken.append((left, left + width))
        top = base - grade.assessed * GRADE_PX - (5.5 if grade.gap else 2.5)
        found.append(label(left + width / 2, top, grade.range, "k" if grade.assessed else "t", "middle"))
    return found


def _bracket(course: Course, name: str, episode: Episode) -> list[str]:
    if episode.x is None or episode.x >= course.axis.last + 1:
        return []
    end = episode.end if episode.end is not None else episode.x + (episode.duration_d or 0.0)
    x1, x2 = course.axis.x(episode.x), course.axis.x(end)
    x2 = max(x2, x1 + 3)
    lasted = "" if episode.duration_d is None else f"{'at least ' * episode.censored}{episode.duration_d:.1f} d"
    text = ", ".join(p for p in (f"episode {episode.episode}", lasted) if p)
    cut = episode.censored or end >= course.axis.last + 1
    foot = f"M{x2 - 4:.1f} 3l4 3l-4 3" if cut else f"M{x2:.1f} 3v6"
    reach = f"{name} {text}, onset day {episode.onset_day}" + (", end not seen" if episode.censored else "")
    parts = [f'<path class="ep" d="M{x1:.1f} 3v6M{x1:.1f} 6H{x2:.1f}{foot}"><title>{reach}</title></path>']
    if len(text) * CHAR_PX <= RIGHT - x2 - 6:
        parts.append(label(x2 + 6, 9.5, text, "t"))
    elif len(text) * CHAR_PX <= x1 - LEFT - 6:
        parts.append(label(x1 - 6, 9.5, text, "t", "end"))
    return parts
