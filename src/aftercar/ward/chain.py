"""A log of `timeline.log` kept in a table of the ward, with the same columns and the same chain of hashes."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import sqlalchemy as sa
from polars import col
from sqlalchemy.engine import Connection

from aftercar.timeline.log import FIRST, Log
from aftercar.ward.database import alone

Schema = Mapping[str, type[pl.DataType] | pl.DataType]


def selected(table: sa.Table, schema: Schema) -> sa.Select[tuple[object, ...]]:
    """The columns of a log, in its order; to be narrowed, and read by `frame`."""
    return sa.select(*(table.c[c] for c in schema)).order_by(table.c.n)


def frame(connection: Connection, chosen: sa.Select[tuple[object, ...]], schema: Schema) -> pl.DataFrame:
    """Rows as the log has them in its file."""
    rows = pl.DataFrame(connection.execute(chosen).all(), schema={**schema, "said_at": pl.Datetime("us")}, orient="row")
    return rows.with_columns(col("said_at").dt.replace_time_zone("UTC"))


def last(connection: Connection, table: sa.Table) -> tuple[int, str]:
    """Number and hash of the last row."""
    row = connection.execute(sa.select(table.c.n, table.c.hash).order_by(table.c.n.desc()).limit(1)).first()
    return (row.n, row.hash) if row else (0, FIRST)


def append(connection: Connection, table: sa.Table, log: Log, rows: pl.DataFrame, **more: object) -> pl.DataFrame:
    """Add rows, in the transaction of what they belong to; they come back with numbers and hashes.

    Args:
        more: columns of the table that the log has not, the same for all rows.
    """
    alone(connection)
    new = log.chained(rows, *last(connection, table))
    if new.height:
        connection.execute(
            table.insert(), [row | more for row in new.with_columns(col("said_at").dt.replace_time_zone(None)).to_dicts()]
        )
    return new
