"""What people said of a timeline: attributions, grades, comments and locks, as a log that only grows.

`TIMELINE/statements.parquet` travels with the timeline. A later statement adds a row and overwrites none. Each row holds the hash of
the row before, so that a row that was changed or taken out is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar, cast

import polars as pl
from polars import col, lit

from aftercar.errors import InputError, nearest
from aftercar.timeline.log import CHAIN, Log
from aftercar.timeline.schema import ATTRIBUTIONS

FILE = "statements.parquet"
KINDS = ("attribution", "grade", "comment", "lock", "unlock")
HEEDED = ("attribution", "lock", "unlock")  # by grading; what one reader thinks changes no result until it is locked

STATEMENTS: dict[str, type[pl.DataType] | pl.DataType] = {
    "n": pl.Int64,
    "said_at": pl.Datetime("us", "UTC"),
    "rater": pl.String,
    "kind": pl.String,
    "subject_id": pl.Int64,  # or String, as in the timeline
    "infusion": pl.Int32,
    "toxicity": pl.String,
    "scale": pl.String,
    "event_id": pl.Int64,
    "attributable_to": pl.String,
    "grade": pl.Int8,
    "comment": pl.String,
    "previous": pl.String,
    "hash": pl.String,
}
SAID = [c for c in STATEMENTS if c not in CHAIN]
CLOCKS_DIFFER = timedelta(minutes=10)  # a time further ahead than this is a slip

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


STATEMENT_LOG = Log(FILE, STATEMENTS, "statements", "aftercar adjudicate verify {folder}")
broken, read_statements, verify = STATEMENT_LOG.broken, STATEMENT_LOG.read, STATEMENT_LOG.verify


def last_hash(folder: Path | str) -> str | None:
    """The hash with which a log ends: what a result that used it can be held against; null without a log."""
    log = read_statements(folder)
    return str(log["hash"][-1]) if log.height else None


def said_since(folder: Path | str, head: str | None) -> list[str] | None:
    """The kinds of statements that grading heeds (`HEEDED`) of which a log has any behind a row; null where it has no such row.

    Args:
        folder: the timeline folder.
        head: the hash of that row; null: of the beginning.
    """
    log = read_statements(folder)
    if head is not None:
        at = log.filter(hash=head)["n"]
        if at.is_empty():
            return None
        log = log.filter(col("n") > at[0])
    return sorted(set(log["kind"]) & set(HEEDED))


def append(folder: Path | str, rows: pl.DataFrame | Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Add statements to the log of a timeline folder; the new rows with their numbers and hashes come back.

    Args:
        folder: the timeline folder.
        rows: `rater`, `kind`, `subject_id` and what the kind needs; `said_at` is now where it is null. Or what makes them from the log,
            where they depend on what stands there: nobody else writes in between.
    Raises:
        InputError: a row that is no statement, or a log that was changed by other means. Nothing is added then.
    """
    return STATEMENT_LOG.append(folder, lambda log: conformed(rows(log) if callable(rows) else rows))


def conformed(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with all columns that a statement has of its own (`SAID`), said now where no time is given.

    Raises:
        InputError: a row that is no statement.
    """
    words = rows.schema.get("subject_id") == pl.String
    types = STATEMENTS | ({"subject_id": pl.String} if words else {})
    lacking = [c for c in ("rater", "kind", "subject_id") if c not in rows.columns]
    if lacking:
        raise InputError(f"These are no statements: they lack {', '.join(lacking)}.")
    new = rows.select((col(c) if c in rows.columns else lit(None)).cast(types[c]).alias(c) for c in SAID)
    new = new.with_columns(
        rater=col("rater").str.strip_chars().str.replace_all(r"\s+", " "),
        said_at=col("said_at").fill_null(lit(datetime.now(UTC))),
    )
    graded, attributed_ = col("kind").is_in(["grade", "lock"]), col("kind") == "attribution"
    about = pl.all_horizontal(col(c).is_not_null() for c in ("infusion", "toxicity", "scale"))
    faults = {
        "kind": ~col("kind").is_in(KINDS),
        "rater": (col("rater").str.len_chars() == 0).fill_null(True),
        "subject_id": col("subject_id").is_null(),
        "attributable_to": attributed_ & ~col("attributable_to").is_in(ATTRIBUTIONS).fill_null(False),
        "event_id": attributed_ & col("event_id").is_null(),
        "grade": graded & ~col("grade").is_between(0, 5).fill_null(False),
        "toxicity": (graded | (col("kind") == "unlock")) & ~about,
        "comment": col("kind").is_in(["comment", "unlock"]) & col("comment").is_null(),
    }
    found = new.select(fault.fill_null(True).any().alias(name) for name, fault in faults.items())
    wrong = [name for name in faults if new.height and found[name].item()]
    if wrong:
        raise InputError(
            f"These are no statements: {', '.join(wrong)} is missing or wrong in some row. docs/adjudication.md has the columns."
        )
    return new


# ---- attribution


def same_person() -> pl.Expr:
    """A rater's name as it is compared: `A. Reader` and `a. reader` are one person."""
    return col("rater").str.to_lowercase()


def resolved(statements: pl.DataFrame) -> pl.DataFrame:
    """What was said of each sign: `subject_id, event_id, attributable_to, by, at`.

    The latest statement of each rater counts. Where raters differ it is `unknown`.
    """
    said = statements.filter(col("kind") == "attribution").sort("said_at", "n")
    sign = ["subject_id", "event_id"]
    latest = said.group_by(*sign, who=same_person(), maintain_order=True).agg(col("attributable_to", "rater", "said_at").last())
    return (
        latest.group_by(sign)
        .agg(
            attributable_to=pl.when(col("attributable_to").n_unique() == 1)
            .then(col("attributable_to").first())
            .otherwise(lit("unknown")),
            by=col("rater").sort(),
            at=col("said_at").max(),
        )
        .sort(sign)
    )


def attributed(timeline: Frame, statements: pl.DataFrame) -> Frame:
    """The timeline with `attributable_to` as people said in the statements; order and all else stay."""
    if "attribution" not in statements["kind"]:
        return timeline
    said = resolved(statements).select("subject_id", "event_id", said="attributable_to")
    said = said.with_columns(col("subject_id").cast(timeline.lazy().collect_schema()["subject_id"], strict=False))
    with_said = timeline.lazy().join(said.lazy(), on=["subject_id", "event_id"], how="left", maintain_order="left")
    new = with_said.with_columns(attributable_to=pl.coalesce("said", "attributable_to")).drop("said")
    return cast(Frame, new if isinstance(timeline, pl.LazyFrame) else new.collect())


def attributions(timeline: pl.LazyFrame, given: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Attributions as statements, and those that cannot be used: `row, column, reason`.

    Args:
        timeline: what the signs belong to.
        given: `row, subject_id, event_id, attributable_to, rater, said_at, comment`, as written.
    """
    ids = timeline.collect_schema()["subject_id"]
    rows = given.with_columns(
        subject_id=as_id("subject_id", ids), event_id=as_id("event_id", pl.Int64()), said_at=as_time("said_at"),
        attributable_to=col("attributable_to").str.to_lowercase(), written=col("said_at").is_not_null(),
    )  # fmt: skip
    asked = rows.lazy().select("subject_id").unique()
    theirs = timeline.select("subject_id", "event_id").join(asked, on="subject_id", how="semi")
    signs = (
        theirs.join(rows.lazy().select("event_id").unique(), on="event_id", how="semi").group_by("subject_id", "event_id").len()
    )
    known, found = pl.collect_all([theirs.select("subject_id").unique(), signs])
    rows = rows.join(found, on=["subject_id", "event_id"], how="left", maintain_order="left")
    rows = rows.with_columns(there=col("subject_id").is_in(known["subject_id"].implode()).fill_null(False))
    good, bad = sifted(
        rows,
        (
            "subject_id",
            col("there"),
            "no such subject in the timeline; write ids as in the source",
        ),
        (
            "event_id",
            ~col("there") | (col("len") >= 1),
            "no row of that subject has this event_id; `evidence` in grades.parquet lists those behind a grade",
        ),
        (
            "event_id",
            col("len").fill_null(1) == 1,
            "several rows of that subject share this event_id; `aftercar import` numbers them anew",
        ),
        ("attributable_to", col("attributable_to").is_in(ATTRIBUTIONS), f"must be one of {', '.join(ATTRIBUTIONS)}"),
        *who_and_when(),
    )
    return good.with_columns(kind=lit("attribution")).select(c for c in SAID if c in {*good.columns, "kind"}), bad


# ---- statements as people write them


def read_rows(path: Path, needed: Iterable[str], optional: Iterable[str]) -> pl.DataFrame:
    """A CSV file as written: words without their blanks, null where empty, and `row` counted from 1 in the data.

    Raises:
        InputError: no such file, no table, a column is missing, or one is unknown.
    """
    needed, optional = list(needed), list(optional)
    try:
        frame = pl.read_csv(path, infer_schema=False, glob=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path.name} is no CSV table in UTF-8. Quote words that hold a comma.") from error
    frame = frame.rename(lambda c: c.strip().lower())
    lacking = [c for c in needed if c not in frame.columns]
    if lacking:
        raise InputError(
            f"{path.name} lacks {', '.join(lacking)}. Its columns are {', '.join(needed)}; also {', '.join(optional)}."
        )
    strange = [c for c in frame.columns if c not in (*needed, *optional)]
    if strange:
        raise InputError(f"{path.name}: no column is called {strange[0]!r}. {nearest(strange[0], [*needed, *optional])}")
    return as_given(frame, optional)


def as_given(frame: pl.DataFrame, optional: Iterable[str] = ()) -> pl.DataFrame:
    """Words without their blanks, null where empty; columns that may be left out are null, and rows are numbered from 1."""
    words = frame.cast(pl.String).with_columns(pl.all().str.strip_chars())
    words = words.with_columns(pl.when(col(c) != "").then(col(c)).alias(c) for c in words.columns)
    words = words.with_columns(lit(None, pl.String).alias(c) for c in optional if c not in words.columns)
    return words.with_columns(row=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))


def sifted(rows: pl.DataFrame, *checks: tuple[str, pl.Expr, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that pass every check, and for the others what is wrong: `row, column, reason`."""
    faults = [
        rows.filter(~ok.fill_null(False)).select("row", column=lit(column), reason=lit(reason)) for column, ok, reason in checks
    ]
    bad = pl.concat(faults).sort("row", maintain_order=True)
    return rows.join(bad, on="row", how="anti", maintain_order="left"), bad


def who_and_when() -> list[tuple[str, pl.Expr, str]]:
    """The checks of every statement; `written` says whether a time was given."""
    soon = lit(datetime.now(UTC) + CLOCKS_DIFFER)
    return [
        ("rater", col("rater").is_not_null(), "say who says so"),
        (
            "said_at",
            ~col("written") | col("said_at").is_not_null(),
            "must be a time such as 2024-05-01T08:00Z; without a zone it is UTC",
        ),
        ("said_at", (col("said_at") <= soon).fill_null(True), "lies in the future"),
    ]


def as_id(column: str, dtype: pl.DataType) -> pl.Expr:
    """An id as written, in the type of the timeline; null where it cannot be one."""
    if dtype == pl.String:
        return col(column)
    return pl.when(col(column).str.contains(r"^-?[0-9]{1,18}$")).then(col(column)).cast(dtype)


def as_time(column: str) -> pl.Expr:
    """A date or time as written, in UTC; one without a zone is taken to be UTC."""
    date, hour = r"^(\d{4}-\d\d-\d\d)", r"(?:[T ](\d\d:\d\d)(?::(\d\d))?(?:\.\d+)?)?"
    parts = col(column).str.extract_groups(date + hour + r"\s*(Z|[+-]\d\d:?\d\d)?$")
    day, clock, second, zone = (parts.struct[n] for n in range(4))
    offset = zone.replace({"Z": "+0000"}).fill_null("+0000").str.replace(":", "")
    text = pl.concat_str(day, lit("T"), clock.fill_null("00:00"), lit(":"), second.fill_null("00"), offset)
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="us", time_zone="UTC", strict=False)
