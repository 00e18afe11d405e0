"""The figure of a trial design: what its test and its safety boundary do at each true rate, exactly, and where the simulated trials lie."""

from __future__ import annotations

from typing import Any

import polars as pl
from polars import col

from aftercar.report.svg import ValueAxis, alone, esc, label, line, mark, polyline, px
from aftercar.simulate.run import BANNER
from aftercar.trial.replicate import compared
from aftercar.trial.run import Outcome

WIDTH, SIDE = 900.0, 250.0  # px of the figure; of a panel
LEFT, TOP, GAP, ROW = 46.0, 66.0, 56.0, 92.0  # px before the first panel, above it, between two, beneath a row of them
SHARES = {0.0: "0", 0.25: "25%", 0.5: "50%", 0.75: "75%", 1.0: "100%"}
# How the trials of each run are drawn, and what they are.
MARKS = {"design": ("circle", "m", "as designed"), "null": ("square", "o", "every arm treated alike")}


def trial_figure(found: Outcome) -> str:
    """Draw a design; every number that is drawn is in its tables.

    Returns:
        an SVG that stands alone. The line is exact for independent patients of one rate; points are simulated, with 95 % intervals.
    """
    title = f"{found.design.title}: {found.summary['replicates']:,} trials of virtual patients, SIMULATED"
    names = [arm.name for arm in found.design.arms]
    tests = [_test(found, names[k]) for k in compared(found.design)]
    panels = tests + [p for k in found.design.monitored for p in (_stops(found, names[k]), _patients(found, names[k]))]
    body = [label(0, 14, title, "p"), label(0, 30, f"{BANNER[0].upper()}{BANNER[1:]}.", "t")]
    for n, (name, curve, points, most) in enumerate(panels):
        body += _panel(name, curve, points, most, LEFT + n % 3 * (SIDE + GAP), TOP + n // 3 * (SIDE + ROW))
    height = TOP + -(-len(panels) // 3) * (SIDE + ROW)
    body.append(
        label(
            0,
            height - 14,
            "Line: exact, for independent patients of one rate. Points: simulated, bars: 95 % intervals of so many trials.",
            "t",
        )
    )
    x = 560.0
    for shape, cls, text in (MARKS[run] for run in found.summary["runs"]):
        body += [f'<g class="{cls}">{mark(shape, x, height - 18, text)}</g>', label(x + 8, height - 14, text, "t")]
        x += 110
    spoken = f"{title}. {' '.join(_spoken(run, told) for run, told in found.summary['runs'].items())} Numbers are in the tables beside this figure."
    head = f'<svg class="course" role="img" aria-label="{esc(spoken)}" viewBox="-8 -8 {px(WIDTH + 40)} {px(height + 16)}">'
    return alone(head + "".join(body) + "</svg>")


_Points = list[tuple[str, float | None, dict[str, Any]]]  # run, true rate, share with its interval
_Drawn = tuple[str, pl.DataFrame, _Points, float]


def _curve(found: Outcome, curve: str, arm: str, value: str) -> pl.DataFrame:
    return found.operating.filter((col("curve") == curve) & (col("arm") == arm)).select("rate", value=value)


def _test(found: Outcome, arm: str) -> _Drawn:
    points = [
        (run, told["arms"][arm]["rate"], told["comparisons"][arm]["without_boundary"])
        for run, told in found.summary["runs"].items()
    ]
    return f"Test of {arm}: rejects", _curve(found, "power", arm, "probability"), points, 1.0


def _stops(found: Outcome, arm: str) -> _Drawn:
    points = [
        (run, told["arms"][arm]["harm"]["share"], told["arms"][arm]["crossed"]) for run, told in found.summary["runs"].items()
    ]
    return f"Boundary of {arm}: reached", _curve(found, "stopping", arm, "probability"), points, 1.0


def _patients(found: Outcome, arm: str) -> _Drawn:
    most = float(next(a.n for a in found.design.arms if a.name == arm))
    return f"Boundary of {arm}: patients by then", _curve(found, "stopping", arm, "patients"), [], most


def _panel(name: str, curve: pl.DataFrame, points: _Points, most: float, left: float, top: float) -> list[str]:
    """A square of a share or a number against the true rate of an arm."""
    across, up = ValueAxis(0.0, 1.0, left + SIDE, left), ValueAxis(0.0, most, top, top + SIDE)
    parts = [label(left, top - 8, name, "p")]
    for share, text in SHARES.items():
        y = up.y(share * most)
        parts += [
            line(left, y, left + SIDE, y, "g"),
            label(left - 5, y + 4, text if most == 1.0 else f"{share * most:g}", "t", "end"),
        ]
        parts.append(label(across.y(share), top + SIDE + 14, text, "t", "middle"))
    parts += [
        line(left, top + SIDE, left + SIDE, top + SIDE, "ax"),
        label(left + SIDE, top + SIDE + 29, "true rate of the event", "t", "end"),
    ]
    parts.append(polyline(((across.y(r), up.y(v), n > 0) for n, (r, v) in enumerate(curve.iter_rows())), "l w"))
    for run, rate, told in points:
        if rate is None or told["share"] is None:
            continue
        shape, cls, text = MARKS[run]
        x = across.y(rate)
        tip = f"{text}: {told['share']:.1%} ({told['low']:.1%}–{told['high']:.1%}) at a rate of {rate:.1%}"
        parts += [
            line(x, up.y(told["low"]), x, up.y(told["high"]), "l"),
            f'<g class="{cls}">{mark(shape, x, up.y(told["share"]), tip)}</g>',
        ]
    return parts


def _spoken(run: str, told: dict[str, Any]) -> str:
    found = "; ".join(f"{arm} rejects in {c['without_boundary']['share']:.1%}" for arm, c in told["comparisons"].items())
    return f"{MARKS[run][2].capitalize()}: {found}; stopped in {told['stopped']['share']:.1%}."
