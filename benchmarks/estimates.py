"""Time the statistics of cohorts: estimates beside R on the same tables, and whole commands beside the grading that they stand on.

    python -m benchmarks.estimates [--subjects 10000] [--repeat 3]

Estimates are timed from tables in memory; commands from opening the files to the written answer, without starting Python. Exit status 1: an estimate
differs from R's. Without R and its packages only the commands are timed, and nothing is written down.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks import results
from benchmarks.measure import Run, in_turns, measured, measured_command, middle, timed

FULL = 10_000  # subjects from which on the results are written
COURSES, LOOKED, POOLS, STUDIES = 100_000, 2_000, 100, 20
BY_DAY = 28
R = results.HERE / "estimates.R"
PACKAGES = ("cmprsk", "survival", "lme4", "metafor")
# What each is called, how far it may lie from R's and why.
ESTIMATES = {
    "curves": (f"cumulative incidence in 4 groups of {COURSES:,} courses, Gray's test", {"curves": "cmprsk"}, 1e-6),
    "between": (f"{LOOKED:,} times between two looks, after Turnbull", {"between": "survival"}, 5e-3),  # R stops early
    "pool": (f"{POOLS} times {STUDIES} studies pooled, binomial-normal", {"pool_lme4": "lme4", "pool_metafor": "metafor"}, 1e-3),
}  # fmt: skip
GRADING = "grading by the default scales"
COMMANDS: dict[str, list[str]] = {
    GRADING: ["grade", "{timeline}", "--out", "{out}/grades"],
    "`cohort describe`": ["cohort", "describe", "{grades}", "--out", "{out}/described"],
    "`summarise`": ["summarise", "{grades}", "--out", "{out}/site.json"],
    "`registry draft`, CIBMTR 4100": ["registry", "draft", "{grades}", "--out", "{out}/draft"],
    "`figure incidence`": ["figure", "incidence", "{grades}", "--out", "{out}/incidence.svg"],
    "`figure values`": ["figure", "values", "{grades}", "--out", "{out}/values.svg"],
}
MANY: dict[str, list[str]] = {
    GRADING: COMMANDS[GRADING],
    "`cohort multiverse`": ["cohort", "multiverse", "{grades}", "--out", "{out}/multiverse"],
}


# --- The tables ---


def write_tables(folder: Path) -> None:
    """Made-up tables that the estimates are made from, the same each time."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(20_261_127)
    group = rng.integers(0, 4, COURSES)
    event, other, ends = rng.exponential(30 + 5 * group), rng.exponential(200, COURSES), rng.uniform(20, 365, COURSES)
    day = np.floor(np.minimum(np.minimum(event, other), ends)).astype(int)
    what = np.where(ends <= np.minimum(event, other), "censored", np.where(event <= other, "event", "competing"))
    pl.DataFrame({"day": day, "what": what, "group": [f"g{g}" for g in group]}).write_csv(folder / "curves.csv")

    true, first, every = rng.weibull(1.4, LOOKED) * 12, rng.integers(0, 4, LOOKED), rng.integers(1, 5, LOOKED)
    after = np.where(true < first, 0, first + every * np.floor((true - first) / every))
    until = np.where(true < first, first, after + every)
    last = rng.integers(8, 29, LOOKED)
    lost = until > last
    looks = pl.DataFrame(
        {"after": np.where(lost, np.minimum(after, last), after).astype(float), "until": np.where(lost, np.inf, until)}
    )
    looks.with_columns(pl.when(pl.col("until").is_infinite()).then(pl.lit("Inf")).otherwise(pl.col("until").cast(pl.String)).alias("until")).write_csv(folder / "between.csv")  # fmt: skip

    n = rng.integers(20, 300, (POOLS, STUDIES))
    odds = rng.normal(rng.uniform(-3, 1, (POOLS, 1)), 0.6, (POOLS, STUDIES))
    events = rng.binomial(n, 1 / (1 + np.exp(-odds)))
    pool = np.repeat(np.arange(POOLS), STUDIES)
    pl.DataFrame({"pool": pool, "events": events.ravel(), "n": n.ravel()}).write_csv(folder / "pool.csv")


# --- In the child ---


def _estimate(what: str, source: Path, answers: Path) -> Callable[[], None]:
    import polars as pl
    import scipy.optimize
    import scipy.stats  # noqa: F401

    from aftercar.cohort.compare import gray
    from aftercar.cohort.incidence import WHAT, by_day, cumulative_incidence
    from aftercar.cohort.survival import turnbull
    from aftercar.synthesis.proportions import pooled

    rows = pl.read_csv(source, schema_overrides={"until": pl.Float64} if what == "between" else {})

    def curves() -> list[float | None]:
        known = rows.with_columns(pl.col("what").cast(WHAT), pl.col("day").cast(pl.Int32))
        parts = known.partition_by("group", as_dict=True)
        shares = [by_day(cumulative_incidence(parts[name]), BY_DAY)["incidence"] for name in sorted(parts)]
        return [gray(known, "group").statistic, *shares]

    def between() -> list[float | None]:
        found = turnbull(rows["after"].to_numpy(), rows["until"].to_numpy())
        return [found.by(day)[0] for day in (7, 14, 21)]

    def pool() -> list[float | None]:
        own = rows.partition_by("pool", maintain_order=True)
        return [float(pooled(one["events"].to_numpy(), one["n"].to_numpy()).coefficient[0]) for one in own]

    def work() -> None:
        pl.DataFrame({"value": {"curves": curves, "between": between, "pool": pool}[what]()}).write_csv(answers)

    return work


def _command(words: list[str]) -> Callable[[], None]:
    from aftercar.serve.cli import app

    return partial(app, words, standalone_mode=False)


# --- In the parent ---


def estimates(folder: Path, repeat: int) -> tuple[str, list[str]]:
    """The table of estimates beside R's, and where they differ."""
    import polars as pl

    write_tables(folder)
    lines = [
        "| | by | wall, s | CPU, s | peak memory, MiB | CPU / aftercar | farthest apart |",
        "| --- | --- | --: | --: | --: | --: | --: |",
    ]
    differ: list[str] = []
    for what, (label, others, allowed) in ESTIMATES.items():
        source = folder / f"{what}.csv"
        answers = {name: folder / f"{name}_answers.csv" for name in ("ours", *others)}
        start = {"ours": partial(measured, "benchmarks.estimates", "--estimate", what, str(source), str(answers["ours"]))}
        start |= {name: partial(measured_command, "Rscript", str(R), name, str(source), str(answers[name])) for name in others}
        runs = {name: middle(turns) for name, turns in in_turns(start, repeat).items()}
        ours = pl.read_csv(answers["ours"])["value"]
        for name, run in runs.items():
            apart = float((pl.read_csv(answers[name])["value"] - ours).abs().max())  # type: ignore[arg-type]
            told = "" if name == "ours" else f"{apart:.0e}"
            by = "aftercar" if name == "ours" else others[name]
            lines.append(f"| {label if name == 'ours' else ''} | {by} | {run.wall:.2f} | {run.cpu:.2f} | {run.peak:,.0f} | {run.cpu / runs['ours'].cpu:.1f} | {told} |")  # fmt: skip
            if not apart <= allowed:
                differ.append(f"{label}: {by} is {apart:.2g} away")
    return "\n".join(lines), differ


def commands(folder: Path, subjects: int, of: Mapping[str, list[str]], repeat: int) -> tuple[str, int]:
    """The table of commands on a cohort beside its grading, each writing anew, and the rows of the cohort."""
    from benchmarks.cohort import write_cohort

    rows = write_cohort(folder / "cohort", subjects)

    def start(words: list[str]) -> Run:
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        names = {"timeline": folder / "cohort", "grades": folder / "grades", "out": out}
        return measured("benchmarks.estimates", "--command", *(w.format(**names) for w in words))

    measured("benchmarks.estimates", "--command", "grade", str(folder / "cohort"), "--out", str(folder / "grades"))
    runs = {name: middle(turns) for name, turns in in_turns({n: partial(start, w) for n, w in of.items()}, repeat).items()}
    return results.table(runs, "grading"), rows


def main() -> int:
    """Time in turns, compare, print the tables and write them down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subjects", type=int, default=FULL)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    folder, load, versions = results.fresh_folder("estimates"), os.getloadavg()[0], results.r_versions(*PACKAGES)
    beside_r, differ = estimates(folder, args.repeat) if versions else ("", [])
    whole, rows = commands(folder / "whole", args.subjects, COMMANDS, args.repeat)
    many, _ = commands(folder / "many", args.subjects // 10, MANY, 1)
    universes = len((folder / "many" / "out" / "multiverse" / "universes.csv").read_text().splitlines()) - 1
    print(f"\n{beside_r}\n\n{whole}\n\n{many}\n")
    for line in differ:
        print(f"DIFFERENT: {line}")
    if differ:
        return 1
    if versions and args.subjects >= FULL:
        machine = results.machine(load, "polars", "numpy", "scipy").replace("Python", f"{versions}, Python")
        text = TEMPLATE.format(
            machine=machine, repeat=args.repeat, beside_r=beside_r, subjects=f"{args.subjects:,}", rows=f"{rows:,}", whole=whole,
            fewer=f"{args.subjects // 10:,}", universes=universes, many=many,
        )  # fmt: skip
        results.write_section("estimates", text)
    return 0


TEMPLATE = """## Statistics of cohorts, beside R and beside grading

Estimates from tables in memory. {machine}

{beside_r}

Median of {repeat} runs taken in turns, without starting R or Python, loading packages and reading the table. R stops earlier than aftercar where times lie between two
looks; all else agrees to rounding or to the tolerance of the fit.

Commands on {subjects} made-up courses, {rows} rows, from opening the files to the written answer, imports counted:

{whole}

{universes} universes of {fewer} such courses, each set of options graded once:

{many}
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--estimate"]:
        what, *paths = sys.argv[2:]
        timed(_estimate(what, *map(Path, paths)))
    elif sys.argv[1:2] == ["--command"]:
        timed(_command(sys.argv[2:]))
    else:
        sys.exit(main())
