"""A FHIR R4 server of one made-up patient, two days after CAR-T, with fever and a vasopressor: for clients of CDS Hooks that bring no data of their own.

    python3 examples/sandbox/fhir_server.py [PORT]

It listens on this machine alone, answers reads and searches by patient, and keeps nothing. Pages of any origin may ask it.
"""

import contextlib
import json
import sys
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PATIENT = "made-up-1"
LOINC, RXNORM, OURS = "http://loinc.org", "http://www.nlm.nih.gov/research/umls/rxnorm", "urn:aftercar:concept"


def record(now: datetime) -> list[dict]:
    """All resources of the patient, as of a moment: made anew for each request, so that nothing in them grows old."""

    def ago(hours: float) -> str:
        return (now - timedelta(hours=hours)).isoformat(timespec="seconds")

    def of_patient(kind: str, n: int, **told: object) -> dict:
        return {"resourceType": kind, "id": f"{kind.lower()}-{n}", "subject": {"reference": f"Patient/{PATIENT}"}, **told}

    def coded(system: str, code: str, text: str) -> dict:
        return {"coding": [{"system": system, "code": code, "display": text}], "text": text}

    def quantity(value: float, unit: str) -> dict:
        return {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}

    observed = [
        *((hours, coded(LOINC, "8310-5", "Body temperature"), {"valueQuantity": quantity(value, "Cel")})
          for hours, value in ((40, 37.1), (20, 38.6), (6, 39.4), (1, 39.1))),
        *((hours, coded(LOINC, "85354-9", "Blood pressure panel"), {"component": [
            {"code": coded(LOINC, "8480-6", "Systolic blood pressure"), "valueQuantity": quantity(systolic, "mm[Hg]")},
            {"code": coded(LOINC, "8462-4", "Diastolic blood pressure"), "valueQuantity": quantity(diastolic, "mm[Hg]")},
        ]}) for hours, systolic, diastolic in ((40, 128, 76), (20, 112, 64), (6, 82, 44), (1, 94, 52))),
        *((hours, coded(LOINC, "59408-5", "Oxygen saturation"), {"valueQuantity": quantity(value, "%")})
          for hours, value in ((20, 97), (1, 95))),
        (50, coded(LOINC, "29463-7", "Body weight"), {"valueQuantity": quantity(80, "kg")}),
        (8, coded(LOINC, "1988-5", "C-reactive protein"), {"valueQuantity": quantity(164, "mg/L")}),
        (8, coded(LOINC, "2276-4", "Ferritin"), {"valueQuantity": quantity(2450, "ng/mL")}),
        *((hours, coded(OURS, "o2_device", "Oxygen device"), {"valueString": "room_air"}) for hours in (40, 20, 6, 1)),
        (2, coded(OURS, "ice", "ICE score"), {"valueQuantity": quantity(10, "{score}")}),
        *((2, coded(OURS, code, text), {"valueString": word}) for code, text, word in (
            ("consciousness", "Level of consciousness", "alert"), ("seizure", "Seizure", "none"),
            ("motor", "Motor findings", "none"), ("icp_sign", "Signs of raised pressure", "none"))),
    ]  # fmt: skip
    running = {"rateRatio": {"numerator": quantity(0.08, "ug/kg"), "denominator": quantity(1, "min")}}
    given = [
        ("612865", "Tocilizumab", {"effectiveDateTime": ago(5)}, {"dose": quantity(640, "mg")}),
        ("3264", "Dexamethasone", {"effectiveDateTime": ago(4)}, {"dose": quantity(10, "mg")}),
        ("7512", "Norepinephrine", {"effectivePeriod": {"start": ago(5)}}, running),
    ]
    return [
        {"resourceType": "Patient", "id": PATIENT, "name": [{"given": ["Made-up"], "family": "Patient"}], "gender": "female", "birthDate": "1961-05-04"},
        *(of_patient("Observation", n, status="final", code=code, effectiveDateTime=ago(hours), **value) for n, (hours, code, value) in enumerate(observed)),
        *(
            of_patient("MedicationAdministration", n, status="completed" if "effectiveDateTime" in when else "in-progress", medicationCodeableConcept=coded(RXNORM, code, name), dosage=dosage, **when)
            for n, (code, name, when, dosage) in enumerate(given)
        ),
        of_patient("Procedure", 0, status="completed", performedDateTime=ago(48),
                   code=coded("http://www.cms.gov/Medicare/Coding/ICD10", "XW033H7", "Infusion of axicabtagene ciloleucel")),
        of_patient("Condition", 0, onsetDateTime="2025-03-01", code=coded("http://hl7.org/fhir/sid/icd-10-cm", "C83.30", "Diffuse large B-cell lymphoma")),
    ]  # fmt: skip


METADATA = {
    "resourceType": "CapabilityStatement",
    "status": "active",
    "kind": "instance",
    "fhirVersion": "4.0.1",
    "format": ["json"],
}
NOT_FOUND = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-found"}]}


def answer(path: str, form: str = "") -> tuple[int, dict]:
    """The status and resource for a path below `/fhir`, with the parameters of a search that was posted."""
    asked = urlsplit(path)
    kind, _, ident = asked.path.removeprefix("/fhir").strip("/").partition("/")
    if kind == "metadata":
        return 200, METADATA
    found = [r for r in record(datetime.now(UTC)) if r["resourceType"] == kind]
    if ident not in ("", "_search"):
        one = next((r for r in found if r["id"] == ident), None)
        return (200, one) if one else (404, NOT_FOUND)
    whose = parse_qs(f"{asked.query}&{form}").get("patient", [PATIENT])[-1].removeprefix("Patient/")
    found = found if whose == PATIENT else []
    return 200, {"resourceType": "Bundle", "type": "searchset", "total": len(found), "entry": [{"resource": r} for r in found]}


class Handler(BaseHTTPRequestHandler):
    """Reads, searches in either form, and the preflights of browsers."""

    def do_GET(self) -> None:
        """A read or search."""
        self._say(*answer(self.path))

    def do_POST(self) -> None:
        """A search; nothing else may be posted."""
        form = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        self._say(*(answer(self.path, form) if self.path.endswith("/_search") else (404, NOT_FOUND)))

    def do_OPTIONS(self) -> None:
        """What a browser may ask."""
        self._say(200, {})

    def _say(self, status: int, told: dict) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/fhir+json", "Content-Length": str(len(content)), "Cache-Control": "no-store",
            "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*", "Access-Control-Allow-Methods": "GET, POST",
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of what is asked."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8090), Handler)
    port = server.server_address[1]
    print(f"FHIR: http://localhost:{port}/fhir  (patient {PATIENT}; Ctrl-C ends it)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
