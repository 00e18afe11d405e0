"""Work in several processes that end with the one that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from concurrent.futures import Executor, as_completed
from typing import Any, TypeVar

from aftercar.errors import AftercarError

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

IDLE_S = 15  # after which a process without work ends
GENTLE = 10  # by how much a process in the background of a server gives way to it (`nice`)
WATCH_S = 1  # how often a process looks whether its parent is there


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def in_processes(
    processes: int, doing: str, advice: str, *, threads: int | None = None, idle_s: float | None = IDLE_S
) -> Generator[Executor]:
    """Processes to submit work to; they are ended when the block ends, however it ends.

    Args:
        doing: what they do, for the user: "grading".
        advice: what the user can do where the system ended one of them.
        threads: of Polars in each; without it Polars chooses.
        idle_s: after so long without work a process ends; null: never while the block lasts.
    Raises:
        AftercarError: the system ended a process.
    """
    from loky import ProcessPoolExecutor
    from loky.process_executor import TerminatedWorkerError

    env = None if threads is None else {"POLARS_MAX_THREADS": str(threads)}
    pool = ProcessPoolExecutor(processes, env=env, initializer=_begin, initargs=(os.getpid(),), timeout=idle_s)
    try:
        yield pool
    except TerminatedWorkerError as error:
        raise AftercarError(f"The system ended a process that was {doing}, most likely for want of memory. {advice}") from error
    finally:
        pool.shutdown(kill_workers=True)


def each_in_processes(
    function: Callable[..., R], asked: Mapping[K, tuple[Any, ...]], doing: str, *, workers: int | None = None,
    progress: Callable[[int, int], None] | None = None, lost: str = "",
) -> Iterator[tuple[K, R]]:  # fmt: skip
    """Call a function with each of several sets of arguments, in processes; what is done first comes first.

    Args:
        asked: the arguments, by a name for each.
        workers: processes; by default one a processor. One works in this process.
        progress: called with the number of those that are done, and of all.
        lost: for the user, what becomes of the work where the system ended a process.
    Raises:
        AftercarError: the system ended a process.
    """
    cores = min(workers or processors(), len(asked))
    say = progress or (lambda done, all_: None)
    if cores < 2:
        for done, (name, arguments) in enumerate(asked.items(), 1):
            yield name, function(*arguments)
            say(done, len(asked))
        return
    with in_processes(cores, doing, f"{lost} --workers 1 needs the least memory.".strip(), threads=1) as pool:
        going = {pool.submit(function, *arguments): name for name, arguments in asked.items()}
        for done, one in enumerate(as_completed(going), 1):
            yield going[one], one.result()
            say(done, len(asked))


def _begin(parent: int) -> None:
    """What a process does first; its parent may be gone by then."""
    from loky import process_executor

    end_with(parent)
    # An interrupt from the keyboard reaches all processes: the one that started them ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where psutil is installed loky takes the tables of a part for a leak, and begins a process anew after each: half of the time.
    process_executor._USE_PSUTIL = False  # pyright: ignore[reportPrivateUsage]


def end_with(parent: int) -> None:
    """End this process when its parent has: one that was killed could not end its processes, whatever they were doing."""
    threading.Thread(target=_watch, args=(parent,), name="watches its parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)
