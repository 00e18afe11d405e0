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

SCORES = ("car_hematotox", "easix", "m_easix")  # those of the time before lymphodepletion


def baseline(
    timeline: Path | str, progress: Callable[[int, int], None] | None = None
) -> tuple[pl.DataFrame, dict[str, Variable]]:
    """The last values before lymphodepletion that the scores read, and the scores: a row a course, and how each column is printed.

    Args:
        timeline: a timeline folder.
        progress: called with the shards that are done, and all.
    """
    found = score_folder(timeline, SCORES, progress=progress)
    own = col("window") == BEFORE_LD.name
    inputs = found.inputs.filter(own).unique([*COURSE, "input"], keep="first", maintain_order=True)
    scores = found.scores.filter(own & (col("status") == "scored"))
    wide = found.scores.select(COURSE).unique(maintain_order=True)
    read = {i.name: Variable(concept(i.code).label, i.unit) for score in SCORES for i in REGISTRY[score].inputs}
    variables: dict[str, Variable] = {}
    for table, name in ((inputs, "input"), (scores, "score")):
        for (what,), rows in table.partition_by(name, as_dict=True, maintain_order=True).items():
            wide = wide.join(rows.select(*COURSE, col("value").alias(str(what))), on=COURSE, how="left", maintain_order="left")
            variables[str(what)] = read[str(what)] if name == "input" else Variable(REGISTRY[str(what)].title)
    return wide, variables
