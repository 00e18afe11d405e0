"""One patient as pages show them: the figure and tables of the report, and every stretch of a grade with its reasons."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import polars as pl
from polars import col

from aftercar.grade.adjudicate import adjudicated
from aftercar.grade.icans import ICE_ITEMS
from aftercar.grade.run import SCALES
from aftercar.grade.worst import bounds_text
from aftercar.report import other
from aftercar.report.bands import band_id
from aftercar.report.course import courses
from aftercar.report.names import is_drawn, scale_name, toxicity_name
from aftercar.report.subject import Section, section
from aftercar.report.svg import readable
from aftercar.timeline.concepts import concepts
from aftercar.ward import record, statements
from aftercar.ward.found import Found
from aftercar.ward.ward import Ward
from aftercar.web.render import when

_drawing = threading.Lock()  # one after the other: several at once take no less time, and hooks would wait for all of them
MOST_RECORDS = 40  # of a stretch
MOST_TOLD = 200  # of a time of one grade, where people say what each came from


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
class Held:
    """A time of one sure grade, with the records that may carry it; `more` are left out."""

    name: str
    start: Any
    end: Any
    grade: int
    records: list[dict[str, Any]]
    more: int


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
            label = record.find(connection, found.subject_id).label
        charted = ward.timeline(found.subject_id, found.version)
        own = replace(found, worst=adjudicated(found.worst, said))
        return Drawn(sections(own, charted, label), stretches(own, charted))


def sections(found: Found, timeline: pl.DataFrame, label: str) -> list[Section]:
    """A section for each infusion: figure, caption and tables, as in the report."""
    own = other.parted(found.worst)[0]
    drawn = courses(found.subjects, timeline, other.parted(found.grades)[0], other.parted(found.episodes)[0], own)
    worst: dict[int, list[dict[str, Any]]] = {}
    for row in found.worst.iter_rows(named=True):
        worst.setdefault(row["infusion"], []).append(row)
    known_as = [replace(course, subject=label) for course in drawn]
    return [section(course, n, worst.get(course.infusion, []), simulated=False) for n, course in enumerate(known_as, start=1)]


def stretches(found: Found, timeline: pl.DataFrame) -> list[Stretch]:
    """Every stretch of all that the figure draws, the latest first: what a band opens, with the records that decide it where it begins."""
    drawn = [row["toxicity"] for row in other.parted(found.worst)[0].iter_rows(named=True) if is_drawn(row)]
    rows = _graded(found, drawn)
    records = _records(timeline, rows)
    return [_stretch(row, _deciding(row, records)) for row in rows.iter_rows(named=True)]


def held(found: Found, timeline: pl.DataFrame, toxicities: Sequence[str]) -> list[Held]:
    """The times in which some toxicities surely have one grade above 0, the latest first, with all records that may carry it: what decides each stretch where
    it begins, and whatever of the same kind was charted until it ends. Leaving the first fever out leaves the grade where another came after it."""
    rows = _graded(found, toxicities).filter(col("grade") > 0).sort("scale", "infusion", "start")
    records = _records(timeline, rows)
    charted: dict[str, list[dict[str, Any]]] = {}
    for event in timeline.filter((col("event_id") >= 0) & col("time").is_not_null()).sort("time").iter_rows(named=True):
        charted.setdefault(event["code"], []).append(event)
    runs: list[list[dict[str, Any]]] = []
    for row in rows.iter_rows(named=True):
        before = runs[-1][-1] if runs else None
        goes_on = (
            before is not None
            and all(before[c] == row[c] for c in ("scale", "infusion", "grade"))
            and before["end"] == row["start"]
        )
        runs[-1].append(row) if goes_on else runs.append([row])
    return sorted((_held(run, records, charted) for run in runs), key=lambda each: each.start, reverse=True)


def _held(run: list[dict[str, Any]], records: dict[int, dict[str, Any]], charted: dict[str, list[dict[str, Any]]]) -> Held:
    """Stretches of one grade that follow each other, as one."""
    behind = {event["event_id"]: event for row in run for event in _carrying(row, records, charted)}
    told = sorted(behind.values(), key=lambda event: (event["time"] or datetime.min, event["event_id"]))
    first, most = run[0], MOST_TOLD
    return Held(
        toxicity_name(first["toxicity"]), first["start"], run[-1]["end"], first["grade"], told[:most], max(len(told) - most, 0)
    )


def _carrying(
    row: dict[str, Any], records: dict[int, dict[str, Any]], charted: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """What decides a stretch, and what was charted within it of the same concept, of one of its group, or of ICE and its items."""
    first = _deciding(row, records)
    kinds = {event["code"] for event in first}
    groups = {group for code in kinds if code in concepts() for group in concepts()[code].groups}
    ice = {"ice", *ICE_ITEMS}
    alike = [
        code for code in SCALES[row["scale"]].codes
        if code in kinds or (code in concepts() and groups & set(concepts()[code].groups)) or (code in ice and kinds & ice)
    ]  # fmt: skip
    end = row["end"] or datetime.max
    return [*first, *(event for code in alike for event in charted.get(code, ()) if row["start"] <= event["time"] < end)]


def _graded(found: Found, toxicities: Sequence[str]) -> pl.DataFrame:
    """The stretches of grades of some toxicities, the latest first."""
    applies = col("toxicity").is_in(list(toxicities)) & (col("status") != "not_applicable")
    return other.parted(found.grades)[0].filter(applies).sort("start", descending=True)


def _records(timeline: pl.DataFrame, rows: pl.DataFrame) -> dict[int, dict[str, Any]]:
    """The rows of a timeline that stretches name, by number."""
    named = timeline.filter(col("event_id").is_in(rows["evidence"].explode().unique().implode()))
    return {event["event_id"]: event for event in named.iter_rows(named=True)}


def _deciding(row: dict[str, Any], records: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    return [records[e] for e in row["evidence"] or () if e in records]


def _stretch(row: dict[str, Any], behind: list[dict[str, Any]]) -> Stretch:
    scale = SCALES[row["scale"]]
    return Stretch(
        band_id(row["toxicity"], when(row["start"])), toxicity_name(row["toxicity"]), scale_name(row["scale"]), row["start"], row["end"],
        bounds_text(row["grade"], row["grade_upper"]), row["status"].replace("_", " "), [readable(c) for c in row["criteria"] or ()],
        [readable(m) for m in row["missing"] or ()], [readable(f) for f in row["flags"] or ()], behind[:MOST_RECORDS], max(len(behind) - MOST_RECORDS, 0),
        row["rules"], scale.source,
    )  # fmt: skip
