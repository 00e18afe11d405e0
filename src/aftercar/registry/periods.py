"""Reporting periods: to day 100, to 6 months, then to each anniversary of the infusion; another infusion or death ends one early."""

from __future__ import annotations

import re
from collections.abc import Iterable

import polars as pl
from polars import col, lit

from aftercar.errors import OptionError

FIRST = "day100"
FIRST_D = 100  # the last day of the first period
MOST_Y = 15  # the registries follow up for so long
ALL = "all"
NAMES = (FIRST, "month6", *(f"year{n}" for n in range(1, MOST_Y + 1)))


def periods_named(names: Iterable[str] | None, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Periods in order, of the kinds that a form asks about (`first`, `later`); without names the first of them, and with `all` all.

    Raises:
        OptionError: no such period, or not one of this form.
    """
    own = [n for n in NAMES if kind_of(n) in kinds]
    asked = list(names or own[:1])
    if ALL in asked:
        return tuple(own)
    for name in asked:
        if name not in own:
            raise OptionError(
                f"This form has no period {name!r}. Its periods are {', '.join(own[:3])} ... {own[-1]}; {ALL} stands for all."
                if len(own) > 1
                else f"This form has no period {name!r}, only {own[0]}."
            )
    return tuple(n for n in own if n in asked)


def kind_of(name: str) -> str:
    """`first` or `later`."""
    return "first" if name == FIRST else "later"


def last_day(name: str, day0: pl.Expr) -> pl.Expr:
    """The last day of a period, as a date; of months the same day of the month, or the last that there is."""
    date = day0.dt.date()
    if name == FIRST:
        return date + pl.duration(days=FIRST_D)
    months = 6 if name == "month6" else 12 * int(re.sub(r"\D", "", name))
    return date.dt.offset_by(f"{months}mo")


def cases(courses: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """A row a course and period, in the order of subjects, infusions and periods.

    Args:
        courses: of `subjects`, with `place` (its row), and where there is an infusion `course`, `base`, `last_at`.
    Returns:
        the columns of `courses`, `case` (row number), `period`, `kind`, `opened` and `closes` (dates, both within), `from_at` and `to_at` on the axis of
        the record (the second just behind the period, or behind what ended it), `whole` (the record reaches the end of the period, or the course ended before), and
        `skipped`: why there is nothing to report; null where there is.
    """
    parts = []
    for n, name in enumerate(names):
        before = NAMES[NAMES.index(name) - 1] if name != FIRST else None
        opened = col("day0").dt.date() if before is None else last_day(before, col("day0")) + pl.duration(days=1)
        part = courses.with_columns(
            period=lit(name), kind=lit(kind_of(name)), rank=lit(n), opened=opened, closes=last_day(name, col("day0"))
        )
        parts.append(part)
    found = pl.concat(parts).sort("place", "rank").drop("rank").with_row_index("case")
    midnight = [(col(c).cast(pl.Datetime("us")).dt.epoch("s") + col("base")) for c in ("opened", "closes")]
    behind = midnight[1] + 86_400
    found = found.with_columns(
        from_at=pl.when(col("kind") == "first").then(col("base") + col("opens").dt.epoch("s")).otherwise(midnight[0]),
        to_at=pl.min_horizontal(behind, col("last_at") + 1),
    )
    over = pl.any_horizontal(col("death").is_not_null(), col("until").is_not_null())
    early = col("to_at") < behind
    skipped = (
        pl.when(col("day0").is_null()).then(lit("no infusion is charted: there is no day 0"))
        .when(col("from_at") > col("last_at"))
        .then(
            pl.when(col("death").is_not_null()).then(lit("the patient died before this period"))
            .when(col("until").is_not_null()).then(lit("another infusion came before this period"))
            .otherwise(lit("the record ends before this period"))
        )
    )  # fmt: skip
    # The last day itself is reached where anything was charted on it.
    return found.with_columns(whole=(~early | over | (col("last_at") >= midnight[1])), skipped=skipped)
