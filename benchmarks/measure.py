"""Run a piece of work in a process of its own, and measure it together with the processes that it starts."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from aftercar.serve.cli import ALLOCATOR

EVERY_S = 0.05  # memory is looked at so often,
LOOKING = 0.02  # or so seldom that looking takes this share of a processor: it holds up the process that is looked at


@dataclass(frozen=True)
class Run:
    """One measured run: seconds, and MiB of memory at most (shared pages once)."""

    wall: float
    cpu: float
    peak: float


def measured(module: str, *words: str) -> Run:
    """Run `python -m module words...`, whose work is timed by `timed`."""
    return measured_command(sys.executable, "-m", module, *words)


def measured_command(*command: str) -> Run:
    """Run a command that writes `[seconds of wall, of CPU]` of its work as JSON to the file that `BENCHMARK_REPORT` names."""
    name, value = ALLOCATOR  # as the command line sets it
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        env = {**os.environ, name: os.environ.get(name, value), "BENCHMARK_REPORT": str(report)}
        process = subprocess.Popen(command, env=env)
        peak = 0.0
        while process.poll() is None:
            looked = time.perf_counter()
            peak = max(peak, _memory(psutil.Process(process.pid)))
            time.sleep(max(EVERY_S, (time.perf_counter() - looked) / LOOKING))
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed.")
        wall, cpu = json.loads(report.read_text())
    return Run(wall, cpu, peak)


def in_turns(contenders: Mapping[str, Callable[[], Run]], repeat: int) -> dict[str, list[Run]]:
    """The runs of each contender, taken in turns, so that a busy minute does not fall on one of them."""
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, start in contenders.items():
            runs[name].append(run := start())
            print(f"  {name}: {run.wall:.2f} s, CPU {run.cpu:.2f} s, peak {run.peak:,.0f} MiB", flush=True)
    return runs


def middle(runs: Sequence[Run], times: float = 1) -> Run:
    """The median of the times, multiplied up where the work was a part, and the highest peak."""
    wall, cpu = statistics.median(r.wall for r in runs), statistics.median(r.cpu for r in runs)
    return Run(wall * times, cpu * times, max(r.peak for r in runs))


def timed(work: Callable[[], object]) -> None:
    """In the process that `measured` started: do the work, and tell how long it took."""
    wall, cpu = time.perf_counter(), _cpu()
    work()
    Path(os.environ["BENCHMARK_REPORT"]).write_text(json.dumps([time.perf_counter() - wall, _cpu() - cpu]))


def _cpu() -> float:
    """Seconds of this process and of those that it started and saw end."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _memory(process: psutil.Process) -> float:
    """MiB that a process and those below it hold now."""
    found = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                info = one.memory_full_info()
                found += getattr(info, "pss", info.uss) / (1 << 20)
    return found
