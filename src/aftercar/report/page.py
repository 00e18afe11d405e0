"""The report: one HTML page that loads nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup
from polars import col

from aftercar.cohort.decided import MOST_OPEN
from aftercar.errors import InputError
from aftercar.files import write_text
from aftercar.grade.results import open_results
from aftercar.report import cohort, cohort_figures, other
from aftercar.report.cohort_section import DAYS, cohort_section
from aftercar.report.course import courses
from aftercar.report.figures.cohort import Cohort
from aftercar.report.legend import legend_svg
from aftercar.report.methods import LIMITS, methods
from aftercar.report.subject import section
from aftercar.timeline.schema import conform


def write_report(
    folder: Path,
    out: Path,
    *,
    timeline: pl.DataFrame | pl.LazyFrame,
    subjects_shown: list[Any] | None = None,
    limit: int = 200,
) -> None:
    """Write the report of a results folder as one HTML file.

    Args:
        folder: what `aftercar grade` wrote.
        out: the file; a former one is replaced whole.
        timeline: the columns of `docs/tables.md`; only rows of the subjects shown are read.
        subjects_shown: subjects with a section of their own; the first `limit` by default.
        limit: most sections.
    Raises:
        InputError: `folder` holds no result or a damaged one, or a subject that was asked for is not in it.
    """
    results = open_results(folder)
    subjects = results.subjects
    shown = _shown(subjects["subject_id"], subjects_shown, limit)
    own = col("subject_id").is_in(shown.implode())
    rows = timeline.lazy().filter(col("subject_id").cast(shown.dtype).is_in(shown.implode())).collect()
    with results.reading():
        text = render_report(
            run=results.run,
            subjects=subjects,
            worst=results.worst,
            episodes=results.episodes,
            rejected=results.load("rejected"),
            grades=results.load("grades", own),
            timeline=rows,
            shown=shown.to_list(),
            every=Cohort.of(results.run, subjects, results.episodes, results.scan("grades"), timeline.lazy()),
        )
    write_text(Path(out), text)


def render_report(
    *,
    run: dict[str, Any],
    subjects: pl.DataFrame,
    worst: pl.DataFrame,
    episodes: pl.DataFrame,
    rejected: pl.DataFrame,
    grades: pl.DataFrame,
    timeline: pl.DataFrame,
    shown: Iterable[Any],
    every: Cohort | None = None,
) -> str:
    """The page, from tables as `docs/tables.md` describes them.

    Args:
        run: `run.json`.
        grades, timeline: may be restricted to the subjects in `shown`.
        shown: subjects with a section of their own, in that order by subject.
        every: all courses, for the figures of the cohort; those of the tables given, if left out.
    """
    simulated = bool(run.get("simulated", False))
    ids = pl.Series("subject_id", list(shown), dtype=subjects.schema["subject_id"])
    drawn = subjects.filter(col("subject_id").is_in(ids.implode())).sort("subject_id", "infusion")
    own = worst.join(drawn.select("subject_id").unique(), on="subject_id", how="semi")
    crosses = other.crosses(worst)
    # Other scales of a toxicity stand beside its figure and tables, never in them.
    worst, episodes = other.parted(worst)[0], other.parted(episodes)[0]
    charted, blank = cohort.charted(worst)
    table = cohort.worst_table(charted)
    by_course: dict[tuple[Any, int], list[dict[str, Any]]] = {}
    for row in own.iter_rows(named=True):
        by_course.setdefault((row["subject_id"], row["infusion"]), []).append(row)
    shown_grades = other.parted(grades)[0]
    sections = [
        section(course, n, by_course.get((course.about["subject_id"], course.infusion), []), simulated=simulated)
        for n, course in enumerate(courses(drawn, conform(timeline), shown_grades, episodes, other.parted(own)[0]), start=1)
    ]
    whole = every or Cohort.of(run, subjects, episodes, grades.lazy(), timeline.lazy())
    drawn_together = cohort_section(whole, worst)
    marked = [c for row in own["criteria"].drop_nulls() for c in row]
    counts = run.get("counts") or {}
    return template("page.html.j2").render(
        css=Markup(resource("page.css")),
        run=run,
        simulated=simulated,
        counts=counts,
        n_subjects=subjects["subject_id"].n_unique(),
        n_infusions=subjects.filter(col("day0").is_not_null()).height,
        several=subjects.height > subjects["subject_id"].n_unique(),
        table=table,
        blank=blank,
        diagnoses=cohort.diagnoses(charted),
        crosses=crosses,
        marks=other.marks_in(marked),
        unsettled=cohort.unsettled(charted),
        most_listed=cohort.MOST_LISTED,
        most_open=MOST_OPEN,
        timing=cohort.timing_table(episodes),
        rejected=cohort.rejected_table(rejected),
        worst_figure=Markup(cohort_figures.worst_svg(table, simulated=simulated)),
        onset_figure=Markup(cohort_figures.onset_svg(episodes, simulated=simulated)),
        together=drawn_together,
        days=DAYS,
        methods=methods(run, charted, trials=drawn_together.trials, pooled=drawn_together.pooled),
        limits=LIMITS,
        legend=Markup(legend_svg()),
        sections=sections,
        n_shown=drawn["subject_id"].n_unique(),
    )


def _shown(known: pl.Series, asked: list[Any] | None, limit: int) -> pl.Series:
    """The subjects with a section, in order and of the type of the results."""
    every = known.unique().sort()
    if asked is None:
        return every.head(limit)
    wanted = pl.Series("subject_id", [str(a) for a in asked], dtype=pl.String).cast(every.dtype, strict=False)
    missing = wanted.len() - wanted.is_in(every.implode()).fill_null(False).sum()
    if missing:
        raise InputError(
            f"{missing} of the {wanted.len()} subjects asked for are not in the results. `subjects.parquet` lists them all."
        )
    return wanted.unique().sort().head(limit)


def _grouped(n: int | None) -> str:
    return "not recorded" if n is None else f"{n:,}"


def _css_word(text: object) -> str:
    """A word that can stand within a string of a style sheet."""
    return re.sub(r"[^\w.:+ -]", "", str(text))


def resource(name: str) -> str:
    """A file that stands beside this module."""
    return files("aftercar.report").joinpath(name).read_text(encoding="utf-8")


@cache
def template(name: str) -> jinja2.Template:
    """A template that stands beside this module; what goes in is escaped."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["grouped"] = _grouped
    environment.filters["cssword"] = _css_word
    return environment.from_string(resource(name))
