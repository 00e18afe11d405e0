"""Advise: a timeline and a rule book in, options with their reasons out. Options, never orders.

Every rule is evaluated at every asked time, for all subjects at once; what is the same at consecutive asked times is one row. The block list
comes last and is always there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.grade.options import Options
from aftercar.manage import doses
from aftercar.manage.asked import Asked, At, Charts, ask, charts, comparisons, extended
from aftercar.manage.facts import GRADES_OF, Facts
from aftercar.manage.ledger import ledger, limits, weight_at
from aftercar.manage.rules import DEFAULT_PROFILE, Drug, Rule, RuleBook, rulebook
from aftercar.manage.spoken import STATUS, blocking, stretches
from aftercar.manage.vocabulary import fact
from aftercar.manage.when import Leaf, bits, leaves
from aftercar.timeline.schema import conform
from aftercar.timeline.state import Record, clock
from aftercar.timeline.store import open_timeline

ADVICE: dict[str, Any] = {
    "subject_id": None,  # as in the timeline
    "infusion": pl.Int32,
    "time": pl.Datetime("us"),
    "until": pl.Datetime("us"),
    "topic": pl.String,
    "rule": pl.String,
    "status": STATUS,
    "option": pl.String,
    "action": pl.String,
    "dose": pl.String,
    "dose_mg": pl.Float64,
    "dexamethasone_mg_a_day": pl.Float64,
    "reasons": pl.List(pl.String),
    "missing": pl.List(pl.String),
    "cautions": pl.List(pl.String),
    "population": pl.String,
    "strength": pl.String,
    "source": pl.String,
    "source_date": pl.String,
    "mark": pl.String,
    "blocks": pl.List(pl.String),
    "profile": pl.String,
}
_COURSE = ("subject_id", "infusion", "time")
LEDGER = (*_COURSE, "drug", "n", "n_24h", "mg", "mg_24h", "unread", "dexamethasone_mg", "last")
LIMITS = (*_COURSE, "drug", "n", "n_24h", "since_h", "reached", "next", "dose", "dose_mg")


@dataclass(frozen=True)
class Advice:
    """The tables of one advising; `docs/management.md` describes each.

    Attributes:
        advice: a row a course, rule and stretch of asked times.
        ledger: a row a course and drug that was given, at the last asked time.
        limits: a row a course and drug that has limits, at the last asked time.
        facts: a row a course, at the last asked time: the facts that rules read.
        asked: how many courses were asked about, and how many could not be (no infusion, or the time is outside of the course).
    """

    advice: pl.DataFrame
    ledger: pl.DataFrame
    limits: pl.DataFrame
    facts: pl.DataFrame
    asked: dict[str, int]


def advise_timeline(
    timeline: pl.DataFrame | pl.LazyFrame,
    at: At = None,
    *,
    profile: str = DEFAULT_PROFILE,
    rules: Path | str | None = None,
    every_h: float | None = None,
    options: Mapping[str, object] | None = None,
) -> Advice:
    """Advise on whole subjects.

    Args:
        timeline: the columns of `docs/tables.md`; any MEDS frame whose codes are our concepts will do.
        at: a time, or hours since the infusion; by default when something was last charted of each course.
        profile: whose rules.
        rules: a folder of one's own rules, that stand in for those of the profile by topic.
        every_h: instead of `at`, every so many hours of each record.
        options: of the grading, those that differ from the default.
    Raises:
        InputError: the frame is no timeline, or the folder holds no rules that can be used.
        OptionError: a profile, option or value that does not exist.
    """
    book = rulebook(profile, rules)
    frame = timeline.collect() if isinstance(timeline, pl.LazyFrame) else timeline
    return advise_lazy(conform(frame).lazy(), book, at, every_h, options if isinstance(options, Options) else Options(options))


def advise_folder(
    timeline: Path | str,
    at: At = None,
    *,
    profile: str = DEFAULT_PROFILE,
    rules: Path | str | None = None,
    every_h: float | None = None,
    options: Mapping[str, object] | None = None,
    subject: str | int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Advice:
    """Advise on a timeline folder shard by shard; arguments and errors as for `advise_timeline`.

    Args:
        subject: only this one.
        progress: called with the shards that are done, and all.
    """
    book = rulebook(profile, rules)
    store = open_timeline(timeline)
    chosen = options if isinstance(options, Options) else Options(options)
    parts: list[Advice] = []
    for n, shard in enumerate(store.shards(), start=1):
        shard = shard if subject is None else shard.filter(col("subject_id") == subject)
        parts.append(advise_lazy(shard, book, at, every_h, chosen))
        if progress:
            progress(n, len(store.files))
    return joined(parts)


def joined(parts: Iterable[Advice]) -> Advice:
    """The tables of several shards as one."""
    parts = list(parts)
    asked = {key: sum(p.asked[key] for p in parts) for key in parts[0].asked}
    tables = (
        pl.concat([getattr(p, name) for p in parts], how="vertical_relaxed") for name in ("advice", "ledger", "limits", "facts")
    )
    advice, given, left, facts = tables
    return Advice(advice, given, left, facts, asked)


def advise_lazy(charted: pl.LazyFrame, book: RuleBook, at: At, every_h: float | None, options: Options) -> Advice:
    """Advise on whole subjects of a timeline in our schema."""
    return advise_charts(charts(extended(charted, at), [book], options), book, at, every_h)


def advise_charts(charts: Charts, book: RuleBook, at: At, every_h: float | None) -> Advice:
    """Advise where a timeline is read and graded already."""
    return advise_asked(ask(charts, book, at, every_h), charts, book)


def advise_asked(asked: Asked, charts: Charts, book: RuleBook) -> Advice:
    """Advise at the times that are asked."""
    rec, facts, final = asked.record, asked.facts, asked.last
    rows = [_answers(spells, facts, book) for spells in stretches(asked, book)]
    given = ledger(rec, final, book.drugs, facts.starts)
    left = limits(rec, final, book.drugs, facts.starts)
    state = facts.at(final, asked.names).drop(f"{name}:missing" for name in GRADES_OF)
    return Advice(
        _told(pl.concat([_NOTHING, *rows]), rec, book),
        _dated(given, rec, "last").select(LEDGER),
        _dated(left, rec, "next").select(LIMITS),
        _dated(state, rec).select(*_COURSE, pl.all().exclude(*_COURSE, "place")),
        {"courses": charts.courses, "advised": final.height, "not_advised": charts.courses - final.height},
    )


def _dated(rows: pl.DataFrame, rec: Record, *columns: str) -> pl.DataFrame:
    """Rows with `time` for `at`, and the times of columns on the axis that are called `NAME_at`; in the order of the subjects."""
    on_axis = ["at", *(f"{name}_at" for name in columns)]
    dated = clock(rows, rec.courses, *on_axis).rename({"at": "time", **{f"{name}_at": name for name in columns}})
    return dated.sort("place", maintain_order=True)


# ---- answers


_NOTHING = pl.DataFrame(
    schema={
        "course": pl.Int64, "at": pl.Int64, "until": pl.Int64, "rule": pl.Int64, "status": STATUS, "reasons": pl.List(pl.String),
        "missing": pl.List(pl.String),
    }
)  # fmt: skip


@dataclass(frozen=True)
class _Read:
    """What the answer of a rule is read from.

    Attributes:
        own: the comparisons that it may give as reasons.
        asked: those that may be missing of it: its own, and of the rules that may block it.
        lists: the graded facts among these.
    """

    own: list[Leaf]
    asked: list[Leaf]
    lists: list[str]

    @classmethod
    def of(cls, rule: Rule, book: RuleBook) -> _Read:
        """Of one rule."""
        rules = [rule, *(book.rules[n] for n in blocking(rule, book.rules))]
        asked = leaves(c for r in rules for c in (r.when, r.unless))
        return cls(list(rule.when.leaves()), asked, [name for name in GRADES_OF if any(leaf.fact == name for leaf in asked)])


def _answers(spells: pl.DataFrame, facts: Facts, book: RuleBook) -> pl.DataFrame:
    """What each rule says of each stretch, in the order of times and rules; consecutive stretches of which it says the same are one row."""
    place = {leaf: n for n, leaf in enumerate(comparisons(book))}
    reads = {n: _Read.of(rule, book) for n, rule in enumerate(book.rules) if spells[f"{n}:status"].null_count() < spells.height}
    if not reads:
        return _NOTHING
    every = spells.with_columns(row=pl.int_range(pl.len())).lazy()
    rows = pl.concat(pl.collect_all([_one(every, n, read, place) for n, read in reads.items()], engine="in-memory"))
    rows = rows.sort("at", "rule")  # while they are numbers: lists and words are slow to move
    key = ["rule", "sure", "open", *GRADES_OF]
    told = rows.select(key).unique(maintain_order=True)
    words = [_words(row, reads[row["rule"]], facts) for row in told.iter_rows(named=True)]
    told = told.with_columns(
        reasons=pl.Series([w[0] for w in words], dtype=pl.List(pl.String)),
        missing=pl.Series([w[1] for w in words], dtype=pl.List(pl.String)),
    )
    return rows.join(told, on=key, how="left", nulls_equal=True, maintain_order="left").select(_NOTHING.columns)


def _one(spells: pl.LazyFrame, n: int, read: _Read, place: Mapping[Leaf, int]) -> pl.LazyFrame:
    """The rows of one rule: `course, at, until, rule, status`, bits of the comparisons that hold (`sure`) and that may (`open`), and which list is
    missing of each graded fact. Of stretches of the same answer the first is kept, with the end of the last.
    """
    rows = spells.filter(col(f"{n}:status").is_not_null()).select(
        "course",
        "at",
        "until",
        "row",
        rule=lit(n, pl.Int64),
        status=f"{n}:status",
        sure=bits([col(f"s{place[leaf]}") for leaf in read.own]),
        open=bits([col(f"p{place[leaf]}") & ~col(f"s{place[leaf]}") for leaf in read.asked]),
        **{name: col(f"{name}:missing") if name in read.lists else lit(None, pl.Int64) for name in GRADES_OF},
    )
    # What is missing is told only where it would settle something.
    unsettled = (col("status") == "measure_first") | (col("status") == "perhaps_blocked")
    rows = rows.with_columns(pl.when(unsettled).then(c).otherwise(None).alias(c) for c in ("open", *read.lists))
    same = ["course", "status", "sure", "open", *read.lists]
    new = pl.any_horizontal(col("row") != col("row").shift(1) + 1, *(col(c).ne_missing(col(c).shift(1)) for c in same))
    rows = rows.with_columns(new=new.fill_null(True))
    ends = col("until").filter(col("new").shift(-1, fill_value=True))
    return rows.select(pl.all().exclude("until", "new", "row").filter("new"), until=ends)


def _words(key: dict[str, Any], read: _Read, facts: Facts) -> tuple[list[str], list[str]]:
    """The comparisons that hold, and what would settle those that may."""
    reasons = [leaf.text for n, leaf in enumerate(read.own) if key["sure"] >> n & 1] or ["always"] * (not read.own)
    missing: list[str] = []
    for n, leaf in enumerate(read.asked):
        if not (key["open"] or 0) >> n & 1:
            continue
        label = fact(leaf.fact).label
        number = key[leaf.fact] if leaf.fact in read.lists else None
        axes = facts.graded[leaf.fact].lists[number] if number is not None else []
        missing += [f"{label}: {axis}" for axis in axes] or [label]
    return reasons, list(dict.fromkeys(missing))


# ---- the table


def _told(rows: pl.DataFrame, rec: Record, book: RuleBook) -> pl.DataFrame:
    """Answers as the table `ADVICE`; courses are in the order of the subjects, on the axis too."""
    rows = rows.with_columns(weight_at(rec, rows["at"]))
    rows = rows.join(
        doses.amounts(book.rules, rows), on=["rule", "weight_kg"], how="left", nulls_equal=True, maintain_order="left"
    )
    rows = clock(rows, rec.courses, "at", "until").rename({"at": "time"})
    static = _static(book)
    return (
        rows.with_columns(static[c].gather(rows["rule"]).alias(c) for c in static.columns)
        .with_columns(profile=lit(book.profile.name), rule="id")
        .select("subject_id", *(col(c).cast(t) for c, t in ADVICE.items() if c != "subject_id"))
    )


def _static(book: RuleBook) -> pl.DataFrame:
    """What each rule says whatever the subject."""
    return pl.DataFrame(
        [
            {
                "id": r.id, "topic": r.topic, "option": r.option, "action": r.action, "cautions": _cautions(r), "population": r.population,
                "strength": r.strength, "source": r.source, "source_date": r.date, "mark": r.mark, "blocks": list(r.blocks),
            }
            for r in book.rules
        ],
        schema={"id": pl.String, **{c: t for c, t in ADVICE.items() if c in _STATIC}},
    )  # fmt: skip


_STATIC = ("topic", "option", "action", "cautions", "population", "strength", "source", "source_date", "mark", "blocks")


def _cautions(rule: Rule) -> list[str]:
    drug: Drug | None = rule.drug
    return [*rule.cautions, *(drug.cautions if drug else ()), *doses.cautions(rule)]
