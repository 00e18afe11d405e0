"""Of each course, whether it had an outcome: surely, surely not, or undecided because of what was not charted."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.cohort.outcome import COURSE, Outcome

MOST_OPEN = 0.2  # of courses that may be undecided: a yes takes one finding and a no takes all, so the decided alone overstate
ANSWER = pl.Enum(["yes", "no", "open", "not applicable"])


def decided(subjects: pl.DataFrame, worst: pl.DataFrame, outcome: Outcome) -> pl.DataFrame:
    """The answer over the whole record of each course: `subject_id, infusion, answer`, a row a row of `subjects`.

    A course is `open` where missing data leave the grade possible, `not applicable` where there is no infusion or the scale is not for it.

    Args:
        subjects, worst: the tables of a grading.
    """
    own = worst.filter(col("scale").is_in(outcome.scales))
    found = own.select(*COURSE, answer=_answer(
        col("status").cast(pl.String) != "not_applicable", outcome.reached(), outcome.reached("grade_upper")
    ))  # fmt: skip
    return _of_all(subjects, found)


def decided_by(subjects: pl.DataFrame, grades: pl.DataFrame, outcome: Outcome, day: int) -> pl.DataFrame:
    """The answer by the end of a calendar day since the infusion: as `decided`, with `followed`.

    A course that has not reached the grade and whose record ends before that day, without death, is `open`: nobody saw the rest.

    Args:
        subjects, grades: the tables of a grading.
        day: 0 is the day of the infusion.
    """
    known = subjects.filter(col("day0").is_not_null()).select(
        *COURSE, "death", "record_end", closes=col("day0").dt.truncate("1d") + pl.duration(days=day + 1)
    )
    rows = grades.filter(col("scale").is_in(outcome.scales)).join(known, on=COURSE).filter(col("start") < col("closes"))
    applies, stale = col("status").cast(pl.String) != "not_applicable", col("flags").list.contains("stale")
    # As in `worst`: where something was assessed, what only the time between assessments leaves open does not count.
    seen = (applies & ~stale).any()
    found = rows.group_by(COURSE).agg(
        applies=applies.any(),
        yes=outcome.reached().any(),
        maybe=pl.when(seen).then(outcome.reached("upper_assessed").any()).otherwise(outcome.reached("grade_upper").any()),
    )
    followed = (col("death") < col("closes")).fill_null(False) | (col("record_end") >= col("closes") - pl.duration(days=1))
    told = known.join(found, on=COURSE, how="left").with_columns(followed=followed.fill_null(False))
    told = told.select(
        *COURSE,
        "followed",
        answer=_answer(col("applies").fill_null(False), col("yes"), col("maybe") | ~col("followed")),
    )
    return _of_all(subjects, told)


def unassessed(subjects: pl.DataFrame, grades: pl.DataFrame, outcome: Outcome, days: int) -> pl.DataFrame:
    """Hours of the first days after the infusion in which all that the scales read had expired, or was not charted yet: `subject_id, infusion,
    unassessed_h`, a row a course with an infusion."""
    known = subjects.filter(col("day0").is_not_null()).select(
        *COURSE, "day0", "record_end", closes=col("day0") + pl.duration(days=days)
    )
    rows = grades.filter(
        col("scale").is_in(outcome.scales)
        & (col("status").cast(pl.String) != "not_applicable")
        & col("flags").list.contains("stale")
    ).join(known, on=COURSE)
    hours = (
        pl.min_horizontal(pl.coalesce("end", "record_end"), "closes") - pl.max_horizontal("start", "day0")
    ).dt.total_seconds() / 3600
    found = rows.group_by(COURSE).agg(unassessed_h=hours.clip(0).sum())
    return (
        known.select(COURSE)
        .join(found, on=COURSE, how="left", maintain_order="left")
        .with_columns(col("unassessed_h").fill_null(0.0))
    )


def _answer(applies: pl.Expr, yes: pl.Expr, maybe: pl.Expr) -> pl.Expr:
    words = pl.when(~applies).then(lit("not applicable")).when(yes).then(lit("yes")).when(maybe).then(lit("open"))
    return words.otherwise(lit("no")).cast(ANSWER)


def _of_all(subjects: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """A row for every course, in the order of `subjects`."""
    every = subjects.select(COURSE).join(found, on=COURSE, how="left", maintain_order="left")
    return every.with_columns(col("answer").fill_null("not applicable"))
