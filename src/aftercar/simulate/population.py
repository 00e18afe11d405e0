"""Virtual patients: what differs between products, diseases and people. A patient is the same whoever is drawn beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from polars import col

from aftercar.errors import OptionError, nearest
from aftercar.simulate.engine import Floats
from aftercar.simulate.model import Model

SEEDS = 1 << 60  # fewer than keys of the generator
WEIGHT_KG = 75.0  # of every virtual patient
SPREAD = "sd_log."  # before the name of a parameter: its spread between patients


@dataclass(frozen=True)
class Patients:
    """Virtual patients.

    Attributes:
        numbers: of each patient, from 0 on; with the seed it makes all that is random of that patient.
        drawn: the number whose random numbers each has: its own, but for copies.
        states: `[patient, state]` at the infusion.
        parameters: `[patient, parameter]`.
    """

    seed: int
    numbers: np.ndarray
    drawn: np.ndarray
    states: Floats
    parameters: Floats

    def __len__(self) -> int:
        """How many."""
        return len(self.numbers)


Values = float | Floats  # one for all patients, or one for each


def values_of(model: Model, product: str, disease: str, changed: Mapping[str, Values] | None = None) -> dict[str, Values]:
    """Parameters and initial states of the median patient.

    Raises:
        OptionError: no such product, disease or parameter.
    """
    values: dict[str, Values] = {**model.equations.states, **model.equations.parameters}
    for table, name in (("products", product), ("diseases", disease)):
        key, name = table.removesuffix("s"), known_as(model, table, name)
        rows = model.tables[table].filter(col(key) == name)
        values |= dict(zip(rows["parameter"], rows["value"], strict=True))
    return with_changes(values, changed or {}, "The model")


def with_changes(values: dict[str, Values], changed: Mapping[str, Values], owner: str) -> dict[str, Values]:
    """Numbers by name, of which some are replaced.

    Raises:
        OptionError: there is no such name, or the value is no number of 0 or more.
    """
    for name, value in changed.items():
        if name not in values:
            raise OptionError(f"{owner} has no {name!r}. {nearest(name, values)}")
        if not np.all((np.asarray(value) >= 0) & np.isfinite(value)):
            told = f"={value:g}" if isinstance(value, (int, float)) else ""
            raise OptionError(f"{name}{told}: must be a number, 0 or more.")
    return values | dict(changed)


def known_as(model: Model, table: str, name: str) -> str:
    """A product or disease as its table writes it, whatever the case.

    Raises:
        OptionError: it is not there.
    """
    known = model.tables[table][table.removesuffix("s")].unique(maintain_order=True).to_list()
    for one in known:
        if one.lower() == name.strip().lower():
            return one
    raise OptionError(
        f"There is no {table.removesuffix('s')} {name!r} in {table}.csv. {nearest(name, known) or 'Known: ' + ', '.join(known) + '.'}"
    )


def patients(
    model: Model, product: str, disease: str, n: int, seed: int, *, first: int = 0, changed: Mapping[str, Values] | None = None,
    copies: int = 1,
) -> Patients:  # fmt: skip
    """Draw the patients `first` to `first + n` of a seed.

    Args:
        changed: parameters or initial states whose median differs from those of product and disease; `sd_log.NAME` is the spread of one.
            A value may be an array with one for each patient and copy.
        copies: all are drawn so many times, one set beside the other: the same people but for what is changed.
    """
    drawn_as = np.tile(np.arange(first, first + n), copies)
    n *= copies
    spread = {name: value for name, value in (changed or {}).items() if name.startswith(SPREAD)}
    values = values_of(model, product, disease, {n: v for n, v in (changed or {}).items() if n not in spread})
    table = model.tables["variability"]
    names = table["parameter"].to_list()
    spreads = with_changes(dict(zip((SPREAD + n for n in names), table["sd_log"], strict=True)), spread, "variability.csv")
    normal = (
        np.stack([generator(seed, int(number)).standard_normal(len(names)) for number in drawn_as])
        if n
        else np.zeros((0, len(names)))
    )
    place = {name: k for k, name in enumerate(names)}
    drawn = normal.copy()
    for k, (other, r) in enumerate(zip(table["correlated_with"], table["correlation"], strict=True)):
        if other:
            drawn[:, k] = r * drawn[:, place[other]] + np.sqrt(1 - r * r) * normal[:, k]
    factors = np.exp(drawn * np.stack([np.broadcast_to(sd, n) for sd in spreads.values()], axis=1))
    whole: dict[str, Floats] = {name: np.full(n, value) for name, value in values.items()}
    for k, name in enumerate(names):
        whole[name] = whole[name] * factors[:, k]

    def matrix(columns: list[str]) -> Floats:
        return np.stack([whole[c] for c in columns], axis=1)

    return Patients(seed, np.arange(first, first + n), drawn_as, matrix(model.states), matrix(model.parameters))


def generator(seed: int, number: int, purpose: int = 0) -> np.random.Generator:
    """The random numbers of one patient and purpose, independent of all others."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, number * 16 + purpose], dtype=np.uint64)))
