"""The draft of a registry form for a patient: every field with its answer, its rule and the rows behind it, to accept, correct or mark unknown."""

from __future__ import annotations

import io
import zipfile
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from polars import col

from aftercar.errors import AftercarError, OptionError
from aftercar.registry import export
from aftercar.registry.decisions import DECIDED, NONE
from aftercar.registry.draft import HANGS, Draft
from aftercar.registry.forms import CODED, NAMES, form_named
from aftercar.registry.periods import NAMES as PERIODS
from aftercar.registry.periods import kind_of
from aftercar.ward.accounts import Person, Right
from aftercar.ward.overview import line
from aftercar.ward.ward import Ward
from aftercar.web import registry, render
from aftercar.web.access import Adjudicator, Reader, TheForm, TheWard
from aftercar.web.pages.patient import who_is

router = APIRouter(prefix="/patients/{subject_id}/registry", include_in_schema=False)

USUAL = NAMES[0]
REVIEWS = {"open": "open", "accepted": "accepted", "corrected": "corrected", "marked_unknown": "marked unknown", "changed": "changed since it was decided", "not_asked": "not asked"}  # fmt: skip


@router.get("")
def see(request: Request, ward: TheWard, person: Reader, subject_id: int, form: str = USUAL, period: str = "") -> Response:
    """The draft as the record stands now."""
    who_is(ward, subject_id)
    ward.note(person, "registry.read", subject_id, {"form": form_named(form).id})
    return _page(request, ward, person, subject_id, form, period)


def _page(request: Request, ward: Ward, person: Person, subject_id: int, form: str, period: str, wrong: str = "") -> Response:
    who = who_is(ward, subject_id)
    chosen = form_named(form)
    asked = {"form": form, "period": period}
    forms = {name: form_named(name).title for name in NAMES}
    common: dict[str, Any] = {
        "who": who, "line": line(who, ward.ready(who), ward.now()), "asked": asked, "forms": forms, "periods": [p for p in PERIODS if kind_of(p) in chosen.periods], "wrong": wrong,
        "may_decide": person.may(Right.ADJUDICATE), "form": chosen,
    }  # fmt: skip
    if not who.version:
        return render.page(request, "registry.html.j2", person, 422 if wrong else 200, **common, draft=None)
    draft, rows = registry.drafted(ward, who, form, period or None)
    asked["period"] = draft.periods[0]
    courses = {r["infusion"]: r for r in draft.courses.iter_rows(named=True)}
    return render.page(
        request, "registry.html.j2", person, 422 if wrong else 200, **common, draft=draft, courses=[(courses[i], _groups(draft, own)) for (i,), own in rows.group_by("infusion", maintain_order=True)],
        counts={REVIEWS[str(r)]: n for r, n in rows.group_by("review").len().sort("review").iter_rows()},
    )  # fmt: skip


def _groups(draft: Draft, rows: pl.DataFrame) -> dict[str, Any]:
    """The answers of a course by the parts of the form; those that hang on an unknown one, and those that are not asked, are counted."""
    fields = {f.id: f for f in draft.form.fields}
    behind = {r["event_id"]: r for r in draft.evidence.iter_rows(named=True)}
    shown: dict[str, list[dict[str, Any]]] = {}
    hanging = not_asked = 0
    for row in rows.iter_rows(named=True):
        review = str(row["review"])
        if review == "not_asked":
            not_asked += 1
        elif row["reason"].startswith(HANGS) and review == "open":
            hanging += 1
        else:
            one = fields[row["field"]]
            told = {
                "told": REVIEWS[review], "settled": review in DECIDED, "drafted": row["answer"] if row["answer"] is not None else NONE, "choices": one.choices if one.type in CODED else (),
                "type": one.type, "rows": [behind[e] for e in row["evidence"] or [] if e in behind],
            }  # fmt: skip
            shown.setdefault(row["group"], []).append(row | told)
    return {"shown": shown, "hanging": hanging, "not_asked": not_asked}


async def ticked(request: Request) -> list[str]:
    """What a form ticks: `infusion field drafted`, each."""
    return [v for v in (await request.form()).getlist("accept") if isinstance(v, str)]


@router.post("")
def decide(
    request: Request, ward: TheWard, person: Adjudicator, subject_id: int, form: TheForm, accepted: Annotated[list[str], Depends(ticked)]
) -> Response:  # fmt: skip
    """Accept what is ticked; or correct one answer, or mark it unknown."""
    who = who_is(ward, subject_id)
    name, period, comment = form.get("form", ""), form.get("period", ""), form.get("comment") or None
    try:
        given = [_accepted(value, comment) for value in accepted]
        if not given:
            told = {key: form.get(key) or None for key in ("infusion", "field", "decision", "answer", "drafted")}
            given = [told | {"comment": comment, "answer": told["answer"] if told["decision"] == "correct" else None}]
        registry.decide(ward, person, who, name, period, given)
    except AftercarError as error:
        form_named(name)  # where there is none, there is no page to come back to
        return _page(request, ward, person, subject_id, name, period, str(error))
    anchor = "" if accepted else f"#{form.get('field', '')}-{form.get('infusion', '')}"
    return RedirectResponse(f"/patients/{subject_id}/registry?form={name}&period={period}{anchor}", 303)


def _accepted(value: str, comment: str | None) -> dict[str, str | None]:
    infusion, field, drafted = (*value.split(" ", 2), "", "")[:3]
    return {"infusion": infusion, "field": field, "decision": "accept", "answer": None, "drafted": drafted, "comment": comment}


@router.get("/export")
def hand_on(
    ward: TheWard, person: Reader, subject_id: int, form: str = USUAL, period: str = "", kind: str = "csv", only: str = "all"
) -> Response:  # fmt: skip
    """The answers as CSV, or for REDCap: the dictionary and the file to import, in one archive."""
    who = who_is(ward, subject_id)
    if kind not in ("csv", "redcap") or only not in ("all", "accepted"):
        raise OptionError("The kind is csv or redcap, and answers are all or accepted.")
    draft, rows = registry.labelled(who, *registry.drafted(ward, who, form, period or None))
    ward.note(person, "registry.export", subject_id, {"form": draft.form.id, "kind": kind, "answers": only})
    stem = f"{draft.form.id}-patient-{subject_id}"
    if kind == "csv":
        table = export.long(draft, rows, "all" if only == "all" else "accepted")
        lists = [c for c, t in table.schema.items() if t == pl.List]
        text = table.with_columns(col(c).cast(pl.List(pl.String)).list.join("; ") for c in lists).write_csv()
        return _file(text.encode(), f"{stem}.csv", "text/csv; charset=utf-8")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("dictionary.csv", export.dictionary(draft).write_csv())
        packed.writestr("import.csv", export.redcap(draft, rows, "all" if only == "all" else "accepted").write_csv())
    return _file(archive.getvalue(), f"{stem}-redcap.zip", "application/zip")


def _file(content: bytes, name: str, kind: str) -> Response:
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
