"""Draft the answers of a form: results in, a row a course, period and field out, each with its rule and the rows of the record behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.errors import InputError
from aftercar.grade.options import Options
from aftercar.grade.results import open_results
from aftercar.grade.run import SCALES, codes_of, graded, opened
from aftercar.registry import crs, neuro, other
from aftercar.registry.charted import ANSWERS, Charted
from aftercar.registry.forms import UNKNOWN, Field, Form, form_named
from aftercar.registry.periods import cases, periods_named
from aftercar.timeline.statements import last_hash, read_statements

PARTS = (crs, neuro, other)
VERSION = "1"  # of the derivations: another one if a record may now be answered otherwise
GRADED_BY = tuple(dict.fromkeys((*crs.SCALES, *neuro.ICANS, *neuro.CTCAE, *neuro.LATE, *other.SCALES)))
NO_CONCEPT = "not among the record's concepts"
HANGS = "hangs on"  # how the reason begins where the parent is not known
SHOWN = 3  # sources of an answer that are written out; the others are counted
STATUS = pl.Enum(["drafted", "unknown", "not_asked"])
NOTE = "Drafted by software from the record, not adjudicated: look at each answer before it is reported."
KEY = ("subject_id", "infusion", "period", "field")

DRAFT: dict[str, Any] = {
    "subject_id": None,  # as in the timeline
    "infusion": pl.Int32,
    "registry": pl.String,
    "form": pl.String,
    "revision": pl.String,
    "period": pl.String,
    "field": pl.String,
    "group": pl.String,
    "question": pl.String,
    "answer": pl.String,
    "answer_code": pl.String,
    "date": pl.Date,
    "status": STATUS,
    "reason": pl.String,
    "rule": pl.String,
    "evidence": pl.List(pl.Int64),
    "source": pl.String,
    "mark": pl.String,
}


@dataclass(frozen=True)
class Draft:
    """The answers to one form.

    Attributes:
        answers: the columns of `DRAFT`: a row a course, period and field of the form's revision.
        evidence: the rows of the timeline behind them: `subject_id, event_id, time, code, numeric_value, text_value, unit, end_time, source`.
        courses: `subject_id, infusion, day0, product, target, disease, death, record_end`.
        facts: versions, options and counts.
    """

    form: Form
    revision: str
    periods: tuple[str, ...]
    answers: pl.DataFrame
    evidence: pl.DataFrame
    courses: pl.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        """Whether the patients are virtual."""
        return bool(self.facts.get("simulated", False))


def draft_folder(
    results: Path | str,
    form: str,
    *,
    periods: Iterable[str] | None = None,
    revision: str | None = None,
    timeline: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Draft:
    """Draft a form for every course of a results folder, under the options with which it was graded.

    Args:
        results: what `aftercar grade` wrote. What the form needs is graded again from its timeline, shard by shard.
        form: `cibmtr_4100`, `ebmt_day100` or `ebmt_follow_up`.
        periods: `day100`, `month6`, `year1` ..., or `all`; by default the first one that the form has.
        revision: of the form; by default the last one.
        timeline: where the timeline is now, if it was moved.
        progress: called with the shards that are done, and all.
    Raises:
        InputError: no results, the timeline is gone or was changed since.
        OptionError: no such form, revision or period.
    """
    chosen = form_named(form)
    name, fields = chosen.of(revision)
    asked = periods_named(periods, chosen.periods)
    graded_ = open_results(results)
    folder, run, store = graded_.folder, graded_.run, graded_.timeline(timeline)
    if (said := last_hash(store.folder)) != run.get("statements"):
        raise InputError(
            f"People said more of {store.folder} since {folder} was graded. `aftercar grade {store.folder} --out {folder}` grades it again."
        )
    options, statements = Options(run.get("options", {})), read_statements(store.folder)
    there = graded_.subjects  # read first: what is wrong with it is told before the work
    parts = []
    for n, shard in enumerate(store.shards(), start=1):
        parts.append(draft_timeline(shard, chosen, fields, name, asked, options, statements))
        if progress:
            progress(n, len(store.files))
    answers, evidence, courses = (pl.concat([p[i] for p in parts], how="vertical_relaxed") for i in range(3))
    _require_all(courses, there)
    facts = {
        "aftercar": __version__, "registry": chosen.registry, "form": chosen.id, "title": chosen.title, "revision": name,
        "revision_note": chosen.revisions[name], "periods": list(asked), "derivations": VERSION, "rules": [SCALES[s].rules for s in GRADED_BY],
        "options": dict(options), "sources": chosen.sources, "courses": courses.height,
        "fields": len(fields), "answers": dict(answers["status"].cast(pl.String).value_counts(sort=True).iter_rows()),
        "timeline_fingerprint": store.fingerprint, "statements": said, "timeline_note": run.get("timeline_note"), "simulated": store.simulated, "note": NOTE,
    }  # fmt: skip
    return Draft(chosen, name, asked, answers, evidence, courses, facts)


def _require_all(courses: pl.DataFrame, graded_: pl.DataFrame) -> None:
    key = ["subject_id", "infusion"]
    if courses.height != graded_.height or courses.join(graded_, on=key, how="anti").height:
        raise InputError("The results hold other courses than their timeline. Grade it again.")


@cache
def codes() -> list[str]:
    """The concepts that the derivations read."""
    return sorted({*codes_of(SCALES[s] for s in GRADED_BY), *(c for part in PARTS for c in part.CODES)})


def draft_timeline(
    shard: pl.LazyFrame,
    form: Form,
    fields: Sequence[Field],
    revision: str,
    periods: Sequence[str],
    options: Options,
    statements: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """`answers`, `evidence` and `courses` of whole subjects; see `Draft`."""
    rec, courses = opened(shard, codes(), options)
    result = graded(rec, courses, [SCALES[s] for s in GRADED_BY], options)
    placed = courses.with_row_index("place").join(
        rec.courses.select("place", "course", "base", "last_at", "day0_at"), on="place", how="left", maintain_order="left"
    )
    every = cases(placed, periods)
    open_ = every.filter(col("skipped").is_null())
    charted = Charted(rec, options, open_, result, _last_seen(shard, open_), statements)
    derived: dict[str, pl.DataFrame] = {}
    for part in PARTS:
        derived |= part.derive(charted)
    answers = _answered(every, fields, derived)
    return _told(answers, every, form, fields, revision, shard, courses)


def _last_seen(shard: pl.LazyFrame, open_: pl.DataFrame) -> pl.DataFrame:
    """The last row of each case, of whatever concept: `case, at, event_id`."""
    rows = shard.filter(col("time").is_not_null() & ~col("code").is_in(["record_complete", "birth"]))
    rows = rows.select("subject_id", "time", "event_id").sort("subject_id", "time", maintain_order=True)
    behind = open_.lazy().select(
        "case", "subject_id", "base", "from_at", until=pl.from_epoch(col("to_at") - col("base") - 1).cast(pl.Datetime("us"))
    )
    found = behind.sort("subject_id", "until").join_asof(
        rows.set_sorted("subject_id"),
        left_on="until",
        right_on="time",
        by="subject_id",
        strategy="backward",
        check_sortedness=False,
    )
    at = col("base") + col("time").dt.epoch("s")
    return (
        found.select("case", "from_at", "event_id", at=at)
        .filter(col("at") >= col("from_at"))
        .select("case", "at", "event_id")
        .sort("case")
        .collect()
    )


# ---- who is asked what


def _answered(every: pl.DataFrame, fields: Sequence[Field], derived: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """A row a case and field, in that order: `case, n, answer, at, reason, evidence, status`."""
    base = every.select("case", "kind", "skipped")
    settled: dict[str, pl.Series] = {}  # of each field so far, answer or (of those that were not asked) null
    parts = []
    for n, one in enumerate(fields):
        own = base.join(_of(one, base, derived), on="case", how="left", maintain_order="left")
        own = own.with_columns(
            col("answer").fill_null(UNKNOWN), reason=col("reason").fill_null(_silence(one)), parent=_parent(one, settled)
        )
        asked, why = _asked(one)
        blank = own["answer"] == UNKNOWN
        own = own.with_columns(skip=why).with_columns(
            answer=pl.when(col("skip").is_not_null()).then(None).when(asked).then("answer").otherwise(lit(UNKNOWN)),
            at=pl.when(col("skip").is_null() & asked & ~blank).then("at"),
            reason=pl.coalesce(
                "skip",
                pl.when(asked)
                .then("reason")
                .otherwise(pl.format("{} {}, which is not known", lit(HANGS), lit(one.when[0] if one.when else ""))),
            ),
            evidence=pl.when(col("skip").is_null() & asked).then("evidence").otherwise(lit([], pl.List(pl.Int64))),
        )
        status = (
            pl.when(col("answer").is_null())
            .then(lit("not_asked"))
            .when(col("answer") == UNKNOWN)
            .then(lit(UNKNOWN))
            .otherwise(lit("drafted"))
        )
        own = own.with_columns(status=status.cast(STATUS), n=lit(n, pl.UInt32))
        settled[one.id] = own["answer"]
        parts.append(own.select("case", "n", *(c for c in ANSWERS if c != "case"), "status"))
    return pl.concat(parts).sort("case", "n", maintain_order=True)


def _of(one: Field, base: pl.DataFrame, derived: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """What the derivation of a field says; of a date, its day where it is settled."""
    if one.derive is None:
        return base.select("case").clear().with_columns(pl.lit(None, t).alias(c) for c, t in ANSWERS.items() if c != "case")
    found = derived[one.derive]
    if one.type != "date":
        return found
    return found.with_columns(answer=pl.when(col("at").is_not_null()).then(col("answer")).otherwise(lit(UNKNOWN)))


def _silence(one: Field) -> str:
    return NO_CONCEPT if one.derive is None else "nothing is charted that answers it"


def _parent(one: Field, settled: dict[str, pl.Series]) -> pl.Expr:
    return lit(None, pl.String) if one.when is None else lit(settled[one.when[0]])


def _asked(one: Field) -> tuple[pl.Expr, pl.Expr]:
    """Whether the parent says that it is asked; and why it is surely not, null otherwise."""
    skip = pl.when(col("skipped").is_not_null()).then("skipped")
    if len(one.periods) == 1:
        skip = skip.when(col("kind") != one.periods[0]).then(lit("not asked in this period"))
    if one.when is None:
        return lit(True), skip.otherwise(None)
    parent, answers = one.when
    no = col("parent").is_null() | (~col("parent").is_in(answers) & (col("parent") != UNKNOWN))
    told = lit(f"asked only if {parent} is {' or '.join(answers)}")
    return col("parent").is_in(answers).fill_null(False), skip.when(no).then(told).otherwise(None)


# ---- the table


def _told(
    answers: pl.DataFrame, every: pl.DataFrame, form: Form, fields: Sequence[Field], revision: str, shard: pl.LazyFrame, courses: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """Answers with the words of their field, and the rows behind them."""
    words = pl.DataFrame(
        [(f.id, f.group, f.ask, f.type, _rule(f), f.mark) for f in fields],
        schema=dict.fromkeys(("field", "group", "question", "type", "rule", "mark"), pl.String), orient="row",
    )  # fmt: skip
    codes_ = pl.DataFrame(
        [(n, value, code) for n, f in enumerate(fields) if f.type != "many" for value, code in f.codes.items()],
        schema={"n": pl.UInt32, "answer": pl.String, "answer_code": pl.String}, orient="row",
    )  # fmt: skip
    rows = answers.with_columns(words[c].gather(answers["n"]) for c in words.columns)
    rows = rows.with_columns(every[c].gather(answers["case"]) for c in ("subject_id", "infusion", "period", "base"))
    date = pl.from_epoch(col("at") - col("base")).dt.date()
    # Of a date the answer is the day itself; beside another answer stands the day on which it first held.
    day = pl.when((col("type") == "date") & (col("status") == "drafted")).then(date.dt.to_string("%Y-%m-%d"))
    rows = rows.with_columns(date=date, answer=pl.coalesce(day, "answer")).join(
        codes_, on=["n", "answer"], how="left", maintain_order="left"
    )
    rows = rows.with_columns(_codes_of_many(fields))
    rows = rows.with_columns(registry=lit(form.registry), form=lit(form.id), revision=lit(revision))
    evidence, sources = _evidence(rows, shard)
    rows = rows.with_row_index("row").join(sources, on="row", how="left", maintain_order="left")
    kept = ("subject_id", "infusion", "day0", "product", "target", "disease", "death", "record_end")
    return rows.select(col(c).cast(t) if t is not None else col(c) for c, t in DRAFT.items()), evidence, courses.select(kept)


def _rule(one: Field) -> str:
    return f"{one.derive}@{VERSION}" if one.derive else "none"


def _codes_of_many(fields: Sequence[Field]) -> pl.Expr:
    """The codes of an answer of several, joined as it is."""
    code = col("answer_code")
    for n, one in enumerate(fields):
        if one.type == "many":
            each = (
                col("answer")
                .str.split("; ")
                .list.eval(pl.element().replace_strict(one.codes, default=None, return_dtype=pl.String))
                .list.join("; ")
            )
            code = pl.when((col("n") == n) & col("answer").is_not_null()).then(each).otherwise(code)
    return code.alias("answer_code")


def _evidence(rows: pl.DataFrame, shard: pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of the timeline behind the answers; and of each answer (`row`) its `source`: the first few, and how many there are."""
    cited = rows.with_row_index("row").select("row", "subject_id", event_id="evidence").explode("event_id").drop_nulls()
    wanted = cited.select("subject_id", "event_id").unique()
    kept = ("subject_id", "event_id", "time", "code", "numeric_value", "text_value", "unit", "end_time", "source")
    behind = (
        shard.select(kept)
        .join(wanted.lazy(), on=["subject_id", "event_id"], how="semi")
        .collect()
        .sort("subject_id", "time", "event_id")
    )
    placed = cited.join(
        behind.select("subject_id", "event_id", "time", "source"),
        on=["subject_id", "event_id"],
        how="left",
        maintain_order="left",
    )
    placed = placed.sort("row", "time", "event_id", maintain_order=True)
    told = placed.group_by("row", maintain_order=True).agg(
        first=col("source").drop_nulls().unique(maintain_order=True), n=pl.len()
    )
    more = pl.when(col("first").list.len() > SHOWN).then(pl.format(" ({} rows)", "n")).otherwise(lit(""))
    return behind, told.select("row", source=col("first").list.head(SHOWN).list.join("; ") + more)
