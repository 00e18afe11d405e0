"""What is published: rates by product and disease with the scale of each, onsets, where sources differ, and every table as it stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from markupsafe import Markup
from polars import col

from aftercar.evidence import table
from aftercar.evidence.discrepancies import discrepancies
from aftercar.evidence.select import GRADED_BY, SCALES
from aftercar.evidence.sources import keys, references
from aftercar.evidence.tables import REFERENCES, tables, verified
from aftercar.intervals import wilson
from aftercar.web import render
from aftercar.web.access import Reader

router = APIRouter(prefix="/evidence", include_in_schema=False)

ENDPOINTS = {
    "crs_any": "CRS, any", "crs_g3plus": "CRS, grade 3 or more", "nt_any": "neurologic events, any", "nt_g3plus": "neurologic events, grade 3 or more",
    "icans_any": "ICANS, any", "icans_g3plus": "ICANS, grade 3 or more",
}  # fmt: skip


@router.get("")
def rates(request: Request, person: Reader, product: str = "", disease: str = "", endpoint: str = "") -> Response:
    """Published rates with the scale that each trial used."""
    every = _rates()
    wanted = {"product_alias": product, "disease_group": disease, "endpoint": endpoint}
    shown = every.filter(pl.all_horizontal(pl.lit(True), *(col(c) == value for c, value in wanted.items() if value)))
    onset = table("onset").filter(col("product") == product if product else pl.lit(True))
    return render.page(
        request, "evidence.html.j2", person, rates=[_rate(r) for r in shown.iter_rows(named=True)], mixed=_mixed(shown), endpoints=ENDPOINTS, chosen=wanted,
        products=_values(every, "product_alias"), diseases=_values(every, "disease_group"), known=_values(every, "endpoint"), onset=onset.to_dicts(),
        discrepancies=discrepancies().to_dicts(), tables=list(tables().values()), marks=verified(), refs=refs,
    )  # fmt: skip


def _values(frame: pl.DataFrame, column: str) -> list[str]:
    return frame[column].drop_nulls().unique().sort().to_list()


def _rates() -> pl.DataFrame:
    """Every rate with the product, disease and scale of its trial."""
    trials = table("trials").select("trial_id", "product_alias", "disease", "disease_group", SCALES, "nt_definition")
    found = table("toxicity_rates").join(trials, on="trial_id", how="left", maintain_order="left")
    of_crs = col("endpoint").str.starts_with("crs")
    return found.with_columns(scale=GRADED_BY, definition=pl.when(~of_crs).then("nt_definition"))


def _rate(row: dict[str, Any]) -> dict[str, Any]:
    """A rate in words, with the Wilson interval of each source."""
    told = {side: _told(row, side) for side in ("primary", "label")}
    return (
        row
        | told
        | {
            "differs": row["discrepancy_class"] not in ("none", "not_in_lecture"),
            "endpoint": ENDPOINTS.get(row["endpoint"], row["endpoint"]),
        }
    )


def _told(row: dict[str, Any], side: str) -> str:
    pct, events, n = (row[f"{side}_{c}"] for c in ("pct", "events", "n"))
    if pct is None:
        return ""
    if events is None or not n:
        return f"{pct:g} %"
    low, high = wilson(events, n)
    return f"{pct:g} % ({100 * (low or 0):.0f} to {100 * (high or 0):.0f}), {events} of {n}"


def _mixed(shown: pl.DataFrame) -> list[str]:
    """Endpoints of which the rates that are shown were graded on several scales."""
    counts = shown.group_by("endpoint").agg(scales=col("scale").drop_nulls().unique().sort())
    return [f"{ENDPOINTS.get(e, e)}: {', '.join(s)}" for e, s in counts.sort("endpoint").iter_rows() if len(s) > 1]


def refs(cell: str | None) -> Markup:
    """Keys of references as links to the list of papers."""
    known = references()
    parts = [
        Markup('<a href="/evidence/references#ref-{0}">{0}</a>').format(k) if k in known else Markup("{}").format(k)
        for k in keys(cell)
    ]
    return Markup(", ").join(parts)


@router.get("/{name}")
def whole(request: Request, person: Reader, name: str) -> Response:
    """One table, every column."""
    if name == REFERENCES:
        return render.page(request, "references.html.j2", person, papers=list(references().values()), marks=verified())
    about = tables().get(name)
    if about is None:
        raise HTTPException(404, "There is no such table of evidence.")
    frame = table(name)
    return render.page(
        request, "evidence_table.html.j2", person, about=about, columns=frame.columns, rows=[_cells(r, about.cites()) for r in frame.iter_rows(named=True)], marks=verified(),
    )  # fmt: skip


def _cells(row: dict[str, Any], cites: Iterable[str]) -> list[Any]:
    return [
        refs(value) if column in cites else "" if value is None else f"{value:g}" if isinstance(value, float) else value
        for column, value in row.items()
    ]
