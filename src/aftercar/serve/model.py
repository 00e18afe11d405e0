"""The commands `model run`, `check`, `show`, `export` and `behaviours`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import enum
import math
from pathlib import Path
from typing import Annotated

import typer

from aftercar.errors import OptionError, nearest
from aftercar.serve.shared import Workers

app = typer.Typer(
    help="Mechanistic models: run, check and show any SBML file, and our own. For research and education; nothing here is about a real patient.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(help="An SBML file of any level.", metavar="FILE.xml")]


class Form(enum.StrEnum):
    """How a model is written down."""

    sbml = "sbml"
    antimony = "antimony"


@app.command()
def run(
    file: File,
    end: Annotated[float, typer.Option("--end", help="When to stop, in the model's unit of time.")] = 30.0,
    points: Annotated[int, typer.Option("--points", min=1, help="How many times are read after the start.")] = 100,
    select: Annotated[
        str | None, typer.Option("--select", help="What to read, with commas: S1,[S2],amount(S3). By default all that changes.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter or initial value: name=value. May be repeated.", metavar="NAME=VALUE"),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many virtual patients, with --vary.")] = 1,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary", help="Log-normal from patient to patient: name:sd of the logarithm. May be repeated.", metavar="NAME:SD"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same patients.")] = 1,
    workers: Workers = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write every value: FILE.parquet, .csv or .json.")] = None,
) -> None:
    """Run a model, once or for many virtual patients, and print where each state begins, peaks and ends."""
    import numpy as np

    from aftercar.risk.cohort_files import write_table
    from aftercar.serve import show, show_model
    from aftercar.simulate import document as sbml
    from aftercar.simulate.general import run_sbml
    from aftercar.simulate.general import vary as varied

    if not (math.isfinite(end) and end > 0):
        raise OptionError("--end is a time after the start: a number above 0.")
    if (n > 1) != bool(vary):
        raise OptionError("--n and --vary go together: how many patients, and what differs between them.")
    fixed = {name: _number("--set", name, value) for name, value in _pairs("--set", set_ or [], "=")}
    spread = {name: _number("--vary", name, value) for name, value in _pairs("--vary", vary or [], ":")}
    document = sbml.read_sbml(file)
    model = document.getModel()
    known = {q.name: q.value for q in sbml.quantities(model)} | fixed
    for name, sd in spread.items():
        if name not in known:
            raise OptionError(f"--vary {name}: the model has no such parameter or state. {nearest(name, known)}")
        if not known[name] or math.isnan(known[name]) or sd < 0:
            raise OptionError(
                f"--vary {name}: a log-normal spread needs a value other than 0, and a standard deviation from 0 on; --set gives a value."
            )
    with show.working("running"):
        found = run_sbml(
            file, np.linspace(0, end, points + 1), [s.strip() for s in select.split(",") if s.strip()] if select else None,
            fixed | varied(known, spread, n, seed), seed=seed, workers=workers,
        )  # fmt: skip
    show_model.trajectories(found, sbml.time_unit(model))
    if out:
        write_table(found.frame(), out)
        print(f"Written: {out}")


def _pairs(option: str, words: list[str], between: str) -> list[tuple[str, str]]:
    found = [tuple(part.strip() for part in word.rpartition(between)) for word in words]
    if wrong := next((word for word, parts in zip(words, found, strict=True) if not (parts[0] and parts[2])), None):
        raise OptionError(f"{option} takes name{between}number, not {wrong!r}.")
    return [(name, value) for name, _, value in found]


def _number(option: str, name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise OptionError(f"{option} {name}: {value!r} is not a number.")
    return number


@app.command()
def check(
    file: File,
    units: Annotated[bool, typer.Option("--units/--no-units", help="Also whether the units of formulas agree.")] = True,
) -> None:
    """List what is wrong with a model, and what of it cannot be run. Exit 1 if it is no valid SBML, or cannot be run."""
    from aftercar.serve import show_model
    from aftercar.simulate.document import findings, read_sbml

    found = findings(read_sbml(file), units=units)
    show_model.findings(found)
    if found["severity"].is_in(["error", "unsupported"]).any():
        raise typer.Exit(1)


@app.command("show")
def show_(
    file: Annotated[Path | None, typer.Argument(help="An SBML file; without: our own model.", metavar="[FILE.xml]")] = None,
    formulas: Annotated[bool, typer.Option("--formulas", help="Also what is worked out from other quantities.")] = False,
) -> None:
    """List the states and parameters of a model, with unit, value, source and confidence, and count its parts."""
    from aftercar.serve import show_model
    from aftercar.simulate.document import read_sbml

    if file is None:
        from aftercar.simulate.model import load_model

        document = read_sbml(load_model().sbml)
    else:
        document = read_sbml(file)
    show_model.contents(document, formulas=formulas)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The file to write.", metavar="FILE")],
    to: Annotated[Form, typer.Option("--to", help="SBML level 3 version 2, or Antimony.")] = Form.sbml,
    folder: Annotated[
        Path | None, typer.Option("--model", help="A folder of your own files of the model: each stands in for ours.")
    ] = None,
) -> None:
    """Write our own model, values and units filled in, for other software."""
    from aftercar.files import write_text
    from aftercar.serve import show_model
    from aftercar.simulate.document import findings, read_sbml
    from aftercar.simulate.model import load_model

    model = load_model(folder)
    write_text(out, model.sbml if to is Form.sbml else model.text)
    show_model.warnings(findings(read_sbml(model.sbml)))
    print(f"Written: {out}")


@app.command()
def behaviours(
    n: Annotated[int, typer.Option("--n", min=10, help="How many virtual patients an arm.")] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same patients.")] = 1,
    model: Annotated[Path | None, typer.Option("--model", help="A folder of your own files of the model.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print as the page docs/behaviours.md.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Ask of virtual patients which behaviours hold that the lecture behind the model tells. Exit 1 if one does not."""
    from aftercar.serve import show, show_model
    from aftercar.simulate.behaviours import asked, page

    with show.working("simulating"):
        found = asked(n, seed, None if model is None else str(model))
    if markdown:
        print(page(found, n, seed), end="")
    elif json_:
        print(found.write_json())
    else:
        show_model.behaviours(found)
    if not found["holds"].all():
        raise typer.Exit(1)
