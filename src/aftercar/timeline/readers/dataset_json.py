"""CDISC Dataset-JSON, versions 1.0 and 1.1, and the NDJSON form of 1.1, as frames of text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from aftercar.errors import InputError
from aftercar.timeline.readers.batches import BATCH_ROWS, Batch, numbered
from aftercar.timeline.schema import REJECTED


def is_dataset_json(path: Path) -> bool:
    """Whether a JSON file says that it is one, near its beginning."""
    with path.open("rb") as file:
        return b'"datasetJSONVersion"' in file.read(1 << 16)


def read_dataset_json(path: Path, name: str) -> Iterator[tuple[str, Iterator[Batch]]]:
    """Each dataset of a file: its name, and its rows as text in batches. The file is held as a whole.

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
            found = [_dataset(content["name"], content["columns"], content.get("rows", []), content.get("records"), name)]
        else:
            groups = data["itemGroupData"].values()
            found = [_dataset(g["name"], g["items"], g["itemData"], g.get("records"), name) for g in groups]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{name}: not Dataset-JSON, or not whole ({type(error).__name__}). Export it again.") from error
    yield from ((dataset, _batches(frame, bad)) for dataset, frame, bad in found)


def _batches(frame: pl.DataFrame, bad: pl.DataFrame) -> Iterator[Batch]:
    for n in range(0, max(frame.height, 1), BATCH_ROWS):
        yield Batch(
            numbered(frame.slice(n, BATCH_ROWS), n + 1),
            bad if n == 0 else bad.clear(),
            min(1.0, (n + BATCH_ROWS) / (frame.height or 1)),
        )


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
    """Its name, its rows, and rows of `REJECTED` for those that are broken: they are blank in the frame, so that the rest keep their number."""
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
