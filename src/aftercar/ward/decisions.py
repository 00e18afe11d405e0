"""What people decided on drafted answers of registry forms: the log of `registry.decisions`, kept in the table `decision`."""

from __future__ import annotations

import polars as pl
from sqlalchemy.engine import Connection

from aftercar.registry.decisions import DECISION_LOG, DECISIONS
from aftercar.ward import chain
from aftercar.ward.tables import decision


def log(connection: Connection, subject_id: int | None = None) -> pl.DataFrame:
    """Decisions in order, as `registry.decisions` has them, about one patient or all."""
    chosen = chain.selected(decision, DECISIONS)
    if subject_id is not None:
        chosen = chosen.where(decision.c.subject_id == subject_id)
    return chain.frame(connection, chosen, DECISIONS)


def add(connection: Connection, rows: pl.DataFrame) -> pl.DataFrame:
    """Add decisions to the log, in the transaction of what they belong to; they come back with numbers and hashes.

    Args:
        rows: what `registry.decisions.decided` gave.
    """
    return chain.append(connection, decision, DECISION_LOG, rows)
