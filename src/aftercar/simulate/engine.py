"""Ensembles of virtual patients through the compiled model, on all processors; the same numbers whatever their number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aftercar.errors import AftercarError
from aftercar.processes import processors
from aftercar.simulate.compiled import kernel, one_compiles
from aftercar.simulate.model import Model

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RTOL = 1e-4
ATOL = 1e-3  # of the relative tolerance: states are of the order of 1, or larger
PART = 64  # patients that a processor takes at a time
_WRONG = {1: "needed too many steps", 2: "left the numbers"}


@dataclass(frozen=True)
class Doses:
    """What is given to whom: jumps of states, in any order.

    Attributes:
        patient, state: numbers of the patient and of the state.
        time: in days.
        amount: in the unit of the state.
    """

    patient: Ints
    time: Floats
    state: Ints
    amount: Floats

    @classmethod
    def none(cls) -> Doses:
        """Nothing."""
        return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0))

    def of(self, patients: Ints) -> Doses:
        """Those of some patients, who are numbered anew in this order."""
        place = np.full(int(max(patients.max(initial=-1), self.patient.max(initial=-1))) + 1, -1, np.int64)
        place[patients] = np.arange(len(patients))
        own = place[self.patient] >= 0
        return Doses(place[self.patient[own]], self.time[own], self.state[own], self.amount[own])


def integrate(
    model: Model, states: Floats, parameters: Floats, times: Floats, doses: Doses | None = None, *,
    begin: Ints | None = None, end: Ints | None = None, into: tuple[Floats, Ints] | None = None,
    rtol: float = RTOL, atol: float | None = None, workers: int | None = None,
) -> Floats:  # fmt: skip
    """Integrate every patient.

    Args:
        states: `[patient, state]` at the beginning, in the order of `model.states`.
        parameters: `[patient, parameter]`, in the order of `model.parameters`.
        times: when states are told, rising, in days.
        doses: what is given; a dose at a time of telling acts after it.
        begin: for each patient the number of the time at which `states` stand; by default the first.
        end: for each patient the number of the last time that is wanted; by default the last.
        into: an array `[row, time, state]` to write into, and the row of each patient; by default a new one.
        rtol: relative tolerance of a step; `atol` is a thousandth of it unless it is given.
        workers: how many processors; by default all.
    Returns:
        `[patient, time, state]`, where times before a patient's begin and after its end are NaN; or the array `into`, changed only between them.
    Raises:
        AftercarError: patients could not be integrated, and how many.
    """
    n = len(states)
    compiled = kernel(model.equations.source())
    given = doses or Doses.none()
    order = np.lexsort((given.time, given.patient))
    dose_from = np.searchsorted(given.patient[order], np.arange(n + 1))
    out, rows = into or (np.full((n, len(times), len(model.states)), np.nan), np.arange(n))
    status, steps = np.zeros(n, np.int64), np.zeros(n, np.int64)
    starts = np.zeros(n, np.int64) if begin is None else begin
    ends = np.full(n, len(times) - 1) if end is None else end
    atol = rtol * ATOL if atol is None else atol
    fixed: tuple[Any, ...] = (
        starts, ends, rows, np.array(states, np.float64), np.ascontiguousarray(parameters, np.float64), np.asarray(times, np.float64), dose_from,
        given.time[order], given.state[order], given.amount[order], rtol, atol, out, status, steps,
    )  # fmt: skip
    parts = [(first, min(first + PART, n)) for first in range(0, n, PART)]
    workers = workers or processors()
    if parts:
        with one_compiles(compiled):
            compiled.ensemble(0, 0, *fixed)  # before threads ask for it
    with ThreadPoolExecutor(workers) as pool:  # the compiled code lets go of Python's lock
        for _ in pool.map(lambda part: compiled.ensemble(*part, *fixed), parts):
            pass
    if status.any():
        words = " and ".join(f"{int((status == code).sum())} {why}" for code, why in _WRONG.items() if (status == code).any())
        raise AftercarError(f"Of {n} virtual patients {words}. Are the parameters possible, the tolerances above 1e-12?")
    return out
