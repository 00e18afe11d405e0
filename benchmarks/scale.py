"""Grade ever larger made-up cohorts: memory must not grow with them, and time no faster than they do.

    python -m benchmarks.scale [--subjects 10000,100000,1000000] [--scales crs,icans,icaht]

A million subjects of 30 days with rounds every 8 hours are 650 million rows, 9 GB of Parquet, in `benchmarks/.data`; each cohort is
removed after its run. A run of a million subjects or more writes its section of `RESULTS.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from benchmarks import results
from benchmarks.measure import Run, measured, timed

FULL = 1_000_000  # subjects from which on the results are written
EVERY_MIN = 8 * 60
PER_SHARD = 750  # about half a million rows, as `aftercar import` cuts them


def _grade(folder: str, out: str, scales: str) -> None:
    from aftercar.grade.folder import grade_folder

    grade_folder(folder, out, scales.split(","))


def _read_and_sort(folder: str) -> None:
    import polars as pl

    from aftercar.timeline.schema import TIMELINE

    for path in sorted((Path(folder) / "data").glob("*.parquet")):
        pl.read_parquet(path, columns=list(TIMELINE)).sort("subject_id", "time", maintain_order=True)


def main() -> None:
    """Generate, grade, measure and remove each cohort in turn; print the table and write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subjects", default="10000,100000,1000000")
    parser.add_argument("--scales", default="crs,icans,icaht")
    args = parser.parse_args()
    from benchmarks.cohort import write_cohort

    load, sizes = os.getloadavg()[0], list(map(int, args.subjects.split(",")))
    lines = [
        "| subjects | rows | wall, s | CPU, s | peak memory, MiB | rows a second | result, MB | floor, wall, s | wall / floor |",
        "| --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    print("\n".join(lines), flush=True)
    for subjects in sizes:
        folder = results.fresh_folder("scale")
        cohort, out = folder / "cohort", folder / "out"
        rows = write_cohort(cohort, subjects, every_min=EVERY_MIN, per_shard=PER_SHARD)
        floor = measured("benchmarks.scale", "--floor", str(cohort))
        run = measured("benchmarks.scale", "--grade", str(cohort), str(out), args.scales)
        told = json.loads((out / "run.json").read_text())["counts"]
        if told["subjects"] != subjects:
            raise SystemExit(f"{told['subjects']:,} of {subjects:,} subjects were graded.")
        size = sum(p.stat().st_size for p in out.iterdir()) / 1e6
        lines.append(_line(subjects, rows, run, size, floor))
        print(lines[-1], flush=True)
        shutil.rmtree(folder)
    if max(sizes) >= FULL:
        machine = results.machine(load, "polars")
        results.write_section("scale", TEMPLATE.format(scales=args.scales, machine=machine, table="\n".join(lines)))


def _line(subjects: int, rows: int, run: Run, size: float, floor: Run) -> str:
    cells = (f"{subjects:,}", f"{rows:,}", f"{run.wall:.1f}", f"{run.cpu:.1f}", f"{run.peak:,.0f}", f"{rows / run.wall:,.0f}")
    return f"| {' | '.join((*cells, f'{size:,.0f}', f'{floor.wall:.1f}', f'{run.wall / floor.wall:.1f}'))} |"


TEMPLATE = """## Ever larger cohorts

Scales: {scales}. 30 days with rounds every 8 hours. {machine}

{table}

One run each, from opening the files to the written results, without starting Python. The floor reads and sorts the files with Polars, one after the other.
"""


if __name__ == "__main__":
    kind, rest = sys.argv[1:2], sys.argv[2:]
    if kind == ["--grade"]:
        timed(lambda: _grade(*rest))
    elif kind == ["--floor"]:
        timed(lambda: _read_and_sort(*rest))
    else:
        main()
