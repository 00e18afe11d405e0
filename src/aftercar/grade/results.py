"""A results folder of `aftercar grade`, opened: what `run.json` says, the tables when they are asked for, and the timeline that was graded."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from polars import col

from aftercar.errors import InputError, OptionError
from aftercar.files import place
from aftercar.frames import DAMAGE, require_columns, scan, whole
from aftercar.grade.scale import GRADES
from aftercar.grade.table import EPISODES
from aftercar.grade.worst import WORST
from aftercar.timeline.schema import REJECTED
from aftercar.timeline.statements import said_since
from aftercar.timeline.store import Store, open_timeline, read_json
from aftercar.timeline.subjects import SUBJECTS

TABLES: dict[str, dict[str, Any]] = {
    "grades": GRADES, "worst": WORST, "episodes": EPISODES, "subjects": SUBJECTS, "rejected": REJECTED,
}  # fmt: skip
_TOLD = ("rules", "options", "timeline")  # what `run.json` must say
_AGAIN = "Grade again, or copy the whole folder again."


@dataclass(frozen=True, eq=False)
class Results:
    """An opened results folder. Nothing but `run` is read before it is asked for; `docs/tables.md` has the columns of the tables.

    A table that is gone, damaged or of other columns is an InputError when it is asked for.

    Attributes:
        run: what `run.json` holds; its `timeline_note` tells also what people said of the records since (`said_since`).
        held: tables that count in place of those of the folder, by name.
    """

    folder: Path
    run: dict[str, Any]
    held: Mapping[str, pl.DataFrame] = field(default_factory=dict[str, pl.DataFrame])

    @property
    def simulated(self) -> bool:
        """Whether the patients are virtual."""
        return bool(self.run.get("simulated", False))

    @property
    def graded(self) -> set[str]:
        """The scales that graded."""
        return {str(rule).partition("@")[0] for rule in self.run["rules"]}

    @property
    def said_since(self) -> str | None:
        """What people said of the records since they were graded; null where nothing that a grading heeds."""
        return self.run.get("said_since")

    def rules(self, scales: Collection[str]) -> list[str]:
        """The rule versions of some scales that graded: `crs_astct2019@1`."""
        return [rule for rule in self.run["rules"] if rule.partition("@")[0] in scales]

    @cached_property
    def subjects(self) -> pl.DataFrame:
        return self.load("subjects")

    @cached_property
    def worst(self) -> pl.DataFrame:
        return self.load("worst")

    @cached_property
    def episodes(self) -> pl.DataFrame:
        return self.load("episodes")

    def grades(self, scales: Sequence[str]) -> pl.DataFrame:
        """The rows of `grades` of some scales."""
        return self.load("grades", col("scale").is_in(scales))

    def path(self, name: str) -> Path:
        """Where a table is."""
        return self.folder / f"{name}.parquet"

    def scan(self, name: str) -> pl.LazyFrame:
        """A table that has the columns of its name, perhaps with others; collect it by `load`, or within `frames.whole`.

        Raises:
            InputError: it is gone, damaged, or has other columns.
        """
        if name in self.held:
            return self.held[name].lazy()
        frame, path = scan(self.path(name)), self.path(name)
        with whole(path, _AGAIN):
            require_columns(path, frame.collect_schema(), TABLES[name], _AGAIN)
        return frame

    def load(self, name: str, where: pl.Expr | None = None) -> pl.DataFrame:
        """A table, or the rows of it of which `where` is true.

        Raises:
            InputError: it is gone, damaged, or has other columns.
        """
        frame = self.scan(name)
        with whole(self.path(name), _AGAIN):
            return (frame if where is None else frame.filter(where)).collect()

    @contextlib.contextmanager
    def reading(self) -> Generator[None]:
        """Within, collecting what scans a table ends in an InputError where that is damaged; any other error stays itself."""
        try:
            yield
        except DAMAGE:
            for name in TABLES:
                if self.path(name).is_file():
                    self.load(name)
            raise

    def having(self, run: dict[str, Any] | None = None, **tables: pl.DataFrame) -> Results:
        """The same with other tables, or with more in `run`."""
        return replace(self, run=self.run | (run or {}), held={**self.held, **tables})

    def require(self, scales: Sequence[str]) -> None:
        """
        Raises:
            OptionError: none of the scales, which take turns by age, was graded.
        """
        if not self.graded & set(scales):
            raise OptionError(
                f"{self.folder} was not graded on {' or '.join(scales)}. "
                f"`aftercar grade TIMELINE --out RESULTS --scale {scales[0]}` does, `--scale all` on every scale."
            )

    def match(self, subjects: Sequence[str]) -> list[str | int]:
        """Ids of subjects as a user typed them, in the type of the tables.

        Raises:
            InputError: one is not among the results.
        """
        known = self.subjects["subject_id"]
        found = [match_id(s, known.dtype) for s in subjects]
        if not set(found) <= set(known):
            raise InputError("A subject that was asked for is not among the results. Ids are written as in the source.")
        return [key for key in found if key is not None]

    def timeline(self, moved: Path | str | None = None) -> Store:
        """The timeline, as it was graded.

        Args:
            moved: where it is now, if not where it was.
        Raises:
            InputError: it is gone, or another one stands in its place: rows would be cited that were not graded.
        """
        store = open_timeline(timeline_of(self.folder, self.run, Path(moved) if moved else None))
        if store.fingerprint != self.run.get("timeline_fingerprint", store.fingerprint):
            if moved is not None:
                raise InputError(
                    f"{store.folder} is not the timeline from which {self.folder} was graded, or was written anew since."
                )
            raise InputError(
                f"{store.folder} was written anew since {self.folder} was graded. `aftercar grade {store.folder} --out {self.folder}` grades it again."
            )
        return store


def open_results(folder: Path | str) -> Results:
    """Open a results folder.

    Raises:
        InputError: there are no results.
    """
    folder = place(folder)
    run = read_run(folder)
    if since := _said_since(folder, run):
        run |= {"said_since": since, "timeline_note": " ".join(filter(None, (run.get("timeline_note"), since)))}
    return Results(folder, run)


def _said_since(folder: Path, run: dict[str, Any]) -> str | None:
    """What people said of the timeline since it was graded, in words; null where nothing that grading heeds, or where that cannot be told."""
    try:
        timeline = timeline_of(folder, run)
        if "statements" not in run or not timeline.is_dir():
            return None
        kinds = said_since(timeline, run["statements"])
    except (InputError, OSError):  # whoever reads the statements themselves is told what is wrong with them
        return None
    if kinds is None:
        return "The statements with the timeline are not those with which these results were graded. Grade again."
    if not kinds:
        return None
    told = " and ".join(f"{kind}s" for kind in kinds)
    return f"More was said of the records since these results were graded ({told}), and is not in them. Grade again."


def read_run(folder: Path) -> dict[str, Any]:
    """`run.json` of a results folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / "run.json"
    if not path.is_file():
        if (folder / "import.json").is_file() or (folder / "metadata").is_dir():
            raise InputError(
                f"{folder}: no results there; it is a timeline. `aftercar grade {folder} --out RESULTS` grades it into a folder of results."
            )
        raise InputError(f"{folder}: no results there (no run.json). `aftercar grade TIMELINE --out {folder}` makes them.")
    run = read_json(path)
    if absent := [key for key in _TOLD if key not in run]:
        raise InputError(f"{path} is damaged, or of something else (no {absent[0]}). {_AGAIN}")
    return run


def timeline_of(folder: Path, run: dict[str, Any], timeline: Path | None = None) -> Path:
    """Where the timeline of a results folder is: as given, else as `run.json` says."""
    told = str(run["timeline"])
    return timeline or (place(told) if "://" in told else (folder / told).resolve())


def match_id(subject: str, dtype: pl.DataType) -> str | int | None:
    """An id that a user typed, in the type of the tables; null where it cannot be one."""
    if dtype == pl.String:
        return subject
    return int(subject) if re.fullmatch(r"-?[0-9]{1,18}", subject) else None
