"""What people say of a timeline: the log and its faults, attribution, agreement, and what two readers lock."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from polars import col

from aftercar.errors import InputError
from aftercar.grade import adjudicate as adj
from aftercar.grade.folder import grade_folder
from aftercar.grade.results import open_results
from aftercar.timeline.readers import read
from aftercar.timeline.statements import (
    FILE,
    STATEMENTS,
    append,
    as_given,
    attributed,
    attributions,
    read_statements,
    resolved,
    verify,
)
from aftercar.timeline.store import open_timeline, write_timeline

ROWS = [
    "subject_id,time,code,value,unit",
    "A1,2024-05-01T08:00,cart_infusion,axi-cel,",
    "A1,2024-05-02T08:00,temperature,39.4,Cel",
    "A1,2024-05-02T08:00,sbp,121,mmHg",
    "A1,2024-05-02T08:00,o2_device,room air,",
    "A1,2024-05-02T20:00,norepinephrine,4,ug/min",
    "A1,2024-05-02T23:00,norepinephrine,0,ug/min",
    "B2,2024-05-01T08:00,cart_infusion,axi-cel,",
    "B2,2024-05-02T08:00,temperature,38.4,Cel",
    "B2,2024-05-02T08:00,sbp,122,mmHg",
    "B2,2024-05-02T08:00,o2_device,room air,",
]
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def timeline(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("\n".join(ROWS) + "\n")
    return write_timeline(read(tmp_path / "rows.csv"), tmp_path / "timeline")


@pytest.fixture
def results(tmp_path: Path, timeline: Path) -> Path:
    grade_folder(timeline, tmp_path / "out", ["crs", "icans"])
    return tmp_path / "out"


def said(rater: str, event_id: int, cause: str, **more: Any) -> dict[str, Any]:
    return {"rater": rater, "kind": "attribution", "subject_id": "A1", "event_id": event_id, "attributable_to": cause, **more}


def graded(rater: str, grade: int, subject: object = "A1", **more: Any) -> dict[str, Any]:
    about = {"subject_id": subject, "infusion": 1, "toxicity": "crs", "scale": "crs_astct2019"}
    return {"rater": rater, "kind": "grade", **about, "grade": grade, **more}


def rows(*statements: dict[str, Any]) -> pl.DataFrame:
    types = {c: pl.String if c == "subject_id" else t for c, t in STATEMENTS.items() if c not in ("n", "previous", "hash")}
    return pl.DataFrame([{c: s.get(c) for c in types} for s in statements], schema=types)


def log(*statements: dict[str, Any]) -> pl.DataFrame:
    """Statements as the log would hold them, without its hashes."""
    frame = rows(*statements).with_columns(n=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    return frame.with_columns(col("said_at").fill_null(pl.lit(NOON) + pl.duration(minutes=col("n"))))


def event(timeline: Path, subject: str, code: str) -> int:
    found = open_timeline(timeline).scan().filter((col("subject_id") == subject) & (col("code") == code)).collect()
    return int(found["event_id"][0])


# ---- the log


def test_the_log_grows_and_holds(tmp_path: Path) -> None:
    assert read_statements(tmp_path).schema == pl.Schema(STATEMENTS)
    append(tmp_path, rows(said("Ann", 4, "other", comment="sepsis"), said("Bob", 4, "iec")))
    before = read_statements(tmp_path)
    new = append(tmp_path, rows(said(" Ann  Reader ", 5, "unknown", said_at=NOON)))
    whole = read_statements(tmp_path)
    assert whole.height == 3 and whole.head(2).equals(before)
    assert new.row(0, named=True)["n"] == 3 and new["rater"].item() == "Ann Reader" and new["said_at"].item() == NOON
    assert whole["previous"].to_list() == ["0" * 64, *whole["hash"].to_list()[:2]]
    assert datetime.now(UTC) - before["said_at"][0] < timedelta(minutes=1)
    assert verify(tmp_path).is_empty() and verify(tmp_path, whole["hash"][1][:12]).is_empty()


def test_a_hash_is_the_same_everywhere(tmp_path: Path) -> None:
    """The canonical form may never change: old logs would read as tampered."""
    new = append(tmp_path, rows(said("Änn", 4, "other", said_at=NOON, comment="ö")))
    content = (
        '{"attributable_to":"other","comment":"\\u00f6","event_id":4,"grade":null,"infusion":null,"kind":"attribution","n":1,'
        f'"previous":"{"0" * 64}","rater":"\\u00c4nn","said_at":"2024-06-01T12:00:00.000000Z","scale":null,"subject_id":"A1","toxicity":null}}'
    )
    assert new["hash"].item() == hashlib.sha256(content.encode()).hexdigest()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (said("", 4, "other"), "rater"),
        (said("Ann", 4, "sepsis"), "attributable_to"),
        (said("Ann", 4, "other") | {"event_id": None}, "event_id"),
        (said("Ann", 4, "other") | {"kind": "guess"}, "kind"),
        (graded("Ann", 6), "grade"),
        (graded("Ann", 2) | {"scale": None}, "toxicity"),
        (graded("Ann", 2) | {"kind": "unlock"}, "comment"),
        (graded("Ann", 2) | {"subject_id": None}, "subject_id"),
    ],
)
def test_what_is_no_statement_is_refused(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        append(tmp_path, rows(row))
    assert not (tmp_path / FILE).exists()


def tampered(frame: pl.DataFrame, how: str) -> pl.DataFrame:
    first, second, third = frame.head(1), frame.slice(1, 1), frame.tail(1)
    return {
        "a value changed": pl.concat([first, second.with_columns(attributable_to=pl.lit("other")), third]),
        "a time changed": pl.concat([first.with_columns(col("said_at") + pl.duration(seconds=1)), second, third]),
        "the first taken out": pl.concat([second, third]),
        "one in the middle taken out": pl.concat([first, third]),
        "the last taken out": pl.concat([first, second]),
        "another order": pl.concat([first, third, second]),
        "a row twice": pl.concat([first, second, third, third]),
    }[how]


@pytest.mark.parametrize("keep_head", [True, False])
@pytest.mark.parametrize(
    "how",
    [
        "a value changed",
        "a time changed",
        "the first taken out",
        "one in the middle taken out",
        "the last taken out",
        "another order",
        "a row twice",
    ],
)
def test_a_changed_log_is_found_and_nothing_is_added(tmp_path: Path, how: str, keep_head: bool) -> None:
    append(tmp_path, rows(said("Ann", 4, "other"), said("Bob", 4, "iec"), said("Cy", 4, "iec")))
    path = tmp_path / FILE
    bad, head = tampered(read_statements(tmp_path), how), pl.read_parquet_metadata(path)["head"]
    bad.write_parquet(path, metadata={"head": head} if keep_head else None)
    assert verify(tmp_path).height >= 1
    before = path.read_bytes()
    with pytest.raises(InputError, match="changed by other means"):
        append(tmp_path, rows(said("Ann", 4, "other")))
    assert path.read_bytes() == before


def test_a_log_that_was_rewritten_as_a_whole_lacks_the_noted_hash(tmp_path: Path) -> None:
    noted = append(tmp_path, rows(said("Ann", 4, "other")))["hash"].item()
    (tmp_path / FILE).unlink()
    assert verify(tmp_path).is_empty() and verify(tmp_path, noted).height == 1
    append(tmp_path, rows(said("Ann", 4, "iec")))
    assert verify(tmp_path).is_empty() and verify(tmp_path, noted).height == 1


def test_a_damaged_log_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="damaged"):
        read_statements(tmp_path)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / FILE)
    with pytest.raises(InputError, match="no log"):
        read_statements(tmp_path)


def test_ids_of_another_kind_are_refused(tmp_path: Path) -> None:
    append(tmp_path, rows(said("Ann", 4, "other")))
    with pytest.raises(InputError, match="words"):
        append(tmp_path, pl.DataFrame([said("Ann", 4, "other") | {"subject_id": 7}]))


def test_a_writer_killed_before_the_rename_leaves_the_old_log(tmp_path: Path) -> None:
    append(tmp_path, rows(said("Ann", 4, "other")))
    before = (tmp_path / FILE).read_bytes()
    code = f"""
import os, signal
import polars as pl
from aftercar.timeline import log, statements
log._sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
statements.append({str(tmp_path)!r}, pl.DataFrame([{said("Bob", 4, "iec")!r}]))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (tmp_path / FILE).read_bytes() == before
    assert list(tmp_path.glob(f".{FILE}.*.part"))  # it is not in the way, and the next writer clears it
    append(tmp_path, rows(said("Bob", 4, "iec")))
    assert verify(tmp_path).is_empty() and read_statements(tmp_path).height == 2
    assert not list(tmp_path.glob(f".{FILE}.*.part"))


def test_a_full_disk_leaves_the_old_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(tmp_path, rows(said("Ann", 4, "other")))
    before = (tmp_path / FILE).read_bytes()

    def full(self: pl.DataFrame, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="No space"):
        append(tmp_path, rows(said("Bob", 4, "iec")))
    assert (tmp_path / FILE).read_bytes() == before
    assert not list(tmp_path.glob(f".{FILE}.*.part"))


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    code = """
import sys
import polars as pl
from aftercar.timeline.statements import append
for n in range(20):
    append(sys.argv[1], pl.DataFrame([{"rater": sys.argv[2], "kind": "comment", "subject_id": "A1", "comment": str(n)}]))
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("Ann", "Bob")]
    assert [w.wait() for w in writers] == [0, 0]
    whole = read_statements(tmp_path)
    assert verify(tmp_path).is_empty()
    for name in ("Ann", "Bob"):
        assert whole.filter(col("rater") == name)["comment"].to_list() == [str(n) for n in range(20)]


# ---- attribution


def test_the_latest_of_each_rater_counts_and_differing_raters_make_unknown() -> None:
    hour = timedelta(hours=1)
    statements = log(
        said("Ann", 1, "other"), said("Ann", 1, "iec"),
        said("Ann", 2, "other"), said("Bob", 2, "iec"),
        said("Ann", 3, "other"), said("Bob", 3, "iec"), said("BOB", 3, "other"),
        said("Ann", 4, "iec", said_at=NOON), said("Ann", 4, "other", said_at=NOON - hour),
        graded("Ann", 2),
    )  # fmt: skip
    found = resolved(statements)
    assert dict(found.select("event_id", "attributable_to").iter_rows()) == {1: "iec", 2: "unknown", 3: "other", 4: "iec"}
    assert found["by"].to_list() == [["Ann"], ["Ann", "Bob"], ["Ann", "BOB"], ["Ann"]]
    assert found.columns == ["subject_id", "event_id", "attributable_to", "by", "at"]


def test_attributions_override_the_timeline_and_nothing_else() -> None:
    timeline = pl.DataFrame({"subject_id": ["A1", "A1", "B2"], "event_id": [1, 2, 1], "attributable_to": ["iec", None, None]})
    statements = log(said("Ann", 1, "other"), said("Ann", 9, "other"))
    new = attributed(timeline, statements)
    assert new["attributable_to"].to_list() == ["other", None, None]
    assert new.drop("attributable_to").equals(timeline.drop("attributable_to")) and new.columns == timeline.columns
    assert attributed(timeline.lazy(), statements).collect().equals(new)
    assert attributed(timeline, log(graded("Ann", 2))) is timeline


def test_grading_follows_the_attribution(tmp_path: Path, timeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def crs() -> int:
        grade_folder(timeline, tmp_path / "out", ["crs"])
        worst = pl.read_parquet(tmp_path / "out" / "worst.parquet").filter(col("subject_id") == "A1")
        return int(worst["grade"].item())

    assert crs() == 3
    sign = event(timeline, "A1", "norepinephrine")
    words = ("attribute", timeline, "--subject", "A1", "--event", sign)
    assert run(*words, "--to", "other", "--by", "Ann", capsys=capsys)[0] == 0
    assert crs() == 1
    assert run(*words, "--to", "iec", "--by", "Bob", capsys=capsys)[0] == 0  # they differ: unknown, which counts with a warning
    assert crs() == 3
    worst = pl.read_parquet(tmp_path / "out" / "worst.parquet").filter(col("subject_id") == "A1")
    assert "attribution_unknown" in worst["flags"].item()


def test_rows_of_a_dataset_of_others_are_named_by_file_and_place(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows_ = {"subject_id": [1, 1], "time": [datetime(2024, 5, 1), datetime(2024, 5, 2)], "code": ["cart_infusion", "temperature"]}
    pl.DataFrame(rows_).write_parquet(tmp_path / "data" / "0.parquet")
    pl.DataFrame(rows_ | {"subject_id": [2, 2]}).write_parquet(tmp_path / "data" / "1.parquet")
    store = open_timeline(tmp_path)
    row = {"subject_id": "2", "event_id": str((1 << 32) + 1), "attributable_to": "Other", "rater": "Ann"}
    good, bad = attributions(store.scan(), as_given(pl.DataFrame([row, row | {"subject_id": "1"}]), ("said_at", "comment")))
    assert bad.rows() == [(2, "event_id", bad["reason"].item())]
    append(tmp_path, good)
    assert open_timeline(tmp_path).scan().collect()["attributable_to"].to_list() == [None, None, None, "other"]


def test_an_event_id_that_several_rows_share_is_refused() -> None:
    timeline = pl.LazyFrame({"subject_id": [1, 1], "event_id": [7, 7], "attributable_to": [None, None]})
    row = {"subject_id": "1", "event_id": "7", "attributable_to": "other", "rater": "Ann"}
    good, bad = attributions(timeline, as_given(pl.DataFrame([row]), ("said_at", "comment")))
    assert good.is_empty() and "several rows" in bad["reason"].item()


def test_bad_rows_of_a_file_are_listed_and_the_good_ones_go_on(
    tmp_path: Path, timeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign, later = event(timeline, "A1", "norepinephrine"), f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"
    lines = [
        "subject_id, event_id, attributable_to, rater, said_at, comment",
        f"A1,{sign},other,Ann,2024-06-01 08:00+02:00,\"sepsis, cultures\"",
        f"ZZ-secret,{sign},other,Ann,,",
        "A1,987654,other,Ann,,",
        f"A1,{sign},virus,Ann,,",
        f"A1,{sign},other,  ,,",
        f"A1,{sign},other,Ann,yesterday,",
        f"A1,{sign},other,Ann,{later},",
        f"B2,{sign},other,Ann,,",
    ]  # fmt: skip
    (tmp_path / "said.csv").write_text("\n".join(lines) + "\n")
    code, out, _ = run("attribute", timeline, "--file", tmp_path / "said.csv", capsys=capsys)
    assert code == 0 and "1 recorded; 7 rows left out" in out
    places = [line.split(":")[0] for line in out.splitlines() if line.startswith("row ")]
    assert places == [
        "row 2, subject_id", "row 3, event_id", "row 4, attributable_to", "row 5, rater", "row 6, said_at", "row 7, said_at", "row 8, event_id",
    ]  # fmt: skip
    assert not any(value in out for value in ("ZZ-secret", "987654", "virus", "yesterday"))
    (kept,) = read_statements(timeline).iter_rows(named=True)
    assert (kept["said_at"], kept["comment"]) == (datetime(2024, 6, 1, 6, tzinfo=UTC), "sepsis, cultures")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("subject_id,event_id\nA1,1\n", "lacks attributable_to, rater"),
        ("subject_id,event_id,attributable_to,rater,coment\nA1,1,other,Ann,x\n", "Did you mean comment"),
        ("subject_id,event_id,attributable_to,rater\nA1,1,other,Ann,Secret\n", "Quote words"),
        ("subject_id,event_id,attributable_to,rater\nA1,987654,other,Ann\n", "No row could be used"),
        (None, "no such file"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    tmp_path: Path, timeline: Path, capsys: pytest.CaptureFixture[str], text: str | None, says: str
) -> None:
    if text:
        (tmp_path / "said.csv").write_text(text)
    code, out, err = run("attribute", timeline, "--file", tmp_path / "said.csv", capsys=capsys)
    assert code == 2 and says in err
    assert "Secret" not in out + err and "987654" not in out + err
    assert not (timeline / FILE).exists()


# ---- kappa


def kappa(*cells: tuple[int, int, int]) -> dict[str, Any]:
    cross = pl.DataFrame(cells, schema=["grade_a", "grade_b", "n"], orient="row").with_columns(which=pl.lit("x"))
    return adj.kappas(cross, ["which"]).row(0, named=True)


def test_kappa_by_hand() -> None:
    # 50 grants, two readers, yes or no: 35 of 50 agree; chance gives 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    found = kappa((1, 1, 20), (1, 0, 5), (0, 1, 10), (0, 0, 15))
    assert (found["n"], found["agreed"], found["raw"]) == (50, 35, 0.7)
    assert found["kappa"] == pytest.approx(0.4) == found["kappa_linear"] == found["kappa_quadratic"]


def test_weighted_kappa_by_hand() -> None:
    # Margins 4, 3, 3 and 3, 4, 3. Seen: 4 unequal, distances 1 + 2 + 1 + 1 = 5, squared 1 + 4 + 1 + 1 = 7.
    # Chance times 10: 67 unequal of 100; distances 16 + 24 + 9 + 9 + 18 + 12 = 88; squared 16 + 48 + 9 + 9 + 36 + 12 = 130.
    found = kappa((0, 0, 2), (0, 1, 1), (0, 2, 1), (1, 0, 1), (1, 1, 2), (2, 2, 2), (2, 1, 1))
    assert (found["n"], found["agreed"]) == (10, 6)
    assert found["kappa"] == pytest.approx(1 - 40 / 67)
    assert found["kappa_linear"] == pytest.approx(1 - 50 / 88)
    assert found["kappa_quadratic"] == pytest.approx(1 - 70 / 130)


def test_kappa_is_null_with_a_reason_where_chance_explains_all() -> None:
    found = kappa((2, 2, 9))
    assert (found["kappa"], found["kappa_linear"], found["raw"]) == (None, None, 1.0)
    assert found["reason"] == adj.ALIKE
    assert kappa((2, 2, 9), (1, 1, 1))["reason"] is None


CELLS = st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 5)), st.integers(1, 50), min_size=1)


@given(CELLS)
def test_kappa_is_symmetric_and_never_above_one(cells: dict[tuple[int, int], int]) -> None:
    there = kappa(*((a, b, n) for (a, b), n in cells.items()))
    back = kappa(*((b, a, n) for (a, b), n in cells.items()))
    for name in ("kappa", "kappa_linear", "kappa_quadratic"):
        assert (there[name] is None) == (back[name] is None)
        if there[name] is not None:
            assert there[name] == pytest.approx(back[name]) and there[name] <= 1
            assert (there[name] == 1) == (there["agreed"] == there["n"])


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.lists(st.integers(1, 9), min_size=2, max_size=6))
def test_kappa_of_independent_readers_is_zero(a: list[int], b: list[int]) -> None:
    found = kappa(*((i, j, x * y) for i, x in enumerate(a) for j, y in enumerate(b)))
    assert [found[k] for k in ("kappa", "kappa_linear", "kappa_quadratic")] == pytest.approx([0, 0, 0], abs=1e-9)


# ---- grades, locks and history


def lock(log_: pl.DataFrame, *raters: str, subject: str = "A1") -> list[dict[str, Any]]:
    about = {"subject_id": subject, "infusion": 1, "toxicity": "crs", "scale": "crs_astct2019"}
    return adj.lock_said(log_, about, raters).to_dicts()


WORST = pl.DataFrame(
    {"subject_id": ["A1", "B2", "C3"], "infusion": [1, 1, 1], "toxicity": ["crs"] * 3, "scale": ["crs_astct2019"] * 3,
     "grade": [3, 1, 0], "grade_upper": [3, 2, 0], "status": ["graded", "incomplete", "not_applicable"]},
    schema_overrides={"infusion": pl.Int32, "grade": pl.Int8, "grade_upper": pl.Int8},
)  # fmt: skip


def test_a_grade_is_adjudicated_from_the_lock_on() -> None:
    none = adj.adjudicated(WORST, pl.DataFrame(schema=STATEMENTS))
    assert none.columns == [*WORST.columns, "adjudicated_grade", "adjudicated_by", "adjudicated_at"]
    assert none.drop(WORST.columns).null_count().row(0) == (3, 3, 3)
    assert none.schema["adjudicated_grade"] == pl.Int8 and none.schema["adjudicated_by"] == pl.List(pl.String)
    both = [graded("Ann", 2), graded("Bob", 2)]
    assert adj.adjudicated(WORST, log(*both))["adjudicated_grade"].to_list() == [None] * 3
    locked = [*both, *lock(log(*both), "Ann", "bob")]
    found = adj.adjudicated(WORST, log(*locked))
    assert found["adjudicated_grade"].to_list() == [2, None, None] and found["adjudicated_by"][0].to_list() == ["Ann", "Bob"]
    assert found.schema == none.schema
    later = [*locked, graded("Ann", 4)]  # after the lock: kept, and changes nothing
    assert adj.adjudicated(WORST, log(*later))["adjudicated_grade"].to_list() == [2, None, None]
    opened = [*later, graded("Ann", 0) | {"kind": "unlock", "grade": None, "comment": "new records"}]
    assert adj.adjudicated(WORST, log(*opened))["adjudicated_grade"].to_list() == [None] * 3
    again = [*opened, graded("Bob", 4)]
    again += lock(log(*again), "Ann", "Bob")
    assert adj.adjudicated(WORST, log(*again))["adjudicated_grade"].to_list() == [4, None, None]
    marks = adj.history(log(*again))
    assert marks.filter("after_lock")["n"].to_list() == [5] and marks.height == len(again)


def test_a_lock_of_one_scale_or_infusion_is_none_of_another() -> None:
    both = [graded("Ann", 2, scale="crs_penn2018"), graded("Bob", 2, scale="crs_penn2018")]
    locked = [*both, *(s | {"kind": "lock"} for s in both)]
    assert adj.adjudicated(WORST, log(*locked))["adjudicated_grade"].null_count() == 3
    penn = adj.adjudicated(WORST.with_columns(scale=pl.lit("crs_penn2018")), log(*locked))
    assert penn["adjudicated_grade"].to_list() == [2, None, None]
    other = [s | {"scale": "crs_astct2019", "infusion": 2} for s in locked]
    assert adj.adjudicated(WORST, log(*other))["adjudicated_grade"].null_count() == 3


def test_numbers_as_ids_are_matched() -> None:
    both = [graded("Ann", 2, "7"), graded("Bob", 2, "7")]
    statements = log(*both, *lock(log(*both), "Ann", "Bob", subject="7")).with_columns(col("subject_id").cast(pl.Int64))
    worst = WORST.with_columns(subject_id=pl.Series([7, 8, 9]))
    assert adj.adjudicated(worst, statements)["adjudicated_grade"].to_list() == [2, None, None]


@pytest.mark.parametrize(
    ("before", "raters", "says"),
    [
        ([("Ann", 2), ("Bob", 2)], ["Ann"], "two different readers"),
        ([("Ann", 2), ("ANN", 2)], ["Ann", " ANN "], "two different readers"),
        ([("Ann", 2)], ["Ann", "Bob"], "Bob has not graded"),
        ([("Ann", 2), ("Bob", 2), ("Bob", 3)], ["Ann", "Bob"], "latest grades differ"),
    ],
)
def test_a_lock_needs_two_readers_who_agree(before: list[tuple[str, int]], raters: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        lock(log(*(graded(r, g) for r, g in before)), *raters)
    assert not any(digit in str(error.value) for digit in "0123456789")


def test_an_attribution_after_the_lock_is_marked() -> None:
    both = [graded("Ann", 2), graded("Bob", 2)]
    statements = log(
        said("Ann", 1, "other"), *both, *lock(log(*both), "Ann", "Bob"), said("Ann", 1, "iec"), graded("Ann", 1, "B2")
    )
    assert adj.history(statements)["after_lock"].to_list() == [False, False, False, False, False, True, False]


def test_agreement_of_readers_and_with_the_software() -> None:
    first = [graded("Ann", 3), graded("Bob", 2), graded("Ann", 1, "B2"), graded("Bob", 1, "B2"), graded("Ann", 0, "C3")]
    talked = [*first, graded("Bob", 3)]
    statements = log(*talked, *lock(log(*talked), "Ann", "Bob"))
    found = adj.agreement(statements, WORST)
    pairs = {(r["a"], r["b"], r["reading"]): r for r in found.pairs.iter_rows(named=True)}
    assert (pairs["Ann", "Bob", "first"]["n"], pairs["Ann", "Bob", "first"]["agreed"]) == (2, 1)
    assert pairs["Ann", "Bob", "latest"]["kappa"] == 1.0
    # B2 is open in the software and C3 is not graded at all: neither is agreement.
    against = pairs["Ann", "(software)", "latest"]
    assert (against["n"], against["open"], against["kappa"], against["reason"]) == (1, 1, None, adj.ALIKE)
    assert pairs["(locked)", "(software)", "latest"]["agreed"] == 1
    assert found.cross.filter((col("a") == "Ann") & (col("b") == "Bob") & (col("reading") == "first"))["n"].sum() == 2
    only_open = adj.agreement(log(graded("Ann", 1, "B2")), WORST).pairs.row(0, named=True)
    assert (only_open["n"], only_open["open"], only_open["reason"]) == (0, 1, adj.NOBODY)
    assert adj.agreement(pl.DataFrame(schema=STATEMENTS)).pairs.is_empty()


def test_the_command_line_from_grade_to_history(results: Path, timeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(command: str, *words: object) -> tuple[int, str, str]:
        return run("adjudicate", command, results, *words, capsys=capsys)

    about = ("--subject", "A1", "--toxicity", "crs")
    for reader in ("Ann", "Bob"):
        assert call("grade", *about, "--grade", 3, "--by", reader)[0] == 0
    assert (
        call("lock", *about, "--by", "Ann", "--by", "Bob")[1]
        == "Locked at grade 3 by Ann and Bob. Results that were made before do not have it: grade again.\n"
    )
    assert "locked already" in call("lock", *about, "--by", "Ann", "--by", "Bob")[2]
    assert call("grade", *about, "--grade", 2, "--by", "Ann")[0] == 0
    assert call("comment", "--subject", "A1", "--by", "Cy", "--comment", "see notes")[0] == 0
    lines = [line for line in call("history", "--subject", "A1")[1].splitlines() if line.startswith(" ")]
    assert "(after lock)" in lines[4] and "(after lock)" not in lines[3] and "see notes" in lines[6]
    assert "Ann and Bob" in call("agreement")[1]
    assert "6 statements, none changed" in run("adjudicate", "verify", timeline, capsys=capsys)[1]
    assert "needs a comment" in call("unlock", *about, "--by", "Ann", "--comment", " ")[2]
    assert call("unlock", *about, "--by", "Ann", "--comment", "again")[0] == 0
    assert "not locked" in call("unlock", *about, "--by", "Ann", "--comment", "again")[2]
    assert "latest grades differ" in call("lock", *about, "--by", "Ann", "--by", "Bob")[2]
    frame = pl.read_parquet(timeline / FILE).with_columns(rater=pl.lit("Zed"))
    frame.write_parquet(timeline / FILE)
    code, out, _ = call("verify")
    assert code == 1 and "statement 1: changed after it was written" in out


def test_what_was_said_after_grading_is_told_wherever_the_results_are_used(
    results: Path, timeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two readers lock, a sign is attributed: every use of the older results says that it is not in them."""
    plan = tmp_path / "plan.toml"
    plan.write_text(
        "patients = 9\n[stopping]\nmethod = 'bayes'\nany_of = [{scale='crs',grade=3,by_day=30}]\nlimit=0.2\ncertainty=0.9\n"
    )
    uses: list[tuple[object, ...]] = [
        ("cohort", "describe", results), ("cohort", "safety", results, "--plan", plan), ("report", results, "--out", tmp_path / "r.html"),
        ("explain", results, "--subject", "A1"), ("export", results, "--to", "fhir", "--out", tmp_path / "fhir"),
        ("regrade", results, "--from", "crs_astct2019", "--to", "crs_penn2018"),
    ]  # fmt: skip
    since = "More was said of the records since these results were graded"
    for rater in ("ann", "bob"):
        append(timeline, rows(graded(rater, 3)))
    for use in uses:  # what one reader thinks is in no result
        code, out, err = run(*use, capsys=capsys)
        assert code == 0 and since not in out, (use, err)
    code, out, _ = run(
        "adjudicate", "lock", results, "--subject", "A1", "--toxicity", "crs", "--by", "ann", "--by", "bob", capsys=capsys
    )
    assert code == 0 and "grade again" in out
    for use in uses:
        code, out, err = run(*use, capsys=capsys)
        assert code == 0 and f"{since} (locks), and is not in them." in " ".join(out.split()), (use, out, err)
    page = (tmp_path / "r.html").read_text()
    assert page.count(since) == 2 and "No grade was adjudicated. More was said" in page
    event = read_event(timeline)
    code, out, _ = run("attribute", timeline, "--subject", "A1", "--event", event, "--to", "other", "--by", "ann", capsys=capsys)
    assert code == 0 and "grade again" in out
    assert "(attributions and locks)" in open_results(results).said_since  # type: ignore[operator]
    grade_folder(timeline, results, ["crs", "icans"])
    assert open_results(results).said_since is None and open_results(results).run["timeline_note"] is None
    (timeline / FILE).unlink()
    assert "are not those" in open_results(results).said_since  # type: ignore[operator]
    timeline.rename(tmp_path / "elsewhere")
    assert open_results(results).said_since is None


def read_event(timeline: Path) -> int:
    return open_timeline(timeline).scan().filter(subject_id="A1", code="norepinephrine").collect()["event_id"][0]


def test_grades_from_a_file(tmp_path: Path, results: Path, timeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "subject_id,infusion,toxicity,scale,grade,rater,said_at",
        "A1,,crs,,3,Ann,2024-06-01",
        "B2,1,CRS,crs_astct2019,1,Ann,",
        "A1,1,icans,,0,Ann,",
        "A9,1,crs,,1,Ann,",
        "A1,2,crs,,1,Ann,",
        "A1,1,crss,,1,Ann,",
        "A1,1,crs,crs_mskcc,1,Ann,",
        "A1,1,crs,,5.5,Ann,",
        "A1,1,crs,,9,Ann,",
    ]
    (tmp_path / "grades.csv").write_text("\n".join(lines) + "\n")
    code, out, _ = run("adjudicate", "grade", results, "--file", tmp_path / "grades.csv", capsys=capsys)
    assert code == 0 and "3 recorded; 6 rows left out" in out
    places = [line.split(":")[0] for line in out.splitlines() if line.startswith("row ")]
    assert places == ["row 4, subject_id", "row 5, infusion", "row 6, toxicity", "row 7, scale", "row 8, grade", "row 9, grade"]
    assert "those that were: crs, icans" in out
    kept = read_statements(timeline)
    assert kept["scale"].to_list() == ["crs_astct2019", "crs_astct2019", "icans_astct"] and kept["grade"].to_list() == [3, 1, 0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["grade", "{out}", "--subject", "S3cret", "--toxicity", "crs", "--grade", "2", "--by", "Ann"], "no such subject"),
        (["grade", "{out}", "--subject", "A1", "--toxicity", "cramps", "--grade", "2", "--by", "Ann"], "was not graded"),
        (["grade", "{out}", "--subject", "A1"], "Name the grade"),
        (["lock", "{out}", "--subject", "S3cret", "--toxicity", "crs", "--by", "A", "--by", "B"], "no such subject"),
        (["comment", "{out}", "--subject", "S3cret", "--by", "A", "--comment", "x"], "No such subject"),
        (["lock", "{timeline}", "--subject", "A1", "--toxicity", "crs", "--by", "A", "--by", "B"], "needs a results folder"),
        (["history", "{timeline}/nowhere"], "no results there"),
    ],
)
def test_errors_say_what_to_do_and_tell_no_value(
    results: Path, timeline: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    code, out, err = run("adjudicate", *(w.format(out=results, timeline=timeline) for w in words), capsys=capsys)
    assert code == 2 and says in err
    assert "S3cret" not in out + err and "Traceback" not in err
