"""The pages, one module a page or group of them; each has a `router`."""

from __future__ import annotations

from fastapi import APIRouter

from aftercar.web.pages import adjudicate, entry, patient, sign_in, static, ward_list

ROUTERS: tuple[APIRouter, ...] = (
    static.router,
    sign_in.router,
    ward_list.router,
    patient.router,
    entry.router,
    adjudicate.router,
)
