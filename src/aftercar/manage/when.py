"""Conditions of rules: a small tree of comparisons, read from TOML and compiled to Polars expressions in three-valued logic.

Each fact is an interval (`NAME:lo`, `NAME:hi`). A condition holds *surely* where it holds for every value of the intervals, and *perhaps*
where it holds for some. The two differ only where something is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.errors import OptionError, nearest
from aftercar.manage.questions import Choice, questions
from aftercar.manage.vocabulary import Fact, fact

# How a comparison is written: a suffix of the fact's name. Without one: equal to.
COMPARISONS = {"min": "at least", "max": "at most", "over": "above", "under": "below"}


@dataclass(frozen=True)
class Leaf:
    """One comparison of one fact with a number; `is` compares for equality.

    Attributes:
        asks: the question whose answer the number is; empty where the rule itself states it.
    """

    fact: str
    comparison: str
    value: float
    asks: str = ""

    @property
    def sure(self) -> pl.Expr:
        """Whether it holds whatever is not known."""
        lo, hi = col(f"{self.fact}:lo"), col(f"{self.fact}:hi")
        v = self.value
        return {"min": lo >= v, "over": lo > v, "max": hi <= v, "under": hi < v, "is": (lo == v) & (hi == v)}[self.comparison]

    @property
    def perhaps(self) -> pl.Expr:
        """Whether it may hold."""
        lo, hi = col(f"{self.fact}:lo"), col(f"{self.fact}:hi")
        v = self.value
        return {"min": hi >= v, "over": hi > v, "max": lo <= v, "under": lo < v, "is": (lo <= v) & (hi >= v)}[self.comparison]

    @property
    def text(self) -> str:
        """It in words.

        >>> Leaf("crs_h", "min", 72).text
        'CRS without a break at least 72 h'
        """
        what: Fact = fact(self.fact)
        if what.flag:
            return what.label if self.value else f"not: {what.label}"
        none = self.comparison in ("max", "is") and not self.value
        if none and what.label.endswith(" grade"):
            return f"no {what.label.removesuffix(' grade')}"
        if none and what.label.startswith(("rise of", "fall of")):
            return f"no {what.label.partition(',')[0]}"
        chosen = f"({self.asks})" if self.asks else ""
        words = [what.label, COMPARISONS.get(self.comparison, ""), f"{self.value:g}", what.unit, chosen]
        return " ".join(filter(None, words))

    def leaves(self) -> Iterator[Leaf]:
        """Itself."""
        yield self


@dataclass(frozen=True)
class All:
    """Every part holds; without parts it always does."""

    parts: tuple[Condition, ...]

    @property
    def text(self) -> str:
        """It in words."""
        return " and ".join(p.text for p in self.parts) or "always"

    def leaves(self) -> Iterator[Leaf]:
        """The comparisons in it."""
        for part in self.parts:
            yield from part.leaves()


@dataclass(frozen=True)
class Any_:
    """At least one part holds."""

    parts: tuple[Condition, ...]

    @property
    def text(self) -> str:
        """It in words."""
        return "(" + " or ".join(p.text for p in self.parts) + ")"

    def leaves(self) -> Iterator[Leaf]:
        """The comparisons in it."""
        for part in self.parts:
            yield from part.leaves()


Condition = Leaf | All | Any_


def parse(told: object) -> Condition:
    """A condition out of a TOML table: `FACT_min = 2` and the like hold together; `any = [{...}, {...}]` asks for one of several.

    Instead of a number a question may be named, `crs_h_min = "g1_toci_after_h"`: its first value stands until another is `chosen`.

    Raises:
        OptionError: what in it is not known, and what is allowed.

    >>> parse({"crs_min": 2, "any": [{"icans": 0}, {"given.tocilizumab_min": 1}]}).text
    'CRS grade at least 2 and (no ICANS or doses of tocilizumab so far at least 1)'
    """
    if not isinstance(told, Mapping):
        raise OptionError("it must be a table, such as { crs_min = 2 }.")
    parts: list[Condition] = []
    for key, value in _flat(told):
        if key == "any":
            if not isinstance(value, list) or not value:
                raise OptionError("`any` takes a list of tables, such as [{ crs_min = 2 }, { icans_min = 2 }].")
            parts.append(Any_(tuple(parse(v) for v in value)))
        else:
            parts.append(_leaf(key, value))
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _flat(told: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """`given.tocilizumab_min = 1` is a table in a table for TOML."""
    for key, value in told.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _leaf(key: str, value: object) -> Leaf:
    name, comparison = key, "is"
    for suffix in COMPARISONS:
        if key.endswith(f"_{suffix}"):
            name, comparison = key[: -len(suffix) - 1], suffix
    what = fact(name)
    if what.flag:
        if comparison != "is" or not isinstance(value, bool):
            raise OptionError(f"{name} is yes or no: {name} = true, or = false.")
    elif isinstance(value, str):
        values = {q.name: q.values[0] for q in questions().values() if q.values}
        if value not in values:
            raise OptionError(
                f"{key} is compared with a number, or with the answer to a question. {nearest(value, values)}".strip()
            )
        return Leaf(name, comparison, values[value], value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise OptionError(f"{key} is compared with a number.")
    return Leaf(name, comparison, float(value))


def chosen(condition: Condition, choices: Mapping[str, Choice]) -> Condition:
    """A condition with the numbers that were chosen for the questions that it asks."""
    if not isinstance(condition, Leaf):
        return replace(condition, parts=tuple(chosen(p, choices) for p in condition.parts))
    return replace(condition, value=float(choices[condition.asks]), asks="") if condition.asks else condition


def compiled(condition: Condition, place: Mapping[Leaf, int], *, surely: bool) -> pl.Expr:
    """A condition on a frame that holds each leaf as a column `sN` (surely) and `pN` (perhaps), N its place."""
    if isinstance(condition, Leaf):
        return col(f"{'s' if surely else 'p'}{place[condition]}")
    parts = [compiled(p, place, surely=surely) for p in condition.parts]
    if isinstance(condition, Any_):
        return pl.any_horizontal(parts)
    return pl.all_horizontal(parts) if parts else lit(True)


def leaves(conditions: Iterable[Condition | None]) -> list[Leaf]:
    """The comparisons of some conditions, each once."""
    return list(dict.fromkeys(leaf for c in conditions if c is not None for leaf in c.leaves()))


def compared(leaves: Sequence[Leaf]) -> list[pl.Expr]:
    """Each comparison on a frame of facts (`NAME:lo`, `NAME:hi`): columns `sN`, it holds surely, and `pN`, it may hold."""
    sure = (leaf.sure.alias(f"s{n}") for n, leaf in enumerate(leaves))
    return [*sure, *(leaf.perhaps.alias(f"p{n}") for n, leaf in enumerate(leaves))]


def bits(flags: Sequence[pl.Expr]) -> pl.Expr:
    """Flags as one number, by which rows that say the same are found."""
    return pl.sum_horizontal(lit(0, pl.Int64), *(f.cast(pl.Int64) * (1 << n) for n, f in enumerate(flags)))
