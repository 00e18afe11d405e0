"""Who read or wrote what, and when: a log that only grows, each row with the hash of the one before.

The trail knows subjects by number and never holds a value of a patient. A trigger keeps it from being changed through the software; the chain shows a change
by other means, as long as its last hash is also kept elsewhere (`aftercar ward verify --head` prints it).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aftercar.ward.database import Database, alone
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


@dataclass(frozen=True)
class Line:
    """What a row tells.

    Attributes:
        action: such as `patient.read` or `event.write`.
        detail: numbers and names of things, no value of a patient.
    """

    account: str
    action: str
    subject_id: int | None = None
    detail: Mapping[str, object] | None = None


def note(
    connection: Connection, account: str, action: str, subject_id: int | None = None, detail: Mapping[str, object] | None = None
) -> None:
    """Add a row, of a `Line`, in the transaction of what it tells of: either both stand or neither."""
    notes(connection, [Line(account, action, subject_id, detail)])


def notes(connection: Connection, lines: Sequence[Line]) -> None:
    """Add rows, in the transaction of what they tell of."""
    alone(connection)
    last = connection.execute(sa.select(audit.c.n, audit.c.hash).order_by(audit.c.n.desc()).limit(1)).first()
    first, previous = (last.n + 1, last.hash) if last else (1, FIRST)
    rows: list[dict[str, Any]] = []
    for n, line in enumerate(lines, start=first):
        row = {
            "n": n, "at": datetime.now(UTC).isoformat(timespec="microseconds"), "account": line.account, "action": line.action, "subject_id": line.subject_id,
            "detail": json.dumps(dict(line.detail or {}), sort_keys=True, separators=(",", ":")), "previous": previous,
        }  # fmt: skip
        previous = _hash(row)
        rows.append(row | {"hash": previous})
    connection.execute(audit.insert(), rows)


@dataclass(eq=False)
class Notes:
    """Rows of their own that many ask for at once, as when many read: those that wait are written together, and each caller goes on once its own is on disk."""

    database: Database
    _waiting: list[tuple[Line, Future[None]]] = field(default_factory=list[tuple[Line, "Future[None]"]])
    _lock: threading.Lock = field(default_factory=threading.Lock)  # of `_waiting`
    _turn: threading.Lock = field(default_factory=threading.Lock)  # to write

    def note(self, line: Line) -> None:
        """Add a row."""
        written = Future[None]()
        with self._lock:
            self._waiting.append((line, written))
        with self._turn:
            if not written.done():
                self._write()
        written.result()

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        try:
            with self.database.writing() as connection:
                notes(connection, [line for line, _ in waiting])
        except BaseException as error:
            for _, written in waiting:
                written.set_exception(error)
        else:
            for _, written in waiting:
                written.set_result(None)


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
