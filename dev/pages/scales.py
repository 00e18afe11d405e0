"""A page for each scale: its table, source, marks, options and worked cases."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aftercar.conformance.run import Check
from aftercar.evidence.sources import references
from aftercar.grade.describe import GRADES, Description, column, describe
from aftercar.grade.run import SCALES
from pages import cases
from pages.text import LEGEND, bibliography, cited, code, codes, contents, marked, page, plain, table

RULE_ID = re.compile(r"[A-Z]\d+ ")


def pages(checks: list[Check]) -> Iterator[tuple[str, str]]:
    """The list of scales, and a page each."""
    described = [describe(scale) for scale in SCALES.values()]
    rows = [
        [
            f"[{code(d.name)}]({d.name}.md)",
            plain(d.title),
            code(d.toxicity) + (" (default)" if d.default else ""),
            str(sum(d.cells_by_mark.values())),
            str(sum(n for mark, n in d.cells_by_mark.items() if mark != "V") or ""),
            str(sum(c.scale == d.name for c in checks)),
        ]
        for d in described
    ]
    yield (
        "scales/index",
        page(
            "Scales",
            "Each page is made from the definition that grades. How a record becomes the input of these tables is told in "
            "[conventions](../../conventions.md), and [all tables on one page](../../scales.md) are good to print.",
            table(["scale", "what", "grades", "cells", "not checked against a source", "worked checks"], rows),
            contents(*(d.name for d in described), hidden=True),
        ),
    )
    for d in described:
        yield f"scales/{d.name}", one(d, [c for c in checks if c.scale == d.name])


def one(d: Description, checks: list[Check]) -> str:
    """One scale."""
    used = [g for g in GRADES if any(g in row for row in d.table.values())]
    cells = [
        [plain(axis), *("; \n".join(plain(text) for text in row.get(grade, [])) for grade in used)]
        for axis, row in d.table.items()
    ]
    named = "A letter and number in front only names a rule." if any(RULE_ID.match(rule) for rule in d.rules) else ""
    options = [
        [code(o["name"]), codes(str(o["default"]).split(",")), plain(o["may_be"]), plain(o["question"]) + " " + marked(o["mark"])]
        for o in d.options
    ]
    return page(
        plain(d.title),
        f"{code(d.name)}, version {d.version}, grades {code(d.toxicity)}{', and is its default scale' if d.default else ''}. {LEGEND}",
        f"    aftercar grade TIMELINE --scale {d.name} --out RESULTS",
        "## Table",
        "A cell is met, unmet or unknown; the highest that is met is the grade, and unknown cells widen it to `grade_upper`. A box may hold several cells, parted by semicolons.",
        table(["", *map(column, used)], cells),
        "## Rules that are not cells" if d.rules else "",
        named,
        "\n".join(f"- {plain(rule)} {marked(mark)}" for rule, mark in d.rules.items()),
        "## Options" if options else "",
        "Questions that the papers leave open. `--option name=value` decides one otherwise; a result says which were used."
        if options
        else "",
        table(["option", "default", "may be", "question"], options) if options else "",
        "## Reads",
        f"Concepts that a record may hold for it (`aftercar concepts` says in which units): {codes(d.reads)}." if d.reads else "",
        "## Source",
        f"{cited(d.source)}.",
        bibliography(key for key in d.also if key in references()),
        "## Worked cases",
        cases.of(checks, with_scale=False),
    )
