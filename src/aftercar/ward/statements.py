"""What people said of the ward's patients: the log of `timeline.statements`, kept in the table `statement`, with the same columns and the same chain of hashes."""

from __future__ import annotations

import polars as pl
import sqlalchemy as sa
from polars import col
from sqlalchemy.engine import Connection

from aftercar.grade.adjudicate import locks
from aftercar.timeline.log import FIRST
from aftercar.timeline.statements import STATEMENTS, chained, conformed
from aftercar.ward.database import alone
from aftercar.ward.tables import statement


def log(connection: Connection, subject_id: int | None = None, version: int | None = None) -> pl.DataFrame:
    """Statements in order, as `timeline.statements` has them.

    Args:
        subject_id: about one patient; by default all.
        version: as the record of that patient was then; by default as it is.
    """
    chosen = sa.select(*(statement.c[c] for c in STATEMENTS)).order_by(statement.c.n)
    if subject_id is not None:
        chosen = chosen.where(statement.c.subject_id == subject_id)
    if version is not None:
        chosen = chosen.where(statement.c.version <= version)
    return _frame(connection, chosen)


def versions(connection: Connection, subject_id: int) -> dict[int, int]:
    """Of which version of a patient's record each statement was made, by its number."""
    rows = connection.execute(sa.select(statement.c.n, statement.c.version).where(statement.c.subject_id == subject_id))
    return {row.n: row.version for row in rows}


def locked(connection: Connection) -> dict[int, pl.DataFrame]:
    """What is locked now, by patient: the columns of `adjudicate.locks`."""
    kinds = statement.c.kind.in_(["lock", "unlock"])
    rows = _frame(connection, sa.select(*(statement.c[c] for c in STATEMENTS)).where(kinds).order_by(statement.c.n))
    return {int(own["subject_id"][0]): own for own in locks(rows).partition_by("subject_id", maintain_order=True)}


def last(connection: Connection) -> tuple[int, str]:
    """Number and hash of the last statement."""
    row = connection.execute(sa.select(statement.c.n, statement.c.hash).order_by(statement.c.n.desc()).limit(1)).first()
    return (row.n, row.hash) if row else (0, FIRST)


def add(connection: Connection, rows: pl.DataFrame, version: int) -> pl.DataFrame:
    """Add statements to the log, in the transaction of what they belong to; they come back with numbers and hashes.

    Args:
        rows: `rater`, `kind`, `subject_id` and what the kind needs.
        version: of the record, from which on they count.
    Raises:
        InputError: a row that is no statement. Nothing is added then.
    """
    alone(connection)
    new = chained(conformed(rows), *last(connection))
    if new.height:
        told = new.with_columns(col("said_at").dt.replace_time_zone(None), version=version)
        connection.execute(statement.insert(), told.to_dicts())
    return new


def _frame(connection: Connection, chosen: sa.Select[tuple[object, ...]]) -> pl.DataFrame:
    schema = STATEMENTS | {"said_at": pl.Datetime("us")}
    frame = pl.DataFrame(connection.execute(chosen).all(), schema=schema, orient="row")
    return frame.with_columns(col("said_at").dt.replace_time_zone("UTC"))
