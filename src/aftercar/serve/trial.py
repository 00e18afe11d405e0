"""The command `trial`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aftercar.errors import OptionError
from aftercar.serve.shared import Master, SparkSettings, Workers

if TYPE_CHECKING:
    from aftercar.trial.pool import Engine


class Kind(enum.StrEnum):
    """What simulates."""

    local = "local"
    spark = "spark"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("trial")(trial)


def trial(
    design: Annotated[
        Path, typer.Argument(help="The design of the trial: docs/trial.md lists every key.", metavar="DESIGN.toml")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The folder for tables, figure and trial.json.")] = None,
    replicates: Annotated[int, typer.Option("--replicates", min=1, help="How many trials.")] = 1_000,
    seed: Annotated[int, typer.Option("--seed", min=0, max=(1 << 60) - 1, help="The same seed gives the same trials.")] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the design: its arms, its boundary and what that does, exactly.")
    ] = False,
    workers: Workers = None,
    engine: Annotated[Kind, typer.Option("--engine", help="What does the work.")] = Kind.local,
    master: Master = None,
    setting: SparkSettings = None,
) -> None:
    """Run a trial design on virtual patients, many times: power, type I error, stopping for harm. Nothing here is about a real patient."""
    from aftercar.serve import show, show_trial
    from aftercar.trial.read import read_design
    from aftercar.trial.run import MARKER, run_trial, try_design, write_trial

    told = read_design(design)
    if check:
        with show.working("trying one patient of each arm"):
            try_design(told)
        show_trial.designed(told)
        return
    if out is None:
        raise OptionError("Name a folder for the results with --out, or take --check.")
    from aftercar.files import replace_folder
    from aftercar.report.trial import trial_figure

    work = _engine(engine, workers, master, setting)
    with replace_folder(out, marker=MARKER) as fresh:  # a folder that must not be written is refused before the work
        with show.counting("simulating", "patients") as step:
            found = run_trial(told, replicates, seed, engine=work, progress=step)
        write_trial(found, fresh, trial_figure(found))
    show_trial.found(found)
    print(f"Written: {out}")


def _engine(kind: Kind, workers: int | None, master: str | None, setting: list[str] | None) -> Engine:
    from aftercar.options import pairs
    from aftercar.trial.pool import on_this_machine

    if kind is Kind.spark:
        from aftercar.trial.spark import on_spark

        if workers:
            raise OptionError(
                "--workers is for this machine; the number of Spark's tasks at a time is in --master local[N] or --spark."
            )
        return on_spark(master, pairs(setting or []))
    if master or setting:
        raise OptionError("--master and --spark are for --engine spark.")
    return on_this_machine(workers)
