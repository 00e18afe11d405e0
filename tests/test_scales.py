"""Every scale says what it is: its table, source, options and marks are one definition."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aftercar.evidence.sources import MARKS, references
from aftercar.grade.describe import describe, markdown
from aftercar.grade.options import OPTIONS, Options
from aftercar.grade.run import SCALES
from aftercar.grade.scale import Scale
from aftercar.serve.cli import app
from aftercar.timeline.concepts import concepts

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda s: s.name)
def test_a_scale_names_what_exists(scale: Scale) -> None:
    assert set(scale.papers) <= set(references())
    assert set(scale.options) <= set(OPTIONS)
    assert set(scale.codes) <= set(concepts())
    assert (scale.state is None) != (scale.window is None)
    cells = scale.criteria(Options())
    assert cells
    assert {c.mark for c in cells} | set((scale.marks or {}).values()) <= set(MARKS)
    assert all(0 <= c.grade <= 5 and c.text and c.axis for c in cells) and max(c.grade for c in cells) >= 1
    assert len({(c.grade, c.text) for c in cells}) == len(cells)


def test_each_toxicity_has_one_default() -> None:
    assert len(SCALES) == len({s.name for s in SCALES.values()})
    defaults = [s for s in SCALES.values() if s.default]
    assert {s.toxicity for s in SCALES.values()} == {s.toxicity for s in defaults}
    # The two ICANS scales take turns by age; every other toxicity has one.
    assert len(defaults) == len({s.toxicity for s in defaults}) + 1


def test_every_option_is_read_by_a_scale() -> None:
    assert set(OPTIONS) == {o for s in SCALES.values() for o in s.options}


def test_the_page_is_what_the_definitions_print() -> None:
    page = (ROOT / "docs" / "scales.md").read_text(encoding="utf-8")
    assert page == markdown([describe(s) for s in SCALES.values()]), "make fix writes docs/scales.md"


# What grading.md marks [M?] or [P], and a word of where it must be seen.
SEEN = {
    "crs_astct2019": ("F4", "F5", "F6", "F7", "F8", "H3", "H5", "H6", "H7", "H9", "vasopressin alone", "low saturation"),
    "icans_astct": ("I2", "I3", "I4", "I6", "I8", "I9", "I10"),
    "icans_astct_peds": ("sedation is not grade 4", "I6"),
    "crs_lee2014": ("FiO2 by flow", "high-dose vasopressor"),
    "crs_penn2018": ("one fluid bolus",),
    "crs_mskcc": ("24 hours",),
    "crs_ctcae5": ("several vasopressors",),
    "icaht_early": ("G-CSF", "rounded", "gap limit"),
    "icaht_late": ("non-transient", "day 100"),
    "tian": ("mild", "moderate", "severe", "life-threatening", "death"),
    "b_cell_aplasia": ("B cells",),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_is_not_checked_says_so(name: str) -> None:
    told = describe(SCALES[name])
    marked = [f"{rule} [{mark}]" for rule, mark in told.rules.items()]
    marked += [text for row in told.table.values() for texts in row.values() for text in texts]
    marked += [f"{o['question']} [{o['mark']}]" for o in told.options]
    weak = [text for text in marked if text.endswith(("[P]", "[M?]", "[M]"))]
    for word in SEEN[name]:
        assert any(word in text for text in weak), word


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["scales", *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_prints_tables() -> None:
    listed = run()
    assert all(name in listed for name in SCALES)
    shown = run("crs_lee2014", "icans")
    assert "10.1182/blood-2014-05-552729" in shown and "cres_cartox" in shown and "lee_niv" in shown
    told = json.loads(run("crs_astct2019", "--json", "--option", "vasopressin_alone=2"))[0]
    assert "vasopressin alone [P]" in told["table"]["hypotension"]["2"]
    assert next(o for o in told["options"] if o["name"] == "vasopressin_alone")["value"] == 2
    assert run("all", "--markdown") == (ROOT / "docs" / "scales.md").read_text(encoding="utf-8")
