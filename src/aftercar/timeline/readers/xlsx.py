"""The sheets of an Excel workbook (.xlsx, .xlsm) as rows of text, with its dates as ISO 8601.

Only the standard library: a workbook is a zip of XML (ECMA-376). Rows stream, so that only their texts are held.
"""

from __future__ import annotations

import math
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from aftercar.errors import InputError

_LARGEST = 1 << 31  # bytes of XML: more is no record of a ward, but a file made to fill the memory
_DATED_FORMATS = {*range(14, 23), *range(27, 37), *range(50, 59)}  # number formats of ECMA-376 that show a date or a time

Row = list[str | None]


class _Style(NamedTuple):
    """How a cell shows its number: as a date, and with how many digits at least (`00000` shows 7 as 00007)."""

    dated: bool = False
    digits: int = 1


def read_xlsx(path: Path, name: str, time_format: Callable[[str], str | None]) -> Iterator[tuple[str, list[Row]]]:
    """Each sheet of a workbook: its name and its rows from the first on, blank cells null.

    Args:
        time_format: how the dates of a sheet of this name are written out; null is ISO 8601.
    Raises:
        InputError: no workbook, or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as book:
            if sum(part.file_size for part in book.infolist()) > _LARGEST:
                raise InputError(f"{name}: unpacks to more than 2 GB; save its sheets as CSV.")
            yield from _sheets(book, time_format)
    except zipfile.BadZipFile as error:
        raise InputError(f"{name}: no whole .xlsx workbook. Is it cut off, protected by a password, or an old .xls?") from error
    except (KeyError, ValueError, IndexError, AttributeError, OverflowError, NotImplementedError, RuntimeError, struct.error, OSError, EOFError,
            ElementTree.ParseError, zlib.error) as error:  # fmt: skip
        raise InputError(f"{name}: the workbook is damaged ({type(error).__name__}). Open it and save it anew.") from error


def _sheets(book: zipfile.ZipFile, time_format: Callable[[str], str | None]) -> Iterator[tuple[str, list[Row]]]:
    workbook = _xml(book, "xl/workbook.xml")
    links = {link.attrib["Id"]: link.attrib["Target"] for link in _xml(book, "xl/_rels/workbook.xml.rels")}
    words = [_text(item) for item in _all(book, "xl/sharedStrings.xml", "si")]
    styles = _styles(book)
    properties = workbook.find("{*}workbookPr")
    since_1904 = properties is not None and properties.get("date1904") in ("1", "true")
    for sheet in workbook.iterfind("{*}sheets/{*}sheet"):
        said = {key.rpartition("}")[2]: value for key, value in sheet.attrib.items()}
        part = posixpath.normpath(posixpath.join("/xl", links[said["id"]])).lstrip("/")
        if not part.startswith("xl/worksheets/"):  # a sheet that is only a chart
            continue
        with book.open(part) as file:
            yield said["name"], _rows(file, words, styles, since_1904, time_format(said["name"]))


def _xml(book: zipfile.ZipFile, part: str) -> Element:
    with book.open(part) as file:
        return ElementTree.parse(file).getroot()


def _all(book: zipfile.ZipFile, part: str, tag: str) -> Iterator[Element]:
    """Elements of a part of the workbook, which it may not have; each is dropped when the next is asked for."""
    if part in book.namelist():
        with book.open(part) as file:
            yield from _stream(file, tag)


def _stream(file: IO[bytes], tag: str) -> Iterator[Element]:
    for _, element in ElementTree.iterparse(file):
        if element.tag.endswith(f"}}{tag}"):
            yield element
            element.clear()


def _text(item: Element) -> str:
    """The text of a cell, without how its characters are pronounced."""
    return "".join(t.text or "" for run in ("{*}t", "{*}r/{*}t") for t in item.iterfind(run))


def _styles(book: zipfile.ZipFile) -> list[_Style]:
    if "xl/styles.xml" not in book.namelist():
        return []
    styles = _xml(book, "xl/styles.xml")
    formats = {n: _Style(dated=True) for n in _DATED_FORMATS}
    formats |= {int(f.attrib["numFmtId"]): _style(f.attrib["formatCode"]) for f in styles.iterfind("{*}numFmts/{*}numFmt")}
    return [formats.get(int(style.get("numFmtId", "0")), _Style()) for style in styles.iterfind("{*}cellXfs/{*}xf")]


def _style(code: str) -> _Style:
    padded = re.fullmatch("0+", code.split(";")[0])
    return _Style(_shows_date(code), len(padded[0]) if padded else 1)


def _shows_date(code: str) -> bool:
    """Whether a number format shows a year, a day or an hour, outside of quoted text, colours and durations such as [h]:mm."""
    plain = re.sub(r'"[^"]*"|\\.|\[[^\]]*\]', "", code)
    return re.search("[ydh]", plain.split(";")[0].casefold()) is not None


def _rows(file: IO[bytes], words: list[str], styles: list[_Style], since_1904: bool, time_format: str | None) -> list[Row]:
    rows: list[Row] = []
    for element in _stream(file, "row"):
        at = int(element.get("r", len(rows) + 1))
        if not 0 < at - len(rows) <= 1_048_576:  # the most rows that a sheet has
            raise ValueError("rows out of order")
        rows.extend([] for _ in range(at - len(rows)))
        row = rows[-1]
        for cell in element.iterfind("{*}c"):
            column = _column(cell.attrib["r"]) if "r" in cell.attrib else len(row)
            row.extend(None for _ in range(column + 1 - len(row)))
            row[column] = _value(cell, words, styles, since_1904, time_format)
    return rows


def _column(reference: str) -> int:
    """The column of a cell from 0: A1 is 0, AB7 is 27."""
    letters = re.match("[A-Z]{1,3}", reference)
    number = 0
    for letter in letters[0] if letters else "":
        number = number * 26 + ord(letter) - 64
    if not number:
        raise ValueError("not the name of a cell")
    return number - 1


def _value(cell: Element, words: list[str], styles: list[_Style], since_1904: bool, time_format: str | None) -> str | None:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        inline = cell.find("{*}is")
        return None if inline is None else _text(inline) or None
    value = cell.findtext("{*}v")
    if not value:
        return "#NOT CALCULATED" if cell.find("{*}f") is not None else None
    if kind == "s":
        return words[int(value)] or None
    if kind == "b":
        return "true" if value == "1" else "false"
    if kind != "n":  # a formula's text, an error such as #N/A, an ISO date
        return value
    number, at = float(value), int(cell.get("s") or 0)
    style = styles[at] if at < len(styles) else _Style()
    if style.dated:
        return _date(number, since_1904, time_format)
    if not number.is_integer() or abs(number) >= 1e15:
        return repr(number)
    return str(int(number)).zfill(style.digits + (number < 0))


def _date(serial: float, since_1904: bool, time_format: str | None) -> str:
    if not math.isfinite(serial) or serial < 1:  # a time of day without a day: left as a number, which is no date
        return repr(serial)
    # Excel believes in a 29 February 1900, its day 60.
    first = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 31 if serial < 60 else 30)
    date = first + timedelta(seconds=round(serial * 86_400))
    if time_format:
        return date.strftime(time_format)
    return date.isoformat() if date.time() != datetime.min.time() else date.date().isoformat()
