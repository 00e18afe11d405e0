"""All rows of a source, settled subject by subject, and what the source or its mapping says of each subject."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.timeline.concepts import concepts
from aftercar.timeline.readers.mapping import Mappings
from aftercar.timeline.readers.normalise import RELATIVE_EPOCH, UNSETTLED, settle
from aftercar.timeline.readers.spill import BySubject
from aftercar.timeline.schema import conform

_DRUGS = [c.name for c in concepts().values() if c.kind == "drug"]
# The whole row is the key, so that the order in which rows came does not matter.
_KEY = ("subject_id", "time", "code", "numeric_value", "text_value", "end_time", "source", "unit", "attributable_to", "note")


class Gathered(BySubject):
    """The rows of a source (columns of `UNSETTLED`)."""

    def __init__(self, room: Path | None = None) -> None:
        super().__init__(room, "rows", UNSETTLED)
        self.holds_drugs = False

    def add(self, frame: pl.DataFrame) -> None:
        """Take rows in."""
        self.holds_drugs |= frame.select((col("code").is_in(_DRUGS) & (col("edge") != "end").fill_null(True)).any()).item()
        super().add(frame)


def finished(gathered: Gathered, mappings: Mappings, *, relative: bool) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """The timeline, in stretches of whole subjects, and the rows that the rest of their subject's rows refuse.

    Args:
        gathered: all rows of the source.
        mappings: what they say of the whole source.
        relative: whether times are hours or days since the infusion.
    """
    complete = mappings.complete
    if complete is None:  # nobody said: a source that holds any drug is taken to hold the drug record
        complete = ("drugs",) if gathered.holds_drugs else ()
    number = 0
    for stretch in gathered.stretches():
        timeline, refused = _finished(stretch, complete, mappings.limits, relative)
        del stretch  # it is as large as the timeline
        yield timeline.with_columns(col("event_id") + number), refused
        number += timeline.height


def _finished(
    rows: pl.DataFrame, complete: tuple[str, ...], limits: dict[str, float], relative: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows, refused = settle(rows)
    if relative:
        rows = pl.concat([rows, _at_epoch(rows)], how="diagonal_relaxed")
    rows = pl.concat([rows, _completeness(rows, complete), *_limits(rows, limits)], how="diagonal_relaxed")
    return conform(rows.sort(_KEY)), refused


def _at_epoch(rows: pl.DataFrame) -> pl.DataFrame:
    """An infusion at time zero for each subject without one."""
    dated = rows.filter(col("code") == "cart_infusion")
    subjects = rows.select("subject_id").unique().join(dated, on="subject_id", how="anti")
    return subjects.with_columns(
        time=lit(RELATIVE_EPOCH).str.to_datetime("%Y-%m-%d", time_unit="us"),
        code=lit("cart_infusion"),
        source=lit("times are relative to it"),
    )


def _completeness(rows: pl.DataFrame, complete: tuple[str, ...]) -> pl.DataFrame:
    """Rows that declare streams complete for each subject, from its first to its last row."""
    # To the second after the last row, so that the last row lies within.
    last = pl.max_horizontal(col("time").max(), col("end_time").max()) + pl.duration(seconds=1)
    spans = rows.group_by("subject_id").agg(time=col("time").min(), end_time=last).drop_nulls("time")
    said = {"code": lit("record_complete"), "source": lit("declared complete")}
    return pl.concat(
        [spans.clear(), *(spans.with_columns(text_value=lit(stream), **said) for stream in complete)], how="diagonal"
    )


def _limits(rows: pl.DataFrame, given: dict[str, float]) -> Iterator[pl.DataFrame]:
    """Rows with the laboratory's limits, for each subject of whom the source charts none of that name."""
    everyone = rows.group_by("subject_id").agg(col("time").min()).drop_nulls("time")
    for name, value in given.items():
        own = rows.filter(col("code") == name).select("subject_id").unique()
        new = everyone.join(own, on="subject_id", how="anti")
        yield new.with_columns(
            code=lit(name), numeric_value=lit(value), unit=lit(concepts()[name].unit), source=lit("[limits] of the mapping")
        )
