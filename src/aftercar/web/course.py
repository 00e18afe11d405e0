"""One patient as pages show them: the figure and tables of the report, and every stretch of a grade with its reasons."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import polars as pl
from polars import col

from aftercar.grade.adjudicate import adjudicated
from aftercar.grade.run import SCALES
from aftercar.grade.worst import bounds_text
from aftercar.report import other
from aftercar.report.bands import band_id
from aftercar.report.course import courses
from aftercar.report.names import is_drawn, scale_name, toxicity_name
from aftercar.report.subject import Section, section
from aftercar.report.svg import readable
from aftercar.ward import statements
from aftercar.ward.found import Found
from aftercar.ward.ward import Ward
from aftercar.web.render import when

_drawing = threading.Lock()  # one after the other: several at once take no less time, and hooks would wait for all of them
MOST_RECORDS = 40  # of a stretch


@dataclass(frozen=True)
class Stretch:
    """A stretch of one grade, with all that is behind it."""

    anchor: str
    name: str
    scale: str
    start: Any
    end: Any
    text: str
    status: str
    criteria: list[str]
    missing: list[str]
    flags: list[str]
    records: list[dict[str, Any]]
    more: int
    rules: str
    source: str


@dataclass(frozen=True)
class Drawn:
    """What a page shows of a result that does not change with the time: figures and tables, and every stretch of what is graded now."""

    sections: list[Section]
    stretches: list[Stretch]


@lru_cache(maxsize=200)
def drawn(ward: Ward, found: Found, log: str, until: int | None = None) -> Drawn:
    """Draw a result, with what readers had locked; once, however often it is looked at.

    Args:
        log: the hash with which the statements about the patient end: another one is drawn anew.
        until: only statements of this version of the record and before.
    """
    with _drawing:
        with ward.database.reading() as connection:
            said = statements.log(connection, found.subject_id, until)
        charted = ward.timeline(found.subject_id, found.version)
        own = replace(found, worst=adjudicated(found.worst, said))
        return Drawn(sections(own, charted), stretches(own, charted))


def sections(found: Found, timeline: pl.DataFrame) -> list[Section]:
    """A section for each infusion: figure, caption and tables, as in the report."""
    own = other.parted(found.worst)[0]
    drawn = courses(found.subjects, timeline, other.parted(found.grades)[0], other.parted(found.episodes)[0], own)
    worst: dict[int, list[dict[str, Any]]] = {}
    for row in found.worst.iter_rows(named=True):
        worst.setdefault(row["infusion"], []).append(row)
    return [section(course, n, worst.get(course.infusion, []), simulated=False) for n, course in enumerate(drawn, start=1)]


def stretches(found: Found, timeline: pl.DataFrame, toxicities: Sequence[str] | None = None) -> list[Stretch]:
    """Every stretch of some toxicities, or of all that the figure draws, the latest first: what a band opens."""
    drawn = toxicities or [row["toxicity"] for row in other.parted(found.worst)[0].iter_rows(named=True) if is_drawn(row)]
    rows = other.parted(found.grades)[0].filter(col("toxicity").is_in(list(drawn)) & (col("status") != "not_applicable"))
    records = {
        r["event_id"]: r
        for r in timeline.filter(col("event_id").is_in(rows["evidence"].explode().unique().implode())).iter_rows(named=True)
    }
    return [_stretch(row, records) for row in rows.sort("start", descending=True).iter_rows(named=True)]


def _stretch(row: dict[str, Any], records: dict[int, dict[str, Any]]) -> Stretch:
    behind = [records[e] for e in row["evidence"] or () if e in records]
    scale = SCALES[row["scale"]]
    return Stretch(
        band_id(row["toxicity"], when(row["start"])), toxicity_name(row["toxicity"]), scale_name(row["scale"]), row["start"], row["end"],
        bounds_text(row["grade"], row["grade_upper"]), row["status"].replace("_", " "), [readable(c) for c in row["criteria"] or ()],
        [readable(m) for m in row["missing"] or ()], [readable(f) for f in row["flags"] or ()], behind[:MOST_RECORDS], max(len(behind) - MOST_RECORDS, 0),
        row["rules"], scale.source,
    )  # fmt: skip
