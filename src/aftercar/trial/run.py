"""Run a design many times: power, type I error, and what its safety boundary does; into a folder of tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars import lit

from aftercar.errors import OptionError
from aftercar.files import writing
from aftercar.frames import labelled
from aftercar.simulate.population import SEEDS
from aftercar.trial.design import Design
from aftercar.trial.pool import OUTCOMES, PART, Engine, Job, fill, on_this_machine, try_one
from aftercar.trial.replicate import boundaries, compared, drawn, enrolled, results, streams
from aftercar.trial.summary import about, boundary_table, exact_curves, exact_size, patients, summary

MARKER = "trial.json"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of the trials.

    Attributes:
        replicates: a row a run and trial.
        boundary: `arm, from_n, to_n, events`: stop at so many events, at looks from so many patients to so many.
        operating: exact curves: `curve` (`stopping`: the boundary of `arm` is reached; `power`: the test of `arm` rejects), `rate` (the
            true rate of the arm), `probability`, `patients` (expected, of `stopping`).
        summary: counts, shares with their intervals, and what they were made from.
    """

    design: Design
    replicates: pl.DataFrame
    boundary: pl.DataFrame
    operating: pl.DataFrame
    summary: dict[str, Any]


def try_design(design: Design) -> None:
    """Find what is wrong with a design before it is run.

    Raises:
        OptionError, InputError: as `run_trial`.
    """
    try_one(Job(design, seed=1), [s for scenarios in streams(design).values() for s in scenarios])


def run_trial(
    design: Design, replicates: int = 1_000, seed: int = 1, *, engine: Engine | None = None, progress: Callable[[int, int], None] | None = None,
    part: int = PART,
) -> Outcome:  # fmt: skip
    """Run a design.

    Args:
        replicates: trials; the first of them are the same however many follow.
        seed: gives the same numbers on any engine, with any number of processes and any size of `part`.
        engine: what simulates; by default processes of this machine.
        progress: called with the virtual patients that are done, and all that are known to be needed, first before the work.
    Raises:
        OptionError: no replicates, or a seed that cannot be; a product, policy or drug of the design that does not exist.
        InputError: the model does not have what the design reads, or hardly anybody is eligible.
    """
    if replicates < 1:
        raise OptionError("At least one replicate is run.")
    if not 0 <= seed < SEEDS:
        raise OptionError(f"The seed must be between 0 and {SEEDS - 1}.")
    arms = drawn(design, replicates, seed)
    # By chance alone an arm may stay empty; a stream does not.
    needed = {
        k: (replicates * design.n if arms is None else max(int((arms == k).sum()), 1), scenarios)
        for k, scenarios in streams(design).items()
    }
    pools = fill(Job(design, seed), needed, engine or on_this_machine(), progress or (lambda done, all_: None), part)
    trials = enrolled(design, replicates, seed, arms, pools)
    watched = boundaries(design)
    runs = {"design": design.scenarios}
    if design.null_scenario is not None:
        runs["null"] = [design.null_scenario] * len(design.arms)
    keys = pl.DataFrame({"replicate": np.arange(1, replicates + 1), "screened": trials.screened(pools)})
    tables: list[pl.DataFrame] = []
    told: dict[str, Any] = {}
    for name, scenarios in runs.items():
        became = {what: trials.of(pools, scenarios, what) for what in OUTCOMES}
        found = results(design, trials, became, watched)
        tables.append(keys.hstack(found).select(lit(name).alias("run"), pl.all()))
        truth = [patients({w: a[trials.arms == k] for w, a in became.items()}) for k in range(len(design.arms))]
        told[name] = summary(design, found, truth, watched)
    control = told["design"]["arms"][design.arms[0].name]["rate"]
    size = {design.arms[k].name: exact_size(design, k, control) for k in compared(design)}
    whole = about(design, replicates, seed, pools) | {"runs": told, "exact_type_1_error": size}
    return Outcome(design, pl.concat(tables), boundary_table(design, watched), exact_curves(design, watched, control), whole)


# ---- on disk


def write_trial(found: Outcome, folder: Path, figure: str) -> None:
    """Write the tables, the figure and the design into a folder, and `trial.json` last."""
    with writing(folder):
        labelled(found.replicates, simulated=True).write_parquet(folder / "replicates.parquet")
        for name in ("replicates", "boundary", "operating"):
            labelled(getattr(found, name), simulated=True).write_csv(folder / f"{name}.csv")
    (folder / "trial.svg").write_text(figure, encoding="utf-8")
    (folder / "design.toml").write_text(found.design.text, encoding="utf-8")
    (folder / MARKER).write_text(json.dumps(found.summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
