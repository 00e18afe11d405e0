"""What the figures of a cohort are drawn from: the tables of a results folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.cohort.outcome import COURSE
from aftercar.errors import InputError, OptionError, nearest
from aftercar.frames import load, scan
from aftercar.grade.explain import match_id, open_graded, read_run

DAY_US = 86_400_000_000  # microseconds
GROUPS = ("product", "disease", "target", "sex")
MOST_GROUPS = 6  # more lines cannot be told apart
UNKNOWN_GROUP = "not recorded"


@dataclass(frozen=True)
class Results:
    """A cohort. Only courses with an infusion are in `courses`: without one there is no day 0.

    Attributes:
        run: `run.json`.
        courses: the table `subjects`, with `name`: the subject, and the infusion where it is not the first.
        episodes, grades: of `docs/tables.md`; only rows of `courses` count.
        timeline: its rows, where a figure needs them.
        uninfused: how many courses were left out.
    """

    run: dict[str, Any]
    courses: pl.DataFrame
    episodes: pl.DataFrame
    grades: pl.LazyFrame
    timeline: pl.LazyFrame | None
    uninfused: int

    @classmethod
    def of(
        cls,
        run: dict[str, Any],
        subjects: pl.DataFrame,
        episodes: pl.DataFrame,
        grades: pl.LazyFrame,
        timeline: pl.LazyFrame | None,
    ) -> Results:
        """From tables as `docs/tables.md` describes them."""
        infused = subjects.filter(col("day0").is_not_null())
        several = pl.when(col("infusion") > 1).then(pl.format(" ({})", "infusion")).otherwise(lit(""))
        named = infused.with_columns(name=pl.concat_str(col("subject_id").cast(pl.String), several)).sort(COURSE)
        if timeline is not None:
            timeline = timeline.with_columns(col("subject_id").cast(subjects.schema["subject_id"]))
        return cls(run, named, episodes, grades, timeline, subjects.height - infused.height)

    @property
    def simulated(self) -> bool:
        """Whether the patients are virtual."""
        return bool(self.run.get("simulated"))

    def midnight(self) -> pl.DataFrame:
        """The courses with `midnight`, the one before the infusion."""
        return self.courses.select(*COURSE, midnight=col("day0").dt.truncate("1d"))

    def grouped(self, by: str | None) -> pl.DataFrame:
        """The courses with `group`: what the column `by` says, `UNKNOWN_GROUP` where it says nothing; the empty word where no column is asked for.

        Raises:
            OptionError: it is no column to group by.
        """
        if by is None:
            return self.courses.with_columns(group=lit(""))
        if by not in GROUPS or by not in self.courses.columns:
            raise OptionError(f"--by is one of {', '.join(GROUPS)}. {nearest(by, GROUPS)}")
        return self.courses.with_columns(group=col(by).cast(pl.String).fill_null(UNKNOWN_GROUP))


def days_since(time: str, midnight: str = "midnight") -> pl.Expr:
    """Elapsed days from the midnight before the infusion to a time."""
    return (col(time) - col(midnight)).dt.total_microseconds() / DAY_US


def opened(folder: Path, *, timeline: Path | None = None, subjects: Sequence[str] | None = None, rows: bool = False) -> Results:
    """The tables of a results folder.

    Args:
        timeline: where the timeline is, if it was moved.
        subjects: keep only these.
        rows: whether rows of the timeline are needed.
    Raises:
        InputError: there is no result, the timeline is gone, or a subject is not in it.
    """
    run = read_run(folder)
    lacking = [f"{n}.parquet" for n in ("grades", "episodes", "subjects") if not (folder / f"{n}.parquet").is_file()]
    if lacking:
        raise InputError(f"{folder} holds no result: {', '.join(lacking)} not found. `aftercar grade` makes one.")
    every = load(folder / "subjects.parquet")
    if subjects:
        kept = [match_id(s, every.schema["subject_id"]) for s in subjects]
        if not set(kept) <= set(every["subject_id"]):
            raise InputError("A subject that was asked for is not among the results. Ids are written as in the source.")
        every = every.filter(col("subject_id").is_in(kept))
    own = col("subject_id").is_in(every["subject_id"].unique().implode())
    charted = open_graded(folder, run, timeline).scan() if rows else None
    return Results.of(
        run, every, load(folder / "episodes.parquet").filter(own), scan(folder / "grades.parquet").filter(own), charted
    )


def spread(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """Every n-th of sorted rows, so that at most so many are left and they stand for all."""
    if rows.height <= most:
        return rows
    return rows.gather([n * rows.height // most for n in range(most)])
