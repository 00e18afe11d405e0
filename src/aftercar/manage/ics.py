"""The calendar of one subject as iCalendar (RFC 5545): an all-day event for each date on which something is due. No name, only the subject's id."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from hashlib import sha256
from typing import Any

import polars as pl
from polars import col

from aftercar import __version__
from aftercar.manage.calendar import USE, Calendar

_LINE = 75  # octets of a line, without its end


def icalendar(calendar: Calendar) -> str:
    """What is due, overdue or to come, as the text of an .ics file.

    An event keeps its name (UID) when it is written again later, so that a calendar that took the file before takes the new one in its place.
    """
    shown = calendar.calendar.filter(col("status").is_in(["due", "overdue", "upcoming"]))
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", f"PRODID:-//aftercar//aftercar {__version__}//EN", "CALSCALE:GREGORIAN"]
    for (subject, infusion, due), rows in shown.sort("due", maintain_order=True).group_by(
        "subject_id", "infusion", "due", maintain_order=True
    ):
        assert isinstance(due, date)
        lines += _event(f"{subject}", f"{infusion}", due, rows, calendar)
    return "".join(folded(line) for line in [*lines, "END:VCALENDAR"])


def _event(subject: str, infusion: str, due: date, rows: pl.DataFrame, calendar: Calendar) -> Iterator[str]:
    name = sha256(f"{subject}\n{infusion}\n{due.isoformat()}".encode()).hexdigest()[:32]
    todo = [_line(row) for row in rows.iter_rows(named=True)]
    whose = f"{subject} (simulated)" if calendar.simulated else subject
    yield from (
        "BEGIN:VEVENT",
        f"UID:{name}@aftercar",
        f"DTSTAMP:{calendar.at:%Y%m%d}T000000Z",
        f"DTSTART;VALUE=DATE:{due:%Y%m%d}",
        f"DTEND;VALUE=DATE:{due + timedelta(days=1):%Y%m%d}",
        f"SUMMARY:{_text(f'CAR-T follow-up of {whose}: {len(todo)} due')}",
        f"DESCRIPTION:{_text(chr(10).join([*todo, USE]))}",
        "CLASS:CONFIDENTIAL",
        "TRANSP:TRANSPARENT",
        "END:VEVENT",
    )


def _line(row: dict[str, Any]) -> str:
    may = f"; may apply, depends on: {', '.join(row['missing'])}" if row["applies"] == "may" else ""
    return f"{row['todo']} ({row['status']}; window {row['due_from']} to {row['overdue_after']}; {row['source']} [{row['mark']}]{may})"


def _text(text: str) -> str:
    """A value of the type TEXT."""
    for sign, written in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(sign, written)
    return text


def folded(line: str) -> str:
    """A line in pieces of at most 75 octets that go on after a blank; no sign is cut in two.

    >>> folded("SUMMARY:short")
    'SUMMARY:short\\r\\n'
    """
    pieces, length = [""], 0
    for sign in line:
        size = len(sign.encode())
        if length + size > _LINE:
            pieces.append(" ")
            length = 1
        pieces[-1] += sign
        length += size
    return "\r\n".join(pieces) + "\r\n"
