"""Signing in with a password, and out."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from aftercar.ward import accounts, audit
from aftercar.ward.accounts import Right
from aftercar.web import access, render
from aftercar.web.access import TheSettings, TheWard, Whoever

router = APIRouter(include_in_schema=False)


def inside(path: str) -> str:
    """A path of this server; anything else leads to the first page."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


@router.get("/sign-in")
def ask(request: Request, settings: TheSettings, next: str = "/", lost: bool = False) -> Response:
    """The form; where somebody was signed out before what they sent came, it says that this is lost."""
    return render.page(
        request, "sign_in.html.j2", next=inside(next), wrong=False, lost=lost, provider=settings.provider is not None
    )


@router.post("/sign-in")
def sign_in(
    request: Request, ward: TheWard, settings: TheSettings, name: Annotated[str, Form()], password: Annotated[str, Form()],
    next: Annotated[str, Form()] = "/",
) -> Response:  # fmt: skip
    """Sign in. Whoever tries too often waits."""
    _same_site(request)
    person = access.by_password(request, ward, name, password)
    if person is None:
        return render.page(
            request,
            "sign_in.html.j2",
            None,
            401,
            next=inside(next),
            wrong=True,
            lost=False,
            provider=settings.provider is not None,
        )
    with ward.database.writing() as connection:
        secret = accounts.sign_in(connection, person)
        audit.note(connection, person.name, "sign-in")
    back = inside(next)
    response = RedirectResponse("/administration" if back == "/" and not person.may(Right.READ) else back, 303)
    set_cookie(response, secret, settings.secure)
    return response


def set_cookie(response: Response, secret: str, secure: bool) -> None:
    """Tell the browser who it is, until it is closed."""
    response.set_cookie(access.COOKIE, secret, httponly=True, samesite="lax", secure=secure, path="/")


def _same_site(request: Request) -> None:
    """Nobody is signed in or out from another site's form: browsers say where one came from in one of these headers."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "same-origin", "none") or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise access.NotAllowed("Sign in and out on the pages of this server itself.")


@router.post("/sign-out")
def sign_out(request: Request, ward: TheWard, person: Whoever) -> Response:
    """Sign out."""
    _same_site(request)
    secret = request.cookies.get(access.COOKIE)
    if person is not None and secret:
        with ward.database.writing() as connection:
            accounts.sign_out(connection, secret)
            audit.note(connection, person.name, "sign-out")
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(access.COOKIE, path="/")
    return response
