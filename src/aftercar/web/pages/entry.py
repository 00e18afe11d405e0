"""Entering what was seen and given: rounds, ICE or CAPD beside the baseline, drugs; corrections that keep what stood before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from polars import col

from aftercar.errors import InputError
from aftercar.timeline.concepts import concepts, of_group
from aftercar.ward import intake, record
from aftercar.ward.overview import line
from aftercar.ward.ward import Ward
from aftercar.web import render
from aftercar.web.access import Charting, TheForm, TheWard
from aftercar.web.pages.patient import who_is

router = APIRouter(prefix="/patients/{subject_id}", include_in_schema=False)


@dataclass(frozen=True)
class Item:
    """A field of a form: a number with its unit, or one of a concept's words.

    Attributes:
        step: of a number.
        most: of a score that is ticked.
    """

    code: str
    label: str
    step: str = "any"
    most: int | None = None

    @property
    def unit(self) -> str:
        """The unit in which the field is filled."""
        return concepts()[self.code].unit or ""

    @property
    def words(self) -> tuple[str, ...]:
        """The words to choose from; none where it is a number."""
        return concepts()[self.code].values


ROUND = (
    Item("temperature", "Temperature", "0.1"), Item("sbp", "Systolic pressure", "1"), Item("map", "Mean arterial pressure", "1"),
    Item("spo2", "Oxygen saturation", "1"), Item("o2_device", "Oxygen by"), Item("o2_flow", "Oxygen flow", "0.5"),
)  # fmt: skip
ICE = (
    Item("ice_orientation", "Orientation: year, month, city, hospital", most=4), Item("ice_naming", "Naming: three objects", most=3),
    Item("ice_command", "Following a command", most=1), Item("ice_writing", "Writing a standard sentence", most=1),
    Item("ice_attention", "Attention: count back from 100 by ten", most=1),
)  # fmt: skip
NEURO = (Item("consciousness", "Wakes to"), Item("seizure", "Seizure"), Item("motor", "Motor weakness"))
GIVEN = (
    "anticytokine",
    "corticosteroid",
    "antipyretic",
    "antiseizure",
    "vasopressor",
    "vasopressin_like",
    "fluid",
    "g_csf",
    "jak_inhibitor",
)


def drugs() -> dict[str, list[str]]:
    """Drugs to choose from, by group."""
    known = concepts()
    return {g: sorted(of_group(g)) for g in GIVEN if any(g in c.groups for c in known.values())}


@router.get("/enter")
def ask(request: Request, ward: TheWard, person: Charting, subject_id: int, saved: int = 0) -> Response:
    """The forms, with the last values beside each field."""
    ward.note(person, "patient.entry.read", subject_id)
    return _form(request, ward, person, subject_id, saved=saved)


def _form(
    request: Request,
    ward: Ward,
    person: Charting,
    subject_id: int,
    *,
    saved: int = 0,
    wrong: list[str] | None = None,
    filled: Mapping[str, str] | None = None,
) -> Response:
    who = who_is(ward, subject_id)
    now = ward.now()
    charted = ward.timeline(subject_id) if who.version else None
    last: dict[str, dict[str, Any]] = {}
    if charted is not None:
        latest = charted.filter((col("event_id") >= 0) & (col("time") <= now)).sort("time", "event_id").group_by("code").last()
        last = {row["code"]: row for row in latest.iter_rows(named=True)}
    found = ward.ready(who)
    age = found.course["age_y"] if found and found.course else last.get("age", {}).get("numeric_value")
    return render.page(
        request, "enter.html.j2", person, 422 if wrong else 200, who=who, line=line(who, found, now), round=ROUND, ice=ICE, neuro=NEURO,
        drugs=drugs(), last=last, child=age is not None and age < 12, capd=Item("capd", "CAPD, total", most=32), concepts=concepts(), saved=saved,
        wrong=wrong or [], filled=filled or {}, baseline=_baseline(charted), recent=_recent(charted),
    )  # fmt: skip


def _baseline(charted: pl.DataFrame | None) -> float | None:
    """The ICE score before the infusion: as charted so, or the last that was charted before it."""
    if charted is None:
        return None
    said = charted.filter(col("code") == "ice_baseline")["numeric_value"].drop_nulls()
    if said.len():
        return float(said[-1])
    zero: Any = charted.filter(col("code") == "cart_infusion")["time"].min()
    before = charted.filter((col("code") == "ice") & (col("time") <= zero))["numeric_value"].drop_nulls() if zero else None
    return float(before[-1]) if before is not None and before.len() else None


def _recent(charted: pl.DataFrame | None) -> list[dict[str, Any]]:
    """The latest entries, for corrections."""
    return [] if charted is None else charted.filter(col("event_id") >= 0).sort("event_id", descending=True).head(25).to_dicts()


@router.post("/enter")
def enter(request: Request, ward: TheWard, person: Charting, subject_id: int, form: TheForm) -> Response:
    """Keep what a form says, all of it or nothing."""
    who_is(ward, subject_id)
    entries, wrong = _entries(form, ward.now())
    if not wrong:
        read = intake.rows(entries, subject_id, source=f"entered by {person.name}")
        wrong = [f"{entries[r['row'] - 1]['code']}: {r['detail']}" for r in read.rejected.iter_rows(named=True)]
        wrong += [
            f"{r['code']}: {r['note']}. Enter it as it is meant."
            for r in read.timeline.filter(col("note").is_not_null()).iter_rows(named=True)
        ]
        if not wrong and read.timeline.is_empty():
            wrong = ["Nothing was filled in."]
        if not wrong:
            _, numbers = ward.enter(person, subject_id, read.timeline)
            return RedirectResponse(f"/patients/{subject_id}/enter?saved={len(numbers)}", 303)
    return _form(request, ward, person, subject_id, wrong=wrong, filled=form)


def _entries(form: Mapping[str, str], now: datetime) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows that a form means, and what is wrong with it as a whole."""
    if (time := intake.time_of(form.get("time", ""))) is None:
        return [], ["The time is missing, or not written as 2026-11-25T14:30."]
    if time > now:
        return [], ["The time lies ahead: only what has happened is entered."]
    rows: list[dict[str, Any]] = []
    for item in (*ROUND, *ICE, *NEURO, Item("capd", ""), Item("ice_baseline", "")):
        if value := form.get(item.code, ""):
            rows.append(_row(time, item.code, text=value) if item.words else _row(time, item.code, number=value, unit=item.unit))
    if drug := form.get("drug", ""):
        if drug not in concepts() or concepts()[drug].kind != "drug":
            return [], ["That drug is not known. Choose one of the list."]
        rows.append(_row(time, drug, number=form.get("dose", ""), unit=form.get("dose_unit", "") or concepts()[drug].unit or ""))
    return rows, []


def _row(time: datetime, code: str, *, number: str = "", text: str = "", unit: str = "") -> dict[str, Any]:
    return {"time": time.isoformat(), "code": code, "numeric_value": number, "text_value": text, "unit": unit if number else ""}


@router.post("/events/{event_id}/withdraw")
def withdraw(ward: TheWard, person: Charting, subject_id: int, event_id: int) -> Response:
    """An entry was wrong: it stays in the history and no longer counts."""
    ward.correct(person, subject_id, event_id, None)
    return RedirectResponse(f"/patients/{subject_id}/enter?saved=1", 303)


@router.post("/events/{event_id}/correct")
def correct(request: Request, ward: TheWard, person: Charting, subject_id: int, event_id: int, form: TheForm) -> Response:
    """Put another value in the place of an entry."""
    with ward.database.reading() as connection:
        former = record.entry(connection, subject_id, event_id)
    if former is None:
        raise InputError("This patient has no event of that number.")
    filled = {"numeric_value": form.get("number", ""), "text_value": form.get("text", "")}
    row = {c: former[c] for c in intake.COLUMNS} | {column: said for column, said in filled.items() if said}
    read = intake.rows([row], subject_id, source=f"entered by {person.name}")
    wrong = [str(said) for said in read.rejected["detail"]]  # of a state a row `unknown` is left beside: that is no correction
    wrong += [f"{note}. Enter it as it is meant." for note in read.timeline["note"].drop_nulls()]
    if not any(filled.values()) or (not wrong and read.timeline.is_empty()):
        wrong = ["Nothing was filled in."]
    if wrong:
        return _form(request, ward, person, subject_id, wrong=wrong)
    kept = {c: former[c] for c in ("time", "attributable_to")}  # what a correction of the value leaves as it was
    if former["code"] == "cart_infusion":
        kept["note"] = former["note"]  # language and hearing; other notes tell how the former value was read
    ward.correct(person, subject_id, event_id, read.timeline.row(0, named=True) | kept)
    return RedirectResponse(f"/patients/{subject_id}/enter?saved=1", 303)
