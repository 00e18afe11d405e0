"""Every worked case of the scales that are built passes; the cases are data, and come with the package."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from aftercar.conformance.run import ADVISED, SCORES, TRAPS, VIGNETTE_TRAPS, Check, difference, run_cases, suite, trap_of
from aftercar.errors import OptionError
from aftercar.grade.run import SCALES
from aftercar.timeline.readers.cases import Case, read_cases

FILES = suite()


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return run_cases(FILES)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case for file in FILES for case in read_cases(file)]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_cases(file: Path) -> None:
    failed = [f"{c.case} {c.scale} ({c.at}): {c.difference}" for c in run_cases([file]) if c.outcome == "failed"]
    assert not failed, "\n".join(failed)


def test_every_scale_has_cases(checks: list[Check]) -> None:
    built = {*SCALES, *SCORES, *ADVISED, "crs_episodes", "icans_ends"}
    assert {c.outcome for c in checks} == {"passed"}
    assert built - {c.scale for c in checks if c.outcome == "passed"} == set()


def test_there_are_many_cases_each_with_a_name_and_a_reason(cases: list[Case]) -> None:
    assert len(cases) >= 250
    assert [name for name, n in Counter(c.id for c in cases).items() if n > 1] == []
    without = [c.id for c in cases for want in c.body["expected"] if not (want.get("why") or c.body.get("why"))]
    assert without == []


def test_every_trap_has_two_cases(cases: list[Case]) -> None:
    counts = Counter(trap_of(c) for c in cases)
    assert {trap: n for trap in TRAPS if (n := counts[trap]) < 2} == {}
    assert set(counts) - {""} == set(TRAPS)
    assert set(VIGNETTE_TRAPS) <= {c.id for c in cases}


def test_a_trap_word_picks_cases_and_a_slip_in_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text("""
schema_version: 1
cases:
- {id: A, trap: cpap, patient: {age_y: 50}, timeline: [{h: 40, vitals: {temp_c: 38.4, sbp: 120}}], expected: [{scale: crs_astct2019, grade: 1}]}
- {id: B, trap: ccap, patient: {age_y: 50}, timeline: [{h: 40, vitals: {temp_c: 38.4, sbp: 120}}], expected: [{scale: crs_astct2019, grade: 1}]}
- {id: C, patient: {age_y: 50}, timeline: [{h: 40, vitals: {temp_c: 38.4, sbp: 120}}], expected: [{scale: crs_astct2019, grade: 1}]}
""")
    told = {c.case: (c.outcome, c.trap, c.difference) for c in run_cases([path])}
    assert told["A"] == ("passed", "cpap", "") and told["C"] == ("passed", "", "")
    assert told["B"][0] == "failed" and "Did you mean cpap" in told["B"][2]
    assert [c.case for c in run_cases([path], ["cpap"])] == ["A"]
    with pytest.raises(OptionError, match="No trap is called 'ccap'"):
        run_cases([path], ["ccap"])


SCORED = {"status": "incomplete", "grade": 1, "grade_upper": 1, "value": {"score": 210.0, "score_upper": 301.0}}


@pytest.mark.parametrize(
    ("want", "got", "wrong"),
    [
        ({"grade": 2}, {"status": "graded", "grade": 2, "grade_upper": 2}, ""),
        ({"grade": 2}, {"status": "incomplete", "grade": 2, "grade_upper": 3}, "status incomplete, expected graded"),
        ({"grade": 0}, {"status": "not_met", "grade": 0, "grade_upper": 0}, ""),
        ({"grade": 1}, {"status": "criteria_met", "grade": 1, "grade_upper": 1}, "status criteria_met, expected graded"),
        ({"status": "watch", "grade": 0}, {"status": "watch", "grade": 0, "grade_upper": 0}, ""),
        ({"min": 1, "max": 2}, {"status": "incomplete", "grade": 1, "grade_upper": 2}, ""),
        ({"min": 1, "max": 1}, {"status": "graded", "grade": 1, "grade_upper": 1}, ""),
        ({"min": 210, "max": 301}, SCORED, ""),
        ({"min": 210, "max": 300}, SCORED, "score_upper 301.0, expected 300"),
        ({"status": "incomplete", "value": 210}, SCORED, ""),
        ({"value": {"d500": 12}}, {"status": "graded", "value": {"d500": 12.0, "d100": 3.0}}, ""),
        ({"value": 12}, {"status": "graded", "value": {"d500": 12.0, "d100": 3.0}}, ""),
        ({"value": {"d100": 4}}, {"status": "graded", "value": {"d500": 12.0, "d100": 3.0}}, "d100 3.0, expected 4"),
        ({"value": []}, {"status": "graded", "value": []}, ""),
        ({"value": [1, 2]}, {"status": "graded", "value": [2]}, "value [2], expected [1, 2]"),
        ({"group": "vii"}, {"status": "criteria_met", "grade": 1, "grade_upper": 3, "group": "vii"}, ""),
        ({"group": "quick"}, {"status": "incomplete", "group": None}, "group None, expected quick"),
        ({"grade": 1, "flags": ["a", "b"]}, {"status": "graded", "grade": 1, "flags": ["b"]}, "no flag a"),
        ({"grade": 1, "actions": ["a"]}, {"status": "graded", "grade": 1}, "actions is not given by this scale"),
    ],
)
def test_what_is_compared(want: dict[str, object], got: dict[str, object], wrong: str) -> None:
    found = difference(want, got)
    assert found == "" if not wrong else wrong in found


@pytest.mark.parametrize(
    ("want", "says"),
    [
        ("{scale: mgmt, actions: [dialysis]}", "not among actions: dialysis"),
        ("{scale: mgmt, blocked: [dexamethasone]}", "not among blocked: dexamethasone"),
        ("{scale: mgmt, actions: [neurology], options: {profile: nobody}}", "There is no profile 'nobody'"),
        ("{scale: crs_astct2019, grade: 0, options: {profile: asco2021}}", "there is no option 'profile'"),
        ("{scale: icans_astct, grade: 2, blocked: [tocilizumab]}", "blocked is not given by this scale"),
        ("{scale: tocilizumab_rules, value: 561}", "value 560.0, expected 561"),
        ("{scale: tocilizumab_rules, status: allowed}", "status blocked, expected allowed"),
    ],
)
def test_a_wrong_expectation_of_advice_fails(want: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "cases.yaml"
    story = "{id: A, patient: {age_y: 50, weight_kg: 70}, timeline: [{h: 40, vitals: {temp_c: 36.8, sbp: 120}, neuro: {ice: 5, consciousness: voice, motor: none, icp: []}, tx: {drug: tocilizumab, dose: 560, unit: mg}}], expected: [%s]}"
    path.write_text(f"schema_version: 1\ncases:\n- {story % want}\n")
    (check,) = run_cases([path])
    assert check.outcome == "failed" and says in check.difference
