"""Why this grade: the course of one subject with the rows of the record behind each change."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from polars import col

from aftercar.errors import InputError, OptionError, nearest
from aftercar.grade.results import match_id, open_results
from aftercar.grade.run import SCALES, named_in_part
from aftercar.grade.worst import WORDS


@dataclass(frozen=True)
class Explanation:
    """One subject's course.

    Attributes:
        grades: rows of `grades` of each scale, in time order; where no toxicity was asked for, of the scales on which something is there
            or open.
        worst: rows of `worst` of the subject.
        clear, blank: the other scales: nothing is there, or nothing that they read was charted.
        evidence: the timeline rows that they point at.
        subject: rows of `subjects` (day 0 and what is fixed).
        run: what `run.json` holds.
    """

    grades: pl.DataFrame
    evidence: pl.DataFrame
    subject: pl.DataFrame
    run: dict[str, Any]
    worst: pl.DataFrame
    clear: list[str] = field(default_factory=list)
    blank: list[str] = field(default_factory=list)


def explain(
    folder: Path | str, subject: str | int, toxicity: str | None = None, *, timeline: Path | str | None = None
) -> Explanation:
    """The course of one subject.

    Args:
        folder: a results folder.
        subject: its id, as in the source.
        toxicity: one toxicity only, or one scale; then all of it, on every scale that was graded.
        timeline: where the timeline is now, if it was moved.
    Raises:
        InputError: no results, no such subject, or the timeline is gone.
        OptionError: the toxicity was not graded.
    """
    results = open_results(folder)
    key = match_id(str(subject), results.scan("grades").collect_schema()["subject_id"])
    own = col("subject_id") == key
    rows = results.load("grades", own) if key is not None else pl.DataFrame()
    if rows.is_empty():
        raise InputError("That subject is not among the results. Ids are written as in the source.")
    if toxicity:
        known = sorted({*rows["toxicity"], *rows["scale"]})
        asked = [toxicity] if toxicity in known else [s.name for s in named_in_part(toxicity) if s.name in known]
        if not asked:
            raise OptionError(f"{toxicity!r} was not graded. {nearest(toxicity, known)}")
        rows = rows.filter(col("toxicity").is_in(asked) | col("scale").is_in(asked))
    worst = results.load("worst", own)
    clear, blank = ([], []) if toxicity else _quiet(worst)
    # The scale of the other age group says nothing where one of the two applies.
    applies = col("status") != "not_applicable"
    rows = rows.filter(applies | ~applies.any().over("toxicity")).filter(~col("scale").is_in([*clear, *blank]))
    ids = rows["evidence"].list.explode(keep_nulls=False, empty_as_null=False).unique()
    evidence = results.timeline(timeline).load(own & col("event_id").is_in(ids.implode())).sort("time", "event_id")
    who = results.load("subjects", own)
    order = {name: n for n, name in enumerate(SCALES)}
    place = col("scale").replace_strict(order, default=len(order), return_dtype=pl.Int32)
    rows = rows.sort(place, "infusion", "start", maintain_order=True)
    return Explanation(rows, evidence, who, results.run, worst, clear, blank)


def _quiet(worst: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Scales on which nothing is there, and those of which nothing was charted, in all courses of a subject."""
    said = col("status").cast(pl.String).is_in(list(WORDS))
    there = (col("assessed") & ((col("grade_upper") > 0) | said | col("group").is_not_null())).any()
    by_scale = worst.group_by("scale", maintain_order=True).agg(there=there, charted=col("assessed").any())
    clear = by_scale.filter(~col("there") & col("charted"))["scale"].to_list()
    blank = by_scale.filter(~col("there") & ~col("charted"))["scale"].to_list()
    return clear, blank
