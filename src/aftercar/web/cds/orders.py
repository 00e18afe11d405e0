"""Draft orders against what was given: limits that are reached, the block list, and doses above the table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from polars import col

from aftercar.manage.doses import TO_MG
from aftercar.manage.rules import RuleBook
from aftercar.timeline.concepts import codes, concepts, of_group
from aftercar.timeline.readers.fhir import SYSTEMS
from aftercar.timeline.readers.mapping import Mappings
from aftercar.ward.found import Found
from aftercar.web.cds.cards import Card, Place, about, option_line, several, short, source
from aftercar.web.cds.reading import Seen
from aftercar.web.render import when

_ORDERS = ("MedicationRequest", "MedicationOrder")  # of R4, and of DSTU2
_GONE = ("cancelled", "entered-in-error", "stopped", "completed")
_ABOVE = 1.05  # a dose is above the table from here on: ampoules are rounded
_BLOCKED = {"blocked": "on the block list", "perhaps_blocked": "perhaps on the block list: measure first"}


@dataclass(frozen=True)
class Order:
    """A drug that is about to be ordered; `mg` of one dose, where the draft says it in a unit that can be read."""

    drug: str
    mg: float | None


def orders(bundle: Mapping[str, Any] | None, told: Mappings) -> list[Order]:
    """The drugs of a Bundle of draft orders that we know; each once."""
    entries = (bundle or {}).get("entry")
    resources = (
        [e["resource"] for e in entries if isinstance(e, Mapping) and isinstance(e.get("resource"), Mapping)]
        if isinstance(entries, list)
        else []
    )
    found: dict[Order, None] = {}
    for resource in resources:
        if resource.get("resourceType") in _ORDERS and resource.get("status") not in _GONE:
            drug = next((d for d in (_drug(c, told) for c in _codings(resource, resources)) if d), None)
            if drug:
                found[Order(drug, _mg(resource))] = None
    return list(found)


def _codings(order: Mapping[str, Any], others: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Codes and words of the medication of an order: `SYSTEM//CODE` and what is shown."""
    concept = order.get("medicationCodeableConcept")
    if not isinstance(concept, Mapping):
        reference = order.get("medicationReference")
        name = str(reference.get("reference", "")) if isinstance(reference, Mapping) else ""
        inside = order.get("contained")
        pool = [r for r in [*(inside if isinstance(inside, list) else []), *others] if isinstance(r, Mapping)]
        concept = next((r.get("code") for r in pool if r.get("id") and name in (f"#{r['id']}", f"Medication/{r['id']}")), None)
    if not isinstance(concept, Mapping):
        return
    listed = concept.get("coding")
    for coding in listed if isinstance(listed, list) else []:
        if isinstance(coding, Mapping):
            system = str(coding.get("system") or "")
            yield f"{SYSTEMS.get(system, system)}//{coding.get('code')}", str(coding.get("display") or "")
    yield "", str(concept.get("text") or "")


def _drug(said: tuple[str, str], told: Mappings) -> str | None:
    """Our drug by its code; else by its name as a word of what is shown, for record systems order packages that have codes of their own."""
    code, shown = said
    mapped = told.parts[-1].codes.get(code)
    name = mapped.concept if mapped else codes().get(code)
    if name and concepts()[name].kind == "drug":
        return name
    words = set(re.findall(r"[a-z]+(?:-[a-z]+)*", shown.casefold()))
    return next((name for label, name in _by_name().items() if label in words), None)


@cache
def _by_name() -> dict[str, str]:
    """Drugs by the one word that they are called by."""
    drugs = {name: c for name, c in concepts().items() if c.kind == "drug"}
    return {
        label.casefold(): name for name, c in drugs.items() for label in (name, c.label) if re.fullmatch(r"[A-Za-z-]+", label)
    }


def _mg(order: Mapping[str, Any]) -> float | None:
    """The dose that a draft says, where it is a mass."""
    listed = order.get("dosageInstruction")
    for dosage in listed if isinstance(listed, list) else []:
        rates = dosage.get("doseAndRate") if isinstance(dosage, Mapping) else None
        for rate in [*(rates if isinstance(rates, list) else []), dosage]:
            quantity = rate.get("doseQuantity") if isinstance(rate, Mapping) else None
            if isinstance(quantity, Mapping) and isinstance(quantity.get("value"), int | float):
                factor = TO_MG.get(str(quantity.get("code") or quantity.get("unit")))
                return None if factor is None else float(quantity["value"]) * factor
    return None


def order_cards(seen: Seen, drafts: list[Order], book: RuleBook, place: Place) -> list[Card]:
    """A card for each draft that a limit, the block list or the table of doses speaks to, and for a steroid what was given so far."""
    if seen.found is None or seen.found.subjects.is_empty():
        return []
    cards = [card for draft in drafts for card in _cards(seen.found, draft, book)]
    return [c.model_copy(update={"detail": f"{c.detail}\n\nInformation, no order. {about(seen, place)}"}) for c in cards]


def _cards(found: Found, draft: Order, book: RuleBook) -> Iterator[Card]:
    course = found.subjects["infusion"][-1]
    name = concepts()[draft.drug].label
    limit = next(found.limits.filter(col("infusion") == course, col("drug") == draft.drug).iter_rows(named=True), None)
    named = {draft.drug, *concepts()[draft.drug].groups}
    blocked = [
        r for r in found.advice.filter(col("infusion") == course).iter_rows(named=True) if r["status"] in _BLOCKED and named & set(r["blocks"] or ())
    ]  # fmt: skip
    given = f"doses given: {limit['n']}, in 24 h: {limit['n_24h']}" if limit else ""
    after = f"the interval ends {when(limit['next'])}" if limit and limit["next"] and "interval" in limit["reached"] else ""
    for row in blocked:
        yield Card(
            summary=short(f"{row['option']}" + (f"; {after}" if after else "")), indicator="warning", source=source(row["source"]),
            detail="\n".join([option_line(row), f"- {name} {_BLOCKED[row['status']]}", *(f"- {t}" for t in (given, after) if t)]),
        )  # fmt: skip
    if limit and limit["reached"] and not blocked:
        words = ", ".join(r.replace("_", " ") for r in limit["reached"])
        yield Card(
            summary=short(f"{name}: limit reached ({words}); {given}" + (f"; {after}" if after else "")), indicator="warning",
            source=source(book.drugs[draft.drug].source), detail=f"- {given}" + (f"\n- {after}" if after else ""),
        )  # fmt: skip
    if limit and limit["dose_mg"] and draft.mg is not None and draft.mg > _ABOVE * limit["dose_mg"]:
        yield Card(
            summary=short(f"{name}: the draft of {draft.mg:.4g} mg is above the table's {limit['dose']}"), indicator="warning",
            source=source(book.drugs[draft.drug].source), detail=f"- The table: {limit['dose']}",
        )  # fmt: skip
    if draft.drug in of_group("corticosteroid"):
        steroids = found.ledger.filter(col("infusion") == course, col("drug").is_in(list(of_group("corticosteroid"))))
        if steroids.height:
            rows = [
                f"- {concepts()[r['drug']].label}: {several(r['n'], 'dose')}, {_amount(r['mg'])}, {_amount(r['mg_24h'])} of it in 24 h, last {when(r['last'])}"
                + (f"; {r['unread']} cannot be read" if r["unread"] else "")
                for r in steroids.iter_rows(named=True)
            ]
            equivalent = ("at least " if steroids["unread"].sum() else "") + f"{steroids['dexamethasone_mg'].sum():.4g}"
            yield Card(
                summary=short(f"Corticosteroids since the infusion: {several(int(steroids['n'].sum()), 'dose')}, {equivalent} mg dexamethasone equivalent"),
                indicator="info", source=source(book.drugs[draft.drug].source if draft.drug in book.drugs else None), detail="\n".join(rows),
            )  # fmt: skip


def _amount(mg: float | None) -> str:
    return "an amount that is not known" if mg is None else f"{mg:.4g} mg"
