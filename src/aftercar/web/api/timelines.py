"""Timelines in and out: rows, FHIR R4, corrections, and every entry that was ever made."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import HTTPException, Query, Request, Response
from sqlalchemy.engine import Connection

from aftercar.timeline.readers import Imported
from aftercar.ward import intake, record
from aftercar.ward.accounts import Person
from aftercar.ward.record import Patient
from aftercar.ward.ward import Ward, correct, enter
from aftercar.web.access import Charting, Reader, TheSettings, TheWard
from aftercar.web.api.models import Event, Page, RowIn, RowsIn, Written, noted, rejected
from aftercar.web.api.shared import Cursor, Limit, Number, ThePatient, decoded, encoded, local
from aftercar.web.api.shared import router as made
from aftercar.web.api.writes import IfMatch, Key, TheBody, expect, once

router = made("timelines")

_FHIR = {
    "requestBody": {
        "required": True,
        "description": "A FHIR R4 Bundle or a single resource; or resources one a line (NDJSON).",
        "content": {
            "application/fhir+json": {
                "schema": {"type": "object", "required": ["resourceType"], "properties": {"resourceType": {"type": "string"}}},
                "examples": {
                    "a temperature": {
                        "value": {
                            "resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/CART-017"},
                            "code": {"coding": [{"system": "http://loinc.org", "code": "8310-5"}]},
                            "effectiveDateTime": "2026-11-25T14:30:00+01:00", "valueQuantity": {"value": 38.6, "code": "Cel"},
                        }
                    }
                },
            }
        },
    }
}  # fmt: skip


@router.post("/patients/{subject_id}/events", status_code=201, response_model=Written, summary="Enter rows")
def enter_rows(
    request: Request, ward: TheWard, settings: TheSettings, person: Charting, who: ThePatient, body: TheBody, told: RowsIn,
    key: Key = None, if_match: IfMatch = None,
) -> Response:  # fmt: skip
    """Add what was charted. Rows that cannot be used are listed with the reason; the others are on disk and graded when this answers."""
    read = intake.rows([_entry(row, ward) for row in told.rows], who.subject_id, f"rest {person.name}", settings.mapping)
    _has_happened(read, ward)
    return once(ward, person, request, body, key, _added(person, who, read, if_match), who.subject_id)


@router.post(
    "/patients/{subject_id}/fhir", status_code=201, response_model=Written, summary="Enter FHIR resources", openapi_extra=_FHIR
)
def enter_fhir(
    request: Request, ward: TheWard, settings: TheSettings, person: Charting, who: ThePatient, body: TheBody, key: Key = None,
    if_match: IfMatch = None,
) -> Response:  # fmt: skip
    """Add FHIR R4 resources of one patient; `docs/fhir.md` says what becomes of each. Orders do not count as given."""
    if not body.strip().removeprefix(codecs.BOM_UTF8):
        raise HTTPException(422, "The body is empty: send a FHIR R4 Bundle or resource.")
    read = intake.file(body, "resources.json", who.subject_id, f"rest {person.name}", settings.mapping)
    _has_happened(read, ward)
    return once(ward, person, request, body, key, _added(person, who, read, if_match), who.subject_id)


def _added(person: Person, who: Patient, read: Imported, if_match: str | None) -> Callable[[Connection], tuple[int, Written]]:
    """What enters the rows that were read; nothing changes where none could be used."""

    def write(connection: Connection) -> tuple[int, Written]:
        expect(connection, who.subject_id, if_match)
        version, numbers = record.find(connection, who.subject_id).version, list[int]()
        if not read.timeline.is_empty():
            version, numbers = enter(connection, person, who.subject_id, read.timeline)
        told = Written(
            subject_id=who.subject_id, version=version, events=numbers, read=read.read, accepted=read.accepted,
            rejected=rejected(read.rejected), warnings=noted(intake.noted(read.timeline)),
        )  # fmt: skip
        return 201, told

    return write


def _has_happened(read: Imported, ward: Ward) -> None:
    """Refuse what lies ahead: a plan is not an event, and until its time came nobody would see it in a grade.

    Raises:
        HTTPException: the first row whose time does.
    """
    if lies_ahead := intake.ahead(read.timeline, ward.now()):
        minutes = intake.CLOCKS_DIFFER.total_seconds() / 60
        raise HTTPException(
            422,
            f"Row {lies_ahead[0]}, time: it lies more than {minutes:g} minutes ahead of the clock of the ward ({ward.zone}). Nothing was kept. "
            "Hand in what has happened, with its offset from UTC where the zone may be another.",
        )


def _entry(row: RowIn, ward: Ward) -> dict[str, Any]:
    """A row as the readers take it, with its times in the zone of the ward."""
    told = row.model_dump()
    for name in ("time", "end_time"):
        if told[name] is not None:
            told[name] = local(ward, told[name]).isoformat()
    if told["numeric_value"] is not None:
        told["numeric_value"] = repr(told["numeric_value"])
    return told


@router.put("/patients/{subject_id}/events/{event_id}", response_model=Written, summary="Correct an event")
def correct_event(
    request: Request, ward: TheWard, settings: TheSettings, person: Charting, who: ThePatient, event_id: Number, body: TheBody, told: RowIn,
    key: Key = None, if_match: IfMatch = None,
) -> Response:  # fmt: skip
    """Put another row in the place of one. The former stays in the history and no longer counts; grades change from that time on."""
    read = intake.rows([_entry(told, ward)], who.subject_id, f"rest {person.name}", settings.mapping)
    _has_happened(read, ward)

    def write(connection: Connection) -> tuple[int, Written]:
        _there(connection, who, event_id)
        expect(connection, who.subject_id, if_match)
        if read.timeline.height != 1 or read.rejected.height:
            why = read.rejected["detail"].to_list() or ["It holds no value."]
            raise HTTPException(422, f"Nothing was changed: {why[0]}")
        version, numbers = correct(connection, person, who.subject_id, event_id, read.timeline.row(0, named=True))
        return 200, Written(
            subject_id=who.subject_id,
            version=version,
            events=numbers,
            read=1,
            accepted=1,
            rejected=[],
            warnings=noted(intake.noted(read.timeline)),
        )

    return once(ward, person, request, body, key, write, who.subject_id)


@router.delete("/patients/{subject_id}/events/{event_id}", response_model=Written, summary="Withdraw an event")
def withdraw_event(
    request: Request, ward: TheWard, person: Charting, who: ThePatient, event_id: Number, body: TheBody, key: Key = None,
    if_match: IfMatch = None,
) -> Response:  # fmt: skip
    """An entry was wrong: it stays in the history and no longer counts."""

    def write(connection: Connection) -> tuple[int, Written]:
        _there(connection, who, event_id)
        expect(connection, who.subject_id, if_match)
        version, numbers = correct(connection, person, who.subject_id, event_id, None)
        return 200, Written(
            subject_id=who.subject_id, version=version, events=numbers, read=0, accepted=0, rejected=[], warnings=[]
        )

    return once(ward, person, request, body, key, write, who.subject_id)


def _there(connection: Connection, who: Patient, event_id: int) -> None:
    if record.entry(connection, who.subject_id, event_id) is None:
        raise HTTPException(404, "This patient has no event of that number.")


@router.get("/patients/{subject_id}/events", summary="The record")
def events(
    ward: TheWard, person: Reader, who: ThePatient, limit: Limit = 100, cursor: Cursor = None,
    history: Annotated[bool, Query(description="Also entries that were corrected or withdrawn, and those that say so.")] = False,
) -> Page[Event]:  # fmt: skip
    """Entries, the latest first, with who made each and what became of it."""
    before = decoded(cursor, int)[0] if cursor is not None else None
    with ward.database.reading() as connection:
        rows = record.history(connection, who.subject_id, before=before, most=limit + 1, standing=not history)
    ward.note(person, "patient.history.read" if history else "patient.read", who.subject_id, {"version": who.version})
    following = encoded(rows[limit - 1]["event_id"]) if len(rows) > limit else None
    return Page[Event](items=[Event.model_validate(row) for row in rows[:limit]], next=following)
