"""What is known of each course before treatment, as columns of numbers: from `subjects` and what stands beside it, and from the record."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from polars import col, lit

from aftercar.cohort.groups import UNKNOWN
from aftercar.options import ends_of
from aftercar.risk.inputs import BEFORE_LD, LYMPHODEPLETION, Input, chart, draw
from aftercar.risk.options import Options
from aftercar.timeline.concepts import concept, concepts
from aftercar.timeline.store import Store

OF_SUBJECTS = ("age_y", "weight_kg", "sex", "product", "target", "disease")


def baseline(courses: pl.DataFrame, store: Store, names: list[str]) -> pl.DataFrame:
    """`subjects` with a column a concept: its last value before lymphodepletion, as the scores of `aftercar risk` have it; null where there is none.

    Raises:
        InputError: a file of the timeline is damaged.
    """
    # Where a course ends does not matter for what was before it.
    placed = courses.with_columns(course=pl.int_range(pl.len(), dtype=pl.Int64), until=lit(None, pl.Datetime("us")))
    codes = [*names, *LYMPHODEPLETION]
    charted = chart(store.load(col("code").is_in(codes)), placed, codes)
    drawn = draw(charted, placed, [Input(n, n, concept(n).unit or "") for n in names], BEFORE_LD, Options())
    return drawn.select(*courses.columns, *names)


def before_ld() -> str:
    """Which values are from before lymphodepletion, in words."""
    first, last = ends_of(Options()["ht_window_days"]) or (None, None)
    return f"the last value before lymphodepletion, of days {first} to {last}, as in `aftercar risk`"


def measured(name: str) -> bool:
    """Whether a concept is one of numbers, so that it can be a covariate."""
    known = concepts().get(name)
    return known is not None and known.unit is not None


@dataclass(frozen=True)
class Encoded:
    """Covariates as numbers.

    Attributes:
        names: of the columns: `age_y`, `sex: male`, `crp: not recorded`.
        columns: a list of numbers each, null where missing.
        missing: by covariate, how many lack it.
    """

    names: list[str]
    columns: list[list[float | None]]
    missing: dict[str, int]

    def whole(self) -> list[bool]:
        """Of each course, whether no covariate is missing."""
        return [all(v is not None for v in row) for row in zip(*self.columns, strict=True)] if self.columns else []


def encoded(courses: pl.DataFrame, names: list[str], *, as_category: bool) -> Encoded:
    """Columns as numbers: words by an indicator for each but the commonest, numbers as they are.

    Args:
        as_category: what is missing is a level of its own: a further word, or for numbers the mean beside an indicator. Else it stays missing.
    """
    labels: list[str] = []
    columns: list[list[float | None]] = []
    missing: dict[str, int] = {}
    for name in names:
        values = courses[name]
        missing[name] = values.null_count()
        if values.dtype.is_numeric() or values.dtype == pl.Boolean:
            numbers = values.cast(pl.Float64)
            if as_category and missing[name]:
                labels += [name, f"{name}: {UNKNOWN}"]
                columns += [numbers.fill_null(numbers.mean()).to_list(), values.is_null().cast(pl.Float64).to_list()]
            else:
                labels.append(name)
                columns.append(numbers.to_list())
            continue
        words = values.cast(pl.String)
        words = words.fill_null(UNKNOWN) if as_category else words
        levels = words.drop_nulls().value_counts().sort(["count", words.name], descending=[True, False])[words.name].to_list()
        labels += [f"{name}: {level}" for level in levels[1:]]
        columns += [(words == level).cast(pl.Float64).to_list() for level in levels[1:]]
        if len(levels) < 2:  # it says nothing, but who lacks it still falls out
            labels.append(f"{name}: {levels[0] if levels else UNKNOWN}")
            columns.append((words == levels[0]).cast(pl.Float64).to_list() if levels else [None] * courses.height)
    return Encoded(labels, columns, missing)
