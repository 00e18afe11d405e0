"""The example cohort, imported and graded once for a file of tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aftercar.grade.folder import grade_folder, on_this_machine
from aftercar.timeline.store import import_folder

COHORT = Path(__file__).parents[1] / "examples" / "cohort"


def example(folder: Path, scales: Iterable[str]) -> Path:
    """Results of the example cohort on some scales, in a new folder beside its timeline."""
    import_folder(COHORT, folder / "timeline", COHORT / "mapping.toml")
    grade_folder(folder / "timeline", folder / "grades", list(scales), engine=on_this_machine(1))
    return folder / "grades"
