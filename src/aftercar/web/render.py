"""HTML from templates; what goes in is escaped, and nothing comes from elsewhere."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from aftercar import __version__
from aftercar.report.names import toxicity_name
from aftercar.report.page import resource
from aftercar.report.svg import PATTERNS, unit_text
from aftercar.ward.accounts import Person, Right
from aftercar.ward.ward import Ward

INTENDED = (
    "aftercar helps trained professionals, researchers and data managers to review, grade and count toxicities after CAR-T therapy from existing records, and "
    "to study simulated patients. It is for research, education, quality and registry work."
)
NOT_FOR = (
    "It is not a monitor or an alarm, does not replace assessment at the bedside, is not for use by patients, must not be the only basis of a decision, and has "
    "not been cleared or certified as a medical device anywhere."
)


# The navigation: where, what it is called, and the right that it asks for.
LINKS = (
    ("/", "Ward", "read"),
    ("/cohort", "Cohort", "read"),
    ("/evidence", "Evidence", "read"),
    ("/mechanism", "Mechanism", "read"),
    ("/simulate", "Simulate", "read"),
    ("/administration", "Accounts", "administer"),
    ("/administration/trail", "Audit trail", "administer"),
)
PATIENT_LINKS = (
    ("", "Timeline", "read"),
    ("/options", "Options", "read"),
    ("/scores", "Scores", "read"),
    ("/calendar", "Calendar", "read"),
    ("/enter", "Enter", "chart"),
    ("/adjudicate", "Adjudicate", "adjudicate"),
    ("/registry", "Registry", "read"),
    ("/history", "History", "read"),
)


def page(request: Request, template: str, person: Person | None = None, status: int = 200, **context: Any) -> HTMLResponse:
    """A page of the ward.

    Args:
        template: a file of `templates/`.
        person: who looks at it; the navigation shows what they may do.
    """
    ward: Ward = request.app.state.ward
    common = {
        "person": person, "csrf": person.csrf if person else "", "may": {r.value for r in Right if person and person.may(r)}, "path": request.url.path,
        "now": ward.now(), "zone": zone_name(ward), "version": __version__, "profile": ward.book.profile.name, "intended": INTENDED, "not_for": NOT_FOR,
        "patterns": Markup(PATTERNS), "links": LINKS, "patient_links": PATIENT_LINKS, "alone": request.app.state.settings.alone is not None,
    }  # fmt: skip
    return HTMLResponse(
        _environment().get_template(template).render(**common, **context), status_code=status
    )  # a name twice is a fault


def zone_name(ward: Ward) -> str:
    """The time zone in words, with its offset now."""
    offset = ward.clock().astimezone(ward.zone).strftime("%z")
    return f"{ward.zone.key} (UTC{offset[:3]}:{offset[3:]})"


@cache
def static(name: str) -> tuple[bytes, str]:
    """A file that pages load, and its media type."""
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    kind = kinds[name.rsplit(".", 1)[-1]]
    if name == "report.css":  # the look of the figures is that of the report
        return resource("page.css").encode(), kind
    if name == "mechanism.js":
        return resource(name).encode(), kind
    if name == "mechanism.css":  # the figure alone: a page of the ward has a look of its own
        css = resource(name)
        colours = css[: css.index("@media")].replace("color-scheme: light dark; ", "")
        rules = [rule for rule in css.splitlines() if rule.startswith(("svg", ".drugs", "#panel"))]
        return "\n".join([colours, *rules]).encode(), kind
    return files("aftercar.web").joinpath("static", name).read_bytes(), kind


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(lambda name: files("aftercar.web").joinpath("templates", name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Any] = {"when": when, "ago": ago, "words": words, "unit": unit_text, "toxicity": toxicity_name}
    environment.filters.update(filters)
    return environment


def on_page(svg: str) -> Markup:
    """A figure that stands alone as a part of a page, whose style sheet has the same rules: a page allows no styles within."""
    return Markup(re.sub(r"<style>.*?</style>", "", svg, count=1, flags=re.DOTALL))


def when(time: datetime | None) -> str:
    """A local time to the minute."""
    return "" if time is None else f"{time:%Y-%m-%d %H:%M}"


def ago(time: datetime | None, now: datetime) -> str:
    """How long ago, in the unit that a reader would take."""
    if time is None:
        return "never"
    passed = max(now - time, timedelta())
    minutes = int(passed.total_seconds() // 60)
    if minutes < 90:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} d ago"


def words(name: object) -> str:
    """A name of the tables as people write it."""
    return str(name).replace("_", " ")
