"""Risk scores of a record."""

from __future__ import annotations

from aftercar.risk.run import score_timeline
from aftercar.web.access import Reader, TheWard
from aftercar.web.api.models import Factor, Input, Score, Scores, rows
from aftercar.web.api.shared import ThePatient, about
from aftercar.web.api.shared import router as made

router = made("risk")


@router.get("/patients/{subject_id}/risk", summary="Risk scores")
def risk(ward: TheWard, person: Reader, who: ThePatient) -> Scores:
    """Published scores with what their missing inputs leave open, what they were computed of, and risk factors. An association in a cohort, no forecast for a person."""
    found = ward.found(who.subject_id)
    ward.note(person, "patient.risk.read", who.subject_id, {"version": who.version})
    if found is None:
        return Scores(**about(who, None), scores=[], inputs=[], factors=[])
    scored = score_timeline(ward.timeline(who.subject_id, found.version), worst=found.worst)
    return Scores(
        **about(who, found), scores=[Score.model_validate(r) for r in rows(scored.scores)],
        inputs=[Input.model_validate(r) for r in rows(scored.inputs)], factors=[Factor.model_validate(r) for r in rows(scored.factors)],
    )  # fmt: skip
