"""Ask a FHIR server of the list in the settings; nobody else is ever called, whatever a request or an answer says."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.error import URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from aftercar.errors import InputError
from aftercar.web.settings import Settings

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # of a resource
TOKEN = "{{context.patientId}}"
TIMEOUT_S, LONGEST, PAGES = 5.0, 32 * 2**20, 20  # of an answer: seconds, bytes; pages of a search

# What a record is graded of, as prefetch templates of CDS Hooks say it.
TEMPLATES = {
    "patient": f"Patient/{TOKEN}",
    "observations": f"Observation?patient={TOKEN}&_sort=-date&_count=1000",
    "medications": f"MedicationAdministration?patient={TOKEN}&_count=1000",
    "procedures": f"Procedure?patient={TOKEN}&_count=200",
    "conditions": f"Condition?patient={TOKEN}&_count=200",
    "devices": f"DeviceUseStatement?patient={TOKEN}&_count=200",
}


@dataclass(frozen=True)
class Answer:
    """What there is of a patient.

    Attributes:
        resources: those that were found.
        whole: keys of `TEMPLATES` that were answered to the end.
    """

    resources: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    whole: frozenset[str] = frozenset()


def allowed(settings: Settings, address: str | None) -> str | None:
    """The server of the list that has this address; null where none has."""
    return next((s for s in settings.fhir_servers if address is not None and s.rstrip("/") == address.rstrip("/")), None)


def known_as(settings: Settings, address: str | None, patient_id: str) -> str | None:
    """The label of the patient whom a server calls so; null where it cannot be told which of several servers is meant."""
    if len(settings.fhir_servers) <= 1 and len(settings.ehr_keys) <= 1:
        return patient_id
    server = allowed(settings, address)
    return None if server is None else f"{urlsplit(server).netloc}/{patient_id}"


def of_patient(server: str, token: str, patient_id: str, keys: frozenset[str] = frozenset(TEMPLATES)) -> Answer:
    """The resources of a patient.

    Args:
        server: of the list.
        keys: of `TEMPLATES`, those that are asked for.
    Raises:
        InputError: the id is none, or the server gives nothing at all.
    """
    if not ID.fullmatch(patient_id):
        raise InputError("That is no id of a FHIR resource.")
    with ThreadPoolExecutor(max(len(keys), 1)) as pool:
        asked = {
            key: pool.submit(_search, server, token, TEMPLATES[key].replace(TOKEN, quote(patient_id))) for key in sorted(keys)
        }
        answers = {key: future.result() for key, future in asked.items()}
    if keys and all(a is None for a in answers.values()):
        raise InputError("The FHIR server gives nothing of this patient.")
    found = {key: a for key, a in answers.items() if a is not None}
    whole = frozenset(key for key, (_, complete) in found.items() if complete)
    return Answer([r for resources, _ in found.values() for r in resources], whole)


def _search(server: str, token: str, path: str) -> tuple[list[dict[str, Any]], bool] | None:
    """The resources of a read or search, and whether they are all; null where the server gives none."""
    resources: list[dict[str, Any]] = []
    address: str | None = f"{server.rstrip('/')}/{path}"
    for _ in range(PAGES):
        try:
            answer = get(address, token)
        except InputError:
            return (resources, False) if resources else None
        found, following = parts(answer)
        resources += found
        if following is None:
            return resources, True
        if not following.startswith(server.rstrip("/") + "/") and not following.startswith(server.rstrip("/") + "?"):
            break
        address = following
    return resources, False


def parts(answer: Any) -> tuple[list[dict[str, Any]], str | None]:
    """The resources of a resource or Bundle, and where the next page of it is."""
    if not isinstance(answer, Mapping) or "resourceType" not in answer:
        return [], None
    if answer["resourceType"] != "Bundle":
        return [dict(answer)], None
    entries = answer.get("entry")
    found = (
        [e["resource"] for e in entries if isinstance(e, Mapping) and isinstance(e.get("resource"), dict)]
        if isinstance(entries, list)
        else []
    )
    links = answer.get("link")
    following = (
        [k.get("url") for k in links if isinstance(k, Mapping) and k.get("relation") == "next"] if isinstance(links, list) else []
    )
    return found, next((str(url) for url in following if url), None)


def get(address: str, token: str | None = None) -> Any:
    """JSON from an address, which the caller has found to be of the list.

    Raises:
        InputError: there is none.
    """
    request = Request(address, headers={"Accept": "application/fhir+json, application/json"})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return answered(request)


def answered(request: Request) -> Any:
    """The JSON that answers a request; redirects are not followed.

    Raises:
        InputError: there is none.
    """
    require_safe(request.full_url)
    try:
        with build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S) as response:
            content = response.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise InputError("The answer of the server is too long.")
        return json.loads(content)
    except (URLError, OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise InputError(f"The server at {urlsplit(request.full_url).netloc} gives no answer that can be read.") from error


def require_safe(address: str) -> None:
    """Records and secrets go over https, or stay on this machine.

    Raises:
        InputError: the address is of another kind.
    """
    parsed = urlsplit(address)
    if parsed.scheme != "https" and not (parsed.scheme == "http" and parsed.hostname in ("localhost", "127.0.0.1", "::1")):
        raise InputError("Only https is allowed, and http on this machine.")


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        return None
