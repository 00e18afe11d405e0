"""Onset and duration as far as the record tells them: between two times, where charting has gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from polars import col, lit

from aftercar.cohort.episodes import QUARTILES
from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.cohort.survival import Between, kaplan_meier, quantile, turnbull

MEASURES = ("onset", "onset_of_all", "duration")
_HOUR = 1 / 24  # times are read to the hour: who charts more finely does not know more


def between(subjects: pl.DataFrame, grades: pl.DataFrame, outcome: Outcome, gap_h: float) -> pl.DataFrame:
    """When a grade was first reached and when that episode ended, as far as the record tells: a row a course with an infusion.

    It was surely there while `grade` reaches the cut, and surely not while `grade_upper` is below it (or the diagnosis is ruled out). An onset that came and went
    in a gap was seen by nobody and is none.

    Args:
        outcome: on scales that grade each time on its own.
        gap_h: a new episode begins after so many hours without it (`new_episode_gap_h`).
    Returns:
        Elapsed days since the infusion, to the hour: the onset lies in `(after, until]`, the end in `(end_after, end_until]`; the same number twice: at that very time. `until` is infinite
        where it was never seen, `end_until` where its end was not seen; `end_after, end_until` are null where it never began.
    """
    courses = subjects.filter(col("day0").is_not_null()).select(*COURSE, "day0", "record_end")
    rows = grades.filter(col("scale").is_in(outcome.scales) & (col("status").cast(pl.String) != "not_applicable")).select(
        *COURSE, "start", "end", yes=outcome.reached(),
        no=(col("grade_upper") < outcome.cut) | (col("status").cast(pl.String) == "not_met"),
    )  # fmt: skip
    rows = rows.join(courses, on=COURSE).sort(*COURSE, "start")
    stop = pl.max_horizontal("start", pl.coalesce("end", "record_end"))
    rows = rows.select(*COURSE, "yes", "no", start=_elapsed(col("start")), stop=_elapsed(stop)).filter(col("yes") | col("no"))
    apart = (col("start") - col("stop").shift(1) >= gap_h * _HOUR).fill_null(True)
    there = rows.filter("yes").with_columns(spell=apart.cum_sum().over(COURSE))
    first = there.filter(col("spell") == 1).group_by(COURSE).agg(until=col("start").min(), end_after=col("stop").max())
    later = there.filter(col("spell") == 2).group_by(COURSE).agg(again=col("start").min())
    seen = courses.select(COURSE).join(first, on=COURSE, how="left").join(later, on=COURSE, how="left")
    clear = rows.filter("no").join(seen, on=COURSE, how="left")
    before = clear.filter(col("until").is_null() | (col("start") < col("until"))).group_by(COURSE).agg(after=col("stop").max())
    then = clear.filter(col("start") >= col("end_after")).group_by(COURSE).agg(clear=col("start").min())
    found = seen.join(before, on=COURSE, how="left").join(then, on=COURSE, how="left")
    never = col("until").is_null()
    ended = pl.min_horizontal("clear", "again").fill_null(float("inf"))
    return found.select(
        *COURSE,
        after=pl.min_horizontal(col("after").fill_null(0.0), "until"),
        until=col("until").fill_null(float("inf")),
        end_after="end_after",
        end_until=pl.when(~never).then(ended),
    ).sort(COURSE)


def _elapsed(time: pl.Expr) -> pl.Expr:
    hours = (time - col("day0")).dt.total_seconds() / 3600
    return hours.round(0).clip(0.0) * _HOUR


@dataclass(frozen=True, eq=False)
class Timed:
    """One measure of time over courses: what the plain times say, and what the record says.

    Attributes:
        n, events: courses, and those in whom the event was seen.
        uncertain: events that are known only between two times.
        plain: quartiles, as if the first sure sign were the onset and the first clear reading the end (Kaplan and Meier; null where not reached).
        least, greatest: of each quartile the stretch in which Turnbull's estimate has it; `greatest` is null where it is not reached.
    """

    n: int
    events: int
    uncertain: int
    plain: dict[str, float | None]
    least: dict[str, float | None]
    greatest: dict[str, float | None]

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        times = {f"{q}_{side}": getattr(self, side)[q] for q in QUARTILES for side in ("plain", "least", "greatest")}
        return {"n": self.n, "events": self.events, "uncertain": self.uncertain} | times


def timed(times: pl.DataFrame, measure: str) -> Timed:
    """Onset or duration over the courses of `between`.

    Args:
        measure: `onset` of those who had it; `onset_of_all`, where death and the end of the record censor; `duration` of the first episode. A duration lies between
            the least, from the first sure sign to the last, and the greatest, from the last time before to the first clear one after: nothing is supposed within.
    """
    began = times.filter(col("until").is_finite())
    if measure == "duration":
        shown = began.select(
            after=col("end_after") - col("until"), until=col("end_until") - col("after"),
            plain=pl.when(col("end_until").is_finite()).then("end_until").otherwise("end_after") - col("until"),
            seen=col("end_until").is_finite(),
        )  # fmt: skip
    else:
        own = began if measure == "onset" else times
        seen = col("until").is_finite()
        shown = own.select("after", "until", plain=pl.when(seen).then("until").otherwise("after"), seen=seen)
    events = shown.filter("seen")
    uncertain = int((events["until"] - events["after"] > _HOUR / 2).sum())
    curve = kaplan_meier(shown.select(day="plain", what=pl.when("seen").then(lit("event")).otherwise(lit("censored"))))
    plain = {name: quantile(curve, p) for name, p in QUARTILES.items()}
    least: dict[str, float | None] = dict.fromkeys(QUARTILES)
    greatest = least.copy()
    if events.height:
        estimate: Between = turnbull(*(_hours(shown[c]) for c in ("after", "until")))
        for name, p in QUARTILES.items():
            low, high = estimate.quantile(p)
            least[name], greatest[name] = low * _HOUR, high * _HOUR if np.isfinite(high) else None
    return Timed(shown.height, events.height, uncertain, plain, least, greatest)


def _hours(days: pl.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Whole hours: what is one time must be one number."""
    return np.round(days.to_numpy() / _HOUR)
