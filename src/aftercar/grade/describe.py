"""A scale in words, from its own definition: its table, source, options and marks.

The command line, the documentation and the tests all read this, so that what is printed is what grades.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from aftercar.evidence.sources import MARKS, references
from aftercar.grade.options import OPTIONS, Options
from aftercar.grade.scale import Scale
from aftercar.options import Option

GRADES = (0, 1, 2, 3, 4, 5)  # 0: a feature that counts towards a cell


@dataclass(frozen=True)
class Description:
    """One scale.

    Attributes:
        table: a row an axis, in the order of the definition; of each grade its cells as results name them.
        citation, also: the paper in one line; others that it stands on, by key.
        options: those that the scale reads, each with default, value used, what it may be, mark and question.
        rules: marks of rules that are not cells.
        reads: concepts that a record may hold for it.
    """

    name: str
    title: str
    toxicity: str
    default: bool
    version: str
    source: str
    citation: str
    doi: str | None
    also: dict[str, str]
    table: dict[str, dict[int, list[str]]]
    options: list[dict[str, Any]]
    rules: dict[str, str]
    reads: list[str]
    cells_by_mark: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """As a plain dictionary."""
        return asdict(self)


def describe(scale: Scale, options: Options | None = None) -> Description:
    """A scale under a set of options; by default the defaults."""
    chosen = options if options is not None else Options()
    table: dict[str, dict[int, list[str]]] = {}
    by_mark: dict[str, int] = {}
    for cell in scale.criteria(chosen):
        table.setdefault(cell.axis, {}).setdefault(cell.grade, []).append(cell.label)
        by_mark[cell.mark] = by_mark.get(cell.mark, 0) + 1
    paper = references()[scale.source]
    return Description(
        name=scale.name,
        title=scale.title,
        toxicity=scale.toxicity,
        default=scale.default,
        version=scale.version,
        source=scale.source,
        citation=paper.line,
        doi=paper.doi or None,
        also={key: references()[key].line for key in scale.also},
        table=table,
        options=[_option(OPTIONS[name], chosen) for name in sorted(set(scale.options), key=list(OPTIONS).index)],
        rules=dict(scale.marks or {}),
        reads=sorted(set(scale.codes)),
        cells_by_mark=dict(sorted(by_mark.items(), key=lambda m: list(MARKS).index(m[0]))),
    )


def allowed(option: Option) -> str:
    """What an option may be, in words."""
    may = [str(c) for c in option.choices]
    if option.number:
        may.append(f"{option.number[0]:g} to {option.number[1]:g}")
    if option.span:
        may.append(f"two days from {option.span[0]} to {option.span[1]}")
    return ", ".join(may) or "drugs and groups of drugs"


def _option(option: Option, chosen: Options) -> dict[str, Any]:
    return {
        "name": option.name,
        "default": option.default,
        "value": chosen[option.name],
        "may_be": allowed(option),
        "mark": option.mark,
        "question": option.question,
    }


def markdown(described: list[Description]) -> str:
    """The scales as a page: what `docs/scales.md` holds."""
    lines = [
        "# The scales",
        "",
        "Printed from the definitions that grade: `aftercar scales all --markdown`. A cell is met, unmet or unknown; the highest that is",
        "met is the grade. What stands behind a cell or rule is V (checked against a source) unless a mark says otherwise:",
        "",
        *(f"- **{mark}**: {meaning}" for mark, meaning in MARKS.items() if mark not in ("V", "memory")),
        "",
        "A box may hold several cells, parted by semicolons. A letter and number in front of a rule only names it.",
        "",
        "How a record becomes the input of these tables is told in [conventions.md](conventions.md).",
        "",
        "| scale | | of | |",
        "| --- | --- | --- | --- |",
        *(f"| [{d.name}](#{d.name}) | {d.title} | {d.toxicity} | {'default' if d.default else ''} |" for d in described),
    ]
    for d in described:
        lines += ["", f"## {d.name}", "", f"{d.title}, version {d.version}. {d.citation}{f', doi {d.doi}' if d.doi else ''}.", ""]
        if d.also:
            lines += [f"Also: {' '.join(f'{paper}.' for paper in d.also.values())}", ""]
        used = [g for g in GRADES if any(g in row for row in d.table.values())]
        lines += ["| | " + " | ".join(map(column, used)) + " |", "| --- |" + " --- |" * len(used)]
        for axis, row in d.table.items():
            lines.append(f"| {axis} | " + " | ".join(_cell(row.get(g, [])) for g in used) + " |")
        if d.rules:
            lines += ["", "Rules: " + "; ".join(f"{rule} [{mark}]" for rule, mark in d.rules.items()) + "."]
        lines += ["", "Options: " + ", ".join(f"`{o['name']}` = {o['default']}" for o in d.options) + "."]
    return "\n".join(lines) + "\n"


def column(grade: int) -> str:
    """The head of a table's column."""
    return str(grade) if grade else "features"


def _cell(texts: list[str]) -> str:
    return ";<br>".join(t.replace("|", "\\|").replace("<", "&lt;") for t in texts)
