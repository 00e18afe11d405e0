"""What was found in a record: grades, worst, episodes, and why; now, or as it was found then."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import polars as pl
from fastapi import HTTPException, Query
from polars import col

from aftercar.evidence.sources import references
from aftercar.grade.run import SCALES
from aftercar.ward.accounts import Person
from aftercar.ward.found import Found
from aftercar.ward.record import Patient
from aftercar.ward.ward import Ward
from aftercar.web.access import Reader, TheWard
from aftercar.web.api.models import (
    Episode,
    Episodes,
    Explanation,
    Grade,
    Grades,
    Page,
    Record,
    Result,
    Short,
    Worst,
    Worsts,
    rows,
)
from aftercar.web.api.shared import Cursor, Limit, ResultAsked, ThePatient, about, decoded, encoded, found_of, local, part
from aftercar.web.api.shared import router as made

router = made("grades")

Toxicity = Annotated[Short | None, Query(description="Only of one, such as `crs`.", examples=["crs"])]
Scale = Annotated[Short | None, Query(description="Only of one, such as `crs_astct2019`.", examples=["crs_astct2019"])]


@router.get("/patients/{subject_id}/results", summary="Former results")
def results(ward: TheWard, person: Reader, who: ThePatient, limit: Limit = 100, cursor: Cursor = None) -> Page[Result]:
    """Every result that was stored, the latest first: a late or corrected entry makes a new one, and the former stays."""
    before = decoded(cursor, int)[0] if cursor is not None else None
    told = [r for r in ward.formerly(who.subject_id) if before is None or r["result_id"] < before]
    ward.note(person, "patient.results.read", who.subject_id)
    following = encoded(told[limit - 1]["result_id"]) if len(told) > limit else None
    return Page[Result](items=[Result.model_validate(r) for r in told[:limit]], next=following)


@router.get("/patients/{subject_id}/grades", summary="Grades")
def grades(
    ward: TheWard, person: Reader, who: ThePatient, toxicity: Toxicity = None, scale: Scale = None, result: ResultAsked = None,
    limit: Limit = 500, cursor: Cursor = None,
) -> Grades:  # fmt: skip
    """Every stretch of time in which nothing about a grade changed: bounds, criteria, what is missing, and the events behind it."""
    found = _read(ward, person, who, result, "patient.grades.read")
    if found is None:
        return Grades(**about(who, None), items=[], next=None)
    page = part(_of(found.grades, toxicity, scale), found, limit, cursor)
    return Grades(**about(who, found), items=[Grade.model_validate(r) for r in rows(page.frame)], next=page.next)


@router.get("/patients/{subject_id}/worst", summary="Worst grades")
def worst(
    ward: TheWard, person: Reader, who: ThePatient, toxicity: Toxicity = None, scale: Scale = None, result: ResultAsked = None
) -> Worsts:
    """The highest grade of each course and scale."""
    found = _read(ward, person, who, result, "patient.grades.read")
    items = [] if found is None else rows(_of(found.worst, toxicity, scale))
    return Worsts(**about(who, found), items=[Worst.model_validate(r) for r in items])


@router.get("/patients/{subject_id}/episodes", summary="Episodes")
def episodes(
    ward: TheWard, person: Reader, who: ThePatient, toxicity: Toxicity = None, scale: Scale = None, result: ResultAsked = None
) -> Episodes:
    """From onset to resolution, of each course and scale."""
    found = _read(ward, person, who, result, "patient.grades.read")
    items = [] if found is None else rows(_of(found.episodes, toxicity, scale))
    return Episodes(**about(who, found), items=[Episode.model_validate(r) for r in items])


@router.get("/patients/{subject_id}/explanation", summary="Why a grade")
def explanation(
    ward: TheWard, person: Reader, who: ThePatient,
    scale: Annotated[Short, Query(description="Such as `crs_astct2019`.", examples=["crs_astct2019"])],
    at: Annotated[datetime | None, Query(description="Local time; without it the latest stretch.", examples=["2026-11-25T14:30:00"])] = None,
    result: ResultAsked = None,
) -> Explanation:  # fmt: skip
    """The stretch of a grade that holds at a time: the cells of the published table, what would settle it, and the records behind it."""
    found = _read(ward, person, who, result, "patient.explanation.read")
    stretch = None if found is None else _stretch(found, scale, None if at is None else local(ward, at))
    if found is None or stretch is None:
        raise HTTPException(404, "No grade of that scale stands at that time.")
    charted = ward.timeline(who.subject_id, found.version)
    behind = charted.filter(col("event_id").is_in(stretch["evidence"].explode().implode())).sort("time", "event_id")
    row = rows(stretch)[0]
    source = SCALES[row["scale"]].source
    reference = references().get(source)
    return Explanation(
        **about(who, found), stretch=Grade.model_validate(row), source=source, reference=reference.line if reference else None,
        records=[Record.model_validate(r) for r in rows(behind)],
    )  # fmt: skip


def _read(ward: Ward, person: Person, who: Patient, result: int | None, action: str) -> Found | None:
    """What is found in a record, or was found then, with its line in the audit trail."""
    found = found_of(ward, who, result)
    ward.note(person, action, who.subject_id, {"version": who.version, "result": result})
    return found


def _of(table: pl.DataFrame, toxicity: str | None, scale: str | None) -> pl.DataFrame:
    asked = {"toxicity": toxicity, "scale": scale}
    return table.filter(pl.lit(True), *(col(name) == value for name, value in asked.items() if value is not None))


def _stretch(found: Found, scale: str, at: datetime | None) -> pl.DataFrame | None:
    own = found.grades.filter(col("scale") == scale)
    if at is not None:
        own = own.filter(col("start").is_null() | (col("start") <= at), col("end").is_null() | (col("end") > at))
    return own.sort("infusion", "start").tail(1) if own.height else None
