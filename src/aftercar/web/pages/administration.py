"""Keeping accounts, and the audit trail. The administrator reads no record: the trail names patients by number alone."""

from __future__ import annotations

import json
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from aftercar.errors import AftercarError, OptionError
from aftercar.timeline.statements import broken
from aftercar.ward import accounts, audit, statements
from aftercar.ward.accounts import SHORTEST, Person, Role
from aftercar.ward.record import LARGEST
from aftercar.ward.tables import audit as trail
from aftercar.ward.ward import Ward
from aftercar.web import render
from aftercar.web.access import Administrator, TheForm, TheWard

router = APIRouter(prefix="/administration", include_in_schema=False)

PAGE = 100  # rows of the trail


@router.get("")
def see(request: Request, ward: TheWard, person: Administrator, kept: str = "") -> Response:
    """Who may sign in, and as what."""
    ward.note(person, "accounts.read")
    return _accounts(request, ward, person, kept=kept)


def _accounts(request: Request, ward: Ward, person: Person, *, kept: str = "", wrong: str = "") -> Response:
    with ward.database.reading() as connection:
        everyone = accounts.everyone(connection)
    return render.page(
        request, "administration.html.j2", person, 422 if wrong else 200, accounts=everyone, roles=list(Role), kept=kept, wrong=wrong, shortest=SHORTEST
    )  # fmt: skip


@router.post("/accounts")
def add(request: Request, ward: TheWard, person: Administrator, form: TheForm) -> Response:
    """A new account: with a password, or of somebody whom an identity provider knows."""
    name, role = form.get("name", ""), form.get("role", "")
    issuer, issued_to = form.get("issuer") or None, form.get("issued_to") or None
    try:
        if (issuer is None) != (issued_to is None):
            raise OptionError("Of a person whom an identity provider knows give the provider and what it calls them.")
        if issuer is None and not form.get("password"):
            raise OptionError("Give a password, or an identity provider and what it calls the person.")
        with ward.database.writing() as connection:
            accounts.add(connection, name, role, None if issuer else form["password"], issuer=issuer, issued_to=issued_to)
            audit.note(connection, person.name, "account.add", detail={"account": name, "role": role})
    except AftercarError as error:
        return _accounts(request, ward, person, wrong=str(error))
    return RedirectResponse("/administration?kept=added", 303)


@router.post("/accounts/{name}")
def change(request: Request, ward: TheWard, person: Administrator, name: str, form: TheForm) -> Response:
    """Another role or password, or off and on again. Who is concerned must sign in again; nobody takes their own role away."""
    role, password, active = (
        form.get("role") or None,
        form.get("password") or None,
        {"off": False, "on": True}.get(form.get("active", "")),
    )
    try:
        if name == person.name and (role not in (None, person.role) or active is False):
            raise OptionError("Another administrator must do that: nobody takes their own role away.")
        if role is None and password is None and active is None:
            raise OptionError("Say what should change.")
        with ward.database.writing() as connection:
            accounts.change(connection, name, role=role, password=password, active=active)
            told: dict[str, Any] = {"account": name, "role": role, "active": active, "password": "changed" if password else None}
            audit.note(connection, person.name, "account.change", detail=told)
    except AftercarError as error:
        return _accounts(request, ward, person, wrong=str(error))
    return RedirectResponse("/administration?kept=changed", 303)


@router.get("/trail")
def read_trail(
    request: Request, ward: TheWard, person: Administrator, before: Annotated[int | None, Query(ge=1, le=LARGEST)] = None, account: str = "", patient: str = "", check: bool = False
) -> Response:  # fmt: skip
    """The audit trail, the latest first; with `check` every row of it is held against the one before."""
    chosen = sa.select(trail).order_by(trail.c.n.desc()).limit(PAGE + 1)
    if before is not None:
        chosen = chosen.where(trail.c.n < before)
    if account:
        chosen = chosen.where(trail.c.account == account)
    if patient.isdecimal():
        chosen = chosen.where(trail.c.subject_id == min(int(patient), LARGEST))
    with ward.database.reading() as connection:
        rows = [dict(row) | {"detail": json.loads(row["detail"])} for row in connection.execute(chosen).mappings()]
        verified = audit.verify(connection) if check else None
        statements_broken = broken(statements.log(connection)).to_dicts() if check else []
    ward.note(person, "audit.verify" if check else "audit.read")
    older = rows[PAGE - 1]["n"] if len(rows) > PAGE else None
    return render.page(
        request, "trail.html.j2", person, rows=rows[:PAGE], older=older, account=account, patient=patient, before=before, verified=verified,
        statements_broken=statements_broken, page=PAGE,
    )  # fmt: skip
