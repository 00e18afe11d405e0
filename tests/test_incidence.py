"""Cumulative incidence: known cases, and what must hold of any cohort."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercar.cohort.exact import exact
from aftercar.cohort.incidence import WHAT, by_day, cumulative_incidence, first_days
from aftercar.cohort.outcome import Outcome

WORDS = ("event", "competing", "censored")
COHORTS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(WORDS)), min_size=1, max_size=60)


def cohort(rows: list[tuple[int, str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"day": pl.Int32, "what": WHAT}, orient="row")


def naive(rows: list[tuple[int, str]], by: int, what: str) -> float:
    """Mass moves on: who is censored hands it evenly to all who are followed longer (Efron); the share that had `what` by a day."""
    order = sorted(rows, key=lambda r: (r[0], r[1] == "censored"))
    mass, found = [1 / len(order)] * len(order), 0.0
    for n, (day, was) in enumerate(order):
        if was == "censored":
            rest = len(order) - n - 1
            for k in range(n + 1, len(order)):
                mass[k] += mass[n] / rest
        elif was == what and day <= by:
            found += mass[n]
    return found


@given(COHORTS)
def test_the_estimate_is_that_of_mass_that_moves_on(rows: list[tuple[int, str]]) -> None:
    curve = cumulative_incidence(cohort(rows))
    for day in (0, 5, 15, 30):
        found = by_day(curve, day)["incidence"]
        last = max(d for d, _ in rows)
        if day > last and (last, "censored") in rows:
            assert found is None  # nobody was followed so long
        else:
            assert found == pytest.approx(naive(rows, day, "event"), abs=1e-9)


@given(COHORTS)
def test_it_only_rises_and_stays_with_the_other_below_one(rows: list[tuple[int, str]]) -> None:
    curve = cumulative_incidence(cohort(rows))
    swapped = {"event": "competing", "competing": "event", "censored": "censored"}
    other = cumulative_incidence(cohort([(d, swapped[w]) for d, w in rows]))
    assert (curve["incidence"].diff().drop_nulls() >= -1e-12).all()
    assert ((curve["incidence"] + other["incidence"]) <= 1 + 1e-9).all()
    told = curve.drop_nulls("low")
    assert ((told["low"] <= told["incidence"] + 1e-9) & (told["incidence"] <= told["high"] + 1e-9)).all()
    assert curve["events"].sum() == sum(w == "event" for _, w in rows)


def test_without_censoring_the_variance_is_that_of_a_share() -> None:
    rows = [(d, "event" if d % 3 == 0 else "competing") for d in range(30)]
    last = by_day(cumulative_incidence(cohort(rows)), 20)
    p = 7 / 30
    spread = np.exp(1.959964 * np.sqrt(p * (1 - p) / 30) / abs(p * np.log(p)))
    assert last["incidence"] == pytest.approx(p)
    assert last["low"] == pytest.approx(p**spread)
    assert last["high"] == pytest.approx(p ** (1 / spread))


@given(st.integers(1, 40), st.integers(0, 9), st.integers(0, 12))
def test_where_nobody_or_everybody_had_it_the_interval_is_the_exact_one_of_a_share(n: int, first: int, day: int) -> None:
    days = [first + k % 3 for k in range(n)]
    low, high = (end.item() for end in exact(pl.Series([n]), pl.Series([n])))
    everybody = by_day(cumulative_incidence(cohort([(d, "event") for d in days])), 20)
    assert everybody == {"incidence": pytest.approx(1), "low": pytest.approx(low), "high": 1.0} and high == 1
    nobody = by_day(cumulative_incidence(cohort([(d, "competing") for d in days])), day)
    assert nobody == {"incidence": 0.0, "low": 0.0, "high": pytest.approx(1 - low)}
    followed = by_day(cumulative_incidence(cohort([(30, "censored")] * n)), day)
    assert followed == nobody


@given(COHORTS)
def test_no_share_is_told_without_an_interval_that_has_a_width(rows: list[tuple[int, str]]) -> None:
    curve = cumulative_incidence(cohort(rows))
    for day in (0, 5, 15, 30):
        told = by_day(curve, day)
        if told["incidence"] is not None:
            assert (
                0 <= told["low"] <= told["incidence"] + 1e-9 <= told["high"] + 2e-9 <= 1 + 3e-9
                and told["high"] - told["low"] > 0.01
            )


def test_those_who_are_gone_do_not_narrow_what_nobody_was_seen_to_have() -> None:
    rows = [(1, "competing")] * 50 + [(2, "censored")] * 40 + [(30, "censored")] * 10
    found = by_day(cumulative_incidence(cohort(rows)), 20)
    assert found["high"] == pytest.approx(0.5 * (1 - 0.025 ** (1 / 10)))  # half were alive, and 10 of them were seen
    late = cumulative_incidence(cohort([(1, "event")] * 9 + [(2, "censored")] * 90 + [(10, "event")]))
    assert by_day(late, 10)["low"] == pytest.approx(1 - 0.91 * 0.975)  # all but 9 hang on one


def test_a_course_counts_by_its_first_surely_reached_grade_else_by_death_else_by_the_end_of_its_record() -> None:
    zero = datetime(2026, 3, 1, 10)
    days = {
        c: [zero + timedelta(days=d) if d is not None else None for d in v]
        for c, v in {"death": [None, None, 9, None], "record_end": [30, 30, 9, 20]}.items()
    }
    subjects = pl.DataFrame({"subject_id": [1, 2, 3, 4], "infusion": [1] * 4, "day0": [zero] * 4, **days}).with_columns(
        pl.col("death").cast(pl.Datetime("us"))
    )
    grades = pl.DataFrame(
        {
            "subject_id": [1, 1, 2, 4], "infusion": [1] * 4, "scale": ["crs_astct2019"] * 4, "status": ["graded", "graded", "incomplete", "graded"],
            "grade": [1, 3, 0, 2], "start": [zero + timedelta(days=d) for d in (2, 4, 3, 5)],
        }
    )  # fmt: skip
    found = first_days(subjects, grades, Outcome("crs", 3)).sort("subject_id")
    assert list(zip(found["day"], found["what"], strict=True)) == [
        (4, "event"),
        (30, "censored"),
        (9, "competing"),
        (20, "censored"),
    ]
    assert first_days(subjects, grades, Outcome("crs")).sort("subject_id")["day"].to_list() == [2, 30, 9, 5]
