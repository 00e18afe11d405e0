"""The example cohort: made again it is the same, and what its README and `expected.csv` say of it holds."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import polars as pl
from polars import col

from aftercar.timeline.readers import Imported, read

COHORT = Path(__file__).parents[1] / "examples" / "cohort"
FILES = ("drugs.csv", "labs.csv", "neuro.csv", "patients.csv", "vitals.csv")
MAX_BYTES = 1_500_000


@cache
def imported() -> Imported:
    return read(COHORT, COHORT / "mapping.toml")


def table_under(heading: str) -> list[list[str]]:
    """The body of the Markdown table under a heading of the README, a list of cells a row."""
    section = (COHORT / "README.md").read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip().strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_script_writes_the_committed_files_again(tmp_path: Path) -> None:
    command = [sys.executable, "-B", str(COHORT / "make_cohort.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in (COHORT / "data").iterdir()) == list(FILES)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (COHORT / "data" / name).read_bytes(), name


def test_the_export_is_small() -> None:
    assert sum(p.stat().st_size for p in (COHORT / "data").iterdir()) < MAX_BYTES


def test_every_row_is_used_or_is_a_bad_row_of_the_readme() -> None:
    found = imported()
    assert found.accepted + found.rejected.height == found.read
    listed = [
        (file, int(row), column or None, reason) for file, row, column, reason, _ in table_under("Rows that cannot be used")
    ]
    rejected = found.rejected.sort("file", "row", "column").select("file", "row", "column", "reason")
    assert rejected.rows() == listed
    assert f"Fifteen of {found.read:,}" in (COHORT / "README.md").read_text(encoding="utf-8")
    assert len(listed) == 15


def test_every_column_is_mapped() -> None:
    assert imported().ignored_columns == {}


def test_hidden_units_are_repaired_and_said_so() -> None:
    repairs = imported().repairs
    assert repairs["temperature: read as [degF]: charted as Cel"] > 0
    assert repairs["fio2: read as 1: charted as %"] > 0


def test_the_readme_and_the_expected_grades_name_patients_of_the_cohort() -> None:
    patients = set(imported().timeline["subject_id"].unique())
    assert len(patients) == 40
    named = {n for row in table_under("What is awkward, and in whom") for n in re.findall(r"P-\d{3}", row[1])}
    assert named <= patients
    expected = pl.read_csv(COHORT / "expected.csv")
    assert set(expected["subject_id"]) <= patients
    assert expected.select("subject_id", "scale").is_unique().all()
    assert expected["subject_id"].n_unique() >= 25
    assert expected.filter(col("grade_upper") < col("grade")).is_empty()
    assert expected.filter(col("why").is_null()).is_empty()
