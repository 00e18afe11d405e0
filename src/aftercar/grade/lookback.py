"""What held within the last hours: features that need not be measured at the same minute to be there together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_

import polars as pl
from polars import col, lit

from aftercar.grade import ctcae
from aftercar.grade.findings import covered
from aftercar.grade.options import Options
from aftercar.timeline.concepts import of_group
from aftercar.timeline.state import HOUR, Record, elsewhere, grid, look, origin, readings

_KINDS = ("yes", "open", "any")  # it surely holds, may hold, is known at all
_LIFELONG = ("hlh_gene", "immunosuppression")  # may be known before the infusion


class Lookback:
    """Features of a record, gathered first and put on one grid at the end.

    Each feature becomes the columns `<name>` (true, false, or null: unknown) and `<name>_event_id`, the last row that meets it.
    """

    def __init__(self, record: Record, options: Options) -> None:
        """Begin with no feature."""
        self.record, self.options = record, options
        self.hold = int(float(options["iechs_window_h"]) * HOUR) + 1  # the last instant included
        self._within: dict[int, tuple[pl.DataFrame, dict[str, pl.Expr]]] = {}  # features by the rows that they read
        self._tables: dict[str, pl.DataFrame] = {}
        self._organs: set[str] = set()
        self._drawn: list[pl.DataFrame] = []
        self._features: dict[str, pl.Expr] = {}

    def values(self, code: str) -> pl.DataFrame:
        """Values of a concept from day 0 on: `at, value, event_id, excluded`."""
        return self.record.once(("from day 0", code), lambda: readings(self.record, code).filter(col("at") >= origin(col("at"))))

    def within(self, name: str, rows: pl.DataFrame, met: pl.Expr, *, drawn: bool = True) -> None:
        """A feature that holds if a row of the window meets it; rows with `excluded` are values that do not."""
        self._within.setdefault(id(rows), (rows, {}))[1][name] = pl.when(~col("excluded")).then(met).otherwise(False)
        if drawn:
            self._drawn.append(rows.select("at"))

    def value(self, name: str, code: str, met: Callable[[pl.Expr], pl.Expr], *, drawn: bool = True) -> None:
        """A feature of the values of one concept."""
        self.within(name, self.values(code), met(col("value")), drawn=drawn)

    def graded(self, name: str, code: str, grade: int, *, whole: bool = True) -> None:
        """An analyte of at least a CTCAE grade. Where the organ record is complete, an organ item that was not charted is not there.

        Args:
            whole: whether a baseline that is not recorded was normal; else what depends on it is unknown.
        """
        low, up = (f"{side}_whole" if whole else side for side in ("low", "up"))
        rows = ctcae.graded(self.record, code, self.options).with_columns(excluded=lit(False))
        self.within(name, rows, pl.when(col(low) >= grade).then(True).when(col(up) < grade).then(False))
        if code in ctcae.ORGAN:
            self._organs.add(name)

    def stands(self, name: str, met: Callable[[pl.Expr], pl.Expr] = lambda v: v == 1) -> None:
        """A feature that stands until charted otherwise."""
        found = readings(self.record, name)
        if name not in _LIFELONG:
            found = found.filter(col("at") >= origin(col("at")))
        end = pl.coalesce(pl.when(col("at").shift(-1) < col("until")).then(col("at").shift(-1)), "until")
        rows = found.with_columns(until=end, met=pl.when(~col("excluded")).then(met(col("value"))).otherwise(False))
        self._drawn.append(found.select("at"))
        # What never holds needs no look.
        for kind, kept in (("yes", rows.filter("met")), ("open", rows.filter(col("met").is_null())), ("any", rows)):
            if kept.height:
                self._tables[f"{name}_{kind}"] = kept.select("at", "until", "event_id")
        held = {
            kind: col(f"{name}_{kind}_at").is_not_null() if f"{name}_{kind}" in self._tables else lit(False) for kind in _KINDS
        }
        self._feature(name, held, col(f"{name}_yes_event_id") if f"{name}_yes" in self._tables else lit(None, pl.Int64))

    def _feature(self, name: str, held: dict[str, pl.Expr], event_id: pl.Expr) -> None:
        known = held["any"] | (col("organ_at").is_not_null() if name in self._organs else lit(False))
        self._features[name] = pl.when(held["yes"]).then(True).when(held["open"]).then(None).when(known).then(False)
        self._features[f"{name}_event_id"] = event_id

    def _windows(self) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
        """Of the features that hold for some hours after a row: the last such row at each row, and when they begin and end."""
        tables, turns = [], []
        for n, (rows, features) in enumerate(self._within.values()):
            kept = rows.select("at", "event_id", **features)
            last = {f"_any{n}": col("at")}
            turns.append(_spans(kept, self.hold))
            for name in features:
                yes, unsure = col(name), col(name).is_null()
                last[f"{name}_yes_at"] = pl.when(yes).then("at").forward_fill()
                last[f"{name}_open_at"] = pl.when(unsure).then("at").forward_fill()
                # What stands behind a feature is a row of the window, not the first of its stretch.
                last[f"{name}_yes_event_id"] = pl.when(yes).then("event_id").forward_fill()
                turns += [_spans(kept.filter(yes), self.hold), _spans(kept.filter(unsure), self.hold)]
                held = {
                    k: (col(c) + self.hold > col("at")).fill_null(False)
                    for k, c in zip(_KINDS, (f"{name}_yes_at", f"{name}_open_at", f"_any{n}"), strict=True)
                }
                self._feature(name, held, pl.when(held["yes"]).then(f"{name}_yes_event_id"))
            tables.append(kept.select(col("at").set_sorted(), **last))
        return tables, turns

    def frame(self, extra: Mapping[str, pl.DataFrame] | None = None) -> pl.DataFrame:
        """`course, at, last_at, observed` and the features; `extra` tables are looked at as they are."""
        drawn = pl.concat([d.select("at") for d in self._drawn])["at"].unique().sort()
        extra = dict(extra or {}) | ({"organ": covered(self.record, "organ")} if self._organs else {})
        windows, turns = self._windows()
        turns += self._tables.values()
        frame = grid(self.record, *turns, *extra.values(), pl.DataFrame({"at": drawn, "until": drawn})).lazy()
        for table in windows:
            frame = frame.join_asof(table.lazy(), on="at", strategy="backward", coalesce=True)
        frame = frame.collect(engine="in-memory")
        frame = look(frame, {**self._tables, **extra})
        return frame.with_columns(observed=frame["at"].is_in(drawn.implode()), **self._features)


def _spans(rows: pl.DataFrame, hold: int) -> pl.DataFrame:
    """When a row lies within the last `hold` seconds: `at, until, event_id`, overlapping spans merged."""
    at = col("at")
    begins = (at - at.shift(1) > hold).fill_null(True)
    ends = (at.shift(-1) - at > hold).fill_null(True)
    return rows.select(at.filter(begins).set_sorted(), col("event_id").filter(begins), until=at.filter(ends) + hold)


def count(names: tuple[str, ...]) -> tuple[pl.Expr, pl.Expr]:
    """How many of some features hold, surely and at most."""
    sure = pl.sum_horizontal(col(n).fill_null(False).cast(pl.Int32) for n in names)
    most = pl.sum_horizontal(col(n).fill_null(True).cast(pl.Int32) for n in names)
    return sure, most


def either(*features: str) -> pl.Expr:
    """Whether one of some features holds: unknown where none is known to and one may."""
    return reduce(or_, (col(f) for f in features))


def lately(record: Record, codes: tuple[str, ...], hours: float, *, prophylaxis: bool = True) -> pl.DataFrame:
    """When one of some drugs or events was charted in the last hours, or runs: `at, until, event_id`; `prophylaxis`: also if it was that."""
    rows = record.of(*codes).filter((col("numeric_value") != 0).fill_null(True) & (col("at") >= origin(col("at"))))
    rows = rows.filter(~elsewhere(record) & (lit(prophylaxis) | ~col("text_value").eq_missing(lit("prophylaxis"))))
    rows = rows.select("at", until=pl.max_horizontal("end_at", col("at") + int(hours * HOUR) + 1), event_id="event_id").sort(
        "at", "until"
    )
    reach = col("until").cum_max().shift(1)
    merged = rows.group_by((col("at") > reach).fill_null(True).cum_sum().alias("_"), maintain_order=True)
    spans = merged.agg(col("at").first(), col("until").max(), col("event_id").first()).drop("_")
    return spans.with_columns(col("at").set_sorted())


AGAINST_IECHS = ("anakinra", *of_group("corticosteroid"), "ruxolitinib", "etoposide", "emapalumab")
