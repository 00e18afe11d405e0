"""The services of CDS Hooks 2.0: discovery, `patient-view`, `order-sign`, and what was done with the cards.

No cookie counts here: a record system shows a signed token with every call, or, where nobody signs in, whoever is on this machine may ask.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from aftercar.ward import audit
from aftercar.ward.database import utc
from aftercar.ward.overview import line
from aftercar.ward.tables import feedback
from aftercar.ward.ward import Ward
from aftercar.web.access import TheSettings, TheWard, base_of
from aftercar.web.api.shared import PROBLEMS
from aftercar.web.api.writes import TheBody
from aftercar.web.cds.cards import Card, Place, death_card, grade_card, option_cards
from aftercar.web.cds.orders import order_cards, orders
from aftercar.web.cds.reading import Hook, Seen, patient
from aftercar.web.cds.token import AnyCaller, Caller, TheCaller
from aftercar.web.fhir_server import TEMPLATES
from aftercar.web.middleware import HOOKS
from aftercar.web.render import zone_name
from aftercar.web.settings import Settings

router = APIRouter(prefix=HOOKS, tags=["CDS Hooks"], responses=PROBLEMS)

EHR = "(record system)"  # in the audit trail; which one, and whose hand, stands beside it
_USAGE = "Derived by software from the record, not adjudicated; options, never orders. Better with all prefetch or access to the FHIR server."


class Service(BaseModel):
    """A service as discovery tells it."""

    hook: str
    title: str
    description: str
    id: str
    prefetch: dict[str, str]
    usageRequirements: str


class Services(BaseModel):
    """All services."""

    services: list[Service]


class Cards(BaseModel):
    """The answer of a service."""

    cards: list[Card]


class Accepted(BaseModel):
    """A suggestion that was taken."""

    id: Annotated[str, Field(max_length=100)]


class Override(BaseModel):
    """Why a card was overridden."""

    reason: dict[str, Any] | None = None
    userComment: Annotated[str | None, Field(max_length=4000)] = None


class Outcome(BaseModel):
    """What was done with a card."""

    card: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
    outcome: Literal["accepted", "overridden"]
    acceptedSuggestions: Annotated[list[Accepted] | None, Field(max_length=100)] = None
    overrideReason: Override | None = None
    outcomeTimestamp: AwareDatetime


class Feedback(BaseModel):
    """What was done with cards."""

    feedback: Annotated[list[Outcome], Field(min_length=1, max_length=1000)]


class Received(BaseModel):
    """How many outcomes were kept."""

    received: int


@dataclass(frozen=True)
class _Kind:
    service: Service
    cards: Callable[[Ward, Settings, Hook, Seen, Place], list[Card]]


def _view(ward: Ward, settings: Settings, hook: Hook, seen: Seen, place: Place) -> list[Card]:
    told = line(seen.who, seen.found, place.now)
    if seen.deceased and told.infused is not None:
        return [death_card(seen, told, place)]
    first = grade_card(seen, told, place)
    return [*([first] if first else []), *option_cards(seen, told, place)]


def _sign(ward: Ward, settings: Settings, hook: Hook, seen: Seen, place: Place) -> list[Card]:
    return order_cards(seen, orders(hook.context.draftOrders, settings.mapping), ward.book, place)


SERVICES = {
    kind.service.id: kind
    for kind in (
        _Kind(
            Service(
                hook="patient-view", title="Grades after CAR-T", id="aftercar-grades", prefetch=TEMPLATES, usageRequirements=_USAGE,
                description="Grades of CRS and ICANS now, with bounds where data are missing and what would settle them, and options with their sources.",
            ),
            _view,
        ),
        _Kind(
            Service(
                hook="order-sign", title="Doses after CAR-T", id="aftercar-doses", prefetch=TEMPLATES, usageRequirements=_USAGE,
                description="Draft orders of tocilizumab, corticosteroids and others against what was given, the limits and the block list.",
            ),
            _sign,
        ),
    )
}  # fmt: skip


@router.get("", summary="Discovery")
def discovery(caller: AnyCaller) -> Services:
    """The services, and the prefetch that each asks for. Public on purpose: it tells nothing of anybody."""
    return Services(services=[kind.service for kind in SERVICES.values()])


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a call in OpenAPI; it is read whatever its content type is called, for record systems differ."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


B = TypeVar("B", bound=BaseModel)


def _read(body: bytes, model: type[B]) -> B:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors(include_input=False)[:10])
        raise HTTPException(422, said) from None


def _kind(service_id: str) -> _Kind:
    if service_id not in SERVICES:
        raise HTTPException(404, f"There is no service of that id: {', '.join(SERVICES)}.")
    return SERVICES[service_id]


@router.post("/{service_id}", response_model=Cards, summary="Call a service", openapi_extra=_schema(Hook))
def call(request: Request, ward: TheWard, settings: TheSettings, caller: TheCaller, service_id: str, body: TheBody) -> Response:
    """Cards for the patient in context; an empty list where the patient had no CAR-T infusion or there is nothing to say."""
    request.app.state.hook_pace.take(caller.name)
    kind, hook = _kind(service_id), _read(body, Hook)
    if hook.hook != kind.service.hook:
        raise HTTPException(400, f"This service is for the hook {kind.service.hook}.")
    seen = patient(ward, settings, request.app.state.hook_memory, hook)
    place = Place(base_of(request, settings), settings.smart is not None, ward.now(), zone_name(ward))
    cards = kind.cards(ward, settings, hook, seen, place)
    _note(ward, caller, f"cds.{kind.service.hook}", seen, hook, cards)
    return JSONResponse(Cards(cards=cards).model_dump(exclude_none=True))


def _note(ward: Ward, caller: Caller, action: str, seen: Seen, hook: Hook, cards: list[Card]) -> None:
    """A line of the audit trail; of a patient who is not of the ward it knows no number, and none is written."""
    told = {
        "issuer": caller.issuer,
        "user": hook.context.userId,
        "call": hook.hookInstance,
        "from": seen.origin,
        "cards": [c.uuid for c in cards],
    }
    ward.note(EHR, action, seen.who.subject_id or None, told)


@router.post("/{service_id}/feedback", summary="What was done with cards", openapi_extra=_schema(Feedback))
def give_feedback(request: Request, ward: TheWard, caller: TheCaller, service_id: str, body: TheBody) -> Received:
    """Cards that were accepted or overridden, and why."""
    request.app.state.hook_pace.take(caller.name)
    kind, told = _kind(service_id), _read(body, Feedback)
    now = utc()
    rows = [
        {"service": kind.service.id, "card": o.card, "outcome": o.outcome, "told": json.dumps(o.model_dump(mode="json", exclude_none=True)), "received_at": now}
        for o in told.feedback
    ]  # fmt: skip
    with ward.database.writing() as connection:
        connection.execute(feedback.insert(), rows)
        audit.note(
            connection, EHR, "cds.feedback", detail={"issuer": caller.issuer, "service": kind.service.id, "outcomes": len(rows)}
        )
    return Received(received=len(rows))
