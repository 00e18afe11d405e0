"""The virtual patients of many trials: each simulated, graded and told in four words, part by part in several processes or on Spark.

A stream is an endless row of candidates, each a number. Where arms are drawn without a look at the patient, every arm has a stream of its own: the
next place of an arm goes to its next eligible candidate, which is the same in law as asking one candidate after another. With strata all arms
share one stream, and each candidate is simulated under every treatment. Candidates are eligible or not by what they are before treatment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col

from aftercar.errors import InputError, OptionError, nearest
from aftercar.grade.run import codes_of, scales_named
from aftercar.processes import each_in_processes
from aftercar.simulate.chart import INFUSED
from aftercar.simulate.model import load_model
from aftercar.simulate.observe import observation_map
from aftercar.simulate.population import Patients
from aftercar.simulate.run import ALWAYS_READ, Followed, Scenario, follow
from aftercar.trial.design import Criterion, Design, Stratum
from aftercar.trial.endpoint import events

STREAM = 1 << 32  # numbers of a stream
OUTCOMES = ("event", "open", "harm")  # the endpoint was met; that is not known; what the boundary counts was met
PART = 4_000  # candidates worked on at once: each grading has a fixed cost, and memory (about 2 GiB a process) is bounded by it
RARE = 0.01  # a share of eligible candidates below which a trial cannot be filled in reasonable time

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Some candidates of a stream under one treatment."""

    stream: int
    scenario: Scenario
    first: int
    n: int


@dataclass(frozen=True)
class Job:
    """What every part is asked."""

    design: Design
    seed: int

    def answers(self, part: Part) -> pl.DataFrame:
        """A row a candidate: `eligible, stratum, event, open, harm`."""
        followed = follow(part.scenario, part.n, self.seed, first=part.stream * STREAM + part.first, workers=1)
        people, timeline = followed.people, followed.charted(np.arange(part.n), read=self._read())
        eligible = np.ones(part.n, bool)
        for criterion in self.design.eligibility:
            value = _before(people, timeline, criterion, part.scenario)
            eligible &= (value >= criterion.least) & (value <= criterion.most)
        stratum = np.zeros(part.n, np.int64)
        for told in self.design.randomisation.stratum:
            level = np.searchsorted(np.array(told.cuts), _before(people, timeline, told, part.scenario), side="right")
            stratum = stratum * (len(told.cuts) + 1) + level
        found = events(timeline, self.design.endpoint)
        apart = self.design.harm != self.design.endpoint
        harm = events(timeline, self.design.harm)["event"] if apart else found["event"]
        return pl.DataFrame({"eligible": eligible, "stratum": stratum}).hstack(found).with_columns(harm=harm)

    def _read(self) -> set[str]:
        """The codes that anything asks for; only these are charted."""
        scales = [c.scale for e in (self.design.endpoint, self.design.harm) for c in e.any_of]
        before = [told.charted for told in (*self.design.eligibility, *self.design.randomisation.stratum)]
        return {*codes_of(scales_named(scales)), *ALWAYS_READ, *(code for code in before if code)}


Engine = Callable[[Job, Sequence[Part]], Iterator[tuple[int, pl.DataFrame]]]


@dataclass(frozen=True, eq=False)
class Pool:
    """The eligible candidates of a stream, in order.

    Attributes:
        simulated: candidates, under all treatments together.
        place: of each among all candidates of the stream.
        stratum: its number.
        told: by scenario and outcome (`OUTCOMES`) what became of each.
    """

    simulated: int
    place: Ints
    stratum: Ints
    told: dict[tuple[Scenario, str], Bools]


def _before(people: Patients, timeline: pl.DataFrame, told: Criterion | Stratum, scenario: Scenario) -> Floats:
    """A value before treatment of each candidate; NaN where it was not charted."""
    if told.patient is not None:
        model = load_model(scenario.folder)
        if told.patient in model.states:
            return people.states[:, model.states.index(told.patient)]
        return people.parameters[:, model.parameters.index(told.patient)]
    rows = timeline.filter((col("code") == told.charted) & (col("time") <= INFUSED)).select("subject_id", "numeric_value")
    found = np.full(len(people), np.nan)
    found[np.searchsorted(people.numbers + 1, rows["subject_id"].to_numpy())] = rows["numeric_value"].to_numpy()
    return found


def on_this_machine(workers: int | None = None) -> Engine:
    """Work in processes of this machine; by default one a processor."""

    def engine(job: Job, parts: Sequence[Part]) -> Iterator[tuple[int, pl.DataFrame]]:
        asked = {n: (part,) for n, part in enumerate(parts)}
        return each_in_processes(job.answers, asked, "simulating", workers=workers, lost="Nothing was written;")

    return engine


def fill(
    job: Job,
    needed: dict[int, tuple[int, list[Scenario]]],
    engine: Engine,
    progress: Callable[[int, int], None],
    part: int = PART,
) -> dict[int, Pool]:
    """Simulate candidates until each stream has as many eligible ones as are needed.

    Args:
        needed: by stream: how many, and under which treatments each is simulated.
        progress: called with the patients that are done, and all that are known to be needed.
        part: candidates worked on at once: memory is bounded by it, and the answers do not depend on it.
    Raises:
        InputError: hardly anybody is eligible.
    """
    try_one(job, [s for _, scenarios in needed.values() for s in scenarios])
    seen = dict.fromkeys(needed, 0)
    found: dict[tuple[int, Scenario], list[pl.DataFrame]] = {(k, s): [] for k, (_, ss) in needed.items() for s in ss}
    done = 0
    while wanted := {k: more for k, (n, ss) in needed.items() if (more := _more(n, seen[k], found[k, ss[0]]))}:
        parts = [
            Part(k, s, first, min(part, seen[k] + more - first))
            for k, more in wanted.items()
            for s in needed[k][1]
            for first in range(seen[k], seen[k] + more, part)
        ]
        all_ = done + sum(p.n for p in parts)
        progress(done, all_)
        answers: dict[int, pl.DataFrame] = {}
        for n, frame in engine(job, parts):
            answers[n] = frame
            done += frame.height
            progress(done, all_)
        for n, one in enumerate(parts):
            found[one.stream, one.scenario].append(answers[n])
        for k, more in wanted.items():
            seen[k] += more
    return {k: _pool(n, {s: pl.concat(found[k, s]) for s in scenarios}) for k, (n, scenarios) in needed.items()}


def _more(needed: int, seen: int, frames: list[pl.DataFrame]) -> int:
    """How many more candidates are asked."""
    have = sum(int(f["eligible"].sum()) for f in frames)
    if have >= needed:
        return 0
    share = have / seen if seen else 1.0
    if share < RARE:
        raise InputError(
            f"Of {seen:,} candidates {have} are eligible: no trial of that size can be filled. Widen [[eligibility]], or change the population."
        )
    # A little more than that many, for the next ones may be less often eligible: each further round waits for its slowest process.
    more = (needed - have) / share
    return math.ceil(more + 3 * math.sqrt(more * (1 - share)) / share)


def _pool(needed: int, frames: dict[Scenario, pl.DataFrame]) -> Pool:
    first = next(iter(frames.values()))
    place = np.flatnonzero(first["eligible"].to_numpy())[:needed]
    told = {(s, what): f[what].to_numpy()[place] for s, f in frames.items() for what in OUTCOMES}
    return Pool(sum(f.height for f in frames.values()), place, first["stratum"].to_numpy()[place], told)


def try_one(job: Job, scenarios: Sequence[Scenario]) -> None:
    """Simulate one patient under each treatment: what is wrong is told before the work, and the model is compiled once.

    Raises:
        OptionError: a product, policy, drug or parameter does not exist.
        InputError: the model is wrong, or does not have what eligibility or strata read.
    """
    design = job.design
    names = {s: f"arm {a.name}" for a, s in zip(reversed(design.arms), reversed(design.scenarios), strict=True)}
    for scenario in dict.fromkeys(scenarios):
        try:
            followed = follow(scenario, 1, job.seed, workers=1)
        except (OptionError, InputError) as error:
            raise type(error)(f"{names.get(scenario, 'null')}: {error}") from error
        for told in (*design.eligibility, *design.randomisation.stratum):
            _refuse_unknown(told, scenario, followed)
            _refuse_changed(told, design, scenario)


def _refuse_unknown(told: Criterion | Stratum, scenario: Scenario, followed: Followed) -> None:
    model = load_model(scenario.folder)
    if told.patient is not None and told.patient not in (*model.states, *model.parameters):
        known = (*model.states, *model.parameters)
        raise InputError(
            f"The model has no {told.patient!r}, which eligibility or strata read. {nearest(told.patient, known)} `aftercar model show` lists all."
        )
    if told.charted is None:
        return
    if np.isnan(_before(followed.people, followed.charted(np.arange(1)), told, scenario)).any():
        raise InputError(f"{told.charted} is not charted of virtual patients at the infusion, so nobody can be asked for it.")


def _refuse_changed(told: Criterion | Stratum, design: Design, scenario: Scenario) -> None:
    """What an arm changes cannot say who may take part in it: it is as it is before anybody is treated."""
    chart = observation_map(scenario.folder)["laboratory"]
    read = told.patient or chart.get(told.charted, {}).get("state")
    common = design.population.changed
    if any(name == read and common.get(name) != value for name, value in scenario.changed):
        raise InputError(
            f"Eligibility or strata read {told.patient or told.charted}, which an arm changes. Change it in [population], for all."
        )
