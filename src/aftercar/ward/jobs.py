"""Work in the background: one job at a time, each in a process of its own, so that the server goes on answering.

One server works on the jobs of a database. A job that ran when a server died is `failed` when the next one begins.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aftercar.errors import AftercarError, InputError, OptionError
from aftercar.processes import GENTLE, end_with
from aftercar.ward import audit
from aftercar.ward.accounts import Person
from aftercar.ward.database import Database, utc
from aftercar.ward.tables import job

log = logging.getLogger("aftercar.ward")

Say = Callable[[int, int], None]  # called with what is done, and all
Work = Callable[[dict[str, Any], Say], bytes]  # a function of a module: what was asked in, what was found out

OPEN = ("waiting", "running")
MOST_WAITING = 5  # of one account
LOOK_S = 0.2  # how often a job that runs is asked whether it is still wanted


@dataclass(frozen=True)
class Job:
    """A job; `state` is waiting, running, done, failed or cancelled.

    Attributes:
        asked: what was asked.
        done, all: how far it is; `all` is 0 until that is known.
        problem: why it failed.
        created_at, changed_at: UTC.
    """

    job_id: str
    kind: str
    account: str
    asked: dict[str, Any]
    state: str
    done: int
    all: int
    problem: str | None
    created_at: datetime
    changed_at: datetime

    @property
    def open(self) -> bool:
        """Whether it may still be done."""
        return self.state in OPEN


@dataclass
class Jobs:
    """The jobs of a ward.

    Attributes:
        works: what is done for each kind of job.
    """

    database: Database
    works: Mapping[str, Work]
    _wake: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)
    _worker: threading.Thread | None = None

    def begin(self) -> None:
        """Begin to work; what a server left behind that died is told as failed."""
        with self.database.writing() as connection:
            _change(
                connection, job.c.state == "running", state="failed", problem="The server ended while it ran. Ask for it again."
            )
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._worker.start()

    def close(self) -> None:
        """End the work; the job that runs is told as failed."""
        self._ended.set()
        self._wake.set()
        if self._worker is not None:
            self._worker.join()

    # ---- asking

    def ask(self, person: Person, kind: str, asked: Mapping[str, Any]) -> str:
        """Ask for a job; its number.

        Raises:
            OptionError: too many of this person wait.
        """
        number = secrets.token_hex(16)
        now = utc()
        told = {
            "job_id": number, "kind": kind, "account": person.name, "asked": json.dumps(dict(asked)), "state": "waiting", "done": 0, "all": 0,
            "created_at": now, "changed_at": now,
        }  # fmt: skip
        with self.database.writing() as connection:
            mine = (job.c.account == person.name) & job.c.state.in_(OPEN)
            if connection.execute(sa.select(sa.func.count()).where(mine).select_from(job)).scalar_one() >= MOST_WAITING:
                raise OptionError(f"{MOST_WAITING} jobs of yours are not done yet. Wait for one of them, or cancel it.")
            connection.execute(job.insert(), told)
            audit.note(connection, person.name, "job.ask", detail={"job": number, "kind": kind})
        self._wake.set()
        return number

    def cancel(self, person: Person, number: str) -> None:
        """Stop a job, also one that runs. One that has ended stays as it is.

        Raises:
            InputError: this person has asked for no such job.
        """
        if self.find(number).account != person.name:
            raise InputError("That job is another person's.")
        with self.database.writing() as connection:
            if _change(connection, (job.c.job_id == number) & job.c.state.in_(OPEN), state="cancelled"):
                audit.note(connection, person.name, "job.cancel", detail={"job": number})

    def find(self, number: str) -> Job:
        """A job by its number.

        Raises:
            InputError: there is none.
        """
        with self.database.reading() as connection:
            row = connection.execute(sa.select(*_SHOWN).where(job.c.job_id == number)).mappings().first()
        if row is None:
            raise InputError("There is no job of that number.")
        return _job(row)

    def found(self, number: str) -> bytes | None:
        """What a job found; null until it is done."""
        with self.database.reading() as connection:
            return connection.execute(sa.select(job.c.found).where((job.c.job_id == number) & (job.c.state == "done"))).scalar()

    def latest(self, kind: str, most: int = 20) -> list[Job]:
        """The latest jobs of a kind, the last first."""
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(*_SHOWN).where(job.c.kind == kind).order_by(job.c.created_at.desc()).limit(most))
            return [_job(row) for row in rows.mappings()]

    # ---- working

    def _work(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            try:
                taken = self._next()
                if taken is not None:
                    self._run(taken)
                    continue
            except (
                Exception
            ) as error:  # such as a database that is away for a while: the kind alone, for a text may quote what was asked
                log.error("A job could not be looked after: %s", type(error).__name__)
            self._wake.wait(30)

    def _next(self) -> Job | None:
        """The job that has waited longest, now running."""
        with self.database.writing() as connection:
            waiting = sa.select(*_SHOWN).where(job.c.state == "waiting").order_by(job.c.created_at).limit(1)
            row = connection.execute(waiting.with_for_update(skip_locked=True)).mappings().first()
            if row is None:
                return None
            _change(connection, job.c.job_id == row["job_id"], state="running")
        return _job(row)

    def _run(self, taken: Job) -> None:
        here, there = _CONTEXT.Pipe()
        process = _CONTEXT.Process(
            target=_in_process, args=(self.works[taken.kind], taken.asked, there, os.getpid()), daemon=True
        )
        process.start()
        there.close()
        try:
            self._follow(taken, here)
        finally:
            process.kill()
            process.join()
            here.close()

    def _follow(self, taken: Job, here: Any) -> None:
        """Write down what the process says, until it is done or no longer wanted."""
        running = (job.c.job_id == taken.job_id) & (job.c.state == "running")
        while self.find(taken.job_id).state == "running":
            if self._ended.is_set():
                told: dict[str, Any] = {"state": "failed", "problem": "The server ended while it ran. Ask for it again."}
            elif not here.poll(LOOK_S):
                continue
            else:
                try:
                    told = here.recv()
                except EOFError:
                    told = {
                        "state": "failed",
                        "problem": "The system ended the process, most likely for want of memory. Ask for less at once.",
                    }
            with self.database.writing() as connection:
                _change(connection, running, **told)


_CONTEXT = multiprocessing.get_context("spawn")
_SHOWN = tuple(c for c in job.c if c.name != "found")


def _in_process(work: Work, asked: dict[str, Any], pipe: Any, parent: int) -> None:
    """What the process of a job does: the work, and to say how far it is. It ends with the server."""
    end_with(parent)
    os.nice(GENTLE)
    try:
        found = work(asked, lambda done, all_: pipe.send({"done": done, "all": all_}))
        pipe.send({"state": "done", "found": found})
    except AftercarError as error:
        pipe.send({"state": "failed", "problem": str(error)})
    except Exception as error:
        pipe.send({"state": "failed", "problem": f"A fault of aftercar ({type(error).__name__}). Please report it."})


def _change(connection: Connection, at: sa.ColumnElement[bool], **told: Any) -> bool:
    """Change jobs; whether there was one."""
    return connection.execute(job.update().where(at), told | {"changed_at": utc()}).rowcount > 0


def _job(row: Mapping[Any, Any]) -> Job:
    return Job(**{**row, "asked": json.loads(row["asked"])})
