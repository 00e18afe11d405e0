"""Timelines and results on an object store: the same tables, whole once run.json is there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlunsplit

import polars as pl
import pytest
from moto.server import ThreadedMotoServer
from test_faults import HEAD

from aftercar.errors import InputError
from aftercar.files import place
from aftercar.grade.folder import TABLES, Job, grade_folder, on_this_machine
from aftercar.grade.spark import on_spark
from aftercar.timeline.readers import read
from aftercar.timeline.store import write_timeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of an empty bucket on a server of our own."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", urlunsplit(("http", f"{host}:{port}", "", "", "")))
        patch.setenv("AWS_ALLOW_HTTP", "true")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_REGION", "us-east-1")
        place("s3://bucket").mkdir()
        yield "s3://bucket"
    server.stop()


@pytest.fixture(scope="module")
def timeline(store: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Four subjects in four shards, here and there."""
    folder = tmp_path_factory.mktemp("here")
    rows = [
        f"{s},2024-05-0{d}T08:00,{what}" for s in range(1, 5) for d, what in ((1, "cart_infusion,,"), (2, "temperature,39,Cel"))
    ]
    (folder / "rows.csv").write_text("\n".join([HEAD, *rows, "1,2024-05-02T09:00,temperature,hot,Cel"]) + "\n")
    here = write_timeline(read(folder / "rows.csv"), folder / "timeline", shard_rows=1)
    there = place(f"{store}/timeline")
    for path in here.rglob("*"):
        if path.is_file():
            (there / path.relative_to(here).as_posix()).write_bytes(path.read_bytes())
    return here, str(there)


def agree(here: Path, there: str) -> None:
    for table in (*TABLES, "rejected"):
        assert pl.read_parquet(here / f"{table}.parquet").equals(pl.read_parquet(f"{there}/{table}.parquet")), table
    assert {p.name for p in place(there).iterdir()} == {f"{t}.parquet" for t in (*TABLES, "rejected")} | {"run.json"}


@pytest.mark.parametrize("workers", [1, 2])
def test_results_there_are_those_of_here(tmp_path: Path, store: str, timeline: tuple[Path, str], workers: int) -> None:
    here, there = timeline
    grade_folder(here, tmp_path / "out")
    grade_folder(there, f"{store}/out{workers}", engine=on_this_machine(workers))
    agree(tmp_path / "out", f"{store}/out{workers}")
    run = json.loads(place(f"{store}/out{workers}/run.json").read_text())
    assert run["timeline"] == there
    assert run["counts"] == {"read": 9, "accepted": 8, "rejected": 1, "subjects": 4, "infusions": 4}


def test_from_there_to_here(tmp_path: Path, timeline: tuple[Path, str]) -> None:
    here, there = timeline
    grade_folder(here, tmp_path / "a")
    grade_folder(there, tmp_path / "b")
    for table in TABLES:
        assert (tmp_path / "a" / f"{table}.parquet").read_bytes() == (tmp_path / "b" / f"{table}.parquet").read_bytes()


def test_spark_reads_and_writes_there(tmp_path: Path, store: str, timeline: tuple[Path, str]) -> None:
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17")
    here, there = timeline
    grade_folder(here, tmp_path / "out")
    # The workers of a JVM that an earlier test started have the environment of then.
    theirs = {f"spark.executorEnv.{name}": value for name, value in os.environ.items() if name.startswith("AWS_")}
    grade_folder(there, f"{store}/spark", engine=on_spark("local[2]", {"spark.ui.enabled": "false", **theirs}))
    agree(tmp_path / "out", f"{store}/spark")


def test_a_run_that_was_stopped_goes_on(
    tmp_path: Path, store: str, timeline: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = timeline
    real = Job.grade
    seen: list[int] = []

    def stops(job: Job, n: int) -> int:
        seen.append(n)
        if n == 2 and len(seen) == 3:
            raise KeyboardInterrupt
        return real(job, n)

    monkeypatch.setattr(Job, "grade", stops)
    with pytest.raises(KeyboardInterrupt):
        grade_folder(there, f"{store}/stopped", engine=on_this_machine(1))
    assert not place(f"{store}/stopped/run.json").is_file()
    with pytest.raises(InputError, match="name a new one"):
        grade_folder(there, f"{store}/stopped", ["crs"])  # another work
    grade_folder(there, f"{store}/stopped", engine=on_this_machine(1))
    assert seen == [0, 1, 2, 2, 3]
    monkeypatch.undo()
    grade_folder(here, tmp_path / "out")
    agree(tmp_path / "out", f"{store}/stopped")
    with pytest.raises(InputError, match="name a new one"):
        grade_folder(there, f"{store}/stopped")


def test_an_address_of_no_store_is_told(tmp_path: Path, timeline: tuple[Path, str]) -> None:
    with pytest.raises(InputError, match="of the kind nosuch"):
        grade_folder("nosuch://bucket/timeline", tmp_path / "out")
