"""What a timeline says of each course before it began: laboratory values and risk scores, as `aftercar risk` has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
from polars import col

from aftercar.cohort.outcome import COURSE
from aftercar.cohort.table_one import Variable
from aftercar.risk.inputs import BEFORE_LD
from aftercar.risk.run import REGISTRY, score_folder
from aftercar.timeline.concepts import concept
from aftercar.timeline.units import line

SCORES = ("car_hematotox", "easix", "m_easix")  # those of the time before lymphodepletion


def baseline(
    timeline: Path | str, progress: Callable[[int, int], None] | None = None
) -> tuple[pl.DataFrame, dict[str, Variable]]:
    """The last values before lymphodepletion that the scores read, and the scores: a row a course, and how each column is printed.

    Values are in the unit of their concept, as in figures and timelines, and not in those of the papers. One beyond what the assay measures counts as the end of what it does, and is told.

    Args:
        timeline: a timeline folder.
        progress: called with the shards that are done, and all.
    """
    found = score_folder(timeline, SCORES, progress=progress)
    own = col("window") == BEFORE_LD.name
    inputs = found.inputs.filter(own).unique([*COURSE, "input"], keep="first", maintain_order=True)
    scores = found.scores.filter(own & (col("status") == "scored"))
    wide = found.scores.select(COURSE).unique(maintain_order=True)
    codes = {i.name: i.code for score in SCORES for i in REGISTRY[score].inputs}
    variables: dict[str, Variable] = {}
    for (what,), rows in inputs.partition_by("input", as_dict=True, maintain_order=True).items():
        name, of = str(what), concept(codes[str(what)])
        a, b = line(rows["unit"][0], of)
        wide = _beside(wide, rows, name, (a * col("value") + b).round(8))
        variables[name] = Variable(of.label + _beyond(rows), of.unit)
    for (what,), rows in scores.partition_by("score", as_dict=True, maintain_order=True).items():
        wide = _beside(wide, rows, str(what), col("value"))
        variables[str(what)] = Variable(REGISTRY[str(what)].title)
    return wide, variables


def _beside(wide: pl.DataFrame, rows: pl.DataFrame, name: str, value: pl.Expr) -> pl.DataFrame:
    return wide.join(rows.select(*COURSE, value.alias(name)), on=COURSE, how="left", maintain_order="left")


def _beyond(rows: pl.DataFrame) -> str:
    """How many values lie beyond what the assay measures, in words; empty where none does."""
    n = rows["value"].count()
    told = [
        f"{k} of {n} {word} the assay's limit"
        for sign, word in (("<", "below"), (">", "above"))
        if (k := rows.filter(charted_as=sign).height)
    ]
    return f" ({', '.join(told)})" if told else ""
