"""Two readers say which grade it was and lock it, and what had another cause. Nothing said is overwritten, and who has not graded does not see others' grades."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from polars import col, lit

from aftercar.errors import AftercarError, InputError
from aftercar.grade.adjudicate import (
    KEY,
    agree_said,
    agreed,
    blind,
    grades_said,
    highest_grades,
    history,
    locks,
    one_key,
    readings,
    unlock_said,
    with_family,
)
from aftercar.report import other
from aftercar.report.names import in_order, scale_name, toxicity_name
from aftercar.timeline.schema import ATTRIBUTIONS
from aftercar.timeline.statements import as_given, attributions, resolved
from aftercar.ward import statements
from aftercar.ward.accounts import Person
from aftercar.ward.found import NOW, Found
from aftercar.ward.overview import line
from aftercar.ward.ward import Ward
from aftercar.web import course, render
from aftercar.web.access import Adjudicator, TheForm, TheSettings, TheWard
from aftercar.web.pages.patient import who_is

router = APIRouter(prefix="/patients/{subject_id}/adjudicate", include_in_schema=False)

CAUSES = dict(zip(ATTRIBUTIONS, ("the CAR-T therapy", "another cause", "not known"), strict=True))
MOST_EVENTS = 500  # attributed at once


@dataclass(frozen=True)
class Question:
    """A toxicity of a course, as one reader may see it.

    Attributes:
        software: what the software found at worst.
        shown: whether it stands first: something was found, or somebody said something.
        choices: the grades that the scale has.
        mine: the reader's latest grade.
        others: latest grades of other readers; empty until the reader has graded.
        waiting: who has agreed to lock.
        locked: the grade that two readers locked, `by` them, `at` a time.
        may_agree: whether the reader can agree to lock now.
        outdated: the record has changed since the reader graded, or since it was locked.
    """

    infusion: int
    toxicity: str
    scale: str
    software: str
    shown: bool
    choices: tuple[int, ...]
    mine: int | None
    others: tuple[tuple[str, int], ...]
    graded_by_others: int
    waiting: tuple[str, ...]
    locked: dict[str, Any] | None
    may_agree: bool
    outdated: bool

    @property
    def anchor(self) -> str:
        """Where it stands on the page."""
        return f"{self.toxicity}-{self.infusion}"

    @property
    def name(self) -> str:
        """The toxicity and its scale in words."""
        name, scale = toxicity_name(self.toxicity), scale_name(self.scale)
        return scale if scale.replace(",", "").startswith(name.replace(",", "")) else f"{name}, {scale}"


@router.get("")
def ask(request: Request, ward: TheWard, settings: TheSettings, person: Adjudicator, subject_id: int) -> Response:
    """What can be graded, locked and attributed, and what was said."""
    who_is(ward, subject_id)
    ward.note(person, "patient.adjudication.read", subject_id)
    return _page(request, ward, person, subject_id, alone=settings.alone is not None)


def _page(
    request: Request, ward: Ward, person: Person, subject_id: int, *, alone: bool, wrong: str = "", filled: dict[str, str] | None = None
) -> Response:  # fmt: skip
    who, found = who_is(ward, subject_id), ward.found(subject_id)
    if found is None:
        return render.page(request, "blank.html.j2", person, who=who, line=line(who, None, ward.now()))
    with ward.database.reading() as connection:
        log, versions = statements.log(connection, subject_id), statements.versions(connection, subject_id)
    charted = ward.timeline(subject_id, found.version)
    return render.page(
        request, "adjudicate.html.j2", person, 422 if wrong else 200, who=who, line=line(who, found, ward.now()), found=found, wrong=wrong, one_person=alone,
        questions=_questions(found, log, versions, person.name), several=found.subjects.height > 1, filled=filled or {}, causes=CAUSES,
        held=course.held(found, charted, NOW), attributed=_attributed(charted, log),
        said=blind(history(log), person.name).sort("n", descending=True).to_dicts(), me=person.name,
    )  # fmt: skip


def _questions(found: Found, log: pl.DataFrame, versions: dict[int, int], reader: str) -> list[Question]:
    """A question for each default scale and course; but for CRS and ICANS those of which nothing was charted are left out, unless somebody graded them."""
    worst = with_family(other.parted(found.worst)[0])
    said = readings(log).filter(col("reading") == "latest").partition_by(KEY, as_dict=True)
    # After a lock `readings` leaves later grades out, which is right here too: they count again when it is opened.
    held = {tuple(row[k] for k in KEY): row for row in locks(log).iter_rows(named=True)}
    waits = {key: tuple(own["rater"].unique().sort()) for key, own in agreed(log).partition_by(KEY, as_dict=True).items()}
    highest, order = highest_grades(), in_order(worst["toxicity"])
    questions: list[Question] = []
    for row in worst.iter_rows(named=True):
        key = tuple(row[k] for k in KEY)
        latest = {r["rater"]: r["grade"] for r in said[key].iter_rows(named=True)} if key in said else {}
        if not latest and (row["status"] == "not_applicable" or not (row["assessed"] or row["toxicity"] in NOW)):
            continue
        own = next((grade for rater, grade in latest.items() if rater.lower() == reader.lower()), None)
        # What the grade in force was given on: that of the lock, else the reader's own.
        given = (
            held[key]["n"]
            if key in held
            else next((r["n"] for r in said[key].iter_rows(named=True) if r["rater"].lower() == reader.lower()), None)
            if key in said
            else None
        )
        others = {rater: grade for rater, grade in latest.items() if rater.lower() != reader.lower()}
        waiting = waits.get(key, ())
        agree = own is not None and own in others.values() and key not in held and reader not in waiting
        questions.append(
            Question(
                row["infusion"], row["toxicity"], row["scale"], other.answer(row), bool(latest or row["grade_upper"] or row["toxicity"] in NOW),
                tuple(range(highest.get(row["scale"], 5) + 1)), own, tuple(others.items()) if own is not None or key in held else (), len(others), waiting,
                held.get(key), agree, given is not None and versions[given] < found.version,
            )
        )  # fmt: skip
    return sorted(questions, key=lambda q: (q.infusion, order.index(q.toxicity)))


def _attributed(charted: pl.DataFrame, log: pl.DataFrame) -> list[dict[str, Any]]:
    """Events of which somebody said what they came from, with what was said."""
    said = resolved(log).select("event_id", "by", cause="attributable_to")
    return said.join(charted, on="event_id", how="left").sort("time", "event_id").to_dicts()


# ---- what is said


def _kept(
    request: Request, ward: Ward, settings: TheSettings, person: Person, subject_id: int, form: dict[str, str],
    said: Callable[[pl.DataFrame], pl.DataFrame], action: str, anchor: str,
) -> Response:  # fmt: skip
    """Say it, and back to the page; with what was wrong where it cannot be said."""
    try:
        ward.say(person, subject_id, said, action)
    except AftercarError as error:
        return _page(request, ward, person, subject_id, alone=settings.alone is not None, wrong=str(error), filled=form)
    return RedirectResponse(f"/patients/{subject_id}/adjudicate#{anchor}", 303)


def _worst(ward: Ward, subject_id: int) -> pl.DataFrame:
    """What can be graded.

    Raises:
        InputError: nothing is charted of the patient.
    """
    found = ward.found(subject_id)
    if found is None:
        raise InputError("Nothing is charted of this patient: there is nothing to grade.")
    return found.worst


def _about(ward: Ward, subject_id: int, form: dict[str, str]) -> dict[str, Any]:
    infusion = form.get("infusion", "")
    if not infusion.isdecimal():
        raise InputError("Say of which infusion.")
    return one_key(_worst(ward, subject_id), str(subject_id), form.get("toxicity", ""), int(infusion), form.get("scale"))


def _good(rows: pl.DataFrame, bad: pl.DataFrame) -> pl.DataFrame:
    """The rows, where none of them is bad.

    Raises:
        InputError: what is wrong, each once.
    """
    if bad.height:
        wrong = bad.select("column", "reason").unique(maintain_order=True)
        raise InputError("; ".join(f"{column}: {reason}" for column, reason in wrong.iter_rows()) + ".")
    return rows


def _anchor(form: dict[str, str]) -> str:
    return f"{form.get('toxicity', '')}-{form.get('infusion', '')}"


@router.post("/grade")
def grade(
    request: Request, ward: TheWard, settings: TheSettings, person: Adjudicator, subject_id: int, form: TheForm
) -> Response:
    """A reader's grade, beside the former ones."""
    who_is(ward, subject_id)

    def said(log: pl.DataFrame) -> pl.DataFrame:
        here = with_family(pl.DataFrame([_about(ward, subject_id, form)])).row(0, named=True)
        held = locks(log).filter(col("infusion") == here["infusion"], toxicity=here["toxicity"], family=here["family"])
        if held.height:  # the page that was sent is older than the lock
            raise InputError(
                f"{' and '.join(held['by'][0])} locked grade {held['grade'][0]} meanwhile. Open the lock first, with the reason."
            )
        given = {c: form.get(c) or None for c in ("infusion", "toxicity", "scale", "grade", "comment")}
        rows = as_given(pl.DataFrame([given | {"subject_id": str(subject_id), "rater": person.name, "said_at": None}]))
        return _good(*grades_said(worst, rows))

    worst = _worst(ward, subject_id)
    return _kept(request, ward, settings, person, subject_id, form, said, "statement.grade", _anchor(form))


@router.post("/agree")
def agree(
    request: Request, ward: TheWard, settings: TheSettings, person: Adjudicator, subject_id: int, form: TheForm
) -> Response:
    """Agree to lock one's grade; it is locked when a second reader agrees to the same."""
    about = _about(ward, subject_id, form)
    comment = form.get("comment") or None
    return _kept(
        request, ward, settings, person, subject_id, form, lambda log: agree_said(log, about, person.name, comment), "statement.lock", _anchor(form)
    )  # fmt: skip


@router.post("/unlock")
def unlock(
    request: Request, ward: TheWard, settings: TheSettings, person: Adjudicator, subject_id: int, form: TheForm
) -> Response:
    """Open a lock, with a reason."""
    about = _about(ward, subject_id, form)
    reason = form.get("comment", "")
    return _kept(
        request, ward, settings, person, subject_id, form, lambda log: unlock_said(log, about, person.name, reason), "statement.unlock", _anchor(form)
    )  # fmt: skip


async def ticked(request: Request) -> list[str]:
    """The events that a form ticks or names."""
    sent = await request.form()
    named = [v for v in sent.getlist("event") if isinstance(v, str)] + str(sent.get("events", "")).replace(",", " ").split()
    return list(dict.fromkeys(named))


@router.post("/attribute")
def attribute(
    request: Request, ward: TheWard, settings: TheSettings, person: Adjudicator, subject_id: int, form: TheForm,
    events: Annotated[list[str], Depends(ticked)],
) -> Response:  # fmt: skip
    """What events came from. The record is graded anew with it."""
    charted = ward.timeline(subject_id).lazy().filter(col("event_id") >= 0)

    def said(_: pl.DataFrame) -> pl.DataFrame:
        if not 0 < len(events) <= MOST_EVENTS:
            raise InputError(f"Tick the events that you speak of, up to {MOST_EVENTS}.")
        rows = as_given(pl.DataFrame({"event_id": events}).with_columns(
            lit(value, pl.String).alias(c)
            for c, value in {"subject_id": str(subject_id), "attributable_to": form.get("cause"), "rater": person.name, "said_at": None, "comment": form.get("comment")}.items()
        ))  # fmt: skip
        return _good(*attributions(charted, rows))

    return _kept(request, ward, settings, person, subject_id, form, said, "statement.attribution", "causes")
