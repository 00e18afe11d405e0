"""Figures of a cohort: worst grades as stacked bars, and the day of onset."""

from __future__ import annotations

from textwrap import wrap

import polars as pl
from polars import col

from aftercar.report.cohort import Worst
from aftercar.report.names import in_order, toxicity_name
from aftercar.report.svg import esc, label, line, px, rect

LEFT, RIGHT, WIDTH = 220.0, 820.0, 900
NAME_CHARS, NAME_LINE = 30, 13.0  # of a line of a name beside the bars; px from one line to the next
ROW, BAR = 34.0, 22.0
LAST_ONSET_DAY = 30  # later onsets share one bar


def worst_svg(table: list[Worst], *, simulated: bool = False) -> str:
    """A bar a toxicity: the share of each worst grade, those that are open hatched, of the courses to which the scale applies."""
    parts = _legend()
    y = 40.0
    for row in table:
        n = row.n - row.not_applicable
        parts += _name(row.name, y + 15, middle=True)
        parts.append(label(RIGHT + 8, y + 15, f"n = {n}", "t"))
        x = LEFT
        counts = [(f"g{g}" if g else "g0", f"grade {g}", c) for g, c in enumerate(row.grades)] + [
            ("up", "incomplete", row.incomplete)
        ]
        for cls, what, count in counts:
            if not count:
                continue
            width = count / n * (RIGHT - LEFT)
            parts.append(rect(x, y, width, BAR, cls, f"{row.name}, {what}: {count} of {n} ({count / n:.0%})"))
            if width >= 8 * len(str(count)) + 4:
                halo = " h" if cls == "up" else " i" if cls in ("g4", "g5") else ""
                parts.append(label(x + width / 2, y + 15, str(count), "k" + halo, "middle"))
            x += width
        y += ROW
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = LEFT + share * (RIGHT - LEFT)
        parts.insert(0, line(x, 36, x, y - 8, "g"))
        parts.append(label(x, y + 8, f"{share:.0%}", "t", "middle"))
    name = "Worst grade by toxicity. " + " ".join(_spoken(r) for r in table)
    return _svg(name, y + 16, parts, simulated)


def _name(name: str, y: float, *, middle: bool = False) -> list[str]:
    """A name left of the bars, in as many lines as it needs: the last one stands at `y`, or with `middle` their middle."""
    lines = wrap(name, NAME_CHARS)
    top = y - NAME_LINE * (len(lines) - 1) / (2 if middle else 1)
    return [label(0, top + NAME_LINE * n, text, "p") for n, text in enumerate(lines)]


def _spoken(row: Worst) -> str:
    grades = ", ".join(f"grade {g}: {c}" for g, c in enumerate(row.grades) if c)
    return f"{row.name}, {row.n - row.not_applicable} courses: {grades or 'none graded'}; incomplete: {row.incomplete}."


def _legend() -> list[str]:
    parts, x = [], LEFT
    for cls, text in (*((f"g{g}", f"grade {g}") for g in range(6)), ("up", "incomplete")):
        parts += [rect(x, 8, 14, 12, cls), label(x + 19, 18, text, "t")]
        x += 88
    return parts


def onset_svg(episodes: pl.DataFrame, *, simulated: bool = False) -> str:
    """How many first episodes began on each day: a row of bars a toxicity, on shared days. Empty without an episode."""
    first = episodes.filter((col("episode") == 1) & col("onset_day").is_not_null())
    if first.is_empty():
        return ""
    day = col("onset_day").clip(None, LAST_ONSET_DAY + 1).alias("day")
    counts = first.group_by("toxicity", day).len().sort("day")
    days = range(min(0, *counts["day"], 0), max(14, *counts["day"], 14) + 1)
    step = (RIGHT - LEFT) / len(days)
    most = counts["len"].max()
    tall = 44.0
    parts, spoken, y = [], [], 14.0
    for toxicity in in_order(counts["toxicity"]):
        rows = dict(counts.filter(col("toxicity") == toxicity).select("day", "len").iter_rows())
        base = y + tall + 12
        parts += [*_name(toxicity_name(toxicity), base - 4), line(LEFT, base, RIGHT, base, "ax")]
        parts.append(label(RIGHT + 8, base - 4, f"n = {sum(rows.values())}", "t"))
        for d, n in rows.items():
            height = n / most * tall  # type: ignore[operator]
            x = LEFT + (d - days[0]) * step
            parts.append(
                rect(x + step * 0.15, base - height, step * 0.7, height, "b2", f"{toxicity_name(toxicity)}, onset {_day(d)}: {n}")
            )
            if step >= 7 * len(str(n)):
                parts.append(label(x + step / 2, base - height - 3, str(n), "t", "middle"))
        spoken.append(f"{toxicity_name(toxicity)}: " + ", ".join(f"{_day(d)} {n}" for d, n in rows.items()) + ".")
        y = base + 8
    every = next(s for s in (1, 2, 5, 10, 100) if s * step >= 24 or s == 100)
    for d in days:
        if d % every == 0 or d > LAST_ONSET_DAY:
            text = f">{LAST_ONSET_DAY}" if d > LAST_ONSET_DAY else str(d).replace("-", "−")
            parts.append(label(LEFT + (d - days[0] + 0.5) * step, y + 8, text, "t", "middle"))
    parts.append(label(RIGHT, y + 24, "day of onset (infusion = day 0)", "t", "end"))
    return _svg("Day of onset of the first episode. " + " ".join(spoken), y + 32, parts, simulated)


def _day(day: int) -> str:
    return f"after day {LAST_ONSET_DAY}" if day > LAST_ONSET_DAY else f"day {day}"


def _svg(name: str, height: float, parts: list[str], simulated: bool) -> str:
    if simulated:
        parts.append(label(0, height + 10, "Virtual patients: simulated, not persons", "k"))
        height += 16
    return f'<svg class="course" role="img" aria-label="{esc(name)}" viewBox="0 0 {WIDTH} {px(height)}">{"".join(parts)}</svg>'
