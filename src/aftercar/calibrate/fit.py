"""Parameters of the mechanism fitted to published trials: an ensemble of sets, not one point.

An ensemble smoother with multiple data assimilation [emerick2013], by pyESMDA: every member is simulated in all trials, and moves by how parameters
and results go together over the ensemble; repeated with the observations' errors inflated, so that the last ensemble stands for what the data leave
open where parameters and (transformed) results are about linear and normal. `benchmarks/fit.py` holds it beside another way with as many patients.
Needs the extra `calibrate`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col

from aftercar.calibrate.ensemble import as_frame, jobs_of, parameters, simulated
from aftercar.calibrate.peaks import TRIAL, of_group, ranges
from aftercar.calibrate.published import ENDPOINTS, onsets, rates, trials
from aftercar.calibrate.virtual import Outcome, medians
from aftercar.errors import AftercarError, InputError, OptionError
from aftercar.files import write_text, write_whole, writing
from aftercar.simulate.model import load_model, toml
from aftercar.simulate.observe import numbers_of, observation_map
from aftercar.simulate.population import SPREAD, values_of

Floats = NDArray[np.float64]

MEMBERS, PATIENTS, STEPS = 120, 80, 5  # sets of parameters, virtual patients of each in each trial, passes
MODEL_SD = 0.15  # of a rate's log odds and an onset's log: what the structure of the mechanism cannot tell better
ONSET_SD = 0.25  # of the log of a median told in whole days
NOBODY_D = 28.0  # told as the onset where nobody had an event


@dataclass(frozen=True)
class Observed:
    """What is fitted: rates as log odds, onsets and peaks of cytokines as logs.

    Attributes:
        told: `trial, what` of each, in order.
        value: what was published, transformed.
        variance: of its error, the model's included; the chance of a virtual trial is in the spread of the ensemble's results already.
    """

    told: list[tuple[str, str]]
    value: Floats
    variance: Floats


def observed() -> Observed:
    """The rates and onsets of the trials that are fitted, and the ranges of peaks."""
    told, value, variance = [], [], []
    fitted = [name for name, t in trials().items() if not t.held_out]
    for trial, endpoint, events, n, *_ in rates().filter(col("trial").is_in(fitted)).iter_rows():
        p = (events + 0.5) / (n + 1)
        told.append((trial, endpoint))
        value.append(np.log(p / (1 - p)))
        variance.append(1 / (n * p * (1 - p)) + MODEL_SD**2)
    for trial, what, median, *_ in onsets().filter(col("trial").is_in(fitted)).iter_rows():
        told.append((trial, f"{what}_onset"))
        value.append(np.log(median))
        variance.append(ONSET_SD**2 + MODEL_SD**2)
    for low, high, analyte, group in ranges().select("low", "high", "analyte", "group").iter_rows():
        told.append((TRIAL, _peak(analyte, group)))
        value.append((np.log(low) + np.log(high)) / 2)
        variance.append(
            ((np.log(high) - np.log(low)) / 2) ** 2 + MODEL_SD**2
        )  # a range from memory: a standard deviation to both sides
    return Observed(told, np.array(value), np.array(variance))


def predicted(outcome: Outcome, members: int) -> dict[str, Floats]:
    """What each member says of a trial, as `Observed` transforms it: patients of a member lie beside one another."""
    had = outcome.had().reshape(members, -1, len(ENDPOINTS))
    n = had.shape[1]
    p = (had.sum(axis=1) + 0.5) / (n + 1)
    found: dict[str, Floats] = dict(zip(ENDPOINTS, np.log(p / (1 - p)).T, strict=True))
    for what, days in (("crs", outcome.crs_day), ("nt", outcome.nt_day)):
        median = medians(days.reshape(members, n))
        found[f"{what}_onset"] = np.log(np.where(np.isnan(median), NOBODY_D, np.maximum(median, 0.25)))
    for analyte, group in ranges().select("analyte", "group").iter_rows():
        found[_peak(analyte, group)] = np.log(medians(of_group(outcome, analyte, group).reshape(members, n)))
    return found


def _peak(analyte: str, group: str) -> str:
    return f"peak of {analyte}, {group}"


def results_of(outcomes: Mapping[str, Outcome], members: int, target: Observed) -> Floats:
    """What each member says of all that is fitted, `[member, result]`.

    Where nobody of a member is of a group it says nothing: it gets the mean of the other members, and without any what was published.
    """
    each = {name: predicted(outcome, members) for name, outcome in outcomes.items()}
    found = np.stack([each[trial][what] for trial, what in target.told], axis=1)
    known = ~np.isnan(found)
    mean = np.where(known, found, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.asarray(np.where(known, found, np.where(known.any(axis=0), mean, target.value)), np.float64)


def fit(
    folder: Path | str, *, seed: int = 1, members: int = MEMBERS, patients: int = PATIENTS, steps: int = STEPS, workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Fit the parameters; each pass is kept in the folder, so that a run that was interrupted goes on from the last.

    Returns:
        the ensemble: a row a member, a column a parameter by `Parameter.key`; also written as `ensemble.csv`, with `fit.json` beside it.
    Raises:
        InputError: the folder holds a fit of other settings or data.
        OptionError: too few members, patients or passes.
        AftercarError: the extra is not installed.
    """
    if members < 8 or patients < 8 or steps < 1:
        raise OptionError("At least 8 members, 8 patients and 1 pass are needed.")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    about = {"seed": seed, "members": members, "patients": patients, "steps": steps, "data": fingerprint()}
    _same(place, about)
    target = observed()
    bears = np.array([[p.bears_on(trials()[trial]) for trial, _ in target.told] for p in parameters()])
    say = progress or (lambda done, all_: None)
    names = [name for name, t in trials().items() if not t.held_out]
    jobs = jobs_of(names, members, patients)
    misfits: list[float] = []

    def simulate(logs: Floats) -> Floats:
        step = len(misfits)
        kept = place / f"pass_{step}.npz"
        if (found := _saved(kept, logs)) is None:
            outcomes = simulated(
                names, as_frame(logs), patients, seed + 1000 * step, workers=workers,
                progress=lambda k, _: say(step * jobs + k, (steps + 1) * jobs),
            )  # fmt: skip
            found = results_of(outcomes, members, target)
            write_whole(kept, partial(_save, logs=logs, results=found))
        misfits.append(float((((found - target.value) ** 2) / target.variance).mean()))
        return found

    logs = smoothed(_drawn(members, seed), simulate, target, bears, steps, seed)
    ensemble = as_frame(logs)
    with writing(place):
        ensemble.write_csv(place / "ensemble.csv", float_precision=5)
        told = about | {
            "misfit_by_pass": misfits,
            "free_parameters": len(parameters()),
            "data_points": len(target.value),
            "informed": informed(ensemble),
        }
        write_text(place / "fit.json", json.dumps(told, indent=2) + "\n")
    return ensemble


def smoothed(
    logs: Floats, simulate: Callable[[Floats], Floats], target: Observed, bears: NDArray[np.bool_], steps: int, seed: int
) -> Floats:
    """The ensemble after all passes of the smoother.

    Args:
        logs: the ensemble before, `[member, parameter]`.
        simulate: what an ensemble says of what is fitted, `[member, result]`; asked once more at the end.
        bears: `[parameter, result]`; a parameter moves by the results that it bears on alone.
    """
    try:
        from covmats import CovViaDiagonal
        from pyesmda import ESMDA, FixedLocalization
    except ImportError as error:
        raise AftercarError("A fit needs the extras: pip install 'aftercar[simulate,calibrate]'.") from error
    smoother = ESMDA(
        target.value, logs.T, CovViaDiagonal(target.variance), lambda moved: simulate(moved.T).T, n_assimilations=steps, inversion_type="cholesky",
        C_MD_localization=FixedLocalization(bears.astype(float)), random_state=np.random.default_rng([seed, 1]),
    )  # fmt: skip
    smoother.solve()
    return np.asarray(smoother.m_posterior.T, np.float64)


def _saved(kept: Path, logs: Floats) -> Floats | None:
    """The results of a pass that is done, if it was of the same sets."""
    if not kept.is_file():
        return None
    with np.load(kept) as saved:
        return saved["results"] if np.array_equal(saved["logs"], logs) else None


def _save(path: str, logs: Floats, results: Floats) -> None:
    with Path(path).open("wb") as file:  # np.savez gives a name of its own to a path without its ending
        np.savez(file, logs=logs, results=results)


def informed(ensemble: pl.DataFrame) -> float:
    """How many parameters the data have told: the sum of the variance (of logs) that each has lost."""
    return float(sum(1 - min(np.log(ensemble[p.key].to_numpy()).var(ddof=1) / p.sd_log**2, 1.0) for p in parameters()))


def fingerprint() -> str:
    """Of the mechanism without the values that are fitted, of what is fitted, and of what it is fitted to."""
    model, fitted = load_model(), {p.name for p in parameters()}
    spreads = {f"{SPREAD}{name}": sd for name, sd in model.tables["variability"].select("parameter", "sd_log").iter_rows()}
    numbers = spreads | numbers_of(observation_map())
    for name, trial in trials().items():
        numbers |= {f"{name}:{k}": v for k, v in values_of(model, trial.product, trial.disease).items() if k not in fitted}
    kept = {name: value for name, value in numbers.items() if name not in fitted}
    told = [
        model.equations.source(),
        repr(sorted(kept.items())),
        repr(toml("policies.toml", None)),
        repr([(p.key, p.start, p.sd_log) for p in parameters()]),
        repr(trials()),
    ]
    told += [rates().write_json(), onsets().write_json(), ranges().write_json(), repr((MODEL_SD, ONSET_SD))]
    return hashlib.sha256("".join(told).encode()).hexdigest()[:16]


def _same(place: Path, about: dict[str, Any]) -> None:
    settings = place / "settings.json"
    if settings.is_file() and json.loads(settings.read_text(encoding="utf-8")) != about:
        raise InputError(
            f"{place} holds a fit with other settings, or to other data. Name another folder, or the settings of that one."
        )
    write_text(settings, json.dumps(about, indent=2) + "\n")


def _drawn(members: int, seed: int) -> Floats:
    """The ensemble before anything is seen, in logs."""
    start = np.log([p.start for p in parameters()])
    sd = np.array([p.sd_log for p in parameters()])
    return start + sd * np.random.default_rng(seed).standard_normal((members, len(start)))
