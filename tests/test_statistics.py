"""Statistics of cohorts and of published rates, held against R and against plain versions of themselves."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from polars import col, lit
from scipy.integrate import quad
from scipy.stats import binom, norm

from aftercar.cohort.compare import gray
from aftercar.cohort.incidence import by_day, cumulative_incidence
from aftercar.cohort.survival import kaplan_meier, log_rank, median, turnbull
from aftercar.errors import InputError, OptionError
from aftercar.evidence.tables import table
from aftercar.synthesis.proportions import Pooled, pooled
from aftercar.synthesis.published import LATE, MIXED, counted, endpoints, pool, rows

R = Path(__file__).parent / "r"
COMPETING: dict[str, Any] = json.loads((R / "competing.json").read_text())
PROPORTIONS: dict[str, Any] = json.loads((R / "proportions.json").read_text())
DIGITS = 1e-4  # relative


def close(found: object, expected: object) -> None:
    assert found == pytest.approx(expected, rel=DIGITS, abs=1e-9)


def read(name: str) -> pl.DataFrame:
    return pl.read_csv(R / f"{name}.csv")


def either(first: pl.DataFrame) -> pl.DataFrame:
    """Whatever happens is the event."""
    return first.with_columns(what=pl.when(col("what") == "censored").then(lit("censored")).otherwise(lit("event")))


# ---- competing events


@pytest.mark.parametrize("name", COMPETING)
def test_cumulative_incidence_is_that_of_r(name: str) -> None:
    curve = cumulative_incidence(read(name))
    close([by_day(curve, day)["incidence"] for day in COMPETING[name]["at"]], COMPETING[name]["incidence"])


@pytest.mark.parametrize("name", COMPETING)
def test_gray_is_that_of_r(name: str) -> None:
    first, told = read(name), COMPETING[name]
    found = gray(first, "group")
    close([found.statistic, found.p, found.df], told["gray"])
    swapped = first.with_columns(col("what").replace({"event": "competing", "competing": "event"}))
    found = gray(swapped, "group")
    if told["gray_competing"] is None:
        assert (found.statistic, found.p) == (None, None)
    else:
        close([found.statistic, found.df], told["gray_competing"][::2])
        assert found.p == pytest.approx(told["gray_competing"][1], rel=DIGITS, abs=1e-12)


@pytest.mark.parametrize("name", COMPETING)
def test_the_log_rank_test_is_that_of_r(name: str) -> None:
    found = log_rank(read(name), "group")
    close([found.statistic, found.p], COMPETING[name]["logrank"])


@pytest.mark.parametrize("name", COMPETING)
def test_kaplan_meier_is_that_of_r(name: str) -> None:
    told, curve = COMPETING[name], kaplan_meier(either(read(name)))
    at = [curve.filter(col("day") <= day).tail(1) for day in told["at"]]
    for ours, theirs in {"share": "survival", "low": "low", "high": "high"}.items():
        close([rows[ours][0] for rows in at], told[theirs])
    assert list(median(curve)) == told["median"]


def test_a_median_between_two_days_is_their_middle() -> None:
    assert median(kaplan_meier(firsts([(2, "event", "a"), (4, "event", "a")])))[0] == 3.0
    assert median(kaplan_meier(firsts([(2, "event", "a"), (4, "censored", "a")])))[0] == 2.0, "it stays at one half"
    assert median(kaplan_meier(firsts([(2, "censored", "a")]))) == (None, None, None)


def firsts(rows: list[tuple[int, str, str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"day": pl.Int32, "what": pl.String, "group": pl.String}, orient="row")


@st.composite
def random_firsts(draw: st.DrawFn) -> pl.DataFrame:
    row = st.tuples(st.integers(0, 8), st.sampled_from(["event", "competing", "censored"]), st.sampled_from("abc"))
    first = firsts(draw(st.lists(row, min_size=3, max_size=40)))
    assume(first["group"].n_unique() >= 2)
    return first


@given(random_firsts())
def test_what_nobody_competes_with_is_one_less_the_share_without(first: pl.DataFrame) -> None:
    alone = first.filter(col("what") != "competing")
    assume(alone.height)
    both = cumulative_incidence(alone).join(kaplan_meier(alone), on="day")
    assert both["incidence"].to_list() == pytest.approx((1 - both["share"]).to_list())


@given(random_firsts())
def test_tests_of_groups_do_not_heed_names_or_the_order_of_rows(first: pl.DataFrame) -> None:
    turned = first.reverse().with_columns(col("group").replace({"a": "z", "b": "a", "c": "b"}))
    for test in (gray, log_rank):
        one, two = test(first, "group"), test(turned, "group")
        assert sum(one.excess) == pytest.approx(0, abs=1e-9)
        assert sorted(one.excess) == pytest.approx(sorted(two.excess), abs=1e-9)
        if one.statistic is not None and two.statistic is not None and one.df == two.df:
            assert one.statistic == pytest.approx(two.statistic, rel=1e-6, abs=1e-9)
            assert one.p is not None and 0 <= one.p <= 1


@given(random_firsts())
def test_groups_that_are_alike_do_not_differ(first: pl.DataFrame) -> None:
    twice = pl.concat([first.with_columns(group=lit(name)) for name in ("a", "b")])
    for test in (gray, log_rank):
        assert test(twice, "group").excess == pytest.approx((0, 0), abs=1e-9)


def test_one_group_cannot_be_compared() -> None:
    with pytest.raises(OptionError, match="two groups"):
        gray(firsts([(1, "event", "a"), (2, "event", "a")]), "group")


# ---- between two looks


def test_times_between_two_looks_are_those_of_r_or_likelier() -> None:
    """R stops early where the likelihood is flat, so its curve is held to less, and its likelihood may not be above ours."""
    rows = pl.read_csv(R / "between.csv", schema_overrides={"after": pl.Float64, "until": pl.Float64})
    found, told = turnbull(rows["after"].to_numpy(), rows["until"].to_numpy()), json.loads((R / "between.json").read_text())
    for time, share in zip(told["time"], told["share"], strict=True):
        low, high = found.by(time)
        assert low - 2e-3 <= share <= high + 2e-3
    assert likelihood(rows, lambda t: found.by(t)[0]) >= likelihood(rows, lambda t: stepped(told, t)) - 1e-6


def stepped(told: dict[str, list[float]], at: float) -> float:
    return max((share for time, share in zip(told["time"], told["share"], strict=True) if time <= at), default=0.0)


def likelihood(rows: pl.DataFrame, by: Any) -> float:
    """Log likelihood of intervals `(after, until]`, or of very times."""
    total = 0.0
    for after, until in rows.iter_rows():
        below = by(after - 1e-6) if after == until else by(after)
        total += float(np.log(max((1.0 if np.isinf(until) else by(until)) - below, 1e-300)))
    return total


LOOKS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5) | st.none()), min_size=1, max_size=25)


@given(LOOKS)
def test_no_other_distribution_is_likelier(looks: list[tuple[int, int | None]]) -> None:
    """The conditions of Kuhn and Tucker, with every stretch of the axis asked, also those that hold nothing."""
    after = np.array([float(a) for a, _ in looks])
    until = np.array([np.inf if d is None else float(a + d) for a, d in looks])
    found = turnbull(after, until)
    assert found.share.sum() == pytest.approx(1) and (found.share >= 0).all()
    times = np.unique(np.concatenate([after, until]))
    points = np.unique(np.concatenate([times[np.isfinite(times)], times[np.isfinite(times)] + 0.5, [1e9]]))
    chance = np.array([held(found, a, u) for a, u in zip(after, until, strict=True)])
    gains = [
        sum(1 / c for a, u, c in zip(after, until, chance, strict=True) if (a < t <= u) or a == u == t) / len(looks)
        for t in points
    ]
    assert max(gains) <= 1 + 1e-6


def held(found: Any, after: float, until: float) -> float:
    inside = (found.after >= after) & (found.until <= until)
    if after < until:
        inside &= ~((found.after == found.until) & (found.after == after))
    return float(found.share[inside].sum())


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=25))
def test_times_that_are_known_make_the_curve_of_kaplan_and_meier(rows: list[tuple[int, bool]]) -> None:
    curve = kaplan_meier(firsts([(day, "event" if seen else "censored", "a") for day, seen in rows]))
    times = np.array([float(day) for day, _ in rows])
    found = turnbull(times, np.where([seen for _, seen in rows], times, np.inf))
    for day, share in curve.select("day", "share").iter_rows():
        assert found.by(day)[0] == pytest.approx(1 - share, abs=1e-6)


@pytest.mark.parametrize("looks", [([2.0], [1.0]), ([np.nan], [1.0]), ([], [])])
def test_intervals_that_are_none_are_refused(looks: tuple[list[float], list[float]]) -> None:
    with pytest.raises(InputError, match="two times"):
        turnbull(*map(np.array, looks))


# ---- published rates


@pytest.mark.parametrize("name", PROPORTIONS)
def test_pooled_proportions_are_those_of_r(name: str) -> None:
    told = PROPORTIONS[name]
    k, n, z = told["events"], told["n"], np.array(told["z"])[:, None]

    def numbers(found: Pooled) -> list[float]:
        return [*found.coefficient, *found.se, found.tau2]

    one = pooled(k, n)
    close(numbers(one), told["rma_glmm"])
    close(numbers(one), told["glmer"])
    close([one.heterogeneity, one.p], told["lrt"])
    close(numbers(pooled(k, n, z)), told["glmer_z"])
    logit = pooled(k, n, method="logit")
    close([*numbers(logit), logit.heterogeneity, logit.p, logit.i2], told["logit"])
    close(numbers(pooled(k, n, z, method="logit")), told["logit_z"])
    arcsine = pooled(k, n, method="freeman_tukey")
    close([*numbers(arcsine), arcsine.heterogeneity], told["arcsine"])
    close(list(arcsine.rate()), told["back"])


COUNTS = st.lists(st.integers(5, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=3, max_size=8)


@settings(max_examples=10, deadline=None)
@given(COUNTS)
def test_pooled_odds_of_those_without_are_the_other_way_round(counts: list[tuple[int, int]]) -> None:
    k, n = np.array(counts).T
    for method in ("logit", "freeman_tukey"):
        one, two = pooled(k, n, method=method), pooled(n - k, n, method=method)
        assert one.rate()[0] == pytest.approx(1 - two.rate()[0], abs=1e-6)
        assert one.tau2 == pytest.approx(two.tau2, rel=1e-5, abs=1e-6)
    try:
        one, two = pooled(k, n), pooled(n - k, n)
    except InputError:  # on the edge of what they tell, rounding decides
        reject()
    assert one.rate()[0] == pytest.approx(1 - two.rate()[0], abs=1e-3)
    assert one.log_likelihood == pytest.approx(two.log_likelihood, abs=1e-5)


@pytest.mark.parametrize("name", ["zero", "pritz"])
def test_the_likelihood_is_that_of_plain_integration_and_the_greatest(name: str) -> None:
    k, n = PROPORTIONS[name]["events"], PROPORTIONS[name]["n"]

    def plain(mu: float, tau: float) -> float:
        def of(a: int, b: int) -> float:
            whole = quad(
                lambda u: binom.pmf(a, b, 1 / (1 + np.exp(-mu - tau * u))) * norm.pdf(u),
                -9,
                9,
                limit=200,
                epsabs=1e-14,
                epsrel=1e-10,
            )
            return float(np.log(whole[0]))

        return sum(of(a, b) for a, b in zip(k, n, strict=True))

    found = pooled(k, n)
    assert found.log_likelihood is not None
    mu, tau = float(found.coefficient[0]), found.tau2**0.5
    assert found.log_likelihood == pytest.approx(plain(mu, tau), abs=1e-6)
    for dm, dt in product((-0.02, 0, 0.02), (-0.02, 0, 0.02)):
        assert plain(mu + dm, tau + dt) <= found.log_likelihood + 1e-6


def test_a_further_study_may_lie_further_off_than_the_middle() -> None:
    found = pooled(PROPORTIONS["zero"]["events"], PROPORTIONS["zero"]["n"])
    _, low, high = found.rate()
    further = found.prediction()
    assert further is not None and 0 < further[0] < low < high < further[1] < 1
    assert pooled([3, 4], [10, 12]).prediction() is None


@pytest.mark.parametrize(("k", "n"), [([1], [2]), ([3, 1], [2, 2]), ([1, -1], [2, 2]), ([1.5, 1], [2, 2]), ([0, 0], [0, 3])])
def test_counts_that_are_none_are_refused(k: list[float], n: list[float]) -> None:
    with pytest.raises(InputError):
        pooled(k, n)


@pytest.mark.parametrize("endpoint", sorted(set(endpoints()) - set(LATE)))
def test_published_rates_are_pooled_within_a_scale_and_every_study_is_told(endpoint: str) -> None:
    groups, left_out = pool(endpoint, mix=True)
    told = rows(endpoint, groups)
    studies = told.filter(col("trial_id").is_not_null())
    of_endpoint = table("rates").filter(endpoint=endpoint)
    assert sorted([*studies["trial_id"], *left_out]) == sorted(of_endpoint["trial_id"])
    for group in groups:
        together = told.filter(col("trial_id").is_null() & (col("scale") == group.scale)).row(0, named=True)
        own = studies if group.scale == MIXED else studies.filter(scale=group.scale)
        assert (together["events"], together["n"]) == (own["events"].sum(), own["n"].sum())
        assert (group.pooled is None) == bool(group.why) and (together["share"] is None) == bool(group.why)
        if group.pooled is not None:
            shares = own["share"].to_list()
            assert min(shares) <= together["share"] <= max(shares)
            assert together["low"] < together["share"] < together["high"]
    both = studies.join(of_endpoint, on="trial_id")
    off = [abs(100 * share - percent) for share, percent in both.select("share", "recommended_pct").iter_rows()]
    assert max(off) <= 1, "what is counted is what is recommended"
    scales = [group.scale for group in groups]
    assert len(set(scales)) == len(scales) and (MIXED in scales) == (len(scales) > 1)


def test_rates_are_asked_by_product_and_disease() -> None:
    studies, _ = counted("crs_g3plus", product="Abecma")
    assert set(studies["product"]) == {"ide-cel"}
    assert set(counted("crs_g3plus", disease="LBCL")[0]["disease"]) == {"LBCL"}
    for wrong in (
        {"endpoint": "crs_g9"},
        {"endpoint": "crs_any", "disease": "gout"},
        {"endpoint": "crs_any", "product": "nobody-cel"},
    ):
        with pytest.raises(OptionError):
            counted(**wrong)
