"""Excel workbooks: each sheet a table, as the mapping describes it, or the input of the peer ICAHT grader [liang2024].

The peer's workbook needs no mapping: a row a neutrophil count, in cells/uL, and beside it the dates of its patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
from polars import col

from aftercar.errors import InputError
from aftercar.timeline.readers import table
from aftercar.timeline.readers.batches import ROW
from aftercar.timeline.readers.mapping import Mapping, Mappings, Target
from aftercar.timeline.readers.piece import Piece, each_file, files_in
from aftercar.timeline.readers.xlsx import Row, read_xlsx

_PEER_COUNT = ("patient_id", "date", "anc", "cart_date")
_PEER_DATES = {
    "cart_date": "cart_infusion",
    "progression_date": "progression",
    "subsequent_therapy_date": "next_therapy",
    "last_fu_date": "last_follow_up",
}


def is_workbook(source: Path) -> bool:
    """Whether a file is an Excel workbook, or a folder holds one."""
    return bool(_books(source))


def pieces(source: Path, mappings: Mappings) -> Iterator[Piece]:
    """Each sheet of the workbooks of a source, then its other tables.

    Raises:
        InputError: a file that cannot be read: the only one, or one that a part of the mapping names.
    """
    yield from each_file(source, mappings, _books(source), lambda path, name, _: _sheets(path, name, mappings))
    if source.is_dir() and any(p.name.casefold().endswith(table.SUFFIXES) for p in files_in(source)):
        yield from table.pieces(source, mappings)


def _books(source: Path) -> list[Path]:
    files = files_in(source) if source.is_dir() else [source]
    return [p for p in files if p.suffix.casefold() in (".xlsx", ".xlsm") and p.is_file() and not p.name.startswith("~$")]


def _sheets(path: Path, name: str, mappings: Mappings) -> Iterator[Piece]:
    sheets = list(read_xlsx(path, name, lambda title: mappings.of(f"{name}/{title}").time_format))
    for title, rows in sheets:
        place = f"{name}/{title}"
        part = mappings.of(place)
        if not any(any(row) for row in rows):
            yield Piece.skipped(place, f"{place}: the sheet is empty.")
            continue
        try:
            yield _sheet(rows, place, part)
        except InputError as error:
            if part.match != "*" or len(sheets) == 1:
                raise
            yield Piece.skipped(place, str(error))


def _sheet(rows: list[Row], name: str, mapping: Mapping) -> Piece:
    """One sheet, whose first row that is not blank names the columns.

    Raises:
        InputError: two columns of one name, or no table of records.
    """
    head = next(n for n, row in enumerate(rows) if any(row))
    names = [(n, cell.strip()) for n, cell in enumerate(rows[head]) if cell and cell.strip()]
    titles = [title for _, title in names]
    if twice := {t for t in titles if titles.count(t) > 1}:
        raise InputError(f"{name}: two columns are called {sorted(twice)[0]!r}. Rename one.")
    frame = pl.DataFrame(
        {
            ROW: pl.int_range(1, len(rows) - head, dtype=pl.Int64, eager=True),
            **{
                title: pl.Series([row[n] if n < len(row) else None for row in rows[head + 1 :]], dtype=pl.String)
                for n, title in names
            },
        }
    )
    peer = _peer(titles, mapping)
    piece = table.read_frame(frame, name, peer or mapping)
    if peer is None:
        return piece
    # The dates of a patient stand in each of its rows: each is one event.
    dates = col("column").is_in([c for c, t in peer.wide.items() if t.dated])
    once = pl.struct("subject_id", "column", "time", "time_given").is_first_distinct()
    return replace(piece, charted=piece.charted.filter(~dates | once))


def _peer(titles: list[str], mapping: Mapping) -> Mapping | None:
    """The mapping of the peer's workbook, where the sheet is one and the user has mapped nothing."""
    ours = {t.casefold().replace(" ", "_"): t for t in titles}
    if mapping.wide or mapping.codes or mapping.columns or not set(_PEER_COUNT) <= set(ours):
        return None
    wide = {ours["anc"]: Target("anc", unit="/uL")}
    wide |= {ours[c]: Target(event, dated=True) for c, event in _PEER_DATES.items() if c in ours}
    return replace(mapping, layout="wide", columns={"subject_id": ours["patient_id"], "time": ours["date"]}, wide=wide)
