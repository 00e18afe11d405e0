"""Advice from records: the dose ledger on both sides of its limits, doses by weight, times, profiles, the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import run
from polars import col

from aftercar.conformance.run import suite
from aftercar.manage import asked, spoken
from aftercar.manage.advise import ADVICE, Advice, advise_folder, advise_timeline
from aftercar.manage.diff import difference, difference_folder, difference_timeline
from aftercar.manage.doses import amount, band_for, dose
from aftercar.manage.rules import rulebook
from aftercar.timeline.readers.cases import cases_timeline, read_cases
from aftercar.timeline.state import origin

ZERO = datetime(2024, 1, 1)
Row = tuple[float, str, object]  # hour, code, number or word


def timeline(*rows: Row, subject: str = "A", weight: float | None = 70.0, unit: str | None = "mg") -> pl.DataFrame:
    every: list[Row] = [(0, "cart_infusion", "axi-cel"), (0, "age", 50), *rows]
    if weight is not None:
        every.append((0, "weight", weight))
    return pl.DataFrame(
        {
            "subject_id": [subject] * len(every),
            "time": [ZERO + timedelta(hours=h) for h, _, _ in every],
            "code": [c for _, c, _ in every],
            "numeric_value": [float(v) if isinstance(v, (int, float)) else None for _, _, v in every],
            "text_value": [v if isinstance(v, str) else None for _, _, v in every],
            "unit": [unit if c in ("tocilizumab", "dexamethasone", "methylprednisolone") else None for _, c, _ in every],
            "event_id": range(len(every)),
        }
    )


def doses(*hours: float, drug: str = "tocilizumab", mg: float = 560) -> list[Row]:
    return [(h, drug, mg) for h in hours]


def reached(rows: Sequence[Row], at: float) -> list[str]:
    return advise_timeline(timeline(*rows), at).limits["reached"].item().to_list()


# ---- the ledger


@pytest.mark.parametrize(("at", "says"), [(37.9, ["interval"]), (38.0, []), (38.1, [])])
def test_eight_hours_between_doses_and_exactly_eight_is_allowed(at: float, says: list[str]) -> None:
    assert reached(doses(30), at) == says


@pytest.mark.parametrize(
    ("hours", "at", "says"),
    [((30, 38), 46, []), ((30, 38, 46), 53.9, ["interval", "in_24h"]), ((30, 38, 46), 54, []), ((30, 39, 47), 53.9, ["interval", "in_24h"]),
     ((30, 38.5, 47), 55.1, []), ((31, 39, 46), 54.5, ["in_24h"]), ((31, 39, 46), 55, [])],
)  # fmt: skip
def test_three_doses_in_24_hours(hours: tuple[float, ...], at: float, says: list[str]) -> None:
    assert reached(doses(*hours), at) == says


def test_a_fourth_dose_in_all_is_allowed_and_a_fifth_is_not() -> None:
    assert reached(doses(30, 50, 80), 110) == []
    assert reached(doses(30, 50, 80, 110), 140) == ["total"]


def test_identical_rows_are_one_dose_and_a_rate_of_zero_is_none() -> None:
    assert reached([*doses(30, 30, 50, 50, 80)], 110) == []
    assert advise_timeline(timeline(*doses(30, 30), (50, "tocilizumab", 0)), 60).limits["n"].item() == 1


def test_doses_count_anew_once_crs_and_icans_were_surely_absent() -> None:
    def charted(until: int) -> list[Row]:
        calm: list[Row] = [(h, c, v) for h in range(0, until, 4) for c, v in (
            ("temperature", 36.8), ("hypotension", 0), ("o2_device", "room_air"), ("ice", 10), ("consciousness", "alert"),
            ("seizure", "none"), ("motor", "none"), ("icp_sign", "none"))]  # fmt: skip
        return calm

    frame = timeline(*charted(120), *doses(2, 10, 26, 34)).with_columns(end_time=pl.lit(None, pl.Datetime("us")))
    whole = frame.head(1).with_columns(
        code=pl.lit("record_complete"), text_value=pl.lit("drugs"), end_time=ZERO + timedelta(hours=500)
    )
    told = pl.concat([frame, whole.with_columns(event_id=pl.lit(9999, frame.schema["event_id"]))])
    # No CRS at all: from hour 48 on the count begins with the doses since the infusion, which are all of them.
    assert advise_timeline(told, 60).limits["n"].item() == 4
    fever = told.with_columns(
        numeric_value=pl.when((col("code") == "temperature") & (col("time") <= ZERO + timedelta(hours=32)))
        .then(39.0)
        .otherwise("numeric_value")
    )
    # The last fever stands until hour 36; after 48 h without CRS the four doses were of another episode.
    assert advise_timeline(fever, 83.9).limits["n"].item() == 4
    assert advise_timeline(fever, 84).limits["n"].item() == 0
    # Where it is not known whether CRS went on, they count.
    silent = fever.filter((col("code") != "temperature") | (col("time") <= ZERO + timedelta(hours=32)))
    assert advise_timeline(silent, 119).limits["n"].item() == 4


def test_steroids_as_dexamethasone() -> None:
    rows = [
        *doses(30, drug="dexamethasone", mg=10),
        *doses(30, drug="methylprednisolone", mg=1000),
        *doses(80, drug="dexamethasone", mg=20),
    ]
    table = advise_timeline(timeline(*rows), 60).ledger
    assert dict(table.select("drug", "dexamethasone_mg").iter_rows()) == {"dexamethasone": 10.0, "methylprednisolone": 187.5}


def test_a_dose_that_cannot_be_read_is_a_dose() -> None:
    table = advise_timeline(timeline(*doses(30, 40), unit="vial"), 60).ledger
    assert table.select("n", "unread", "mg", "mg_24h").row(0) == (2, 2, None, None)  # not known, and not 0
    table = advise_timeline(timeline((30, "tocilizumab", None), *doses(32, mg=8)), 80).ledger
    assert table.select("n", "unread", "mg", "mg_24h").row(0) == (2, 1, 8.0, 0.0)


# ---- doses


@pytest.mark.parametrize(
    ("kg", "mg"), [(25, 300), (29.9, 359), (30, 240), (70, 560), (99.9, 799), (100, 800), (100.1, 800), (120, 800), (8, 96)]
)
def test_tocilizumab_by_weight(kg: float, mg: float) -> None:
    assert advise_timeline(timeline(weight=kg), 0).limits["dose_mg"].item() == mg


def test_without_a_weight_no_dose_is_computed() -> None:
    told = advise_timeline(timeline(weight=None), 0).limits.row(0, named=True)
    assert told["dose_mg"] is None and told["dose"].startswith(
        "no dose: no weight is charted (12 mg/kg below 30 kg, at most 800, 8 mg/kg"
    )


def test_every_drug_table_row_gives_a_number_or_says_why_not() -> None:
    for drug in rulebook().drugs.values():
        for kg in (None, 3.0, 29.9, 30.0, 200.0):
            words, mg = dose(drug, kg)
            band = band_for(drug.dose, kg)
            if band is None or (found := amount(band, kg)) is None:
                assert mg is None
            else:
                assert f"{found[0]:g} {found[1]}" in words
                assert band.maximum is None or found[0] <= band.maximum


# ---- times and shards


@pytest.fixture(scope="module")
def cases() -> pl.DataFrame:
    chosen = [
        c
        for path in suite()
        for c in read_cases(path)
        if path.stem in ("vignettes", "crs_astct2019", "icans_astct", "iechs") and not c.problem
    ]
    return cases_timeline(chosen)[0]


def test_hour_by_hour_says_what_each_hour_alone_says(cases: pl.DataFrame) -> None:
    few = cases.filter(col("subject_id").is_in(sorted(cases["subject_id"].unique())[::9]))
    every = advise_timeline(few, every_h=1.0).advice
    ends = few.group_by("subject_id").agg(col("time").max().alias("last"))
    for hour in (0.0, 1.0, 36.0, 41.0, 72.0):
        one = advise_timeline(few, hour).advice.join(ends, on="subject_id")
        one = one.filter(col("time") <= col("last"))
        key = ["subject_id", "rule", "status", "reasons", "missing"]
        held = every.join(one.select("subject_id", at="time").unique(), on="subject_id").filter(
            col("at").is_between("time", "until")
        )
        assert held.select(key).sort(key).equals(one.select(key).sort(key)), hour


def test_asking_at_turns_is_asking_at_every_time(cases: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = advise_timeline(cases, every_h=0.5).advice

    def every(last: pl.DataFrame, _: pl.Series, step: int) -> pl.DataFrame:
        times = pl.int_ranges(origin(col("at")), col("at") + 1, step)
        return last.with_columns(times.alias("at")).explode("at").with_columns(until="at")

    monkeypatch.setattr(asked, "turning_times", every)
    assert quick.equals(advise_timeline(cases, every_h=0.5).advice)


def test_order_and_sharding_do_not_matter(cases: pl.DataFrame) -> None:
    whole = advise_timeline(cases).advice
    assert whole.equals(advise_timeline(cases.sample(fraction=1, shuffle=True, seed=1)).advice)
    few = cases.filter(col("subject_id").is_in(sorted(cases["subject_id"].unique())[:6]))
    parts = [advise_timeline(part).advice for part in few.partition_by("subject_id")]
    assert pl.concat(parts).sort("subject_id", maintain_order=True).equals(advise_timeline(few).advice)


def test_chunks_do_not_matter(cases: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = advise_timeline(cases, every_h=2.0).advice
    monkeypatch.setattr(spoken, "_CHUNK", 500)
    assert whole.equals(advise_timeline(cases, every_h=2.0).advice)


def test_what_is_charted_later_changes_nothing(cases: pl.DataFrame) -> None:
    subject = "V09"
    own = cases.filter(col("subject_id") == subject)
    start = own.filter(col("code") == "cart_infusion")["time"].item()
    at = start + timedelta(hours=44)
    # The rows of a case know when their states end; what begins later is cut off.
    now = advise_timeline(own, at).advice
    assert now.height and now.equals(advise_timeline(own.filter((col("time") <= at) | (col("code") == "weight")), at).advice)


def test_nobody_is_advised_before_the_infusion_or_after_death() -> None:
    died = timeline((50, "death", "crs"))
    assert advise_timeline(died, 50.0).asked == {"courses": 1, "advised": 0, "not_advised": 1}
    assert advise_timeline(died, 49.9).advice.height > 0
    assert advise_timeline(died, ZERO - timedelta(hours=1)).advice.is_empty()
    none = advise_timeline(timeline().filter(col("code") != "cart_infusion"))
    assert none.advice.is_empty() and none.asked["not_advised"] == 1
    assert dict(none.advice.drop("subject_id").schema) == {k: v for k, v in ADVICE.items() if k != "subject_id"}


def test_the_block_list_is_always_there_and_last(cases: pl.DataFrame) -> None:
    advice = advise_timeline(cases).advice
    blocks = [r.id for r in rulebook().rules if r.topic == "block"]
    for (_, _), rows in advice.group_by("subject_id", "infusion", maintain_order=True):
        assert rows["rule"].to_list()[-len(blocks) :] == blocks


# Seizures and vasopressors are left out: where their record is said to be complete, a row that is gone says that there was none.
@pytest.mark.parametrize(
    "hidden",
    [
        ("temperature",),
        ("hypotension", "sbp", "map"),
        ("o2_device", "o2_flow", "fio2"),
        ("ice", "consciousness"),
        ("anc", "ferritin"),
    ],
)
def test_what_is_not_charted_adds_no_sure_option(hidden: tuple[str, ...], cases: pl.DataFrame) -> None:
    own = col("code").is_in(hidden)
    # Another row in its place: the record goes on as long as it did.
    less = cases.with_columns(code=pl.when(own).then(pl.lit("heart_rate")).otherwise("code"))
    key = ["subject_id", "infusion", "rule"]
    both = advise_timeline(less).advice.join(advise_timeline(cases).advice, on=key, how="left", suffix="_full")
    surely = col("status").is_in(["option", "not_blocked"])
    assert both.filter(surely & col("status").ne_missing(col("status_full"))).is_empty()
    assert both.filter((col("status") == "measure_first") & (col("status_full") == "option")).height


def test_every_measure_first_says_what_to_measure(cases: pl.DataFrame) -> None:
    advice = advise_timeline(cases).advice
    open_ = col("status").cast(pl.String).is_in(["measure_first", "perhaps_blocked"])
    assert (advice.filter(open_)["missing"].list.len() > 0).all() and advice.filter(open_).height > 100
    assert (advice.filter(~open_)["missing"].list.len() == 0).all()
    assert (advice.filter(col("status") == "option")["reasons"].list.len() > 0).all()


def test_what_was_charted_last_stands_as_long_as_it_is_valid() -> None:
    frame = timeline((30, "temperature", 39.0))

    def workup(at: float) -> str:
        return dict(advise_timeline(frame, at).advice.select("rule", "status").iter_rows())["crs-workup"]

    assert workup(30) == workup(41.9) == "option"  # a temperature stands for 12 h
    assert workup(66.1) == workup(500) == "measure_first"


# ---- two profiles


def test_profiles_differ_where_their_tables_do() -> None:
    rows: list[Row] = [(h, "temperature", 39.0) for h in range(30, 60, 6)]
    rows += [(h, c, v) for h in range(30, 60, 6) for c, v in (("hypotension", 0), ("o2_device", "room_air"))]
    frame = timeline(*rows).with_columns(end_time=pl.lit(None, pl.Datetime("us")))
    whole = frame.head(1).with_columns(
        code=pl.lit("record_complete"), text_value=pl.lit("drugs"), end_time=ZERO + timedelta(hours=500)
    )
    told = pl.concat([frame, whole.with_columns(event_id=pl.lit(9999, frame.schema["event_id"]))])
    table = difference_timeline(told, "asco2021", "label_early_steroid", 56.0)
    said = {(r["topic"], r["action"]): (r["first_status"], r["second_status"]) for r in table.iter_rows(named=True)}
    assert said[("crs", "tocilizumab")] in [("measure_first", "option"), (None, "option")]
    assert said[("crs", "dexamethasone")] == (None, "option")
    assert difference_timeline(told, "asco2021", "asco2021", 56.0).is_empty()
    mirrored = difference_timeline(told, "label_early_steroid", "asco2021", 56.0)
    assert mirrored.height == table.height


def test_difference_is_of_two_advices(cases: pl.DataFrame) -> None:
    one = advise_timeline(cases)
    assert isinstance(one, Advice) and difference(one, one).is_empty()


# ---- the command line


@pytest.fixture
def folder(cases: pl.DataFrame, tmp_path: Path) -> Path:
    target = tmp_path / "timeline"
    (target / "data").mkdir(parents=True)
    subjects = sorted(cases["subject_id"].unique())
    cases.filter(col("subject_id").is_in(subjects[:200])).write_parquet(target / "data" / "0.parquet")
    cases.filter(~col("subject_id").is_in(subjects[:200])).write_parquet(target / "data" / "1.parquet")
    return target


def test_a_folder_is_advised_as_a_frame(folder: Path, cases: pl.DataFrame) -> None:
    assert advise_folder(folder).advice.sort("subject_id", maintain_order=True).equals(advise_timeline(cases).advice)
    assert difference_folder(folder, "asco2021", "ebmt2022").height


def test_the_screen_of_a_subject(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("advise", folder, "--subject", "V51", "--at", "h:150", capsys=capsys)
    assert code == 0
    for words in (
        "Dexamethasone may be considered",
        "Tocilizumab is not for ICANS without CRS",
        "Options, never orders",
        "Block list",
        "local protocol",
    ):
        assert words in out
    stands, free = out.split("Dose ledger")[0].split("On the block list, and not in the way now")
    assert "Tocilizumab is not for ICANS without CRS" in stands  # it fires
    assert "does not hold: Tocilizumab: four doses are given" in free and "does not hold" not in stands
    code, out, _ = run("advise", folder, "--subject", "V50", "--at", "h:50", capsys=capsys)
    assert "640 mg (8 mg/kg x 80 kg)" in out and "three doses within 24 h are given" in out and "Measure first" in out


def test_the_cohort_and_its_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_file = tmp_path / "advice.csv"
    code, out, _ = run("advise", folder, "--out", out_file, capsys=capsys)
    assert code == 0 and "Options, never orders" in out and "crs-2-tocilizumab" in out
    assert pl.read_csv(out_file, infer_schema=False).height == advise_folder(folder).advice.height
    code, out, _ = run("advise", folder, "--diff", "asco2021", "ebmt2022", capsys=capsys)
    assert code == 0 and "methylprednisolone" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--at", "noon"], "--at takes a time"), (["--at", "2024-01-01T00:00+01:00"], "without a zone"), (["--profile", "asko2021"], "Did you mean asco2021"),
        (["--subject", "nobody"], "not in the timeline"), (["--at", "h:1", "--every", "1"], "either --at or --every"), (["--every", "0"], "above 0"),
        (["--diff", "asco2021", "nobody"], "no profile"), (["--profile", "local"], "--rules"), (["--option", "no_such=1"], "no_such"),
        (["--diff", "asco2021", "ebmt2022", "--every", "1"], "leave --profile and --every out"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence(words: list[str], says: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("advise", folder, *words, capsys=capsys)
    assert code == 2 and says in err and "Traceback" not in err


def test_rules_are_listed_printed_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("rules", capsys=capsys)
    assert code == 0 and "label_early_steroid" in out
    code, out, _ = run("rules", "--topic", "iechs", capsys=capsys)
    assert code == 0 and "when IEC-HS suspected" in out and "hines2023" in out
    assert run("rules", "--topic", "crss", capsys=capsys)[0] == 2
    assert run("rules", "--lint", capsys=capsys)[:2] == (0, "No problem found.\n")
    (tmp_path / "mine.toml").write_text('topic = "crs"\n')
    code, out, _ = run("rules", "--check", tmp_path, capsys=capsys)
    assert code == 1 and "mine.toml" in out


def test_no_value_of_a_patient_is_in_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken: Any = folder / "data" / "0.parquet"
    broken.write_bytes(b"39.4 of A1")
    code, _, err = run("advise", folder, capsys=capsys)
    assert code == 2 and "39.4" not in err
