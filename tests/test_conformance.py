"""Every worked case of the scales that are built passes; the cases are data."""

from __future__ import annotations

from pathlib import Path

import pytest

from aftercar.grade.conformance import Check, run_cases
from aftercar.grade.run import SCALES

FILES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return run_cases(FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_cases(file: Path) -> None:
    failed = [f"{c.case} {c.scale} ({c.at}): {c.difference}" for c in run_cases([file]) if c.outcome == "failed"]
    assert not failed, "\n".join(failed)


def test_what_is_not_built_is_never_passed(checks: list[Check]) -> None:
    built = {*SCALES, "crs_episodes"}
    assert {c.scale for c in checks if c.outcome == "passed"} == built
    assert not {c.scale for c in checks if c.outcome == "not supported"} & built
