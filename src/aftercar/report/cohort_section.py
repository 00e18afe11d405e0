"""The figures and tables of a report that are of all courses: incidence, courses, values, and the cohort beside published trials."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from markupsafe import Markup
from polars import col

from aftercar.cohort.incidence import first_days, incidence_by
from aftercar.cohort.outcome import Outcome
from aftercar.cohort.told import share
from aftercar.report.figures import curves, forest, spaghetti, strip, swimmer
from aftercar.report.figures.cohort import Cohort
from aftercar.report.figures.draw import Figure
from aftercar.synthesis import published

OUTCOMES = (Outcome("crs"), Outcome("crs", 3), Outcome("icans"), Outcome("icans", 3))
DAYS = (7, 14, 28)


@dataclass(frozen=True)
class Drawn:
    """A figure of the page, with its letter."""

    letter: str
    title: str
    svg: Markup


@dataclass(frozen=True)
class CohortSection:
    """What the page tells of all courses.

    Attributes:
        incidence: rows of the table: name, counts, and by each of `DAYS` share and interval in words, as `cohort describe` tells them.
        trials: keys of the papers of the trials that are drawn.
        pooled: whether their rates are put together; false also where the library for it is not installed (`unpooled`).
    """

    curves: Drawn
    incidence: list[dict[str, Any]]
    courses: list[Drawn]
    beside: Drawn | None
    trials: list[str]
    pooled: bool
    unpooled: bool


def cohort_section(results: Cohort, worst: pl.DataFrame) -> CohortSection:
    """Draw it.

    Args:
        worst: rows of the default scales.
    """
    # The page says once what the dataset says of itself.
    results = replace(results, run=results.run | {"timeline_note": None})
    families = dict.fromkeys(o.family for o in OUTCOMES)
    figures = [swimmer.swimmer(results), *(strip.strip(results, f) for f in families), spaghetti.spaghetti(results)]
    beside, trials, pooled, unpooled = _beside(results, worst)
    drawn = [Drawn(letter, f.title, Markup(f.svg)) for letter, f in zip("BCDE", figures, strict=True)]
    return CohortSection(
        curves=Drawn("A", "Cumulative incidence", Markup(curves.incidence(results, OUTCOMES).svg)), incidence=_incidence(results), courses=drawn,
        beside=Drawn("F", beside.title, Markup(beside.svg)) if beside else None, trials=trials, pooled=pooled, unpooled=unpooled,
    )  # fmt: skip


def _incidence(results: Cohort) -> list[dict[str, Any]]:
    reached = results.grades.filter(col("scale").is_in([s for o in OUTCOMES for s in o.scales])).collect()
    told: list[dict[str, Any]] = []
    for outcome in OUTCOMES:
        surely, perhaps = (first_days(results.courses, reached, outcome, possibly=possibly) for possibly in (False, True))
        counts, by_days = incidence_by(surely, perhaps, DAYS)
        told.append({"name": outcome.name, **counts, "by": [share(row) for row in by_days]})
    return told


def _beside(results: Cohort, worst: pl.DataFrame) -> tuple[Figure | None, list[str], bool, bool]:
    """The cohort beside the studies of its scales; none where no study graded so, or the cohort was not."""
    shown: list[forest.Section] = []
    trials: list[str] = []
    unpooled = False
    for outcome in OUTCOMES:
        endpoint = forest.endpoint_of(outcome)
        own = forest.own_rate(worst, outcome, simulated=results.simulated)
        if endpoint is None or not own.n:
            continue
        studies, _ = published.counted(endpoint)
        kept = studies.filter(scale=own.scale)
        for (scale,), of_scale in kept.partition_by("scale", as_dict=True, maintain_order=True).items():
            try:
                group = published.grouped(str(scale), of_scale)
            except ImportError:  # the extra `statistics` is not installed: studies are drawn each for itself
                group, unpooled = published.Group(str(scale), of_scale, None, None, None, "needs the extra `statistics`"), True
            shown.append(forest.Section(f"{outcome.name}; studies graded by {scale}", group, own))
        trials += kept["ref_id"].drop_nulls().to_list()
    if not shown:
        return None, [], False, False
    return (
        forest.forest("This cohort beside published trials of the same scale", shown),
        trials,
        any(s.group.pooled for s in shown),
        unpooled,
    )
