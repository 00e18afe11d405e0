"""Sign in for a bearer token, and out."""

from __future__ import annotations

from fastapi import Request, Response

from aftercar.ward import accounts, audit
from aftercar.web import access
from aftercar.web.access import TheWard, Whoever
from aftercar.web.api.models import Asking, Credentials, Token
from aftercar.web.api.shared import router as made

router = made("signing in")


@router.post("/tokens", status_code=201, summary="Sign in")
def sign_in(request: Request, ward: TheWard, told: Credentials) -> Token:
    """Give a name and password, get a bearer token. Whoever tries too often waits. Public on purpose."""
    person = access.by_password(request, ward, told.name, told.password)
    if person is None:
        raise access.SignInFirst
    with ward.database.writing() as connection:
        secret = accounts.sign_in(connection, person)
        audit.note(connection, person.name, "sign-in", detail={"by": "rest"})
    return Token(
        token=secret, name=person.name, role=person.role, idle_s=int(accounts.IDLE.total_seconds()),
        longest_s=int(accounts.LONGEST.total_seconds()),
    )  # fmt: skip


@router.delete("/tokens", status_code=204, summary="Sign out")
def sign_out(request: Request, ward: TheWard, person: Whoever) -> Response:
    """The token that is sent along ends."""
    secret = access.bearer(request)
    if person is None or secret is None:
        raise access.SignInFirst
    with ward.database.writing() as connection:
        accounts.sign_out(connection, secret)
        audit.note(connection, person.name, "sign-out", detail={"by": "rest"})
    return Response(status_code=204)


@router.get("/me", summary="Who asks")
def me(request: Request, person: Whoever) -> Asking:
    """The name and role behind the token or cookie. On a server without accounts, where nobody signs in, writes need its `csrf`."""
    if person is None:
        raise access.SignInFirst
    return Asking(name=person.name, role=person.role, csrf=person.csrf or None)
