"""The ward's patients against a stopping boundary, for a safety board: a plan is handed in, and nothing of it is kept."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from aftercar.cohort.needs import need_statistics
from aftercar.errors import AftercarError, InputError
from aftercar.files import toml_of
from aftercar.ward.accounts import Person
from aftercar.ward.ward import Ward
from aftercar.web import cohort, render
from aftercar.web.access import Reader, TheForm, TheWard

router = APIRouter(prefix="/cohort/safety", include_in_schema=False)

MOST_PATIENTS, MOST_TEXT = 1_000, 20_000  # that a plan may have here: a boundary is looked at after each patient
PLAN = """\
title = "Severe CRS or ICANS"
patients = 40                     # planned: the last look is at all of them

[stopping]
method = "bayes"
any_of = [{ scale = "crs", grade = 3 }, { scale = "icans", grade = 3 }]
by_day = 30
limit = 0.25                      # the rate that is still acceptable
certainty = 0.9                   # stop where a rate above it is more probable than this
prior = [0.5, 1.5]                # events and non-events of a beta distribution
first = 5
"""


@router.get("")
def ask(request: Request, person: Reader) -> Response:
    """The plan that is asked for, with one to begin with."""
    return _page(request, person, PLAN)


def _page(request: Request, person: Person, plan: str, wrong: str = "", **shown: Any) -> Response:
    context = {"plan": plan, "wrong": wrong, "found": None, "most": MOST_TEXT} | shown
    return render.page(request, "safety.html.j2", person, 422 if wrong else 200, **context)


@router.post("")
def look(request: Request, ward: TheWard, person: Reader, form: TheForm) -> Response:
    """Look at the ward's patients as the plan says; with `pack` the page for the board, to be kept as a file."""
    need_statistics()
    from aftercar.report import safety as told

    text = form.get("plan", "")
    try:
        found, results = _looked(ward, person, text)
    except AftercarError as error:
        return _page(request, person, text[:MOST_TEXT], str(error))
    if "pack" in form:
        headers = {"Content-Disposition": 'attachment; filename="safety.html"'}
        return Response(told.safety_page(found, results), media_type="text/html", headers=headers)
    lists = {
        state: [r for r in found.patients.iter_rows(named=True) if r["state"] == state] for state in ("event", "undecided", "in the window", "cannot be graded")
    }  # fmt: skip
    return _page(
        request, person, text, found=found, answer=told.answer(found), rule=told.rule_text(found), steps=told.steps_text(found), figure=render.on_page(told.safety_figure(found)),
        cuts=found.cuts.to_dicts(), lists=lists,
    )  # fmt: skip


def _looked(ward: Ward, person: Person, text: str) -> tuple[Any, Any]:
    """What the board is shown, and what it was made from.

    Raises:
        AftercarError: the plan is none, or the ward has nobody whom it is about.
    """
    from aftercar.trial.safety import plan_of, safety
    from aftercar.trial.told import Wrong

    if len(text) > MOST_TEXT:
        raise InputError(f"A plan may have {MOST_TEXT:,} characters here.")
    try:
        plan = plan_of(toml_of(text, "The plan"))
    except Wrong as wrong:
        raise InputError(f"The plan, {str(wrong).strip()} docs/compare.md lists every key.") from None
    if plan.patients > MOST_PATIENTS:
        raise InputError(f"The plan, patients: here up to {MOST_PATIENTS:,}; `aftercar cohort safety` takes more.")
    found = cohort.gathered(ward)
    if found is None:
        raise InputError("No patient is graded yet.")
    ward.note(person, "cohort.safety.read", detail={"patients": len(found.cohort.people)})
    results = cohort.results_of(ward, found.cohort)
    return safety(results, plan), results
