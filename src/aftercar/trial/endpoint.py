"""Whether virtual patients had the event, by the graders of real records, of what was charted within the window."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
from polars import col

from aftercar.grade.options import Options
from aftercar.grade.run import grade_lazy, scales_named
from aftercar.simulate.chart import INFUSED
from aftercar.trial.design import Component, Endpoint


def events(timeline: pl.DataFrame, endpoint: Endpoint) -> pl.DataFrame:
    """A row a subject, ascending: `event`, by the lower bounds of the grades; `open` where only an upper bound reaches an event."""
    options = Options(endpoint.options)
    days = sorted({c.by_day for c in endpoint.any_of})
    found = pl.concat([_graded(timeline, day, [c for c in endpoint.any_of if c.by_day == day], options) for day in days])
    whole = found.group_by("subject_id").agg(col("event").any(), col("upper").any()).sort("subject_id")
    return whole.select("event", open=~col("event") & col("upper"))


def _graded(timeline: pl.DataFrame, day: int, parts: list[Component], options: Options) -> pl.DataFrame:
    """The worst grades as they stood at the end of a day, held against the parts of the endpoint that end there."""
    until = datetime(INFUSED.year, INFUSED.month, INFUSED.day) + timedelta(days=day + 1)
    scales = {c: scales_named([c.scale]) for c in parts}
    asked = {s.name: s for found in scales.values() for s in found}
    worst = grade_lazy(timeline.lazy().filter(col("time") < until), list(asked.values()), options).worst

    def met(bound: str) -> pl.Expr:
        return pl.any_horizontal(
            col("scale").is_in([s.name for s in found]) & (col(bound) >= part.grade) for part, found in scales.items()
        )

    return worst.select("subject_id", event=met("grade"), upper=met("grade_upper"))
