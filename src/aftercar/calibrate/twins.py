"""Virtual twins of a record: patients of its product and disease, given what it was given, who go on under each of some policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col

from aftercar.calibrate.ensemble import varied
from aftercar.calibrate.likeness import CODES, SCALES, TOXICITIES, Charted, charted
from aftercar.grade.options import Options
from aftercar.grade.run import grades_alone, opened
from aftercar.processes import each_in_processes
from aftercar.simulate.chart import as_days
from aftercar.simulate.run import ALWAYS_READ, Scenario, follow

AHEAD = 7  # days that are forecast
_PART = 500  # twins that a process simulates at once
_MARGIN_D = 0.5  # charted beyond the last day, so that a round falls behind it


@dataclass(frozen=True)
class Start:
    """From where twins go on.

    Attributes:
        product, disease: of the mechanism.
        at_d: days since the infusion.
        given: what was given by then, as `policy.asked` reads it.
    """

    product: str
    disease: str
    at_d: float
    given: tuple[str, ...] = ()

    def scenario(self, policy: str) -> Scenario:
        """Its twins under a policy that acts from then on."""
        days = self.at_d + AHEAD + _MARGIN_D
        return Scenario(self.product, self.disease, policy, self.given, (), days, policy_from_d=self.at_d)


@dataclass(frozen=True)
class Twins:
    """Simulated twins.

    Attributes:
        charted: up to the start; the same under all policies.
        worst: of each policy the worst grade from the start to the end of each day after it, lower bound: `[twin, toxicity, day]`.
    """

    charted: Charted
    worst: dict[str, NDArray[np.int64]]


def twins(
    start: Start, policies: Sequence[str], ensemble: pl.DataFrame, n: int, seed: int, *, workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Twins:  # fmt: skip
    """Simulate `n` twins under each policy; a twin has the parameters of one member of the ensemble, and is the same under all.

    Raises:
        OptionError: product, disease or policy does not exist.
    """
    for policy in policies:
        follow(start.scenario(policy), 1, seed)  # what is wrong is told before the work, and the model is compiled once
    asked = {
        (policy, first): (start, policy, ensemble, first, min(_PART, n - first), seed)
        for policy in policies
        for first in range(0, n, _PART)
    }
    if progress:
        progress(0, len(asked))
    found = dict(each_in_processes(_part, asked, "simulating", workers=workers, progress=progress))
    return Twins(
        _joined([found[policies[0], first].charted for first in range(0, n, _PART)]),
        {p: np.concatenate([found[p, first].worst[p] for first in range(0, n, _PART)]) for p in policies},
    )


def _joined(parts: list[Charted]) -> Charted:
    return Charted(np.concatenate([p.low for p in parts]), np.concatenate([p.high for p in parts]))


def _part(start: Start, policy: str, ensemble: pl.DataFrame, first: int, n: int, seed: int) -> Twins:
    numbers = np.arange(first, first + n)
    own = varied(ensemble, start.product, start.disease, numbers)
    followed = follow(start.scenario(policy), n, seed, first=first, varied=own, workers=1)
    timeline = followed.charted(np.arange(n), read={*CODES, *ALWAYS_READ})
    return Twins(charted(timeline, start.at_d), {policy: worst_after(timeline, followed.people.numbers + 1, start.at_d)})


def worst_after(timeline: pl.DataFrame, subjects: NDArray[np.int64], at_d: float) -> NDArray[np.int64]:
    """The worst grade of virtual patients (ids, ascending) from a time to the end of each day after it, lower bound: `[patient, toxicity, day]`."""
    record, courses = opened(timeline.lazy(), CODES, Options(None))
    grades = grades_alone(record, courses, SCALES, Options(None)).filter(col("status") != "not_applicable")
    spans = grades.select(
        "subject_id", "toxicity", "grade", day=as_days(col("start")), until=as_days(col("end")).fill_null(np.inf)
    ).filter(col("until") > at_d)
    # The day ahead on which a grade begins to count: what stands at the start counts from the first.
    ahead = (col("day") - at_d).clip(0.0).floor().cast(pl.Int64)
    spans = spans.with_columns(ahead=ahead).filter(col("ahead") < AHEAD)
    row = np.searchsorted(subjects, spans["subject_id"].to_numpy())
    toxicity = spans["toxicity"].replace_strict({t: k for k, t in enumerate(TOXICITIES)}, return_dtype=pl.Int64).to_numpy()
    found = np.zeros((len(subjects), len(TOXICITIES), AHEAD), np.int64)
    np.maximum.at(found, (row, toxicity, spans["ahead"].to_numpy()), spans["grade"].to_numpy())
    return np.maximum.accumulate(found, axis=2)
