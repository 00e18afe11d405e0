"""Deaths in a record, and of what: grade 5 of every toxicity that can kill."""

from __future__ import annotations

import polars as pl
from polars import col

from aftercar.timeline.state import Record


def deaths(record: Record) -> pl.DataFrame:
    """The time of each death, one second long: `at, until, event_id`."""
    rows = record.of("death").lazy().select("at", until=col("at") + 1, event_id=col("event_id")).unique("at").sort("at")
    return record.once("deaths", lambda: rows.collect(engine="in-memory"))


def death_at() -> pl.Expr:
    """Of a course, the end of its record where that is a death; else null."""
    return pl.when(col("death").is_not_null()).then("last_at")


def died_of(cause: str, there: pl.Expr) -> pl.Expr:
    """Whether this is the death, and of this cause; null where nobody said of what while the toxicity was there.

    Args:
        there: whether the toxicity was there; never null.
    """
    died = (col("at") == col("death_at")).fill_null(False)
    unsaid = col("death_cause").is_null() | (col("death_cause") == "unknown")
    return pl.when(died & (col("death_cause") == cause)).then(True).when(died & unsaid & there).then(None).otherwise(False)
