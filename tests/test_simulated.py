"""Results of virtual patients say so in whatever is written of them; results of records do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import run

from aftercar.grade.folder import grade_folder
from aftercar.timeline.store import import_folder

EXAMPLE = Path(__file__).parent.parent / "examples" / "cohort"
TOLD = "Simulated: virtual patients, not a prediction for a person."


@pytest.fixture(scope="module", params=[True, False], ids=["virtual", "records"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    """A folder with a timeline `t` and its results `g`, and whether its patients are virtual."""
    root: Path = tmp_path_factory.mktemp("made")
    text = (EXAMPLE / "mapping.toml").read_text()
    assert "\n[note]\n" in text
    (root / "m.toml").write_text(text.replace("\n[note]\n", "\n[note]\nsimulated = true\n") if request.param else text)
    import_folder(EXAMPLE, root / "t", root / "m.toml")
    grade_folder(root / "t", root / "g", ["crs_astct2019", "crs_penn2018", "icaht_early"])
    return root, request.param


def says(table: pl.DataFrame) -> bool:
    """Whether a table has the column; it is true in every row then."""
    assert table.height
    return "simulated" in table.columns and bool(table["simulated"].all())


def read(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema_length=None) if path.suffix == ".csv" else pl.read_parquet(path)


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
@pytest.mark.parametrize(
    "words",
    [
        ["advise", "t"], ["advise", "t", "--diff", "ebmt2022", "asco2021"], ["risk", "t", "--score", "easix"], ["risk", "t", "--factors"],
        ["calendar", "t", "--at", "2031-01-01"], ["calendar", "t", "--at", "2031-01-01", "--overdue"],
        ["rehearse", "t", "--every", "6", "--topic", "crs"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_table_says_so(
    words: list[str], ending: str, made: tuple[Path, bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, virtual = made
    code, out, err = run(words[0], root / words[1], *words[2:], "--out", tmp_path / f"o{ending}", capsys=capsys)
    assert code == 0, err
    assert says(read(tmp_path / f"o{ending}")) is virtual and (TOLD in out) is virtual


@pytest.mark.parametrize(
    ("words", "summary"),
    [
        (["calendar", "t", "--at", "2031-01-01"], "calendar.json"), (["rehearse", "t", "--every", "6", "--topic", "crs"], "rehearsal.json"),
        (["regrade", "g", "--from", "penn2018", "--to", "astct2019"], "regrading.json"),
    ],
)  # fmt: skip
def test_a_folder_of_tables_says_so(
    words: list[str], summary: str, made: tuple[Path, bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, virtual = made
    code, out, err = run(words[0], root / words[1], *words[2:], "--out", tmp_path / "o", capsys=capsys)
    assert code == 0, err
    check_folder(tmp_path / "o", summary, virtual)
    assert (TOLD in out) is virtual


def check_folder(folder: Path, summary: str, virtual: bool) -> None:
    tables = [*folder.rglob("*.parquet"), *folder.rglob("*.csv")]
    assert len(tables) >= 2 and all(says(read(path)) is virtual for path in tables if read(path).height)
    assert json.loads((folder / summary).read_text())["simulated"] is virtual


def test_a_validation_says_so_whichever_side_does(
    made: tuple[Path, bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, virtual = made
    assert run("risk", root / "t", "--score", "car_hematotox", "--out", tmp_path / "s.csv", capsys=capsys)[0] == 0
    event = ("--outcome", "icaht_early>=1")
    for n, outcomes in enumerate((root / "g", root / "g" / "worst.parquet")):
        code, out, err = run("risk-validate", tmp_path / "s.csv", outcomes, *event, "--out", tmp_path / f"v{n}", capsys=capsys)
        assert code == 0, err
        check_folder(tmp_path / f"v{n}", "validation.json", virtual)
        assert ("simulated" in (tmp_path / f"v{n}" / "validation.svg").read_text()) is virtual and (TOLD in out) is virtual
    pl.read_csv(tmp_path / "s.csv").drop("simulated", strict=False).write_csv(tmp_path / "bare.csv")
    assert run("risk-validate", tmp_path / "bare.csv", root / "g", *event, "--out", tmp_path / "v", capsys=capsys)[0] == 0
    check_folder(tmp_path / "v", "validation.json", virtual)


def test_dates_for_a_calendar_program_say_so(made: tuple[Path, bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, virtual = made
    subject = pl.read_parquet(root / "g" / "subjects.parquet").drop_nulls("day0")["subject_id"][0]
    code, _, err = run("calendar", root / "t", "--subject", subject, "--ics", tmp_path / "d.ics", capsys=capsys)
    assert code == 0, err
    titles = [line for line in (tmp_path / "d.ics").read_text().splitlines() if line.startswith("SUMMARY:")]
    assert titles and all((f"follow-up of {subject} (simulated)" in line) is virtual for line in titles)


def test_citations_and_the_json_of_a_rehearsal_say_so(made: tuple[Path, bool], capsys: pytest.CaptureFixture[str]) -> None:
    root, virtual = made
    code, out, _ = run("cite", root / "g", capsys=capsys)
    note: Any = json.loads((root / "g" / "run.json").read_text())["timeline_note"]
    assert code == 0 and (TOLD in out) is virtual and note in " ".join(out.split())
    told = json.loads(run("cite", root / "g", "--json", capsys=capsys)[1])
    assert (told["simulated"], told["timeline_note"]) == (virtual, note)
    code, out, _ = run("rehearse", root / "t", "--every", "6", "--topic", "crs", "--json", capsys=capsys)
    assert code == 0 and f'"simulated": {str(virtual).lower()}' in out
