"""Writes that may be asked again: each with a key is made once, in one transaction with the answer that is kept under it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, Header, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from aftercar.ward import record
from aftercar.ward.accounts import Person
from aftercar.ward.database import utc
from aftercar.ward.tables import answered
from aftercar.ward.ward import Ward
from aftercar.web.api.models import Written


async def body_of(request: Request) -> bytes:
    """The body as it came."""
    return await request.body()


TheBody = Annotated[bytes, Depends(body_of)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=128, pattern=r"^[!-~]+$",
        description="Names this write. Asked again with the same key and request it is answered as before, and nothing is written twice.",
    ),
]  # fmt: skip
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match", max_length=64, description='The `ETag` of the record, such as "3": written only if it still is that.'
    ),
]


def once(
    ward: Ward, person: Person, request: Request, body: bytes, key: str | None, write: Callable[[Connection], tuple[int, BaseModel]],
    of: int | None = None,
) -> Response:  # fmt: skip
    """Make a write and answer; with a key that was used for the same request, only answer as then.

    Args:
        write: makes it within a transaction; the status and the answer.
        of: the patient whose record is graded thereafter.
    Raises:
        HTTPException: the key was used for another request.
    """
    asked = _hash(request, body)
    with contextlib.nullcontext() if of is None else ward.a_write(of):
        with ward.database.writing() as connection:
            if key is not None and not _claimed(connection, person, key, asked):
                return _as_before(connection, person, key, asked)
            status, made = write(connection)
            text = made.model_dump_json()
            if key is not None:
                at = (answered.c.account == person.name) & (answered.c.key == key)
                connection.execute(answered.update().where(at), {"status": status, "body": text})
        if of is not None and isinstance(made, Written):
            ward.settle(of, made.version)
    return _answer(status, text)


def _hash(request: Request, body: bytes) -> str:
    told = [
        request.method,
        request.url.path,
        request.url.query,
        request.headers.get("if-match", ""),
        hashlib.sha256(body).hexdigest(),
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _claimed(connection: Connection, person: Person, key: str, asked: str) -> bool:
    """Whether the key is new. Who asks at the same time waits until the other's transaction has ended."""
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(answered)
    row = {
        "account": person.name, "key": key, "request_hash": asked, "status": 0, "body": "",
        "answered_at": utc(),
    }  # fmt: skip
    return connection.execute(insert.values(row).on_conflict_do_nothing().returning(answered.c.key)).first() is not None


def _as_before(connection: Connection, person: Person, key: str, asked: str) -> Response:
    at = (answered.c.account == person.name) & (answered.c.key == key)
    row = connection.execute(sa.select(answered).where(at)).one()
    if row.request_hash != asked:
        raise HTTPException(422, "Idempotency-Key: it was used for another request. Take a new one for each write.")
    return _answer(row.status, row.body, {"Idempotent-Replayed": "true"})


def _answer(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    told: dict[str, Any] = json.loads(text)
    more = {"ETag": etag(told["version"])} if "version" in told else {}
    if status == 201 and "label" in told:
        more["Location"] = f"/api/v1/patients/{told['subject_id']}"
    return JSONResponse(told, status, more | (headers or {}))


def etag(version: int) -> str:
    """The version of a record as HTTP names it."""
    return f'"{version}"'


def expect(connection: Connection, subject_id: int, if_match: str | None) -> None:
    """Hold the record at the version that somebody saw; nobody else changes it until the transaction ends.

    Raises:
        HTTPException: it was changed since.
    """
    if if_match is None or if_match.strip() == "*":
        return
    if etag(record.hold(connection, subject_id)) not in [each.strip().removeprefix("W/") for each in if_match.split(",")]:
        raise HTTPException(412, "The record was changed since you read it. Read it again.")
