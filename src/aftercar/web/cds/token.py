"""Who calls CDS Hooks: a record system by a signed token (JWT), or anybody on this machine where nobody signs in."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

import jwt
from fastapi import Depends, HTTPException, Request
from jwt.types import Options

from aftercar.web.access import TheSettings, base_of, bearer
from aftercar.web.keys import algorithms, key_of
from aftercar.web.settings import Settings

LEEWAY_S, LONGEST_S = 30, 3600  # that clocks may differ; that a token may hold
_NEEDED: Options = {"require": ["iss", "aud", "exp", "iat", "jti"], "verify_aud": False}


@dataclass(frozen=True)
class Caller:
    """A record system by its issuer; null is this machine."""

    issuer: str | None

    @property
    def name(self) -> str:
        """For the count of requests."""
        return f"record system {self.issuer}"


class Seen:
    """Tokens that were used, so that none is used again. One that was made before the server started is refused: it may have been used then."""

    def __init__(self) -> None:
        self.started = math.floor(time.time())
        self._until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def first(self, issuer: str, jti: str, expires: float) -> bool:
        """Whether it is used for the first time."""
        now = time.time()
        with self._lock:
            if len(self._until) > 1000:
                self._until = {key: until for key, until in self._until.items() if until > now}
            if (issuer, jti) in self._until:
                return False
            self._until[issuer, jti] = expires + LEEWAY_S
            return True


@dataclass(frozen=True)
class _Calls:
    """A dependency: who calls. `open_`: also without a token, for what tells nothing of anybody."""

    open_: bool = field(default=False)

    async def __call__(self, request: Request, settings: TheSettings) -> Caller:
        token = bearer(request)
        if token is None or not settings.ehr_keys:
            if self.open_ or (settings.alone is not None and not settings.require_ehr_token):
                return Caller(None)
            raise _refused("Send the token of the record system: `Authorization: Bearer JWT`.")
        return Caller(verified(token, settings, request, request.app.state.seen_tokens))


TheCaller = Annotated[Caller, Depends(_Calls())]
AnyCaller = Annotated[Caller, Depends(_Calls(open_=True))]


def verified(token: str, settings: Settings, request: Request, seen: Seen) -> str:
    """The issuer of a token that is signed by a key of the settings, for this address, now, and for the first time.

    Raises:
        HTTPException: it is not. What is wrong is told in one word for the operator; nothing of the token is.
    """
    try:
        issuer = str(jwt.decode(token, options={"verify_signature": False}).get("iss"))
        key = key_of(settings.ehr_keys.get(issuer, {}), token)
        told = jwt.decode(token, key.key, algorithms=algorithms(key), options=_NEEDED, leeway=LEEWAY_S, issuer=issuer)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise _refused(f"The token does not hold ({type(error).__name__}).") from None
    if not any(_is_here(each, request, settings) for each in _many(told["aud"])):
        raise _refused("The token is for another address (aud).")
    if told["exp"] - told["iat"] > LONGEST_S or told["iat"] < seen.started:
        raise _refused("The token holds for too long, or was made before the server started.")
    if not isinstance(told["jti"], str) or not seen.first(issuer, told["jti"], float(told["exp"])):
        raise _refused("The token was used before (jti).")
    return issuer


def _many(told: Any) -> list[str]:
    return [str(t) for t in told] if isinstance(told, list) else [str(told)]


def _is_here(address: str, request: Request, settings: Settings) -> bool:
    asked, here = urlsplit(address), urlsplit(base_of(request, settings))
    same = (asked.scheme, asked.netloc.lower()) == (here.scheme, here.netloc.lower())
    return same and asked.path.rstrip("/") == request.url.path.rstrip("/")


def _refused(why: str) -> HTTPException:
    return HTTPException(401, why, {"WWW-Authenticate": "Bearer"})
