"""IEC-HS and its forerunners: both sides of each cut, the window that looks back, and what an unknown item leaves open."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import log
from typing import Any

import polars as pl
import pytest
from polars import col

from aftercar.conformance.run import suite
from aftercar.grade import hlh, hscore, iechs
from aftercar.grade.hscore import PROBABILITY, probability
from aftercar.grade.run import grade_timeline
from aftercar.timeline.readers.cases import cases_timeline, read_cases
from aftercar.timeline.schema import conform

DAY0 = datetime(2024, 3, 1, 10)
NOW = 12.0  # the day at which most records are asked
H = 1 / 24
SECOND = H / 3600
NAMES = [s.name for m in (iechs, hlh, hscore) for s in m.SCALES]
Row = tuple[float, str, Any] | tuple[float, str, Any, str]
Given = dict[str, Any]


def graded(scale: str, cases: Mapping[str, Sequence[Row]], *, age: float | None = 50, **options: Any) -> dict[str, pl.DataFrame]:
    """Rows of `grades` of each case; each of its rows is day, concept, value and perhaps its cause."""
    every = []
    for n, rows in enumerate(cases.values()):
        fixed: list[Row] = [(0, "cart_infusion", None), (60, "last_follow_up", None)]
        fixed += [] if age is None else [(-1, "age", age)]
        for day, code, value, *cause in (*fixed, *rows):
            time = DAY0 + timedelta(seconds=round(day * 86_400))
            end = DAY0 + timedelta(days=50) if code == "record_complete" else None
            number = None if isinstance(value, str) or value is None else float(value)
            text = value if isinstance(value, str) else None
            every.append((n, time, code, number, text, end, cause[0] if cause else None))
    columns = {
        "subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String, "numeric_value": pl.Float64,
        "text_value": pl.String, "end_time": pl.Datetime("us"), "attributable_to": pl.String,
    }  # fmt: skip
    found = grade_timeline(conform(pl.DataFrame(every, schema=columns, orient="row")), [scale], options).grades
    return {name: found.filter(col("subject_id") == n) for n, name in enumerate(cases)}


def on(found: pl.DataFrame, day: float) -> Given:
    time = DAY0 + timedelta(seconds=round(day * 86_400))
    row = found.filter((col("start") <= time) & ((col("end") > time) | col("end").is_null())).row(-1, named=True)
    return row | {m["name"]: m["value"] for m in row["measures"]}


def asked(scale: str, cases: Mapping[str, Sequence[Row]], *, day: float = NOW, **more: Any) -> dict[str, Given]:
    """The row of each case at one moment, with its measures by name."""
    return {name: on(found, day) for name, found in graded(scale, cases, **more).items()}


def one(scale: str, *rows: Row, day: float = NOW, **more: Any) -> Given:
    return asked(scale, {"": rows}, day=day, **more)[""]


def said(row: Given) -> tuple[Any, ...]:
    return row["status"], row["grade"], row["grade_upper"]


def told(row: Given, text: str) -> bool | None:
    """Whether a feature is told to hold; None: its axis is missing."""
    if any(c.startswith(text) for c in row["criteria"]):
        return True
    return None if any(m.startswith(text.split(" ")[0]) for m in row["missing"]) else False


# ---- the worked cases of the scales


@pytest.mark.parametrize(("case", "scale", "expected"), [
    ("V35", "iechs_dx", {"status": "criteria_met", "common": 3, "common_upper": 4, "supporting": 2}),
    ("V35", "iechs_grade", {"grade": 2, "grade_upper": 2}),
    ("V35", "hscore", {"score": 210, "score_upper": 301, "probability": 0.93, "grade": 1, "grade_upper": 1}),
    ("V35", "hlh2004", {"status": "incomplete", "score": 4, "score_upper": 8}),
    ("V36", "iechs_dx", {"status": "not_met", "grade_upper": 0}),
    ("V37", "iechs_dx", {"status": "criteria_met"}),
    ("V37", "iechs_grade", {"grade": 4, "grade_upper": 4}),
    ("V60", "hlh2004", {"status": "criteria_met", "score": 5, "score_upper": 7}),
])  # fmt: skip
def test_vignettes(case: str, scale: str, expected: Given) -> None:
    (found,) = [c for path in suite() for c in read_cases(path) if c.id == case]
    timeline, problems = cases_timeline([found])
    assert not problems
    row = grade_timeline(timeline, [scale]).worst.row(0, named=True)
    row |= {m["name"]: m["value"] for m in row["measures"]}
    assert {k: row[k] for k in expected} == expected


# ---- every scale


@pytest.mark.parametrize("name", NAMES)
def test_without_a_charted_item_nothing_is_known(name: str) -> None:
    row = one(name)
    assert said(row) == ("incomplete", 0, 4 if name == "iechs_grade" else 1)


LIMITS: list[Row] = [
    (-1, "ferritin_uln", 300), (-1, "alt_uln", 40), (-1, "ast_uln", 40), (-1, "bilirubin_uln", 1.0), (-1, "creatinine_uln", 1.0),
    (-1, "ldh_uln", 250), (-1, "direct_bilirubin_uln", 0.3), (-1, "fibrinogen_lln", 140),
]  # fmt: skip


@pytest.mark.parametrize("name", ["iechs_dx", "carhlh", "hlh2004", "hscore"])
def test_an_item_holds_for_the_window(name: str) -> None:
    rows: list[Row] = [*LIMITS, (10, "ferritin", 12_000)]
    moments = (10 - SECOND, 10, 13, 13 + SECOND)
    found = graded(name, {"": rows})[""]
    assert [told(on(found, d), "ferritin") for d in moments] == [None, True, True, None]
    shorter = graded(name, {"": rows}, iechs_window_h=24)[""]
    assert [told(on(shorter, d), "ferritin") for d in (11, 11 + SECOND)] == [True, None]


@pytest.mark.parametrize("name", ["iechs_dx", "carhlh", "hlh2004", "hscore"])
def test_the_worst_of_the_window_counts(name: str) -> None:
    cases: dict[str, list[Row]] = {
        "a lower value after it": [(10, "ferritin", 12_000), (11, "ferritin", 100)],
        "the lower value alone": [(11, "ferritin", 100)],
        "before day 0": [(-0.1, "ferritin", 12_000)],
        "of another cause": [(11, "ferritin", 12_000, "other")],
        "of unknown cause": [(11, "ferritin", 12_000, "unknown")],
    }
    expected = dict(zip(cases, [True, False, None, False, True], strict=True))
    found = asked(name, {k: [*LIMITS, *rows] for k, rows in cases.items()})
    assert {k: told(row, "ferritin") for k, row in found.items()} == expected
    after = on(graded(name, {"": [*LIMITS, *cases["a lower value after it"]]})[""], 13 + SECOND)
    assert told(after, "ferritin") is False, "the high value has left the window, the low one has not"


def test_unknown_attribution_may_be_left_out() -> None:
    row = one("hlh2004", (11, "ferritin", 12_000, "unknown"), unknown_attribution="exclude")
    assert told(row, "ferritin") is False


@pytest.mark.parametrize(("name", "flag", "text"), [
    ("iechs_dx", "haemophagocytosis", "haemophagocytosis"), ("hlh2004", "haemophagocytosis", "haemophagocytosis"),
    ("hscore", "immunosuppression", "immunosuppression"),
])  # fmt: skip
def test_a_flag_stands_until_charted_otherwise(name: str, flag: str, text: str) -> None:
    found = graded(name, {"": [(5, flag, 1), (40, flag, 0), (50, flag, 0, "other")]})[""]
    held = [next((c for c in on(found, d)["criteria"] if "points" in c or c.startswith(text)), None) for d in (4, 5, 39, 40, 59)]
    assert [h is not None for h in held] == [False, True, True, False, False]
    assert [text in on(found, d)["missing"] for d in (4, 5, 39, 40, 59)] == [True, False, False, False, False]


@pytest.mark.parametrize(("name", "code", "axis", "counts"), [
    ("hlh2004", "splenomegaly", "spleen", False), ("hlh2004", "haemophagocytosis", "haemophagocytosis", False),
    ("hscore", "hepatomegaly", "organomegaly", False), ("hscore", "immunosuppression", "immunosuppression", True),
])  # fmt: skip
def test_which_flags_may_be_older_than_the_infusion(name: str, code: str, axis: str, counts: bool) -> None:
    assert (axis not in one(name, (-5, code, 1))["missing"]) == counts


# ---- IEC-HS, diagnosis

HIGH, LIVER, FIBRINOGEN, COUNT = (11, "ferritin", 601), (11, "alt", 201), (11, "fibrinogen", 149), (11, "anc", 499)
LOW = [
    (11, "ast", 40),
    (11, "alt", 40),
    (11, "fibrinogen", 150),
    (11, "anc", 500),
    (11, "platelets", 25),
    (11, "haemophagocytosis", 0),
]
NEGATIVE: Row = (11, "infection_workup", "negative")


def test_ferritin() -> None:
    uln, base = (-1, "ferritin_uln", 300), (-2, "ferritin", 500)
    cases: dict[str, tuple[list[Row], bool | None]] = {
        "at twice the limit": ([uln, (11, "ferritin", 600)], False),
        "above it": ([uln, (11, "ferritin", 600.5)], True),
        "at twice the baseline": ([(-1, "ferritin_uln", 1000), base, (11, "ferritin", 1000)], False),
        "above twice the baseline": ([(-1, "ferritin_uln", 1000), base, (11, "ferritin", 1001)], True),
        "a normal baseline": ([uln, base, (11, "ferritin", 601)], True),
        "a baseline of twice the limit": ([uln, (-2, "ferritin", 600), (11, "ferritin", 601)], True),
        "a baseline above it": ([uln, (-2, "ferritin", 601), (11, "ferritin", 1202)], False),
        "twice such a baseline": ([uln, (-2, "ferritin", 601), (11, "ferritin", 1203)], True),
        "no limit, above twice the baseline": ([base, (11, "ferritin", 1001)], True),
        "neither": ([(11, "ferritin", 9000)], None),
        "a baseline alone, not twice it": ([base, (11, "ferritin", 1000)], None),
        "doubled against a lesser value of the same time": (
            [uln, (10.5, "ferritin", 100), (10.5, "ferritin", 150), (11, "ferritin", 250)], False,
        ),
        "doubled within a day": ([(10, "ferritin", 100), (11, "ferritin", 200)], True),
        "doubled, limits known": ([uln, (10, "ferritin", 100), (11, "ferritin", 200)], True),
        "nearly doubled": ([uln, (10, "ferritin", 100), (11, "ferritin", 199)], False),
        "doubled too slowly": ([uln, (10 - SECOND, "ferritin", 100), (11, "ferritin", 200)], False),
        "doubled against the lowest of the day": ([uln, (10.5, "ferritin", 100), (10.8, "ferritin", 180), (11, "ferritin", 200)], True),
        "halved": ([uln, (10.5, "ferritin", 200), (11, "ferritin", 100)], False),
    }  # fmt: skip
    found = asked("iechs_dx", {name: rows for name, (rows, _) in cases.items()})
    assert {name: told(row, "ferritin") for name, row in found.items()} == {name: met for name, (_, met) in cases.items()}
    none = one("iechs_dx", *cases["doubled, limits known"][0], ferritin_rapid="none")
    assert told(none, "ferritin") is False


def test_common_features() -> None:
    uln = [(-1, "alt_uln", 40), (-1, "ast_uln", 40)]
    cases: dict[str, tuple[str, list[Row], bool | None]] = {
        "ALT at five times": ("AST", [*uln, (11, "alt", 200), (11, "ast", 20)], False),
        "ALT above": ("AST", [*uln, (11, "alt", 200.5)], True),
        "AST above": ("AST", [*uln, (11, "ast", 200.5), (11, "alt", 20)], True),
        "not measured, complete": ("AST", [*uln, (0, "record_complete", "organ"), (11, "alt", 20)], False),
        "nothing measured, complete": ("AST", [*uln, (0, "record_complete", "organ")], False),
        "one normal, one not measured": ("AST", [*uln, (11, "alt", 20)], None),
        "no limit": ("AST", [(11, "alt", 9000), (11, "ast", 9000)], None),
        "five times an abnormal baseline": ("AST", [*uln, (-2, "alt", 80), (11, "alt", 400), (11, "ast", 20)], False),
        "above that": ("AST", [*uln, (-2, "alt", 80), (11, "alt", 401)], True),
        "fibrinogen 150": ("fibrinogen", [(11, "fibrinogen", 150)], False),
        "fibrinogen 149": ("fibrinogen", [(11, "fibrinogen", 149)], True),
        "at its limit": ("fibrinogen", [(-1, "fibrinogen_lln", 200), (11, "fibrinogen", 200)], False),
        "below its limit": ("fibrinogen", [(-1, "fibrinogen_lln", 200), (11, "fibrinogen", 199)], True),
        "ANC 500, platelets 25": ("a lineage", [(11, "anc", 500), (11, "platelets", 25)], False),
        "ANC 499": ("a lineage", [(11, "anc", 499)], True),
        "platelets 24": ("a lineage", [(11, "platelets", 24)], True),
        "ANC alone, not low": ("a lineage", [(11, "anc", 500)], None),
    }
    axis = {"AST": "transaminases", "fibrinogen": "fibrinogen", "a lineage": "cytopenia"}
    found = asked("iechs_dx", {name: rows for name, (_, rows, _) in cases.items()})
    got = {}
    for name, (text, _, _) in cases.items():
        row = found[name]
        got[name] = True if told(row, text) else None if axis[text] in row["missing"] else False
        assert (row["common"], row["common_upper"] < 4) == (int(got[name] is True), got[name] is False)
    assert got == {name: met for name, (_, _, met) in cases.items()}


def test_v4_takes_the_limit_for_transaminases() -> None:
    rows = [(-1, "alt_uln", 40), (-2, "alt", 80), (11, "alt", 201)]
    assert [one("iechs_dx", *rows, ctcae=v)["common"] for v in ("v5", "v4.03")] == [0, 1]


WORDS: dict[str, tuple[list[Row], tuple[str, int, int]]] = {
    "all": ([HIGH, LIVER, FIBRINOGEN, NEGATIVE], ("criteria_met", 1, 1)),
    "no work-up": ([HIGH, LIVER, FIBRINOGEN], ("possible", 0, 1)),
    "work-up pending": ([HIGH, LIVER, FIBRINOGEN, (11, "infection_workup", "pending")], ("possible", 0, 1)),
    "work-up positive": ([HIGH, LIVER, FIBRINOGEN, (11, "infection_workup", "positive")], ("possible", 0, 1)),
    "work-up before day 0": ([HIGH, LIVER, FIBRINOGEN, (-1, "infection_workup", "negative")], ("possible", 0, 1)),
    "work-up long ago": ([HIGH, LIVER, FIBRINOGEN, (1, "infection_workup", "negative")], ("criteria_met", 1, 1)),
    "work-up to come": ([HIGH, LIVER, FIBRINOGEN, (13, "infection_workup", "negative")], ("possible", 0, 1)),
    "work-up negative, then positive": ([HIGH, LIVER, FIBRINOGEN, NEGATIVE, (11.5, "infection_workup", "positive")], ("criteria_met", 1, 1)),
    "work-up positive, then pending": (
        [HIGH, LIVER, FIBRINOGEN, (11, "infection_workup", "positive"), (11.5, "infection_workup", "pending")], ("possible", 0, 1),
    ),
    "positive, but suspected only": ([HIGH, LIVER, (11, "infection_workup", "positive")], ("suspected", 0, 1)),
    "one feature, others unknown": ([HIGH, LIVER, NEGATIVE], ("suspected", 0, 1)),
    "one feature, others absent": ([HIGH, *LOW, LIVER, NEGATIVE], ("suspected", 0, 0)),
    "no feature": ([HIGH, *LOW, NEGATIVE], ("not_met", 0, 0)),
    "no feature known": ([HIGH, NEGATIVE], ("incomplete", 0, 1)),
    "features without ferritin": ([LIVER, FIBRINOGEN, COUNT, NEGATIVE], ("incomplete", 0, 1)),
    "ferritin low": ([(11, "ferritin", 600), LIVER, FIBRINOGEN, COUNT, NEGATIVE], ("not_met", 0, 0)),
}  # fmt: skip


def test_words_of_the_diagnosis() -> None:
    found = asked("iechs_dx", {name: [*LIMITS, *rows] for name, (rows, _) in WORDS.items()})
    # LOW holds an ALT of 40 at the time of 201: the worst counts.
    assert {name: said(row) for name, row in found.items()} == {name: word for name, (_, word) in WORDS.items()}
    assert {name for name, row in found.items() if "infection_found" in row["flags"]} == {"work-up positive"}
    assert {name for name, row in found.items() if "late_onset" in row["flags"]} == set()


@pytest.mark.parametrize(("least", "features", "word"), [
    (1, [LIVER], "criteria_met"), (2, [LIVER], "suspected"), (2, [LIVER, COUNT], "criteria_met"), (3, [LIVER, COUNT], "suspected"),
    (3, [LIVER, COUNT, FIBRINOGEN], "criteria_met"),
])  # fmt: skip
def test_how_many_features_is_an_option(least: int, features: list[Row], word: str) -> None:
    assert one("iechs_dx", *LIMITS, HIGH, *features, NEGATIVE, iechs_min_common=least)["status"] == word


def test_features_of_different_days_come_together() -> None:
    rows = [*LIMITS, NEGATIVE, (9, "ferritin", 5000), (10, "alt", 900), (12, "fibrinogen", 100)]
    found = graded("iechs_dx", {"": rows})[""]
    assert [on(found, d)["status"] for d in (9, 10, 12, 12 + SECOND)] == ["incomplete", "suspected", "criteria_met", "incomplete"]
    apart = graded("iechs_dx", {"": [*rows, (11, "ferritin", 5000)]})[""]
    assert [on(apart, d)["status"] for d in (13, 13 + SECOND, 14, 14 + SECOND)] == [
        "criteria_met",
        "suspected",
        "suspected",
        "incomplete",
    ]


def test_onset_after_day_30_is_late() -> None:
    found = graded("iechs_dx", {"": [*LIMITS, *((d, c, v) for d in (30, 31) for _, c, v in (HIGH, LIVER, FIBRINOGEN))]})[""]
    assert ["late_onset" in on(found, d)["flags"] for d in (30, 31)] == [False, True]
    standing = graded("iechs_dx", {"": [*LIMITS, *((30, c, v) for _, c, v in (HIGH, LIVER, FIBRINOGEN))]})[""]
    # Day 31 begins 14 hours after the time of day of the infusion.
    assert ["late_onset" in on(standing, 30 + h * H)["flags"] for h in (14 - 1 / 3600, 14)] == [False, True]


def test_supporting_features() -> None:
    rest: list[Row] = [
        (11, "ldh", 250), (11, "pt_prolonged", 0), (11, "direct_bilirubin", 0.3), (11, "splenomegaly", 0), (11, "temperature", 37.9),
        (11, "o2_device", "room_air"), (11, "pulmonary_infiltrate", 0), (11, "creatinine", 1.5), (11, "triglycerides", 265),
    ]  # fmt: skip
    raised: dict[str, float | str] = {
        "ldh": 251, "pt_prolonged": 1, "direct_bilirubin": 0.31, "splenomegaly": 1, "temperature": 38.0, "o2_device": "nasal_cannula",
        "pulmonary_infiltrate": 1, "creatinine": 1.51, "triglycerides": 266,
    }  # fmt: skip
    cases: dict[str, list[Row]] = {"none": rest, "nothing charted": []}
    cases |= {code: [*(r for r in rest if r[1] != code), (11, code, value)] for code, value in raised.items()}
    cases["all"] = [(11, code, value) for code, value in raised.items()]
    found = asked("iechs_dx", {name: [*LIMITS, *rows] for name, rows in cases.items()})
    # Hypoxia and infiltrate are one feature, that of the lungs.
    expected = {"none": 0, "nothing charted": 0, **dict.fromkeys(raised, 1), "all": 8}
    assert {name: row["supporting"] for name, row in found.items()} == expected


def test_the_rows_behind_the_diagnosis() -> None:
    row = one("iechs_dx", (-1, "ferritin_uln", 300), (-1, "alt_uln", 40), HIGH, LIVER, FIBRINOGEN, (11, "anc", 600), NEGATIVE)
    assert len(row["evidence"]) == 4
    daily = [(d, c, v) for d in range(5, 15) for _, c, v in (HIGH, LIVER, FIBRINOGEN)]
    found = graded("iechs_dx", {"": [*LIMITS, *daily, (12, "haemophagocytosis", 1), (12, "infection_workup", "negative")]})[""]
    # Rows are numbered in order: none older than the window stands behind what is said on day 12.
    first_of_day_9 = 2 + len(LIMITS) + 3 * 4
    assert min(on(found, 12)["evidence"]) >= first_of_day_9


# ---- IEC-HS, grade

MET: list[Row] = [*LIMITS, *((d, c, v) for d in (9, 11) for _, c, v in (HIGH, LIVER, FIBRINOGEN)), NEGATIVE]
WELL: list[Row] = [
    (0, "record_complete", "drugs"), (12, "hypotension", 0), (12, "o2_device", "room_air"), (12, "creatinine", 1.0), (-2, "creatinine", 1.0),
]  # fmt: skip
GRADES: dict[str, tuple[list[Row], tuple[int, int]]] = {
    "there": ([], (1, 1)),
    "anakinra": ([(12, "anakinra", 100)], (2, 2)),
    "a steroid, three days ago": ([(9, "dexamethasone", 10)], (2, 2)),
    "a second longer ago": ([(9 - SECOND, "dexamethasone", 10)], (1, 1)),
    "as prophylaxis": ([(12, "anakinra", "prophylaxis")], (1, 1)),
    "of another cause": ([(12, "dexamethasone", 10, "other")], (1, 1)),
    "a dose of 0": ([(12, "dexamethasone", 0)], (1, 1)),
    "ruxolitinib": ([(12, "ruxolitinib", 10)], (2, 2)),
    "etoposide": ([(12, "etoposide", 10)], (2, 2)),
    "emapalumab": ([(12, "emapalumab", 10)], (2, 2)),
    "tocilizumab is not against it": ([(12, "tocilizumab", 640)], (1, 1)),
    "cryoprecipitate": ([(12, "cryoprecipitate", 2)], (2, 2)),
    "cryoprecipitate as prophylaxis": ([(12, "cryoprecipitate", "prophylaxis")], (2, 2)),
    "bleeding, mild": ([(12, "bleeding", "mild")], (1, 1)),
    "bleeding, mild, and plasma": ([(12, "bleeding", "mild"), (12, "plasma", 2)], (3, 3)),
    "bleeding, severe": ([(12, "bleeding", "severe")], (3, 3)),
    "bleeding that stopped": ([(10, "bleeding", "severe"), (12, "bleeding", "none")], (3, 3)),
    "bleeding long ago": ([(9 - SECOND, "bleeding", "severe")], (1, 1)),
    "bleeding of another cause": ([(12, "bleeding", "severe", "other")], (1, 1)),
    "bleeding, life-threatening": ([(12, "bleeding", "life_threatening")], (4, 4)),
    "hypotension": ([(12, "hypotension", 1)], (3, 3)),
    "oxygen": ([(12, "o2_device", "nasal_cannula"), (12, "o2_flow", 1)], (3, 3)),
    "positive pressure is no ventilator": ([(12, "o2_device", "bipap")], (3, 3)),
    "ventilator": ([(12, "o2_device", "ventilator")], (4, 4)),
    "ecmo": ([(12, "o2_device", "ecmo")], (4, 4)),
    "creatinine 1.5 x": ([(12, "creatinine", 1.5)], (1, 1)),
    "creatinine above": ([(12, "creatinine", 1.51)], (3, 3)),
    "creatinine, three days ago": ([(9, "creatinine", 1.51)], (3, 3)),
    "creatinine, longer ago": ([(9 - SECOND, "creatinine", 1.51)], (1, 1)),
    "creatinine of another cause": ([(12, "creatinine", 9, "other")], (1, 1)),
    "norepinephrine": ([(12, "norepinephrine", 1)], (4, 4)),
    "vasopressin": ([(12, "vasopressin", 0.03)], (4, 4)),
    "dialysis": ([(9, "dialysis", None)], (4, 4)),
    "dialysis, longer ago": ([(9 - SECOND, "dialysis", None)], (1, 1)),
}  # fmt: skip


def test_grades_of_iechs() -> None:
    found = asked("iechs_grade", {name: [*MET, *WELL, *rows] for name, (rows, _) in GRADES.items()})
    assert {n: (r["grade"], r["grade_upper"]) for n, r in found.items()} == {n: g for n, (_, g) in GRADES.items()}
    assert {r["status"] for r in found.values()} == {"graded"}


def test_the_drug_behind_the_grade_is_none_that_was_given_days_before() -> None:
    daily = [(d, "anakinra", 100) for d in range(5, 13)]
    found = graded("iechs_grade", {"": [*MET, *WELL, *daily]})[""]
    # Rows are numbered in order: before day 9 come age, infusion, limits, two of WELL and four doses.
    first_of_day_9 = 2 + len(LIMITS) + 2 + 4
    assert on(found, 12)["grade"] == 2
    assert min(on(found, 12)["evidence"]) >= first_of_day_9


def test_what_the_grade_does_not_know() -> None:
    def without(*codes: str) -> list[Row]:
        return [*MET, *(r for r in WELL if r[1] not in codes)]

    cases: dict[str, tuple[list[Row], tuple[int, int]]] = {
        "drugs": (without("record_complete"), (1, 4)),
        "oxygen": (without("o2_device"), (1, 4)),
        "pressures": (without("hypotension"), (1, 3)),
        "creatinine": (without("creatinine"), (1, 3)),
        "creatinine, complete": ([*without("creatinine"), (0, "record_complete", "organ")], (1, 1)),
        "its baseline": ([*without("creatinine"), (12, "creatinine", 1.0)], (1, 3)),
        "its baseline, complete": ([*without("creatinine"), (12, "creatinine", 1.0), (0, "record_complete", "organ")], (1, 1)),
    }
    found = asked("iechs_grade", {name: rows for name, (rows, _) in cases.items()})
    assert {n: (r["grade"], r["grade_upper"]) for n, r in found.items()} == {n: g for n, (_, g) in cases.items()}


@pytest.mark.parametrize(("rows", "expected"), [
    ([HIGH, LIVER, FIBRINOGEN], ("graded", 3, 3)),
    ([HIGH, LIVER], ("incomplete", 0, 3)),
    ([HIGH, *LOW, LIVER], ("not_met", 0, 0)),
    ([(11, "ferritin", 600), LIVER, FIBRINOGEN], ("not_met", 0, 0)),
    ([LIVER, FIBRINOGEN], ("incomplete", 0, 3)),
])  # fmt: skip
def test_the_grade_needs_the_diagnosis(rows: list[Row], expected: tuple[str, int, int]) -> None:
    assert said(one("iechs_grade", *LIMITS, *WELL, (12, "hypotension", 1), *rows)) == expected


def test_death_of_iechs() -> None:
    cases: dict[str, list[Row]] = {cause: [*MET, *WELL, (12, "death", cause)] for cause in ("iec_hs", "infection")}
    found = {name: rows["grade"].max() for name, rows in graded("iechs_grade", cases).items()}
    assert found == {"iec_hs": 5, "infection": 1}
    unknown = graded("iechs_grade", {"": [*MET, *WELL, (12, "death", "unknown")]})[""].row(-1, named=True)
    assert (unknown["grade"], unknown["grade_upper"], unknown["flags"]) == (1, 5, ["death_cause_unknown"])
    never = [(11, "ferritin", 100), *LIMITS, *WELL, (12, "death", "unknown")]
    assert graded("iechs_grade", {"": never})[""]["grade_upper"][-1] == 0


def test_the_grade_reads_what_stands_when_the_diagnosis_opens() -> None:
    rows: list[Row] = [
        *LIMITS, (0, "record_complete", "drugs"), (0, "record_complete", "organ"), (5, "ferritin", 100), (5, "hypotension", 1),
        (6, "o2_device", "ventilator"), (6.1, "o2_device", "room_air"), (6.1, "hypotension", 0), (6.2, "ferritin", 5000),
        (6.2, "alt", 900), (6.2, "fibrinogen", 100),
    ]  # fmt: skip
    row = one("iechs_grade", *rows, day=6.2)
    assert (row["grade"], row["grade_upper"]) == (1, 1)


# ---- carHLH


def test_carhlh() -> None:
    high = (11, "ferritin", 10_001)
    rest: list[Row] = [(11, "pulmonary_oedema", 2), (11, "haemophagocytosis", 0)]
    well: list[Row] = [(11, "alt", 200), (11, "ast", 200), (11, "bilirubin", 3.0), (11, "creatinine", 3.0), *rest]

    def but(*rows: Row) -> list[Row]:
        codes = {r[1] for r in rows}
        return [*(r for r in (high, *well) if r[1] not in codes), *rows]

    lung, marrow = (11, "pulmonary_oedema", 3), (11, "haemophagocytosis", 1)
    met, unmet, open_ = ("criteria_met", 1, 1), ("not_met", 0, 0), ("incomplete", 0, 1)
    cases: dict[str, tuple[list[Row], tuple[str, int, int]]] = {
        "nothing": (but(), unmet),
        "lung and marrow": (but(lung, marrow), met),
        "lung alone": (but(lung), unmet),
        "lung, ALT at the cut": (but(lung, (11, "alt", 200)), unmet),
        "lung, ALT above": (but(lung, (11, "alt", 201)), met),
        "lung, AST above": (but(lung, (11, "ast", 201)), met),
        "lung, bilirubin above": (but(lung, (11, "bilirubin", 3.01)), met),
        "lung, creatinine above": (but(lung, (11, "creatinine", 3.01)), met),
        "lung, oliguria 2": (but(lung, (11, "oliguria", 2)), unmet),
        "lung, oliguria 3": (but(lung, (11, "oliguria", 3)), met),
        "two of one item": (but((11, "alt", 201), (11, "bilirubin", 3.01)), unmet),
        "ferritin at the cut": (but(lung, marrow, (11, "ferritin", 10_000)), unmet),
        "ferritin unknown": ([lung, marrow], open_),
        "one and one unknown": ([high, *(r for r in well if r[1] != "haemophagocytosis"), lung], open_),
    }
    found = asked("carhlh", {name: [*LIMITS, *rows] for name, (rows, _) in cases.items()})
    assert {n: said(r) for n, r in found.items()} == {n: e for n, (_, e) in cases.items()}
    assert (found["lung and marrow"]["score"], found["lung and marrow"]["score_upper"]) == (2, 2)


# ---- HLH-2004

ITEMS: dict[str, tuple[list[Row], list[Row], list[Row]]] = {  # met, only if the cut is included, unmet
    "fever": ([(11, "temperature", 38.6)], [(11, "temperature", 38.5)], [(11, "temperature", 38.4)]),
    "splenomegaly": ([(11, "splenomegaly", 1)], [], [(11, "splenomegaly", 0)]),
    "two of": (
        [(11, "hemoglobin", 8.9), (11, "platelets", 99), (11, "anc", 1000)], [],
        [(11, "hemoglobin", 9.0), (11, "platelets", 99), (11, "anc", 1000)],
    ),
    "triglycerides": (
        [(11, "triglycerides", 266), (11, "fibrinogen", 151)], [(11, "triglycerides", 265), (11, "fibrinogen", 151)],
        [(11, "triglycerides", 264), (11, "fibrinogen", 151)],
    ),
    "haemophagocytosis": ([(11, "haemophagocytosis", 1)], [], [(11, "haemophagocytosis", 0)]),
    "NK": ([(11, "nk_activity", "low")], [], [(11, "nk_activity", "normal")]),
    "ferritin": ([(11, "ferritin", 501)], [(11, "ferritin", 500)], [(11, "ferritin", 499)]),
    "soluble CD25": ([(11, "scd25", 2401)], [(11, "scd25", 2400)], [(11, "scd25", 2399)]),
}  # fmt: skip
MORE: dict[str, tuple[list[Row], int, int]] = {
    "haemoglobin and ANC": ([(11, "hemoglobin", 8.9), (11, "anc", 999), (11, "platelets", 100)], 1, 1),
    "platelets and ANC": ([(11, "hemoglobin", 9), (11, "anc", 999), (11, "platelets", 99)], 1, 1),
    "one low, others normal": ([(11, "hemoglobin", 9), (11, "anc", 999), (11, "platelets", 100)], 0, 0),
    "one low, one unknown": ([(11, "hemoglobin", 8.9), (11, "platelets", 100)], 0, 1),
    "one known to be normal": ([(11, "platelets", 100)], 0, 1),
    "two known to be normal": ([(11, "platelets", 100), (11, "anc", 1000)], 0, 0),
    "fibrinogen 150": ([(11, "fibrinogen", 150)], 1, 1),
    "fibrinogen 151": ([(11, "fibrinogen", 151)], 0, 1),
    "NK absent": ([(11, "nk_activity", "absent")], 1, 1),
    "NK unknown": ([(11, "nk_activity", "unknown")], 0, 1),
}  # fmt: skip


@pytest.mark.parametrize("inclusive", [True, False])
def test_items_of_hlh2004(inclusive: bool) -> None:
    cases = {f"{item} {n}": rows for item, three in ITEMS.items() for n, rows in enumerate(three) if rows}
    expected = {name: (1, 8) if name[-1] == "0" or (name[-1] == "1" and inclusive) else (0, 7) for name in cases}
    found = asked("hlh2004", cases, hlh_inclusive=inclusive)
    assert {n: (r["score"], r["score_upper"]) for n, r in found.items()} == expected
    strict = one("hlh2004", (11, "fibrinogen", 150), (11, "triglycerides", 100), hlh_inclusive=inclusive)
    assert strict["score"] == int(inclusive)


def test_pairs_of_hlh2004() -> None:
    found = asked("hlh2004", {name: rows for name, (rows, _, _) in MORE.items()})
    got = {n: (r["score"], r["score_upper"] - 7) for n, r in found.items()}
    assert got == {n: (low, up) for n, (_, low, up) in MORE.items()}


@pytest.mark.parametrize(("age", "value", "score", "upper"), [
    (50, 9.5, 0, 7), (27 / 365.2425, 9.5, 1, 8), (27 / 365.2425, 10, 0, 7), (0.09, 9.5, 0, 7), (0.5, 8.9, 1, 8),
])  # fmt: skip
def test_newborns_of_hlh2004(age: float, value: float, score: int, upper: int) -> None:
    rows = ((0, "hemoglobin", value), (0, "platelets", 50), (0, "anc", 2000))
    row = one("hlh2004", *rows, age=age, day=0)
    assert (row["score"], row["score_upper"]) == (score, upper)


@pytest.mark.parametrize(("days", "score"), [(27, 1), (28, 0), (200, 0)])
def test_newborns_by_date_of_birth(days: int, score: int) -> None:
    rows = ((-days, "birth", None), (0, "hemoglobin", 9.5), (0, "platelets", 50), (0, "anc", 2000))
    assert one("hlh2004", *rows, age=None, day=0)["score"] == score


def test_five_items_or_a_gene() -> None:
    met = [r for three in ITEMS.values() for r in three[0]]
    none = [r for three in ITEMS.values() for r in three[2]]

    def first(n: int, others: bool) -> list[Row]:
        return [r for k, (yes, _, no) in enumerate(ITEMS.values()) for r in (yes if k < n else no if others else [])]

    cases: dict[str, tuple[list[Row], tuple[str, int, int]]] = {
        "all": (met, ("criteria_met", 1, 1)),
        "none": (none, ("not_met", 0, 0)),
        "five": (first(5, True), ("criteria_met", 1, 1)),
        "five, others unknown": (first(5, False), ("criteria_met", 1, 1)),
        "four": (first(4, True), ("not_met", 0, 0)),
        "four, others unknown": (first(4, False), ("incomplete", 0, 1)),
        "a gene": ([*none, (-100, "hlh_gene", 1)], ("criteria_met", 1, 1)),
        "no gene": ([*none, (-100, "hlh_gene", 0)], ("not_met", 0, 0)),
        "a gene later": ([*none, (13, "hlh_gene", 1)], ("not_met", 0, 0)),
    }
    found = asked("hlh2004", {name: rows for name, (rows, _) in cases.items()})
    assert {n: said(r) for n, r in found.items()} == {n: e for n, (_, e) in cases.items()}


# ---- HScore

NOTHING: dict[str, list[Row]] = {
    "immunosuppression": [(11, "immunosuppression", 0)],
    "temperature": [(11, "temperature", 38.3)],
    "organomegaly": [(11, "splenomegaly", 0), (11, "hepatomegaly", 0)],
    "cytopenias": [(11, "hemoglobin", 9.3), (11, "wbc", 5.1), (11, "platelets", 111)],
    "ferritin": [(11, "ferritin", 1999)],
    "triglycerides": [(11, "triglycerides", 1.49 * 88.57)],
    "fibrinogen": [(11, "fibrinogen", 251)],
    "AST": [(11, "ast", 29)],
    "haemophagocytosis": [(11, "haemophagocytosis", 0)],
}
MOST = {
    "immunosuppression": 18, "temperature": 49, "organomegaly": 38, "cytopenias": 34, "ferritin": 50, "triglycerides": 64,
    "fibrinogen": 30, "AST": 19, "haemophagocytosis": 35,
}  # fmt: skip
POINTS: dict[str, tuple[str, list[Row], int]] = {
    "immunosuppressed": ("immunosuppression", [(11, "immunosuppression", 1)], 18),
    "38.4": ("temperature", [(11, "temperature", 38.4)], 33),
    "39.4": ("temperature", [(11, "temperature", 39.4)], 33),
    "39.5": ("temperature", [(11, "temperature", 39.5)], 49),
    "101.12 F": ("temperature", [(11, "temperature", (101.12 - 32) * 5 / 9)], 33),
    "102.92 F": ("temperature", [(11, "temperature", (102.92 - 32) * 5 / 9)], 33),
    "spleen": ("organomegaly", [(11, "splenomegaly", 1), (11, "hepatomegaly", 0)], 23),
    "liver": ("organomegaly", [(11, "splenomegaly", 0), (11, "hepatomegaly", 1)], 23),
    "spleen and liver": ("organomegaly", [(11, "splenomegaly", 1), (11, "hepatomegaly", 1)], 38),
    "one lineage": ("cytopenias", [(11, "hemoglobin", 9.2), (11, "wbc", 5.1), (11, "platelets", 111)], 0),
    "two": ("cytopenias", [(11, "hemoglobin", 9.2), (11, "wbc", 5.0), (11, "platelets", 111)], 24),
    "three": ("cytopenias", [(11, "hemoglobin", 9.2), (11, "wbc", 5.0), (11, "platelets", 110)], 34),
    "ferritin 2000": ("ferritin", [(11, "ferritin", 2000)], 35),
    "ferritin 6000": ("ferritin", [(11, "ferritin", 6000)], 35),
    "ferritin 6001": ("ferritin", [(11, "ferritin", 6001)], 50),
    "triglycerides 1.5": ("triglycerides", [(11, "triglycerides", 1.5 * 88.57)], 44),
    "triglycerides 4": ("triglycerides", [(11, "triglycerides", 4 * 88.57)], 44),
    "triglycerides 4.01": ("triglycerides", [(11, "triglycerides", 4.01 * 88.57)], 64),
    "fibrinogen 250": ("fibrinogen", [(11, "fibrinogen", 250)], 30),
    "AST 30": ("AST", [(11, "ast", 30)], 19),
    "marrow": ("haemophagocytosis", [(11, "haemophagocytosis", 1)], 35),
}  # fmt: skip


def _with(item: str, rows: list[Row]) -> list[Row]:
    return [r for name, none in NOTHING.items() for r in (rows if name == item else none)]


def test_points_of_hscore() -> None:
    cases = {name: _with(item, rows) for name, (item, rows, _) in POINTS.items()} | {"nothing": _with("", [])}
    found = asked("hscore", cases)
    expected = {name: (points, points) for name, (_, _, points) in POINTS.items()} | {"nothing": (0, 0)}
    assert {n: (r["score"], r["score_upper"]) for n, r in found.items()} == expected
    assert all(r["missing"] == [] for r in found.values())


def test_an_unknown_item_is_none_to_its_most() -> None:
    found = asked("hscore", {item: _with(item, []) for item in NOTHING})
    assert {n: (r["score"], r["score_upper"]) for n, r in found.items()} == {n: (0, most) for n, most in MOST.items()}
    assert {n: r["missing"] for n, r in found.items()} == {n: [n] for n in NOTHING}


def test_half_known_items() -> None:
    cases: dict[str, tuple[str, list[Row], tuple[int, int]]] = {
        "spleen, liver unknown": ("organomegaly", [(11, "splenomegaly", 1)], (23, 38)),
        "no spleen, liver unknown": ("organomegaly", [(11, "splenomegaly", 0)], (0, 23)),
        "one low": ("cytopenias", [(11, "wbc", 1)], (0, 34)),
        "one normal": ("cytopenias", [(11, "wbc", 9)], (0, 24)),
        "two low": ("cytopenias", [(11, "wbc", 1), (11, "platelets", 10)], (24, 34)),
        "two normal": ("cytopenias", [(11, "wbc", 9), (11, "platelets", 200)], (0, 0)),
    }
    found = asked("hscore", {name: _with(item, rows) for name, (item, rows, _) in cases.items()})
    assert {n: (r["score"], r["score_upper"]) for n, r in found.items()} == {n: e for n, (_, _, e) in cases.items()}


def test_the_cut_and_the_bounds_of_hscore() -> None:
    # 49 + 38 + 24 + 50 = 161, + 18 = 179; 33 + 38 + 34 + 64 = 169; 168 cannot be missed by the next lower: 33 + 38 + 34 + 44 + 19 = 168.
    base = {
        "temperature": [(11, "temperature", 39)],
        "organomegaly": POINTS["spleen and liver"][1],
        "cytopenias": POINTS["three"][1],
    }
    high = base | {"triglycerides": POINTS["triglycerides 4.01"][1]}
    below = base | {"triglycerides": POINTS["triglycerides 4"][1], "AST": POINTS["AST 30"][1]}
    most = {item: max((p for p in POINTS.values() if p[0] == item), key=lambda p: p[2])[1] for item in NOTHING}
    cases = {
        name: [r for item in NOTHING for r in (chosen.get(item) or NOTHING[item])]
        for name, chosen in (("at", high), ("below", below), ("most", most))
    }
    found = asked("hscore", cases | {"empty": []})
    assert {n: (r["score"], r["score_upper"], r["grade"], r["grade_upper"]) for n, r in found.items()} == {
        "at": (169, 169, 1, 1), "below": (168, 168, 0, 0), "most": (337, 337, 1, 1), "empty": (0, 337, 0, 1),
    }  # fmt: skip


def test_everyone_may_count_as_immunosuppressed() -> None:
    row = one("hscore", *_with("", []), hscore_immunosuppressed="always")
    assert (row["score"], row["score_upper"]) == (18, 18)


def test_the_points_that_are_told_add_up() -> None:
    row = one("hscore", (11, "splenomegaly", 1), (11, "wbc", 1), (11, "platelets", 10), (11, "ferritin", 3000))
    points = [int(c.split(": ")[-1].split()[0]) for c in row["criteria"] if "points" in c]
    assert sum(points) == row["score"] == 23 + 24 + 35


def test_published_probabilities_are_exact() -> None:
    assert {s: probability(s) for s in PROBABILITY} == {
        100: 0.01, 110: 0.03, 120: 0.05, 130: 0.09, 140: 0.16, 150: 0.25, 160: 0.40, 170: 0.54, 180: 0.70, 190: 0.80, 200: 0.88,
        210: 0.93, 220: 0.96, 230: 0.98, 240: 0.99,
    }  # fmt: skip
    assert probability(90) < 0.01 and probability(250) > 0.99
    every = [probability(s) for s in range(338)]
    assert all(a < b for a, b in pairwise(every)) and every[0] > 0 and every[-1] < 1


def test_probability_between_anchors_is_linear_in_logit() -> None:
    def logit(p: float) -> float:
        return log(p / (1 - p))

    assert logit(probability(165)) == pytest.approx((logit(0.40) + logit(0.54)) / 2)
    assert logit(probability(95)) == pytest.approx(logit(0.01) - (logit(0.03) - logit(0.01)) / 2)
    assert logit(probability(245)) == pytest.approx(logit(0.99) + (logit(0.99) - logit(0.98)) / 2)
    row = one("hscore", *_with("temperature", []))
    assert (row["probability"], row["probability_upper"]) == pytest.approx((probability(0), probability(49)))


# ---- what is hidden widens


FULL: dict[str, Callable[[random.Random], float | str]] = {
    "ferritin": lambda r: r.choice([400, 3000, 12_000]),
    "alt": lambda r: r.choice([20, 250]),
    "ast": lambda r: r.choice([20, 250]),
    "bilirubin": lambda r: r.choice([0.5, 4]),
    "fibrinogen": lambda r: r.choice([100, 200, 300]),
    "anc": lambda r: r.choice([300, 900, 2000]),
    "platelets": lambda r: r.choice([10, 90, 200]),
    "hemoglobin": lambda r: r.choice([7, 12]),
    "wbc": lambda r: r.choice([1, 8]),
    "triglycerides": lambda r: r.choice([100, 300, 500]),
    "scd25": lambda r: r.choice([1000, 5000]),
    "temperature": lambda r: r.choice([37, 38.4, 40]),
    "creatinine": lambda r: r.choice([0.8, 2, 4]),
    "pulmonary_oedema": lambda r: r.choice([0, 3]),
    "o2_device": lambda r: r.choice(["room_air", "blow_by", "ventilator"]),
    "hypotension": lambda r: r.choice([0, 1]),
    "nk_activity": lambda r: r.choice(["normal", "low"]),
    **{flag: lambda r: r.choice([0, 1]) for flag in ("haemophagocytosis", "splenomegaly", "hepatomegaly", "immunosuppression")},
    "infection_workup": lambda r: "negative",
    "record_complete": lambda r: "drugs",
}


@pytest.mark.parametrize("name", NAMES)
def test_hiding_an_item_only_widens(name: str) -> None:
    draw = random.Random(7)
    cases: dict[str, list[Row]] = {}
    for n in range(40):
        whole = [(11, code, value(draw)) for code, value in FULL.items()]
        cases[f"{n} whole"] = [*LIMITS, *whole]
        for k in range(6):
            hidden = set(draw.sample(list(FULL), draw.choice([1, 1, 2, 5])))
            cases[f"{n} hidden {k}"] = [*LIMITS, *(r for r in whole if r[1] not in hidden)]
    found = asked(name, cases)
    for case, row in found.items():
        all_known = found[f"{case.split()[0]} whole"]
        assert row["grade"] <= all_known["grade"] <= all_known["grade_upper"] <= row["grade_upper"], case
        for score in ("score", "common", "probability"):
            if score in row:
                assert row[score] <= all_known[score] <= all_known[f"{score}_upper"] <= row[f"{score}_upper"], case
