"""What held within the last hours: features that need not be measured at the same minute to be there together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

import polars as pl
from polars import col, lit

from aftercar.grade import ctcae
from aftercar.grade.findings import covered, longest
from aftercar.grade.options import Options
from aftercar.timeline.concepts import of_group
from aftercar.timeline.state import HOUR, SPAN, Record, elsewhere, grid, look_at, readings

_LIFELONG = ("hlh_gene", "immunosuppression")  # may be known before the infusion


@dataclass(frozen=True, eq=False)
class _Read:
    """Rows that features are read from: until when each counts, whether they are drawn for it, and which of them meet each feature."""

    rows: pl.DataFrame | pl.LazyFrame
    until: pl.Expr
    drawn: bool
    met: dict[str, pl.Expr] = field(default_factory=dict)


class Lookback:
    """Features of a record, gathered first and put on one grid at the end.

    Each feature becomes the columns `<name>` (true, false, or null: unknown) and `<name>_event_id`, the last row that meets it.
    """

    def __init__(self, record: Record, options: Options) -> None:
        """Begin with no feature."""
        self.record, self.options = record, options
        self._until = col("at") + int(float(options["iechs_window_h"]) * HOUR) + 1  # the last instant included
        self._reads: dict[object, _Read] = {}
        self._organs: set[str] = set()

    def values(self, code: str) -> pl.DataFrame:
        """Values of a concept from day 0 on: `at, value, event_id, excluded`."""
        return ctcae.values(self.record, code)

    def within(self, name: str, rows: pl.DataFrame | pl.LazyFrame, met: pl.Expr, *, drawn: bool = True) -> None:
        """A feature that holds if a row of the window meets it; rows with `excluded` are values that do not."""
        self._within(name, rows, _unless_excluded(met), drawn=drawn)

    def value(self, name: str, code: str, met: Callable[[pl.Expr], pl.Expr], *, drawn: bool = True) -> None:
        """A feature of the values of one concept."""
        self.within(name, self.values(code), met(col("value")), drawn=drawn)

    def graded(self, name: str, code: str, grade: int, *, whole: bool = True) -> None:
        """An analyte of at least a CTCAE grade. Where the organ record is complete, an organ item that was not charted is not there.

        Args:
            whole: whether a baseline that is not recorded was normal; else what depends on it is unknown.
        """
        low, up = (f"{side}_whole" if whole else side for side in ("low", "up"))
        met = pl.when(col(low) >= grade).then(True).when(col(up) < grade).then(False)
        self._within(name, ctcae.graded(self.record, code, self.options), met)
        if code in ctcae.ORGAN:
            self._organs.add(name)

    def stands(self, name: str, met: Callable[[pl.Expr], pl.Expr] = lambda v: v == 1) -> None:
        """A feature that stands until charted otherwise."""
        rows = readings(self.record, name) if name in _LIFELONG else self.values(name)
        until = pl.min_horizontal("until", col("at").shift(-1))
        self._reads[name] = _Read(rows, until, True, {name: _unless_excluded(met(col("value")))})

    def frame(self, extra: Mapping[str, pl.DataFrame] | None = None) -> pl.LazyFrame:
        """`course, at, last_at, observed` and the features; `extra` tables are looked at as they are."""
        extra = dict(extra or {}) | ({"organ": covered(self.record, "organ")} if self._organs else {})
        reads = self._reads.values()
        queries = [read.rows.lazy().select("at", "event_id", until=read.until, **read.met) for read in reads]
        tables = pl.collect_all(queries, engine="in-memory")
        lasts, spans, drawn, features = [], [], [_NONE], {}
        for n, (read, rows) in enumerate(zip(reads, tables, strict=True)):
            kinds = _kinds(rows, read.met, f"_known{n}")
            spans += [(rows["at"].filter(mask), rows["until"].filter(mask)) for mask in kinds.values()]
            drawn += [rows["at"]] if read.drawn else []
            last = {kind: pl.when(mask).then("until").forward_fill() for kind, mask in kinds.items()}
            for name in read.met:
                features |= self._feature(name, set(kinds), f"_known{n}")
                if f"{name}_yes" in kinds:
                    # What stands behind a feature is a row of the window, not the first of its stretch.
                    last[f"{name}_event_id"] = pl.when(name).then("event_id").forward_fill()
            if kinds:
                lasts.append(rows.lazy().select(col("at").set_sorted(), **last))
        charted = pl.concat(drawn).unique()
        times = pl.concat([charted, self._turns(spans)])
        frame = grid(self.record, pl.DataFrame({"at": times, "until": times}), *extra.values()).lazy()
        for table in lasts:
            frame = frame.join_asof(table, on="at", strategy="backward", coalesce=True)
        beside = [f"{name}_{c}" for name, table in extra.items() for c in table.columns if c != "until"]
        observed = col("at").is_in(charted.implode())
        return look_at(frame, extra).select("course", "at", "last_at", *beside, observed=observed, **features)

    def _within(self, name: str, rows: pl.DataFrame | pl.LazyFrame, met: pl.Expr, *, drawn: bool = True) -> None:
        self._reads.setdefault(id(rows), _Read(rows, self._until, drawn)).met[name] = met

    def _feature(self, name: str, kinds: set[str], known: str) -> dict[str, pl.Expr]:
        """A feature and the row behind it, on a frame that tells until when the last row of each kind counts."""

        def held(kind: str) -> pl.Expr:
            return col(kind) > col("at") if kind in kinds else lit(False)

        yes, unsure = held(f"{name}_yes"), held(f"{name}_open")
        no = held(known) | (col("organ_at").is_not_null() if name in self._organs else lit(False))
        event_id = pl.when(yes).then(f"{name}_event_id") if f"{name}_yes" in kinds else lit(None, pl.Int64)
        return {name: pl.when(yes).then(True).when(unsure).then(None).when(no).then(False), f"{name}_event_id": event_id}

    def _turns(self, spans: list[tuple[pl.Series, pl.Series]]) -> pl.Series:
        """When the spans of each kind begin and end; those that overlap or touch are one."""
        # Each kind has a stretch of the axis of its own, so that all go on together.
        stretch = max(self.record.courses.height, 1) * SPAN
        at, until = (pl.concat([_NONE, *(s[side] + n * stretch for n, s in enumerate(spans))]) for side in (0, 1))
        begins = (col("at") > col("until").shift(1)).fill_null(True)
        ends = (col("until") < col("at").shift(-1)).fill_null(True)
        turns = col("at").filter(begins).append(col("until").filter(ends)) % stretch
        return pl.DataFrame({"at": at, "until": until}).select(turns).to_series()


_NONE = pl.Series([], dtype=pl.Int64)


def _unless_excluded(met: pl.Expr) -> pl.Expr:
    return pl.when(~col("excluded")).then(met).otherwise(False)


def _kinds(rows: pl.DataFrame, features: Iterable[str], known: str) -> dict[str, pl.Series]:
    """Which rows meet a feature (`_yes`), which leave it open (`_open`), and all; what never occurs needs no look."""
    if rows.is_empty():
        return {}
    kinds = {known: pl.Series([True]).new_from_index(0, rows.height)}
    for name in features:
        if rows[name].any():
            kinds[f"{name}_yes"] = rows[name]
        if rows[name].null_count():
            kinds[f"{name}_open"] = rows[name].is_null()
    return kinds


def count(names: tuple[str, ...]) -> tuple[pl.Expr, pl.Expr]:
    """How many of some features hold, surely and at most."""
    sure = pl.sum_horizontal(col(n).fill_null(False).cast(pl.Int32) for n in names)
    most = pl.sum_horizontal(col(n).fill_null(True).cast(pl.Int32) for n in names)
    return sure, most


def either(*features: str) -> pl.Expr:
    """Whether one of some features holds: unknown where none is known to and one may."""
    return reduce(or_, (col(f) for f in features))


def lately(record: Record, codes: Iterable[str], until: pl.Expr, *conditions: pl.Expr) -> pl.DataFrame:
    """When one of some drugs or events was given lately: `at, until, event_id`, from each time on the row that counts longest.

    Args:
        until: until when a row counts.
        conditions: of a row to count, beside those that it was given and is not due to another cause.
    """
    given = (col("numeric_value") != 0).fill_null(True)
    rows = record.of(*codes).lazy().filter(given, ~elsewhere(record), *conditions)
    return longest(rows.select("at", "event_id", until=until).collect(engine="in-memory"))


AGAINST_IECHS = ("anakinra", *of_group("corticosteroid"), "ruxolitinib", "etoposide", "emapalumab")
