"""The late-effects calendar once more, patient by patient and date by date, from the TOML file itself: plain Python, slow and in sight."""

from __future__ import annotations

import calendar as months
import re
import tomllib
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from naive_manage import FOLDER, Interval, holds

ITEMS: list[dict[str, Any]] = tomllib.loads((FOLDER / "calendar.toml").read_text())["item"]
NEVER = date(9999, 1, 1)

Row = tuple[datetime, str, float | str | None]


@dataclass
class Course:
    """One infusion of one patient, and what was charted from it to the next."""

    zero: datetime
    target: str | None
    rows: list[Row] = field(default_factory=list)
    ever: list[Row] = field(default_factory=list)  # what was charted at any time
    next: datetime | None = None


@dataclass(frozen=True)
class Window:
    opens: date
    due: date
    late: date
    closes: date | None


def parts(span: str) -> tuple[int, int]:
    """Months and days of a span such as `6mo`."""
    number, unit = re.fullmatch(r"(\d+)([a-z]+)", span).groups()  # type: ignore[union-attr]
    n = int(number)
    return {"d": (0, n), "w": (0, 7 * n), "mo": (n, 0), "y": (12 * n, 0)}[unit]


def plus(day: date, span: tuple[int, int], sign: int = 1) -> date:
    """A day so many calendar months and then days later or earlier; a day that a month lacks is its last."""
    count = day.year * 12 + day.month - 1 + sign * span[0]
    year, month = divmod(count, 12)
    last = months.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last)) + timedelta(days=sign * span[1])


def windows(item: dict[str, Any], zero: date, years: int = 15) -> list[Window]:
    due, window = item["due"], item["window"]
    early, late = parts(window["early"]), parts(window["late"])
    single = due.get("at", [])
    spans = [parts(s) for s in ([single] if isinstance(single, str) else single)]
    every = parts(due["every"]) if "every" in due else None
    if every:
        first, most = parts(due["first"]), min(parts(due["last"])[0] if "last" in due else 12 * years, 12 * years)
        n = 0
        while first[0] + n * every[0] <= most:
            spans.append((first[0] + n * every[0], 0))
            n += 1
    found = []
    for n, span in enumerate(spans):
        after = spans[n + 1] if n + 1 < len(spans) else (span[0] + every[0], span[1] + every[1]) if every else None
        closes = plus(plus(zero, after), early, -1) if after else None
        if "closes" in due:
            closes = plus(zero, parts(due["closes"]))
        day = plus(zero, span)
        found.append(Window(plus(day, early, -1), day, plus(day, late), closes))
    return found


def facts(course: Course, moment: datetime) -> dict[str, Interval]:
    """What is known at a moment, as far as items ask for it."""
    known = [r for r in course.rows if r[0] <= moment]
    found: dict[str, Interval] = {}
    aids = [t for t, code, _ in course.ever if code == "ivig"]
    for name in ("anc", "platelets", "hemoglobin", "cd4", "b_cells", "igg_unaided"):
        values = [(t, v) for t, code, v in known if code == name.removesuffix("_unaided")]
        if name == "igg_unaided":
            values = [
                (t, v)
                for t, v in values
                if not any(timedelta(0) <= t - a <= timedelta(days=28) for a in aids if a >= course.zero)
            ]
        found[f"last.{name}"] = (float(values[-1][1]),) * 2 if values else (0.0, float("inf"))
        found[f"day_of.{name}"] = (
            (float((values[-1][0].date() - course.zero.date()).days),) * 2 if values else (0.0, float("inf"))
        )
    for antigen in ("CD19", "BCMA"):
        own = course.target
        found[f"target_{antigen.lower()}"] = (0.0, 1.0) if own is None else (float(own == antigen),) * 2
    given = [t for t, code, _ in known if code == "ivig"]
    found["since_h.ivig"] = ((moment - given[-1]).total_seconds() / 3600,) * 2 if given else (float("inf"),) * 2
    said = [v for t, code, v in course.ever if code == "anti_hbc" and t <= moment]
    found["anti_hbc"] = (float(said[-1] == "positive"),) * 2 if said else (0.0, 1.0)
    found["mnt_sign"] = (float(any(code == "mnt_sign" and v != "none" for _, code, v in known)),) * 2
    return found


def shown(item: dict[str, Any], rows: list[Row]) -> list[date]:
    """The days on which an item was done, in order."""
    days: dict[date, set[str]] = {}
    for time, code, value in rows:
        for act in item["done_by"]:
            concept, _, word = act.partition("=")
            if code == concept and (not word or word == value) and value != "declined":
                days.setdefault(time.date(), set()).add(act)
    whole = set(item["done_by"])
    return sorted(d for d, acts in days.items() if acts == whole or not item.get("together"))


def judge(item: dict[str, Any], course: Course, at: date) -> list[tuple[Window, str, str, date | None]]:
    """Each date of an item with its status, whether it applies, and the day on which it was done."""
    ends = [t.date() for t, code, _ in course.rows if code in ("death", *item.get("ends_with", []))]
    if course.next:
        ends.append(course.next.date())
    end = min(ends) if ends else None
    now = min(at, end) if end else at
    done = [d for d in shown(item, course.rows) if d <= at]
    found = []
    for window in windows(item, course.zero.date()):
        own = [d for d in done if window.opens <= d < (window.closes or NEVER)]
        if own:
            found.append((window, "done" if own[0] <= window.late else "done_late", "yes", own[0]))
            continue
        day = min(now, window.closes - timedelta(days=1)) if window.closes else now
        known = facts(course, datetime.combine(day, datetime.max.time()).replace(microsecond=0))
        fits = holds(item.get("when", {}), known)
        status = _status(window, now, end, fits, "stop" in item and holds(item["stop"], known) is True)
        applies = "no" if status in ("stopped", "not_applicable") else "yes" if fits else "may"
        found.append((window, status, applies, None))
    return found


def _status(window: Window, now: date, end: date | None, fits: bool | None, stopped: bool) -> str:
    if end and end <= window.opens:
        return "stopped"
    if fits is False:
        return "not_applicable"
    if stopped:
        return "stopped"
    if window.closes and window.closes <= now:
        return "missed"
    if end:
        return "stopped"
    if window.opens > now:
        return "upcoming"
    return "overdue" if now > window.late else "due"
