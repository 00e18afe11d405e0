"""Time advising hour by hour, and rehearsing alerts, beside the grading that both begin with; check that they say the same.

    python -m benchmarks.advise [--subjects 1000] [--repeat 3]

Each runs in a process of its own, from opening the files to the tables in memory. Exit status 1: the hours in which a rule speaks differ between
the two.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import results
from benchmarks.measure import in_turns, measured, middle, timed

FULL = 1_000  # subjects from which on the results are written
EVERY_H = 1.0
WHAT = {
    "grade": "grading by the default scales, as `aftercar grade`",
    "grade_read": "grading by the scales that rules read alone: CRS, ICANS, IEC-HS",
    "advise": "advising hour by hour: options with reasons, what is missing, doses",
    "rehearse": "rehearsing: alerts, their suppression, lead times, burden",
}


# --- In the child ---


def _grade(folder: Path, answers: Path, *, read_alone: bool = False) -> Callable[[], None]:
    from aftercar.grade.options import Options
    from aftercar.grade.run import grade_lazy, scales_named
    from aftercar.manage.facts import SCALES
    from aftercar.timeline.store import open_timeline

    def work() -> None:
        for shard in open_timeline(folder).shards():
            grade_lazy(shard, scales_named(SCALES if read_alone else None), Options())

    return work


def _advise(folder: Path, answers: Path) -> Callable[[], None]:
    """Advise; the hours in which each rule says what are written down outside of the time."""
    import polars as pl
    from polars import col

    from aftercar.manage.advise import advise_folder

    def work() -> None:
        advice.append(advise_folder(folder, every_h=EVERY_H).advice)

    def after() -> None:
        status = col("status").cast(pl.String).replace("perhaps_blocked", "measure_first")
        hours = (col("until") - col("time")).dt.total_hours() + 1
        said = advice[0].with_columns(status, hours=hours).group_by("rule", "status").agg(col("hours").sum().cast(pl.Float64))
        said.filter(col("status") != "not_blocked").write_parquet(answers)

    advice: list[pl.DataFrame] = []
    AFTER.append(after)
    return work


def _rehearse(folder: Path, answers: Path) -> Callable[[], None]:
    import polars as pl
    from polars import col

    from aftercar.manage.rehearse import rehearse_folder

    def work() -> None:
        rules.append(rehearse_folder(folder, every_h=EVERY_H).rules)

    def after() -> None:
        said = rules[0].filter(col("hours") > 0).select("rule", col("status").cast(pl.String), "hours")
        said.write_parquet(answers)

    rules: list[pl.DataFrame] = []
    AFTER.append(after)
    return work


AFTER: list[Callable[[], None]] = []
CONTENDERS = {"grade": _grade, "grade_read": partial(_grade, read_alone=True), "advise": _advise, "rehearse": _rehearse}


# --- In the parent ---


def _different(first: Path, second: Path) -> list[str]:
    """Of which rules the two say something for other hours."""
    import polars as pl

    key = ["rule", "status"]
    both = pl.read_parquet(first).join(pl.read_parquet(second), on=key, how="full", coalesce=True, suffix="_other")
    rows = both.filter(pl.col("hours").ne_missing(pl.col("hours_other"))).sort(key)
    return [f"{rule}, {status}: {one} h and {other} h" for rule, status, one, other in rows.iter_rows()]


def main() -> int:
    """Time in turns, compare, print the table and write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.advise", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subjects", type=int, default=FULL)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    from benchmarks.cohort import write_cohort

    folder, load = results.fresh_folder("advise"), os.getloadavg()[0]
    rows = write_cohort(folder / "cohort", args.subjects)
    answers = {name: folder / f"{name}.parquet" for name in CONTENDERS}
    start = {
        name: partial(measured, "benchmarks.advise", "--child", name, str(folder / "cohort"), str(path))
        for name, path in answers.items()
    }
    table = results.table({WHAT[name]: middle(turns) for name, turns in in_turns(start, args.repeat).items()}, "grading")
    print(f"\n{table}\n")
    found = _different(answers["advise"], answers["rehearse"])
    for line in found:
        print(f"DIFFERENT: {line}")
    if found:
        return 1
    print("Every rule speaks for the same hours in both.")
    if args.subjects >= FULL:
        text = TEMPLATE.format(
            subjects=f"{args.subjects:,}", rows=f"{rows:,}", machine=results.machine(load, "polars"), repeat=args.repeat, table=table
        )  # fmt: skip
        results.write_section("advise", text)
    return 0


TEMPLATE = """## Options hour by hour, and rehearsing alerts

{subjects} made-up subjects, {rows} rows over 100 days; every rule of the default profile asked every hour of each record. {machine}

{table}

Median of {repeat} runs taken in turns, from opening the files to the tables in memory, without starting Python. The last two begin with the grading of
the second row, each time as it could be graded then. Every rule speaks for the same hours in both.
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        timed(CONTENDERS[sys.argv[2]](*(Path(p) for p in sys.argv[3:5])))
        for after in AFTER:
            after()
    else:
        sys.exit(main())
