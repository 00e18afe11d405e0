"""Virtual patients from infusion to the end of their charting: integrate, chart, grade, treat, and on from there.

The grades that a policy sees are those of `grade/`, of what was charted; a decision changes only what comes after it, so a patient is integrated
and graded again from there, with the state in hand, until nothing more is due. Grades are those of that time: nothing that is charted later
has a part in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from polars import col

from aftercar.errors import AftercarError, InputError, OptionError
from aftercar.grade.options import Options
from aftercar.grade.run import Result, codes_of, grade_lazy, grades_alone, opened, scales_named
from aftercar.grade.scale import Scale
from aftercar.processes import each_in_processes
from aftercar.simulate.chart import as_days
from aftercar.simulate.engine import RTOL, Floats, Ints, integrate
from aftercar.simulate.model import Model, load_model
from aftercar.simulate.observe import Ward, is_of_map, observation_map, rounds
from aftercar.simulate.policy import Given, History, asked, named
from aftercar.simulate.population import SEEDS, Patients, Values, known_as, patients
from aftercar.simulate.trajectories import Trajectories
from aftercar.timeline import subjects as subject_rows
from aftercar.timeline.store import read_json, write_shards

DAYS = 60.0
PART = 2_000  # patients worked on at once: memory is bounded by it
SHARD = 250  # patients of a shard of the timeline: about 400,000 rows
FIRST_LOOK_D, NEXT_LOOK_D = 9.0, 3.0  # days to be graded before the first decision, and after each: most come within
ALWAYS_READ = (*subject_rows.CODES, "last_follow_up")  # by any grader: who it is, and where the record ends
_ROUNDS_OF_CARE = 200  # far more decisions than any policy takes
BANNER = "virtual patients; calibrated to published summary rates; not a prediction for a person"


@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Attributes:
        product, disease: rows of products.csv and diseases.csv.
        policy: of policies.toml.
        drugs: given in any case, as `policy.asked` reads them.
        changed: parameters or initial states whose median differs, by name; `sd_log.NAME` is the spread of one between patients, and names with
            dots such as `person.circulation.median` are numbers of the observation map.
        days: of charting.
        folder: one's own files of the model.
        policy_from_d: the day from which on the policy acts; what `drugs` gave before it counts as given by the policy.
    """

    product: str
    disease: str
    policy: str = "standard"
    drugs: tuple[str, ...] = ()
    changed: tuple[tuple[str, float], ...] = ()
    days: float = DAYS
    folder: str | None = None
    policy_from_d: float = 0.0


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
    found = follow(scenario, n, seed, first=first, rtol=rtol, workers=workers)
    people = found.people
    given = found.history.given.filter(col("hour") <= found.hours[-1]).sort("row", "hour", maintain_order=True)
    return Course(
        people,
        found.charted(np.arange(n)),
        found.states,
        given.select(subject_id=pl.Series(people.numbers + 1).gather(given["row"]), day=col("hour") / 24, drug="drug", mg="mg"),
    )


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
        parts = {first: (scenario, min(PART, n - first), seed, first, rtol, data) for first in range(0, n, PART)}
        written = each_in_processes(_write, parts, "simulating", workers=workers, lost="Nothing was written;")
        for done, _ in enumerate(written, 1):
            say(min(done * PART, n), n)

    return write_shards(folder, write, about)


def _write(scenario: Scenario, n: int, seed: int, first: int, rtol: float, data: Path) -> None:
    followed = follow(scenario, n, seed, first=first, rtol=rtol, workers=1)
    rows = 0
    for begin in range(0, n, SHARD):
        timeline = followed.charted(np.arange(begin, min(begin + SHARD, n)))
        timeline = timeline.with_columns(col("event_id") + ((first << 32) + rows))
        timeline.write_parquet(data / f"{(first + begin) // SHARD:05d}.parquet", compression_level=1)
        rows += timeline.height


@dataclass(frozen=True)
class Followed:
    """Virtual patients who went the whole way, and what they were given."""

    people: Patients
    ward: Ward
    values: Floats
    history: History

    @property
    def hours(self) -> Floats:
        """Of the rounds."""
        return self.ward.when.times * 24

    @property
    def states(self) -> Trajectories:
        """At every round, in days since the infusion."""
        model = self.ward.model
        return Trajectories(self.ward.when.times, tuple(model.states), self.values, model.units)

    def graded(self, scales: list[Scale]) -> Result:
        """Grade all by some scales; only what these read is charted."""
        read = {*codes_of(scales), *ALWAYS_READ}
        return grade_lazy(self.charted(np.arange(len(self.people)), read=read).lazy(), scales, Options(None))

    def charted(self, rows: Ints, last: Ints | None = None, read: Collection[str] | None = None) -> pl.DataFrame:
        """What was charted of some patients (`rows`, ascending) up to the last round of each, with what was given to them."""
        concepts = self.ward.model.tables["drugs"].select("drug", "concept").filter(col("concept") != "")
        given = self.history.given.filter(col("row").is_in(rows)).join(concepts, on="drug", how="inner", maintain_order="left")
        given = given.with_columns(row=pl.Series(np.searchsorted(rows, given["row"].to_numpy()), dtype=pl.Int64))
        return self.ward.chart_of(self.values[rows], rows, last, read, given)


def follow(
    scenario: Scenario, n: int, seed: int, *, first: int = 0, varied: Mapping[str, Values] | None = None, copies: int = 1,
    rtol: float = RTOL, workers: int | None = None,
) -> Followed:  # fmt: skip
    """Treat the virtual patients `first` to `first + n` of a seed by the policy, to the end.

    A decision changes only what comes after it; so nobody who was treated is integrated, charted and graded far beyond the next decision.

    Args:
        varied: as `Scenario.changed`, and on top of it; an array holds one value for each patient and copy.
        copies: the same people so many times, one set beside the other, who differ in what is varied alone.
    Raises:
        OptionError: product, disease, policy, drug or parameter does not exist; the days are none.
        InputError: a file of the model is wrong.
    """
    if n < 1 or not 0 < scenario.days <= 3650:
        raise OptionError("At least one patient, and between 0 and 3650 days, are simulated.")
    if not 0 <= seed < SEEDS:
        raise OptionError(f"The seed must be between 0 and {SEEDS - 1}.")
    model = load_model(scenario.folder)
    changed: dict[str, Values] = {**dict(scenario.changed), **(varied or {})}
    of_map = {name: value for name, value in changed.items() if is_of_map(name)}
    of_model = {name: value for name, value in changed.items() if name not in of_map}
    chart = observation_map(scenario.folder, of_map)
    people = patients(model, scenario.product, scenario.disease, n, seed, first=first, changed=of_model, copies=copies)
    n = len(people)
    policy = named(scenario.policy, model, scenario.folder)
    product, disease = (
        known_as(model, table, name) for table, name in (("products", scenario.product), ("diseases", scenario.disease))
    )
    when = rounds(chart, scenario.days)
    hours, end = when.times * 24, len(when.times) - 1
    history = History(policy, n, _protocol(scenario, model), model, scenario.policy_from_d * 24)
    doses = history.doses(model, hours[-1])
    values = integrate(model, people.states, people.parameters, when.times, doses, rtol=rtol, workers=workers)
    followed = Followed(people, Ward(model, people, when, chart, product, disease), values, history)
    if not policy.rules:
        return followed
    grader = _Grader(policy.toxicities)
    now = np.arange(n)
    solved = np.full(n, end)  # the last round up to which states are those of what was given
    wanted = _round_after(hours, np.zeros(n, np.int64), max(FIRST_LOOK_D, scenario.policy_from_d + NEXT_LOOK_D))
    for _ in range(_ROUNDS_OF_CARE):
        behind = now[solved[now] < wanted[now]]
        integrate(
            model, values[behind, solved[behind]], people.parameters[behind], when.times, history.doses(model, hours[-1]).of(behind),
            begin=solved[behind], end=wanted[behind], into=(values, behind), rtol=rtol, workers=workers,
        )  # fmt: skip
        solved[behind] = wanted[behind]
        grades = grader.of(followed.charted(now, wanted[now], grader.codes), people.numbers[now] + 1, hours)
        treated, at = history.decide(now, hours, wanted[now], grades)
        on = now[~treated]
        solved[now[treated]] = at
        wanted[now[treated]] = _round_after(hours, at, NEXT_LOOK_D)
        now = np.sort(np.concatenate([now[treated], on[wanted[on] < end]]))
        wanted[on] = end
        if not len(now):
            return followed
    raise AftercarError(f"The policy {policy.name} does not come to an end: it still gives drugs after {_ROUNDS_OF_CARE} rounds.")


def _protocol(scenario: Scenario, model: Model) -> tuple[Given, ...]:
    """What is given in any case beside the policy."""
    given = tuple(asked(d, model) for d in scenario.drugs)
    for text, drug in zip(scenario.drugs, given, strict=True):
        if drug.hours[0] >= scenario.days * 24:
            raise OptionError(f"{text!r}: begins after the {scenario.days:g} days that are charted.")
    return given


def _round_after(hours: Floats, rounds_: Ints, days: float) -> Ints:
    """For each round the first that comes so many days later, or the last."""
    return np.minimum(np.searchsorted(hours, hours[rounds_] + 24 * days), len(hours) - 1)


class _Grader:
    """Grades what was charted, as it could be graded at each time: without what came later."""

    def __init__(self, toxicities: list[str]) -> None:
        """Grade these toxicities by their default scales."""
        self.scales = scales_named(toxicities)
        self.toxicities = toxicities
        self.codes = {*codes_of(self.scales), *ALWAYS_READ}

    def of(self, timeline: pl.DataFrame, subjects: Ints, hours: Floats) -> dict[str, np.ndarray]:
        """The lower bound of each toxicity's grade at each round, `[patient, round]`; beyond the end of a chart its last one."""
        record, courses = opened(timeline.lazy(), codes_of(self.scales), Options(None), hindsight=False)
        grades = grades_alone(record, courses, self.scales, Options(None))
        shown = grades.filter(col("status") != "not_applicable").select(
            "subject_id", "toxicity", "grade", hour=as_days(col("start")) * 24
        )
        found: dict[str, np.ndarray] = {}
        for toxicity in self.toxicities:
            own = shown.filter(col("toxicity") == toxicity).sort("subject_id", "hour")
            row = np.searchsorted(subjects, own["subject_id"].to_numpy())
            at = np.searchsorted(hours, own["hour"].to_numpy() - 1e-9)
            last = np.zeros((len(subjects), len(hours) + 1), np.int64)  # the number of the latest span, from 1 on
            last[row, at] = np.arange(1, len(row) + 1)  # of several before one round the last stays
            grade = np.append(0, own["grade"].fill_null(0).to_numpy())
            found[toxicity] = grade[np.maximum.accumulate(last[:, :-1], axis=1)]
        return found
