"""How each due date of the calendar stands at the asked day, and why.

A condition is read on the last day on which the window is open: at the asked day where it is open or still to come. So what is over stands as it
stood, and what is open follows the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl
from polars import col, lit

from aftercar.manage.due import WINDOWS, with_done
from aftercar.manage.facts import Facts
from aftercar.manage.items import Item
from aftercar.manage.vocabulary import fact
from aftercar.manage.when import Leaf, bits, compared, compiled, leaves
from aftercar.timeline.state import DAY, of_course

STATUS = pl.Enum(["done", "done_late", "due", "overdue", "missed", "upcoming", "stopped", "not_applicable"])
APPLIES = pl.Enum(["yes", "may", "no"])
OPEN = ("due", "overdue", "missed")  # nothing was done in the window
NOT_SEEN = "not seen in this record"
_VERDICT = ("day", "now", "at", "evidence", "status", "applies", "reasons", "missing")


def judged(rows: pl.DataFrame, items: Sequence[Item], done: pl.DataFrame, facts: Facts, at: date) -> pl.DataFrame:
    """Judge windows (`due.windows`) at a day.

    Returns:
        the rows with `at` and `evidence` of what was done, `day` of it, `now` (the asked day, or that on which the item ended), `status`, `applies`,
        `reasons` and `missing`.
    """
    place = {leaf: n for n, leaf in enumerate(leaves(c for i in items for c in (i.when, i.stop)))}
    base, last_charted = of_course(facts.record.courses, rows["course"], "base", "record_end")
    rows = rows.with_columns(base, last_charted.dt.date().alias("last_charted"), now=pl.min_horizontal("stops", lit(at)))
    rows = _with_conditions(with_done(rows, len(items), done), list(place), facts)
    rows = rows.with_columns(day=(col("at") - col("base")).floordiv(DAY).cast(pl.Int32).cast(pl.Date))
    parts = [_explained(_of_item(part, items[int(n)], place), items[int(n)], place) for (n,), part in rows.group_by("item")]
    judged_rows = [part.select(*WINDOWS, *_VERDICT) for part in parts]
    return pl.concat(judged_rows).sort("course", "item", "n") if parts else _blank(rows).select(*WINDOWS, *_VERDICT)


def _blank(rows: pl.DataFrame) -> pl.DataFrame:
    words = pl.List(pl.String)
    return rows.with_columns(
        status=lit(None, STATUS), applies=lit(None, APPLIES), reasons=lit(None, words), missing=lit(None, words)
    )


def _with_conditions(rows: pl.DataFrame, asked: list[Leaf], facts: Facts) -> pl.DataFrame:
    """Add each comparison, `sN` and `pN`, at the end of the last day on which a window is open."""
    last = pl.min_horizontal("now", col("closes") - pl.duration(days=1))
    rows = rows.with_columns(judged_at=col("base") + (last.dt.epoch("d").cast(pl.Int64) + 1) * DAY - 1)
    times = rows.select("course", at="judged_at").unique().sort("at")
    truth = facts.at(times, [leaf.fact for leaf in asked]).select(col("at").alias("judged_at"), *compared(asked))
    return rows.join(truth, on="judged_at", how="left", maintain_order="left")


def _of_item(rows: pl.DataFrame, item: Item, place: dict[Leaf, int]) -> pl.DataFrame:
    """Add `status` and `applies` to the windows of one item, and `why`: a word for what decided."""
    sure, perhaps = (compiled(item.when, place, surely=surely) for surely in (True, False))
    reached = compiled(item.stop, place, surely=True) if item.stop else lit(False)
    was_done = col("at").is_not_null()
    closed = (col("closes") <= col("now")).fill_null(False)
    ended_before = (col("stops") <= col("due_from")).fill_null(False)
    verdict = (
        pl.when(was_done).then(pl.when(col("day") <= col("overdue_after")).then(lit("done")).otherwise(lit("done_late")))
        .when(ended_before).then(lit("stopped:ended"))
        .when(~perhaps).then(lit("not_applicable:when"))
        .when(reached).then(lit("stopped:reached"))
        .when(closed).then(lit("missed"))
        .when(col("stops").is_not_null()).then(lit("stopped:ended"))
        .when(col("due_from") > col("now")).then(lit("upcoming"))
        .when(col("now") > col("overdue_after")).then(lit("overdue"))
        .otherwise(lit("due"))
    )  # fmt: skip
    rows = rows.with_columns(verdict=verdict, sure=sure | was_done)
    said = col("verdict").str.split(":")
    status = said.list.first().cast(STATUS)
    idle = status.is_in(["stopped", "not_applicable"])
    applies = pl.when(idle).then(lit("no")).when("sure").then(lit("yes")).otherwise(lit("may")).cast(APPLIES)
    unseen = pl.when(col("due_from") > col("last_charted")).then(lit("after the record")).otherwise(lit("not seen"))
    why = said.list.get(1, null_on_oob=True).fill_null(pl.when(status.is_in(list(OPEN))).then(unseen))
    return rows.with_columns(status=status, applies=applies, why=why)


def _explained(rows: pl.DataFrame, item: Item, place: dict[Leaf, int]) -> pl.DataFrame:
    """Add `reasons` and `missing`; what is the same of many rows is put into words once."""
    own = list(item.when.leaves())
    held = bits([col(f"s{place[leaf]}") for leaf in own])
    open_ = bits([col(f"p{place[leaf]}") & ~col(f"s{place[leaf]}") for leaf in own])
    key = ["why", "stops_by", "held", "open"]
    rows = rows.with_columns(held=held, open=pl.when(col("applies") == "may").then(open_).otherwise(0))
    said = rows.select(key).unique(maintain_order=True)
    words = [_words(item, own, *row) for row in said.iter_rows()]
    said = said.with_columns(
        reasons=pl.Series([w[0] for w in words], dtype=pl.List(pl.String)),
        missing=pl.Series([w[1] for w in words], dtype=pl.List(pl.String)),
    )
    return rows.join(said, on=key, how="left", nulls_equal=True, maintain_order="left")


def _words(item: Item, own: list[Leaf], why: str | None, ended: str | None, held: int, open_: int) -> tuple[list[str], list[str]]:
    """Why a window stands as it does, and what would settle whether it applies."""
    missing = [fact(leaf.fact).label for n, leaf in enumerate(own) if open_ >> n & 1]
    decided = {
        "when": f"not: {item.when.text}",
        "reached": f"reached: {item.stop.text if item.stop else ''}",
        "ended": ended or "",
    }
    if why in decided:
        return [decided[why]], []
    unseen = {"not seen": NOT_SEEN, "after the record": f"{NOT_SEEN}, which ends before"}
    reasons = [leaf.text for n, leaf in enumerate(own) if held >> n & 1]
    return [*reasons, *([unseen[why]] if why else [])], list(dict.fromkeys(missing))
