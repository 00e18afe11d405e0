"""Readers: a source into a timeline and the rows that could not be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.errors import InputError
from aftercar.timeline.concepts import concepts
from aftercar.timeline.readers import anc_workbook, fhir, omop, sdtm, table
from aftercar.timeline.readers.mapping import Mappings, read_mapping
from aftercar.timeline.readers.normalise import RELATIVE_EPOCH, normalise
from aftercar.timeline.readers.piece import Piece
from aftercar.timeline.schema import REJECTED, conform

__all__ = ["Imported", "open_pieces", "read"]


@dataclass(frozen=True)
class Imported:
    """What came in. `accepted + rejected.height == read`; `repairs` counts notes such as a hidden Fahrenheit.

    `skipped_files` are those of a folder that are no tables of records, with the reason; `unused_parts` are the `match` of mapping
    parts that no file fits; `offsets` are files whose times carry an offset from UTC that nobody applied.
    """

    timeline: pl.DataFrame
    rejected: pl.DataFrame
    read: int
    accepted: int
    repairs: dict[str, int] = field(default_factory=dict)
    ignored_columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    skipped_files: dict[str, str] = field(default_factory=dict)
    unused_parts: tuple[str, ...] = ()
    offsets: tuple[str, ...] = ()
    banner: str | None = None
    simulated: bool = False


def read(source: Path | str, mapping: Path | str | None = None, *, progress: Callable[[str], None] | None = None) -> Imported:
    """Read records: CSV or Parquet tables, a MEDS dataset, FHIR R4, an OMOP CDM, SDTM datasets or Excel workbooks.

    Args:
        source: a file, or a folder whose files are all read; of an OMOP CDM also a zip, or the URL of a database.
        mapping: the mapping file (`docs/mapping.md`); None where names and codes are already ours.
        progress: called with the name of each file when it is read.
    Raises:
        InputError: nothing there, or a file that is no table at all.
        MappingError: the mapping is wrong.
    """
    mappings = read_mapping(Path(mapping) if mapping else None)
    timelines: list[pl.DataFrame] = []
    rejected: list[pl.DataFrame] = []
    accepted, ignored, relative = 0, {}, False
    skipped: dict[str, str] = {}
    matched: set[str] = set()
    offsets: dict[str, None] = {}
    for piece in open_pieces(source, mappings):
        if piece.problem:
            skipped[piece.name] = piece.problem
            continue
        matched.add(piece.mapping.match)
        rows = normalise(piece.charted, piece.mapping, piece.targets)
        timelines.append(rows.timeline)
        rejected += [piece.malformed, rows.rejected]
        accepted += rows.accepted
        relative |= piece.relative
        if piece.offsets:
            offsets[piece.name] = None
        if piece.ignored:
            ignored[piece.name] = piece.ignored
        if progress:
            progress(piece.name)
    if not timelines:
        raise InputError(f"No file of it could be read. {next(iter(skipped.values()), '')}")
    bad = pl.concat(rejected) if rejected else pl.DataFrame(schema=REJECTED)
    return Imported(
        timeline=_finish(pl.concat(timelines), mappings, relative=relative),
        rejected=bad,
        read=accepted + bad.height,
        accepted=accepted,
        repairs=_repairs(timelines),
        ignored_columns=ignored,
        skipped_files=skipped,
        unused_parts=tuple(p.match for p in mappings.parts if p.match not in matched and p.match != "*"),
        offsets=tuple(offsets),
        banner=mappings.banner,
        simulated=mappings.simulated,
    )


def open_pieces(source: Path | str, mapping: Path | str | Mappings | None = None) -> Iterator[Piece]:
    """The pieces of a source, by the reader of its format; as `read`, but nothing is judged yet."""
    mappings = mapping if isinstance(mapping, Mappings) else read_mapping(Path(mapping) if mapping else None)
    if omop.is_omop(source):  # may be the URL of a database
        return omop.pieces(source, mappings)
    path = Path(source)
    if sdtm.is_sdtm(path):
        return sdtm.pieces(path, mappings)
    if fhir.is_fhir(path):
        return fhir.pieces(path, mappings)
    if anc_workbook.is_workbook(path):
        return anc_workbook.pieces(path, mappings)
    return table.pieces(path, mappings)


def _repairs(timelines: list[pl.DataFrame]) -> dict[str, int]:
    notes = pl.concat([t.select("code", "note") for t in timelines]).drop_nulls("note")
    counts = notes.group_by("code", "note").len().sort("code", "note")
    return {f"{code}: {note}": n for code, note, n in counts.iter_rows()}


def _finish(rows: pl.DataFrame, mappings: Mappings, *, relative: bool) -> pl.DataFrame:
    """Ids of one type, an infusion at zero for relative times, and the record's completeness said out loud."""
    if relative:
        dated = rows.filter(col("code") == "cart_infusion").select("subject_id").unique()
        rows = pl.concat(
            [rows, _at_epoch(rows.select("subject_id").unique().join(dated, on="subject_id", how="anti"))],
            how="diagonal",
        )
    whole = rows.select(col("subject_id").str.contains(r"^(0|-?[1-9]\d{0,17})$").all()).item()
    if whole and rows.height:
        rows = rows.with_columns(col("subject_id").cast(pl.Int64))
    said = [completeness(rows, mappings.complete), *(limits(rows, mappings.limits))]
    rows = pl.concat([rows, *said], how="diagonal_relaxed")
    # The whole row is the key, so that the order of files and rows does not matter.
    rows = rows.sort("subject_id", "time", "code", "numeric_value", "text_value", "end_time", "source", maintain_order=True)
    return conform(rows)


def _at_epoch(subjects: pl.DataFrame) -> pl.DataFrame:
    return subjects.with_columns(
        time=lit(RELATIVE_EPOCH).str.to_datetime("%Y-%m-%d", time_unit="us"),
        code=lit("cart_infusion"),
        source=lit("times are relative to it"),
    )


def completeness(rows: pl.DataFrame, complete: tuple[str, ...] | None) -> pl.DataFrame:
    """Rows that declare streams complete for each subject, from its first to its last row.

    Where nobody said which (`complete` is None), a source that holds any drug is taken to hold the drug record.
    """
    drugs = [c.name for c in concepts().values() if c.kind == "drug"]
    if complete is None:
        complete = ("drugs",) if rows.select(col("code").is_in(drugs).any()).item() else ()
    # To the second after the last row, so that the last row lies within.
    last = pl.max_horizontal(col("time").max(), col("end_time").max()) + pl.duration(seconds=1)
    spans = rows.group_by("subject_id").agg(time=col("time").min(), end_time=last)
    said = "declared complete" if complete else ""
    return pl.concat(
        [spans.with_columns(code=lit("record_complete"), text_value=lit(stream), source=lit(said)) for stream in complete]
        or [spans.head(0).with_columns(code=lit(""), text_value=lit(""), source=lit(""))]
    ).drop_nulls("time")


def limits(rows: pl.DataFrame, given: dict[str, float]) -> list[pl.DataFrame]:
    """Rows with the laboratory's limits, for each subject of whom the source charts none of that name."""
    everyone = rows.group_by("subject_id").agg(col("time").min()).drop_nulls("time")
    made = []
    for name, value in given.items():
        own = rows.filter(col("code") == name).select("subject_id").unique()
        new = everyone.join(own, on="subject_id", how="anti")
        made.append(
            new.with_columns(
                code=lit(name), numeric_value=lit(value), unit=lit(concepts()[name].unit), source=lit("[limits] of the mapping")
            )
        )
    return made


def require_rows(imported: Imported) -> None:
    """Refuse an import that holds nothing at all.

    Raises:
        InputError: every row was rejected; the message names the commonest reasons.
    """
    if imported.accepted:
        return
    place = pl.format("{}:{}", "file", "row").first().alias("at")
    top = imported.rejected.group_by("reason").agg(pl.len(), place, col("detail").first())
    top = top.sort("len", "reason", descending=[True, False]).head(3)
    why = "; ".join(f"{n} rows: {reason}, first at {at} ({detail})" for reason, n, at, detail in top.iter_rows())
    raise InputError(f"No row could be used ({why or 'the source has no rows'}).")
