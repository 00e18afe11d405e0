"""What a ward makes of things that go wrong: a server that is killed while it writes, a database that goes away, a disk that is full."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal
from sqlalchemy import event
from ward_support import PERSON, Browser, a_postgres, a_server, a_ward, csrf_of, events, registered

from aftercar.errors import AftercarError
from aftercar.timeline.readers import read
from aftercar.ward import audit, found, record
from aftercar.ward.database import opened
from aftercar.ward.example import move_in
from aftercar.ward.tables import audit as trail
from aftercar.ward.ward import Ward
from aftercar.web.app import create_app
from aftercar.web.settings import Settings

EXAMPLE = Path(__file__).parent.parent / "examples" / "cohort"

BEGUN = datetime(2020, 1, 1)


class Client(threading.Thread):
    """Enters a round after another, each at a minute of its own, and keeps those that were acknowledged."""

    def __init__(self, url: str, subject_id: int, first: int) -> None:
        super().__init__()
        self.url, self.subject_id, self.next = url, subject_id, first
        self.acknowledged: list[datetime] = []
        self.said: list[str] = []

    def run(self) -> None:
        page = f"{self.url}/patients/{self.subject_id}/enter"
        try:
            with httpx.Client(timeout=30) as client:
                csrf = csrf_of(client.get(page).text)
                while True:
                    at = BEGUN + timedelta(minutes=self.next)
                    form = {"csrf": csrf, "time": at.isoformat(), "temperature": "38.4", "sbp": "101", "spo2": "97"}
                    answer = client.post(page, data=form)
                    if answer.status_code == 303 and answer.headers["location"].endswith("saved=3"):
                        self.acknowledged.append(at)
                    elif answer.status_code != 429:
                        self.said.append(f"{answer.status_code}")
                    self.next += 1
        except httpx.TransportError:
            return  # the server is gone


@pytest.mark.slow
def test_a_server_that_is_killed_while_it_writes_loses_nothing_and_leaves_no_half(url: str, tmp_path: Path) -> None:
    with opened(url) as database:
        numbers = [registered(database, f"P-{n}") for n in range(2)]
    acknowledged: dict[int, list[datetime]] = {number: [] for number in numbers}
    chance = random.Random(5)
    for n in range(2):
        with a_server(tmp_path, "--database", url) as live:
            clients = [Client(live.url, number, 100_000 * n + 10_000 * each) for each, number in enumerate((*numbers, *numbers))]
            for client in clients:
                client.start()
            enough, until = chance.randrange(5, 30), time.monotonic() + 60
            while sum(len(client.acknowledged) for client in clients) < enough and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(0.05 * chance.random())
            live.kill()
            for client in clients:
                client.join()
                acknowledged[client.subject_id] += client.acknowledged
                assert not client.said
    assert all(acknowledged.values())
    with opened(url) as database, database.reading() as connection:
        written = 0
        for number in numbers:
            kept = record.history(connection, number)
            versions: dict[int, list[dict[str, Any]]] = {}
            for each in kept:
                versions.setdefault(each["version"], []).append(each)
            assert sorted(versions) == list(range(1, record.find(connection, number).version + 1))
            assert {tuple(sorted(e["code"] for e in rows)) for rows in versions.values()} == {("sbp", "spo2", "temperature")}
            assert set(acknowledged[number]) <= {e["time"] for e in kept}
            written += len(versions)
        assert audit.verify(connection).broken is None
        said = sa.select(sa.func.count()).select_from(trail).where(trail.c.action == "event.write")
        assert connection.execute(said).scalar_one() == written
    with a_server(tmp_path, "--database", url) as live:
        assert httpx.get(f"{live.url}/patients/{numbers[0]}", timeout=60).status_code == 200


@pytest.mark.slow
def test_what_a_killed_server_started_ends_too(tmp_path: Path) -> None:
    with a_server(tmp_path, "--database", f"sqlite:///{tmp_path}/ward.db") as live:
        children = [
            int(c) for tasks in Path(f"/proc/{live.process.pid}/task").glob("*/children") for c in tasks.read_text().split()
        ]
        assert children
        live.kill()
        waited = time.monotonic() + 30
        while (left := [c for c in children if alive(c)]) and time.monotonic() < waited:
            time.sleep(0.1)
        assert not left


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_a_database_that_goes_away_is_told_and_found_again(tmp_path: Path) -> None:
    with a_postgres() as postgres:
        url = postgres.new()
        with opened(url) as database:
            number = registered(database, "P-1", events((0, "cart_infusion", None)))
        with a_server(tmp_path, "--database", url) as live, httpx.Client(base_url=live.url, timeout=60) as client:
            csrf = csrf_of(client.get(f"/patients/{number}/enter").text)
            form = {"csrf": csrf, "time": "2026-03-02T08:00", "temperature": "38.4173"}
            postgres.stop()
            for answer in (
                client.get("/"),
                client.post(f"/patients/{number}/enter", data=form),
                client.get(f"/patients/{number}"),
            ):
                assert answer.status_code == 503 and answer.headers["retry-after"]
                assert "database" in answer.text and "38.4173" not in answer.text
            assert client.get("/health").status_code == 200
            postgres.start()
            assert client.post(f"/patients/{number}/enter", data=form).status_code == 303
            assert client.get(f"/patients/{number}").status_code == 200
            assert "Traceback" not in live.logged() and "38.4173" not in live.logged()
        with opened(url) as database, database.reading() as connection:
            assert [e["code"] for e in record.history(connection, number)] == ["temperature", "cart_infusion"]
            assert audit.verify(connection).broken is None


def test_a_full_disk_is_told_and_leaves_no_half(tmp_path: Path) -> None:
    """SQLite says so too where a file may grow no more."""
    url, full = f"sqlite:///{tmp_path}/ward.db", True
    with opened(url) as database:
        number = registered(database, "P-1", events((0, "cart_infusion", None)))
    with a_ward(url) as ward:

        @event.listens_for(ward.database.engine, "begin")
        def _(connection: sa.Connection) -> None:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages if full else 1_000_000}")

        client, statuses = Browser(create_app(ward, Settings(alone=PERSON))), []
        form = {"csrf": PERSON.csrf, "temperature": "38.4", "sbp": "101"}
        for n in range(100):
            statuses.append(
                client.post(f"/patients/{number}/enter", data=form | {"time": f"2026-03-02T{n // 60:02}:{n % 60:02}"}).status_code
            )
            if statuses[-1] != 303:
                break
        assert statuses[-1] == 503
        full = False
        assert client.post(f"/patients/{number}/enter", data=form | {"time": "2026-03-03T08:00"}).status_code == 303
    with opened(url) as database, database.reading() as connection:
        entered = statuses.count(303) + 1
        assert len(record.history(connection, number)) == 1 + 2 * entered
        assert record.find(connection, number).version == 1 + entered
        assert audit.verify(connection).broken is None


def test_a_record_that_cannot_be_graded_keeps_no_other_from_it(tmp_path: Path) -> None:
    bad = events((0, "cart_infusion", None), (1, "crp", 4711.0))

    def find(timeline: pl.DataFrame, *rest: Any) -> Any:
        if (timeline["numeric_value"] == 4711.0).any():
            raise RuntimeError
        return found.find(timeline, *rest)

    with a_ward(f"sqlite:///{tmp_path}/ward.db") as ward:
        ward.find = find
        numbers = [registered(ward.database, f"P-{n}", bad if n == 1 else events((0, "cart_infusion", None))) for n in range(3)]
        block = threading.Event()
        ward._graders.submit(block.wait)
        asked = [ward._ask(number, 1) for number in numbers]  # they wait, and are graded together
        block.set()
        assert isinstance(asked[1].exception(60), RuntimeError)
        assert [asked[n].result(60).subject_id for n in (0, 2)] == [numbers[0], numbers[2]]


@contextlib.contextmanager
def entering(ward: Ward, number: int) -> Iterator[threading.Event]:
    """A write that is on disk and waits for its grades; they are made once the event is set."""
    block = threading.Event()
    ward._graders.submit(block.wait)
    write = threading.Thread(target=ward.enter, args=(PERSON, number, events((1, "temperature", 39.0))))
    write.start()
    while not ward._asked:
        time.sleep(0.01)
    yield block
    block.set()
    write.join(60)


def test_readers_find_what_stood_before_until_a_write_is_answered(tmp_path: Path) -> None:
    with a_ward(f"sqlite:///{tmp_path}/ward.db") as ward:
        number = registered(ward.database, "P-1", events((0, "cart_infusion", None)))
        before = ward.found(number)
        with entering(ward, number):
            assert ward.timeline(number).filter(pl.col("code") == "temperature").height == 1, "it is on disk"
            assert ward.found(number) is before
        found = ward.found(number)
        assert found is not None and found.version == 2


def test_a_write_whose_grades_take_too_long_is_answered_and_readers_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aftercar.ward.ward.PATIENCE_S", 0.05)
    with a_ward(f"sqlite:///{tmp_path}/ward.db") as ward:
        number = registered(ward.database, "P-1", events((0, "cart_infusion", None)))
        ward.found(number)
        block = threading.Event()
        ward._graders.submit(block.wait)
        version, _ = ward.enter(PERSON, number, events((1, "temperature", 39.0)))
        threading.Timer(0.2, block.set).start()
        found = ward.found(number)
        assert found is not None and found.version == version == 2


def test_who_asks_for_a_newer_version_does_not_get_a_former_one(tmp_path: Path) -> None:
    with a_ward(f"sqlite:///{tmp_path}/ward.db") as ward:
        number = registered(ward.database, "P-1", events((0, "cart_infusion", None)))
        with entering(ward, number) as block:
            newer, former = ward._ask(number, 2), ward._ask(number, 1)
            block.set()
            assert newer.result(60).version == former.result(60).version == 2


def test_a_ward_that_closes_answers_who_still_waits(ward: Ward) -> None:
    number = registered(ward.database, "P-1", events((0, "cart_infusion", None)))
    block = threading.Event()
    ward._graders.submit(block.wait)
    asked = ward._ask(number, 1)
    threading.Timer(0.2, block.set).start()
    ward.close()
    assert isinstance(asked.exception(5), AftercarError)


TOGETHER = """
import threading
from aftercar.timeline import units
gate, said = threading.Barrier(8), []
def ask(n):
    gate.wait()
    said.append((units.is_ucum("Cel"), units.is_ucum("10*3/uL"), units.rate("mg/h")))
threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
for each in threads: each.start()
for each in threads: each.join()
print(len(said), set(said) == {(True, True, (1000 / 60, False))})
"""


def test_the_first_units_are_read_by_several_at_once() -> None:
    """A server's first entries come at once; what the libraries of units then made of it was a unit that is none, for good."""
    done = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8", "True"], done.stderr


def test_what_the_rules_say_later_is_known_ahead(tmp_path: Path) -> None:
    """Options, doses and limits of a time within a day, where nobody charts: as if the record were graded and asked anew then."""
    timeline = read(EXAMPLE / "data", EXAMPLE / "mapping.toml").timeline
    now = datetime(2026, 11, 26, 12)
    with a_ward(f"sqlite:///{tmp_path}/ward.db", now) as ward:
        move_in(ward.database, timeline, now)
        changed = {"advice": 0, "ledger": 0, "limits": 0}
        for number in range(1, 40, 4):
            then = ward.found(number)
            with ward.database.reading() as connection:
                charted = record.timeline(connection, record.find(connection, number), until=now + timedelta(days=2))
            assert then is not None
            for minutes in (0, 47, 400, 900, 1_400):
                at = now + timedelta(minutes=minutes, seconds=0.5)
                told = then.at(at)
                again = found.find(charted, {number: then.version}, at, ward.book, ward.options, found.NOW)[0].at(at)
                for name in changed:
                    asked, ahead = (getattr(of, name).drop("time", "until", strict=False) for of in (again, told))
                    assert_frame_equal(asked, ahead)
                    changed[name] += not asked.equals(getattr(then.at(now), name).drop("time", "until", strict=False))
        assert all(changed.values()), changed
