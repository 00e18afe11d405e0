"""Facts of the course of a grade, days and weight as they were at the asked time, and choices where sources disagree."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from polars import col

from aftercar.conformance.run import suite
from aftercar.errors import InputError
from aftercar.manage.advise import Advice, advise_timeline
from aftercar.manage.changes import changes
from aftercar.manage.questions import questions
from aftercar.manage.rules import check, rulebook
from aftercar.timeline.readers.cases import cases_timeline, read_cases
from aftercar.timeline.state import HOUR

ZERO = datetime(2024, 1, 1, 14)
Row = tuple[float, str, object]  # hour, code, number or word


def timeline(*rows: Row, product: str = "axi-cel", complete: bool = True) -> pl.DataFrame:
    every: list[Row] = [(0, "cart_infusion", product), (0, "age", 50), *rows]
    frame = pl.DataFrame(
        {
            "subject_id": ["A"] * len(every),
            "time": [ZERO + timedelta(hours=h) for h, _, _ in every],
            "code": [c for _, c, _ in every],
            "numeric_value": [float(v) if isinstance(v, (int, float)) else None for _, _, v in every],
            "text_value": [v if isinstance(v, str) else None for _, _, v in every],
            "unit": ["mg" if c in ("tocilizumab", "dexamethasone") else None for _, c, _ in every],
            "event_id": range(len(every)),
        }
    ).with_columns(end_time=pl.lit(None, pl.Datetime("us")))
    whole = frame.head(1).with_columns(
        code=pl.lit("record_complete"), text_value=pl.lit("drugs"), end_time=ZERO + timedelta(hours=900)
    )
    return pl.concat([frame, whole.with_columns(event_id=pl.lit(9999, frame.schema["event_id"]))]) if complete else frame


def crs(grades: dict[int, int]) -> list[Row]:
    """Hourly findings that make these grades of CRS, each from its hour to the next one's; the last hour ends the record."""
    hours = sorted(grades)
    rows: list[Row] = []
    for begin, end in zip(hours, [*hours[1:], hours[-1] + 1], strict=True):
        for h in range(begin, end):
            device = {3: "high_flow_nasal_cannula"}.get(grades[begin], "room_air")
            rows += [
                (h, "temperature", 39.0 if grades[begin] else 36.8),
                (h, "hypotension", int(grades[begin] == 2)),
                (h, "o2_device", device),
                (h, "o2_flow", 40.0 if grades[begin] == 3 else 0.0),
            ]
    return rows


def facts(advice: Advice, *names: str) -> list[tuple[float, float]]:
    (row,) = advice.facts.to_dicts()
    return [(row[f"{n}:lo"], row[f"{n}:hi"]) for n in names]


# ---- rise and fall of a grade

STRETCHES = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 4), st.integers(0, 4), st.booleans()), max_size=12)


@given(STRETCHES)
def test_rise_and_fall_are_what_looking_at_every_hour_gives(stretches: list[tuple[int, int, int, bool]]) -> None:
    rows, at = [], 0
    for hours, a, b, there in stretches:
        if there:
            rows.append((at, at + hours, min(a, b), max(a, b)))
        at += hours
    frame = pl.DataFrame(rows, schema={"at": pl.Int64, "until": pl.Int64, "lo": pl.Int8, "hi": pl.Int8}, orient="row")
    found = changes(frame.with_columns(col("at") * HOUR, col("until") * HOUR, settled="hi"))
    told = {h: r for r in found.iter_rows(named=True) for h in range(r["at"] // HOUR, r["until"] // HOUR)}
    assert found["at"].is_sorted()
    held = {h: (lo, hi) for a, b, lo, hi in rows for h in range(a, b)}
    assert told.keys() == held.keys()
    for h, (lo, hi) in held.items():
        window = [held[k] for k in range(h - 24, h + 1) if k in held]
        assert told[h]["rise_lo"] == max(0, lo - min(b for _, b in window))
        assert told[h]["rise_hi"] == hi - min(a for a, _ in window)
        assert told[h]["fall_lo"] == max(0, max(a for a, _ in window) - hi)
        assert told[h]["fall_hi"] == max(b for _, b in window) - lo


@given(STRETCHES, st.data())
def test_knowing_less_of_a_grade_only_widens_its_rise_and_fall(
    stretches: list[tuple[int, int, int, bool]], data: st.DataObject
) -> None:
    ends = [0]
    for hours, *_ in stretches:
        ends.append(ends[-1] + hours)
    full = pl.DataFrame(
        [(a * HOUR, b * HOUR, s[1], s[1]) for a, b, s in zip(ends, ends[1:], stretches, strict=False)],
        schema={"at": pl.Int64, "until": pl.Int64, "lo": pl.Int8, "hi": pl.Int8},
        orient="row",
    )
    hidden = pl.Series("hidden", data.draw(st.lists(st.booleans(), min_size=full.height, max_size=full.height)), pl.Boolean)
    less = full.with_columns(
        lo=pl.when(hidden).then(0).otherwise("lo").cast(pl.Int8), hi=pl.when(hidden).then(4).otherwise("hi").cast(pl.Int8)
    )
    before, after = (
        {
            h: r
            for r in changes(f.with_columns(settled="hi")).iter_rows(named=True)
            for h in range(r["at"] // HOUR, r["until"] // HOUR)
        }
        for f in (full, less)
    )
    assert before.keys() == after.keys()
    for h, known in before.items():
        for way in ("rise", "fall"):
            assert after[h][f"{way}_lo"] <= known[f"{way}_lo"] == known[f"{way}_hi"] <= after[h][f"{way}_hi"]


def test_a_rise_is_told_for_a_day_and_a_fall_ends_no_fall() -> None:
    frame = timeline(*crs({10: 1, 20: 2, 60: 1, 90: 0}))

    def said(at: float) -> dict[str, str]:
        return dict(advise_timeline(frame, at).advice.select("rule", "status").iter_rows())

    assert facts(advise_timeline(frame, 43.9), "crs", "crs_rise_24h", "crs_fall_24h") == [(2, 2), (1, 1), (0, 0)]
    assert said(43.9)["crs-rise"] == "option" and "crs-2-as-3" not in said(43.9)
    assert "crs-rise" not in said(44)
    assert said(44)["crs-2-as-3"] == "option"  # grade 2 for 24 h
    assert facts(advise_timeline(frame, 61), "crs", "crs_fall_24h") == [(1, 1), (1, 1)]
    assert facts(advise_timeline(frame, 84), "crs", "crs_fall_24h") == [(1, 1), (0, 0)]


def test_no_fall_needs_a_day_of_treatment() -> None:
    grades = crs({10: 1, 80: 0})

    def said(dose: float, at: float) -> str | None:
        told = advise_timeline(timeline(*grades, (dose, "tocilizumab", 560)), at).advice
        return dict(told.select("rule", "status").iter_rows()).get("crs-no-fall")

    assert said(20, 43.9) is None and said(20, 44) == "option"
    assert said(12, 33.9) is None


def test_a_fall_that_is_only_possible_leaves_no_fall_open() -> None:
    rows = [r for r in crs({10: 1, 60: 0}) if not (20 <= r[0] < 30 and r[1] in ("o2_device", "o2_flow"))]
    rows.append((20, "o2_device", "unknown"))  # from then on nobody knows
    told = advise_timeline(timeline(*rows, (12, "tocilizumab", 560)), 40)
    ((lo, hi),) = facts(told, "crs_fall_24h")
    assert lo == 0 < hi
    row = told.advice.filter(col("rule") == "crs-no-fall").to_dicts()[0]
    assert row["status"] == "measure_first" and "fall of the CRS grade within 24 h, from its highest" in row["missing"]


def test_ferritin_that_doubles_within_a_day() -> None:
    frame = timeline((10, "ferritin", 1000), (34, "ferritin", 2000), (50, "ferritin", 2100), (80, "ferritin", 9000))
    at = {h: facts(advise_timeline(frame, h), "ferritin_doubled")[0] for h in (33.0, 34.0, 49.9, 50.0, 80.0)}
    assert at == {33.0: (0, 0), 34.0: (1, 1), 49.9: (1, 1), 50.0: (0, 0), 80.0: (0, 0)}


# ---- onset, days


@pytest.mark.parametrize(("onset", "rule"), [(71, "liso-crs-1-early-dexamethasone"), (72, "liso-crs-1-late")])
def test_the_label_of_liso_cel_looks_at_the_onset(onset: int, rule: str) -> None:
    frame = timeline(*crs({60: 0, onset: 1, 90: 0}), product="liso-cel")
    assert facts(advise_timeline(frame, 80), "crs_onset_h") == [(onset, onset)]
    told = advise_timeline(frame, 80).advice
    assert {r for r in told["rule"] if r.startswith("liso-")} - {"liso-crs-1-early-tocilizumab"} == {rule}
    (mark,) = told.filter(col("rule") == rule)["mark"]
    assert mark == "M"


def test_where_the_onset_is_not_known_both_sides_are_open() -> None:
    frame = timeline((50, "temperature", 36.8), (90, "temperature", 39.0), product="liso-cel")  # a temperature stands for 12 h
    told = advise_timeline(frame, 90).advice
    said = dict(told.select("rule", "status").iter_rows())
    assert said["liso-crs-1-late"] == said["liso-crs-1-early-dexamethasone"] == "measure_first"


@pytest.mark.parametrize(("hour", "day"), [(0, 0), (9.9, 0), (10, 1), (33.9, 1), (34, 2), (57.9, 2), (58, 3)])
def test_days_are_of_the_calendar(hour: float, day: int) -> None:
    assert facts(advise_timeline(timeline(), hour), "day") == [(day, day)]  # the infusion was at 14:00


def test_prophylactic_dexamethasone_is_told_on_its_days_only() -> None:
    frame = timeline((-1, "dexamethasone", 10), (12, "dexamethasone", 10), (35, "dexamethasone", 10))
    every = advise_timeline(pl.concat([frame, frame.tail(1).with_columns(time=ZERO + timedelta(hours=80))]), every_h=0.5).advice
    told = every.filter(col("rule") == "zuma1-cohort-6").select("time", "until")
    hours = [((a - ZERO) / timedelta(hours=1), (b - ZERO) / timedelta(hours=1)) for a, b in told.iter_rows()]
    assert hours == [(10.0, 11.5), (34.0, 34.5)]  # on day 1 and day 2, until the dose of that day is given
    assert "zuma1-cohort-6" not in advise_timeline(timeline(), 20.0).advice["rule"]  # without the dose before the infusion


# ---- weight


def dose(frame: pl.DataFrame, at: float) -> float | None:
    return advise_timeline(frame, at).limits["dose_mg"].item()


def test_the_weight_is_the_last_up_to_the_asked_time() -> None:
    frame = timeline((-240, "weight", 60), (48, "weight", 65), (100, "weight", 90))
    assert [dose(frame, h) for h in (0, 47.9, 48, 99.9, 100)] == [480, 480, 520, 520, 720]
    assert dose(timeline((50, "weight", 60)), 49.9) is None
    told = advise_timeline(timeline((50, "weight", 60), *crs({10: 2, 60: 0})), 40).advice
    (words,) = told.filter(col("rule") == "crs-2-tocilizumab")["dose"]
    assert "no weight is charted" in words


def test_a_weight_of_an_earlier_infusion_serves_a_later_one() -> None:
    frame = timeline((-24, "weight", 60), (24 * 60, "cart_infusion", "axi-cel"))
    assert advise_timeline(frame, datetime(2024, 3, 10)).limits["dose_mg"].to_list() == [480]


def test_a_dose_per_kilogram_counts_by_the_weight_of_its_time() -> None:
    frame = timeline((-24, "weight", 50), (30, "tocilizumab", 8), (40, "weight", 100), (50, "tocilizumab", 8)).with_columns(
        unit=pl.when(col("code") == "tocilizumab").then(pl.lit("mg/kg")).otherwise("unit")
    )
    assert advise_timeline(frame, 60).ledger["mg"].to_list() == [1200.0]


@pytest.mark.parametrize(("kg", "mg"), [(29.9, 359), (30.0, 240), (99.0, 792), (100.0, 800), (101.0, 800)])
def test_tocilizumab_is_rounded_and_capped(kg: float, mg: float) -> None:
    assert dose(timeline((0, "weight", kg)), 0) == mg


# ---- what is charted later


@pytest.mark.parametrize("hour", [20.0, 44.0, 75.0])
def test_cutting_the_record_at_the_asked_time_changes_nothing(hour: float) -> None:
    chosen = [c for p in suite() for c in read_cases(p) if p.stem in ("vignettes", "crs_astct2019", "iechs") and not c.problem]
    frame = cases_timeline(chosen)[0]
    begins = frame.filter(col("code") == "cart_infusion").group_by("subject_id").agg(col("time").min().alias("begins"))
    later = begins.select(
        "subject_id", time=col("begins") + timedelta(hours=hour + 1), code=pl.lit("weight"), numeric_value=pl.lit(93.0)
    )
    frame = pl.concat([frame, later], how="diagonal_relaxed").join(begins, on="subject_id", maintain_order="left")
    whole = advise_timeline(frame.drop("begins"), hour)
    cut = advise_timeline(frame.filter(col("time") <= col("begins") + timedelta(hours=hour)).drop("begins"), hour)
    for name in ("advice", "ledger", "limits", "facts"):
        assert getattr(whole, name).equals(getattr(cut, name)), name
    assert whole.advice.height > 1000


# ---- where sources disagree


def choices(folder: Path, text: str) -> Path:
    (folder / "choices.toml").write_text(text)
    return folder


def test_a_ward_may_follow_the_ema_text(tmp_path: Path) -> None:
    doses: list[Row] = [(h, "tocilizumab", 560) for h in (30, 37, 44)]
    frame = timeline(*doses, (0, "weight", 70))
    assert advise_timeline(frame, 52).limits["reached"].item().to_list() == ["in_24h"]
    own = advise_timeline(frame, 52, rules=choices(tmp_path, 'toci_max = "ema"\n'))
    assert own.limits["reached"].item().to_list() == []
    assert "block-tocilizumab-24h" not in own.advice["rule"]
    fourth = advise_timeline(timeline(*doses, (60, "tocilizumab", 560)), 70, rules=tmp_path)
    assert fourth.limits["reached"].item().to_list() == ["total"]
    (told,) = fourth.advice.filter(col("rule") == "block-tocilizumab-total")["cautions"]
    assert any("3 in 24 h and 4 in all" in c and "EMA product texts [smpc_kymriah, M]" in c for c in told)


@pytest.mark.parametrize(("text", "hours"), [("", 72), ("g1_toci_after_h = 48", 48), ("g1_toci_after_h = 24", 24)])
def test_the_hours_of_grade_1_may_be_chosen(text: str, hours: int, tmp_path: Path) -> None:
    frame = timeline(*crs({0: 0, 10: 1, 110: 0}))
    folder = choices(tmp_path, text) if text else None
    for after, there in ((hours, False), (hours + 0.1, True)):
        told = advise_timeline(frame, 10.0 + after, rules=folder).advice
        assert ("crs-1-tocilizumab-fever-3-days" in told["rule"]) == there


def test_where_nothing_is_chosen_both_sides_stand_and_say_so(tmp_path: Path) -> None:
    both = {r.id: r for r in rulebook("asco2021").rules if r.question == "ivig_adult"}
    assert set(both) == {"ivig-adult", "ivig-adult-igg-alone"}
    assert all(any("sources disagree" in c for c in r.cautions) for r in both.values())
    assert {r.id for r in rulebook("ebmt2022").rules if r.question == "ivig_adult"} == {"ivig-adult"}
    own = rulebook("ebmt2022", choices(tmp_path, 'ivig_adult = "igg_alone"\n'))
    assert {r.id for r in own.rules if r.question == "ivig_adult"} == {"ivig-adult-igg-alone"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("toci_maxx = 'ema'", "toci_maxx: is no question. Did you mean toci_max"), ("toci_max = 'eu'", "'eu' is not one of three_a_day, ema"),
        ("g1_toci_after_h = 36", "36 is not one of 72, 48, 24"), ("g1_toci_after_h = true", "True is not one of"),
        ("g4_steroid = 'x'", "is no matter of choice: by the table of the profile"),
    ],
)  # fmt: skip
def test_a_choice_that_does_not_exist_is_told(text: str, says: str, tmp_path: Path) -> None:
    assert any(says in str(p) for p in check(choices(tmp_path, text)))
    with pytest.raises(InputError, match="cannot be used"):
        rulebook("asco2021", tmp_path)


def test_a_choice_that_makes_no_difference_is_refused(tmp_path: Path) -> None:
    choices(tmp_path, "g1_toci_after_h = 48")
    with pytest.raises(InputError, match="no rule of the profile label_early_steroid asks for g1_toci_after_h"):
        rulebook("label_early_steroid", tmp_path)


def test_the_disagreements_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("rules", "--disagree", capsys=capsys)
    assert code == 0
    for question in questions().values():
        assert question.question in out
        assert all(p.told in out for p in question.positions)
    assert "ebmt2022: with_infection" in out and "label_early_steroid: by its own table" in out
    code, out, _ = run("rules", "--topic", "crs", capsys=capsys)
    assert "CRS without a break above 72 h (g1_toci_after_h)" in out and "first_il6 = either" in out
