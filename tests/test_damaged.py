"""A results folder or timeline that is not whole: every command that reads it says which file, and what to do."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from commands import run
from graded import COHORT

from aftercar import read
from aftercar.errors import InputError
from aftercar.frames import load, scan
from aftercar.grade.folder import grade_folder, on_this_machine
from aftercar.grade.results import TABLES, open_results
from aftercar.timeline.store import write_timeline

PLAN = Path(__file__).parents[1] / "examples" / "safety" / "plan.toml"

# What each command needs of the results; {r} stands for the folder, {t} for its timeline, {o} for a place to write.
COMMANDS: dict[str, tuple[str, ...]] = {
    "report {r} --limit 1 --out {o}.html": ("grades", "worst", "episodes", "subjects", "rejected"),
    "explain {r} --subject P-001": ("grades", "worst", "subjects"),
    "figure swimmer {r} --out {o}.svg": ("episodes", "subjects"),
    "figure strip {r} --out {o}.svg": ("grades", "subjects"),
    "figure incidence {r} --out {o}.svg": ("grades", "subjects"),
    "figure values {r} --out {o}.svg --value crp": ("subjects",),
    "figure sankey {r} --out {o}.svg --from astct2019 --to penn2018": ("worst", "episodes"),
    "figure forest {r} --out {o}.svg": ("worst",),
    "cohort describe {r}": ("grades", "worst", "episodes", "subjects"),
    "cohort compare {r} --by sex --outcome crs:1 --adjust ldh": ("grades", "worst", "subjects"),
    "cohort safety {r} --plan {plan}": ("grades", "worst", "subjects"),
    "summarise {r} --out {o}.json": ("grades", "worst", "subjects"),
    "regrade {r} --from astct2019 --to penn2018": ("worst", "episodes"),
    "evidence pool crs:3 --cohort {r}": ("worst",),
    "registry draft {r} --form cibmtr_4100 --out {o}": ("subjects",),
    "risk {t} --grades {r}": ("worst",),
    "adjudicate agreement {r}": ("worst",),
    "export {r} --to omop --out {o}": ("grades", "episodes", "subjects"),
    "export {r} --to fhir --out {o}": ("grades", "episodes", "subjects"),
    "export {r} --to sdtm --out {o}": ("grades", "episodes", "subjects"),
}
# And those that need no more than the timeline.
OF_TIMELINE = (
    "grade {t} --out {o} --scale crs --workers 1", "advise {t}", "calendar {t}", "rehearse {t} --every 24", "risk {t}", "cohort multiverse {t} --spec {spec}", "forecast {t} --subject P-001 --at h:72",
    "report {r} --limit 1 --out {o}.html", "explain {r} --subject P-001", "figure swimmer {r} --out {o}.svg", "cohort describe {r} --timeline {t}", "cohort compare {r} --by sex --outcome crs:1 --adjust ldh",
    "registry draft {r} --form cibmtr_4100 --out {o}", "advise {r}", "attribute {t} --subject P-001 --event 5 --to other --by Ann",
)  # fmt: skip


def spoil(path: Path, how: str) -> None:
    """Damage a Parquet file."""
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("subject_id,grade\nP-001,3\n")
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "other columns":
        table = load(path)
        table.drop("code" if "code" in table.columns else table.columns[3]).write_parquet(path)
    elif how == "other type":
        load(path).with_columns(pl.lit([1.5]).alias("code" if "data" in path.parts else "scale")).write_parquet(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen subjects of the example cohort: damage is found before they are counted."""
    folder = tmp_path_factory.mktemp("cohort")
    made = read(COHORT, COHORT / "mapping.toml")
    write_timeline(replace(made, timeline=made.timeline.filter(pl.col("subject_id") <= "P-012")), folder / "timeline")
    grade_folder(folder / "timeline", folder / "grades", ["crs", "icans", "crs_penn2018"], engine=on_this_machine(1))
    return folder / "grades"


def told(command: str, folder: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    (folder / "spec.toml").write_text('outcomes = ["crs:3"]\noptions = []\npairs = []\n')
    places = {"r": folder / "grades", "t": folder / "timeline", "o": out, "plan": PLAN, "spec": folder / "spec.toml"}
    return run(*(word.format(**places) for word in command.split()), capsys=capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_a_table_that_it_cannot_read(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    first, *others = COMMANDS[command]
    for name in (first, *others):
        for how in ("gone", "empty", "text", "cut", "other columns") if name == first else ("cut", "other columns"):
            copy = tmp_path / f"{name} {how}"
            shutil.copytree(whole.parent, copy)
            spoil(copy / "grades" / f"{name}.parquet", how)
            code, _, err = told(command, copy, tmp_path / "out", capsys)
            assert code == 2 and f"{name}.parquet" in err and "Grade again" in err, (name, how, code, err)
            assert "P-001,3" not in err
            assert not [p for p in tmp_path.iterdir() if p.name.startswith(("out", ".out"))], "nothing half-written is left"


@pytest.mark.parametrize("command", OF_TIMELINE)
def test_a_command_names_a_file_of_the_timeline_that_it_cannot_read(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    for how in ("empty", "text", "cut", "other columns", "other type"):
        copy = tmp_path / how
        shutil.copytree(whole.parent, copy)
        spoil(copy / "timeline" / "data" / "00000.parquet", how)
        # The results know their timeline by its bytes, and refuse another one before they read it.
        code, _, err = told(command, copy, tmp_path / "out", capsys)
        refused = ("{r}" in command and "was written anew since" in err) or "is not the timeline" in err
        assert code == 2 and ("00000.parquet" in err or refused), (how, code, err)


def test_bytes_that_are_wrong_within_a_table_are_found_when_it_is_read(
    whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, tmp_path / "r")
    path = tmp_path / "r" / "grades.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:200] + bytes(4000) + data[4200:])
    results = open_results(tmp_path / "r")
    with pytest.raises(InputError, match=r"grades\.parquet is damaged"):
        results.grades(["crs_astct2019"])
    with pytest.raises(InputError, match=r"grades\.parquet is damaged"), results.reading():
        results.scan("grades").collect()
    with pytest.raises(pl.exceptions.ColumnNotFoundError), open_results(whole).reading():  # a fault of ours stays one
        results.scan("worst").select("nothing").collect()
    capfd.readouterr()  # Polars tells of it on its own


def test_a_table_that_is_held_stands_in_for_that_of_the_folder(whole: Path) -> None:
    results = open_results(whole)
    few = results.having(subjects=results.subjects.head(3))
    assert few.subjects.height == 3 and few.worst.height == results.worst.height
    assert results.subjects.height == scan(whole / "subjects.parquet").collect().height


def test_tables_have_the_columns_that_are_required_of_them(whole: Path) -> None:
    for name, wanted in TABLES.items():
        found = scan(whole / f"{name}.parquet").collect_schema()
        assert {c: d for c, d in wanted.items() if d is not None} == {c: found[c] for c, d in wanted.items() if d is not None}, (
            name
        )
