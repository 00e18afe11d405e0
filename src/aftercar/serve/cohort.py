"""The commands `cohort`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aftercar.cohort.needs import need_statistics
from aftercar.errors import AftercarError
from aftercar.serve import compare
from aftercar.serve.compare import Cuts, days_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from aftercar.cohort.describe import Described
    from aftercar.cohort.table_one import Variable
    from aftercar.grade.results import Results

app = typer.Typer(
    help="Many subjects counted, described and compared. RESULTS is what `aftercar grade` wrote.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
compare.add_to(app)


@app.command()
def describe(
    folder: Annotated[Path, typer.Argument(help="The results folder of `aftercar grade`.", metavar="RESULTS")],
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the tables (Parquet and CSV) and cohort.json.")] = None,
    outcome: Annotated[
        list[str] | None, typer.Option("--outcome", help="A toxicity or scale and least grade, crs:3. May be repeated.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", help="Groups: product, disease, sex, year or another column, one of --beside too; or period with --cut."
        ),
    ] = None,
    cut: Cuts = None,
    day: Annotated[list[int] | None, typer.Option("--day", help="By which incidence is told; 7, 14, 28 and 100.")] = None,
    death_day: Annotated[list[int] | None, typer.Option("--death-day", help="The same of deaths; 28, 100 and 365.")] = None,
    late_day: Annotated[
        list[int] | None, typer.Option("--late-day", help="The same of second malignancies; 365, 730 and 1096.")
    ] = None,
    competing: Annotated[
        list[str] | None, typer.Option("--competing", help="What forestalls an outcome beside death: progression, next_therapy.")
    ] = None,
    next_therapy_is_relapse: Annotated[
        bool, typer.Option("--next-therapy-is-relapse", help="A next therapy counts as a relapse for non-relapse mortality.")
    ] = False,
    beside: Annotated[
        Path | None, typer.Option("--beside", help="A table of yours with subject_id and columns such as centre.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="CSV: sex, age_from, age_to, rate (by 100,000 person-years), source.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="A class of second malignancy that does not count, such as skin.")
    ] = None,
    timeline: Annotated[Path | None, typer.Option("--timeline", help="Where the timeline is, if it was moved.")] = None,
) -> None:
    """Describe a cohort: Table 1, worst grades, incidence, onset and duration, deaths without relapse, second malignancies."""
    need_statistics()
    from aftercar.cohort.describe import DAYS, DEATH_DAYS, LATE_DAYS, MARKER, Asked, describe, write_tables
    from aftercar.cohort.malignancy import read_reference
    from aftercar.files import replace_folder, writing
    from aftercar.grade.results import open_results
    from aftercar.risk.cohort_files import read_table
    from aftercar.serve import show, show_cohort

    asked = Asked(
        outcomes=tuple(outcome or ()), by=by, cuts=days_of(cut), days=tuple(day or DAYS), death_days=tuple(death_day or DEATH_DAYS),
        late_days=tuple(late_day or LATE_DAYS), competing=tuple(competing or ()),
        relapse=("progression", "next_therapy") if next_therapy_is_relapse else ("progression",), without=tuple(without or ()),
    )  # fmt: skip
    rates = read_reference(reference) if reference else None
    own = read_table(beside) if beside else None

    def described() -> Described:
        results = open_results(folder)
        with show.counting("reading", "shards") as step:
            before, why = _baseline(results, timeline, step)
        with show.counting("describing", "outcomes") as step:
            found = describe(results, asked, beside=own, baseline=before, reference=rates, progress=step)
        found.facts["notes"] = [*([why] if why else []), *found.facts["notes"]]
        return found

    if out is None:
        found = described()
    else:
        with replace_folder(out, marker=MARKER) as fresh, writing(fresh):  # what must not be replaced is refused before the work
            found = described()
            write_tables(found, fresh)
    show_cohort.described(found)
    show.dataset_note(found.facts["timeline_note"], found.facts["simulated"])
    if out:
        print(f"Written: {out}")


def _baseline(
    results: Results, timeline: Path | None, progress: Callable[[int, int], None]
) -> tuple[tuple[pl.DataFrame, dict[str, Variable]] | None, str | None]:
    """Values and scores from before lymphodepletion, where the timeline is there; else why not."""
    from aftercar.cohort.baseline import baseline

    try:
        store = results.timeline(timeline)
    except AftercarError:
        if timeline is not None:
            raise
        return (
            None,
            "Table 1 has no laboratory values and scores: the timeline is not where it was, or was written anew. --timeline names it.",
        )
    return baseline(store.folder, progress), None
