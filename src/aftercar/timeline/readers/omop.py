"""OMOP CDM 5.3 and 5.4 as charted rows: a folder or zip of CSV or Parquet, a DuckDB file, a PostgreSQL database.

Every source is laid out as one file a table, and read from there (`docs/omop.md` says what each column becomes). A vocabulary is used
where there is one, and none is needed.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import polars as pl
from polars import col, lit

from aftercar.errors import InputError
from aftercar.frames import scan
from aftercar.timeline.concepts import coded_words, codes, concepts
from aftercar.timeline.readers.batches import ROW, Batch, no_table, read_batches
from aftercar.timeline.readers.mapping import Mapping, Mappings, Target
from aftercar.timeline.readers.normalise import CHARTED, meanings
from aftercar.timeline.readers.packed import is_zip, members, unpack_member
from aftercar.timeline.readers.piece import Piece, Place, files_in, is_hidden
from aftercar.timeline.readers.spill import whole_subjects
from aftercar.timeline.readers.table import parse_time, says_offsets

_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".txt", ".parquet", ".pq")
_POSTGRES = ("postgresql:", "postgres:")

# Stays in hospital: Inpatient Visit, Emergency Room and Inpatient Visit, Intensive Care, Inpatient Hospital. A vocabulary adds what
# lies beneath them. Only 9201 could be checked in a vocabulary at hand; the others are named so in public studies.
_INPATIENT = (9201, 262, 32037, 8717)
SEX = {8507: "male", 8532: "female"}
# Named so in several public ETLs; the vocabulary at hand does not hold them.
OPERATORS = {4171756: "<", 4171754: "<=", 4171755: ">=", 4172704: ">"}

# Unit concepts, for sources that bring no vocabulary; every one was checked in the vocabulary of the CDM that docs/omop.md reads.
_UNITS = {
    8554: "%", 8541: "/min", 8647: "/uL", 8784: "/uL", 8785: "/uL", 8848: "10*3/uL", 9444: "10*9/L", 44777588: "10*9/L", 8815: "10*6/uL",
    8734: "10*12/L", 586323: "Cel", 8653: "Cel", 9289: "[degF]", 8698: "L/min", 8645: "U/L", 8923: "[iU]/L", 32995: "ukat/L",
    8876: "mm[Hg]", 9529: "kg", 8504: "g", 8576: "mg", 9655: "ug", 9562: "mg/kg", 8587: "mL", 8636: "g/L", 8713: "g/dL", 8751: "mg/L",
    8840: "mg/dL", 8748: "ug/L", 8837: "ug/dL", 8725: "ng/L", 8842: "ng/mL", 8845: "pg/mL", 8753: "mmol/L", 8749: "umol/L",
    44777613: "mL/h", 44777610: "mg/h", 9691: "mg/kg/h", 9690: "ug/kg/h", 9688: "ug/kg/min", 8774: "ug/min", 8550: "min", 9448: "a",
    44777566: "{score}",
}  # fmt: skip

# From a drug to what it is made of, where only relationships tell: a branded pack is three steps from its ingredients.
_MADE_OF = ("RxNorm has ing", "Consists of", "Tradename of", "Contains", "Box of")


@dataclass(frozen=True)
class _Table:
    """A table of events: the stems of its columns, as in `drug_concept_id` and `drug_exposure_start_datetime`."""

    name: str
    concept: str
    start: str
    end: str | None = None


_EVENTS = (
    _Table("visit_occurrence", "visit", "visit_start", "visit_end"),
    _Table("measurement", "measurement", "measurement"),
    _Table("observation", "observation", "observation"),
    _Table("drug_exposure", "drug", "drug_exposure_start", "drug_exposure_end"),
    _Table("device_exposure", "device", "device_exposure_start", "device_exposure_end"),
    _Table("procedure_occurrence", "procedure", "procedure", "procedure_end"),
    _Table("condition_occurrence", "condition", "condition_start", "condition_end"),
)
_CLINICAL = ("person", *(t.name for t in _EVENTS), "death")
_TEXTS = ("concept_name", "concept_code", "vocabulary_id", "relationship_id")  # the rest of a vocabulary's columns are ids
_VOCABULARY = ("concept", "concept_ancestor", "concept_relationship", "drug_strength")


@dataclass(frozen=True)
class _Tables:
    """The tables of a source.

    Attributes:
        names: what rows of each table are called in `source`.
        file: lays a table out as a file; the second argument is a condition in SQL, which only databases heed.
        keyed: rows are named by their primary key, not by their place in the file.
        known: what the vocabulary was asked for, and what it said.
    """

    names: dict[str, str]
    file: Callable[[str, str | None], Path]
    keyed: bool = False
    known: dict[tuple[str, ...], tuple[set[int], pl.DataFrame]] = field(default_factory=dict)


def is_omop(source: Path | str) -> bool:
    """Whether a source is an OMOP CDM: a person table beside one of events, a DuckDB file, or a PostgreSQL URL.

    Raises:
        InputError: a zip that cannot be opened.
    """
    if str(source).startswith(_POSTGRES):
        return True
    path = Path(source)
    if path.is_file() and path.suffix.casefold() in (".duckdb", ".ddb", ".db"):
        with path.open("rb") as file:
            return path.suffix.casefold() == ".duckdb" or file.read(12)[8:] == b"DUCK"
    named = {_table(name) for name in _listing(path)}
    return "person" in named and len(named & set(_CLINICAL)) > 1


def pieces(source: Path | str, mappings: Mappings, room: Path) -> Iterator[Piece]:
    """Each table of a CDM that holds anything charted, a long one in batches. A table that is damaged does not stop the rest.

    Args:
        room: a folder for what must be unpacked or fetched first.
    Raises:
        InputError: the source cannot be read, or a table of it lacks a column that it must have.
    """
    tables = _open(source, room)
    held = [table for table in _CLINICAL if table in tables.names]
    for n, table in enumerate(held):
        name = tables.names[table]
        try:
            path = tables.file(table, None)
        except InputError as error:
            yield Piece.skipped(name, str(error))
            continue
        for piece in _of_table(tables, table, path, mappings.of(name), room):
            yield replace(piece, place=Place(n + 1, len(held), (n + piece.share) / len(held)))
        if path.parent == room:
            path.unlink()


def _of_table(tables: _Tables, table: str, path: Path, mapping: Mapping, room: Path) -> Iterator[Piece]:
    name = tables.names[table]
    batches = (_lowered(batch, tables, table) for batch in read_batches(path, name))
    try:
        first = next(batches)
    except InputError as error:
        yield Piece.skipped(name, str(error))
        return
    if first.share < 1.0:
        _ask_once(tables, path, name)
    batches = itertools.chain([first], batches)
    if table == "visit_occurrence":  # a stay in hospital ends where no other of the patient goes on
        batches = whole_subjects(batches, _subject(), room)
    for frame, malformed, share in batches:
        if not frame.width:
            yield Piece(name, mapping, malformed=malformed, share=share)
            continue
        charted = _charted(_read(table, frame, tables, mapping, name), name)
        written = (frame[c] for c, t in frame.schema.items() if c.endswith("_datetime") and t == pl.String)
        yield Piece(
            name, mapping, charted, malformed, share=share, names=_names(charted, tables),
            offsets=mapping.zone is None and any(map(says_offsets, written)),
        )  # fmt: skip


def _lowered(batch: Batch, tables: _Tables, table: str) -> Batch:
    """With names in lower case; rows of a database are named by their key.

    Raises:
        InputError: two columns are one in lower case.
    """
    names = [c.lower() for c in batch.frame.columns]
    if twice := {n for n in names if names.count(n) > 1}:
        raise InputError(f"{tables.names[table]}: two columns are called {sorted(twice)[0]}. Keep one of them.")
    frame = batch.frame.rename(str.lower)
    if tables.keyed and (key := f"{table}_id") in names and table != "person":
        frame = frame.with_columns(_number(key).alias(ROW))
    return batch._replace(frame=frame)


def _ask_once(tables: _Tables, path: Path, name: str) -> None:
    """Ask the vocabulary for all that a long table names, so that not each of its batches must."""
    ids: dict[str, set[int]] = {}
    for frame, *_ in read_batches(path, name, lambda column: column.casefold().endswith("concept_id")):
        for column in set(frame.columns) - {ROW}:
            ids.setdefault(column.casefold(), set()).update(frame.select(_concept(column)).to_series().drop_nulls().unique())
    made_of = _ingredients(ids.get("drug_concept_id", ()), tables)
    _concepts([*itertools.chain(*ids.values()), *made_of["ingredient"]], tables)


# ---- where the tables are


def _open(source: Path | str, room: Path) -> _Tables:
    if str(source).startswith(_POSTGRES):
        return _database(_postgres(str(source)), room, ".csv")
    path = Path(source)
    if not path.is_dir() and not zipfile.is_zipfile(path):
        return _database(_duckdb(path), room, ".parquet")
    files = _files(path)
    names = {table: PurePosixPath(name).name for table, name in files.items()}
    if path.is_dir():
        return _Tables(names, lambda table, _: path / files[table])

    def unpack(table: str, _: str | None) -> Path:
        member = files[table]
        place = room / f"{table}{_suffix(member)}"
        if not place.exists():
            unpack_member(path, member, place)
        return place

    return _Tables({table: f"{path.name}/{name}" for table, name in names.items()}, unpack)


def _listing(path: Path) -> list[str]:
    """The names of all files of a folder or zip.

    Raises:
        InputError: the zip is damaged.
    """
    if path.is_dir():
        return [p.relative_to(path).as_posix() for p in files_in(path)]
    return members(path) if is_zip(path) else []


def _suffix(name: str) -> str | None:
    return next((s for s in sorted(_SUFFIXES, key=len, reverse=True) if name.casefold().endswith(s)), None)


def _table(name: str) -> str | None:
    """The table that a file holds, by its name."""
    path, suffix = PurePosixPath(name), _suffix(name)
    if suffix is None or is_hidden(path):
        return None
    return path.name[: -len(suffix)].casefold()


def _files(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in sorted(_listing(path)):
        table = _table(name)
        if table not in (*_CLINICAL, *_VOCABULARY):
            continue
        if table in found:
            raise InputError(f"{path.name}: {found[table]} and {name} are one table. Keep one of them.")
        found[table] = name
    return found


def _database(run: Callable[[str, Path], None], room: Path, suffix: str) -> _Tables:
    """The tables of a database, each brought into a file by `run(sql, file)`."""
    place = room / f"tables{suffix}"
    known = ", ".join(f"'{t}'" for t in (*_CLINICAL, *_VOCABULARY))
    run(
        "SELECT table_catalog, table_schema, table_name, table_schema = current_schema() AS ours FROM information_schema.tables"
        f" WHERE lower(table_name) IN ({known}) ORDER BY 4 DESC, 2, 3",
        place,
    )
    # Names in full: a file may be called as its schema is.
    found = _scan(place).collect().select("table_catalog", "table_schema", "table_name")
    listed = [((str(c), str(s)), str(t)) for c, s, t in found.iter_rows()]
    home = [schema for schema, table in listed if table.casefold() == "person"]
    if not home:
        raise InputError(
            "The database has no table called person: it is no OMOP CDM, or its schema is not readable for this user."
        )
    # The vocabulary may stand in a schema of its own; tables of events may not.
    where = {t.casefold(): (s, t) for s, t in reversed(listed) if s == home[0] or t.casefold() in _VOCABULARY}
    where |= {t.casefold(): (s, t) for s, t in listed if s == home[0]}

    def bring(table: str, condition: str | None) -> Path:
        schema, name = where[table]
        full = ".".join('"{}"'.format(part.replace('"', '""')) for part in (*schema, name))
        # Rows of a table without a key of its own are counted in the order of their subjects.
        order = " ORDER BY person_id" if table in ("person", "death") else ""
        place = room / f"{table}{suffix}"
        run(f"SELECT * FROM {full}{f' WHERE {condition}' if condition else ''}{order}", place)
        return place

    return _Tables({t: t for t in where}, bring, keyed=True)


def _duckdb(path: Path) -> Callable[[str, Path], None]:
    try:
        import duckdb
    except ImportError:
        raise InputError(f"{path.name}: a DuckDB file needs the extra: pip install 'aftercar[duckdb]'.") from None

    def run(sql: str, place: Path) -> None:
        try:
            with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
                connection.execute(f"COPY ({sql}) TO '{str(place).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)")
        except duckdb.Error as error:
            raise InputError(
                f"{path.name}: DuckDB cannot read it ({type(error).__name__}). Is another program writing to it, or another version of DuckDB?"
            ) from None  # its own message may quote a row

    return run


def _postgres(url: str) -> Callable[[str, Path], None]:
    """PostgreSQL through its own client: no driver, and the files, services and certificates that it knows hold here too."""
    psql = shutil.which("psql")
    if psql is None:
        raise InputError("Reading PostgreSQL needs its client, psql, on the PATH.")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InputError("The URL of the database cannot be read.") from None
    query = dict(parse_qsl(parts.query))
    # The password goes by the environment: other users of the machine can see arguments.
    password = query.pop("password", None) or (unquote(parts.password) if parts.password else None)
    user, _, host = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}" if user else host, query=urlencode(query)))
    settings = "-c default_transaction_read_only=on -c datestyle=ISO"
    given = os.environ.get("PGOPTIONS", "")
    env = os.environ | {"PGCLIENTENCODING": "UTF8", "PGOPTIONS": f"{given} {settings}".strip()}
    if password is not None:
        env["PGPASSWORD"] = password
    command = [psql, "--no-psqlrc", "--quiet", "--no-password", "--set", "ON_ERROR_STOP=1", "--dbname", bare, "--file", "-"]

    def run(sql: str, place: Path) -> None:
        with place.open("wb") as file:
            done = subprocess.run(
                command,
                input=f"COPY ({sql}) TO STDOUT WITH (FORMAT csv, HEADER);\n".encode(),
                stdout=file,
                stderr=subprocess.DEVNULL,
                env=env,
            )
        if done.returncode:
            problem = "does not let us in" if done.returncode == 2 else "refused to hand out a table"
            raise InputError(f"PostgreSQL {problem}. `psql` with the same URL says why.")

    return run


def _scan(path: Path) -> pl.LazyFrame:
    """A file lazily, with names in lower case. Vocabularies as Athena hands them out are split by tabs and quote nothing."""
    if path.name.casefold().endswith((".parquet", ".pq")):
        frame = scan(path)
    else:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.readline().decode("utf-8-sig", "replace")
        separator = max(",;\t|", key=header.count)
        frame = pl.scan_csv(
            path,
            separator=separator,
            quote_char=None if separator == "\t" else '"',
            infer_schema=False,
            encoding="utf8-lossy",
            glob=False,
        )
    return frame.rename(str.lower)


def _look_up(tables: _Tables, table: str, key: str, ids: Iterable[int | None], *columns: str) -> pl.DataFrame:
    """The rows of a vocabulary table whose `key` is one of `ids`; none where the source lacks the table."""
    schema: dict[str, type[pl.String] | type[pl.Int64]] = {c: pl.String if c in _TEXTS else pl.Int64 for c in (key, *columns)}
    wanted = {i for i in ids if i}
    asked, found = tables.known.get((table, key, *columns), (set[int](), pl.DataFrame(schema=schema)))
    if (new := wanted - asked) and table in tables.names:
        found = pl.concat([found, _ask(tables, table, key, new, schema)])
        tables.known[(table, key, *columns)] = (asked | new, found)
    return found.filter(col(key).is_in(list(wanted)))


def _ask(
    tables: _Tables, table: str, key: str, ids: set[int], schema: dict[str, type[pl.String] | type[pl.Int64]]
) -> pl.DataFrame:
    wanted = pl.LazyFrame({key: sorted(ids)}, schema={key: pl.Int64})
    listed = ", ".join(map(str, sorted(ids)))
    try:
        frame = _scan(tables.file(table, f"{key} IN ({listed})" if tables.keyed else None)).select(list(schema))
        frame = frame.with_columns(col(key).cast(pl.Int64, strict=False)).join(wanted, on=key, how="semi")
        return frame.select(col(c).cast(t, strict=False) for c, t in schema.items()).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise no_table(tables.names[table], error) from error


# ---- the rows of a table


def _with(frame: pl.DataFrame, name: str, needed: Iterable[str], optional: Iterable[str]) -> pl.DataFrame:
    """Only these columns; an optional one that is not there is null.

    Raises:
        InputError: one that is needed is not there.
    """
    needed = list(needed)
    if absent := [c for c in needed if c not in frame.columns]:
        raise InputError(f"{name}: no column {absent[0]}. The CDM requires it.")
    return frame.select(ROW, *needed, *(col(c) if c in frame.columns else lit(None, pl.String).alias(c) for c in optional))


def _text(column: str) -> pl.Expr:
    return col(column).cast(pl.String).str.strip_chars().replace({"": None})


def _number(column: str) -> pl.Expr:
    """A whole number, also where a column with gaps became a decimal one."""
    return _text(column).str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)


def _concept(column: str) -> pl.Expr:
    """A concept id; 0 means that there is no matching concept."""
    return _number(column).replace({0: None})


def _read(table: str, frame: pl.DataFrame, tables: _Tables, mapping: Mapping, name: str) -> pl.DataFrame:
    if table == "person":
        return _person(frame, mapping, name)
    if table == "death":
        return _death(frame, tables, mapping, name)
    event = next(t for t in _EVENTS if t.name == table)
    rows, known = _coded(_timed(frame, event, mapping, name), event, tables, mapping)
    if table == "visit_occurrence":
        return _visits(rows, known, tables)
    # An end that is only a date, and the date of the start, says nothing.
    nothing = (col("end_bare") & (col("end_time").dt.date() == col("time").dt.date())).fill_null(False)
    rows = rows.with_columns(end_time=pl.when(~nothing).then("end_time"), end_given=col("end_given") & ~nothing)
    if table == "drug_exposure":
        # A quantity is a dose only beside the unit of a dose; else it counts tablets or millilitres.
        unit = _text("dose_unit_source_value")
        return rows.with_columns(unit=unit, text_value=pl.when(unit.is_not_null()).then(_text("quantity")))
    if table in ("measurement", "observation"):
        return _measured(rows, known, tables, mapping)
    return rows


def _timed(frame: pl.DataFrame, event: _Table, mapping: Mapping, name: str) -> pl.DataFrame:
    """Event rows with `time`, `end_time` and the like, and `concept`, `source_concept`, `source_value`."""
    optional = [f"{event.start}_datetime", f"{event.concept}_source_concept_id", f"{event.concept}_source_value"]
    optional += [f"{event.end}_{part}" for part in ("date", "datetime")] if event.end else []
    optional += {
        "drug_exposure": ["quantity", "dose_unit_source_value"],
        "measurement": ["measurement_time", "operator_concept_id", "range_low", "range_high"],
        "observation": ["value_as_string"],
    }.get(event.name, [])
    if event.name in ("measurement", "observation"):
        optional += ["value_as_number", "value_as_concept_id", "value_source_value", "unit_concept_id", "unit_source_value"]
    frame = _with(frame, name, ["person_id", f"{event.concept}_concept_id", f"{event.start}_date"], optional)
    frame = _time(frame, event.start, "time", mapping)
    if event.name == "measurement":
        clock = _text("measurement_time").str.extract(r"^(\d{1,2}:\d{2}(?::\d{2})?)")
        clock = pl.coalesce(clock.str.to_time("%H:%M:%S", strict=False), clock.str.to_time("%H:%M", strict=False))
        frame = frame.with_columns(
            time=pl.when(col("time_bare") & clock.is_not_null()).then(col("time").dt.combine(clock)).otherwise("time")
        )
    if event.end:
        frame = _time(frame, event.end, "end_time", mapping)
        # A midnight beside a start with a time of day is a midnight; else it is a date, and lasts to its end.
        bare = col("end_time_bare") & (col("time_bare") | _text(f"{event.end}_datetime").is_null())
        frame = frame.with_columns(
            end_bare=bare,
            end_time=pl.when(bare).then(col("end_time") + pl.duration(days=1, seconds=-1)).otherwise("end_time"),
            end_given=col("end_time_given"),
        )
    else:
        frame = frame.with_columns(end_bare=lit(False), end_time=lit(None, pl.Datetime("us")), end_given=lit(False))
    return frame.with_columns(
        subject_id=_subject(),
        date_only=col("time_bare"),
        concept=_concept(f"{event.concept}_concept_id"),
        source_concept=_concept(f"{event.concept}_source_concept_id"),
        source_value=_text(f"{event.concept}_source_value"),
    )


def _subject() -> pl.Expr:
    return _text("person_id").str.replace(r"\.0+$", "")


def _time(frame: pl.DataFrame, stem: str, alias: str, mapping: Mapping) -> pl.DataFrame:
    """The datetime of a row, or its date: `alias`, `alias_given`, and `alias_bare` where it has no time of day.

    Datetimes of sources that know only the date are written as midnight by convention.
    """
    whole, date = f"{stem}_datetime", f"{stem}_date"
    times = [parse_time(col(c), frame.schema[c], Mapping(zone=mapping.zone)) for c in (whole, date)]
    time = pl.when(_text(whole).is_not_null()).then(times[0]).otherwise(times[1])
    frame = frame.with_columns(
        time.alias(alias), pl.any_horizontal(_text(c).is_not_null() for c in (whole, date)).alias(f"{alias}_given")
    )
    return frame.with_columns((col(alias).dt.time() == pl.time(0)).fill_null(False).alias(f"{alias}_bare"))


def _charted(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    rows = rows.with_columns(file=lit(name), row=col(ROW))
    blank = {"time_given": lit(False), "end_given": lit(False), "date_only": lit(False)}
    return rows.select(
        (col(c) if c in rows.columns else blank.get(c, lit(None))).cast(dtype).alias(c) for c, dtype in CHARTED.items()
    )


# ---- codes


def _coded(rows: pl.DataFrame, event: _Table, tables: _Tables, mapping: Mapping) -> tuple[pl.DataFrame, dict[str, Target]]:
    """Rows with a `code`, and what each code means: of the codes that a row has, the first that means anything."""
    keys = ["concept", "source_concept", "source_value"]
    pairs = rows.select(keys).unique()
    ids = pairs["concept"].to_list() + pairs["source_concept"].to_list()
    made_of = _ingredients(pairs["concept"].to_list(), tables) if event.name == "drug_exposure" else _LINKS
    names = _vocabulary([*ids, *made_of["ingredient"]], tables)
    pairs = pairs.with_columns(
        _omop("concept").alias("c1"),
        _omop("source_concept").alias("c2"),
        *(col(c).replace_strict(names, default=None, return_dtype=pl.String).alias(f"c{n}") for n, c in enumerate(keys[:2], 3)),
        col("source_value").alias("c5"),
    )
    made_of = made_of.with_columns(
        _omop("ingredient").alias("i1"), col("ingredient").replace_strict(names, default=None, return_dtype=pl.String).alias("i2")
    )
    every = pl.concat([pairs[c] for c in ("c1", "c2", "c3", "c4", "c5")] + [made_of[c] for c in ("i1", "i2")]).unique()
    known = meanings(pl.DataFrame({"code": every}), mapping)
    # A bare source value is a word like any other: it means what the mapping says, and not a concept of ours that is called alike.
    known = {code: target for code, target in known.items() if "//" in code or code in mapping.codes or code not in codes()}

    def first(*columns: str) -> pl.Expr:
        return pl.coalesce(pl.when(col(c).is_in(list(known))).then(c) for c in columns)

    # A drug is made of each of its ingredients that we know: one row each.
    parts = made_of.with_columns(part=first("i1", "i2")).drop_nulls("part")
    meaning = col("part").replace_strict(
        {code: target.concept for code, target in known.items()}, default=None, return_dtype=pl.String
    )
    parts = (
        parts.with_columns(meaning=meaning)
        .unique(["concept", "meaning"], keep="first", maintain_order=True)
        .select("concept", "part")
    )
    pairs = pairs.with_columns(code=first("c1", "c2")).join(parts, on="concept", how="left")
    pairs = pairs.with_columns(part=pl.when(col("code").is_null()).then("part")).unique([*keys, "part"], maintain_order=True)
    code = pl.coalesce("code", "part", first("c3", "c4", "c5"), "c1", "c2", "c5", lit("OMOP//0"))
    return rows.join(pairs.select(*keys, code.alias("code")), on=keys, how="left", nulls_equal=True, maintain_order="left"), known


def _omop(column: str) -> pl.Expr:
    return pl.format("OMOP//{}", column)  # null where the id is


def _concepts(ids: Iterable[int | None], tables: _Tables) -> pl.DataFrame:
    """What the vocabulary says of concept ids: `concept_id, concept_name, vocabulary_id, concept_code`."""
    return _look_up(tables, "concept", "concept_id", ids, "concept_name", "vocabulary_id", "concept_code")


def _names(charted: pl.DataFrame, tables: _Tables) -> dict[str, str]:
    """What the vocabulary, as far as it was asked, calls the codes of these rows."""
    said = set(charted["code"].unique())
    asked = next((found for (table, *_), (_, found) in tables.known.items() if table == "concept"), None)
    rows = asked.iter_rows() if asked is not None else ()
    return {code: name for i, name, system, c in rows for code in (f"OMOP//{i}", f"{system}//{c}") if name and code in said}


def _vocabulary(ids: Iterable[int | None], tables: _Tables) -> dict[int, str]:
    """`LOINC//8310-5` of each concept id that the vocabulary knows."""
    return {i: f"{system}//{code}" for i, _, system, code in _concepts(ids, tables).iter_rows()}


_LINKS = pl.DataFrame(schema={"concept": pl.Int64, "ingredient": pl.Int64})


def _ingredients(drugs: Iterable[int | None], tables: _Tables) -> pl.DataFrame:
    """What each drug is made of, and the classes above it: `concept, ingredient`, from whatever the vocabulary brings."""
    ancestors = _look_up(tables, "concept_ancestor", "descendant_concept_id", drugs, "ancestor_concept_id")
    strengths = _look_up(tables, "drug_strength", "drug_concept_id", drugs, "ingredient_concept_id")
    found = [frame.rename(dict(zip(frame.columns, _LINKS.columns, strict=True))) for frame in (ancestors, strengths)]
    # Relationships only for drugs of which these say nothing: of a whole vocabulary they are its largest table.
    left = sorted({i for i in drugs if i} - {i for frame in found for i in frame["concept"]})
    step = pl.DataFrame({"concept": left, "ingredient": left}, schema=_LINKS.schema)
    for _ in range(4):
        links = _look_up(tables, "concept_relationship", "concept_id_1", step["ingredient"], "concept_id_2", "relationship_id")
        links = links.filter(col("relationship_id").is_in(_MADE_OF)).select(ingredient="concept_id_1", next="concept_id_2")
        step = step.join(links, on="ingredient").select("concept", ingredient="next").unique()
        found.append(step)
    return pl.concat(found).drop_nulls().unique().sort("concept", "ingredient")


def _words(ids: Iterable[int | None], tables: _Tables, mapping: Mapping) -> dict[int, str]:
    """A word for each concept that is a value: its name, or its `OMOP//id` where the mapping names that or nothing else is known."""
    mapped = {word for words in mapping.text.values() for word in words}
    ids = {i for i in ids if i}
    names: dict[int, str] = {}
    for i, name, system, c in _concepts(ids, tables).iter_rows():
        ours = coded_words().get(f"{system}//{c}")
        names[i] = ours[1] if ours and str(name).casefold() not in mapped else name
    return {i: code if (code := f"OMOP//{i}").casefold() in mapped else names.get(i) or code for i in ids}


# ---- what single tables say


def _measured(rows: pl.DataFrame, known: dict[str, Target], tables: _Tables, mapping: Mapping) -> pl.DataFrame:
    """Values and units of measurements and observations, and the limits of normal beside them as rows of their own."""
    rows = rows.with_columns(word=_concept("value_as_concept_id"), unit_concept=_concept("unit_concept_id"))
    words = _words(rows["word"].unique(), tables, mapping)
    unknown = set(rows["unit_concept"].unique()) - set(_UNITS)
    units = {
        i: code.removeprefix("UCUM//") for i, code in _vocabulary(unknown, tables).items() if code.startswith("UCUM//")
    } | _UNITS
    written = _text("value_as_number")
    number = written.cast(pl.Float64, strict=False)
    operator = _number("operator_concept_id") if "operator_concept_id" in rows.columns else lit(None, pl.Int64)
    operator = operator.replace_strict(OPERATORS, default=None, return_dtype=pl.String)
    said = [col("word").replace_strict(words, default=None, return_dtype=pl.String)]
    said += [_text("value_as_string")] if "value_as_string" in rows.columns else []
    rows = rows.with_columns(
        numeric_value=pl.when(operator.is_null()).then(number),
        text_value=pl.when(number.is_null()).then(pl.coalesce(written, *said, _text("value_source_value")))
        .when(operator.is_not_null()).then(operator + written)
        .otherwise(pl.coalesce(*said)),
        # A unit that cannot be named must not be taken for the one that the mapping has for rows without any.
        unit=pl.coalesce(
            col("unit_concept").replace_strict(units, default=None, return_dtype=pl.String), _text("unit_source_value"), _omop("unit_concept")
        ),
    )  # fmt: skip
    if "range_high" not in rows.columns:
        return rows
    return pl.concat([rows.with_columns(column=lit(None, pl.String)), *(_limits(rows, known, *side) for side in _SIDES)])


_SIDES = (("range_low", "_lln"), ("range_high", "_uln"))


def _limits(rows: pl.DataFrame, known: dict[str, Target], column: str, suffix: str) -> pl.DataFrame:
    """The limit of normal that the laboratory charted beside a value, where the concept has one."""
    found = [(code, t.concept + suffix, t.unit) for code, t in known.items() if t.concept + suffix in concepts()]
    table = pl.DataFrame(found, schema={"code": pl.String, "limit": pl.String, "map_unit": pl.String}, orient="row")
    beside = rows.join(table, on="code", how="inner", maintain_order="left").filter(_text(column).is_not_null())
    return beside.with_columns(
        code="limit", column=lit(column), unit=pl.coalesce("unit", "map_unit"),
        numeric_value=_text(column).cast(pl.Float64, strict=False), text_value=_text(column),
    ).drop("limit", "map_unit")  # fmt: skip


def _visits(rows: pl.DataFrame, known: dict[str, Target], tables: _Tables) -> pl.DataFrame:
    """Stays in hospital as a change of setting at either end; other visits, and those that the mapping names, by their code."""
    under = _look_up(tables, "concept_ancestor", "ancestor_concept_id", _INPATIENT, "descendant_concept_id")
    inpatient = [*_INPATIENT, *under["descendant_concept_id"]]
    stay = (col("concept").is_in(inpatient) & ~col("code").is_in(list(known))).fill_null(False)
    rows = rows.with_columns(text_value=lit(None, pl.String), column=lit(None, pl.String))
    # Who leaves one stay for another that goes on stays in hospital; a stay without an end goes on.
    stays = rows.filter(stay).sort("subject_id", "end_time", "time", nulls_last=True)
    goes_on = (col("time").reverse().cum_min().reverse().shift(-1).over("subject_id") <= col("end_time")).fill_null(False)
    begin = stays.with_columns(
        code=lit("setting"), text_value=lit("inpatient"), column=lit("visit_start_date"), end_given=lit(False)
    )
    begin = begin.with_columns(end_time=lit(None, pl.Datetime("us")))
    finish = stays.filter(~goes_on & col("end_given"))
    backwards = (col("end_time") < col("time")).fill_null(False)  # listed as such, at its start
    finish = finish.with_columns(
        code=lit("setting"), text_value=lit("outpatient"), column=lit("visit_end_date"), time_given=lit(True), end_given=backwards,
        time=pl.when(backwards).then("time").otherwise("end_time"), end_time=pl.when(backwards).then("end_time"),
    )  # fmt: skip
    return pl.concat([rows.filter(~stay), begin, finish])


def _person(frame: pl.DataFrame, mapping: Mapping, name: str) -> pl.DataFrame:
    """Birth, as near as it is known, and sex."""
    parts = ["year_of_birth", "month_of_birth", "day_of_birth"]
    frame = _with(frame, name, ["person_id"], ["birth_datetime", *parts, "gender_concept_id", "gender_source_value"])
    year, month, day = (_number(p) for p in parts)
    # The middle of what is known: 1 July of a year, the 15th of a month.
    middle = pl.format("{}-{}-{}", year, month.fill_null(7), pl.when(month.is_null()).then(1).otherwise(day.fill_null(15)))
    middle = middle.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)
    born = parse_time(col("birth_datetime"), frame.schema["birth_datetime"], Mapping(zone=mapping.zone))
    given = pl.any_horizontal(_text(c).is_not_null() for c in ("birth_datetime", "year_of_birth"))
    frame = frame.with_columns(subject_id=_subject())
    birth = frame.filter(given).with_columns(
        code=lit("birth"), column=lit("year_of_birth"), time=pl.coalesce(born, middle),
        time_given=lit(True), text_value=lit(None, pl.String),
    )  # fmt: skip
    word = _concept("gender_concept_id").replace_strict(SEX, default=None, return_dtype=pl.String)
    sex = frame.with_columns(
        code=lit("sex"), column=lit("gender_concept_id"), time=lit(None, pl.Datetime("us")), time_given=lit(False),
        text_value=pl.coalesce(word, _text("gender_source_value")),
    ).drop_nulls("text_value")  # fmt: skip
    return pl.concat([birth, sex.select(birth.columns)])


def _death(frame: pl.DataFrame, tables: _Tables, mapping: Mapping, name: str) -> pl.DataFrame:
    """Deaths; the cause is the source's word for it, which counts only where the mapping says what it is for us."""
    frame = _with(frame, name, ["person_id", "death_date"], ["death_datetime", "cause_concept_id", "cause_source_value"])
    frame = _time(frame, "death", "time", mapping).with_columns(
        cause=_concept("cause_concept_id"), source=_text("cause_source_value")
    )
    words = _words(frame["cause"].unique(), tables, mapping)
    word = col("cause").replace_strict(words, default=None, return_dtype=pl.String)
    named = col("source").str.to_lowercase().is_in(list(mapping.text.get("death", {})))
    return frame.with_columns(
        subject_id=_subject(), code=lit("death"), date_only=col("time_bare"),
        text_value=pl.when(named).then("source").otherwise(pl.coalesce(word, "source")),
    )  # fmt: skip
