"""Pages of the mechanism: its equations and every number of it, with where the number comes from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from importlib.resources import files
from itertools import groupby

from aftercar.evidence.graph import backing, mechanism
from aftercar.report.virtual import patient_figure, states_figure
from aftercar.simulate.run import Scenario, simulate
from pages.text import LEGEND, bibliography, code, contents, page, plain, table

CONFIDENCE = {
    "L": "the lecture from which this project began",
    "S": "a published number that was read",
    "K": "general knowledge, to be checked against label or paper",
    "C": "calibrated or assumed",
}
TABLES = {
    "variability": ("How patients differ", "Log-normal about the median."),
    "products": ("Products", "Values of a product in place of the median."),
    "diseases": ("Diseases", "Values of a disease in place of the median."),
    "drugs": ("Drugs of the simulator", "What 1 mg adds to which state, and the usual dose."),
}
SHOWN = Scenario("axi-cel", "LBCL", policy="standard", days=30)
SIMULATED = "**Simulated: virtual patients; calibrated to published summary rates; not a prediction for a person.**"


def _file(name: str) -> str:
    return files("aftercar.simulate").joinpath("model", name).read_text(encoding="utf-8")


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_file(f"{name}.csv"))))


def _legend() -> str:
    return "Where a value is from: " + "; ".join(f"**{letter}** {says}" for letter, says in CONFIDENCE.items()) + "."


def pages() -> Iterator[tuple[str, str]]:
    """The list, a page a table, the equations, and the graph of the evidence."""
    parameters = _rows("parameters")
    counts = {letter: sum(r["confidence"] == letter for r in parameters) for letter in CONFIDENCE}
    yield (
        "model/index",
        page(
            "The mechanism in full",
            f"{SIMULATED} These are the files that `aftercar simulate` reads; [virtual patients](../../simulate.md) says how to change them, and [the science of the simulator](../../science.md) how far "
            f"they can be believed. Of {len(parameters)} parameters and initial states {counts['C']} are calibrated or assumed, {counts['S']} read in a paper.",
            contents("graph", "example", "equations", "parameters", *TABLES, "observation", "policies"),
        ),
    )
    yield "model/graph", _graph()
    yield (
        "model/example",
        page(
            "Virtual patients, drawn",
            SIMULATED,
            f"Sixty virtual patients of {SHOWN.product} in {SHOWN.disease} under the policy `{SHOWN.policy}`, drawn when this page was made: median, and the bands that hold half and nine tenths.",
            "![States of sixty virtual patients over thirty days, with bands](states.svg)",
            "One of them: states of the mechanism, what a ward would chart of them with the doses, and the grades of that chart beneath.",
            "![One virtual patient from its states over the chart to its grades](patient.svg)",
            f"    aftercar simulate --product {SHOWN.product} --disease {SHOWN.disease} --n 60 --days {SHOWN.days:g} --seed 1 --plot states.svg --plot-patient 1 --out virtual",
        ),
    )
    yield "model/equations", page(
        "Equations", SIMULATED, "The structure without its numbers, in [Antimony](https://doi.org/10.1093/bioinformatics/btp401).",
        f"```text\n{_file('car_t.ant').rstrip()}\n```",
    )  # fmt: skip
    yield (
        "model/parameters",
        page(
            "Parameters and initial states",
            f"{SIMULATED} {_legend()}",
            *(
                part
                for group, rows in groupby(parameters, key=lambda r: r["group"])
                for part in (f"## {plain(group)}", _table([{k: v for k, v in r.items() if k != "group"} for r in rows]))
            ),
        ),
    )
    for name, (title, says) in TABLES.items():
        yield f"model/{name}", page(title, SIMULATED, f"{says} {_legend()}", _table(_rows(name)))
    yield "model/observation", page(
        "What a ward charts of a virtual patient", SIMULATED, f"```toml\n{_file('observation.toml').rstrip()}\n```",
    )  # fmt: skip
    yield "model/policies", page("Treatment policies", SIMULATED, f"```toml\n{_file('policies.toml').rstrip()}\n```")


def _table(rows: list[dict[str, str]]) -> str:
    named = ("name", "parameter", "unit", "state", "concept", "product", "disease", "drug")
    cells = [[code(v) if k in named else plain(v) for k, v in row.items()] for row in rows]
    return table(list(rows[0]), cells)


def _graph() -> str:
    graph = mechanism()
    labels = {node.id: node.label for node in graph.nodes.values()}
    edges = [
        [plain(labels[e.source]), "raises" if e.sign > 0 else "lowers", plain(labels[e.target]), plain(backing(e))]
        for e in graph.edges
    ]
    return page(
        "The mechanism as a graph",
        f"What causes what after an infusion, and which drug cuts which path: {len(graph.nodes)} nodes and {len(graph.edges)} edges of the evidence tables. This is what is "
        f"published, beside the equations, which are ours. {LEGEND}",
        '```{raw} html\n<p><a href="../../mechanism.html">The graph as a figure that answers to pointer and keyboard</a></p>\n```',
        "`aftercar evidence graph` writes the same page, GraphML and JSON.",
        table(["from", "", "to", "stands on"], edges),
        "## Papers",
        bibliography(key for e in graph.edges for key in e.references),
    )


def figures() -> Iterator[tuple[str, str]]:
    """Some virtual patients, from states to grades."""
    course = simulate(SHOWN, n=60, seed=1)
    yield "model/states.svg", states_figure(course.states, SHOWN)
    yield "model/patient.svg", patient_figure(course, SHOWN, 1)
