"""Print scales: the list, and each table beside its source, options and marks."""

from __future__ import annotations

from rich.table import Table

from aftercar.evidence.sources import MARKS
from aftercar.grade.describe import GRADES, Description, column
from aftercar.serve.show import console


def listed(described: list[Description]) -> None:
    """A line a scale."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("scale", "what", "toxicity", "default", "cells not checked"):
        table.add_column(name, overflow="fold", no_wrap=name == "scale")
    for d in described:
        weak = ", ".join(f"{n} {mark}" for mark, n in d.cells_by_mark.items() if mark != "V")
        table.add_row(
            d.name, d.title, d.toxicity, "yes" if d.default else "", f"{weak} of {sum(d.cells_by_mark.values())}" if weak else ""
        )
    console.print(table)
    console.print(f"`aftercar scales NAME` prints a scale's table. {legend(described)}")


def legend(described: list[Description]) -> str:
    """What the marks of these scales mean."""
    used = {m for d in described for m in (*d.cells_by_mark, *d.rules.values(), *(o["mark"] for o in d.options))}
    return "Marks: " + "; ".join(f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in used) + "."


def one(d: Description) -> None:
    """A scale: title, citation, table, rules, options, concepts."""
    console.print(
        f"\n{d.name}: {d.title}" + (f" (default of {d.toxicity})" if d.default else f" (of {d.toxicity})"), style="bold"
    )
    console.print(f"Version {d.version}. {d.citation}" + (f". doi {d.doi}" if d.doi else ""))
    for paper in d.also.values():
        console.print(f"Also: {paper}")
    used = [g for g in GRADES if any(g in row for row in d.table.values())]
    table = Table(pad_edge=False, header_style="bold", show_lines=True)
    table.add_column("", overflow="fold")
    for grade in used:
        table.add_column(column(grade), overflow="fold", ratio=1)
    for axis, row in d.table.items():
        table.add_row(axis, *("\n".join(row.get(g, [])) for g in used))
    console.print(table)
    for rule, mark in d.rules.items():
        console.print(f"  rule {rule}: [{mark}] {MARKS[mark]}")
    options = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("option", "value", "may be", "mark", "question"):
        options.add_column(name, overflow="fold")
    for o in d.options:
        value = str(o["value"]) if o["value"] == o["default"] else f"{o['value']} (default {o['default']})"
        options.add_row(o["name"], value, o["may_be"], o["mark"], o["question"])
    console.print(options)
    console.print(f"Reads: {', '.join(d.reads)}")
