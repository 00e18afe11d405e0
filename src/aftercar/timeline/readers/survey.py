"""What a source calls its things: every code with its rows, and what it means to us, before anything is mapped."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.timeline.readers import open_pieces
from aftercar.timeline.readers.mapping import read_mapping
from aftercar.timeline.readers.normalise import meanings
from aftercar.timeline.readers.piece import Piece, Progress

CODES = {
    "code": pl.String,
    "concept": pl.String,
    "name": pl.String,
    "rows": pl.UInt32,
    "subjects": pl.UInt32,
    "numbers": pl.UInt32,
    "units": pl.List(pl.String),
    "files": pl.List(pl.String),
}
_AT_ONCE = 1_000_000  # counts that are held before they are added up
# Counts of a code, subject, unit and file.
_FOUND = {
    "code": pl.String, "subject_id": pl.String, "unit": pl.String, "file": pl.String, "rows": pl.UInt32, "numbers": pl.UInt32,
    "concept": pl.String,
}  # fmt: skip


def survey(
    source: Path | str, mapping: Path | str | None = None, *, progress: Callable[[Progress], None] | None = None
) -> pl.DataFrame:
    """Each code of a source, the commonest first: `code, concept` (null: not mapped), `name` (what the source calls it), `rows, subjects,
    numbers` (rows with a number), `units`, `files`.

    Raises:
        InputError, MappingError: as `read`.
    """
    mappings = read_mapping(Path(mapping) if mapping else None)
    found, fresh = [pl.DataFrame(schema=_FOUND)], 0
    names: dict[str, str] = {}
    rows = 0
    with tempfile.TemporaryDirectory(prefix="aftercar-") as room:
        for piece in open_pieces(source, mappings, Path(room), progress):
            if piece.problem:
                continue
            found.append(_counted(piece))
            fresh += found[-1].height
            if fresh > _AT_ONCE:
                found, fresh = [_together(found)], 0
            names |= {code: name for code, name in piece.names.items() if code not in names}
            rows += piece.charted.height
            if progress:
                progress(Progress(piece.name, rows, piece.place))
    table = pl.concat(found).group_by("code").agg(
        concept=col("concept").drop_nulls().first(),
        rows=col("rows").sum(),
        subjects=col("subject_id").n_unique(),
        numbers=col("numbers").sum(),
        units=col("unit").drop_nulls().unique().sort(),
        files=col("file").unique().sort(),
    )  # fmt: skip
    named = table.with_columns(name=col("code").replace_strict(names, default=None, return_dtype=pl.String))
    return named.sort("rows", "code", descending=[True, False]).select(col(c).cast(t) for c, t in CODES.items())


def _together(found: list[pl.DataFrame]) -> pl.DataFrame:
    counts = pl.concat(found).group_by("code", "subject_id", "unit", "file")
    counts = counts.agg(col("rows").sum(), col("numbers").sum(), col("concept").drop_nulls().first())
    return counts.select(list(_FOUND))


def _counted(piece: Piece) -> pl.DataFrame:
    targets = meanings(piece.charted, piece.mapping) if piece.targets is None else piece.targets
    known = {code: target.concept for code, target in targets.items()}
    rows = piece.charted.filter(col("code").is_not_null()).group_by("code", "subject_id", "unit")
    counted = rows.agg(rows=pl.len(), numbers=col("numeric_value").is_not_null().sum()).with_columns(
        file=lit(piece.name), concept=col("code").replace_strict(known, default=None, return_dtype=pl.String)
    )
    return counted.select(col(c).cast(t) for c, t in _FOUND.items())
