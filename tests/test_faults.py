"""Interrupted work leaves the old result or the new one, whole."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from aftercar.errors import InputError
from aftercar.files import replace_folder, write_text
from aftercar.grade.run import grade_folder
from aftercar.timeline.readers import read
from aftercar.timeline.store import open_timeline, write_timeline

HEAD = "subject_id,time,code,value,unit"
ROWS = [HEAD, "1,2024-05-01T08:00,cart_infusion,,", "1,2024-05-02T08:00,temperature,39,Cel", "2,2024-05-01T08:00,cart_infusion,,"]


@pytest.fixture
def timeline(tmp_path: Path) -> Path:
    source = tmp_path / "rows.csv"
    source.write_text("\n".join(ROWS) + "\n")
    return write_timeline(read(source), tmp_path / "timeline")


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_killed_run_leaves_the_former_result(tmp_path: Path, timeline: Path) -> None:
    out = tmp_path / "out"
    grade_folder(timeline, out)
    before = content(out)
    code = f"""
import os, signal
from aftercar.grade import run
real = run._join
def killed(files, target):
    real(files, target)
    os.kill(os.getpid(), signal.SIGKILL)
run._join = killed
run.grade_folder({str(timeline)!r}, {str(out)!r}, None, {{"fever_carry_h": 12}})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    assert content(out) == before
    assert list(tmp_path.glob(".out.*.part"))  # what it left is not in the way of anyone ...
    grade_folder(timeline, out)
    assert not list(tmp_path.glob(".out.*.part"))  # ... and the next run clears it


def test_a_full_disk_leaves_the_former_result(tmp_path: Path, timeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    grade_folder(timeline, out)
    before = content(out)

    def full(self: pl.DataFrame, *args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="No space"):
        grade_folder(timeline, out, None, {"fever_carry_h": 12})
    assert content(out) == before
    assert not list(tmp_path.glob(".*part"))


def test_a_new_result_takes_the_place_of_the_old(tmp_path: Path, timeline: Path) -> None:
    out = tmp_path / "out"
    grade_folder(timeline, out)
    (out / "report.html").write_text("of the old result")
    grade_folder(timeline, out, ["crs"])
    assert not (out / "report.html").exists()
    assert pl.read_parquet(out / "worst.parquet")["toxicity"].unique().to_list() == ["crs"]


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path, timeline: Path) -> None:
    other = tmp_path / "precious"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="other files"):
        grade_folder(timeline, other)
    assert content(other) == {"thesis.txt": b"x"}
    with pytest.raises(InputError, match="is a file"), replace_folder(other / "thesis.txt", marker="run.json"):
        pass


def test_write_text_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_shards_hold_whole_subjects_and_do_not_change_the_result(tmp_path: Path, timeline: Path) -> None:
    source = tmp_path / "rows.csv"
    cut = write_timeline(read(source), tmp_path / "cut", shard_rows=1)
    assert len(open_timeline(cut).files) == 2
    one, many = tmp_path / "one", tmp_path / "many"
    grade_folder(timeline, one)
    grade_folder(cut, many)
    for name in ("grades", "worst", "episodes", "subjects"):
        assert pl.read_parquet(one / f"{name}.parquet").equals(pl.read_parquet(many / f"{name}.parquet"))


def test_an_interrupt_says_so_and_leaves_the_former_result(tmp_path: Path, timeline: Path) -> None:
    out = tmp_path / "out"
    grade_folder(timeline, out)
    before = content(out)
    code = f"""
import os, signal, sys
from aftercar.grade import run
from aftercar.serve import cli
def interrupted(*_):
    os.kill(os.getpid(), signal.SIGINT)
run._join = interrupted
sys.argv = ["aftercar", "grade", {str(timeline)!r}, "--out", {str(out)!r}]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "Interrupted. What stood there before still stands.\n")
    assert content(out) == before
    assert not list(tmp_path.glob(".out.*.part"))
