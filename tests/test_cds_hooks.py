"""CDS Hooks: pairs of request and answer as data, who may call, CORS as browsers ask it, and what a record system may make us do."""

from __future__ import annotations

import json
import logging
import runpy
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from served import (
    ALONE,
    BASE,
    NOW,
    ZONE,
    client_of,
    given,
    hours_ago,
    infused,
    observed,
    searchset,
    serving,
    ward_at,
    with_accounts,
)

from aftercar.evidence.sources import references
from aftercar.ward import intake, record
from aftercar.ward.tables import audit, feedback
from aftercar.ward.ward import Ward
from aftercar.web.cds.cards import LONGEST
from aftercar.web.fhir_server import TEMPLATES

ROOT = Path(__file__).parents[1]
CASES = sorted((ROOT / "tests" / "cases" / "cds_hooks").glob("*.json"))
GRADES, DOSES = "/cds-services/aftercar-grades", "/cds-services/aftercar-doses"
PAGE = f"{BASE}:8443"  # the page of a record system
ISSUER = "https://hospital.example/ehr"


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    made = ward_at(tmp_path_factory.mktemp("ward"))
    yield made
    made.close()


@pytest.fixture
def client(ward: Ward) -> Any:
    return client_of(ward, alone=ALONE, origins=(PAGE,))


def case(name: str) -> dict[str, Any]:
    return json.loads((CASES[0].parent / f"{name}.json").read_text(encoding="utf-8"))


def trail(ward: Ward) -> list[dict[str, Any]]:
    with ward.database.reading() as connection:
        return [dict(r) for r in connection.execute(sa.select(audit).order_by(audit.c.n)).mappings()]


# ---- pairs


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_a_request_has_this_answer(path: Path, client: Any) -> None:
    told = json.loads(path.read_text(encoding="utf-8"))
    response = client.post(f"/cds-services/{told['service']}", json=told["request"])
    assert response.status_code == told["status"], response.text
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == told["status"]
        return
    cards = response.json()["cards"]
    kept = [{k: v for k, v in card.items() if k not in ("uuid", "overrideReasons", "detail")} for card in cards]
    assert kept == [{k: v for k, v in card.items() if k != "detail_says"} for card in told["cards"]]
    for card, wanted in zip(cards, told["cards"], strict=True):
        assert [said for said in wanted.get("detail_says", []) if said not in card["detail"]] == []


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_cards_are_as_the_specification_has_them(path: Path, client: Any) -> None:
    """CDS Hooks 2.0, card attributes: lengths, allowed values, and nothing null or empty."""
    told = json.loads(path.read_text(encoding="utf-8"))
    response = client.post(f"/cds-services/{told['service']}", json=told["request"])
    cards = response.json().get("cards", [])
    dois = {f"https://doi.org/{r.doi}" for r in references().values() if r.doi}
    for card in cards:
        assert 0 < len(card["summary"]) <= LONGEST < 140
        assert card["indicator"] in ("info", "warning", "critical")
        assert card["source"]["label"] and card["source"].get("url") in {None, *dois}
        assert uuid.UUID(card["uuid"])
        assert all(reason["code"] and reason["display"] and reason["system"] for reason in card["overrideReasons"])
        assert "suggestions" not in card and "systemActions" not in response.json()  # options, never orders
        assert "Derived by software" in card["detail"]
        assert not [k for k, v in card.items() if v in (None, "", [], {})]
    assert len({card["uuid"] for card in cards}) == len(cards)


def test_discovery_tells_the_services_and_their_prefetch(client: Any) -> None:
    services = client.get("/cds-services").json()["services"]
    assert [(s["id"], s["hook"]) for s in services] == [("aftercar-grades", "patient-view"), ("aftercar-doses", "order-sign")]
    for service in services:
        assert service["prefetch"] == TEMPLATES and service["title"] and service["description"]
        assert all("{{context.patientId}}" in t and t.count("{{") == 1 for t in service["prefetch"].values())


def test_the_same_request_is_graded_once(ward: Ward, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    request = case("grade_2_after_hypotension")["request"] | {"hookInstance": "again"}
    first = client.post(GRADES, json=request).json()["cards"]
    monkeypatch.setattr("aftercar.ward.intake.file", lambda *_, **__: pytest.fail("read again"))
    second = client.post(GRADES, json=request).json()["cards"]
    assert [c["summary"] for c in first] == [c["summary"] for c in second]
    assert {c["uuid"] for c in first}.isdisjoint(c["uuid"] for c in second)


def test_what_is_not_sent_widens_and_never_lowers(client: Any) -> None:
    """Hiding any part of the prefetch leaves the grade where it was, or opens it."""
    request = case("grade_2_after_hypotension")["request"]
    for key in ("medications", "conditions", "devices"):
        less = request | {"prefetch": {k: v for k, v in request["prefetch"].items() if k != key}}
        summary = client.post(GRADES, json=less).json()["cards"][0]["summary"]
        assert summary.startswith(("CRS 2,", "CRS 2–")), key


def charted(ward: Ward, label: str, rows: list[dict[str, Any]]) -> int:
    """A new patient of the ward with entries; the number."""
    with ward.database.writing() as connection:
        number = record.register(connection, label)
    ward.enter(ALONE, number, intake.rows(rows, number).timeline)
    return number


def test_the_record_of_the_ward_answers_where_nothing_was_sent(tmp_path: Path) -> None:
    ward = ward_at(tmp_path)
    rows = [
        {"time": hours_ago(50), "code": "cart_infusion", "text_value": "axi-cel"},
        {"time": hours_ago(1), "code": "temperature", "numeric_value": 39.0, "unit": "Cel"},
    ]
    number = charted(ward, "W-7", rows)
    client = client_of(ward, alone=ALONE)
    request = {"hook": "patient-view", "hookInstance": "1", "context": {"patientId": "W-7", "userId": "Practitioner/1"}}
    (card, *_) = client.post(GRADES, json=request).json()["cards"]
    assert card["summary"].startswith("CRS 1–") and "the ward's own record" in card["detail"]
    assert card["links"] == [{"label": "The course in aftercar", "url": f"{BASE}/patients/{number}", "type": "absolute"}]


def test_cards_say_since_when_another_therapy_may_be_the_cause_and_end_with_the_life(tmp_path: Path) -> None:
    ward = ward_at(tmp_path)
    rows = [
        {"time": hours_ago(50), "code": "cart_infusion", "text_value": "axi-cel"},
        {"time": hours_ago(30), "code": "next_therapy"},
        *(
            {"time": hours_ago(1), "code": c, "numeric_value": v, "unit": u}
            for c, v, u in (("temperature", 39.0, "Cel"), ("sbp", 80, "mm[Hg]"))
        ),
    ]
    number = charted(ward, "W-8", rows)
    client = client_of(ward, alone=ALONE)
    request = {"hook": "patient-view", "hookInstance": "1", "context": {"patientId": "W-8", "userId": "Practitioner/1"}}
    cards = client.post(GRADES, json=request).json()["cards"]
    said = f"after next anti-tumour therapy on {hours_ago(30)[:10]}: check the cause"
    assert len(cards) > 1 and said in cards[0]["summary"]
    assert all(card["detail"].startswith(f"**Note:** {said}.") for card in cards)
    for card in cards[1:]:
        assert len(card["summary"]) <= LONGEST
    # The record system knows first: also where it does not say when, nobody is shown as living.
    person = {"resourceType": "Patient", "id": "W-8"}
    for death in ({"deceasedBoolean": True}, {"deceasedDateTime": hours_ago(0.2)[:10]}):
        sent = {"prefetch": {"patient": person | death}, "hookInstance": f"3 {death}"}
        (card,) = client.post(GRADES, json=request | sent).json()["cards"]
        assert card["summary"].startswith("The record system says that the patient died") and "Worst CRS" in card["detail"]
    living = {"prefetch": {"patient": person | {"deceasedBoolean": False}}, "hookInstance": "4"}
    assert len(client.post(GRADES, json=request | living).json()["cards"]) == len(cards)
    ward.enter(ALONE, number, intake.rows([{"time": hours_ago(0.5), "code": "death"}], number).timeline)
    assert client.post(GRADES, json=request | {"hookInstance": "2"}).json()["cards"] == []
    assert trail(ward)[-1]["subject_id"] == number
    # Of two record systems, patients with the same id may be two: then an id alone names nobody.
    two = client_of(ward, alone=ALONE, fhir_servers=("https://hospital.example/a", "https://hospital.example/b"))
    assert two.post(GRADES, json=request).status_code == 412
    ward.close()


# ---- as a public client asks: CORS, an old Accept header, a token of its own


def test_a_page_of_the_list_may_ask_and_no_other(client: Any) -> None:
    asks = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    for path in (GRADES, f"{GRADES}/feedback"):
        preflight = client.options(path, headers=asks)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == PAGE
        assert {"authorization", "content-type"} <= {
            h.strip().lower() for h in preflight.headers["access-control-allow-headers"].split(",")
        }
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in preflight.headers
    assert "access-control-allow-origin" not in client.options(GRADES, headers=asks | {"Origin": f"{BASE}:9"}).headers
    for path in ("/api/v1/patients", "/", "/cds-services-other"):  # nothing else of the server
        answer = client.options(path, headers=asks)
        assert "access-control-allow-origin" not in answer.headers, path
    assert client.get("/cds-services", headers={"Origin": PAGE}).headers["access-control-allow-origin"] == PAGE
    refused = client.post(GRADES, json={}, headers={"Origin": PAGE})
    assert refused.status_code == 422 and refused.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize(
    "accept", ["application/json", "application/json+fhir", "application/json, text/plain, */*", "text/html"]
)
@pytest.mark.parametrize(
    "kind", ["application/json", "application/json+fhir", "application/fhir+json", "application/json;charset=UTF-8"]
)
def test_old_media_types_are_understood(client: Any, accept: str, kind: str) -> None:
    request = json.dumps(case("no_infusion")["request"])
    headers = {"Accept": accept, "Content-Type": kind, "Authorization": "Bearer a.token.ofthesandbox", "Origin": PAGE}
    answer = client.post(GRADES, content=request, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"cards": []})
    assert answer.headers["content-type"] == "application/json"


def test_the_patient_for_the_sandbox_is_found_as_the_sandbox_asks(tmp_path: Path) -> None:
    """Each template read, or searched by POST, at the FHIR server of the example, which pages elsewhere may ask."""
    example = runpy.run_path(str(ROOT / "examples" / "sandbox" / "fhir_server.py"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), example["Handler"])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    port = server.server_address[1]
    address = f"http://127.0.0.1:{port}/fhir"
    ward = ward_at(tmp_path, datetime.now(UTC))
    client = client_of(ward, alone=ALONE, fhir_servers=(address,))
    old = {"Accept": "application/json+fhir"}
    try:
        assert httpx.get(f"{address}/metadata", headers=old).json()["fhirVersion"] == "4.0.1"
        assert httpx.get(f"{address}/Patient/nobody").status_code == 404
        (entry,) = httpx.get(f"{address}/Patient", headers=old).json()["entry"]
        ident = entry["resource"]["id"]
        prefetch = {}
        for key, template in TEMPLATES.items():
            path, _, query = template.replace("{{context.patientId}}", ident).partition("?")
            form = {"content": query, "headers": old | {"Content-Type": "application/x-www-form-urlencoded"}}
            told = httpx.post(f"{address}/{path}/_search", **form) if query else httpx.get(f"{address}/{path}", headers=old)
            assert (told.status_code, told.headers["access-control-allow-origin"]) == (200, "*")
            prefetch[key] = told.json()
        asked = {"hook": "patient-view", "hookInstance": "1", "context": {"patientId": ident}, "fhirServer": address}
        sent = client.post(GRADES, json=asked | {"prefetch": prefetch}).json()["cards"]
        fetched = client.post(GRADES, json=asked | {"fhirAuthorization": HOOK["fhirAuthorization"]}).json()["cards"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        ward.close()
    for card in (sent[0], fetched[0]):
        assert card["summary"].startswith("CRS 3, ICANS 0: day ") and card["indicator"] == "critical"


# ---- tokens of record systems


RSA, P256, P384 = (
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
)
STRANGER = ec.generate_private_key(ec.SECP384R1())


def public(key: Any, kid: str, alg: str | None) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return dict(kind.to_jwk(key.public_key(), as_dict=True)) | {"kid": kid} | ({"alg": alg} if alg else {})


KEYS: dict[str, dict[str, object]] = {
    ISSUER: {"keys": [public(RSA, "r", None), public(P256, "p256", "ES256"), public(P384, "p384", "ES384")]},
    "https://hospital.example/other": {"keys": [public(STRANGER, "p384", None)]},
}


def token(key: Any = P384, kid: str = "p384", alg: str = "ES384", **changed: Any) -> str:
    now = int(time.time())
    told = {"iss": ISSUER, "aud": f"{BASE}{GRADES}", "exp": now + 300, "iat": now, "jti": str(uuid.uuid4())} | changed
    # `jku` as the sandbox sends it: an address that is never asked.
    return jwt.encode(
        {k: v for k, v in told.items() if v is not None}, key, alg, {"kid": kid, "jku": "https://hospital.example/keys"}
    )


@pytest.fixture
def guarded(ward: Ward) -> Any:
    return client_of(ward, alone=ALONE, ehr_keys=KEYS, require_ehr_token=True)


def call(client: Any, sent: str | None) -> Any:
    headers = {} if sent is None else {"Authorization": f"Bearer {sent}"}
    return client.post(GRADES, json=case("no_infusion")["request"], headers=headers)


@pytest.mark.parametrize(
    ("key", "kid", "alg"), [(RSA, "r", "RS256"), (RSA, "r", "RS384"), (P256, "p256", "ES256"), (P384, "p384", "ES384")]
)
def test_a_signed_token_counts(guarded: Any, key: Any, kid: str, alg: str) -> None:
    assert call(guarded, token(key, kid, alg)).status_code == 200


def test_an_audience_may_be_one_of_several(guarded: Any) -> None:
    assert call(guarded, token(aud=["https://hospital.example/else", f"{BASE}{GRADES}"])).status_code == 200


WRONG = {
    "none": lambda: None,
    "no token": lambda: "x",
    "unsigned": lambda: jwt.encode({"iss": ISSUER}, None, "none"),
    "a key of somebody else": lambda: token(STRANGER),
    "the key of another issuer": lambda: token(STRANGER, iss=ISSUER),
    "an issuer that is not in the list": lambda: token(iss="https://hospital.example/unknown"),
    "a key that is not in the set": lambda: token(kid="other"),
    "a secret that both know": lambda: token(b"k" * 64, "p384", "HS256"),
    "RS512, which is not in the list": lambda: token(RSA, "r", "RS512"),
    "expired": lambda: token(exp=int(time.time()) - 60, iat=int(time.time()) - 120),
    "not yet": lambda: token(iat=int(time.time()) + 600, exp=int(time.time()) + 900),
    "for another service": lambda: token(aud=f"{BASE}{DOSES}"),
    "for another server": lambda: token(aud=f"{BASE}:9{GRADES}"),
    "holds for years": lambda: token(exp=int(time.time()) + 10**8),
    "made before the server started": lambda: token(iat=int(time.time()) - 1000),
    **{f"without {name}": lambda name=name: token(**{name: None}) for name in ("iss", "aud", "exp", "iat", "jti")},
}


@pytest.mark.parametrize("made", WRONG.values(), ids=WRONG.keys())
def test_a_token_that_does_not_hold_is_refused(guarded: Any, made: Any) -> None:
    answer = call(guarded, made())
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_token_counts_once(guarded: Any) -> None:
    sent = token()
    assert [call(guarded, sent).status_code for _ in range(3)] == [200, 401, 401]


def test_discovery_is_open_and_yet_refuses_a_wrong_token(guarded: Any) -> None:
    assert guarded.get("/cds-services").status_code == 200
    assert (
        guarded.get("/cds-services", headers={"Authorization": f"Bearer {token(aud=f'{BASE}/cds-services')}"}).status_code == 200
    )
    assert guarded.get("/cds-services", headers={"Authorization": f"Bearer {token(STRANGER)}"}).status_code == 401


def test_with_accounts_nobody_calls_without_a_token(tmp_path: Path) -> None:
    """Neither a cookie nor the token of a person opens CDS Hooks."""
    ward = ward_at(tmp_path)
    with_accounts(ward.database)
    client = client_of(ward)
    own = client.post("/api/v1/tokens", json={"name": "reader", "password": "correct horse battery staple"}).json()["token"]
    for headers in ({}, {"Authorization": f"Bearer {own}"}, {"Cookie": f"aftercar={own}"}):
        for path in (GRADES, f"{GRADES}/feedback"):
            assert client.post(path, json={}, headers=headers).status_code == 401
    ward.close()


# ---- the FHIR server of a record system


RESOURCES = {
    "Patient": {"resourceType": "Patient", "id": "p-9", "birthDate": "1970-01-01"},
    "Observation": searchset(observed("p-9", "8310-5", 39.2, "Cel", 1), observed("p-9", "8480-6", 120, "mm[Hg]", 1)),
    "Procedure": searchset(infused("p-9", 40)),
    "MedicationAdministration": searchset(given("p-9", "612865", 640, "mg", 5)),
    "Condition": searchset(),
    "DeviceUseStatement": searchset(),
}


def asked_of(path: str) -> str:
    return path.removeprefix("/fhir/").split("?")[0].split("/")[0]


HOOK = {
    "hook": "patient-view", "hookInstance": "1", "context": {"patientId": "p-9", "userId": "Practitioner/1"},
    "fhirAuthorization": {"access_token": "of-the-record-system", "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.read", "subject": "aftercar"},
}  # fmt: skip


def test_a_server_of_the_list_is_asked_for_what_was_not_sent(ward: Ward) -> None:
    calls: list[tuple[str, str | None]] = []

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], Any]:
        calls.append((path, headers.get("authorization")))
        return 200, {}, RESOURCES[asked_of(path)]

    with serving(answer) as address:
        client = client_of(ward, alone=ALONE, fhir_servers=(f"{address}/fhir",))
        (card, *_) = client.post(GRADES, json=HOOK | {"fhirServer": f"{address}/fhir/"}).json()["cards"]
        assert card["summary"].startswith("CRS 1") and "the record system's FHIR server" in card["detail"]
        assert {asked_of(path) for path, _ in calls} == set(RESOURCES)
        assert {sent for _, sent in calls} == {"Bearer of-the-record-system"}
        calls.clear()
        part = {"patient": RESOURCES["Patient"], "observations": RESOURCES["Observation"]}
        client.post(GRADES, json=HOOK | {"fhirServer": f"{address}/fhir", "prefetch": part})
        assert {asked_of(path) for path, _ in calls} == set(RESOURCES) - {"Patient", "Observation"}


def test_no_server_is_called_that_is_not_in_the_list(ward: Ward) -> None:
    """Not the one that a request names, nor the one that a server of the list leads to."""
    calls: list[str] = []
    with (
        serving(lambda method, path, headers, body: (calls.append(path), (200, {}, RESOURCES["Patient"]))[1]) as elsewhere,
        serving(lambda method, path, headers, body: (302, {"Location": f"{elsewhere}{path}"}, {})) as leads,
        serving(lambda method, path, headers, body: (200, {}, searchset(following=f"{elsewhere}/fhir/next"))) as pages,
    ):
        for server, listed in (
            (f"{elsewhere}/fhir", ()), (f"{elsewhere}/fhir", (f"{leads}/fhir",)), (f"{leads}/fhir@{elsewhere}", (f"{leads}/fhir",)),
            (f"{leads}/fhir", (f"{leads}/fhir",)), (f"{pages}/fhir", (f"{pages}/fhir",)),
        ):  # fmt: skip
            client = client_of(ward, alone=ALONE, fhir_servers=listed)
            assert client.post(GRADES, json=HOOK | {"fhirServer": server}).status_code == 412
    assert calls == []


def test_a_server_that_is_broken_is_as_one_that_is_not_there(ward: Ward) -> None:
    for status, told in ((500, {}), (200, "no resource"), (200, [1]), (404, {"resourceType": "OperationOutcome"})):
        with serving(lambda method, path, headers, body, status=status, told=told: (status, {}, told)) as address:
            client = client_of(ward, alone=ALONE, fhir_servers=(address,))
            assert client.post(GRADES, json=HOOK | {"fhirServer": address}).status_code == 412


# ---- feedback


def test_feedback_is_kept_as_it_came(ward: Ward, client: Any) -> None:
    """As the public sandbox sends it, and with a comment."""
    told = [
        {"card": "c-1", "outcome": "overridden", "outcomeTimestamp": "2026-03-10T11:00:00.000Z", "overrideReason": {"reason": {"code": "known", "system": "urn:aftercar:override-reason"}, "userComment": "seen"}},
        {"card": "c-2", "outcome": "accepted", "acceptedSuggestions": [{"id": "s-1"}], "outcomeTimestamp": "2026-03-10T11:00:00Z"},
    ]  # fmt: skip
    answer = client.post(f"{GRADES}/feedback", json={"feedback": told})
    assert (answer.status_code, answer.json()) == (200, {"received": 2})
    with ward.database.reading() as connection:
        rows = connection.execute(sa.select(feedback).order_by(feedback.c.feedback_id.desc()).limit(2)).all()
    assert {(r.service, r.card, r.outcome) for r in rows} == {
        ("aftercar-grades", "c-1", "overridden"),
        ("aftercar-grades", "c-2", "accepted"),
    }
    assert "seen" not in json.dumps(trail(ward)), "what was said stays out of the trail"


@pytest.mark.parametrize(
    "told",
    [{}, {"feedback": []}, {"feedback": [{"card": "c", "outcome": "ignored", "outcomeTimestamp": "2026-03-10T11:00:00Z"}]},
     {"feedback": [{"card": "c", "outcome": "overridden"}]}, {"feedback": [{"card": "c" * 65, "outcome": "overridden", "outcomeTimestamp": "2026-03-10T11:00:00Z"}]}],
)  # fmt: skip
def test_feedback_that_is_none_is_refused_whole(ward: Ward, client: Any, told: dict[str, Any]) -> None:
    before = len(trail(ward))
    assert client.post(f"{GRADES}/feedback", json=told).status_code == 422
    assert len(trail(ward)) == before


# ---- what stays out of logs and the trail


def test_every_call_is_in_the_trail_and_no_value_anywhere(ward: Ward, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aftercar")
    request = case("grade_2_after_hypotension")["request"] | {"hookInstance": "in-the-trail"}
    cards = client.post(GRADES, json=request).json()["cards"]
    last = trail(ward)[-1]
    told = json.loads(last["detail"])
    assert (last["account"], last["action"]) == ("(record system)", "cds.patient-view")
    assert told["call"] == "in-the-trail" and told["user"] == "Practitioner/COREPRACTITIONER1"
    assert told["cards"] == [c["uuid"] for c in cards]
    assert "p-1" not in last["detail"] and "39.2" not in last["detail"] + caplog.text and "p-1" not in caplog.text


def test_a_broken_request_says_no_value(client: Any) -> None:
    request = case("grade_2_after_hypotension")["request"]
    request["context"]["patientId"] = "Jane Doe, born 1970"
    answer = client.post(GRADES, json=request)
    assert answer.status_code == 422 and "Jane" not in answer.text


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "x",
        [],
        {},
        [[]],
        {"resourceType": 5},
        {"resourceType": "Bundle", "entry": 3},
        {"resourceType": "Bundle", "entry": [None, {"resource": 1}]},
    ],
)
def test_a_prefetch_of_any_shape_is_answered(client: Any, value: Any) -> None:
    """Never a fault of ours: cards, or a problem that says what is wrong."""
    for key in ("patient", "observations", "unknown"):
        request = case("grade_2_after_hypotension")["request"]
        request["prefetch"] = request["prefetch"] | {key: value}
        assert client.post(GRADES, json=request).status_code in (200, 412, 422)
        drafts = request | {"hook": "order-sign", "context": request["context"] | {"draftOrders": value}}
        assert client.post(DOSES, json=drafts).status_code in (200, 412, 422)


def test_times_with_an_offset_are_brought_to_the_ward(client: Any) -> None:
    """The same moment, written from two zones, gives the same card."""
    here = case("grade_2_after_hypotension")["request"]
    shifted = json.dumps(here)
    for hours in (1, 2, 5, 60, 100):
        local, elsewhere = f"{hours_ago(hours)}+01:00", f"{hours_ago(hours + 1)}Z"
        shifted = shifted.replace(local, elsewhere)
    assert shifted != json.dumps(here)
    assert [c["summary"] for c in client.post(GRADES, json=json.loads(shifted)).json()["cards"]] == [
        c["summary"] for c in client.post(GRADES, json=here).json()["cards"]
    ]
    assert NOW.utcoffset() == timedelta() and ZONE == "Europe/Berlin"
