"""The figure of virtual trials beside published ones: each rate with both intervals, the four endpoints side by side."""

from __future__ import annotations

from typing import Any

import polars as pl
from polars import col

from aftercar.calibrate.compare import Comparison
from aftercar.report.svg import ValueAxis, alone, esc, label, line, mark

WIDTH, SIDE, GAP, LEFT = 960, 186.0, 18.0, 150.0
TOP, ROW = 64.0, 30.0
TITLES = {
    "crs_any": "CRS, any",
    "crs_g3plus": "CRS, grade 3 or more",
    "nt_any": "neurotoxicity, any",
    "nt_g3plus": "neurotoxicity, 3 or more",
}


def comparison_svg(found: Comparison, title: str, of: str = "an ensemble of parameter sets") -> str:
    """Draw a comparison; a trial that was not fitted stands below the line.

    Args:
        of: what the simulated patients are.
    """
    trials = found.rates.sort(col("use") != "fit", maintain_order=True)["trial"].unique(maintain_order=True).to_list()
    height = TOP + ROW * len(trials) + 58
    parts = [label(0, 14, title, "p"), label(0, 30, "SIMULATED beside published, per cent of patients with 95 % intervals", "t")]
    held_out = set(found.rates.filter(use="held out")["trial"])
    for n, trial in enumerate(trials):
        y = TOP + ROW * n
        if trial in held_out and trials[n - 1] not in held_out:
            parts.append(line(0, y, WIDTH, y, "ax"))
        first = found.rates.filter(trial=trial).row(0, named=True)
        parts += [
            label(0, y + 14, trial, "p"),
            label(0, y + 26, f"{'not fitted, ' if trial in held_out else ''}n = {first['n']}", "t"),
        ]
    for k, (endpoint, words) in enumerate(TITLES.items()):
        parts += _panel(LEFT + k * (SIDE + GAP), words, found.rates.filter(endpoint=endpoint), trials, height)
    foot = height - 8
    parts += [mark("circle", 6, foot - 4, "published"), label(14, foot, "published", "t")]
    parts += [
        mark("square", 92, foot - 4, "simulated", "g0"),
        label(100, foot, f"simulated, {of}" + ("; below the line: trials that were not fitted" if held_out else ""), "t"),
    ]
    spoken = f"{title}. {len(trials)} trials; numbers are in the table beside this figure."
    return alone(
        f'<svg class="course" role="img" aria-label="{esc(spoken)}" viewBox="0 0 {WIDTH} {height:g}">' + "".join(parts) + "</svg>"
    )


def _panel(left: float, words: str, rows: pl.DataFrame, trials: list[str], height: float) -> list[str]:
    axis = ValueAxis(0.0, 100.0, left + SIDE, left)
    bottom = TOP + ROW * len(trials)
    parts = [label(left, TOP - 10, words, "p")]
    for x in (0, 25, 50, 75, 100):
        parts += [line(axis.y(x), TOP, axis.y(x), bottom, "g"), label(axis.y(x), bottom + 14, str(x), "t", "middle")]
    for row in rows.to_dicts():
        y = TOP + ROW * trials.index(row["trial"])
        parts += _pair(axis, y, row)
    return parts


def _pair(axis: ValueAxis, y: float, row: dict[str, Any]) -> list[str]:
    published = f"published {row['published_pct']:g} % ({row['published_low']:.0f} to {row['published_high']:.0f}), {row['events']}/{row['n']}"
    simulated = f"simulated {row['simulated_pct']:.0f} % ({row['simulated_low']:.0f} to {row['simulated_high']:.0f})"
    return [
        line(axis.y(row["published_low"]), y + 10, axis.y(row["published_high"]), y + 10, "ax"),
        mark("circle", axis.y(row["published_pct"]), y + 10, published),
        line(axis.y(row["simulated_low"]), y + 20, axis.y(row["simulated_high"]), y + 20, "ax"),
        mark("square", axis.y(row["simulated_pct"]), y + 20, simulated, "g0"),
    ]
