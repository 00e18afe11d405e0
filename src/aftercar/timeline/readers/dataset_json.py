"""CDISC Dataset-JSON, versions 1.0 and 1.1, and the NDJSON form of 1.1, as frames of text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from aftercar.errors import InputError
from aftercar.timeline.schema import REJECTED


def is_dataset_json(path: Path) -> bool:
    """Whether a JSON file says that it is one, near its beginning."""
    with path.open("rb") as file:
        return b'"datasetJSONVersion"' in file.read(1 << 16)


def read_dataset_json(path: Path, name: str) -> list[tuple[str, pl.DataFrame, pl.DataFrame]]:
    """Each dataset of a file: its name, its rows as text, and rows of `REJECTED` for those that are broken.

    A broken row is blank in the frame, so that the rest keep their number.

    Raises:
        InputError: no Dataset-JSON, or fewer rows than it says.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if path.suffix.casefold() == ".ndjson":
            head, *lines = text.splitlines()
            content = json.loads(head) | {"rows": _lines(lines)}
        else:
            content = json.loads(text)
        data = content.get("clinicalData") or content.get("referenceData")  # version 1.0
        if data is None:
            return [_dataset(content["name"], content["columns"], content.get("rows", []), content.get("records"), name)]
        return [_dataset(g["name"], g["items"], g["itemData"], g.get("records"), name) for g in data["itemGroupData"].values()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{name}: not Dataset-JSON, or not whole ({type(error).__name__}). Export it again.") from error


def _lines(lines: list[str]) -> list[Any]:
    try:
        return json.loads(f"[{','.join(lines)}]")
    except ValueError:
        return [_or_none(line) for line in lines]


def _or_none(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _dataset(
    dataset: str, columns: list[Any], rows: list[Any], records: Any, name: str
) -> tuple[str, pl.DataFrame, pl.DataFrame]:
    names = [str(column["name"]) for column in columns]
    if isinstance(records, int) and records != len(rows):
        raise InputError(f"{name}: it says {records} records and holds {len(rows)}. Is the file whole?")
    broken = [n for n, row in enumerate(rows, 1) if not isinstance(row, list) or len(row) != len(names)]
    for n in broken:
        rows[n - 1] = [None] * len(names)
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row", strict=False)
    bad = pl.DataFrame({"row": broken}, schema={"row": pl.Int64}).with_columns(
        file=pl.lit(name),
        column=pl.lit(None, pl.String),
        reason=pl.lit("malformed_line"),
        code=pl.lit(None, pl.String),
        detail=pl.lit(f"not a list of {len(names)} values, as the columns say; mend the row"),
    )
    return dataset, frame.with_columns(pl.all().replace({"": None})), bad.select(list(REJECTED))
