"""Who asks, and whether they may: sessions by cookie or bearer token, rights of roles, forged requests, and too many of them."""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request

from aftercar.ward import accounts, audit
from aftercar.ward.accounts import Person, Right
from aftercar.ward.jobs import Jobs
from aftercar.ward.ward import Ward
from aftercar.web.settings import Settings

COOKIE = "aftercar"
CSRF_FIELD, CSRF_HEADER = "csrf", "X-CSRF-Token"
SAFE = ("GET", "HEAD", "OPTIONS")


class SignInFirst(Exception):
    """Nobody is signed in."""


class NotAllowed(Exception):
    """The role has no right to it, or the request may be forged."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class TooMany(Exception):
    """Too many requests: try again after so many seconds."""

    def __init__(self, after_s: float) -> None:
        super().__init__()
        self.after_s = after_s


async def ward_of(request: Request) -> Ward:
    """The ward that the server serves."""
    return request.app.state.ward


async def settings_of(request: Request) -> Settings:
    """How the server was started."""
    return request.app.state.settings


async def jobs_of(request: Request) -> Jobs:
    """The jobs in the background."""
    return request.app.state.jobs


TheJobs = Annotated[Jobs, Depends(jobs_of)]
TheWard = Annotated[Ward, Depends(ward_of)]
TheSettings = Annotated[Settings, Depends(settings_of)]


def base_of(request: Request, settings: Settings) -> str:
    """The address of this server as the caller knows it."""
    scheme = "https" if settings.secure else request.url.scheme
    return f"{scheme}://{request.headers.get('host', request.url.netloc)}"


def client(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else "unknown"


def bearer(request: Request) -> str | None:
    """The token of an `Authorization: Bearer` header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def who(request: Request, ward: TheWard, settings: TheSettings) -> Person | None:
    """Who asks: by bearer token or cookie, or the one whom everybody is on loopback; null where nobody is signed in."""
    token = bearer(request)
    secret = token or request.cookies.get(COOKIE)
    if secret:
        with ward.database.reading() as connection:
            found = accounts.of_browser(connection, secret)
        if found is not None:
            person, due = found
            if due:
                with ward.database.writing() as connection:
                    accounts.seen(connection, secret)
            return Person(person.name, person.role) if token else person
    return None if token else settings.alone


Whoever = Annotated[Person | None, Depends(who)]


async def _sent(request: Request) -> str:
    """The token against forged requests that came along: in the header, or in the form."""
    header = request.headers.get(CSRF_HEADER)
    if header is not None:
        return header
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        value = (await request.form()).get(CSRF_FIELD, "")
        return value if isinstance(value, str) else ""
    return ""


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, without blanks at their ends; files are left out."""
    return {key: value.strip() for key, value in (await request.form()).items() if isinstance(value, str)}


TheForm = Annotated[dict[str, str], Depends(form_of)]


@dataclass(frozen=True)
class _Needs:
    """A dependency of a route: the right that it asks for. The access matrix reads it."""

    right: Right

    async def __call__(self, request: Request, person: Whoever) -> Person:
        if person is None:
            raise SignInFirst
        request.app.state.pace.take(person.name)
        if not person.may(self.right):
            raise NotAllowed(f"This asks for the right to {self.right}, which the role {person.role} does not have.")
        if request.method not in SAFE and not bearer(request):
            sent = await _sent(request)
            if not person.csrf or not hmac.compare_digest(sent.encode(), person.csrf.encode()):
                raise NotAllowed("The form was too old, or did not come from this page. Load the page again.")
        return person


def needs(right: Right) -> Any:
    """What a route that asks for a right depends on; it gives the person."""
    return Depends(_Needs(right))


Reader = Annotated[Person, needs(Right.READ)]
Charting = Annotated[Person, needs(Right.CHART)]
Adjudicator = Annotated[Person, needs(Right.ADJUDICATE)]
Administrator = Annotated[Person, needs(Right.ADMINISTER)]


def by_password(request: Request, ward: Ward, name: str, password: str) -> Person | None:
    """The person of a name and password; null where either is wrong, which is noted. Whoever tries too often waits.

    Raises:
        TooMany: that is so.
    """
    request.app.state.sign_ins.take(name)
    request.app.state.sign_ins_from.take(client(request))
    with ward.database.reading() as connection:
        person = accounts.by_password(connection, name, password)
    if person is None:
        with ward.database.writing() as connection:
            audit.note(connection, audit.SYSTEM, "sign-in.refused")
    return person


def sign_in_page(request: Request) -> str:
    """Where somebody signs in and then comes back: to the page of a form, whose own path may be none."""
    if request.method not in SAFE:
        came = urlsplit(request.headers.get("referer", ""))
        path = came.path if came.netloc == request.headers.get("host") else ""
        return f"/sign-in?lost=true&next={quote(path or '/')}"
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "/sign-in" if back == "/" else f"/sign-in?next={quote(back)}"


@dataclass
class Pace:
    """How often each may ask: so many at once, and so many a second thereafter."""

    burst: float = 120.0
    per_s: float = 20.0
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict[str, tuple[float, float]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str) -> None:
        """Count a request.

        Raises:
            TooMany: there were too many.
        """
        now = time.monotonic()
        with self._lock:
            left, at = self._left.pop(name, (self.burst, now))
            left = min(self.burst, left + (now - at) * self.per_s)
            self._left[name] = (max(left - 1, 0.0) if left >= 1 else left, now)
            while len(self._left) > 10_000:
                self._left.popitem(last=False)
        if left < 1:
            raise TooMany((1 - left) / self.per_s)
