"""Alerts: a rule begins to say something of a patient. What is said on and on is one alert; a repeat soon after it is not shown again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.manage.rules import Rule
from aftercar.manage.spoken import STATUS, blocking
from aftercar.timeline.state import ZERO, origin

KINDS = ("option", "measure_first", "blocked")  # by what the rule says
_STRETCH = 2 * ZERO  # seconds of one course's stretch of an axis; no course is longer than half of it


def possible(rule: Rule, rules: tuple[Rule, ...]) -> list[str]:
    """The kinds of alert that a rule can give at all: the block list offers nothing, and not every rule can be blocked."""
    never = "option" if rule.blocks else None if blocking(rule, rules) else "blocked"
    return [kind for kind in KINDS if kind != never]


def kinds(told: pl.DataFrame, rules: tuple[Rule, ...], chosen: Sequence[int]) -> pl.DataFrame:
    """Of `spoken.stretches` what kind of alert each chosen rule gives: `course, at, until` and a column a rule, by its number; null: none."""

    def kind(n: int) -> pl.Expr:
        says = col(f"{n}:status")
        if rules[n].blocks:  # one of the block list that may hold asks for a measurement, like any other
            may_be = pl.when(says == "perhaps_blocked").then(lit("measure_first", STATUS))
            says = pl.when(says == "blocked").then(says).otherwise(may_be)
        return says.alias(str(n))

    return told.select("course", "at", "until", *(kind(n) for n in chosen))


_ONSETS: dict[str, Any] = {"rule": pl.Int64, "course": pl.Int64, "at": pl.Int64, "status": STATUS}


def onsets(spoken: pl.DataFrame) -> pl.DataFrame:
    """When each rule begins to give each kind of alert, out of `kinds`: `rule, course, at, status`.

    What was an option and now has to be measured first says less of the same: it is no alert.
    """
    same = col("course") == col("course").shift(1)

    def begins(rule: str) -> pl.Expr:
        now, before = col(rule), pl.when(same).then(col(rule).shift(1))
        less = ((now == "measure_first") & (before == "option")).fill_null(False)
        return pl.struct("course", "at", status=now).filter(now.is_not_null() & now.ne_missing(before) & ~less)

    # A list a rule, in one pass: a query a rule costs twice as much.
    lists = spoken.select(begins(rule).implode().alias(rule) for rule in spoken.columns[3:])
    rows = lists.unpivot(variable_name="rule", value_name="onset").explode("onset").drop_nulls("onset")
    if rows.is_empty():
        return pl.DataFrame(schema=_ONSETS)
    return rows.unnest("onset").select(col(c).cast(t) for c, t in _ONSETS.items())


def times_said(spoken: pl.DataFrame, step: int) -> pl.DataFrame:
    """At how many asked times, `step` seconds apart, each rule says what, out of `kinds`: `rule, status, asked`."""
    times = (col("until") - col("at")) // step + 1
    pairs = [(rule, kind) for rule in spoken.columns[3:] for kind in KINDS]
    sums = spoken.select(times.filter(col(rule) == kind).sum().alias(f"{rule}:{kind}") for rule, kind in pairs)
    rows = {
        "rule": [int(rule) for rule, _ in pairs],
        "status": [kind for _, kind in pairs],
        "asked": sums.row(0) if pairs else [],
    }
    return pl.DataFrame(rows, schema={"rule": pl.Int64, "status": STATUS, "asked": pl.Int64})


def suppressed(rows: pl.DataFrame, within: int) -> pl.DataFrame:
    """`onsets` with `suppressed`: whether the same alert was shown in this course less than so many seconds before."""
    # Each rule, kind and course has a stretch of its own on one axis, as courses have on theirs.
    key = pl.struct("course", "rule", "status").rank("dense").cast(pl.Int64)
    rows = rows.with_columns(axis=key * _STRETCH + col("at") - origin(col("at"))).sort("axis")
    axis = rows["axis"]
    # The next of the same that comes late enough to be shown, if this one is.
    places = axis.search_sorted(axis + max(within, 1)).cast(pl.Int64)
    places = pl.select(pl.when(places < rows.height).then(places)).to_series()
    following = places.set((axis.gather(places) // _STRETCH).ne_missing(axis // _STRETCH), None)
    first = (axis // _STRETCH != axis.shift(1) // _STRETCH).fill_null(True)
    shown, row = pl.repeat(False, rows.height, eager=True), first.arg_true()
    while row.len():  # the first of each, then the next of each, and so on: all courses go on together
        shown = shown.scatter(row, True)
        row = following.gather(row).drop_nulls()
    return rows.drop("axis").with_columns(suppressed=~shown)
