"""What stands before the routes: how long a request may be, and which pages elsewhere may ask CDS Hooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import HTTPException
from fastapi.middleware.cors import CORSMiddleware

# What ASGI hands on: a request, how to read of it, and how to answer.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

HOOKS = "/cds-services"
LONGEST = 64 * 2**20  # bytes of a request


class Bounded:
    """Requests up to a length; the rest of a longer one is not read."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > LONGEST:
                raise HTTPException(413, f"At most {LONGEST // 2**20} MiB a request.")
            return message

        await self.app(scope, counted if scope["type"] == "http" else receive, send)


class HooksFromElsewhere:
    """CORS, with its preflights, for CDS Hooks and for nothing else of the server."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self.app = app
        self.cors = CORSMiddleware(
            app, allow_origins=origins, allow_methods=("GET", "POST"), allow_headers=("Authorization", "Content-Type"), max_age=600,
            allow_private_network=True,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        hooks = scope["type"] == "http" and (scope["path"] + "/").startswith(HOOKS + "/")
        await (self.cors if hooks else self.app)(scope, receive, send)
