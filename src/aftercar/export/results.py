"""A results folder as exporters read it, in slices of whole subjects; and the tables as a reader of an export gives them back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
from polars import col

from aftercar import __version__
from aftercar.errors import InputError
from aftercar.grade import results as graded
from aftercar.grade.scale import GRADES
from aftercar.grade.table import EPISODES
from aftercar.timeline.store import read_json
from aftercar.timeline.subjects import SUBJECTS

SLICE_ROWS = 50_000  # rows of grades at a time; memory is bounded by it, and by the table of subjects
MANIFEST = "export.json"
USE = "For research, education, quality and registry work. Grades are derived by software, not adjudicated."
VIRTUAL = "Virtual patients; not a prediction for a person."

SCHEMAS: dict[str, dict[str, Any]] = {"grades": GRADES, "episodes": EPISODES, "subjects": SUBJECTS}
# What is the same in every row of a scale stands once in the manifest.
OF_SCALE = ("toxicity", "scale", "rules", "options")
_LONG = ("grades", "episodes")
RUN = ("subject_id", "infusion", "scale")  # what episodes are numbered within


@dataclass(frozen=True)
class Tables:
    """What an export holds: `docs/tables.md` describes each table. `run` is the `run.json` of the results."""

    grades: pl.DataFrame
    episodes: pl.DataFrame
    subjects: pl.DataFrame
    run: dict[str, Any]


@dataclass(frozen=True)
class Slice:
    """Whole subjects. `grades` and `episodes` have `n`, the number of the row in the whole table; `grades` also the `episode` that it belongs to."""

    grades: pl.DataFrame
    episodes: pl.DataFrame
    subjects: pl.DataFrame


@dataclass(frozen=True, eq=False)
class Exported(graded.Results):
    """A results folder, checked for export. `scales` has a row a scale: `toxicity, scale, rules, options`; `counts` the rows of each table, and of `evidence` in them."""

    scales: pl.DataFrame = field(default_factory=pl.DataFrame)
    counts: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def statement(self) -> str:
        """What an exported file says of itself: its use, and the note of the dataset."""
        return " ".join(filter(None, (USE, VIRTUAL if self.simulated else "", self.run.get("timeline_note"))))

    def scan(self, name: str) -> pl.LazyFrame:
        """The columns of a table that are exported."""
        return super().scan(name).select(list(graded.TABLES[name]))

    def slices(self) -> Iterator[Slice]:
        """The tables by whole subjects, in their order.

        Raises:
            InputError: the rows of a subject do not stand together.
        """
        ids = self.subjects.select("subject_id").unique(maintain_order=True)
        for name in _LONG:
            rows = self.scan(name).group_by("subject_id").len(name).collect()
            ids = ids.join(rows, on="subject_id", how="left", maintain_order="left").with_columns(col(name).fill_null(0))
        at = dict.fromkeys(_LONG, 0)
        part = (col("grades").cum_sum() - 1).clip(0) // SLICE_ROWS
        for _, own in ids.with_columns(part=part).group_by("part", maintain_order=True):
            long: dict[str, pl.DataFrame] = {}
            for name in _LONG:
                rows = int(own[name].sum())
                long[name] = self.scan(name).slice(at[name], rows).with_row_index("n", at[name]).collect()
                at[name] += rows
                if long[name].join(own, on="subject_id", how="anti").height:
                    raise InputError(f"{self.folder}: the rows of a subject in {name}.parquet stand apart. Grade again.")
            subjects = self.subjects.join(own, on="subject_id", how="semi", maintain_order="left")
            yield Slice(_linked(**long), long["episodes"], subjects)
        if any(at[name] != self.counts[name] for name in _LONG):
            raise InputError(f"{self.folder}: rows of a subject that subjects.parquet does not hold. Grade again.")


def open_results(folder: Path | str) -> Exported:
    """Open a results folder.

    Raises:
        InputError: no results there, or tables that are not as this version writes them.
    """
    opened = graded.open_results(folder)
    found = Exported(opened.folder, opened.run)
    tables = {name: found.scan(name) for name in SCHEMAS}
    of_scale = [t.select(OF_SCALE).unique() for t in (tables["grades"], tables["episodes"])]
    scales = pl.concat(of_scale).unique().sort("scale").collect()
    if scales["scale"].n_unique() < scales.height:
        raise InputError(f"{folder}: one scale under two sets of options. Export results of one run.")
    endless = col("measures").list.eval(~pl.element().struct.field("value").is_finite()).list.any().any().fill_null(False)
    bad, cited = tables["grades"].select(endless, _cited()).collect().row(0)
    if bad:
        raise InputError(f"{folder}: a measure that is no finite number cannot be written. Grade again.")
    counts = {name: table.select(pl.len()).collect().item() for name, table in tables.items()} | {"evidence": cited}
    return replace(found, scales=scales, counts=counts)


def _cited() -> pl.Expr:
    return col("evidence").list.len().cast(pl.Int64).sum()


def _linked(grades: pl.DataFrame, episodes: pl.DataFrame) -> pl.DataFrame:
    """Grades with the `episode` that a stretch of grade 1 or more overlaps, the last one if there are several; else null."""
    spells = episodes.select(*RUN, "episode", "resolution", at="onset").sort("at")
    grades = grades.with_columns(col("n").cast(pl.Int64))
    there = grades.filter(col("grade") > 0).select("n", *RUN, "start", at=col("end").fill_null(pl.datetime(9999, 12, 31)))
    found = there.sort("at").join_asof(
        spells, on="at", by=list(RUN), strategy="backward", allow_exact_matches=False, check_sortedness=False
    )
    found = found.filter(col("resolution").is_null() | (col("start") < col("resolution"))).select("n", "episode")
    return grades.join(found, on="n", how="left", maintain_order="left")


# ---- the manifest, and the way back


def write_manifest(results: Exported, folder: Path, format_: str) -> dict[str, Any]:
    """Write beside the exported files what is the same in all rows, and the counts that a reader must find."""
    content = {
        "aftercar": __version__,
        "format": format_,
        "use": results.statement,
        "simulated": results.simulated,
        "subject_id": str(results.subjects.schema["subject_id"]),
        "counts": results.counts,
        "scales": results.scales.to_dicts(),
        "run": results.run,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return content


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an export.

    Raises:
        InputError: there is none.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: no export there (no {MANIFEST}).")
    content = read_json(path)
    if absent := [key for key in ("format", "subject_id", "counts", "scales", "run") if key not in content]:
        raise InputError(f"{path} is damaged (no {absent[0]}). Export again.")
    return content


def as_tables(manifest: dict[str, Any], **read: pl.DataFrame) -> Tables:
    """What was read from an export, in the columns and types of our tables.

    Args:
        read: `grades`, `episodes` and `subjects`, the first two with `scale` in place of what the manifest says of it.
    Raises:
        InputError: rows that the manifest counts are missing, or are of a scale that it does not name.
    """
    scales = pl.DataFrame(manifest["scales"], schema=dict.fromkeys(OF_SCALE, pl.String))
    own = pl.Int64 if manifest["subject_id"] == "Int64" else pl.String
    tables: dict[str, pl.DataFrame] = {}
    for name, schema in SCHEMAS.items():
        frame = read[name]
        if "scale" in schema:
            frame = frame.join(scales, on="scale", how="inner", maintain_order="left")
        tables[name] = frame.select(col(c).cast(own if dtype is None else dtype) for c, dtype in schema.items())
    found = {name: frame.height for name, frame in tables.items()} | {"evidence": tables["grades"].select(_cited()).item()}
    for name, n in found.items():
        if n != manifest["counts"][name]:
            raise InputError(f"{n} rows of {name} were found, and {manifest['counts'][name]} were exported. Export again.")
    return Tables(run=manifest["run"], **tables)


def beside(left: pl.DataFrame, right: pl.DataFrame, *on: str) -> pl.DataFrame:
    """`left` with the columns of its one row of `right`, null where there is none; in the order of `left`."""
    return left.join(right, on=list(on), how="left", maintain_order="left", validate="m:1")
