"""Grade a timeline folder shard by shard, on this machine's processors or on Spark: a folder of shards in, a folder of results out.

A run that was stopped goes on where it stopped. The tables have the same bytes whatever did the work, and however often it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import polars as pl
from polars import col

from aftercar import __version__
from aftercar.errors import InputError
from aftercar.files import is_local, place, remove_folder, replace_folder, write_whole
from aftercar.frames import scan
from aftercar.grade.adjudicate import adjudicated
from aftercar.grade.options import OPTIONS, Options
from aftercar.grade.run import SCALES, Result, grade_lazy, scales_named
from aftercar.processes import in_processes, processors
from aftercar.timeline.schema import REJECTED
from aftercar.timeline.statements import last_hash, read_statements, verify
from aftercar.timeline.store import Store, open_timeline

TABLES = tuple(f.name for f in fields(Result))


@dataclass(frozen=True)
class Job:
    """What a process needs to grade any shard of a timeline; the tables of each shard become files in `parts`."""

    timeline: Path
    parts: Path
    scales: tuple[str, ...]
    options: Options

    def grade(self, n: int) -> int:
        """Grade the shard of that number, unless it is done; its number comes back."""
        if not self.done(n):
            store = _opened(self.timeline, self.parts)
            with store.reading():
                result = grade_lazy(store.shard(n), [SCALES[s] for s in self.scales], self.options)
            result = replace(result, worst=adjudicated(result.worst, read_statements(store.folder)))
            for table in TABLES:
                lazy: pl.LazyFrame = getattr(result, table).lazy()
                write_whole(self.part(n, table), partial(lazy.sink_ipc, compression="lz4"))
        return n

    def part(self, n: int, table: str) -> Path:
        """Where a table of a shard is, once it is whole."""
        return self.parts / f"{n:05d}.{table}"

    def done(self, n: int) -> bool:
        """Whether a shard is graded."""
        return self.part(n, TABLES[-1]).is_file()


@lru_cache(maxsize=1)
def _opened(timeline: Path, parts: Path) -> Store:
    """The timeline of a job, listed once a process and job (`parts` is its own): a thousand shards are not to be listed a thousand times."""
    return open_timeline(timeline)


Engine = Callable[[Job, Sequence[int]], Iterator[int]]


def on_this_machine(workers: int | None = None) -> Engine:
    """Grade in so many processes, by default one a processor; memory is that of so many shards."""
    cores = processors()
    workers = workers or cores

    def engine(job: Job, shards: Sequence[int]) -> Iterator[int]:
        processes = min(workers, len(shards))
        return map(job.grade, shards) if processes < 2 else _in_processes(job, shards, processes, max(1, cores // processes))

    return engine


def _in_processes(job: Job, shards: Sequence[int], processes: int, threads: int) -> Iterator[int]:
    # Processes of one thread each do half as much again as threads beside one another, which wait for Python and for memory.
    advice = "What was finished is kept: the same command goes on from there; --workers 1 needs the least memory."
    with in_processes(processes, "grading", advice, threads=threads) as pool:
        for one in as_completed([pool.submit(job.grade, n) for n in shards]):
            yield one.result()


def grade_folder(
    timeline: Path | str,
    out: Path | str,
    scales: Iterable[str] | None = None,
    options: Mapping[str, object] | None = None,
    *,
    engine: Engine | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Grade a timeline folder and write the results folder; memory is bounded by the shard.

    Args:
        timeline: what `aftercar import` wrote, or any MEDS dataset whose codes are our concepts; a folder, or the address of one on an object store.
        out: the results folder; a former one is replaced whole when the new one is complete. On an object store it must be a new one.
        scales, options: as in `grade_timeline`.
        engine: what does the work; by default `on_this_machine()`.
        progress: called with the rows of the timeline that are graded, and all, first before the work.
    Returns:
        what `run.json` holds.
    """
    store = open_timeline(timeline)
    if not (broken := verify(store.folder)).is_empty():
        raise InputError(
            f"{store.folder}: statement {broken['n'][0]} {broken['problem'][0]}. `aftercar adjudicate verify {store.folder}` lists all; "
            "restore statements.parquet from a backup."
        )
    chosen = tuple(s.name for s in scales_named(scales))
    opts = options if isinstance(options, Options) else Options(options)
    work = engine or on_this_machine()
    target = place(out)
    run = _run(store, target, chosen, opts)
    key = _key(run)
    with replace_folder(target, marker="run.json", key=key) as fresh:
        job = Job(store.folder.absolute(), fresh / key, chosen, opts)
        rows = _rows(store)
        todo = [n for n in range(len(rows)) if not job.done(n)]
        say = progress or (lambda done, all_: None)
        say(done := sum(rows) - sum(rows[n] for n in todo), sum(rows))
        for n in work(job, todo) if todo else ():
            say(done := done + rows[n], sum(rows))
        _refuse_change(store, run)
        for table in TABLES:
            parts = [str(job.part(n, table)) for n in range(len(rows))]
            pl.scan_ipc(parts, glob=False).sink_parquet(str(fresh / f"{table}.parquet"), maintain_order=True)
        _refuse_parted_subjects(fresh / "subjects.parquet")
        _rejected(store, fresh / "rejected.parquet")
        run |= _counts(store, fresh, chosen)
        (fresh / "run.json").write_text(json.dumps(run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        remove_folder(job.parts)
    return run


def _key(run: dict[str, Any]) -> str:
    """Names the work of a run: another version, timeline, scale or option makes it another work."""
    same = {k: v for k, v in run.items() if k != "created"}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


def _rows(store: Store) -> list[int]:
    """The rows of each shard; all that the import wrote must be there."""
    rows = store.rows()
    told = store.info.get("timeline_rows")
    if told is not None and told != sum(rows):
        raise InputError(
            f"{store.folder}: {sum(rows):,} rows in {len(rows)} files of the {told:,} that its import wrote. Is the copy whole? Import again."
        )
    return rows


def _refuse_change(store: Store, run: dict[str, Any]) -> None:
    now = open_timeline(store.folder).fingerprint, last_hash(store.folder)
    if now != (run["timeline_fingerprint"], run["statements"]):
        raise InputError(f"{store.folder} was changed while it was graded. Grade again.")


def _refuse_parted_subjects(subjects: Path) -> None:
    twice = pl.struct("subject_id", "infusion").is_duplicated().any()
    if scan(subjects).select(twice).collect().item():
        raise InputError("The rows of a subject stand in several files. `aftercar import` gathers them.")


def _rejected(store: Store, target: Path) -> None:
    theirs = store.folder / "rejected.parquet"
    if theirs.is_file():
        with theirs.open("rb") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, length=1 << 20)
    else:
        pl.DataFrame(schema=REJECTED).write_parquet(str(target))


def _run(store: Store, out: Path, scales: Sequence[str], options: Options) -> dict[str, Any]:
    """What `run.json` says before the work is done."""
    chosen = [SCALES[s] for s in scales]
    return {
        "aftercar": __version__,
        "polars": pl.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "timeline_fingerprint": store.fingerprint,
        "statements": last_hash(store.folder),
        "timeline": os.path.relpath(store.folder.absolute(), out.absolute())
        if is_local(store.folder) and is_local(out)
        else str(store.folder.absolute()),
        "rules": [s.rules for s in chosen],
        "marks": {s.name: s.marks for s in chosen if s.marks},
        "sources": sorted({key for s in chosen for key in s.papers}),
        "options": {n: options[n] for n in OPTIONS if any(n in s.options for s in chosen)},
        "timeline_note": store.info.get("banner"),
        "simulated": store.simulated,
    } | ({"simulation": told} if (told := store.info.get("simulation")) else {})


def _counts(store: Store, fresh: Path, scales: Sequence[str]) -> dict[str, Any]:
    """What `run.json` counts."""
    family = {s: SCALES[s].family for s in scales}
    worst = scan(fresh / "worst.parquet").group_by("scale", "grade", "status").len()
    graded: dict[str, dict[str, int]] = {f: {} for f in dict.fromkeys(family.values())}
    for name, level, status, n in worst.sort("scale", "grade", "status").collect(engine="streaming").iter_rows():
        known = status in ("graded", "not_met")
        key = f"grade {level}" if known else f"grade {level} at least" if status == "incomplete" else str(status)
        graded[family[name]][key] = graded[family[name]].get(key, 0) + n
    subjects = scan(fresh / "subjects.parquet").select(
        subjects=col("subject_id").n_unique(), infusions=col("day0").is_not_null().sum()
    )
    counts = {k: store.info.get(k) for k in ("read", "accepted", "rejected")}
    return {"counts": counts | subjects.collect().row(0, named=True), "graded": graded}
