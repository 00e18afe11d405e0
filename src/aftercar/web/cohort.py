"""The patients of a ward counted together: what was stored of each, as one."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import polars as pl
from polars import col

from aftercar.cohort.incidence import by_day, cumulative_incidence, first_days
from aftercar.cohort.outcome import Outcome
from aftercar.grade.adjudicate import adjudicated, with_family
from aftercar.grade.regrade import Regraded, compare
from aftercar.grade.run import SCALES, Result, grade_lazy, scales_named
from aftercar.report import other
from aftercar.report.names import scale_name, toxicity_name
from aftercar.ward import record, statements
from aftercar.ward.found import NOW, Found, followed
from aftercar.ward.record import Patient
from aftercar.ward.ward import Ward

CUTS = (1, 3)
DAYS = (7, 14, 28)  # by which incidence is told
KEPT = 4  # gradings on all scales


@dataclass(frozen=True, eq=False)
class Cohort:
    """Patients whose results are known, as frames of all; `subject_id` is the label.

    Attributes:
        waiting: how many are still being graded.
        blank: of how many nothing is charted.
        products, diseases: of all patients, to choose from.
    """

    people: tuple[Patient, ...]
    subjects: pl.DataFrame
    grades: pl.DataFrame
    worst: pl.DataFrame
    episodes: pl.DataFrame
    waiting: int
    blank: int
    products: tuple[str, ...]
    diseases: tuple[str, ...]


def gathered(ward: Ward, product: str, disease: str) -> Cohort | None:
    """The patients of a ward, or those of a product and disease; null while none is graded."""
    with ward.database.reading() as connection:
        everybody = record.patients(connection)
        said = statements.last(connection)
    ready = [(who, ward.ready(who)) for who in everybody if who.version]
    known = tuple((who, found) for who, found in ready if found is not None)
    if not known:
        return None
    return _gathered(ward, known, said, len(ready) - len(known), len(everybody) - len(ready), product, disease)


@lru_cache(maxsize=8)
def _gathered(
    ward: Ward, known: tuple[tuple[Patient, Found], ...], said: tuple[int, str], waiting: int, blank: int, product: str, disease: str
) -> Cohort:  # fmt: skip
    """The same from what was found, once for each state of the ward: `said` is the end of the log of statements then."""
    with ward.database.reading() as connection:
        log = statements.log(connection)
    labels = {who.subject_id: who.label for who, _ in known}
    frames = {
        name: pl.concat([getattr(found, name) for _, found in known], how="vertical_relaxed")
        for name in ("subjects", "grades", "worst", "episodes")
    }
    frames["worst"] = adjudicated(other.parted(frames["worst"])[0], log)
    frames["grades"] = frames["grades"].filter(col("toxicity").is_in(NOW))
    courses = frames["subjects"]
    chosen = courses.filter((col("product") == product if product else True) & (col("disease") == disease if disease else True))
    named = col("subject_id").replace_strict(labels, return_dtype=pl.String)
    own = {
        name: frame.join(chosen.select("subject_id", "infusion"), on=["subject_id", "infusion"], how="semi", maintain_order="left").with_columns(subject_id=named)
        for name, frame in frames.items()
    }  # fmt: skip
    people = tuple(who for who, _ in known if who.subject_id in set(chosen["subject_id"]))
    values = {name: tuple(courses[name].drop_nulls().unique().sort()) for name in ("product", "disease")}
    return Cohort(
        people,
        **own,
        waiting=waiting,
        blank=blank,
        products=values["product"],
        diseases=values["disease"],
    )


def incidence(found: Cohort) -> dict[str, tuple[pl.DataFrame, int]]:
    """The cumulative incidence of each of `NOW` at any grade and at 3 or more, with the number of courses."""
    curves: dict[str, tuple[pl.DataFrame, int]] = {}
    for toxicity in NOW:
        for cut in CUTS:
            first = first_days(found.subjects, found.grades, Outcome(toxicity, cut))
            curves[f"{toxicity_name(toxicity)}, {'any grade' if cut == 1 else f'grade {cut} or more'}"] = (
                cumulative_incidence(first),
                first.height,
            )
    return curves


def incidence_table(curves: dict[str, tuple[pl.DataFrame, int]]) -> list[dict[str, Any]]:
    """Of each curve the share by some days, with its interval."""
    return [
        {
            "name": name,
            "n": n,
            "events": int(curve["events"].sum()),
            "deaths": int(curve["competing"].sum()),
            "by": [by_day(curve, day) for day in DAYS],
        }
        for name, (curve, n) in curves.items()
    ]


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

    def shift(self, ward: Ward, people: tuple[Patient, ...], from_: str, to: str) -> Regraded:
        """How the worst grades of some patients move from one family of scales to another."""
        result = self._of(ward, people)
        worst, episodes = with_family(result.worst), with_family(result.episodes)
        sides = [(w.filter(family=f), e.filter(family=f)) for f, w, e in ((from_, worst, episodes), (to, worst, episodes))]
        return compare(sides[0][0], sides[1][0], sides[0][1], sides[1][1])

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


def shift_table(found: Regraded) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """The shift as a table: columns the grades of the one scale that occur, rows those of the other."""
    cells = {(a, b): n for a, b, n in found.shift.select("from", "to", "n").iter_rows()}
    columns, rows = (sorted({key[k] for key in cells}) for k in (1, 0))
    return columns, [(row, [cells.get((row, c), 0) for c in columns]) for row in rows]
