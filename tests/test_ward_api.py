"""The REST interface: timelines in and out, what was found now and then, writes that are made once, and no request that ends in a fault."""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import given as generated
from hypothesis import strategies as st
from served import (
    ALONE,
    NOW,
    PASSWORD,
    bearer,
    client_of,
    given,
    hours_ago,
    infused,
    observed,
    searchset,
    ward_at,
    with_accounts,
)

from aftercar.grade.run import grade_timeline
from aftercar.manage.advise import advise_timeline
from aftercar.risk.run import score_timeline
from aftercar.ward import intake, record
from aftercar.ward.found import AHEAD, followed
from aftercar.ward.tables import answered, audit, event, result
from aftercar.ward.ward import Ward
from aftercar.web import app

API = "/api/v1"
ROWS = [
    {"time": hours_ago(80), "code": "cart_infusion", "text_value": "axi-cel"},
    {"time": hours_ago(90), "code": "age", "numeric_value": 60, "unit": "a"},
    {"time": hours_ago(90), "code": "weight", "numeric_value": 80, "unit": "kg"},
    {"time": hours_ago(10), "code": "temperature", "numeric_value": 39.1, "unit": "Cel"},
    {"time": hours_ago(10), "code": "sbp", "numeric_value": 80, "unit": "mm[Hg]"},
    {"time": hours_ago(10), "code": "o2_device", "text_value": "room_air"},
    {"time": hours_ago(9), "code": "tocilizumab", "numeric_value": 640, "unit": "mg"},
]


@pytest.fixture
def ward(url: str) -> Iterator[Ward]:
    made = ward_at(url)
    with_accounts(made.database)
    yield made
    made.close()


@pytest.fixture
def client(ward: Ward) -> Any:
    """Somebody who charts."""
    made = client_of(ward)
    made.headers.update(bearer(made, "charting"))
    return made


def registered(client: Any, label: str = "P-1", rows: list[dict[str, Any]] | None = None) -> int:
    number = client.post(f"{API}/patients", json={"label": label}).json()["subject_id"]
    if rows:
        assert client.post(f"{API}/patients/{number}/events", json={"rows": rows}).json()["rejected"] == []
    return number


def count(ward: Ward, table: sa.Table) -> int:
    with ward.database.reading() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


# ---- signing in


def test_a_token_opens_what_its_role_may(ward: Ward) -> None:
    client = client_of(ward)
    assert client.get(f"{API}/patients").status_code == 401
    assert client.post(f"{API}/tokens", json={"name": "reader", "password": "not this one, no"}).status_code == 401
    for role, reads, charts in (
        ("reader", 200, 403),
        ("charting", 200, 201),
        ("adjudicator", 200, 201),
        ("administrator", 403, 403),
    ):
        headers = bearer(client, role)
        assert client.get(f"{API}/me", headers=headers).json() == {"name": role, "role": role, "csrf": None}
        assert client.get(f"{API}/patients", headers=headers).status_code == reads
        assert client.post(f"{API}/patients", json={"label": role}, headers=headers).status_code == charts
        assert client.delete(f"{API}/tokens", headers=headers).status_code == 204
        assert client.get(f"{API}/patients", headers=headers).status_code == 401


def test_who_guesses_passwords_waits(ward: Ward) -> None:
    client = client_of(ward)
    tries = [client.post(f"{API}/tokens", json={"name": "reader", "password": f"guess {n} of many"}) for n in range(14)]
    assert tries[0].status_code == 401 and tries[-1].status_code == 429 and int(tries[-1].headers["retry-after"]) >= 1
    assert client.post(f"{API}/tokens", json={"name": "reader", "password": PASSWORD}).status_code == 429


def test_alone_on_this_machine_a_write_asks_for_the_token_against_forged_ones(tmp_path: Path) -> None:
    ward = ward_at(tmp_path)
    client = client_of(ward, alone=ALONE)
    assert client.post(f"{API}/patients", json={"label": "P-1"}).status_code == 403
    csrf = client.get(f"{API}/me").json()["csrf"]
    assert client.post(f"{API}/patients", json={"label": "P-1"}, headers={"X-CSRF-Token": csrf}).status_code == 201
    ward.close()


# ---- what goes in


def test_rows_are_counted_and_no_value_is_said_of_those_refused(ward: Ward, client: Any) -> None:
    number = registered(client)
    rows = [
        ROWS[3],
        {"time": hours_ago(5), "code": "temperature", "numeric_value": 387.25, "unit": "Cel"},
        {"time": hours_ago(5), "code": "no such thing", "numeric_value": 1234.5},
        {"time": hours_ago(5), "code": "crp", "numeric_value": 77.77, "unit": "furlong"},
        {"time": hours_ago(5), "code": "record_complete", "text_value": "drugs"},
    ]
    told = client.post(f"{API}/patients/{number}/events", json={"rows": rows})
    body = told.json()
    assert told.status_code == 201 and told.headers["etag"] == '"1"'
    assert body["accepted"] + len(body["rejected"]) == body["read"] == len(rows)
    assert {r["row"]: r["reason"] for r in body["rejected"]}.items() >= {
        3: "unknown_code",
        4: "unknown_unit",
        5: "of_the_record",
    }.items()
    assert all(value not in json.dumps(body["rejected"]) for value in ("387.25", "1234.5", "77.77"))
    assert len(body["events"]) == body["accepted"]


def test_what_was_read_otherwise_than_charted_is_told(ward: Ward, client: Any) -> None:
    number = registered(client)
    rows = [
        {"time": hours_ago(5), "code": "temperature", "numeric_value": 38.5, "unit": "Cel"},
        {"time": hours_ago(5), "code": "temperature", "numeric_value": 101, "unit": "Cel"},
        {"time": hours_ago(5), "code": "tocilizumab", "numeric_value": 640, "unit": "g"},
        {"time": hours_ago(4), "code": "temperature", "numeric_value": 30, "unit": "Cel"},
    ]
    path = f"{API}/patients/{number}/events"
    body = client.post(path, json={"rows": rows}).json()
    assert [(r["row"], r["reason"]) for r in body["rejected"]] == [(3, "implausible_value")] and body["accepted"] == 3
    assert [(w["row"], w["code"], w["detail"]) for w in body["warnings"]] == [
        (2, "temperature", "read as [degF]: charted as Cel"),
        (3, "tocilizumab", "row rejected (implausible_value): taken as given, dose unknown"),
    ]
    assert "101" not in str(body["warnings"]) and "640" not in str(body)
    corrected = client.put(f"{path}/{body['events'][0]}", json=rows[1]).json()
    assert [w["detail"] for w in corrected["warnings"]] == ["read as [degF]: charted as Cel"]
    resource = observed("P-1", "8310-5", 101.5, "Cel", 3)
    assert client.post(f"{API}/patients/{number}/fhir", json=resource).json()["warnings"][0]["code"] == "temperature"


def test_what_lies_ahead_is_refused_whole_and_clocks_may_differ_a_little(ward: Ward, client: Any) -> None:
    number = registered(client, rows=ROWS)
    path, before = f"{API}/patients/{number}/events", count(ward, event)
    late = {**ROWS[3], "time": hours_ago(-11 / 60)}
    told = client.post(path, json={"rows": [ROWS[4], late]})
    assert told.status_code == 422 and told.json()["detail"].startswith("Row 2, time: it lies more than 10 minutes ahead")
    assert client.put(f"{path}/{before}", json=late).status_code == 422
    for code in ("death", "last_follow_up"):
        assert client.post(path, json={"rows": [{"time": hours_ago(-1), "code": code}]}).status_code == 422
    ahead = observed("P-1", "8310-5", 38.5, "Cel", -2)
    assert client.post(f"{API}/patients/{number}/fhir", json=ahead).status_code == 422
    assert count(ward, event) == before
    for fine in (
        {**ROWS[3], "time": hours_ago(-9 / 60)},
        {**ROWS[3], "end_time": hours_ago(-20)},
        {"time": "2026-03-10", "code": "death"},
    ):
        assert client.post(path, json={"rows": [fine]}).status_code == 201
    offset = {**ROWS[3], "time": "2026-03-10T12:00:00-05:00"}
    assert client.post(path, json={"rows": [offset]}).status_code == 422


def test_a_request_of_a_wrong_shape_writes_nothing(ward: Ward, client: Any) -> None:
    number, before = registered(client), count(ward, audit)
    for rows in (
        [],
        [{"time": "yesterday", "code": "crp"}],
        [{"time": hours_ago(1)}],
        [{"time": hours_ago(1), "code": "crp", "numericvalue": 1}],
        [{"time": hours_ago(1), "code": "crp", "text_value": "a\x00b"}],
    ):
        answer = client.post(f"{API}/patients/{number}/events", json={"rows": rows})
        assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json", rows
    assert (
        client.post(
            f"{API}/patients/{number}/events",
            content=b'{"rows": [{"time": "2026-03-10T11:00:00", "code": "\\ud800"}]}',
            headers={"Content-Type": "application/json"},
        ).status_code
        == 422
    )
    assert (count(ward, event), count(ward, audit)) == (0, before)


def test_text_of_any_kind_stays_in_its_row(client: Any) -> None:
    number = registered(client)
    odd = ['"', "a,b", "two\r\nlines", "\t", "=1+1", "ü\u2028é", "x" * 3000]
    rows = [{"time": hours_ago(5), "code": "o2_device", "text_value": text} for text in odd]
    told = client.post(f"{API}/patients/{number}/events", json={"rows": [*rows, ROWS[3]]}).json()
    assert [r["row"] for r in told["rejected"]] == list(range(1, len(odd) + 1)) and told["accepted"] == 1


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00", "9999-12-31T23:59:59"]
)
def test_a_time_at_the_end_of_the_calendar_is_refused(ward: Ward, client: Any, time: str) -> None:
    number = registered(client)
    answer = client.post(f"{API}/patients/{number}/events", json={"rows": [ROWS[0] | {"time": time}]})
    assert answer.status_code == 422 or [r["reason"] for r in answer.json()["rejected"]] == ["implausible_time"]
    assert count(ward, event) == 0
    assert client.get(f"{API}/patients/{number}/explanation", params={"scale": "x", "at": time}).status_code == 404


def test_fhir_is_read_by_the_reader_and_the_zone_of_the_ward(ward: Ward, client: Any) -> None:
    number = registered(client)
    order = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "subject": {"reference": "Patient/p"},
        "medicationCodeableConcept": {"text": "tocilizumab"},
    }
    bundle = searchset(infused("p", 80), observed("p", "8310-5", 39.1, "Cel", 10), given("p", "612865", 640, "mg", 9), order)
    told = client.post(
        f"{API}/patients/{number}/fhir", content=json.dumps(bundle), headers={"Content-Type": "application/fhir+json"}
    ).json()
    assert (told["read"], told["accepted"], [(r["row"], r["reason"]) for r in told["rejected"]]) == (4, 3, [(4, "order")])
    utc = observed("p", "8480-6", 80, "mm[Hg]", 10) | {"effectiveDateTime": f"{hours_ago(11)}Z"}
    assert client.post(f"{API}/patients/{number}/fhir", content=json.dumps(utc)).json()["accepted"] == 1
    events = client.get(f"{API}/patients/{number}/events").json()["items"]
    assert {e["code"]: e["time"] for e in events if e["code"] in ("sbp", "temperature")} == dict.fromkeys(
        ("sbp", "temperature"), hours_ago(10)
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"  ", b"no json", b"{}", b"[]", b'{"resourceType": "Bundle"', b"\xff\xfe", b'{"resourceType": "Bundle", "entry": 1}'],
)
def test_what_is_no_fhir_is_a_problem(client: Any, body: bytes) -> None:
    answer = client.post(f"{API}/patients/{registered(client)}/fhir", content=body)
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"


def test_resources_of_two_patients_do_not_become_one(ward: Ward, client: Any) -> None:
    number = registered(client)
    mixed = searchset(observed("a", "8310-5", 39.1, "Cel", 10), observed("b", "8310-5", 36.1, "Cel", 10))
    assert client.post(f"{API}/patients/{number}/fhir", content=json.dumps(mixed)).status_code == 422
    assert count(ward, event) == 0


def test_a_request_that_is_too_long_is_not_read(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    number = registered(client)
    monkeypatch.setattr(app, "LARGEST_BODY", 1000)
    for path in ("events", "fhir"):
        answer = client.post(f"{API}/patients/{number}/{path}", content=b"x" * 2000, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413, answer.text


# ---- writes that are made once


def test_a_write_with_a_key_is_made_once(ward: Ward, client: Any) -> None:
    number = registered(client)
    key = {"Idempotency-Key": "k-1"}
    first = client.post(f"{API}/patients/{number}/events", json={"rows": ROWS}, headers=key)
    before = count(ward, event), count(ward, audit)
    again = client.post(f"{API}/patients/{number}/events", json={"rows": ROWS}, headers=key)
    assert (again.status_code, again.json(), again.headers["etag"]) == (first.status_code, first.json(), first.headers["etag"])
    assert again.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers
    assert (count(ward, event), count(ward, audit)) == before
    other = client.post(f"{API}/patients/{number}/events", json={"rows": ROWS[:1]}, headers=key)
    assert other.status_code == 422 and (count(ward, event), count(ward, audit)) == before
    elsewhere = client.post(f"{API}/patients", json={"label": "P-2"}, headers=key)
    assert elsewhere.status_code == 422
    # A key is one's own.
    theirs = client.post(f"{API}/patients/{number}/events", json={"rows": ROWS}, headers=key | bearer(client, "adjudicator"))
    assert theirs.json()["version"] == 2


def test_a_write_that_failed_leaves_its_key_free(ward: Ward, client: Any) -> None:
    registered(client, "P-1")
    key = {"Idempotency-Key": "k-1"}
    assert client.post(f"{API}/patients", json={"label": "P-1"}, headers=key).status_code == 422
    assert count(ward, answered) == 0
    assert client.post(f"{API}/patients", json={"label": "P-2"}, headers=key).status_code == 201


def test_the_same_write_from_many_at_once_is_made_once(ward: Ward, client: Any) -> None:
    number = registered(client)
    answers: list[Any] = []

    def write() -> None:
        answers.append(client.post(f"{API}/patients/{number}/events", json={"rows": ROWS}, headers={"Idempotency-Key": "k-1"}))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 and {a.status_code for a in answers} == {201}
    assert len({a.text for a in answers}) == 1
    assert sum("idempotent-replayed" not in a.headers for a in answers) == 1
    assert count(ward, event) == len(ROWS)


def test_a_write_holds_the_record_at_the_version_that_was_seen(ward: Ward, client: Any) -> None:
    number = registered(client)
    seen = client.get(f"{API}/patients/{number}").headers["etag"]
    rows = {"rows": ROWS[:1]}
    assert client.post(f"{API}/patients/{number}/events", json=rows, headers={"If-Match": seen}).status_code == 201
    late = client.post(f"{API}/patients/{number}/events", json=rows, headers={"If-Match": seen, "Idempotency-Key": "k"})
    assert late.status_code == 412 and count(ward, event) == 1 and count(ward, answered) == 0
    assert client.post(f"{API}/patients/{number}/events", json=rows, headers={"If-Match": "*"}).status_code == 201


# ---- what comes out


def test_what_is_found_is_what_the_graders_rules_and_scores_find(ward: Ward, client: Any) -> None:
    """The tables of the interface are those of the functions, row for row."""
    number = registered(client, rows=ROWS)
    with ward.database.reading() as connection:
        charted = record.timeline(connection, record.find(connection, number), until=ward.now() + AHEAD)
    timeline = followed(charted, ward.now())
    graded = grade_timeline(timeline)

    def rows(path: str) -> list[dict[str, Any]]:
        return client.get(f"{API}/patients/{number}/{path}").json()["items"]

    for path, table in (("grades?limit=1000", graded.grades), ("worst", graded.worst), ("episodes", graded.episodes)):
        columns = ["scale", *(c for c in ("grade", "grade_upper", "max_grade", "status", "episode") if c in table.columns)]
        assert [tuple(r[c] for c in columns) for r in rows(path)] == [
            tuple(r) for r in table.select(pl.col(columns)).iter_rows()
        ], path
    advised = advise_timeline(timeline, ward.now())
    told = client.get(f"{API}/patients/{number}/advice").json()
    assert [(o["rule"], o["status"], o["dose_mg"]) for o in told["options"]] == advised.advice.select(
        "rule", "status", "dose_mg"
    ).rows()
    assert (
        [(d["drug"], d["n"], d["mg"]) for d in told["ledger"]]
        == advised.ledger.select("drug", "n", "mg").rows()
        == [("tocilizumab", 1, 640.0)]
    )
    assert [(x["drug"], x["n"], x["reached"]) for x in told["limits"]] == advised.limits.select("drug", "n", "reached").rows()
    scored = score_timeline(ward.timeline(number), worst=graded.worst)
    told = client.get(f"{API}/patients/{number}/risk").json()
    assert [(s["score"], s["status"]) for s in told["scores"]] == scored.scores.select("score", "status").rows()
    assert len(told["inputs"]) == scored.inputs.height and len(told["factors"]) == scored.factors.height


def test_a_grade_is_explained_by_its_records(client: Any) -> None:
    number = registered(client, rows=ROWS)
    told = client.get(f"{API}/patients/{number}/explanation", params={"scale": "crs_astct2019", "at": hours_ago(9.5)}).json()
    assert told["stretch"]["grade"] == 2 and told["source"] == "lee2019astct" and "Lee" in told["reference"]
    assert {r["code"] for r in told["records"]} >= {"temperature", "sbp"}
    assert {r["event_id"] for r in told["records"]} == set(told["stretch"]["evidence"])
    assert told["note"] == "Grades derived by software, not adjudicated."
    assert (
        client.get(
            f"{API}/patients/{number}/explanation", params={"scale": "crs_astct2019", "at": "2020-01-01T00:00"}
        ).status_code
        == 404
    )


def test_a_correction_changes_the_grade_and_the_former_result_stays(ward: Ward, client: Any) -> None:
    number = registered(client, rows=ROWS)

    def worst(**asked: Any) -> int:
        return client.get(f"{API}/patients/{number}/worst", params={"scale": "crs_astct2019"} | asked).json()["items"][0]["grade"]

    assert worst() == 2
    pressure = next(e for e in client.get(f"{API}/patients/{number}/events").json()["items"] if e["code"] == "sbp")
    row = {"time": pressure["time"], "code": "sbp", "numeric_value": 120, "unit": "mm[Hg]"}
    corrected = client.put(f"{API}/patients/{number}/events/{pressure['event_id']}", json=row)
    assert corrected.status_code == 200 and corrected.json()["version"] == 2
    assert worst() == 1
    results = client.get(f"{API}/patients/{number}/results").json()["items"]
    assert [r["version"] for r in results] == [2, 1]
    assert worst(result=results[-1]["result_id"]) == 2
    assert client.get(f"{API}/patients/{number}/worst", params={"result": 10**9}).status_code == 404
    (new,) = corrected.json()["events"]
    assert client.delete(f"{API}/patients/{number}/events/{new}").json()["version"] == 3
    assert client.delete(f"{API}/patients/{number}/events/{new}").status_code == 422
    assert client.delete(f"{API}/patients/{number}/events/{10**9}").status_code == 404
    standing = client.get(f"{API}/patients/{number}/events").json()["items"]
    everything = client.get(f"{API}/patients/{number}/events", params={"history": True}).json()["items"]
    assert len(everything) == len(ROWS) + 2 and len(standing) == len(ROWS) - 1
    assert {e["event_id"]: e["replaced_by"] for e in everything}[pressure["event_id"]] == new
    bad = client.put(
        f"{API}/patients/{number}/events/{standing[0]['event_id']}",
        json={"time": row["time"], "code": "sbp", "numeric_value": 1e9, "unit": "furlong"},
    )
    assert bad.status_code == 422 and len(client.get(f"{API}/patients/{number}/events?history=true").json()["items"]) == len(
        everything
    )


def test_what_the_rules_say_goes_with_the_clock_while_nobody_charts(ward: Ward, client: Any) -> None:
    """Neither a limit nor a finding of some hours ago stands as if it were now."""
    number = registered(client, rows=ROWS)  # tocilizumab 9 h ago, everything else 10
    rows = [{"time": hours_ago(1), "code": "tocilizumab", "numeric_value": 640, "unit": "mg"}]
    client.post(f"{API}/patients/{number}/events", json={"rows": rows})

    def told() -> tuple[Any, dict[str, str]]:
        advice = client.get(f"{API}/patients/{number}/advice").json()
        assert advice["as_of"] == ward.now().isoformat()
        limit = next(each for each in advice["limits"] if each["drug"] == "tocilizumab")
        return (limit["n_24h"], limit["reached"]), {each["rule"]: each["status"] for each in advice["options"]}

    limit, options = told()
    assert limit == (2, ["interval"]) and options["block-tocilizumab-interval"] == "blocked"
    ward.clock = lambda: NOW + timedelta(hours=8)
    limit, options = told()
    assert limit == (2, []) and options["block-tocilizumab-interval"] == "not_blocked"
    page = client.get(f"/patients/{number}/options").text
    assert "as of 2026-03-10 20:00" in page
    # The pressure is too old by now: what follows from it is to be measured first.
    assert options["crs-2-fluids"] == "measure_first"
    ward.clock = lambda: NOW + timedelta(hours=17)
    assert told()[0] == (1, [])
    with ward.database.reading() as connection:
        assert len(connection.execute(sa.select(result)).all()) == 2, "to look is no new result"


def test_a_grade_stands_since_it_began_though_what_is_behind_it_changed(ward: Ward, client: Any) -> None:
    rows = [
        *ROWS[:3],
        {"time": hours_ago(3), "code": "temperature", "numeric_value": 39.1, "unit": "Cel"},
        {"time": hours_ago(3), "code": "sbp", "numeric_value": 118, "unit": "mm[Hg]"},
        {"time": hours_ago(3), "code": "o2_device", "text_value": "nasal_cannula"},
        {"time": hours_ago(1), "code": "sbp", "numeric_value": 82, "unit": "mm[Hg]"},
    ]
    number = registered(client, rows=rows)
    assert "since 2026-03-10 09:00" in client.get(f"/patients/{number}").text.split("ICANS now")[0]


def test_a_child_by_the_date_of_birth_is_asked_for_capd(client: Any) -> None:
    number = registered(client)
    born = {"resourceType": "Patient", "id": "k", "birthDate": "2019-05-01"}
    client.post(f"{API}/patients/{number}/fhir", content=json.dumps(searchset(born, infused("k", 50))))
    page = client.get(f"/patients/{number}/enter").text
    assert "<h2>CAPD</h2>" in page and "ice_orientation" not in page


def test_a_dose_whose_amount_is_not_known_is_no_dose_of_nothing(client: Any) -> None:
    number = registered(client, rows=ROWS)
    options = f"/patients/{number}/options"

    def row(drug: str) -> str:
        table = client.get(options).text.split("Doses by drug")[1]
        return re.sub(r"<[^>]+>", " ", table.split(f'<th scope="row">{drug}</th>')[1].split("</tr>")[0])

    path = f"{API}/patients/{number}/events"
    client.post(path, json={"rows": [{"time": hours_ago(3), "code": "dexamethasone"}]})
    assert row("dexamethasone").count("not known") == 2
    client.post(path, json={"rows": [{"time": hours_ago(2), "code": "dexamethasone", "numeric_value": 10, "unit": "mg"}]})
    assert "at least 10" in row("dexamethasone") and "the amount of 1 of 2 cannot be read" in row("dexamethasone")
    client.post(path, json={"rows": [{"time": hours_ago(1), "code": "tocilizumab", "numeric_value": 640, "unit": "mg"}]})
    assert "<td>interval</td>" in client.get(options).text


def test_a_blank_record_is_answered(client: Any) -> None:
    number = registered(client)
    for path in ("grades", "worst", "episodes", "advice", "risk", "results", "events"):
        told = client.get(f"{API}/patients/{number}/{path}")
        assert told.status_code == 200, path
        assert told.json().get("as_of") is None
    assert client.get(f"{API}/patients/{number}/explanation", params={"scale": "crs_astct2019"}).status_code == 404


def test_pages_hold_everything_once(client: Any) -> None:
    number = registered(client, rows=ROWS)
    for n in range(2, 8):
        registered(client, f"P-{n}")
    for path, key in (
        (f"{API}/patients", "subject_id"),
        (f"{API}/patients/{number}/events", "event_id"),
        (f"{API}/patients/{number}/grades", None),
    ):
        whole = client.get(path, params={"limit": 1000}).json()["items"]
        gathered: list[Any] = []
        cursor = None
        while True:
            page = client.get(path, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
            gathered += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        assert gathered == whole and len(whole) > 2, path
        assert key is None or len({each[key] for each in whole}) == len(whole)


def test_a_page_of_another_version_is_told(client: Any) -> None:
    number = registered(client, rows=ROWS)
    cursor = client.get(f"{API}/patients/{number}/grades", params={"limit": 1}).json()["next"]
    client.post(f"{API}/patients/{number}/events", json={"rows": ROWS[3:4]})
    assert client.get(f"{API}/patients/{number}/grades", params={"cursor": cursor}).status_code == 409
    for bad in ("x", "W10", "WzFd", "bnVsbA", "WyJhIl0"):
        assert client.get(f"{API}/patients", params={"cursor": bad}).status_code in (200, 422)
        assert client.get(f"{API}/patients/{number}/grades", params={"cursor": bad}).status_code == 422


def test_a_few_virtual_patients_say_that_they_are(client: Any) -> None:
    pytest.importorskip("roadrunner")
    asked = {"product": "axi-cel", "disease": "lbcl", "patients": 5, "days": 20, "seed": 3}
    told = client.post(f"{API}/simulations", json=asked)
    assert told.status_code == 200 and told.json()["simulated"] is True and "virtual" in told.json()["banner"]
    assert told.json() == client.post(f"{API}/simulations", json=asked).json()
    crs = [r["n"] for r in told.json()["rates"] if r["toxicity"] == "crs"]
    assert crs == sorted(crs, reverse=True) and crs[0] <= 5
    for wrong in ({"patients": 201}, {"days": 61}, {"product": "no such"}, {"patients": 0}):
        assert client.post(f"{API}/simulations", json=asked | wrong).status_code == 422


# ---- the trail


def test_every_read_and_write_of_a_patient_is_in_the_trail(ward: Ward, client: Any) -> None:
    number = registered(client, rows=ROWS)
    paths = (
        "",
        "/events",
        "/events?history=true",
        "/results",
        "/grades",
        "/worst",
        "/episodes",
        "/explanation?scale=crs_astct2019",
        "/advice",
        "/risk",
    )
    for path in paths:
        before = count(ward, audit)
        assert client.get(f"{API}/patients/{number}{path}").status_code == 200
        with ward.database.reading() as connection:
            new = connection.execute(sa.select(audit).where(audit.c.n > before)).mappings().all()
        assert [(r["account"], r["subject_id"]) for r in new] == [("charting", number)], path
        assert "39.1" not in new[0]["detail"] and "P-1" not in new[0]["detail"]


# ---- OpenAPI


def test_openapi_describes_every_operation(ward: Ward) -> None:
    told = client_of(ward).get("/api/openapi.json").json()
    operations = {(method, path): o for path, methods in told["paths"].items() for method, o in methods.items()}
    assert all(path.startswith(("/api/v1/", "/cds-services", "/health")) for _, path in operations)
    for at, operation in operations.items():
        if not at[1].startswith(API):
            continue
        assert operation["summary"] and operation["description"], at
        assert operation["security"], at
        success = next(r for code, r in operation["responses"].items() if code.startswith("2"))
        assert at == ("delete", f"{API}/tokens") or "$ref" in success["content"]["application/json"]["schema"], at
        assert "application/problem+json" in operation["responses"]["422"]["content"], at


def _asking(operation: Any, headers: dict[str, str], number: int, seen: set[str], faults: set[str]) -> Any:
    """What asks an operation, of a patient whom the ward has or of any; it notes the answer, and the request where that is a fault."""

    def ask(case: Any, ours: bool) -> None:
        if ours and "subject_id" in (case.path_parameters or {}):
            case.path_parameters["subject_id"] = number
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            response = case.call(headers=headers)
        seen.add(f"{operation.method} {operation.path} {response.status_code}")
        if response.status_code == 500:
            faults.add(f"{operation.method} {operation.path} {case.path_parameters} {case.query} {case.body!r}"[:500])

    return ask


@pytest.mark.slow
def test_no_request_ends_in_a_fault(tmp_path: Path) -> None:
    """Schemathesis makes requests of every operation from the OpenAPI: none gives a 500, whatever stands in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis
    ward = ward_at(tmp_path)
    with_accounts(ward.database)
    client = client_of(ward, alone=ALONE, hosts=("*",))
    served: Any = client.app
    state = served.state
    state.pace.per_s = state.pace.burst = state.sign_ins.per_s = state.sign_ins.burst = state.sign_ins_from.per_s = (
        state.sign_ins_from.burst
    ) = 1e9
    headers = bearer(client, "adjudicator")
    number = client.post(f"{API}/patients", json={"label": "P-1"}, headers=headers).json()["subject_id"]
    client.post(f"{API}/patients/{number}/events", json={"rows": ROWS}, headers=headers)
    schema: Any = schemathesis.openapi.from_asgi("/api/openapi.json", served)
    few = settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    faults: set[str] = set()
    seen: set[str] = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        name = f"{operation.method.upper()} {operation.path}"
        if name == f"DELETE {API}/tokens":
            continue  # it would sign this test out
        ask = _asking(operation, headers, number, seen, faults)
        cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode))
        generated(case=cases, ours=st.booleans())(few(ask))()
    ward.close()
    assert faults == set()
    assert len(seen) > 30, seen


def test_the_mapping_of_a_hospital_is_used(tmp_path: Path) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text('[codes]\n"urn:oid:1.2.3//TEMP" = "temperature"\n')
    ward = ward_at(tmp_path)
    client = client_of(ward, alone=ALONE, mapping=intake.mappings(file, "Europe/Berlin"))
    client.headers["X-CSRF-Token"] = ALONE.csrf
    number = registered(client)
    own = observed("p", "TEMP", 39.1, "Cel", 10, "urn:oid:1.2.3")
    assert client.post(f"{API}/patients/{number}/fhir", content=json.dumps(own)).json()["accepted"] == 1
    ward.close()
