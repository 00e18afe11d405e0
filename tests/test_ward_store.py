"""The record of a ward on both databases: what was entered stays, each version says what it said, and the trail of who did what shows when it was changed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from commands import run
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from polars import col
from polars.testing import assert_frame_equal
from sqlalchemy import exc
from strategies_ward import random_ward
from ward_support import NOW, PERSON, ZERO, a_ward, codes, events, registered, url_of

import aftercar
from aftercar.errors import InputError, OptionError
from aftercar.timeline.schema import TIMELINE, conform
from aftercar.ward import audit, record, tables
from aftercar.ward.database import Database, opened
from aftercar.ward.found import followed
from aftercar.ward.ward import Ward

GROWING = ("event", "result", "statement", "audit")
FEVER = events((0, "cart_infusion", None), (10, "temperature", 39.0), (11, "sbp", 120.0), (11, "o2_device", "room_air"))
SHARED = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)  # fmt: skip
LABELS = iter(f"patient {n}" for n in range(10**9))


def standing(ward: Ward, subject_id: int, version: int | None = None) -> pl.DataFrame:
    """The events that stand at a version."""
    return ward.timeline(subject_id, version).filter(col("event_id") >= 0)


# ---- the schema


def test_the_migrations_make_the_tables_that_the_code_names(url: str) -> None:
    with opened(url) as database, database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []


def test_opening_again_changes_nothing(url: str) -> None:
    with opened(url) as database:
        number = registered(database, rows=FEVER)
    with opened(url) as database, database.reading() as connection:
        assert record.find(connection, number).version == 1


def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    with opened(url) as database, database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InputError, match="newer version"):
        opened(url)


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("ward.db", OptionError, "URL"),
        (url_of("mysql"), OptionError, "sqlite or postgresql"),
        ("sqlite:///{}".format("/no/such/folder/ward.db"), InputError, "folder"),
        (url_of("postgresql", 1), InputError, "cannot be opened"),
        (url_of("postgresql", 1).replace(":1/", ":port/"), OptionError, "URL"),
    ],
)
def test_a_database_that_cannot_be_opened_is_told(url: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        opened(url)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "ward.db").write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(InputError, match="no database of a ward"):
        opened(f"sqlite:///{tmp_path}/ward.db")


# ---- entries


def test_what_was_entered_comes_back_as_it_was(ward: Ward) -> None:
    rows = (
        random_ward(7, 1).filter(col("code") != "record_complete").with_columns(source=pl.lit("a file:3"), note=pl.lit("ä <b>"))
    )
    number = registered(ward.database)
    with ward.database.writing() as connection:
        version, numbers = record.add(connection, number, rows, "anna")
    assert version == 1 and len(set(numbers)) == rows.height
    back = standing(ward, number).sort("event_id").drop("event_id", "subject_id")
    assert_frame_equal(back, conform(rows).drop("event_id", "subject_id").select(back.columns), check_row_order=False)


def test_nobody_is_registered_twice_and_a_stream_must_exist(ward: Ward) -> None:
    registered(ward.database, "P-1")
    for label in ("P-1", " P-1 ", "", "a\nb", "x" * 65, "nul\0"):
        with pytest.raises(OptionError), ward.database.writing() as connection:
            record.register(connection, label)
    with pytest.raises(OptionError, match="stream"), ward.database.writing() as connection:
        record.register(connection, "P-2", complete=("everything",))


@pytest.mark.parametrize("number", [0, -1, 404, 2**31, 2**63, 10**30])
def test_a_patient_that_is_not_there_is_told(ward: Ward, number: int) -> None:
    for ask in (
        lambda: ward.timeline(number), lambda: ward.found(number), lambda: ward.enter(PERSON, number, FEVER), lambda: ward.correct(PERSON, number, 1, None),
    ):  # fmt: skip
        with pytest.raises(InputError, match="no patient"):
            ask()
    assert ward.former(number, number) is None


@st.composite
def operations(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """What people do one after another: add some rows, correct one of those entered, withdraw one."""
    kinds = st.sampled_from(("add", "add", "correct", "withdraw"))
    return draw(st.lists(st.tuples(kinds, st.integers(0, 10**6), st.integers(1, 4)), min_size=1, max_size=8))


@given(done=operations())
@SHARED
def test_a_version_says_for_ever_what_was_entered_up_to_it(ward: Ward, done: list[tuple[str, int, int]]) -> None:
    number = registered(ward.database, next(LABELS))
    says: dict[int, float] = {}  # the events that stand, with their value
    versions: list[dict[int, float]] = [{}]
    for kind, pick, many in done:
        value = float(len(versions))
        if kind == "add" or not says:
            rows = events(*((pick % 100 + n, "crp", value + n / 10) for n in range(many)))
            with ward.database.writing() as connection:
                _, numbers = record.add(connection, number, rows, "anna")
            says |= {e: value + n / 10 for n, e in enumerate(numbers)}
        else:
            event = sorted(says)[pick % len(says)]
            told = None if kind == "withdraw" else events((pick % 100, "crp", value)).row(0, named=True)
            with ward.database.writing() as connection:
                _, (new,) = record.correct(connection, number, event, told, "anna")
            del says[event]
            if told:
                says[new] = value
        versions.append(dict(says))
        for version, expected in enumerate(versions):
            at = standing(ward, number, version) if version else pl.DataFrame(schema=TIMELINE)
            assert dict(at.select("event_id", "numeric_value").iter_rows()) == expected
    with ward.database.reading() as connection:
        kept = record.history(connection, number)
    assert record_versions(kept) == set(range(1, len(versions)))
    assert {e["event_id"] for e in kept if e["replaced_by"] is None and not e["withdrawn"]} == set(says)


def record_versions(history: list[dict[str, Any]]) -> set[int]:
    return {e["version"] for e in history}


def test_an_event_is_corrected_once_and_only_by_its_own_patient(ward: Ward) -> None:
    number, other = registered(ward.database, "P-1", FEVER), registered(ward.database, "P-2", FEVER)
    event = int(standing(ward, number).filter(code="temperature")["event_id"][0])
    told = events((10, "temperature", 37.0)).row(0, named=True)
    with pytest.raises(InputError, match="no event"):
        ward.correct(PERSON, other, event, told)
    _, (new,) = ward.correct(PERSON, number, event, told)
    with pytest.raises(InputError, match="already"):
        ward.correct(PERSON, number, event, None)
    _, (withdrawal,) = ward.correct(PERSON, number, new, None)
    with pytest.raises(InputError, match="withdrawn"):
        ward.correct(PERSON, number, withdrawal, told)
    with pytest.raises(InputError, match="no event"):
        ward.correct(PERSON, number, 2**63, None)
    assert "temperature" not in codes(ward.timeline(number))
    with ward.database.reading() as connection:
        assert record.find(connection, number).version == 3


def test_what_fails_leaves_nothing(ward: Ward) -> None:
    number = registered(ward.database, "P-1", FEVER)
    bad = FEVER.with_columns(code=pl.when(col("code") == "sbp").then(None).otherwise("code"))
    with pytest.raises(exc.IntegrityError):
        ward.enter(PERSON, number, bad)
    with ward.database.reading() as connection:
        assert record.find(connection, number).version == 1
        assert audit.verify(connection).rows == 0
    assert standing(ward, number).height == FEVER.height


# ---- grades


def cohort_rows(seed: int) -> pl.DataFrame:
    """A random patient, moved so that the infusion is at `ZERO`."""
    rows = random_ward(seed, 1).filter(col("code") != "record_complete")
    shift = ZERO - rows.filter(code="cart_infusion")["time"].min()
    return rows.with_columns(col("time", "end_time") + shift)


def comparable(frame: pl.DataFrame) -> pl.DataFrame:
    """Without numbers of rows and patients."""
    return frame.drop("subject_id", *({"evidence"} & set(frame.columns)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("complete", [(), ("drugs", "seizure")])
def test_the_grades_of_a_record_are_those_of_its_rows(tmp_path: Path, seed: int, complete: tuple[str, ...]) -> None:
    """As `aftercar.grade_timeline` gives them for the same rows, read up to the time of asking."""
    rows, now = cohort_rows(seed), NOW.replace(tzinfo=None)
    with a_ward(f"sqlite:///{tmp_path}/ward.db") as ward:
        with ward.database.writing() as connection:
            number = record.register(connection, "P-1", complete=complete)
            record.add(connection, number, rows, "test")
        found = ward.found(number)
    assert found is not None
    known = rows.filter(col("time") <= now)
    first = rows.filter(col("code") != "birth")["time"].min()
    said = [
        {"time": first, "code": "record_complete", "text_value": stream, "end_time": NOW.replace(tzinfo=None) + timedelta(days=1)}
        for stream in complete
    ]
    said.append({"time": now, "code": "last_follow_up"})
    own = known["subject_id"][0]
    extra = pl.DataFrame(
        [s | {"subject_id": own} for s in said], schema_overrides={"time": pl.Datetime("us"), "end_time": pl.Datetime("us")}
    )
    expected = aftercar.grade_timeline(conform(pl.concat([known.drop("event_id"), extra], how="diagonal_relaxed")))
    for name in ("grades", "worst", "episodes"):
        assert_frame_equal(comparable(getattr(found, name)), comparable(getattr(expected, name)))


@given(seed=st.integers(0, 2**32 - 1), order=st.randoms(use_true_random=False))
@settings(SHARED, max_examples=6, phases=[Phase.generate])
def test_the_order_in_which_rows_arrive_does_not_matter(ward: Ward, seed: int, order: Any) -> None:
    rows = cohort_rows(seed)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=order.randrange(2**31))
    cuts = sorted(order.randrange(rows.height + 1) for _ in range(3))
    pieces = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, rows.height], strict=True)]
    whole, parted = registered(ward.database, next(LABELS), rows), registered(ward.database, next(LABELS))
    for piece in pieces:
        with ward.database.writing() as connection:
            record.add(connection, parted, piece, "test")
    found = [aftercar.grade_timeline(followed(ward.timeline(n), NOW.replace(tzinfo=None))) for n in (whole, parted)]
    for name in ("grades", "worst", "episodes"):
        assert_frame_equal(comparable(getattr(found[0], name)), comparable(getattr(found[1], name)))


READ_AT_ONCE = (
    "temperature",
    "sbp",
    "map",
    "o2_device",
    "ice",
    "consciousness",
    "cart_infusion",
    "age",
)  # findings of their time; no look ahead


def grade_at(grades: pl.DataFrame, at: datetime) -> list[tuple[Any, ...]]:
    rows = grades.filter((col("start") <= at) & (col("end").is_null() | (col("end") > at)))
    return rows.select("scale", "grade", "grade_upper").sort("scale").rows()


@given(seed=st.integers(0, 2**32 - 1), pick=st.integers(0, 10**6))
@settings(SHARED, max_examples=10, phases=[Phase.generate])
def test_a_late_observation_changes_grades_from_its_time_on(ward: Ward, seed: int, pick: int) -> None:
    rows = cohort_rows(seed).filter(col("code").is_in(READ_AT_ONCE), col("attributable_to").is_null()).sort("time")
    late = rows.filter(col("code").is_in(READ_AT_ONCE[:6]), col("time") > ZERO)
    if late.is_empty():
        return
    one = late[pick % late.height : pick % late.height + 1]
    number = registered(ward.database, next(LABELS), rows.join(one.select("event_id"), on="event_id", how="anti"))
    before = aftercar.grade_timeline(followed(ward.timeline(number), NOW.replace(tzinfo=None)), ["crs", "icans"]).grades
    ward.enter(PERSON, number, one)
    after = aftercar.grade_timeline(followed(ward.timeline(number), NOW.replace(tzinfo=None)), ["crs", "icans"]).grades
    at = one["time"][0]
    times = {t for t in [*before["start"], *after["start"]] if ZERO <= t < at} | {at - timedelta(seconds=1)}
    for then in times:
        assert grade_at(before, then) == grade_at(after, then)
    former = aftercar.grade_timeline(followed(ward.timeline(number, 1), NOW.replace(tzinfo=None)), ["crs", "icans"]).grades
    assert_frame_equal(former, before)


def test_a_late_fever_raises_the_grade_and_the_former_result_stays(ward: Ward) -> None:
    number = registered(ward.database, "P-1", FEVER)
    before = ward.found(number)
    assert before is not None and before.worst.filter(scale="crs_astct2019")["grade"][0] == 1
    ward.enter(PERSON, number, events((12, "norepinephrine", 5.0), (12, "sbp", 80.0)))
    after = ward.found(number)
    assert after is not None and after.worst.filter(scale="crs_astct2019")["grade"][0] >= 2
    assert [r["version"] for r in ward.formerly(number)] == [2, 1]
    former = ward.former(number, ward.formerly(number)[1]["result_id"])
    assert former is not None and former.as_of == before.as_of
    for name in ("grades", "worst", "advice", "ahead"):
        assert_frame_equal(getattr(former, name), getattr(before, name))
    other = registered(ward.database, "P-2")
    assert ward.former(other, ward.formerly(number)[1]["result_id"]) is None


def test_a_record_is_graded_anew_when_a_day_has_gone_by_and_not_before(ward: Ward) -> None:
    number = registered(ward.database, "P-1", FEVER)
    first = ward.found(number)
    ward.clock = lambda: NOW + timedelta(hours=23)
    assert ward.found(number) is first
    ward.clock = lambda: NOW + timedelta(hours=25)
    later = ward.found(number)
    assert later is not None and later.as_of == (NOW + timedelta(hours=25)).replace(tzinfo=None)
    assert [r["version"] for r in ward.formerly(number)] == [1, 1]


def test_an_event_that_lay_ahead_counts_from_its_time_on_also_after_a_restart(url: str) -> None:
    now = NOW.replace(tzinfo=None)
    early = conform(events((0, "sbp", 80.0), (0, "norepinephrine", 5.0)).with_columns(time=now + timedelta(minutes=5)))
    with a_ward(url) as ward:
        number = registered(ward.database, "P-1", FEVER)
        ward.enter(PERSON, number, early)
        first = ward.found(number)
        assert first is not None and first.coming == early["time"][0] and first.last_charted.get("norepinephrine") is None
        assert ward.found(number) is first
    with a_ward(url) as ward:
        ward.clock = lambda: NOW + timedelta(minutes=4)
        again = ward.found(number)
        assert again is not None and (again.as_of, again.coming) == (now, first.coming)
        ward.clock = lambda: NOW + timedelta(minutes=6)
        later = ward.found(number)
        assert later is not None and later.coming is None and later.last_charted["norepinephrine"] == first.coming


def test_a_restart_takes_what_was_found(url: str) -> None:
    with a_ward(url) as ward:
        number = registered(ward.database, "P-1", FEVER)
        first = ward.found(number)
    with a_ward(url) as ward:
        again = ward.found(number)
        assert len(ward.formerly(number)) == 1
    assert first is not None and again is not None
    assert_frame_equal(first.grades, again.grades)


# ---- many at once


def test_an_entry_and_a_statement_about_one_patient_do_not_wait_for_each_other(ward: Ward) -> None:
    number = registered(ward.database, "P-1", FEVER)
    log = pl.DataFrame(
        [{"rater": "ann", "kind": "attribution", "subject_id": str(number), "event_id": 1, "attributable_to": "other"}]
    )
    begun, said = threading.Event(), list[int]()

    def speak() -> None:
        begun.set()
        said.append(ward.say(PERSON, number, lambda _: log, "statement.attribution").height)

    speaker = threading.Thread(target=speak)
    with ward.database.writing() as connection:
        record.changed(connection, number)  # as an entry begins
        speaker.start()
        begun.wait()
        time.sleep(0.5)  # the other holds all that it can get
        audit.note(connection, "ben", "event.write", number)  # as it ends
    speaker.join(30)
    assert said == [1]
    with ward.database.reading() as connection:
        assert record.find(connection, number).version == 3


def test_threads_that_write_at_once_lose_nothing(ward: Ward) -> None:
    numbers = [registered(ward.database, f"P-{n}") for n in range(3)]
    failed: list[BaseException] = []

    def write(mine: int) -> None:
        try:
            for n in range(8):
                ward.enter(
                    PERSON, numbers[(mine + n) % 3], events((n, "crp", float(100 * mine + n)), (n, "ferritin", float(mine)))
                )
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failed
    whole(ward.database, numbers, entries=6 * 8)


WRITER = """
import sys
from ward_support import PERSON, a_ward, events
url, mine, numbers = sys.argv[1], int(sys.argv[2]), [int(n) for n in sys.argv[3].split(",")]
with a_ward(url) as ward:
    for n in range(10):
        ward.enter(PERSON, numbers[(mine + n) % len(numbers)], events((n, "crp", float(100 * mine + n)), (n, "ferritin", float(mine))))
"""


@pytest.mark.slow
def test_processes_that_write_at_once_lose_nothing(url: str) -> None:
    with opened(url) as database:
        numbers = [registered(database, f"P-{n}") for n in range(2)]
    asked = [[sys.executable, "-c", WRITER, url, str(n), ",".join(map(str, numbers))] for n in range(3)]
    writers = [subprocess.Popen(each, cwd=Path(__file__).parent, stderr=subprocess.PIPE, text=True) for each in asked]
    for each in writers:
        _, errors = each.communicate(timeout=300)
        assert each.returncode == 0, errors
    with opened(url) as database:
        whole(database, numbers, entries=3 * 10)


def whole(database: Database, numbers: list[int], entries: int) -> None:
    """Nothing is lost or half there: versions without a gap, all values, an unbroken trail with a row for each entry."""
    with database.reading() as connection:
        kept = {number: record.history(connection, number) for number in numbers}
        for number in numbers:
            versions = sorted({e["version"] for e in kept[number]})
            assert versions == list(range(1, record.find(connection, number).version + 1))
            for version in versions:
                assert sorted(e["code"] for e in kept[number] if e["version"] == version) == ["crp", "ferritin"]
        trail = audit.verify(connection)
        said = connection.execute(
            sa.select(tables.audit.c.subject_id, tables.audit.c.detail).where(tables.audit.c.action == "event.write")
        ).all()
    values = [e["numeric_value"] for number in numbers for e in kept[number] if e["code"] == "crp"]
    assert len(values) == len(set(values)) == entries
    assert trail.broken is None and trail.rows == len(said) == entries
    assert {(s, json.loads(d)["version"]) for s, d in said} == {(n, e["version"]) for n in numbers for e in kept[n]}


def test_of_two_who_correct_the_same_event_one_is_told(ward: Ward) -> None:
    number = registered(ward.database, "P-1", FEVER)
    event = int(standing(ward, number).filter(code="temperature")["event_id"][0])
    gate, said = threading.Barrier(4), []

    def correct(value: float) -> None:
        gate.wait()
        try:
            ward.correct(PERSON, number, event, events((10, "temperature", value)).row(0, named=True))
            said.append("kept")
        except InputError as error:
            said.append(str(error))

    threads = [threading.Thread(target=correct, args=(37.0 + n / 10,)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert said.count("kept") == 1 and all("already" in s for s in said if s != "kept") and len(said) == 4
    assert codes(ward.timeline(number)).count("temperature") == 1


def test_of_two_who_register_the_same_label_one_is_told(ward: Ward) -> None:
    gate, said = threading.Barrier(4), []

    def register() -> None:
        gate.wait()
        try:
            registered(ward.database, "P-1")
            said.append("kept")
        except OptionError as error:
            said.append(str(error))

    threads = [threading.Thread(target=register) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(said) == ["A patient of that label is there already."] * 3 + ["kept"]


# ---- what is only added to


@pytest.mark.parametrize("table", GROWING)
def test_rows_are_neither_changed_nor_deleted(ward: Ward, table: str) -> None:
    number = registered(ward.database, "P-1", FEVER)
    ward.found(number)
    with ward.database.writing() as connection:
        audit.note(connection, "anna", "test")
        statement = {
            "n": 1,
            "said_at": ZERO,
            "rater": "anna",
            "kind": "grade",
            "subject_id": number,
            "previous": "0",
            "hash": "1",
        }
        connection.execute(tables.statement.insert(), statement)
    key = {"event": "event_id", "result": "result_id", "statement": "n", "audit": "n"}[table]
    tried = [f"UPDATE {table} SET {key} = {key} + 1000", f"DELETE FROM {table}"]
    if ward.database.engine.dialect.name == "sqlite":
        tried.append(f"REPLACE INTO {table} SELECT * FROM {table}")
    else:
        tried.append(f"TRUNCATE {table} CASCADE")
    for statement in tried:
        with pytest.raises(exc.DBAPIError, match="only added to"), ward.database.writing() as connection:
            connection.execute(sa.text(statement))
    with ward.database.reading() as connection:
        assert connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one() > 0


# ---- the trail


def tampered(database: Database, *statements: str) -> None:
    """As somebody would who owns the database."""
    with database.writing() as connection:
        if database.engine.dialect.name == "sqlite":
            connection.execute(sa.text("DROP TRIGGER audit_no_update"))
            connection.execute(sa.text("DROP TRIGGER audit_no_delete"))
        else:
            connection.execute(sa.text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        for statement in statements:
            connection.execute(sa.text(statement))


@pytest.mark.parametrize(
    ("how", "broken"),
    [
        (["UPDATE audit SET account = 'nobody' WHERE n = 3"], 3),
        (["UPDATE audit SET at = '2020-01-01T00:00:00.000000+00:00' WHERE n = 3"], 3),
        (["UPDATE audit SET action = 'patient.delete' WHERE n = 3"], 3),
        (["UPDATE audit SET subject_id = 9 WHERE n = 3"], 3),
        (["UPDATE audit SET subject_id = NULL WHERE n = 3"], 3),
        (["UPDATE audit SET detail = '{}' WHERE n = 3"], 3),
        (["UPDATE audit SET hash = previous WHERE n = 3"], 3),
        (["UPDATE audit SET previous = hash WHERE n = 3"], 3),
        (["DELETE FROM audit WHERE n = 1"], 1),
        (["DELETE FROM audit WHERE n = 3"], 3),
        (
            ["DELETE FROM audit WHERE n = 3", "UPDATE audit SET n = n - 1 WHERE n = 4", "UPDATE audit SET n = n - 1 WHERE n = 5"],
            3,
        ),
        (["INSERT INTO audit SELECT 6, at, account, action, subject_id, detail, previous, hash FROM audit WHERE n = 5"], 6),
        (["UPDATE audit SET n = 0 WHERE n = 3", "UPDATE audit SET n = 3 WHERE n = 4", "UPDATE audit SET n = 4 WHERE n = 0"], 3),
    ],
)
def test_verify_finds_the_row_that_was_changed(url: str, how: list[str], broken: int, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(url) as database:
        for n in range(5):
            with database.writing() as connection:
                audit.note(connection, "anna", "patient.read", n, {"version": n + 1})
        code, out, _ = run("ward", "verify", "--database", url, capsys=capsys)
        assert code == 0 and out.startswith("5 rows, unbroken.")
        tampered(database, *how)
    code, out, _ = run("ward", "verify", "--database", url, capsys=capsys)
    assert code == 1 and f"row {broken} " in out


def test_verify_finds_a_trail_that_was_cut_off_or_written_anew_by_its_head(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(url) as database:
        for n in range(5):
            with database.writing() as connection:
                audit.note(connection, "anna", "patient.read", n)
        _, out, _ = run("ward", "verify", "--database", url, capsys=capsys)
        head = out.strip().rpartition(" ")[2]
        with database.writing() as connection:
            audit.note(connection, "anna", "patient.read", 6)
        assert run("ward", "verify", "--database", url, "--head", head, capsys=capsys)[0] == 0
        tampered(database, "DELETE FROM audit WHERE n > 4")
        assert (
            run("ward", "verify", "--database", url, capsys=capsys)[0] == 0
        )  # whole in itself: that is why the head is kept elsewhere
        code, out, _ = run("ward", "verify", "--database", url, "--head", head, capsys=capsys)
        assert code == 1 and "cut off" in out


def test_each_of_many_readers_goes_on_once_its_own_line_is_on_disk(ward: Ward) -> None:
    """Lines that are asked for at once are written together; none is lost, and none is written twice."""

    def read_often(reader: int) -> list[bool]:
        return [_noted(ward, f"list.read {reader} {n}") for n in range(20)]

    with ThreadPoolExecutor(8) as readers:
        assert all(all(found) for found in readers.map(read_often, range(8)))
    with ward.database.reading() as connection:
        kept = [row.action for row in connection.execute(sa.select(tables.audit))]
        assert sorted(kept) == sorted(f"list.read {r} {n}" for r in range(8) for n in range(20))
        assert audit.verify(connection).broken is None


def _noted(ward: Ward, action: str) -> bool:
    ward.note(PERSON, action)
    with ward.database.reading() as connection:
        return connection.execute(sa.select(tables.audit.c.n).where(tables.audit.c.action == action)).first() is not None


def test_who_waits_for_a_line_that_cannot_be_written_is_told(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(audit, "notes", full)
    with ThreadPoolExecutor(8) as readers:
        asked = [readers.submit(ward.note, PERSON, "list.read") for _ in range(8)]
        assert {type(each.exception(60)) for each in asked} == {OSError}
    monkeypatch.undo()
    assert _noted(ward, "list.read")


def test_the_trail_of_a_transaction_that_fails_is_undone_with_it(ward: Ward) -> None:
    with pytest.raises(RuntimeError), ward.database.writing() as connection:
        audit.note(connection, "anna", "event.write")
        raise RuntimeError
    ward.note(PERSON, "patient.read", 1)
    with ward.database.reading() as connection:
        assert audit.verify(connection).rows == 1
