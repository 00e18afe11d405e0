"""Signing in with an identity provider (OpenID Connect): it says who somebody is, the accounts here say what they may do."""

from __future__ import annotations

import secrets
from typing import Any

import jwt
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from aftercar.ward import accounts, audit
from aftercar.web import access, fhir_server, handshake
from aftercar.web.access import TheSettings, TheWard
from aftercar.web.keys import algorithms, key_of
from aftercar.web.pages.sign_in import inside, set_cookie
from aftercar.web.settings import Client, Provider, Settings

router = APIRouter(prefix="/oidc", include_in_schema=False)

LEEWAY_S = 30


def _provider(settings: Settings) -> Provider:
    if settings.provider is None:
        raise HTTPException(404, "No identity provider is set up.")
    return settings.provider


def _about(provider: Provider) -> dict[str, Any]:
    """What the provider says of itself."""
    told = fhir_server.get(f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration")
    if not isinstance(told, dict) or told.get("issuer") != provider.issuer:
        raise HTTPException(502, "The identity provider calls itself otherwise than in the settings.")
    return told


@router.get("/sign-in")
def sign_in(request: Request, settings: TheSettings, next: str = "/") -> Response:
    """Send somebody to the provider. Public on purpose; whoever tries too often waits."""
    provider = _provider(settings)
    request.app.state.sign_ins_from.take(access.client(request))
    asked = {"redirect_uri": _here(request, settings), "scope": "openid"}
    client = Client(provider.client_id, provider.client_secret)
    return handshake.send(request, settings, "oidc", _about(provider), client, asked, {"next": inside(next)})


@router.get("/callback")
def callback(
    request: Request,
    ward: TheWard,
    settings: TheSettings,
    state: str | None = None,
    code: str | None = None,
    error: str | None = None,
) -> Response:
    """Come back: signed in where an account here is that of the person whom the provider names. Public on purpose."""
    provider, way = _provider(settings), handshake.back(request, "oidc", state, error)
    told = handshake.exchange(way, code, Client(provider.client_id, provider.client_secret), _here(request, settings))
    subject = _subject(provider, str(told.get("id_token", "")), way.nonce)
    with ward.database.reading() as connection:
        person = None if subject is None else accounts.by_provider(connection, provider.issuer, subject)
    if person is None:
        with ward.database.writing() as connection:
            audit.note(connection, audit.SYSTEM, "sign-in.refused", detail={"by": "oidc"})
        raise HTTPException(
            403,
            "There is no active account for you here. An administrator makes one: `aftercar ward account NAME --issuer … --issued-to …`.",
        )
    with ward.database.writing() as connection:
        secret = accounts.sign_in(connection, person)
        audit.note(connection, person.name, "sign-in", detail={"by": "oidc"})
    response = RedirectResponse(way.about["next"], 303)
    set_cookie(response, secret, settings.secure)
    return response


def _subject(provider: Provider, token: str, nonce: str) -> str | None:
    """Whom an id token names; null where it does not hold."""
    keys = fhir_server.get(str(_about(provider).get("jwks_uri", "")))
    try:
        key = key_of(keys if isinstance(keys, dict) else {}, token)
        told = jwt.decode(
            token, key.key, algorithms=algorithms(key), audience=provider.client_id, issuer=provider.issuer, leeway=LEEWAY_S,
            options={"require": ["iss", "aud", "exp", "iat", "sub"]},
        )  # fmt: skip
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    audience = told["aud"]
    if isinstance(audience, list) and len(audience) > 1 and told.get("azp") != provider.client_id:
        return None
    return str(told["sub"]) if secrets.compare_digest(str(told.get("nonce", "")), nonce) else None


def _here(request: Request, settings: Settings) -> str:
    return f"{access.base_of(request, settings)}/oidc/callback"
