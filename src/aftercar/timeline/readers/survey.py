"""What a source calls its things: every code with its rows, and what it means to us, before anything is mapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.timeline.readers import open_pieces
from aftercar.timeline.readers.normalise import meanings

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


def survey(
    source: Path | str, mapping: Path | str | None = None, *, progress: Callable[[str], None] | None = None
) -> pl.DataFrame:
    """Each code of a source, the commonest first: `code, concept` (null: not mapped), `name` (what the source calls it), `rows, subjects,
    numbers` (rows with a number), `units`, `files`.

    Raises:
        InputError, MappingError: as `read`.
    """
    found, names = [], {}
    for piece in open_pieces(source, mapping):
        if piece.problem:
            continue
        targets = meanings(piece.charted, piece.mapping) if piece.targets is None else piece.targets
        known = {code: target.concept for code, target in targets.items()}
        rows = piece.charted.filter(col("code").is_not_null()).group_by("code", "subject_id", "unit")
        found.append(
            rows.agg(rows=pl.len(), numbers=col("numeric_value").is_not_null().sum()).with_columns(
                file=lit(piece.name), concept=col("code").replace_strict(known, default=None, return_dtype=pl.String)
            )
        )
        names |= {code: name for code, name in piece.names.items() if code not in names}
        if progress:
            progress(piece.name)
    if not found:
        return pl.DataFrame(schema=CODES)
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
