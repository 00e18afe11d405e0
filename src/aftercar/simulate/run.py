"""Virtual patients from infusion to the end of their charting: integrate, chart, grade, treat, and on from there.

The grades that a policy sees are those of `grade/`, of what was charted; a decision changes only what comes after it, so a patient is integrated
and graded again from there, with the state in hand, until nothing more is due.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars import col

from aftercar.errors import InputError, OptionError
from aftercar.grade.options import Options
from aftercar.grade.run import grade_lazy, scales_named
from aftercar.processes import in_processes, processors
from aftercar.simulate.engine import RTOL, Floats, integrate
from aftercar.simulate.model import Model, load_model
from aftercar.simulate.observe import Rounds, Ward, as_days, observation_map, rounds
from aftercar.simulate.policy import Given, History, Policy, asked, named
from aftercar.simulate.population import SEEDS, Patients, known_as, patients
from aftercar.simulate.trajectories import Trajectories
from aftercar.timeline.store import read_json, write_shards

DAYS = 60.0
PART = 1_000  # patients worked on at once: memory is bounded by it
SHARD = 250  # patients of a shard of the timeline: about 400,000 rows
_ROUNDS_OF_CARE = 200  # far more decisions than any policy takes
BANNER = "virtual patients; not calibrated to single persons; not a prediction for a person"


@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Attributes:
        product, disease: rows of products.csv and diseases.csv.
        policy: of policies.toml.
        drugs: given in any case, as `policy.asked` reads them.
        changed: parameters or initial states whose median differs, by name.
        days: of charting.
        folder: one's own files of the model.
    """

    product: str
    disease: str
    policy: str = "standard"
    drugs: tuple[str, ...] = ()
    changed: tuple[tuple[str, float], ...] = ()
    days: float = DAYS
    folder: str | None = None


@dataclass(frozen=True)
class Course:
    """Simulated patients.

    Attributes:
        timeline: what was charted, in our schema.
        states: at every round, in days since the infusion.
        given: what was given: `subject_id, day, drug, mg`.
    """

    people: Patients
    timeline: pl.DataFrame
    states: Trajectories
    given: pl.DataFrame


def simulate(scenario: Scenario, n: int, seed: int, *, first: int = 0, rtol: float = RTOL, workers: int | None = None) -> Course:
    """Simulate the virtual patients `first` to `first + n` of a seed.

    Raises:
        OptionError: product, disease, policy, drug or parameter does not exist; the days are none.
        InputError: a file of the model is wrong.
    """
    if n < 1 or not 0 < scenario.days <= 3650:
        raise OptionError("At least one patient, and between 0 and 3650 days, are simulated.")
    if not 0 <= seed < SEEDS:
        raise OptionError(f"The seed must be between 0 and {SEEDS - 1}.")
    model = load_model(scenario.folder)
    chart = observation_map(scenario.folder)
    people = patients(model, scenario.product, scenario.disease, n, seed, first=first, changed=dict(scenario.changed))
    policy = named(scenario.policy, model, scenario.folder)
    given = tuple(asked(d, model) for d in scenario.drugs)
    for text, drug in zip(scenario.drugs, given, strict=True):
        if drug.hours[0] >= scenario.days * 24:
            raise OptionError(f"{text!r}: begins after the {scenario.days:g} days that are charted.")
    return _course(scenario, model, people, rounds(chart, scenario.days), chart, policy, given, rtol, workers)


def simulate_folder(
    scenario: Scenario, n: int, seed: int, folder: Path | str, *, rtol: float = RTOL, workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:  # fmt: skip
    """Simulate into a timeline folder, part by part in several processes; memory does not grow with `n`, nor do the numbers depend on the processes.

    Args:
        workers: processes; by default one a processor.
        progress: called with the patients that are done, and all, first before the work.
    Raises:
        OptionError, InputError: as `simulate`; the folder holds something else.
    """
    there = Path(folder) / "import.json"
    if there.is_file() and "simulation" not in read_json(there):
        raise InputError(f"{folder} holds a timeline that was not simulated here. Name an empty or new folder.")
    simulate(scenario, 1, seed, rtol=rtol)  # what is wrong is told before anything is written, and the model is compiled once
    say = progress or (lambda done, all_: None)
    model = load_model(scenario.folder)
    about = {
        "banner": BANNER, "simulated": True,
        "simulation": asdict(scenario) | {"n": n, "seed": seed, "rtol": rtol, "model": hashlib.sha256(model.text.encode()).hexdigest()[:16]},
    }  # fmt: skip

    def write(data: Path) -> None:
        say(0, n)
        firsts = range(0, n, PART)
        cores = min(workers or processors(), len(firsts))
        work = ((scenario, min(PART, n - first), seed, first, rtol, data) for first in firsts)
        if cores < 2:
            for done, job in enumerate(work, 1):
                _write(*job)
                say(min(done * PART, n), n)
            return
        with in_processes(cores, "simulating", "Nothing was written; --workers 1 needs the least memory.", threads=1) as pool:
            for done, one in enumerate(as_completed([pool.submit(_write, *job) for job in work]), 1):
                one.result()
                say(min(done * PART, n), n)

    return write_shards(folder, write, about)


def _write(scenario: Scenario, n: int, seed: int, first: int, rtol: float, data: Path) -> None:
    timeline = simulate(scenario, n, seed, first=first, rtol=rtol, workers=1).timeline
    timeline = timeline.with_columns(col("event_id") + (first << 32))
    for begin in range(first, first + n, SHARD):
        own = timeline.filter(col("subject_id").is_between(begin + 1, begin + SHARD))  # subjects count from 1
        own.write_parquet(data / f"{begin // SHARD:05d}.parquet", compression_level=1)


def _course(
    scenario: Scenario,
    model: Model,
    people: Patients,
    when: Rounds,
    chart: dict[str, Any],
    policy: Policy,
    protocol: Sequence[Given],
    rtol: float,
    workers: int | None,
) -> Course:
    n, hours = len(people), when.times * 24
    product, disease = (
        known_as(model, table, name) for table, name in (("products", scenario.product), ("diseases", scenario.disease))
    )
    ward = Ward(model, people, when, chart, product, disease)
    history = History(policy, n, tuple(protocol))
    every = np.arange(n)
    values = integrate(
        model, people.states, people.parameters, when.times, history.doses(model, hours[-1]), rtol=rtol, workers=workers
    )
    now = every if policy.rules else every[:0]
    read = {c for s in scales_named(policy.toxicities) for c in s.codes} if policy.rules else set[str]()
    for _ in range(_ROUNDS_OF_CARE):
        if not len(now):
            break
        grades = _grades(_charted(ward, values, now, history, hours[-1], read), now, people, hours, policy.toxicities)
        now, at = history.decide(now, hours, grades)
        if len(now):
            doses = history.doses(model, hours[-1]).of(now)
            again = integrate(
                model, values[now, at], people.parameters[now], when.times, doses, begin=at, rtol=rtol, workers=workers
            )
            values[now] = np.where(np.isnan(again), values[now], again)
    timeline = _charted(ward, values, every, history, hours[-1])
    given = history.given.filter(col("hour") <= hours[-1]).sort("row", "hour", maintain_order=True)
    told = given.select(subject_id=pl.Series(people.numbers + 1).gather(given["row"]), day=col("hour") / 24, drug="drug", mg="mg")
    return Course(people, timeline, Trajectories(when.times, tuple(model.states), values, model.units), told)


def _charted(
    ward: Ward, values: Floats, rows: np.ndarray, history: History, until_h: float, read: Collection[str] | None = None
) -> pl.DataFrame:
    """What was charted of some patients (`rows`, ascending), with what was given to them."""
    concepts = ward.model.tables["drugs"].select("drug", "concept")
    given = history.given.filter(col("row").is_in(rows) & (col("hour") <= until_h)).join(
        concepts, on="drug", how="left", maintain_order="left"
    )
    drugs = given.filter(col("concept").is_not_null() & (col("concept") != "")).select(
        row=pl.Series(np.searchsorted(rows, given["row"].to_numpy()), dtype=pl.Int64), hour="hour", code="concept", numeric_value="mg",
        text_value=pl.lit(None, pl.String), unit=pl.lit("mg"), end_hour=pl.lit(None, pl.Float64),
    )  # fmt: skip
    chart = ward.chart_of(values[rows], rows, read, drugs)
    return chart.with_columns(event_id=pl.int_range(pl.len(), dtype=pl.Int64))


def _grades(
    timeline: pl.DataFrame, rows: np.ndarray, people: Patients, hours: Floats, toxicities: list[str]
) -> dict[str, np.ndarray]:
    """The lower bound of each toxicity's grade at each round, `[patient, round]`, by its default scale."""
    result = grade_lazy(timeline.lazy(), scales_named(toxicities), Options(None)).grades
    result = result.filter(col("status") != "not_applicable").select(
        "subject_id", "toxicity", "grade", start=as_days(col("start")) * 24
    )
    asked_at = pl.DataFrame({"subject_id": np.repeat(people.numbers[rows] + 1, len(hours)), "start": np.tile(hours, len(rows))})
    found: dict[str, np.ndarray] = {}
    for toxicity in toxicities:
        own = result.filter(col("toxicity") == toxicity).sort("start")
        at = (
            asked_at.with_row_index("place")
            .sort("start")
            .join_asof(own, on="start", by="subject_id", strategy="backward", check_sortedness=False)
        )
        found[toxicity] = at.sort("place")["grade"].fill_null(0).to_numpy().reshape(len(rows), len(hours))
    return found
