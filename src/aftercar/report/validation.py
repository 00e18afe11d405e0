"""The figure of a validation: ROC curve, calibration and decision curve side by side, one SVG that stands alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from aftercar.report.svg import ValueAxis, alone, esc, label, line, mark, polyline, px
from aftercar.risk.validate import Validation

WIDTH, HEIGHT = 960, 356
SIDE = 238.0  # of a panel, px
TOP, LEFT, GAP = 56.0, 46.0, 76.0
LOWEST_BENEFIT = -0.1  # net benefit below it is cut off: it only says that treating everybody harms


@dataclass(frozen=True)
class _Panel:
    """A square with an axis each way."""

    left: float
    across: ValueAxis
    up: ValueAxis

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.across.y(x), self.up.y(y)

    def curve(self, points: Iterable[tuple[float, float]], cls: str) -> str:
        return polyline(((*self.at(x, y), n > 0) for n, (x, y) in enumerate(points)), cls)


def validation_svg(found: Validation, title: str) -> str:
    """Draw a validation; every number that is drawn is in its tables."""
    head = [label(0, 14, title, "p"), label(0, 30, _counted(found), "t")]
    body = [*_roc(found), *_calibration(found), *_decision(found)]
    foot = label(0, HEIGHT - 8, "A score is not a decision. Bars: 95 % intervals.", "t")
    return alone(
        f'<svg class="course" role="img" aria-label="{esc(_spoken(found, title))}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        + "".join([*head, *body, foot])
        + "</svg>"
    )


def _counted(found: Validation) -> str:
    states = dict(found.counts.iter_rows())
    out = ", ".join(f"{n} {state}" for state, n in states.items() if n and state != "used")
    first = found.discrimination.row(0, named=True)
    return f"{first['n']} courses, {first['events']} with the event" + (f"; left out: {out}" if out else "")


def _spoken(found: Validation, title: str) -> str:
    first = found.discrimination.row(0, named=True)
    return f"{title}. {_counted(found)}. {_area(first)}. Numbers are in the tables beside this figure."


def _area(row: dict[str, float | None]) -> str:
    if row["auc"] is None:
        return "no AUC"
    text = f"AUC {row['auc']:.2f}"
    return text + (f" ({row['low']:.2f}–{row['high']:.2f})" if row["low"] is not None else ", no interval")


def _panel(n: int, low: float = 0.0, high: float = 1.0, x_low: float = 0.0, x_high: float = 1.0) -> _Panel:
    left = LEFT + n * (SIDE + GAP)
    return _Panel(left, ValueAxis(x_low, x_high, left + SIDE, left), ValueAxis(low, high, TOP, TOP + SIDE))


def _frame(panel: _Panel, name: str, x_name: str, y_name: str, xs: dict[float, str], ys: dict[float, str]) -> list[str]:
    parts = [label(panel.left, TOP - 8, name, "p")]
    for y, text in ys.items():
        parts += [
            line(panel.left, panel.up.y(y), panel.left + SIDE, panel.up.y(y), "g"),
            label(panel.left - 5, panel.up.y(y) + 4, text, "t", "end"),
        ]
    for x, text in xs.items():
        parts.append(label(panel.across.y(x), TOP + SIDE + 14, text, "t", "middle"))
    parts.append(line(panel.left, TOP + SIDE, panel.left + SIDE, TOP + SIDE, "ax"))
    parts.append(label(panel.left + SIDE, TOP + SIDE + 29, x_name, "t", "end"))
    middle = TOP + SIDE / 2
    turned = f'transform="rotate(-90 {px(panel.left - 34)} {px(middle)})"'
    parts.append(f'<text class="t" text-anchor="middle" x="{px(panel.left - 34)}" y="{px(middle)}" {turned}>{esc(y_name)}</text>')
    return parts


_SHARES = {0: "0", 0.25: "25%", 0.5: "50%", 0.75: "75%", 1: "100%"}


def _roc(found: Validation) -> list[str]:
    panel = _panel(0)
    parts = _frame(panel, "Discrimination", "1 − specificity", "sensitivity", _SHARES, _SHARES)
    parts.append(panel.curve([(0, 0), (1, 1)], "cut"))
    points = found.roc.select("false_positive_share", "sensitivity").rows()
    parts.append(panel.curve([(0.0, 0.0), *points], "l w"))
    parts.append(label(panel.left + SIDE - 4, TOP + SIDE - 8, _area(found.discrimination.row(0, named=True)), "k h", "end"))
    return parts


def _calibration(found: Validation) -> list[str]:
    table = found.calibration
    if table.is_empty():
        return _instead(1, "Calibration", "no value is known without a range")
    means = table["mean"]
    probability = bool(found.facts["probability"])
    low, high = (0.0, 1.0) if probability else (float(means.min()), float(means.max()))  # type: ignore[arg-type]
    pad = 0.0 if probability else (high - low or 1.0) * 0.06
    panel = _panel(1, x_low=low - pad, x_high=high + pad)
    ticks = _SHARES if probability else {v: f"{v:.3g}" for v in _few(means)}
    parts = _frame(panel, "Calibration", "predicted" if probability else "score", "observed", ticks, _SHARES)
    if probability:
        parts.append(panel.curve([(0, 0), (1, 1)], "cut"))
    for r in table.iter_rows(named=True):
        x, y = panel.at(r["mean"], r["observed"])
        parts.append(line(x, panel.up.y(r["low"]), x, panel.up.y(r["high"]), "l"))
        tip = f"score {r['group']}: {r['events']} of {r['n']}, {r['observed']:.0%} ({r['low']:.0%}–{r['high']:.0%})"
        parts.append(f'<g class="m">{mark("circle", x, y, tip)}</g>')
    return parts


def _instead(n: int, name: str, why: str) -> list[str]:
    """A panel that cannot be drawn, and why."""
    left = LEFT + n * (SIDE + GAP)
    return [label(left, TOP - 8, name, "p"), label(left, TOP + 14, why, "t")]


def _few(means: pl.Series) -> list[float]:
    """Values that may carry a number without touching one another."""
    values, room = sorted(set(means)), float(means.max() - means.min()) / 7  # type: ignore[operator]
    kept: list[float] = []
    for v in values:
        if not kept or v - kept[-1] >= room:
            kept.append(v)
    return kept


def _decision(found: Validation) -> list[str]:
    table = found.decision
    if table.is_empty():
        return _instead(2, "Decision curve", "needs a probability or a cut, and known values")
    top = max(0.1, float(table.select(pl.max_horizontal("net_benefit", "all").max()).item()) * 1.1)
    panel = _panel(2, low=LOWEST_BENEFIT, high=top)
    step = 0.1 if top <= 0.5 else 0.2
    ys = {n * step: f"{n * step:.1f}".replace("-", "−") for n in range(round(LOWEST_BENEFIT / step), int(top / step) + 1)}
    parts = _frame(panel, "Decision curve", "threshold probability", "net benefit", _SHARES, ys)
    for column, cls in (("all", "l q"), ("none", "cut"), ("net_benefit", "l w")):
        drawn = [(t, v) for t, v in table.select("threshold", column).iter_rows() if v >= LOWEST_BENEFIT]
        parts.append(panel.curve(drawn, cls))
    parts += [
        line(panel.left + SIDE - 96, y, panel.left + SIDE - 74, y, c)
        for y, c in ((TOP + 8, "l w"), (TOP + 22, "l q"), (TOP + 36, "cut"))
    ]
    texts = ("by the score", "treat all", "treat none")
    return parts + [label(panel.left + SIDE - 70, TOP + 12 + 14 * n, text, "t") for n, text in enumerate(texts)]
