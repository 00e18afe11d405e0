"""The late-effects calendar: a timeline and items in, their due dates with what was done out. A schedule to look at, never an order.

Each due date of each item is a row, for each course. What was charted after the asked day is not known yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.errors import OptionError
from aftercar.files import replace_folder, write_text, writing
from aftercar.frames import labelled
from aftercar.manage.calendar_tables import added, counts, courses_told, due_dates, longest_first, standing
from aftercar.manage.due import done, windows
from aftercar.manage.facts import Facts, codes, ungraded
from aftercar.manage.items import HORIZON_Y, Item, calendar_items
from aftercar.manage.judge import judged
from aftercar.manage.when import leaves
from aftercar.timeline import subjects as subject_rows
from aftercar.timeline.schema import conform
from aftercar.timeline.state import Record, record
from aftercar.timeline.store import open_timeline
from aftercar.timeline.subjects import subjects

USE = (
    "A schedule of follow-up after CAR-T cells, derived by software from published recommendations and the records at hand. Not an order: it does not "
    "replace the judgement of those who care for the patient, and must not be the only basis of a decision. Confirm with the local protocol."
)
MARKER = "calendar.json"
MOST_Y = 100  # a calendar of more years than a life has
_SUBJECTS = 4_000  # whose calendars are made at once
_CHUNK = 500_000  # due dates that are judged at once

At = date | datetime | None


@dataclass(frozen=True)
class Calendar:
    """The tables of one asking; `docs/calendar.md` describes each.

    Attributes:
        at: the asked day.
        calendar: a row a course, item and due date.
        items: a row a course and item: how it stands at the asked day.
        courses: a row a course, those too that have no infusion by then.
        simulated: whether the patients are virtual; what is written says so then.
    """

    at: date
    calendar: pl.DataFrame
    items: pl.DataFrame
    courses: pl.DataFrame
    simulated: bool = False

    @property
    def overdue(self) -> pl.DataFrame:
        """The rows of `items` that are overdue, surely or perhaps: subjects with the longest overdue first, and of each the longest first."""
        return longest_first(self.items.filter(col("overdue_since").is_not_null()))


def calendar_timeline(
    timeline: pl.DataFrame | pl.LazyFrame,
    at: At = None,
    *,
    topic: str | None = None,
    until_y: float = HORIZON_Y,
    rules: Path | str | None = None,
) -> Calendar:
    """The calendar of whole subjects.

    Args:
        timeline: the columns of `docs/tables.md`; any MEDS frame whose codes are our concepts will do.
        at: the asked day; by default the day on which anything was last charted of anybody.
        topic: only the items of one topic.
        until_y: due dates up to so many years after the infusion.
        rules: a folder of one's own items, that stand in for ours by topic.
    Raises:
        InputError: the frame is no timeline, or the folder holds no items that can be used.
        OptionError: there is no such topic, or the years are not above 0 and at most 100.
    """
    items = _chosen(rules, topic, until_y)
    frame = conform(timeline.collect() if isinstance(timeline, pl.LazyFrame) else timeline)
    return _calendar(frame.lazy(), items, _day(at) or last_charted(frame.lazy()), until_y)


def calendar_shards(
    timeline: Path | str,
    at: At = None,
    *,
    topic: str | None = None,
    until_y: float = HORIZON_Y,
    rules: Path | str | None = None,
    subject: str | int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Calendar]:
    """The calendar of a timeline folder in parts of whole subjects, so that memory does not grow with the cohort.

    Arguments and errors as for `calendar_timeline`.

    Args:
        subject: only this one.
        progress: called with the shards that are done, and all.
    """
    items = _chosen(rules, topic, until_y)
    store = open_timeline(timeline)
    day = _day(at) or last_charted(store.scan())
    for n, shard in enumerate(store.shards(), start=1):
        for part in _parts(shard, subject):
            yield replace(_calendar(part, items, day, until_y), simulated=store.simulated)
        if progress:
            progress(n, len(store.files))


def calendar_folder(timeline: Path | str, at: At = None, **asked: Any) -> Calendar:
    """`calendar_shards` as one: the calendar of a timeline folder. Arguments and errors as there."""
    return joined(calendar_shards(timeline, at, **asked))


def joined(parts: Iterable[Calendar]) -> Calendar:
    """The tables of several parts as one."""
    parts = list(parts)
    calendar, items, courses = (
        pl.concat([getattr(p, name) for p in parts], how="vertical_relaxed") for name in ("calendar", "items", "courses")
    )
    return replace(parts[0], calendar=calendar, items=items, courses=courses)


def write_calendar(parts: Iterable[Calendar], folder: Path | str) -> dict[str, Any]:
    """Write a calendar part by part: `calendar`, `items` and `courses` as folders of Parquet files, `overdue.parquet`, `counts.csv`, `calendar.json`.

    A former one is replaced whole when the new one is complete.

    Args:
        parts: of `calendar_shards`.
    Returns:
        what `calendar.json` holds.
    Raises:
        InputError: the folder holds something else.
    """
    overdue: list[pl.DataFrame] = []
    told: dict[str, Any] = {
        "aftercar": __version__,
        "asked": "",
        "courses": 0,
        "not_asked": 0,
        "due_dates": 0,
        "simulated": False,
        "use": USE,
    }
    by_item: list[pl.DataFrame] = []
    with replace_folder(Path(folder), marker=MARKER) as fresh:
        for n, part in enumerate(parts):
            for name in ("calendar", "items", "courses"):
                (fresh / name).mkdir(exist_ok=True)
                with writing(fresh):
                    labelled(getattr(part, name), part.simulated).write_parquet(fresh / name / f"{n:05d}.parquet")
            overdue.append(labelled(part.overdue, part.simulated))
            by_item.append(counts(part.items))
            told["simulated"] |= part.simulated
            told["asked"] = part.at.isoformat()
            told["courses"] += part.courses.height
            told["not_asked"] += part.courses.filter(~col("asked")).height
            told["due_dates"] += part.calendar.height
        with writing(fresh):
            longest_first(pl.concat(overdue, how="vertical_relaxed")).write_parquet(fresh / "overdue.parquet")
            labelled(added(by_item), told["simulated"]).write_csv(fresh / "counts.csv")
        write_text(fresh / MARKER, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return told


def last_charted(timeline: pl.LazyFrame) -> date:
    """The day on which anything was last charted of anybody; today where nothing was."""
    times = timeline.filter(~col("code").is_in(["record_complete", "birth"])).select(col("time").max().dt.date())
    return times.collect().item() or date.today()


def _day(at: At) -> date | None:
    return at.date() if isinstance(at, datetime) else at


def _chosen(rules: Path | str | None, topic: str | None, until_y: float) -> tuple[Item, ...]:
    if not 0 < until_y <= MOST_Y:
        raise OptionError(f"The years of a calendar must be above 0, and at most {MOST_Y}.")
    return calendar_items(rules, topic)


def _parts(shard: pl.LazyFrame, subject: str | int | None) -> Iterator[pl.LazyFrame]:
    """The subjects of a shard, so many at a time: a short record has as many due dates as a long one."""
    if subject is not None:
        yield shard.filter(col("subject_id") == subject)
        return
    ids = shard.select(col("subject_id").unique().sort()).collect().to_series()
    for start in range(0, max(len(ids), 1), _SUBJECTS):
        some = ids.slice(start, _SUBJECTS)
        yield shard if len(ids) <= _SUBJECTS else shard.filter(col("subject_id").is_between(lit(some[0]), lit(some[-1])))


def _calendar(charted: pl.LazyFrame, items: Sequence[Item], at: date, until_y: float) -> Calendar:
    """The calendar of whole subjects of a timeline in our schema."""
    names = {leaf.fact for leaf in leaves(c for i in items for c in (i.when, i.stop))}
    read = sorted({*codes(names), *(act.code for item in items for act in item.done_by)})
    known = charted.filter(col("time").dt.date() <= at)
    wanted = known.filter(col("code").is_in([*read, *subject_rows.CODES]))
    everyone, ends, timeline = pl.collect_all([charted.select("subject_id").unique(), subject_rows.record_ends(known), wanted])
    timeline = conform(timeline)
    courses = subjects(timeline, ends=everyone.join(ends, on="subject_id", how="left"))
    rec = record(timeline, courses, read)
    rows = _rows(rec, items, at, until_y)
    return Calendar(at, due_dates(rows, rec, items, timeline), standing(rows, rec, items, at), courses_told(courses))


def _rows(rec: Record, items: Sequence[Item], at: date, until_y: float) -> pl.DataFrame:
    """Every due date, judged."""
    facts, acts = Facts(rec, ungraded(rec), {}), done(rec, items)
    dates = sum(1 for item in items for _ in item.occurrences(until_y))
    step = max(_CHUNK // max(dates, 1), 1)  # courses of a chunk
    starts = range(0, max(rec.courses.height, 1), step)
    chunks = (windows(rec.courses.slice(start, step), items, until_y) for start in starts)
    return pl.concat([judged(chunk, items, acts, facts, at) for chunk in chunks])
