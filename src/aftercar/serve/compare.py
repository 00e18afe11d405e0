"""The commands `cohort compare`, `cohort multiverse` and `cohort safety`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import contextlib
import enum
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from aftercar.cohort.needs import need_statistics

Results = Annotated[Path, typer.Argument(help="The results folder.", metavar="RESULTS")]
Timeline = Annotated[Path | None, typer.Option("--timeline", help="Where the timeline is, if it was moved.")]
Cuts = Annotated[
    list[datetime] | None,
    typer.Option("--cut", formats=["%Y-%m-%d"], help="With --by period: the date with which a new one begins. May be repeated."),
]
Words = Annotated[str, typer.Option("--outcome", help="A toxicity or scale and the least grade: crs:3. Without a grade: any.")]


def days_of(cuts: list[datetime] | None) -> tuple[date, ...]:
    """Days as the parser gives them."""
    return tuple(c.date() for c in cuts or ())


class Missing(enum.StrEnum):
    """What becomes of courses that lack a covariate."""

    drop = "drop"
    category = "category"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("compare")(compare)
    app.command("multiverse")(multiverse)
    app.command("safety")(safety)


def compare(
    folder: Results,
    by: Annotated[str, typer.Option("--by", help="product, another column, or period with --cut.")],
    outcome: Words,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the tables and comparison.json.")] = None,
    group: Annotated[list[str] | None, typer.Option("--group", help="Only this group. May be repeated.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="The group that the others are held against.")] = None,
    cut: Cuts = None,
    day: Annotated[
        int | None, typer.Option("--day", min=0, help="The outcome by the end of this day; day 0 is the infusion.")
    ] = None,
    adjust: Annotated[
        str | None,
        typer.Option("--adjust", help="Covariates: age_y,sex,disease, measurements such as crp, columns of --beside."),
    ] = None,
    beside: Annotated[Path | None, typer.Option("--beside", help="A CSV of your own: subject_id and columns.")] = None,
    missing: Annotated[
        Missing, typer.Option("--missing", help="Courses that lack a covariate: drop them, or make missing a category.")
    ] = Missing.drop,
    timeline: Timeline = None,
) -> None:
    """Compare groups: risk difference and ratios, tests over time, and with --adjust weighted to those who could have been in either group."""
    need_statistics()
    from aftercar.cohort.contrast import Asked, contrast, write_contrast
    from aftercar.cohort.outcome import Outcome
    from aftercar.grade.results import open_results
    from aftercar.serve import show, show_compare

    asked = Asked(
        by, Outcome.of(outcome), days_of(cut), tuple(group or ()), reference, day,
        tuple(dict.fromkeys(name for word in (adjust or "").split(",") if (name := word.strip()))), missing.value,
    )  # fmt: skip
    with show.working("comparing"):
        found = contrast(open_results(folder), asked, beside, timeline)
    if out:
        write_contrast(found, out)
    show_compare.compared(found)
    if out:
        print(f"Written: {out}")


def multiverse(
    folder: Annotated[Path, typer.Argument(help="A timeline folder, or a results folder of one.", metavar="TIMELINE|RESULTS")],
    spec: Annotated[
        Path | None,
        typer.Option("--spec", help="What is asked, as TOML; without: all scales of CRS and neurotoxicity, each option."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for tables, figures and multiverse.json.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many choices are shown of each outcome.")] = 5,
    timeline: Timeline = None,
) -> None:
    """Grade the cohort on every scale and under every open option: how far the result depends on them and on missing data."""
    need_statistics()
    import time

    from aftercar.cohort import multiverse as many
    from aftercar.cohort.multiverse_spec import read_spec
    from aftercar.files import replace_folder
    from aftercar.report.multiverse import multiverse_figures
    from aftercar.serve import show, show_compare

    asked, began = read_spec(spec), time.monotonic()
    with contextlib.ExitStack() as stack:
        # A folder that must not be written is refused before the work.
        fresh = stack.enter_context(replace_folder(out, marker=many.MARKER)) if out else None
        with show.counting("grading", "gradings") as step:
            found = many.multiverse(folder, asked, timeline=timeline, progress=step)
        if fresh:
            many.write_multiverse(found, fresh, multiverse_figures(found))
    show_compare.universes(found, time.monotonic() - began, limit)
    if out:
        print(f"Written: {out}")


def safety(
    folder: Results,
    plan: Annotated[Path, typer.Option("--plan", help="The plan of monitoring as TOML: docs/compare.md lists every key.")],
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the page, tables, figure and safety.json.")] = None,
) -> None:
    """Events against a Bayesian stopping boundary at each data cut, with the undecided counted as no and as yes: a pack for a safety board."""
    need_statistics()
    from aftercar.grade.results import open_results
    from aftercar.report.safety import safety_figure, safety_page
    from aftercar.serve import show_compare
    from aftercar.trial.safety import read_plan, write_safety
    from aftercar.trial.safety import safety as looked

    results = open_results(folder)
    found = looked(results, read_plan(plan))
    if out:
        write_safety(found, out, safety_page(found, results), safety_figure(found))
    show_compare.board(found)
    if out:
        print(f"Written: {out / 'safety.html'}")
