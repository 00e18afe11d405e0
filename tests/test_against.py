"""Another grader by the contract: what it is asked, how it is judged, and what becomes of a grader that misbehaves."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aftercar.conformance import against
from aftercar.conformance.against import CONTRACT, LOST_MAX, run_against
from aftercar.conformance.run import TRAPS, Check, suite
from aftercar.errors import InputError
from aftercar.serve.cli import app

ROOT = Path(__file__).parents[1]
NAIVE = ROOT / "examples" / "naive_grader" / "naive_grader.py"

# What the naive grader says of itself, and cases that any grader should get right.
SLIPS = set(re.findall(r"^\d+\. (\w+):", NAIVE.read_text(encoding="utf-8"), re.MULTILINE))
SIMPLE = [
    "C001", "C002", "C027", "C047", "C050", "C051", "C056", "C080", "C083", "C084", "C086", "C093", "C094", "C101",
    "N002", "N003", "N006", "N009", "N012", "N016", "N023", "N039", "N053", "N055", "N056", "T021",
]  # fmt: skip


def command(*words: object) -> str:
    return shlex.join([sys.executable, *map(str, words)])


@pytest.fixture(scope="module")
def naive() -> list[Check]:
    return run_against(suite(), command(NAIVE), timeout=60)


def test_the_naive_grader_fails_exactly_the_traps_that_it_names(naive: list[Check]) -> None:
    assert {c.trap for c in naive if c.outcome == "failed" and c.trap} == SLIPS
    assert set(TRAPS) > SLIPS
    right = {
        t: [c for c in naive if c.trap == t and c.outcome == "passed"]
        for t in ("organ_in_astct", "inclusive_edge", "attribution")
    }
    assert all(right.values())


def test_the_naive_grader_is_right_on_simple_cases(naive: list[Check]) -> None:
    told = {c.case: c.difference for c in naive if c.case in SIMPLE and c.outcome != "not supported"}
    assert told == dict.fromkeys(SIMPLE, "")


def test_what_it_does_not_support_counts_apart(naive: list[Check]) -> None:
    assert {c.outcome for c in naive if c.scale.startswith("icaht")} == {"not supported"}


@pytest.fixture
def address() -> Iterator[str]:
    with subprocess.Popen([sys.executable, NAIVE, "--serve", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split()[-1]
        yield "http:" + f"//127.0.0.1:{port}/grade"
        process.terminate()


def test_over_http_the_answers_are_the_same(naive: list[Check], address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    traps = suite()[-2]
    assert traps.stem == "traps"
    assert run_against([traps], address) == [c for c in naive if c.case.startswith("T0")]


def test_nobody_listens(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against, "LOST_MAX", 2)
    told = [c.difference for c in run_against([cases], "http:" + "//127.0.0.1:9/")]
    assert told == [
        "no connection", "no connection", "advice is not in the contract", "no connection", "not asked: the grader was lost 2 times in a row",
    ]  # fmt: skip


CASES = """
schema_version: 1
cases:
- {id: A, trap: cpap, note: secret, why: secret, patient: {age_y: 50}, options: {fever_carry_h: 0}, timeline: [{h: 40, vitals: {temp_c: 38.4, sbp: 120}}], expected: [{scale: crs_astct2019, grade: 1, why: secret}, {scale: crs_astct2019, at_h: 41, options: {map_cut: 60}, grade: 1, status: graded}]}
- {id: B, patient: {age_y: 60}, series: {anc: {unit: /uL, values: {0: 450, 7: 200}}}, expected: [{scale: icaht_early, at_day: 3, status: incomplete, min: 1, max: 3, flags: [sparse_anc]}, {scale: mgmt, actions: [x]}]}
- {id: C, patient: {age_y: 60}, timeline: [], expected: [{scale: tocilizumab_rules, value: 3}]}
"""  # fmt: skip


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    path = tmp_path / "cases.yaml"
    path.write_text(CASES)
    return path


def scripted(tmp_path: Path, body: str) -> str:
    """A grader whose handling of each line is `body`; it notes what it was asked."""
    script = tmp_path / "grader.py"
    head = "import json, sys, time\nfor n, line in enumerate(sys.stdin):\n    q = json.loads(line)\n    open('asked.jsonl', 'a').write(line)\n"
    script.write_text(head + "".join(f"    {line}\n" for line in body.splitlines()))
    return command(script)


SAY = "print(json.dumps({'answers': %s}), flush=True)"


def test_the_question_holds_the_story_and_never_the_answer(cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checks = run_against([cases], scripted(tmp_path, SAY % "[]"))
    assert [(c.case, c.difference) for c in checks] == [
        ("A", "no answer to this question"), ("A", "no answer to this question"), ("B", "advice is not in the contract"),
        ("B", "no answer to this question"), ("C", "no answer to this question"),
    ]  # fmt: skip
    text = Path("asked.jsonl").read_text()
    assert not any(word in text for word in ("expected", "secret", "cpap", "why"))
    first, second, _ = map(json.loads, text.splitlines())
    assert first == {
        "contract": CONTRACT,
        "case": {
            "id": "A", "patient": {"age_y": 50}, "options": {"fever_carry_h": 0},
            "timeline": [{"h": 40, "vitals": {"temp_c": 38.4, "sbp": 120}}],
        },
        "ask": [
            {"n": 0, "scale": "crs_astct2019", "options": {"fever_carry_h": 0}},
            {"n": 1, "scale": "crs_astct2019", "at_h": 41, "options": {"fever_carry_h": 0, "map_cut": 60}},
        ],
    }  # fmt: skip
    assert second["ask"] == [{"n": 0, "scale": "icaht_early", "at_day": 3, "options": {}}]
    assert second["case"]["series"]["anc"]["values"] == {"0": 450, "7": 200}


ONE = "schema_version: 1\ncases:\n- {id: A, patient: {age_y: 50}, timeline: [], expected: [%s]}\n"


@pytest.mark.parametrize(
    ("want", "answer", "wrong"),
    [
        ("{scale: crs_astct2019, grade: 1}", {"grade": 1}, ""),
        ("{scale: crs_astct2019, grade: 1}", {"grade": 1, "grade_upper": 1, "status": "graded", "flags": []}, ""),
        ("{scale: crs_astct2019, grade: 1}", {"grade": 1, "grade_upper": 3}, "status incomplete"),
        ("{scale: crs_astct2019, grade: 1}", {"grade": 2}, "grade 2, expected 1"),
        ("{scale: crs_astct2019, grade: 0, status: not_met}", {"grade": 0}, ""),
        ("{scale: crs_astct2019, grade: 0, status: not_met}", {"grade": 0, "status": "graded"}, "status graded"),
        ("{scale: crs_astct2019, status: incomplete, min: 1, max: 2}", {"grade": 1, "grade_upper": 2}, ""),
        ("{scale: crs_astct2019, status: incomplete, min: 1, max: 2}", {"grade": 1}, "status graded, expected incomplete"),
        ("{scale: icans_astct, status: not_applicable}", {"grade": 0}, "status None, expected not_applicable"),
        ("{scale: icans_astct, status: not_applicable}", {"status": "not_applicable"}, ""),
        ("{scale: crs_astct2019, grade: 1, flags: [late_onset]}", {"grade": 1}, ""),
        ("{scale: crs_astct2019, grade: 1, flags: [late_onset]}", {"grade": 1, "flags": []}, "no flag late_onset"),
        ("{scale: crs_astct2019, flags: [late_onset]}", {"grade": 1}, "no flag late_onset"),
        ("{scale: crs_episodes, value: [1, 2]}", {"value": [1, 2]}, ""),
        ("{scale: icans_ends, value: [130, null]}", {"value": [130, None]}, ""),
        ("{scale: icans_ends, value: [130, null]}", {"value": [130, 140]}, "value [130, 140]"),
        ("{scale: easix, value: 4.0}", {"value": 4}, ""),
        ("{scale: easix, value: 4.0}", {"value": {"score": 4.5}}, "value 4.5"),
        ("{scale: easix, min: 166, max: 265}", {"value": {"score": 166, "score_upper": 265}}, ""),
        ("{scale: easix, min: 166, max: 265}", {"grade": 0, "value": 166}, "score_upper 166, expected 265"),
        ("{scale: car_hematotox, value: 3, group: high}", {"value": 3, "group": "high"}, ""),
        ("{scale: car_hematotox, value: 3, group: high}", {"value": 3}, "group None"),
        ("{scale: tocilizumab_rules, status: blocked}", {"status": "blocked"}, ""),
        ("{scale: crs_astct2019, grade: 1}", {"unsupported": True}, "does not support"),
        ("{scale: crs_astct2019, grade: 1}", {"grade": "38.4"}, "must be numbers"),
        ("{scale: crs_astct2019, grade: 1}", {"grade": True}, "must be numbers"),
        ("{scale: crs_astct2019, grade: 1}", {"grade": 1, "status": "38.4"}, "not a word of the contract"),
        ("{scale: crs_astct2019, grade: 1}", {"grade": 1, "status": ["38.4"]}, "not a word of the contract"),
        ("{scale: crs_astct2019, grade: 1}", {"grade": 1, "value": {"x": "38.4"}}, "value must be"),
        ("{scale: crs_astct2019, grade: 1}", {"grade": 1, "flags": "38.4"}, "flags must be"),
        ("{scale: crs_astct2019, grade: 1}", {"grade": 1, "group": 38.4}, "group must be"),
    ],
)
def test_an_answer_is_judged_as_ours_are(
    want: str, answer: dict[str, object], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fixed:
        def ask(self, question: str, timeout: float) -> str:
            return json.dumps({"answers": [{"n": 0, **answer}]})

        def close(self) -> None: ...

    monkeypatch.setattr(against, "grader", lambda _: Fixed())
    path = tmp_path / "one.yaml"
    path.write_text(ONE % want)
    (check,) = run_against([path], "any")
    outcome = "passed" if not wrong else "not supported" if "support" in wrong else "failed"
    assert (check.outcome, wrong in check.difference, "38.4" in check.difference) == (outcome, True, False)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("print('temperature 38.4', flush=True)", "the answer is not JSON"),
        ("print('[38.4]', flush=True)", "the answer has no list `answers`"),
        (SAY % "[{'grade': 1}]", "an answer has no number `n` of its own"),
        (SAY % "[{'n': 0, 'grade': 1}] * 2", "an answer has no number `n` of its own"),
        ("sys.exit(3)", "the grader ended without an answer (exit code 3)"),
        ("time.sleep(60)", "no answer within 0.5 s"),
    ],
)
def test_a_grader_that_misbehaves(body: str, says: str, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checks = run_against([cases], scripted(tmp_path, body), timeout=0.5 if "sleep" in body else 30)
    assert {c.difference for c in checks if c.outcome == "failed"} == {says}
    # Each case is asked, by a fresh process where the last is gone.
    assert len(Path("asked.jsonl").read_text().splitlines()) == 3


def test_a_grader_that_ends_once_goes_on(cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    body = "sys.exit(1) if q['case']['id'] == 'A' else None\n" + SAY % "[{'n': 0, 'unsupported': True}]"
    told = [(c.case, c.outcome) for c in run_against([cases], scripted(tmp_path, body))]
    assert told == [("A", "failed")] * 2 + [("B", "not supported")] * 2 + [("C", "not supported")]


def test_a_grader_that_always_ends_is_left_alone_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "many.yaml"
    one = "- {id: %s, patient: {age_y: 50}, timeline: [], expected: [{scale: crs_astct2019, grade: 0}]}\n"
    path.write_text("schema_version: 1\ncases:\n" + "".join(one % n for n in range(LOST_MAX + 3)))
    told = [c.difference for c in run_against([path], scripted(tmp_path, "sys.exit(1)"))]
    assert told[LOST_MAX:] == [f"not asked: the grader was lost {LOST_MAX} times in a row"] * 3
    assert len(Path("asked.jsonl").read_text().splitlines()) == LOST_MAX


@pytest.mark.parametrize("target", ["no_such_grader_here", "", "'"])
def test_a_command_that_cannot_be_started_is_an_error(target: str, cases: Path) -> None:
    with pytest.raises(InputError, match="--against"):
        run_against([cases], target)


def test_the_command_line_prints_both_tables(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    target = scripted(tmp_path, SAY % "[{'n': 0, 'grade': 1}, {'n': 1, 'unsupported': True}]")
    words = ["conformance", str(cases), "--against", target, "--json", "checks.json"]
    assert app(words, standalone_mode=False) == 1
    out = capsys.readouterr().out
    assert "1 passed, 2 failed, 2 not supported" in out
    assert re.search(r"^cpap +CPAP", out, re.MULTILINE) and re.search(r"^crs_astct2019 +1/1 +1", out, re.MULTILINE)
    written = json.loads(Path("checks.json").read_text())
    assert written["contract"] == CONTRACT and written["checks"][0]["trap"] == "cpap"


def test_the_manual_tells_the_contract() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert f"`{CONTRACT}`" in page
    assert all(f"| `{trap}` | {what} |" in page for trap, what in TRAPS.items())
    request, answer = (json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", page, re.S | re.M))
    told = subprocess.run([sys.executable, NAIVE], input=json.dumps(request) + "\n", capture_output=True, text=True, check=True)
    assert [set(a) for a in json.loads(told.stdout)["answers"]] == [set(a) for a in answer["answers"]]
