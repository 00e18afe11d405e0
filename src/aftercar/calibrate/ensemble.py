"""Sets of parameters of the mechanism that stand for what published trials leave open, and virtual trials of them all."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

import aftercar.calibrate
from aftercar.calibrate.published import Trial, trials
from aftercar.calibrate.virtual import DAYS, Outcome, run
from aftercar.errors import InputError
from aftercar.processes import each_in_processes
from aftercar.simulate.run import PART

Floats = NDArray[np.float64]

FILE = "ensemble.csv"


@dataclass(frozen=True)
class Parameter:
    """One number that is fitted.

    Attributes:
        name: as `--set` names it.
        level: all, product or disease: what has a value of its own.
        of: the product or disease that it belongs to; none: all trials.
        start, sd_log: its log-normal before anything is seen.
    """

    name: str
    level: str
    of: str | None
    start: float
    sd_log: float

    @property
    def key(self) -> str:
        """A name of its own: `axi-cel:cytokine_output`."""
        return f"{self.of}:{self.name}" if self.of else self.name

    def bears_on(self, trial: Trial) -> bool:
        """Whether a trial's patients depend on it."""
        return self.of in (None, trial.product, trial.disease)


@cache
def parameters() -> tuple[Parameter, ...]:
    """All numbers that are fitted, in the order of an ensemble's columns."""
    told: dict[str, Any] = tomllib.loads(files(aftercar.calibrate).joinpath("parameters.toml").read_text(encoding="utf-8"))
    found = [Parameter(name, "all", None, entry["start"], entry["sd_log"]) for name, entry in told["all"].items()]
    for level in ("product", "disease"):
        found += [
            Parameter(name, level, of, start, e["sd_log"]) for name, e in told[level].items() for of, start in e["start"].items()
        ]
    return tuple(found)


def in_a_row(ensemble: pl.DataFrame, trial: Trial, patients: int) -> dict[str, Floats]:
    """Parameters of a trial's virtual patients, so many of each member, who lie beside one another: `follow` takes them."""
    return varied(ensemble, trial.product, trial.disease, np.arange(ensemble.height * patients) // patients)


def varied(ensemble: pl.DataFrame, product: str, disease: str, numbers: NDArray[np.int64]) -> dict[str, Floats]:
    """Parameters of the virtual patients of these numbers, each with those of one member in turn: `follow` takes them."""
    members = numbers % ensemble.height
    return {p.name: ensemble[p.key].to_numpy()[members] for p in parameters() if p.of in (None, product, disease)}


def as_frame(logs: Floats) -> pl.DataFrame:
    """An ensemble: a row a member, a column a parameter by `Parameter.key`; from logs `[member, parameter]`."""
    return pl.DataFrame(np.exp(logs), schema=[p.key for p in parameters()])


def read(folder: Path | str | None = None) -> pl.DataFrame:
    """The ensemble of a fit; without a folder the one that comes with the software.

    Raises:
        InputError: there is none, or it is of other parameters.
    """
    place = files(aftercar.calibrate) if folder is None else Path(folder)
    try:
        found = pl.read_csv(place.joinpath(FILE).read_bytes())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{folder} holds no {FILE}: name the folder of a finished fit.") from error
    if found.columns != [p.key for p in parameters()] or found.is_empty():
        raise InputError(f"{folder}/{FILE} is not of the parameters that are fitted now; fit again.")
    return found


def fitted_to(folder: Path | str | None = None) -> dict[str, Any]:
    """What a fit says of itself: `fit.json` beside its ensemble.

    Raises:
        InputError: there is none.
    """
    place = files(aftercar.calibrate) if folder is None else Path(folder)
    try:
        return json.loads(place.joinpath("fit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no fit.json: name the folder of a finished fit.") from error


def centre(ensemble: pl.DataFrame) -> dict[str, float]:
    """The middle of an ensemble: the geometric mean of each parameter."""
    return {name: float(np.exp(np.log(ensemble[name].to_numpy()).mean())) for name in ensemble.columns}


def jobs_of(names: Sequence[str], members: int, patients: int) -> int:
    """In how many parts `simulated` goes."""
    return len(names) * len(parts_of(members, patients))


def simulated(
    names: Sequence[str], ensemble: pl.DataFrame, patients: int, seed: int, *, days: float = DAYS, workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Outcome]:  # fmt: skip
    """Simulate trials with every member of an ensemble: so many virtual patients of each, who lie beside one another in the outcome."""
    parts = parts_of(ensemble.height, patients)
    run(trials()[names[0]], 2, seed)  # compiled once, before several processes would
    asked = {(name, p.start): (name, ensemble[p], patients, seed, p.start * patients, days) for name in names for p in parts}
    found = dict(each_in_processes(_part, asked, "simulating", workers=workers, progress=progress))
    return {name: _joined([found[name, p.start] for p in parts]) for name in names}


def parts_of(members: int, patients: int) -> list[slice]:
    """The members whose patients a process simulates at once."""
    size = max(PART // patients, 1)
    return [slice(k, min(k + size, members)) for k in range(0, members, size)]


def _part(name: str, members: pl.DataFrame, patients: int, seed: int, first: int, days: float) -> Outcome:
    trial = trials()[name]
    n, own = members.height * patients, in_a_row(members, trial, patients)
    return run(trial, n, seed, varied=own, first=first, days=days, workers=1)


def _joined(outcomes: list[Outcome]) -> Outcome:
    return Outcome(**{f.name: np.concatenate([getattr(o, f.name) for o in outcomes]) for f in fields(Outcome)})
