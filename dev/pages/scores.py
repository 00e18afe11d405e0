"""A page for each risk score: inputs, windows, value, groups, what was published of it, options and worked cases."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from aftercar.conformance.run import Check
from aftercar.errors import many
from aftercar.grade.describe import allowed
from aftercar.risk import car_hematotox
from aftercar.risk.options import OPTIONS, Options
from aftercar.risk.run import REGISTRY
from aftercar.risk.score import Score
from pages import cases
from pages.text import LEGEND, bibliography, cited, code, contents, marked, page, plain, table


def pages(checks: list[Check]) -> Iterator[tuple[str, str]]:
    """The list of scores, and a page each."""
    rows = [
        [
            f"[{code(s.name)}]({s.name}.md)",
            plain(s.title),
            plain(s.predicts),
            "yes" if s.value else "no",
            marked(s.mark),
            str(sum(c.scale == s.name for c in checks) or ""),
        ]
        for s in REGISTRY.values()
    ]
    yield (
        "scores/index",
        page(
            "Risk scores",
            "Each page is made from the definition that computes. **A score is not a decision**: it tells of groups and not of a person. How scores are asked for, and held "
            f"against an outcome of your own cohort, is told in [risk scores](../../risk.md). {LEGEND}",
            table(["score", "what", "a high value foretells", "computed", "mark", "worked checks"], rows),
            contents(*(s.name for s in REGISTRY.values()), hidden=True),
        ),
    )
    for s in REGISTRY.values():
        yield f"scores/{s.name}", one(s, [c for c in checks if c.scale == s.name])


def one(s: Score, checks: list[Check]) -> str:
    """One score."""
    chosen = Options()
    inputs = [
        [
            code(i.name),
            code(i.code),
            code(i.unit),
            i.pick + (f", {plain(i.window.says)}" if i.window else ""),
        ]
        for i in s.inputs
    ]
    groups = [[f"{'above' if s.above and low else 'from'} {low:g}", plain(name)] for low, name in s.groups(chosen)]
    options = [
        [code(o.name), code(o.default), plain(allowed(o)), f"{plain(o.question)} {marked(o.mark)}"]
        for o in (OPTIONS[name] for name in s.options)
    ]
    return page(
        plain(s.title),
        f"{code(s.name)}, version {s.version} {marked(s.mark)}. Foretells {plain(s.predicts)}; built in {plain(s.population)}. {LEGEND}",
        f"**No value is computed**: {plain(s.unpublished)}." if s.unpublished else f"    aftercar risk TIMELINE --score {s.name}",
        "## Inputs" if inputs else "",
        f"Taken {', '.join(w.says for w in s.windows)}. A missing input gives a range or no value, never a zero."
        if s.windows
        else "",
        table(["input", "concept", "unit", "of several values"], inputs) if inputs else "",
        "## Value" if s.value else "",
        plain(inspect.getdoc(s.value)) if s.value else "",
        _points() if s.name == car_hematotox.CAR_HEMATOTOX.name else "",
        "Its logarithm to base 2 is told too." if s.ratio else "",
        "## Groups" if groups else "",
        table(["value", "group"], groups) if groups else "",
        "## Warnings" if s.flags or s.refused else "",
        ", ".join(map(code, [*(s.flags or {}), *(s.refused or {})])),
        "## Options" if options else "",
        table(["option", "default", "may be", "question"], options) if options else "",
        "## What was published of it" if s.findings else "",
        "\n".join(f"- {plain(f.text)} [{code(f.source)}] {marked(f.mark)}" for f in s.findings),
        "## Source",
        f"{cited(s.source)}.",
        bibliography(f.source for f in s.findings if f.source != s.source),
        "## Worked cases" if s.value else "",
        cases.of(checks, with_scale=False) if s.value else "",
    )


def _points() -> str:
    """The points of CAR-HEMATOTOX, the one score that is a table."""
    items = car_hematotox.items(Options())
    points = sorted({c.points for item in items for c in item.cells})
    rows = [
        [plain(item.name), *("\n".join(plain(c.text) for c in item.cells if c.points == n) for n in points)] for item in items
    ]
    return table(["", *(many(n, "point") for n in points)], rows)
