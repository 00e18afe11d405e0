"""What the figures of a cohort are drawn from: its courses, and the tables of a results folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.cohort import groups
from aftercar.cohort.outcome import COURSE
from aftercar.grade.results import Results

DAY_US = 86_400_000_000  # microseconds
MOST_GROUPS = 6  # more lines cannot be told apart


@dataclass(frozen=True)
class Cohort:
    """A cohort. Only courses with an infusion are in `courses`: without one there is no day 0.

    Attributes:
        run: `run.json`.
        courses: the table `subjects`, perhaps with columns of the user's own, and `name`: the subject, and the infusion where it is not the first.
        episodes, grades: of `docs/tables.md`; only rows of `courses` count.
        timeline: its rows, where a figure needs them.
        uninfused: how many courses were left out.
        cuts: where courses are parted by period, the days with which a new one begins.
    """

    run: dict[str, Any]
    courses: pl.DataFrame
    episodes: pl.DataFrame
    grades: pl.LazyFrame
    timeline: pl.LazyFrame | None
    uninfused: int
    cuts: tuple[date, ...] = ()

    @classmethod
    def of(
        cls,
        run: dict[str, Any],
        subjects: pl.DataFrame,
        episodes: pl.DataFrame,
        grades: pl.LazyFrame,
        timeline: pl.LazyFrame | None,
        cuts: tuple[date, ...] = (),
    ) -> Cohort:
        """From tables as `docs/tables.md` describes them."""
        infused = subjects.filter(col("day0").is_not_null())
        several = pl.when(col("infusion") > 1).then(pl.format(" ({})", "infusion")).otherwise(lit(""))
        named = infused.with_columns(name=pl.concat_str(col("subject_id").cast(pl.String), several)).sort(COURSE)
        if timeline is not None:
            timeline = timeline.with_columns(col("subject_id").cast(subjects.schema["subject_id"]))
        return cls(run, named, episodes, grades, timeline, subjects.height - infused.height, cuts)

    @property
    def simulated(self) -> bool:
        """Whether the patients are virtual."""
        return bool(self.run.get("simulated"))

    def midnight(self) -> pl.DataFrame:
        """The courses with `midnight`, the one before the infusion."""
        return self.courses.select(*COURSE, midnight=col("day0").dt.truncate("1d"))

    def grouped(self, by: str | None) -> pl.DataFrame:
        """The courses with `group`, as `cohort.groups.grouped` has it: `groups.UNKNOWN` where it is not known, the empty word where `by` is None.

        Raises:
            OptionError: as for `groups.group_of`.
        """
        found = groups.grouped(self.courses, by, cuts=self.cuts)
        return found.with_columns(col("group").fill_null("" if by is None else groups.UNKNOWN))


def days_since(time: str, midnight: str = "midnight") -> pl.Expr:
    """Elapsed days from the midnight before the infusion to a time."""
    return (col(time) - col(midnight)).dt.total_microseconds() / DAY_US


def cohort_of(
    results: Results,
    *,
    timeline: Path | None = None,
    subjects: Sequence[str] | None = None,
    rows: bool = False,
    beside: pl.DataFrame | None = None,
    cuts: tuple[date, ...] = (),
) -> Cohort:
    """The cohort of a results folder.

    Args:
        timeline: where the timeline is, if it was moved.
        subjects: keep only these.
        rows: whether rows of the timeline are needed.
        beside: columns of the user's own, see `groups.with_beside`.
    Raises:
        InputError: a table is gone or damaged, the timeline is gone, or a subject is not in it.
    """
    every = results.subjects
    if subjects:
        every = every.filter(col("subject_id").is_in(results.match(subjects)))
    own = col("subject_id").is_in(every["subject_id"].unique().implode())
    if beside is not None:
        every = groups.with_beside(every, beside)
    charted = results.timeline(timeline).scan() if rows else None
    return Cohort.of(results.run, every, results.load("episodes", own), results.scan("grades").filter(own), charted, cuts)


def spread(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """Every n-th of sorted rows, so that at most so many are left and they stand for all."""
    if rows.height <= most:
        return rows
    return rows.gather([n * rows.height // most for n in range(most)])
