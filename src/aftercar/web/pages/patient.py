"""One patient: the course with its grades and why, options and doses, and how the record came to be."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from aftercar.errors import NotFound
from aftercar.grade.adjudicate import locks
from aftercar.manage.doses import EQUIVALENT_MG
from aftercar.timeline.concepts import concepts
from aftercar.ward import record, statements
from aftercar.ward.overview import line
from aftercar.ward.record import Patient
from aftercar.ward.ward import Ward
from aftercar.web import course, render
from aftercar.web.access import Reader, TheWard

# What rules say, in the order in which one would read it.
GROUPS = {
    "option": "Options now",
    "measure_first": "Measure first",
    "blocked": "Blocked now",
    "perhaps_blocked": "Perhaps blocked",
}

MOST_EVENTS = 100  # of the history on a page
BeforeEvent = Annotated[int | None, Query(ge=1, le=record.LARGEST)]

router = APIRouter(prefix="/patients/{subject_id}", include_in_schema=False)


def who_is(ward: Ward, subject_id: int) -> Patient:
    """The patient of a path."""
    with ward.database.reading() as connection:
        return record.find(connection, subject_id)


@router.get("")
def timeline(request: Request, ward: TheWard, person: Reader, subject_id: int, result: int | None = None) -> Response:
    """The timeline with its grade bands; with `result` as it was found then."""
    who = who_is(ward, subject_id)
    found = ward.found(subject_id) if result is None else ward.former(subject_id, result)
    if found is None and result is not None:
        raise NotFound("This patient has no result of that number.")
    if found is None:
        ward.note(person, "patient.read", subject_id)
        return render.page(request, "blank.html.j2", person, who=who, line=line(who, None, ward.now()))
    until = None if result is None else found.version
    with ward.database.reading() as connection:
        log = statements.log(connection, subject_id, until)
    at = ward.now() if result is None else found.as_of
    ward.note(person, "patient.read", subject_id, {"version": found.version})
    return render.page(
        request, "patient.html.j2", person, who=who, found=found, former=result is not None, line=line(who, found, at),
        drawn=course.drawn(ward, found, log["hash"][-1] if log.height else "", until), last=max(found.last_charted.values(), default=None), locked=locks(log).to_dicts(),
    )  # fmt: skip


@router.get("/options")
def options(request: Request, ward: TheWard, person: Reader, subject_id: int) -> Response:
    """What the rules say now, what was given, and what is left of each limit. Options, never orders."""
    who, found = who_is(ward, subject_id), ward.advised(subject_id)
    ward.note(person, "patient.options.read", subject_id, {"version": who.version})
    advice = [] if found is None else found.advice.to_dicts()
    return render.page(
        request, "options.html.j2", person, who=who, found=found, line=line(who, found, ward.now()),
        groups=[(title, [a for a in advice if a["status"] == status]) for status, title in GROUPS.items()], free=[a for a in advice if a["status"] == "not_blocked"], ledger=[] if found is None else found.ledger.to_dicts(),
        limits=[] if found is None else found.limits.to_dicts(), steroids=EQUIVALENT_MG,
    )  # fmt: skip


@router.get("/history")
def history(
    request: Request, ward: TheWard, person: Reader, subject_id: int, before: BeforeEvent = None, saved: int = 0
) -> Response:
    """Every entry with who made it and what became of it, a page at a time, and every result."""
    who = who_is(ward, subject_id)
    with ward.database.reading() as connection:
        events = record.history(connection, subject_id, before=before, most=MOST_EVENTS + 1)
    more, events = len(events) > MOST_EVENTS, events[:MOST_EVENTS]
    ward.note(person, "patient.history.read", subject_id)
    entered = [e | {"recorded_at": ward.local(e["recorded_at"])} for e in events]
    return render.page(
        request, "history.html.j2", person, who=who, line=line(who, ward.ready(who), ward.now()), events=entered, most=MOST_EVENTS, before=before,
        earlier=events[-1]["event_id"] if more else None, results=ward.formerly(subject_id), concepts=concepts(), saved=saved,
    )  # fmt: skip
