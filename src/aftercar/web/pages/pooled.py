"""Published rates of an endpoint put together within each scale, with the ward's own patients beside the studies of theirs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import polars as pl
from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup
from polars import col

from aftercar.cohort.needs import need_statistics
from aftercar.cohort.outcome import Outcome
from aftercar.errors import OptionError
from aftercar.evidence.tables import table, verified
from aftercar.report.figures.draw import Figure
from aftercar.report.figures.forest import NO_COUNTS, UNCHECKED, Own, endpoint_of, forest, own_rate, sections, told_alone, told_of
from aftercar.report.names import endpoint_name
from aftercar.synthesis import published
from aftercar.synthesis.published import Group
from aftercar.ward.ward import Ward
from aftercar.web import cohort, render
from aftercar.web.access import Reader, TheWard
from aftercar.web.pages.evidence import refs

router = APIRouter(prefix="/evidence/pooled", include_in_schema=False)

USUAL = "crs_g3plus"


@router.get("")
def see(request: Request, ward: TheWard, person: Reader, endpoint: str = USUAL, product: str = "", disease: str = "", scale: str = "") -> Response:  # fmt: skip
    """The rates of an endpoint, of all products and diseases or of one.

    Args:
        scale: on which the ward's patients are graded; without, the scale that is used here.
    """
    need_statistics()
    if endpoint not in published.endpoints():
        raise OptionError("No endpoint is called so.")
    asked = {"endpoint": endpoint, "product": product, "disease": disease, "scale": scale}
    scales = {outcome.family: outcome for outcome in _outcomes(endpoint)}
    context: dict[str, Any] = {
        "asked": asked, "scales": {family: o.name for family, o in scales.items()}, "endpoints": {e: endpoint_name(e) for e in published.endpoints()}, "products": _known("product_alias"),
        "diseases": _diseases(endpoint), "marks": verified(), "refs": refs, "wrong": "", "shown": None,
    }  # fmt: skip
    try:
        groups, alone = _pooled(endpoint, product or None, disease or None)
    except OptionError as error:  # there is none of that choice, which is an answer
        context["wrong"] = str(error)
        return render.page(request, "pooled.html.j2", person, **context)
    own, note, beside = _own(ward, scales, scale, product)
    if own is not None:
        ward.note(person, "cohort.read", detail={"patients": own.n + own.undecided})
    figure = forest(endpoint_name(endpoint), sections(groups, own), note=note, without_counts=alone)
    context |= {
        "shown": Markup(figure.svg), "rows": _rows(figure), "beside": beside,
        "beside_none": own is not None and not any(own.fits(g.scale) for g in groups), "own": own,
    }  # fmt: skip
    return render.page(request, "pooled.html.j2", person, **context)


@lru_cache(maxsize=128)
def _pooled(endpoint: str, product: str | None, disease: str | None) -> tuple[list[Group], pl.DataFrame]:
    """What `pool` makes of it, and the studies without counts; what was published changes with the software alone."""
    groups, _ = published.pool(endpoint, product=product, disease=disease)
    return groups, published.without_counts(endpoint, product=product, disease=disease)


def _known(column: str) -> list[str]:
    return table("trials")[column].drop_nulls().unique().sort().to_list()


def _diseases(endpoint: str) -> list[str]:
    studies, _ = published.counted(endpoint)
    return studies["disease"].drop_nulls().unique().sort().to_list()


def _outcomes(endpoint: str) -> list[Outcome]:
    """What of the ward's patients is that endpoint: on each scale of its toxicity, the usual one first."""
    families = [family for toxicity in cohort.pairs().values() for family, _ in toxicity]
    every = [Outcome(family, cut) for family in [*families, "spm"] for cut in (1, 3)]
    return [outcome for outcome in every if endpoint_of(outcome) == endpoint]


def _own(ward: Ward, scales: dict[str, Outcome], scale: str, product: str) -> tuple[Own | None, str | None, str]:
    """The rate of the ward's patients, what is to be said of who they are, and where there is none why.

    Raises:
        OptionError: there is no such scale of the endpoint.
    """
    if scale and scale not in scales:
        raise OptionError("The ward's patients cannot be told on that scale: it is none of this endpoint.")
    if not scales:
        return None, None, "No grade of the ward's patients is this endpoint."
    outcome = scales[scale] if scale else next(iter(scales.values()))
    found = cohort.gathered(ward, product)
    if found is None or found.cohort.subjects.is_empty():
        return None, None, f"No patient of {product} is graded here." if product else "No patient is graded here yet."
    worst = found.cohort.worst
    if not worst["scale"].is_in(outcome.scales).any():
        worst = cohort.REGRADINGS.worst(ward, found.cohort)
    own = own_rate(worst, outcome)
    return (own, found.cohort.note, "") if own.n + own.undecided else (None, None, f"{outcome.name} applies to nobody here.")


def _rows(figure: Figure) -> list[dict[str, Any]]:
    """The rows of the drawing in words."""
    if figure.data.is_empty():
        return []
    shown = figure.data.with_columns(sign=col("verified").replace_strict(UNCHECKED, default="", return_dtype=pl.String))
    return [r | {"told": _told(r)} for r in shown.to_dicts()]


def _told(row: dict[str, Any]) -> str:
    if row["kind"] == NO_COUNTS:
        return told_alone(row)
    return told_of(row["share"], row["low"], row["high"]) if row["share"] is not None else ""
