"""The command `figure`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import contextlib
import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aftercar.errors import AftercarError, OptionError
from aftercar.serve.compare import Cuts, days_of

if TYPE_CHECKING:
    from aftercar.cohort.outcome import Outcome
    from aftercar.grade.results import Results
    from aftercar.report.figures.cohort import Cohort
    from aftercar.report.figures.draw import Figure


class Kind(enum.StrEnum):
    """What is drawn."""

    swimmer = "swimmer"
    heat_strip = "strip"
    sankey = "sankey"
    incidence = "incidence"
    forest = "forest"
    values = "values"


# Which options have a meaning for which figure; `--subject` and `--timeline` have one for all.
_MEANT = {
    "outcome": ("strip", "incidence", "forest"), **dict.fromkeys(("by", "cut", "beside"), ("swimmer", "strip", "incidence")), "days": ("strip", "incidence", "values"), "limit": ("swimmer", "strip", "values"),
    "from": ("sankey",), "to": ("sankey",), "value": ("values",),
}  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("figure")(figure)


def figure(
    kind: Annotated[Kind, typer.Argument(help="swimmer: a bar a course. strip: the worst grade of each day. sankey: from one scale to another. incidence: cumulative. forest: beside published rates. values: laboratory values.", show_choices=True)],
    folder: Annotated[Path, typer.Argument(help="The results folder.", metavar="RESULTS")],
    out: Annotated[Path, typer.Option("--out", help="FILE.svg or FILE.png; the data go into FILE.csv beside it.")],
    outcome: Annotated[list[str] | None, typer.Option("--outcome", help="A toxicity or scale, and the least grade: crs, crs:3 ... May be repeated for incidence.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Groups: product, disease, sex, year or another column, one of --beside too; or period with --cut.")] = None,
    cut: Cuts = None,
    beside: Annotated[Path | None, typer.Option("--beside", help="A table of yours with subject_id and columns such as centre.")] = None,
    subject: Annotated[list[str] | None, typer.Option("--subject", help="Only this subject. May be repeated.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="sankey: the one scale, such as penn2018.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="sankey: the other scale of the same toxicity.")] = None,
    value: Annotated[list[str] | None, typer.Option("--value", help="values: a concept, such as crp. May be repeated.")] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=3650, help="The last day that is drawn.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Courses with a bar, row or line of their own at most.")] = None,
    timeline: Annotated[Path | None, typer.Option("--timeline", help="Where the timeline is, if it was moved.")] = None,
) -> None:  # fmt: skip
    """Draw a figure of a cohort, SVG or PNG, with the numbers that it draws as CSV beside it."""
    from aftercar.grade.results import open_results
    from aftercar.report.figures.cohort import cohort_of
    from aftercar.report.figures.save import ENDINGS, save
    from aftercar.risk.cohort_files import read_table
    from aftercar.serve import show

    if out.suffix.lower() not in ENDINGS:
        raise OptionError(f"{out.name}: the ending says the format, and it is .svg or .png.")
    given = {
        "outcome": outcome,
        "by": by,
        "cut": cut,
        "beside": beside,
        "days": days,
        "limit": limit,
        "from": from_,
        "to": to,
        "value": value,
    }
    for name, what in given.items():
        if what is not None and kind not in _MEANT[name]:
            raise OptionError(f"--{name} has no meaning for {kind}, but for {' and '.join(_MEANT[name])}.")
    results = open_results(folder)
    own = read_table(beside) if beside else None
    with show.working("drawing"), results.reading():
        if kind is Kind.sankey:
            drawn = _sankey(folder, from_, to, timeline, bool(subject))
        elif kind is Kind.forest:
            drawn = _forest(results, _outcomes(outcome, "crs:3", several=False)[0], bool(subject))
        else:
            for one in _outcomes(outcome, "crs"):
                results.require(one.scales)  # an empty figure would say that nobody had it
            rows = kind in (Kind.swimmer, Kind.values)
            cohort = cohort_of(results, timeline=timeline, subjects=subject, rows=rows, beside=own, cuts=days_of(cut))
            with results.timeline(timeline).reading() if rows else contextlib.nullcontext():
                drawn = _drawn(kind, cohort, outcome, by, value or [], days, limit)
        data = save(drawn, out, simulated=results.simulated)
    print(f"Written: {out}, {data.name} ({drawn.data.height:,} rows)")


def _drawn(
    kind: Kind, cohort: Cohort, outcome: list[str] | None, by: str | None, value: list[str], days: int | None, limit: int | None
) -> Figure:
    from aftercar.report.figures import curves, spaghetti, strip, swimmer

    if kind is Kind.swimmer:
        return swimmer.swimmer(cohort, by=by, most=limit or swimmer.MOST)
    if kind is Kind.heat_strip:
        family = _outcomes(outcome, "crs", several=False)[0].family
        return strip.strip(cohort, family, by=by, last_day=days or strip.LAST_DAY, most=limit or strip.MOST)
    if kind is Kind.incidence:
        asked = _outcomes(outcome, "crs", "crs:3", "icans", "icans:3")
        return curves.incidence(cohort, asked, by=by, last_day=days or curves.LAST_DAY)
    return spaghetti.spaghetti(cohort, value, last_day=days or spaghetti.LAST_DAY, most=limit or spaghetti.MOST_LINES)


def _outcomes(asked: list[str] | None, *usual: str, several: bool = True) -> list[Outcome]:
    from aftercar.cohort.outcome import Outcome

    if asked and len(asked) > 1 and not several:
        raise OptionError("This figure is of one outcome: give --outcome once.")
    return [Outcome.of(words) for words in asked or usual]


def _sankey(folder: Path, from_: str | None, to: str | None, timeline: Path | None, some: bool) -> Figure:
    from aftercar.grade.regrade import regrade
    from aftercar.report.figures.sankey import sankey

    if some:
        raise OptionError("--subject has no meaning for sankey: it is of all courses.")
    if not (from_ and to):
        raise OptionError("Name the two scales by --from and --to, such as --from penn2018 --to astct2019.")
    return sankey(regrade(folder, from_, to, timeline=timeline))


def _forest(results: Results, outcome: Outcome, some: bool) -> Figure:
    from aftercar.report.figures.forest import endpoint_of, forest, own_rate, sections
    from aftercar.synthesis.published import pool, without_counts

    if some:
        raise OptionError("--subject has no meaning for forest: it is of all courses.")
    endpoint = endpoint_of(outcome)
    if endpoint is None:
        raise OptionError(f"No published endpoint is {outcome.name}: crs, crs:3, icans, icans:3 and spm have one.")
    results.require(outcome.scales)
    own = own_rate(results.worst, outcome, simulated=results.simulated)
    try:
        groups, _ = pool(endpoint)
    except ImportError:
        raise AftercarError("A forest plot needs the extra: pip install 'aftercar[statistics]'.") from None
    title, note = f"{outcome.name}, beside published rates", results.run.get("timeline_note")
    return forest(title, sections(groups, own), note=note, without_counts=without_counts(endpoint))
