"""SAS transport files (XPT, versions 5 and 8) as frames.

The format is that of SAS Technical Support TS-140: records of 80 bytes, headers in ASCII, numbers as IBM floats. Rows are cut from a
memory map a chunk at a time, and each column is decoded as a whole.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

import polars as pl

from aftercar.errors import InputError
from aftercar.timeline.readers.batches import Batch, numbered, refused

_LINE = 80
_HEADER = b"HEADER RECORD*******"
_NAMESTR = Struct(">hhhh8s68xl52x")  # type, hash, length, number, name, label and formats, position, the rest: 140 bytes
_CHUNK = 50_000  # rows
_POWERS = pl.Series([2.0 ** (4 * (e - 64) - 56) for e in range(128)])  # of 16, over the 56 bits of the fraction
_MISSING = [ord(c) for c in "._ABCDEFGHIJKLMNOPQRSTUVWXYZ"]


@dataclass(frozen=True)
class _Field:
    name: str
    numeric: bool
    start: int
    length: int


def read_xpt(path: Path, name: str) -> Iterator[tuple[str, Iterator[Batch]]]:
    """Each dataset of a transport file: its name, and its numbers and texts (blank is null) in batches, to be gone through at once.

    Raises:
        InputError: no transport file, or one that ends in the middle.
    """
    broken = InputError(f"{name}: the file ends in the middle, or a header of it is damaged. Export it again.")
    with path.open("rb") as file:
        if not file.read(_LINE).startswith((_HEADER + b"LIBRARY", _HEADER + b"LIBV8")):
            raise InputError(f"{name}: not a SAS transport file (XPT, version 5 or 8).")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if len(data) % _LINE:
                raise broken
            at = _member(data, 0)
            if at == len(data):
                raise broken
            while at < len(data):
                end = _member(data, at + _LINE)
                try:
                    dataset, rows = _dataset(data, at, end)
                except (ValueError, IndexError) as error:
                    raise broken from error
                yield dataset, rows
                at = end


def _member(data: mmap.mmap, start: int) -> int:
    """Where the next dataset begins, or the end of the file."""
    at = start
    while (at := data.find(_HEADER + b"MEMB", at)) >= 0:
        if at % _LINE == 0:  # else a text of the data that looks like one
            return at
        at += 1
    return len(data)


def _dataset(data: mmap.mmap, at: int, end: int) -> tuple[str, Iterator[Batch]]:
    """One dataset.

    Raises:
        ValueError: a header is not as it should be, or rows are cut off.
    """
    size = int(data[at + 74 : at + 78])  # 140, or 136 where a VAX wrote it; the last bytes are not used
    name = data[at + 2 * _LINE + 8 : at + 2 * _LINE + 40].split()[0].decode("ascii")
    at += 4 * _LINE
    if data[at : at + 24] not in (_HEADER + b"NAME", _HEADER + b"NAMS"):
        raise ValueError("no NAMESTR header")
    count = int(data[at + 53 : at + 58])
    described = data[at + _LINE : at + _LINE + count * size]
    fields = [_field(described[i * size : (i + 1) * size].ljust(_NAMESTR.size)) for i in range(count)]
    start = data.find(_HEADER + b"OBS", at, end) + _LINE  # version 8 may hold labels before it
    length = max(f.start + f.length for f in fields)
    if start < _LINE or len(described) < count * size:
        raise ValueError("no OBS header")
    rows, rest = divmod(end - start, length)
    if rest >= _LINE or data[end - rest : end].strip(b" "):
        raise ValueError("the last row is cut off")
    while rows and end - start - (rows - 1) * length < _LINE and not data[start + (rows - 1) * length : end].strip(b" "):
        rows -= 1  # blanks that fill the last line, and are no row
    return name, _batches(data, start, rows, length, fields)


def _batches(data: mmap.mmap, start: int, rows: int, length: int, fields: list[_Field]) -> Iterator[Batch]:
    for first in range(0, max(rows, 1), _CHUNK):
        places = range(start + first * length, start + min(first + _CHUNK, rows) * length, length)
        cut = pl.Series([data[i : i + length] for i in places], dtype=pl.Binary)
        yield Batch(numbered(_decoded(cut, fields), first + 1), refused([]), (start + first * length) / len(data))


def _field(described: bytes) -> _Field:
    kind, _, length, _, name, start = _NAMESTR.unpack(described[: _NAMESTR.size])
    if kind not in (1, 2) or length < 1 or start < 0 or (kind == 1 and not 2 <= length <= 8):
        raise ValueError("not a variable")
    return _Field(name.decode("ascii").strip(), kind == 1, start, length)


def _decoded(rows: pl.Series, fields: list[_Field]) -> pl.DataFrame:
    cut = {f.name: rows.bin.slice(f.start, f.length) for f in fields}
    return pl.DataFrame({f.name: ibm_floats(cut[f.name], f.length) if f.numeric else _texts(cut[f.name]) for f in fields})


def ibm_floats(raw: pl.Series, length: int = 8) -> pl.Series:
    """IBM floats of 2 to 8 bytes; SAS' missing values are null.

    >>> ibm_floats(pl.Series([b"\\x42\\x10\\0\\0\\0\\0\\0\\0", b".\\0\\0\\0\\0\\0\\0\\0"])).to_list()
    [16.0, None]
    """
    if length < 8:  # what was cut off is zero
        raw = raw.to_frame("raw").select((pl.col("raw").bin.encode("hex") + "00" * (8 - length)).str.decode("hex")).to_series()
    word = raw.bin.reinterpret(dtype=pl.UInt64, endianness="big")
    first, fraction = word // 2**56, word % 2**56
    size = fraction.cast(pl.Float64) * _POWERS.gather(first % 128)
    frame = pl.DataFrame({"size": size, "first": first, "missing": first.is_in(_MISSING) & (fraction == 0)})
    signed = pl.when(pl.col("first") >= 128).then(-pl.col("size")).otherwise("size")
    return frame.select(pl.when(~pl.col("missing")).then(signed)).to_series()


def _texts(raw: pl.Series) -> pl.Series:
    try:
        text = raw.cast(pl.String)
    except pl.exceptions.PolarsError:  # not UTF-8: the Western code page of SAS on Windows
        text = pl.Series([_western(v) for v in raw], dtype=pl.String)
    return text.str.strip_chars_end(" \0").replace({"": None})


def _western(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")
