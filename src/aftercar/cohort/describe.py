"""A cohort described: who it is, worst grades, when toxicities came and went, who died of what, and second malignancies; by group where asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.cohort import malignancy
from aftercar.cohort.episodes import QUARTILES
from aftercar.cohort.exact import with_exact
from aftercar.cohort.groups import EVERYBODY, grouped, in_order, of_nobody, with_beside
from aftercar.cohort.incidence import first_days, incidence_by
from aftercar.cohort.mortality import RELAPSE, endings, mortality, shares
from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.cohort.table_one import SUBJECTS, Variable, table_one
from aftercar.cohort.times import MEASURES, between, timed
from aftercar.cohort.worst import reached, worst_counts
from aftercar.errors import OptionError, many
from aftercar.files import replace_folder, writing
from aftercar.frames import labelled
from aftercar.grade.results import Results

MARKER = "cohort.json"
DAYS = (7, 14, 28, 100)
DEATH_DAYS = (28, 100, 365)
LATE_DAYS = (365, 730, 1096)
OUTCOMES = ("crs:1", "crs:3", "icans:1", "icans:3", "icaht_early:3", "iec_hs_grade:1")
_STAYS = "Derived by software, not adjudicated."


@dataclass(frozen=True, eq=False)
class Described:
    """A cohort in tables; `docs/statistics.md` has their columns. Each begins with `group`: all together, then each group.

    Attributes:
        baseline: Table 1.
        grades, rates: worst grades of each scale, and of each how many reached each grade.
        incidence: cumulative incidence of each outcome by some days.
        times: onset and duration of each outcome, plain and between the times that the record tells.
        mortality, causes: non-relapse mortality by cause, by some days; and what those deaths were of.
        malignancies, malignancy_classes, standardised: second malignancies by person-time, of which class, and against reference rates.
        facts: what was asked, of what, and notes.
    """

    baseline: pl.DataFrame
    grades: pl.DataFrame
    rates: pl.DataFrame
    incidence: pl.DataFrame
    times: pl.DataFrame
    mortality: pl.DataFrame
    causes: pl.DataFrame
    malignancies: pl.DataFrame
    malignancy_classes: pl.DataFrame
    standardised: pl.DataFrame
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


TABLES = tuple(f.name for f in fields(Described) if f.name != "facts")


@dataclass(frozen=True)
class Asked:
    """What of a cohort is asked.

    Attributes:
        outcomes: toxicities or scales with the least grade, as `Outcome.of` reads them; without: those of `OUTCOMES` that were graded.
        by, cuts: the groups, see `groups.grouped`.
        days, death_days, late_days: by which incidence is told of outcomes, deaths and second malignancies.
        competing: what forestalls an outcome beside death: `progression`, `next_therapy`.
        relapse: which dates are a relapse for non-relapse mortality.
        without: classes of second malignancies that do not count.
    """

    outcomes: tuple[str, ...] = ()
    by: str | None = None
    cuts: tuple[date, ...] = ()
    days: tuple[int, ...] = DAYS
    death_days: tuple[int, ...] = DEATH_DAYS
    late_days: tuple[int, ...] = LATE_DAYS
    competing: tuple[str, ...] = ()
    relapse: tuple[str, ...] = ("progression",)
    without: tuple[str, ...] = ()


def describe(
    results: Results,
    asked: Asked | None = None,
    *,
    beside: pl.DataFrame | None = None,
    baseline: tuple[pl.DataFrame, dict[str, Variable]] | None = None,
    reference: pl.DataFrame | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Described:
    """Describe the courses of some results.

    Args:
        asked: what is asked; by default all of it, without groups.
        beside: a table of the user's own, a row a subject or course: `subject_id`, perhaps `infusion`, and columns for Table 1 and groups.
        baseline: of `cohort.baseline.baseline`.
        reference: of `cohort.malignancy.read_reference`.
        progress: called with the outcomes that are counted, and all.
    Raises:
        InputError: a table of the results is gone or damaged, or one of the user's does not fit.
        OptionError: something asked for does not exist, or was not graded.
    """
    asked = asked or Asked()
    subjects, worst, episodes = results.subjects, results.worst, results.episodes
    outcomes = outcomes_asked(asked.outcomes, results)
    for days in (asked.days, asked.death_days, asked.late_days):
        if any(day < 0 for day in days):
            raise OptionError("Days are counted from the infusion: 0 or more.")
    courses = grouped(subjects, asked.by, beside, asked.cuts)
    rows = results.grades(sorted({scale for o in outcomes for scale in o.scales} | {malignancy.SPM}))
    say = progress or (lambda done, all_: None)
    say(0, len(outcomes))
    incidence: list[pl.DataFrame] = []
    times: list[pl.DataFrame] = []
    for n, outcome in enumerate(outcomes, 1):
        own = rows.filter(col("scale").is_in(outcome.scales))
        incidence.append(incidence_of(courses, own, episodes, outcome, asked))
        if outcome.over_time:
            times.append(times_of(courses, own, outcome, float(results.run["options"]["new_episode_gap_h"])))
        say(n, len(outcomes))
    members = courses.select(*COURSE, "group")
    with_groups = worst.drop("group").join(members, on=COURSE)  # there it is a class of the toxicity
    ended = endings(courses, asked.relapse).join(members, on=COURSE)
    spm = rows.filter(scale=malignancy.SPM) if malignancy.SPM in results.graded else None
    people = malignancy.at_risk(courses, episodes, spm, asked.without).join(members, on=COURSE) if spm is not None else None
    variables = dict(SUBJECTS)
    if beside is not None:
        variables |= {c: Variable(c) for c in beside.columns if c not in COURSE}
    if baseline is not None:
        courses, variables = with_beside(courses, baseline[0]), variables | baseline[1]
    one = {
        name: about
        for name, about in variables.items()
        if name != asked.by and courses[name].null_count() < max(courses.height, 1)
    }
    return Described(
        baseline=table_one(courses, one, EVERYBODY),
        grades=_each(with_groups, worst_counts),
        rates=_each(with_groups, lambda own: with_exact(reached(own))),
        incidence=_rows(incidence, INCIDENCE),
        times=_rows(times, TIMES),
        mortality=_each(ended, lambda own: mortality(own, asked.death_days)),
        causes=_each(ended, shares),
        malignancies=_each(people, lambda own: malignancy.rate(own, asked.late_days), malignancy.RATE),
        malignancy_classes=_each(people, malignancy.classes, malignancy.CLASSES),
        standardised=_each(people, partial(malignancy.standardised, reference=reference), malignancy.STANDARDISED) if reference is not None
        else _rows([], {"group": pl.String} | malignancy.STANDARDISED),
        facts=_facts(results, courses, people, ended, asked, outcomes, of_nobody(subjects, beside) if beside is not None else []),
    )  # fmt: skip


def outcomes_asked(words: Iterable[str], results: Results) -> list[Outcome]:
    """Outcomes as a user names them, or the usual ones; each once.

    Raises:
        OptionError: there is none of that name, or the results do not hold it.
    """
    named = [Outcome.of(w) for w in words]
    for outcome in named:
        results.require(outcome.scales)
    usual = [o for o in map(Outcome.of, OUTCOMES) if set(o.scales) & results.graded]
    return list(dict.fromkeys(named or usual))


def incidence_of(
    courses: pl.DataFrame, grades: pl.DataFrame, episodes: pl.DataFrame, outcome: Outcome, asked: Asked
) -> pl.DataFrame:
    """Cumulative incidence of an outcome by some days, all together and by `group` of the courses; with that if each of whom it is open had it as soon as it may have come (`greatest`)."""
    members = courses.select(*COURSE, "group")
    sure, perhaps = (
        first_days(courses, grades, outcome, episodes=episodes, competing=("death", *asked.competing), possibly=possibly).join(
            members, on=COURSE
        )
        for possibly in (False, True)
    )
    most = dict(_groups(perhaps))
    rows: list[dict[str, Any]] = []
    for name, own in _groups(sure):
        counts, by_days = incidence_by(own, most[name], asked.days)
        told = {"group": name, "outcome": outcome.key, "label": outcome.name} | counts
        rows += [told | {"day": day} | share for day, share in zip(asked.days, by_days, strict=True)]
    return pl.DataFrame(rows, schema=INCIDENCE)


INCIDENCE: dict[str, Any] = {
    "group": pl.String, "outcome": pl.String, "label": pl.String, **dict.fromkeys(("n", "events", "competing", "censored", "open", "day"), pl.Int64),
    **dict.fromkeys(("incidence", "low", "high", "greatest", "greatest_high"), pl.Float64),
}  # fmt: skip


def times_of(courses: pl.DataFrame, grades: pl.DataFrame, outcome: Outcome, gap_h: float) -> pl.DataFrame:
    """Onset and duration of an outcome, all together and by `group` of the courses."""
    known = between(courses, grades, outcome, gap_h).join(courses.select(*COURSE, "group"), on=COURSE)
    rows = [
        {"group": name, "outcome": outcome.key, "label": outcome.name, "measure": measure} | timed(own, measure).row()
        for name, own in _groups(known)
        for measure in MEASURES
    ]
    return pl.DataFrame(rows, schema=TIMES)


TIMES: dict[str, Any] = {
    "group": pl.String, "outcome": pl.String, "label": pl.String, "measure": pl.String,
    **dict.fromkeys(("n", "events", "uncertain"), pl.Int64), **dict.fromkeys((f"{q}_{s}" for q in QUARTILES for s in ("plain", "least", "greatest")), pl.Float64),
}  # fmt: skip


def _groups(frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """All together, then each group (`groups.in_order`); who is of none counts with all."""
    each = frame.drop_nulls("group").partition_by("group", as_dict=True)
    own = {str(name): rows for (name,), rows in each.items()}
    return [(EVERYBODY, frame), *((name, own[name]) for name in in_order(own))]


def _each(
    frame: pl.DataFrame | None, count: Callable[[pl.DataFrame], pl.DataFrame], schema: dict[str, Any] | None = None
) -> pl.DataFrame:
    """What is counted of all together and of each group, with the group in front."""
    if frame is None:
        return pl.DataFrame(schema={"group": pl.String} | (schema or {}))
    return pl.concat(count(own).select(lit(name).alias("group"), pl.all()) for name, own in _groups(frame))


def _rows(parts: list[pl.DataFrame], schema: dict[str, Any]) -> pl.DataFrame:
    """Tables of outcomes one under the other; of none, an empty one."""
    return pl.concat([pl.DataFrame(schema=schema), *parts])


def _facts(
    results: Results, courses: pl.DataFrame, people: pl.DataFrame | None, ended: pl.DataFrame, asked: Asked, outcomes: list[Outcome], beside: list[str]
) -> dict[str, Any]:  # fmt: skip
    """What was asked, of what, and what a reader must know of it. No patient value."""
    run, scales = results.run, {scale for o in outcomes for scale in o.scales}
    return {
        "aftercar": __version__,
        "courses": courses.height,
        "subjects": courses["subject_id"].n_unique(),
        "without_infusion": results.subjects.filter(col("day0").is_null()).height,
        "groups": {name: own.height for name, own in _groups(courses)},
        "without_group": courses["group"].null_count() if asked.by else 0,
        "asked": {f.name: getattr(asked, f.name) for f in fields(Asked)} | {"cuts": [str(d) for d in asked.cuts]},
        "outcomes": {o.key: o.name for o in outcomes},
        "rules": results.rules(scales | {malignancy.SPM}),
        "options": run["options"],
        "timeline_fingerprint": run.get("timeline_fingerprint"),
        "timeline_note": run.get("timeline_note"),
        "simulated": results.simulated,
        "notes": [*beside, *_notes(courses, people, ended, asked), _STAYS],
    }


def _notes(courses: pl.DataFrame, people: pl.DataFrame | None, ended: pl.DataFrame, asked: Asked) -> list[str]:
    """What the tables cannot tell by themselves."""
    told: list[str] = []
    if courses.height > courses["subject_id"].n_unique():
        told.append(
            "Some subjects have several infusions: each is a course of its own, and intervals take courses for independent. Second malignancies are counted by subject."
        )
    if courses.select(pl.all_horizontal(col(asked.relapse).is_null().all())).item() and courses.height:
        died = ended.filter(ending=RELAPSE).height
        told.append(
            f"No relapse has a date: {many(died, 'course')} with a relapse {'is' if died == 1 else 'are'} known only by a death of it. Non-relapse mortality is right only if nobody else had one."
            if died
            else "Nobody's relapse is charted: non-relapse mortality is right only if nobody had one."
        )
    if people is None:
        told.append(f"Second malignancies are left out: the results were not graded by {malignancy.SPM}.")
    elif not (people["what"] == "event").any():
        told.append("No second malignancy is charted. A record in which nobody looks for one has none either.")
    return told


def write_described(found: Described, out: Path | str) -> None:
    """Each table as Parquet and CSV, and `cohort.json`; a former description is replaced whole.

    Raises:
        InputError: the folder holds something else.
    """
    with replace_folder(Path(out), marker=MARKER) as fresh, writing(fresh):
        write_tables(found, fresh)


def write_tables(found: Described, folder: Path) -> None:
    """The same into a folder that is being written."""
    for name in TABLES:
        table = labelled(getattr(found, name), found.facts["simulated"])
        table.write_parquet(folder / f"{name}.parquet")
        lists = [c for c, dtype in table.schema.items() if dtype == pl.List]
        table.with_columns(col(c).list.join("; ") for c in lists).write_csv(folder / f"{name}.csv")
    (folder / MARKER).write_text(json.dumps(found.facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
