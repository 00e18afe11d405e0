"""Units where several threads read at once, as in a server."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: the registry of units is filled once.
THREADS = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from aftercar.timeline.concepts import concept
from aftercar.timeline.units import is_ucum, line, rate

together = Barrier(12)

def ask(_):
    together.wait()
    return is_ucum("[degF]"), line("[degF]", concept("temperature")), rate("mg/h")

with ThreadPoolExecutor(12) as pool:
    print(len(set(pool.map(ask, range(12)))))
"""


def test_threads_that_ask_first_at_once_get_one_answer() -> None:
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
