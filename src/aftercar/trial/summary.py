"""What is told of many trials: counts and shares with their intervals, beside what is exact for independent patients of one rate."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
from polars import col

from aftercar import __version__
from aftercar.grade.run import scales_named
from aftercar.intervals import wilson
from aftercar.simulate.model import load_model, toml
from aftercar.simulate.observe import observation_map
from aftercar.simulate.run import BANNER
from aftercar.trial.boundary import Boundary, operating
from aftercar.trial.compare import p_values, power
from aftercar.trial.design import Design
from aftercar.trial.pool import Pool
from aftercar.trial.replicate import compared, level, rejects

RATES = tuple(round(0.01 * k, 2) for k in range(101))  # true rates of the exact curves
SHOWN = (0.05, 0.5, 0.95)  # quantiles of the events of an arm


def boundary_table(design: Design, watched: dict[int, Boundary]) -> pl.DataFrame:
    """`arm, from_n, to_n, events`."""
    rows = [(design.arms[k].name, *step) for k, found in watched.items() for step in found.steps()]
    return pl.DataFrame(rows, schema={"arm": pl.String, "from_n": pl.Int64, "to_n": pl.Int64, "events": pl.Int64}, orient="row")


def rejected(design: Design, arm: int) -> np.ndarray:
    """Which outcomes of an arm and the control are rejected, at the sizes that were planned."""
    own, control = design.arms[arm].n, design.arms[0].n if arm else 0
    return rejects(design, p_values(design.test, own, control))


def exact_size(design: Design, arm: int, control: float | None) -> float | None:
    """Probability to reject where the null is just true: at the rate of the control, at that and the margin, or at the rate that one arm is held against."""
    if control is None:  # by chance alone nobody was allotted to it
        return None
    at = design.test.rate if design.test.rate is not None else min(control + (design.test.margin or 0.0), 1.0)
    return float(power(rejected(design, arm), np.array([at]), control)[0])


def exact_curves(design: Design, watched: dict[int, Boundary], control: float | None) -> pl.DataFrame:
    """Of each boundary and test what it does at each true rate of its arm; a test at the simulated rate of the control, and without a boundary."""
    schema = {"curve": pl.String, "arm": pl.String, "rate": pl.Float64, "probability": pl.Float64, "patients": pl.Float64}
    rows: list[tuple[object, ...]] = []
    for k, found in watched.items():
        at = operating(found, RATES)
        rows += [
            ("stopping", design.arms[k].name, *row) for row in zip(RATES, at.stops.tolist(), at.patients.tolist(), strict=True)
        ]
    tested = [] if control is None else [(k, power(rejected(design, k), np.array(RATES), control)) for k in compared(design)]
    for k, chance in tested:
        rows += [("power", design.arms[k].name, rate, p, None) for rate, p in zip(RATES, chance.tolist(), strict=True)]
    return pl.DataFrame(rows, schema=schema, orient="row")


def about(design: Design, replicates: int, seed: int, pools: dict[int, Pool]) -> dict[str, Any]:
    """What the trials were made from."""
    scales = {s.name: s.rules for c in (*design.endpoint.any_of, *design.harm.any_of) for s in scales_named([c.scale])}
    return {
        "banner": BANNER, "simulated": True, "title": design.title, "aftercar": __version__, "design": design.fingerprint,
        "model": model_fingerprint(design.folder), "scales": scales, "seed": seed, "replicates": replicates,
        "simulated_patients": sum(p.simulated for p in pools.values()),
        "endpoint": asdict(design.endpoint), "harm": asdict(design.harm), "test": {k: v for k, v in asdict(design.test).items() if v is not None}, "alpha_of_each": level(design),
        "patients": design.n,
    }  # fmt: skip


def model_fingerprint(folder: str | None) -> str:
    """The same for models of which every file says the same."""
    model = load_model(folder)
    told = [model.text, *(f"{name}\n{table.write_csv()}" for name, table in sorted(model.tables.items()))]
    told += [json.dumps(observation_map(folder)), json.dumps(toml("policies.toml", None) | toml("policies.toml", folder))]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def share(met: int, of: int) -> dict[str, Any]:
    """A share of trials or patients, with the 95 % interval of how many were simulated (Wilson)."""
    low, high = wilson(met, of)
    return {"share": met / of if of else None, "low": low, "high": high}


def patients(became: dict[str, np.ndarray]) -> dict[str, Any]:
    """What became of all patients of an arm, of whole trials: shares of the endpoint, of what is not known, of what the boundary counts."""
    found = {what: share(int(met.sum()), len(met)) for what, met in became.items()}
    return {"rate": found["event"]["share"], "event": found["event"], "open": found["open"]["share"], "harm": found["harm"]}


def summary(design: Design, found: pl.DataFrame, truth: list[dict[str, Any]], watched: dict[int, Boundary]) -> dict[str, Any]:
    """What came of the trials of one run.

    Args:
        found: a row a trial.
        truth: of each arm, `patients`.
    """
    n, halted = found.height, found.filter("stopped")
    names = [arm.name for arm in design.arms]
    tests = [names[k] for k in compared(design)]
    arms = {name: told | _estimates(found, halted, name, told["rate"]) for name, told in zip(names, truth, strict=True)}
    for k, own in watched.items():
        rate = truth[k]["harm"]["share"]
        at = None if rate is None else operating(own, [rate])
        arms[names[k]] |= {
            "crossed": share(int(found[f"{names[k]}_crossed"].sum()), n), "exact_crossed": None if at is None else float(at.stops[0]),
            "exact_patients": None if at is None else float(at.patients[0]),
        }  # fmt: skip
    comparisons = {}
    for k in compared(design):
        own, control = truth[k]["rate"], truth[0]["rate"]
        exact = None if own is None or control is None else float(power(rejected(design, k), np.array([own]), control)[0])
        comparisons[names[k]] = {
            "success": share(int(found[f"{names[k]}_success"].sum()), n), "without_boundary": share(int(found[f"{names[k]}_rejected"].sum()), n),
            "exact_without_boundary": exact,
        }  # fmt: skip
    return {
        "arms": arms, "comparisons": comparisons,
        "any_success": share(int(found.select(pl.any_horizontal(f"{t}_success" for t in tests)).to_series().sum()), n),
        "stopped": share(halted.height, n), "enrolled": found["enrolled"].mean(), "spared": design.n - float(found["enrolled"].mean()),  # type: ignore[arg-type]
        "spared_if_stopped": _mean(design.n - halted["enrolled"]), "in_flight_if_stopped": _mean(halted["in_flight"]),
        "weeks": _mean(found["weeks"]), "weeks_if_stopped": _mean(halted["weeks"]),
    }  # fmt: skip


def _estimates(found: pl.DataFrame, halted: pl.DataFrame, name: str, rate: float | None) -> dict[str, Any]:
    """What trials would tell of an arm, and by how much that is off; an arm that a stopped trial left empty tells nothing."""

    def told(frame: pl.DataFrame) -> float | None:
        own = frame.filter(col(f"{name}_n") > 0)
        return _mean(own[f"{name}_events"] / own[f"{name}_n"])

    def off(value: float | None) -> float | None:
        return None if value is None or rate is None else value - rate

    events = {f"{100 * q:g}": found[f"{name}_events"].quantile(q, "nearest") for q in SHOWN}
    return {
        "n": _mean(found[f"{name}_n"]), "events": events, "estimate": told(found), "bias": off(told(found)),
        "bias_if_stopped": off(told(halted)), "bias_if_not_stopped": off(told(found.filter(~col("stopped")))),
    }  # fmt: skip


def _mean(values: pl.Series) -> float | None:
    return None if values.mean() is None else float(values.mean())  # type: ignore[arg-type]
