"""When records are asked: at one time, every so many hours of each, or whenever something may change.

Hour by hour a record is asked thousands of times, and between two of its rows the answer is mostly the same: only those times are
worked on before which something may have changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
from polars import col, lit

from aftercar.errors import InputError
from aftercar.grade.options import Options
from aftercar.grade.run import codes_of, grades_alone, opened, scales_named
from aftercar.manage.facts import GRADES_OF, SCALES, Facts, codes
from aftercar.manage.ledger import counted
from aftercar.manage.rules import RuleBook
from aftercar.manage.when import Leaf, leaves
from aftercar.timeline.state import HOUR, LIFETIME_S, SPAN, Record, origin

At = datetime | float | None


@dataclass(frozen=True)
class Charts:
    """Records that rules can be asked of.

    Attributes:
        charted: the timeline that they were made of.
        grades: of each time as it could be graded then: without hindsight.
        courses: how many there are, asked or not.
    """

    charted: pl.LazyFrame
    record: Record
    grades: pl.DataFrame
    courses: int


def charts(charted: pl.LazyFrame, books: Iterable[RuleBook], options: Options) -> Charts:
    """Read and grade whole subjects of a timeline in our schema, as it was `extended`, for some books of rules."""
    scales, wanted = scales_named(SCALES), set()
    for book in books:
        wanted |= {*codes([*_names(book), *(f"given.{drug}" for drug in counted(book.drugs))])}
    record, courses = opened(charted, sorted({*codes_of(scales), *wanted}), options, hindsight=False)
    return Charts(charted, record, grades_alone(record, courses, scales, options), courses.height)


@dataclass(frozen=True)
class Asked:
    """The facts that the rules of a book read, and when they are asked.

    Attributes:
        names: of the facts.
        times: `course, at, until`, sorted: asked times before which something may have changed, each with the last one before the next.
        last: when doses are counted: the last asked time of each course that is asked at all, or (`ask_ahead`) all of `times`: `course, at`, sorted.
    """

    record: Record
    facts: Facts
    names: list[str]
    times: pl.DataFrame
    last: pl.DataFrame


def ask(charts: Charts, book: RuleBook, at: At, every_h: float | None) -> Asked:
    """Make the records ready to be asked: at one time, or every so many hours of each.

    Raises:
        InputError: `every_h` is not above 0.
    """
    facts = Facts(charts.record, charts.grades, book.drugs)
    if every_h is None:
        last = at_once(charts, at)
        times = last.with_columns(until="at")
    else:
        step = step_s(every_h)
        last = last_times(charts.record, step)
        times = turning_times(last, facts.turns(comparisons(book)), step)
    return Asked(charts.record, facts, _names(book), times, last)


def ask_ahead(charts: Charts, book: RuleBook, at: datetime, ahead: timedelta) -> Asked:
    """Make the records ready to be asked at a time, and from then on whenever what the rules say may change while nothing is charted."""
    facts = Facts(charts.record, charts.grades, book.drugs)
    begin = at_once(charts, at).with_columns(end=col("at") + int(ahead.total_seconds()))
    turns = facts.turns(comparisons(book)).to_frame("turn").select("turn", course=col("turn") // SPAN)
    later = turns.join(begin, on="course").filter((col("turn") > col("at")) & (col("turn") <= col("end")))
    times = pl.concat([begin, later.select("course", "end", at="turn")], how="diagonal").sort("at")
    following = pl.when(col("course").shift(-1) == col("course")).then(col("at").shift(-1) - 1)
    times = times.select("course", "at", until=pl.coalesce(following, "end"))
    return Asked(charts.record, facts, _names(book), times, times.select("course", "at"))


def comparisons(book: RuleBook) -> list[Leaf]:
    """Every comparison of the rules, each once."""
    return leaves(c for r in book.rules for c in (r.when, r.unless))


def _names(book: RuleBook) -> list[str]:
    """The facts that the rules read; the grades among them in any case."""
    return sorted({leaf.fact for leaf in comparisons(book)} | set(GRADES_OF))


def step_s(every_h: float) -> int:
    """Seconds from one asked time to the next.

    Raises:
        InputError: the hours are not above 0.
    """
    if not every_h > 0:
        raise InputError("The hours between two asked times must be above 0.")
    return max(int(min(every_h * HOUR, LIFETIME_S)), 1)


def extended(charted: pl.LazyFrame, at: At) -> pl.LazyFrame:
    """A timeline whose records go on to an asked time, so that what was charted last stands as long as it is valid and no longer."""
    if at is None:
        return charted
    begins = charted.filter(col("code") == "cart_infusion").group_by("subject_id").agg(col("time").min())
    time = lit(at) if isinstance(at, datetime) else col("time") + pl.duration(microseconds=int(at * HOUR) * 1_000_000)
    asked = begins.with_columns(asked=time.cast(pl.Datetime("us"))).filter(col("asked") >= col("time"))
    return pl.concat([charted, asked.select("subject_id", time="asked", code=lit("asked"))], how="diagonal_relaxed")


def courses_asked(record: Record) -> pl.DataFrame:
    """When each course can be asked, `course, begin, end`: from its infusion to the end of its record, and before a death."""
    death_at = col("base") + col("death").dt.epoch("s")
    places = record.courses.select("course", begin=origin(col("base")), end=pl.min_horizontal("last_at", death_at - 1))
    return places.filter(col("begin") <= col("end"))


def at_once(charts: Charts, at: At) -> pl.DataFrame:
    """One asked time of each course, `course, at`, sorted: `at`, or when something was last charted."""
    record, charted = charts.record, charts.charted
    places = courses_asked(record).join(record.courses.select("course", "subject_id", "base"), on="course")
    if isinstance(at, datetime):
        asked = places.with_columns(at=col("base") + lit(at).dt.epoch("s"))
    elif at is not None:
        asked = places.with_columns(at=col("begin") + int(at * HOUR))
    else:
        rows = charted.filter(~col("code").is_in(["record_complete", "birth"])).select("subject_id", "time").unique().collect()
        placed = rows.join(places, on="subject_id").with_columns(at=col("base") + col("time").dt.epoch("s"))
        placed = placed.filter(col("at").is_between("begin", "end"))
        asked = placed.group_by("course").agg(pl.all().exclude("at").first(), col("at").max())
    return asked.filter(col("at").is_between("begin", "end")).select("course", "at").sort("at")


def last_times(record: Record, step: int) -> pl.DataFrame:
    """The last time at which each course is asked, every `step` seconds from its infusion on: `course, at`, sorted."""
    begin = col("begin")
    return courses_asked(record).select("course", at=begin + (col("end") - begin) // step * step).sort("at")


def turning_times(last: pl.DataFrame, turns: pl.Series, step: int) -> pl.DataFrame:
    """The asked times before which something may have changed, each with the last one before the next: `course, at, until`, sorted.

    Args:
        last: `last_times`.
        turns: times on the axis at which something may change.
    """
    ends = last.rename({"at": "last"}).with_columns(begin=origin(col("last")))
    places = turns.to_frame("turn").select("turn", course=col("turn") // SPAN).join(ends, on="course")
    late = pl.max_horizontal(col("turn") - col("begin"), lit(0))
    asked = places.select("course", "last", at=col("begin") + (late + step - 1) // step * step).filter(col("at") <= col("last"))
    asked = pl.concat([asked, ends.select("course", "last", at="begin")]).unique("at").sort("at")
    following = pl.when(col("course").shift(-1) == col("course")).then(col("at").shift(-1) - step)
    return asked.select("course", "at", until=pl.coalesce(following, "last"))
