"""The behaviours of the lecture, asked of virtual patients: the page says which hold and which do not, and says it truly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aftercar.simulate.behaviours import BEHAVIOURS, asked

PAGE = Path(__file__).parent.parent / "docs" / "behaviours.md"
ROW = re.compile(r"^\| (\d+)\. .* \| (yes|\*\*NO\*\*) \| (.*) \|$", re.MULTILINE)


@pytest.mark.slow
def test_the_page_says_which_behaviours_hold() -> None:
    told = [(int(number), holds == "yes") for number, holds, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    found = asked()
    assert {b.number for b in BEHAVIOURS} == set(range(1, 16)) == set(found["behaviour"])
    assert [tuple(row) for row in found.select("behaviour", "holds").iter_rows()] == told, (
        "aftercar model behaviours --markdown > docs/behaviours.md"
    )
