"""Grade a timeline: frames in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import polars as pl
from polars import col, lit

from aftercar.errors import OptionError, nearest
from aftercar.grade import (
    b_cells,
    colitis,
    crs_others,
    ctcae,
    cytopenia,
    hlh,
    hscore,
    iechs,
    neuro_late,
    neuro_others,
    off_tumour,
    recovery,
    spm,
    table,
    ticaht,
)
from aftercar.grade.course import blank_rows
from aftercar.grade.crs import CRS_ASTCT_2019
from aftercar.grade.days import ever
from aftercar.grade.icaht import ICAHT_EARLY, ICAHT_LATE
from aftercar.grade.icans import ICANS_ASTCT, ICANS_ASTCT_PEDS
from aftercar.grade.options import Options
from aftercar.grade.scale import Scale, assess, beside, episodes
from aftercar.grade.worst import worst
from aftercar.timeline import subjects as subject_rows
from aftercar.timeline.schema import conform
from aftercar.timeline.state import Record, record
from aftercar.timeline.subjects import subjects

SCALES: dict[str, Scale] = {
    s.name: s
    for s in (
        CRS_ASTCT_2019, *crs_others.SCALES,
        ICANS_ASTCT, ICANS_ASTCT_PEDS, *neuro_others.SCALES,
        *iechs.SCALES, *hlh.SCALES, *hscore.SCALES,
        ICAHT_EARLY, ICAHT_LATE, *ticaht.SCALES, *recovery.SCALES, *cytopenia.SCALES,
        *b_cells.SCALES, *colitis.SCALES, *neuro_late.SCALES, *spm.SCALES, *off_tumour.SCALES,
        *ctcae.SCALES,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """The tables of one grading: `docs/tables.md` describes each."""

    grades: pl.DataFrame
    episodes: pl.DataFrame
    worst: pl.DataFrame
    subjects: pl.DataFrame


def scales_named(names: Iterable[str] | None, *, others: bool = False) -> list[Scale]:
    """Scales by name or toxicity (`crs`: its default scale, with `others` every one); `all` of them; without names the default scale of
    each toxicity.

    Raises:
        OptionError: there is none of that name.
    """
    if not names:
        return [s for s in SCALES.values() if s.default]
    names = [names] if isinstance(names, str) else names
    chosen: dict[str, Scale] = {}
    for name in names:
        found = [s for s in SCALES.values() if name in ("all", s.name) or ((s.default or others) and name == s.toxicity)]
        if name == "icaht":
            found = [s for s in SCALES.values() if s.toxicity.startswith("icaht")]
        found = found or named_in_part(name)
        if not found:
            known = {*SCALES, *(s.toxicity for s in SCALES.values()), "all"}
            raise OptionError(f"No scale is called {name!r}. {nearest(name, known)}")
        chosen |= {s.name: s for s in found}
    return [s for s in SCALES.values() if s.name in chosen]


@cache
def highest_grade(family: str) -> int:
    """The highest grade that the scales of a family have, by their default options; 5 where we know none of that family."""
    criteria = [c.grade for s in SCALES.values() if s.family == family for c in s.criteria(Options())]
    return max(criteria, default=5)


def named_in_part(name: str) -> list[Scale]:
    """The scales that people mean by a part of a name: `lee2014`, `lee`, `ctcae`."""
    said = name.strip().lower().replace("-", "_")
    return [s for s in SCALES.values() if said and f"_{said}" in f"_{s.name}"]


def grade_timeline(
    timeline: pl.DataFrame | pl.LazyFrame,
    scales: Iterable[str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Result:
    """Grade whole subjects.

    Args:
        timeline: the columns of `docs/tables.md`; any MEDS frame whose codes are our concepts will do.
        scales: names of scales or toxicities, or `all`; by default the default scale of each toxicity.
        options: those that differ from the default.
    Raises:
        InputError: the frame is no timeline.
        OptionError: a scale, option or value that does not exist.
    """
    frame = timeline.collect() if isinstance(timeline, pl.LazyFrame) else timeline
    chosen = options if isinstance(options, Options) else Options(options)
    return grade_lazy(conform(frame).lazy(), scales_named(scales), chosen)


def grade_lazy(charted: pl.LazyFrame, scales: list[Scale], options: Options) -> Result:
    """Grade whole subjects of a timeline in our schema; only the rows that these scales read are held."""
    rec, courses = opened(charted, codes_of(scales), options)
    return graded(rec, courses, scales, options)


def codes_of(scales: Iterable[Scale]) -> list[str]:
    """The concepts that some scales read."""
    return sorted({c for s in scales for c in s.codes})


def opened(charted: pl.LazyFrame, codes: list[str], options: Options, *, hindsight: bool = True) -> tuple[Record, pl.DataFrame]:
    """Whole subjects of a timeline in our schema, ready to be graded: the rows of some concepts as a record, and `subjects`.

    Args:
        hindsight: whether what came later may say what an earlier time was: two vasopressors that went on to overlap for long were no hand-over
            from the beginning, and what one charting left open and another settled within the hour was not open. Without it each time
            is graded as it could be then; only the scales that options of management read (`manage.facts.SCALES`) can do without.
    """
    # Most rows of a record are of no concern: they are read once, for where each record ends.
    wanted = charted.filter(col("code").is_in([*codes, *subject_rows.CODES]) | (col("attributable_to") == "iec"))
    ends, timeline = pl.collect_all([subject_rows.record_ends(charted), wanted])
    timeline = conform(timeline)
    courses = subjects(timeline, options["day0"], ends)
    exclude_unknown = options["unknown_attribution"] == "exclude"
    return record(timeline, courses, codes, exclude_unknown=exclude_unknown, hindsight=hindsight), courses


def graded(rec: Record, courses: pl.DataFrame, scales: list[Scale], options: Options) -> Result:
    """Grade a record that was `opened`, with the rows that these scales read and perhaps others."""
    found = _Found.of(rec, scales, options)
    spells = None
    if found.timed is not None:
        shown = found.timed.filter(col("status") != "not_applicable")
        spells = episodes(shown, float(options["new_episode_gap_h"]), float(options["resolution_h"]))
    grades = found.grades(rec, courses)
    return Result(
        grades=grades.table,
        episodes=table.episodes(spells, found.once, rec, found.labels),
        worst=worst(grades, courses),
        subjects=courses.drop("opens", "from", "until", "birth"),
    )


def grades_alone(rec: Record, courses: pl.DataFrame, scales: list[Scale], options: Options) -> pl.DataFrame:
    """The table of grades that `graded` gives, without the others."""
    return _Found.of(rec, scales, options).grades(rec, courses).table


@dataclass(frozen=True)
class _Found:
    """What scales find in a record.

    Attributes:
        timed: rows of the scales over time, `scale.beside` one another.
        once: rows of the scales of one row a course, with `_scale`.
        behind: `row` (number in `timed`), `id` of the rows of the timeline behind it.
    """

    timed: pl.DataFrame | None
    once: pl.DataFrame | None
    behind: list[pl.DataFrame]
    labels: table.Labels

    @classmethod
    def of(cls, rec: Record, scales: list[Scale], options: Options) -> _Found:
        """Assess each scale."""
        over_time, windows, behind = [], [], []
        states: dict[Callable[..., pl.DataFrame], pl.DataFrame] = {}
        for n, scale in enumerate(scales):
            if scale.window is not None:
                nothing = scale.needs and not ever(rec, *scale.needs)
                rows = blank_rows(rec) if nothing else scale.window(rec, options, scale)
                windows.append(rows.with_columns(_scale=lit(n, pl.Int64), _lasts=lit(scale.lasts)))
                continue
            assert scale.state is not None
            if scale.state not in states:
                states[scale.state] = scale.state(rec, options)
            rows, ids = assess(states[scale.state], scale, options, hindsight=rec.hindsight)
            behind.append(ids.with_columns(col("row") + sum(r.height for r in over_time)))
            over_time.append(beside(rows, n, rec))
        timed = pl.concat(over_time) if over_time else None
        once = pl.concat(windows).collect(engine="in-memory") if windows else None
        return cls(timed, once, behind, table.Labels.of(scales, options))

    def grades(self, rec: Record, courses: pl.DataFrame) -> table.Grades:
        """The table of grades."""
        return table.grades(self.timed, self.once, self.behind, rec, courses, self.labels)
