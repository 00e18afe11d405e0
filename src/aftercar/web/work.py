"""The kinds of jobs of a ward. Each is done in a process of its own, which imports nothing else of the server."""

from __future__ import annotations

from collections.abc import Mapping

from aftercar.ward.jobs import Work
from aftercar.web import simulated

WORKS: Mapping[str, Work] = {"simulate": simulated.work}
