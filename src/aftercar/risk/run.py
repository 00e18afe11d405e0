"""Score a timeline: frames in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.errors import InputError, OptionError, nearest
from aftercar.risk import car_hematotox, delayed, early_crs, easix, eipm, factors, unpublished
from aftercar.risk.car_hematotox import G_CSF
from aftercar.risk.eipm import Coefficients, read_coefficients, with_coefficients
from aftercar.risk.inputs import BEFORE_LD, LYMPHODEPLETION, Charted, Window, chart, draw, shortly_before
from aftercar.risk.options import Options
from aftercar.risk.score import Score, input_rows, no_inputs, score_rows, slot_rows
from aftercar.timeline import subjects as subject_rows
from aftercar.timeline.schema import conform
from aftercar.timeline.store import open_timeline
from aftercar.timeline.subjects import subjects

REGISTRY: dict[str, Score] = {
    s.name: s
    for s in (*car_hematotox.SCORES, *easix.SCORES, *early_crs.SCORES, *delayed.SCORES, *eipm.SCORES, *unpublished.SCORES)
}
COURSE = ["subject_id", "infusion"]
# Grades that scores and factors read, by the column that they become: scale and least grade.
GRADED = {"crs_2": ("crs_astct2019", 2), "crs_3": ("crs_astct2019", 3), "icans_1": ("icans_astct", 1)}


@dataclass(frozen=True)
class Result:
    """The tables of one scoring; `docs/risk.md` describes each.

    Attributes:
        scores: a row a course, score and window.
        inputs: a row an input of each of these.
        factors: a row a course and risk factor.
    """

    scores: pl.DataFrame
    inputs: pl.DataFrame
    factors: pl.DataFrame


def scores_named(names: Iterable[str] | None) -> list[Score]:
    """Scores by name or a part of it (`easix`: itself; `teachey2016`: all of them); `all`; without names those that can be computed.

    Raises:
        OptionError: there is none of that name.
    """
    if not names:
        return [s for s in REGISTRY.values() if s.value is not None]
    chosen: dict[str, Score] = {}
    for name in [names] if isinstance(names, str) else names:
        said = name.strip().lower().replace("-", "_")
        found = [s for s in REGISTRY.values() if said in ("all", s.name)]
        found = found or [s for s in REGISTRY.values() if said and f"_{said}" in f"_{s.name}"]
        if not found:
            raise OptionError(f"No score is called {name!r}. {nearest(name, {*REGISTRY, 'all'})}")
        chosen |= {s.name: s for s in found}
    return [s for s in REGISTRY.values() if s.name in chosen]


def score_timeline(
    timeline: pl.DataFrame | pl.LazyFrame,
    scores: Iterable[str] | None = None,
    options: Mapping[str, object] | None = None,
    *,
    worst: pl.DataFrame | None = None,
    coefficients: Mapping[str, Coefficients] | Path | str | None = None,
) -> Result:
    """Score whole subjects.

    Args:
        timeline: the columns of `docs/tables.md`; any MEDS frame whose codes are our concepts will do.
        scores: by name, or `all`; by default those that can be computed.
        options: those that differ from the default.
        worst: the table `worst` of a grading, for features of a score and factors that are grades; without it they are unknown.
        coefficients: of models whose coefficients are not published, by name, or a TOML file of them.
    Raises:
        InputError: the frame is no timeline, or the file of coefficients does not hold them.
        OptionError: a score, option or value that does not exist.
    """
    asked = _asked(scores, _read(coefficients))
    frame = timeline.collect() if isinstance(timeline, pl.LazyFrame) else timeline
    return score_lazy(conform(frame).lazy(), asked, options if isinstance(options, Options) else Options(options), worst)


def score_folder(
    timeline: Path | str,
    scores: Iterable[str] | None = None,
    options: Mapping[str, object] | None = None,
    *,
    worst: pl.DataFrame | None = None,
    coefficients: Mapping[str, Coefficients] | Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Score a timeline folder shard by shard; arguments and errors as for `score_timeline`.

    Args:
        progress: called with the shards that are done, and all; first before the work.
    """
    store = open_timeline(timeline)
    chosen = options if isinstance(options, Options) else Options(options)
    asked = _asked(scores, _read(coefficients))
    say = progress or (lambda done, all_: None)
    say(0, len(store.files))
    parts: list[Result] = []
    for shard in store.shards():
        parts.append(score_lazy(shard, asked, chosen, worst))
        say(len(parts), len(store.files))
    return Result(*(pl.concat(getattr(part, f.name) for part in parts) for f in fields(Result)))


def centiles(scores: pl.DataFrame) -> pl.DataFrame:
    """Add of each value its `centile` among those with a value of that score and window, and how many these are (`cohort_n`)."""
    value = pl.when(col("status") == "scored").then("value")
    place = value.rank("average").over("score", "window")
    n = value.count().over("score", "window")
    return scores.with_columns(centile=100 * (place - 0.5) / n, cohort_n=n)


def _read(coefficients: Mapping[str, Coefficients] | Path | str | None) -> Mapping[str, Coefficients]:
    return read_coefficients(coefficients) if isinstance(coefficients, (str, Path)) else coefficients or {}


def _asked(names: Iterable[str] | None, coefficients: Mapping[str, Coefficients]) -> list[Score]:
    """The scores that were named, and those that coefficients are given for."""
    asked = {s.name for s in scores_named(names)} | set(coefficients)
    chosen = [s for s in REGISTRY.values() if s.name in asked]
    return [with_coefficients(s, coefficients[s.name]) if s.name in coefficients else s for s in chosen]


def score_lazy(charted: pl.LazyFrame, scores: list[Score], options: Options, worst: pl.DataFrame | None = None) -> Result:
    """Score whole subjects of a timeline in our schema; only the rows that these scores read are held."""
    codes = {c for s in scores for c in s.codes} | {i.code for i in factors.INPUTS} | {*factors.BESIDE, *LYMPHODEPLETION}
    wanted = charted.filter(col("code").is_in([*codes, *subject_rows.CODES]))
    ends, timeline = pl.collect_all([subject_rows.record_ends(charted), wanted])
    timeline = conform(timeline)
    courses = subjects(timeline, options["day0"], ends).with_columns(
        course=pl.int_range(pl.len(), dtype=pl.Int64), followed_s=(col("record_end") - col("day0")).dt.total_seconds()
    )
    rows = chart(timeline, courses, sorted(codes))
    courses = _with_grades(courses.join(rows.lymphodepletion, on="course", how="left", maintain_order="left"), worst)
    values, inputs = [], [no_inputs(courses)]
    for score in scores:
        if score.value is None:
            values.append(slot_rows(courses, score))
        for window in score.windows if score.value is not None else ():
            drawn = _drawn(rows, courses, score, window, options)
            values.append(score_rows(drawn, score, window, options))
            inputs += input_rows(drawn, score, window)
    baseline = _with_limits(draw(rows, courses, factors.INPUTS, BEFORE_LD, options), rows)
    return Result(_by_course(values), _by_course(inputs), _by_course(factors.factor_rows(baseline)))


def _by_course(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Tables of a row a course, all in the same order of courses, as one: of each course the rows of all tables, in the order of the tables."""
    filled = [p for p in parts if p.height] or parts[:1]
    n, height = len(filled), filled[0].height
    place = pl.int_range(n * height, dtype=pl.UInt32, eager=True)
    return pl.concat(filled)[place % n * height + place // n]


def _drawn(charted: Charted, courses: pl.DataFrame, score: Score, window: Window, options: Options) -> pl.DataFrame:
    """The courses with the inputs of a score, and what may have made them."""
    drawn = draw(charted, courses, score.inputs, window, options)
    if "platelet_transfusion" in score.beside:
        drawn = shortly_before(charted, drawn, ("platelet_transfusion",), "platelets")
    if set(G_CSF) <= set(score.beside):
        drawn = shortly_before(charted, drawn, G_CSF, "anc")
    return drawn


def _with_grades(courses: pl.DataFrame, worst: pl.DataFrame | None) -> pl.DataFrame:
    """Add the columns of `GRADED`, null where a grade is open or not there, and `no_grades`."""
    if worst is None:
        return courses.with_columns(lit(None, pl.Boolean).alias(c) for c in GRADED).with_columns(no_grades=lit(True))
    lacking = {*COURSE, "scale", "grade", "grade_upper", "status"} - set(worst.columns)
    if lacking or worst.schema["subject_id"] != courses.schema["subject_id"]:
        raise InputError("The grades are not of this timeline: `aftercar grade` makes the table `worst` that is meant.")
    applies = col("status").cast(pl.String) != "not_applicable"
    for name, (scale, least) in GRADED.items():
        own = worst.filter(col("scale").str.starts_with(scale) & applies)
        reached = pl.when(col("grade") >= least).then(True).when(col("grade_upper") < least).then(False)
        courses = courses.join(
            own.select(*COURSE, reached.alias(name)).unique(COURSE), on=COURSE, how="left", maintain_order="left"
        )
    return courses.with_columns(no_grades=lit(False))


def _with_limits(courses: pl.DataFrame, charted: Charted) -> pl.DataFrame:
    """Add the laboratory's limits, the last that are charted, and whether an infection was found."""
    tables = [
        charted.of(code).drop_nulls("value").group_by("course").agg(col("value").last().alias(code)) for code in factors.LIMITS
    ]
    infected = charted.of("infection_workup").filter((col("text_value") == "positive") & (col("day") >= factors.INFECTION_FROM_D))
    tables.append(infected.select("course", infection=lit(True)).unique())
    for table in tables:
        courses = courses.join(table, on="course", how="left", maintain_order="left")
    return courses
