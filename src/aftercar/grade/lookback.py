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

_LIFELONG = ("hlh_gene", "immunosuppression")  # may be known before the infusion


class Lookback:
    """Features of a record, gathered first and put on one grid at the end.

    Each feature becomes the columns `<name>` (true, false, or null: unknown) and `<name>_event_id`, the last row that meets it.
    """

    def __init__(self, record: Record, options: Options) -> None:
        """Begin with no feature."""
        self.record, self.options = record, options
        self.hold = int(float(options["iechs_window_h"]) * HOUR) + 1  # the last instant included
        self._tables: dict[str, pl.DataFrame] = {}
        self._turns: list[pl.DataFrame] = []  # when a feature begins or ends
        self._organs: set[str] = set()
        self._drawn: list[pl.DataFrame] = []
        self.names: list[str] = []

    def values(self, code: str) -> pl.DataFrame:
        """Values of a concept from day 0 on: `at, value, event_id, excluded`."""
        return self.record.once(("from day 0", code), lambda: readings(self.record, code).filter(col("at") >= origin(col("at"))))

    def within(self, name: str, rows: pl.DataFrame, met: pl.Expr, *, drawn: bool = True) -> None:
        """A feature that holds if a row of the window meets it; rows with `excluded` are values that do not."""
        met = pl.when(~col("excluded")).then(met).otherwise(False)
        rows = rows.select("at", "event_id", met=met, until=col("at") + self.hold)
        self._put(name, rows, lambda kept: _spans(kept, self.hold))
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
        self._put(name, rows, lambda kept: kept)
        self._drawn.append(found.select("at"))

    def _put(self, name: str, rows: pl.DataFrame, spans: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """When the feature surely holds (`yes`), may hold (`open`), and is known at all (`any`); what never is needs no look."""
        self.names.append(name)
        if rows.is_empty():
            return
        parts = {"yes": rows.filter("met"), "open": rows.filter(col("met").is_null()), "any": rows}
        for kind, kept in parts.items():
            if kept.height:
                merged = spans(kept).select("at", "until", "event_id")
                self._turns.append(merged)
                # What stands behind a feature is a row of the window, not the first of its stretch.
                self._tables[f"{name}_{kind}"] = kept.select("at", "until", "event_id") if kind == "yes" else merged

    def _feature(self, name: str) -> pl.Expr:
        def held(kind: str) -> pl.Expr:
            return col(f"{name}_{kind}_at").is_not_null() if f"{name}_{kind}" in self._tables else lit(False)

        none = held("any") | (col("organ_at").is_not_null() if name in self._organs else lit(False))
        return pl.when(held("yes")).then(True).when(held("open")).then(None).when(none).then(False)

    def _behind(self, name: str) -> pl.Expr:
        return col(f"{name}_yes_event_id") if f"{name}_yes" in self._tables else lit(None, pl.Int64)

    def frame(self, extra: Mapping[str, pl.DataFrame] | None = None) -> pl.DataFrame:
        """`course, at, last_at, observed` and the features; `extra` tables are looked at as they are."""
        drawn = pl.concat([d.select("at") for d in self._drawn])["at"].unique().sort()
        extra = dict(extra or {}) | ({"organ": covered(self.record, "organ")} if self._organs else {})
        tables = {**self._tables, **extra}
        frame = grid(self.record, *self._turns, *extra.values(), pl.DataFrame({"at": drawn, "until": drawn}))
        for name, table in tables.items():
            frame = look(frame, table, name)
        return frame.with_columns(
            observed=frame["at"].is_in(drawn.implode()),
            **{name: self._feature(name) for name in self.names},
            **{f"{name}_event_id": self._behind(name) for name in self.names},
        )


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
