"""Table 1: who the patients are, by group, with what is missing in rows of its own and standardised differences instead of p values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aftercar.cohort.groups import in_order

Floats = NDArray[np.float64]

MISSING = "missing"


@dataclass(frozen=True)
class Variable:
    """A column of Table 1 as it is printed."""

    label: str
    unit: str | None = None


SUBJECTS = {
    "age_y": Variable("Age at infusion", "years"),
    "sex": Variable("Sex"),
    "weight_kg": Variable("Weight", "kg"),
    "disease": Variable("Disease"),
    "product": Variable("Product"),
    "target": Variable("Target"),
}

TABLE_ONE: dict[str, Any] = {
    "group": pl.String, "variable": pl.String, "label": pl.String, "unit": pl.String, "level": pl.String, "n": pl.Int64, "of": pl.Int64,
    **dict.fromkeys(("share", "median", "q1", "q3", "mean", "sd", "smd"), pl.Float64),
}  # fmt: skip


def table_one(people: pl.DataFrame, variables: Mapping[str, Variable], everybody: str = "all") -> pl.DataFrame:
    """Describe each group, and all together.

    Args:
        people: a row a course: `group` (null: of none, counted with all) and the variables, numbers or words.
        everybody: the name of all together.
    Returns:
        `group, variable, label, unit, level, n, of, share, median, q1, q3, mean, sd, smd`. A number has one row (its `n` are known; quartiles by linear
        interpolation), a word one a level (`share` of those known); each one more for `missing` where any is, with its share of all. `smd` is that of the groups, in the first row of a
        variable in all: the largest between two of them; null with fewer than two, or where it cannot be told.
    """
    groups = {everybody: people} | {
        str(g): own for (g,), own in people.drop_nulls("group").partition_by("group", as_dict=True).items()
    }
    names = [everybody, *in_order(set(groups) - {everybody})]
    rows: list[dict[str, Any]] = []
    for variable, about in variables.items():
        numeric = people.schema[variable].is_numeric()
        levels = [] if numeric else people[variable].drop_nulls().cast(pl.String).value_counts().sort("count", variable, descending=[True, False])[variable].to_list()  # fmt: skip
        difference = largest_difference([groups[name][variable] for name in names[1:]], levels)
        for name in names:
            values = groups[name][variable]
            told = {"group": name, "variable": variable, "label": about.label, "unit": about.unit}
            own = [_spread(values)] if numeric else _levels(values, levels)
            if people[variable].null_count():
                n = values.null_count()
                own.append({"level": MISSING, "n": n, "of": len(values), "share": n / len(values) if len(values) else None})
            if own and name == everybody:
                own[0]["smd"] = difference
            rows += [told | row for row in own]
    return pl.DataFrame(rows, schema=TABLE_ONE)


def _spread(values: pl.Series) -> dict[str, Any]:
    known = values.drop_nulls().cast(pl.Float64)
    q1, median, q3 = (known.quantile(p, "linear") for p in (0.25, 0.5, 0.75))
    return {"n": len(known), "of": len(values), "median": median, "q1": q1, "q3": q3, "mean": known.mean(), "sd": known.std()}


def _levels(values: pl.Series, levels: list[str]) -> list[dict[str, Any]]:
    counts = dict(values.drop_nulls().cast(pl.String).value_counts().iter_rows())
    known = sum(counts.values())
    return [
        {"level": level, "n": (n := counts.get(level, 0)), "of": known, "share": n / known if known else None} for level in levels
    ]


def largest_difference(groups: list[pl.Series], levels: list[str]) -> float | None:
    """The largest standardised mean difference between two groups, of those in whom it is known; null where it cannot be told."""
    known = [g.drop_nulls() for g in groups]
    pairs = [(a, b) for n, a in enumerate(known) for b in known[n + 1 :] if len(a) and len(b)]
    found = [
        of_shares(*(_shares(s, levels) for s in pair)) if levels else of_means(*(s.to_numpy() for s in pair)) for pair in pairs
    ]
    return max((d for d in found if d is not None), default=None)


def _shares(values: pl.Series, levels: list[str]) -> Floats:
    return np.array([(values.cast(pl.String) == level).mean() for level in levels], dtype=np.float64)


def of_means(a: Floats, b: Floats) -> float | None:
    """Standardised difference of two means: by the root of the mean of both variances; 0 where both are the same number throughout.

    >>> round(of_means(np.array([1.0, 2, 3]), np.array([2.0, 3, 4])), 3)
    1.0
    """
    if len(a) < 2 or len(b) < 2:
        return None
    between = abs(float(np.mean(a) - np.mean(b)))
    spread = float(np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2))
    if spread <= 1e-12 * max(1.0, between):
        return 0.0 if between <= 1e-12 else None
    return between / spread


def of_shares(a: Floats, b: Floats) -> float | None:
    """Standardised difference of two distributions over the same levels (Yang and Dalton 2012); with two levels that of their shares. Null where they have no level in common.

    >>> round(of_shares(np.array([0.5, 0.5]), np.array([0.25, 0.75])), 3)
    0.535
    """
    if len(a) < 2 or np.allclose(a, b):
        return 0.0
    if not (a * b).any():
        return None
    used = np.flatnonzero((a + b) > 0)[1:]  # the first follows from the others; what occurs in neither says nothing
    covariance = sum((np.diag(p[used]) - np.outer(p[used], p[used]) for p in (a, b)), np.zeros((len(used), len(used)))) / 2
    between = a[used] - b[used]
    return float(np.sqrt(between @ np.linalg.pinv(covariance, hermitian=True) @ between))
