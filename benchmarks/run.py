"""Time aftercar beside pandas and SQL, and all scales beside ASTCT alone, on one made-up cohort; check that all give the same answers.

    python -m benchmarks.run [--subjects 10000] [--loop-subjects 200] [--repeat 3] [--only aftercar,pandas_vectorised]

Each contender runs in a process of its own. Wall and CPU time are of the work, from reading the files to the answers, without
starting Python and importing; times and peak memory are those of all the processes that it starts, too. The loop runs on the first few subjects and its times are
multiplied up. Its section of `RESULTS.md` is written by a whole run of 10,000 subjects or more. Exit status 1: some answer differs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import results
from benchmarks.measure import Run, in_turns, measured, middle, timed

FULL = 10_000  # subjects from which on the results are written
ANSWERS = {
    "crs": "worst CRS grade",
    "episodes": "CRS episodes",
    "icaht_early": "early ICAHT grade",
    "icaht_late": "late ICAHT grade",
    "crs_upper": "highest upper bound of the CRS grade (not asked of the loop)",
}
WHAT = {
    "aftercar": "aftercar, CRS and ICAHT: bounds, course, evidence, flags, episodes; results written",
    "astct": "aftercar, CRS and ICANS by ASTCT alone",
    "all_scales": "aftercar, every scale of every toxicity",
    "pandas_vectorised": "pandas, vectorised: the answers below",
    "duckdb_sql": "DuckDB, SQL: the answers below",
    "pandas_loop": "pandas, loop over subjects and times: the answers below but the upper bound",
    "read_and_sort": "floor: read and sort the files with Polars",
}


# --- In the child ---


def _aftercar(*scales: str) -> Callable[[Path, Path], Callable[[], None]]:
    def start(folder: Path, answers: Path) -> Callable[[], None]:
        from aftercar.grade.folder import grade_folder  # `aftercar` itself loads its parts when they are first used

        def work() -> None:
            grade_folder(folder, answers, scales=scales)

        return work

    return start


def _pandas_vectorised(folder: Path, answers: Path) -> Callable[[], None]:
    from benchmarks.pandas_vectorised import grade_folder

    return lambda: grade_folder(folder).to_parquet(answers)


def _duckdb_sql(folder: Path, answers: Path) -> Callable[[], None]:
    from benchmarks.duckdb_sql import grade_folder

    return lambda: grade_folder(folder).write_parquet(str(answers))


def _pandas_loop(folder: Path, answers: Path) -> Callable[[], None]:
    from benchmarks.pandas_loop import grade_folder

    return lambda: grade_folder(folder).to_parquet(answers)


def _read_and_sort(folder: Path, answers: Path) -> Callable[[], None]:
    import polars as pl

    from aftercar.timeline.schema import TIMELINE

    def work() -> None:
        for path in sorted((folder / "data").glob("*.parquet")):
            pl.read_parquet(path, columns=list(TIMELINE)).sort("subject_id", "time", maintain_order=True)

    return work


def _cohort(folder: Path, subjects: int, loop_subjects: int) -> None:
    """The cohort, and a folder with its first subjects for the loop."""
    import polars as pl

    from benchmarks.cohort import write_cohort

    write_cohort(folder / "cohort", subjects)
    (folder / "sample" / "data").mkdir(parents=True)
    first = pl.scan_parquet(folder / "cohort" / "data" / "00000.parquet").filter(pl.col("subject_id") <= loop_subjects)
    first.sort("event_id").collect().write_parquet(folder / "sample" / "data" / "00000.parquet", compression_level=1)


CONTENDERS = {
    "aftercar": _aftercar("crs", "icaht"),
    "astct": _aftercar("crs", "icans"),
    "all_scales": _aftercar("all"),
    "pandas_vectorised": _pandas_vectorised,
    "duckdb_sql": _duckdb_sql,
    "pandas_loop": _pandas_loop,
    "read_and_sort": _read_and_sort,
}
COMPARED = ("pandas_vectorised", "duckdb_sql", "pandas_loop")  # their answers are a Parquet file


# --- In the parent ---


def _read_aftercar(out: Path):  # type: ignore[no-untyped-def]
    """aftercar's tables as the answers: a row a subject."""
    import polars as pl

    worst = pl.read_parquet(out / "worst.parquet").pivot(on="toxicity", index="subject_id", values="grade")
    crs = pl.scan_parquet(out / "grades.parquet").filter(toxicity="crs").group_by("subject_id")
    upper = crs.agg(crs_upper=pl.col("grade_upper").max()).collect()
    found = pl.read_parquet(out / "episodes.parquet").filter(toxicity="crs").group_by("subject_id").agg(episodes=pl.len())
    joined = worst.join(upper, on="subject_id", how="left").join(found, on="subject_id", how="left")
    return joined.with_columns(pl.col("episodes").fill_null(0)).select("subject_id", pl.col(*ANSWERS).cast(pl.Int64))


def _differences(ours: Path, theirs: Path, subjects: int) -> list[str]:
    """What two contenders say differently of the first so many subjects."""
    import polars as pl

    mine = _read_aftercar(ours).filter(pl.col("subject_id") <= subjects)
    other = pl.read_parquet(theirs)
    answers = [a for a in ANSWERS if a in other.columns]
    other = other.select("subject_id", pl.col(answers).cast(pl.Int64))
    if other.height != subjects or mine.height != subjects:
        return [f"{theirs.stem}: {other.height} subjects, aftercar: {mine.height}, expected: {subjects}"]
    both = mine.join(other, on="subject_id", suffix="_other")
    differ = {a: both.filter(pl.col(a).ne_missing(pl.col(f"{a}_other"))) for a in answers}
    return [
        f"{theirs.stem}: {a} differs for {rows.height} of {subjects} subjects, first subject {rows['subject_id'][0]}"
        for a, rows in differ.items() if rows.height
    ]  # fmt: skip


def _answers_seen(out: Path) -> str:
    """How the cohort's answers spread, so that a reader sees what the agreement covers."""
    table = _read_aftercar(out)
    lines = ["| answer | subjects by value |", "| --- | --- |"]
    for answer, name in ANSWERS.items():
        counts = table.group_by(answer).len().sort(answer).iter_rows()
        lines.append(f"| {name} | {', '.join(f'{value}: {n:,}' for value, n in counts)} |")
    return "\n".join(lines)


def _table(runs: dict[str, list[Run]], subjects: int, loop_subjects: int, rows: int) -> str:
    lines = [
        "| | wall, s | CPU, s | peak memory, MiB | rows a second | wall / aftercar | CPU / aftercar |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    found = {n: middle(turns, subjects / loop_subjects if n == "pandas_loop" else 1) for n, turns in runs.items()}
    ours = found.get("aftercar")
    for name, run in found.items():
        note = f" (from {loop_subjects} subjects)" if name == "pandas_loop" and loop_subjects != subjects else ""
        cells = [f"{run.wall:.1f}", f"{run.cpu:.1f}", f"{run.peak:,.0f}", f"{rows / run.wall:,.0f}"]
        cells += [f"{run.wall / ours.wall:.2f}", f"{run.cpu / ours.cpu:.2f}"] if ours else ["", ""]
        lines.append(f"| {WHAT[name]}{note} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _every_scale(runs: dict[str, list[Run]]) -> str:
    """What all scales cost beside ASTCT alone: the median of the ratios of each turn."""
    if not (runs.get("astct") and runs.get("all_scales")):
        return ""
    turns = list(zip(runs["astct"], runs["all_scales"], strict=True))
    wall, cpu = (statistics.median(getattr(b, k) / getattr(a, k) for a, b in turns) for k in ("wall", "cpu"))
    return f"All scales at once cost {wall:.2f} times ASTCT alone (CRS and ICANS) in wall time, {cpu:.2f} times in CPU time."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subjects", type=int, default=FULL)
    parser.add_argument("--loop-subjects", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, separated by commas")
    args = parser.parse_args()
    loop_subjects = min(args.loop_subjects, args.subjects, 2_500)
    only = args.only.split(",")
    if unknown := set(only) - set(CONTENDERS):
        parser.error(f"--only: {', '.join(sorted(unknown))} unknown; there are {', '.join(CONTENDERS)}")

    folder = results.fresh_folder("run")
    _cohort(folder, args.subjects, loop_subjects)
    rows = json.loads((folder / "cohort" / "import.json").read_text())["timeline_rows"]
    load = os.getloadavg()[0]
    print(f"{args.subjects:,} subjects, {rows:,} rows; load before: {load:.1f}")

    answers = {name: folder / (f"{name}.parquet" if name in COMPARED else name) for name in CONTENDERS if name in only}

    def start(name: str) -> Run:
        cohort = folder / ("sample" if name == "pandas_loop" else "cohort")
        return measured("benchmarks.run", "--child", name, str(cohort), str(answers[name]))

    often = {name: partial(start, name) for name in answers if name != "pandas_loop"}
    once = {name: partial(start, name) for name in answers if name == "pandas_loop"}
    measured_runs = in_turns(often, args.repeat) | in_turns(once, 1)
    runs = {name: measured_runs[name] for name in answers}

    table = _table(runs, args.subjects, loop_subjects, rows)
    print(f"\n{table}\n")
    scales = _every_scale(runs)
    print(f"{scales}\n")
    if "aftercar" not in runs:
        return 0
    compared = {n: loop_subjects if n == "pandas_loop" else args.subjects for n in runs if n in COMPARED}
    found = [d for name, n in compared.items() for d in _differences(answers["aftercar"], answers[name], n)]
    for line in found:
        print(f"DIFFERENT: {line}")
    if found:
        return 1
    print(f"All answers agree: {', '.join(f'{n} on {m:,} subjects' for n, m in compared.items())}.")
    if len(runs) == len(CONTENDERS) and args.subjects >= FULL:
        text = TEMPLATE.format(
            subjects=f"{args.subjects:,}", rows=f"{rows:,}", machine=results.machine(load, "polars", "pandas", "numpy", "pyarrow", "duckdb"),
            repeat=args.repeat, table=table, scales=scales, loop=f"{loop_subjects:,}", seen=_answers_seen(answers["aftercar"]),
        )  # fmt: skip
        results.write_section("run", text)
    return 0


TEMPLATE = """## Grading a cohort

{subjects} made-up subjects, 30 days of 4-hourly vital signs and daily laboratory values, {rows} rows. {machine}

{table}

{scales}

Median of {repeat} runs taken in turns; the loop ran once, on {loop} subjects, and its times are multiplied up.
Times are from opening the files to the answers, without starting Python.

All give the same answers, the loop for its {loop} subjects. aftercar gives more in its time: the course of each toxicity with the
criteria met and missing and the rows behind every stretch, flags, episodes with their dates, and all of it written to disk. The
pandas and SQL code is written for this cohort alone: one infusion a subject, every drug recorded, infusions with ends, no options.

{seen}
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        timed(CONTENDERS[sys.argv[2]](*(Path(p) for p in sys.argv[3:5])))
    else:
        sys.exit(main())
