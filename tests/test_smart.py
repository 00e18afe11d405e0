"""SMART launches and OpenID Connect against small providers on this machine: the whole way, and every way to come back that must not count."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import rsa
from served import BASE, PASSWORD, TestClient, client_of, given, infused, observed, searchset, serving, ward_at, with_accounts

from aftercar.errors import OptionError
from aftercar.serve.server import Running, outside
from aftercar.ward import accounts, record
from aftercar.ward.tables import audit
from aftercar.ward.ward import Ward
from aftercar.web.settings import Client, Provider

KEY, STRANGER = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)


def jwk(key: Any) -> dict[str, Any]:
    return dict(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)) | {"kid": "k"}


@dataclass
class Elsewhere:
    """An identity provider and record system in one. `id_token` and `patient` are what it says."""

    address: str = ""
    resources: dict[str, Any] = field(default_factory=dict[str, Any])
    patient: str | None = "p-9"
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    key: Any = KEY
    alg: str = "RS256"
    issuer: str | None = None
    codes: dict[str, dict[str, list[str]]] = field(default_factory=dict[str, "dict[str, list[str]]"])
    calls: list[str] = field(default_factory=list[str])

    def authorize(self, location: str) -> str:
        """What its page does with a browser that was sent to it: the code, which belongs to what was asked."""
        asked = parse_qs(urlsplit(location).query)
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return code

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], Any]:
        self.calls.append(path)
        if "/.well-known/" in path:
            told = {
                "authorization_endpoint": f"{self.address}/authorize",
                "token_endpoint": f"{self.address}/token",
                "jwks_uri": f"{self.address}/keys",
            }
            return 200, {}, told | {"issuer": self.issuer or self.address}
        if path == "/keys":
            return 200, {}, {"keys": [jwk(KEY)]}
        if path == "/token":
            return self.tokens(headers, {k: v[0] for k, v in parse_qs(body.decode()).items()})
        if headers.get("authorization") != "Bearer access":
            return 401, {}, {}
        return 200, {}, self.resources.get(path.removeprefix("/fhir/").split("?")[0].split("/")[0], searchset())

    def tokens(self, headers: dict[str, str], told: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        """Codes count once, and with the verifier of their challenge (RFC 7636)."""
        asked = self.codes.pop(told.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(told.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != [challenge] or asked["redirect_uri"] != [told["redirect_uri"]]:
            return 400, {}, {"error": "invalid_grant"}
        basic = base64.b64decode(headers.get("authorization", "").removeprefix("Basic ")).decode().split(":")[0]
        assert asked["client_id"] == [told.get("client_id") or basic]
        now = int(time.time())
        claims = {
            "iss": self.address,
            "sub": "s-1",
            "aud": asked["client_id"][0],
            "exp": now + 60,
            "iat": now,
            "nonce": asked["nonce"][0],
        } | self.claims
        token = jwt.encode(
            {k: v for k, v in claims.items() if v is not None},
            self.key if self.alg == "RS256" else b"k" * 64,
            self.alg,
            {"kid": "k"},
        )
        patient = {"patient": self.patient} if self.patient else {}
        return 200, {}, {"access_token": "access", "token_type": "Bearer", "id_token": token, **patient}


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()
    with serving(made.answer) as address:
        made.address = address
        yield made


@pytest.fixture
def there() -> Iterator[Elsewhere]:
    with elsewhere() as made:
        yield made


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    made = ward_at(tmp_path)
    with_accounts(made.database)
    yield made
    made.close()


def get(client: Any, path: str, **asked: str) -> Any:
    return client.get(path, params=asked, follow_redirects=False)


# ---- signing in with a provider


def signing_in(ward: Ward, there: Elsewhere, name: str | None = "ann", *, subject: str = "s-1") -> Any:
    if name:
        with ward.database.writing() as connection:
            accounts.add(connection, name, "reader", issuer=there.address, issued_to=subject)
    return client_of(ward, provider=Provider(there.address, "ward", "a secret"), secure=True)


def way(client: Any, there: Elsewhere, next: str = "/") -> tuple[str, str]:
    """To the provider and back: the state and the code."""
    sent = get(client, "/oidc/sign-in", next=next)
    assert sent.status_code == 303, sent.text
    asked = parse_qs(urlsplit(sent.headers["location"]).query)
    assert sent.headers["location"].startswith(f"{there.address}/authorize?")
    assert (
        asked["code_challenge_method"] == ["S256"]
        and asked["redirect_uri"] == [f"{BASE}/oidc/callback"]
        and asked["scope"] == ["openid"]
    )
    return asked["state"][0], there.authorize(sent.headers["location"])


def test_a_person_whom_the_provider_knows_is_signed_in(ward: Ward, there: Elsewhere) -> None:
    client = signing_in(ward, there)
    assert "/oidc/sign-in?next=" in client.get("/sign-in").text
    state, code = way(client, there, "/patients/1")
    back = get(client, "/oidc/callback", state=state, code=code)
    assert (back.status_code, back.headers["location"]) == (303, "/patients/1")
    assert "HttpOnly" in back.headers["set-cookie"] and "Secure" in back.headers["set-cookie"]
    assert client.get("/api/v1/me").json()["name"] == "ann"
    with ward.database.reading() as connection:
        last = connection.execute(sa.select(audit).order_by(audit.c.n.desc())).mappings().first()
    assert last is not None and (last["account"], last["action"]) == ("ann", "sign-in")


@pytest.mark.parametrize("outside", [f"{BASE}:9/", "//hospital.example:9", "/\\hospital.example"])
def test_nobody_is_led_elsewhere_afterwards(ward: Ward, there: Elsewhere, outside: str) -> None:
    client = signing_in(ward, there)
    state, code = way(client, there, outside)
    assert get(client, "/oidc/callback", state=state, code=code).headers["location"] == "/"


def refused(client: Any, state: str, code: str, status: int) -> None:
    back = get(client, "/oidc/callback", state=state, code=code)
    assert back.status_code == status, back.text
    assert client.get("/api/v1/me").status_code == 401


def test_who_has_no_account_here_is_not_signed_in(ward: Ward, there: Elsewhere) -> None:
    refused(client := signing_in(ward, there, None), *way(client, there), 403)
    refused(client := signing_in(ward, there, "bob", subject="another"), *way(client, there), 403)
    with ward.database.writing() as connection:
        accounts.add(connection, "ann", "reader", issuer=there.address, issued_to="s-1")
        accounts.change(connection, "ann", active=False)
    refused(client, *way(client, there), 403)


@pytest.mark.parametrize(
    "wrong",
    [{"nonce": "another"}, {"nonce": None}, {"aud": "another"}, {"iss": "https://hospital.example"}, {"exp": 1}, {"sub": None},
     {"aud": ["ward", "another"]}, {"iat": None}],
)  # fmt: skip
def test_an_id_token_that_does_not_hold_signs_nobody_in(ward: Ward, there: Elsewhere, wrong: dict[str, Any]) -> None:
    there.claims = wrong
    refused(client := signing_in(ward, there), *way(client, there), 403)


@pytest.mark.parametrize(("key", "alg"), [(STRANGER, "RS256"), (KEY, "HS256")])
def test_an_id_token_of_somebody_else_signs_nobody_in(ward: Ward, there: Elsewhere, key: Any, alg: str) -> None:
    there.key, there.alg = key, alg
    refused(client := signing_in(ward, there), *way(client, there), 403)


def test_the_way_back_counts_once_and_for_the_browser_that_went(ward: Ward, there: Elsewhere) -> None:
    client = signing_in(ward, there)
    state, code = way(client, there)
    assert get(TestClient(client.app, base_url=BASE), "/oidc/callback", state=state, code=code).status_code == 400, (
        "another browser"
    )
    assert get(client, "/oidc/callback", state=state, code=code).status_code == 400, "a state that was tried is used up"
    state, code = way(client, there)
    assert get(client, "/oidc/callback", state=state, code=code).status_code == 303
    assert get(client, "/oidc/callback", state=state, code=code).status_code == 400
    assert get(client, "/oidc/callback", code=code).status_code == 400
    assert get(client, "/oidc/callback", state=state, error="access_denied").status_code == 400


def test_a_code_of_another_way_is_not_taken(ward: Ward, there: Elsewhere) -> None:
    """PKCE: the code of one browser's way is of no use on another's."""
    client = signing_in(ward, there)
    _, stolen = way(client, there)
    state, _ = way(client, there)
    refused(client, state, stolen, 422)


def test_a_provider_that_calls_itself_otherwise_is_not_followed(ward: Ward, there: Elsewhere) -> None:
    there.issuer = "https://hospital.example/other"
    assert get(signing_in(ward, there), "/oidc/sign-in").status_code == 502


def test_without_a_provider_there_is_no_such_way(ward: Ward) -> None:
    client = client_of(ward)
    assert get(client, "/oidc/sign-in").status_code == get(client, "/oidc/callback").status_code == 404
    assert "/oidc/" not in client.get("/sign-in").text


# ---- launches


RESOURCES = {
    "Patient": {"resourceType": "Patient", "id": "p-9", "birthDate": "1970-01-01"},
    "Observation": searchset(observed("p-9", "8310-5", 39.2, "Cel", 1), observed("p-9", "8480-6", 80, "mm[Hg]", 1)),
    "Procedure": searchset(infused("p-9", 40)),
    "MedicationAdministration": searchset(given("p-9", "612865", 640, "mg", 5)),
}


def launched(ward: Ward, there: Elsewhere, role: str | None) -> Any:
    there.resources = there.resources or RESOURCES
    client = client_of(ward, fhir_servers=(f"{there.address}/fhir",), smart=Client("aftercar"))
    if role:
        assert client.post("/sign-in", data={"name": role, "password": PASSWORD}, follow_redirects=False).status_code == 303
    return client


def launch(client: Any, there: Elsewhere) -> Any:
    sent = get(client, "/smart/launch", iss=f"{there.address}/fhir", launch="l-1")
    assert sent.status_code == 303, sent.text
    asked = parse_qs(urlsplit(sent.headers["location"]).query)
    assert asked["launch"] == ["l-1"] and asked["aud"] == [f"{there.address}/fhir"] and asked["code_challenge_method"] == ["S256"]
    assert "launch" in asked["scope"][0].split() and asked["redirect_uri"] == [f"{BASE}/smart/callback"]
    return get(client, "/smart/callback", state=asked["state"][0], code=there.authorize(sent.headers["location"]))


def test_a_launch_brings_in_the_patient_and_shows_the_record_thereafter(ward: Ward, there: Elsewhere) -> None:
    client = launched(ward, there, "charting")
    first = launch(client, there)
    assert first.status_code == 303, first.text
    page = client.get(first.headers["location"])
    assert page.status_code == 200 and "p-9" in page.text
    with ward.database.reading() as connection:
        (own,) = record.patients(connection)
        events = record.history(connection, own.subject_id)
    assert (own.label, own.complete) == ("p-9", ("drugs",)) and {e["code"] for e in events} >= {
        "cart_infusion",
        "temperature",
        "tocilizumab",
    }
    again = launch(client, there)
    assert again.headers["location"] == first.headers["location"]
    with ward.database.reading() as connection:
        assert len(record.history(connection, own.subject_id)) == len(events), "nothing is brought in twice"


def test_a_reader_sees_a_record_and_brings_none_in(ward: Ward, there: Elsewhere) -> None:
    assert launch(launched(ward, there, "reader"), there).status_code == 403
    with ward.database.writing() as connection:
        number = record.register(connection, "p-9")
    assert launch(launched(ward, there, "reader"), there).headers["location"] == f"/patients/{number}"


def test_who_is_not_signed_in_signs_in_first_and_comes_back(ward: Ward, there: Elsewhere) -> None:
    sent = get(launched(ward, there, None), "/smart/launch", iss=f"{there.address}/fhir", launch="l-1")
    assert sent.status_code == 303 and sent.headers["location"].startswith("/sign-in?next=/smart/launch")
    assert there.calls == []


def test_a_server_that_is_not_in_the_list_is_not_asked(ward: Ward, there: Elsewhere) -> None:
    client = launched(ward, there, "charting")
    with elsewhere() as other:
        assert get(client, "/smart/launch", iss=f"{other.address}/fhir", launch="l-1").status_code == 403
        assert get(client, "/smart/launch", iss=f"{there.address}/fhir@{other.address}", launch="l-1").status_code == 403
        assert other.calls == []


def test_a_launch_without_a_patient_says_so(ward: Ward, there: Elsewhere) -> None:
    for named in (None, "../p-9", "p 9"):
        there.patient = named
        assert launch(launched(ward, there, "charting"), there).status_code == 422


def test_resources_of_another_patient_make_no_record(ward: Ward, there: Elsewhere) -> None:
    there.resources = RESOURCES | {"Procedure": searchset(infused("p-10", 40))}
    assert launch(launched(ward, there, "charting"), there).status_code == 422
    with ward.database.reading() as connection:
        assert record.patients(connection) == []


# ---- what a server is told when it starts


def started(tmp_path: Path, **told: Any) -> Running:
    return Running(
        str(tmp_path / "ward.db"), example=False, host="localhost", port=0, zone=None, profile=None, names=(), certificate=None, key=None,
        secure=False, loopback=True, **told,
    )  # fmt: skip


def test_keys_make_a_token_needed(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"https://hospital.example/ehr": {"keys": [jwk(KEY)]}}))
    found = outside(started(tmp_path, ehr_keys=file, origins=("https://hospital.example",)))
    assert found.require_ehr_token and list(found.ehr_keys) == ["https://hospital.example/ehr"]
    assert not outside(started(tmp_path)).require_ehr_token


@pytest.mark.parametrize(
    "told",
    ["no json", "{}", '{"i": []}', '{"i": {"keys": []}}', '{"i": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}', '{"i": {"keys": [{"kty": "RSA", "n": "x", "e": "AQAB", "d": "x"}]}}'],
)  # fmt: skip
def test_a_file_of_keys_that_is_none_is_refused(tmp_path: Path, told: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(told)
    with pytest.raises(OptionError):
        outside(started(tmp_path, ehr_keys=file))


@pytest.mark.parametrize(
    "told",
    [
        {"origins": ("*",)},
        {"origins": ("hospital.example",)},
        {"origins": ("https://hospital.example/page",)},
        {"fhir_servers": ("http://hospital.example/fhir",)},
        {"fhir_servers": ("fhir",)},
    ],
)
def test_an_address_that_cannot_be_one_is_refused(tmp_path: Path, told: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        outside(started(tmp_path, **told))


def test_secrets_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERCAR_OIDC_ISSUER", "https://hospital.example/id")
    with pytest.raises(OptionError):
        outside(started(tmp_path))
    monkeypatch.setenv("AFTERCAR_OIDC_CLIENT_ID", "ward")
    monkeypatch.setenv("AFTERCAR_OIDC_CLIENT_SECRET", "hush")
    monkeypatch.setenv("AFTERCAR_SMART_CLIENT_ID", "aftercar")
    found = outside(started(tmp_path))
    assert found.provider == Provider("https://hospital.example/id", "ward", "hush") and found.smart == Client("aftercar")
