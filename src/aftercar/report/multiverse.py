"""The figure of a multiverse: the result in every universe, in order, over the choices that make each (a specification curve, Simonsohn 2020)."""

from __future__ import annotations

from typing import Any

import polars as pl
from polars import col

from aftercar.cohort.multiverse import PLAIN, Multiverse
from aftercar.report.names import scale_name
from aftercar.report.svg import ValueAxis, alone, esc, label, line, mark, px, rect, tip
from aftercar.simulate.run import BANNER

LEFT, RIGHT, WIDTH = 250.0, 880.0, 900.0
TOP, TALL, ROW = 78.0, 210.0, 13.0
MOST_STEP = 14.0  # px from one universe to the next
DOT = 2.2


def multiverse_figures(found: Multiverse) -> list[tuple[str, str]]:
    """A figure an outcome: its name for a file, and an SVG that stands alone."""
    return [
        (word.replace(":", "_"), _figure(found, word, own)) for (word,), own in found.universes.group_by("outcome", maintain_order=True)
    ]  # fmt: skip


def _figure(found: Multiverse, word: str, own: pl.DataFrame) -> str:
    compares = found.facts["groups"]
    value, low, high, least, most = (
        ("difference", "difference_low", "difference_high", "difference_least", "difference_most")
        if compares
        else ("share", "low", "high", "least", "most")
    )
    own = own.sort(value, least, "scale", "options", nulls_last=True, maintain_order=True).with_row_index("place")
    default = own.filter((col("options") == PLAIN) & (col("scale") == found.facts["outcomes"][word][0])).row(0, named=True)
    step = min((RIGHT - LEFT) / max(own.height, 1), MOST_STEP)
    axis = ValueAxis(-1.0 if compares else 0.0, 1.0, TOP, TOP + TALL)
    what = (
        f"{compares['group']} less {compares['reference']}, difference in shares" if compares else "share of the decided courses"
    )
    parts = _head(found, word, what, default, value)
    for tick in (-1.0, -0.5, 0.0, 0.5, 1.0) if compares else (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [
            line(LEFT, axis.y(tick), RIGHT, axis.y(tick), "ax" if compares and tick == 0 else "g"),
            label(LEFT - 6, axis.y(tick) + 4, f"{tick:.0%}".replace("-", "−"), "t", "end"),
        ]
    limit = found.facts["limit"]
    if limit is not None and not compares:
        parts += [
            line(LEFT, axis.y(limit), RIGHT, axis.y(limit), "cut"),
            label(RIGHT, axis.y(limit) - 4, f"limit {limit:.0%}", "t", "end"),
        ]
    for r in own.iter_rows(named=True):
        x = LEFT + (r["place"] + 0.5) * step
        told = f"{scale_name_of(r['scale'])}; {r['options']}: {_told(r, value, low, high, least, most)}"
        if r[least] is not None:
            parts.append(rect(x - step * 0.4, axis.y(r[most]), step * 0.8, axis.y(r[least]) - axis.y(r[most]), "half", told))
        if r[value] is None:
            continue
        parts.append(line(x, axis.y(r[low]), x, axis.y(r[high]), "l"))
        if r["place"] == default["place"]:
            parts.append(f'<g class="m">{mark("diamond", x, axis.y(r[value]), told)}</g>')
        else:
            parts.append(f'<circle class="b" cx="{px(x)}" cy="{px(axis.y(r[value]))}" r="{DOT}">{tip(told)}</circle>')
    if default[value] is not None:
        parts.append(line(LEFT, axis.y(default[value]), RIGHT, axis.y(default[value]), "st"))
    y = TOP + TALL + 22
    y = _matrix(parts, own, step, y)
    parts += _legend(y + 10, bool(compares))
    height = y + 44
    spoken = f"{word}, {own.height} universes, {what}. " + _spoken(found, word)
    head = f'<svg class="course" role="img" aria-label="{esc(spoken)}" viewBox="-8 -8 {px(WIDTH + 16)} {px(height + 16)}">'
    return alone(head + "".join(parts) + "</svg>")


def scale_name_of(family: str) -> str:
    """A scale, or the one that stands for its family, as people write it."""
    from aftercar.cohort.outcome import Outcome

    return scale_name(Outcome(family).scales[0])


def _head(found: Multiverse, word: str, what: str, default: dict[str, Any], value: str) -> list[str]:
    toxicity, _, cut = word.partition(":")
    name = (
        f"{scale_name_of(default['scale']).split(',')[0] if toxicity == default['scale'] else scale_name_of(default['scale'])}, "
    )
    name += "any grade" if cut in ("", "1") else f"grade {cut} or more"
    by = "" if found.facts["day"] is None else f" by day {found.facts['day']}"
    parts = [
        label(0, 12, f"{name}{by}, in every universe", "p"),
        label(0, 29, f"{what}, in order; each column is one scale with one set of options", "t"),
    ]
    notes = [
        n for n in (f"{BANNER[0].upper()}{BANNER[1:]}." if found.facts["simulated"] else None, found.facts["timeline_note"]) if n
    ]
    if notes:
        parts.append(label(0, 45, " ".join(notes), "k"))
    if default[value] is None:
        parts.append(label(RIGHT, 45 + 16, "the default has no estimate: too many are undecided", "t", "end"))
    return parts


def _matrix(parts: list[str], own: pl.DataFrame, step: float, y: float) -> float:
    """Which scale and which options each column has; the place below it."""
    parts.append(label(0, y, "scale", "p"))
    y += ROW + 2
    for family in own["scale"].unique(maintain_order=True).sort():
        y = _row(parts, scale_name_of(family), own.filter(scale=family)["place"].to_list(), step, y)
    changed = sorted({c for told in own["options"] if told != PLAIN for c in told.split("; ")})
    if changed:
        y += 8
        parts.append(label(0, y, "option that is not the default", "p"))
        y += ROW + 2
    for change in changed:
        places = own.filter(col("options").str.split("; ").list.contains(change))["place"].to_list()
        y = _row(parts, change, places, step, y)
    return y


def _row(parts: list[str], name: str, places: list[int], step: float, y: float) -> float:
    shown = name if len(name) <= 44 else name[:43] + "…"
    parts += [label(LEFT - 8, y + 3.5, shown, "t", "end"), line(LEFT, y, RIGHT, y, "day")]
    parts += [rect(LEFT + (p + 0.5) * step - min(step, 5) * 0.4, y - 4, max(min(step, 5) * 0.8, 1.5), 8, "b2") for p in places]
    return y + ROW


def _legend(y: float, compares: bool) -> list[str]:
    return [
        rect(LEFT, y, 12, 12, "half"),
        label(
            LEFT + 17,
            y + 10,
            "if the undecided were all no, or all yes" if not compares else "if the undecided were all against it, or for it",
            "t",
        ),
        line(LEFT + 262, y, LEFT + 262, y + 13, "l"),
        label(LEFT + 269, y + 10, "95% interval", "t"),
        f'<g class="m">{mark("diamond", LEFT + 355, y + 6, "default")}</g>',
        label(LEFT + 364, y + 10, "default scale and options; no dot: too many undecided", "t"),
    ]


def _told(r: dict[str, Any], value: str, low: str, high: str, least: str, most: str) -> str:
    if r[least] is None:
        return "nobody to count"
    bounds = f"between {r[least]:.0%} and {r[most]:.0%} with the undecided"
    return f"no estimate, {bounds}" if r[value] is None else f"{r[value]:.0%} ({r[low]:.0%} to {r[high]:.0%}), {bounds}"


def _spoken(found: Multiverse, word: str) -> str:
    r = found.summary.filter(outcome=word).row(0, named=True)
    if r["least"] is None:
        return "No universe has an estimate."
    default = "none" if r["default"] is None else f"{r['default']:.0%}"
    return f"From {r['least']:.0%} ({r['least_in']}) to {r['most']:.0%} ({r['most_in']}); default {default}. Numbers are in universes.csv."
