"""What `model` prints."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from polars import col
from rich.table import Table

from aftercar.serve.show import console
from aftercar.simulate.document import contents as of_document
from aftercar.simulate.document import counts, time_unit
from aftercar.simulate.trajectories import Trajectories

# L lecture, S a published number that was read, K general knowledge, C calibrated or assumed: the marks of our own model.
CONFIDENCE = {
    "L": "from the lecture behind the model",
    "S": "a published number that was read",
    "K": "general knowledge, to be checked",
    "C": "calibrated or assumed",
}


def _table(first: str, *others: str, left: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    return table


def trajectories(found: Trajectories, time: str) -> None:
    """A line a state: where it begins, peaks and ends; of many patients the median, and the 5th and 95th centile."""
    one = len(found) == 1
    table = _table("state", "unit", "start", "peak", f"peak at{f' ({time})' if time else ''}", "end", left=("unit",))
    solved = np.delete(found.values, list(found.faults), axis=0)
    for k, name in enumerate(found.names):
        values = solved[:, :, k]
        peak = np.argmax(np.nan_to_num(values, nan=-np.inf), axis=1)
        columns = (values[:, 0], values[np.arange(len(values)), peak], found.times[peak], values[:, -1])
        table.add_row(name, found.unit(name), *(f"{c[0]:.4g}" if one else _spread(c) for c in columns))
    console.print(table)
    if not one:
        console.print(f"{len(solved)} virtual patients: median (5th to 95th centile).")
    for why, n in _reasons(found):
        console.print(f"{n} not solved: {why}", soft_wrap=True)
    if found.warned:
        of = "" if one else f" for {len(found.warned)} of {len(found)} patients"
        console.print(f"The solver warned of numerical trouble{of}, and went on: read these values with care.", soft_wrap=True)


def _spread(values: Any) -> str:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{middle:.4g}" if low == high else f"{middle:.4g} ({low:.3g}-{high:.3g})"


def _reasons(found: Trajectories) -> list[tuple[str, int]]:
    reasons = list(found.faults.values())
    return [(why, reasons.count(why)) for why in dict.fromkeys(reasons)]


def findings(found: pl.DataFrame) -> None:
    """A line a finding, and how many of each kind."""
    table = _table("severity", "line", "what", "message", left=("what", "message"))
    for severity, line, category, message in found.iter_rows():
        table.add_row(severity, str(line) if line else "", category, message)
    if found.height:
        console.print(table)
    numbers = dict(found.group_by("severity").len().iter_rows())
    words = [
        f"{numbers[s]} {s if s == 'unsupported' else s + 's'}"
        for s in ("error", "unsupported", "warning", "note")
        if s in numbers
    ]
    console.print(
        f"{', '.join(words) or 'Nothing found'}."
        + ("" if {"error", "unsupported"} & numbers.keys() else " The model can be run.")
    )


def warnings(found: pl.DataFrame) -> None:
    """How many warnings there are of each kind."""
    for category, n in found.group_by("category", maintain_order=True).len().iter_rows():
        console.print(f"{n} warnings: {category}. `aftercar model check` lists them.", soft_wrap=True)


def contents(document: Any, *, formulas: bool) -> None:
    """States, then parameters, then on demand what is worked out; and how many parts the model has."""
    rows = of_document(document)
    for title, own in (
        ("States", rows.filter(role="state")),
        ("Parameters and compartments", rows.filter(~col("role").is_in(["state", "assigned"]))),
        *([("Worked out at all times", rows.filter(role="assigned"))] if formulas else []),
    ):
        if own.height:
            console.print(title, style="bold")
            console.print(_quantities(own))
            console.print()
    unit = time_unit(document.getModel())
    parts = ", ".join(f"{n} {what}" for what, n in counts(document).items() if n)
    console.print(f"{parts}. Time in {unit or 'no stated unit'}.", soft_wrap=True)
    used = set(rows["confidence"].drop_nulls())
    if told := "; ".join(f"{mark} {says}" for mark, says in CONFIDENCE.items() if mark in used):
        console.print(f"Confidence: {told}.", soft_wrap=True)


def _quantities(rows: pl.DataFrame) -> Table:
    wanted = {
        "value": "value",
        "unit": "unit",
        "formula": "formula",
        "meaning": "meaning",
        "source": "source",
        "confidence": "confidence",
    }
    said = [c for c in wanted if rows[c].is_not_null().any() and (rows[c].dtype != pl.String or (rows[c] != "").any())]
    table = _table("name", *said, left=tuple(c for c in said if c != "value"))
    for row in rows.iter_rows(named=True):
        cells = (("" if row[c] is None else f"{row[c]:.6g}" if c == "value" else row[c]) for c in said)
        table.add_row(row["name"], *cells)
    return table


def behaviours(found: pl.DataFrame) -> None:
    """Each behaviour with its parts, and whether they hold."""
    table = _table("behaviour", "holds", "asked", left=("holds", "asked"))
    before = 0
    for row in found.iter_rows(named=True):
        first = f"{row['behaviour']}. {row['text']}" if row["behaviour"] != before else ""
        table.add_row(first, "yes" if row["holds"] else "NO", row["part"])
        before = row["behaviour"]
    console.print(table)
    console.print(f"{found['holds'].sum()} of {found.height} hold. Simulated patients; agreement here is no validation.")
