"""The timeline: a MEDS dataset with an end, a unit, a source, an attribution, a note and a row name.

Medical Event Data Standard: `subject_id`, `time`, `code`, `numeric_value`, `text_value`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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

    Times with a zone keep their wall clock. Numbers that are not finite are null. Rows without an `event_id` are numbered in the
    sorted order.

    Raises:
        InputError: `subject_id`, `time` or `code` is missing, a subject is null, or a column has the wrong type.
    """
    numbered = "event_id" in timeline.columns
    timeline = aligned(timeline.lazy(), timeline.schema).collect()
    value = timeline["numeric_value"]
    if not value.is_finite().all():
        timeline = timeline.with_columns(numeric_value=pl.when(value.is_finite()).then(value))
    if timeline["subject_id"].null_count():
        raise InputError("This is no timeline: some rows name no subject.")
    if not timeline["subject_id"].is_sorted() or not _sorted_within(timeline):
        timeline = timeline.sort("subject_id", "time", maintain_order=True)
    if not numbered:
        timeline = timeline.with_columns(event_id=pl.int_range(pl.len(), dtype=pl.Int64))
    return timeline


def aligned(timeline: pl.LazyFrame, schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """The timeline's columns in their types, of a frame with this schema; nothing is sorted or read.

    Raises:
        InputError: a column is missing or has the wrong type.
    """
    lacking = [c for c in ("subject_id", "time", "code") if c not in schema]
    if lacking:
        raise InputError(f"This is no timeline: it lacks {', '.join(lacking)}. `aftercar import` makes one.")
    for name, fits in _FITS.items():
        if name in schema and schema[name] != pl.Null and not fits(schema[name]):
            raise InputError(f"This is no timeline: {name} is {schema[name]}. docs/tables.md says what it should be.")
    columns: list[pl.Expr] = []
    for name, dtype in TIMELINE.items():
        have = schema.get(name, pl.Null())
        column = pl.col(name) if name in schema else pl.lit(None)
        if name == "subject_id" and not have.is_integer():
            dtype = pl.String
        if have.is_temporal() and getattr(have, "time_zone", None):
            column = column.dt.replace_time_zone(None)
        columns.append(column.cast(dtype).alias(name))
    return timeline.select(columns)


def _is_text(dtype: pl.DataType) -> bool:
    return isinstance(dtype, (pl.String, pl.Categorical, pl.Enum))


def _is_time(dtype: pl.DataType) -> bool:
    return isinstance(dtype, (pl.Datetime, pl.Date))


_FITS: dict[str, Callable[[pl.DataType], bool]] = {
    "subject_id": lambda t: t.is_integer() or _is_text(t),
    "time": _is_time,
    "code": _is_text,
    "numeric_value": lambda t: t.is_numeric(),
    "text_value": _is_text,
    "end_time": _is_time,
    "unit": _is_text,
    "source": _is_text,
    "attributable_to": _is_text,
    "note": _is_text,
    "event_id": lambda t: t.is_integer(),
}


def _sorted_within(timeline: pl.DataFrame) -> bool:
    """Whether times rise within each subject, in a frame that is sorted by subject."""
    earlier = pl.col("time") < pl.col("time").shift(1)
    same = pl.col("subject_id") == pl.col("subject_id").shift(1)
    late_null = pl.col("time").is_null() & pl.col("time").shift(1).is_not_null()
    return not timeline.select(((earlier | late_null) & same).any()).item()
