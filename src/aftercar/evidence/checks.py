"""Whether evidence tables are sound: types, words, keys, references, marks, and percentages against counts; each fault a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.errors import InputError, nearest
from aftercar.evidence.tables import Table, folder, tables, verified

FINDINGS = {"file": pl.String, "row": pl.Int64, "column": pl.String, "problem": pl.String, "remedy": pl.String}

# Percentages are printed whole, and some counts were made from them: they agree within a point.
TOLERANCE = 1.0

_NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
_PATTERNS = {
    "text": (r"(?s)\S|\S.*\S", "text without a blank at its ends"),
    "list": (r"[^;\s]([^;]*[^;\s])?(;[^;\s]([^;]*[^;\s])?)*", "parts with a `;` between"),
    "count": (r"\d+", "a whole number from 0"),
    "number": (_NUMBER, "a number"),
    "percent": (_NUMBER, "a number from 0 to 100, without a sign"),
    "year": (r"(19|20)\d\d", "a year"),
    "doi": (r"10\.\d{4,}/\S+", "a DOI, beginning with 10."),
    "pmid": (r"\d{1,8}", "a PubMed number"),
    "nct": (r"NCT\d{8}", "a registry number, NCT and eight digits"),
}


def check(place: Path | str | None = None) -> pl.DataFrame:
    """What is wrong in the evidence tables: none in those that come with aftercar.

    Args:
        place: a folder with files of one's own, named as ours are; their keys may also name rows of ours.
    Returns:
        `file, row, column, problem, remedy`, a row a fault. `row` counts from 1 in the data, so a CSV's line is `row + 1`; it is null
        where the file as a whole is meant.
    Raises:
        InputError: there is no evidence table in that folder.

    >>> check().height
    0
    """
    own, strangers = _files(place)
    read = {name: _read(content, tables()[name]) for name, content in own.items()}
    known = {name: _keys(frame, tables()[name]) for name, (frame, _) in read.items()}
    if place is not None:
        known = {name: known.get(name, set()) | ours for name, ours in _our_keys().items()}
    found = [*strangers]
    for name, (frame, broken) in read.items():
        found += [broken, *_faults(frame, tables()[name], known)]
    order = {about.file: n for n, about in enumerate(tables().values())}
    return pl.concat(found).sort(
        col("file").replace_strict(order, default=len(order)), "file", "row", "column", maintain_order=True
    )


def _files(place: Path | str | None) -> tuple[dict[str, bytes], list[pl.DataFrame]]:
    """The tables that are there, and a finding for each other CSV file."""
    if place is None:
        return {name: folder().joinpath(about.file).read_bytes() for name, about in tables().items()}, [_finding()]
    if not Path(place).is_dir():
        raise InputError(f"{place} is no folder. Name one with evidence tables as CSV.")
    names = {about.file: name for name, about in tables().items()}
    there = sorted(Path(place).glob("*.csv"))
    strangers = [
        _finding(
            path.name, None, None, "no evidence table has this name", nearest(path.name, names) or "rename it, or move it away"
        )
        for path in there
        if path.name not in names
    ]
    own = {names[path.name]: path.read_bytes() for path in there if path.name in names}
    if not own:
        raise InputError(f"{place} holds no evidence table. They are named {', '.join(sorted(names))}.")
    return own, [_finding(), *strangers]


def _finding(*cells: str | int | None) -> pl.DataFrame:
    return pl.DataFrame([cells] if cells else [], schema=FINDINGS, orient="row")


def _read(content: bytes, about: Table) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows as text, blank cells null, with their number in `row`; and what keeps others from being read."""
    try:
        header, *lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError):
        header, lines = [], []
        broken = [_finding(about.file, None, None, "the file is no CSV table in UTF-8", "save it as CSV, UTF-8, with a header")]
    else:
        broken = [_finding(), *(_finding(about.file, None, *fault) for fault in _of_header(header, about))]
    if len(set(header)) < len(header):  # which of two columns of one name is meant, nobody can say
        header, lines = [], []
    for n, cells in enumerate(lines, start=1):
        if len(cells) != len(header):
            what = f"{len(cells)} cells, but {len(header)} columns"
            broken.append(_finding(about.file, n, None, what, "quote cells that hold a comma"))
    whole = [(n, *cells) for n, cells in enumerate(lines, start=1) if len(cells) == len(header)]
    frame = pl.DataFrame(whole, schema={"row": pl.Int64, **dict.fromkeys(header, pl.String)}, orient="row")
    lacking = {c: lit(None, dtype=pl.String) for c in about.columns if c not in header}
    frame = frame.with_columns(pl.exclude("row").replace("", None), **lacking).select("row", *about.columns)
    return frame, pl.concat(broken)


def _of_header(header: list[str], about: Table) -> Iterator[tuple[str, str, str]]:
    """Columns that lack, that are none of the table's, and that are there twice: `column, problem, remedy`."""
    for column in about.columns:
        if column not in header:
            yield column, "the column is missing", "add it; leave its cells blank where nothing is known"
    for column in dict.fromkeys(header):
        if column not in about.columns:
            yield column, "the table has no such column", nearest(column, about.columns) or "remove it"
        if header.count(column) > 1:
            yield column, "the column is there twice", "keep one"


def _keys(frame: pl.DataFrame, about: Table) -> set[str]:
    return set(frame[about.key[0]].drop_nulls()) if len(about.key) == 1 else set()


@cache
def _our_keys() -> dict[str, set[str]]:
    return {name: _keys(_read(folder().joinpath(about.file).read_bytes(), about)[0], about) for name, about in tables().items()}


def _faults(frame: pl.DataFrame, about: Table, known: dict[str, set[str]]) -> Iterator[pl.DataFrame]:
    """The findings of every rule."""
    for column, kind in about.columns.items():
        yield _of_kind(frame, about, column, kind)
        if isinstance(kind, str) and " of " in kind:
            yield _resolved(frame, about, column, kind, known)
    for column in about.required:
        yield _where(frame, about, column, col(column).is_null(), lit("blank"), "fill it; this column is needed in every row")
    first = pl.struct(about.key).is_first_distinct()
    yield _where(
        frame,
        about,
        about.key[0],
        ~first,
        lit("an earlier row has the same key"),
        f"let {', '.join(about.key)} differ, or merge the rows",
    )
    yield from _marks(frame, about)
    for count, of, percent in about.shares:
        yield from _share(frame, about, count, of, percent)
    for names in about.ranges:
        yield _range(frame, about, *names)
    for column, pick in about.picks.items():
        yield from _pick(frame, about, column, pick)


def _where(frame: pl.DataFrame, about: Table, column: str, wrong: pl.Expr, problem: pl.Expr, remedy: str) -> pl.DataFrame:
    """A finding for each row in which something is wrong."""
    return frame.filter(wrong.fill_null(False)).select(
        file=lit(about.file), row="row", column=lit(column), problem=problem, remedy=lit(remedy)
    )


def _of_kind(frame: pl.DataFrame, about: Table, column: str, kind: str | tuple[str | int, ...]) -> pl.DataFrame:
    value = col(column)
    if kind == "mark":
        kind = tuple(verified())
    if isinstance(kind, tuple):
        words = [str(word) for word in kind]
        return _where(
            frame, about, column, ~value.is_in(words), pl.format("{} is none of its words", value), f"one of: {', '.join(words)}"
        )
    pattern, words = _PATTERNS.get(kind, _PATTERNS["list" if kind.startswith("keys") else "text"])
    wrong = ~value.str.contains(f"^(?:{pattern})$")
    if kind == "percent":
        wrong |= ~_number(column).is_between(0, 100)
    return _where(frame, about, column, wrong, pl.format("{} is not what this column holds", value), f"write {words}")


def _number(column: str) -> pl.Expr:
    """A column as numbers; null where it holds none."""
    return col(column).cast(pl.Float64, strict=False)


def _resolved(frame: pl.DataFrame, about: Table, column: str, kind: str, known: dict[str, set[str]]) -> pl.DataFrame:
    """A finding for each key that names no row of the other table."""
    other = kind.partition(" of ")[2]
    one = col(column).str.split(";") if kind.startswith("keys") else pl.concat_list(column)
    keys = frame.select("row", key=one).explode("key", empty_as_null=True).drop_nulls("key")
    lost = keys.filter(~col("key").is_in(sorted(known[other])))
    remedy = [nearest(key, known[other]) or f"correct it, or add it to {tables()[other].file}" for key in lost["key"]]
    return lost.select(
        file=lit(about.file), row="row", column=lit(column), problem=pl.format("{} is no key of {}", "key", lit(other)),
        remedy=pl.Series(remedy, dtype=pl.String),
    )  # fmt: skip


def _marks(frame: pl.DataFrame, about: Table) -> Iterator[pl.DataFrame]:
    """What has no mark, and what is said to be seen without saying where."""
    for mark, columns in (about.marks or {}).items():
        there = pl.any_horizontal(col(c).is_not_null() for c in columns)
        remedy = f"say what stands behind {', '.join(columns)}: {', '.join(verified())}"
        yield _where(frame, about, mark, there & col(mark).is_null(), lit("a number without its mark"), remedy)
    told = [*about.cites(), *(c for c in about.columns if c.endswith("note"))]
    if "verified" in about.columns and about.cites():
        silent = (col("verified") == "primary") & pl.all_horizontal(col(c).is_null() for c in told)
        remedy = f"name the reference in {about.cites()[0]}, or say in a note where it was seen; else mark it memory"
        yield _where(frame, about, "verified", silent, lit("marked primary, but nothing says where it was seen"), remedy)


def _share(frame: pl.DataFrame, about: Table, count: str, of: str, percent: str) -> Iterator[pl.DataFrame]:
    """Counts that are no part of their whole, and percentages that are not what the counts make."""
    part, whole, printed = _number(count), _number(of), _number(percent)
    more = pl.format("{} of {}: more than there are", count, of)
    yield _where(frame, about, count, (part > whole) | (whole == 0), more, f"correct {count} or {of}")
    made = 100 * part / whole
    # A value beside counts may be in another unit, where the table has units.
    counted = col("unit").str.starts_with("percent") if "unit" in about.columns else lit(True)
    wrong = counted & (whole >= part) & (whole > 0) & ((made - printed).abs() > TOLERANCE)
    text = pl.format("{} of {} is {} %, not {}", count, of, made.round(1), percent)
    yield _where(frame, about, percent, wrong, text, f"correct {percent}, {count} or {of}")


def _range(frame: pl.DataFrame, about: Table, low: str, value: str, high: str) -> pl.DataFrame:
    """A value outside its own bounds, or bounds the wrong way round."""
    lower, middle, upper = _number(low), _number(value), _number(high)
    wrong = pl.any_horizontal(lower > upper, lower > middle, middle > upper)
    return _where(frame, about, value, wrong, lit(f"{low}, {value} and {high} are not in order"), "correct the one that is wrong")


def _pick(frame: pl.DataFrame, about: Table, column: str, pick: dict[str, str]) -> Iterator[pl.DataFrame]:
    """A chosen number that is not the one it is said to be."""
    by = pick["by"]
    for word, other in pick.items():
        if word != "by":
            differs = (col(by) == word) & _number(column).ne_missing(_number(other))
            problem = pl.format(f"{{}} is not {other}, which is {{}}", column, col(other).fill_null("blank"))
            yield _where(frame, about, column, differs, problem, f"copy {other}, or correct {by}")
