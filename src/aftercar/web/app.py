"""The server: what is served, under which rules, and how it answers what goes wrong."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy import exc
from starlette.exceptions import HTTPException

from aftercar import __version__
from aftercar.errors import AftercarError, place_of
from aftercar.ward.jobs import Jobs
from aftercar.ward.ward import Ward
from aftercar.web import access, api, handshake, oidc, render, smart
from aftercar.web.cds import reading, token
from aftercar.web.cds import router as cds
from aftercar.web.middleware import HOOKS, HooksFromElsewhere
from aftercar.web.pages import ROUTERS
from aftercar.web.settings import Settings
from aftercar.web.work import WORKS

log = logging.getLogger("aftercar.web")

MACHINES = ("/api/", HOOKS)  # paths of which programs ask; they are answered in JSON
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
THREADS = 100  # requests that are worked on at once; a write holds one until its record is graded
LARGEST_FORM, LARGEST_BODY = 2**20, 2**26  # bytes that people and programs may send at once
DESCRIPTION = f"{render.INTENDED} {render.NOT_FOR}"


def create_app(ward: Ward, settings: Settings) -> FastAPI:
    """The application of a ward; it closes the ward when it ends."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        jobs.begin()
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield
        jobs.close()
        ward.close()

    jobs = Jobs(ward.database, WORKS)
    app = FastAPI(
        title="aftercar", version=__version__, description=DESCRIPTION, lifespan=life, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
    )  # fmt: skip
    app.state.ward, app.state.settings, app.state.pace = ward, settings, access.Pace()
    app.state.hook_pace = access.Pace(burst=1000, per_s=100)  # a record system asks for a whole hospital
    app.state.jobs = jobs
    app.state.sign_ins = access.Pace(burst=10, per_s=0.1)  # of a name
    app.state.sign_ins_from = access.Pace(burst=60, per_s=1)  # from an address: behind one there may be a whole hospital
    app.state.seen_tokens, app.state.hook_memory, app.state.ways = token.Seen(), reading.Memory(), handshake.Ways()
    for router in (*ROUTERS, *api.ROUTERS, cds.router, smart.router, oidc.router):
        app.include_router(router)
    app.add_middleware(HooksFromElsewhere, origins=settings.origins)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False)
    app.middleware("http")(_headers(settings))  # the outermost: what is refused for its host has them too
    app.add_exception_handler(access.SignInFirst, _sign_in)
    for kind in (access.NotAllowed, access.TooMany, AftercarError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _problem)
    return app


def _headers(settings: Settings) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    async def with_headers(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            response = await (
                call(request) if (status := _refused(request)) is None else _problem(request, HTTPException(status))
            )
        except Exception as error:  # here, and not where the server would write its traceback: that may quote values of patients
            response = await _problem(request, error)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        # What is told of patients stays in no cache; what pages load is the same for all.
        response.headers.setdefault(
            "Cache-Control", "public, max-age=3600" if request.url.path.startswith("/static/") else "no-store"
        )
        if settings.secure:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        return response

    return with_headers


def _refused(request: Request) -> int | None:
    """A status where a body is too large to be read, or does not say how large it is."""
    length, allowed = request.headers.get("content-length"), LARGEST_BODY if _machine(request) else LARGEST_FORM
    if length is None:
        return 411 if "transfer-encoding" in request.headers else None
    return 413 if not length.isdecimal() or int(length) > allowed else None


def _machine(request: Request) -> bool:
    return request.url.path.startswith(MACHINES)


async def _sign_in(request: Request, _: Exception) -> Response:
    if _machine(request):
        return problem(request, 401, "Sign in first: send `Authorization: Bearer TOKEN`.", {"WWW-Authenticate": "Bearer"})
    return RedirectResponse(access.sign_in_page(request), 303)


async def _problem(request: Request, error: Exception) -> Response:
    """What went wrong, for people or programs. Errors of ours say what to do; of others only the kind is told, for they may quote a value."""
    headers: dict[str, str] = {}
    match error:
        case access.NotAllowed():
            status, said = 403, error.why
        case access.TooMany():
            status, said = 429, "Too many requests at once."
            headers["Retry-After"] = str(max(1, round(error.after_s)))
        case RequestValidationError():
            status, said = 422, "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        case HTTPException():
            status, said = error.status_code, str(error.detail)
            headers |= dict(error.headers or {})
        case AftercarError():
            status, said = getattr(error, "status", 422), str(error)
        case exc.DataError():
            status, said = (
                422,
                "A value is too long or too large, or holds a character that the database cannot keep. Nothing was kept.",
            )
        case exc.OperationalError() | exc.InterfaceError() | exc.TimeoutError():
            log.error("The database did not answer: %s at %s", type(error.__cause__ or error).__name__, place_of(error))
            status, said = (
                503,
                "The database cannot be reached, or takes nothing more. Nothing was kept of this request; try again.",
            )
            headers["Retry-After"] = "10"
        case _:
            log.error("A fault of aftercar: %s at %s", type(error).__name__, place_of(error))
            status, said = 500, "A fault of aftercar. Nothing half-written was left. Please report it."
    if _machine(request):
        return problem(request, status, said, headers)
    response = render.page(request, "problem.html.j2", None, status, title=HTTPStatus(status).phrase, said=said)
    response.headers.update(headers)
    return response


def problem(request: Request, status: int, said: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem as RFC 9457 writes it."""
    said = said.encode(errors="replace").decode()  # a name that came along may be half a character
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": said,
        "instance": request.url.path,
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")
