"""What the tests share: hypothesis profiles, how they are dealt out to processes, and a small table written as a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from ward_support import Postgres

    from aftercar.ward.ward import Ward

CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # however busy the machine is
settings.register_profile("quick", max_examples=30, derandomize=True, **CALM)
settings.register_profile("long", max_examples=1000, **CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

ROOT = Path(__file__).parents[1]

MEMORY = 1_500_000_000  # bytes of a process of tests and of those that it starts: some 1 GB, and 2 GB in the worst one
MOST = 8  # processes: more of them would wait for the longest file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: as many processes as there are processors for us, if memory is enough for them. A container's share of processors counts."""
    from loky import cpu_count

    return max(1, min(MOST, cpu_count(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MEMORY))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes take one file after another, files with slow tests come first, so that none is left alone with one at the end."""
    if hasattr(config, "workerinput"):
        long = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in long)


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    """Write lines as a CSV file in a folder of its own."""

    def write(*lines: str, name: str = "rows.csv") -> Path:
        path = tmp_path / "src" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of a process; each takes a database of its own."""
    from ward_support import a_postgres

    with a_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of each kind."""
    return f"sqlite:///{tmp_path}/ward.db" if request.param == "sqlite" else request.getfixturevalue("postgres").new()


@pytest.fixture
def ward(url: str) -> Iterator[Ward]:
    """An empty ward on a database of each kind, at a fixed time."""
    from ward_support import a_ward

    with a_ward(url) as made:
        yield made
