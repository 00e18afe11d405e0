"""Validation of a score: its numbers against slow and independent ways to them, counts that add up, files and the figure."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from polars import col

from aftercar.errors import InputError, OptionError
from aftercar.report.validation import validation_svg
from aftercar.risk.cohort_files import read_outcomes, read_scores
from aftercar.risk.validate import THRESHOLDS, Validation, auc, logistic, validate

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, n: int = 120, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A probability, perhaps of few values, and an outcome that goes with it; both kinds of outcome are there."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    p = 1 / (1 + np.exp(-(1.2 * x - 0.8)))
    if levels:
        p = np.round(p * levels) / levels
    event = rng.random(n) < 1 / (1 + np.exp(-(1.2 * x - 0.8)))
    event[:2] = [True, False]
    return p, event


def frames(value: Any, event: Any, upper: Any = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    ids = list(range(len(value)))
    scores = {"subject_id": ids, "value": list(map(float, value))}
    if upper is not None:
        scores["value_upper"] = list(map(float, upper))
    return pl.DataFrame(scores), pl.DataFrame({"subject_id": ids, "event": [None if e is None else bool(e) for e in event]})


def pairwise_auc(value: np.ndarray, event: np.ndarray) -> float:
    """Share of pairs of an event and another in which the event is higher; ties half."""
    pairs = value[event][:, None] - value[~event][None, :]
    return float((pairs > 0).mean() + (pairs == 0).mean() / 2)


@given(SEEDS, st.sampled_from([None, 3, 7]))
def test_the_area_is_the_share_of_pairs(seed: int, levels: int | None) -> None:
    value, event = sample(seed, 60, levels)
    assert auc(pl.Series(value), pl.Series(event))[0] == pytest.approx(pairwise_auc(value, event))


@settings(max_examples=4)
@given(SEEDS, st.sampled_from([None, 5]))
def test_the_interval_agrees_with_a_bootstrap(seed: int, levels: int | None) -> None:
    value, event = sample(seed, 200, levels)
    area, low, high = auc(pl.Series(value), pl.Series(event))
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(1500):  # within each kind, as DeLong's variance is
        hits, others = (rng.choice(np.flatnonzero(kind), kind.sum()) for kind in (event, ~event))
        pick = np.concatenate([hits, others])
        drawn.append(pairwise_auc(value[pick], event[pick]))
    spread = float(np.std(drawn, ddof=1))
    assert area is not None and low is not None and high is not None
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.12)


def test_no_interval_where_there_is_none() -> None:
    apart = pl.Series([1.0, 2.0, 3.0, 4.0])
    assert auc(apart, pl.Series([False, False, True, True])) == (1.0, None, None)
    assert auc(apart, pl.Series([True, False, False, False])) == (0.0, None, None)
    assert auc(apart, pl.Series([True] * 4)) == (None, None, None)


@given(SEEDS)
def test_a_rising_change_of_the_score_changes_no_area(seed: int) -> None:
    value, event = sample(seed, 50, 9)
    there, again = (auc(pl.Series(v), pl.Series(event)) for v in (value, value**3 * 100 - 7))
    assert there == pytest.approx(again)


def likelihood(a: float, b: float, x: np.ndarray, event: np.ndarray) -> float:
    z = a + b * x
    return float((event * z - np.logaddexp(0, z)).sum())


@settings(max_examples=10)
@given(SEEDS)
def test_slope_and_intercept_are_at_the_peak_of_the_likelihood(seed: int) -> None:
    p, event = sample(seed)
    fit = logistic(pl.Series(p), pl.Series(event.astype(float)))
    a, b = fit["intercept"], fit["slope"]
    assert a is not None and b is not None
    x = np.log(p / (1 - p))
    top = likelihood(a, b, x, event)
    steps = [(da, db) for da in (-0.01, 0, 0.01) for db in (-0.01, 0, 0.01) if da or db]
    assert all(likelihood(a + da, b + db, x, event) < top for da, db in steps)
    # The curvature by differences gives the same standard errors.
    h = 1e-3
    second = lambda i, j: (  # noqa: E731
        likelihood(a + h * (i[0] + j[0]), b + h * (i[1] + j[1]), x, event) - likelihood(a + h * (i[0] - j[0]), b + h * (i[1] - j[1]), x, event)
        - likelihood(a - h * (i[0] - j[0]), b - h * (i[1] - j[1]), x, event) + likelihood(a - h * (i[0] + j[0]), b - h * (i[1] + j[1]), x, event)
    ) / (4 * h * h)  # fmt: skip
    one, two = np.array([1, 0]), np.array([0, 1])
    cov = np.linalg.inv(-np.array([[second(one, one), second(one, two)], [second(two, one), second(two, two)]]))
    assert fit["slope_high"] == pytest.approx(b + 1.96 * cov[1, 1] ** 0.5, rel=1e-3)
    assert fit["intercept_low"] == pytest.approx(a - 1.96 * cov[0, 0] ** 0.5, rel=1e-3, abs=1e-3)


def test_a_perfect_probability_has_slope_one_and_a_parted_one_none() -> None:
    p, event = sample(1, 20_000)
    fit = logistic(pl.Series(p), pl.Series(event.astype(float)))
    assert fit["slope"] == pytest.approx(1, abs=0.06) and fit["intercept"] == pytest.approx(0, abs=0.06)
    assert set(logistic(pl.Series([0.1, 0.2, 0.8, 0.9]), pl.Series([0.0, 0.0, 1.0, 1.0])).values()) == {None}
    assert set(logistic(pl.Series([0.5, 0.5]), pl.Series([0.0, 1.0])).values()) == {None}


@settings(max_examples=10)
@given(SEEDS)
def test_net_benefit_brier_and_shares_by_hand(seed: int) -> None:
    p, event = sample(seed, 80, 40)
    found = validate(*frames(p, event), probability=True)
    assert found.probability["brier"] == pytest.approx(float(((p - event) ** 2).mean()))
    assert found.probability["observed_by_expected"] == pytest.approx(event.sum() / p.sum())
    for t, net, everybody, nobody in found.decision.iter_rows():
        odds = t / (1 - t)
        treated = p >= t
        assert net == pytest.approx((treated & event).mean() - (treated & ~event).mean() * odds)
        assert everybody == pytest.approx(event.mean() - (~event).mean() * odds) and nobody == 0
    assert found.decision["threshold"].to_list() == list(THRESHOLDS)
    for r in found.roc.iter_rows(named=True):
        assert r["sensitivity"] == pytest.approx((p[event] >= r["cut"]).mean())
        assert r["false_positive_share"] == pytest.approx((p[~event] >= r["cut"]).mean())
    assert found.calibration["n"].sum() == 80 and found.calibration["events"].sum() == event.sum()
    assert found.calibration.height <= 10
    inside = found.calibration.select((col("low") <= col("observed")) & (col("observed") <= col("high"))).to_series()
    assert inside.all()


def test_ties_stay_in_one_tenth() -> None:
    value = [1.0] * 50 + list(np.arange(2.0, 52.0))
    found = validate(*frames(value, [n % 2 == 0 for n in range(100)]))
    assert found.calibration["n"][0] == 50 and found.calibration["n"].sum() == 100


def test_a_cut_by_hand() -> None:
    found = validate(*frames([0, 1, 2, 3, 4, 0], [False, True, False, True, True, False]), cut=2)
    told = {r["measure"]: (r["k"], r["n"]) for r in found.at_cut.iter_rows(named=True)}
    assert told == {
        "sensitivity": (2, 3), "specificity": (2, 3), "positive predictive value": (2, 3), "negative predictive value": (2, 3),
    }  # fmt: skip
    odds = 0.2 / 0.8
    at_20 = found.decision.filter((col("threshold") - 0.2).abs() < 1e-9)["net_benefit"].item()
    assert at_20 == pytest.approx(2 / 6 - 1 / 6 * odds)


# ---- what is missing


def with_gaps(seed: int, n: int = 60) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Values of 0 to 6; some are ranges, some missing; some outcomes open, some without a row."""
    rng = np.random.default_rng(seed)
    value = rng.integers(0, 6, n).astype(float)
    upper = np.where(rng.random(n) < 0.3, value + rng.integers(0, 3, n), value)
    event = [None if rng.random() < 0.15 else bool(rng.random() < 0.2 + v / 10) for v in value]
    event[:2], upper[:2] = [True, False], value[:2]
    scores, outcomes = frames(value, event, upper)
    gone = pl.Series(rng.random(n) < 0.1) & (pl.Series(range(n)) > 1)
    scores = scores.with_columns(pl.when(~gone).then(c).alias(c) for c in ("value", "value_upper"))
    return scores, outcomes.filter((col("subject_id") < 2) | pl.Series(rng.random(n) < 0.9))


@given(SEEDS)
def test_counts_add_up_and_nobody_is_dropped(seed: int) -> None:
    scores, outcomes = with_gaps(seed)
    found = validate(scores, outcomes)
    counts = dict(found.counts.iter_rows())
    assert sum(counts.values()) == scores.height == found.facts["rows"]
    assert counts["used"] == found.discrimination["n"][0] == found.calibration["n"].sum()
    assert counts["no outcome row"] == scores.height - outcomes.height
    assert found.facts["outcomes_without_a_score"] == 0
    assert (
        validate(scores.head(40), outcomes).facts["outcomes_without_a_score"] == outcomes.filter(col("subject_id") >= 40).height
    )


@given(SEEDS)
def test_whatever_a_range_holds_the_area_lies_between_its_ends(seed: int) -> None:
    scores, outcomes = with_gaps(seed)
    told = {r["reading"]: r for r in validate(scores, outcomes).discrimination.iter_rows(named=True)}
    if "ranges for the score" not in told:
        return
    worst, best = (told[f"ranges {w} the score"]["auc"] for w in ("against", "for"))
    rng = np.random.default_rng(seed)
    for _ in range(5):
        held = pl.Series(rng.random(scores.height))
        drawn = scores.with_columns(value=col("value") + held * (col("value_upper") - col("value"))).drop("value_upper")
        area = validate(drawn, outcomes).discrimination["auc"][0]
        assert worst - 1e-12 <= area <= best + 1e-12
    for end in ("lower", "upper"):
        assert worst <= told[f"ranges at the {end} end"]["auc"] <= best


def test_values_that_are_all_ranges_still_tell_their_ends() -> None:
    scores, outcomes = frames([0, 1, 2, 3], [False, False, True, True], [1, 2, 3, 4])
    found = validate(scores.with_columns(group=pl.Series(["low", "low", "high", "high"])), outcomes, cut=2)
    assert found.discrimination["auc"].to_list()[:3] == [None, 1.0, 1.0] and found.calibration.is_empty()
    assert found.groups["n"].to_list() == [2, 2]
    assert dict(found.at_cut.select("measure", "n").iter_rows())["sensitivity"] == 2
    assert ET.fromstring(validation_svg(found, "ranges")).tag.endswith("svg")


def test_what_cannot_be_compared_is_an_error() -> None:
    scores, outcomes = frames([0, 1, 2], [True, True, None])
    with pytest.raises(InputError, match="1 outcome open"):
        validate(scores, outcomes)
    with pytest.raises(InputError, match="more than once among the scores"):
        validate(pl.concat([scores, scores]), outcomes)
    with pytest.raises(InputError, match="outside 0 to 1"):
        validate(*frames([0, 1, 50], [True, True, False]), probability=True)


def test_several_courses_are_told() -> None:
    scores, outcomes = frames([0, 1, 2, 3], [False, True, False, True])
    courses = {"subject_id": pl.Series([1, 1, 2, 3]), "infusion": pl.Series([1, 2, 1, 1])}
    found = validate(scores.with_columns(**courses), outcomes.with_columns(**courses))
    assert found.facts["several_courses"] and found.discrimination["n"][0] == 4


# ---- files


def test_scores_from_files(tmp_path: Path) -> None:
    own = pl.DataFrame(
        {
            "subject_id": ["a", "b"],
            "infusion": [1, 1],
            "score": ["easix", "easix"],
            "window": ["before_ld", "day_0"],
            "value": [1.0, 2.0],
        }
    )
    for ending, write in (("csv", own.write_csv), ("parquet", own.write_parquet), ("json", own.write_json)):
        write(tmp_path / f"s.{ending}")
        assert read_scores(tmp_path / f"s.{ending}")["value"].to_list() == [1.0]  # the first window is the score's own
        assert read_scores(tmp_path / f"s.{ending}", window="day_0")["value"].to_list() == [2.0]
    pl.concat([own, own.with_columns(score=pl.lit("m_easix"))]).write_csv(tmp_path / "two.csv")
    with pytest.raises(InputError, match=r"several scores\. --score takes one of easix, m_easix"):
        read_scores(tmp_path / "two.csv")
    with pytest.raises(OptionError, match="Did you mean easix"):
        read_scores(tmp_path / "two.csv", "eaxis")
    with pytest.raises(InputError, match=r"no column of numbers is called 'vlaue'\. Did you mean value"):
        read_scores(tmp_path / "s.csv", column="vlaue")
    for name, says in (("none.csv", "no such file"), ("s.xlsx", "ends with")):
        with pytest.raises(InputError, match=says):
            read_scores(tmp_path / name)


def test_outcomes_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_text("subject_id,relapse,odd\n1,Yes,1\n2,no,0\n3,,maybe\n4,1,\n5,FALSE,1\n")
    assert read_outcomes(path, "relapse")["event"].to_list() == [True, False, None, True, False]
    with pytest.raises(InputError, match="1 rows of 'odd' are neither yes") as caught:
        read_outcomes(path, "odd")
    assert "maybe" not in str(caught.value)
    with pytest.raises(InputError, match="Did you mean relapse"):
        read_outcomes(path, "relapsed")


def test_outcomes_from_grades(tmp_path: Path) -> None:
    worst = pl.DataFrame({
        "subject_id": [1, 2, 3, 4, 1], "infusion": [1] * 5, "toxicity": ["crs"] * 5, "scale": ["crs_astct2019"] * 4 + ["crs_lee2014"],
        "grade": [3, 0, 1, 0, 2], "grade_upper": [3, 1, 4, 0, 2], "status": ["graded", "incomplete", "incomplete", "not_applicable", "graded"],
    })  # fmt: skip
    worst.write_parquet(tmp_path / "worst.parquet")
    assert read_outcomes(tmp_path, "crs_astct2019>=3")["event"].to_list() == [True, False, None, None]
    with pytest.raises(InputError, match=r"several scales\. Name one: crs_astct2019, crs_lee2014"):
        read_outcomes(tmp_path, "crs >= 3")
    with pytest.raises(OptionError, match="'icans' was not graded"):
        read_outcomes(tmp_path, "icans>=1")


@pytest.fixture
def found() -> Validation:
    p, event = sample(4, 150)
    return validate(*frames(p, event), probability=True)


def test_the_figure_is_whole_and_says_its_numbers(found: Validation) -> None:
    svg = validation_svg(found, "A <score> & an outcome")
    tree = ET.fromstring(svg)
    text = "".join(tree.itertext())
    assert f"AUC {found.discrimination['auc'][0]:.2f}" in text and "A <score> & an outcome" in text and "not a decision" in text
    marks = [e for e in tree.iter() if e.tag.endswith("circle")]
    assert len(marks) == found.calibration.height
    drawn = " ".join(e.get(a, "") for e in tree.iter() for a in ("d", "x", "y", "cx", "cy")).lower()
    assert "nan" not in drawn and "inf" not in drawn


def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value, event = sample(3, 90, 7)
    scores, outcomes = frames(value * 7, event)
    scores.write_csv(tmp_path / "s.csv")
    outcomes.write_csv(tmp_path / "o.csv")
    code, out, _ = run(
        "risk-validate",
        tmp_path / "s.csv",
        tmp_path / "o.csv",
        "--outcome",
        "event",
        "--cut",
        "2",
        "--out",
        tmp_path / "v",
        capsys=capsys,
    )
    assert code == 0 and "90 courses = 90 used" in out and "DeLong" in out and "not a decision" in out
    tables = {p.name for p in (tmp_path / "v").iterdir()}
    assert {"discrimination.csv", "calibration.csv", "decision.csv", "counts.csv", "validation.svg", "validation.json"} <= tables
    summary = json.loads((tmp_path / "v" / "validation.json").read_text())
    assert summary["discrimination"][0]["auc"] == pytest.approx(pairwise_auc(value, event))
    assert pl.read_csv(tmp_path / "v" / "calibration.csv")["n"].sum() == 90
    code, _, err = run("risk-validate", tmp_path / "s.csv", tmp_path / "o.csv", "--outcome", "evnt", capsys=capsys)
    assert code == 2 and "Did you mean event" in err
