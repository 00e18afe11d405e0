"""A ward to ask in tests: small made-up records, accounts of every role, and a client."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlunsplit
from zoneinfo import ZoneInfo

from sqlalchemy.engine import URL

from aftercar.manage.rules import DEFAULT_PROFILE, rulebook
from aftercar.ward import accounts, intake
from aftercar.ward.accounts import Person, Role
from aftercar.ward.database import Database, opened
from aftercar.ward.ward import Ward
from aftercar.web.app import create_app
from aftercar.web.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette asks for a newer client
    from fastapi.testclient import TestClient

ZONE = "Europe/Berlin"
HOST = "hospital.example"
BASE = "https://hospital.example"
NOW = datetime(2026, 3, 10, 11, 0, tzinfo=UTC)  # 12:00 in the ward
PASSWORD = "correct horse battery staple"
ALONE = Person("local", Role.ADJUDICATOR, csrf="forged-requests-lack-this")


def ward_at(where: Path | str, now: datetime = NOW) -> Ward:
    """An empty ward, in a file of a folder or in the database of a URL, where time stands still."""
    url = where if isinstance(where, str) else URL.create("sqlite", database=str(where / "ward.db")).render_as_string()
    return Ward(opened(url), ZoneInfo(ZONE), rulebook(DEFAULT_PROFILE, None), clock=lambda: now)


def with_accounts(database: Database) -> None:
    """An account of each role, called as the role is."""
    with database.writing() as connection:
        for role in Role:
            accounts.add(connection, role.value, role.value, PASSWORD)


def client_of(ward: Ward, **settings: Any) -> TestClient:
    """A client of a server of that ward."""
    told = {"hosts": (HOST,), "mapping": intake.mappings(None, ZONE)} | settings
    return TestClient(create_app(ward, Settings(**told)), base_url=BASE, raise_server_exceptions=False)


def bearer(client: TestClient, name: str) -> dict[str, str]:
    """The header of somebody who signed in."""
    token = client.post("/api/v1/tokens", json={"name": name, "password": PASSWORD}).json()["token"]
    return {"Authorization": f"Bearer {token}"}


def hours_ago(hours: float) -> str:
    """A local time as a form or row has it."""
    return (datetime(2026, 3, 10, 12, 0) - timedelta(hours=hours)).isoformat()


# ---- FHIR resources of a made-up patient


def coded(system: str, code: str, display: str | None = None) -> dict[str, Any]:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code} | ({"display": display} if display else {})]}


def observed(
    patient: str, code: str, value: float | str, unit: str, hours: float, system: str = "http://loinc.org"
) -> dict[str, Any]:
    """An Observation of some hours ago, with the offset of the ward."""
    told = {"valueQuantity": {"value": value, "code": unit}} if isinstance(value, int | float) else {"valueString": value}
    return {
        "resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/{patient}"}, "code": coded(system, code),
        "effectiveDateTime": f"{hours_ago(hours)}+01:00", **told,
    }  # fmt: skip


def given(patient: str, rxnorm: str, value: float, unit: str, hours: float) -> dict[str, Any]:
    """A MedicationAdministration."""
    return {
        "resourceType": "MedicationAdministration", "status": "completed", "subject": {"reference": f"Patient/{patient}"},
        "medicationCodeableConcept": coded("http://www.nlm.nih.gov/research/umls/rxnorm", rxnorm),
        "effectiveDateTime": f"{hours_ago(hours)}+01:00", "dosage": {"dose": {"value": value, "code": unit}},
    }  # fmt: skip


def infused(patient: str, hours: float) -> dict[str, Any]:
    """The infusion of CAR-T cells."""
    return {
        "resourceType": "Procedure", "status": "completed", "subject": {"reference": f"Patient/{patient}"},
        "code": coded(intake.SYSTEM, "cart_infusion"), "performedDateTime": f"{hours_ago(hours)}+01:00",
    }  # fmt: skip


def searchset(*resources: dict[str, Any], following: str | None = None) -> dict[str, Any]:
    """A Bundle as a search gives it."""
    more = {"link": [{"relation": "next", "url": following}]} if following else {}
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in resources], **more}


# ---- servers elsewhere


@contextmanager
def serving(answer: Callable[[str, str, dict[str, str], bytes], tuple[int, dict[str, str], Any]]) -> Iterator[str]:
    """A server on this machine that answers `(method, path, headers, body)` with `(status, headers, JSON)`; its address."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, headers, told = answer(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            content = json.dumps(told).encode()
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(content))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield urlunsplit(("http", f"127.0.0.1:{server.server_address[1]}", "", "", ""))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
