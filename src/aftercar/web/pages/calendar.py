"""The late-effects calendar of a patient: what is overdue, due and to come for years after the infusion. A schedule to look at, never an order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
from fastapi import APIRouter, Request
from fastapi.responses import Response
from polars import col

from aftercar.manage.calendar import USE, Calendar, calendar_timeline
from aftercar.manage.ics import icalendar
from aftercar.ward.overview import line
from aftercar.ward.ward import Ward
from aftercar.web import render
from aftercar.web.access import Reader, TheWard
from aftercar.web.pages.patient import who_is

AHEAD = timedelta(days=366)  # of what is to come, shown at once

router = APIRouter(prefix="/patients/{subject_id}", include_in_schema=False)


def _calendar(ward: Ward, subject_id: int) -> Calendar:
    return calendar_timeline(ward.timeline(subject_id), ward.now())


@router.get("/calendar")
def see(request: Request, ward: TheWard, person: Reader, subject_id: int) -> Response:
    """Items by how they stand today, and the dates to come."""
    who = who_is(ward, subject_id)
    ward.note(person, "patient.calendar.read", subject_id, {"version": who.version})
    found = _calendar(ward, subject_id) if who.version else None
    if found is None or not found.courses["asked"].any():
        return render.page(
            request, "calendar.html.j2", person, who=who, line=line(who, ward.ready(who), ward.now()), found=None, use=USE
        )
    by_state = {str(state): own.to_dicts() for (state,), own in found.items.partition_by("state", as_dict=True).items()}
    late = sorted(by_state.get("overdue", []), key=lambda r: r["overdue_since"])
    dated = (
        found.calendar.filter(col("status") == "upcoming").sort("due").group_by("due", maintain_order=True).agg("todo", "applies")
    )
    coming: list[dict[str, Any]] = [
        {"due": r["due"], "todo": list(zip(r["todo"], r["applies"], strict=True))} for r in dated.iter_rows(named=True)
    ]
    within = found.at + AHEAD
    return render.page(
        request, "calendar.html.j2", person, who=who, line=line(who, ward.ready(who), ward.now()), found=found, late=late,
        due=sorted(by_state.get("due", []), key=lambda r: r["due"]), perhaps=by_state.get("may_apply", []),
        coming={"within": [r for r in coming if r["due"] < within], "later": [r for r in coming if r["due"] >= within]},
        settled=found.items.filter(~col("state").cast(pl.String).is_in(["overdue", "due", "may_apply"])).to_dicts(), use=USE,
    )  # fmt: skip


@router.get("/calendar.ics")
def dates(ward: TheWard, person: Reader, subject_id: int) -> Response:
    """The dates for a calendar program."""
    who_is(ward, subject_id)
    ward.note(person, "patient.calendar.export", subject_id)
    headers = {"Content-Disposition": f'attachment; filename="patient-{subject_id}.ics"'}
    return Response(icalendar(_calendar(ward, subject_id)), media_type="text/calendar", headers=headers)
