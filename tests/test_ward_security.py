"""Who gets in, what each may do, and what nobody learns: every route by every role, forged requests, sessions, limits, headers, and values of patients in no log."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from commands import run
from fastapi.routing import APIRoute
from httpx import Response
from sqlalchemy import exc
from starlette.routing import BaseRoute, Route
from ward_support import PASSWORD, PERSON, Browser, a_ward, accounts_of_all_roles, events, registered

from aftercar.errors import OptionError
from aftercar.ward import accounts, audit, record
from aftercar.ward.accounts import Person, Role
from aftercar.ward.tables import account, login
from aftercar.ward.tables import audit as trail
from aftercar.ward.ward import Ward
from aftercar.web import access
from aftercar.web.app import HEADERS, LARGEST_FORM, MACHINES, create_app
from aftercar.web.settings import Settings

EVERYBODY = "everybody"

# What each route asks for. A route that is not here fails the test: decide who may use it, and say so here.
ROUTES: dict[tuple[str, str], str] = {
    ("GET", "/api/openapi.json"): EVERYBODY,
    ("GET", "/static/{name}"): EVERYBODY,
    ("GET", "/favicon.ico"): EVERYBODY,
    ("GET", "/health"): EVERYBODY,
    ("GET", "/sign-in"): EVERYBODY,
    ("POST", "/sign-in"): EVERYBODY,
    ("POST", "/sign-out"): EVERYBODY,
    ("GET", "/"): "read",
    ("GET", "/patients/{subject_id}"): "read",
    ("GET", "/patients/{subject_id}/options"): "read",
    ("GET", "/patients/{subject_id}/history"): "read",
    ("GET", "/patients/{subject_id}/enter"): "chart",
    ("POST", "/patients/{subject_id}/enter"): "chart",
    ("POST", "/patients/{subject_id}/events/{event_id}/withdraw"): "chart",
    ("POST", "/patients/{subject_id}/events/{event_id}/correct"): "chart",
    ("GET", "/patients/new"): "chart",
    ("POST", "/patients/new"): "chart",
    ("GET", "/patients/{subject_id}/infusion"): "chart",
    ("POST", "/patients/{subject_id}/infusion"): "chart",
    ("GET", "/patients/{subject_id}/scores"): "read",
    ("GET", "/patients/{subject_id}/calendar"): "read",
    ("GET", "/patients/{subject_id}/calendar.ics"): "read",
    ("GET", "/patients/{subject_id}/adjudicate"): "adjudicate",
    ("POST", "/patients/{subject_id}/adjudicate/grade"): "adjudicate",
    ("POST", "/patients/{subject_id}/adjudicate/agree"): "adjudicate",
    ("POST", "/patients/{subject_id}/adjudicate/unlock"): "adjudicate",
    ("POST", "/patients/{subject_id}/adjudicate/attribute"): "adjudicate",
    ("GET", "/patients/{subject_id}/registry"): "read",
    ("POST", "/patients/{subject_id}/registry"): "adjudicate",
    ("GET", "/patients/{subject_id}/registry/export"): "read",
    ("GET", "/cohort"): "read",
    ("GET", "/cohort/safety"): "read",
    ("POST", "/cohort/safety"): "read",
    ("GET", "/evidence"): "read",
    ("GET", "/evidence/pooled"): "read",
    ("GET", "/evidence/{name}"): "read",
    ("GET", "/mechanism"): "read",
    ("GET", "/simulate"): "read",
    ("POST", "/simulate"): "read",
    ("GET", "/simulate/{number}"): "read",
    ("POST", "/simulate/{number}/cancel"): "read",
    ("GET", "/administration"): "administer",
    ("POST", "/administration/accounts"): "administer",
    ("POST", "/administration/accounts/{name}"): "administer",
    ("GET", "/administration/trail"): "administer",
    ("POST", "/api/v1/tokens"): EVERYBODY,
    ("DELETE", "/api/v1/tokens"): EVERYBODY,
    ("GET", "/api/v1/me"): EVERYBODY,
    ("GET", "/api/v1/patients"): "read",
    ("POST", "/api/v1/patients"): "chart",
    ("GET", "/api/v1/patients/{subject_id}"): "read",
    ("POST", "/api/v1/patients/{subject_id}/events"): "chart",
    ("POST", "/api/v1/patients/{subject_id}/fhir"): "chart",
    ("PUT", "/api/v1/patients/{subject_id}/events/{event_id}"): "chart",
    ("DELETE", "/api/v1/patients/{subject_id}/events/{event_id}"): "chart",
    ("GET", "/api/v1/patients/{subject_id}/events"): "read",
    ("GET", "/api/v1/patients/{subject_id}/results"): "read",
    ("GET", "/api/v1/patients/{subject_id}/grades"): "read",
    ("GET", "/api/v1/patients/{subject_id}/worst"): "read",
    ("GET", "/api/v1/patients/{subject_id}/episodes"): "read",
    ("GET", "/api/v1/patients/{subject_id}/explanation"): "read",
    ("GET", "/api/v1/patients/{subject_id}/advice"): "read",
    ("GET", "/api/v1/patients/{subject_id}/risk"): "read",
    ("POST", "/api/v1/simulations"): "read",
    ("GET", "/cds-services"): EVERYBODY,
    ("POST", "/cds-services/{service_id}"): EVERYBODY,
    ("POST", "/cds-services/{service_id}/feedback"): EVERYBODY,
    ("GET", "/smart/launch"): "read",
    ("GET", "/smart/callback"): "read",
    ("GET", "/oidc/sign-in"): EVERYBODY,
    ("GET", "/oidc/callback"): EVERYBODY,
}
# Routes that tell nothing of a patient of the ward: they leave no line in the trail.
OF_NOBODY = (
    "/cohort/safety",
    "/evidence",
    "/mechanism",
    "/simulate",
    "/administration",
    "/patients/new",
    "/smart",
    "/api/v1/simulations",
)
# The rights of each role, written once more: a change in the code alone does not pass.
MAY = {
    "nobody": set(),
    "reader": {"read"},
    "charting": {"read", "chart"},
    "adjudicator": {"read", "chart", "adjudicate"},
    "administrator": {"administer"},
}
RECORD = events((0, "cart_infusion", None), (10, "temperature", 39.0), (11, "sbp", 120.0), (12, "o2_device", "room_air"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with accounts and a patient who is graded already: making one takes its time."""
    path = tmp_path_factory.mktemp("template") / "ward.db"
    with a_ward(f"sqlite:///{path}") as made:
        accounts_of_all_roles(made.database)
        made.found(registered(made.database, "P-1", RECORD))
    return path


@pytest.fixture
def ward(tmp_path: Path, template: Path) -> Iterator[Ward]:
    """A ward with accounts and a patient, on SQLite; what hangs on the database asks for `url`."""
    shutil.copy(template, tmp_path / "ward.db")
    with a_ward(f"sqlite:///{tmp_path}/ward.db") as made:
        yield made


def browser(ward: Ward, role: str | None = None, settings: Settings | None = None, app: Any = None) -> Browser:
    """A browser, signed in as a role."""
    client = Browser(app or create_app(ward, settings or Settings()))
    if role and role != "nobody":
        with ward.database.writing() as connection:
            client.cookies.set(access.COOKIE, accounts.sign_in(connection, Person(role, Role(role))))
    return client


def token(ward: Ward) -> str:
    """The token of the one session that is there."""
    with ward.database.reading() as connection:
        return str(connection.execute(sa.select(login.c.csrf)).scalar_one())


def lines(ward: Ward) -> list[str]:
    """What was done, by the trail."""
    with ward.database.reading() as connection:
        return list(connection.execute(sa.select(trail.c.action).order_by(trail.c.n)).scalars())


# ---- the matrix


def every_route(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        if inner := getattr(route, "original_router", None):  # a router that was included
            assert not route.include_context.prefix  # type: ignore[attr-defined]
            yield from every_route(inner.routes)
            continue
        assert isinstance(route, Route | APIRoute), f"{route}: a kind of route that this test does not know"
        for method in (route.methods or set()) - {"HEAD"}:
            yield method, route.path


def test_every_route_has_a_row_and_every_row_a_route(ward: Ward) -> None:
    assert sorted(every_route(create_app(ward, Settings()).routes)) == sorted(ROUTES)


def filled(path: str) -> str:
    """A path with numbers and names that are there."""
    return (
        path.replace("{subject_id}", "1")
        .replace("{event_id}", "2")
        .replace("{name}", "ward.css")
        .replace("{number}", "1")
        .replace("{service_id}", "none")
    )


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda x: str(x))
def test_each_role_may_use_what_it_should_and_nothing_else(ward: Ward, role: str, method: str, path: str) -> None:
    client, before = browser(ward, role), len(lines(ward))
    headers = {access.CSRF_HEADER: token(ward)} if role != "nobody" else {}
    answer = client.request(
        method, filled(path), headers=headers, data={"name": "x", "password": "y"} if method == "POST" else None
    )
    right, machine = ROUTES[method, path], path.startswith(MACHINES)
    to_sign_in = (
        answer.status_code == 401 if machine else answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
    )
    if right == EVERYBODY:
        assert answer.status_code in (200, 204, 303, 401, 404, 422)
    elif role == "nobody":
        assert to_sign_in
    elif right not in MAY[role]:
        assert answer.status_code == 403
    else:
        assert answer.status_code not in (401, 403, 405, 500) and not to_sign_in
        assert answer.status_code >= 400 or path.startswith(OF_NOBODY) or len(lines(ward)) > before, (
            "what is read or written of patients leaves a line"
        )
    if right != EVERYBODY and right not in MAY[role]:
        assert b"P-1" not in answer.content and b"temperature" not in answer.content


def test_the_rights_of_roles_are_those_of_the_matrix() -> None:
    assert {role.value: {right.value for right in rights} for role, rights in accounts.RIGHTS.items()} == {
        role: rights for role, rights in MAY.items() if role != "nobody"
    }


def test_without_accounts_everybody_is_the_local_person_who_reads_and_charts(ward: Ward) -> None:
    client = browser(ward, settings=Settings(alone=PERSON))
    assert client.get("/").status_code == 200
    sent = {"csrf": PERSON.csrf, "time": "2026-03-05T11:00", "temperature": "38.2"}
    assert client.post("/patients/1/enter", data=sent).status_code == 303
    assert client.post("/patients/1/enter", data=sent | {"csrf": ""}).status_code == 403


# ---- what nobody types


@pytest.mark.parametrize("number", ["0", "-1", str(2**70), str(-(2**70)), "\u00b2"])
def test_a_number_that_no_database_holds_is_no_fault(ward: Ward, number: str) -> None:
    someone = browser(ward, "adjudicator")
    form = {"csrf": token(ward), "number": "38", "toxicity": "crs", "scale": "crs_astct2019", "infusion": number, "comment": "x"}
    missing = 404 if number.lstrip("-").isascii() else 422
    for path in (f"/patients/{number}", f"/patients/1?result={number}", f"/patients/{number}/history"):
        assert someone.get(path).status_code == missing, path
    for path in ("events/{}/withdraw", "events/{}/correct"):
        assert someone.post(f"/patients/1/{path.format(number)}", data=form).status_code == missing, path
    for path in ("adjudicate/agree", "adjudicate/unlock"):
        assert someone.post(f"/patients/1/{path}", data=form).status_code == 422, path
    keeper = browser(ward, "administrator")
    assert keeper.get(f"/administration/trail?before={number}").status_code == 422
    assert keeper.get(f"/administration/trail?patient={number}").status_code == 200


@pytest.mark.parametrize("time", ["2026-03-05T11:00+00:00", "2026-03-05T11:00Z", "11:00", "", "\u0661"])
def test_a_time_that_is_none_of_the_ward_is_told(ward: Ward, time: str) -> None:
    client, before = browser(ward, "charting"), lines(ward)
    form = {"csrf": token(ward), "time": time, "infused": time, "temperature": "38.2", "label": "P-9", "product": "axi-cel"}
    for path in ("/patients/1/enter", "/patients/1/infusion", "/patients/new"):
        answer = client.post(path, data=form)
        assert answer.status_code == 422 and "Nothing was kept" in answer.text, path
    assert not [line for line in lines(ward)[len(before) :] if "write" in line or "register" in line]


def test_who_was_signed_out_while_filling_in_a_form_learns_that_it_is_lost_and_comes_back_to_it(ward: Ward) -> None:
    client, form = browser(ward), {"temperature": "38.2"}
    page = "http://localhost/patients/1/enter"
    answer = client.post("/patients/1/events/3/withdraw", data=form, headers={"Referer": page})
    assert answer.headers["location"] == "/sign-in?lost=true&next=/patients/1/enter"
    assert "was not kept" in client.get(answer.headers["location"]).text
    assert "was not kept" not in client.get("/sign-in?next=/patients/1/enter").text
    for elsewhere in ({}, {"Referer": "http://evil.example/patients/1"}):
        assert client.post("/patients/1/events/3/withdraw", data=form, headers=elsewhere).headers["location"].endswith("next=/")


# ---- forged requests

WRITES = [
    key for key, right in ROUTES.items() if key[0] not in access.SAFE and right != EVERYBODY and not key[1].startswith(MACHINES)
]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("sent", [None, "", "wrong", "ü", "of another"])
def test_a_form_without_the_token_of_its_browser_is_refused_and_writes_nothing(
    ward: Ward, method: str, path: str, sent: str | None
) -> None:
    role = next(role for role, rights in MAY.items() if ROUTES[method, path] in rights)
    client = browser(ward, role)
    if sent == "of another":
        sent = token(ward)
        with ward.database.writing() as connection:
            connection.execute(login.delete())
        client = browser(ward, role)
    form = {"time": "2026-03-05T11:00", "temperature": "38.2", "number": "38.2"} | ({} if sent is None else {"csrf": sent})
    before = lines(ward)
    assert client.request(method, filled(path), data=form).status_code == 403
    assert client.request(method, f"{filled(path)}?csrf={token(ward)}", data=form).status_code == 403
    assert lines(ward) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
    ],
)
@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
def test_nobody_is_signed_in_or_out_from_another_site(ward: Ward, path: str, headers: dict[str, str]) -> None:
    client = browser(ward, "reader")
    answer = client.post(path, data={"name": "reader", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 403 and "set-cookie" not in answer.headers
    assert client.get("/").status_code == 200


# ---- signing in


def sign_in(client: Browser, name: str = "charting", password: str = PASSWORD, **more: str) -> Response:
    return client.post("/sign-in", data={"name": name, "password": password} | more)


def test_signing_in_and_out(ward: Ward) -> None:
    client = browser(ward)
    assert client.get("/").headers["location"] == "/sign-in"
    assert client.get("/patients/1?result=3").headers["location"] == "/sign-in?next=/patients/1%3Fresult%3D3"
    answer = sign_in(client, next="/patients/1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/patients/1")
    secret = client.cookies[access.COOKIE]
    assert client.get("/").status_code == 200
    answer = client.post("/sign-out", data={"csrf": token(ward)})
    assert answer.status_code == 303
    client.cookies.set(access.COOKIE, secret)
    assert client.get("/").status_code == 303, "the secret is worth nothing any more"
    assert lines(ward)[0] == "sign-in" and lines(ward)[-1] == "sign-out"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("charting", "wrong horse battery"),
        ("charting", ""),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("chart\0ing", PASSWORD),
        ("x" * 1000, PASSWORD),
        ("retired", PASSWORD),
        ("by-provider", PASSWORD),
        ("by-provider", ""),
        ("' OR 1=1 --", "' OR 1=1 --"),
    ],
)
def test_who_may_not_sign_in_is_told_the_same_whatever_the_reason_and_costs_the_same(
    url: str, monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    with a_ward(url) as ward:
        accounts_of_all_roles(ward.database)
        with ward.database.writing() as connection:
            accounts.add(connection, "retired", "charting", PASSWORD)
            accounts.change(connection, "retired", active=False)
            accounts.add(connection, "by-provider", "charting", issuer="https://hospital.example", issued_to="7")
        client, work = browser(ward), []

        class Counting:
            def verify(self, stored: str, said: str) -> bool:
                work.append(stored.rpartition("$")[0].rpartition("$")[0])  # algorithm and cost, without salt and hash
                return hasher.verify(stored, said)

        hasher = accounts._HASHER
        monkeypatch.setattr(accounts, "_HASHER", Counting())
        refused = sign_in(client, name, password)
        if name and password:
            assert refused.status_code == 401 and "do not belong together" in refused.text
            usual = sign_in(client, "reader", "wrong horse battery")
            assert re.sub(r'value="[^"]*"', "", refused.text) == re.sub(r'value="[^"]*"', "", usual.text)
            assert len(work) == 2 and work[0] == work[1]
        else:
            assert refused.status_code in (401, 422)
        assert "set-cookie" not in refused.headers
        assert not password or password not in refused.text


def test_passwords_are_kept_as_argon2id_and_nowhere_else(tmp_path: Path, ward: Ward) -> None:
    with ward.database.reading() as connection:
        kept = list(connection.execute(sa.select(account.c.password)).scalars())
    assert len(set(kept)) == len(Role), "each has a salt of its own"
    for each in kept:
        told = re.fullmatch(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=\d+\$[^$]+\$[^$]+", each)
        assert told and int(told[1]) >= 19 * 1024 and int(told[2]) >= 2
    client = browser(ward)
    sign_in(client)
    secret = client.cookies[access.COOKIE]
    ward.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert PASSWORD.encode() not in stored and secret.encode() not in stored
    assert len(secret) >= 40


def test_a_password_must_be_long_and_a_name_and_role_be_one(ward: Ward) -> None:
    for name, role, password in (
        ("a", "reader", "short"), ("a", "physician", PASSWORD), ("a b", "reader", PASSWORD), ("", "reader", PASSWORD), ("reader", "reader", PASSWORD),
        (audit.SYSTEM, "reader", PASSWORD),
    ):  # fmt: skip
        with pytest.raises(OptionError), ward.database.writing() as connection:
            accounts.add(connection, name, role, password)
    with pytest.raises(OptionError), ward.database.writing() as connection:
        accounts.change(connection, "reader", password="short")


@pytest.mark.parametrize("change", [{"role": "administrator"}, {"password": PASSWORD + "!"}, {"active": False}])
def test_a_change_of_an_account_ends_its_sessions(ward: Ward, change: dict[str, Any]) -> None:
    client = browser(ward, "reader")
    assert client.get("/").status_code == 200
    with ward.database.writing() as connection:
        accounts.change(connection, "reader", **change)
    assert client.get("/").status_code == 303


def test_a_ward_whose_accounts_are_all_off_lets_nobody_in(ward: Ward) -> None:
    with ward.database.writing() as connection:
        for role in Role:
            accounts.change(connection, role, active=False)
        assert accounts.any_account(connection)


@pytest.mark.parametrize(("every", "until"), [(timedelta(minutes=29), accounts.LONGEST), (timedelta(minutes=31), accounts.IDLE)])
def test_a_session_ends_when_it_is_idle_and_at_the_latest_after_a_shift(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, every: timedelta, until: timedelta
) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    monkeypatch.setattr(accounts, "utc", lambda: now)
    client, begun = browser(ward, "reader"), now
    while now - begun <= until:
        assert client.get("/").status_code == 200
        now += every
    assert client.get("/").status_code == 303


# ---- cookies and where one comes back to


@pytest.mark.parametrize("secure", [False, True])
def test_the_cookie_is_for_this_site_alone_and_no_script_reads_it(ward: Ward, secure: bool) -> None:
    cookie = sign_in(browser(ward, settings=Settings(secure=secure))).headers["set-cookie"].lower()
    told = {part.strip() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= told and "domain" not in cookie and "max-age" not in cookie
    assert ("secure" in told) == secure


@pytest.mark.parametrize(
    "to",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "///evil.example", "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)",
     "evil.example", "", " //evil.example", "/%2f/evil.example", "/\r\nSet-Cookie: a=b"],
)  # fmt: skip
def test_one_comes_back_to_this_server_whatever_was_asked(ward: Ward, to: str) -> None:
    client = browser(ward)
    shown = client.get("/sign-in", params={"next": to}).text
    answer = sign_in(client, next=to)
    for place in (re.findall(r'name="next" value="([^"]*)"', shown)[0], answer.headers.get("location", "/")):
        assert re.fullmatch(r"/|/[^/\\].*", place, re.S)
    assert (
        not re.search(r"[\t\r\n]", answer.headers.get("location", "/"))
        and urlsplit(answer.headers.get("location", "/")).netloc == ""
    )
    assert "a=b" not in answer.headers.get("set-cookie", "")


# ---- limits


def test_whoever_asks_too_often_waits(ward: Ward) -> None:
    client = browser(ward, "reader")
    client.app.state.pace = access.Pace(burst=3, per_s=0.01)
    answers = [client.get("/patients/1/history") for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 100
    with ward.database.writing() as connection:
        connection.execute(login.delete())
    assert browser(ward, "charting", app=client.app).get("/").status_code == 200, "others do not wait"


def test_the_pace_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(access.time, "monotonic", lambda: now)
    pace = access.Pace(burst=2, per_s=0.5)
    pace.take("a")
    pace.take("a")
    with pytest.raises(access.TooMany) as too_many:
        pace.take("a")
    pace.take("b")
    now += too_many.value.after_s
    pace.take("a")
    with pytest.raises(access.TooMany):
        pace.take("a")


@pytest.mark.parametrize(("names", "tries"), [(["charting"] * 12, 10), ([f"name{n}" for n in range(12)], 8)])
def test_passwords_are_not_tried_out(ward: Ward, names: list[str], tries: int) -> None:
    client = browser(ward)
    client.app.state.sign_ins_from = access.Pace(burst=8 if names[0] != names[1] else 60, per_s=0.01)  # from one address
    answers = [sign_in(client, name, "wrong horse battery") for name in names]
    assert {a.status_code for a in answers[:tries]} == {401} and {a.status_code for a in answers[tries:]} == {429}
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert sign_in(client).status_code == 429, "not even with the right one"


async def in_pieces() -> AsyncIterator[bytes]:
    yield b"name=x"


def test_a_body_that_is_too_large_is_not_read(ward: Ward) -> None:
    client = browser(ward)
    assert client.post("/sign-in", content=b"x" * (LARGEST_FORM + 1)).status_code == 413
    assert client.post("/sign-in", content=in_pieces()).status_code == 411


# ---- headers


def faulty(*_: object, **__: object) -> None:
    raise ValueError("a fault")


def gone(*_: object, **__: object) -> None:
    raise exc.OperationalError("SELECT 1", {}, Exception("gone"))


@pytest.mark.parametrize(
    ("status", "ask"),
    [
        (200, lambda c: c.get("/sign-in")),
        (200, lambda c: c.get("/static/ward.css")),
        (200, lambda c: c.get("/health")),
        (200, lambda c: c.get("/patients/1")),
        (303, lambda c: Browser(c.app).get("/")),
        (400, lambda c: c.get("/", headers={"host": "evil.example"})),
        (403, lambda c: c.post("/patients/1/enter")),
        (404, lambda c: c.get("/no/such/page")),
        (404, lambda c: c.get("/static/no.css")),
        (405, lambda c: c.request("PUT", "/")),
        (413, lambda c: c.post("/sign-in", content=b"x" * (LARGEST_FORM + 1))),
        (404, lambda c: c.get("/patients/0")),
        (422, lambda c: c.get("/patients/x")),
    ],
)
@pytest.mark.parametrize("secure", [False, True])
def test_every_response_has_the_headers(ward: Ward, status: int, ask: Callable[[Browser], Response], secure: bool) -> None:
    held(ask(browser(ward, "charting", Settings(secure=secure))), status, secure)


def held(answer: Response, status: int, secure: bool = False) -> None:
    """The status and the headers."""
    assert answer.status_code == status
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert ("strict-transport-security" in answer.headers) == secure
    assert answer.headers["cache-control"] == (
        "no-store" if not answer.url.path.startswith("/static/") else "public, max-age=3600"
    )
    assert "server" not in answer.headers
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert "'unsafe-inline'" not in policy.get("script-src", policy["default-src"]) and policy["frame-ancestors"] == "'none'"


@pytest.mark.parametrize(("fault", "status"), [(faulty, 500), (gone, 503)])
def test_faults_have_the_headers_too(ward: Ward, monkeypatch: pytest.MonkeyPatch, fault: Any, status: int) -> None:
    client = browser(ward, "charting")
    monkeypatch.setattr(record, "find", fault)
    held(client.get("/patients/1"), status)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example", "192.168.1.1"])
def test_another_host_is_refused(ward: Ward, host: str) -> None:
    assert browser(ward, "reader").get("/", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000", "LOCALHOST"])
def test_the_own_names_are_not(ward: Ward, host: str) -> None:
    assert browser(ward).get("/health", headers={"host": host}).status_code == 200


# ---- values of patients

MARK, LABEL = "41.7731", "MARKED-4711"


def marked(ward: Ward) -> int:
    return registered(ward.database, LABEL, events((0, "cart_infusion", None), (10, "temperature", float(MARK))))


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError, exc.OperationalError, exc.DataError, exc.IntegrityError])
def test_a_fault_tells_no_value_in_its_answer_or_in_a_log(
    ward: Ward,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    kind: type[Exception],
) -> None:
    number, client = marked(ward), browser(ward, "charting")
    said = f"{LABEL} {MARK}"

    def fault(*_: object, **__: object) -> None:
        raise kind(said, {"value": MARK}, Exception(said)) if issubclass(kind, exc.StatementError) else kind(said)

    monkeypatch.setattr(record, "timeline", fault)
    monkeypatch.setattr(record, "_added", fault)
    caplog.set_level(logging.DEBUG)
    sent = {"csrf": token(ward), "time": "2026-03-05T11:00", "temperature": MARK}
    for answer in (
        client.get(f"/patients/{number}"),
        client.get(f"/patients/{number}/enter"),
        client.post(f"/patients/{number}/enter", data=sent),
    ):
        assert answer.status_code in (422, 500, 503)
        assert MARK not in answer.text and LABEL not in answer.text
    told = " ".join(f"{r.getMessage()} {r.exc_text}" for r in caplog.records) + "".join(capfd.readouterr())
    assert MARK not in told and LABEL not in told


def test_what_a_database_refuses_tells_no_value(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with a_ward(url) as ward:
        accounts_of_all_roles(ward.database)
        number = marked(ward)
        client = browser(ward, "charting")
        for name, value in (
            ("temperature", f"{MARK}\0"),
            ("temperature", f"{LABEL}"),
            ("o2_device", f"{LABEL}\0"),
            ("drug", LABEL),
            ("time", LABEL),
            (LABEL, MARK),
        ):
            sent = {"csrf": token(ward), "time": "2026-03-05T11:00", name: value}
            assert client.post(f"/patients/{number}/enter", data=sent).status_code in (303, 422)
        for table in (trail,):
            with ward.database.reading() as connection:
                told = str(connection.execute(sa.select(table)).all())
            assert MARK not in told and LABEL not in told
        assert client.get(f"/patients/{number}/events/{LABEL}/correct").status_code in (404, 405, 422)
        answer = client.get(f"/patients/{LABEL}")
        assert answer.status_code == 422 and f"{LABEL}" not in answer.text
    told = " ".join(r.getMessage() for r in caplog.records if not r.name.startswith("httpx"))  # of the server, not of who asks it
    assert MARK not in told and LABEL not in told


def test_what_people_write_is_no_markup(ward: Ward) -> None:
    evil = "<img src=x onerror=alert(1)>"
    number = registered(ward.database, evil, RECORD)
    with ward.database.writing() as connection:
        record.add(connection, number, events((13, "product", evil)), evil)
    client = browser(ward, "charting")
    for path in ("/", *(f"/patients/{number}{page}" for page in ("", "/options", "/enter", "/history"))):
        answer = client.get(path)
        assert answer.status_code == 200 and "<img" not in answer.text
    assert "&lt;img" in client.get(f"/patients/{number}/history").text


# ---- starting


def test_beyond_this_machine_somebody_must_be_able_to_sign_in_and_by_tls(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("serve", "--database", url, "--host", "0.0.0.0", "--port", 0)
    code, _, err = run(*asked, capsys=capsys)
    assert code == 2 and "Nobody could sign in" in err
    code, _, err = run(*asked, "--behind-tls", capsys=capsys)
    assert code == 2 and "Nobody could sign in" in err
    monkeypatch.setenv("AFTERCAR_PASSWORD", PASSWORD)
    assert run("ward", "account", "anna", "--role", "reader", "--database", url, capsys=capsys)[0] == 0
    code, _, err = run(*asked, capsys=capsys)
    assert code == 2 and "TLS" in err
    code, _, err = run(*asked, "--certificate", "x.pem", capsys=capsys)
    assert code == 2 and "--key" in err
    code, _, err = run(*asked, "--certificate", "x.pem", "--key", "x.pem", capsys=capsys)
    assert code == 2 and "certificate" in err and "Traceback" not in err
