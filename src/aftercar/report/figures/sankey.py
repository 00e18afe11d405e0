"""A Sankey diagram of two scales: the courses by worst grade on the one, and where they stand on the other."""

from __future__ import annotations

import polars as pl
from polars import col

from aftercar.grade.regrade import NOT_APPLICABLE, NOT_GRADED, OPEN, Regraded
from aftercar.report.figures.draw import DERIVED, TOP, Figure, dataset_notes, framed
from aftercar.report.names import scale_name
from aftercar.report.svg import label, px, rect, tip

LEFT, RIGHT, BAR = 250.0, 650.0, 22.0
TALL, GAP, LEAST = 330.0, 12.0, 13.0  # px of all courses together, between two grades, and of the room that a name takes
ORDER = {name: n for n, name in enumerate([*"543210", OPEN, NOT_APPLICABLE, NOT_GRADED])}  # from the top


def sankey(found: Regraded) -> Figure:
    """Draw the shift table of `grade.regrade.regrade`.

    Ribbons are plain where the grade stays, hatched where the second scale grades higher, and dotted where it grades lower; grey where it is open on one of the two.
    """
    names = [scale_name(str(found.facts[side])) for side in ("from", "to")]
    title = f"From {names[0]} to {names[1]}"
    flows = found.shift.select("from", "to", "n").with_columns(change=_change())
    rank = [col(c).replace_strict(ORDER, return_dtype=pl.Int64) for c in ("from", "to")]
    data = flows.sort(*rank)
    if data.is_empty():
        return framed(
            title,
            "No course is graded on both scales.",
            TOP + 22,
            [label(0, TOP + 14, "No course is graded on both scales.", "n")],
            _notes(found),
            data,
        )
    total = int(data["n"].sum())
    top = TOP + 26
    sides = [_places(data, side, total, top) for side in ("from", "to")]
    parts = [label(LEFT, top - 10, names[0], "k", "end"), label(RIGHT, top - 10, names[1], "k")]
    used = [{name: y for name, (y, _, _) in side.items()} for side in sides]
    ribbons: list[tuple[bool, str]] = []
    for a, b, n, change in data.iter_rows():
        tall = n / total * TALL
        words = f"{_named(a)} to {_named(b)}: {n:,} of {total:,} ({n / total:.0%})"
        ribbons.append(
            (
                change == "open",
                _ribbon(
                    used[0][a], used[1][b], tall, {"same": "half", "higher": "up", "lower": "dots", "open": "open"}[change], words
                ),
            )
        )
        used[0][a] += tall
        used[1][b] += tall
    parts += [ribbon for _, ribbon in sorted(ribbons, key=lambda r: not r[0])]  # what is open lies beneath
    for side, x, anchor in zip(sides, (LEFT, RIGHT), ("end", ""), strict=True):
        for name, (y, tall, n) in side.items():
            cls = f"g{name}" if name.isdigit() else "up"
            parts.append(rect(x - BAR if anchor else x, y, BAR, tall, cls, f"{_named(name)}: {n:,}"))
            parts.append(
                label(
                    x - BAR - 6 if anchor else x + BAR + 6,
                    y + max(tall, 1) / 2 + 4,
                    f"{_named(name)}: {n:,} ({n / total:.0%})",
                    "v",
                    anchor,
                )
            )
    bottom = max(y + max(tall, LEAST) for side in sides for y, tall, _ in side.values())
    spoken = f"{total:,} courses: " + "; ".join(f"{_named(a)} to {_named(b)} {n}" for a, b, n, _ in data.iter_rows()) + "."
    return framed(title, spoken, bottom + 4, parts, _notes(found), data)


def _notes(found: Regraded) -> list[str]:
    notes = [
        "Worst grade of each course. Plain: the same grade; hatched: higher on the second scale; dotted: lower; white: missing data leave one of the two open."
    ]
    outside = [NOT_APPLICABLE, NOT_GRADED]
    absent = int(found.ungraded.filter(col("from").is_in(outside) | col("to").is_in(outside))["n"].sum())
    if absent:
        notes.append(f"{absent:,} course{'s are' if absent > 1 else ' is'} not graded on one of the two, or it does not apply.")
    agreed = found.agreement.row(0, named=True)
    if agreed["n"]:
        kappa = f", weighted kappa {agreed['kappa_quadratic']:.2f}" if agreed["kappa_quadratic"] is not None else ""
        notes.append(
            f"Settled on both: {agreed['n']:,}; the same grade in {agreed['agreed']:,} ({agreed['agreed'] / agreed['n']:.0%}){kappa}."
        )
    return [*notes, *dataset_notes(bool(found.facts.get("simulated")), found.facts.get("timeline_note")), DERIVED]


def _named(cell: str) -> str:
    return f"grade {cell}" if cell.isdigit() else cell


def _change() -> pl.Expr:
    settled = col("from").is_in(list("012345")) & col("to").is_in(list("012345"))
    return (
        pl.when(~settled).then(pl.lit("open")).when(col("from") == col("to")).then(pl.lit("same"))
        .when(col("to") > col("from")).then(pl.lit("higher")).otherwise(pl.lit("lower"))
    )  # fmt: skip


def _places(data: pl.DataFrame, side: str, total: int, top: float) -> dict[str, tuple[float, float, int]]:
    """Of each grade of a side, from the top: where it begins, how tall it is, and how many courses it has."""
    counts = dict(data.group_by(side).agg(col("n").sum()).iter_rows())
    found: dict[str, tuple[float, float, int]] = {}
    y = top
    for name in sorted(counts, key=ORDER.__getitem__):
        tall = counts[name] / total * TALL
        found[name] = (y, tall, counts[name])
        y += max(tall, LEAST - GAP / 2) + GAP
    return found


def _ribbon(y1: float, y2: float, tall: float, cls: str, words: str) -> str:
    middle = (LEFT + RIGHT) / 2
    tall = max(tall, 0.8)
    over = f"M{px(LEFT)} {px(y1)}C{px(middle)} {px(y1)} {px(middle)} {px(y2)} {px(RIGHT)} {px(y2)}"
    back = f"V{px(y2 + tall)}C{px(middle)} {px(y2 + tall)} {px(middle)} {px(y1 + tall)} {px(LEFT)} {px(y1 + tall)}z"
    return f'<path class="{cls} rib" d="{over}{back}">{tip(words)}</path>'
