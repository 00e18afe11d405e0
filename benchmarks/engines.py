"""Time the same grading in one process, in two, and on Spark in local mode; the tables must have the same bytes.

    python -m benchmarks.engines [--subjects 10000] [--repeat 3]

Needs Java 17 for Spark. Exit status 1: some table differs.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import sys
from functools import partial
from pathlib import Path

from benchmarks import results
from benchmarks.measure import in_turns, measured, middle, timed

FULL = 10_000  # subjects from which on the results are written
WHAT = {"one": "one process", "two": "two processes", "spark": "Spark, `local[2]`, with the start of its session"}
TABLES = ("grades", "episodes", "worst", "subjects")


def _grade(engine: str, folder: str, out: str) -> None:
    from aftercar.grade.folder import grade_folder, on_this_machine
    from aftercar.grade.spark import on_spark

    chosen = {"one": partial(on_this_machine, 1), "two": partial(on_this_machine, 2), "spark": partial(on_spark, "local[2]")}
    grade_folder(folder, out, ("crs", "icans", "icaht"), engine=chosen[engine]())


def main() -> int:
    """Grade in turns, compare the bytes, print the table and write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subjects", type=int, default=FULL)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    from benchmarks.cohort import write_cohort

    folder, load = results.fresh_folder("engines"), os.getloadavg()[0]
    rows = write_cohort(folder / "cohort", args.subjects)
    start = {
        name: partial(measured, "benchmarks.engines", "--child", name, str(folder / "cohort"), str(folder / name))
        for name in WHAT
    }
    runs = {name: middle(each) for name, each in in_turns(start, args.repeat).items()}
    lines = ["| | wall, s | peak memory, MiB | rows a second | wall / two processes |", "| --- | --: | --: | --: | --: |"]
    for name, run in runs.items():
        cells = f"{run.wall:.1f} | {run.peak:,.0f} | {rows / run.wall:,.0f} | {run.wall / runs['two'].wall:.2f}"
        lines.append(f"| {WHAT[name]} | {cells} |")
    print("\n".join(lines))
    if differ := [f"{name}: {table}" for name in WHAT for table in TABLES if not _same(folder, name, table)]:
        print(f"DIFFERENT from one process: {', '.join(differ)}")
        return 1
    if args.subjects >= FULL:
        machine = results.machine(load, "polars", "pyspark")
        text = TEMPLATE.format(
            subjects=f"{args.subjects:,}", rows=f"{rows:,}", machine=machine, table="\n".join(lines), repeat=args.repeat
        )
        results.write_section("engines", text)
    return 0


def _same(folder: Path, name: str, table: str) -> bool:
    return filecmp.cmp(folder / "one" / f"{table}.parquet", folder / name / f"{table}.parquet", shallow=False)


TEMPLATE = """## One process, several, and Spark

{subjects} subjects, {rows} rows; CRS, ICANS and ICAHT. {machine}

{table}

Median of {repeat} runs taken in turns; all give the same bytes. CPU is left out: that of Java cannot be told after it ended.
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        timed(lambda: _grade(*sys.argv[2:5]))
    else:
        sys.exit(main())
