"""What the tests of the ward share: a database of each kind, a ward on it, and the server as a process of its own.

PostgreSQL is started from the system's binaries, in a folder and on a port of its own. Where it (or Chromium) is not installed, tests that need it are left out;
with `AFTERCAR_TEST_ALL` set they fail instead, so that continuous integration leaves nothing out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import polars as pl
import pytest
from sqlalchemy.engine import URL

from aftercar.manage.rules import DEFAULT_PROFILE, rulebook
from aftercar.timeline.schema import conform
from aftercar.ward import accounts, record
from aftercar.ward.accounts import Person, Role
from aftercar.ward.database import Database, opened
from aftercar.ward.ward import Ward

ALL = "AFTERCAR_TEST_ALL"
PASSWORD = "correct horse battery"
ZERO = datetime(2026, 3, 1, 9)  # the infusion of the patients here
NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
PERSON = Person("local", Role.ADJUDICATOR, csrf="local-csrf")
ROOT = Path(__file__).parents[1]


def needed(path: str | None, what: str) -> str:
    """A program that a test needs, or the test is left out."""
    if path is None:
        if os.environ.get(ALL):
            pytest.fail(f"{what} is not installed, and {ALL} asks for every test.")
        pytest.skip(f"{what} is not installed")
    return path


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- PostgreSQL


def _program(name: str) -> str | None:
    """A program of PostgreSQL, of the newest version that is installed."""
    of_debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[-3]))
    return str(of_debian[-1]) if of_debian else shutil.which(name)


@dataclass
class Postgres:
    """A PostgreSQL server of the tests; it does not run as root, so the folder belongs to another user where the tests do."""

    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None
    _databases: int = 0

    def make(self) -> None:
        """Make the cluster."""
        if self._user:
            shutil.chown(self.folder, self._user["user"], self._user["group"])
        make = [
            needed(_program("initdb"), "PostgreSQL"),
            "-D",
            str(self.folder / "data"),
            "-U",
            "ward",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run(make, check=True, capture_output=True, cwd=self.folder, **self._user)

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 150,
        }
        told = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [needed(_program("postgres"), "PostgreSQL"), "-D", str(self.folder / "data"), *told]
        self._process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._user
        )
        for _ in range(600):
            with contextlib.suppress(Exception):
                self.ask("SELECT 1")
                return
            time.sleep(0.05)
        raise RuntimeError("PostgreSQL does not answer.")

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it: at once, as after a crash, unless told otherwise."""
        if self._process:
            self._process.send_signal(how)
            self._process.wait(30)

    def ask(self, statement: str) -> None:
        """Run a statement outside of any transaction."""
        import psycopg

        with psycopg.connect(
            f"host=127.0.0.1 port={self.port} user=ward dbname=postgres", autocommit=True, connect_timeout=5
        ) as connection:
            connection.execute(statement.encode())

    def new(self) -> str:
        """The URL of a new and empty database."""
        self._databases += 1
        self.ask(f"CREATE DATABASE ward{self._databases}")
        return url_of("postgresql", self.port, f"ward{self._databases}")

    @property
    def _user(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        names = {entry.pw_name for entry in pwd.getpwall()}
        known = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}


def url_of(backend: str, port: int | None = None, name: str = "ward") -> str:
    """The URL of a database on this machine."""
    return URL.create(backend, "ward", host="127.0.0.1", port=port, database=name).render_as_string()


@contextlib.contextmanager
def a_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for as long as the block runs."""
    needed(_program("initdb"), "PostgreSQL")
    folder = Path(tempfile.mkdtemp(prefix="aftercar-test-pg-"))
    server = Postgres(folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


# ---- wards


@cache
def book() -> Any:
    """The rules of the default profile."""
    return rulebook(DEFAULT_PROFILE, None)


@contextlib.contextmanager
def a_ward(url: str, now: datetime = NOW, zone: str = "UTC") -> Iterator[Ward]:
    """A ward of a fixed time."""
    ward = Ward(opened(url), ZoneInfo(zone), book(), clock=lambda: now)
    try:
        yield ward
    finally:
        ward.close()


def events(*rows: tuple[float, str, float | str | None]) -> pl.DataFrame:
    """Timeline rows of hours after the infusion, concept, and number or word."""
    return conform(
        pl.DataFrame(
            [
                {
                    "subject_id": 0,
                    "time": ZERO + timedelta(hours=hours),
                    "code": code,
                    "numeric_value": float(value) if isinstance(value, int | float) else None,
                    "text_value": value if isinstance(value, str) else None,
                }
                for hours, code, value in rows
            ],
            schema={"subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String, "numeric_value": pl.Float64, "text_value": pl.String},
        )
    )  # fmt: skip


def registered(database: Database, label: str = "P-1", rows: pl.DataFrame | None = None) -> int:
    """A patient with some events."""
    with database.writing() as connection:
        number = record.register(connection, label, complete=("drugs", "seizure", "motor", "icp"))
        if rows is not None:
            record.add(connection, number, rows, "test")
    return number


def accounts_of_all_roles(database: Database) -> None:
    """An account for each role, called like it."""
    with database.writing() as connection:
        for role in Role:
            accounts.add(connection, role, role, PASSWORD)


# ---- the application, asked without a network


class Browser:
    """Asks an application as a browser does: it keeps cookies, and follows no redirection."""

    def __init__(self, app: Any, host: str = "http://localhost") -> None:
        self.app, self.host, self.cookies = app, host, httpx.Cookies()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask and wait for the answer."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url=self.host, cookies=self.cookies) as client:
                answer = await client.request(method, path, **more)
                self.cookies = client.cookies
                return answer

        return asyncio.run(ask())

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Read."""
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        """Write."""
        return self.request("POST", path, **more)


# ---- the server as a process


@dataclass
class Live:
    """`aftercar serve` as a process."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        self.process.send_signal(how)
        self.process.wait(30)

    def logged(self) -> str:
        """What it wrote to stderr."""
        return self.log.read_text(encoding="utf-8")


@contextlib.contextmanager
def a_server(folder: Path, *words: str, environment: dict[str, str] | None = None) -> Iterator[Live]:
    """A server on a free port, until the block ends."""
    log = folder / f"server-{time.monotonic_ns()}.log"
    asked = [sys.executable, "-m", "aftercar", "serve", *(() if "--port" in words else ("--port", "0")), *words]
    env = {k: v for k, v in os.environ.items() if not k.startswith("AFTERCAR_")} | {"TZ": "UTC"} | (environment or {})
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
    assert process.stdout is not None
    try:
        told = process.stdout.readline()
        found = re.search(r"Ward: (\S+)", told)
        if found is None:
            process.wait(30)
            raise AssertionError(f"The server did not start: {told}{log.read_text(encoding='utf-8')}")
        live = Live(process, found[1], log)
        wait_for(live.url)
        yield live
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)
        process.stdout.close()


def wait_for(url: str) -> None:
    """Until a server answers."""
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", verify=False).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("The server does not answer.")


def csrf_of(page: str) -> str:
    """The token of a page's first form."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def codes(frame: pl.DataFrame) -> Iterable[str]:
    """The concepts of a timeline without what is said of the record as a whole."""
    return frame.filter(pl.col("event_id") >= 0)["code"].to_list()
