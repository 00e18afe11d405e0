"""Time ICAHT alone, from one table of counts: aftercar beside the public workflow of E. C. Liang [liang2024], written anew in R.

    python -m benchmarks.icaht [--subjects 10000] [--repeat 5]

The workflow is `icaht_workflow.R`; where there is no R with dplyr, tidyr, readr and zoo, its rules day by day in Python
(`tests/icaht_peer.py`) take its place, for the answers more than for the time. Each runs in a process of its own, from opening the table
to the written grades, without starting the language. Exit status 1: some grade or duration differs under `round10 = true`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import results
from benchmarks.measure import in_turns, measured, measured_command, middle, timed

FULL = 10_000  # subjects from which on the results are written
ANSWERS = ("early", "d500", "d100", "late")
WORKFLOW = results.HERE / "icaht_workflow.R"
PACKAGES = ("dplyr", "tidyr", "readr", "zoo")
MAPPING = """layout = "wide"
[columns]
subject_id = "patient_id"
time = "date"
[wide]
anc = { concept = "anc", unit = "/uL" }
cart_date = "cart_infusion"
progression_date = "progression"
subsequent_therapy_date = "next_therapy"
last_fu_date = "last_follow_up"
"""
WHAT = {
    "aftercar": "aftercar: import of the table, bounds, evidence, flags, episodes",
    "workflow_r": "the workflow's rules in R, with dplyr, tidyr, readr and zoo",
    "workflow_python": "the workflow's rules day by day in plain Python (there was no R)",
}


# --- The table ---


def write_counts(folder: Path, subjects: int) -> Path:
    """The neutrophil counts of the made-up cohort as the workflow's table: a row a count, and the dates of its patient beside it.

    The counts get a last digit and some patients a progression or a next therapy, which the cohort has not.
    """
    import polars as pl
    from polars import col

    from benchmarks.cohort import write_cohort

    write_cohort(folder / "cohort", subjects)
    rows = pl.scan_parquet(folder / "cohort" / "data" / "*.parquet")
    number, day0 = col("subject_id"), col("cart_date")

    def first(code: str) -> pl.Expr:
        return col("time").filter(col("code") == code).min().dt.date()

    dates = rows.group_by("subject_id").agg(
        cart_date=first("cart_infusion"), last_fu_date=pl.coalesce(first("last_follow_up"), first("death"))
    )
    dates = dates.with_columns(
        progression_date=pl.when(number % 7 == 0).then(day0 + pl.duration(days=10 + number % 80)),
        subsequent_therapy_date=pl.when(number % 11 == 0).then(day0 + pl.duration(days=20 + number % 90)),
    )
    digit = (number + col("time").dt.ordinal_day()) % 10
    counts = rows.filter(code="anc").select(
        "subject_id", date=col("time").dt.date(), anc=(col("numeric_value") + digit).cast(pl.Int64)
    )
    table = counts.join(dates, on="subject_id").rename({"subject_id": "patient_id"}).sort("patient_id", "date")
    table.collect().write_csv(folder / "counts.csv")
    (folder / "mapping.toml").write_text(MAPPING)
    return folder / "counts.csv"


# --- In the child ---


def _aftercar(table: Path, answers: Path) -> Callable[[], None]:
    import polars as pl
    from polars import col

    from aftercar import grade_timeline, read

    def of_early(measure: str) -> pl.Expr:
        found = pl.element().filter(pl.element().struct.field("name") == measure).struct.field("value")
        return col("measures").list.eval(found).list.first().cast(pl.Int64).alias(measure)

    def work() -> None:
        timeline = read(table, table.with_name("mapping.toml")).timeline
        worst = grade_timeline(timeline, ["icaht"], {"round10": True}).worst
        known = pl.when(col("status") != "not_applicable").then("grade")
        early = worst.filter(scale="icaht_early").select("subject_id", of_early("d500"), of_early("d100"), early="grade")
        late = worst.filter(scale="icaht_late").select("subject_id", late=known)
        early.join(late, on="subject_id").select(col("subject_id").alias("patient_id"), *ANSWERS).write_csv(answers)

    return work


def _workflow_python(table: Path, answers: Path) -> Callable[[], None]:
    import polars as pl
    from polars import col

    from tests.icaht_peer import Patient, PeerStops, peer_early, peer_late

    def day(date: str) -> pl.Expr:
        return (col(date) - col("cart_date")).dt.total_days()

    def graded(rows: tuple[int, list[int], list[int], int | None, int | None, int | None]) -> tuple[int | None, ...] | None:
        name, days, counts, *ends = rows
        patient = Patient(list(zip(days, counts, strict=True)), *ends)
        try:
            early = peer_early(patient)
        except PeerStops:
            return None
        return (name, *early, peer_late(patient)) if early else None

    def work() -> None:
        ends = [day(f"{end}_date").first().alias(end) for end in ("last_fu", "progression", "subsequent_therapy")]
        counts = pl.read_csv(table, infer_schema_length=None, try_parse_dates=True)
        patients = counts.group_by("patient_id", maintain_order=True).agg(day("date").alias("day"), "anc", *ends)
        found = [answer for rows in patients.iter_rows() if (answer := graded(rows))]
        pl.DataFrame(found, ["patient_id", "early", "d500", "d100", "late"], orient="row").write_csv(answers)

    return work


CONTENDERS = {"aftercar": _aftercar, "workflow_python": _workflow_python}


# --- In the parent ---


def compare(ours: Path, theirs: Path) -> tuple[int, list[str]]:
    """How many patients the workflow grades, and what aftercar says otherwise of them."""
    import polars as pl

    mine, other = pl.read_csv(ours), pl.read_csv(theirs, null_values="NA")
    both = other.join(mine, on="patient_id", how="left", suffix="_ours")
    differ = {a: both.filter(pl.col(a).ne_missing(pl.col(f"{a}_ours"))) for a in ANSWERS}
    found = [
        f"{a} differs for {rows.height} patients, the first is {rows['patient_id'][0]}"
        for a, rows in differ.items()
        if rows.height
    ]
    return other.height, found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.icaht", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subjects", type=int, default=FULL)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    folder = results.fresh_folder("icaht")
    table = write_counts(folder, args.subjects)
    versions = results.r_versions(*PACKAGES)
    theirs = "workflow_r" if versions else "workflow_python"
    answers = {name: folder / f"{name}.csv" for name in ("aftercar", theirs)}
    start = {
        name: partial(measured, "benchmarks.icaht", "--child", name, str(table), str(path)) for name, path in answers.items()
    }
    if versions:
        start[theirs] = partial(measured_command, "Rscript", str(WORKFLOW), str(table), str(answers[theirs]))
    load = os.getloadavg()[0]
    runs = {name: middle(turns) for name, turns in in_turns(start, args.repeat).items()}
    text = results.table({WHAT[name]: run for name, run in runs.items()}, "aftercar")
    print(f"\n{text}\n")
    graded, found = compare(answers["aftercar"], answers[theirs])
    for line in found:
        print(f"DIFFERENT: {line}")
    if found or not graded:
        return 1
    print(f"All grades and durations agree: {graded:,} patients.")
    if args.subjects >= FULL:
        machine = (
            results.machine(load, "polars").replace("Python", f"{versions}, Python")
            if versions
            else results.machine(load, "polars")
        )
        rows = sum(1 for _ in table.open()) - 1
        text = TEMPLATE.format(
            subjects=f"{args.subjects:,}", rows=f"{rows:,}", machine=machine, repeat=args.repeat, table=text, graded=f"{graded:,}"
        )
        results.write_section("icaht", text)
    return 0


TEMPLATE = """## ICAHT alone, beside the public workflow

One CSV of {rows} made-up neutrophil counts of {subjects} patients, with the dates of each patient in every row, as that workflow wants it. {machine}

{table}

Median of {repeat} runs taken in turns, from opening the table to the written grades, without starting R or Python and loading packages.
Under `round10 = true` early and late grades and both durations are the same for all {graded} patients whom the workflow grades; it leaves out
those without a count by day 30, and stops at some with a single one. It is not the public code that was timed, but its rules
written anew with the tidyverse; runs, which the original has a package find, are found in base R.
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        timed(CONTENDERS[sys.argv[2]](*(Path(p) for p in sys.argv[3:5])))
    else:
        sys.exit(main())
