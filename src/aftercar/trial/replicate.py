"""Many trials at once, from the patients that they enrolled to what each found: arrays of `[trial, patient]`, in the order of enrolment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from aftercar.simulate.population import generator
from aftercar.simulate.run import Scenario
from aftercar.trial.boundary import Boundary, boundary
from aftercar.trial.compare import p_values
from aftercar.trial.design import Design
from aftercar.trial.pool import Bools, Floats, Ints, Pool
from aftercar.trial.randomise import allocation, arrivals

# What is random of a trial beside its patients, as purposes of patient 0 that no patient has.
_ALLOCATION, _ARRIVALS = 8, 9
WEEK = 7  # days
_SAME = 1 + 1e-9  # a p-value that is alpha but for rounding is alpha


@dataclass(frozen=True, eq=False)
class Trials:
    """Who was enrolled in which trial.

    Attributes:
        arms: of each patient, by place, `[trial, patient]`.
        stream, index: where the patient stands in the pools.
        weeks: when each was enrolled; None where nobody waits.
    """

    arms: Ints
    stream: Ints
    index: Ints
    weeks: Floats | None

    def of(self, pools: dict[int, Pool], scenarios: list[Scenario], what: str) -> Bools:
        """One of `pool.OUTCOMES` of each patient, where each arm is treated by the scenario of its place."""
        found = np.zeros(self.arms.shape, bool)
        for arm, scenario in enumerate(scenarios):
            own = self.arms == arm
            if own.any():
                stream = int(self.stream[own][0])
                found[own] = pools[stream].told[scenario, what][self.index[own]]
        return found

    def screened(self, pools: dict[int, Pool]) -> Ints:
        """Candidates who were asked in each trial, the eligible among them."""
        total = np.zeros(len(self.arms), np.int64)
        for k, pool in pools.items():
            upto = np.cumsum((self.stream == k).sum(axis=1))
            asked = np.append(0, pool.place + 1)[upto]
            total += np.diff(asked, prepend=0)
        return total


def streams(design: Design) -> dict[int, list[Scenario]]:
    """The treatments under which the candidates of each stream are simulated: their own arm's, and that of the null."""
    null = [] if design.null_scenario is None else [design.null_scenario]
    if design.randomisation.stratum:
        return {0: list(dict.fromkeys([*design.scenarios, *null]))}
    return {k: list(dict.fromkeys([own, *null])) for k, own in enumerate(design.scenarios)}


def drawn(design: Design, replicates: int, seed: int) -> Ints | None:
    """The arms of all patients where they are drawn without a look at them, else None."""
    if design.randomisation.stratum:
        return None
    return allocation(design, replicates, generator(seed, 0, _ALLOCATION))


def enrolled(design: Design, replicates: int, seed: int, arms: Ints | None, pools: dict[int, Pool]) -> Trials:
    """Who is in which trial, and when."""
    shape = (replicates, design.n)
    if arms is None:
        arms = allocation(design, replicates, generator(seed, 0, _ALLOCATION), pools[0].stratum.reshape(shape))
        stream, index = np.zeros(shape, np.int64), np.arange(replicates * design.n).reshape(shape)
    else:
        stream, index = arms, np.empty(shape, np.int64)
        for arm in range(len(design.arms)):
            own = arms == arm
            index[own] = np.arange(own.sum())
    weeks = None
    if design.accrual is not None:
        weeks = arrivals(design.accrual, replicates, design.n, generator(seed, 0, _ARRIVALS))
    return Trials(arms, stream, index, weeks)


def boundaries(design: Design) -> dict[int, Boundary]:
    """The boundary of each monitored arm."""
    if design.stopping is None:
        return {}
    return {k: boundary(design.stopping, design.arms[k].n) for k in design.monitored}


@dataclass(frozen=True, eq=False)
class Stopped:
    """What a boundary did to each trial.

    Attributes:
        by: the arm at whose look the trial stopped; -1 where it did not.
        at: patients, in the order of enrolment, whose outcome was known then; all of them where it did not stop.
        enrolled: patients by then, with those whose outcome was not known yet.
        weeks: when the last of these was known.
        crossed: by monitored arm, whether its own boundary would have been reached, whatever the others did.
    """

    by: Ints
    at: Ints
    enrolled: Ints
    weeks: Floats | None
    crossed: dict[int, Bools]


def stopped(arms: Ints, event: Bools, weeks: Floats | None, window: float, watched: dict[int, Boundary]) -> Stopped:
    """Hold every trial against its boundaries, patient after patient.

    Args:
        window: weeks from the enrolment of a patient until the outcome is known.
    """
    trials, n = arms.shape
    first, by = np.full(trials, n), np.full(trials, -1)
    crossed: dict[int, Bools] = {}
    for arm, found in watched.items():
        own = arms == arm
        seen, harmed = np.cumsum(own, axis=1), np.cumsum(own & event, axis=1)
        stops = own & (harmed >= found.after(n)[seen])
        crossed[arm] = stops.any(axis=1)
        place = np.where(crossed[arm], stops.argmax(axis=1), n)
        by, first = np.where(place < first, arm, by), np.minimum(place, first)
    at = np.minimum(first + 1, n)
    if weeks is None:
        return Stopped(by, at, at, None, crossed)
    end = np.take_along_axis(weeks, at[:, None] - 1, axis=1)[:, 0] + window
    return Stopped(by, at, (weeks <= end[:, None]).sum(axis=1), end, crossed)


def results(design: Design, trials: Trials, told: dict[str, Bools], watched: dict[int, Boundary]) -> pl.DataFrame:
    """A row a trial; docs/trial.md describes the columns.

    Args:
        told: each of `pool.OUTCOMES`, `[trial, patient]`.
    """
    event, open_ = told["event"], told["open"]
    halt = stopped(trials.arms, told["harm"], trials.weeks, (design.harm.last_day + 1) / WEEK, watched)
    weeks = None
    if trials.weeks is not None and halt.weeks is not None:
        weeks = np.where(halt.by < 0, trials.weeks[:, -1] + (int(design.days) + 1) / WEEK, halt.weeks)
    inside = np.arange(design.n)[None, :] < halt.enrolled[:, None]
    names = [arm.name for arm in design.arms]
    columns: dict[str, object] = {
        "enrolled": halt.enrolled, "in_flight": halt.enrolled - halt.at, "weeks": weeks,
        "stopped": halt.by >= 0, "stopped_by": pl.Series([*names, None], dtype=pl.String).gather(halt.by % (len(names) + 1)),
    }  # fmt: skip
    whole: list[tuple[Ints, Ints]] = []
    for arm, name in enumerate(names):
        own = trials.arms == arm
        whole.append((own.sum(axis=1), (own & event).sum(axis=1)))
        columns |= {
            f"{name}_n": (own & inside).sum(axis=1), f"{name}_events": (own & inside & event).sum(axis=1),
            f"{name}_open": (own & inside & open_).sum(axis=1),
        }  # fmt: skip
        if arm in watched:
            columns[f"{name}_crossed"] = halt.crossed[arm]
    for arm in compared(design):
        p = looked_up(design, whole[arm], whole[0] if arm else None)
        columns |= {
            f"{names[arm]}_p": p, f"{names[arm]}_rejected": rejects(design, p), f"{names[arm]}_success": rejects(design, p) & (halt.by < 0),
        }  # fmt: skip
    return pl.DataFrame(columns, schema_overrides={"weeks": pl.Float64})


def compared(design: Design) -> list[int]:
    """The arms that are tested: all but the control, or the one that there is."""
    return list(range(1, len(design.arms))) or [0]


def level(design: Design) -> float:
    """Alpha of each comparison."""
    return design.test.alpha / (len(compared(design)) if design.test.adjust == "bonferroni" else 1)


def rejects(design: Design, p: Floats) -> Bools:
    """Whether each p-value is small enough."""
    return p <= level(design) * _SAME


def looked_up(design: Design, arm: tuple[Ints, Ints], control: tuple[Ints, Ints] | None) -> Floats:
    """The p-value of each trial, of `n, events` of an arm and of the control; each pair of sizes is tabulated once."""
    none = np.zeros_like(arm[0])
    n, events, n_control, events_control = *arm, *(control or (none, none))
    p = np.empty(len(n))
    sizes, which = np.unique(np.stack([n, n_control]), axis=1, return_inverse=True)
    for k, (own, other) in enumerate(sizes.T):
        at = which.ravel() == k
        p[at] = p_values(design.test, int(own), int(other))[events[at], events_control[at]]
    return p
