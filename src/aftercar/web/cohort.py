"""The patients of a ward counted together: what was stored of each, as one."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
from polars import col

from aftercar.cohort.outcome import COURSE
from aftercar.grade.adjudicate import adjudicated, with_family
from aftercar.grade.options import OPTIONS
from aftercar.grade.regrade import Regraded, compare
from aftercar.grade.results import Results
from aftercar.grade.run import SCALES, Result, grade_lazy, scales_named
from aftercar.report import other
from aftercar.report.figures import cohort as figures
from aftercar.report.names import scale_name, toxicity_name
from aftercar.ward import record, statements
from aftercar.ward.found import NOW, Found, followed
from aftercar.ward.record import Patient
from aftercar.ward.ward import Ward

GROUPS = ("product", "disease", "target", "sex")  # by which a page parts the courses
KEPT = 4  # gradings on all scales
MADE_UP = "Made-up patients: nothing here is about a real person."
SOME_MADE_UP = "Some of the patients are made up."


@dataclass(frozen=True, eq=False)
class Cohort:
    """Patients whose results are known, as frames of all; `subject_id` is the label."""

    people: tuple[Patient, ...]
    subjects: pl.DataFrame
    grades: pl.DataFrame
    worst: pl.DataFrame
    episodes: pl.DataFrame

    @property
    def infused(self) -> int:
        """How many of the courses have an infusion."""
        return self.subjects.filter(col("day0").is_not_null()).height

    @property
    def note(self) -> str | None:
        """What must be said of who they are."""
        made_up = {p.made_up for p in self.people}
        return None if True not in made_up else SOME_MADE_UP if False in made_up else MADE_UP


@dataclass(frozen=True)
class Gathered:
    """The cohort that was asked for, and what it is chosen from.

    Attributes:
        waiting: how many are still being graded.
        blank: of how many nothing is charted.
        products, diseases: of all patients, to choose from.
    """

    cohort: Cohort
    waiting: int
    blank: int
    products: tuple[str, ...]
    diseases: tuple[str, ...]


def gathered(ward: Ward, product: str = "", disease: str = "") -> Gathered | None:
    """The patients of a ward, or those of a product and disease; null while none is graded."""
    with ward.database.reading() as connection:
        everybody = record.patients(connection)
        said = statements.last(connection)
    ready = [(who, ward.ready(who)) for who in everybody if who.version]
    known = tuple((who, found) for who, found in ready if found is not None)
    if not known:
        return None
    whole = _whole(ward, known, said)
    values = (tuple(whole.subjects[name].drop_nulls().unique().sort()) for name in ("product", "disease"))
    return Gathered(_chosen(whole, product, disease), len(ready) - len(known), len(everybody) - len(ready), *values)


@lru_cache(maxsize=2)
def _whole(ward: Ward, known: tuple[tuple[Patient, Found], ...], said: tuple[int, str]) -> Cohort:
    """All of them from what was found, once for each state of the ward: `said` is the end of the log of statements then."""
    with ward.database.reading() as connection:
        log = statements.log(connection)
    frames = {
        name: pl.concat([getattr(found, name) for _, found in known], how="vertical_relaxed")
        for name in ("subjects", "grades", "worst", "episodes")
    }
    frames["worst"] = adjudicated(other.parted(frames["worst"])[0], log)
    labels = {who.subject_id: who.label for who, _ in known}
    named = col("subject_id").replace_strict(labels, return_dtype=pl.String)
    return Cohort(
        tuple(who for who, _ in known), **{name: frame.with_columns(subject_id=named) for name, frame in frames.items()}
    )


@lru_cache(maxsize=8)
def _chosen(whole: Cohort, product: str, disease: str) -> Cohort:
    """The courses of a product and disease, and who had one; the very same where all are asked for."""
    if not product and not disease:
        return whole
    courses = whole.subjects.filter(
        (col("product") == product if product else True) & (col("disease") == disease if disease else True)
    )
    labels = set(courses["subject_id"])
    frames = {name: getattr(whole, name).join(courses.select(COURSE), on=COURSE, how="semi", maintain_order="left") for name in ("subjects", "grades", "worst", "episodes")}  # fmt: skip
    return Cohort(tuple(who for who in whole.people if who.label in labels), **frames)


def run_of(ward: Ward, found: Cohort) -> dict[str, Any]:
    """What `run.json` would say of these results."""
    return {
        "rules": [scale.rules for scale in scales_named(None)],
        "options": {name: ward.options[name] for name in OPTIONS},
        "timeline_note": found.note,
        "simulated": False,
    }


def results_of(ward: Ward, found: Cohort) -> Results:
    """The cohort as the results folder that it would be; it lies nowhere."""
    tables = {name: getattr(found, name) for name in ("subjects", "grades", "worst", "episodes")}
    return Results(Path("The ward"), run_of(ward, found), tables)


def drawn(ward: Ward, found: Cohort) -> figures.Cohort:
    """The cohort as figures take it."""
    return figures.cohort_of(results_of(ward, found))


def outcomes(found: Cohort) -> list[tuple[str, str]]:
    """Families of scales that can be asked for, with their names: those that apply to anybody."""
    applies = with_family(found.worst).filter(col("status").cast(pl.String) != "not_applicable")
    names = {s.family: s.title for s in reversed(SCALES.values())}
    rank = {family: n for n, family in enumerate(dict.fromkeys(s.family for s in SCALES.values()))}
    return [(family, names[family]) for family in sorted(applies["family"].unique(), key=rank.__getitem__)]


def completeness(found: Cohort) -> list[dict[str, Any]]:
    """Of the toxicities that are graded at the bedside: courses that were assessed at all, and the hours in which what they rest on was too old."""
    rows = with_family(found.worst).filter(col("toxicity").is_in(NOW) & (col("status") != "not_applicable"))
    told = rows.group_by("toxicity").agg(
        n=pl.len(), assessed=col("assessed").sum(), settled=(col("grade") == col("grade_upper")).sum(), hours=col("unassessed_h").median(),
        most=col("unassessed_h").max(), adjudicated=col("adjudicated_grade").is_not_null().sum(),
    )  # fmt: skip
    by_name = {r["toxicity"]: r for r in told.iter_rows(named=True)}
    return [by_name[t] | {"name": toxicity_name(t)} for t in NOW if t in by_name]


# ---- from one scale to another


def pairs() -> dict[str, list[tuple[str, str]]]:
    """Scales that can be compared: of each toxicity the families with their names, the default first."""
    found: dict[str, dict[str, str]] = {}
    for scale in SCALES.values():
        if scale.toxicity in NOW:
            found.setdefault(scale.toxicity, {}).setdefault(scale.family, scale_name(scale.name))
    return {toxicity: list(families.items()) for toxicity, families in found.items()}


@dataclass
class Regradings:
    """Gradings of a ward's patients on all scales of CRS and neurotoxicity: made when they are asked for, and kept until a record changes."""

    _kept: dict[tuple[Any, ...], Result] = field(default_factory=dict[tuple[Any, ...], Result])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def shift(self, ward: Ward, found: Cohort, from_: str, to: str) -> Regraded:
        """How the worst grades of some patients move from one family of scales to another."""
        result = self._of(ward, found.people)
        worst, episodes = with_family(result.worst), with_family(result.episodes)
        sides = [(w.filter(family=f), e.filter(family=f)) for f, w, e in ((from_, worst, episodes), (to, worst, episodes))]
        names = {key: next(s.name for s in SCALES.values() if s.family == f) for key, f in (("from", from_), ("to", to))}
        told = compare(sides[0][0], sides[1][0], sides[0][1], sides[1][1])
        return replace(told, facts=names | {"timeline_note": found.note, "simulated": False})

    def worst(self, ward: Ward, found: Cohort) -> pl.DataFrame:
        """The worst grades of some patients on all scales."""
        return self._of(ward, found.people).worst

    def _of(self, ward: Ward, people: tuple[Patient, ...]) -> Result:
        now = ward.now()
        key = (now.date(), *((who.subject_id, who.version) for who in people))
        with self._lock:  # one at a time; who asks the same meanwhile finds it made
            if key not in self._kept:
                timeline = pl.concat([followed(ward.timeline(who.subject_id), now) for who in people])
                self._kept[key] = grade_lazy(timeline.lazy(), scales_named(NOW, others=True), ward.options)
                while len(self._kept) > KEPT:
                    self._kept.pop(next(iter(self._kept)))
            return self._kept[key]


REGRADINGS = Regradings()


def shift_table(found: Regraded) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """The shift as a table: columns the grades of the one scale that occur, rows those of the other."""
    cells = {(a, b): n for a, b, n in found.shift.select("from", "to", "n").iter_rows()}
    columns, rows = (sorted({key[k] for key in cells}) for k in (1, 0))
    return columns, [(row, [cells.get((row, c), 0) for c in columns]) for row in rows]
