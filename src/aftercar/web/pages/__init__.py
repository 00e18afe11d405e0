"""The pages, one module a page or group of them; each has a `router`."""

from __future__ import annotations

from fastapi import APIRouter

from aftercar.web.pages import (
    adjudicate,
    cohort,
    entry,
    evidence,
    mechanism,
    patient,
    scores,
    sign_in,
    simulate,
    static,
    ward_list,
)

ROUTERS: tuple[APIRouter, ...] = tuple(
    page.router
    for page in (static, sign_in, ward_list, patient, entry, scores, adjudicate, cohort, evidence, mechanism, simulate)
)
