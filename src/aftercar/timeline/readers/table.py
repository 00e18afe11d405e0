"""CSV and Parquet tables, long (a row an event), wide (a row a time) and MEDS, as charted rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.errors import InputError, MappingError, nearest
from aftercar.files import kind_of
from aftercar.timeline.readers.batches import ROW, read_batches
from aftercar.timeline.readers.mapping import Layout, Mapping, Mappings, Target, by_unit_suffix
from aftercar.timeline.readers.normalise import CHARTED, RELATIVE_EPOCH
from aftercar.timeline.readers.piece import Piece, each_file, files_in

CELLS = 1_000_000  # of a wide table that are turned into rows at once
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".parquet", ".pq")
_NAMES = {  # spellings of our columns that need no mapping
    "subject_id": ("subject_id", "subject", "patient_id", "person_id", "usubjid"),
    "time": ("time", "datetime", "timestamp", "charttime"),
    "code": ("code", "concept"),
    "value": ("value",),
    "numeric_value": ("numeric_value",),
    "text_value": ("text_value",),
    "unit": ("unit", "uom"),
    "end_time": ("end_time", "stop_time"),
    "attributable_to": ("attributable_to",),
}  # fmt: skip
_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y%m%dT%H%M%S",
)  # fmt: skip
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d")


def pieces(source: Path, mappings: Mappings) -> Iterator[Piece]:
    """Each table file of a source.

    Raises:
        InputError: nothing there, or a file that is no table: the only one, or one that a part of the mapping names.
    """
    yield from each_file(source, mappings, table_files(source), read_table)


def table_files(source: Path) -> list[Path]:
    """The table files of a folder (or the one file), in name order; files of metadata folders are left out.

    Raises:
        InputError: nothing there that can be read.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder.")
    root = source / "data" if (source / "data").is_dir() else source
    tables = (p for p in files_in(root) if p.name.casefold().endswith(SUFFIXES))
    found = [p for p in tables if not _of_ours(p, root) and "metadata" not in p.relative_to(root).parts]
    if not found:
        raise InputError(f"{source}: no table there. Files that can be read end in {', '.join(SUFFIXES)}.")
    return found


def _of_ours(path: Path, root: Path) -> bool:
    """Whether a file lies in a folder that we wrote into the source's folder: a timeline, results and the like."""
    folders = path.relative_to(root).parents
    return any(kind_of(root / f) for f in folders if f != Path())


def read_table(path: Path, name: str, mapping: Mapping) -> Iterator[Piece]:
    """Read one file.

    Args:
        path: the file.
        name: how rows of it are named in `source` and `rejected`.
        mapping: the part of the mapping that fits it.
    Raises:
        InputError: the file cannot be read as a table, or it has no column for the subject or the time.
    """
    for batch in read_batches(path, name):
        if not batch.frame.width:  # the place of damage, after all rows
            yield Piece(name, mapping, malformed=batch.malformed)
            continue
        # Each mapped cell of a wide table becomes a row.
        most = max(1, CELLS // batch.frame.width)
        for n, frame in enumerate(batch.frame.iter_slices(most) if batch.frame.height else [batch.frame]):
            piece = read_frame(frame, name, mapping)
            yield replace(piece, malformed=batch.malformed if n == 0 else piece.malformed, share=batch.share)


def read_frame(frame: pl.DataFrame, name: str, mapping: Mapping) -> Piece:
    """As `read_table`, of rows (with the column `ROW`) that another format holds."""
    columns = _columns(frame, mapping, name)
    layout = mapping.layout or _guess(frame, columns, mapping)
    relative = mapping.relative is not None
    written = frame[columns["time"]] if "time" in columns else pl.Series(dtype=pl.Null)
    offsets = mapping.zone is None and written.dtype == pl.String and says_offsets(written)
    if layout == "wide":
        charted, targets, ignored = _wide(frame, columns, mapping, name)
        return Piece(name, mapping, charted, targets=targets, ignored=ignored, relative=relative, offsets=offsets)
    if "code" not in columns:
        raise InputError(f'{name}: no column for the code. Name it under [columns] code, or say layout = "wide".')
    return Piece(name, mapping, _long(frame, columns, mapping, name), relative=relative, offsets=offsets)


def _columns(frame: pl.DataFrame, mapping: Mapping, name: str) -> dict[str, str]:
    """Our column names and the file's, those that the file has."""
    by_fold = {c.casefold(): c for c in frame.columns}
    columns: dict[str, str] = {}
    for ours, spellings in _NAMES.items():
        if ours in mapping.columns:
            theirs = mapping.columns[ours]
            if theirs not in frame.columns:
                raise MappingError(f"{name} has no column {theirs!r}. {nearest(theirs, frame.columns)}")
            columns[ours] = theirs
        elif found := next((by_fold[s] for s in spellings if s in by_fold), None):
            columns[ours] = found
    for ours in ("subject_id", "time"):
        dated = any(t.dated for t in mapping.wide.values())
        if ours not in columns and not (ours == "time" and dated):
            raise InputError(f"{name}: no column for {ours}. Name it under [columns] of the mapping.")
    return columns


def _guess(frame: pl.DataFrame, columns: dict[str, str], mapping: Mapping) -> Layout:
    if mapping.wide and "code" not in columns:
        return "wide"
    return "long" if "code" in columns else "wide"


def _base(frame: pl.DataFrame, columns: dict[str, str], mapping: Mapping, name: str) -> list[pl.Expr]:
    def text(ours: str) -> pl.Expr:
        return col(columns[ours]).cast(pl.String) if ours in columns else lit(None, pl.String)

    def time(ours: str) -> pl.Expr:
        if ours not in columns:
            return lit(None, pl.Datetime("us"))
        return parse_time(col(columns[ours]), frame.schema[columns[ours]], mapping)

    def given(ours: str) -> pl.Expr:
        blank = text(ours).str.strip_chars() == ""
        return (text(ours).is_not_null() & ~blank).fill_null(False) if ours in columns else lit(False)

    return [
        lit(name).alias("file"),
        col(ROW).alias("row"),
        text("subject_id").str.strip_chars().str.replace(r"^(\d+)\.0+$", "$1").alias("subject_id"),
        time("time").alias("time"),
        given("time").alias("time_given"),
        (date_only(col(columns["time"]), frame.schema[columns["time"]], mapping) if "time" in columns else lit(False)).alias(
            "date_only"
        ),
        time("end_time").alias("end_time"),
        given("end_time").alias("end_given"),
        text("unit").alias("unit"),
        text("attributable_to").alias("attributable_to"),
    ]


def _long(frame: pl.DataFrame, columns: dict[str, str], mapping: Mapping, name: str) -> pl.DataFrame:
    schema = frame.schema
    frame = frame.filter(~pl.all_horizontal(pl.all().exclude(ROW).is_null()))
    number, text = lit(None, pl.Float64), lit(None, pl.String)
    for ours in ("numeric_value", "text_value", "value"):
        if ours not in columns:
            continue
        theirs = columns[ours]
        if schema[theirs].is_numeric():
            number = pl.coalesce(number, _as_float(theirs, schema[theirs]))
            continue
        # Kept as text too: a number that cannot be read must be seen as such, not as absent.
        written = _point(col(theirs).cast(pl.String).str.strip_chars().replace({"": None}), mapping)
        number = pl.coalesce(number, written.cast(pl.Float64, strict=False))
        text = pl.coalesce(text, written)
    charted = frame.select(
        *_base(frame, columns, mapping, name),
        lit(None, pl.String).alias("column"),
        col(columns["code"]).cast(pl.String).str.strip_chars().alias("code"),
        number.alias("numeric_value"),
        text.alias("text_value"),
    )
    return charted.select(col(c).cast(dtype) for c, dtype in CHARTED.items())


def _point(written: pl.Expr, mapping: Mapping) -> pl.Expr:
    """Numbers with a decimal comma as with a point, where the mapping says so."""
    if mapping.decimal != ",":
        return written
    # 1.200 is one thousand and two hundred where the comma is the decimal sign.
    whole = written.str.contains(r"^[<>]?=?\s*-?\d{1,3}(\.\d{3})+(,\d+)?$")
    plain = pl.when(whole).then(written.str.replace_all(".", "", literal=True)).otherwise(written)
    return plain.str.replace(r"^([<>]?=?\s*-?\d+),(\d+)$", "$1.$2")


def _as_float(column: str, dtype: pl.DataType) -> pl.Expr:
    wide = col(column).cast(pl.Float64)
    # MEDS stores 32-bit floats: 0.1 comes back as 0.10000000149, which would stand above a threshold of 0.1.
    return wide.round_sig_figs(7) if dtype == pl.Float32 else wide


def _wide(
    frame: pl.DataFrame, columns: dict[str, str], mapping: Mapping, name: str
) -> tuple[pl.DataFrame, dict[str, Target], tuple[str, ...]]:
    absent = [c for c in mapping.wide if c not in frame.columns]
    if lost := [c for c in absent if c in mapping.own_wide]:
        raise MappingError(f"{name} has no column {lost[0]!r}, which [wide] names. {nearest(lost[0], frame.columns)}")
    targets = {c: t for c, t in mapping.wide.items() if c not in absent}
    rest = [c for c in frame.columns if c not in targets and c != ROW and c not in columns.values()]
    targets |= by_unit_suffix(rest)
    if not targets:
        raise InputError(f"{name}: no column of it is mapped. Add them under [wide] of the mapping.")
    helpers = {h for t in targets.values() for h in (t.text_from, t.unit_from, t.attributable_from) if h}
    # A unit or cause of one cell is not that of every other in the row.
    columns = {ours: c for ours, c in columns.items() if ours in mapping.columns or (ours != "unit" and c not in helpers)}
    for helper in helpers:
        if helper not in frame.columns:
            raise MappingError(f"{name} has no column {helper!r}. {nearest(helper, frame.columns)}")
    base = _base(frame, columns, mapping, name)
    cells = pl.concat([_cells(frame, base, c, t, mapping) for c, t in targets.items()])
    used = {*targets, *helpers, *columns.values(), ROW}
    # A column in which nothing stands loses nothing: spreadsheets write many.
    return cells, targets, tuple(c for c in frame.columns if c not in used and frame[c].null_count() < frame.height)


def _cells(frame: pl.DataFrame, base: list[pl.Expr], column: str, target: Target, mapping: Mapping) -> pl.DataFrame:
    """One column of a wide table as charted rows; blank cells are not rows."""
    dtype = frame.schema[column]
    text = _point(col(column).cast(pl.String).str.strip_chars(), mapping)
    frame = frame.filter((text != "") & text.is_not_null())
    number = _as_float(column, dtype) if dtype.is_numeric() else lit(None, pl.Float64)
    cells = frame.select(
        *base,
        lit(column).alias("column"),
        lit(column).alias("code"),
        number.alias("numeric_value"),
        (lit(None, pl.String) if dtype.is_numeric() else text).alias("text_value"),
        *([parse_time(col(column), dtype, mapping).alias("cell_time")] if target.dated else []),
        *([date_only(col(column), dtype, mapping).alias("cell_date_only")] if target.dated else []),
        *([col(target.text_from).cast(pl.String).alias("cell_text")] if target.text_from else []),
        *([col(target.unit_from).cast(pl.String).alias("cell_unit")] if target.unit_from else []),
        *([col(target.attributable_from).cast(pl.String).alias("cell_cause")] if target.attributable_from else []),
    )
    if target.dated:  # the cell says when it happened; the row's own time does not count
        word = col("cell_text") if target.text_from else lit(None, pl.String)
        cells = cells.with_columns(
            time="cell_time", time_given=lit(True), date_only="cell_date_only", text_value=word, numeric_value=lit(None, pl.Float64),
            end_time=lit(None, pl.Datetime("us")), end_given=lit(False),
        )  # fmt: skip
    elif target.text_from:
        cells = cells.with_columns(text_value="cell_text")
    if target.unit_from:
        cells = cells.with_columns(unit="cell_unit")
    elif target.unit:
        cells = cells.with_columns(unit=lit(target.unit))
    if target.attributable_from:
        cells = cells.with_columns(attributable_to="cell_cause")
    return cells.select(col(c).cast(dtype) for c, dtype in CHARTED.items())


def parse_time(column: pl.Expr, dtype: pl.DataType, mapping: Mapping) -> pl.Expr:
    """A time column as local wall-clock time; null where it cannot be read.

    Calendar days count where the patient is. Where the mapping names that zone, a time with an offset (`+02:00`, `Z`) is brought there;
    else its wall clock counts as it is written.
    """
    if mapping.relative:
        unit = 3_600_000_000 if mapping.relative == "hours" else 86_400_000_000
        since = (column.cast(pl.Float64, strict=False) * unit).round().cast(pl.Int64, strict=False).cast(pl.Duration("us"))
        return lit(RELATIVE_EPOCH).str.to_datetime("%Y-%m-%d", time_unit="us") + since
    if dtype == pl.Date:
        return column.cast(pl.Datetime("us"))
    if dtype.is_temporal():
        there = column.dt.convert_time_zone(mapping.zone) if mapping.zone and getattr(dtype, "time_zone", None) else column
        return there.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    text = column.cast(pl.String).str.strip_chars()
    # Formats are tried one after the other on what fits none before: as expressions all would be tried on all.
    return text.map_batches(
        lambda texts: _times(texts, mapping.zone, mapping.time_format), return_dtype=pl.Datetime("us"), is_elementwise=True
    )


def _times(texts: pl.Series, zone: str | None, given: str | None = None) -> pl.Series:
    forms, offsets = (*_FORMATS, *_DATES), True
    if given:
        form, offsets = re.subn(r"\s*(Z|%[:#]*z)$", "", given)
        forms = (form,)
    clocks = texts.str.replace(_OFFSET, "").str.strip_chars() if offsets else texts
    times = pl.repeat(None, len(texts), dtype=pl.Datetime("us"), eager=True)
    for form in forms:
        left = times.is_null() & texts.is_not_null()
        if not left.any():
            break
        tried = (clocks if _says_hour(form) else texts).zip_with(left, pl.repeat(None, len(texts), dtype=pl.String, eager=True))
        found = (
            tried.str.to_datetime(form, time_unit="us", strict=False)
            if _says_hour(form)
            else tried.str.to_date(form, strict=False)
        )
        times = times.zip_with(~left, found.cast(pl.Datetime("us")))
    if zone and offsets:
        # A column, not a literal: Polars takes a series in `lit` for one value where an expression fits it to others.
        ahead = texts.to_frame("text").select(_ahead_of_utc(col("text"))).to_series()
        there = (times - ahead).dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.replace_time_zone(None)
        times = there.zip_with(ahead.is_not_null(), times)
    return times.alias(texts.name)


def _says_hour(form: str) -> bool:
    return re.search("%[-_0]?[HkIlRTXrcs+]", form.replace("%%", "")) is not None


# As ISO 8601 has it, and as PostgreSQL writes it (+02). It counts after a time of day only: the -01 of 2024-05-01 is none.
_OFFSET = r"(Z|[+-]\d{2}(?::?\d{2})?)$"
_CLOCK = r"[T:]\d"


def _ahead_of_utc(text: pl.Expr) -> pl.Expr:
    """How far a written time is ahead of UTC; null where it does not say."""
    said = pl.when(text.str.contains(_CLOCK)).then(text.str.extract(_OFFSET))
    digits = said.str.replace(":", "", literal=True).str.strip_chars_start("Z+-")
    hours, rest = (digits.str.slice(n, 2).cast(pl.Int64, strict=False).fill_null(0) for n in (0, 2))
    minutes = 60 * hours + rest
    return pl.when(said.is_not_null()).then(
        pl.duration(minutes=pl.when(said.str.starts_with("-")).then(-minutes).otherwise(minutes))
    )


def says_offsets(text: pl.Series) -> bool:
    """Whether some of these times say how far they are from UTC."""
    return bool(text.str.contains(rf"\d:\d.*{_OFFSET}").any())


def date_only(column: pl.Expr, dtype: pl.DataType, mapping: Mapping) -> pl.Expr:
    """Whether a time column holds a date without a time of day: a format of the mapping says so, else the text itself."""
    if dtype == pl.Date:
        return column.is_not_null()
    if dtype.is_temporal() or mapping.relative:
        return lit(False)
    if mapping.time_format:
        return column.is_not_null() & (not _says_hour(mapping.time_format))
    return ~column.cast(pl.String).str.contains(r"\d:\d|T\d")
