"""The tables of the late-effects calendar out of judged due dates; `docs/calendar.md` describes each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.manage.items import ENDINGS, Item
from aftercar.manage.judge import APPLIES, OPEN, STATUS
from aftercar.timeline.state import Record, of_course

# Of an item at the asked day. may_apply: due or overdue, if what is not known is so. up_to_date: done, and the next window has not opened.
# finished: its last window has closed. ended: the course has, by death or another infusion.
STATE = pl.Enum(["overdue", "due", "may_apply", "up_to_date", "not_begun", "finished", "stopped", "not_applicable", "ended"])

_TOLD = ("item", "topic", "todo")
_BASIS = ("strength", "source", "source_at", "source_date", "mark", "note")
_COUNTED = (*_TOLD, "mark")
_KEY: dict[str, Any] = {"subject_id": None, "infusion": pl.Int32, **dict.fromkeys(_TOLD, pl.String)}
CALENDAR: dict[str, Any] = {
    **_KEY,
    "occurrence": pl.Int32,
    "due_from": pl.Date,
    "due": pl.Date,
    "overdue_after": pl.Date,
    "closes": pl.Date,
    "status": STATUS,
    "applies": APPLIES,
    "done_at": pl.Datetime("us"),
    "evidence": pl.List(pl.Int64),
    "record": pl.String,
    "reasons": pl.List(pl.String),
    "missing": pl.List(pl.String),
    **dict.fromkeys(_BASIS, pl.String),
}
ITEMS: dict[str, Any] = {
    **_KEY,
    "state": STATE,
    "applies": APPLIES,
    "times_done": pl.Int32,
    "last_done": pl.Date,
    "times_missed": pl.Int32,
    "due": pl.Date,
    "overdue_since": pl.Date,
    "overdue_d": pl.Int32,
    "next_due": pl.Date,
    "reasons": pl.List(pl.String),
    "missing": pl.List(pl.String),
    **dict.fromkeys(_BASIS, pl.String),
}
COURSES: dict[str, Any] = {
    "subject_id": None,
    "infusion": pl.Int32,
    "day0": pl.Datetime("us"),
    "product": pl.String,
    "target": pl.String,
    "last_charted": pl.Date,
    **dict.fromkeys(ENDINGS, pl.Date),
    "ended": pl.Date,
    "ended_by": pl.String,
    "asked": pl.Boolean,
}


def due_dates(rows: pl.DataFrame, rec: Record, items: Sequence[Item], timeline: pl.DataFrame) -> pl.DataFrame:
    """The table `CALENDAR`: a row a course, item and due date.

    Args:
        rows: `judge.judged`.
        timeline: holds the rows that are evidence.
    """
    base = of_course(rec.courses, rows["course"], "base")[0]
    sources = timeline.select("event_id", record="source").unique("event_id")
    first = rows.select(event_id=col("evidence").list.first()).join(sources, on="event_id", how="left", maintain_order="left")
    rows = rows.with_columns(first["record"], occurrence="n", done_at=pl.from_epoch(col("at") - base))
    return _named(rows, rec, items, CALENDAR)


def standing(rows: pl.DataFrame, rec: Record, items: Sequence[Item], at: date) -> pl.DataFrame:
    """The table `ITEMS`: of each course and item how the last window stands that has opened, and what was left undone since it was last done."""
    shown, open_ = ("status", "applies", "reasons", "missing"), col("status").is_in(["due", "overdue"])
    done_n = col("n").filter(col("day").is_not_null()).max().over("course", "item").fill_null(0)
    rows = rows.with_columns(
        begun=col("due_from") <= col("now"),
        undone=col("status").is_in(list(OPEN)) & (col("n") > done_n),
        missed=(col("status") == "missed") & (col("applies") == "yes"),
    )
    found = rows.group_by("course", "item", maintain_order=True).agg(
        *(pl.coalesce(col(c).filter("begun").last(), col(c).first()).alias(c) for c in shown),
        col("begun").any(),
        times_done=col("day").is_not_null().sum(),
        last_done=col("day").max(),
        times_missed=col("missed").sum(),
        due=col("due").filter(open_).last(),
        since=col("overdue_after").filter("undone").min(),
        next_due=col("due").filter(col("status") == "upcoming").min(),
        closed=(col("closes").last() <= col("now").last()).fill_null(False),
    )
    over = rec.courses.select(col("death").is_not_null() | col("until").is_not_null()).to_series()
    ended, waiting = lit(over.gather(found["course"])), col("due").is_not_null()
    late = waiting & (col("since") < lit(at)) & ~ended
    state = (
        pl.when(ended).then(lit("ended"))
        .when(waiting & (col("applies") == "may")).then(lit("may_apply"))
        .when(late).then(lit("overdue"))
        .when(waiting).then(lit("due"))
        .when(col("status").is_in(["stopped", "not_applicable"])).then("status")
        .when(~col("begun")).then(lit("not_begun"))
        .when("closed").then(lit("finished"))
        .otherwise(lit("up_to_date"))
    )  # fmt: skip
    found = found.with_columns(state=state, overdue_since=pl.when(late).then("since"))
    return _named(found.with_columns(overdue_d=(lit(at) - col("overdue_since")).dt.total_days()), rec, items, ITEMS)


def courses_told(courses: pl.DataFrame) -> pl.DataFrame:
    """The table `COURSES`, out of `subjects`."""
    death, following = col("death").dt.date(), col("until").dt.date()
    return courses.with_columns(
        *(col(c).dt.date() for c in ENDINGS),
        last_charted=col("record_end").dt.date(),
        ended=pl.min_horizontal(death, following),
        ended_by=pl.when(death.is_not_null()).then(lit("death")).when(following.is_not_null()).then(lit("another infusion")),
        asked=col("day0").is_not_null(),
    ).select(_typed(COURSES))


def _named(rows: pl.DataFrame, rec: Record, items: Sequence[Item], schema: dict[str, Any]) -> pl.DataFrame:
    """Rows with their subject and infusion and what the item says whatever the subject, in the order of subjects and items."""
    words = [
        (i.id, i.topic, i.todo, i.basis.strength, i.basis.source, i.basis.at, i.basis.date, i.basis.mark, i.note) for i in items
    ]
    static = pl.DataFrame(words, schema=dict.fromkeys((*_TOLD, *_BASIS), pl.String), orient="row")
    rows = rows.with_columns(of_course(rec.courses, rows["course"], "subject_id", "infusion", "place"))
    rows = rows.sort("place", "item", maintain_order=True)
    return rows.with_columns(static[c].gather(rows["item"]).alias(c) for c in static.columns).select(_typed(schema))


def _typed(schema: dict[str, Any]) -> list[pl.Expr]:
    return [col(c).cast(t) if t is not None else col(c) for c, t in schema.items()]


def longest_first(overdue: pl.DataFrame) -> pl.DataFrame:
    """Rows of `ITEMS`: subjects with the longest overdue first, and of each the longest first."""
    longest = col("overdue_d").max().over("subject_id")
    return overdue.sort(
        longest, "subject_id", "infusion", "overdue_d", descending=[True, False, False, True], maintain_order=True
    )


def counts(items: pl.DataFrame) -> pl.DataFrame:
    """How many courses each item stands how: a row an item in the order of the calendar, a column a state of `STATE`, and `times_missed`."""
    states = [(col("state") == s).sum().cast(pl.Int64).alias(s) for s in STATE.categories]
    return items.group_by(*_COUNTED, maintain_order=True).agg(*states, col("times_missed").sum().cast(pl.Int64))


def added(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The `counts` of several parts as one."""
    return pl.concat(parts).group_by(*_COUNTED, maintain_order=True).agg(pl.all().exclude(_COUNTED).sum())
