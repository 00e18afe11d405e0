"""Trial designs: boundaries and tests against published values and enumeration, trials at once against one after another, and one seed, one result."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aftercar.errors import AftercarError, InputError, OptionError
from aftercar.files import KINDS
from aftercar.grade.run import grade_timeline
from aftercar.report.trial import trial_figure
from aftercar.simulate.population import generator
from aftercar.simulate.run import Scenario, simulate
from aftercar.trial import compare
from aftercar.trial.boundary import Boundary, boundary, operating
from aftercar.trial.design import Accrual, Comparison, Component, Design, Endpoint, Stop, Stopping
from aftercar.trial.endpoint import events
from aftercar.trial.pool import Job, Part, on_this_machine
from aftercar.trial.randomise import allocation, arrivals, permuted, rank_within
from aftercar.trial.read import design_of, read_design
from aftercar.trial.replicate import Stopped, stopped
from aftercar.trial.run import Outcome, run_trial, write_trial

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "trial" / "design.toml"
TEXT = """
title = "A small trial"
[population]
product = "axi-cel"
disease = "LBCL"
[[arm]]
name = "control"
n = 6
policy = "pivotal"
[[arm]]
name = "early"
n = 6
policy = "cohort4"
[randomisation]
blocks = [4]
[endpoint]
name = "severe CRS"
by_day = 7
any_of = [{ scale = "crs", grade = 2 }]
[test]
method = "fisher"
[stopping]
method = "pocock"
limit = 0.3
chance = 0.2
[accrual]
per_week = 2
"""
HERE = on_this_machine(1)


def changed(*pairs: tuple[str, str], text: str = TEXT) -> str:
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


# ---- boundaries


def test_a_pocock_boundary_is_as_published() -> None:
    """Printed by the R package stoppingrule 0.1 for 50 patients, 20 %, 10 %. (Its expected events are not: see below.)"""
    found = boundary(Stopping("pocock", limit=0.2, chance=0.1), 50)
    assert found.events[:6].tolist() == [2, 3, 3, 3, 4, 4]
    assert found.steps() == [
        (3, 4, 3), (5, 6, 4), (7, 9, 5), (10, 12, 6), (13, 16, 7), (17, 19, 8), (20, 23, 9), (24, 26, 10), (27, 30, 11), (31, 34, 12), (35, 38, 13),
        (39, 41, 14), (42, 45, 15), (46, 49, 16), (50, 50, 17),
    ]  # fmt: skip
    at = operating(found, [0.2, 0.25, 0.3, 0.35, 0.4])
    np.testing.assert_allclose(at.stops, [0.09977254, 0.27689051, 0.53974016, 0.78266569, 0.92684148], atol=5e-9)
    np.testing.assert_allclose(at.patients, [46.72419, 41.93172, 34.66321, 26.59365, 19.62976], atol=5e-6)


def test_a_bayesian_boundary_is_as_published() -> None:
    """Printed by the same package, 0.4, for 30 patients, 20 %, 10 % and the prior (0.6, 2.4): also by a posterior probability of about 0.96308."""
    found = boundary(Stopping("bayes", limit=0.2, chance=0.1, prior=(0.6, 2.4)), 30)
    assert found.steps() == [
        (3, 4, 3), (5, 6, 4), (7, 10, 5), (11, 13, 6), (14, 17, 7), (18, 20, 8), (21, 24, 9), (25, 28, 10), (29, 30, 11),
    ]  # fmt: skip
    at = operating(found, [0.2, 0.25, 0.3, 0.35, 0.4])
    np.testing.assert_allclose(at.stops, [0.09957367, 0.23832301, 0.43615256, 0.64555222, 0.81491087], atol=5e-9)
    np.testing.assert_allclose(at.events, [5.651197, 6.536293, 6.926712, 6.819377, 6.355803], atol=5e-7)
    by_certainty = boundary(Stopping("bayes", limit=0.2, certainty=0.9631, prior=(0.6, 2.4)), 30)
    assert by_certainty.events.tolist() == found.events.tolist()


def test_boundaries_by_hand() -> None:
    # A flat prior and one event in one patient: 1 - 0.5^2 above one half. None in one: 0.5^2.
    assert boundary(Stopping("bayes", limit=0.5, certainty=0.74), 1).events.tolist() == [1]
    assert boundary(Stopping("bayes", limit=0.5, certainty=0.76), 1).events.tolist() == [2]
    # One look at two patients: both events have probability 0.09, one or both 0.51.
    for chance, least in ((0.08, 3), (0.09, 2), (0.5, 2), (0.51, 1)):
        told = Stopping("pocock", limit=0.3, chance=chance + 1e-12, first=2)
        assert boundary(told, 2).events.tolist() == [least]
    own = boundary(Stopping("table", at=(Stop(events=1, of=1), Stop(events=2, of=3))), 4)
    at = operating(own, [0.5])
    # An event in the first; else one in each of the next two; else all four are seen.
    np.testing.assert_allclose(at.at_look, [[0.5, 0.125, 0.0]], atol=1e-15)
    assert at.patients[0] == pytest.approx(0.5 * 1 + 0.125 * 3 + 0.375 * 4)


def test_obrien_fleming_is_strict_early_and_pocock_late() -> None:
    told = {m: boundary(Stopping(m, limit=0.3, chance=0.05, first=5, every=5), 40) for m in ("pocock", "obrien_fleming")}  # type: ignore[arg-type]
    gap = told["obrien_fleming"].events - told["pocock"].events
    assert gap[0] > 0 > gap[-1]
    assert all(0.02 < operating(b, [0.3]).stops[0] <= 0.05 for b in told.values())


def test_a_boundary_that_cannot_be_reached_has_no_steps() -> None:
    found = boundary(Stopping("pocock", limit=0.5, chance=0.2), 1)
    assert found.steps() == [] and operating(found, [0.0, 1.0]).stops.tolist() == [0.0, 0.0]


def test_the_last_look_is_at_everybody() -> None:
    assert boundary(Stopping("pocock", limit=0.3, chance=0.05, first=3, every=4), 12).n.tolist() == [3, 7, 11, 12]
    assert boundary(Stopping("pocock", limit=0.3, chance=0.05, first=20), 12).n.tolist() == [12]


@st.composite
def small_boundaries(draw: st.DrawFn) -> Boundary:
    patients = draw(st.integers(1, 8))
    looks = sorted(draw(st.sets(st.integers(1, patients), min_size=1)) | {patients})
    return Boundary(np.array(looks), np.array([draw(st.integers(1, n + 1)) for n in looks]))


@given(small_boundaries(), st.floats(0, 1))
def test_the_recursion_is_the_sum_over_all_courses(found: Boundary, rate: float) -> None:
    """Every course of events in up to eight patients, one after another."""
    stops, patients, seen = 0.0, 0.0, 0.0
    last = int(found.n[-1])
    for course in product((0, 1), repeat=last):
        chance = math.prod(rate if event else 1 - rate for event in course)
        at = next((n for n, least in zip(found.n, found.events, strict=True) if sum(course[:n]) >= least), None)
        stops += chance * (at is not None)
        patients += chance * (at or last)
        seen += chance * sum(course[: at or last])
    got = operating(found, [rate])
    np.testing.assert_allclose([got.stops[0], got.patients[0], got.events[0]], [stops, patients, seen], atol=1e-12)
    np.testing.assert_allclose(got.events, rate * got.patients, atol=1e-12)  # Wald's identity


@given(
    st.sampled_from(["pocock", "obrien_fleming", "bayes"]), st.floats(0.02, 0.9), st.floats(0.005, 0.5), st.integers(2, 30), st.integers(1, 6)
)  # fmt: skip
def test_a_boundary_keeps_its_chance_and_no_looser_one_does(
    method: str, limit: float, chance: float, patients: int, every: int
) -> None:
    told = Stopping(method, limit=limit, chance=chance, every=every)  # type: ignore[arg-type]
    found = boundary(told, patients)
    assert operating(found, [limit]).stops[0] <= chance
    assert (np.diff(found.events) >= 0).all()
    looser = boundary(replace(told, chance=min(chance * 1.5, 0.99)), patients)
    assert (looser.events <= found.events).all()
    if (looser.events < found.events).any():
        assert operating(looser, [limit]).stops[0] > chance


# ---- tests of counts


@pytest.mark.parametrize("sides", ["two", "lower", "higher"])
def test_fisher_and_chi_square_are_those_of_scipy(sides: compare.Sides) -> None:
    n, control = 7, 9
    ours, chi = compare.fisher(n, control, sides), compare.chi_square(n, control, sides)
    word = {"two": "two-sided", "lower": "less", "higher": "greater"}[sides]
    for own, other in product(range(n + 1), range(control + 1)):
        table = [[own, n - own], [other, control - other]]
        assert ours[own, other] == pytest.approx(stats.fisher_exact(table, alternative=word).pvalue, abs=1e-12)
        if 0 < own + other < n + control:
            p = stats.chi2_contingency(table, correction=False).pvalue
            lower = own / n < other / control
            one_sided = p / 2 if lower == (sides == "lower") else 1 - p / 2
            assert chi[own, other] == pytest.approx(p if sides == "two" else one_sided, abs=1e-12)


def test_unconditional_tests_are_those_of_scipy() -> None:
    """SciPy looks for the worst common rate by another search: both are within a thousandth of the true one."""
    n, control = 8, 11
    ours = {s: (compare.boschloo(n, control, s), compare.barnard(n, control, s)) for s in ("lower", "two")}
    for own, other in [(1, 7), (0, 4), (3, 6), (7, 2), (4, 5)]:
        table = [[own, other], [n - own, control - other]]  # columns are the arms there
        less = stats.boschloo_exact(table, alternative="less", n=256).pvalue
        assert ours["lower"][0][own, other] == pytest.approx(less, rel=2e-3)
        for sides, word in (("lower", "less"), ("two", "two-sided")):
            assert ours[sides][1][own, other] == pytest.approx(
                stats.barnard_exact(table, alternative=word, n=256).pvalue, rel=2e-3
            )  # type: ignore[index]


@pytest.mark.parametrize("sides", ["two", "lower", "higher"])
def test_the_exact_binomial_test_is_that_of_scipy(sides: compare.Sides) -> None:
    word = {"two": "two-sided", "lower": "less", "higher": "greater"}[sides]
    ours = compare.exact_binomial(17, 0.3, sides)
    assert ours == pytest.approx([stats.binomtest(k, 17, 0.3, alternative=word).pvalue for k in range(18)], abs=1e-12)


@settings(max_examples=12)
@given(
    st.sampled_from(["fisher", "boschloo", "barnard"]), st.sampled_from(["two", "lower", "higher"]), st.integers(1, 14), st.integers(1, 14),
    st.sampled_from([0.01, 0.05, 0.1, 0.3]),
)  # fmt: skip
def test_exact_tests_keep_alpha_at_every_common_rate(
    method: str, sides: compare.Sides, n: int, control: int, alpha: float
) -> None:
    p = compare.TABLES[method](n, control, sides)
    rates = np.linspace(0, 1, 1_001)  # those of the unconditional tests, too: between them they may be off by a hair
    sizes = [float(compare.power(p <= alpha, np.array([rate]), rate)[0]) for rate in rates]
    assert max(sizes) <= alpha + 1e-9


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["two", "lower", "higher"]))
def test_boschloo_is_never_above_fisher(n: int, control: int, sides: compare.Sides) -> None:
    assert (compare.boschloo(n, control, sides) <= compare.fisher(n, control, sides) + 1e-9).all()


@pytest.mark.parametrize("method", sorted(compare.TABLES))
def test_arms_that_change_places_change_sides(method: str) -> None:
    lower, higher = compare.TABLES[method](5, 8, "lower"), compare.TABLES[method](8, 5, "higher")
    np.testing.assert_allclose(lower, higher.T, atol=1e-9)
    two, turned = compare.TABLES[method](5, 8, "two"), compare.TABLES[method](8, 5, "two")
    np.testing.assert_allclose(two, turned.T, atol=1e-9)


@given(st.integers(2, 30), st.integers(2, 30), st.floats(0.01, 0.5), st.data())
def test_the_restricted_rate_is_the_likeliest(n: int, control: int, margin: float, data: st.DataObject) -> None:
    own, other = data.draw(st.integers(0, n)), data.draw(st.integers(0, control))

    def likelihood(rate: np.ndarray) -> np.ndarray:
        return stats.binom.logpmf(own, n, rate) + stats.binom.logpmf(other, control, np.clip(rate - margin, 0, 1))

    found = compare.restricted(np.array([[own / n]]), np.array([[other / control]]), n, control, margin)[0]
    best = likelihood(np.linspace(margin, 1, 4_001)).max()
    assert margin <= found[0] <= 1
    assert likelihood(found)[0] >= best - 1e-6


def test_non_inferiority_without_a_margin_is_the_score_test() -> None:
    score, test = compare.chi_square(9, 7, "lower"), compare.farrington_manning(9, 7, 0.0)
    np.testing.assert_allclose(test[1:-1, 1:-1], score[1:-1, 1:-1], atol=1e-9)
    assert (np.diff(compare.farrington_manning(20, 20, 0.1), axis=0) >= -1e-12).all()  # more events are never less


def test_non_inferiority_keeps_alpha_about_the_margin() -> None:
    """An asymptotic test: a little above alpha for some rates."""
    rejected = compare.farrington_manning(100, 100, 0.1) <= 0.025
    sizes = [float(compare.power(rejected, np.array([rate + 0.1]), rate)[0]) for rate in (0.1, 0.2, 0.3, 0.4)]
    assert min(sizes) > 0.02 and max(sizes) < 0.031


def test_an_arm_that_stays_empty_finds_nothing() -> None:
    assert compare.p_values(Comparison("fisher"), 0, 5).tolist() == [[1.0] * 6]


# ---- randomisation


@given(
    st.sets(st.integers(1, 4), min_size=1),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.integers(1, 40),
    st.integers(0, 99),
)
def test_every_block_holds_its_ratio(multiples: set[int], shares: list[int], n: int, seed: int) -> None:
    sizes = tuple(m * sum(shares) for m in sorted(multiples))
    (arms,) = permuted(sizes, shares, 1, n, np.random.default_rng(seed))
    # Some way to cut the list into blocks of these sizes must leave each one whole.
    ends = {0}
    for end in range(1, n + 1):
        for size in sizes:
            block = arms[end - size : end]
            if (
                end - size in ends
                and len(block) == size
                and all((block == k).sum() * sum(shares) == s * size for k, s in enumerate(shares))
            ):
                ends.add(end)
    assert len(arms) == n and any(n - end < max(sizes) for end in ends)


def test_a_block_is_in_any_order() -> None:
    lists = permuted((4,), [1, 1], 6_000, 4, np.random.default_rng(1))
    orders, counts = np.unique(lists, axis=0, return_counts=True)
    assert len(orders) == 6 and stats.chisquare(counts).pvalue > 1e-3
    sizes = np.array(
        [[len(np.unique(row[:2])) == 2 for row in permuted((2, 4), [1, 1], 6_000, 4, np.random.default_rng(2))]]
    ).mean()
    assert sizes == pytest.approx(0.5 + 0.5 * 2 / 3, abs=0.03)  # a block of two always, one of four in four orders of six


def test_without_sizes_the_trial_is_one_block_and_simple_is_by_chance() -> None:
    design = design_of(changed(("[randomisation]\nblocks = [4]\n", "")))
    arms = allocation(design, 200, generator(1, 0, 8))
    assert (arms.sum(axis=1) == 6).all() and (arms[:, :6].sum(axis=1) != 3).any()
    simple = design_of(
        changed(("blocks = [4]", 'method = "simple"'), ('n = 6\npolicy = "cohort4"', 'n = 12\npolicy = "cohort4"'))
    )
    arms = allocation(simple, 2_000, generator(1, 0, 8))
    assert arms.shape == (2_000, 18) and arms.mean() == pytest.approx(2 / 3, abs=0.01)
    assert stats.chisquare(*_against_binomial(arms.sum(axis=1), 18, 2 / 3)).pvalue > 1e-3


def _against_binomial(counts: np.ndarray, n: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    seen = np.bincount(counts, minlength=n + 1).astype(float)
    due = stats.binom.pmf(np.arange(n + 1), n, rate) * len(counts)
    large = due >= 5
    return np.append(seen[large], seen[~large].sum()), np.append(due[large], due[~large].sum())


STRATA = changed(
    (
        "blocks = [4]",
        'blocks = [4]\n[[randomisation.stratum]]\ncharted = "crp"\ncuts = [10, 20]\n[[randomisation.stratum]]\npatient = "tumour"\ncuts = [1.0]',
    )
)


@given(st.integers(0, 99))
def test_strata_are_balanced_each(seed: int) -> None:
    design = design_of(STRATA)
    strata = np.random.default_rng(seed).integers(0, 6, (20, design.n))
    arms = allocation(design, 20, generator(seed, 0, 8), strata)
    for k in range(6):
        gap = ((strata == k) * (2 * arms - 1)).sum(axis=1)
        assert (np.abs(gap) <= 2).all()  # half a block


@pytest.mark.parametrize(
    "text", [TEXT, changed(("blocks = [4]", "blocks = [2, 6]")), changed(("blocks = [4]", 'method = "simple"')), STRATA]
)
def test_more_trials_leave_the_first_as_they_are(text: str) -> None:
    design = design_of(text)
    strata = np.random.default_rng(3).integers(0, 6, (9, design.n)) if text is STRATA else None
    few = allocation(design, 4, generator(7, 0, 8), None if strata is None else strata[:4])
    many = allocation(design, 9, generator(7, 0, 8), strata)
    assert (few == many[:4]).all() and not (many[0] == many).all()
    told = Accrual(2.0)
    assert (arrivals(told, 4, 10, generator(7, 0, 9)) == arrivals(told, 9, 10, generator(7, 0, 9))[:4]).all()


@given(st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=1, max_size=4))
def test_ranks_within_groups(rows: list[list[int]]) -> None:
    assert rank_within(np.array(rows)).tolist() == [[row[:k].count(g) for k, g in enumerate(row)] for row in rows]


def test_patients_come_at_their_rate() -> None:
    assert arrivals(Accrual(4.0, "even"), 2, 5, generator(1, 0, 9)).tolist() == [[0.0, 0.25, 0.5, 0.75, 1.0]] * 2
    gaps = np.diff(arrivals(Accrual(4.0), 400, 20, generator(1, 0, 9)), axis=1).ravel()
    assert gaps.mean() == pytest.approx(0.25, rel=0.05) and stats.kstest(gaps, "expon", (0, 0.25)).pvalue > 1e-3


# ---- one trial after another


def plain(
    arms: list[int], event: list[bool], weeks: list[float] | None, window: float, watched: dict[int, Boundary]
) -> tuple[int, int, int]:
    """One trial as a person would run it: the arm that stopped it or -1, patients known, patients enrolled."""
    seen, harmed = dict.fromkeys(watched, 0), dict.fromkeys(watched, 0)
    for k, arm in enumerate(arms):
        if arm not in watched:
            continue
        seen[arm] += 1
        harmed[arm] += event[k]
        for n, least in zip(watched[arm].n, watched[arm].events, strict=True):
            if n == seen[arm] and harmed[arm] >= least:
                now = None if weeks is None else weeks[k] + window
                return arm, k + 1, k + 1 if weeks is None or now is None else sum(w <= now for w in weeks)
    return -1, len(arms), len(arms)


@given(st.data())
def test_trials_at_once_are_trials_one_after_another(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 14))
    watched = {k: data.draw(small_boundaries()) for k in data.draw(st.sets(st.integers(0, 2)))}
    rows = st.lists(st.lists(st.integers(0, 2), min_size=n, max_size=n), min_size=3, max_size=3)
    arms = data.draw(rows)
    event = [
        [bool(x) for x in row]
        for row in data.draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=3, max_size=3))
    ]
    weeks = None
    if data.draw(st.booleans()):
        weeks = [
            np.cumsum(row).tolist()
            for row in data.draw(st.lists(st.lists(st.integers(0, 4), min_size=n, max_size=n), min_size=3, max_size=3))
        ]
    got: Stopped = stopped(np.array(arms), np.array(event), None if weeks is None else np.array(weeks, float), 3.0, watched)
    for k in range(3):
        one = plain(arms[k], event[k], None if weeks is None else weeks[k], 3.0, watched)
        assert (got.by[k], got.at[k], got.enrolled[k]) == one
        for arm in watched:
            alone = plain(arms[k], event[k], None, 3.0, {arm: watched[arm]})
            assert got.crossed[arm][k] == (alone[0] == arm)


# ---- many trials of patients who are cheap


def coins(job: Job, part: Part) -> pl.DataFrame:
    """Instead of the simulator: events by chance, at a rate that the policy sets; the same luck under every treatment."""
    rate = {"pivotal": 0.4, "cohort4": 0.15, "supportive": 0.5}[part.scenario.policy]
    numbers = range(part.stream << 32, (part.stream << 32) + part.n)
    drawn = np.array([generator(job.seed, number + part.first, 7).random(4) for number in numbers])
    eligible = drawn[:, 0] < 0.8 if job.design.eligibility else np.ones(part.n, bool)
    event = drawn[:, 1] < rate
    open_ = ~event & (drawn[:, 3] < 0.05)
    harm = event if job.design.harm == job.design.endpoint else drawn[:, 3] < 0.3
    stratum = (drawn[:, 2] * 6).astype(np.int64)
    return pl.DataFrame({"eligible": eligible, "stratum": stratum, "event": event, "open": open_, "harm": harm})


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "answers", coins)
    monkeypatch.setattr("aftercar.trial.pool.try_one", lambda job, scenarios: None)


LARGE = changed(("n = 6", "n = 30"), ("chance = 0.2", "chance = 0.05\nfirst = 5\nevery = 5"), ("limit = 0.3", "limit = 0.2"))
SCREENED = LARGE + '[[eligibility]]\ncharted = "crp"\nmost = 50\n'


def same(a: Outcome, b: Outcome) -> bool:
    return (
        a.replicates.equals(b.replicates)
        and a.summary == b.summary
        and a.operating.equals(b.operating)
        and trial_figure(a) == trial_figure(b)
    )


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize(
    "text",
    [LARGE, SCREENED, changed(("blocks = [4]", 'method = "simple"'), text=SCREENED), changed(("n = 6", "n = 30"), text=STRATA)],
)
def test_parts_and_further_replicates_change_nothing(text: str) -> None:
    design = design_of(text)
    whole = run_trial(design, 12, 5, engine=HERE)
    assert same(whole, run_trial(design, 12, 5, engine=HERE, part=37))
    few = run_trial(design, 5, 5, engine=HERE).replicates
    assert few.equals(whole.replicates.filter(pl.col("replicate") <= 5))
    assert not few.equals(run_trial(design, 5, 6, engine=HERE).replicates)


@pytest.mark.usefixtures("cheap")
def test_simulated_trials_agree_with_the_exact_ones() -> None:
    """600 trials of coins: every simulated share within four standard errors of what is exact."""
    found = run_trial(design_of(LARGE), 600, 1, engine=HERE)
    for run_ in found.summary["runs"].values():
        early, test = run_["arms"]["early"], run_["comparisons"]["early"]
        for told, exact in (
            (early["crossed"], early["exact_crossed"]),
            (test["without_boundary"], test["exact_without_boundary"]),
        ):
            assert abs(told["share"] - exact) < 4 * math.sqrt(exact * (1 - exact) / 600) + 2e-3
    design, null = (found.summary["runs"][r] for r in ("design", "null"))
    assert design["arms"]["control"] == null["arms"]["control"] or design["stopped"] != null["stopped"]
    assert design["arms"]["control"]["rate"] == null["arms"]["control"]["rate"]  # the same patients
    assert design["arms"]["early"]["rate"] == pytest.approx(0.15, abs=0.012) and null["arms"]["early"]["rate"] == pytest.approx(
        0.4, abs=0.012
    )
    assert null["comparisons"]["early"]["without_boundary"]["share"] < 0.06


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("text", [LARGE, SCREENED, changed(("n = 6", "n = 30"), text=STRATA)])
def test_counts_add_up(text: str) -> None:
    design = design_of(text)
    rows = run_trial(design, 30, 2, engine=HERE).replicates
    assert rows["run"].to_list() == ["design"] * 30 + ["null"] * 30
    assert (rows["control_n"] + rows["early_n"] == rows["enrolled"]).all()
    assert rows.filter(~pl.col("stopped")).select((pl.col("enrolled") == design.n).all()).item()
    assert (rows["stopped_by"].is_not_null() == rows["stopped"]).all() and set(rows["stopped_by"].drop_nulls()) <= {"early"}
    assert not rows.filter(pl.col("stopped") & pl.col("early_success")).height
    for name in ("control", "early"):
        assert (rows[f"{name}_events"] + rows[f"{name}_open"] <= rows[f"{name}_n"]).all()
    asked = rows["screened"]
    assert (asked >= design.n).all() and (
        asked.mean() == pytest.approx(design.n / 0.8, rel=0.05) if text is SCREENED else (asked == design.n).all()
    )
    # The p-value of a trial that was not stopped is that of its own counts.
    for row in rows.filter(~pl.col("stopped")).iter_rows(named=True):
        table = [[row[f"{a}_events"], row[f"{a}_n"] - row[f"{a}_events"]] for a in ("early", "control")]
        assert row["early_p"] == pytest.approx(stats.fisher_exact(table).pvalue)


@pytest.mark.usefixtures("cheap")
def test_a_boundary_may_count_another_event() -> None:
    """Harm at 30 % in either arm, with an acceptable rate of 20 %: the endpoint, at 40 and 15 %, has no say in it."""
    text = changed(("limit = 0.2", 'limit = 0.2\nby_day = 13\nany_of = [{ scale = "icans", grade = 3 }]'), text=LARGE)
    design = design_of(text)
    assert design.days == 13.5 and {s.days for s in design.scenarios} == {13.5}
    found = run_trial(design, 400, 1, engine=HERE)
    for told in found.summary["runs"].values():
        early = told["arms"]["early"]
        assert early["harm"]["share"] == pytest.approx(0.3, abs=0.02)
        assert early["crossed"]["share"] == pytest.approx(early["exact_crossed"], abs=0.1)
    crossed = found.replicates.filter(run="design")["early_crossed"]
    assert crossed.to_list() == found.replicates.filter(run="null")["early_crossed"].to_list()


@pytest.mark.usefixtures("cheap")
def test_stopping_biases_the_estimate_upwards() -> None:
    arms = run_trial(design_of(LARGE), 300, 1, engine=HERE).summary["runs"]["null"]["arms"]
    assert arms["early"]["bias_if_stopped"] > 0.05 and arms["early"]["bias"] > 0


@pytest.mark.usefixtures("cheap")
def test_three_arms_and_one_arm() -> None:
    three = changed(
        ("[randomisation]\nblocks = [4]", '[[arm]]\nname = "none"\nn = 6\npolicy = "supportive"\n[randomisation]\nblocks = [3]'),
        ('method = "fisher"', 'method = "fisher"\nadjust = "bonferroni"'),
    )
    found = run_trial(design_of(three), 20, 1, engine=HERE)
    assert found.summary["alpha_of_each"] == 0.025 and set(found.summary["runs"]["design"]["comparisons"]) == {"early", "none"}
    assert found.summary["runs"]["design"]["any_success"]["share"] >= max(
        c["success"]["share"] for c in found.summary["runs"]["design"]["comparisons"].values()
    )
    assert set(found.boundary["arm"]) == {"early", "none"}
    one = changed(
        ('[[arm]]\nname = "early"\nn = 6\npolicy = "cohort4"\n[randomisation]\nblocks = [4]\n', ""),
        ('method = "fisher"', 'method = "exact_binomial"\nrate = 0.3\nsides = "higher"'),
    )
    found = run_trial(design_of(one), 50, 1, engine=HERE)
    assert set(found.replicates["run"]) == {"design"} and found.boundary["arm"].unique().to_list() == ["control"]
    # P(X >= 5 of 6 | 0.3) = 0.0109 is the largest that is at most 0.05.
    assert found.summary["exact_type_1_error"]["control"] == pytest.approx(0.010935)
    with_null = run_trial(design_of(one + '[null]\npolicy = "cohort4"\n'), 10, 1, engine=HERE)
    assert set(with_null.replicates["run"]) == {"design", "null"}
    assert "null" not in run_trial(design_of(TEXT + "[null]\nrun = false\n"), 10, 1, engine=HERE).summary["runs"]


@pytest.mark.usefixtures("cheap")
def test_an_arm_that_chance_left_empty_is_told_as_nothing() -> None:
    simple = design_of(changed(("blocks = [4]", 'method = "simple"'), ("n = 6", "n = 1"), ("limit = 0.3", "limit = 0.5")))
    empty = next(s for s in range(50) if not allocation(simple, 1, generator(s, 0, 8)).any())
    found = run_trial(simple, 1, empty, engine=HERE)
    assert found.replicates["early_n"].to_list() == [0, 0] and found.replicates["early_p"].to_list() == [1.0, 1.0]
    told = found.summary["runs"]["design"]
    assert told["arms"]["early"]["rate"] is None and told["comparisons"]["early"]["exact_without_boundary"] is None
    ElementTree.fromstring(trial_figure(found))


@pytest.mark.usefixtures("cheap")
def test_a_trial_that_cannot_be_filled_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "answers", lambda job, part: coins(job, part).with_columns(eligible=pl.lit(False)))
    with pytest.raises(InputError, match=r"0 are eligible.*\[\[eligibility\]\]"):
        run_trial(design_of(SCREENED), 3, 1, engine=HERE)


@pytest.mark.usefixtures("cheap")
def test_progress_is_told_and_adds_up() -> None:
    steps: list[tuple[int, int]] = []
    found = run_trial(design_of(SCREENED), 8, 1, engine=HERE, progress=lambda *step: steps.append(step), part=100)
    assert steps[0][0] == 0 and steps[-1][0] == steps[-1][1] == found.summary["simulated_patients"]
    assert [s[0] for s in steps] == sorted(s[0] for s in steps)


@pytest.mark.parametrize(("replicates", "seed"), [(0, 1), (1, -1), (1, 1 << 60)])
def test_numbers_that_cannot_be(replicates: int, seed: int) -> None:
    with pytest.raises(OptionError):
        run_trial(design_of(TEXT), replicates, seed)


# ---- real virtual patients


def test_the_endpoint_is_that_of_the_graders() -> None:
    course = simulate(Scenario("axi-cel", "LBCL", "pivotal", days=8.5), 40, 1, workers=1)

    def of(*parts: Component, **options: int) -> np.ndarray:
        return events(course.timeline, Endpoint("e", parts, dict(options)))["event"].to_numpy()

    worst = grade_timeline(course.timeline, ["crs"]).worst.sort("subject_id")["grade"].to_numpy()
    found = {(g, d): of(Component("crs", g, d)) for g in (1, 2, 3) for d in (2, 5, 8)}
    assert (found[2, 8] == (worst >= 2)).all() and 0 < found[2, 8].sum() < 40
    for g in (1, 2, 3):
        assert (found[g, 2] <= found[g, 5]).all() and (found[g, 5] <= found[g, 8]).all()
    assert found[1, 2].sum() < found[1, 8].sum()
    either = of(Component("crs", 3, 8), Component("icans", 1, 5))
    assert (either == (found[3, 8] | of(Component("icans", 1, 5)))).all()
    # CRES asks for CARTOX-10, which nobody charts: no event, but none can be excluded.
    open_ = events(course.timeline, Endpoint("e", (Component("cres", 3, 8),)))
    assert open_["open"].any() and not (open_["open"] & open_["event"]).any()


BASELINE = TEXT + '[[eligibility]]\ncharted = "crp"\nmost = 20\n[[eligibility]]\npatient = "tumour"\nleast = 0.5\n'


def test_who_is_eligible_is_what_was_charted_and_what_they_are() -> None:
    design = design_of(BASELINE)
    scenario = design.scenarios[0]
    found = Job(design, 3).answers(Part(1, scenario, 5, 30))
    course = simulate(scenario, 30, 3, first=(1 << 32) + 5, workers=1)
    crp = (
        course.timeline.filter(pl.col("code") == "crp")
        .sort("subject_id", "time")
        .group_by("subject_id", maintain_order=True)
        .first()
    )
    tumour = course.states.of("tumour")[:, 0]
    due = (crp["numeric_value"].to_numpy() <= 20) & (tumour >= 0.5)
    assert (found["eligible"].to_numpy() == due).all() and 0 < due.sum() < 30


@pytest.mark.slow
def test_one_seed_one_result_whatever_the_processes() -> None:
    design = design_of(BASELINE)
    one = run_trial(design, 2, 1, engine=on_this_machine(1), part=1_000)
    assert same(one, run_trial(design, 2, 1, engine=on_this_machine(2), part=13))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17")
def test_spark_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyspark.sql import SparkSession

    from aftercar.trial.spark import on_spark

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    design = design_of(TEXT)
    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        assert same(run_trial(design, 2, 1, engine=on_spark(), part=9), run_trial(design, 2, 1, engine=HERE))
        with pytest.raises(InputError, match="no product 'nobody'"):
            list(on_spark()(Job(design, 1), [Part(0, Scenario("nobody", "LBCL"), 0, 2)]))
    finally:
        spark.stop()


# ---- the file


def test_the_example_is_a_design() -> None:
    design = read_design(EXAMPLE)
    assert [a.n for a in design.arms] == [100, 100] and design.days == 28.5
    assert design.monitored == [1] and design.null_scenario == design.scenarios[0]
    # Keys that stand there as comments are such, too.
    text = re.sub(r"^# (?=[a-z\[].* = |\[\[)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.M)
    more = design_of(text)
    assert more.randomisation.stratum[0].cuts == (20,) and more.population.changed and more.arms[1].drugs


def test_two_files_that_say_the_same_have_one_fingerprint(tmp_path: Path) -> None:
    commented = tmp_path / "other.toml"
    commented.write_text("# a note\n" + TEXT)
    assert read_design(commented).fingerprint == design_of(TEXT).fingerprint != design_of(changed(("n = 6", "n = 8"))).fingerprint


SECOND = 'name = "early"\nn = 6\npolicy = "cohort4"'
WRONG = [
    ((("title =", "title"),), r"d\.toml is not TOML"),
    ((("[population]", "[populations]"),), r"the file: 'populations' is not known\. Did you mean population"),
    ((("[accrual]\nper_week = 2", "[accrual]"),), r"accrual\.per_week: is missing"),
    ((("per_week = 2", "per_week = 0"),), r"accrual\.per_week: must be above 0"),
    ((('title = "A small trial"', "title = 3"),), r"title: must be str, got int"),
    ((('[population]\nproduct = "axi-cel"\ndisease = "LBCL"\n', ""),), r"\[population\]: is missing"),
    ((('disease = "LBCL"', ""),), r"population\.disease: is missing"),
    ((("[[arm]]", "[arm]"), (f"[arm]\n{SECOND}", "")), r"arm: must be a list of tables, each begun by \[\[arm\]\]"),
    (((SECOND, SECOND.replace("n = 6", 'n = "6"')),), r"arm 2\.n: must be int, got str"),
    (((SECOND, SECOND.replace("n = 6", "n = 0")),), r"arm 2\.n: must be above 0"),
    (((SECOND, SECOND.replace('"early"', '"control"')),), r"arm 2\.name: 'control' is there already"),
    (((SECOND, SECOND.replace('"early"', '"early steroid"')),), r"arm 2\.name: .*letters, digits and _"),
    (((SECOND, SECOND + "\ndrug = 1"),), r"arm 2: 'drug' is not known\. Did you mean drugs"),
    (((SECOND, SECOND + '\ndrugs = "anakinra"'),), r"arm 2\.drugs: must be array, got str"),
    (((SECOND, SECOND + '\nchanged = { tumour = "much" }'),), r"arm 2\.changed: must be float, got str"),
    ((("blocks = [4]", "blocks = [3]"),), r"randomisation\.blocks: 3 does not hold the arms 1:1; take a multiple of 2"),
    ((("blocks = [4]", "blocks = [0]"),), r"randomisation\.blocks: 0 does not hold"),
    ((("blocks = [4]", 'method = "simple"\nblocks = [4]'),), r"randomisation: blocks and strata need method"),
    ((("blocks = [4]", 'method = "minimised"'),), r"randomisation\.method: 'minimised' is none of simple, blocks"),
    ((("blocks = [4]", '[[randomisation.stratum]]\ncharted = "crp"\ncuts = [5]'),), r"randomisation\.blocks: strata need the sizes"),
    ((("blocks = [4]", 'blocks = [4]\n[[randomisation.stratum]]\ncharted = "crp"\ncuts = [5, 5]'),), r"stratum 1\.cuts: must be numbers that rise"),
    ((("blocks = [4]", "blocks = [4]\n[[randomisation.stratum]]\ncuts = [5]"),), r"stratum 1: name either a value that is `charted`"),
    ((("grade = 2", "grade = 6"),), r"endpoint\.any_of 1\.grade: must be 1 to 5"),
    ((("by_day = 7\n", ""),), r"endpoint\.any_of 1\.by_day: is missing"),
    ((("by_day = 7", "by_day = -1"),), r"endpoint\.any_of 1\.by_day: must be 0 to 3650"),
    ((('scale = "crs"', 'scale = "crss"'),), r"endpoint\.any_of 1\.scale: No scale is called 'crss'\. Did you mean crs"),
    ((('scale = "crs"', 'scale = "all"'),), r"endpoint\.any_of 1\.scale: 'all' names scales of several toxicities"),
    ((('any_of = [{ scale = "crs", grade = 2 }]', ""),), r"endpoint\.any_of: names no toxicity"),
    ((('any_of = [{ scale = "crs", grade = 2 }]', 'any_of = ["crs"]'),), r"endpoint\.any_of: must be a table"),
    ((("by_day = 7", "by_day = 7\noptions = { fever_carry = 3 }"),), r"endpoint\.options: No option is called 'fever_carry'"),
    ((("chance = 0.2", 'chance = 0.2\nany_of = [{ scale = "icans", grade = 3 }]'),), r"stopping\.any_of 1\.by_day: is missing"),
    ((("chance = 0.2", 'chance = 0.2\nby_day = 9\nany_of = [{ scale = "icans", grade = 0 }]'),), r"stopping\.any_of 1\.grade: must be 1 to 5"),
    ((('method = "fisher"', 'method = "t"'),), r"test\.method: 't' is none of fisher, boschloo"),
    ((('method = "fisher"', 'method = "fisher"\nsides = "one"'),), r"test\.sides: 'one' is none of two, lower, higher"),
    ((('method = "fisher"', 'method = "fisher"\nalpha = 5'),), r"test\.alpha: must be between 0 and 1"),
    ((('method = "fisher"', 'method = "exact_binomial"\nrate = 0.3'),), r"test\.method: exact_binomial is for one arm, and there are 2"),
    ((('method = "fisher"', 'method = "fisher"\nrate = 0.3'),), r"test\.rate: is what one arm is held against"),
    ((('method = "fisher"', 'method = "fisher"\nmargin = 0.1'),), r"test\.margin: is for method"),
    ((('method = "fisher"', 'method = "farrington_manning"'),), r"test\.margin: is missing"),
    ((('method = "fisher"', 'method = "farrington_manning"\nmargin = 0.1\nsides = "two"'),), r"test\.sides: non-inferiority"),
    (((SECOND, SECOND + '\n[[arm]]\nname = "third"\nn = 6'), ("blocks = [4]", "blocks = [3]")), r"test\.adjust: several comparisons"),
    ((('method = "pocock"', 'method = "haybittle"'),), r"stopping\.method: 'haybittle' is none of bayes"),
    ((("limit = 0.3", ""),), r"stopping\.limit: is missing"),
    ((("limit = 0.3", "limit = 30"),), r"stopping\.limit: must be between 0 and 1"),
    ((("chance = 0.2", ""),), r"stopping\.chance: is missing"),
    ((("chance = 0.2", "certainty = 0.9"),), r"stopping\.certainty: is for method = \"bayes\""),
    ((('method = "pocock"', 'method = "bayes"\ncertainty = 0.9'),), r"stopping: `bayes` needs either"),
    ((('method = "pocock"', 'method = "bayes"\nprior = [1, 0]'),), r"stopping\.prior: must be two numbers above 0"),
    ((('method = "pocock"', 'method = "bayes"\nprior = [1]'),), r"stopping\.prior: must be array of length 2, got 1"),
    ((('method = "pocock"', 'method = "pocock"\narms = ["late"]'),), r"stopping\.arms: there is no arm 'late'"),
    ((('method = "pocock"', 'method = "pocock"\nevery = 0'),), r"stopping: `first` and `every` count patients"),
    ((('method = "pocock"', 'method = "pocock"\nfirst = 7'),), r"stopping\.first: the arm has 6 patients"),
    ((('method = "pocock"', 'method = "pocock"\nat = [{ events = 1, of = 2 }]'),), r"stopping\.at: is for method = \"table\""),
    ((('method = "pocock"', 'method = "table"'),), r"stopping\.at: is missing"),
    ((('method = "pocock"', 'method = "table"\nat = [{ events = 3, of = 2 }]'),), r"stopping\.at: `of` must rise, up to 6"),
    ((('method = "pocock"', 'method = "table"\nat = [{ events = 1, of = 2 }, { events = 2, of = 2 }]'),), r"the same `of` stands there twice"),
    ((("[accrual]", '[[eligibility]]\ncharted = "crpp"\nmost = 3\n[accrual]'),), r"eligibility 1\.charted: there is no concept 'crpp'"),
    ((("[accrual]", '[[eligibility]]\ncharted = "crp"\n[accrual]'),), r"eligibility 1: give `least`, `most` or both"),
    ((("[accrual]", '[[eligibility]]\ncharted = "crp"\nleast = 3\nmost = 2\n[accrual]'),), r"eligibility 1: `least` is above `most`"),
    ((("[accrual]", '[[eligibility]]\ncharted = "crp"\npatient = "tumour"\nmost = 2\n[accrual]'),), r"eligibility 1: name either"),
    ((("[accrual]", "[null]\nrun = 1\n[accrual]"),), r"null\.run: must be bool, got int"),
]  # fmt: skip


@pytest.mark.parametrize(("pairs", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_is_wrong_is_told(pairs: tuple[tuple[str, str], ...], told: str) -> None:
    with pytest.raises(InputError, match=r"d\.toml") as error:
        design_of(changed(*pairs), "d.toml")
    assert re.search(told, str(error.value)), str(error.value)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ((('"axi-cel"', '"axi"'),), r"arm control: There is no product 'axi'"),
        ((('"cohort4"', '"cohort5"'),), r"arm early: There is no policy 'cohort5'\. Did you mean cohort6 or cohort4"),
        ((('policy = "cohort4"', 'policy = "cohort4"\ndrugs = ["anakinra@9"]'),), r"arm early: 'anakinra@9': write a drug such as"),
        ((('policy = "cohort4"', 'policy = "cohort4"\ndrugs = ["anakinra@day30"]'),), r"arm early: .*begins after the 7\.5 days"),
        ((('policy = "cohort4"', "policy = \"cohort4\"\nchanged = { tumor = 1 }"),), r"arm early: The model has no 'tumor'"),
        ((("[accrual]", '[null]\npolicy = "nobody"\n[accrual]'),), r"null: There is no policy 'nobody'"),
        ((("[accrual]", '[[eligibility]]\npatient = "tumor"\nmost = 2\n[accrual]'),), r"no 'tumor', which eligibility or strata read\. Did you mean tumour"),
        ((("[accrual]", '[[eligibility]]\ncharted = "papilloedema_stage"\nmost = 2\n[accrual]'),), r"papilloedema_stage is not charted of virtual patients at the infusion"),
        ((('policy = "cohort4"', "policy = \"cohort4\"\nchanged = { crp = 9 }"), ("[accrual]", '[[eligibility]]\ncharted = "crp"\nmost = 2\n[accrual]')), r"crp, which an arm changes"),
        ((('disease = "LBCL"', 'disease = "LBCL"\nmodel = "mine"'),), r"mine: no such folder"),
    ],
)  # fmt: skip
def test_what_the_model_does_not_have_is_told_before_the_work(pairs: tuple[tuple[str, str], ...], told: str) -> None:
    steps: list[tuple[int, int]] = []
    with pytest.raises((InputError, OptionError)) as error:
        run_trial(design_of(changed(*pairs)), 1, 1, engine=HERE, progress=lambda *step: steps.append(step))
    assert re.search(told, str(error.value)), str(error.value)
    assert steps == []


# ---- the command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "design.toml"
    path.write_text(TEXT)
    return path


def test_a_run_writes_everything_and_says_simulated(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, printed, err = run("trial", file, "--out", out, "--replicates", 2, "--seed", 4, "--workers", 1, capsys=capsys)
    assert code == 0, err
    assert "Simulated: virtual patients, not a prediction for a person." in printed and "type I error" in printed
    assert sorted(p.name for p in out.iterdir()) == [
        "boundary.csv", "design.toml", "operating.csv", "replicates.csv", "replicates.parquet", "trial.json", "trial.svg",
    ]  # fmt: skip
    for path in (*out.glob("*.csv"), out / "replicates.parquet"):
        table = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
        assert table.height and table["simulated"].all()
    told = json.loads((out / "trial.json").read_text())
    assert told["simulated"] is True and told["seed"] == 4 and told["design"] == read_design(out / "design.toml").fingerprint
    figure = (out / "trial.svg").read_text()
    ElementTree.fromstring(figure)
    assert "SIMULATED" in figure and "not a prediction for a person" in figure
    assert pl.read_csv(out / "replicates.csv").height == pl.read_parquet(out / "replicates.parquet").height == 4


def test_a_check_simulates_no_trial(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, err = run("trial", file, "--check", capsys=capsys)
    assert code == 0, err
    assert "No trial was simulated" in printed and "Stop for harm" in printed and list(tmp_path.iterdir()) == [file]
    assert all(len(line) <= 80 for line in printed.splitlines())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Name a folder for the results with --out"),
        (["--out", "o", "--master", "local"], "are for --engine spark"),
        (["--out", "o", "--engine", "spark", "--workers", "2"], "--workers is for this machine"),
    ],
)
def test_words_that_do_not_go_together(words: list[str], told: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("trial", file, *words, capsys=capsys)
    assert code == 2 and told in err


@pytest.mark.usefixtures("cheap")
def test_an_interrupt_leaves_the_former_result(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("trial", file, "--out", tmp_path / "out", "--replicates", 3, "--workers", 1)
    assert run(*words, capsys=capsys)[0] == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}

    def interrupted(job: Job, part: Part) -> pl.DataFrame:
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "answers", interrupted)
    code, _, err = run(*words, capsys=capsys)
    assert code == 130 and "What stood there before still stands" in err
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["design.toml", "out"]


def test_a_folder_of_another_kind_is_refused_before_the_work(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("{}")
    code, _, err = run("trial", file, "--out", tmp_path / "out", capsys=capsys)
    assert code == 2 and KINDS["run.json"] in err


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(AftercarError, match=r"aftercar\[simulate,trial\]"):
        boundary(Stopping("pocock", limit=0.2, chance=0.1), 5)


@pytest.mark.usefixtures("cheap")
def test_a_figure_stands_for_any_design(tmp_path: Path) -> None:
    for text in (TEXT, changed(('[stopping]\nmethod = "pocock"\nlimit = 0.3\nchance = 0.2\n', ""))):
        found = run_trial(design_of(changed(("A small trial", "5 < 6 & more"), text=text)), 2, 1, engine=HERE)
        write_trial(found, tmp_path, trial_figure(found))
        assert "5 &lt; 6" in (tmp_path / "trial.svg").read_text()
        ElementTree.fromstring((tmp_path / "trial.svg").read_text())


def test_a_design_without_a_boundary_has_no_looks() -> None:
    design: Design = design_of(changed(('[stopping]\nmethod = "pocock"\nlimit = 0.3\nchance = 0.2\n', "")))
    assert design.monitored == [] and design.stopping is None
