"""Platelets, recovery and cytopenia: both sides of each cut, published vignettes, and the rows behind a grade."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars import col

from aftercar.conformance.run import difference, suite
from aftercar.grade.run import grade_timeline
from aftercar.timeline.readers.cases import cases_timeline, read_cases
from aftercar.timeline.schema import conform

DAY0 = datetime(2024, 3, 1, 10)
Series = Mapping[int, float]


def timeline(*rows: tuple[float, str, float | None]) -> pl.DataFrame:
    """One subject; a row is day, concept, value. `event_id` is the place of the row."""
    every = [(0.0, "cart_infusion", None), *rows]
    frame = pl.DataFrame(
        [
            {"subject_id": 1, "time": DAY0 + timedelta(days=d), "code": c, "numeric_value": v, "event_id": n}
            for n, (d, c, v) in enumerate(every)
        ],
        schema_overrides={"time": pl.Datetime("us"), "numeric_value": pl.Float64},
    )
    return conform(frame)


def one(scale: str, rows: list[tuple[float, str, float | None]], **options: Any) -> dict[str, Any]:
    """The row of a scale, with its measures by name, the days of the rows behind it, and when it began."""
    result = grade_timeline(timeline(*rows), [scale], options)
    assert result.grades.height == 1
    row = result.grades.row(0, named=True)
    row["measures"] = {m["name"]: m["value"] for m in row["measures"]}
    row["behind"] = sorted((rows[e - 1][1], rows[e - 1][0]) for e in row["evidence"])
    row["onset_day"] = result.episodes["onset_day"].min()
    return row


def of(code: str, values: Series) -> list[tuple[float, str, float | None]]:
    return [(day, code, value) for day, value in values.items()]


def every_day(first: int, last: int, value: float) -> dict[int, float]:
    return dict.fromkeys(range(first, last + 1), value)


def bounds(row: dict[str, Any]) -> tuple[str, int, int]:
    return row["status"], row["grade"], row["grade_upper"]


# ---- the published vignettes

VIGNETTES = {"V38", "V42", "V46", "V47", "V57", "V58"}
HERE = {"ticaht_early", "ticaht_late", "anc_phenotype"}
CASES = {c.id: c for path in suite() if path.name == "vignettes.yaml" for c in read_cases(path) if c.id in VIGNETTES}
ASKED = [(c.id, want) for c in CASES.values() for want in c.body["expected"] if want["scale"] in HERE]


def test_the_vignettes_are_there() -> None:
    assert {case for case, _ in ASKED} == VIGNETTES


@pytest.mark.parametrize(("case", "want"), ASKED, ids=lambda x: x if isinstance(x, str) else x["scale"])
def test_vignette(case: str, want: dict[str, Any]) -> None:
    rows, problems = cases_timeline([CASES[case]])
    assert not problems
    row = grade_timeline(rows, [want["scale"]]).grades.row(0, named=True)
    assert difference(want, {**row, "value": {m["name"]: m["value"] for m in row["measures"]}}) == ""


# ---- T-ICAHT, early


def early(low: Series, fine: float = 150, **options: Any) -> dict[str, Any]:
    """A count every day of 0-30, `fine` where not said otherwise."""
    return one("ticaht_early", of("platelets", {**every_day(0, 30, fine), **low}), **options)


@pytest.mark.parametrize(
    ("low", "grade", "d50", "d20"),
    [
        ({5: 50}, 0, 0, 0),
        ({5: 49.9}, 1, 1, 0),
        (every_day(5, 10, 49), 1, 6, 0),
        (every_day(5, 11, 49), 2, 7, 0),
        (every_day(5, 24, 20), 2, 20, 0),
        ({5: 19.9}, 3, 1, 1),
        (every_day(5, 17, 19), 3, 13, 13),
        (every_day(5, 18, 19), 4, 14, 14),
    ],
)
def test_early_cuts(low: Series, grade: int, d50: int, d20: int) -> None:
    row = early(low)
    assert bounds(row) == ("graded", grade, grade)
    assert (row["measures"]["d50"], row["measures"]["d20"]) == (d50, d20)


def test_early_days_add_up_and_short_breaks_count() -> None:
    parted = {**every_day(2, 5, 40), **every_day(9, 11, 40)}
    assert early(parted)["measures"]["d50"] == 7  # three days apart: two runs, added
    assert early({**every_day(2, 5, 40), **every_day(8, 10, 40)})["measures"]["d50"] == 9  # two days apart: one run
    assert early(parted, recovery_days=4)["measures"]["d50"] == 10
    assert early({28: 40})["measures"]["d50"] == 3  # no recovery is proven at the end
    assert early({27: 40})["measures"]["d50"] == 1


def test_early_gaps_are_filled_or_leave_the_grade_open() -> None:
    filled = one("ticaht_early", of("platelets", {0: 40, 8: 40, 15: 100, 16: 100, 17: 100, 23: 100, 30: 100}))
    assert bounds(filled) == ("graded", 2, 2)
    # Eight missing days are not filled; all may be below 20, and d50 then runs on.
    broken = one("ticaht_early", of("platelets", {**every_day(0, 10, 100), **every_day(19, 30, 100)}))
    assert bounds(broken) == ("incomplete", 0, 3)
    assert broken["measures"]["blank"] == 8 and "sparse_platelets" in broken["flags"]
    assert bounds(one("ticaht_early", [])) == ("incomplete", 0, 4)


def test_early_window_ends_with_progression_next_therapy_or_follow_up() -> None:
    low = of("platelets", {**every_day(0, 30, 150), **every_day(10, 20, 40)})
    assert one("ticaht_early", low)["measures"]["d50"] == 11
    for code in ("progression", "next_therapy", "last_follow_up"):
        assert one("ticaht_early", [*low, (12, code, None)])["measures"]["d50"] == 3
    row = one("ticaht_early", [*of("platelets", {**every_day(0, 30, 150), 31: 5})])
    assert row["grade"] == 0


def test_early_recovery_waits_for_a_week_without_transfusion() -> None:
    low = every_day(3, 6, 15)
    assert early(low)["measures"]["recovery_day"] == 7
    assert "recovery_day" not in early({5: 40})["measures"]  # never below 20
    # Day 9 is below 20 again: three days in a row begin on day 10.
    assert early({**low, 9: 19})["measures"]["recovery_day"] == 10
    assert "recovery_day" not in early(every_day(3, 28, 15))["measures"]
    rows = of("platelets", {**every_day(0, 30, 150), **low})
    row = one("ticaht_early", [*rows, (6, "platelet_transfusion", 1)])
    assert row["measures"]["recovery_day"] == 14 and "platelets_transfused" in row["flags"]
    assert one("ticaht_early", [*rows, (7, "platelet_transfusion", 1)])["measures"]["recovery_day"] == 15
    assert one("ticaht_early", [*rows, (-1, "platelet_transfusion", 1)])["measures"]["recovery_day"] == 7
    assert one("ticaht_early", [*rows, (0, "platelet_transfusion", 1)])["measures"]["recovery_day"] == 8


def test_early_evidence_is_the_low_counts_and_the_lowest_of_a_day() -> None:
    rows = of("platelets", every_day(0, 30, 150))
    row = one("ticaht_early", [*rows, (4.1, "platelets", 45), (4.2, "platelets", 30)])
    assert row["behind"] == [("platelets", 4.2)] and row["onset_day"] == 4
    assert len(one("ticaht_early", rows)["evidence"]) == 31


# ---- T-ICAHT, late


@pytest.mark.parametrize(
    ("tests", "grade"),
    [
        ({40: 99, 50: 99}, 1),
        ({40: 100, 50: 100}, 0),
        ({40: 99, 50: 100}, 0),
        ({40: 49, 50: 49}, 2),
        ({40: 49, 50: 50}, 1),
        ({40: 19, 50: 19}, 3),
        ({40: 19, 50: 20}, 2),
        ({40: 5, 50: 150, 60: 150}, 0),
        ({70: 60}, 1),
        ({70: 40}, 2),
        ({70: 10}, 3),
        ({31: 99, 100: 99}, 1),
        ({30: 10, 101: 10, 60: 150}, 0),
    ],
)
def test_late_needs_two_tests_below_a_cut_or_the_only_one(tests: Series, grade: int) -> None:
    assert bounds(one("ticaht_late", of("platelets", tests))) == ("graded", grade, grade)


def test_late_grade_4_is_fourteen_days_of_the_filled_grid() -> None:
    low = {**every_day(31, 39, 150), **every_day(40, 52, 19), **every_day(53, 100, 150)}
    assert one("ticaht_late", of("platelets", low))["grade"] == 3
    assert one("ticaht_late", of("platelets", {**low, 53: 19}))["grade"] == 4
    sparse = {31: 150, 39: 150, 40: 10, 46: 10, 53: 10, 54: 150, 61: 150}
    assert bounds(one("ticaht_late", of("platelets", sparse))) == ("graded", 4, 4)
    assert one("ticaht_late", of("platelets", sparse), max_gap_days=5)["grade"] == 3


def test_late_window_and_flags() -> None:
    low = of("platelets", {40: 30, 50: 30})
    assert one("ticaht_late", [*low, (45, "progression", None)])["grade"] == 2  # the only test before it
    row = one("ticaht_late", [*low, (39, "next_therapy", None)])
    assert (row["status"], row["flags"]) == ("not_applicable", ["no_platelets"])
    assert one("ticaht_late", of("platelets", {5: 10}), late_no_data=0)["status"] == "graded"
    assert one("ticaht_late", of("platelets", {150: 10, 160: 10}), late_end_day=180)["grade"] == 3
    dip = one("ticaht_late", [*of("platelets", {40: 5, 50: 150}), (40, "platelet_transfusion", 1)])
    assert dip["grade"] == 0 and set(dip["flags"]) == {"transient_dip", "platelets_transfused"}
    assert one("ticaht_late", low)["behind"] == [("platelets", 40), ("platelets", 50)]


# ---- recovery of neutrophils


def phenotype(values: Series, **options: Any) -> tuple[str | None, str, int, int]:
    row = one("anc_phenotype", of("anc", values), **options)
    return row["group"], *bounds(row)


def recovering(nadir_days: int, *, nadir: float = 499, after: Mapping[int, float] = {}) -> dict[int, float]:
    return {**every_day(0, 60, 1200), **every_day(4, 3 + nadir_days, nadir), **after}


def test_aplastic_is_fourteen_days_below_500() -> None:
    assert phenotype(recovering(14)) == ("aplastic", "graded", 1, 1)
    assert phenotype(recovering(13)) == ("quick", "graded", 0, 0)
    assert phenotype(recovering(14, nadir=500)) == ("quick", "graded", 0, 0)
    assert phenotype(recovering(14, after={9: 700, 10: 700}))[0] == "aplastic"  # two days are no recovery
    assert phenotype(recovering(14, after={9: 700, 10: 700, 11: 700}))[0] == "quick"
    assert phenotype(every_day(0, 15, 100))[0] == "aplastic"  # whatever came later
    assert one("anc_phenotype", of("anc", recovering(14)))["onset_day"] == 4


def test_intermittent_is_a_second_dip_after_day_21() -> None:
    assert phenotype(recovering(5, after={15: 1501, 22: 999})) == ("intermittent", "graded", 1, 1)
    assert phenotype(recovering(5, after={15: 1500, 22: 999})) == ("unclassified", "graded", 0, 0)
    assert phenotype(recovering(5, after={15: 1501, 22: 1000}))[0] == "quick"
    assert phenotype(recovering(5, after={15: 1501, 21: 999}))[0] == "quick"
    assert phenotype(recovering(5, after={25: 999, 30: 1501}))[0] == "unclassified"  # the dip came first
    assert phenotype(recovering(5, after={30: 999, 0: 1501}))[0] == "intermittent"
    assert phenotype(recovering(14, after={30: 1501, 40: 999}))[0] == "aplastic"  # which comes before
    row = one("anc_phenotype", of("anc", recovering(5, after={25: 999, 30: 1501, 40: 999})))
    assert row["group"] == "intermittent" and row["onset_day"] == 40


def test_quick_is_three_days_of_recovery_that_last() -> None:
    assert phenotype(every_day(0, 60, 1200))[0] == "quick"  # never below 500
    assert phenotype({**recovering(5), **every_day(58, 60, 1200), 57: 1200})[0] == "quick"
    days = {**every_day(0, 19, 1200), **every_day(20, 22, 400)}
    assert phenotype({**days, 23: 1000, 24: 1000, 25: 1000})[0] == "unclassified"  # day 22 is a dip below 1000
    assert phenotype({**every_day(0, 19, 1200), 20: 400, 21: 400, 22: 1000, 23: 1000})[0] == "unclassified"  # two days only
    assert phenotype({**every_day(0, 19, 1200), 20: 400, 21: 400, 22: 1000, 23: 1000, 24: 1000})[0] == "quick"


def test_without_counts_after_day_21_there_is_no_phenotype() -> None:
    assert phenotype(every_day(0, 21, 1200)) == (None, "incomplete", 0, 1)
    assert phenotype({**every_day(0, 21, 1200), 22: 1200})[0] == "quick"
    assert phenotype({}) == (None, "incomplete", 0, 1)
    assert phenotype({**every_day(0, 20, 1200), 61: 1200}) == (None, "incomplete", 0, 1)
    row = one("anc_phenotype", [*of("anc", recovering(5)), (21, "progression", None)])
    assert (row["group"], row["status"]) == (None, "incomplete")


# ---- endpoints

FINE = [(d, c, v) for d in (0.0, 25.0) for c, v in (("anc", 3000.0), ("platelets", 150.0), ("hemoglobin", 12.0))]


def endpoints(*rows: tuple[float, str, float | None], **options: Any) -> dict[str, Any]:
    return one("cytopenia_endpoints", [*FINE, *rows], **options)


@pytest.mark.parametrize(
    ("row", "met"),
    [
        ((10, "anc", 501), []),
        ((10, "anc", 500), ["severe neutropenia"]),
        ((10, "anc", 101), ["severe neutropenia"]),
        ((10, "anc", 100), ["severe neutropenia", "profound neutropenia"]),
        ((20, "anc", 1000), []),
        ((21, "anc", 1000), ["prolonged neutropenia"]),
        ((21, "anc", 1001), []),
        ((100, "anc", 500), ["severe neutropenia", "prolonged neutropenia"]),
        ((101, "anc", 100), []),
        ((10, "platelets", 50), []),
        ((10, "platelets", 49.9), ["severe thrombocytopenia"]),
        ((10, "hemoglobin", 8), []),
        ((10, "hemoglobin", 7.9), ["anaemia"]),
        ((10, "red_cell_transfusion", 1), ["anaemia"]),
        ((101, "red_cell_transfusion", 1), []),
    ],
)
def test_each_endpoint(row: tuple[float, str, float], met: list[str]) -> None:
    got = endpoints(row)
    assert bounds(got) == ("graded", int(bool(met)), int(bool(met)))
    assert [c.split(":")[0] for c in got["criteria"]] == met
    if met:
        assert got["onset_day"] == row[0]
        assert got["behind"] == [(row[1], row[0])]


def test_protracted_is_a_run_of_seven_days_by_day_30() -> None:
    def met(values: Series) -> bool:
        row = one("cytopenia_endpoints", of("anc", {**every_day(0, 60, 1200), **values}))
        return any(c.startswith("protracted") for c in row["criteria"])

    assert met(every_day(5, 11, 500)) and not met(every_day(5, 10, 500))
    assert met({**every_day(5, 7, 500), **every_day(10, 11, 500)})  # a break of two days
    assert not met(every_day(25, 30, 500)) and met(every_day(24, 30, 500))
    assert not met(every_day(26, 40, 500))


def test_endpoints_that_nobody_could_see_are_missing() -> None:
    row = one("cytopenia_endpoints", of("platelets", {5: 40, 25: 100}))
    assert (row["grade"], row["status"]) == (1, "graded") and len(row["missing"]) >= 2
    fine = one("cytopenia_endpoints", of("platelets", {5: 80, 25: 100}))
    assert bounds(fine) == ("incomplete", 0, 1)
    given = one("cytopenia_endpoints", [(5, "red_cell_transfusion", 1)])
    assert given["grade"] == 1 and "haemoglobin" not in given["missing"]


def test_endpoints_end_with_progression() -> None:
    assert endpoints((30, "anc", 50), (29, "progression", None))["grade"] == 0
    assert endpoints((150, "anc", 50), late_end_day=180)["grade"] == 1


def test_evidence_of_an_endpoint_is_of_what_is_met() -> None:
    row = endpoints((10, "anc", 800), (12, "platelets", 30))
    assert row["criteria"] == ["severe thrombocytopenia: platelets < 50 x 10^9/L"]
    assert row["behind"] == [("platelets", 12)]


# ---- periods


def split(*rows: tuple[float, str, float], **options: Any) -> dict[str, Any]:
    fine = [(d, "anc", 3000.0) for d in (1, 31, 95)]
    return one("cytopenia_split", [*fine, *rows], **options)


@pytest.mark.parametrize(
    ("day", "lecture", "ash"), [(0, "early", "early"), (29, "early", "early"), (30, "delayed", "prolonged"), (90, "delayed", "prolonged"),
                                (91, "none", "late"), (400, "none", "late")],
)  # fmt: skip
def test_periods(day: int, lecture: str, ash: str) -> None:
    assert split((day, "platelets", 49))["group"] == lecture
    row = split((day, "platelets", 49), cytopenia_split="ash")
    assert row["group"] == ash and row["onset_day"] == day
    assert row["behind"] == [("platelets", day)]


@pytest.mark.parametrize(
    ("code", "low3", "low4"), [("anc", (999, 1000), (499, 500)), ("platelets", (49, 50), (24, 25)), ("hemoglobin", (7.9, 8), None)]
)  # fmt: skip
def test_what_is_a_cytopenia(code: str, low3: tuple[float, float], low4: tuple[float, float] | None) -> None:
    for least, cut in ((3, low3), (4, low4)):
        below, at = cut or (1, 1)
        expected = ("early", "none") if cut else ("none", "none")
        assert (
            split((5, code, below), cytopenia_min_grade=least)["group"],
            split((5, code, at), cytopenia_min_grade=least)["group"],
        ) == expected


def test_periods_are_joined_and_a_blank_one_is_missing() -> None:
    row = split((5, "anc", 400), (40, "hemoglobin", 7))
    assert (row["group"], *bounds(row), row["missing"]) == ("early+delayed", "graded", 1, 1, [])
    late = one("cytopenia_split", of("anc", {5: 400, 95: 400}), cytopenia_split="ash")
    assert (late["group"], late["grade"], late["missing"]) == ("early+late", 1, ["prolonged"])
    fine = one("cytopenia_split", of("anc", {5: 2000}))
    assert (*bounds(fine), fine["missing"]) == ("incomplete", 0, 1, ["delayed"])


# ---- all of them


@pytest.mark.parametrize("scale", ["ticaht_early", "ticaht_late", "anc_phenotype", "cytopenia_endpoints", "cytopenia_split"])
def test_the_order_of_rows_does_not_matter(scale: str) -> None:
    draw = random.Random(scale)
    rows: list[tuple[float, str, float | None]] = [
        (draw.randrange(120) + draw.randrange(12) / 24, code, draw.choice(values))
        for code, values in (("anc", (50, 400, 900, 1600)), ("platelets", (10, 40, 90, 150)), ("hemoglobin", (7, 9)))
        for _ in range(60)
    ]
    rows += [(20, "filgrastim", 300), (25, "platelet_transfusion", 1)]
    frame = timeline(*rows)
    mixed = frame.sample(fraction=1, shuffle=True, seed=7)
    as_sorted, as_mixed = grade_timeline(frame, [scale]).grades, grade_timeline(mixed, [scale]).grades
    assert as_sorted.equals(as_mixed)
    assert as_sorted.filter(col("grade") > 0).height == 1 and as_sorted["evidence"].to_list()[0]


@pytest.mark.parametrize("scale", ["anc_phenotype", "cytopenia_endpoints", "cytopenia_split"])
def test_counts_under_g_csf_may_be_left_out(scale: str) -> None:
    rows: list[tuple[float, str, float | None]] = [
        (30, "anc", 1600),
        (43, "anc", 400),
        (44, "anc", 1600),
        (40, "filgrastim", 300),
    ]
    assert one(scale, rows)["grade"] == 1
    assert one(scale, rows, gcsf="censor_3d_after")["grade"] == 0


# ---- windows that end, and records without a count


def test_periods_end_by_the_calendar_and_endpoints_with_progression() -> None:
    rows: list[tuple[float, str, float | None]] = [
        (1, "anc", 3000),
        (20, "progression", None),
        (25, "last_follow_up", None),
        (40, "platelets", 40),
    ]
    assert one("cytopenia_split", rows)["group"] == "delayed"
    assert one("cytopenia_endpoints", rows)["grade"] == 0


def test_without_any_count_all_is_open() -> None:
    row = one("cytopenia_endpoints", [])
    assert bounds(row) == ("incomplete", 0, 1)
    assert set(row["missing"]) == {"ANC", "ANC from day 21", "platelets", "haemoglobin"}
    row = one("cytopenia_split", [])
    assert (row["group"], *bounds(row), row["missing"]) == ("none", "incomplete", 0, 1, ["early", "delayed"])


def test_a_transfusion_after_the_window_is_no_warning() -> None:
    rows = [
        *of("platelets", {**every_day(0, 30, 150), 40: 30, 50: 30}),
        (15, "progression", None),
        (20, "platelet_transfusion", 1),
    ]
    assert "platelets_transfused" not in one("ticaht_early", rows)["flags"]


def test_a_row_without_a_number_is_no_count() -> None:
    fine = of("anc", every_day(0, 30, 1200))
    for empty in (None, float("nan")):
        row = one("icaht_early", [*fine, (5.1, "anc", empty), (6.1, "anc", 400)])
        assert (row["measures"]["counted"], row["measures"]["d500"], row["behind"]) == (31, 1, [("anc", 6.1)])
        assert bounds(one("ticaht_late", [(40, "platelets", empty), (45, "platelets", 60)])) == ("graded", 1, 1)
