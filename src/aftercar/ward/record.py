"""Records of patients: events that are only ever added, and the timeline that they make at any version of the record."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import polars as pl
import sqlalchemy as sa
from polars import col, lit
from sqlalchemy import exc
from sqlalchemy.engine import Connection

from aftercar.errors import InputError, NotFound, OptionError
from aftercar.timeline.concepts import concepts
from aftercar.timeline.schema import TIMELINE
from aftercar.timeline.statements import attributed
from aftercar.ward import statements
from aftercar.ward.database import utc
from aftercar.ward.tables import event, patient

_VALUES = ("time", "code", "numeric_value", "text_value", "end_time", "unit", "source", "attributable_to", "note")
Number = TypeVar("Number", int, pl.Expr)
_BATCH = 10_000  # rows of an insertion
LARGEST = 2**63 - 1  # number of a row


@dataclass(frozen=True)
class Patient:
    """Who a record is of.

    Attributes:
        version: of the record; each entry makes a new one.
        complete: streams of which nothing is left out.
        changed_at: UTC.
    """

    subject_id: int
    label: str
    version: int
    made_up: bool
    complete: tuple[str, ...]
    changed_at: datetime


def register(connection: Connection, label: str, *, made_up: bool = False, complete: Iterable[str] = ("drugs",)) -> int:
    """A new patient; the number that the software knows them by.

    Raises:
        OptionError: the label is taken or cannot be one, or a stream does not exist.
    """
    label, streams = label.strip(), concepts()["record_complete"].values
    if not label or len(label) > 64 or not label.isprintable():
        raise OptionError("A patient's label has 1 to 64 printable characters.")
    if unknown := sorted(set(complete) - set(streams)):
        raise OptionError(f"No stream is called {unknown[0]!r}: {', '.join(streams)}.")
    if connection.execute(sa.select(patient.c.subject_id).where(patient.c.label == label)).first():
        raise OptionError("A patient of that label is there already.")
    told = {"label": label, "version": 0, "made_up": made_up, "complete": ",".join(complete), "changed_at": utc()}
    try:
        return int(connection.execute(patient.insert().returning(patient.c.subject_id), told).scalar_one())
    except exc.IntegrityError as error:  # somebody else was quicker
        raise OptionError("A patient of that label is there already.") from error


def patients(connection: Connection) -> list[Patient]:
    """Everybody, by label."""
    rows = connection.execute(sa.select(patient).order_by(patient.c.label)).mappings()
    return [_patient(row) for row in rows]


def find(connection: Connection, subject_id: int) -> Patient:
    """One patient.

    Raises:
        NotFound: there is none of that number.
    """
    row = connection.execute(sa.select(patient).where(_is(subject_id))).mappings().first()
    if row is None:
        raise NotFound("There is no patient of that number.")
    return _patient(row)


def _is(subject_id: int) -> sa.ColumnElement[bool]:
    return patient.c.subject_id == subject_id if abs(subject_id) <= LARGEST else sa.false()


def labelled(connection: Connection, label: str) -> Patient | None:
    """The patient of a label; null where there is none."""
    row = connection.execute(sa.select(patient).where(patient.c.label == label)).mappings().first()
    return _patient(row) if row else None


def _patient(row: Any) -> Patient:
    complete = tuple(s for s in row["complete"].split(",") if s)
    return Patient(row["subject_id"], row["label"], row["version"], row["made_up"], complete, row["changed_at"])


def add(connection: Connection, subject_id: int, rows: pl.DataFrame, by: str) -> tuple[int, list[int]]:
    """Add events; the new version of the record, and the numbers of the events.

    Args:
        rows: columns of the timeline, as the readers give them; what is said of complete streams is left out, for the record says so itself.
    Raises:
        NotFound: there is no such patient.
    """
    rows = rows.filter(col("code").ne_missing("record_complete"))
    return _added(connection, subject_id, [{key: row.get(key) for key in _VALUES} for row in rows.iter_rows(named=True)], by)


def correct(connection: Connection, subject_id: int, event_id: int, row: dict[str, Any] | None, by: str) -> tuple[int, list[int]]:
    """Put another event in the place of one, or withdraw it; the former stays, and no longer counts.

    Args:
        row: values of the timeline's columns; null withdraws.
    Raises:
        NotFound: there is no such event of this patient.
        InputError: it was replaced already.
    """
    hold(connection, subject_id)  # who else corrects this record waits here, and then sees what was done
    if (former := entry(connection, subject_id, event_id)) is None:
        raise NotFound("This patient has no event of that number.")
    if former["replaced_by"] is not None:
        raise InputError("That event was corrected or withdrawn already: correct the one that stands.")
    if former["withdrawn"]:
        raise InputError("That event says that another was withdrawn; enter it anew.")
    told = {key: former[key] for key in _VALUES} if row is None else {key: row.get(key) for key in _VALUES}
    return _added(connection, subject_id, [told | {"replaces": event_id, "withdrawn": row is None}], by)


def hold(connection: Connection, subject_id: int) -> int:
    """The version of a record, which nobody else changes until the transaction ends.

    Raises:
        NotFound: there is no such patient.
    """
    version = connection.execute(sa.select(patient.c.version).where(_is(subject_id)).with_for_update()).scalar()
    if version is None:
        raise NotFound("There is no patient of that number.")
    return int(version)


def _added(connection: Connection, subject_id: int, rows: list[dict[str, Any]], by: str) -> tuple[int, list[int]]:
    version, now = changed(connection, subject_id), utc()
    fixed = {
        "subject_id": subject_id,
        "version": version,
        "recorded_at": now,
        "recorded_by": by,
        "replaces": None,
        "withdrawn": False,
    }
    numbers: list[int] = []
    for first in range(0, len(rows), _BATCH):
        batch = [fixed | row for row in rows[first : first + _BATCH]]
        numbers += connection.execute(event.insert().returning(event.c.event_id, sort_by_parameter_order=True), batch).scalars()
    return version, numbers


def changed(connection: Connection, subject_id: int) -> int:
    """The number of a new version of a record, of which the transaction tells something new.

    Raises:
        NotFound: there is no such patient.
    """
    version = connection.execute(
        patient.update()
        .where(_is(subject_id))
        .values(version=patient.c.version + 1, changed_at=utc())
        .returning(patient.c.version)
    ).scalar()
    if version is None:
        raise NotFound("There is no patient of that number.")
    return int(version)


class Events:
    """The events that stand in records, as they were last read: of a newer version only what is new is read."""

    def __init__(self, most: int = 1_000_000) -> None:
        """Keep at most so many events."""
        self._most, self._kept, self._lock = most, OrderedDict[int, tuple[int, pl.DataFrame]](), threading.Lock()

    def of(self, connection: Connection, subject_id: int, version: int) -> pl.DataFrame:
        """`event_id` and what was charted, of a version that was committed."""
        with self._lock:
            before, standing = self._kept.get(subject_id, (0, None))
        if standing is None or before > version:
            before, standing = 0, _no_events()
        if before < version:
            standing = _with_later(connection, subject_id, standing, before, version)
            self._keep(subject_id, version, standing)
        return standing

    def _keep(self, subject_id: int, version: int, standing: pl.DataFrame) -> None:
        with self._lock:
            if self._kept.get(subject_id, (0,))[0] > version:
                return
            self._kept[subject_id] = (version, standing)
            self._kept.move_to_end(subject_id)
            while sum(frame.height for _, frame in self._kept.values()) > self._most:
                self._kept.popitem(last=False)


def _no_events() -> pl.DataFrame:
    return pl.DataFrame(schema={c: TIMELINE[c] for c in ("event_id", *_VALUES)})


def _with_later(connection: Connection, subject_id: int, standing: pl.DataFrame, before: int, version: int) -> pl.DataFrame:
    """The events that stand at a version, of those that stood at one before."""
    own = (event.c.subject_id == subject_id) & (event.c.version > before) & (event.c.version <= version)
    told = [event.c[c] for c in ("event_id", *_VALUES, "replaces", "withdrawn")]
    later = pl.DataFrame(
        connection.execute(sa.select(*told).where(own).order_by(event.c.event_id)).all(),
        schema=standing.schema | {"replaces": pl.Int64, "withdrawn": pl.Boolean}, orient="row",
    )  # fmt: skip
    new = later.filter(~col("withdrawn")).select(standing.columns)
    return pl.concat([standing, new]).join(later.select("replaces"), left_on="event_id", right_on="replaces", how="anti")


def timeline(
    connection: Connection, who: Patient, version: int | None = None, *, until: datetime, events: Events | None = None
) -> pl.DataFrame:
    """The timeline of a patient: the events that stand, attributed as people said, in our schema.

    Args:
        version: as the record was then; by default as it is.
        until: streams that are complete are so up to this time.
        events: that were read before, of versions that were committed; by default all are read.
    """
    known = who.version if version is None else version
    frame = (events or Events()).of(connection, who.subject_id, known)
    frame = frame.with_columns(subject_id=lit(who.subject_id, pl.Int64)).select(*TIMELINE)
    frame = pl.concat([frame, completed(frame, who, until)]).sort("subject_id", "time", "event_id")
    return attributed(frame, statements.log(connection, who.subject_id, known))


def coming(connection: Connection, subject_id: int, version: int, after: datetime) -> datetime | None:
    """The earliest time after another at which an event of a version lies, also of one that was corrected since; null where there is none."""
    own = (event.c.subject_id == subject_id) & (event.c.version <= version) & (event.c.time > after)
    return connection.execute(sa.select(sa.func.min(event.c.time)).where(own)).scalar()


def completed(frame: pl.DataFrame, who: Patient, until: datetime) -> pl.DataFrame:
    """The rows that say which streams are complete, from the first event on."""
    first: Any = frame.filter(col("code") != "birth")["time"].min()
    if first is None or not who.complete:
        return frame.clear()
    said: Sequence[dict[str, Any]] = [
        {"subject_id": who.subject_id, "time": first, "code": "record_complete", "text_value": stream, "end_time": max(until, first), "source": "declared complete", "event_id": said_by_us(who.subject_id, n)}
        for n, stream in enumerate(who.complete)
    ]  # fmt: skip
    return pl.DataFrame(said, schema=TIMELINE)


def said_by_us(subject_id: Number, n: int) -> Number:
    """The number of a row that nobody entered: below 0, and like an event's of one subject only."""
    return -256 * subject_id - 1 - n


def history(
    connection: Connection, subject_id: int, *, before: int | None = None, most: int | None = None, standing: bool = False
) -> list[dict[str, Any]]:
    """All events that were ever entered, the latest first, with `replaced_by`.

    Args:
        before: only those of a smaller number.
        most: at most so many.
        standing: only those that still count.
    """
    later = event.alias()
    asked = event.c.subject_id == subject_id
    if before is not None:
        asked &= event.c.event_id < before
    if standing:
        asked &= later.c.event_id.is_(None) & ~event.c.withdrawn
    rows = connection.execute(
        sa.select(event, later.c.event_id.label("replaced_by"))
        .join(later, later.c.replaces == event.c.event_id, isouter=True)
        .where(asked)
        .order_by(event.c.event_id.desc())
        .limit(most)
    )
    return [dict(row) for row in rows.mappings()]


def entry(connection: Connection, subject_id: int, event_id: int) -> dict[str, Any] | None:
    """One event as `history` has it; null where this patient has none of that number."""
    if not 0 < event_id <= LARGEST:
        return None
    rows = history(connection, subject_id, before=event_id + 1, most=1)
    return rows[0] if rows and rows[0]["event_id"] == event_id else None
