"""The pages, one module a page or group of them; each has a `router`."""

from __future__ import annotations

from fastapi import APIRouter

from aftercar.web.pages import (
    adjudicate,
    administration,
    calendar,
    cohort,
    entry,
    evidence,
    mechanism,
    new_patient,
    patient,
    pooled,
    registry,
    safety,
    scores,
    sign_in,
    simulate,
    static,
    ward_list,
)

# In order: `/patients/new` comes before `/patients/{subject_id}`, and `/evidence/pooled` before `/evidence/{name}`.
_PAGES = (
    static, sign_in, ward_list, new_patient, patient, entry, scores, calendar, adjudicate, registry, cohort, safety, pooled, evidence, mechanism, simulate, administration,
)  # fmt: skip
ROUTERS: tuple[APIRouter, ...] = tuple(page.router for page in _PAGES)
