"""Time a trial design: 1,000 replicates of two arms of 100, virtual patients who are charted, treated on their grades and graded for the endpoint.

Run `python -m benchmarks.trial`; `--replicates N` for less, which writes no section.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks import results
from benchmarks.measure import measured, timed

FULL = 1_000
EXAMPLE = Path(__file__).parent.parent / "examples" / "trial" / "design.toml"


def main() -> None:
    """Run, and write the section."""
    parser = argparse.ArgumentParser(description="Time a trial design.")
    parser.add_argument("--replicates", type=int, default=FULL)
    parser.add_argument("--workers", type=int, default=0, help="processes; by default one a processor")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    answers = results.fresh_folder("trial")
    lines = []
    for null in (False, True):
        file = answers / f"{null}.json"
        one = measured("benchmarks.trial", "--child", str(args.replicates), str(int(null)), str(args.workers), str(file))
        n = json.loads(file.read_text())["simulated_patients"]
        what = "power and type I error" if null else "power alone"
        lines.append(f"| {what} | {n:,} | {one.wall:.0f} | {one.cpu:.0f} | {1000 * one.cpu / n:.2f} | {one.peak:,.0f} |")
    table = "\n".join([HEAD, *lines])
    print(f"\n{table}")
    if args.replicates >= FULL:
        text = TEMPLATE.format(n=f"{args.replicates:,}", machine=results.machine(load, "numba", "numpy", "scipy"), table=table)
        results.write_section("trial", text)


def _child(replicates: int, null: bool, workers: int, file: Path) -> Callable[[], object]:
    from aftercar.trial.design import Null
    from aftercar.trial.pool import on_this_machine
    from aftercar.trial.read import read_design
    from aftercar.trial.run import run_trial

    design = replace(read_design(EXAMPLE), eligibility=(), null=Null(run=null))

    def work() -> None:
        found = run_trial(design, replicates, engine=on_this_machine(workers or None))
        file.write_text(json.dumps(found.summary))

    return work


HEAD = """| | virtual patients | wall, s | CPU, s | CPU a patient, ms | peak memory, MiB |
| --- | --: | --: | --: | --: | --: |"""
TEMPLATE = """## Trials: a design, a thousand times

{n} trials of two arms of 100, the design of `examples/trial` without eligibility: charted to day 28, treated on their grades, graded for CRS and ICANS, a
boundary for harm and Fisher's test. {machine}

{table}

For the type I error the patients of the second arm are simulated once more, treated as the control.
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        timed(_child(int(sys.argv[2]), sys.argv[3] == "1", int(sys.argv[4]), Path(sys.argv[5])))
    else:
        main()
