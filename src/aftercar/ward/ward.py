"""A ward at work: entries in, what was found out; each written with its line in the audit trail."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aftercar import __version__
from aftercar.errors import AftercarError
from aftercar.grade.options import Options
from aftercar.manage.rules import RuleBook
from aftercar.ward import audit, found, record, statements
from aftercar.ward.accounts import Person
from aftercar.ward.database import Database, alone, utc
from aftercar.ward.found import AHEAD, Finder, Found
from aftercar.ward.record import Patient
from aftercar.ward.tables import result

MOST_AT_ONCE = 64  # records that are graded together
PATIENCE_S = 20.0  # that a write waits for its grades; it is on disk before


@dataclass(eq=False)
class Ward:
    """A database, and what its records are read with.

    A write is answered once its record is graded. Until then whoever reads finds what stood before, without waiting; from then on everybody finds the new.

    Attributes:
        zone: of the local times of the records.
        clock: the time now, for tests.
        find: grades records, here or in another process.
    """

    database: Database
    zone: ZoneInfo
    book: RuleBook
    options: Options = field(default_factory=Options)
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    find: Finder = found.find
    _notes: audit.Notes = field(init=False)
    _events: record.Events = field(default_factory=record.Events)
    _graders: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "grading"))
    _waiting: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    _asked: dict[tuple[int, int], Future[Found]] = field(default_factory=dict[tuple[int, int], "Future[Found]"])
    _writing: dict[int, int] = field(default_factory=dict[int, int])  # by subject: writes that are not answered yet
    _answered: dict[int, int] = field(default_factory=dict[int, int])  # by subject: the latest version whose write was answered
    _latest: dict[int, Found] = field(default_factory=dict[int, Found])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._notes = audit.Notes(self.database)

    def now(self) -> datetime:
        """Local time, without its zone, as in the records."""
        return self.clock().astimezone(self.zone).replace(tzinfo=None)

    def local(self, at: datetime) -> datetime:
        """A time of the database (UTC) as local time."""
        return at.replace(tzinfo=UTC).astimezone(self.zone).replace(tzinfo=None)

    def close(self) -> None:
        """End the work in the background and let go of the database; who still waits is told."""
        self._graders.shutdown(cancel_futures=True)
        with self._lock:
            for future in self._asked.values():
                future.set_exception(AftercarError("The server is ending."))
            self._asked.clear()
        self.database.close()

    # ---- entries

    def enter(self, person: Person, subject_id: int, rows: pl.DataFrame, action: str = "event.write") -> tuple[int, list[int]]:
        """Add events to a record; the new version and the numbers of the events. They are on disk and graded when this returns.

        Raises:
            NotFound: there is no such patient.
        """
        with self.a_write(subject_id):
            with self.database.writing() as connection:
                entered = enter(connection, person, subject_id, rows, action)
            self.settle(subject_id, entered[0])
        return entered

    def correct(self, person: Person, subject_id: int, event_id: int, row: dict[str, Any] | None) -> tuple[int, list[int]]:
        """Put another event in the place of one, or withdraw it.

        Raises:
            NotFound: there is no such event of this patient.
            InputError: it was replaced already.
        """
        with self.a_write(subject_id):
            with self.database.writing() as connection:
                entered = correct(connection, person, subject_id, event_id, row)
            self.settle(subject_id, entered[0])
        return entered

    def say(self, person: Person, subject_id: int, said: Callable[[pl.DataFrame], pl.DataFrame], action: str) -> pl.DataFrame:
        """Add statements about a patient; the new rows. An attribution makes a new version of the record, which is graded when this returns.

        Args:
            said: what makes the statements from those that stand; nobody else says anything in between.
            action: for the audit trail.
        Raises:
            NotFound: there is no such patient.
            InputError: the statements cannot be made.
        """
        with self.a_write(subject_id):
            with self.database.writing() as connection:
                # Every write takes its record first and the chains then: in another order two could wait for each other for ever.
                held = record.hold(connection, subject_id)
                alone(connection)
                rows = said(statements.log(connection, subject_id))
                regraded = "attribution" in rows["kind"]
                version = record.changed(connection, subject_id) if regraded else held
                new = statements.add(connection, rows, version)
                audit.note(connection, person.name, action, subject_id, {"version": version, "statements": new.height})
            if regraded:
                self.settle(subject_id, version)
        return new

    def register(self, person: Person, label: str, rows: Callable[[int], pl.DataFrame], complete: Iterable[str] = ()) -> int:
        """A new patient with what is known of them; the number that the software knows them by.

        Args:
            rows: what makes the first events for that number.
            complete: streams of which nothing will be left out.
        Raises:
            OptionError: the label is taken or cannot be one, or a stream does not exist.
        """
        with self.database.writing() as connection:
            number = record.register(connection, label, complete=complete)
            first = rows(number)
            version, events = record.add(connection, number, first, person.name) if first.height else (0, [])
            audit.note(connection, person.name, "patient.register", number, {"events": len(events)})
        self.settle(number, version)
        return number

    def note(
        self, by: Person | str, action: str, subject_id: int | None = None, detail: Mapping[str, object] | None = None
    ) -> None:
        """A line of the audit trail of its own: of a read, or of what was refused. It is on disk when this returns."""
        self._notes.note(audit.Line(by if isinstance(by, str) else by.name, action, subject_id, detail))

    # ---- what was found

    def found(self, subject_id: int) -> Found | None:
        """What the software finds in a record now; null where nothing is charted. Graded anew only where the record changed or a day went by.

        Raises:
            NotFound: there is no such patient.
        """
        with self.database.reading() as connection:
            who = record.find(connection, subject_id)
        if who.version == 0:
            return None
        return self._standing(who) or self._ask(subject_id, who.version).result()

    def advised(self, subject_id: int) -> Found | None:
        """As `found`, with options, doses and limits as of now: intervals end and findings become too old while nobody charts anything.

        Raises:
            NotFound: there is no such patient.
        """
        found = self.found(subject_id)
        return None if found is None else found.at(self.now())

    def ready(self, who: Patient) -> Found | None:
        """What was found in a record, if it is known already; else it is looked for in the background."""
        found = self._standing(who)
        if found is None and who.version:
            self._ask(who.subject_id, who.version)
        return found

    def _standing(self, who: Patient) -> Found | None:
        """What was found of the latest version, if it is known and not too old: while a write is not answered, that of the latest one that was."""
        latest = self._latest.get(who.subject_id)
        if latest is None or latest.stale(self.now()):
            return None
        if latest.version >= who.version:
            return latest
        with self._lock:
            unanswered = who.subject_id in self._writing and latest.version >= self._answered.get(who.subject_id, 0)
        return latest if unanswered else None

    def formerly(self, subject_id: int) -> list[dict[str, Any]]:
        """Every result that was stored, the latest first: `result_id, version, as_of, made_at, software`."""
        columns = (result.c.result_id, result.c.version, result.c.as_of, result.c.made_at, result.c.software)
        with self.database.reading() as connection:
            rows = connection.execute(
                sa.select(*columns).where(result.c.subject_id == subject_id).order_by(result.c.result_id.desc())
            )
            return [dict(row) for row in rows.mappings()]

    def former(self, subject_id: int, result_id: int) -> Found | None:
        """A result that was stored; null where this patient has none of that number."""
        if abs(result_id) > record.LARGEST:
            return None
        at = (result.c.subject_id == subject_id) & (result.c.result_id == result_id)
        with self.database.reading() as connection:
            row = connection.execute(sa.select(result).where(at)).first()
        return None if row is None else found.unpacked(subject_id, row.version, row.as_of, row.frames)

    def timeline(self, subject_id: int, version: int | None = None) -> pl.DataFrame:
        """The timeline of a record, as it is or as it was at a version.

        Raises:
            NotFound: there is no such patient.
        """
        with self.database.reading() as connection:
            return self._timeline(connection, record.find(connection, subject_id), version, self.now())

    def _timeline(self, connection: Connection, who: Patient, version: int | None, until: datetime) -> pl.DataFrame:
        return record.timeline(connection, who, version, until=until, events=self._events)

    @contextlib.contextmanager
    def a_write(self, subject_id: int) -> Generator[None]:
        """From before a write of a record to its answer: until then readers find what stood before."""
        with self._lock:
            self._writing[subject_id] = self._writing.get(subject_id, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._writing[subject_id] -= 1
                if not self._writing[subject_id]:
                    del self._writing[subject_id]

    def settle(self, subject_id: int, version: int) -> None:
        """Grade a version that was written, before its write is answered; of version 0 nothing is charted.

        Where that takes too long it is answered all the same, and readers wait.
        """
        if version == 0:
            return
        with contextlib.suppress(Exception):  # whoever reads the record is told
            self._ask(subject_id, version).result(PATIENCE_S)
        with self._lock:
            self._answered[subject_id] = max(version, self._answered.get(subject_id, 0))

    def _ask(self, subject_id: int, version: int) -> Future[Found]:
        """Grade a version of a record once, whoever asks."""
        key = (subject_id, version)
        with self._lock:
            future = self._asked.get(key)
            if future is None:
                future = self._asked[key] = Future()
                self._waiting.append(key)
                self._graders.submit(self._grade_waiting)
            return future

    def _grade_waiting(self) -> None:
        """Grade all records that wait, together: many cost little more than one."""
        with self._lock:
            keys, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            futures = [self._asked[key] for key in keys]
        try:
            self._answer(keys, futures)
        finally:
            with self._lock:
                for key in keys:
                    self._asked.pop(key, None)

    def _answer(self, keys: list[tuple[int, int]], futures: list[Future[Found]]) -> None:
        """Give each future what was found; one record that cannot be graded keeps none of the others from it."""
        try:
            made = self._grade(dict(sorted(keys)))  # the latest version of each
        except BaseException as error:
            if len(keys) == 1:
                futures[0].set_exception(error)
                return
            for key, future in zip(keys, futures, strict=True):
                self._answer([key], [future])
            return
        for (subject_id, _), future in zip(keys, futures, strict=True):
            future.set_result(made[subject_id])

    def _grade(self, versions: dict[int, int]) -> dict[int, Found]:
        """What stands in versions of records: as stored, or graded now and stored."""
        now, made = self.now(), dict[int, Found]()
        timelines: list[pl.DataFrame] = []
        with self.database.reading() as connection:
            for subject_id, version in versions.items():
                row = _stored(connection, subject_id, version)
                if row is not None and row.software == __version__:
                    stored = found.unpacked(subject_id, version, row.as_of, row.frames)
                    stored = replace(stored, coming=record.coming(connection, subject_id, version, row.as_of))
                    if not stored.stale(now):
                        made[subject_id] = stored
                        continue
                timelines.append(self._timeline(connection, record.find(connection, subject_id), version, now + AHEAD))
        left = {subject_id: version for subject_id, version in versions.items() if subject_id not in made}
        if left:
            for each in self.find(pl.concat(timelines), left, now, self.book, self.options):
                made[each.subject_id] = each
            software = {"as_of": now, "made_at": utc(), "software": __version__}
            told = [{"subject_id": s, "version": v, "frames": found.packed(made[s])} | software for s, v in left.items()]
            with self.database.writing() as connection:
                connection.execute(result.insert(), told)
        for each in made.values():
            self._keep(each)
        return made

    def _keep(self, made: Found) -> None:
        with self._lock:
            latest = self._latest.get(made.subject_id)
            if latest is None or (made.version, made.as_of) >= (latest.version, latest.as_of):
                self._latest[made.subject_id] = made


def _stored(connection: Connection, subject_id: int, version: int) -> Any:
    """The latest result of a version; null where there is none."""
    own = (result.c.subject_id == subject_id) & (result.c.version == version)
    return connection.execute(sa.select(result).where(own).order_by(result.c.as_of.desc()).limit(1)).first()


def enter(
    connection: Connection, person: Person, subject_id: int, rows: pl.DataFrame, action: str = "event.write"
) -> tuple[int, list[int]]:
    """`Ward.enter` within a transaction of the caller, who calls `Ward.settle` once it stands."""
    version, numbers = record.add(connection, subject_id, rows, person.name)
    audit.note(connection, person.name, action, subject_id, {"version": version, "events": len(numbers)})
    return version, numbers


def correct(
    connection: Connection, person: Person, subject_id: int, event_id: int, row: dict[str, Any] | None
) -> tuple[int, list[int]]:
    """`Ward.correct` within a transaction of the caller, who calls `Ward.settle` once it stands."""
    version, numbers = record.correct(connection, subject_id, event_id, row, person.name)
    action = "event.withdraw" if row is None else "event.correct"
    audit.note(connection, person.name, action, subject_id, {"version": version, "event": event_id})
    return version, numbers
