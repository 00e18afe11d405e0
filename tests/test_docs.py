"""What the documentation shows is true: its Python runs, its tables match the code, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from aftercar.grade.options import OPTIONS
from aftercar.grade.run import SCALES
from aftercar.grade.scale import GRADES
from aftercar.timeline.readers.mapping import read_mapping
from aftercar.timeline.schema import REJECTED, TIMELINE

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "docs" / "generated"  # pages that `make docs` writes, and whose links it checks
DOCS = [path for path in (ROOT / "docs").rglob("*.md") if not path.is_relative_to(GENERATED)]
PAGES = sorted([*ROOT.glob("*.md"), *DOCS, *(ROOT / "examples").rglob("*.md")])
ELSEWHERE = {ROOT / "docs" / "howto", ROOT / "docs" / "users.md"}  # pages that test_docs_examples.py runs from the top to the end


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python") and not {p, p.parent} & ELSEWHERE], ids=lambda p: p.name
)
def test_python_runs(page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        there = (page.parent / target).resolve()
        if "://" not in target and not there.is_relative_to(GENERATED):
            assert there.exists(), target


def test_the_mapping_that_the_manual_shows_is_one(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "docs" / "mapping.md", "toml")
    path = tmp_path / "mapping.toml"
    path.write_text(block)
    assert read_mapping(path).parts[0].codes["DRIP_ON//7"].edge == "start"


def test_the_tables_page_names_every_column() -> None:
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    for column in [*TIMELINE, *GRADES, *REJECTED]:
        assert f"`{column}`" in page, column


def test_every_option_is_read_by_a_scale_and_described() -> None:
    page = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    used = {name for scale in SCALES.values() for name in scale.options}
    assert used == set(OPTIONS)
    assert {n for n in OPTIONS if n not in page} <= {
        "temp_round", "fever_waiver_drugs", "vasopressin_alone", "angiotensin_counts", "count_inodilators", "push_dose_counts", "hfnc_le6",
        "untreated_hypoxia", "fill_ends", "icaht_duration", "never_recovered_start_max_day", "early_censor", "late_end_day",
        "late_confirm", "late_no_data", "gcsf",
    }  # fmt: skip


def test_schema_types_are_polars_types() -> None:
    assert pl.DataFrame(schema=TIMELINE).width == len(TIMELINE)
