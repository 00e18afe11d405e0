"""Work of jobs that tests ask for; the process of a job imports it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from aftercar.errors import InputError
from aftercar.ward.jobs import Say


def sums(asked: dict[str, Any], say: Say) -> bytes:
    """Add up to a number, and say each step."""
    total = 0
    for k in range(1, asked["n"] + 1):
        total += k
        say(k, asked["n"])
    return str(total).encode()


def beats(asked: dict[str, Any], say: Say) -> bytes:
    """Write a line to a file, again and again, without an end."""
    path = Path(asked["file"])
    say(0, 10)
    while True:
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.02)


def fails(asked: dict[str, Any], say: Say) -> bytes:
    """Fail as asked."""
    if asked["how"] == "told":
        raise InputError("That cannot be done.")
    if asked["how"] == "killed":
        os.kill(os.getpid(), 9)
    raise ValueError("a value of somebody: 39.1")


WORKS = {"sums": sums, "beats": beats, "fails": fails}
