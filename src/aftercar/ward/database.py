"""The database of a ward: SQLite where one machine is enough, PostgreSQL by its URL; its schema by migrations."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, Engine, make_url

from aftercar.errors import AftercarError, InputError, OptionError

_MIGRATIONS = Path(__file__).with_name("migrations")
_WAIT_S = 30  # for another writer


@dataclass(frozen=True)
class Database:
    """A ward's database.

    Attributes:
        turn: whose turn it is to write, on SQLite: its own way of waiting is to try again and again, and whoever came last may come first.
    """

    engine: Engine
    turn: contextlib.AbstractContextManager[object] = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def reading(self) -> Generator[Connection]:
        """A transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Generator[Connection]:
        """A transaction that writes: committed when the block ends, and undone if it fails. On SQLite nobody else writes meanwhile."""
        with self.turn, self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def opened(url: str) -> Database:
    """Open a database and bring its schema to that of this version.

    Args:
        url: `sqlite:///ward.db`, or `postgresql://user:password@host/name`.
    Raises:
        OptionError: another kind of URL.
        InputError: it cannot be reached, or was made by a newer version.
    """
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise OptionError("The database is a URL such as sqlite:///ward.db or postgresql://user@host/name.") from error
    sqlite = parsed.get_backend_name() == "sqlite"
    engine = _sqlite(parsed) if sqlite else _postgresql(parsed)
    with contextlib.ExitStack() as failed:
        failed.callback(engine.dispose)
        try:
            _migrate(engine)
        except exc.OperationalError as error:
            raise InputError(
                f"The database cannot be opened: {_said(error)}. Is it running, and may this user write to it?"
            ) from error
        except exc.DatabaseError as error:
            raise InputError(f"This is no database of a ward, or it is damaged: {_said(error)}.") from error
        failed.pop_all()
    return Database(engine) if sqlite else Database(engine, contextlib.nullcontext())


def _said(error: exc.DBAPIError) -> str:
    """The first line of the driver's words; none of its statements, which may hold values."""
    return str(error.orig).strip().split("\n")[0].rstrip(".")


# `hide_parameters`: errors of either name no value.
def _sqlite(url: URL) -> Engine:
    if url.database and not Path(url.database).parent.is_dir():
        raise InputError("The folder of the database does not exist.")
    engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": _WAIT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to keep other writers out
        # FULL: what was acknowledged survives a loss of power. Recursive triggers: a REPLACE is a DELETE, and refused as one.
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "recursive_triggers = ON",
            f"busy_timeout = {_WAIT_S * 1000}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise OptionError(f"A ward works on sqlite or postgresql, not on {url.get_backend_name()}.")
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"), hide_parameters=True, pool_size=20, max_overflow=20, pool_pre_ping=True
    )


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})  # one server at a time migrates
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except Exception as error:
            if "Can't locate revision" in str(error):
                raise InputError("The database was made by a newer version of aftercar. Use that version.") from error
            raise


_LOCK = 0x61667463  # of migrations, among the advisory locks of a PostgreSQL database
CHAIN = 0x61667464  # of what is chained by hashes


def utc() -> datetime:
    """The time now as the database keeps it: UTC, without its zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def alone(connection: Connection) -> None:
    """Until the transaction ends nobody else adds to a chain of hashes."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": CHAIN})
    elif not connection.get_execution_options().get("writes", False):
        raise AftercarError("A chain is added to in a transaction that writes.")
