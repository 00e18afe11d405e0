"""The REST interface, one module a subject; each has a `router`."""

from __future__ import annotations

from fastapi import APIRouter

from aftercar.web.api import advice, patients, results, risk, simulate, timelines, tokens

ROUTERS: tuple[APIRouter, ...] = (
    tokens.router, patients.router, timelines.router, results.router, advice.router, risk.router, simulate.router,
)  # fmt: skip
