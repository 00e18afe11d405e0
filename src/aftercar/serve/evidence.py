"""`aftercar evidence` and `aftercar cite`: the tables, their check, the mechanism, and the papers behind a result."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aftercar.errors import OptionError
from aftercar.serve.pool import pool

if TYPE_CHECKING:
    import polars as pl

app = typer.Typer(
    help="What is published: trials, rates, mechanisms and more, each number with what stands behind it. For research and education.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

# By name here, so that starting reads no table; `schema.toml` says the rest, and a test that the names are the same.
TABLES = {
    "trials": "Trials, and the scales that they graded by.",
    "rates": "Rates of CRS, neurologic events and ICANS by trial.",
    "onset": "When toxicities begin, and how long they last.",
    "interventions": "Trials of drugs against toxicities.",
    "preclinical": "Experiments in mice and in vitro.",
    "mechanisms": "What raises or lowers what.",
    "nodes": "The nodes of the mechanism.",
    "risk-factors": "Risk factors.",
    "late-effects": "Late effects.",
    "off-tumor": "Where a target stands beside the tumour.",
    "kinetics": "CAR-T cells, cytokines and markers over time.",
    "drugs": "Half-lives, volumes and affinities of drugs.",
    "references": "The papers.",
}

Product = Annotated[str | None, typer.Option("--product", help="A product by any of its names: axi-cel, Yescarta ...")]
Toxicity = Annotated[str | None, typer.Option("--toxicity", help="Such as crs, nt or icans.")]
Drug = Annotated[str | None, typer.Option("--drug", help="Such as tocilizumab.")]
Wide = Annotated[bool, typer.Option("--wide", help="Every column, a row beneath the other.")]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON, every column.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="Write to this file, every column.")]


WHOLE = ("nodes", "references")  # of no product, toxicity or drug


def _printed(name: str) -> Callable[..., None]:
    """The command that prints a table, or the rows about what is asked for."""

    def show_table(wide: Wide = False, json_: Json = False, csv: Csv = None) -> None:
        _show(name, wide, json_, csv)

    def show_rows(
        product: Product = None,
        toxicity: Toxicity = None,
        drug: Drug = None,
        wide: Wide = False,
        json_: Json = False,
        csv: Csv = None,
    ) -> None:
        _show(name, wide, json_, csv, product=product, toxicity=toxicity, drug=drug)

    return show_table if name in WHOLE else show_rows


def _show(name: str, wide: bool, json_: bool, csv: Path | None, **about: str | None) -> None:
    from aftercar.evidence.select import select
    from aftercar.evidence.tables import named
    from aftercar.serve import show_evidence

    rows = select(name, **about)
    if not _handed_over(rows, json_, csv):
        show_evidence.table(named(name), rows, wide=wide)


for _name, _help in TABLES.items():
    app.command(_name, help=_help)(_printed(_name))
app.command("pool")(pool)


def _handed_over(rows: pl.DataFrame, as_json: bool, csv: Path | None) -> bool:
    """Whether rows went out as JSON or into a file."""
    from aftercar.files import write_text

    if csv:
        write_text(csv, rows.write_csv())
        typer.echo(f"Written: {csv}", err=as_json)
    if as_json:
        print(json.dumps(rows.to_dicts(), indent=2, ensure_ascii=False))
    return bool(as_json or csv)


@app.command()
def check(
    folder: Annotated[Path | None, typer.Option("--folder", help="Check the tables of this folder instead.")] = None,
    json_: Json = False,
    csv: Csv = None,
) -> None:
    """Check that references resolve, percentages match counts, and marks are there. Exit 1 if anything is wrong."""
    from aftercar.evidence.checks import check as findings
    from aftercar.serve import show_evidence

    found = findings(folder)
    if not _handed_over(found, json_, csv):
        show_evidence.findings(found, folder)
    if found.height:
        raise typer.Exit(1)


class Severity(enum.StrEnum):
    """How much a discrepancy matters."""

    critical = "critical"
    high = "high"
    medium = "medium"
    low = "low"


@app.command()
def discrepancies(
    severity: Annotated[Severity | None, typer.Option("--severity", help="Only those that matter so much.")] = None,
    json_: Json = False,
    csv: Csv = None,
) -> None:
    """Print what the lecture that the tables began with says beside what its source says, and which of the two is used."""
    from aftercar.evidence.discrepancies import discrepancies as all_of_them
    from aftercar.serve import show_evidence

    rows = all_of_them()
    if severity:
        rows = rows.filter(severity=severity.value)
    if not _handed_over(rows, json_, csv):
        show_evidence.discrepancies(rows)


@app.command()
def graph(
    out: Annotated[Path | None, typer.Option("--out", help="The file to write: .html to look at, .graphml or .json.")] = None,
    drug: Annotated[str | None, typer.Option("--drug", help="Print what this drug cuts.")] = None,
) -> None:
    """Draw the mechanism, or print which of its paths a drug cuts."""
    from aftercar.evidence.graph import mechanism, to_graphml, to_json
    from aftercar.files import write_text
    from aftercar.serve import show_evidence

    if not (out or drug):
        raise OptionError("Name a file by --out, or a drug by --drug.")
    of_all = mechanism()
    if drug:
        show_evidence.cut(of_all, of_all.cut_by(drug))
    if out:
        suffix = out.suffix.lower()
        if suffix == ".html":
            from aftercar.report.mechanism import write_mechanism

            write_mechanism(out)
        elif suffix in (".graphml", ".json"):
            write_text(out, to_graphml(of_all) if suffix == ".graphml" else to_json(of_all))
        else:
            raise OptionError(f"{out.name}: the ending says the format, and it is .html, .graphml or .json.")
        print(f"Written: {out}")


def cite(
    folder: Annotated[Path, typer.Argument(help="The results folder.", metavar="RESULTS")],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print as BibTeX.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the papers that a result stands on."""
    from aftercar.grade.cite import cite as behind
    from aftercar.serve import show_evidence

    if bibtex and json_:
        raise OptionError("Take one of --bibtex and --json.")
    found = behind(folder)
    if bibtex:
        print("\n\n".join(paper.bibtex for paper, _ in found.papers.values()))
    elif json_:
        content: dict[str, Any] = found.to_json()
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        show_evidence.cited(found)
