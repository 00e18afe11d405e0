"""Patients of the ward."""

from __future__ import annotations

from fastapi import Request, Response
from sqlalchemy.engine import Connection

from aftercar.ward import audit, record
from aftercar.web.access import Charting, Reader, TheWard
from aftercar.web.api.models import Page, PatientIn, PatientOut
from aftercar.web.api.shared import Cursor, Limit, ThePatient, decoded, encoded
from aftercar.web.api.shared import router as made
from aftercar.web.api.writes import Key, TheBody, etag, once

router = made("patients")


@router.get("/patients", summary="All patients")
def patients(ward: TheWard, person: Reader, limit: Limit = 100, cursor: Cursor = None) -> Page[PatientOut]:
    """Everybody, by number."""
    after = decoded(cursor, int)[0] if cursor is not None else 0
    with ward.database.reading() as connection:
        everybody = sorted(record.patients(connection), key=lambda who: who.subject_id)
    asked = [who for who in everybody if who.subject_id > after]
    shown = asked[:limit]
    ward.note(person, "list.read", detail={"patients": len(shown)})
    following = encoded(shown[-1].subject_id) if len(asked) > limit else None
    return Page[PatientOut](items=[PatientOut.model_validate(who) for who in shown], next=following)


@router.post("/patients", status_code=201, response_model=PatientOut, summary="Register a patient")
def register(request: Request, ward: TheWard, person: Charting, body: TheBody, told: PatientIn, key: Key = None) -> Response:
    """A new patient, with an empty record."""

    def write(connection: Connection) -> tuple[int, PatientOut]:
        number = record.register(connection, told.label, complete=told.complete)
        audit.note(connection, person.name, "patient.register", number)
        return 201, PatientOut.model_validate(record.find(connection, number))

    return once(ward, person, request, body, key, write)


@router.get("/patients/{subject_id}", summary="One patient")
def patient(ward: TheWard, person: Reader, who: ThePatient, response: Response) -> PatientOut:
    """Who it is, and at which version the record is (`ETag`)."""
    ward.note(person, "patient.read", who.subject_id, {"version": who.version})
    response.headers["ETag"] = etag(who.version)
    return PatientOut.model_validate(who)
