"""Readers: a source into a timeline and the rows that could not be used."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
from polars import col

from aftercar.errors import InputError
from aftercar.timeline.readers import anc_workbook, bulk, fhir, omop, sdtm, table
from aftercar.timeline.readers.gather import Gathered, finished
from aftercar.timeline.readers.mapping import Mappings, read_mapping
from aftercar.timeline.readers.normalise import normalise
from aftercar.timeline.readers.packed import is_zip, unpack
from aftercar.timeline.readers.piece import Piece, Progress
from aftercar.timeline.readers.spill import Spill
from aftercar.timeline.readers.virtual import says_simulated
from aftercar.timeline.schema import REJECTED

__all__ = ["Counts", "Imported", "Intake", "open_pieces", "read"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What came in; `read` less `accepted` is rejected. `repairs` counts notes such as a hidden Fahrenheit.

    `skipped_files` are those of a folder that are no tables of records, with the reason; `unused_parts` are the `match` of mapping
    parts that no file fits; `offsets` are files whose times carry an offset from UTC that nobody applied.
    """

    read: int
    accepted: int
    repairs: dict[str, int] = field(default_factory=dict)
    ignored_columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    skipped_files: dict[str, str] = field(default_factory=dict)
    unused_parts: tuple[str, ...] = ()
    offsets: tuple[str, ...] = ()
    banner: str | None = None
    simulated: bool = False


@dataclass(frozen=True, kw_only=True)
class Imported(Counts):
    """A source in memory: `accepted + rejected.height == read`."""

    timeline: pl.DataFrame
    rejected: pl.DataFrame


def read(
    source: Path | str, mapping: Path | str | None = None, *, progress: Callable[[Progress], None] | None = None
) -> Imported:
    """Read records into memory: CSV or Parquet tables, a MEDS dataset, FHIR R4, an OMOP CDM, SDTM datasets or Excel workbooks.

    Args:
        source: a file, or a folder whose files are all read; of an OMOP CDM also the URL of a database, of FHIR that of a bulk export.
            A zip is read as the folder that was packed.
        mapping: the mapping file (`docs/mapping.md`); None where names and codes are already ours.
        progress: told after each piece that is read.
    Raises:
        InputError: nothing there, or a file that is no table at all.
        MappingError: the mapping is wrong.
    """
    mappings = read_mapping(Path(mapping) if mapping else None)
    with tempfile.TemporaryDirectory(prefix="aftercar-") as room:
        intake = Intake(mappings)
        intake.take(open_pieces(source, mappings, Path(room), progress), progress)
    timeline = pl.concat(list(intake.timeline()))
    return Imported(timeline=timeline, rejected=intake.rejected().collect(), **vars(intake.counts()))


def open_pieces(
    source: Path | str, mappings: Mappings, room: Path, progress: Callable[[Progress], None] | None = None
) -> Iterator[Piece]:
    """The pieces of a source, by the reader of its format; as `read`, but nothing is judged yet.

    Args:
        room: a folder for what must be unpacked or fetched first; it must stand until the last piece is read.
        progress: told while a source is fetched.
    """
    pieces = _pieces(source, mappings, room, progress)
    yield from (replace(piece, simulated=True) for piece in pieces) if says_simulated(Path(source)) else pieces


def _pieces(source: Path | str, mappings: Mappings, room: Path, progress: Callable[[Progress], None] | None) -> Iterator[Piece]:
    if bulk.is_url(source):
        export = bulk.fetch(str(source), room / "export", lambda what: progress(Progress(what, 0, None)) if progress else None)
        yield from (Piece.skipped(name, why) for name, why in export.left_out.items())
        yield from fhir.pieces(export.folder, mappings)
    elif omop.is_omop(source):  # may be the URL of a database
        yield from omop.pieces(source, mappings, room)
    else:
        path = Path(source)
        if is_zip(path):
            unpacked = unpack(path, room / "unpacked")
            yield from (Piece.skipped(name, why) for name, why in unpacked.left_out.items())
            path = unpacked.folder
        yield from _of_path(path, mappings, room)


def _of_path(path: Path, mappings: Mappings, room: Path) -> Iterator[Piece]:
    if sdtm.is_sdtm(path):
        return sdtm.pieces(path, mappings, room)
    if fhir.is_fhir(path):
        return fhir.pieces(path, mappings)
    if anc_workbook.is_workbook(path):
        return anc_workbook.pieces(path, mappings)
    return table.pieces(path, mappings)


class Intake:
    """A source that is being taken in: first all pieces, then the timeline, then what is said of the whole."""

    def __init__(self, mappings: Mappings, room: Path | None = None) -> None:
        """`room` is a folder for rows that do not fit into memory; without one all stay there."""
        self._mappings = mappings
        self._gathered = Gathered(room)
        self._rejected = Spill(room, "rejected", REJECTED)
        self._read, self._refused, self._relative = 0, 0, False
        self._ignored: dict[str, tuple[str, ...]] = {}
        self._skipped: dict[str, str] = {}
        self._matched: set[str] = set()
        self._offsets: dict[str, None] = {}
        self._repairs: Counter[tuple[str, str]] = Counter()
        self._simulated = mappings.simulated

    def take(self, pieces: Iterator[Piece], progress: Callable[[Progress], None] | None = None) -> None:
        """Take in all pieces of a source.

        Raises:
            InputError: none can be read.
        """
        some = False
        for piece in pieces:
            if piece.problem:
                self._skipped[piece.name] = piece.problem
                continue
            some = True
            self._one(piece)
            if progress:
                progress(Progress(piece.name, self._read, piece.place))
        if not some:
            raise InputError(f"No file of it could be read. {next(iter(self._skipped.values()), '')}")

    def _one(self, piece: Piece) -> None:
        found = normalise(piece.charted, piece.mapping, piece.targets)
        self._gathered.add(found.rows)
        self._refuse(pl.concat([piece.malformed, found.rejected]).sort("row", maintain_order=True))
        self._read += found.accepted + found.rejected.height + piece.malformed.height
        self._matched.add(piece.mapping.match)
        self._relative |= piece.relative
        self._simulated |= piece.simulated
        if piece.offsets:
            self._offsets[piece.name] = None
        if piece.ignored:
            self._ignored[piece.name] = tuple(dict.fromkeys((*self._ignored.get(piece.name, ()), *piece.ignored)))

    def _refuse(self, rows: pl.DataFrame) -> None:
        self._rejected.add(rows)
        self._refused += rows.height

    def timeline(self) -> Iterator[pl.DataFrame]:
        """The timeline in stretches of whole subjects, sorted; to be gone through once, to its end."""
        for stretch, refused in finished(self._gathered, self._mappings, relative=self._relative):
            self._refuse(refused)
            noted = stretch.lazy().drop_nulls("note").group_by("code", "note").len().collect()
            self._repairs.update({(code, note): n for code, note, n in noted.iter_rows()})
            yield stretch

    def rejected(self) -> pl.LazyFrame:
        """The rejected rows: as the pieces came, then those that the rest of a subject's rows refuse."""
        return self._rejected.scan()

    def counts(self) -> Counts:
        """What came in, once the timeline has been gone through."""
        parts = self._mappings.parts
        return Counts(
            read=self._read,
            accepted=self._read - self._refused,
            repairs={f"{code}: {note}": n for (code, note), n in sorted(self._repairs.items())},
            ignored_columns=self._ignored,
            skipped_files=self._skipped,
            unused_parts=tuple(p.match for p in parts if p.match not in self._matched and p.match != "*"),
            offsets=tuple(self._offsets),
            banner=self._mappings.banner,
            simulated=self._simulated,
        )


def require_rows(counts: Counts, rejected: pl.LazyFrame) -> None:
    """Refuse an import that holds nothing at all.

    Raises:
        InputError: every row was rejected; the message names the commonest reasons.
    """
    if counts.accepted:
        return
    top = reasons(rejected).head(3)
    why = "; ".join(f"{n} rows: {reason}, first at {at} ({detail})" for reason, detail, n, at in top.iter_rows())
    raise InputError(f"No row could be used ({why or 'the source has no rows'}).")


def reasons(rejected: pl.LazyFrame) -> pl.DataFrame:
    """Why rows were rejected, the commonest first: `reason, detail, rows, first` (the place of the first)."""
    numbered = rejected.with_row_index("number")
    groups = numbered.group_by("reason", "detail").agg(rows=pl.len(), number=col("number").min()).collect()
    firsts = numbered.filter(col("number").is_in(groups["number"].to_list())).select(
        "number", first=pl.format("{}:{}", "file", "row")
    )
    found = groups.join(firsts.collect(), on="number").sort("rows", "reason", "detail", descending=[True, False, False])
    return found.select("reason", "detail", "rows", "first")
