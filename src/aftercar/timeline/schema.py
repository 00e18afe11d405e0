"""The timeline: a MEDS dataset with an end, a unit, a source, an attribution, a note and a row name.

Medical Event Data Standard: `subject_id`, `time`, `code`, `numeric_value`, `text_value`.
"""

from __future__ import annotations

import polars as pl

from aftercar.errors import InputError

MEDS_VERSION = "0.4.0"

TIMELINE: dict[str, type[pl.DataType] | pl.DataType] = {
    "subject_id": pl.Int64,  # or String, where the source's ids are not whole numbers
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float64,
    "text_value": pl.String,
    "end_time": pl.Datetime("us"),
    "unit": pl.String,
    "source": pl.String,
    "attributable_to": pl.String,
    "note": pl.String,
    "event_id": pl.Int64,
}

REJECTED: dict[str, type[pl.DataType] | pl.DataType] = {
    "file": pl.String,
    "row": pl.Int64,
    "column": pl.String,
    "reason": pl.String,
    "code": pl.String,
    "detail": pl.String,
}

ATTRIBUTIONS = ("iec", "other", "unknown")


def conform(timeline: pl.DataFrame) -> pl.DataFrame:
    """Give a frame the timeline's columns, types and order; columns that it lacks are null.

    Rows without an `event_id` are numbered in the sorted order.

    Raises:
        InputError: `subject_id`, `time` or `code` is missing, or a column cannot take its type.
    """
    lacking = [c for c in ("subject_id", "time", "code") if c not in timeline.columns]
    if lacking:
        raise InputError(f"This is no timeline: it lacks {', '.join(lacking)}. `aftercar import` makes one.")
    numbered = "event_id" in timeline.columns
    try:
        timeline = timeline.select(
            pl.col("subject_id").cast(pl.String if timeline.schema["subject_id"] == pl.String else pl.Int64),
            *(
                (pl.col(name) if name in timeline.columns else pl.lit(None)).cast(dtype).alias(name)
                for name, dtype in TIMELINE.items()
                if name != "subject_id"
            ),
        )
    except pl.exceptions.PolarsError as error:
        raise InputError(f"A column of this timeline has the wrong type: {type(error).__name__}.") from error
    if not timeline["subject_id"].is_sorted() or not _sorted_within(timeline):
        timeline = timeline.sort("subject_id", "time", maintain_order=True)
    if not numbered:
        timeline = timeline.with_columns(event_id=pl.int_range(pl.len(), dtype=pl.Int64))
    return timeline


def _sorted_within(timeline: pl.DataFrame) -> bool:
    """Whether times rise within each subject, in a frame that is sorted by subject."""
    earlier = pl.col("time") < pl.col("time").shift(1)
    same = pl.col("subject_id") == pl.col("subject_id").shift(1)
    late_null = pl.col("time").is_null() & pl.col("time").shift(1).is_not_null()
    return not timeline.select(((earlier | late_null) & same).any()).item()
