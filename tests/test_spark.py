"""Spark, in local mode: the same tables as the processes of this machine give, and the same words to the user."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from test_faults import content, tables
from typer.testing import CliRunner

from aftercar.errors import AftercarError, InputError
from aftercar.grade.folder import Job, grade_folder, on_this_machine
from aftercar.grade.options import Options
from aftercar.grade.spark import on_spark
from aftercar.serve.cli import app
from aftercar.timeline.readers import read
from aftercar.timeline.store import write_timeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17"),
]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example cohort, in seven shards."""
    source = Path(__file__).parent.parent / "examples" / "cohort"
    imported = read(source, source / "mapping.toml")
    return write_timeline(imported, tmp_path_factory.mktemp("cohort") / "timeline", shard_rows=imported.timeline.height // 6)


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    """A session for the whole file: it takes seconds to start one."""
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
        yield
        spark.stop()


@pytest.mark.usefixtures("session")
def test_spark_gives_the_same_bytes(tmp_path: Path, cohort: Path) -> None:
    steps: list[tuple[int, int]] = []
    grade_folder(cohort, tmp_path / "here", ["all"], engine=on_this_machine(1))
    grade_folder(cohort, tmp_path / "spark", ["all"], engine=on_spark(), progress=lambda *step: steps.append(step))
    assert tables(tmp_path / "spark") == tables(tmp_path / "here")
    assert len(steps) == 1 + len(list((cohort / "data").iterdir())) > 6
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.usefixtures("session")
def test_what_another_engine_finished_is_kept(tmp_path: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Job.grade

    def stops(job: Job, n: int) -> int:
        if n == 3:
            raise KeyboardInterrupt
        return real(job, n)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Job, "grade", stops)
        grade_folder(cohort, tmp_path / "out", engine=on_this_machine(1))
    steps: list[tuple[int, int]] = []
    grade_folder(cohort, tmp_path / "out", engine=on_spark(), progress=lambda *step: steps.append(step))
    assert steps[0][0] > 0
    grade_folder(cohort, tmp_path / "whole")
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


@pytest.mark.usefixtures("session")
def test_a_damaged_shard_is_told_in_our_words(tmp_path: Path, cohort: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(cohort, broken)
    shard = sorted((broken / "data").iterdir())[2]
    pl.read_parquet(shard).drop("code").write_parquet(shard)
    grade_folder(cohort, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(InputError, match="code"):
        grade_folder(broken, tmp_path / "out", engine=on_spark())
    assert content(tmp_path / "out") == before


@pytest.mark.usefixtures("session")
def test_a_task_that_fails_is_told(tmp_path: Path, cohort: Path) -> None:
    (tmp_path / "parts").write_text("a file where a folder should be")
    with pytest.raises(AftercarError, match="Spark gave up"):
        list(on_spark()(Job(cohort, tmp_path / "parts", ("crs_astct2019",), Options()), [0]))


@pytest.mark.usefixtures("session")
def test_workers_that_write_elsewhere_are_told(tmp_path: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "done", lambda job, n: False)  # here, not in the workers
    with pytest.raises(AftercarError, match="one filesystem"):
        grade_folder(cohort, tmp_path / "out", engine=on_spark())


def test_a_session_of_our_own_ends_with_the_work(tmp_path: Path, cohort: Path) -> None:
    code = f"""
from aftercar.grade.folder import grade_folder
from aftercar.grade.options import Options
from aftercar.grade.spark import on_spark
from pyspark.sql import SparkSession
run = grade_folder({str(cohort)!r}, {str(tmp_path / "out")!r}, ["crs"], engine=on_spark("local[2]", {{"spark.ui.enabled": "false"}}))
assert SparkSession.getActiveSession() is None
print(run["counts"]["subjects"])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) > 0


def test_without_pyspark_the_extra_is_named(tmp_path: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(AftercarError, match=r"aftercar\[spark\]"):
        grade_folder(cohort, tmp_path / "out", engine=on_spark())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--master", "local"], "are for --engine spark"),
        (["--engine", "spark", "--workers", "2"], "--workers is for this machine"),
        (["--engine", "spark", "--spark", "cores"], "is not name=value"),
    ],
)
def test_words_that_do_not_go_together(tmp_path: Path, cohort: Path, words: list[str], told: str) -> None:
    done = CliRunner().invoke(app, ["grade", str(cohort), "--out", str(tmp_path / "out"), *words])
    assert told in str(done.exception)
    assert not (tmp_path / "out").exists()
