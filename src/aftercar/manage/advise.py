"""Advise: a timeline and a rule book in, options with their reasons out. Options, never orders.

Every rule is evaluated at every asked time, for all subjects at once; what is the same at consecutive asked times is one row. The block list
comes last and is always there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.errors import InputError
from aftercar.grade.options import Options
from aftercar.grade.run import Result, grade_lazy, scales_named
from aftercar.manage import doses
from aftercar.manage.facts import GRADES_OF, SCALES, Facts, codes
from aftercar.manage.ledger import counted, ledger, limits, weight_at
from aftercar.manage.rules import DEFAULT_PROFILE, Drug, Rule, RuleBook, rulebook
from aftercar.manage.vocabulary import fact
from aftercar.manage.when import Leaf, bits, compared, compiled, leaves
from aftercar.timeline import subjects as subject_rows
from aftercar.timeline.schema import conform
from aftercar.timeline.state import HOUR, Record, clock, origin, record
from aftercar.timeline.store import open_timeline
from aftercar.timeline.subjects import subjects

# `measure_first`: the rule holds only if what is not known is so; `missing` says what would settle it.
STATUS = pl.Enum(["option", "measure_first", "blocked", "perhaps_blocked", "not_blocked"])
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
_CHUNK = 250_000  # asked times that are worked on at once

At = datetime | float | None


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
    charted = extended(charted, at)
    result = grade_lazy(charted, scales_named(SCALES), options)
    return advise_graded(charted, result, book, at, every_h, options)


def advise_graded(
    charted: pl.LazyFrame, result: Result, book: RuleBook, at: At, every_h: float | None, options: Options
) -> Advice:
    """Advise where the scales of `facts.SCALES` are graded already, on the timeline as it was `extended`."""
    names = sorted({leaf.fact for leaf in _leaves(book)} | set(GRADES_OF))
    read = codes([*names, *(f"given.{drug}" for drug in counted(book.drugs))])
    wanted = charted.filter(col("code").is_in([*read, *subject_rows.CODES]))
    ends, last, timeline = pl.collect_all([subject_rows.record_ends(charted), _last_charted(charted), wanted])
    timeline = conform(timeline)
    courses = subjects(timeline, options["day0"], ends)
    rec = record(timeline, courses, read, exclude_unknown=options["unknown_attribution"] == "exclude")
    asked = _asked(rec, last, at, every_h)
    facts = Facts(rec, result.grades, book.drugs)
    turned = _at_turns(asked, facts.turns(_leaves(book))) if every_h is not None else asked.with_columns(until="at")
    spells = [_spells(facts, chunk, book, names) for chunk in _chunks(turned)]
    rows = [_answers(spell, facts, book) for spell in spells]
    final = asked.group_by("course", maintain_order=True).last().sort("at")
    given = ledger(rec, final, book.drugs, facts.starts).join(final, on="course")
    left = limits(rec, final, book.drugs, facts.starts)
    state = facts.at(final, names).drop(f"{name}:missing" for name in GRADES_OF)
    return Advice(
        _told(pl.concat([_NOTHING, *rows]), rec, book),
        _dated(given, rec, "last").select(LEDGER),
        _dated(left, rec, "next").select(LIMITS),
        _dated(state, rec).select(*_COURSE, pl.all().exclude(*_COURSE, "place")),
        {"courses": courses.height, "advised": final.height, "not_advised": courses.height - final.height},
    )


def _dated(rows: pl.DataFrame, rec: Record, *columns: str) -> pl.DataFrame:
    """Rows with `time` for `at`, and the times of columns on the axis that are called `NAME_at`; in the order of the subjects."""
    on_axis = ["at", *(f"{name}_at" for name in columns)]
    dated = clock(rows, rec.courses, *on_axis).rename({"at": "time", **{f"{name}_at": name for name in columns}})
    return dated.sort("place", maintain_order=True)


# ---- asked times


def _last_charted(charted: pl.LazyFrame) -> pl.LazyFrame:
    """When anything was charted of each subject: `subject_id, time`, each once."""
    return charted.filter(~col("code").is_in(["record_complete", "birth"])).select("subject_id", "time").unique()


def extended(charted: pl.LazyFrame, at: At) -> pl.LazyFrame:
    """A timeline whose records go on to an asked time, so that what was charted last stands as long as it is valid and no longer."""
    if at is None:
        return charted
    begins = charted.filter(col("code") == "cart_infusion").group_by("subject_id").agg(col("time").min())
    time = lit(at) if isinstance(at, datetime) else col("time") + pl.duration(microseconds=int(at * HOUR) * 1_000_000)
    asked = begins.with_columns(asked=time.cast(pl.Datetime("us"))).filter(col("asked") >= col("time"))
    return pl.concat([charted, asked.select("subject_id", time="asked", code=lit("asked"))], how="diagonal_relaxed")


def _asked(rec: Record, times: pl.DataFrame, at: At, every_h: float | None) -> pl.DataFrame:
    """The asked times, `course, at`, sorted: none before the infusion or after a death."""
    courses = rec.courses.select(
        "course", "subject_id", "base", "last_at", begin=origin(col("base")), death_at=col("base") + col("death").dt.epoch("s")
    )
    if every_h is not None:
        if not every_h > 0:
            raise InputError("The hours between two asked times must be above 0.")
        step = max(int(every_h * HOUR), 1)
        asked = courses.with_columns(at=pl.int_ranges("begin", col("last_at") + 1, step)).explode("at")
    elif isinstance(at, datetime):
        asked = courses.with_columns(at=col("base") + lit(at).dt.epoch("s"))
    elif at is not None:
        asked = courses.with_columns(at=col("begin") + int(at * HOUR))
    else:
        placed = times.join(courses, on="subject_id").with_columns(at=col("base") + col("time").dt.epoch("s"))
        placed = placed.filter(col("at").is_between("begin", "last_at"))
        asked = placed.group_by("course").agg(pl.all().exclude("at").first(), col("at").max())
    own = col("at").is_between("begin", "last_at")
    dead = (col("at") >= col("death_at")).fill_null(False)
    return asked.filter(own & ~dead).select("course", "at").sort("at")


def _at_turns(asked: pl.DataFrame, turns: pl.Series) -> pl.DataFrame:
    """The asked times before which something may have changed, each with the last one before the next: `course, at, until`."""
    passed = turns.search_sorted(asked["at"], side="right")
    new = (
        asked.select((col("course") != col("course").shift(1)) | (lit(passed) != lit(passed).shift(1)))
        .to_series()
        .fill_null(True)
    )
    return asked.filter(new).with_columns(until=asked["at"].filter(new.shift(-1, fill_value=True)))


def _chunks(asked: pl.DataFrame) -> Iterable[pl.DataFrame]:
    """Asked times in parts of whole courses."""
    if asked.height <= _CHUNK:
        return [asked]
    counts = asked.group_by("course", maintain_order=True).len()
    part = counts.select("course", part=(col("len").cum_sum() - 1) // _CHUNK)
    joined_ = asked.join(part, on="course", how="left", maintain_order="left")
    return [p.drop("part") for p in joined_.partition_by("part", maintain_order=True)]


# ---- evaluation


def _leaves(book: RuleBook) -> list[Leaf]:
    return leaves(c for r in book.rules for c in (r.when, r.unless))


def statuses(facts: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    """What each rule says of each row of facts: a column a rule, by its id; null where it says nothing."""
    told = _judged(facts.select(compared(_leaves(book))), book)
    return told.select(col(f"{n}:status").alias(rule.id) for n, rule in enumerate(book.rules))


def _spells(facts: Facts, asked: pl.DataFrame, book: RuleBook, names: list[str]) -> pl.DataFrame:
    """Stretches of asked times in which no comparison and nothing that is missing changes: `course, at, until, sN, pN, NAME:missing`."""
    frame = facts.at(asked, names)
    truth = frame.select("course", "at", *(f"{name}:missing" for name in GRADES_OF), *compared(_leaves(book)))
    states = [c for c in truth.columns if c != "at"]
    changed = pl.any_horizontal(col(c).ne_missing(col(c).shift(1)) for c in states)
    first = truth.select(changed | (pl.int_range(pl.len()) == 0)).to_series()
    return truth.filter(first).with_columns(until=asked["until"].filter(first.shift(-1, fill_value=True)))


def _judged(spells: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    """Add of each rule, by its number, whether it holds surely or perhaps, and its `N:status`. The block list has the last word."""
    place = {leaf: n for n, leaf in enumerate(_leaves(book))}
    spells = spells.with_columns(
        *(_holds(r, place, surely=True).alias(f"{n}:sure") for n, r in enumerate(book.rules)),
        *(_holds(r, place, surely=False).alias(f"{n}:perhaps") for n, r in enumerate(book.rules)),
    )
    return spells.with_columns(_status(n, r, _blocking(r, book)).alias(f"{n}:status") for n, r in enumerate(book.rules))


def _blocking(rule: Rule, book: RuleBook) -> list[int]:
    """The numbers of the rules that may block it."""
    names = {rule.action, *([rule.drug.name] if rule.drug else [])} - {""}
    return [] if rule.blocks else [n for n, other in enumerate(book.rules) if names & set(other.blocks)]


_KEY = ("course", "at", "until", "rule", "status", "reasons", "missing")
_NOTHING = pl.DataFrame(
    schema={
        "course": pl.Int64, "at": pl.Int64, "until": pl.Int64, "rule": pl.Int64, "status": pl.String, "reasons": pl.List(pl.String),
        "missing": pl.List(pl.String),
    }
)  # fmt: skip


def _answers(spells: pl.DataFrame, facts: Facts, book: RuleBook) -> pl.DataFrame:
    """What each rule says of each stretch; consecutive stretches of which it says the same are one row."""
    place = {leaf: n for n, leaf in enumerate(_leaves(book))}
    told, parts = _judged(spells, book), [_NOTHING]
    for n, rule in enumerate(book.rules):
        # What may be missing of it: of its own comparisons, and of those of the rules that may block it.
        asked = [rule, *(book.rules[m] for m in _blocking(rule, book))]
        parts.append(_one(told, n, asked, place, facts))
    return pl.concat(parts)


def _holds(rule: Rule, place: Mapping[Leaf, int], *, surely: bool) -> pl.Expr:
    holds = compiled(rule.when, place, surely=surely)
    if rule.unless is not None:
        holds = holds & ~compiled(rule.unless, place, surely=not surely)
    return holds


def _status(n: int, rule: Rule, blocks: list[int]) -> pl.Expr:
    sure, perhaps = col(f"{n}:sure"), col(f"{n}:perhaps")
    if rule.blocks:
        return pl.when(sure).then(lit("blocked")).when(perhaps).then(lit("perhaps_blocked")).otherwise(lit("not_blocked"))
    blocked = pl.any_horizontal(lit(False), *(col(f"{m}:sure") for m in blocks))
    may_be = pl.any_horizontal(lit(False), *(col(f"{m}:perhaps") for m in blocks))
    return (
        pl.when(~perhaps).then(None).when(blocked).then(lit("blocked")).when(sure & ~may_be).then(lit("option"))
        .otherwise(lit("measure_first"))
    )  # fmt: skip


def _one(spells: pl.DataFrame, n: int, rules: list[Rule], place: Mapping[Leaf, int], facts: Facts) -> pl.DataFrame:
    """The rows of one rule. Of stretches of the same answer the first is kept, with the end of the last."""
    own = list(rules[0].when.leaves())
    asked = list(dict.fromkeys(leaf for r in rules for c in (r.when, r.unless) if c for leaf in c.leaves()))
    lists = [name for name in GRADES_OF if any(leaf.fact == name for leaf in asked)]
    rows = spells.select(
        "course",
        "at",
        "until",
        row=pl.int_range(pl.len()),
        status=f"{n}:status",
        sure=bits([col(f"s{place[leaf]}") for leaf in own]),
        open=bits([col(f"p{place[leaf]}") & ~col(f"s{place[leaf]}") for leaf in asked]),
        **{name: col(f"{name}:missing") for name in lists},
    ).drop_nulls("status")
    # What is missing is told only where it would settle something.
    unsettled = col("status").is_in(["measure_first", "perhaps_blocked"])
    rows = rows.with_columns(pl.when(unsettled).then(c).otherwise(None).alias(c) for c in ("open", *lists))
    same = ["course", "status", "sure", "open", *lists]
    new = pl.any_horizontal(col("row") != col("row").shift(1) + 1, *(col(c).ne_missing(col(c).shift(1)) for c in same))
    rows = rows.with_columns(run=new.fill_null(True).cum_sum())
    rows = rows.group_by("run", maintain_order=True).agg(*(col(c).first() for c in ("at", *same)), col("until").last())
    told = rows.select("sure", "open", *lists).unique(maintain_order=True)
    words = [_words(key, own, asked, lists, facts) for key in told.iter_rows(named=True)]
    told = told.with_columns(
        reasons=pl.Series([w[0] for w in words], dtype=pl.List(pl.String)),
        missing=pl.Series([w[1] for w in words], dtype=pl.List(pl.String)),
    )
    rows = rows.join(told, on=["sure", "open", *lists], how="left", nulls_equal=True, maintain_order="left")
    return rows.with_columns(rule=lit(n, pl.Int64)).select(_KEY).cast(_NOTHING.schema)


def _words(
    key: dict[str, Any], own: list[Leaf], asked: list[Leaf], lists: list[str], facts: Facts
) -> tuple[list[str], list[str]]:
    """The comparisons that hold, and what would settle those that may."""
    reasons = [leaf.text for n, leaf in enumerate(own) if key["sure"] >> n & 1] or ["always"] * (not own)
    missing: list[str] = []
    for n, leaf in enumerate(asked):
        if not (key["open"] or 0) >> n & 1:
            continue
        label = fact(leaf.fact).label
        number = key.get(leaf.fact) if leaf.fact in lists else None
        axes = facts.graded[leaf.fact].lists[number] if number is not None else []
        missing += [f"{label}: {axis}" for axis in axes] or [label]
    return reasons, list(dict.fromkeys(missing))


# ---- the table


def _told(rows: pl.DataFrame, rec: Record, book: RuleBook) -> pl.DataFrame:
    """Answers as the table `ADVICE`, in the order of subjects, times and rules."""
    rows = rows.with_columns(weight_at(rec, rows["at"]))
    rows = rows.join(
        doses.amounts(book.rules, rows), on=["rule", "weight_kg"], how="left", nulls_equal=True, maintain_order="left"
    )
    rows = clock(rows.sort("at", "rule"), rec.courses, "at", "until").rename({"at": "time"}).sort("place", maintain_order=True)
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
