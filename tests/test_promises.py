"""Cases that broke an earlier version: each keeps a promise of the design."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars import col

from aftercar.errors import InputError
from aftercar.grade.explain import explain
from aftercar.grade.folder import grade_folder
from aftercar.grade.run import Result, grade_timeline

DAY0 = datetime(2024, 1, 1)


def hours(*rows: tuple[object, ...], subject: int = 1, day0: datetime = DAY0) -> pl.DataFrame:
    """Rows `(hour, code, value[, end hour])`, with an infusion at hour 0, complete drugs and an age of 50."""
    told = [(0, "cart_infusion", None), (0, "age", 50.0), (-1, "record_complete", "drugs", 24 * 400), *rows]
    made = []
    for hour, code, value, *end in told:
        made.append(
            {
                "subject_id": subject,
                "time": hour if isinstance(hour, datetime) else day0 + timedelta(hours=float(hour)),  # type: ignore[arg-type]
                "code": code,
                "numeric_value": value if isinstance(value, float) else None,
                "text_value": value if isinstance(value, str) else None,
                "end_time": None if not end else end[0] if isinstance(end[0], datetime) else day0 + timedelta(hours=float(end[0])),
            }
        )  # fmt: skip
    schema = {"numeric_value": pl.Float64, "text_value": pl.String, "end_time": pl.Datetime("us"), "time": pl.Datetime("us")}
    return pl.DataFrame(made, schema_overrides=schema)


def crs(result: Result, subject: int = 1) -> tuple[int, int]:
    row = result.worst.filter((col("toxicity") == "crs") & (col("subject_id") == subject)).row(0, named=True)
    return row["grade"], row["grade_upper"]


FEVER = ((30, "temperature", 39.0), (30, "sbp", 120.0), (30, "o2_device", "room_air"))


@pytest.mark.parametrize("word", ["unknown", "no word of ours", None])
def test_a_word_that_is_not_known_ends_what_stood_before(word: str | None) -> None:
    later = crs(
        grade_timeline(
            hours(*FEVER[:2], (30, "o2_device", "room_air"), (31, "o2_device", word), (41, "temperature", 39.0)), ["crs"]
        )
    )
    assert later == (1, 4)
    streams = [(-1, "record_complete", s, 24 * 400) for s in ("seizure", "motor", "icp", "symptoms")]
    normal = [
        (30, "ice", 10.0),
        (30, "consciousness", "alert"),
        (30, "motor", "none"),
        (30, "icp_sign", "none"),
        (30, "seizure", "none"),
    ]
    normal += [(30, "cartox", 10.0), *((30, code, "none") for code in ("confusion", "dysphasia", "tremor"))]
    for code in ("consciousness", "motor", "icp_sign", "seizure", "confusion"):
        scales = ["neuro_ctcae"] if code == "confusion" else ["icans_astct", "cres_cartox"]
        scores = [(31, "ice", 10.0), (31, "cartox", 10.0)]
        for scale in scales:
            rows = grade_timeline(hours(*streams, *normal, *scores, (31, code, word)), [scale]).grades
            at_31 = rows.filter(col("start") == DAY0 + timedelta(hours=31)).row(0, named=True)
            assert (at_31["grade"], at_31["grade_upper"]) == (0, 4), (code, scale)


@pytest.mark.parametrize(("code", "value", "scale"), [("cartox", 5.0, "cres_cartox"), ("tremor", "mild", "neuro_ctcae")])
def test_a_scale_warns_of_the_attribution_of_what_it_reads_only(code: str, value: object, scale: str) -> None:
    rows = hours((30, "consciousness", "alert"), (30, code, value))
    rows = rows.with_columns(attributable_to=pl.when(col("code") == code).then(pl.lit("unknown")))
    warned = grade_timeline(rows, ["cres_cartox", "neuro_ctcae"]).grades.filter(col("flags").list.contains("attribution_unknown"))
    assert warned["scale"].unique().to_list() == [scale]


def test_an_end_in_the_year_9999_stays_with_its_patient() -> None:
    cohort = [hours(*FEVER, subject=n) for n in range(2, 31)]
    first = hours(*FEVER, (30, "norepinephrine", 5.0, datetime(9999, 12, 31)), (40, "temperature", 39.0))
    together = grade_timeline(pl.concat([first, *cohort]), ["crs"])
    assert {crs(together, n) for n in range(2, 31)} == {(1, 1)}
    assert crs(together)[0] == 3


def test_a_row_in_another_century_stays_with_its_patient() -> None:
    odd = hours(*FEVER, (datetime(2568, 6, 1), "temperature", 39.9))
    result = grade_timeline(pl.concat([odd, *(hours(subject=n) for n in range(2, 9))]), ["crs"])
    assert crs(result) == (1, 1)
    assert {crs(result, n)[0] for n in range(2, 9)} == {0}


def test_an_unchanged_last_stretch_has_its_length() -> None:
    readings = [(24 + 6 * n, "temperature", 38.5) for n in range(17)]
    spell = grade_timeline(hours(*readings), ["crs"]).episodes.row(0, named=True)
    assert (spell["duration_d"], spell["censored"], spell["resolution"]) == (4.0, True, None)
    ice = [(12 * n, "ice", 5.0 if 6 <= n <= 8 else 10.0) for n in range(40)]
    spell = grade_timeline(hours(*ice), ["icans"]).episodes.row(0, named=True)
    assert (spell["duration_d"], spell["censored"]) == (1.5, False)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_unknown(value: float) -> None:
    assert crs(grade_timeline(hours((30, "temperature", value), *FEVER[1:]), ["crs"])) == (0, 1)
    counts = [(24 * n, "anc", value) for n in range(31)]
    row = grade_timeline(hours(*counts), ["icaht_early"]).worst.row(0, named=True)
    assert (row["grade"], row["grade_upper"], row["status"]) == (0, 4, "incomplete")


def test_many_short_infusions_cost_no_square() -> None:
    rows = [(n / 2, "norepinephrine" if n % 2 else "epinephrine", 5.0, n / 2 + 0.4) for n in range(20_000)]
    assert crs(grade_timeline(hours(*FEVER, *rows), ["crs"]))[0] == 3


def test_times_with_a_zone_keep_their_wall_clock(tmp_path: Path) -> None:
    plain = hours(*FEVER, (23.5, "temperature", 38.5))
    zoned = plain.with_columns(col("time", "end_time").dt.replace_time_zone("America/New_York"))
    assert grade_timeline(zoned).grades.equals(grade_timeline(plain).grades)
    (tmp_path / "t" / "data").mkdir(parents=True)
    zoned.with_columns(event_id=pl.int_range(pl.len())).write_parquet(tmp_path / "t" / "data" / "0.parquet")
    grade_folder(tmp_path / "t", tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out" / "grades.parquet")["start"].dtype == pl.Datetime("us")


def test_a_dataset_of_others_can_be_explained_and_a_divided_subject_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "t" / "data"
    data.mkdir(parents=True)
    hours(*FEVER).write_parquet(data / "0.parquet")
    hours(*FEVER, subject=2).write_parquet(data / "1.parquet")
    grade_folder(tmp_path / "t", tmp_path / "out")
    for subject in (1, 2):
        why = explain(tmp_path / "out", subject, "crs")
        assert set(why.evidence["subject_id"]) == {subject} and "temperature" in why.evidence["code"].to_list()
    hours(*FEVER).write_parquet(data / "1.parquet")
    with pytest.raises(InputError, match="several files"):
        grade_folder(tmp_path / "t", tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_toxicity_between_split_doses_is_kept() -> None:
    rows = hours(*FEVER, (30, "o2_device", "ventilator"), (48, "cart_infusion", None), (60, "temperature", 37.0))
    for day0 in ("first_infusion", "last_infusion"):
        result = grade_timeline(rows, ["crs"], {"day0": day0})
        assert crs(result)[0] == 4
        assert result.episodes["onset_day"].to_list() == [1 if day0 == "first_infusion" else -1]


def test_age_is_that_of_the_day_of_assessment() -> None:
    rows = hours((120, "ice", 5.0), (120, "capd", 0.0), (120, "consciousness", "alert")).filter(col("code") != "age")
    born = DAY0.replace(year=2012) + timedelta(days=2)  # 12 on day 2
    birth = rows.head(1).with_columns(time=pl.lit(born, pl.Datetime("us")), code=pl.lit("birth"))
    worst = grade_timeline(pl.concat([rows, birth]), ["icans"]).worst.row(0, named=True)
    assert (worst["scale"], worst["grade"]) == ("icans_astct", 2)
    # A child on its second birthday: the cut is 74, not 72.
    rows = hours(FEVER[0], (30, "sbp", 73.0), FEVER[2]).filter(col("code") != "age")
    birth = rows.head(1).with_columns(time=pl.lit(DAY0.replace(year=2022), pl.Datetime("us")), code=pl.lit("birth"))
    assert crs(grade_timeline(pl.concat([rows, birth]), ["crs"])) == (2, 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.with_columns(subject_id=pl.lit(1.2)), "subject_id is Float64"),
        (lambda f: f.with_columns(subject_id=pl.lit(None, pl.Int64)), "name no subject"),
        (lambda f: f.with_columns(time=pl.lit(5)), "time is Int"),
        (lambda f: f.drop("time"), "lacks time"),
    ],
)
def test_a_frame_that_is_no_timeline_is_refused(change, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says):
        grade_timeline(change(hours(*FEVER)))


@pytest.mark.parametrize(
    ("sign", "code"),
    [
        ((2, "sbp", 80.0), "sbp"),
        ((2, "o2_device", "nasal_cannula"), "o2_device"),
        ((2, "norepinephrine", 0.1, 9), "norepinephrine"),
    ],
)
def test_the_drug_and_the_sign_behind_a_crs_that_may_be_masked_are_shown(sign: tuple[object, ...], code: str) -> None:
    timeline = hours((1, "acetaminophen", 1000.0), (1.5, "temperature", 36.8), sign, (2, "temperature", 36.9)).with_row_index(
        "event_id"
    )
    rows = grade_timeline(timeline, ["crs"]).grades.filter(col("flags").list.contains("possible_masked_crs"))
    behind = set(rows["evidence"].explode())
    assert rows["grade"].unique().to_list() == [0]
    assert set(timeline.filter(col("event_id").is_in(behind))["code"]) == {"acetaminophen", "temperature", code}


def test_a_drug_and_normal_temperatures_alone_raise_no_flag() -> None:
    timeline = hours((1, "acetaminophen", 1000.0), (1.5, "temperature", 36.8), (2, "temperature", 36.9))
    assert not grade_timeline(timeline, ["crs"]).grades["flags"].list.contains("possible_masked_crs").any()


def test_sedation_does_not_part_an_episode() -> None:
    rows = [(12 * n, "ice", 5.0) for n in (4, 5, 12, 13)] + [(12 * n, "ice", 10.0) for n in (1, 2, 3, 14, 15, 16, 17)]
    sedated = [(12 * n, "sedated", 1.0) for n in range(6, 12)] + [(144, "sedated", 0.0)]
    assert grade_timeline(hours(*rows), ["icans"]).episodes.height == 2
    assert grade_timeline(hours(*rows, *sedated), ["icans"]).episodes["duration_d"].to_list() == [5.0]
