"""Who a hook is about: their resources as they were sent along, or fetched from the record system, or the ward's own record; graded on the fly."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

import polars as pl
from fastapi import HTTPException
from polars import col
from pydantic import AfterValidator, BaseModel, Field

from aftercar.errors import InputError
from aftercar.timeline.schema import conform
from aftercar.ward import found, intake, record
from aftercar.ward.found import Found
from aftercar.ward.record import Patient
from aftercar.ward.ward import Ward
from aftercar.web import fhir_server
from aftercar.web.fhir_server import ID, TEMPLATES
from aftercar.web.settings import Settings

TOPICS = ("crs", "icans", "refractory", "block")  # of the rules that are asked
KEPT, FRESH = 64, timedelta(minutes=1)  # patients that are remembered, and for how long: hooks come one after the other
_DRUGS = ("drugs",)


def _id(text: str) -> str:
    if not ID.fullmatch(text):
        raise ValueError("is no id of a FHIR resource")
    return text


class Authorization(BaseModel):
    """How the record system's FHIR server may be asked."""

    access_token: Annotated[str, Field(min_length=1, max_length=16_000, pattern=r"^[!-~]+$")]


class Context(BaseModel):
    """What the user is doing; other fields are left alone."""

    patientId: Annotated[str, AfterValidator(_id)]
    userId: Annotated[str, Field(max_length=200)] = ""
    draftOrders: dict[str, Any] | None = None


class Hook(BaseModel):
    """A call of a service [CDS Hooks 2.0]; fields that we do not know are left alone."""

    hook: Annotated[str, Field(max_length=100)]
    hookInstance: Annotated[str, Field(min_length=1, max_length=100)]
    context: Context
    fhirServer: Annotated[str | None, Field(max_length=1000)] = None
    fhirAuthorization: Authorization | None = None
    prefetch: dict[str, Any] | None = None


@dataclass(frozen=True)
class Seen:
    """What is known of a patient.

    Attributes:
        who: of the ward, or made of what was sent (then its number is 0).
        found: null where there is no CAR-T infusion in it.
        origin: `prefetch`, `server` or `record`.
        lacking: keys of `TEMPLATES` that were not answered, or not to the end.
        rejected: rows that could not be used.
        deceased: the record system says that the patient died, now or at a time before now.
    """

    who: Patient
    found: Found | None
    origin: str
    lacking: tuple[str, ...] = ()
    rejected: int = 0
    deceased: bool = False


@dataclass
class Memory:
    """Patients who were graded a moment ago, by what was sent of them."""

    _kept: OrderedDict[str, Seen] = field(default_factory=OrderedDict[str, Seen])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: str, now: datetime) -> Seen | None:
        """What was found a moment ago."""
        with self._lock:
            seen = self._kept.get(key)
        return seen if seen and seen.found and timedelta() <= now - seen.found.as_of < FRESH else None

    def put(self, key: str, seen: Seen) -> Seen:
        """Remember it."""
        with self._lock:
            self._kept[key] = seen
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return seen


def patient(ward: Ward, settings: Settings, memory: Memory, hook: Hook) -> Seen:
    """Who a hook is about, and what is found, as of now.

    Raises:
        HTTPException: 412 where nothing is known of the patient, neither from the record system nor here.
        InputError: the resources are of another patient, or cannot be read.
    """
    sent = _sent(hook)
    missing = frozenset(TEMPLATES) - sent.whole
    origin, resources, whole = "prefetch", sent.resources, sent.whole
    server = fhir_server.allowed(settings, hook.fhirServer)
    if missing and server is not None and hook.fhirAuthorization is not None:
        try:
            more = fhir_server.of_patient(server, hook.fhirAuthorization.access_token, hook.context.patientId, missing)
            origin, resources, whole = (
                "server" if not sent.resources else origin,
                [*sent.resources, *more.resources],
                whole | more.whole,
            )
        except InputError:
            pass  # what was sent may do, or the ward's own record
    seen, deceased = _graded(ward, settings, memory, hook, resources, whole, origin) if resources else None, _deceased(resources)
    if seen is not None and seen.found is not None:
        return replace(seen, found=seen.found.at(ward.now()), deceased=deceased)
    label = fhir_server.known_as(settings, hook.fhirServer, hook.context.patientId)
    with ward.database.reading() as connection:
        own = record.labelled(connection, label) if label is not None else None
    if own is not None:
        return Seen(own, ward.advised(own.subject_id), "record", deceased=deceased)
    if seen is None:
        raise HTTPException(
            412,
            "Nothing is known of this patient: send the prefetch that the service asks for, or give access to a FHIR server of the list.",
        )
    return seen


def _deceased(resources: list[dict[str, Any]]) -> bool:
    """Whether the record system says that the patient died, also where it does not say when and no row of a record can be made of it."""
    people = [r for r in resources if r.get("resourceType") == "Patient"]
    return any(r.get("deceasedBoolean") is True or r.get("deceasedDateTime") for r in people)


def _sent(hook: Hook) -> fhir_server.Answer:
    """The resources that were sent along; a key without data is answered, one with an error or with more pages is not."""
    resources: list[dict[str, Any]] = []
    whole: set[str] = set()
    for key, value in (hook.prefetch or {}).items():
        if key not in TEMPLATES:
            continue
        found, following = fhir_server.parts(value)
        resources += found
        failed = any(r.get("resourceType") == "OperationOutcome" for r in found)
        if value is None or (isinstance(value, dict) and "resourceType" in value and not failed and following is None):
            whole.add(key)
    kept = [r for r in resources if r.get("resourceType") != "OperationOutcome"]
    return fhir_server.Answer(kept, frozenset(whole))


def _graded(
    ward: Ward,
    settings: Settings,
    memory: Memory,
    hook: Hook,
    resources: list[dict[str, Any]],
    whole: frozenset[str],
    origin: str,
) -> Seen:
    """Read and grade resources."""
    ident, now = hook.context.patientId, ward.now()
    content = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}).encode()
    key = hashlib.sha256(f"{ident} {origin} {sorted(whole)} ".encode() + content).hexdigest()
    if (known := memory.get(key, now)) is not None:
        return known
    read = intake.file(content, "prefetch.json", 0, origin, settings.mapping, known_as=ident)
    # All administrations that the record system knows were given to us: what is not among them was not given.
    who = Patient(0, ident, 1, read.simulated, _DRUGS if "medications" in whole else (), now)
    lacking = tuple(k for k in TEMPLATES if k not in whole)
    own = read.timeline.filter(col("time").is_null() | (col("time") <= now))
    if own.filter(col("code") == "cart_infusion").is_empty():
        return Seen(who, None, origin, lacking, read.rejected.height)
    own = conform(pl.concat([own, record.completed(own, who, now + found.AHEAD)]))
    book = replace(ward.book, rules=tuple(r for r in ward.book.rules if r.topic in TOPICS))
    made = ward.find(own, {0: 1}, now, book, ward.options, found.NOW)[0]
    return memory.put(key, Seen(who, made, origin, lacking, read.rejected.height))
