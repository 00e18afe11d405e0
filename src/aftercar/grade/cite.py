"""The papers that a result stands on: those of the scales that graded, and those that their inputs and options rest on."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aftercar.evidence.sources import Reference, references
from aftercar.grade.options import OPTIONS
from aftercar.grade.results import read_run
from aftercar.grade.run import SCALES


@dataclass(frozen=True)
class Citations:
    """What to cite for a result.

    Attributes:
        version: of aftercar.
        rules: the scales that graded, with their versions.
        papers: each with the scales that stand on it.
        unknown: keys that the result names and this version does not know.
        unchecked: how many of the options and rules used have which mark: no paper, or none that was seen, decides them.
        note, simulated: what the dataset says of itself, and whether its patients are virtual.
    """

    version: str
    rules: list[str]
    papers: dict[str, tuple[Reference, list[str]]]
    unknown: list[str]
    unchecked: dict[str, int]
    note: str | None = None
    simulated: bool = False

    def to_json(self) -> dict[str, Any]:
        """As a plain dictionary."""
        papers = [{**asdict(paper), "scales": scales} for paper, scales in self.papers.values()]
        return {
            "aftercar": self.version,
            "rules": self.rules,
            "papers": papers,
            "unknown": self.unknown,
            "unchecked": self.unchecked,
            "timeline_note": self.note,
            "simulated": self.simulated,
        }


def cite(folder: Path | str) -> Citations:
    """The papers behind a results folder.

    Args:
        folder: what `aftercar grade` wrote.
    Raises:
        InputError: it holds no result.
    """
    run = read_run(Path(folder))
    rules: list[str] = run["rules"]
    behind: dict[str, list[str]] = {key: [] for key in run["sources"]}
    for rule in rules:
        scale = SCALES.get(rule.partition("@")[0])
        for key in scale.papers if scale else ():
            behind.setdefault(key, []).append(rule)
    marks = [OPTIONS[name].mark for name in run["options"] if name in OPTIONS]
    marks += [mark for of_scale in run.get("marks", {}).values() for mark in of_scale.values()]
    counted = Counter(mark for mark in marks if mark != "V")
    papers = {key: (references()[key], behind[key]) for key in sorted(behind) if key in references()}
    unknown = sorted(set(behind) - set(papers))
    note, simulated = run.get("timeline_note"), bool(run.get("simulated"))
    return Citations(run["aftercar"], rules, papers, unknown, dict(sorted(counted.items())), note, simulated)
