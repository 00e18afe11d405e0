"""What a simulation gives back, whichever engine ran it: states over time of one or many virtual patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aftercar.errors import OptionError, nearest


@dataclass(frozen=True, eq=False)
class Trajectories:
    """States over time.

    Attributes:
        times: when the states were read, ascending; shape `[time]`.
        names: of the states.
        values: shape `[patient, time, state]`.
        units: of each state, blank where the model gives none.
        faults: rows that could not be solved to the end, with the reason; their values are NaN.
        warned: rows that were solved, but with a warning of the solver: their values need a second look.
    """

    times: NDArray[np.float64]
    names: tuple[str, ...]
    values: NDArray[np.float64]
    units: tuple[str, ...] = ()
    faults: Mapping[int, str] = field(default_factory=dict)
    warned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.values), len(self.times), len(self.names))
        if self.values.shape != shape or len(self.units) not in (0, len(self.names)):
            raise ValueError(f"values of shape {self.values.shape} for {len(self.times)} times and {len(self.names)} states")

    def __len__(self) -> int:
        """How many patients."""
        return len(self.values)

    def of(self, name: str) -> NDArray[np.float64]:
        """One state, shape `[patient, time]`.

        Raises:
            OptionError: there is no such state.
        """
        if name not in self.names:
            raise OptionError(f"No state is called {name!r}. {nearest(name, self.names)}")
        return self.values[:, :, self.names.index(name)]

    def unit(self, name: str) -> str:
        """The unit of a state, blank where the model gives none."""
        return self.units[self.names.index(name)] if self.units else ""

    def frame(self, *, long: bool = False) -> pl.DataFrame:
        """A row a patient and time, with a column a state; `long`: a row a patient, time and state, with its unit."""
        n, t, s = self.values.shape
        if long:
            return pl.DataFrame(
                {
                    "patient": np.repeat(np.arange(n), t * s),
                    "time": np.tile(np.repeat(self.times, s), n),
                    "name": pl.Series(self.names, dtype=pl.String).gather(np.tile(np.arange(s), n * t)),
                    "value": self.values.reshape(-1),
                    "unit": pl.Series(self.units or [""] * s, dtype=pl.String).gather(np.tile(np.arange(s), n * t)),
                }
            )
        keys = [pl.Series("patient", np.repeat(np.arange(n), t)), pl.Series("time", np.tile(self.times, n))]
        # A model may call a state of its own "time" or "patient".
        names = [f"{name}_" if name in ("patient", "time") else name for name in self.names]
        return pl.DataFrame([*keys, *(pl.Series(name, self.values[:, :, k].reshape(-1)) for k, name in enumerate(names))])

    def quantiles(self, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> pl.DataFrame:
        """Of each state and time the quantiles over the patients that were solved: `name`, `time`, `n`, and a column a level (`q50`)."""
        solved = np.delete(self.values, list(self.faults), axis=0)
        if not len(solved):
            raise OptionError("No patient was solved: there is nothing to take quantiles of.")
        found = np.quantile(solved, levels, axis=0)  # [level, time, state]
        t, s = len(self.times), len(self.names)
        columns = {
            "name": pl.Series(self.names, dtype=pl.String).gather(np.repeat(np.arange(s), t)),
            "time": np.tile(self.times, s),
            "n": np.full(t * s, len(solved)),
        }
        return pl.DataFrame(columns | {f"q{100 * q:g}": found[k].T.reshape(-1) for k, q in enumerate(levels)})
