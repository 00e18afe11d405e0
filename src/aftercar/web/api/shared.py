"""What the modules of the REST interface share: the patient of a path, what was found, pages, and how problems are told."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi import Path as InPath
from fastapi.security import HTTPBearer

from aftercar.ward import record
from aftercar.ward.found import Found
from aftercar.ward.record import Patient
from aftercar.ward.ward import Ward
from aftercar.web.access import TheWard

PREFIX = "/api/v1"
LARGEST = 2**63 - 1  # number that a database can hold

_PROBLEM = {
    "type": "object",
    "description": "A problem as RFC 9457 writes it. No value of a patient stands in it.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "examples": ["Unprocessable Entity"]},
        "status": {"type": "integer", "examples": [422]},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "instance": {"type": "string"},
    },
}
_SAID = {
    400: "The request cannot be read.",
    401: "Nobody is signed in.",
    403: "The role has no right to it, or the token against forged requests is missing.",
    404: "There is no such thing.",
    409: "The record has changed since the first page.",
    412: "The record is no longer at the version of `If-Match`.",
    413: "The request is too long.",
    422: "Something in the request is wrong, or a key was used for another request.",
    429: "Too many requests at once: `Retry-After` says in how many seconds to try again.",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": said, "content": {"application/problem+json": {"schema": _PROBLEM}}} for status, said in _SAID.items()
}


def router(tag: str) -> APIRouter:
    """A router of the interface."""
    signed_in = Depends(HTTPBearer(auto_error=False, description="The token of `POST /api/v1/tokens`."))
    return APIRouter(prefix=PREFIX, tags=[tag], responses=PROBLEMS, dependencies=[signed_in])


Number = Annotated[int, InPath(ge=1, le=LARGEST)]


def patient_of(ward: TheWard, subject_id: Number) -> Patient:
    """The patient of a path."""
    with ward.database.reading() as connection:
        return record.find(connection, subject_id)


ThePatient = Annotated[Patient, Depends(patient_of)]
ResultAsked = Annotated[
    int | None, Query(ge=1, le=LARGEST, description="A former result, as `results` lists them; without it what is found now.")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]


def found_of(ward: Ward, who: Patient, result: int | None) -> Found | None:
    """What is found in a record now, or was found then; null where nothing is charted."""
    if result is None:
        return ward.found(who.subject_id)
    former = ward.former(who.subject_id, result)
    if former is None:
        raise HTTPException(404, "This patient has no result of that number.")
    return former


def about(who: Patient, found: Found | None) -> dict[str, Any]:
    """What every answer says of what it was read from."""
    told = {"subject_id": who.subject_id, "made_up": who.made_up}
    return told | ({"version": None, "as_of": None} if found is None else {"version": found.version, "as_of": found.as_of})


def local(ward: Ward, time: datetime) -> datetime:
    """A time as the records of the ward have it; one with an offset is brought there.

    Raises:
        HTTPException: it lies where no calendar reaches.
    """
    try:
        return time if time.tzinfo is None else time.astimezone(ward.zone).replace(tzinfo=None)
    except OverflowError:
        raise HTTPException(422, "A time lies at the end of the calendar.") from None


# ---- pages


def encoded(*place: int | str) -> str:
    """A place in a list as a cursor."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def decoded(cursor: str, *kinds: type) -> list[Any]:
    """The place that a cursor means.

    Raises:
        HTTPException: it is none of this list.
    """
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        place = None
    if not isinstance(place, list) or [type(p) for p in place] != list(kinds):
        raise HTTPException(422, "cursor: take it from `next` of the page before.")
    if any(isinstance(p, int) and not 0 <= p <= LARGEST for p in place):
        raise HTTPException(422, "cursor: take it from `next` of the page before.")
    return place


@dataclass(frozen=True)
class Part:
    """A page of a table of what was found."""

    frame: pl.DataFrame
    next: str | None


def part(frame: pl.DataFrame, found: Found, limit: int, cursor: str | None) -> Part:
    """A page of a table; the cursor knows of which version of the record it is.

    Raises:
        HTTPException: what was found is another by now.
    """
    first = 0
    if cursor is not None:
        version, as_of, first = decoded(cursor, int, str, int)
        if (version, as_of) != (found.version, _stamp(found.as_of)):
            raise HTTPException(409, "The record has changed since the first page. Begin again, or name a `result`.")
    rows = frame.slice(first, limit)
    more = first + limit < frame.height
    return Part(rows, encoded(found.version, _stamp(found.as_of), first + limit) if more else None)


def _stamp(time: datetime) -> str:
    return time.isoformat()
