"""Print evidence: tables with the mark beside each number, faults, discrepancies, what a drug cuts, and papers."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from polars import col, lit
from rich.table import Table as RichTable
from rich.text import Text

from aftercar.evidence.discrepancies import as_printed
from aftercar.evidence.graph import Cut, Graph, backing, by_outcome, cut_words, edge_words, path_words
from aftercar.evidence.sources import MARKS, references
from aftercar.evidence.tables import Table, rows, tables, verified
from aftercar.grade.cite import Citations
from aftercar.serve.show import console, dataset_note

_REFS = "ref_id"


def _text(column: str) -> pl.Expr:
    return as_printed(column).fill_null("")


def _joined(*parts: pl.Expr | str, by: str = " ") -> pl.Expr:
    """What is there of several parts, in one cell."""
    return pl.concat_str(*(col(p) if isinstance(p, str) else p for p in parts), separator=by, ignore_nulls=True)


def _share(count: str, of: str, percent: str, *, mark: str | None = None) -> pl.Expr:
    """A percentage with its counts and its mark: 77% (58/75) primary."""
    number = as_printed(percent) + "%"
    counts = pl.concat_str(lit("("), as_printed(count).fill_null("?"), lit("/"), as_printed(of), lit(")"))
    return _joined(number, counts, *([pl.when(col(percent).is_not_null()).then(col(mark))] if mark else []))


def _spread(value: str | pl.Expr, low: str, high: str, *units: str) -> pl.Expr:
    """A number or words with bounds and units: 2 (1-12) range; without the number 10-100 pg/mL."""
    bounds = pl.concat_str(as_printed(low), lit("-"), as_printed(high))
    middle = as_printed(value) if isinstance(value, str) else value
    number = pl.when(middle.is_null()).then(bounds).otherwise(_joined(middle, pl.concat_str(lit("("), bounds, lit(")"))))
    return pl.when(middle.is_not_null() | bounds.is_not_null()).then(_joined(number, *units))


def _words(column: str) -> pl.Expr:
    """A word of the tables as words: crs_g3plus as crs g3plus."""
    return col(column).str.replace_all("_", " ")


# What the terminal shows of a table, what matters most first: it shows as many columns as have room. --wide, --json and --csv have every one.
SHOWN: dict[str, dict[str, pl.Expr | str]] = {
    "trials": {
        "trial": "trial_id", "product": pl.coalesce("product_alias", "product"), "disease": "disease_group", "n": "n_treated", "verified": "verified",
        "CRS graded by": "crs_scale", "NT graded by": "nt_scale", "ICANS graded by": "icans_scale", "reference": _REFS,
    },
    "toxicity_rates": {
        "trial": "trial_id", "product": "product", "endpoint": _words("endpoint"), "lecture": as_printed("lecture_pct") + "%",
        "publication": _share("primary_events", "primary_n", "primary_pct", mark="verified_primary"),
        "used": _joined(
            as_printed("recommended_pct") + "%",
            pl.when(recommended_source="primary").then("verified_primary").otherwise("verified_label"),
        ),
        "label": _share("label_events", "label_n", "label_pct", mark="verified_label"), "why they differ": _words("discrepancy_class"),
    },
    "onset": {
        "product": "product", "disease": "disease", "event": "event",
        "source, d": _spread("source_median_d", "source_low_d", "source_high_d", "source_spread_type"), "verified": "verified",
        "lecture, d": _spread("lecture_median_d", "lecture_low_d", "lecture_high_d"),
        "lasts, d": _spread("duration_median_d", "duration_low_d", "duration_high_d"),
        "in": _joined("source_population", pl.concat_str(lit("n="), as_printed("source_n"))), "reference": _REFS,
    },
    "intervention_trials": {
        "drug": "intervention", "endpoint": _words("endpoint"), "with it": _share("events", "n", "pct"), "verified": "verified",
        "without": _share("comp_events", "comp_n", "comp_pct"), "compared": "comparison_type", "study": "study_id", "effect": "effect_text",
        "reference": _REFS,
    },
    "preclinical": {
        "intervention": "intervention", "CRS": "effect_crs", "neuro": _words("effect_neurotoxicity"), "CAR-T": "effect_cart_activity",
        "verified": "verified", "species": "species", "survival": "effect_survival", "model": "model", "reference": _REFS,
    },
    "mechanisms": {
        "source": "source", "does": pl.when(col("sign") > 0).then(lit("raises")).otherwise(lit("lowers")), "target": "target",
        "verified": "verified", "evidence": _words("evidence_type"), "in": "species", "reference": _REFS, "effect": "effect", "note": "note",
    },
    "mechanism_nodes": {"node": "node_id", "name": "label", "kind": "node_type", "compartment": "compartment"},
    "risk_factors": {
        "factor": "factor", "outcome": "outcome", "size": _joined("effect_measure", "effect_value"), "verified": "verified", "p": "p_value",
        "population": "population", "reference": _REFS,
    },
    "late_effects": {
        "effect": "effect", "measure": "measure", "value": _spread(col("value"), "ci_low", "ci_high", "unit"), "verified": "verified",
        "product": "product", "n": pl.concat_str(as_printed("n_events"), pl.concat_str(lit("/"), as_printed("n_total")), ignore_nulls=True),
        "within": "horizon", "reference": _REFS,
    },
    "off_tumor": {
        "target": "target", "where": "off_tumour_site",
        "effect": pl.concat_str("off_tumour_effect", pl.when(certainty_in_lecture="questioned").then(lit("?")), ignore_nulls=True),
        "verified": "verified", "products": "products", "reference": _REFS,
    },
    "cytokine_kinetics": {
        "what": "analyte", "record": _words("record_type"), "in": _joined("context", "group", by=", "),
        "value": _spread("value", "low", "high", "unit"), "verified": "verified", "peak, d": _spread("time_peak_d", "time_low_d", "time_high_d"),
        "confidence": "confidence", "reference": _REFS,
    },
    "drug_pk": {
        "drug": "drug", "target": "target", "route": "route", "half-life": _spread("half_life", "half_life_low", "half_life_high", "half_life_unit"),
        "verified": "verified", "affinity": _spread("target_affinity", "affinity_low", "affinity_high", "affinity_unit", "affinity_type"),
        "dose": _joined("typical_dose", "dose_unit"),
    },
}  # fmt: skip
_ROOM = 11  # what a column of text should have, where there is so much


def table(about: Table, frame: pl.DataFrame, *, wide: bool) -> None:
    """A table, or with `wide` every column of each row."""
    console.print(f"{about.title}. {frame.height:,} rows.", style="bold")
    if wide:
        _records(about, frame)
    elif about.name == "references":
        _papers(frame)
    else:
        shown = {
            head: _text(e) if isinstance(e, str) else e.cast(pl.String).fill_null("") for head, e in SHOWN[about.name].items()
        }
        told = frame.select(**shown)
        _print(told.columns, told.rows())
    _legend()


def _print(columns: list[str], cells: list[tuple[str, ...]]) -> None:
    """As many columns as have room, no word broken; the others are named."""
    texts = [[name, *(row[n].replace(";", "; ") for row in cells)] for n, name in enumerate(columns)]
    least = [max(len(word) for text in column for word in text.split() or [""]) for column in texts]
    most = [max(map(len, column)) for column in texts]
    wanted = [max(word, min(_ROOM, whole)) for word, whole in zip(least, most, strict=True)]
    fit = sum(sum(wanted[: n + 1]) + 2 * n <= console.width for n in range(len(columns)))
    widths = _widened(least[:fit], most[:fit], console.width - 2 * (fit - 1))
    drawn = RichTable(box=None, pad_edge=False, header_style="bold")
    for name, width in zip(columns, widths, strict=False):
        drawn.add_column(name, overflow="fold", width=width)
    for line in zip(*(column[1:] for column in texts[:fit]), strict=True):
        drawn.add_row(*map(Text, line))
    console.print(drawn)
    if columns[fit:]:
        console.print(f"Not shown for want of room: {', '.join(columns[fit:])}. A wider terminal or --wide shows them.")


def _widened(widths: list[int], most: list[int], room: int) -> list[int]:
    """Widths that share out what room is left, first to the columns that are furthest from what they hold."""
    widths = list(widths)
    while sum(widths) < min(room, sum(most)):
        n = max((n for n in range(len(widths)) if widths[n] < most[n]), key=lambda n: most[n] / widths[n])
        widths[n] += 1
    return widths


def _records(about: Table, frame: pl.DataFrame) -> None:
    for row in frame.select(pl.all().cast(pl.String)).iter_rows(named=True):
        console.print()
        for column in about.columns:
            if row[column] is not None:
                console.print(Text.assemble((f"{column}: ", "bold"), row[column]))
    console.print()


def _papers(frame: pl.DataFrame) -> None:
    for key in frame["ref_id"]:
        paper = references()[key]
        console.print(f"{key}: {paper.line}{f'. doi {paper.doi}' if paper.doi else ''} [{paper.verified}]")


def _legend() -> None:
    """What the marks mean."""
    console.print(f"verified: {'; '.join(f'{mark}, {words}' for mark, words in verified().items())}. For research and education.")


def findings(found: pl.DataFrame, folder: Path | None) -> None:
    """What a check found; or how much it looked at."""
    if found.is_empty():
        looked = f"{folder}" if folder else f"{len(tables())} tables, {sum(len(rows(name)) for name in tables()):,} rows"
        console.print(f"{looked}: references resolve, percentages match counts, marks are there. Nothing is wrong.")
        return
    for file, row, column, problem, remedy in found.iter_rows():
        place = file + (f", row {row}" if row is not None else "") + (f", {column}" if column else "")
        console.print(f"{place}: {problem}", style="bold", soft_wrap=True)
        console.print(f"  {remedy}", soft_wrap=True)
    console.print(f"{found.height:,} found in {found['file'].n_unique()} files. A row counts from 1 after the header.")


def discrepancies(found: pl.DataFrame) -> None:
    """Lecture, source, and what is used, side by side."""
    drawn = RichTable(pad_edge=False, header_style="bold", show_lines=True, expand=True)
    for name in ("", "the lecture prints", "the source says", "used here, and why"):
        drawn.add_column(name, overflow="fold", ratio=4 if name else 3)
    for row in found.iter_rows(named=True):
        topic = row["topic"] + (f"\n[{row['severity']}]" if row["severity"] else "")
        used = row["used"] + (f": {row['why']}" if row["why"] else "")
        backed = f"{', '.join(row['ref_id'].split(';'))}; verified: {row['verified']}"
        drawn.add_row(topic, row["lecture"], row["source"], f"{used}\n({backed})")
    console.print(drawn)
    console.print(
        f"{found.height} places where the lecture that the tables began with (`lecture` in `aftercar evidence references`) and its sources differ."
    )
    _legend()


def cut(graph: Graph, of_drug: Cut) -> None:
    """What a drug cuts, by outcome."""
    console.print(cut_words(graph, of_drug), style="bold")
    for edge in of_drug.acts:
        console.print(f"  {edge_words(graph, edge)} ({backing(edge)})")
    for one in by_outcome(graph, of_drug):
        console.print(
            f"\n{graph.nodes[one.outcome].label}: {one.n} {'way' if one.n == 1 else 'ways'} cut; the shortest, {one.what}:",
            style="bold",
        )
        console.print(f"  {path_words(graph, one.shortest)}")
        for edge in one.shortest.edges:
            console.print(f"    {edge_words(graph, edge)} ({backing(edge)}){f' {edge.note}' if edge.note else ''}")
        left = path_words(graph, one.still_open) if one.still_open else "no way is left"
        console.print(f"  still open: {left}")
    console.print("\nAn edge says that an effect was found, not how large it is. A push raises the outcome, a brake lowers it.")
    _legend()


def cited(found: Citations) -> None:
    """The papers as a numbered list, then what no paper decides."""
    console.print(f"Graded with aftercar {found.version}: {', '.join(found.rules)}.\n")
    for n, (paper, scales) in enumerate(found.papers.values(), start=1):
        console.print(f"{n}. {paper.line}{f'. doi {paper.doi}' if paper.doi else ''}. [{paper.verified}]")
        if scales:
            console.print(f"   for {', '.join(scales)}")
    if found.unknown:
        console.print(f"Not known to this version: {', '.join(found.unknown)}.")
    if found.unchecked:
        told = ", ".join(f"{n} [{mark}] {MARKS[mark]}" for mark, n in found.unchecked.items() if mark in MARKS)
        console.print(f"\nOptions and rules that no checked source decides: {told}. run.json names them.")
    _legend()
    dataset_note(found.note, found.simulated)
