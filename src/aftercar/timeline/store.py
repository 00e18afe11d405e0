"""A timeline on disk: a MEDS dataset of whole-subject shards, its rejected rows and what came in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
from polars import col

from aftercar import __version__
from aftercar.errors import InputError
from aftercar.files import place, reached, replace_folder, writing
from aftercar.frames import DAMAGE, scan, whole
from aftercar.timeline.concepts import concepts
from aftercar.timeline.readers import Counts, Imported, Intake, open_pieces, require_rows
from aftercar.timeline.readers.mapping import read_mapping
from aftercar.timeline.readers.piece import Progress
from aftercar.timeline.schema import MEDS_VERSION, REJECTED, aligned
from aftercar.timeline.statements import FILE, attributed, read_statements

_AGAIN = "Import again, or copy the whole folder again."
SHARD_ROWS = 500_000  # rows of a shard; memory is bounded by it, whatever the size of the cohort


@dataclass(frozen=True)
class Store:
    """An opened timeline. `info` is its `import.json` (empty for a MEDS dataset that we did not write)."""

    folder: Path
    files: tuple[Path, ...]
    info: dict[str, Any]

    @property
    def simulated(self) -> bool:
        """Whether the patients are virtual: every result says so."""
        return bool(self.info.get("simulated", False))

    def shards(self) -> Iterator[pl.LazyFrame]:
        """Each file as a lazy timeline: see `shard`."""
        return map(self.shard, range(len(self.files)))

    def shard(self, n: int, *, attribute: bool = True) -> pl.LazyFrame:
        """The file of that number as a lazy timeline, attributed as people said in its statements.

        Args:
            attribute: whether these count; without them it is what was charted.
        Raises:
            InputError: the file is no timeline.
        """
        frame, schema = _scan(self.files[n])
        _, first = (frame, schema) if n == 0 else _scan(self.files[0])
        if _whole_ids(schema) != _whole_ids(first):
            raise InputError(
                "Subject ids are numbers in one file of the timeline and words in another. `aftercar import` makes them one."
            )
        if "event_id" not in schema:  # a dataset of others: its rows are named by file and place
            frame = frame.with_row_index("event_id").with_columns(col("event_id").cast(pl.Int64) + (n << 32))
            schema = frame.collect_schema()
        try:
            charted = aligned(frame, schema)
        except InputError as error:
            raise InputError(f"{self.files[n]}: {error}") from None
        return attributed(charted, read_statements(self.folder)) if attribute else charted

    def require(self, n: int) -> None:
        """Read a file to its end.

        Raises:
            InputError: it is damaged.
        """
        with whole(self.files[n], _AGAIN):
            _scan(self.files[n])[0].collect(engine="streaming")

    def rows(self) -> list[int]:
        """How many rows each file holds.

        Raises:
            InputError: a file is no timeline.
        """
        return [_scan(path)[0].select(pl.len()).collect().item() for path in self.files]

    @property
    def fingerprint(self) -> str:
        """Of the files' names, sizes and last bytes (a Parquet file ends with its metadata): another import has another one."""
        digest = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 4096))
                digest.update(f"{path.relative_to(self.folder)} {size} ".encode() + file.read())
        return digest.hexdigest()[:16]

    def scan(self) -> pl.LazyFrame:
        """All files as one lazy timeline."""
        return pl.concat(list(self.shards()))

    def load(self, where: pl.Expr) -> pl.DataFrame:
        """The rows of the timeline of which `where` is true.

        Raises:
            InputError: a file is no timeline, or damaged.
        """
        with self.reading():
            return self.scan().filter(where).collect()

    @contextlib.contextmanager
    def reading(self) -> Generator[None]:
        """Within, collecting what scans the timeline ends in an InputError where a file of it is damaged; any other error stays itself."""
        try:
            yield
        except DAMAGE:
            for n in range(len(self.files)):
                self.require(n)
            raise


def _scan(path: Path) -> tuple[pl.LazyFrame, pl.Schema]:
    frame = scan(path)
    with whole(path, _AGAIN):
        return frame, frame.collect_schema()


def _whole_ids(schema: pl.Schema) -> bool:
    return schema.get("subject_id", pl.Null()).is_integer()


def import_folder(
    source: Path | str,
    folder: Path | str,
    mapping: Path | str | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
    shard_rows: int = SHARD_ROWS,
) -> Path:
    """Read records into a timeline folder; as `read` and `write_timeline`, with memory that does not grow with the source.

    A former timeline is replaced whole when the new one is complete.

    Raises:
        InputError: nothing there, or nothing that can be used; the folder holds something else, or what people said of the timeline
            that stands there.
        MappingError: the mapping is wrong.
    """
    mappings = read_mapping(Path(mapping) if mapping else None)
    with _fresh(Path(folder)) as fresh:
        room = fresh / "work"
        room.mkdir()
        intake = Intake(mappings, room)
        intake.take(open_pieces(source, mappings, room, progress), progress)
        told = _shards(fresh, intake.timeline(), shard_rows)
        require_rows(intake.counts(), intake.rejected())
        with writing(fresh):
            intake.rejected().sink_parquet(fresh / "rejected.parquet", maintain_order=True)
        shutil.rmtree(room)
        _about(fresh, Path(folder).name, intake.counts(), told)
    return Path(folder)


def write_timeline(imported: Imported, folder: Path | str, *, shard_rows: int = SHARD_ROWS) -> Path:
    """Write a timeline folder; a former one is replaced whole when the new one is complete.

    Raises:
        InputError: the folder holds something else, or what people said of the timeline that stands there.
    """
    with _fresh(Path(folder)) as fresh:
        told = _shards(fresh, [imported.timeline], shard_rows)
        with writing(fresh):
            imported.rejected.write_parquet(fresh / "rejected.parquet")
        _about(fresh, Path(folder).name, imported, told)
    return Path(folder)


def write_shards(folder: Path | str, write: Callable[[Path], None], about: dict[str, Any]) -> Path:
    """Make a timeline folder whose shards a function writes; a former one is replaced whole when the new one is complete.

    Args:
        write: called with the folder of the shards.
        about: what `import.json` says beside the counts.
    Raises:
        InputError: the folder holds something else, or what people said of the timeline that stands there.
    """
    with _fresh(Path(folder)) as fresh:
        write(fresh / "data")
        every = pl.concat([scan(path) for path in sorted((fresh / "data").iterdir())])
        infused = col("subject_id").filter(col("code") == "cart_infusion")
        rows, subjects, with_infusion = (
            every.select(pl.len(), col("subject_id").n_unique(), infused.n_unique().alias("infused"))
            .collect(engine="streaming")
            .row(0)
        )
        told = _Told(rows, subjects, with_infusion, set(every.select(col("code").unique()).collect(engine="streaming")["code"]))
        with writing(fresh):
            pl.DataFrame(schema=REJECTED).write_parquet(fresh / "rejected.parquet")
        _about(fresh, Path(folder).name, Counts(read=rows, accepted=rows), told, about)
    return Path(folder)


@contextlib.contextmanager
def _fresh(folder: Path) -> Generator[Path]:
    if read_statements(folder).height:
        raise InputError(
            f"{folder} holds statements of people ({FILE}), which name its rows. Import into another folder; they stay with this one."
        )
    with replace_folder(folder, marker="import.json") as fresh:
        (fresh / "data").mkdir()
        (fresh / "metadata").mkdir()
        yield fresh


@dataclass
class _Told:
    """What a timeline holds."""

    rows: int = 0
    subjects: int = 0
    infused: int = 0  # subjects
    codes: set[str] = field(default_factory=set)


def _shards(fresh: Path, stretches: Iterable[pl.DataFrame], shard_rows: int) -> _Told:
    told = _Told()
    for n, shard in enumerate(_cut(stretches, shard_rows)):
        told.rows += shard.height
        told.subjects += shard["subject_id"].n_unique()
        told.infused += shard.filter(col("code") == "cart_infusion")["subject_id"].n_unique()
        told.codes |= set(shard["code"].unique())
        with writing(fresh):
            shard.write_parquet(fresh / "data" / f"{n:05d}.parquet", compression_level=1)
    return told


def _about(fresh: Path, name: str, counts: Counts, told: _Told, more: Mapping[str, Any] = MappingProxyType({})) -> None:
    with writing(fresh):
        _codes(told.codes).write_parquet(fresh / "metadata" / "codes.parquet")
    _json(
        fresh / "metadata" / "dataset.json",
        {"dataset_name": name, "etl_name": "aftercar", "etl_version": __version__, "meds_version": MEDS_VERSION},
    )
    by_reason = scan(fresh / "rejected.parquet").group_by("reason").len()
    _json(
        fresh / "import.json",
        {
            "aftercar": __version__,
            "read": counts.read,
            "accepted": counts.accepted,
            "rejected": counts.read - counts.accepted,
            "rejected_by_reason": dict(by_reason.sort("len", "reason", descending=[True, False]).collect().iter_rows()),
            "timeline_rows": told.rows,
            "subjects": told.subjects,
            "subjects_without_infusion": told.subjects - told.infused,
            "repairs": counts.repairs,
            "skipped_files": counts.skipped_files,
            "unused_parts": list(counts.unused_parts),
            "offsets_not_applied": list(counts.offsets),
            "ignored_columns": {k: list(v) for k, v in counts.ignored_columns.items()},
            "banner": counts.banner,
            "simulated": counts.simulated,
            **more,
        },
    )


def open_timeline(folder: Path | str) -> Store:
    """Open a timeline folder, or any MEDS dataset whose codes are our concepts.

    Raises:
        InputError: no timeline there.
    """
    folder = place(folder)
    files = tuple(sorted((folder / "data").rglob("*.parquet"))) if reached(folder) else ()
    if not files:
        raise InputError(f"{folder}: no timeline there (no data/*.parquet). `aftercar import SRC --to {folder}` makes one.")
    info = folder / "import.json"
    return Store(folder, files, read_json(info) if info.is_file() else {})


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of ours.

    Raises:
        InputError: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is damaged. Run the command that wrote it again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged. Run the command that wrote it again.")
    return content


def _cut(stretches: Iterable[pl.DataFrame], shard_rows: int) -> Iterator[pl.DataFrame]:
    """Shards of about `shard_rows` rows that never part a subject's rows, whatever stretches of whole subjects they come in."""
    held: list[pl.DataFrame] = []
    number, before = 0, 0
    for rows in stretches:
        sizes = rows.group_by("subject_id", maintain_order=True).len()
        shard = (before + sizes["len"].cast(pl.Int64).cum_sum() - 1) // shard_rows
        start = 0
        for n, height in sizes.group_by(shard.alias("n"), maintain_order=True).agg(col("len").sum()).iter_rows():
            if n > number and held:
                yield pl.concat(held)
                held = []
            number = n
            held.append(rows.slice(start, height))
            start += height
        before += rows.height
        if not before and not held:
            held.append(rows)
    yield pl.concat(held)


def _codes(used: set[str]) -> pl.DataFrame:
    """MEDS code metadata: a description of each code used, and its parents in public code systems."""
    listed = [c for c in concepts().values() if c.name in used]
    return pl.DataFrame(
        {
            "code": [c.name for c in listed],
            "description": [c.label + (f" [{c.unit}]" if c.unit else "") for c in listed],
            "parent_codes": [[f"{system}/{v}" for system, values in c.codes.items() for v in values] for c in listed],
        },
        schema={"code": pl.String, "description": pl.String, "parent_codes": pl.List(pl.String)},
    )


def _json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
