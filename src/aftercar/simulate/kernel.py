"""Dormand-Prince 5(4) with dense output and jumps, one virtual patient after another [dormand1980, hairer1993].

Never imported from here: `compiled` lays a copy of this file beside the right-hand side of a model, and numba compiles the two together and
keeps the machine code on disk.
"""

import numpy as np
from numba import njit  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray
from right_hand_side import rhs  # pyright: ignore[reportMissingImports]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DONE, TOO_MANY_STEPS, NOT_FINITE = 0, 1, 2
MOST_STEPS = 200_000  # of one patient
SAFETY, SLOWEST, FASTEST, BETA = 0.9, 0.2, 5.0, 0.04  # step control: Hairer, Norsett and Wanner, section II.4


@njit(cache=True, nogil=True, error_model="numpy")
def ensemble(
    first: int, last: int, begin: Ints, end: Ints, rows: Ints, y: Floats, p: Floats, times: Floats, dose_from: Ints, dose_time: Floats, dose_state: Ints, dose_amount: Floats, rtol: float, atol: float, out: Floats, status: Ints, steps: Ints
) -> None:  # fmt: skip
    """Integrate the patients `first` to `last` (excluded), each from `times[begin[i]]` and the state `y[i]` to `times[end[i]]`.

    Args:
        y: states at the begin, `[patient, state]`; overwritten with those at the end.
        p: parameters, `[patient, parameter]`.
        times: when states are told, rising, in days.
        dose_from: the doses of patient i are numbers `dose_from[i]` to `dose_from[i + 1]` of the next three, sorted by time.
        dose_time, dose_state, dose_amount: jumps of a state. What is given at a time of telling acts after it.
        out: `[row, time, state]`, of which row `rows[i]` is written from `begin[i]` to `end[i]`.
        status, steps: of each patient one of the words above, and how many steps were tried.
    """
    n_states = y.shape[1]
    work = np.empty((10, n_states))
    for i in range(first, last):
        status[i], steps[i] = _one(
            begin[i],
            y[i],
            p[i],
            times[: end[i] + 1],
            dose_from[i],
            dose_from[i + 1],
            dose_time,
            dose_state,
            dose_amount,
            rtol,
            atol,
            out[rows[i]],
            work,
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _one(
    begin: int, y: Floats, p: Floats, times: Floats, dose: int, last_dose: int, dose_time: Floats, dose_state: Ints, dose_amount: Floats, rtol: float, atol: float, out: Floats, work: Floats
) -> tuple[int, int]:  # fmt: skip
    n = y.shape[0]
    k1, k2, k3, k4, k5, k6, k7, new, at, rest = (
        work[0],
        work[1],
        work[2],
        work[3],
        work[4],
        work[5],
        work[6],
        work[7],
        work[8],
        work[9],
    )
    told, n_times, tried = begin, times.shape[0], 0
    t, end = times[begin], times[n_times - 1]
    while dose < last_dose and dose_time[dose] < t:
        dose += 1  # given before: in the state already
    out[told] = y
    told += 1
    rhs(t, y, p, k1)
    h, before = _first_step(y, k1, rtol, atol), 1e-4
    while t < end:
        # Doses now, then on to the next one.
        if dose < last_dose and dose_time[dose] <= t:
            while dose < last_dose and dose_time[dose] <= t:
                y[dose_state[dose]] += dose_amount[dose]
                dose += 1
            rhs(t, y, p, k1)
            h, before = min(h, _first_step(y, k1, rtol, atol)), 1e-4
        stop = end if dose >= last_dose else min(end, dose_time[dose])
        while t < stop:
            tried += 1
            if tried > MOST_STEPS:
                return TOO_MANY_STEPS, tried
            h = min(h, stop - t)
            whole = h >= stop - t
            for j in range(n):
                at[j] = y[j] + h * (1 / 5) * k1[j]
            rhs(t + h / 5, at, p, k2)
            for j in range(n):
                at[j] = y[j] + h * (3 / 40 * k1[j] + 9 / 40 * k2[j])
            rhs(t + 3 * h / 10, at, p, k3)
            for j in range(n):
                at[j] = y[j] + h * (44 / 45 * k1[j] - 56 / 15 * k2[j] + 32 / 9 * k3[j])
            rhs(t + 4 * h / 5, at, p, k4)
            for j in range(n):
                at[j] = y[j] + h * (19372 / 6561 * k1[j] - 25360 / 2187 * k2[j] + 64448 / 6561 * k3[j] - 212 / 729 * k4[j])
            rhs(t + 8 * h / 9, at, p, k5)
            for j in range(n):
                at[j] = y[j] + h * (
                    9017 / 3168 * k1[j] - 355 / 33 * k2[j] + 46732 / 5247 * k3[j] + 49 / 176 * k4[j] - 5103 / 18656 * k5[j]
                )
            rhs(t + h, at, p, k6)
            for j in range(n):
                new[j] = y[j] + h * (
                    35 / 384 * k1[j] + 500 / 1113 * k3[j] + 125 / 192 * k4[j] - 2187 / 6784 * k5[j] + 11 / 84 * k6[j]
                )
            rhs(t + h, new, p, k7)
            wrong, below = 0.0, 0.0
            for j in range(n):
                e = h * (
                    71 / 57600 * k1[j]
                    - 71 / 16695 * k3[j]
                    + 71 / 1920 * k4[j]
                    - 17253 / 339200 * k5[j]
                    + 22 / 525 * k6[j]
                    - 1 / 40 * k7[j]
                )
                scale = atol + rtol * max(abs(y[j]), abs(new[j]))
                wrong += (e / scale) ** 2
                below = min(below, new[j] / scale)
            wrong = (wrong / n) ** 0.5
            if not np.isfinite(wrong):
                if h < 1e-12:
                    return NOT_FINITE, tried
                h *= 0.1
                continue
            # A state that falls below zero by more than the tolerance was stepped over.
            if below < -1.0:
                wrong = max(wrong, 2.0)
            if wrong > 1.0:
                h *= max(SLOWEST, SAFETY * wrong**-0.2)
                continue
            arrived = stop if whole else t + h
            # The continuous extension of order 4 tells the states between.
            for j in range(n):
                rest[j] = h * (
                    -12715105075 / 11282082432 * k1[j] + 87487479700 / 32700410799 * k3[j] - 10690763975 / 1880347072 * k4[j]
                    + 701980252875 / 199316789632 * k5[j] - 1453857185 / 822651844 * k6[j] + 69997945 / 29380423 * k7[j]
                )  # fmt: skip
            while told < n_times and times[told] <= arrived:
                s = (times[told] - t) / h
                for j in range(n):
                    rise = new[j] - y[j]
                    bend = h * k1[j] - rise
                    value = y[j] + s * (rise + (1 - s) * (bend + s * (rise - h * k7[j] - bend + (1 - s) * rest[j])))
                    out[told, j] = max(value, 0.0)
                told += 1
            for j in range(n):
                y[j] = max(new[j], 0.0)
                k1[j] = k7[j]
            t = arrived
            wrong = max(wrong, 1e-10)
            h *= min(FASTEST, max(SLOWEST, SAFETY * wrong ** -(0.2 - 0.75 * BETA) * before**BETA))
            before = wrong
    return DONE, tried


@njit(cache=True, nogil=True, error_model="numpy")
def _first_step(
    y: Floats, slope: Floats, rtol: float, atol: float
) -> float:  # fmt: skip
    size, speed = 0.0, 0.0
    for j in range(y.shape[0]):
        scale = atol + rtol * abs(y[j])
        size += (y[j] / scale) ** 2
        speed += (slope[j] / scale) ** 2
    return 1e-6 if size < 1e-10 or speed < 1e-10 else 0.01 * (size / speed) ** 0.5
