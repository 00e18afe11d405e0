"""Public keys of others, and by which signatures their tokens count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

# Asymmetric ones only: a key that both sides know proves nothing.
_SIGNED: dict[tuple[Any, Any], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384"), ("EC", "P-256"): ("ES256",), ("EC", "P-384"): ("ES384",),
}  # fmt: skip


def key_of(keys: Mapping[str, Any], token: str) -> jwt.PyJWK:
    """The key of a JWK set that the head of a token names; addresses in it are never asked.

    Raises:
        jwt.PyJWTError: there is none, or it is none.
    """
    name = jwt.get_unverified_header(token).get("kid")
    listed: list[dict[str, Any]] = list(keys.get("keys", ()))
    named = [k for k in listed if k.get("kid") == name] if name else listed
    if len(named) != 1:
        raise jwt.InvalidKeyError("no such key")
    return jwt.PyJWK(named[0])


def algorithms(key: jwt.PyJWK) -> list[str]:
    """The signatures that count from a key."""
    data = key._jwk_data  # pyright: ignore[reportPrivateUsage]
    return [a for a in _SIGNED.get((data.get("kty"), data.get("crv")), ()) if data.get("alg") in (None, a)]


def can_sign(key: Mapping[str, Any]) -> bool:
    """Whether tokens by this public key of a JWK set can count."""
    return (key.get("kty"), key.get("crv")) in _SIGNED
