"""Grading in a process of its own: pages and hooks are answered while records are graded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from datetime import datetime

import polars as pl

from aftercar.errors import AftercarError
from aftercar.grade.options import Options
from aftercar.manage.rules import RuleBook
from aftercar.processes import GENTLE, in_processes
from aftercar.ward import found
from aftercar.ward.found import Found


class Grader:
    """`found.find` in a process that is started at once, and anew where the system ended it; it ends with the block."""

    def __init__(self) -> None:
        """Start the process, and let it load what grading needs before somebody waits for it."""
        self._block = ExitStack()
        self._pool = self._start()

    def _start(self) -> Executor:
        pool = self._block.enter_context(in_processes(1, "grading", "", idle_s=None))
        pool.submit(_ready)
        return pool

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *_: object) -> None:
        self._block.close()

    def find(
        self, timeline: pl.DataFrame, versions: Mapping[int, int], as_of: datetime, book: RuleBook, options: Options, toxicities: tuple[str, ...] | None = None
    ) -> list[Found]:  # fmt: skip
        """As `found.find`.

        Raises:
            AftercarError: the system ended the process twice.
        """
        for _ in range(2):
            try:
                return self._pool.submit(found.find, timeline, dict(versions), as_of, book, options, toxicities).result()
            except BrokenProcessPool:
                self._block.close()
                self._pool = self._start()
        raise AftercarError("The system ended the process that was grading, most likely for want of memory. Nothing was lost.")


def _ready() -> None:
    """Reached once this module is imported: from here on who asks comes before what is graded."""
    os.nice(GENTLE)
