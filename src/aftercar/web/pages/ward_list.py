"""The ward list: who changed, who cannot be graded, what is overdue."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from aftercar.ward import record, statements
from aftercar.ward.overview import by_urgency, line, rounds
from aftercar.web import render
from aftercar.web.access import Reader, TheWard

router = APIRouter(include_in_schema=False)


@router.get("/")
def ward_list(request: Request, ward: TheWard, person: Reader) -> Response:
    """All patients; what is still being graded says so, and the page asks again."""
    with ward.database.reading() as connection:
        everybody = record.patients(connection)
        locked = {number: own.to_dicts() for number, own in statements.locked(connection).items()}
    now = ward.now()
    lines = by_urgency([line(who, ward.ready(who), now) for who in everybody])
    waiting = sum(each.found is None and each.patient.version > 0 for each in lines)
    ward.note(person, "list.read", detail={"patients": len(lines)})
    return render.page(request, "ward_list.html.j2", person, lines=lines, waiting=waiting, locked=locked, rounds=rounds())
