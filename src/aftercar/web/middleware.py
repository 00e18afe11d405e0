"""What stands before the routes: which pages elsewhere may ask CDS Hooks."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

HOOKS = "/cds-services"


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
