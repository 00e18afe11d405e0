"""How to read the figures: the marks, drawn once."""

from __future__ import annotations

from aftercar.report.svg import PATTERNS, label, line, mark, rect

HEIGHT = 106


def legend_svg() -> str:
    """The key, and the patterns that all figures use."""
    name = (
        "Key. Solid mark: reading beyond the cut-off; open mark: other reading; grey mark: due to another cause. Bars: running "
        "drugs, open at the right where the end is assumed. Grade bands: height and number are the grade; hatched: range left "
        "open by missing data; dotted: a gap between assessments leaves more open; bracket above: episode."
    )
    return f'<svg class="course" role="img" aria-label="{name}" viewBox="0 0 900 {HEIGHT}">{"".join(legend_parts())}</svg>'


def legend_parts() -> list[str]:
    """What the key is drawn of."""
    parts = [PATTERNS]
    columns = (
        (
            ("m", "circle", "reading beyond the cut-off"),
            ("o", "circle", "other reading"),
            ("x", "circle", "due to another cause, said a person"),
            ("o", "diamond", "open dose mark: prophylaxis"),
        ),
        (
            ("b", "", "drug running, with its rate"),
            ("ba", "", "end not recorded, assumed"),
            ("cut", "", "cut-off, for orientation"),
            ("ep", "", "episode; arrow: end not seen"),
        ),
        (
            ("g3", "3", "grade: height and number"),
            ("up", "1–4", "open range: missing data"),
            ("st", "", "gap between assessments"),
            ("z", "", "grade 0"),
        ),
    )
    for n, column in enumerate(columns):
        x = 8.0 + n * 300
        for row, (cls, shape, text) in enumerate(column):
            y = 16.0 + row * 24
            parts += [_sample(cls, shape, x, y), label(x + 42, y + 4, text, "v")]
    return parts


def _sample(cls: str, shape: str, x: float, y: float) -> str:
    if cls in ("m", "o", "x"):
        return f'<g class="{cls}">{mark(shape, x + 16, y, "")}</g>'
    if cls in ("b", "ba"):
        return rect(x, y - 5, 32, 10, cls) + label(x + 4, y + 3.6, "0.1", "r")
    if cls == "ep":
        return f'<path class="ep" d="M{x} {y - 3}v6M{x} {y}h32m-4-3l4 3l-4 3"/>'
    if cls in ("g3", "up"):
        return rect(x, y - 7, 32, 14, cls) + label(x + 16, y + 4, shape, "k h", "middle")
    return line(x, y, x + 32, y, cls)
