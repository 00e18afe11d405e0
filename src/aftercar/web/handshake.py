"""What SMART launches and OpenID Connect share: the way to another server and back (OAuth 2, authorization code with PKCE)."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request as Asked

from fastapi import HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from aftercar.errors import InputError
from aftercar.web import fhir_server
from aftercar.web.settings import Client, Settings

COOKIE = "aftercar_way"
LASTS_S, MOST = 600, 1000  # seconds until one must be back; how many are on their way


@dataclass(frozen=True)
class Way:
    """Somebody who was sent to another server.

    Attributes:
        browser: what the cookie holds, so that nobody comes back in another's place.
        verifier: of PKCE.
        nonce: that an id token must hold.
        token_endpoint: where the code is handed in.
        about: what to go on with.
    """

    kind: str
    browser: str
    verifier: str
    nonce: str
    token_endpoint: str
    about: dict[str, str]
    until: float


@dataclass
class Ways:
    """Those who are on their way, by the state that they come back with; each once."""

    _open: OrderedDict[str, Way] = field(default_factory=OrderedDict[str, Way])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, way: Way) -> str:
        """Remember one; the state."""
        state = secrets.token_urlsafe(32)
        with self._lock:
            self._open[state] = way
            while len(self._open) > MOST:
                self._open.popitem(last=False)
        return state

    def end(self, state: str, kind: str, browser: str | None) -> Way | None:
        """Who comes back, if it is they, in time."""
        with self._lock:
            way = self._open.pop(state, None)
        same = way is not None and way.kind == kind and browser is not None and secrets.compare_digest(way.browser, browser)
        return way if same and way is not None and time.time() < way.until else None


def send(
    request: Request, settings: Settings, kind: str, endpoints: dict[str, Any], client: Client, asked: dict[str, str], about: dict[str, str]
) -> Response:  # fmt: skip
    """Send a browser to the authorization endpoint of a server.

    Args:
        endpoints: what the server says of itself.
        asked: parameters beside those that every such request has.
    Raises:
        InputError: the endpoints are missing, or not safe.
    """
    authorize, token = str(endpoints.get("authorization_endpoint", "")), str(endpoints.get("token_endpoint", ""))
    for address in (authorize, token):
        fhir_server.require_safe(address)
    way = Way(
        kind, request.cookies.get(COOKIE) or secrets.token_urlsafe(32), secrets.token_urlsafe(48), secrets.token_urlsafe(24), token, about,
        time.time() + LASTS_S,
    )  # fmt: skip
    challenge = base64.urlsafe_b64encode(hashlib.sha256(way.verifier.encode()).digest()).decode().rstrip("=")
    parameters = {
        "response_type": "code", "client_id": client.client_id, "state": request.app.state.ways.begin(way), "code_challenge": challenge,
        "code_challenge_method": "S256", "nonce": way.nonce, **asked,
    }  # fmt: skip
    response = RedirectResponse(authorize + ("&" if urlsplit(authorize).query else "?") + urlencode(parameters), 303)
    response.set_cookie(COOKIE, way.browser, max_age=LASTS_S, httponly=True, samesite="lax", secure=settings.secure, path="/")
    return response


def back(request: Request, kind: str, state: str | None, error: str | None) -> Way:
    """Who comes back from the other server.

    Raises:
        HTTPException: nobody was sent, or it is too long ago, or the other server refused.
    """
    way = request.app.state.ways.end(state or "", kind, request.cookies.get(COOKIE))
    if way is None:
        raise HTTPException(400, "This did not begin here, or took too long. Begin again.")
    if error is not None:
        raise HTTPException(403, "The other server refused.")
    return way


def exchange(way: Way, code: str | None, client: Client, redirect_uri: str) -> dict[str, Any]:
    """Hand in the code for tokens.

    Raises:
        InputError: the server gives none.
    """
    told = {"grant_type": "authorization_code", "code": code or "", "redirect_uri": redirect_uri, "code_verifier": way.verifier}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if client.client_secret is None:
        told["client_id"] = client.client_id
    else:
        pair = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    answer = fhir_server.answered(Asked(way.token_endpoint, urlencode(told).encode(), headers, method="POST"))
    if not isinstance(answer, dict):
        raise InputError("The server gives no token.")
    return answer
