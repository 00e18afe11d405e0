"""Cards: what they say, how urgent they look, and what they cite. Information and options, never orders."""

from __future__ import annotations

import textwrap
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from aftercar.evidence.sources import MARKS, references
from aftercar.grade.run import SCALES
from aftercar.grade.worst import bounds_text
from aftercar.manage.rules import TOPICS as TOPIC_NAMES
from aftercar.report.names import scale_name, toxicity_name
from aftercar.report.svg import readable
from aftercar.ward.overview import Line, Standing
from aftercar.web.cds.reading import Seen
from aftercar.web.render import NOT_FOR, when

LONGEST = 139  # characters of a summary: the specification asks for fewer than 140
REASONS = "urn:aftercar:override-reason"
_BECAUSE = {
    "assessed-otherwise": "Assessed otherwise at the bedside",
    "other-cause": "The findings have another cause",
    "record-incomplete": "The record is incomplete or behind",
    "known": "Known already, or done",
    "not-for-this-patient": "Not for this patient",
}
_ORIGIN = {
    "prefetch": "what the record system sent",
    "server": "the record system's FHIR server",
    "record": "the ward's own record",
}
_OFFERED = ("option", "measure_first")


class Coding(BaseModel):
    """A code with its words."""

    system: str = REASONS
    code: str
    display: str


class Source(BaseModel):
    """Where a card has its guidance from."""

    label: str
    url: str | None = None


class Link(BaseModel):
    """Where more is to be seen."""

    label: str
    url: str
    type: Literal["absolute", "smart"]


class Card(BaseModel):
    """A card [CDS Hooks 2.0]."""

    uuid: str = Field(default_factory=lambda: str(uuid.uuid4()))
    summary: Annotated[str, Field(max_length=LONGEST)]
    detail: str | None = None
    indicator: Literal["info", "warning", "critical"]
    source: Source
    overrideReasons: list[Coding] = Field(default_factory=lambda: [Coding(code=c, display=d) for c, d in _BECAUSE.items()])
    links: list[Link] | None = None


@dataclass(frozen=True)
class Place:
    """Where and when a card is made: `base` is the address of this server, `smart` whether it can be launched from the record system."""

    base: str
    smart: bool
    now: datetime
    zone: str


def source(key: str | None) -> Source:
    """A paper of the references by its key, with its DOI."""
    known = references().get(key or "")
    if known is None:
        return Source(label=key or "aftercar")
    label = ", ".join(filter(None, (known.first_author, known.journal, known.year)))
    return Source(label=label, url=f"https://doi.org/{known.doi}" if known.doi else None)


def short(text: str) -> str:
    """A summary of the length that is allowed, cut between words."""
    return textwrap.shorten(text, LONGEST, placeholder="…", break_on_hyphens=False)


def several(n: int, what: str) -> str:
    """A number of things in words: `1 dose`, `2 doses`."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def grade_card(seen: Seen, line: Line, place: Place) -> Card | None:
    """The grades now, with their bounds and what would settle them; null where there is no course."""
    if not line.standing:
        return None
    told = ", ".join(f"{toxicity_name(s.toxicity)} {s.text}" for s in line.standing)
    lines = [*_check(line), *(_standing(s) for s in line.standing)]
    lines += [f"- Overdue: {o.what.label} (last {when(o.last) or 'never'})" for o in line.overdue]
    links = [Link(label="Launch aftercar", url=f"{place.base}/smart/launch", type="smart")] if place.smart else []
    if seen.who.subject_id:
        links = [Link(label="The course in aftercar", url=f"{place.base}/patients/{seen.who.subject_id}", type="absolute")]
    return Card(
        summary=short(f"{told}: day {line.day} after CAR-T" + (f"; {line.check}" if line.check else "")), indicator=urgency(line.standing), detail="\n".join([*lines, "", about(seen, place)]),
        source=source(SCALES[line.standing[0].scale].source), links=links or None,
    )  # fmt: skip


def death_card(seen: Seen, line: Line, place: Place) -> Card:
    """In the place of all others, where the record system says that the patient died: what stood before would look as if it stood now."""
    worst = [f"- Worst {toxicity_name(toxicity)}: {grade}" for toxicity, grade in line.worst]
    return Card(
        summary="The record system says that the patient died: no grades and options now", indicator="info", detail="\n".join([*worst, "", about(seen, place)]),
        source=source(SCALES["crs_astct2019"].source),
    )  # fmt: skip


def _check(line: Line) -> list[str]:
    """What stands first where a relapse or another therapy may be the cause."""
    return [f"**Note:** {line.check}.", ""] if line.check else []


def urgency(standing: Iterable[Standing]) -> Literal["info", "warning", "critical"]:
    """How a card of grades looks: `critical` from a grade of 3 that is sure, `warning` from 2 or where one rose within a day, or may have. What is only not
    charted makes none: cards that warn of every gap would be passed over."""
    sure = [s for s in standing if s.gradable]
    if any(s.grade >= 3 for s in sure):
        return "critical"
    return "warning" if any(s.grade >= 2 or s.risen for s in sure) else "info"


def _standing(s: Standing) -> str:
    text = f"grade {s.text}" if s.gradable else f"cannot be graded ({s.grade}–{s.upper}): nothing charted for it still stands"
    parts = [f"- **{toxicity_name(s.toxicity)}** {text}, since {when(s.since)} ({scale_name(s.scale)})"]
    if s.change:
        parts.append(f"{'up' if s.change > 0 else 'down'} {abs(s.change)} within 24 h")
    if s.worst is not None:
        parts.append(f"worst so far {bounds_text(s.worst, s.worst_upper)}")
    if s.missing:
        parts.append(f"would be settled by: {', '.join(readable(m) for m in s.missing)}")
    return "; ".join(parts)


def about(seen: Seen, place: Place) -> str:
    """What it was read from, and what it is not."""
    parts = [f"Derived by software, not adjudicated. Read {when(place.now)} ({place.zone}) from {_ORIGIN[seen.origin]}"]
    if seen.lacking:
        parts.append(f"not or not wholly given: {', '.join(seen.lacking)}")
    if seen.rejected:
        parts.append(f"{several(seen.rejected, 'row')} could not be used")
    if seen.who.made_up:
        parts.append("made-up patient")
    return f"{'; '.join(parts)}. {NOT_FOR}"


def option_cards(seen: Seen, line: Line, place: Place) -> list[Card]:
    """The options of CRS and ICANS: one card a topic and source. Where nothing is sure, none: the card of grades says what to measure."""
    if seen.found is None or not line.standing:
        return []
    course = seen.found.subjects["infusion"][-1]
    groups: dict[tuple[str, str], list[dict[str, object]]] = {}
    for row in seen.found.advice.iter_rows(named=True):
        if row["infusion"] == course and row["topic"] in ("crs", "icans", "refractory") and row["status"] in _OFFERED:
            groups.setdefault((row["topic"], row["source"]), []).append(row)
    return [
        _options(topic, key, rows, seen, line, place)
        for (topic, key), rows in groups.items()
        if any(r["status"] == "option" for r in rows)
    ]


def _options(topic: str, key: str, rows: list[dict[str, object]], seen: Seen, line: Line, place: Place) -> Card:
    offered = [r for r in rows if r["status"] == "option"]
    names = "; ".join(str(r["option"]) for r in offered)
    return Card(
        summary=short(f"{TOPIC_NAMES[topic]}, options: {names}"), indicator="info", source=source(key),
        detail="\n".join([*_check(line), *(option_line(r) for r in rows), "", f"Options, not orders. {about(seen, place)}"]),
    )  # fmt: skip


def option_line(row: dict[str, object]) -> str:
    """An option with its dose, reasons, cautions, and what stands behind it."""
    parts = [f"- **{row['option']}**" + (" — measure first" if row["status"] == "measure_first" else "")]
    for name, words in (
        ("dose", "dose"),
        ("reasons", "because"),
        ("missing", "would be settled by"),
        ("cautions", "cautions"),
        ("population", "for"),
    ):
        value = row[name]
        if value:
            parts.append(f"{words}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    if row["strength"]:
        parts.append(f"strength {row['strength']}")
    if row["mark"] and row["mark"] != "V":
        parts.append(MARKS.get(str(row["mark"]), str(row["mark"])))
    return "; ".join(parts)
