"""Results in the formats of hospitals and trials, and back without loss."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import polars as pl
from polars import col

from aftercar.errors import InputError, OptionError, nearest
from aftercar.export import fhir, omop, sdtm
from aftercar.export.results import MANIFEST, SCHEMAS, Exported, Tables, open_results, read_manifest, write_manifest
from aftercar.files import is_local, place, replace_folder

# Each writes a folder from results, and reads it back.
FORMATS = {"fhir": fhir, "omop": omop, "sdtm": sdtm}
RECORDS = "aftercar_records.csv"


def export_folder(
    folder: Path | str, to: str, out: Path | str, *, timeline: Path | str | None = None, **choices: Any
) -> dict[str, Any]:
    """Write a results folder in another format; a former export is replaced whole when the new one is complete.

    Args:
        folder: a results folder.
        to: `fhir`, `omop` or `sdtm`.
        out: the folder to write.
        timeline: the timeline of the results: where each row behind a grade came from is then listed beside the export.
        choices: those of one format: `zone` (FHIR), `table_format` (OMOP), `study` (SDTM).
    Returns:
        what the manifest `export.json` holds.
    Raises:
        InputError: no results there, or another timeline than the one that was graded.
        OptionError: a format or choice that does not exist.
    """
    if to not in FORMATS:
        raise OptionError(f"No format is called {to!r}. {nearest(to, FORMATS)}")
    known = list(inspect.signature(FORMATS[to].write).parameters)[2:]
    if strange := [name for name in choices if name not in known]:
        raise OptionError(f"{strange[0]} is no choice of {to}, which takes {' and '.join(known)}.")
    folder, out = _here(folder), _here(out)
    if (folder / MANIFEST).is_file() and not (folder / "run.json").is_file():
        raise InputError(
            f"{folder} is an export. `aftercar export {folder} --to tables --out TABLES` makes tables of it, to export again."
        )
    results = open_results(folder)
    with replace_folder(out, marker=MANIFEST) as fresh:
        FORMATS[to].write(results, fresh, **choices)
        if timeline is not None:
            _write_records(results, Path(timeline), fresh / RECORDS)
        return write_manifest(results, fresh, to)


def read_back(folder: Path | str) -> Tables:
    """The tables of an export, exactly as they were.

    Raises:
        InputError: no export there, or one that is not whole.
    """
    folder = _here(folder)
    manifest = read_manifest(folder)
    if manifest["format"] not in FORMATS:
        raise InputError(f"{folder / MANIFEST}: {manifest['format']!r} is no format that is read back. {nearest('', FORMATS)}")
    try:
        return FORMATS[manifest["format"]].read(folder, manifest)
    except (pl.exceptions.PolarsError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: not as it was exported ({type(error).__name__}). Export again.") from error


def write_tables(folder: Path | str, out: Path | str) -> dict[str, Any]:
    """Read an export back and write its tables as Parquet, with `run.json`; `export_folder` takes that folder again.

    Returns:
        what its manifest holds.
    Raises:
        InputError: no export there, or one that is not whole.
    """
    folder, out = _here(folder), _here(out)
    tables, manifest = read_back(folder), read_manifest(folder)
    manifest["format"] = "tables"
    with replace_folder(out, marker=MANIFEST) as fresh:
        for name in SCHEMAS:
            getattr(tables, name).write_parquet(fresh / f"{name}.parquet")
        for name, content in ((MANIFEST, manifest), ("run.json", tables.run)):
            (fresh / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def _here(path: Path | str) -> Path:
    if not is_local(found := place(path)):
        raise InputError(f"{path}: exports are written from and to a filesystem. Copy the folder there, or name another.")
    return found


def _write_records(results: Exported, timeline: Path, path: Path) -> None:
    """Of each row behind a grade its subject, time, code and where it came from; no value and no text."""
    store = results.timeline(timeline)
    behind = results.scan("grades").select(event_id=col("evidence").explode(empty_as_null=False)).unique()
    rows = store.scan().select("event_id", "subject_id", "time", "code", "source")
    rows.join(behind, on="event_id", how="semi", maintain_order="left").sink_csv(path, maintain_order=True)
