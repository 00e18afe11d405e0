"""Forecasts of a record by virtual twins: what is compared, what a twin counts, that the future has no part, and that each result says simulated."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from polars import col

from aftercar.calibrate import likeness
from aftercar.calibrate.coverage import coverage
from aftercar.calibrate.ensemble import as_frame, parameters
from aftercar.calibrate.forecast import BANNER, CANNOT_TELL, FAR, Forecast, forecast, quantile, tells, told
from aftercar.calibrate.likeness import Charted, charted, compared, cut, distances, effective, gaps, misfit, share, weights
from aftercar.calibrate.record import LAST_D, asked
from aftercar.calibrate.twins import AHEAD, Start, Twins, twins, worst_after
from aftercar.errors import InputError, OptionError
from aftercar.grade.run import grade_timeline
from aftercar.simulate.chart import INFUSED, as_days
from aftercar.simulate.model import load_model
from aftercar.simulate.policy import AFTER_H, History, named
from aftercar.simulate.policy import asked as drug_asked
from aftercar.simulate.run import Scenario, simulate
from aftercar.timeline.schema import conform

START = Start("axi-cel", "LBCL", 3.0)
POLICIES = ["standard", "supportive"]
N = 60


def ensemble() -> pl.DataFrame:
    middle = np.log([p.start for p in parameters()])
    return as_frame(np.stack([middle - 0.1, middle, middle + 0.1]))


@pytest.fixture(scope="module")
def pool() -> Twins:
    return twins(START, POLICIES, ensemble(), N, 1, workers=1)


@pytest.fixture(scope="module")
def record() -> pl.DataFrame:
    """The chart of a virtual patient who was treated, as if it were a real one."""
    return simulate(Scenario("axi-cel", "LBCL", days=14.0, drugs=("tocilizumab:500@day2",)), 1, 77, workers=1).timeline


def rows(*told: tuple[object, ...], infused: bool = True) -> pl.DataFrame:
    """A record of rows `hour, code, value, text, unit, end_hour`, of which the last ones may be left out."""
    told = ((0.0, "cart_infusion", None, "axi-cel"), *told) if infused else told
    whole = [(*row, *[None] * (6 - len(row))) for row in told]
    frame = pl.DataFrame(
        whole,
        schema={"hour": pl.Float64, "code": pl.String, "numeric_value": pl.Float64, "text_value": pl.String, "unit": pl.String, "end": pl.Float64},
        orient="row",
    )  # fmt: skip
    zero = pl.lit(INFUSED, pl.Datetime("us"))
    times = {
        name: zero + pl.duration(microseconds=(col(c) * 3.6e9).cast(pl.Int64))
        for name, c in (("time", "hour"), ("end_time", "end"))
    }
    return conform(frame.with_columns(subject_id=pl.lit("A"), **times).drop("hour", "end"))


def found(chart: Charted, finding: str, day: int) -> tuple[float, float]:
    place = (0, list(compared()).index(finding), day)
    return float(chart.low[place]), float(chart.high[place])


# ---- what is compared


def test_findings_are_the_worst_or_last_of_their_day() -> None:
    chart = charted(
        rows(
            (1.0, "temperature", 37.0, None, "Cel"), (5.0, "temperature", 38.6, None, "Cel"), (30.0, "temperature", 37.2, None, "Cel"),
            (2.0, "crp", 100.0, None, "mg/L"), (20.0, "crp", 50.0, None, "mg/L"), (26.0, "ferritin", 3.0, None, "ng/mL"),
            (0.0, "o2_device", None, "room_air"), (10.0, "o2_device", None, "face_mask"), (14.0, "o2_device", None, "room_air"),
            (20.0, "o2_device", None, "room_air"), (48.0, "crp", 7.0, None, "mg/L"),
        ),
        2.0,
    )  # fmt: skip
    assert [found(chart, "temperature", d)[0] for d in (0, 1)] == [38.6, 37.2]
    assert found(chart, "crp", 0) == pytest.approx((math.log(50.0),) * 2)
    assert found(chart, "crp", 1)[0] == pytest.approx(math.log(7.0)), "the end of the last day belongs to it"
    assert found(chart, "ferritin", 1)[0] == pytest.approx(math.log(compared()["ferritin"].least)), "as little as an assay tells"
    assert found(chart, "oxygen", 0) == (3.0, 3.0)
    assert math.isnan(found(chart, "ferritin", 0)[0])


def test_what_the_record_leaves_open_takes_nothing_from_a_twin() -> None:
    told = [(h, "temperature", 38.5, None, "Cel") for h in (1.0, 7.0, 13.0, 19.0)]
    open_ = charted(rows(*told), 1.0)
    assert found(open_, "vasopressor", 0) == (0.0, 1.0)
    low, high = found(open_, "crs", 0)
    assert (low, high) == (1.0, 4.0)
    assert math.isnan(found(open_, "oxygen", 0)[0]), "unknown is not normal"
    closed = charted(rows(*told, (0.0, "record_complete", None, "drugs", None, 48.0)), 1.0)
    assert found(closed, "vasopressor", 0) == (0.0, 0.0)
    place = (slice(None), list(compared()).index("crs"))
    assert (gaps(open_, closed)[place] == 0).all()


def test_a_temperature_of_another_cause_is_not_compared() -> None:
    frame = rows((2.0, "temperature", 39.5, None, "Cel"), (3.0, "temperature", 37.0, None, "Cel"))
    frame = frame.with_columns(attributable_to=pl.when(col("numeric_value") == 39.5).then(pl.lit("other")))
    assert found(charted(frame, 1.0), "temperature", 0)[0] == 37.0


def test_every_width_is_told_and_marked_as_assumed() -> None:
    told = likeness._told()
    assert {*told["finding"]} == {"temperature", "crp", "ferritin", "crs", "icans", "vasopressor", "oxygen"}
    assert all(entry["confidence"] == "C" and entry["width"] > 0 for entry in told["finding"].values())
    assert 0 < share() <= 1 and told["confidence"] == "C"


# ---- nothing that comes later has a part


@settings(max_examples=8)
@given(at=st.floats(0.2, 5.0), change=st.floats(30.0, 43.0))
def test_what_comes_later_has_no_part(record: pl.DataFrame, at: float, change: float) -> None:
    later = as_days(col("time")) > at
    other = record.with_columns(
        numeric_value=pl.when(later & (col("code") == "temperature")).then(change).otherwise("numeric_value"),
        text_value=pl.when(later & (col("code") == "o2_device")).then(pl.lit("ventilator")).otherwise("text_value"),
    )
    known, changed, shorter = (charted(t, at) for t in (record, other, record.filter(~later)))
    for one in (changed, shorter):
        assert np.array_equal(known.low, one.low, equal_nan=True) and np.array_equal(known.high, one.high, equal_nan=True)
    assert cut(record, at)["end_time"].max() <= INFUSED + timedelta(days=at, seconds=1)
    assert asked(record, at * 24, 1, None, "LBCL") == asked(record.filter(~later), at * 24, 1, None, "LBCL")


def test_a_forecast_of_a_record_is_that_of_its_first_days(record: pl.DataFrame) -> None:
    def of(timeline: pl.DataFrame) -> Forecast:
        return forecast(timeline, 72.0, POLICIES, ensemble(), n=50, workers=1)

    whole, first = of(record), of(record.filter(as_days(col("time")) <= 3.0))
    assert whole.table.equals(first.table) and whole.effective == first.effective
    assert whole.asked.start.given[0].startswith("tocilizumab:500.0000@day2.0"), "treated as it was"


# ---- what a twin counts


def toy(*temperatures: float) -> Charted:
    shape = (len(temperatures), len(compared()), 2)
    low = np.full(shape, np.nan)
    low[:, 0, 0] = temperatures
    return Charted(low, low.copy())


def test_weights_are_those_by_hand() -> None:
    width = compared()["temperature"].width
    apart = gaps(toy(38.0), toy(38.0, 38.0 + width, 38.0 - 2 * width))
    assert apart[:, 0, 0] == pytest.approx([0.0, 1.0, 2.0])
    assert distances(apart) == pytest.approx([0.0, 1.0, 2.0])
    assert misfit(apart, np.array([0.5, 0.25, 0.25])) == pytest.approx(math.sqrt(1.25))
    raw = np.exp(-0.5 * share() * np.array([0.0, 1.0, 4.0]))
    assert weights(apart) == pytest.approx(raw / raw.sum())
    assert effective(weights(apart)) == pytest.approx(raw.sum() ** 2 / (raw**2).sum())


def test_intervals_that_meet_are_not_apart() -> None:
    twin = toy(37.0, 39.0, 40.0)
    one = Charted(toy(38.0).low, toy(39.5).low)
    width = compared()["temperature"].width
    assert gaps(one, twin)[:, 0, 0] == pytest.approx([1.0 / width, 0.0, 0.5 / width])


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=30))
def test_effective_twins_lie_between_one_and_all(raw: list[float]) -> None:
    weight = np.array(raw) / sum(raw)
    assert 1 - 1e-9 <= effective(weight) <= len(raw) + 1e-9
    assert effective(np.full(len(raw), 1 / len(raw))) == pytest.approx(len(raw))


def test_a_record_that_says_nothing_gives_all_twins_alike(pool: Twins) -> None:
    silent = charted(rows(), 3.0)
    weight = weights(gaps(silent, pool.charted))
    assert weight == pytest.approx(np.full(N, 1 / N))
    table = told(pool.worst, weight, True)
    for policy in POLICIES:
        own = table.filter(policy=policy, toxicity="crs", days_ahead=AHEAD, measure="P(grade >= 2)")
        assert own["value"].item() == pytest.approx((pool.worst[policy][:, 0, -1] >= 2).mean())


def test_a_record_that_is_a_twin_gets_its_weight_there(pool: Twins) -> None:
    for k in (0, 17, N - 1):
        weight = weights(gaps(pool.charted.of(k), pool.charted))
        assert weight[k] == weight.max() > 1.5 / N


def test_of_a_record_unlike_all_twins_the_data_cannot_tell() -> None:
    strange = rows(
        (2.0, "temperature", 41.5, None, "Cel"), (50.0, "crp", 900.0, None, "mg/L"), (30.0, "ferritin", 90_000.0, None, "ng/mL"),
        (0.0, "disease", None, "LBCL"),
    )  # fmt: skip
    done = forecast(strange, 72.0, POLICIES, ensemble(), n=N, workers=1)
    assert done.misfit > FAR and not done.tells
    assert set(done.table["finds"]) == {CANNOT_TELL}
    assert "most of all in temperature" in " ".join(done.warnings())


def test_other_virtual_patients_are_not_far_from_twins(pool: Twins) -> None:
    others = twins(START, ["supportive"], ensemble(), 20, 9, workers=1)
    near = [gaps(others.charted.of(k), pool.charted) for k in range(20)]
    assert sum(misfit(apart, weights(apart)) > FAR for apart in near) <= 2


# ---- twins


def test_twins_are_the_same_under_all_policies_until_they_act_and_for_one_seed(pool: Twins) -> None:
    alone = twins(START, ["supportive"], ensemble(), N, 1, workers=1)
    assert np.array_equal(alone.charted.low, pool.charted.low) and np.array_equal(alone.charted.high, pool.charted.high)
    assert np.array_equal(alone.worst["supportive"], pool.worst["supportive"])
    assert not np.array_equal(pool.worst["standard"], pool.worst["supportive"])
    fewer = twins(START, ["supportive"], ensemble(), 7, 1, workers=1)
    assert np.array_equal(fewer.worst["supportive"], alone.worst["supportive"][:7])


def test_a_policy_gives_nothing_before_it_begins() -> None:
    late = simulate(Scenario("axi-cel", "LBCL", "cohort6", days=8.0, policy_from_d=3.0), 12, 1, workers=1)
    assert late.given.height and late.given["day"].min() >= 3.0


@pytest.mark.parametrize(
    ("hours", "fired", "following"), [((), 0, 72.0), ((10.0,), 1, 72.0), ((70.0,), 1, 78.0), ((1.0, 60.0, 80.0), 2, 72.0)]
)
def test_doses_from_before_count_as_if_the_policy_had_given_them(hours: tuple[float, ...], fired: int, following: float) -> None:
    """The standard policy gives tocilizumab again after 8 hours, 3 times at most."""
    model = load_model()
    protocol = tuple(drug_asked(f"tocilizumab:600@day{h / 24:.6f}", model) for h in hours)
    history = History(named("standard", model), 1, protocol, model, from_h=72.0)
    assert history.fired[0, 0] == fired and history.next[0, 0] == pytest.approx(following, abs=1e-3)
    assert history.fired[1, 0] == 0, "another drug"


def test_any_steroid_counts_as_one() -> None:
    model = load_model()
    protocol = tuple(drug_asked(f"methylprednisolone:80@day{d}", model) for d in (1, 1.5, 2, 2.5, 2.9))
    history = History(named("standard", model), 1, protocol, model, from_h=72.0)
    assert history.fired[1, 0] == 2, "four doses are one course"


def test_the_worst_grade_ahead_is_that_of_the_grades() -> None:
    course = simulate(Scenario("axi-cel", "LBCL", "supportive", days=11.0), 8, 4, workers=1)
    ahead = worst_after(course.timeline, course.people.numbers + 1, 3.3)
    grades = grade_timeline(course.timeline, ["crs", "icans"]).grades.filter(col("status") != "not_applicable")
    for row in range(8):
        for k, toxicity in enumerate(("crs", "icans")):
            own = grades.filter(subject_id=row + 1, toxicity=toxicity).with_columns(
                day=as_days(col("start")), until=as_days(col("end"))
            )
            for day in range(AHEAD):
                within = own.filter((col("day") < 3.3 + day + 1) & (col("until") > 3.3).fill_null(True))
                assert ahead[row, k, day] == (within["grade"].max() or 0)


# ---- what is told


def test_intervals_and_differences_by_hand() -> None:
    grades = np.array([0, 1, 1, 2, 4])
    assert [quantile(grades, np.full(5, 0.2), q) for q in (0.1, 0.5, 0.9)] == [0, 1, 4]
    n = 400
    worse, better = np.zeros((n, 2, AHEAD), np.int64), np.zeros((n, 2, AHEAD), np.int64)
    worse[:100] = 2
    table = told({"a": worse, "b": better, "c": worse}, np.full(n, 1 / n), True).filter(toxicity="crs", days_ahead=1)
    assert table.filter(policy="a", measure="P(grade >= 2)")["value"].item() == pytest.approx(0.25)
    difference = {r["policy"]: r for r in table.filter(measure="difference of P(grade >= 2)").to_dicts()}
    assert difference["b"]["value"] == pytest.approx(-0.25) and difference["b"]["finds"] == "lower"
    assert difference["c"]["value"] == 0 and difference["c"]["finds"] == CANNOT_TELL
    assert all(r["low"] <= r["value"] <= r["high"] for r in table.to_dicts())


def test_few_twins_or_far_ones_cannot_tell() -> None:
    worse, better = np.full((20, 2, AHEAD), 3), np.zeros((20, 2, AHEAD), np.int64)
    assert not tells(20.0, 0.2) and not tells(500.0, 1.5) and tells(500.0, 0.2)
    assert set(told({"a": worse, "b": better}, np.full(20, 0.05), False)["finds"]) == {CANNOT_TELL}


@pytest.mark.slow
def test_coverage_counts_what_it_says() -> None:
    done = coverage(START, "standard", ensemble(), records=60, n=200, seed=2, workers=1)
    assert set(done.intervals["n"]) == {60} and (done.intervals["inside"] <= 60).all()
    by_level = done.intervals.filter(toxicity="crs").sort("level")["inside"].to_list()
    assert by_level == sorted(by_level) and by_level[-1] >= 50
    for toxicity in ("crs", "icans"):
        own = done.reliability.filter(toxicity=toxicity)
        assert own["n"].sum() == done.skill.filter(toxicity=toxicity)["n"].item() <= 60
        assert (own["forecast"].is_between(own["from"], own["to"])).all()
    assert ((done.effective >= 1) & (done.effective <= 200)).all()


# ---- the record


def test_doses_go_by_weight_and_what_cannot_be_shared_is_said() -> None:
    frame = rows(
        (-20.0, "dexamethasone", 10.0, None, "mg"), (-5.0, "weight", 50.0, None, "kg"), (0.0, "disease", None, "large B-cell lymphoma"),
        (24.0, "tocilizumab", 8.0, None, "mg/kg"), (30.0, "dexamethasone", 10.0, None, "mg"), (31.0, "anakinra"),
        (40.0, "baricitinib", 4.0, None, "mg"), (60.0, "dexamethasone", 10.0, None, "mg"),
    )  # fmt: skip
    start = asked(frame, 48.0, 1, None, None)
    model = load_model()
    given_ = [drug_asked(text, model) for text in start.start.given]
    assert [(g.drug, round(g.mg, 3)) for g in given_] == [("tocilizumab", 600.0), ("dexamethasone", 15.0), ("anakinra", 100.0)]
    assert [g.hours[0] + AFTER_H for g in given_] == pytest.approx([24.0, 30.0, 31.0], abs=1e-3)
    assert start.start.disease == "LBCL" and start.start.at_d == 2.0
    words = " ".join(start.notes)
    assert "begins with it: 1" in words and "usual dose" in words and "baricitinib" in words
    assert "No weight" in " ".join(asked(frame.filter(col("code") != "weight"), 48.0, 1, None, None).notes)


@pytest.mark.parametrize(
    ("said", "age", "known"),
    [
        ("B-ALL", 45.0, "ALL"), ("B-ALL", 8.0, "ALL_pediatric"), ("large B-cell lymphoma", 60.0, "LBCL"), ("DLBCL", 60.0, "LBCL"), ("MM", 60.0, "MM"),
        ("multiple myeloma", 60.0, "MM"), ("follicular lymphoma", 60.0, "FL"), ("mantle cell lymphoma", 60.0, "MCL"), ("CLL", 60.0, "CLL"),
    ],
)  # fmt: skip
def test_diseases_are_known_by_how_records_write_them(said: str, age: float, known: str) -> None:
    frame = rows((0.0, "disease", None, said), (0.0, "age", age, None, "a"))
    assert asked(frame, 48.0, 1, None, None).start.disease == known


def test_a_product_is_known_by_its_name_too() -> None:
    frame = rows((0.0, "cart_infusion", None, "Axicabtagene ciloleucel"), (0.0, "disease", None, "LBCL"), infused=False)
    assert asked(frame, 48.0, 1, None, None).start.product == "axi-cel"


@pytest.mark.parametrize("hours", [0.0, -5.0, 24 * LAST_D + 1])
def test_the_time_must_be_one_of_the_first_days(hours: float) -> None:
    with pytest.raises(OptionError, match="after the infusion"):
        asked(rows((0.0, "disease", None, "LBCL")), hours, 1, None, None)


def test_after_a_death_there_is_nothing_to_forecast() -> None:
    frame = rows((0.0, "disease", None, "LBCL"), (40.0, "death", None, "crs"))
    with pytest.raises(InputError, match="death"):
        asked(frame, 48.0, 1, None, None)
    assert asked(frame, 36.0, 1, None, None).start.at_d == 1.5


# ---- the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, record: pl.DataFrame) -> Path:
    place = tmp_path_factory.mktemp("forecast")
    secret = rows((0.0, "disease", None, "secret disease"), (0.0, "cart_infusion", None, "secret product"), infused=False)
    people = [record.with_columns(subject_id=pl.lit("V1")), secret.with_columns(subject_id=pl.lit("V2"))]
    (place / "timeline" / "data").mkdir(parents=True)
    pl.concat(people, how="diagonal").drop("event_id").write_parquet(place / "timeline" / "data" / "0.parquet")
    ensemble().write_csv(place / "ensemble.csv")
    return place


@pytest.mark.parametrize("file", ["f.csv", "f.parquet", "f.json"])
def test_every_output_says_that_it_is_simulated(
    folder: Path, tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--subject", "V1", "--at", "day2.5", "--disease", "LBCL", "--twins", "60", "--workers", "1", "--ensemble", folder)
    code, out, err = run("forecast", folder / "timeline", *words, "--out", tmp_path / file, capsys=capsys)
    assert (code, err) == (0, "")
    assert BANNER in out and "No advice and no prediction" in " ".join(out.split())
    path = tmp_path / file
    if file.endswith(".json"):
        whole = json.loads(path.read_text())
        assert (whole["banner"], whole["simulated"]) == (BANNER, True)
        assert len(whole["forecast"]) == 2 * 2 * AHEAD * 7 + 2 * AHEAD * 4
        return
    table = pl.read_csv(path) if file.endswith(".csv") else pl.read_parquet(path)
    assert table["simulated"].all() and set(table["banner"]) == {BANNER} and set(table["subject_id"]) == {"V1"}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"--subject": "V9"}, "not in the timeline"),
        ({"--at": "day0"}, "after the infusion"),
        ({"--at": "2000-01-01"}, "after the infusion"),
        ({"--at": "soon"}, "--at takes"),
        ({"--subject": "V2"}, "--product"),
        ({"--subject": "V2", "--product": "axi-cel"}, "--disease"),
        ({"--product": "nothing"}, "products.csv"),
        ({"--disease": "nothing"}, "diseases.csv"),
        ({"--policy": "nothing"}, "no policy"),
        ({"--infusion": "2"}, "no infusion 2"),
        ({"--ensemble": "nowhere"}, "finished fit"),
        ({"--out": "f.xlsx"}, "--out"),
    ],
)
def test_the_command_tells_what_is_wrong(
    folder: Path, changed: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = {"--subject": "V1", "--at": "day3", "--twins": "50", "--workers": "1", "--ensemble": str(folder)}
    words = [word for pair in (usual | changed).items() for word in pair]
    code, _, err = run("forecast", folder / "timeline", *words, capsys=capsys)
    assert code == 2 and says in err and "Traceback" not in err
    assert "secret" not in err, "a value of a patient"
