"""Interrupted work leaves the old result or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import run

from aftercar.errors import AftercarError, InputError
from aftercar.files import KINDS, replace_folder, write_text
from aftercar.grade.folder import Job, grade_folder, on_this_machine
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


@pytest.fixture
def cut(tmp_path: Path, timeline: Path) -> Path:
    """Six subjects in six shards."""
    source = tmp_path / "six.csv"
    rows = [
        f"{s},2024-05-0{d}T08:00,{what}" for s in range(1, 7) for d, what in ((1, "cart_infusion,,"), (2, "temperature,39,Cel"))
    ]
    source.write_text("\n".join([HEAD, *rows]) + "\n")
    return write_timeline(read(source), tmp_path / "cut", shard_rows=1)


def tables(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in content(folder).items() if name.endswith(".parquet")}


KILLED = """
import os, pathlib, signal, sys
import polars as pl
from aftercar.grade import folder
timeline, out, where, workers = sys.argv[1:]
called = 0
def dies_at(owner, name, n, before):
    real = getattr(owner, name)
    def dying(*args, **kwargs):
        global called
        called += 1
        if before and called == n:
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*args, **kwargs)
        if not before and called == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(owner, name, dying)
kind, _, n = where.partition(":")
owner, name, before = {
    "writing": (pl.LazyFrame, "sink_ipc", False),
    "shard": (folder.Job, "grade", False),
    "moving": (pathlib.Path, "replace", True),
    "joining": (pl.LazyFrame, "sink_parquet", True),
    "joined": (pl.LazyFrame, "sink_parquet", False),
    "swapping": (folder, "_counts", False),
}[kind]
dies_at(owner, name, int(n or 1), before)
folder.grade_folder(timeline, out, engine=folder.on_this_machine(int(workers)))
"""


@pytest.mark.parametrize(
    "where", ["writing:1", "writing:10", "shard:1", "shard:6", "moving:9", "joining:1", "joined:3", "swapping"]
)
def test_a_killed_run_leaves_the_former_result_and_the_next_goes_on(tmp_path: Path, cut: Path, where: str) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    grade_folder(cut, whole)
    grade_folder(cut, out, ["crs"])
    before = content(out)
    done = subprocess.run([sys.executable, "-c", KILLED, cut, out, where, "1"], check=False)
    assert done.returncode == -9
    assert content(out) == before
    [left] = tmp_path.glob(".out.*.part")
    kept = {p.name for p in left.glob("*/?????.subjects")}
    grade_folder(cut, out)
    assert tables(out) == tables(whole)
    assert not list(tmp_path.glob(".*part"))
    assert len(kept) >= {"writing:1": 0, "writing:10": 2, "shard:1": 1, "moving:9": 2}.get(where, 6)


def test_what_is_kept_is_not_graded_again(tmp_path: Path, cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, seen = tmp_path / "out", []
    assert subprocess.run([sys.executable, "-c", KILLED, cut, out, "shard:4", "1"], check=False).returncode == -9
    real = Job.grade
    monkeypatch.setattr(Job, "grade", lambda job, n: (seen.append(n), real(job, n))[1])
    steps: list[tuple[int, int]] = []
    grade_folder(cut, out, progress=lambda *step: steps.append(step), engine=on_this_machine(1))
    assert seen == [4, 5]
    assert steps == [(8, 12), (10, 12), (12, 12)]


def test_another_option_begins_anew_and_clears_the_half_of_the_other(tmp_path: Path, cut: Path) -> None:
    out = tmp_path / "out"
    assert subprocess.run([sys.executable, "-c", KILLED, cut, out, "shard:4", "1"], check=False).returncode == -9
    grade_folder(cut, out, None, {"fever_carry_h": 12})
    assert not list(tmp_path.glob(".*part"))
    grade_folder(cut, tmp_path / "whole", None, {"fever_carry_h": 12})
    assert tables(out) == tables(tmp_path / "whole")


def test_the_half_of_a_target_of_longer_name_is_let_be(tmp_path: Path, cut: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, cut, tmp_path / "out.v2", "shard:4", "1"], check=False).returncode == -9
    grade_folder(cut, tmp_path / "out")
    assert len(list(tmp_path.glob(".out.v2.*.part"))) == 1


def test_processes_give_the_same_bytes_as_one(tmp_path: Path, cut: Path) -> None:
    for workers in (1, 2, 5):
        grade_folder(cut, tmp_path / str(workers), engine=on_this_machine(workers))
    assert tables(tmp_path / "1") == tables(tmp_path / "2") == tables(tmp_path / "5")


def test_a_killed_worker_is_told_and_the_next_run_goes_on(tmp_path: Path, cut: Path) -> None:
    out = tmp_path / "out"

    def kill(done: int, all_: int) -> None:
        if done:
            subprocess.run(["pkill", "-KILL", "-P", str(os.getpid()), "-f", "LokyProcess"], check=False)

    with pytest.raises(AftercarError, match="--workers 1"):
        grade_folder(cut, out, engine=on_this_machine(2), progress=kill)
    assert not out.exists()
    grade_folder(cut, out)
    grade_folder(cut, tmp_path / "whole")
    assert tables(out) == tables(tmp_path / "whole")


def test_two_runs_at_once_do_not_mix(tmp_path: Path, cut: Path) -> None:
    out = tmp_path / "out"

    def and_again(done: int, all_: int) -> None:
        if done:
            with pytest.raises(InputError, match="Another process is writing"):
                grade_folder(cut, out)

            with pytest.raises(InputError, match="Another process is writing"):
                grade_folder(cut, out, ["crs"])  # another work, the same target

    grade_folder(cut, out, progress=and_again, engine=on_this_machine(1))
    assert (out / "run.json").is_file()
    assert not list(tmp_path.glob(".*part"))


def test_a_shard_that_is_lost_is_missed(tmp_path: Path, cut: Path) -> None:
    (cut / "data" / "00002.parquet").unlink()
    with pytest.raises(InputError, match=r"10 rows in 5 files of the 12"):
        grade_folder(cut, tmp_path / "out")


def test_a_shard_that_is_damaged_is_named(tmp_path: Path, cut: Path) -> None:
    shard = cut / "data" / "00002.parquet"
    data = bytearray(shard.read_bytes())
    data[4:400] = bytes(396)  # pages; the end, with what the file holds, is whole
    shard.write_bytes(data)
    with pytest.raises(InputError, match=r"00002\.parquet is damaged"):
        grade_folder(cut, tmp_path / "out", engine=on_this_machine(1))
    assert not list(tmp_path.glob(".*part"))


def test_a_timeline_that_changes_meanwhile_gives_no_result(tmp_path: Path, cut: Path) -> None:
    def change(done: int, all_: int) -> None:
        if done == 6:
            shard = cut / "data" / "00004.parquet"
            pl.read_parquet(shard).with_columns(numeric_value=pl.lit(36.5)).write_parquet(shard)

    with pytest.raises(InputError, match="changed while it was graded"):
        grade_folder(cut, tmp_path / "out", progress=change, engine=on_this_machine(1))
    assert not list(tmp_path.glob("*out*"))


def test_names_are_no_patterns(tmp_path: Path, cut: Path, timeline: Path) -> None:
    odd = tmp_path / "site?[1]*"
    cut.rename(odd)
    timeline.rename(tmp_path / "site21x")
    grade_folder(odd, tmp_path / "out[1]")
    worst = pl.read_parquet(tmp_path / "out[1]" / "subjects.parquet", glob=False)
    assert worst["subject_id"].to_list() == [1, 2, 3, 4, 5, 6]
    grade_folder(odd, tmp_path / "out[1]", ["crs"])  # and over a former one
    assert len(list(tmp_path.iterdir())) == 5


def test_a_mount_point_is_refused_before_the_work(tmp_path: Path, cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "out")
    with pytest.raises(InputError, match="Name a folder within it"):
        grade_folder(cut, tmp_path / "out")


def test_a_full_disk_leaves_the_former_result(tmp_path: Path, cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    grade_folder(cut, out)
    before = content(out)
    written = 0
    real = pl.LazyFrame.sink_ipc

    def full(self: pl.LazyFrame, *args: Any, **kwargs: Any) -> Any:
        nonlocal written
        written += 1
        if written > 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(pl.LazyFrame, "sink_ipc", full)
    with pytest.raises(OSError, match="No space") as told:
        grade_folder(cut, out, None, {"fever_carry_h": 12}, engine=on_this_machine(1))
    assert "goes on from there" in told.value.__notes__[0]
    assert content(out) == before
    monkeypatch.undo()
    grade_folder(cut, out, None, {"fever_carry_h": 12})
    grade_folder(cut, tmp_path / "whole", None, {"fever_carry_h": 12})
    assert tables(out) == tables(tmp_path / "whole")


def test_a_disk_full_at_once_leaves_nothing(tmp_path: Path, timeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: pl.LazyFrame, *args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.LazyFrame, "sink_ipc", full)
    with pytest.raises(OSError, match="No space") as told:
        grade_folder(timeline, tmp_path / "out")
    assert not hasattr(told.value, "__notes__")
    assert not list(tmp_path.glob(".*part"))


def test_a_new_result_takes_the_place_of_the_old(tmp_path: Path, timeline: Path) -> None:
    out = tmp_path / "out"
    grade_folder(timeline, out)
    (out / "report.html").write_text("of the old result")
    grade_folder(timeline, out, ["crs"])
    assert not (out / "report.html").exists()
    assert pl.read_parquet(out / "worst.parquet")["toxicity"].unique().to_list() == ["crs"]


def folder_of(kind: str, at: Path, *beside: str) -> Path:
    """A folder that is known for this kind, with a report in it."""
    at.mkdir()
    for name in (kind, *beside, "report.html"):
        (at / name).write_text("{}")
    return at


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("new", KINDS)
def test_a_folder_is_replaced_only_by_one_of_its_kind(there: str, new: str, tmp_path: Path) -> None:
    """An export that is read back holds `run.json` too."""
    target = folder_of(there, tmp_path / "out", *(["run.json"] if there == "export.json" else []))
    before = content(target)
    refused = contextlib.nullcontext() if there == new else pytest.raises(InputError, match="would replace")
    with refused, replace_folder(target, marker=new) as fresh:
        (fresh / new).write_text("new")
    assert content(target) == ({new: b"new"} if there == new else before)


def test_every_command_refuses_the_folder_of_another(tmp_path: Path, timeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graded = tmp_path / "graded"
    grade_folder(timeline, graded)
    asked = [
        ("calendar.json", ("calendar", timeline)), ("rehearsal.json", ("rehearse", timeline, "--every", "24")), ("run.json", ("grade", timeline)),
        ("regrading.json", ("regrade", graded, "--from", "penn2018", "--to", "crs_astct2019")), ("export.json", ("export", graded, "--to", "fhir")),
    ]  # fmt: skip
    for kind, words in asked:
        for other in KINDS:
            target = folder_of(other, tmp_path / f"{kind}-{other}".replace(".json", ""))
            code, _, err = run(*words, "--out", target, capsys=capsys)
            if kind == other:
                assert code == 0 and (target / kind).is_file() and not (target / "report.html").exists(), err
            else:
                assert (
                    code == 2
                    and KINDS[other] in err
                    and "Name an empty or new folder" in err
                    and (target / "report.html").exists()
                )


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
from aftercar.grade import folder
from aftercar.serve import cli
def interrupted(*_):
    os.kill(os.getpid(), signal.SIGINT)
folder.Job.grade = interrupted
sys.argv = ["aftercar", "grade", {str(timeline)!r}, "--out", {str(out)!r}]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "Interrupted. What stood there before still stands.\n")
    assert content(out) == before
    assert not list(tmp_path.glob(".out.*.part"))
