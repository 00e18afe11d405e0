"""Hold the ensemble smoother beside CMA-ES: the same misfit, as many virtual patients.

First `aftercar calibrate fit --out FOLDER`, then `python -m benchmarks.fit FOLDER`: about as long again. Both middles are then simulated once more,
with patients that neither has seen.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import cma
import numpy as np

from aftercar.calibrate import fit
from aftercar.calibrate.ensemble import as_frame, fitted_to, parameters, read, simulated
from aftercar.calibrate.published import trials
from benchmarks import results

POPULATION = 24  # sets of a generation; the usual number for so many parameters is 15
AFRESH = 960  # patients of each trial that a middle is judged by


def main() -> None:
    """Run CMA-ES, judge both, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fit", type=Path, help="folder of a finished fit")
    parser.add_argument("--generations", type=int, default=0, help="for a trial; by default as many patients as the fit took")
    args = parser.parse_args()
    load, told = os.getloadavg()[0], fitted_to(args.fit)
    sets = told["members"] * (told["steps"] + 1)
    generations = args.generations or sets // POPULATION
    begun = time.perf_counter()
    middle, spread = _cma(told["patients"], generations, told["seed"])
    seconds = time.perf_counter() - begun
    ensemble = np.log(read(args.fit).to_numpy())
    start, sd = _prior()
    rows = [
        ("before the fit", start, sd, ""),
        ("ensemble smoother (pyESMDA)", ensemble.mean(axis=0), ensemble.std(axis=0, ddof=1), f"{sets}"),
        ("CMA-ES (cma)", middle, spread, f"{generations * POPULATION}"),
    ]
    lines = [
        f"| {name} | {n} | {_misfit(logs[None], AFRESH, 77)[0]:.2f} | {np.mean(((logs - start) / sd) ** 2):.2f} | {np.median(own / sd):.2f} |"
        for name, logs, own, n in rows
    ]
    table = "\n".join([HEAD, *lines])
    print(f"\n{table}\nCMA-ES: {seconds:.0f} s")
    if not args.generations:
        text = TEMPLATE.format(
            machine=results.machine(load, "cma", "pyesmda", "numpy"), table=table, patients=told["patients"], afresh=AFRESH
        )  # fmt: skip
        results.write_section("fit", text)


def _cma(patients: int, generations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the last generation, in logs, and the spread of its search distribution."""
    start, sd = _prior()
    search = cma.CMAEvolutionStrategy(np.zeros(len(start)), 0.5, {"popsize": POPULATION, "seed": seed, "verbose": -9})
    target = fit.observed()
    for generation in range(generations):
        asked = np.array(search.ask())
        # The posterior's, up to a constant: what is far from the guess must pay for it, as in the smoother.
        costs = _misfit(start + sd * asked, patients, seed + 1000 * generation) * len(target.value) + (asked**2).sum(axis=1)
        search.tell(list(asked), costs.tolist())
        print(f"  generation {generation + 1} of {generations}: best {costs.min():.0f}, sigma {search.sigma:.2f}", flush=True)
    return start + sd * search.mean, sd * search.stds


def _misfit(logs: np.ndarray, patients: int, seed: int) -> np.ndarray:
    """The mean squared misfit of each set, in variances."""
    target, names = fit.observed(), [name for name, t in trials().items() if not t.held_out]
    outcomes = simulated(names, as_frame(logs), patients, seed)
    found = fit.results_of(outcomes, len(logs), target)
    return ((found - target.value) ** 2 / target.variance).mean(axis=1)


def _prior() -> tuple[np.ndarray, np.ndarray]:
    return np.log([p.start for p in parameters()]), np.array([p.sd_log for p in parameters()])


HEAD = """| | sets simulated | misfit of the middle | moved from the guess, squared SDs | spread that is left, of the guess's |
| --- | --: | --: | --: | --: |"""
TEMPLATE = """## Fits: an ensemble smoother and CMA-ES

The 40 parameters of `aftercar calibrate fit` with as many virtual patients ({patients} of each of 8 trials a set). Misfit: mean squared, in variances of what is published, of
the middle set, with {afresh} new patients of each trial. {machine}

{table}

The spread of CMA-ES is that of its search, no posterior; that of the smoother is what the data leave open. Approximate Bayesian computation would accept so few of these
sets that it was not run.
"""


if __name__ == "__main__":
    main()
