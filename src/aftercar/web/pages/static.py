"""What pages load, and whether the server is there."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Response

from aftercar.web.render import static

router = APIRouter(include_in_schema=False)

FILES = ("report.css", "ward.css", "ward.js", "mechanism.css", "mechanism.js", "icon.svg")


@router.get("/static/{name}")
def file(name: str) -> Response:
    """A style sheet, script or picture."""
    if name not in FILES:
        raise HTTPException(404)
    content, kind = static(name)
    return Response(content, media_type=kind)


@router.get("/favicon.ico")
def icon() -> Response:
    """The picture of a tab."""
    content, kind = static("icon.svg")
    return Response(content, media_type=kind)


@router.get("/health")
def health() -> dict[str, str]:
    """That the server answers."""
    return {"status": "ok"}
