"""SMART App Launch from a record system: the patient in context, shown from the ward's record or brought in."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response

from aftercar.ward import audit, intake, record
from aftercar.ward.accounts import Person, Right
from aftercar.ward.ward import Ward, enter
from aftercar.web import fhir_server, handshake
from aftercar.web.access import NotAllowed, Reader, TheSettings, TheWard, base_of
from aftercar.web.fhir_server import ID
from aftercar.web.settings import Client, Settings

router = APIRouter(prefix="/smart", include_in_schema=False)

SCOPE = "launch openid fhirUser patient/*.read"


def _client(settings: Settings) -> Client:
    if settings.smart is None:
        raise HTTPException(404, "Launches are not set up: AFTERCAR_SMART_CLIENT_ID names this application.")
    return settings.smart


@router.get("/launch")
def launch(
    request: Request, settings: TheSettings, person: Reader, iss: Annotated[str, Query(max_length=1000)],
    launch: Annotated[str | None, Query(max_length=4000)] = None,
) -> Response:  # fmt: skip
    """Begin: whoever is signed in here is sent to the record system, which knows the patient in context."""
    client, server = _client(settings), fhir_server.allowed(settings, iss)
    if server is None:
        raise HTTPException(403, "That FHIR server is not in the list of this ward.")
    endpoints = fhir_server.get(f"{server.rstrip('/')}/.well-known/smart-configuration")
    asked = {"redirect_uri": _here(request, settings), "scope": SCOPE, "aud": server} | ({"launch": launch} if launch else {})
    return handshake.send(
        request, settings, "smart", endpoints if isinstance(endpoints, dict) else {}, client, asked, {"server": server}
    )


@router.get("/callback")
def callback(
    request: Request, ward: TheWard, settings: TheSettings, person: Reader, state: str | None = None, code: str | None = None,
    error: str | None = None,
) -> Response:  # fmt: skip
    """Come back with the patient in context: to the record that the ward has, or to one that is made of the patient's resources."""
    client, way = _client(settings), handshake.back(request, "smart", state, error)
    told = handshake.exchange(way, code, client, _here(request, settings))
    patient, token, server = told.get("patient"), told.get("access_token"), way.about["server"]
    if not isinstance(patient, str) or not ID.fullmatch(patient) or not isinstance(token, str):
        raise HTTPException(422, "The record system names no patient: launch from a patient's chart.")
    label = fhir_server.known_as(settings, server, patient) or patient
    with ward.database.reading() as connection:
        own = record.labelled(connection, label)
    number = own.subject_id if own else _brought(ward, settings, person, server, token, patient, label)
    ward.note(person, "smart.launch", number)
    return RedirectResponse(f"/patients/{number}", 303)


def _here(request: Request, settings: Settings) -> str:
    return f"{base_of(request, settings)}/smart/callback"


def _brought(ward: Ward, settings: Settings, person: Person, server: str, token: str, patient: str, label: str) -> int:
    """A new record of a patient's resources."""
    if not person.may(Right.CHART):
        raise NotAllowed("The ward has no record of this patient, and to bring one in asks for the right to chart.")
    answer = fhir_server.of_patient(server, token, patient)
    bundle: dict[str, Any] = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": r} for r in answer.resources],
    }
    read = intake.file(json.dumps(bundle).encode(), "launch.json", 0, "smart", settings.mapping, known_as=patient)
    complete = ("drugs",) if "medications" in answer.whole else ()
    with ward.database.writing() as connection:
        number = record.register(connection, label, made_up=read.simulated, complete=complete)
        audit.note(connection, person.name, "patient.register", number, {"from": server})
        version = 0
        if not read.timeline.is_empty():
            version, _ = enter(connection, person, number, read.timeline, "patient.import")
    ward.settle(number, version)
    return number
