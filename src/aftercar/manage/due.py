"""Due dates of the calendar's items, the windows around them, and the first record in each.

A window opens some time before its due date and closes where the next one opens, so no record counts for two dates.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from polars import col, lit

from aftercar.manage.items import ENDINGS, Act, Item
from aftercar.timeline.concepts import concept
from aftercar.timeline.state import DAY, Record

# Words beside an event that say that it was not done, or not yet.
NOT_DONE = (
    "unknown", "pending", "planned", "scheduled", "ordered", "not done", "not_done", "declined", "refused", "missed", "cancelled", "canceled",
    "no show", "no",
)  # fmt: skip
WINDOWS = ("course", "item", "n", "due_from", "due", "overdue_after", "closes", "stops", "stops_by")
_STOPS = {"death": "death", "following": "another infusion"}
_DAYS = 1 << 21  # the axis of an item: a million days on either side of 1970


def windows(courses: pl.DataFrame, items: Sequence[Item], until_y: float) -> pl.DataFrame:
    """Every due date of each course and item up to so many years, sorted by course, item and date.

    Args:
        courses: of a record.
    Returns:
        `course, item` (its number), `n` (1, 2 ...), `due_from, due, overdue_after, closes` (the first day of the next window; null: never), and
        `stops, stops_by`: the day from which the item is asked no longer because of a death, another infusion or an event of `ENDINGS`, and which.
    """
    dates = {name: col(name).dt.date() for name in ("death", *ENDINGS)}
    days = courses.select("course", zero=col("day0").dt.date(), following=col("until").dt.date(), **dates)
    parts = [_series(days, n, item, until_y) for n, item in enumerate(items)]
    return pl.concat(parts).select(WINDOWS).sort("course", "item", "n")


def _series(days: pl.DataFrame, number: int, item: Item, until_y: float) -> pl.DataFrame:
    early, late, zero = f"-{item.early.offset}", item.late.offset, col("zero").dt
    parts: list[pl.DataFrame] = []
    for n, (due, following) in enumerate(item.occurrences(until_y), start=1):
        opens = zero.offset_by(following.offset).dt.offset_by(early) if following else lit(None, pl.Date)
        closes = zero.offset_by(item.closes.offset) if item.closes else opens
        parts.append(days.with_columns(n=lit(n, pl.Int32), due=zero.offset_by(due.offset), closes=closes))
    ends = {name: words for name, words in (_STOPS | ENDINGS).items() if name in (*_STOPS, *item.ends_with)}
    stops = pl.min_horizontal(*ends)
    rows = pl.concat(parts) if parts else days.clear().with_columns(n=lit(0, pl.Int32), due="zero", closes="zero")
    return rows.with_columns(
        item=lit(number, pl.Int32),
        due_from=col("due").dt.offset_by(early),
        overdue_after=col("due").dt.offset_by(late),
        stops=stops,
        stops_by=pl.coalesce(pl.when(col(name) == stops).then(lit(words)) for name, words in ends.items()),
    )


def done(rec: Record, items: Sequence[Item]) -> pl.DataFrame:
    """Each day on which an item was done: `key` (its place on the axis of `_key`), `at`, `evidence`; sorted by `key`, each once."""
    parts = [pl.DataFrame(schema={"key": pl.Int64, "at": pl.Int64, "evidence": pl.List(pl.Int64)})]
    for n, item in enumerate(items):
        shown = pl.concat([_shown(rec, act).with_columns(act=lit(k)) for k, act in enumerate(item.done_by)])
        base = rec.courses["base"].gather(shown["course"])
        by_day = shown.with_columns(day=(col("at") - base).floordiv(DAY)).sort("at", "event_id").group_by("course", "day")
        if item.together:
            every = by_day.agg(col("at").max(), evidence=col("event_id").filter(col("act").is_first_distinct()))
            rows = every.filter(col("evidence").list.len() == len(item.done_by))
        else:
            rows = by_day.agg(col("at").first(), evidence=col("event_id").head(1))
        parts.append(rows.select(_key(len(items), lit(n)).alias("key"), "at", "evidence"))
    return pl.concat(parts).sort("key")


def _shown(rec: Record, act: Act) -> pl.DataFrame:
    """Rows that show that something was done: `course, at, event_id`."""
    kind, number, said = concept(act.code).kind, col("numeric_value"), col("text_value")
    if act.word:
        counts = said == act.word
    elif kind in ("number", "flag"):
        counts = number.is_not_null()
    elif kind == "text":
        counts = said.is_in(list(concept(act.code).values))
    elif kind == "drug":
        counts = (number != 0).fill_null(True)
    else:
        counts = ~said.str.to_lowercase().is_in(NOT_DONE).fill_null(False)
    return rec.of(act.code).filter(counts).select("course", "at", "event_id")


def with_done(rows: pl.DataFrame, items: int, done: pl.DataFrame) -> pl.DataFrame:
    """Add to windows the first record in each: `at, evidence`, null where there is none."""

    def on_axis(day: str) -> pl.Expr:
        return _key(items, col("item"), col(day).dt.epoch("d"))

    last = _key(items, col("item"), lit(_DAYS // 2))
    rows = rows.with_columns(key=on_axis("due_from"), closed=pl.coalesce(on_axis("closes"), last)).sort("key")
    found = rows.join_asof(done.with_columns(found="key"), on="key", strategy="forward", coalesce=True)
    own = (col("found") < col("closed")).fill_null(False)
    return found.with_columns(pl.when(own).then(c).alias(c) for c in ("at", "evidence")).drop("key", "closed", "found")


def _key(items: int, item: pl.Expr, day: pl.Expr | None = None) -> pl.Expr:
    """Days since 1970 within an item within a course, on one sorted axis: so the first record in a window is one as-of join."""
    day = col("day") if day is None else day
    return (col("course").cast(pl.Int64) * items + item.cast(pl.Int64)) * _DAYS + day.cast(pl.Int64) + _DAYS // 2
