"""A description of the ward's cohort as rows of a page: what `cohort describe` tells, in the same words."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl
from markupsafe import Markup
from polars import col, lit

from aftercar.cohort import describe
from aftercar.cohort.describe import Asked, Described
from aftercar.cohort.groups import EVERYBODY
from aftercar.cohort.mortality import ALL, RELAPSE, UNSURE
from aftercar.cohort.mortality import label as cause_name
from aftercar.cohort.outcome import Outcome
from aftercar.cohort.told import cell, days_between, of_decided, plain_days, rate, share
from aftercar.grade.run import SCALES, highest_grade
from aftercar.report.figures import curves
from aftercar.report.names import in_order
from aftercar.ward.ward import Ward
from aftercar.web.cohort import Cohort, drawn, results_of

CUTS = (1, 2, 3, 4)
DAYS = {"incidence": describe.DAYS, "mortality": describe.DEATH_DAYS, "malignancies": describe.LATE_DAYS}

_TURN = threading.Lock()  # who asks the same meanwhile finds it made


@dataclass(frozen=True)
class Shown:
    """What the page shows of a description, as rows of its tables.

    Attributes:
        facts: of `Described`.
        groups: all together, then each.
        figure: cumulative incidence.
    """

    facts: dict[str, Any]
    groups: list[str]
    baseline: list[dict[str, Any]]
    rates: list[dict[str, Any]]
    incidence: list[dict[str, Any]]
    times: list[dict[str, Any]]
    mortality: list[dict[str, Any]]
    unsure: int
    causes: list[dict[str, Any]]
    malignancies: list[dict[str, Any]]
    classes: list[tuple[str, int]]
    figure: Markup


def shown(ward: Ward, cohort: Cohort, outcome: str | None, by: str | None) -> Shown:
    """Describe a cohort, once for each state of the ward.

    Args:
        outcome: such as `crs:3`; without, those that `cohort describe` tells by itself.
        by: a column of the courses that parts them.
    Raises:
        OptionError: no such outcome or column, or it has no day of onset.
    """
    with _TURN:
        return _shown(ward, cohort, outcome, by)


@lru_cache(maxsize=16)
def _shown(ward: Ward, cohort: Cohort, outcome: str | None, by: str | None) -> Shown:
    asked = Asked(outcomes=(outcome,) if outcome else (), by=by)
    found = describe.describe(results_of(ward, cohort), asked)
    groups = list(found.facts["groups"])
    outcomes = [Outcome.of(key) for key in found.facts["outcomes"]]
    figure = curves.incidence(drawn(ward, cohort), outcomes, by=by)
    unsure = found.causes.filter((col("group") == EVERYBODY) & (col("cause") == UNSURE))["deaths"].sum()
    return Shown(
        found.facts, groups, _baseline(found, groups), _rates(found, groups, {o.family for o in outcomes}), _incidence(found.incidence), _times(found.times), _mortality(found), int(unsure), _causes(found),
        _malignancies(found), found.malignancy_classes.filter(group=EVERYBODY).select("malignancy", "n").rows(), Markup(figure.svg),
    )  # fmt: skip


def _baseline(found: Described, groups: list[str]) -> list[dict[str, Any]]:
    """Table 1: a row a variable or level, a cell a group."""
    cells = {(r["group"], r["variable"], r["level"]): r for r in found.baseline.iter_rows(named=True)}
    rows: list[dict[str, Any]] = []
    for r in found.baseline.filter(group=EVERYBODY).iter_rows(named=True):
        own = [cells.get((group, r["variable"], r["level"])) for group in groups]
        name = r["label"] + (f", {r['unit']}" if r["unit"] else "")
        told = [cell(c) if c else "" for c in own]
        rows.append({"name": name, "level": r["level"], "cells": told, "smd": r["smd"]})
    return rows


def _rates(found: Described, groups: list[str], parted: set[str]) -> list[dict[str, Any]]:
    """A row a scale that applies to anybody, in reading order, and of those that are asked for a row a group: how many reached each of `CUTS` that the scale has."""
    n = {(r["group"], r["family"]): r for r in found.grades.iter_rows(named=True)}
    by_row = {(r["group"], r["family"], r["grade_at_least"]): r for r in found.rates.iter_rows(named=True)}
    families = {r["toxicity"]: r["family"] for r in found.grades.filter(group=EVERYBODY).iter_rows(named=True)}
    rows: list[dict[str, Any]] = []
    for family in (families[t] for t in in_order(families)):
        every = n[EVERYBODY, family]
        if every["n"] == every["not_applicable"]:
            continue
        scale = next(s for s in SCALES.values() if s.family == family)
        top = highest_grade(family)
        for group in groups if family in parted else [EVERYBODY]:
            own = n.get((group, family))
            told = [_reached(by_row.get((group, family, cut))) if cut <= top else ("", "") for cut in CUTS]
            applies = own["n"] - own["not_applicable"] if own else 0
            rows.append({"name": scale.title, "group": group, "n": applies, "cells": told})
    return rows


def _reached(row: dict[str, Any] | None) -> tuple[str, str]:
    """`3 of 8, 38% (9-76)` of those in whom it is decided, with its exact interval; and what the undecided leave open."""
    if row is None or row["share"] is None:
        return "none decided", ""
    return of_decided(row["yes"], row["no"], row["undecided"], (row["exact_low"], row["exact_high"]))


def _incidence(table: pl.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for outcome in table["outcome"].unique(maintain_order=True):
        for own in table.filter(outcome=outcome).partition_by("group", maintain_order=True):
            first = own.row(0, named=True)
            cells = [share(r) for r in own.iter_rows(named=True)]
            rows.append(first | {"name": first["label"], "cells": cells})
    return rows


def _times(table: pl.DataFrame) -> list[dict[str, Any]]:
    own = table.filter((col("measure") != "onset_of_all") & (col("events") > 0))
    return [r | {"name": r["label"], "plain": plain_days(r), "between": days_between(r)} for r in own.iter_rows(named=True)]


def _mortality(found: Described) -> list[dict[str, Any]]:
    """A row a cause, and of all causes together and of relapse a row a group."""
    rows: list[dict[str, Any]] = []
    for cause in found.mortality["cause"].unique(maintain_order=True):
        groups = lit(cause in (ALL, RELAPSE)) | (col("group") == EVERYBODY)
        for (group,), own in found.mortality.filter(groups, cause=cause).group_by("group", maintain_order=True):
            cells = [share(r) for r in own.iter_rows(named=True)]
            told = {"name": cause_name(str(cause)), "group": group, "events": own["events"][0]}
            rows.append(told | {"cells": cells})
    return rows


def _causes(found: Described) -> list[dict[str, Any]]:
    """What the deaths were of, where a published share has the same meaning."""
    own = found.causes.filter((col("group") == EVERYBODY) & col("share").is_not_null() & col("published").is_not_null())
    return [r | {"name": cause_name(r["cause"])} for r in own.iter_rows(named=True)]


def _malignancies(found: Described) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for (group,), own in found.malignancies.group_by("group", maintain_order=True):
        first = own.row(0, named=True)
        cells = [share(r) for r in own.iter_rows(named=True)]
        rows.append(first | {"group": group, "rate": rate(first), "cells": cells})
    return rows
