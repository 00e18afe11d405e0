"""Registering a patient, and recording an infusion."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from polars import col, lit

from aftercar.errors import AftercarError, InputError
from aftercar.evidence import table
from aftercar.timeline.concepts import concepts
from aftercar.ward import intake
from aftercar.ward.accounts import Person
from aftercar.ward.overview import line
from aftercar.ward.ward import Ward
from aftercar.web import render
from aftercar.web.access import Charting, TheForm, TheWard
from aftercar.web.pages.patient import who_is

router = APIRouter(prefix="/patients", include_in_schema=False)

# What a stream is that may be declared complete, in words.
STREAMS = {
    "drugs": "drugs given", "seizure": "seizures", "motor": "motor weakness", "icp": "signs of raised intracranial pressure",
    "organ": "organ findings", "symptoms": "symptoms",
}  # fmt: skip
HEARING = ("normal", "impaired", "deaf", "hearing aid")


@router.get("/new")
def ask(request: Request, ward: TheWard, person: Charting) -> Response:
    """The form."""
    ward.note(person, "patient.new.read")
    return _form(request, person, {"complete_drugs": "on"})


def _form(request: Request, person: Person, filled: dict[str, str], wrong: str = "") -> Response:
    return render.page(
        request, "new_patient.html.j2", person, 422 if wrong else 200, filled=filled, wrong=wrong, streams=STREAMS, hearing=HEARING, sexes=concepts()["sex"].values,
        products=_known("product_alias"), diseases=_known("disease_group"),
    )  # fmt: skip


def _known(column: str) -> list[str]:
    return table("trials")[column].drop_nulls().unique().sort().to_list()


@router.post("/new")
def register(request: Request, ward: TheWard, person: Charting, form: TheForm) -> Response:
    """Register with all that the form says, or nothing."""
    try:
        complete = [stream for stream in STREAMS if form.get(f"complete_{stream}")]
        number = ward.register(person, form.get("label", ""), _said(form, ward.now(), person, needed=False), complete)
    except AftercarError as error:
        return _form(request, person, form, str(error))
    return RedirectResponse(f"/patients/{number}", 303)


@router.get("/{subject_id}/infusion")
def ask_infusion(request: Request, ward: TheWard, person: Charting, subject_id: int) -> Response:
    """The form for an infusion of a patient who is registered."""
    who_is(ward, subject_id)
    ward.note(person, "patient.infusion.read", subject_id)
    return _infusion_form(request, ward, person, subject_id, {})


def _infusion_form(
    request: Request, ward: Ward, person: Person, subject_id: int, filled: dict[str, str], wrong: str = ""
) -> Response:
    who = who_is(ward, subject_id)
    return render.page(
        request, "infusion.html.j2", person, 422 if wrong else 200, who=who, line=line(who, ward.ready(who), ward.now()), filled=filled, wrong=wrong,
        products=_known("product_alias"), hearing=HEARING,
    )  # fmt: skip


@router.post("/{subject_id}/infusion")
def infuse(request: Request, ward: TheWard, person: Charting, subject_id: int, form: TheForm) -> Response:
    """Record an infusion; a patient may have several."""
    who_is(ward, subject_id)
    try:
        ward.enter(person, subject_id, _said(form, ward.now(), person, needed=True)(subject_id))
    except AftercarError as error:
        return _infusion_form(request, ward, person, subject_id, form, str(error))
    return RedirectResponse(f"/patients/{subject_id}", 303)


def _said(form: dict[str, str], now: datetime, person: Person, *, needed: bool) -> Callable[[int], pl.DataFrame]:
    """What a form says of a patient, as events.

    Args:
        needed: whether there must be an infusion.
    Raises:
        InputError: a time that is none or lies ahead; an infusion without a product, or without a time where it is needed.
    """
    told = form.get("infused", "")
    infused = _time(told, now) if told else None
    if infused is None and (needed or form.get("product")):
        raise InputError("Give the time of the infusion. One that lies ahead is recorded when it was given.")
    if infused is not None and not form.get("product"):
        raise InputError("Name the product that was infused.")
    at = (infused or now.replace(second=0, microsecond=0)).isoformat()
    entries: list[dict[str, Any]] = [{"time": at, "code": "cart_infusion", "text_value": form["product"]}] if infused else []
    entries += [{"time": at, "code": code, "text_value": form[code]} for code in ("disease", "sex") if form.get(code)]
    numbers = [code for code in ("age", "weight", "ice_baseline") if form.get(code)]
    entries += [{"time": at, "code": code, "numeric_value": form[code], "unit": concepts()[code].unit} for code in numbers]
    spoken = [f"{what}: {form[what]}" for what in ("language", "hearing") if form.get(what)]
    if spoken and infused is None:
        raise InputError("Language and hearing are kept with the infusion: give its time too, or leave them for then.")

    def rows(number: int) -> pl.DataFrame:
        read = intake.rows(entries, number, source=f"entered by {person.name}")
        if read.rejected.height:
            raise InputError(
                "; ".join(
                    f"{entries[r['row'] - 1]['code'].replace('_', ' ')}: {r['detail']}"
                    for r in read.rejected.iter_rows(named=True)
                )
            )
        # Who examines should know of what makes ICE fail without ICANS; it stands beside the entry of ICE.
        return read.timeline.with_columns(
            note=pl.when(col("code") == "cart_infusion").then(lit("; ".join(spoken) or None, pl.String)).otherwise("note")
        )

    return rows


def _time(text: str, now: datetime) -> datetime:
    if (time := intake.time_of(text)) is None:
        raise InputError("A time is written as 2026-11-25T14:30.")
    if time > now:
        raise InputError("The time of the infusion lies ahead: only what has happened is entered. Leave it for then.")
    return time
