"""What severe toxicity hangs on: differences between patients, each parameter of the mechanism, and which of the fitted ones the data tell."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aftercar.calibrate.ensemble import parameters
from aftercar.calibrate.virtual import ASTCT, graded_by
from aftercar.errors import AftercarError, OptionError
from aftercar.intervals import Z95
from aftercar.processes import each_in_processes
from aftercar.simulate.model import load_model
from aftercar.simulate.observe import observation_map
from aftercar.simulate.population import SPREAD, values_of
from aftercar.simulate.run import PART, Scenario, follow

Floats = NDArray[np.float64]

SEED, DAYS = 2_029, 28.0
DRAWS = 256  # of the design of Sobol: times the number of what differs, plus 2, virtual patients
# Indices are of what is the same when it is asked again: without noise of charting, seizures and oedema by chance.
_QUIET = {
    "temperature.noise": 0.0, "pressure.noise": 0.0, "answers.cns.noise": 0.0, "answers.cns.seizure_per_day": 0.0, "answers.cns.oedema_per_day": 0.0,
}  # fmt: skip
SCREENED, STEP = 200, 0.25  # patients of each arm of the screening, and the change of a parameter's log


def between_patients(
    product: str = "axi-cel", disease: str = "LBCL", policy: str = "standard", *, draws: int = DRAWS, seed: int = SEED,
    workers: int | None = None, progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Sobol indices of the worst grades of CRS and ICANS to what differs between patients, independent of one another here.

    Returns:
        `parameter, toxicity, first, first_low, first_high, total, total_low, total_high`, the largest total first: `first` is the share of the
        variance of the worst grade that one parameter explains alone, `total` with all that it does together with others.
        Null where all patients have the same grade.
    Raises:
        AftercarError: SciPy is not installed.
        OptionError: the number of draws is no power of two.
    """
    try:
        from scipy.stats import norm, sobol_indices
    except ImportError as error:
        raise AftercarError("Sobol indices need the extra: pip install 'aftercar[trial]'.") from error
    if draws < 2 or draws & (draws - 1):
        raise OptionError("--draws must be a power of two.")
    model = load_model()
    medians = values_of(model, product, disease)
    spreads: dict[str, tuple[float, float]] = {
        name: (float(medians[name]), sd) for name, sd in model.tables["variability"].select("parameter", "sd_log").iter_rows()
    }
    persons = {f"person.{name}.median": (told["median"], told["sd_log"]) for name, told in observation_map()["person"].items()}
    differ = spreads | persons
    still = {f"{SPREAD}{name}": 0.0 for name in spreads} | {f"person.{name.split('.')[1]}.sd_log": 0.0 for name in persons}
    scenario = Scenario(product, disease, policy, (), tuple((still | _QUIET).items()), DAYS)
    rows = list(differ.values())

    def worst(normal: Floats) -> Floats:
        values = [median * np.exp(sd * z) for (median, sd), z in zip(rows, normal, strict=True)]
        return _in_parts(scenario, dict(zip(differ, values, strict=True)), seed, workers, progress)

    # Where nobody differs nothing is explained: SciPy warns of it, the table has null.
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = sobol_indices(func=worst, n=draws, dists=[norm()] * len(differ), rng=np.random.default_rng(seed))
        told = found.bootstrap(confidence_level=0.95, n_resamples=500)
    table = [
        {
            "parameter": name, "toxicity": toxicity,
            "first": found.first_order[t, k], "first_low": told.first_order.confidence_interval.low[t, k], "first_high": told.first_order.confidence_interval.high[t, k],
            "total": found.total_order[t, k], "total_low": told.total_order.confidence_interval.low[t, k], "total_high": told.total_order.confidence_interval.high[t, k],
        }
        for t, toxicity in enumerate(("crs", "icans")) for k, name in enumerate(differ)
    ]  # fmt: skip
    return pl.DataFrame(table).fill_nan(None).sort("toxicity", "total", descending=[False, True], nulls_last=True)


def _in_parts(
    scenario: Scenario, values: dict[str, Floats], seed: int, workers: int | None, progress: Callable[[int, int], None] | None
) -> Floats:
    """The worst grades of patients who differ in given values alone, `[toxicity, patient]`."""
    n = len(next(iter(values.values())))
    parts = [slice(k, min(k + PART, n)) for k in range(0, n, PART)]
    out = np.empty((2, n))
    follow(scenario, 2, seed)  # compiled once, before several processes would
    asked = {p.start: (scenario, {k: v[p] for k, v in values.items()}, seed, p.start) for p in parts}
    for start, worst in each_in_processes(_worst, asked, "simulating", workers=workers, progress=progress):
        out[:, start : start + worst.shape[1]] = worst
    return out


def _worst(scenario: Scenario, values: dict[str, Floats], seed: int, first: int) -> Floats:
    n = len(next(iter(values.values())))
    outcome = graded_by(follow(scenario, n, seed, first=first, varied=values, workers=1), *ASTCT)
    return np.stack([outcome.crs, outcome.nt]).astype(float)


def of_parameters(
    product: str = "axi-cel", disease: str = "LBCL", policy: str = "standard", *, only: Sequence[str] | None = None,
    patients: int = SCREENED, seed: int = SEED, workers: int | None = None, progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """What a change of each parameter of the mechanism does to the rates of CRS and ICANS of grade 3 or more, one at a time, in the same patients.

    Args:
        only: these parameters; by default all that are not 0.
    Returns:
        `parameter, toxicity, effect, low, high, mean_grade`: points of per cent for a parameter that is `STEP` larger in its log, half of
        what lies between as much lower and as much larger; `mean_grade` the same of the mean worst grade. The largest change of grade first.
    """
    model = load_model()
    values = {k: float(v) for k, v in values_of(model, product, disease).items() if float(v) > 0}
    names = list(values) if only is None else list(only)
    per = max(PART // (2 * patients), 1)
    groups = [names[k : k + per] for k in range(0, len(names), per)]
    scenario = Scenario(product, disease, policy, (), (), DAYS)
    follow(scenario, 2, seed)
    asked = {group[0]: (scenario, group, [values[g] for g in group], patients, seed) for group in groups}
    rows = [
        row for _, found in each_in_processes(_screened, asked, "simulating", workers=workers, progress=progress) for row in found
    ]
    return pl.DataFrame(rows).sort(pl.col("mean_grade").abs(), "parameter", "toxicity", descending=[True, False, False])


def _screened(scenario: Scenario, names: list[str], values: list[float], patients: int, seed: int) -> list[dict[str, Any]]:
    """Of each parameter two copies of the same patients: as much lower, and as much larger."""
    copies = 2 * len(names)
    varied = {name: np.full(copies * patients, value) for name, value in zip(names, values, strict=True)}
    for k, name in enumerate(names):
        for copy, sign in ((2 * k, -1), (2 * k + 1, 1)):
            varied[name][copy * patients : (copy + 1) * patients] *= np.exp(sign * STEP)
    outcome = graded_by(follow(scenario, patients, seed, varied=varied, copies=copies, workers=1), *ASTCT)
    rows: list[dict[str, Any]] = []
    for toxicity, grades in (("crs", outcome.crs), ("icans", outcome.nt)):
        pairs = grades.reshape(len(names), 2, patients)
        for name, (low, high) in zip(names, pairs, strict=True):
            change = 50.0 * ((high >= 3).astype(float) - (low >= 3))
            half, effect = Z95 * float(change.std(ddof=1)) / np.sqrt(patients), float(change.mean())
            rows.append(
                {"parameter": name, "toxicity": toxicity, "effect": effect, "low": effect - half, "high": effect + half, "mean_grade": float((high - low).mean()) / 2}
            )  # fmt: skip
    return rows


def identified(ensemble: pl.DataFrame) -> pl.DataFrame:
    """How much the data tell of each fitted parameter.

    Returns:
        `parameter, start, fitted, low, high, told, with, correlation`: the geometric mean and 95 % range of the ensemble; `told`, the share of the variance
        (of its log) before the fit that is gone; and the parameter with which it goes together most: two that do are told together, not each.
    """
    logs = np.log(ensemble.to_numpy())
    correlation = np.corrcoef(logs.T) - np.eye(logs.shape[1])
    rows: list[dict[str, Any]] = []
    for k, p in enumerate(parameters()):
        low, high = np.exp(np.percentile(logs[:, k], [2.5, 97.5]))
        most = int(np.abs(correlation[k]).argmax())
        rows.append(
            {
                "parameter": p.key, "start": p.start, "fitted": float(np.exp(logs[:, k].mean())), "low": float(low), "high": float(high),
                "told": float(1 - logs[:, k].var(ddof=1) / p.sd_log**2), "with": ensemble.columns[most], "correlation": float(correlation[k, most]),
            }
        )  # fmt: skip
    return pl.DataFrame(rows).sort("told", descending=True)
