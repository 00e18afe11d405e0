"""What rules say at asked times: every comparison, then every rule; the block list has the last word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import polars as pl
from polars import col, lit

from aftercar.manage.asked import Asked, comparisons
from aftercar.manage.facts import GRADES_OF
from aftercar.manage.rules import Rule, RuleBook
from aftercar.manage.when import Leaf, compared, compiled, leaves

# `measure_first`: the rule holds only if what is not known is so; `missing` says what would settle it.
STATUS = pl.Enum(["option", "measure_first", "blocked", "perhaps_blocked", "not_blocked"])
_SAYS = {word: lit(word, STATUS) for word in STATUS.categories}
_CHUNK = 250_000  # asked times that are worked on at once


def blocking(rule: Rule, rules: tuple[Rule, ...]) -> list[int]:
    """The numbers of the rules that may block it."""
    names = {rule.action, *([rule.drug.name] if rule.drug else [])} - {""}
    return [] if rule.blocks else [n for n, other in enumerate(rules) if names & set(other.blocks)]


def statuses(facts: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    """What each rule says of each row of facts: a column a rule, by its id; null where it says nothing."""
    told = _judged(facts.select(compared(comparisons(book))), book)
    return told.select(col(f"{n}:status").alias(rule.id) for n, rule in enumerate(book.rules))


def stretches(asked: Asked, book: RuleBook) -> Iterator[pl.DataFrame]:
    """Stretches of asked times in which no comparison and nothing that is missing changes, in parts of whole courses.

    Returns:
        `course, at, until`, of each comparison `sN`, it holds surely, and `pN`, it may hold, of each graded fact `NAME:missing`, and of each rule, by its
        number, `N:status`, null where it says nothing. Sorted; the stretches of a course follow each other without a gap.
    """
    for times in _chunks(asked.times):
        frame = asked.facts.at(times, asked.names)
        truth = frame.select("course", "at", *(f"{name}:missing" for name in GRADES_OF), *_plan(book.rules).compared)
        changed = pl.any_horizontal(col(c).ne_missing(col(c).shift(1)) for c in truth.columns if c != "at")
        first = truth.select(changed | (pl.int_range(pl.len()) == 0)).to_series()
        spells = truth.filter(first).with_columns(until=times["until"].filter(first.shift(-1, fill_value=True)))
        yield _judged(spells, book)


def _chunks(asked: pl.DataFrame) -> Iterable[pl.DataFrame]:
    """Asked times in parts of whole courses."""
    if asked.height <= _CHUNK:
        return [asked]
    counts = asked.group_by("course", maintain_order=True).len()
    part = counts.select("course", part=(col("len").cum_sum() - 1) // _CHUNK)
    parted = asked.join(part, on="course", how="left", maintain_order="left")
    return [p.drop("part") for p in parted.partition_by("part", maintain_order=True)]


def _judged(spells: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    """Add of each rule, by its number, whether it holds surely or perhaps, and its `N:status`."""
    plan = _plan(book.rules)
    return spells.with_columns(plan.holds).with_columns(plan.statuses)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is asked of facts: expressions made once, for all shards."""

    compared: list[pl.Expr]
    holds: list[pl.Expr]
    statuses: list[pl.Expr]


@lru_cache(maxsize=16)
def _plan(rules: tuple[Rule, ...]) -> _Plan:
    every = leaves(c for r in rules for c in (r.when, r.unless))
    place = {leaf: n for n, leaf in enumerate(every)}
    ways = {"sure": True, "perhaps": False}
    return _Plan(
        compared(every),
        [_holds(r, place, surely=surely).alias(f"{n}:{way}") for way, surely in ways.items() for n, r in enumerate(rules)],
        [_status(n, r, blocking(r, rules)).alias(f"{n}:status") for n, r in enumerate(rules)],
    )


def _holds(rule: Rule, place: Mapping[Leaf, int], *, surely: bool) -> pl.Expr:
    holds = compiled(rule.when, place, surely=surely)
    if rule.unless is not None:
        holds = holds & ~compiled(rule.unless, place, surely=not surely)
    return holds


def _status(n: int, rule: Rule, blocks: list[int]) -> pl.Expr:
    sure, perhaps = col(f"{n}:sure"), col(f"{n}:perhaps")
    if rule.blocks:
        return pl.when(sure).then(_SAYS["blocked"]).when(perhaps).then(_SAYS["perhaps_blocked"]).otherwise(_SAYS["not_blocked"])
    blocked = pl.any_horizontal(lit(False), *(col(f"{m}:sure") for m in blocks))
    may_be = pl.any_horizontal(lit(False), *(col(f"{m}:perhaps") for m in blocks))
    return (
        pl.when(~perhaps).then(None).when(blocked).then(_SAYS["blocked"]).when(sure & ~may_be).then(_SAYS["option"])
        .otherwise(_SAYS["measure_first"])
    )  # fmt: skip
