"""Grade a timeline: frames in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

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
from aftercar.timeline.state import record
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
    codes = sorted({c for s in scales for c in s.codes})
    # Most rows of a record are of no concern to these scales: they are read once, for where each record ends.
    wanted = charted.filter(col("code").is_in([*codes, *subject_rows.CODES]) | (col("attributable_to") == "iec"))
    ends, timeline = pl.collect_all([subject_rows.record_ends(charted), wanted])
    timeline = conform(timeline)
    courses = subjects(timeline, options["day0"], ends)
    rec = record(timeline, courses, codes, exclude_unknown=options["unknown_attribution"] == "exclude")
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
        rows, ids = assess(states[scale.state], scale, options)
        behind.append(ids.with_columns(col("row") + sum(r.height for r in over_time)))
        over_time.append(beside(rows, n, rec))
    timed = pl.concat(over_time) if over_time else None
    once = pl.concat(windows).collect(engine="in-memory") if windows else None
    spells = None
    if timed is not None:
        shown = timed.filter(col("status") != "not_applicable")
        spells = episodes(shown, float(options["new_episode_gap_h"]), float(options["resolution_h"]))
    labels = table.Labels.of(scales, options)
    grades = table.grades(timed, once, behind, rec, courses, labels)
    return Result(
        grades=grades.table,
        episodes=table.episodes(spells, once, rec, labels),
        worst=worst(grades, courses),
        subjects=courses.drop("opens", "from", "until", "birth"),
    )
