"""SVG as short strings: numbers, escaped text, scales and marks. Coordinates are px of the figure, y downwards."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNITS = {"Cel": "°C", "/uL": "/µL", "10*9/L": "×10⁹/L", "{score}": "", "mm[Hg]": "mmHg", "a": "years", "[degF]": "°F"}
# By name, for a program that draws pictures may not know what a bare `sans-serif` is here.
FONTS = "Helvetica, Arial, Liberation Sans, DejaVu Sans, Noto Sans, Nimbus Sans, Roboto, sans-serif"
CHAR_PX = 5.9  # mean width of a character at 11 px; labels are fitted by it


# What hatched areas are filled with: once in a page, and in each figure that stands alone.
PATTERNS = (
    '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" fill="#fff"/><path d="M0 0V5" stroke="#2b4a6b" stroke-width="1.6"/></pattern><pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect width="6" height="6" fill="#fff"/><path d="M3 3h.01" stroke="#525c68" stroke-width="2.2" stroke-linecap="round"/></pattern></defs>'
)


def alone(svg: str, title: str = "") -> str:
    """A figure of the page as a file of its own, with the styles and patterns that the page has for it.

    Custom properties are written out, for not every program that shows SVG knows them.
    """
    css = files("aftercar.report").joinpath("page.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+): (#\w+)", css))
    style = "".join(rule for rule in css.splitlines() if rule.startswith("svg"))
    style = re.sub(r"var\(--(\w+)\)", lambda found: colours[found[1]], style)
    head, rest = svg.split(">", 1)  # escaped text holds no such sign
    return (
        f'{head} xmlns="http://www.w3.org/2000/svg" font-family="{FONTS}">{tip(title) if title else ""}'
        f"<style>svg {{ background: #fff; }} {style}</style>{'' if PATTERNS in rest else PATTERNS}{rest}"
    )


def esc(text: object) -> str:
    """Text of a record, safe inside an element or a quoted attribute."""
    return escape(_CONTROL.sub("", str(text)), quote=True)


def px(value: float) -> str:
    """A coordinate with one decimal, as short as it goes."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def number(value: float) -> str:
    """A charted number, unrounded to six figures: 37.96 must not read 38."""
    return f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:.6g}"


def unit_text(unit: str | None) -> str:
    """A UCUM unit as people write it."""
    if unit is None or unit in _UNITS:
        return _UNITS[unit] if unit else ""
    return re.sub(r"^ug", "µg", unit.replace("mm[Hg]", "mmHg"))


def readable(text: str) -> str:
    """A criterion with its signs as printed."""
    return text.replace(">=", "≥").replace("<=", "≤").replace("/uL", "/µL").replace("38.0 C", "38.0 °C")


def tip(text: str) -> str:
    """The hover text of a mark."""
    return f"<title>{esc(text)}</title>"


def label(x: float, y: float, text: str, cls: str = "", anchor: str = "") -> str:
    """Text with its baseline at `y`."""
    extra = (f' class="{cls}"' if cls else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{px(x)}" y="{px(y)}"{extra}>{esc(text)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, cls: str) -> str:
    """A straight line."""
    return f'<path class="{cls}" d="M{px(x1)} {px(y1)}L{px(x2)} {px(y2)}"/>'


def rect(x: float, y: float, width: float, height: float, cls: str, title: str = "") -> str:
    """A rectangle at least 1.5 px wide, so that a short event is seen."""
    inner = tip(title) if title else ""
    box = f'x="{px(x)}" y="{px(y)}" width="{px(max(width, 1.5))}" height="{px(max(height, 0))}"'
    return f'<rect class="{cls}" {box}>{inner}</rect>' if inner else f'<rect class="{cls}" {box}/>'


def polyline(points: Iterable[tuple[float, float, bool]], cls: str) -> str:
    """One path through `(x, y, joined to the one before)`; relative steps, for they are shorter."""
    steps, at_x, at_y = [], 0.0, 0.0
    for x, y, joined in points:
        x, y = round(x, 1), round(y, 1)
        steps.append(f"l{px(x - at_x)} {px(y - at_y)}" if joined else f"M{px(x)} {px(y)}")
        at_x, at_y = x, y
    return f'<path class="{cls}" d="{"".join(steps)}"/>' if steps else ""


def area(lower: Sequence[tuple[float, float]], upper: Sequence[tuple[float, float]], cls: str) -> str:
    """What lies between two lines on the same x."""
    return polyline(((x, y, n > 0) for n, (x, y) in enumerate([*lower, *reversed(upper)])), cls)


_SHAPES = {
    "diamond": "m0-4.5l4 4.5l-4 4.5l-4-4.5z",
    "down": "m-4-3.5h8l-4 7.5z",
    "up": "m-4 3.5h8l-4-7.5z",
    "square": "m-3-3h6v6h-6z",
    "cross": "m-3-3l6 6m0-6l-6 6",
}


def mark(shape: str, x: float, y: float, title: str, cls: str = "") -> str:
    """A point mark with its hover text, if it has one; `shape` is `circle` or a key of the path table."""
    attr, inner = f' class="{cls}"' if cls else "", tip(title) if title else ""
    if shape == "circle":
        return f'<circle{attr} cx="{px(x)}" cy="{px(y)}" r="2.6">{inner}</circle>'
    return f'<path{attr} d="M{px(x)} {px(y)}{_SHAPES[shape]}">{inner}</path>'


KNEE_SHARE = 0.72  # of the width, for the days before the knee


@dataclass(frozen=True)
class DayAxis:
    """Days since the midnight before the infusion, from `first` to the end of day `last`, on px `left` to `right`.

    Days from `knee` on, where there is one, are drawn narrower.
    """

    first: int
    last: int
    left: float
    right: float
    knee: int | None = None

    def x(self, day: float) -> float:
        """Position of a time in days; outside the axis it is moved to the edge."""
        day = min(max(day, self.first), self.last + 1)
        if self.knee is None:
            return self.left + (day - self.first) * self.day_px
        bend = self.left + KNEE_SHARE * (self.right - self.left)
        if day <= self.knee:
            return self.left + (day - self.first) / (self.knee - self.first) * (bend - self.left)
        return bend + (day - self.knee) / (self.last + 1 - self.knee) * (self.right - bend)

    def holds(self, day: float) -> bool:
        """Whether a time lies on the axis."""
        return self.first <= day < self.last + 1

    @property
    def day_px(self) -> float:
        """Width of a day before the knee."""
        if self.knee is None:
            return (self.right - self.left) / (self.last + 1 - self.first)
        return KNEE_SHARE * (self.right - self.left) / (self.knee - self.first)

    def labelled(self) -> list[int]:
        """Days that carry a number: as many as have room."""
        early = range(self.first, self.last + 1 if self.knee is None else self.knee)
        step = _step(self.day_px)
        days = [d for d in early if d % step == 0]
        if self.knee is not None:
            late = range(self.knee, self.last + 1)
            wide = _step((self.right - self.x(self.knee)) / len(late))
            days += [d for d in late if d % wide == 0 and d - self.knee >= wide / 2 - 1]
        return days


def _step(day_px: float) -> int:
    return next((s for s in (1, 2, 5, 10, 20, 50) if s * day_px >= 24), 100)


@dataclass(frozen=True)
class ValueAxis:
    """Values `low` to `high` on px `bottom` to `top`, linear or logarithmic."""

    low: float
    high: float
    top: float
    bottom: float
    log: bool = False

    def y(self, value: float) -> float:
        """Position of a value; outside the axis it is moved to the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)


def linear(values: Sequence[float], low: float, high: float, step: float, top: float, bottom: float) -> ValueAxis:
    """A linear axis that holds at least `low` to `high`, widened in whole steps to hold the values."""
    low = min(low, math.floor(min(values, default=low) / step) * step)
    high = max(high, math.ceil(max(values, default=high) / step) * step)
    return ValueAxis(low, high, top, bottom)


def decades(values: Sequence[float], low: float, high: float, top: float, bottom: float) -> ValueAxis:
    """A logarithmic axis of whole decades; values at or below its foot, zero among them, are drawn at the foot."""
    least = min((v for v in values if v > 0), default=low)
    most = max(values, default=high)
    low = min(low, max(10.0 ** math.floor(math.log10(least)), low / 10))
    high = max(high, 10.0 ** math.ceil(math.log10(max(most, low * 10))))
    return ValueAxis(low, high, top, bottom, log=True)
