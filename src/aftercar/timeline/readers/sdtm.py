"""SDTM of CDISC, from SAS transport files and Dataset-JSON, as charted rows.

A domain is read by its class: findings (VS, LB, FA, QS ...), interventions (CM, EX, PR ...), events (AE, DS ...) and demographics.
The code of a row is `SDTM//DOMAIN//TERM`; `concepts.toml` knows those of the CDISC terminology that mean one thing, the mapping the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.errors import InputError
from aftercar.timeline.concepts import codes
from aftercar.timeline.readers.batches import ROW, Batch, not_blank
from aftercar.timeline.readers.dataset_json import is_dataset_json, read_dataset_json
from aftercar.timeline.readers.mapping import Mapping, Mappings
from aftercar.timeline.readers.normalise import CHARTED, DETAIL, meanings
from aftercar.timeline.readers.piece import Piece, each_file, files_in
from aftercar.timeline.readers.spill import whole_subjects
from aftercar.timeline.readers.table import parse_time, says_offsets
from aftercar.timeline.readers.xpt import read_xpt
from aftercar.timeline.schema import REJECTED

_DAY = r"^\d{4}-\d{2}-\d{2}"
_PARTIAL = r"^(\d{4}|-)(-(\d{2}|-)(-(\d{2}|-))?)?(T.*)?$"  # 2024, 2024-01, 2024---15
_BLOOD = "BLOOD|SERUM|PLASMA"


def is_sdtm(source: Path) -> bool:
    """Whether a file, or any file of a folder, is a SAS transport file or Dataset-JSON."""
    return any(_is_dataset(path) for path in _files(source))


def pieces(source: Path, mappings: Mappings, room: Path) -> Iterator[Piece]:
    """Each dataset of a source, a long one in batches; files of a folder that are none are passed over.

    Args:
        room: a folder for what does not fit into memory.
    Raises:
        InputError: a file that cannot be read: the only one, or one that a part of the mapping names.
    """
    yield from each_file(source, mappings, _files(source), lambda path, name, mapping: _of_file(path, name, mapping, room))


def _of_file(path: Path, name: str, mapping: Mapping, room: Path) -> Iterator[Piece]:
    if not _is_dataset(path):
        yield Piece.skipped(name, f"{name}: neither XPT nor Dataset-JSON; import it by itself.")
        return
    for dataset, batches in _datasets(path, name):
        yield from _of_dataset(dataset, batches, name, mapping, room)


def _files(source: Path) -> list[Path]:
    return files_in(source) if source.is_dir() else [source]


def _is_dataset(path: Path) -> bool:
    suffix = path.suffix.casefold()
    return path.is_file() and (suffix == ".xpt" or (suffix in (".json", ".ndjson") and is_dataset_json(path)))


def _datasets(path: Path, name: str) -> Iterator[tuple[str, Iterator[Batch]]]:
    return read_xpt(path, name) if path.suffix.casefold() == ".xpt" else read_dataset_json(path, name)


def _of_dataset(dataset: str, batches: Iterator[Batch], name: str, mapping: Mapping, room: Path) -> Iterator[Piece]:
    """One dataset, by the class of its domain.

    Raises:
        InputError: a domain of records without USUBJID, or two columns of one name.
    """
    first = next(batches)
    columns = [c.upper() for c in first.frame.columns if c != ROW]
    if twice := {c for c in columns if columns.count(c) > 1}:
        raise InputError(f"{name}: two columns are called {sorted(twice)[0]}. Keep one of them.")
    named = first.frame[first.frame.columns[1 + columns.index("DOMAIN")]].drop_nulls().first() if "DOMAIN" in columns else None
    domain = str(named or dataset).upper()
    if domain == "DM":
        read = _demographics
    elif f"{domain}TESTCD" in columns:
        read = _findings
    elif f"{domain}TRT" in columns:
        read = _interventions
    elif f"{domain}TERM" in columns:
        read = _events
    else:
        yield Piece.skipped(name, f"{name}: {domain} holds no findings, interventions, events or demographics.")
        return
    if "USUBJID" not in columns:
        raise InputError(f"{name}: no column USUBJID, so nobody knows whose the rows are.")
    upper = (b._replace(frame=b.frame.rename(lambda c: c if c == ROW else c.upper())) for b in itertools.chain([first], batches))
    if f"{domain}STNRHI" in columns or f"{domain}STNRLO" in columns:  # limits are told where they change for a subject
        upper = whole_subjects(upper, col("USUBJID").cast(pl.String), room)
    for frame, malformed, share in upper:
        if not frame.width:
            yield Piece(name, mapping, malformed=malformed, share=share)
            continue
        rows = read(_Table(not_blank(frame), domain, name, mapping), mapping)
        # A code that means nothing here stays charted: that it is unknown says more than that its date is.
        fine = col("reason").is_null() | ~col("code").is_in(list(meanings(rows, mapping)))
        refused = rows.filter(~fine).with_columns(detail=col("reason").replace_strict(DETAIL, return_dtype=pl.String))
        yield Piece(
            name,
            mapping,
            charted=rows.filter(fine).select(col(c).cast(dtype) for c, dtype in CHARTED.items()),
            malformed=pl.concat([malformed, refused.select(col(c).cast(dtype) for c, dtype in REJECTED.items())]),
            share=share,
            offsets=mapping.zone is None and any(says_offsets(frame[c]) for c in frame.columns if c.endswith("DTC")),
        )


class _Table:
    """A dataset whose columns may be absent; `--DTC` is the column DTC with the domain's prefix."""

    def __init__(self, frame: pl.DataFrame, domain: str, name: str, mapping: Mapping) -> None:
        self.frame, self.domain, self.name, self.zone = frame, domain, name, mapping.zone

    def has(self, column: str) -> bool:
        return column.replace("--", self.domain) in self.frame.columns

    def text(self, column: str) -> pl.Expr:
        if not self.has(column):
            return lit(None, pl.String)
        return col(column.replace("--", self.domain)).cast(pl.String).str.strip_chars().replace({"": None})

    def number(self, column: str) -> pl.Expr:
        return self.text(column).cast(pl.Float64, strict=False)

    def rows(self, *, start: pl.Expr, code: pl.Expr, **given: pl.Expr) -> pl.DataFrame:
        """Charted rows, with the reason of those that cannot be charted."""
        end = given.pop("end", lit(None, pl.String))
        said_not = (self.text("--STAT").str.to_uppercase() == "NOT DONE") | (self.text("--OCCUR").str.to_uppercase() == "N")
        blank: dict[str, pl.Expr] = {
            "numeric_value": lit(None, pl.Float64),
            **dict.fromkeys(("column", "text_value", "unit", "attributable_to"), lit(None, pl.String)),
        }
        rows = self.frame.select(
            file=lit(self.name),
            row=col(ROW),
            subject_id=self.text("USUBJID"),
            time=instant(start, self.zone),
            time_given=start.is_not_null(),
            date_only=~_clean(start).str.contains("T"),
            # A day on which a drug ended is a day on which it was given: its end is the end of that day.
            end_time=instant(end, self.zone)
            + pl.when(_clean(end).str.contains("T")).then(0).otherwise(86_399) * pl.duration(seconds=1),
            end_given=end.is_not_null(),
            code=code,
            said_not=said_not,
            partial=start.str.contains(_PARTIAL) & ~start.str.contains(_DAY),
            **(blank | given),
        )
        reason = pl.when(col("said_not")).then(lit("not_done")).when(col("partial")).then(lit("partial_date"))
        return rows.with_columns(reason=reason)


def instant(text: pl.Expr, zone: str | None = None) -> pl.Expr:
    """ISO 8601 as SDTM writes it, as local time (of `zone`, where it has an offset); null where not even the day is known."""
    return parse_time(_clean(text), pl.String(), Mapping(zone=zone))


def _clean(text: pl.Expr) -> pl.Expr:
    """Without the parts that are not known: `T-:30` and `T` say no hour, `T10:-` and `T10` the hour alone."""
    known = text.str.replace(r"T(-.*)?$", "").str.replace(r":-.*$", "")
    return known.str.replace(r"(T\d{2})(Z|[+-]\d{2}:?\d{2})?$", "${1}:00")


def _known(mapping: Mapping) -> list[str]:
    return [code for code in (*codes(), *mapping.codes) if "//" in code]


def _findings(table: _Table, mapping: Mapping) -> pl.DataFrame:
    text, domain = table.text, table.domain
    known = _known(mapping)
    urine = pl.when(text("--CAT").str.contains("(?i)urin")).then(lit("URINE"))
    specimen = pl.coalesce(text("--SPEC").str.to_uppercase(), urine)
    code = pl.concat_str(
        lit(f"SDTM//{domain}"),
        text("--TESTCD").str.to_uppercase(),
        text("--OBJ").str.to_uppercase(),
        # A test of urine or fluid is another finding than that of blood.
        pl.when(~specimen.str.contains(_BLOOD)).then(specimen),
        separator="//", ignore_nulls=True,
    )  # fmt: skip
    loinc = lit("LOINC//") + text("--LOINC")
    standard = table.number("--STRESN").is_not_null() | text("--STRESC").is_not_null()
    # As collected where nothing was standardised, or where only the collected result has a unit.
    collected = text("--ORRES").is_not_null() & (~standard | (text("--STRESU").is_null() & text("--ORRESU").is_not_null()))
    rows = table.rows(
        start=text("--DTC"),
        end=text("--ENDTC"),
        code=pl.when(loinc.is_in(known) & ~code.is_in(list(mapping.codes))).then(loinc).otherwise(code),
        numeric_value=pl.when(collected)
        .then(table.number("--ORRES"))
        .otherwise(pl.coalesce(table.number("--STRESN"), table.number("--STRESC"))),
        text_value=pl.when(collected).then(text("--ORRES")).otherwise(text("--STRESC")),
        unit=pl.when(collected).then(text("--ORRESU")).otherwise(text("--STRESU")),
    )
    return pl.concat([rows, *(_limits(table, code, side, known) for side in ("STNRHI", "STNRLO") if table.has(f"--{side}"))])


def _limits(table: _Table, code: pl.Expr, side: str, known: list[str]) -> pl.DataFrame:
    """Limits of normal beside the results, those that mean something here, where they change for a subject."""
    own = code.str.replace(f"SDTM//{table.domain}", f"SDTM//{table.domain}{side}", literal=True)
    rows = table.rows(
        start=table.text("--DTC"),
        code=own,
        column=lit(table.domain + side),
        numeric_value=table.number(f"--{side}"),
        unit=table.text("--STRESU"),
    )
    rows = rows.filter(col("code").is_in(known) & col("numeric_value").is_not_null() & col("time").is_not_null())
    limit = pl.struct("numeric_value", "unit")
    last = limit.shift(1).over("subject_id", "code", order_by=["time", "row"])
    return rows.filter(last.is_null() | (limit != last)).with_columns(reason=lit(None, pl.String))


def _interventions(table: _Table, mapping: Mapping) -> pl.DataFrame:
    return table.rows(
        start=pl.coalesce(table.text("--STDTC"), table.text("--DTC")),
        end=table.text("--ENDTC"),
        code=_decode(table, "--TRT"),
        numeric_value=table.number("--DOSE"),
        unit=table.text("--DOSU"),
    )


def _events(table: _Table, mapping: Mapping) -> pl.DataFrame:
    graded = table.has("--TOXGR") or table.has("--SEV")
    return table.rows(
        start=pl.coalesce(table.text("--STDTC"), table.text("--DTC")),
        end=table.text("--ENDTC"),
        code=_decode(table, "--TERM"),
        # As text: what a grade means for a concept is for the mapping to say.
        text_value=pl.coalesce(table.text("--TOXGR"), table.text("--SEV")) if graded else table.text("--TERM"),
        **({"attributable_to": table.text("--REL")} if "attributable_to" in mapping.text else {}),
    )


def _decode(table: _Table, verbatim: str) -> pl.Expr:
    term = pl.coalesce(table.text("--DECOD"), table.text(verbatim)).str.to_uppercase()
    return lit(f"SDTM//{table.domain}//") + term


def _demographics(table: _Table, mapping: Mapping) -> pl.DataFrame:
    """Each cell whose column means something, as a row; a date is when it happened, anything else holds from RFSTDTC."""
    known = _known(mapping)
    cells = [
        table.rows(
            start=table.text(column if column.endswith("DTC") else "RFSTDTC"),
            code=lit(f"SDTM//DM//{column}"),
            column=lit(column),
            **({} if column.endswith("DTC") else {"text_value": table.text(column)}),
            **({"unit": table.text("AGEU")} if column == "AGE" else {}),
        ).filter(table.frame.select(table.text(column).is_not_null()).to_series())
        for column in table.frame.columns
        if f"SDTM//DM//{column}" in known
    ]
    return pl.concat(cells or [table.rows(start=lit(None, pl.String), code=lit("SDTM//DM")).head(0)])
