"""The mechanism of toxicities as a graph: what raises or lowers what, and what each drug cuts in it."""

from __future__ import annotations

from functools import cache

from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from aftercar.evidence import graph
from aftercar.report.mechanism import mechanism_parts
from aftercar.web import render
from aftercar.web.access import Reader

router = APIRouter(prefix="/mechanism", include_in_schema=False)


@router.get("")
def see(request: Request, person: Reader) -> Response:
    """The figure with its tables; a drug that is chosen marks what it cuts."""
    note, body = _parts()
    return render.page(request, "mechanism.html.j2", person, note=note, body=body)


@cache
def _parts() -> tuple[Markup, Markup]:
    return mechanism_parts(graph.mechanism())
