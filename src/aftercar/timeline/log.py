"""A log that only grows, in one Parquet file: each row holds the hash of the row before, so that a row that was changed or taken out is found."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.errors import InputError
from aftercar.files import place
from aftercar.frames import load

FIRST = "0" * 64  # `previous` of the first row
CHAIN = ("n", "previous", "hash")  # the columns of a log that no row has of its own


@dataclass(frozen=True)
class Log:
    """The file of a log and how its rows look.

    Attributes:
        file: its name within the folder that it belongs to.
        schema: columns and types; `n`, `said_at`, `subject_id` (numbers, or words as in the timeline), `previous` and `hash` among them.
        of: what a row is, in the plural, as errors call it.
        verify_with: the command that lists what is wrong; `{folder}` stands for the folder.
    """

    file: str
    schema: Mapping[str, type[pl.DataType] | pl.DataType]
    of: str
    verify_with: str

    def read(self, folder: Path | str) -> pl.DataFrame:
        """The log of a folder, in order; no rows where there is none.

        Raises:
            InputError: the file is damaged.
        """
        path = place(folder) / self.file
        if not path.is_file():
            return pl.DataFrame(schema=dict(self.schema))
        try:
            log = load(path)
        except pl.exceptions.PolarsError as error:
            raise InputError(f"{path} is damaged. Restore it from a backup: {self.of} cannot be made again.") from error
        wrong = [
            c for c, dtype in self.schema.items() if log.schema.get(c) not in (dtype, pl.String if c == "subject_id" else dtype)
        ]
        if wrong or log.width != len(self.schema):
            raise InputError(f"{path} is no log of {self.of} ({', '.join(wrong) or 'other columns'}). Restore it from a backup.")
        return log

    def append(
        self, folder: Path | str, rows: Callable[[pl.DataFrame], pl.DataFrame], after: Callable[[], object] | None = None
    ) -> pl.DataFrame:
        """Add rows to the log of a folder; they come back with their numbers and hashes.

        Args:
            rows: what makes them from the log, in all columns but those of the chain. Nobody else writes in between.
            after: called with the log written and the folder still held.
        Raises:
            InputError: a log that was changed by other means. Nothing is added then.
        """
        folder = Path(folder)
        with self.alone(folder):
            log = self.read(folder)
            if self.verify(folder).height:
                raise InputError(
                    f"{folder / self.file} was changed by other means; nothing was added. "
                    f"`{self.verify_with.format(folder=folder)}` lists where. Restore it from a backup."
                )
            new = rows(log)
            if log.height and log.schema["subject_id"] != new.schema["subject_id"]:
                raise InputError(
                    f"Subject ids are numbers in one of timeline and {self.of}, and words in the other. Was it imported anew?"
                )
            new = self.chained(new, log.height, str(log["hash"][-1]) if log.height else FIRST)
            if new.height:
                self._write(pl.concat([log, new]) if log.height else new, folder)
            if after is not None:
                after()
        return new

    def chained(self, new: pl.DataFrame, behind: int, head: str) -> pl.DataFrame:
        """Number the rows and give each its hash; a chain is made link by link.

        Args:
            new: rows with all columns but those of the chain.
            behind: the number of the row before.
            head: its hash; `FIRST` where there is none.
        """
        numbered = new.with_columns(n=pl.int_range(behind + 1, behind + 1 + pl.len(), dtype=pl.Int64))
        links = [head]
        for row in _plain(numbered):
            links.append(self._hash(row | {"previous": links[-1]}))
        chain = numbered.with_columns(previous=pl.Series(links[:-1], dtype=pl.String), hash=pl.Series(links[1:], dtype=pl.String))
        return chain.select(self.schema.keys())

    def _hash(self, row: dict[str, Any]) -> str:
        """SHA-256 of the row's canonical JSON: sorted keys, no spaces, ASCII; all columns but the hash itself."""
        content = {c: row[c] for c in self.schema if c != "hash"}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def verify(self, folder: Path | str, head: str | None = None) -> pl.DataFrame:
        """What is wrong with a log: `n, problem`, no rows where it is whole.

        Args:
            folder: the folder that it belongs to.
            head: the hash of a row that was noted down earlier, or its beginning. Who rewrites the whole log can make a chain that holds;
                one that holds that hash cannot be made.
        """
        log = self.read(folder)
        path = place(folder) / self.file
        told = pl.read_parquet_metadata(str(path)).get("head", "") if path.is_file() else FIRST
        found = self.broken(log)
        last = log["hash"].last() if log.height else FIRST
        if told != last:
            found = pl.concat(
                [found, _problem(log.height, "rows at the end were taken out or added, or other software wrote the file")]
            )
        if head and not log["hash"].str.starts_with(head.strip().lower()).any():
            found = pl.concat([found, _problem(None, "the hash that was noted down is not in the log: it was rewritten")])
        return found

    def broken(self, log: pl.DataFrame) -> pl.DataFrame:
        """The rows of a whole log that do not follow from the ones before: `n, problem`."""
        links = log.with_columns(
            made=pl.Series([self._hash(row) for row in _plain(log)], dtype=pl.String),
            before=col("hash").shift(1, fill_value=FIRST),
            place=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
        )
        problem = (
            pl.when(col("made").ne_missing(col("hash"))).then(lit("changed after it was written"))
            .when(col("previous").ne_missing(col("before"))).then(lit("the row before it was changed or taken out"))
            .when(col("n").ne_missing(col("place"))).then(lit("not the number that follows"))
        )  # fmt: skip
        return links.select("n", problem=problem).drop_nulls("problem")

    @contextlib.contextmanager
    def alone(self, folder: Path) -> Generator[None]:
        """One writer at a time; the lock goes with the process that holds it."""
        with contextlib.ExitStack() as stack:
            path = folder / f".{self.file}.lock"
            while True:
                lock = stack.enter_context(path.open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Whoever held it before may have put another folder in this one's place.
                if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                    break
            for left in folder.glob(f".{self.file}.*.part"):  # of a writer that was killed: whoever writes now holds the lock
                left.unlink(missing_ok=True)
            yield

    def _write(self, log: pl.DataFrame, folder: Path) -> None:
        """The whole log beside the old one, then in its place, so that a reader sees the one or the other."""
        part = folder / f".{self.file}.{os.getpid()}.part"
        try:
            log.write_parquet(part, metadata={"head": log["hash"][-1]})
            _sync(part)
            part.replace(folder / self.file)
            _sync(folder)
        finally:
            part.unlink(missing_ok=True)


def _plain(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON can hold them: times in one spelling, whatever the reader's time zone data, and dates as they are written."""
    zoned = col("said_at").dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
    return rows.with_columns(zoned).to_dicts()


def _problem(n: int | None, what: str) -> pl.DataFrame:
    return pl.DataFrame({"n": [n], "problem": [what]}, schema={"n": pl.Int64, "problem": pl.String})


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
