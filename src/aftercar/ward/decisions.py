"""What people decided on drafted answers of registry forms: the log of `registry.decisions`, kept in the table `decision`, with the same columns and the same chain of hashes."""

from __future__ import annotations

import polars as pl
import sqlalchemy as sa
from polars import col
from sqlalchemy.engine import Connection

from aftercar.registry.decisions import DECISION_LOG, DECISIONS
from aftercar.timeline.log import FIRST
from aftercar.ward.database import alone
from aftercar.ward.tables import decision


def log(connection: Connection, subject_id: int | None = None) -> pl.DataFrame:
    """Decisions in order, as `registry.decisions` has them, about one patient or all."""
    chosen = sa.select(*(decision.c[c] for c in DECISIONS)).order_by(decision.c.n)
    if subject_id is not None:
        chosen = chosen.where(decision.c.subject_id == subject_id)
    schema = DECISIONS | {"said_at": pl.Datetime("us")}
    frame = pl.DataFrame(connection.execute(chosen).all(), schema=schema, orient="row")
    return frame.with_columns(col("said_at").dt.replace_time_zone("UTC"))


def add(connection: Connection, rows: pl.DataFrame) -> pl.DataFrame:
    """Add decisions to the log, in the transaction of what they belong to; they come back with numbers and hashes.

    Args:
        rows: what `registry.decisions.decided` gave.
    """
    alone(connection)
    last = connection.execute(sa.select(decision.c.n, decision.c.hash).order_by(decision.c.n.desc()).limit(1)).first()
    new = DECISION_LOG.chained(rows, *((last.n, last.hash) if last else (0, FIRST)))
    if new.height:
        connection.execute(decision.insert(), new.with_columns(col("said_at").dt.replace_time_zone(None)).to_dicts())
    return new
