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

from aftercar.errors import NotFound
from aftercar.grade.icans import ICE_ITEMS, ice_of_items
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
    who_is(ward, subject_id)
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
    scores = None if charted is None else _scores(charted.filter(col("time") <= now))
    age = found.course["age_y"] if found and found.course else last.get("age", {}).get("numeric_value")
    return render.page(
        request, "enter.html.j2", person, 422 if wrong else 200, who=who, line=line(who, found, now), round=ROUND, ice=ICE, neuro=NEURO,
        drugs=drugs(), last=last, child=age is not None and age < 12, capd=Item("capd", "CAPD, total", most=32), concepts=concepts(), saved=saved,
        wrong=wrong or [], filled=filled or {}, baseline=_baseline(charted, scores), last_ice=scores.row(-1, named=True) if scores is not None and scores.height else None, recent=_recent(charted),
    )  # fmt: skip


def _scores(charted: pl.DataFrame) -> pl.DataFrame:
    """ICE as charted or as its items leave it, `time, low, high`, in order; as it is graded."""
    numbers = charted.filter(col("numeric_value").is_not_null())
    worst = col("numeric_value").min()
    total = numbers.filter(col("code") == "ice").group_by("time").agg(low=worst, high=worst)
    items = ice_of_items(numbers.filter(col("code").is_in(list(ICE_ITEMS))), "time", col("attributable_to").eq_missing("other"))
    return pl.concat([total, items.join(total, on="time", how="anti").select(total.columns)]).sort("time")


def _baseline(charted: pl.DataFrame | None, scores: pl.DataFrame | None) -> float | None:
    """The ICE score before the infusion: as charted so, or the last whole one of before it."""
    if charted is None or scores is None:
        return None
    said = charted.filter(col("code") == "ice_baseline")["numeric_value"].drop_nulls()
    if said.len():
        return float(said[-1])
    zero: Any = charted.filter(col("code") == "cart_infusion")["time"].min()
    before = scores.filter((col("time") <= zero) & (col("low") == col("high")))["low"] if zero else None
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
            for r in read.timeline.filter(intake.read_otherwise()).iter_rows(named=True)
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
        end, wrong = _end(form.get("end", ""), time, now)
        if wrong:
            return [], [wrong]
        unit = form.get("dose_unit", "") or concepts()[drug].unit or ""
        rows.append(_row(time, drug, number=form.get("dose", ""), unit=unit) | {"end_time": end and end.isoformat()})
    return rows, []


def _end(text: str, start: datetime | None, now: datetime) -> tuple[datetime | None, str]:
    """When something ended, as a form says it, and what is wrong with that; an empty field: it has no end yet."""
    if not text:
        return None, ""
    if (end := intake.time_of(text)) is None:
        return None, "The end is not written as 2026-11-25T14:30."
    if end > now:
        return None, "The end lies ahead: leave it empty while it goes on."
    if start is not None and end <= start:
        return None, "The end lies before the beginning."
    return end, ""


def _row(time: datetime, code: str, *, number: str = "", text: str = "", unit: str = "") -> dict[str, Any]:
    return {"time": time.isoformat(), "code": code, "numeric_value": number, "text_value": text, "unit": unit if number else ""}


@router.post("/events/{event_id}/withdraw")
def withdraw(ward: TheWard, person: Charting, subject_id: int, event_id: int, form: TheForm) -> Response:
    """An entry was wrong: it stays in the history and no longer counts."""
    ward.correct(person, subject_id, event_id, None)
    return _back(subject_id, form)


@router.post("/events/{event_id}/correct")
def correct(request: Request, ward: TheWard, person: Charting, subject_id: int, event_id: int, form: TheForm) -> Response:
    """Put another value, time or end in the place of those of an entry; a field that is not sent stays as it was."""
    with ward.database.reading() as connection:
        former = record.entry(connection, subject_id, event_id)
    if former is None:
        raise NotFound("This patient has no event of that number.")
    times, wrong = _times(former, form, ward.now())
    filled = {"numeric_value": form.get("number", ""), "text_value": form.get("text", "")}
    row = {c: former[c] for c in intake.COLUMNS} | times | {column: said for column, said in filled.items() if said}
    if not wrong and not any(filled.values()) and all(former[c] == time for c, time in times.items()):
        wrong = ["Nothing was filled in."]
    read = intake.rows([row], subject_id, source=f"entered by {person.name}")
    wrong += [str(said) for said in read.rejected["detail"]]  # of a state a row `unknown` is left beside: that is no correction
    wrong += [f"{note}. Enter it as it is meant." for note in read.timeline.filter(intake.read_otherwise())["note"]]
    if not wrong and read.timeline.is_empty():
        wrong = ["Nothing was filled in."]
    if wrong:
        return _form(request, ward, person, subject_id, wrong=wrong)
    kept = times | {"attributable_to": former["attributable_to"]}  # to the second, and what no form asks for
    if former["code"] == "cart_infusion":
        kept["note"] = former["note"]  # language and hearing; other notes tell how the former value was read
    ward.correct(person, subject_id, event_id, read.timeline.row(0, named=True) | kept)
    return _back(subject_id, form)


def _times(former: Mapping[str, Any], form: Mapping[str, str], now: datetime) -> tuple[dict[str, Any], list[str]]:
    """Beginning and end of an entry as a form corrects them, and what is wrong with them. Forms know minutes: one that was not changed keeps its seconds."""
    time, end = former["time"], former["end_time"]
    if form.get("time", _minute(time)) != _minute(time):
        time = intake.time_of(form["time"])
        if time is None:
            return {}, ["The time is missing, or not written as 2026-11-25T14:30."]
        if time > now:
            return {}, ["The time lies ahead: only what has happened is entered."]
    if form.get("end", _minute(end)) != _minute(end):
        end, wrong = _end(form["end"], time, now)
        if wrong:
            return {}, [wrong]
    elif end is not None and time is not None and end < time:
        return {}, ["The end lies before the beginning."]
    return {"time": time, "end_time": end}, []


def _minute(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%dT%H:%M}"


def _back(subject_id: int, form: Mapping[str, str]) -> Response:
    """To the page from which an entry was corrected: that of entries, or the part of the history that was open."""
    before = form.get("before")
    if before is None:
        return RedirectResponse(f"/patients/{subject_id}/enter?saved=1", 303)
    return RedirectResponse(f"/patients/{subject_id}/history?saved=1" + (f"&before={before}" if before.isdecimal() else ""), 303)
