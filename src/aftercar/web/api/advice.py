"""Options of management with their reasons, doses that were given, and limits. Options, never orders."""

from __future__ import annotations

from aftercar.web.access import Reader, TheWard
from aftercar.web.api.models import Advice, Doses, Option, rows
from aftercar.web.api.models import Limit as LimitRow
from aftercar.web.api.shared import ResultAsked, ThePatient, about, found_of
from aftercar.web.api.shared import router as made

router = made("advice")


@router.get("/patients/{subject_id}/advice", summary="Options, doses and limits")
def advice(ward: TheWard, person: Reader, who: ThePatient, result: ResultAsked = None) -> Advice:
    """What published tables say of the record as it is: options with reasons and sources, the block list, the dose ledger and what is left of each limit."""
    found = found_of(ward, who, result)
    if found is not None:
        found = found.at(ward.now() if result is None else found.as_of)
    ward.note(person, "patient.options.read", who.subject_id, {"version": who.version, "result": result})
    options, ledger, limits = ([], [], []) if found is None else map(rows, (found.advice, found.ledger, found.limits))
    return Advice(
        **about(who, found), profile=ward.book.profile.name, options=[Option.model_validate(r) for r in options],
        ledger=[Doses.model_validate(r) for r in ledger], limits=[LimitRow.model_validate(r) for r in limits],
    )  # fmt: skip
