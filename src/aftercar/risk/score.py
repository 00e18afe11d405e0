"""The machinery of a risk score, written once: inputs in; bounds of the value, group and the rows behind it out.

An input that was not measured is unknown. Of a table of points the value then lies between the least and the most points of that item; a
formula has no value. No input is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.errors import many
from aftercar.risk.inputs import Input, Window
from aftercar.risk.options import Options

# refused: an input that no ratio can be taken of; not_computed: what the score needs was not published.
STATUS = pl.Enum(["scored", "incomplete", "refused", "not_applicable", "not_computed"])
SCORES: dict[str, Any] = {
    "subject_id": None,  # as in the timeline
    "infusion": pl.Int32,
    "score": pl.String,
    "window": pl.String,
    "value": pl.Float64,
    "value_upper": pl.Float64,
    "log2": pl.Float64,
    "group": pl.String,
    "group_lower": pl.String,
    "group_upper": pl.String,
    "status": STATUS,
    "criteria": pl.List(pl.String),
    "missing": pl.List(pl.String),
    "flags": pl.List(pl.String),
    "evidence": pl.List(pl.Int64),
    "published": pl.String,
    "rules": pl.String,
    "options": pl.String,
}
INPUTS: dict[str, Any] = {
    "subject_id": None,
    "infusion": pl.Int32,
    "score": pl.String,
    "window": pl.String,
    "input": pl.String,
    "value": pl.Float64,
    "charted_as": pl.String,
    "unit": pl.String,
    "time": pl.Datetime("us"),
    "day": pl.Int32,
    "event_id": pl.Int64,
}


@dataclass(frozen=True)
class Finding:
    """What a study reported of a score; `mark` as everywhere: V checked against a source, M from memory, M? to be checked."""

    text: str
    source: str
    mark: str = "V"

    def __str__(self) -> str:
        return f"{self.text} [{self.source}]" + ("" if self.mark == "V" else f" [{self.mark}]")


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell of a table of points: met, unmet or unknown (null)."""

    points: int
    text: str
    when: pl.Expr


@dataclass(frozen=True, eq=False)
class Item:
    """One line of a table of points: where all is known exactly one cell is met."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, eq=False)
class Value:
    """A value as expressions over the inputs: its bounds, null where there are none; what is unknown, by name; and in words what gave it."""

    lower: pl.Expr
    upper: pl.Expr
    unknown: dict[str, pl.Expr]
    criteria: tuple[pl.Expr, ...] = ()


Groups = tuple[tuple[float, str], ...]


@dataclass(frozen=True, eq=False)
class Score:
    """A published score.

    Attributes:
        predicts: what a high value foretells.
        population: in whom it was built.
        windows: the times at which it is taken; the first is its own.
        value: how the inputs give a value; `unpublished` says instead why there is none.
        groups: from which value on a group begins, lowest first; a score without a published cut has none.
        above: whether a group begins only above its number.
        cut: from which value on a risk is called high, where a paper says so.
        open_group: a word for a group that is open, where the paper has one.
        applies: whether the score is for this subject at all.
        refused: by flag, inputs that no ratio or logarithm can be taken of.
        flags: warnings, by name.
        ratio: whether its logarithm is told too.
        beside: concepts that flags read.
        findings: published performance, told beside every value.
    """

    name: str
    title: str
    predicts: str
    population: str
    source: str
    version: str
    findings: tuple[Finding, ...] = ()
    inputs: tuple[Input, ...] = ()
    windows: tuple[Window, ...] = ()
    value: Callable[[Options], Value] | None = None
    unpublished: str = ""
    groups: Callable[[Options], Groups] = lambda _: ()
    above: bool = False
    cut: float | None = None
    open_group: tuple[pl.Expr, str] | None = None
    applies: Callable[[Options], pl.Expr] = lambda _: lit(True)
    refused: dict[str, pl.Expr] | None = None
    flags: dict[str, pl.Expr] | None = None
    ratio: bool = False
    beside: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    mark: str = "V"

    @property
    def rules(self) -> str:
        """Name and version, as results carry them."""
        return f"{self.name}@{self.version}"

    @property
    def codes(self) -> set[str]:
        """Concepts that it reads."""
        return {*(i.code for i in self.inputs), *self.beside}

    @property
    def published(self) -> str:
        """What it foretells, in whom it was built, and how it did there, in one line."""
        return "; ".join([self.predicts, f"built in {self.population}", *map(str, self.findings)])


def points(items: tuple[Item, ...]) -> Value:
    """A table of points: a known item gives the points of its cell, an unknown one between its least and most."""

    def total(unknown: Callable[..., int]) -> pl.Expr:
        each = (
            pl.coalesce(*(pl.when(c.when).then(lit(c.points)) for c in item.cells), lit(unknown(c.points for c in item.cells)))
            for item in items
        )
        return pl.sum_horizontal(each).cast(pl.Float64)

    def words(item: Item) -> pl.Expr:
        return pl.coalesce(pl.when(c.when).then(lit(f"{c.text}: {many(c.points, 'point')}")) for c in item.cells)

    unknown = {item.name: pl.all_horizontal(c.when.is_null() for c in item.cells) for item in items}
    return Value(total(min), total(max), unknown, tuple(words(item) for item in items))


def all_of(conditions: dict[str, tuple[str, pl.Expr]]) -> Value:
    """A rule that predicts (1) where all conditions hold, and not (0) where one surely does not; by name their words and themselves."""
    both = pl.all_horizontal(when for _, when in conditions.values())  # null where one is unknown and none is false
    words = (
        pl.when(when).then(lit(text)).when(~when).then(lit(f"not: {text}")).otherwise(lit(None, pl.String))
        for text, when in conditions.values()
    )
    unknown = {name: when.is_null() for name, (_, when) in conditions.items()}
    return Value(both.fill_null(False).cast(pl.Float64), both.fill_null(True).cast(pl.Float64), unknown, tuple(words))


def count_of(features: dict[str, pl.Expr]) -> Value:
    """How many features are there, at least and at most."""
    low, up = (pl.sum_horizontal(f.fill_null(u).cast(pl.Float64) for f in features.values()) for u in (False, True))
    words = tuple(pl.when(f.fill_null(False)).then(lit(text)) for text, f in features.items())
    return Value(low, up, {text: f.is_null() for text, f in features.items()}, words)


def exactly(value: pl.Expr, *names: str) -> Value:
    """A formula of these inputs: a value, or none where one is unknown."""
    return Value(value, value, {name: col(name).is_null() for name in names})


def at_least(name: str, cut: float, *, above: bool = False) -> pl.Expr:
    """Whether the highest of an input reaches a cut (or lies above it); unknown where nothing was charted, or a higher value may have gone unseen."""
    value = col(name)
    met = value > cut if above else value >= cut
    return pl.when(met).then(True).when(col(f"{name}_whole") & ~met).then(False)


def score_rows(drawn: pl.DataFrame, score: Score, window: Window, options: Options) -> pl.DataFrame:
    """Score every course.

    Args:
        drawn: `subject_id, infusion, course, day0` and the columns that the inputs and flags read, a row a course.
    Returns:
        the columns of `SCORES`.
    """
    assert score.value is not None
    value = score.value(options)
    applies = score.applies(options).fill_null(True) & col("day0").is_not_null()
    refused = score.refused or {}
    usable = applies & ~pl.any_horizontal(lit(False), *(r.fill_null(False) for r in refused.values()))
    flags = {**refused, **(score.flags or {})}
    groups = score.groups(options)
    ids = [pl.when("_applies").then(f"{i.name}_event_id") for i in score.inputs]
    rows = drawn.lazy().with_columns(
        _usable=usable,
        _value=pl.when(usable).then(value.lower.cast(pl.Float64)),
        _upper=pl.when(usable).then(value.upper.cast(pl.Float64)),
    )
    rows = rows.with_columns(
        _applies=applies,
        _open=usable & (col("_value").ne_missing(col("_upper")) | col("_value").is_null()),
        _lower_group=_group(col("_value"), groups, above=score.above),
        _upper_group=_group(col("_upper"), groups, above=score.above),
    )
    settled = pl.when(col("_lower_group") == col("_upper_group")).then("_lower_group")
    if score.open_group:
        there, word = score.open_group
        settled = settled.fill_null(pl.when(col("_open") & there).then(lit(word)))
    return rows.select(
        "subject_id",
        "infusion",
        score=lit(score.name),
        window=lit(window.name),
        value="_value",
        value_upper="_upper",
        log2=col("_value").log(2) if score.ratio else lit(None, pl.Float64),
        group=settled,
        group_lower="_lower_group",
        group_upper="_upper_group",
        status=pl.when(~col("_applies")).then(lit("not_applicable"))
        .when(~col("_usable")).then(lit("refused"))
        .when(col("_open")).then(lit("incomplete"))
        .otherwise(lit("scored"))
        .cast(STATUS),
        criteria=_texts([pl.when("_usable").then(words) for words in value.criteria]),
        missing=_texts([pl.when(col("_open") & unknown).then(lit(name)) for name, unknown in value.unknown.items()]),
        flags=_texts([pl.when(when.fill_null(False) & col("day0").is_not_null()).then(lit(name)) for name, when in flags.items()]),
        evidence=pl.concat_arr(ids).arr.to_list().list.drop_nulls() if ids else lit([], pl.List(pl.Int64)),
        published=lit(score.published),
        rules=lit(score.rules),
        options=lit(json.dumps(options.used_by(score.options))),
    ).select(SCORES.keys()).collect()  # fmt: skip


def _texts(each: list[pl.Expr]) -> pl.Expr:
    # Lists that are filtered out of arrays cost a tenth of lists that are built row by row.
    return pl.concat_arr(each).arr.to_list().list.drop_nulls() if each else lit([], pl.List(pl.String))


def _group(value: pl.Expr, groups: Groups, *, above: bool) -> pl.Expr:
    """The group of a value; null without one."""
    if not groups:
        return lit(None, pl.String)
    found = pl.when(value.is_not_null()).then(lit(groups[0][1]))
    for start, name in groups[1:]:
        found = pl.when(value > start if above else value >= start).then(lit(name)).otherwise(found)
    return found


def input_rows(drawn: pl.DataFrame, score: Score, window: Window) -> list[pl.DataFrame]:
    """A table an input, of a row a course, with the columns of `INPUTS`; null where nothing was charted."""
    return [
        drawn.select(
            "subject_id",
            "infusion",
            score=lit(score.name),
            window=lit((i.window or window).name),
            input=lit(i.name),
            value=col(i.name),
            charted_as=pl.when(col(f"{i.name}_limit") < 0).then(lit("<")).when(col(f"{i.name}_limit") > 0).then(lit(">")),
            unit=lit(i.unit),
            time=col(f"{i.name}_time"),
            day=col(f"{i.name}_day"),
            event_id=col(f"{i.name}_event_id"),
        )
        for i in score.inputs
    ]


def no_inputs(courses: pl.DataFrame) -> pl.DataFrame:
    """The table of inputs without a row."""
    return courses.select("subject_id", **{name: lit(None, dtype) for name, dtype in INPUTS.items() if dtype is not None}).clear()


def slot_rows(courses: pl.DataFrame, score: Score) -> pl.DataFrame:
    """A row a course for a score that cannot be computed: no value, and why."""
    blank = {name: lit(None, dtype) for name, dtype in SCORES.items() if dtype is not None}
    none = lit([], pl.List(pl.String))
    return courses.select(
        "subject_id",
        **blank
        | {
            "infusion": col("infusion"),
            "score": lit(score.name),
            "window": lit(""),
            "status": lit("not_computed", STATUS),
            "criteria": none,
            "missing": none,
            "flags": none,
            "evidence": lit([], pl.List(pl.Int64)),
            "published": lit(score.unpublished),
            "rules": lit(score.rules),
            "options": lit("{}"),
        },
    ).select(SCORES.keys())
