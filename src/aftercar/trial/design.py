"""The design of a trial: what a protocol says of arms, endpoint, test and stopping, in its own words."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Literal

from aftercar.simulate.run import Scenario

LAST_H = 12.0  # of the last round after the hour of the infusion, on the last day of the window: the day's own last round
STANDARD = "standard"  # the policy of an arm that names none

Sides = Literal["two", "lower", "higher"]


@dataclass(frozen=True)
class Population:
    """Whom the trial asks: a product in a disease; `model` is a folder of one's own files, `changed` differs for all arms."""

    product: str
    disease: str
    model: str | None = None
    changed: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Arm:
    """How `n` patients are treated. The first arm of a design is the control."""

    name: str
    n: int
    policy: str = STANDARD
    drugs: tuple[str, ...] = ()
    changed: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Null:
    """How every arm is treated where there is no difference: by default as the control; `run = false` leaves that out."""

    run: bool = True
    policy: str | None = None
    drugs: tuple[str, ...] | None = None
    changed: dict[str, float] | None = None


@dataclass(frozen=True)
class Criterion:
    """A value before treatment must lie between `least` and `most`, both included: a concept that is charted at the infusion, or a state or
    parameter of the virtual patient, which nobody could measure."""

    charted: str | None = None
    patient: str | None = None
    least: float = -math.inf
    most: float = math.inf


@dataclass(frozen=True)
class Stratum:
    """Patients are told apart by a value before treatment, at each of `cuts`: below it, or at it and above."""

    cuts: tuple[float, ...]
    charted: str | None = None
    patient: str | None = None


@dataclass(frozen=True)
class Randomisation:
    """`simple`: each patient by chance alone; `blocks`: permuted blocks of these sizes, in each stratum for itself; without sizes one block, the whole
    trial."""

    method: Literal["simple", "blocks"] = "blocks"
    blocks: tuple[int, ...] = ()
    stratum: tuple[Stratum, ...] = ()


@dataclass(frozen=True)
class Component:
    """A toxicity of at least this grade, begun by this day after the infusion (day 0)."""

    scale: str
    grade: int
    by_day: int


@dataclass(frozen=True)
class Endpoint:
    """An event is any of these; `options` are those of grading."""

    name: str
    any_of: tuple[Component, ...]
    options: dict[str, str | float | int | bool] = field(default_factory=dict[str, str | float | int | bool])

    @property
    def last_day(self) -> int:
        """The day with which the window ends."""
        return max(c.by_day for c in self.any_of)


@dataclass(frozen=True)
class Comparison:
    """The final test. `sides`: whether the other arms' rate is asked to be `lower` than the control's, `higher`, or either (`two`).

    Attributes:
        rate: of one arm: what its rate is held against.
        margin: of `farrington_manning`: the higher rate that would still do.
        adjust: for more than one comparison.
    """

    method: Literal["fisher", "boschloo", "barnard", "chi_square", "exact_binomial", "farrington_manning"]
    alpha: float = 0.05
    sides: Sides | None = None
    rate: float | None = None
    margin: float | None = None
    adjust: Literal["none", "bonferroni"] | None = None

    @property
    def asked(self) -> Sides:
        """The side, where the design does not name it."""
        return self.sides or ("lower" if self.method == "farrington_manning" else "two")


@dataclass(frozen=True)
class Stop:
    """A row of one's own boundary: stop at so many events in the first `of` patients."""

    events: int
    of: int


@dataclass(frozen=True)
class Stopping:
    """When a monitored arm has too many events.

    Attributes:
        any_of: what counts as an event here; by default the endpoint of the test.
        limit: the rate that is still acceptable.
        chance: overall probability to stop at that rate, at the most.
        certainty: of `bayes`, instead of `chance`: stop where the posterior probability of a rate above the limit is more than this.
        prior: of `bayes`: events and non-events of a beta distribution.
        first, every: patients of the arm at the first look, and between two.
        arms: which are monitored; by default all but the control.
        at: of `table`: the boundary itself.
    """

    method: Literal["bayes", "pocock", "obrien_fleming", "table"]
    any_of: tuple[Component, ...] = ()
    limit: float | None = None
    chance: float | None = None
    certainty: float | None = None
    prior: tuple[float, float] = (1.0, 1.0)
    first: int = 1
    every: int = 1
    arms: tuple[str, ...] = ()
    at: tuple[Stop, ...] = ()


@dataclass(frozen=True)
class Accrual:
    """How fast patients come. Without it nobody is enrolled before the outcome of the patient before is known."""

    per_week: float
    arrivals: Literal["poisson", "even"] = "poisson"


@dataclass(frozen=True)
class Design:
    """A trial. `text` is the file that it was read from, `beside` the folder of that file, where the name of a model begins."""

    title: str
    population: Population
    arms: tuple[Arm, ...]
    endpoint: Endpoint
    test: Comparison
    randomisation: Randomisation = Randomisation()
    eligibility: tuple[Criterion, ...] = ()
    stopping: Stopping | None = None
    accrual: Accrual | None = None
    null: Null = Null()
    text: str = field(default="", repr=False)
    beside: Path = Path()

    @property
    def folder(self) -> str | None:
        """The folder of one's own files of the model."""
        return None if self.population.model is None else str(self.beside / self.population.model)

    @property
    def n(self) -> int:
        """Patients of the whole trial."""
        return sum(arm.n for arm in self.arms)

    @property
    def monitored(self) -> list[int]:
        """The arms that the boundary watches, by place."""
        if self.stopping is None:
            return []
        names = self.stopping.arms or [a.name for a in self.arms[1:]] or [self.arms[0].name]
        return [k for k, arm in enumerate(self.arms) if arm.name in names]

    @property
    def harm(self) -> Endpoint:
        """What the boundary counts."""
        if self.stopping is None or not self.stopping.any_of:
            return self.endpoint
        return Endpoint("harm", self.stopping.any_of, self.endpoint.options)

    @property
    def days(self) -> float:
        """Days from the infusion to the last round of the longest window."""
        return max(self.endpoint.last_day, self.harm.last_day) + LAST_H / 24

    @property
    def scenarios(self) -> list[Scenario]:
        """How each arm is simulated."""
        return [self._scenario(arm.policy, arm.drugs, arm.changed) for arm in self.arms]

    @property
    def null_scenario(self) -> Scenario | None:
        """How every arm is simulated where there is no difference; None where that is not asked for, or cannot be: one arm is its own control."""
        told, control = self.null, self.arms[0]
        own = any(v is not None for v in (told.policy, told.drugs, told.changed))
        if not told.run or (len(self.arms) == 1 and not own):
            return None
        return self._scenario(
            told.policy or control.policy, control.drugs if told.drugs is None else told.drugs,
            control.changed if told.changed is None else told.changed,
        )  # fmt: skip

    def _scenario(self, policy: str, drugs: tuple[str, ...], changed: Mapping[str, float]) -> Scenario:
        who = self.population
        return Scenario(
            who.product, who.disease, policy, drugs, tuple({**who.changed, **changed}.items()), self.days, self.folder
        )

    @property
    def fingerprint(self) -> str:
        """The same for two files that say the same."""
        told = {k: v for k, v in asdict(self).items() if k not in ("text", "beside")}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def ratio(design: Design) -> list[int]:
    """The smallest whole numbers that stand to one another as the sizes of the arms."""
    shared = reduce(math.gcd, (arm.n for arm in design.arms))
    return [arm.n // shared for arm in design.arms]
