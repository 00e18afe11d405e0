"""Who read or wrote what, and when: a log that only grows, each row with the hash of the one before.

The trail knows subjects by number and never holds a value of a patient. A trigger keeps it from being changed through the software; the chain shows a change
by other means, as long as its last hash is also kept elsewhere (`aftercar ward verify --head` prints it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aftercar.ward.database import alone
from aftercar.ward.tables import audit

FIRST = "0" * 64  # `previous` of the first row
SYSTEM = "(software)"  # in brackets, so that no account is called that


@dataclass(frozen=True)
class Verified:
    """What the chain shows.

    Attributes:
        rows: how many were read.
        broken: the number of the first row that does not follow from the one before; null where all do.
        head: the hash of the last row.
    """

    rows: int
    broken: int | None
    head: str


def note(
    connection: Connection, account: str, action: str, subject_id: int | None = None, detail: Mapping[str, object] | None = None
) -> None:
    """Add a row, in the transaction of what it tells of: either both stand or neither.

    Args:
        action: such as `patient.read` or `event.write`.
        detail: numbers and names of things, no value of a patient.
    """
    alone(connection)
    last = connection.execute(sa.select(audit.c.n, audit.c.hash).order_by(audit.c.n.desc()).limit(1)).first()
    n, previous = (last.n + 1, last.hash) if last else (1, FIRST)
    row = {
        "n": n, "at": datetime.now(UTC).isoformat(timespec="microseconds"), "account": account, "action": action, "subject_id": subject_id,
        "detail": json.dumps(dict(detail or {}), sort_keys=True, separators=(",", ":")), "previous": previous,
    }  # fmt: skip
    connection.execute(audit.insert(), row | {"hash": _hash(row)})


def verify(connection: Connection) -> Verified:
    """Read the whole trail and hold each row against the one before."""
    previous, n, broken = FIRST, 0, None
    for row in connection.execute(sa.select(audit).order_by(audit.c.n).execution_options(yield_per=10_000)).mappings():
        told = {key: row[key] for key in row if key != "hash"}
        n += 1
        if broken is None and (told["n"] != n or told["previous"] != previous or _hash(told) != row["hash"]):
            broken = n
        previous = row["hash"]
    return Verified(n, broken, previous)


def holds(connection: Connection, head: str) -> bool:
    """Whether some row has this hash: a trail that was cut off or replaced since does not."""
    return connection.execute(sa.select(audit.c.n).where(audit.c.hash == head)).first() is not None


def _hash(row: Mapping[str, object]) -> str:
    told = [row[key] for key in ("n", "at", "account", "action", "subject_id", "detail", "previous")]
    return hashlib.sha256(json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
