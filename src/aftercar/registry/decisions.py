"""What people decided on drafted answers: a log that only grows, beside the draft, and that stays when the draft is made anew.

Each decision keeps the drafted answer and a fingerprint of the rows behind it, so that a later draft shows which decisions it no longer bears out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.registry.draft import KEY
from aftercar.registry.forms import CODED, UNKNOWN, Field, Form
from aftercar.timeline.log import CHAIN, Log
from aftercar.timeline.statements import as_id, as_time, sifted, who_and_when

KINDS = ("accept", "correct", "unknown")
NONE = "not asked"  # what is noted as drafted where the draft did not ask
REVIEW = pl.Enum(["open", "accepted", "corrected", "marked_unknown", "changed", "not_asked"])
_OF = {"accept": "accepted", "correct": "corrected", "unknown": "marked_unknown"}
DECIDED = tuple(_OF.values())  # and not changed since

DECISIONS: dict[str, type[pl.DataType] | pl.DataType] = {
    "n": pl.Int64,
    "said_at": pl.Datetime("us", "UTC"),
    "rater": pl.String,
    "kind": pl.String,
    "subject_id": pl.Int64,  # or String, as in the timeline
    "infusion": pl.Int32,
    "form": pl.String,
    "revision": pl.String,
    "period": pl.String,
    "field": pl.String,
    "answer": pl.String,
    "drafted": pl.String,
    "basis": pl.String,
    "comment": pl.String,
    "previous": pl.String,
    "hash": pl.String,
}
DECISION_LOG = Log("decisions.parquet", DECISIONS, "decisions", "aftercar registry review {folder} --verify")
NEEDED, OPTIONAL = ("subject_id", "field", "decision", "rater"), ("infusion", "period", "answer", "drafted", "said_at", "comment")


def decided(answers: pl.DataFrame, evidence: pl.DataFrame, form: Form, given: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decisions as rows of the log, and those that cannot be used: `row, column, reason`.

    Args:
        answers, evidence: the tables of a draft.
        given: `row, subject_id, field, decision, rater` and perhaps `infusion, period, answer, drafted, said_at, comment`, as written.
    """
    periods = answers["period"].unique(maintain_order=True)
    only = lit(periods[0]) if len(periods) == 1 else lit(None, pl.String)
    rows = given.with_columns(
        subject_id=as_id("subject_id", answers.schema["subject_id"]),
        infusion=as_id("infusion", pl.Int64()).cast(pl.Int32, strict=False) if "infusion" in given.columns else lit(None, pl.Int32),
        written=col("said_at").is_not_null(), said_at=as_time("said_at"), kind=col("decision").str.to_lowercase(),
        rater=col("rater").str.strip_chars().str.replace_all(r"\s+", " "), period=pl.coalesce("period", only),
    ).with_columns(col("infusion").fill_null(1))  # fmt: skip
    drafted = answers.select(*KEY, "status", "revision", now=col("answer").fill_null(NONE), there=lit(True))
    rows = rows.join(drafted, on=list(KEY), how="left", maintain_order="left")
    rows = rows.with_columns(_valid(rows, form))
    known = {c: rows[c].is_in(answers[c].unique().implode()) for c in KEY}
    there = col("there").fill_null(False)
    good, bad = sifted(
        rows.with_columns(**{f"{c}_known": k.fill_null(False) for c, k in known.items()}),
        ("subject_id", col("subject_id_known"), "no such subject in the draft; write ids as in the source"),
        ("field", col("field_known"), "no such field in this form; `aftercar registry fields` lists them"),
        ("period", col("period_known"), f"which period? This draft has {', '.join(periods)}"),
        ("infusion", there | ~(col("subject_id_known") & col("field_known") & col("period_known")), "no such infusion of that subject"),
        ("decision", col("kind").is_in(KINDS), f"must be one of {', '.join(KINDS)}"),
        ("decision", ~(there & (col("kind") == "accept") & (col("status").cast(pl.String) == "not_asked")), "the field is not asked of this course, so that there is nothing to accept"),
        ("answer", ~there | (col("kind") != "correct") | col("valid").is_not_null(), "no answer that this field takes; `aftercar registry fields` lists them"),
        ("answer", (col("kind") == "correct") | col("answer").is_null(), "is only for `correct`"),
        ("drafted", ~there | col("drafted").is_null() | (col("drafted") == col("now")), "the draft says something else now: look again"),
        *who_and_when(),
    )  # fmt: skip
    told = pl.when(col("kind") == "accept").then("now").when(col("kind") == "unknown").then(lit(UNKNOWN)).otherwise("valid")
    good = good.with_columns(
        answer=told, drafted="now", form=lit(form.id), said_at=col("said_at").fill_null(lit(datetime.now(UTC)))
    )
    good = good.with_columns(basis=fingerprints(good, answers, evidence))
    words = good.schema["subject_id"] == pl.String
    types = DECISIONS | ({"subject_id": pl.String} if words else {})
    return good.select(col(c).cast(types[c]) for c in DECISIONS if c not in CHAIN), bad


def _valid(rows: pl.DataFrame, form: Form) -> pl.Series:
    """Given answers as the form spells them; null where it takes no such answer."""
    fields = {f.id: f for f in form.fields}
    found = [
        canonical(fields[name], answer) if name in fields and answer is not None else None
        for name, answer in rows.select("field", "answer").iter_rows()
    ]
    return pl.Series("valid", found, dtype=pl.String)


def canonical(one: Field, answer: str) -> str | None:
    """An answer by its word or its code, as the form spells it; null where the field takes no such answer.

    >>> from aftercar.registry.forms import form_named
    >>> crs = form_named("cibmtr_4100").field
    >>> canonical(crs("crs.present"), "1"), canonical(crs("crs.date"), "2024-02-30"), canonical(crs("crs.drugs"), "4; 2")
    ('yes', None, 'corticosteroids; tocilizumab')
    """
    text = answer.strip()
    if text.lower() == UNKNOWN:
        return UNKNOWN
    if one.type in CODED:
        by_word = {value.lower(): value for value, _, _ in one.choices} | {code: value for value, code, _ in one.choices}
        parts = [by_word.get(p.strip().lower()) for p in (text.split(";") if one.type == "many" else [text])]
        return None if None in parts else "; ".join(sorted({p for p in parts if p}))
    if one.type == "date":
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            return None
    if one.type == "number":
        return text if re.fullmatch(r"-?\d+(\.\d+)?", text) else None
    return text or None


def fingerprints(keys: pl.DataFrame, answers: pl.DataFrame, evidence: pl.DataFrame) -> pl.Series:
    """What the rows behind some answers say, as one hash each: their numbering and place in a file do not count.

    Args:
        keys: rows with `KEY`.
    """
    own = (
        keys.select(KEY)
        .with_row_index("k")
        .join(answers.select(*KEY, "evidence"), on=list(KEY), how="left", maintain_order="left")
    )
    cited = own.select("k", "subject_id", event_id="evidence").explode("event_id").drop_nulls("event_id")
    told = cited.join(evidence.drop("source"), on=["subject_id", "event_id"], how="left", maintain_order="left")
    content: dict[int, list[list[Any]]] = {}
    for k, *row in told.select("k", "code", "time", "end_time", "numeric_value", "text_value", "unit").iter_rows():
        content.setdefault(k, []).append([str(x) for x in row])
    each = (json.dumps(sorted(content.get(k, [])), separators=(",", ":")) for k in range(keys.height))
    return pl.Series([hashlib.sha256(text.encode()).hexdigest()[:16] for text in each], dtype=pl.String)


def reviewed(answers: pl.DataFrame, evidence: pl.DataFrame, log: pl.DataFrame) -> pl.DataFrame:
    """The answers, and what was last decided of each: `review, decided, decided_was, decided_by, decided_at, comment`.

    `review` is `changed` where the drafted answer, or what the rows behind it say, is not what it was when somebody decided. `decided_was` is what
    was drafted then.
    """
    form = answers["form"].first()
    latest = log.filter(col("form") == form).sort("said_at", "n").unique(KEY, keep="last", maintain_order=True)
    latest = latest.with_columns(col("subject_id").cast(answers.schema["subject_id"], strict=False))
    here = answers.select(*KEY, now=col("answer").fill_null(NONE))
    latest = latest.join(here, on=list(KEY), how="inner", maintain_order="left")
    same = (col("now") == col("drafted")) & (col("basis") == fingerprints(latest, answers, evidence))
    told = latest.select(
        *KEY, decided="answer", decided_was="drafted", decided_by="rater", decided_at="said_at", comment="comment",
        review=pl.when(same).then(col("kind").replace(_OF)).otherwise(lit("changed")),
    )  # fmt: skip
    found = answers.join(told, on=list(KEY), how="left", maintain_order="left")
    nothing = pl.when(col("status").cast(pl.String) == "not_asked").then(lit("not_asked")).otherwise(lit("open"))
    return found.with_columns(review=pl.coalesce("review", nothing).cast(REVIEW))


def left_over(answers: pl.DataFrame, log: pl.DataFrame) -> int:
    """How many decisions of this form are about a course, period or field that the draft does not have; none of them is lost."""
    own = log.filter(col("form") == answers["form"].first()).with_columns(
        col("subject_id").cast(answers.schema["subject_id"], strict=False)
    )
    return own.unique(KEY).join(answers, on=list(KEY), how="anti").height


def final(rows: pl.DataFrame) -> pl.DataFrame:
    """`reviewed` rows with `final`, the answer that stands: as decided, or where that was changed or nobody decided as drafted."""
    stands = col("review").cast(pl.String).is_in(list(DECIDED))
    return rows.with_columns(final=pl.when(stands).then("decided").otherwise("answer"), settled=stands)


def as_template(rows: pl.DataFrame, reviews: Iterable[str]) -> pl.DataFrame:
    """Answers that wait, as a file to fill in: a column `decision` to be written, and what is drafted."""
    chosen = rows.filter(col("review").cast(pl.String).is_in(list(reviews)))
    blank = lit(None, pl.String)
    return chosen.select(*KEY, drafted=col("answer").fill_null(NONE), decision=blank, answer=blank, rater=blank, comment=blank)
