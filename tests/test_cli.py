"""The command line: what it prints, its exit codes, and that no error is a traceback or tells a value."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import typer
from commands import run

from aftercar.serve import cli, show

ROWS = [
    "subject_id,time,code,value,unit",
    "A1,2024-05-01T08:00,cart_infusion,axi-cel,",
    "A1,2024-05-02T08:00,temperature,39.4,Cel",
    "A1,2024-05-02T08:00,sbp,121,mmHg",
    "A1,2024-05-02T08:00,o2_device,room air,",
    "A1,2024-05-02T10:00,tocilizumab,560,mg",
    "A1,2024-05-02T20:00,temperature,36.9,Cel",
    "A1,2024-05-02T20:00,norepinephrine,4,ug/min",
    "A1,2024-05-02T23:00,norepinephrine,0,ug/min",
    "A1,2024-05-02T23:00,secret,12345,",
]


@pytest.fixture
def results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    (tmp_path / "rows.csv").write_text("\n".join(ROWS) + "\n")
    code, out, _ = run("import", str(tmp_path / "rows.csv"), "--to", str(tmp_path / "timeline"), capsys=capsys)
    assert code == 0
    assert "9 read = 8 accepted + 1 rejected; 1 subject" in out
    assert "unknown_code" in out and "rows.csv:9" in out and "12345" not in out
    code, out, _ = run("grade", str(tmp_path / "timeline"), "--out", str(tmp_path / "out"), capsys=capsys)
    assert code == 0
    assert "CRS" in out
    return tmp_path / "out"


def test_grade_writes_every_table(results: Path) -> None:
    written = {p.name for p in results.iterdir()}
    assert written == {"grades.parquet", "episodes.parquet", "worst.parquet", "subjects.parquet", "rejected.parquet", "run.json"}
    made = json.loads((results / "run.json").read_text())
    assert made["counts"]["read"] == made["counts"]["accepted"] + made["counts"]["rejected"] == 9
    assert made["options"]["vasopressin_alone"] == 3
    crs = pl.read_parquet(results / "worst.parquet").filter(pl.col("toxicity") == "crs").row(0, named=True)
    assert (crs["grade"], crs["rules"]) == (3, "crs_astct2019@1")
    assert json.loads(crs["options"])["fever_carry_h"] == 24
    # The records used, and what was missing: on every row of the course.
    course = pl.read_parquet(results / "grades.parquet")
    records = pl.read_parquet(results.parent / "timeline" / "data" / "*.parquet")["event_id"]
    behind = course.filter(pl.col("grade") > 0)["evidence"]
    assert behind.len() and behind.list.len().min() > 0  # type: ignore[operator]
    assert set(behind.explode()) <= set(records)
    assert course.filter(pl.col("grade") < pl.col("grade_upper"))["missing"].list.len().min() > 0  # type: ignore[operator]


def test_explain_shows_the_records(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("explain", str(results), "--subject", "A1", "--toxicity", "crs", capsys=capsys)
    assert code == 0
    flat = " ".join(out.split())
    for words in (
        "grade 3",
        "one vasopressor, with or without vasopressin",
        "fever_waived",
        "rows.csv:5",
        "rows.csv:7",
        "not adjudicated",
    ):
        assert words in flat
    assert "ICANS" not in out


def test_a_place_is_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    show.console.print("data/vitals.csv:100:temp")
    assert capsys.readouterr().out == "data/vitals.csv:100:temp\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["grade", "{tmp}/nowhere", "--out", "{tmp}/o"], "no timeline there"),
        (["grade", "{tmp}/timeline", "--out", "{tmp}/o", "--scale", "crs_astc2019"], "Did you mean crs_astct2019"),
        (["grade", "{tmp}/timeline", "--out", "{tmp}/o", "-o", "vasopresin_alone=2"], "Did you mean vasopressin_alone"),
        (["grade", "{tmp}/timeline", "--out", "{tmp}/o", "-o", "vasopressin_alone=5"], "it takes 3, 2"),
        (["grade", "{tmp}/timeline", "--out", "{tmp}/o", "-o", "resolution_h"], "not name=value"),
        (["grade", "{tmp}/timeline", "--out", "{tmp}/rows.csv"], "is a file"),
        (["explain", "{tmp}/out", "--subject", "B9"], "not among the results"),
        (["explain", "{tmp}/timeline", "--subject", "A1"], "no results there"),
        (["explain", "{tmp}/out", "--subject", "A1", "--toxicity", "icasn"], "Did you mean icans"),
        (["import", "{tmp}/none.csv", "--to", "{tmp}/o"], "no such file"),
        (["import", "{tmp}/rows.csv", "--to", "{tmp}/o", "--map", "{tmp}/rows.csv"], "not TOML"),
        (["conformance", "{tmp}/rows.csv"], "no list of cases"),
        (["report", "{tmp}/out", "--subject", "B9"], "not among the results"),
    ],
)
def test_errors_are_sentences(
    words: list[str], says: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(*(w.format(tmp=tmp_path) for w in words), capsys=capsys)
    assert code == 2
    assert says in " ".join(err.split())
    assert "Traceback" not in err and "B9" not in err
    assert not (tmp_path / "o").exists()


def test_a_fault_of_ours_tells_place_and_no_message(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("temperature 39.4 of A1")

    monkeypatch.setattr("aftercar.grade.explain.explain", broken)
    code, _, err = run("explain", str(results), "--subject", "A1", capsys=capsys)
    assert code == 70
    assert "ValueError at aftercar.serve.cli" in err and "39.4" not in err


def test_a_moved_timeline_can_be_named(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "timeline").rename(tmp_path / "elsewhere")
    assert run("explain", str(results), "--subject", "A1", capsys=capsys)[0] == 2
    code, out, _ = run("explain", str(results), "--subject", "A1", "--timeline", str(tmp_path / "elsewhere"), capsys=capsys)
    assert code == 0 and "rows.csv:2" in out


def test_conformance_fails_with_1_and_counts_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text("""
schema_version: 1
cases:
- {id: A, patient: {age_y: 50}, timeline: [{h: 40, vitals: {temp_c: 38.4, sbp: 120}}], expected: [{scale: crs_astct2019, grade: 1}, {scale: mgmt, actions: [x]}]}
- {id: B, patient: {age_y: 50}, timeline: [{h: 40, vitals: {temp_c: 38.4, sbp: 120}}], expected: [{scale: crs_astct2019, grade: 2}]}
- {id: C, patient: {age_y: 50}, timeline: [{h: 40, vitals: {temperature: 38.4}}], expected: [{scale: crs_astct2019, grade: 1}]}
""")
    code, out, _ = run("conformance", str(path), "--json", str(tmp_path / "out.json"), capsys=capsys)
    assert code == 1
    assert out.splitlines()[-1] == "1 passed, 3 failed, 0 not supported"
    outcomes = {(c["case"], c["scale"]): c["outcome"] for c in json.loads((tmp_path / "out.json").read_text())["checks"]}
    assert outcomes[("A", "mgmt")] == "failed" and outcomes[("B", "crs_astct2019")] == "failed"


def test_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "aftercar", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("aftercar ")
    done = subprocess.run([sys.executable, "-m", "aftercar", "options"], capture_output=True, text=True, check=True)
    assert "vasopressin_alone" in done.stdout


def test_a_case_may_hold_what_concerns_other_scales(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text("""
schema_version: 1
cases:
- {id: A, patient: {age_y: 50, bmi: 30}, timeline: [{h: 40, vitals: {temp_c: 38.4, sbp: 120, rr: 20}, lab: {lactate: {v: 2, u: mmol/L}}, event: {kind: transfusion}}], expected: [{scale: crs_astct2019, grade: 1}, {scale: mgmt, actions: [x]}]}
- {id: B, patient: {agey: 50}, timeline: [], expected: [{scale: crs_astct2019, grade: 0}, {scale: mgmt, actions: [x]}]}
- {id: C, patient: {age_y: 50}, timeline: [{h: 40, vitals: {temp_c: 38.4, sbp: 120}}], expected: [{scale: crs_astct2091, grade: 1}, {scale: crs_astct2019}]}
""")
    code, out, _ = run("conformance", str(path), capsys=capsys)
    assert (code, out.splitlines()[-1]) == (1, "1 passed, 5 failed, 0 not supported")


def test_every_command_is_in_one_section_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    named = [name for names in cli.SECTIONS.values() for name in names]
    assert sorted(named) == sorted(typer.main.get_group(cli.app).commands)
    code, told, _ = run("--help", capsys=capsys)
    assert code == 0
    assert all(re.search(rf"^  {name}  +\w", told, re.MULTILINE) for name in named)
