"""Two gradings side by side: the shift table, agreement, incidence, times, and what is not settled."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from polars import col

from aftercar.errors import InputError, OptionError
from aftercar.grade import regrade as two
from aftercar.grade.folder import grade_folder
from aftercar.grade.run import grade_timeline
from aftercar.grade.scale import STATUS
from aftercar.timeline.readers import read
from aftercar.timeline.store import open_timeline, write_timeline

DAY0 = datetime(2024, 5, 1)
ROWS = [
    "subject_id,time,code,value,unit",
    *(
        f"{who},2024-05-{line}"
        for who in ("A1", "B2")
        for line in (
            "01T08:00,cart_infusion,axi-cel,",
            "02T08:00,temperature,39.4,Cel",
            "02T08:00,sbp,121,mmHg",
            "02T08:00,o2_device,room air,",
        )
    ),
    "A1,2024-05-02T20:00,vasopressin,2,U/h",
]


def worst(*rows: tuple[int, int, int | None, str]) -> pl.DataFrame:
    """Rows of `worst` from (subject, grade, grade_upper, status); grade_upper is the grade where it is None."""
    content = [(s, 1, g, g if u is None else u, status) for s, g, u, status in rows]
    schema = {"subject_id": pl.Int64, "infusion": pl.Int32, "grade": pl.Int8, "grade_upper": pl.Int8, "status": STATUS}
    return pl.DataFrame(content, schema=schema, orient="row")


def episodes(*rows: tuple[int, float, float | None]) -> pl.DataFrame:
    """Episodes from (subject, day of onset, days until the end that was seen)."""
    content = [
        (s, 1, DAY0 + timedelta(days=day), int(day), long if long is not None else 30.0, long is None) for s, day, long in rows
    ]
    schema = {
        "subject_id": pl.Int64, "infusion": pl.Int32, "onset": pl.Datetime("us"), "onset_day": pl.Int32, "duration_d": pl.Float64, "censored": pl.Boolean,
    }  # fmt: skip
    return pl.DataFrame(content, schema=schema, orient="row")


def plain(*grades: int) -> pl.DataFrame:
    return worst(*((n, g, None, "graded" if g else "not_met") for n, g in enumerate(grades)))


def cells(frame: pl.DataFrame) -> dict[tuple[str, str], list[int]]:
    return {(a, b): ids.to_list() for a, b, ids in zip(frame["from"], frame["to"], frame["subjects"], strict=True)}


def test_the_shift_table_names_who_is_behind_each_cell() -> None:
    found = two.compare(plain(0, 1, 1, 2, 3), plain(0, 1, 2, 2, 2), episodes(), episodes())
    assert cells(found.shift) == {("0", "0"): [0], ("1", "1"): [1], ("1", "2"): [2], ("2", "2"): [3], ("3", "2"): [4]}
    assert found.shift["n"].to_list() == [1] * 5
    row = found.agreement.row(0, named=True)
    # Chance: 1 * 1 + 2 * 1 + 1 * 3 = 6 of 25 agree.
    assert (row["n"], row["agreed"], row["kappa"]) == (5, 3, pytest.approx((3 / 5 - 6 / 25) / (1 - 6 / 25)))
    assert found.ungraded.is_empty()


def test_open_and_inapplicable_courses_are_apart_and_never_agreement() -> None:
    a = worst(
        (1, 2, 4, "incomplete"),
        (2, 2, None, "graded"),
        (3, 0, None, "not_applicable"),
        (4, 1, None, "graded"),
        (5, 1, 2, "incomplete"),
    )
    b = worst((1, 2, None, "graded"), (2, 2, None, "graded"), (3, 2, None, "graded"), (5, 1, 2, "incomplete"))
    found = two.compare(a, b, episodes(), episodes())
    assert cells(found.shift) == {("2", "2"): [2], ("open", "2"): [1], ("open", "open"): [5]}
    assert cells(found.ungraded) == {
        ("open", "2"): [1], ("not applicable", "2"): [3], ("1", "not graded"): [4], ("open", "open"): [5],
    }  # fmt: skip
    row = found.agreement.row(0, named=True)
    assert (row["n"], row["agreed"], row["kappa"]) == (1, 1, None) and row["reason"]
    # An open grade of 2 to 4 is decided at 2 or more, and not at 3.
    by_cut = {r["grade_at_least"]: r for r in found.incidence.iter_rows(named=True)}
    assert [(r["n"], r["undecided"], r["reached_from"], r["reached_to"]) for r in by_cut.values()] == [
        (3, 0, 3, 3), (2, 1, 2, 2), (2, 1, 0, 0),
    ]  # fmt: skip


def test_a_diagnosis_that_is_settled_has_a_cell() -> None:
    found = two.compare(worst((1, 1, None, "criteria_met")), worst((1, 0, None, "suspected")), episodes(), episodes())
    assert cells(found.shift) == {("1", "0"): [1]}


def test_nobody_settled_gives_no_kappa_and_no_shares() -> None:
    found = two.compare(worst((1, 0, 4, "incomplete")), worst((1, 0, 4, "incomplete")), episodes(), episodes())
    row = found.agreement.row(0, named=True)
    assert (row["n"], row["kappa"], row["raw"]) == (0, None, None) and "settled" in row["reason"]
    assert found.incidence["share_from"].null_count() == 3 and found.incidence["difference"].null_count() == 3
    empty = two.compare(plain(), plain(), episodes(), episodes())
    assert empty.shift.is_empty() and empty.agreement["n"].item() == 0


def test_incidence_and_its_interval() -> None:
    found = two.compare(plain(*[0] * 9, 3), plain(*[0] * 8, 1, 2), episodes(), episodes())
    rows = {r["grade_at_least"]: r for r in found.incidence.iter_rows(named=True)}
    assert (rows[1]["reached_from"], rows[1]["reached_to"], rows[1]["n"]) == (1, 2, 10)
    assert rows[1]["difference"] == pytest.approx(0.1) and rows[3]["difference"] == pytest.approx(-0.1)
    # Wilson 1927: 1 of 10 is 1.8 to 40.4 %.
    assert (rows[1]["low_from"], rows[1]["high_from"]) == (pytest.approx(0.0179, abs=1e-4), pytest.approx(0.4042, abs=1e-4))


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_holds_the_share_and_mirrors(k: int, n: int) -> None:
    k = min(k, n)
    low, high = two.wilson(k, n)
    assert low is not None and high is not None
    assert 0 <= low <= k / n <= high <= 1
    assert two.wilson(n - k, n) == (pytest.approx(1 - high), pytest.approx(1 - low))


def test_times_are_of_first_episodes_and_pairs() -> None:
    a = episodes((1, 1, 4), (1, 9, 1), (2, 3, 2), (3, 5, None), (9, 1, 1))
    b = episodes((1, 2, 5), (2, 5, 5), (4, 2, 1))
    found = two.compare(plain(0, 1, 1, 1, 1), plain(0, 1, 1, 1, 1), a, b).times  # subject 9 is on neither scale
    onset, duration = found.iter_rows(named=True)
    assert (onset["n_from"], onset["median_from"], onset["q1_from"], onset["q3_from"]) == (3, 3.0, 2.0, 4.0)
    assert (onset["n_to"], onset["median_to"]) == (3, 2.0)
    assert (onset["n_difference"], onset["median_difference"]) == (2, 1.5)
    assert (duration["n_from"], duration["median_from"], duration["censored_from"], duration["censored_to"]) == (2, 3.0, 1, 0)
    assert (duration["n_difference"], duration["median_difference"]) == (2, 2.0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30))
def test_every_course_is_in_one_cell_and_the_other_way_is_the_mirror(pairs: list[tuple[int, int]]) -> None:
    a, b = plain(*(x for x, _ in pairs)), plain(*(y for _, y in pairs))
    there, back = (two.compare(*sides, episodes(), episodes()) for sides in ((a, b), (b, a)))
    assert there.shift["n"].sum() == len(pairs)
    assert {(y, x): ids for (x, y), ids in cells(there.shift).items()} == cells(back.shift)
    assert there.agreement["kappa"].item() == (k if (k := back.agreement["kappa"].item()) is None else pytest.approx(k))
    assert there.incidence["difference"].to_list() == [
        d if d is None else pytest.approx(-d) for d in back.incidence["difference"]
    ]


# ---- which scales


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("penn2018", "astct2019", ("crs_penn2018", "crs")),
        ("crs_astct2019", "LEE2014", ("crs", "crs_lee2014")),
        ("crs", "mskcc", ("crs", "crs_mskcc")),
        ("icans_astct_peds", "cres-cartox", ("icans", "cres_cartox")),
        ("cartox", "icans", ("cres_cartox", "icans")),
        ("cartox", "crs", ("crs_cartox", "crs")),
    ],
)
def test_scales_may_be_named_loosely(a: str, b: str, says: tuple[str, str]) -> None:
    assert two.compared(a, b) == says


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("crs_astct2019", "icans_astct", "different toxicities.*crs: crs_astct2019, crs_lee2014"),
        ("crs", "astct2019", "the same scale"),
        ("pen2018", "astct2019", "No scale is called"),
        ("zzz", "astct2019", "No scale is called 'zzz'. These can be compared"),
    ],
)
def test_what_cannot_be_compared_says_what_can(a: str, b: str, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        two.compared(a, b)


# ---- folders


@pytest.fixture
def timeline(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("\n".join(ROWS) + "\n")
    return write_timeline(read(tmp_path / "rows.csv"), tmp_path / "timeline", shard_rows=1)


def test_the_tables_of_the_results_serve_where_both_scales_are_there(tmp_path: Path, timeline: Path) -> None:
    both, one = tmp_path / "both", tmp_path / "one"
    grade_folder(timeline, both, ["crs_penn2018", "crs_astct2019"], {"vasopressin_alone": 2})
    grade_folder(timeline, one, ["crs"], {"vasopressin_alone": 2})
    there, again = (two.regrade(folder, "penn2018", "astct2019") for folder in (both, one))
    assert (there.facts["graded_again"], again.facts["graded_again"]) == (False, True)
    for name in ("shift", "agreement", "incidence", "times", "ungraded", "subjects"):
        assert getattr(there, name).equals(getattr(again, name)), name
    assert again.facts["options"]["vasopressin_alone"] == 2  # the run's own options
    assert again.subjects.filter(col("subject_id") == "A1")["grade_to"].item() == 2
    assert again.facts["rules"] == ["crs_astct2019@1", "crs_penn2018@1"]


def test_a_timeline_that_was_moved_is_named(tmp_path: Path, timeline: Path) -> None:
    grade_folder(timeline, tmp_path / "out", ["crs"])
    moved = timeline.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="no timeline there"):
        two.regrade(tmp_path / "out", "penn2018", "astct2019")
    assert two.regrade(tmp_path / "out", "penn2018", "astct2019", timeline=moved).shift.height


def test_one_scale_under_two_sets_of_options(timeline: Path) -> None:
    frame = open_timeline(timeline).scan()
    a, b = (grade_timeline(frame, ["crs"], {"vasopressin_alone": n}) for n in (3, 2))
    found = two.compare(a.worst, b.worst, a.episodes, b.episodes)
    assert {pair: ids for pair, ids in cells(found.shift).items() if pair[0] != pair[1]} == {("3", "2"): ["A1"]}


def test_the_command_prints_and_writes(tmp_path: Path, timeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grade_folder(timeline, tmp_path / "res", ["crs"])
    words: list[Any] = ["regrade", tmp_path / "res", "--from", "penn2018", "--to", "astct2019", "--out", tmp_path / "shift"]
    code, out, _ = run(*words, capsys=capsys)
    assert code == 0
    for text in (
        "crs_penn2018 down, crs_astct2019 across",
        "agreement:",
        "onset after day 0",
        "not adjudicated",
        "crs_penn2018@1",
    ):
        assert text in out
    assert "A1" not in out
    code, out, _ = run(*words, "--subjects", capsys=capsys)
    assert code == 0 and "A1" in out
    folder = tmp_path / "shift"
    assert sorted(p.name for p in folder.iterdir()) == ["regrading.json", "shift.csv", "subjects.csv"]
    assert pl.read_csv(folder / "shift.csv")["n"].sum() == 2
    assert pl.read_csv(folder / "subjects.csv")["subject_id"].to_list() == ["A1", "B2"]
    summary = json.loads((folder / "regrading.json").read_text())
    assert summary["from"] == "crs_penn2018" and summary["incidence"][0]["grade_at_least"] == 1
    code, _, err = run("regrade", tmp_path / "res", "--from", "penn2018", "--to", "icans", capsys=capsys)
    assert code == 2 and "can be compared" in err
