"""The commands `summarise` and `pool`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aftercar.cohort.needs import need_statistics


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("summarise")(summarise)
    app.command("pool")(pool)


def summarise(
    folder: Annotated[Path, typer.Argument(help="The results folder.", metavar="RESULTS")],
    out: Annotated[Path, typer.Option("--out", help="The JSON file to write.")],
    min_cell: Annotated[
        int, typer.Option("--min-cell", help="Counts from 1 to one less than this are hidden; 5 and 11 are usual.")
    ] = 5,
    site: Annotated[str | None, typer.Option("--site", help="How the site is called in the file.")] = None,
) -> None:
    """Write counts that may leave the site: no subject, date or free text, small cells hidden so that no sum gives them away."""
    need_statistics()
    from aftercar.errors import InputError
    from aftercar.grade.results import open_results
    from aftercar.serve import show, show_federate
    from aftercar.sites.counts import write_site
    from aftercar.sites.summarise import summarise as counted

    if out.is_dir() or out.suffix.lower() != ".json":
        raise InputError(f"{out}: name a file that ends with .json.")
    with show.working("counting"):
        results = open_results(folder)
        found = counted(results, min_cell=min_cell, site=site)
    write_site(found, out)
    show_federate.summarised(found)
    show.dataset_note(results.said_since, simulated=False)
    print(f"Written: {out}")


def pool(
    files: Annotated[list[Path], typer.Argument(help="Files of `aftercar summarise`, one a site.", metavar="FILE.json...")],
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the tables and pooled.json.")] = None,
) -> None:
    """Put the counts of several sites together: sums where scales and options agree, bounds where cells are hidden, rates across sites."""
    need_statistics()
    from aftercar.serve import show, show_federate
    from aftercar.sites.pool import pool_files, write_pooled

    with show.working("pooling"):
        found = pool_files(files)
    if out:
        write_pooled(found, out)
    show_federate.pooled(found)
    if out:
        print(f"Written: {out}")
