"""Rehearse: a past cohort replayed hour by hour, and how often each rule would have begun to speak, with only what was known by then.

What would have come of an alert no record can say: nothing here claims that one would have changed anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.errors import InputError, OptionError, nearest
from aftercar.files import writing
from aftercar.frames import labelled
from aftercar.grade.options import Options
from aftercar.grade.run import scales_named
from aftercar.manage import alerts, tallies
from aftercar.manage.asked import ask, charts, step_s
from aftercar.manage.facts import SCALES
from aftercar.manage.rules import DEFAULT_PROFILE, RuleBook, rulebook
from aftercar.manage.spoken import STATUS, stretches
from aftercar.timeline.schema import conform
from aftercar.timeline.state import DAY, HOUR, LIFETIME_S, clock, origin
from aftercar.timeline.statements import read_statements
from aftercar.timeline.store import open_timeline

MARKER = "rehearsal.json"
EVERY_H = 1.0
SUPPRESS_H = 24.0  # a repeat within it is not shown again: a convention of ours

ALERTS: dict[str, Any] = {
    "subject_id": None,  # as in the timeline
    "infusion": pl.Int32,
    "time": pl.Datetime("us"),
    "day": pl.Int32,
    "topic": pl.String,
    "rule": pl.String,
    "status": STATUS,
    "suppressed": pl.Boolean,
    "lead_h": pl.Float64,
}


@dataclass(frozen=True)
class Rehearsal:
    """The tables of one rehearsal; `docs/rehearsal.md` describes each.

    Attributes:
        alerts: a row an alert, shown or suppressed.
        rules: a row a rule and kind of alert.
        days: a row a day since the infusion and topic.
        counts: `courses`, those `rehearsed` and `not_rehearsed` (no infusion, or died at once), and `patient_days`.
        asked: profile, hours between two asked times, hours of suppression, the topics and rules that were chosen.
        simulated: whether the patients are virtual; what is written says so then.
    """

    alerts: pl.DataFrame
    rules: pl.DataFrame
    days: pl.DataFrame
    counts: dict[str, float]
    asked: dict[str, Any]
    simulated: bool = False


def rehearse_timeline(
    timeline: pl.DataFrame | pl.LazyFrame,
    *,
    profile: str = DEFAULT_PROFILE,
    rules: Path | str | None = None,
    every_h: float = EVERY_H,
    suppress_h: float = SUPPRESS_H,
    topics: Iterable[str] | None = None,
    only: Iterable[str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Rehearsal:
    """Rehearse the alerts of whole subjects.

    Args:
        timeline: the columns of `docs/tables.md`; any MEDS frame whose codes are our concepts will do.
        profile: whose rules.
        rules: a folder of one's own rules, that stand in for those of the profile by topic.
        every_h: hours between two asked times.
        suppress_h: within how many hours of an alert that was shown its repeat is suppressed; 0 suppresses none.
        topics, only: the topics, and the rules by their id, that are looked at; by default all.
        options: of the grading, those that differ from the default.
    Raises:
        InputError: the frame is no timeline, the folder holds no rules that can be used, or a number of hours is none.
        OptionError: a profile, topic, rule, option or value that does not exist, or an option that takes what is known only later.
    """
    plan = _Plan.of(profile, rules, every_h, suppress_h, topics, only, options)
    frame = timeline.collect() if isinstance(timeline, pl.LazyFrame) else timeline
    return _summary([_rehearsed(conform(frame).lazy(), None, plan)], plan)


def rehearse_folder(
    timeline: Path | str,
    *,
    profile: str = DEFAULT_PROFILE,
    rules: Path | str | None = None,
    every_h: float = EVERY_H,
    suppress_h: float = SUPPRESS_H,
    topics: Iterable[str] | None = None,
    only: Iterable[str] | None = None,
    options: Mapping[str, object] | None = None,
    subject: str | int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rehearsal:
    """Rehearse the alerts of a timeline folder shard by shard; arguments and errors as for `rehearse_timeline`.

    What people said of the timeline afterwards counts for the worst grades, and not for the alerts: it was not known by then.

    Args:
        subject: only this one.
        progress: called with the shards that are done, and all; first before the work.
    """
    plan = _Plan.of(profile, rules, every_h, suppress_h, topics, only, options)
    store = open_timeline(timeline)
    attributed = "attribution" in read_statements(store.folder)["kind"]
    say = progress or (lambda done, all_: None)
    say(0, len(store.files))
    own = lit(True) if subject is None else col("subject_id") == subject
    parts: list[_Part] = []
    for n in range(len(store.files)):
        judged = store.shard(n).filter(own) if attributed else None
        parts.append(_rehearsed(store.shard(n, attribute=False).filter(own), judged, plan))
        say(len(parts), len(store.files))
    return replace(_summary(parts, plan), simulated=store.simulated)


@dataclass(frozen=True)
class _Plan:
    """What is rehearsed. The book holds the rules that are looked at and, last, those that may block them."""

    book: RuleBook
    chosen: list[int]  # the numbers of those rules of the book that are looked at
    step: int  # seconds between two asked times
    suppress: int  # seconds
    options: Options
    asked: dict[str, Any]

    @classmethod
    def of(
        cls,
        profile: str,
        rules: Path | str | None,
        every_h: float,
        suppress_h: float,
        topics: Iterable[str] | None,
        only: Iterable[str] | None,
        options: Mapping[str, object] | None,
    ) -> _Plan:
        book = rulebook(profile, rules)
        taken = options if isinstance(options, Options) else Options(options)
        if taken["day0"] != "first_infusion":
            raise OptionError(
                "A rehearsal counts from the first dose: that a dose was the last is not known when it is given. Leave day0 out."
            )
        if not suppress_h >= 0:
            raise InputError("The hours of suppression must be 0 or more.")
        wanted = _named(book, list(topics or []), list(only or []))
        book = replace(book, rules=tuple(r for r in book.rules if r.id in wanted or r.blocks))
        chosen = [n for n, r in enumerate(book.rules) if r.id in wanted]
        asked = {
            "profile": profile, "every_h": every_h, "suppress_h": suppress_h, "topics": list(topics or []), "rules": list(only or []),
            "options": taken.used_by({name for scale in scales_named(SCALES) for name in scale.options}),
        }  # fmt: skip
        return cls(book, chosen, step_s(every_h), int(min(suppress_h * HOUR, LIFETIME_S)), taken, asked)


def _named(book: RuleBook, topics: Sequence[str], only: Sequence[str]) -> set[str]:
    """The ids of the rules that are looked at.

    Raises:
        OptionError: there is no such topic, or no such rule in this profile.
    """
    known_topics = list(dict.fromkeys(r.topic for r in book.rules))
    for what, names, known in (("topic", topics, known_topics), ("rule", only, [r.id for r in book.rules])):
        for name in names:
            if name not in known:
                raise OptionError(
                    f"There is no {what} {name!r} in the profile {book.profile.name}. {nearest(name, known)}".strip()
                )
    every = not (topics or only)
    return {r.id for r in book.rules if every or r.id in only or r.topic in topics}


# ---- a shard


@dataclass(frozen=True)
class _Part:
    """What is kept of a shard.

    Attributes:
        alerts: the columns of `ALERTS`.
        said: `rule, status, asked`: at how many asked times it said so.
        courses: `subject_id, infusion, asked` (times) and `tallies.outcomes`, a row a course that is asked.
        all_courses: how many there are, asked or not.
    """

    alerts: pl.DataFrame
    said: pl.DataFrame
    courses: pl.DataFrame
    all_courses: int


def _rehearsed(charted: pl.LazyFrame, judged: pl.LazyFrame | None, plan: _Plan) -> _Part:
    """Rehearse whole subjects.

    Args:
        charted: the timeline as it was charted.
        judged: the same with what people said of it afterwards, if they did.
    """
    found = charts(charted, [plan.book], plan.options)
    asked = ask(found, plan.book, None, plan.step / HOUR)
    outcome = found if judged is None else charts(judged, [plan.book], plan.options)
    spoken = [alerts.kinds(told, plan.book.rules, plan.chosen) for told in stretches(asked, plan.book)]
    begun = alerts.suppressed(pl.concat(alerts.onsets(part) for part in spoken), plan.suppress)
    times = asked.last.select("course", asked=(col("at") - origin(col("at"))) // plan.step + 1)
    keys = asked.record.courses.select("course", "subject_id", "infusion").join(times, on="course", maintain_order="left")
    courses = keys.drop("course").join(
        tallies.outcomes(outcome.grades), on=["subject_id", "infusion"], how="left", maintain_order="left"
    )
    dated = clock(begun.with_columns(since=col("at") - origin(col("at"))), asked.record.courses, "at")
    said = pl.concat(alerts.times_said(part, plan.step) for part in spoken)
    return _Part(_led(dated.sort("place", "at", "rule", "status"), courses, plan.book), said, courses, found.courses)


def _led(rows: pl.DataFrame, courses: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    """Alerts as the table, with the hours from each to the worst grade of the toxicity of its topic."""
    named = pl.DataFrame({"topic": [r.topic for r in book.rules], "id": [r.id for r in book.rules]})[rows["rule"]]
    rows = pl.concat([rows.drop("rule"), named], how="horizontal")
    rows = rows.join(courses, on=["subject_id", "infusion"], how="left", maintain_order="left")
    lead = (tallies.of_topic("worst") - col("at")).dt.total_seconds() / HOUR
    rows = rows.with_columns(time="at", day=col("since") // DAY, rule="id", lead_h=lead)
    return rows.select("subject_id", *(col(c).cast(t) for c, t in ALERTS.items() if c != "subject_id"))


def _summary(parts: list[_Part], plan: _Plan) -> Rehearsal:
    """The tables of all shards."""
    rows, said, courses = (
        pl.concat([getattr(p, name) for p in parts], how="vertical_relaxed") for name in ("alerts", "said", "courses")
    )
    rules, all_courses = plan.book.rules, sum(p.all_courses for p in parts)
    topics = list(dict.fromkeys(rules[n].topic for n in plan.chosen))
    return Rehearsal(
        alerts=rows,
        rules=tallies.of_rules(rows, said, courses, rules, plan.chosen, plan.step),
        days=tallies.of_days(rows, courses, topics, plan.step),
        counts={
            "courses": all_courses,
            "rehearsed": courses.height,
            "not_rehearsed": all_courses - courses.height,
            "patient_days": int(courses["asked"].sum()) * plan.step / DAY,
        },
        asked=plan.asked,
    )


# ---- on disk


def summary(found: Rehearsal) -> dict[str, Any]:
    """What was asked, and how many courses and patient-days there were."""
    return {"aftercar": __version__, **found.asked, **found.counts, "simulated": found.simulated}


def write_rehearsal(found: Rehearsal, folder: Path) -> None:
    """Write the three tables as Parquet, and `rehearsal.json` last."""
    with writing(folder):
        for name in ("alerts", "rules", "days"):
            labelled(getattr(found, name), found.simulated).write_parquet(folder / f"{name}.parquet")
    (folder / MARKER).write_text(json.dumps(summary(found), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
