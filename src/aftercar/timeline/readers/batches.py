"""Table files in batches of rows: CSV and its kin, in whatever encoding and however damaged, and Parquet.

Memory is bounded by the batch, not by the file, and what becomes of a line does not depend on where a batch ends.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import polars as pl
from polars import col

from aftercar.errors import InputError
from aftercar.frames import scan
from aftercar.timeline.schema import REJECTED

ROW = "aftercar:row"  # no column of a user is called so
BATCH_ROWS = 100_000
BLOCK = 1 << 23  # bytes of text that are taken at once
DAMAGED = (OSError, EOFError, zlib.error)  # what reading a damaged file raises

_PARQUET = (".parquet", ".pq")
_READ = 1 << 20  # bytes
_LONGEST_LINE = 1 << 26  # bytes
_LONGEST_FIELD = 100  # lines that a quoted field may run over


class Batch(NamedTuple):
    """Rows of a file.

    Attributes:
        frame: the columns of the file, and `ROW`, which counts from 1 and is the line of a CSV less its header; blank rows are left out.
        malformed: rows of `REJECTED` for lines that are no rows.
        share: how much of the file has been read, from 0 to 1.
    """

    frame: pl.DataFrame
    malformed: pl.DataFrame
    share: float


def read_batches(path: Path, name: str, wanted: Callable[[str], bool] | None = None) -> Iterator[Batch]:
    """The rows of a CSV (or its kin, also gzipped) or Parquet file; at least one batch, which may be empty. The values of CSV are text.

    Where a file is damaged or cut off, the rows before that place are read, and the place is listed (`cut_off`).

    Args:
        path: the file.
        name: how it is called in messages and in `malformed`.
        wanted: which columns to give; by default all that are not nested.
    Raises:
        InputError: nothing of the file can be read as a table.
    """
    read = _parquet if path.name.casefold().endswith(_PARQUET) else _text
    yield from read(path, name, wanted or (lambda _: True))


def refused(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of `REJECTED`."""
    return pl.DataFrame(rows, schema=REJECTED)


def cut_off(name: str, row: int, damage: Exception) -> dict[str, Any]:
    """The row of `REJECTED` for the place from which on a file cannot be read."""
    detail = f"from here on the file cannot be read ({type(damage).__name__}); is it whole?"
    return {"file": name, "row": row, "reason": "cut_off", "detail": detail}


def no_table(name: str, damage: Exception) -> InputError:
    """The error for a file of which nothing can be read."""
    return InputError(f"{name}: cannot be read ({type(damage).__name__}). Is the file whole?")


@contextlib.contextmanager
def open_packed(path: Path) -> Generator[IO[bytes]]:
    """A file, unpacked where its name ends in .gz."""
    with path.open("rb") as raw:
        yield unpacked(raw, path)


def unpacked(file: IO[bytes], path: Path) -> Any:
    """An open file, or what is packed in it where its name ends in .gz."""
    return gzip.GzipFile(fileobj=file) if path.name.casefold().endswith(".gz") else file


def not_blank(frame: pl.DataFrame) -> pl.DataFrame:
    """Without the rows in which nothing stands."""
    return frame.filter(~pl.all_horizontal(pl.all().exclude(ROW).is_null()))


# ---- Parquet


def _parquet(path: Path, name: str, wanted: Callable[[str], bool]) -> Iterator[Batch]:
    done = 0
    try:
        lazy = scan(path)
        flat = [c for c, t in lazy.collect_schema().items() if not (t.is_nested() or isinstance(t, (pl.Binary, pl.Object)))]
        lazy = lazy.select(filter(wanted, flat))
        height = lazy.select(pl.len()).collect().item()
        if not height:
            yield Batch(numbered(lazy.head(0).collect(), 1), refused([]), 1.0)
            return
        for frame in lazy.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
            yield Batch(not_blank(numbered(frame, done + 1)), refused([]), (done + frame.height) / height)
            done += frame.height
    except (*DAMAGED, pl.exceptions.PolarsError) as damage:
        if not done:
            raise no_table(name, damage) from damage
        yield Batch(pl.DataFrame(), refused([cut_off(name, done + 1, damage)]), 1.0)


def numbered(frame: pl.DataFrame, first: int) -> pl.DataFrame:
    """With `ROW`, from `first` on."""
    return frame.with_row_index(ROW, first).with_columns(col(ROW).cast(pl.Int64))


# ---- text


class _Block(NamedTuple):
    text: bytes  # whole lines, in the last block perhaps without an end; UTF-8 if the file is Unicode
    share: float
    last: bool = False
    damage: Exception | None = None


def _text(path: Path, name: str, wanted: Callable[[str], bool]) -> Iterator[Batch]:
    lines: _Lines | None = None
    for block in _blocks(path):
        text = block.text
        if lines is None:
            if not text.strip():
                raise no_table(name, block.damage) if block.damage else InputError(f"{name}: the file is empty.")
            row, separator, header, text = _header(text, name)
            lines = _Lines(header, separator, row, name, wanted)
        frame, bad = lines.read(text, last=block.last)
        if block.damage:
            bad.append(cut_off(name, lines.row, block.damage))
        yield Batch(not_blank(frame), refused(bad), block.share)


def _blocks(path: Path) -> Iterator[_Block]:
    held, damage = bytearray(), None
    try:
        size, decode = path.stat().st_size, None
        with path.open("rb") as raw:
            file = unpacked(raw, path)
            first = True
            while part := file.read1(_READ):
                if first:
                    decode, first = _decoder(part), False
                    part = part.removeprefix(codecs.BOM_UTF8)
                held += decode(part) if decode else part
                if len(held) >= BLOCK and (end := held.rfind(b"\n") + 1):
                    yield _Block(bytes(held[:end]), raw.tell() / size)
                    del held[:end]
                elif len(held) > _LONGEST_LINE:
                    raise EOFError("a line without an end")
    except DAMAGED as error:
        damage = error
    yield _Block(bytes(held), 1.0, last=True, damage=damage)


def _decoder(start: bytes) -> Callable[[bytes], bytes] | None:
    """To UTF-8 with line ends that we know, where the start of a file says that it is UTF-16, or that its lines end in CR alone."""
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    said = start.decode("utf-16", "replace").encode() if wide else start
    end = b"\r" if b"\r" in said and b"\n" not in said else b"\n"
    if wide:
        decode = codecs.getincrementaldecoder("utf-16")("replace").decode
        return lambda part: decode(part).encode().replace(end, b"\n")
    return None if end == b"\n" else lambda part: part.replace(end, b"\n")


def _header(text: bytes, name: str) -> tuple[int, str | None, bytes, bytes]:
    """The row of the first line after the header, the separator if the file says it as Excel does (`sep=;`), the header, which may run over
    several lines, and what follows.

    Raises:
        InputError: this is no text.
    """
    begin = len(text) - len(text.lstrip(b"\r\n"))
    said = re.match(rb"(?i)sep=([,;|:\t])[\r\n]+", text[begin:])
    begin += said.end() if said else 0
    end = begin
    while True:
        end = text.find(b"\n", end) + 1 or len(text)
        header = text[begin:end]
        if header.count(b'"') % 2 == 0:
            break
        if end == len(text) or header.count(b"\n") > _LONGEST_FIELD:
            raise InputError(f"{name}: a quote in the header opens and does not close.")
    if b"\0" in header:
        raise InputError(f"{name}: not a text file.")
    return max(1, text[:end].count(b"\n")), said[1].decode() if said else None, _utf8(header), text[end:]


def _utf8(text: bytes) -> bytes:
    """Text as UTF-8; a line that is none is in the Western code page that spreadsheets still write."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return b"\n".join(_line_utf8(line) for line in text.split(b"\n"))
    return text


def _line_utf8(line: bytes) -> bytes:
    try:
        line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace").encode()
    return line


class _Lines:
    """The lines of a delimited file as rows; `row` is that of the next line. Columns without a name are called by their place."""

    def __init__(self, header: bytes, separator: str | None, row: int, name: str, wanted: Callable[[str], bool]) -> None:
        said = header.decode()
        self.separator = separator or max(",;\t|", key=said.count)
        try:
            named = next(csv.reader(said.splitlines(keepends=True), delimiter=self.separator))
            self.names = [title if title.strip() else f"column {n}" for n, title in enumerate(named, 1)]
        except (csv.Error, StopIteration) as error:
            raise no_table(name, error) from error
        if twice := {n for n in self.names if self.names.count(n) > 1}:
            raise InputError(f"{name}: two columns are called {sorted(twice)[0]!r}. Rename one.")
        self.name, self.columns = name, [n for n in self.names if wanted(n)]
        self.header = self.separator.join('"{}"'.format(n.replace('"', '""')) for n in self.names).encode() + b"\n"
        self.row, self.rest = row, b""

    def read(self, text: bytes, *, last: bool) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
        """The rows of a block, numbered, and rows of `REJECTED`."""
        text = _utf8(self.rest + text)
        self.rest = b""
        whole = not last or not text or text.endswith(b"\n")
        frame = self._at_once(text) if whole and b"\0" not in text and not _runs_on(text) else None
        if frame is None:
            return self._one_by_one(text, last=last)
        frame = numbered(frame, self.row)
        self.row += frame.height
        return frame, []

    def _at_once(self, text: bytes) -> pl.DataFrame | None:
        """A block without a broken line; null where one may be broken."""
        try:
            frame = pl.read_csv(self.header + text, separator=self.separator, infer_schema=False, columns=self.columns)
        except pl.exceptions.PolarsError:
            return None
        if frame.height != text.count(b"\n") or (self.columns == self.names and _has_lone(frame)):
            return None
        return frame.with_columns(pl.all().replace({"": None})) if b'""' in text else frame

    def _one_by_one(self, text: bytes, *, last: bool) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
        lines = text.decode().split("\n")
        ended = lines[-1] == ""
        lines = lines[:-1] if ended else lines
        rows: list[list[Any]] = []
        bad: list[dict[str, Any]] = []
        n = 0
        while n < len(lines):
            stop = _closing(lines, n) if lines[n].count('"') % 2 else n
            if stop is None and not last and n + _LONGEST_FIELD >= len(lines):
                self.rest = "\n".join([*lines[n:], ""]).encode()  # it may close in the next block
                break
            fields = self._fields(lines[n : stop + 1]) if stop is not None else None
            if stop != n and (fields is None or len(fields) != len(self.names)):
                stop, fields = n, None
            unfinished = stop == len(lines) - 1 and not ended
            if why := self._problem(lines[n], fields, unfinished=unfinished):
                bad.append({"file": self.name, "row": self.row + n, "reason": "malformed_line", "detail": why})
            elif fields:
                blank = [None] * (len(self.names) - len(fields))
                rows.append([self.row + n, *(f or None for f in fields), *blank])
            n = stop + 1  # type: ignore[operator]
        self.row += n
        schema = {ROW: pl.Int64, **dict.fromkeys(self.names, pl.String)}
        return pl.DataFrame(rows, schema=schema, orient="row").select(ROW, *self.columns), bad

    def _fields(self, lines: list[str]) -> list[str] | None:
        try:
            plain = [line.removesuffix("\r").replace("\r", " ") + "\n" for line in lines]
            return next(csv.reader(plain, delimiter=self.separator), [])
        except csv.Error:
            return None

    def _problem(self, line: str, fields: list[str] | None, *, unfinished: bool) -> str | None:
        """Why a line is no row. One that is short lacks its last cells, as spreadsheets write it where they are blank."""
        if "\0" in line:
            return "a NUL byte stands in this line; mend it"
        if fields is None:
            return "a quote opens and does not close on this line; mend it"
        if len(fields) > len(self.names) or (len(fields) == 1 < len(self.names) and fields[0]):
            return f"{len(fields)} fields where the header has {len(self.names)}; mend the line"
        if unfinished and fields and len(fields) < len(self.names):
            return "the file ends in the middle of this line; is it whole?"
        return None


def _has_lone(frame: pl.DataFrame) -> bool:
    """Whether some row has nothing but its first cell: it may be no row at all."""
    first, *others = frame.columns
    return (
        bool(others)
        and frame.select((col(first).is_not_null() & pl.all_horizontal(col(c).is_null() for c in others)).any()).item()
    )


def _runs_on(text: bytes) -> bool:
    """Whether a quote of some line does not close on it."""
    if b'"' not in text:
        return False
    quotes = pl.Series([text.decode()]).str.split("\n").explode().str.count_matches('"', literal=True)
    return (quotes % 2 == 1).any()


def _closing(lines: list[str], start: int) -> int | None:
    """The line on which a quote closes that opens at `start`, if it is near."""
    near = range(start + 1, min(start + _LONGEST_FIELD, len(lines)))
    return next((n for n in near if lines[n].count('"') % 2), None)
