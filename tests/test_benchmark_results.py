"""Each benchmark writes its own section of `RESULTS.md`, and no other."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
assert spec
assert spec.loader
results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(results)


def test_a_section_is_replaced_and_the_others_stay_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    for section in ("fhir", "run", "scale", "fhir"):
        results.write_section(section, f"## {section}\n\n| a |\n| --- |\n\nlast", path)
    before = path.read_text(encoding="utf-8")
    assert [line for line in before.splitlines() if line.startswith("## ")] == ["## run", "## fhir", "## scale"]
    results.write_section("fhir", "## new\n", path)
    assert path.read_text(encoding="utf-8") == before.replace("## fhir\n\n| a |\n| --- |\n\nlast", "## new")


def test_the_committed_file_is_what_would_be_written(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    text = results.RESULTS.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    _, first, body, *_ = results.MARK.split(text)
    results.write_section(first, body, path)
    assert path.read_text(encoding="utf-8") == text


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="speed"):
        results.write_section("speed", "## x", tmp_path / "RESULTS.md")
    assert not (tmp_path / "RESULTS.md").exists()


def test_every_section_is_a_module() -> None:
    assert all((ROOT / "benchmarks" / f"{name}.py").is_file() for name in results.SECTIONS)
