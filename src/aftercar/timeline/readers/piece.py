"""What a reader gives: one file (or table) of a source as charted rows, on which `normalise` goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import NamedTuple

import polars as pl

from aftercar.errors import InputError
from aftercar.timeline.readers.mapping import Mapping, Mappings, Target
from aftercar.timeline.readers.normalise import CHARTED
from aftercar.timeline.schema import REJECTED


@dataclass(frozen=True)
class Place:
    """How far a source has been read.

    Attributes:
        file, files: the file that is being read, from 1, and how many there are.
        share: of the bytes of all files, from 0 to 1.
    """

    file: int
    files: int
    share: float


@dataclass(frozen=True)
class Piece:
    """A file, or a batch of its rows, as charted rows.

    Attributes:
        name: how its rows are named in `source` and `rejected`.
        mapping: the part of the mapping that fits it.
        charted: columns of `CHARTED`, a row a charted thing.
        malformed: rows of `REJECTED` that could not even be read as charted.
        targets: what each code means where the file itself says it (wide tables).
        ignored: columns that nobody maps.
        relative: whether its times are hours or days since the infusion.
        names: what the source calls a code, for `aftercar codes`.
        offsets: whether its times say how far they are from UTC, and the mapping does not say where the patients are.
        simulated: whether its patients are virtual, as the manifest beside it says.
        problem: why the file was passed over; then it has no rows.
        share: how much of the file has been read with it, from 0 to 1.
        place: how much of the source has.
    """

    name: str
    mapping: Mapping = field(default_factory=Mapping)
    charted: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CHARTED))
    malformed: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REJECTED))
    targets: dict[str, Target] | None = None
    ignored: tuple[str, ...] = ()
    relative: bool = False
    names: dict[str, str] = field(default_factory=dict)
    offsets: bool = False
    simulated: bool = False
    problem: str | None = None
    share: float = 1.0
    place: Place | None = None

    @classmethod
    def skipped(cls, name: str, problem: str) -> Piece:
        """A file that is passed over."""
        return cls(name, problem=problem)


class Progress(NamedTuple):
    """What a reader tells while it works: the file, the rows of the source so far, and where the file is known how far it has come."""

    name: str
    rows: int
    place: Place | None


def is_hidden(name: PurePath) -> bool:
    """Whether a file of a source is no record: what programs keep for themselves (`.git`, `.ipynb_checkpoints`), or macOS packs beside files."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.parts)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder and of those within it, in name order, without hidden ones."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and not is_hidden(p.relative_to(folder)))


def each_file(
    source: Path, mappings: Mappings, files: Iterable[Path], read: Callable[[Path, str, Mapping], Iterable[Piece]]
) -> Iterator[Piece]:
    """The pieces of each file of a source, as `read(path, name, mapping)` gives them; a stray file of a folder does not stop the rest.

    Raises:
        InputError: a file that cannot be read: the only one, or one that a part of the mapping names.
    """
    root = source if source.is_dir() else source.parent
    files = list(files)
    sizes = [path.stat().st_size if path.exists() else 0 for path in files]
    before, whole = 0, max(1, sum(sizes))
    for n, (path, size) in enumerate(zip(files, sizes, strict=True), 1):
        name = path.relative_to(root).as_posix()
        mapping = mappings.of(name)
        try:
            for piece in read(path, name, mapping):
                yield replace(piece, place=Place(n, len(files), (before + size * piece.share) / whole))
        except InputError as error:
            if mapping.match != "*" or source.is_file():
                raise
            yield Piece.skipped(name, str(error))
        before += size
