"""What a reader gives: one file (or table) of a source as charted rows, on which `normalise` goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from aftercar.errors import InputError
from aftercar.timeline.readers.mapping import Mapping, Mappings, Target
from aftercar.timeline.readers.normalise import CHARTED
from aftercar.timeline.schema import REJECTED


@dataclass(frozen=True)
class Piece:
    """One file as charted rows.

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
        problem: why the file was passed over; then it has no rows.
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
    problem: str | None = None

    @classmethod
    def skipped(cls, name: str, problem: str) -> Piece:
        """A file that is passed over."""
        return cls(name, problem=problem)


def each_file(
    source: Path, mappings: Mappings, files: Iterable[Path], read: Callable[[Path, str, Mapping], Iterable[Piece]]
) -> Iterator[Piece]:
    """The pieces of each file of a source, as `read(path, name, mapping)` gives them; a stray file of a folder does not stop the rest.

    Raises:
        InputError: a file that cannot be read: the only one, or one that a part of the mapping names.
    """
    root = source if source.is_dir() else source.parent
    for path in files:
        name = path.relative_to(root).as_posix()
        mapping = mappings.of(name)
        try:
            yield from read(path, name, mapping)
        except InputError as error:
            if mapping.match != "*" or source.is_file():
                raise
            yield Piece.skipped(name, str(error))
