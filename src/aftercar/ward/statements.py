"""What people said of the ward's patients: the log of `timeline.statements`, kept in the table `statement`."""

from __future__ import annotations

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aftercar.grade.adjudicate import locks
from aftercar.timeline.statements import STATEMENT_LOG, STATEMENTS, conformed
from aftercar.ward import chain
from aftercar.ward.tables import statement


def log(connection: Connection, subject_id: int | None = None, version: int | None = None) -> pl.DataFrame:
    """Statements in order, as `timeline.statements` has them.

    Args:
        subject_id: about one patient; by default all.
        version: as the record of that patient was then; by default as it is.
    """
    chosen = chain.selected(statement, STATEMENTS)
    if subject_id is not None:
        chosen = chosen.where(statement.c.subject_id == subject_id)
    if version is not None:
        chosen = chosen.where(statement.c.version <= version)
    return chain.frame(connection, chosen, STATEMENTS)


def versions(connection: Connection, subject_id: int) -> dict[int, int]:
    """Of which version of a patient's record each statement was made, by its number."""
    rows = connection.execute(sa.select(statement.c.n, statement.c.version).where(statement.c.subject_id == subject_id))
    return {row.n: row.version for row in rows}


def locked(connection: Connection) -> dict[int, pl.DataFrame]:
    """What is locked now, by patient: the columns of `adjudicate.locks`."""
    kinds = statement.c.kind.in_(["lock", "unlock"])
    rows = chain.frame(connection, chain.selected(statement, STATEMENTS).where(kinds), STATEMENTS)
    return {int(own["subject_id"][0]): own for own in locks(rows).partition_by("subject_id", maintain_order=True)}


def last(connection: Connection) -> tuple[int, str]:
    """Number and hash of the last statement."""
    return chain.last(connection, statement)


def add(connection: Connection, rows: pl.DataFrame, version: int) -> pl.DataFrame:
    """Add statements to the log, in the transaction of what they belong to; they come back with numbers and hashes.

    Args:
        rows: `rater`, `kind`, `subject_id` and what the kind needs.
        version: of the record, from which on they count.
    Raises:
        InputError: a row that is no statement. Nothing is added then.
    """
    return chain.append(connection, statement, STATEMENT_LOG, conformed(rows), version=version)
