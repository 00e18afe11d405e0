"""The simulator: the integrator against closed forms, virtual patients that are the same however they are asked for, policies, what is charted."""

from __future__ import annotations

import csv as tables
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from polars import col

import aftercar
from aftercar.errors import AftercarError, InputError, OptionError
from aftercar.grade.folder import grade_folder
from aftercar.grade.options import Options
from aftercar.grade.run import codes_of, grades_alone, opened, scales_named
from aftercar.report import write_report
from aftercar.report.virtual import STATES, patient_figure, states_figure
from aftercar.simulate import run as running
from aftercar.simulate.chart import INFUSED
from aftercar.simulate.compiled import Equations, equations, kernel
from aftercar.simulate.engine import Doses, Floats, integrate
from aftercar.simulate.general import run_sbml
from aftercar.simulate.model import TABLES, Model, load_model
from aftercar.simulate.policy import AFTER_H, Policy, asked, named, policies
from aftercar.simulate.population import patients, values_of
from aftercar.simulate.run import BANNER, SHARD, Course, Scenario, follow, simulate, simulate_folder
from aftercar.simulate.sbml import to_sbml
from aftercar.timeline.concepts import concept, concepts
from aftercar.timeline.store import open_timeline

MODEL = Path(running.__file__).with_name("model")
COMMAND = ("simulate", "--product", "axi-cel", "--disease", "LBCL")
SCENARIO = Scenario("axi-cel", "LBCL", days=30.0)
N = 24

# One system of which all is known in closed form: a drug that leaves, what it turns into, what that turns into, and a clock.
TOY = Model(
    "", "",
    Equations(
        states={"a": 1.0, "b": 0.0, "c": 0.0, "clock": 0.0}, parameters={"k": 1.0, "m": 0.3}, assigned={"flow": "m_k * m_a"},
        rates=["-m_flow", "m_flow - m_m * m_b", "m_m * m_b", "t"],
    ),
    {},
)  # fmt: skip
TIMES = np.linspace(0.0, 10.0, 41)


def chain(k: float, m: float, start: np.ndarray, t: float) -> np.ndarray:
    """The toy after a time `t`, from a, b, c."""
    a, b, c = start
    turned = a * k / (m - k) * (math.exp(-k * t) - math.exp(-m * t))
    left = b * math.exp(-m * t) + turned
    return np.array([a * math.exp(-k * t), left, a + b + c - a * math.exp(-k * t) - left])


def known(k: float, m: float, doses: list[tuple[float, int, float]], times: Floats = TIMES) -> Floats:
    """The toy with doses `(time, state, amount)`, at each time: what is given at a time acts after it."""
    rows = []
    for t in times:
        now, at = np.array([1.0, 0.0, 0.0]), 0.0
        for when, state, amount in sorted(d for d in doses if d[0] < t):
            now, at = chain(k, m, now, when - at), when
            now[state] += amount
        rows.append([*chain(k, m, now, t - at), t * t / 2])
    return np.array(rows)


def given_to(doses: list[tuple[float, int, float]], patient: int = 0) -> Doses:
    time_, state, amount = zip(*doses, strict=True) if doses else ((), (), ())
    return Doses(np.full(len(doses), patient), np.array(time_, float), np.array(state, np.int64), np.array(amount, float))


def joined(a: Doses, b: Doses) -> Doses:
    return Doses(*(np.concatenate([getattr(a, f.name), getattr(b, f.name)]) for f in fields(Doses)))


def toy(doses: Doses | None = None, k: float = 1.0, m: float = 0.3, times: Floats = TIMES, rtol: float = 1e-9) -> Floats:
    return integrate(TOY, np.array([[1.0, 0.0, 0.0, 0.0]]), np.array([[k, m]]), times, doses, rtol=rtol)[0]


# ---- the integrator against closed forms

RATES = st.floats(0.05, 20.0)
DOSES = st.lists(st.tuples(st.floats(0.0, 9.9), st.sampled_from([0, 1, 2]), st.floats(0.0, 100.0)), max_size=8)


@given(k=RATES, m=RATES, doses=DOSES)
def test_decay_and_chain_with_jumps_are_those_of_the_formula(k: float, m: float, doses: list[tuple[float, int, float]]) -> None:
    m = m if abs(m - k) > 1e-3 * k else 1.1 * k  # the formula divides by their difference
    assert toy(given_to(doses), k, m) == pytest.approx(known(k, m, doses), rel=1e-5, abs=1e-6)


@given(doses=DOSES, order=st.randoms(use_true_random=False))
def test_the_order_in_which_doses_are_listed_is_of_no_concern(doses: list[tuple[float, int, float]], order: object) -> None:
    shuffled = list(doses)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert toy(given_to(shuffled)) == pytest.approx(toy(given_to(doses)), rel=1e-12, abs=1e-12)


def test_a_dose_at_a_time_of_telling_acts_after_it() -> None:
    plain, dosed = toy(), toy(given_to([(2.5, 0, 7.0), (10.0, 0, 7.0)]))
    at = int(np.flatnonzero(TIMES == 2.5)[0])
    assert dosed[: at + 1] == pytest.approx(plain[: at + 1], rel=1e-6)
    assert dosed[at + 1, 0] - plain[at + 1, 0] == pytest.approx(7.0 * math.exp(-0.25), rel=1e-6)
    assert dosed[-1, 0] == pytest.approx(known(1.0, 0.3, [(2.5, 0, 7.0)])[-1, 0], rel=1e-6)  # the last one is not told any more


def test_doses_at_one_moment_and_at_the_beginning_add_up() -> None:
    doses = [(0.0, 0, 2.0), (0.0, 0, 3.0), (4.0, 1, 1.0), (4.0, 1, 1.0)]
    assert toy(given_to(doses)) == pytest.approx(known(1.0, 0.3, doses), rel=1e-6, abs=1e-8)


@given(at=st.integers(0, len(TIMES) - 1), doses=DOSES)
def test_going_on_from_a_state_gives_what_one_run_gives(at: int, doses: list[tuple[float, int, float]]) -> None:
    whole = toy(given_to(doses))
    begin = np.array([at])
    rest = integrate(TOY, whole[None, at], np.array([[1.0, 0.3]]), TIMES, given_to(doses), begin=begin, rtol=1e-9)[0]
    assert np.isnan(rest[:at]).all()
    assert rest[at:] == pytest.approx(whole[at:], rel=1e-6, abs=1e-7)


def test_each_patient_has_its_own_doses_and_parameters() -> None:
    own = [[], [(1.0, 0, 5.0)], [(1.0, 0, 5.0), (3.2, 2, 1.0)], [(9.0, 1, 2.0)]]
    doses = Doses.none()
    for n in (2, 0, 3, 1):
        doses = joined(doses, given_to(own[n], n))
    rates = np.array([[0.1, 0.3], [1.0, 0.2], [4.0, 0.7], [0.5, 6.0]])
    found = integrate(TOY, np.tile([1.0, 0.0, 0.0, 0.0], (4, 1)), rates, TIMES, doses, rtol=1e-9)
    for n, (k, m) in enumerate(rates):
        assert found[n] == pytest.approx(known(k, m, own[n]), rel=1e-6, abs=1e-7)
    some = doses.of(np.array([3, 1]))
    assert sorted(zip(some.patient, some.time, strict=True)) == [(0, 9.0), (1, 1.0)]


def test_the_error_falls_with_the_fifth_power_of_the_step() -> None:
    steps, errors = [], []
    for rtol in 10.0 ** -np.arange(4, 10):
        out, status, tried = np.full((1, 2, 4), np.nan), np.zeros(1, np.int64), np.zeros(1, np.int64)
        empty = Doses.none()
        kernel(TOY.equations.source()).ensemble(
            0, 1, np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1, np.int64), np.array([[1.0, 0.0, 0.0, 0.0]]), np.array([[1.0, 0.3]]), np.array([0.0, 10.0]), np.zeros(2, np.int64),
            empty.time, empty.state, empty.amount, rtol, rtol * 1e-3, out, status, tried,
        )  # fmt: skip
        steps.append(tried[0])
        errors.append(abs(out[0, 1, 1] - known(1.0, 0.3, [], np.array([10.0]))[0, 1]))
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 4.5 < order < 7.0


def test_states_told_between_steps_are_as_good_as_those_at_their_ends() -> None:
    often = np.linspace(0.0, 10.0, 2001)
    for rtol in (1e-4, 1e-7):
        assert np.abs(toy(times=often, rtol=rtol) - known(1.0, 0.3, [], often)).max() < 200 * rtol


def test_what_cannot_be_integrated_is_told_with_how_many() -> None:
    wild = Model("", "", Equations({"x": 1.0}, {"k": 1.0}, {}, ["m_k * m_x * m_x"]), {})
    with pytest.raises(AftercarError, match=r"Of 3 virtual patients 2 (needed too many steps|left the numbers)"):
        integrate(wild, np.ones((3, 1)), np.array([[2.0], [0.01], [3.0]]), np.array([0.0, 5.0]))


def test_a_model_with_what_is_not_compiled_says_what() -> None:
    assert equations(to_sbml("model m\n a = 1; k = 2; a' = -k*a;\nend")).states == {"a": 1.0}
    with pytest.raises(InputError, match="has reactions"):
        equations(to_sbml("model m\n species a; a = 1; k = 2; compartment c = 1; a in c; J: a -> ; k*a;\nend"))
    with pytest.raises(InputError, match="has events"):
        equations(to_sbml("model m\n a = 1; k = 2; a' = -k*a; at a < 0.5: a = 1;\nend"))


# ---- the mechanism


@cache
def course(
    policy: str = "standard", n: int = N, product: str = "axi-cel", disease: str = "LBCL", drugs: tuple[str, ...] = ()
) -> Course:
    return simulate(replace(SCENARIO, product=product, disease=disease, policy=policy, drugs=drugs), n, 3)


def wide(n: int) -> tuple[Model, Floats, Floats]:
    """Random patients three times as different from one another as those of variability.csv."""
    model = load_model()
    table = model.tables["variability"].with_columns(col("sd_log") * 3)
    people = patients(replace(model, tables={**model.tables, "variability": table}), "axi-cel", "LBCL", n, 11)
    return model, people.states, people.parameters


def test_states_are_never_negative_nor_held_at_zero_by_force() -> None:
    model, states, parameters = wide(200)
    times = np.linspace(0.0, 60.0, 121)
    drugs = model.tables["drugs"]
    random = np.random.default_rng(5)
    chosen = random.integers(0, drugs.height, 600)
    doses = Doses(
        random.integers(0, 200, 600), random.uniform(0, 30, 600), np.array([model.states.index(s) for s in drugs["state"].gather(chosen)]),
        random.lognormal(0, 2, 600) * 100 * drugs["per_mg"].gather(chosen).to_numpy(),
    )  # fmt: skip
    rough = integrate(model, states, parameters, times, doses)
    exact = integrate(model, states, parameters, times, doses, rtol=1e-8)
    assert np.isfinite(rough).all()
    assert (rough >= 0).all()
    # What is cut at zero is below the tolerance, or the two would part.
    scale = np.maximum(exact.max(axis=1, keepdims=True), 1e-3)
    assert (np.abs(rough - exact) / scale).max() < 0.02


TREATED = ((4.0, "tocilizumab", 170.0), (8.0, "dexamethasone", 10.0), (8.0, "anakinra", 1.0))


@pytest.mark.parametrize("doses", [(), TREATED], ids=["no doses", "doses"])
def test_the_compiled_mechanism_is_the_one_that_libroadrunner_runs(doses: tuple[tuple[float, str, float], ...]) -> None:
    """libRoadRunner starts at 0: every 4 days it is begun anew with the states at the end, and what is given then."""
    model = load_model()
    people = patients(model, "axi-cel", "LBCL", 3, 2)
    times = np.linspace(0.0, 12.0, 25)
    given = Doses.none()
    for n in range(len(people)):
        given = joined(given, given_to([(t, model.states.index(s), amount) for t, s, amount in doses], n))
    ours = integrate(model, people.states, people.parameters, times, given, rtol=1e-9)

    fixed = dict(zip(model.parameters, people.parameters.T, strict=True))
    theirs, now = [people.states[:, None]], people.states.copy()
    for start in (0.0, 4.0, 8.0):
        for _, state, amount in (d for d in doses if d[0] == start):
            now[:, model.states.index(state)] += amount
        rows = fixed | dict(zip(model.states, now.T, strict=True))
        found = run_sbml(model.sbml, times[1:9], model.states, rows, rtol=1e-10, atol=1e-12, workers=1)
        assert not found.faults
        theirs.append(found.values)
        now = found.values[:, -1].copy()
    both = np.concatenate(theirs, axis=1)
    scale = np.maximum(both.max(axis=1, keepdims=True), 1e-6)
    assert (np.abs(ours - both) / scale).max() < 1e-5


def test_a_patient_is_the_same_whoever_is_simulated_beside_it() -> None:
    whole = course()
    parts = [simulate(replace(SCENARIO), n, 3, first=first) for first, n in ((0, 7), (7, 10), (17, N - 17))]
    assert np.array_equal(np.concatenate([p.states.values for p in parts]), whole.states.values)
    rest = [c for c in whole.timeline.columns if c != "event_id"]
    assert pl.concat([p.timeline.select(rest) for p in parts]).equals(whole.timeline.select(rest))
    assert pl.concat([p.given for p in parts]).equals(whole.given)
    assert not simulate(SCENARIO, N, 4).timeline.equals(whole.timeline)


def test_copies_are_the_same_people_and_differ_in_what_is_varied_alone() -> None:
    scenario = replace(SCENARIO, days=5.0)
    both = follow(scenario, 6, 3, first=2, copies=2, varied={"inflammation": np.repeat([1.0, 1.5], 6)})
    for copy, inflammation in enumerate((1.0, 1.5)):
        alone = follow(replace(scenario, changed=(("inflammation", inflammation),)), 6, 3, first=2)
        here = np.arange(6 * copy, 6 * copy + 6)
        assert np.array_equal(alone.values, both.values[here])
        rest = [c for c in both.charted(here).columns if c != "subject_id"]
        assert alone.charted(np.arange(6)).select(rest).equals(both.charted(here).select(rest))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_numbers_do_not_depend_on_the_workers(workers: int) -> None:
    again = simulate(SCENARIO, N, 3, workers=workers)
    assert np.array_equal(again.states.values, course().states.values)
    assert again.timeline.equals(course().timeline)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_has_the_same_bytes_whatever_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aftercar.simulate.run.PART", part := 2 * SHARD)
    scenario, n = replace(SCENARIO, policy="supportive", days=0.5), part + 300
    steps: list[tuple[int, int]] = []
    one = simulate_folder(scenario, n, 1, tmp_path / "one" / "t", workers=1)
    two = simulate_folder(scenario, n, 1, tmp_path / "two" / "t", workers=2, progress=lambda *step: steps.append(step))
    assert content(one) == content(two)
    assert steps == [(0, n), (part, n), (n, n)]
    timeline = open_timeline(two).scan().collect()
    assert timeline["subject_id"].n_unique() == n
    assert timeline["event_id"].n_unique() == timeline.height


@pytest.mark.slow
def test_grades_do_not_hang_on_the_tolerance() -> None:
    def shares(rtol: float) -> pl.DataFrame:
        timeline = simulate(SCENARIO, 400, 1, rtol=rtol).timeline
        worst = aftercar.grade_timeline(timeline, ["crs", "icans"]).worst
        return worst.group_by("toxicity", "grade").agg(share=100 * pl.len() / 400)

    both = shares(1e-3).join(shares(1e-8), on=["toxicity", "grade"], how="full", coalesce=True).fill_null(0.0)
    assert (both["share"] - both["share_right"]).abs().max() < 0.5


# ---- policies

WITH_RULES = [name for name, policy in policies(load_model()).items() if policy.rules]


def graded(timeline: pl.DataFrame, toxicities: list[str]) -> dict[tuple[int, str], list[tuple[float, int]]]:
    """Of each subject and toxicity the lower bounds as they could be graded then, with the hour from which each holds."""
    found: dict[tuple[int, str], list[tuple[float, int]]] = {}
    scales, options = scales_named(toxicities), Options(None)
    record, courses = opened(timeline.lazy(), codes_of(scales), options, hindsight=False)
    rows = grades_alone(record, courses, scales, options).filter(col("start").is_not_null(), col("status") != "not_applicable")
    for row in rows.sort("start").iter_rows(named=True):
        hour = (row["start"] - INFUSED).total_seconds() / 3600
        found.setdefault((row["subject_id"], row["toxicity"]), []).append((hour, row["grade"]))
    return found


def grade_at(spans: list[tuple[float, int]], hour: float) -> int:
    return next((grade for start, grade in reversed(spans) if start <= hour + 1e-9), 0)


def replayed(
    policy: Policy, subject: int, grades: dict[tuple[int, str], list[tuple[float, int]]], hours: list[float]
) -> list[tuple[float, str, float]]:
    """What the policy gives a subject whose grades are known from the beginning to the end: one round after the other, by its rules alone."""
    doses = [(h, g.drug, g.mg) for g in policy.protocol for h in g.hours]
    since: list[float | None] = [None] * len(policy.rules)
    fired: list[list[float]] = [[] for _ in policy.rules]
    for hour in hours:
        for k, rule in enumerate(policy.rules):
            held = all(grade_at(grades.get((subject, t), []), hour) >= least for t, least in rule.when.items())
            since[k] = (hour if since[k] is None else since[k]) if held else None
            began = since[k]
            waits = fired[k] and hour < fired[k][-1] + rule.again_h - 1e-9
            if began is None or hour - began < rule.for_h - 1e-9 or waits or len(fired[k]) >= rule.most:
                continue
            fired[k].append(hour)
            doses += [(hour + h, g.drug, g.mg) for g in rule.give for h in g.hours]
    return sorted((h + AFTER_H, drug, mg) for h, drug, mg in doses if h + AFTER_H <= hours[-1] + 1e-9)


@pytest.mark.parametrize("name", WITH_RULES)
def test_every_dose_is_explained_by_the_grades_of_the_final_timeline(name: str) -> None:
    """And none is missing: its rules, read by the grades of the whole record, give what was given."""
    policy = named(name, load_model())
    found = course(name)
    grades = graded(found.timeline, policy.toxicities)
    hours = [float(t) * 24 for t in found.states.times]
    given = 0
    for subject in range(1, N + 1):
        own = found.given.filter(subject_id=subject)
        doses = sorted(zip(own["day"] * 24, own["drug"], own["mg"], strict=True))
        expected = replayed(policy, subject, grades, hours)
        assert [(round(h, 6), d, mg) for h, d, mg in doses] == [(round(h, 6), d, mg) for h, d, mg in expected], subject
        given += len(doses)
    assert given > 0


def test_tocilizumab_keeps_its_interval_and_its_most() -> None:
    own = course("standard").given.filter(drug="tocilizumab").sort("subject_id", "day")
    assert own.group_by("subject_id").len()["len"].max() <= 3
    gaps = own.select((col("day") - col("day").shift().over("subject_id")) * 24)["day"].drop_nulls()
    assert gaps.len() > 0
    assert gaps.min() >= 8  # type: ignore[operator]


def test_supportive_care_gives_nothing_and_a_protocol_is_given_to_all() -> None:
    assert course("supportive").given.is_empty()
    own = course("supportive", drugs=("anakinra@day2-4", "dexamethasone:4@day1")).given
    assert own.group_by("subject_id").len()["len"].unique().to_list() == [6]
    assert own.filter(drug="anakinra", subject_id=1)["day"].to_list() == pytest.approx(
        [day + AFTER_H / 24 for day in (2.0, 2.5, 3.0, 3.5, 4.0)]
    )
    assert own.filter(drug="dexamethasone", subject_id=1).select("day", "mg").row(0) == pytest.approx((1.0 + AFTER_H / 24, 4.0))
    charted = course("supportive", drugs=("anakinra@day2-4",)).timeline.filter(code="anakinra")
    assert charted.height == 5 * N
    assert set(charted["unit"]) == {"mg"}


def test_a_decision_uses_only_what_was_charted_up_to_then() -> None:
    found = course("standard")
    whole = graded(found.timeline, ["crs", "icans"])
    decisions = found.given.unique(["subject_id", "day"], maintain_order=True).rows()[:: max(found.given.height // 12, 1)]
    assert len(decisions) > 5
    for subject, day, _, _ in decisions:
        hour = day * 24
        rows = found.timeline.filter(subject_id=subject)
        hours = (col("time") - pl.lit(INFUSED)).dt.total_seconds() / 3600
        drugs = col("code").is_in(load_model().tables["drugs"]["concept"].to_list())
        until = rows.filter((hours < hour - 1e-6) | ((hours <= hour + 1e-6) & ~drugs) | (col("code") == "record_complete"))
        cut = graded(until, ["crs", "icans"])
        for toxicity in ("crs", "icans"):
            assert grade_at(cut.get((subject, toxicity), []), hour) == grade_at(whole.get((subject, toxicity), []), hour)


@pytest.mark.parametrize("first", [0.25, 60.0])
def test_how_far_is_looked_ahead_changes_no_decision(first: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is graded further than the next decision is likely to come; the doses are those of grading every record to its end."""
    monkeypatch.setattr("aftercar.simulate.run.FIRST_LOOK_D", first)
    monkeypatch.setattr("aftercar.simulate.run.NEXT_LOOK_D", first)
    scenario = replace(SCENARIO, policy="cohort4")
    other = simulate(scenario, N, 3, rtol=1e-7)
    monkeypatch.undo()
    usual = simulate(scenario, N, 3, rtol=1e-7)
    assert other.given.equals(usual.given) and usual.given.height > N
    assert np.allclose(other.states.values, usual.states.values, rtol=1e-4, atol=1e-4)


def test_a_policy_changes_nothing_before_its_first_dose() -> None:
    plain, treated = course("supportive"), course("standard")
    first = dict(treated.given.group_by("subject_id").agg(col("day").min()).iter_rows())
    assert first
    for subject in range(1, N + 1):
        before = treated.states.times <= first.get(subject, np.inf)
        assert np.array_equal(plain.states.values[subject - 1][before], treated.states.values[subject - 1][before])
    subject, day = min(first.items())
    assert not np.array_equal(plain.states.values[subject - 1], treated.states.values[subject - 1])
    charted = [
        c.timeline.filter(col("subject_id") == subject, col("time") <= INFUSED + pl.duration(seconds=round(day * 86400)), ~col("code").is_in(["tocilizumab", "dexamethasone"]))
        .drop("event_id") for c in (plain, treated)
    ]  # fmt: skip
    assert charted[0].equals(charted[1])


# ---- what is charted


def test_a_chart_is_a_timeline_of_plausible_concepts() -> None:
    for found in (course(), course("dasatinib_pause", product="cilta-cel", disease="MM")):
        timeline = found.timeline
        assert set(timeline["code"]) <= set(concepts())
        for (code,), rows in timeline.group_by("code"):
            item = concept(str(code))
            if item.plausible and rows["unit"].drop_nulls().unique().to_list() in ([], [item.unit]):
                low, high = item.plausible
                assert rows["numeric_value"].drop_nulls().is_between(low, high).all(), code
            if item.values:
                assert set(rows["text_value"].drop_nulls()) <= set(item.values), code
        ice = timeline.filter(code="ice")["numeric_value"]
        assert ice.len() > 0
        assert ice.is_between(0, 10).all()
        assert (ice == ice.round()).all()
        assert set(timeline["source"]) == {"simulation"}
        ends = timeline.select((col("end_time") >= col("time")).drop_nulls().all()).item()
        assert ends


def test_nothing_of_a_chart_is_rejected_when_it_is_read_as_a_table(tmp_path: Path) -> None:
    timeline = course().timeline
    path = tmp_path / "chart.csv"
    timeline.drop("event_id", "source").write_csv(path)
    read = aftercar.read(path)
    assert read.rejected.is_empty()
    assert read.accepted == timeline.height
    same = ["subject_id", "code", "time", "numeric_value", "text_value"]
    converted = timeline.filter(col("unit") != col("code").replace_strict({c: concept(c).unit for c in concepts()}))[
        "code"
    ].unique()
    kept = set(timeline["code"]) - {*converted, "record_complete"}  # the reader declares one more stream complete
    rows = [t.filter(col("code").is_in(kept)).select(same).sort(same) for t in (read.timeline, timeline)]
    assert rows[0].height > timeline.height / 2
    assert rows[0].equals(rows[1])


def test_every_result_says_that_it_is_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    timeline, grades = tmp_path / "t", tmp_path / "g"
    words = [
        *COMMAND,
        "--n",
        "5",
        "--days",
        "10",
        "--out",
        timeline,
        "--drug",
        "anakinra@day1-2",
    ]
    code, out, _ = run(
        *words, "--set", "inflammation=1.2", "--seed", "7", "--plot", tmp_path / "s.svg", "--plot-patient", "4", capsys=capsys
    )
    assert code == 0
    assert "not a prediction for a person" in out
    told = json.loads((timeline / "import.json").read_text())
    assert (told["simulated"], told["banner"], told["subjects"]) == (True, BANNER, 5)
    assert told["read"] == told["accepted"] == told["timeline_rows"] == open_timeline(timeline).scan().collect().height
    assert told["simulation"] | {"model": ""} == {
        "product": "axi-cel", "disease": "LBCL", "policy": "standard", "drugs": ["anakinra@day1-2"], "changed": [["inflammation", 1.2]],
        "days": 10.0, "folder": None, "policy_from_d": 0.0, "n": 5, "seed": 7, "rtol": running.RTOL, "model": "",
    }  # fmt: skip
    # The scenario alone makes the same patients again.
    again = Scenario(
        **{k: told["simulation"][k] for k in ("product", "disease", "policy", "days")},
        drugs=("anakinra@day1-2",),
        changed=(("inflammation", 1.2),),
    )
    assert simulate(again, 5, 7).timeline.drop("event_id").equals(open_timeline(timeline).scan().collect().drop("event_id"))
    grade_folder(timeline, grades)
    made = json.loads((grades / "run.json").read_text())
    assert (made["simulated"], made["timeline_note"]) == (True, BANNER)
    write_report(grades, grades / "report.html", timeline=open_timeline(timeline).scan())
    page = (grades / "report.html").read_text()
    assert BANNER in page
    assert page.count("Virtual patient: simulated, not a person") == 5
    assert "simulated" in (tmp_path / "s.svg").read_text()
    assert "Virtual patient 4, seed 7" in (tmp_path / "s-patient-4.svg").read_text()


# ---- figures


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_figure_of_states_names_its_axes_and_says_simulated() -> None:
    words = texts(states_figure(course().states, SCENARIO))
    assert f"axi-cel in LBCL, policy standard: {N} virtual patients, simulated" in words
    drawn = sum(len(s) for s in STATES.values())
    assert words.count("days since infusion") == drawn
    assert sum(bool(re.match(r"(relative|.*/L|.*/mL|.*/dL|.*/µL)(, log scale)?$", w)) for w in words) == drawn
    assert {"5 to 95 %", "25 to 75 %", "median patient", "IL-6"} <= set(words)
    few = texts(states_figure(course().states, SCENARIO, ["crp", "tocilizumab", "stem_cells", "igg", "il6_cns"]))
    assert few.count("days since infusion") == 5


def test_the_bands_hold_what_they_say() -> None:
    """A state that is the number of the patient at all times: the bands are its quantiles, on a linear axis from 0 to 100."""
    found = course()
    model = load_model()
    values = np.zeros((101, len(found.states.times), len(model.states)))
    values[:, :, model.states.index("igg")] = np.arange(101)[:, None] + 0.0
    svg = states_figure(replace(found.states, values=values), SCENARIO, ["igg"])
    root = ElementTree.fromstring(svg)
    ns = "{http://www.w3.org/2000/svg}"
    ticks = {e.text: float(e.attrib["y"]) - 3.7 for e in root.iter(f"{ns}text") if e.attrib.get("text-anchor") == "end"}
    zero, hundred = ticks["0"], ticks["100"]
    paths = [e.attrib for e in root.iter(f"{ns}path") if e.attrib.get("class") in ("most", "half")]
    first = {p["class"]: float(p["d"].split("l")[0].split(" ")[1]) for p in paths}
    level = {cls: (zero - y) / (zero - hundred) * 100 for cls, y in first.items()}
    assert level["most"] == pytest.approx(5, abs=0.2)
    assert level["half"] == pytest.approx(25, abs=0.2)


def test_the_figure_of_a_patient_holds_states_chart_doses_and_grades() -> None:
    subject = int(course().given["subject_id"][0])
    svg = patient_figure(course(), SCENARIO, subject)
    words = texts(svg)
    assert f"Virtual patient {subject}, seed 3: axi-cel in LBCL, policy standard; simulated" in words
    panels = {
        "CAR-T cells",
        "Cytokines",
        "Brain",
        "Temperature",
        "Blood pressure",
        "Oxygen",
        "Neurology",
        "CRP",
        "Ferritin",
        "ANC",
        "Platelets",
        "CRS",
        "ICANS",
    }
    assert panels <= set(words)
    assert {"°C", "mmHg", "SpO₂ %", "ICE, 0–10", "mg/L", "cells/µL, log scale", "pg/mL, log scale"} <= set(words)
    assert set(course().given.filter(subject_id=subject)["drug"]) <= set(words)


def test_figures_refuse_what_is_not_there() -> None:
    with pytest.raises(OptionError, match=r"No state is called 'il_6'.*il6"):
        states_figure(course().states, SCENARIO, ["il_6"])
    with pytest.raises(OptionError, match=f"No virtual patient {N + 1} was simulated; there are {N}"):
        patient_figure(course(), SCENARIO, N + 1)


# ---- errors


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"product": "axicel"}, r"no product 'axicel' in products\.csv.*axi-cel"),
        ({"disease": "LBLC"}, r"no disease 'LBLC' in diseases\.csv.*LBCL"),
        ({"policy": "standart"}, "no policy 'standart'.*standard"),
        ({"drugs": ("anakinro",)}, "no drug 'anakinro'.*anakinra"),
        ({"drugs": ("anakinra@day10-2",)}, "the last day comes before the first"),
        ({"drugs": ("anakinra@2",)}, "write a drug such as"),
        ({"changed": (("inflamation", 1.0),)}, "no 'inflamation'.*inflammation"),
        ({"days": 0.0}, "between 0 and 3650 days"),
        ({"days": -1.0}, "between 0 and 3650 days"),
        ({"drugs": ("anakinra@day100",)}, "begins after the .* days that are charted"),
        ({"changed": (("inflammation", -1.0),)}, "inflammation=-1: must be a number, 0 or more"),
        ({"changed": (("inflammation", math.nan),)}, "must be a number, 0 or more"),
    ],
)
def test_a_wrong_scenario_is_told_before_anything_is_written(change: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=said):
        simulate_folder(replace(SCENARIO, **change), 5, 1, tmp_path / "t")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "inflammation=x"], "OptionError: --set inflammation: 'x' is not a number."),
        (["--set", "inflammation"], "OptionError: "),
        (["--drug", "anakinra@day10-2"], "OptionError: 'anakinra@day10-2': the last day comes before the first."),
        (["--n", "0"], "greater than or equal to 1"),
        (["--seed", "18446744073709551616"], "less than or equal to"),
        (["--plot", "s.png"], "OptionError: --plot writes SVG"),
        (["--plot-patient", "1"], "OptionError: --plot-patient"),
        (["--plot", "s.svg", "--plot-patient", "9"], "OptionError: --plot-patient"),
    ],
)
def test_the_command_says_what_is_wrong(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*COMMAND, "--n", "5", "--out", tmp_path / "t", *words]
    code, _, err = run(*given, capsys=capsys)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def own_table(
    folder: Path, name: str, change: Callable[[list[dict[str, str]]], None], columns: tuple[str, ...] | None = None
) -> Path:
    """A folder with one table of the model, changed."""
    with (MODEL / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(tables.DictReader(file))
    change(rows)
    with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = tables.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.mark.parametrize(
    ("name", "column", "value", "said"),
    [
        ("parameters", "value", "fast", r"parameters\.csv, row 4, value: not a number"),
        ("parameters", "confidence", "X", r"parameters\.csv, row 4, confidence: one of L, S, K, C"),
        ("variability", "sd_log", "0,3", r"variability\.csv, row 4, sd_log: not a number"),
        ("variability", "parameter", "tumor", r"variability\.csv, row 4, parameter: the model has no 'tumor'"),
        ("products", "parameter", "speed", r"products\.csv, row 4, parameter: the model has no 'speed'"),
        ("diseases", "confidence", "", r"diseases\.csv, row 4, confidence: one of L, S, K, C"),
        ("drugs", "state", "aspirin", r"drugs\.csv, row 4, state: the model has no state 'aspirin'"),
    ],
)
def test_a_table_of_ones_own_that_is_broken_is_told_with_row_and_column(
    name: str, column: str, value: str, said: str, tmp_path: Path
) -> None:
    own = own_table(tmp_path, name, lambda rows: rows[2].update({column: value}))
    with pytest.raises(InputError, match=said):
        load_model(own)


def test_a_table_without_a_column_and_a_structure_that_is_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"drugs\.csv: the column per_mg is missing"):
        load_model(own_table(tmp_path, "drugs", lambda rows: None, tuple(c for c in TABLES["drugs"] if c != "per_mg")))
    (broken := tmp_path / "broken").mkdir()
    (broken / "car_t.ant").write_text("model car_t\n  a' = ;\nend\n")
    with pytest.raises(InputError):
        load_model(broken)
    with pytest.raises(InputError, match="no such folder"):
        load_model(tmp_path / "nowhere")
    (toml := tmp_path / "toml").mkdir()
    (toml / "policies.toml").write_text("[mine\n")
    with pytest.raises(InputError, match=r"policies\.toml is not TOML"):
        simulate(replace(SCENARIO, folder=str(toml)), 1, 1)
    (toml / "policies.toml").write_text('[mine]\ntitle = "x"\n[[mine.rule]]\nwhen = { crs = 2 }\n')
    with pytest.raises(InputError, match=r"policies\.toml, mine: 'give'"):
        simulate(replace(SCENARIO, folder=str(toml)), 1, 1)


def test_a_table_of_ones_own_stands_in_for_ours_alone(tmp_path: Path) -> None:
    def more(rows: list[dict[str, str]]) -> None:
        rows += [{**rows[0], "product": "my-cel", "parameter": "car_infused", "value": "77"}]

    own = load_model(own_table(tmp_path, "products", more))
    assert values_of(own, "My-Cel", "LBCL")["car_infused"] == 77
    assert own.sbml == load_model().sbml
    assert own.tables["drugs"].equals(load_model().tables["drugs"])


@pytest.mark.parametrize(
    ("text", "mg", "hours"),
    [
        ("tocilizumab", 600.0, (0.0,)),
        ("tocilizumab@day3.5", 600.0, (84.0,)),
        ("anakinra@day1-2", 100.0, (24.0, 36.0, 48.0)),
        ("dexamethasone:20@day0-0.5", 20.0, (0.0, 6.0, 12.0)),
        ("lenzilumab@day1-9", 1800.0, (24.0,)),
    ],
)
def test_a_drug_is_asked_for_in_words(text: str, mg: float, hours: tuple[float, ...]) -> None:
    found = asked(text, load_model())
    assert (found.mg, found.hours) == (mg, hours)


def test_the_page_names_all_that_can_be_asked_for() -> None:
    page = (Path(__file__).parents[1] / "docs" / "simulate.md").read_text(encoding="utf-8")
    model = load_model()
    words = [*policies(model), *(c for columns in TABLES.values() for c in columns), *(f"{t}.csv" for t in TABLES)]
    assert [w for w in words if f"`{w}`" not in page] == []
    names = {*model.tables["products"]["product"], *model.tables["diseases"]["disease"], *model.tables["drugs"]["drug"]}
    assert [n for n in sorted(names) if not re.search(rf"\b{n}\b", page)] == []
    assert {"inflammation", "monocyte_supply", "monocyte", "tak1", "gmcsf_knockout"} <= {*model.states, *model.parameters}


# ---- stopped runs

STOPPED = """
import os, signal, sys
from aftercar.serve import cli
from aftercar.simulate import run
real, how = run._write, getattr(signal, sys.argv.pop())
def write(*job):
    real(*job)
    os.kill(os.getpid(), how)
run._write = write
cli.main()
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
@pytest.mark.parametrize("before", [False, True], ids=["new", "again"])
def test_a_stopped_run_leaves_what_stood_there(how: str, before: bool, tmp_path: Path) -> None:
    out = tmp_path / "t"
    if before:
        simulate_folder(replace(SCENARIO, days=1.0), 2, 1, out)
    stood = content(out)
    words = [
        *COMMAND,
        "--n",
        "3",
        "--days",
        "1",
        "--workers",
        "1",
        "--out",
        out,
        how,
    ]
    done = subprocess.run([sys.executable, "-c", STOPPED, *map(str, words)], check=False, capture_output=True, text=True)
    assert done.returncode == {"SIGINT": 130, "SIGKILL": -9}[how], done.stderr
    assert content(out) == stood
    assert out.exists() == before
    assert bool(list(tmp_path.glob(".t.*.part"))) == (how == "SIGKILL")
    simulate_folder(replace(SCENARIO, days=1.0), 3, 1, out)
    assert not list(tmp_path.glob(".t.*.part"))
    assert open_timeline(out).info["subjects"] == 3


def test_an_interrupt_ends_all_processes_of_a_run(tmp_path: Path) -> None:
    """As Ctrl-C does: the whole group of processes is told."""
    out = tmp_path / "t"
    words = [
        *COMMAND,
        "--n",
        str(160 * SHARD),
        "--days",
        "1",
        "--policy",
        "supportive",
        "--workers",
        "2",
        "--out",
        out,
    ]
    begun = subprocess.Popen(
        [sys.executable, "-m", "aftercar", *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    while begun.poll() is None and not list(tmp_path.glob(".t.*.part/data/*")):
        time.sleep(0.05)
    os.killpg(begun.pid, signal.SIGINT)
    _, err = begun.communicate()
    assert begun.returncode == 130, err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


OBSERVATION = (MODEL / "observation.toml").read_text(encoding="utf-8")
POLICIES = """
[mine]
title = "mine"
source = "local"
confidence = "C"
[[mine.rule]]
when = {when}
give = [{{ drug = "dexamethasone", {dose} }}]
{more}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OBSERVATION.replace("early_h = 6 ", "early_h = 0 "), r"rounds\.early_h: must be above 0"),
        (OBSERVATION.replace("early_h = 6 ", 'early_h = "six" '), r"rounds\.early_h: must be a number"),
        (OBSERVATION.replace("early_h = 6 ", "early_h = 7 "), r"laboratory_h: must be a multiple of early_h"),
        (OBSERVATION.replace("[temperature]", "[temperatures]"), "temperature: is missing"),
        ("[rounds]\nearly_h = 6\n", "observation.toml, .*: is missing"),
        (OBSERVATION.replace('unit = "mg/L"\nnoise = 0.1', 'unit = "mg/L"'), r"laboratory\.crp\.noise: is missing"),
        (OBSERVATION.replace('unit = "mg/L"', 'unit = "mg/dL"'), r"laboratory\.crp\.unit: must be mg/L"),
        (OBSERVATION.replace("[laboratory.crp]", "[laboratory.crpp]"), r"crpp: no concept\. .*crp"),
        (OBSERVATION.replace('state = "crp"', 'state = "c_reactive"'), "no state 'c_reactive'"),
        ("[rounds\n", "is not TOML"),
    ],
)
def test_an_observation_map_that_is_wrong_is_told_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "observation.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        simulate(replace(SCENARIO, folder=str(tmp_path)), 2, 1)


@pytest.mark.parametrize(
    ("when", "dose", "more", "said"),
    [
        ("{ crs = 9 }", "mg = 10", "", "crs = 9; a toxicity is"),
        ("{ cytopenia = 2 }", "mg = 10", "", "cytopenia = 2; a toxicity is"),
        ("{ crs = 2 }", "mg = 10, mg_per_kg = 1", "", "either mg or mg_per_kg"),
        ("{ crs = 2 }", "mg = -5", "", "mg: must be a number, 0 or more"),
        ("{ crs = 2 }", "mg = 10", "again = 8", "'again' is not known.*again_h"),
        ("{ crs = 2 }", "mg = 10, most_ = 8", "", "'most_' is not known.*most_mg"),
    ],
)
def test_a_policy_that_is_wrong_is_told(when: str, dose: str, more: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "policies.toml").write_text(POLICIES.format(when=when, dose=dose, more=more), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        simulate(replace(SCENARIO, policy="mine", folder=str(tmp_path)), 2, 1)


def test_files_that_nothing_reads_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file of the model there"):
        load_model(tmp_path)
    (tmp_path / "parameter.csv").write_text("name,value\n")
    with pytest.raises(InputError, match=r"parameter\.csv is no file of the model.*parameters\.csv"):
        load_model(tmp_path)


def test_a_record_names_product_and_disease_and_leaves_no_scale_of_crs_open() -> None:
    found = course()
    infusion = found.timeline.filter(code="cart_infusion")
    assert infusion["text_value"].unique().to_list() == [SCENARIO.product]
    assert found.timeline.filter(code="disease")["text_value"].unique().to_list() == [SCENARIO.disease]
    scales = [
        "crs_astct2019",
        "crs_lee2014",
        "crs_penn2018",
        "crs_mskcc",
        "crs_ctcae5",
        "crs_cartox",
        "icans_astct",
        "neuro_ctcae",
    ]
    worst = aftercar.grade_timeline(found.timeline, scales).worst
    assert worst.filter(col("grade") < col("grade_upper")).is_empty()
    # The words of CTCAE are charted, too: who has ICANS has a neurologic event.
    grades = worst.pivot(on="scale", index="subject_id", values="grade")
    assert grades.filter((col("icans_astct") >= 2) & (col("neuro_ctcae") == 0)).is_empty()


def test_a_model_may_use_words_of_python_as_names() -> None:
    found = equations(to_sbml("model m\n y = 1; p = 2; lambda_ = 3; y' = -p*y + lambda_*t; t = 0.5;\nend"))
    kernel(found.source())
    assert list(found.states) == ["y"]
    assert set(found.parameters) == {"p", "lambda_", "t"}


def test_a_timeline_of_records_is_not_replaced_by_a_simulated_one(tmp_path: Path) -> None:
    simulate_folder(SCENARIO, 2, 1, tmp_path / "virtual")
    simulate_folder(SCENARIO, 2, 2, tmp_path / "virtual")
    shown = tmp_path / "virtual" / "import.json"
    shown.write_text(json.dumps({k: v for k, v in json.loads(shown.read_text()).items() if k != "simulation"}))
    with pytest.raises(InputError, match="was not simulated here"):
        simulate_folder(SCENARIO, 2, 1, tmp_path / "virtual")


def test_the_source_is_the_same_in_every_process() -> None:
    """Else each process would compile anew."""
    code = "from aftercar.simulate.model import load_model; print(hash_of(load_model().equations.source()))"
    code = "import hashlib\nhash_of = lambda t: hashlib.sha256(t.encode()).hexdigest()\n" + code
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


COMPILES = """
from aftercar.simulate.compiled import kernel
from aftercar.simulate.model import load_model
from aftercar.simulate.run import Scenario, simulate
simulate(Scenario("axi-cel", "LBCL", days=1.0), 1, 1)
print(sum(kernel(load_model().equations.source()).ensemble.stats.cache_misses.values()))
"""


@pytest.mark.slow
def test_of_two_processes_at_once_one_compiles(tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", COMPILES],
            env={**os.environ, "AFTERCAR_CACHE": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert sorted(one.communicate()[0].strip() for one in both) == ["0", "1"]
