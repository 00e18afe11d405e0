"""The items of the late-effects calendar out of TOML, checked: what is due, when, for whom, until when, and on what that stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from aftercar.errors import OptionError, nearest
from aftercar.manage.fields import BASIS, Basis, Fields, Problem, contents, each_once, refuse, rows_of, toml_files
from aftercar.manage.vocabulary import CHANGES, DIAGNOSED, GRADED, SPELLS
from aftercar.manage.when import All, Condition, leaves
from aftercar.timeline.concepts import concept

TOPICS = {
    "counts": "Blood counts", "immunoglobulin": "Immunoglobulin", "immune_cells": "B cells and CD4 cells", "infection": "Infection",
    "hbv": "Hepatitis B", "vaccination": "Vaccination", "neuro": "Movement and cognition", "malignancy": "Second malignancy",
    "general": "Visits and reports",
}  # fmt: skip
ENDINGS = {"progression": "progression", "next_therapy": "next anti-tumour therapy"}  # of a course, in words
HORIZON_Y = 15  # as long as regulators ask for, after cells that were changed by an integrating vector

_MONTH_D = 30.436875  # only to compare spans, never to make dates
_SPAN = re.compile(r"(\d+)(d|w|mo|y)")


@dataclass(frozen=True)
class Span:
    """Calendar months and days."""

    months: int = 0
    days: int = 0

    @property
    def about(self) -> float:
        """About how many days it is."""
        return self.months * _MONTH_D + self.days

    @property
    def offset(self) -> str:
        """As Polars adds it to a date: months first; a day that the month lacks is its last.

        >>> Span(6, 10).offset
        '6mo10d'
        """
        return f"{self.months}mo{self.days}d"

    @property
    def text(self) -> str:
        """It in words.

        >>> Span(18).text, Span(24).text, Span(0, 100).text
        ('18 months', '2 years', '100 days')
        """
        if self.days or not self.months:
            return f"{self.days} days"
        many, unit = (self.months // 12, "year") if self.months % 12 == 0 else (self.months, "month")
        return f"{many} {unit}" + ("s" if many != 1 else "")

    def __add__(self, other: Span) -> Span:
        """Both together."""
        return Span(self.months + other.months, self.days + other.days)

    def __mul__(self, times: int) -> Span:
        """So many times it."""
        return Span(self.months * times, self.days * times)


def span(told: object) -> Span:
    """A span out of `30d`, `2w`, `6mo` or `15y`.

    Raises:
        OptionError: it is none.

    >>> span("2w")
    Span(months=0, days=14)
    """
    found = _SPAN.fullmatch(told) if isinstance(told, str) else None
    if found is None:
        raise OptionError('it must be a span such as "30d", "2w", "6mo" or "15y".')
    number, unit = int(found[1]), found[2]
    return {"d": Span(0, number), "w": Span(0, 7 * number), "mo": Span(number), "y": Span(12 * number)}[unit]


@dataclass(frozen=True)
class Act:
    """A concept whose charting shows that an item was done, or one word of it."""

    code: str
    word: str = ""


@dataclass(frozen=True)
class Item:
    """One thing to do, and its due dates, counted from the infusion.

    Attributes:
        todo: what is to be done.
        done_by: what shows that it was done.
        together: all of `done_by` on one day, instead of one of them.
        at: due dates before the series.
        first, every, last: the series; without `last` it goes on for life.
        early, late: a window opens so long before its due date, and the item is overdue so long after it.
        closes: when an item that is due once is given up; null: never.
        when: for whom it is due.
        stop: from when on it is not, where that is surely known.
        ends_with: events after which it is not; see `ENDINGS`.
        note: what of it is not in the source.
    """

    id: str
    topic: str
    file: str
    todo: str
    done_by: tuple[Act, ...]
    together: bool
    at: tuple[Span, ...]
    first: Span | None
    every: Span | None
    last: Span | None
    early: Span
    late: Span
    closes: Span | None
    when: Condition
    stop: Condition | None
    ends_with: tuple[str, ...]
    basis: Basis
    note: str = ""

    @property
    def schedule(self) -> str:
        """When it is due, in words."""
        parts = [f"at {', '.join(s.text for s in self.at)}"] if self.at else []
        if self.first and self.every:
            end = f"until {self.last.text}" if self.last else "for life"
            parts.append(f"every {self.every.text} from {self.first.text} {end}")
        return "; ".join(parts)

    def occurrences(self, years: float) -> Iterator[tuple[Span, Span | None]]:
        """Each due date up to so many years, and that of the next (where its window opens, this one closes); null where there is none."""
        dates = [*self.at, *self._series(12 * years * _MONTH_D)]
        for due, following in zip_longest(dates, dates[1:]):
            if due.about <= 12 * years * _MONTH_D:
                yield due, following or (due + self.every if self.every else None)

    def _series(self, most: float) -> Iterator[Span]:
        """Its dates up to the first one that is more than so many days away."""
        if self.first is None or self.every is None:
            return
        due, n = self.first, 0
        while self.last is None or due.about <= self.last.about:
            yield due
            if due.about > most:
                return
            n += 1
            due = self.first + self.every * n


# ---- reading


def calendar_items(folder: Path | str | None = None, topic: str | None = None) -> tuple[Item, ...]:
    """The items, in the order of topics.

    Args:
        folder: one's own TOML files with rows `[[item]]`: their topics stand in for ours.
        topic: only this one.
    Raises:
        OptionError: there is no such topic.
        InputError: the folder has no items, or they are wrong: file, item, field, and what is allowed.
    """
    if topic is not None and topic not in TOPICS:
        raise OptionError(f"The calendar has no topic {topic!r}. {nearest(topic, TOPICS)}")
    taken = list(_ours())
    if folder is not None:
        own, problems = _load(toml_files(Path(folder)))
        if not own and not problems:
            problems = [Problem("", "", "item", "no file there has a row [[item]]")]
        refuse(Path(folder), problems, "items of the calendar")
        taken = [*(i for i in taken if i.topic not in {o.topic for o in own}), *own]
    order = list(TOPICS)
    return tuple(sorted((i for i in taken if topic in (None, i.topic)), key=lambda i: order.index(i.topic)))


def check_items(folder: Path | str | None = None) -> list[Problem]:
    """What is wrong in the items of a folder; without one, in those that come with aftercar.

    Raises:
        InputError: there is no TOML file.
    """
    return _load([_own()] if folder is None else toml_files(Path(folder)))[1]


def _own() -> Any:
    return files("aftercar.manage").joinpath("calendar.toml")


@cache
def _ours() -> tuple[Item, ...]:
    items, problems = _load([_own()])
    if problems:
        raise AssertionError("\n".join(map(str, problems)))
    return items


_ITEM = {"id", "topic", "todo", "done_by", "together", "due", "window", "when", "stop", "ends_with", "note", *BASIS}
_DUE = {"at", "first", "every", "last", "closes"}
_WINDOW = {"early", "late"}


def _load(paths: Iterable[Any]) -> tuple[tuple[Item, ...], list[Problem]]:
    problems: list[Problem] = []
    items: list[Item] = []
    for name, content in contents(paths, problems).items():
        if "item" not in content:  # a file of rules
            continue
        Fields(name, "", content, problems).only({"item", "title", *BASIS})
        for given in rows_of(name, content, "item", _ITEM, problems):
            before = len(problems)
            item = _item(given)
            if item is not None and len(problems) == before:
                items.append(item)
    each_once(((i.file, i.id) for i in items), "an item", problems)
    return tuple(items), problems


def _item(given: Fields) -> Item | None:
    basis, when, stop = given.basis(), given.condition("when"), given.condition("stop")
    for name, condition in (("when", when), ("stop", stop)):
        _ungraded(given, name, condition)
    due, window = _part(given, "due", _DUE), _part(given, "window", _WINDOW)
    spans = {name: _span(given, "due", name, due) for name in ("first", "every", "last", "closes")}
    early, late = (_span(given, "window", name, window) for name in ("early", "late"))
    at = _spans(given, due)
    if basis is None or early is None or late is None:
        if window and (early is None or late is None):
            given.wrong("window", 'needs both, such as { early = "15d", late = "10d" }')
        return None
    item = Item(
        id=given.word("id", needed=True), topic=given.word("topic", needed=True, among=TOPICS), file=given.file,
        todo=given.word("todo", needed=True), done_by=_acts(given), together=given.yes("together"), at=at, **spans, early=early, late=late,
        when=when or All(()), stop=stop, ends_with=given.words("ends_with", ENDINGS), basis=basis, note=given.word("note"),
    )  # fmt: skip
    _dates(given, item)
    return item


def _part(given: Fields, name: str, allowed: set[str]) -> dict[str, Any]:
    """A table in the row."""
    told = given.table.get(name)
    if not isinstance(told, dict) or not told or set(told) - allowed:
        given.wrong(name, f"must be a table of {', '.join(sorted(allowed))}")
        return {}
    return told


def _span(given: Fields, part: str, name: str, table: dict[str, Any]) -> Span | None:
    if name not in table:
        return None
    try:
        return span(table[name])
    except OptionError as error:
        given.wrong(f"{part}.{name}", str(error))
        return None


def _spans(given: Fields, due: dict[str, Any]) -> tuple[Span, ...]:
    told = due.get("at", [])
    found = [_span(given, "due", "at", {"at": one}) for one in (told if isinstance(told, list) else [told])]
    return tuple(s for s in found if s is not None)


def _acts(given: Fields) -> tuple[Act, ...]:
    told = given.words("done_by")
    if not told:
        given.wrong("done_by", "names at least one concept whose charting shows that it was done")
    acts: list[Act] = []
    for one in told:
        code, _, word = one.partition("=")
        try:
            values = concept(code).values
        except OptionError as error:
            given.wrong("done_by", str(error))
            continue
        if word and word not in values:
            given.wrong("done_by", f"{word!r} is not a word of {code}. {nearest(word, values)}".strip())
        acts.append(Act(code, word))
    return tuple(acts)


def _ungraded(given: Fields, name: str, condition: Condition | None) -> None:
    """Nothing is graded for a calendar, and it keeps no count of doses against limits."""
    for leaf in leaves([condition]):
        if leaf.asks:
            given.wrong(name, f"{leaf.asks} is a question of the rules; an item states its number")
        if leaf.fact in (*GRADED, *DIAGNOSED, *SPELLS, *CHANGES, "crs_onset_h") or leaf.fact.startswith("limit."):
            given.wrong(name, f"{leaf.fact} is not asked here: the calendar reads charted findings, not grades or limits")


def _dates(given: Fields, item: Item) -> None:
    """Due dates that can be counted, in order, in windows that leave room for being overdue."""
    if (item.first is None) != (item.every is None):
        given.wrong("due", "a series has both `first` and `every`")
    if item.every is not None and not item.every.about:
        given.wrong("due.every", "must be longer than nothing")
        return
    if item.last and item.first is None:
        given.wrong("due.last", "is the end of a series; an item that is due once may have `closes`")
    elif item.first and item.last and item.last.about < item.first.about:
        given.wrong("due.last", "comes before `first`: the series would never be due")
    if item.closes and item.every:
        given.wrong("due.closes", "is for an item that is due once; in a series the next window closes the one before")
    dates = [due.about for due, _ in item.occurrences(HORIZON_Y)]
    if not dates:
        given.wrong("due", f"has no date within {HORIZON_Y} years")
    gaps = [b - a for a, b in pairwise(dates)]
    if any(gap <= 0 for gap in gaps):
        given.wrong("due", "its dates must rise")
    elif gaps and item.early.about + item.late.about >= min(gaps):
        given.wrong(
            "window", "must end before the next one opens: early and late together are shorter than the time between two dates"
        )
    if item.closes and item.at and item.closes.about <= item.at[-1].about + item.late.about:
        given.wrong("due.closes", "must come after the end of the window")
