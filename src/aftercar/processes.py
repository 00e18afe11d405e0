"""Work in several processes that end with the one that started them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator
from concurrent.futures import Executor

from aftercar.errors import AftercarError

IDLE_S = 15  # after which a process without work ends, also one whose parent was killed


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def in_processes(processes: int, doing: str, advice: str, *, threads: int | None = None) -> Generator[Executor]:
    """Processes to submit work to; they are ended when the block ends, however it ends.

    Args:
        doing: what they do, for the user: "grading".
        advice: what the user can do where the system ended one of them.
        threads: of Polars in each; without it Polars chooses.
    Raises:
        AftercarError: the system ended a process.
    """
    from loky import ProcessPoolExecutor
    from loky.process_executor import TerminatedWorkerError

    env = None if threads is None else {"POLARS_MAX_THREADS": str(threads)}
    pool = ProcessPoolExecutor(processes, env=env, initializer=_begin, timeout=IDLE_S)
    try:
        yield pool
    except TerminatedWorkerError as error:
        raise AftercarError(f"The system ended a process that was {doing}, most likely for want of memory. {advice}") from error
    finally:
        pool.shutdown(kill_workers=True)


def _begin() -> None:
    """What a process does first."""
    from loky import process_executor

    # An interrupt from the keyboard reaches all processes: the one that started them ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where psutil is installed loky takes the tables of a part for a leak, and begins a process anew after each: half of the time.
    process_executor._USE_PSUTIL = False  # pyright: ignore[reportPrivateUsage]
