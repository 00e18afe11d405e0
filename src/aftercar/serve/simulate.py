"""The command `simulate`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aftercar.errors import OptionError
from aftercar.serve.shared import Workers

if TYPE_CHECKING:
    from aftercar.simulate.run import Scenario

DRAWN = 200  # patients whose states the bands are of


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


def simulate(
    product: Annotated[str, typer.Option("--product", help="The product, such as axi-cel; docs/simulate.md lists them.")],
    disease: Annotated[str, typer.Option("--disease", help="The disease, such as LBCL.")],
    out: Annotated[Path, typer.Option("--out", help="The timeline folder to write.", metavar="TIMELINE")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many virtual patients.")] = 100,
    policy: Annotated[
        str, typer.Option("--policy", help="How they are treated; a rule of it sees the grades so far.")
    ] = "standard",
    drug: Annotated[
        list[str] | None,
        typer.Option("--drug", help="Given in any case: anakinra@day2-10, dexamethasone:10@day0-2. May be repeated."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A parameter or initial state of the median patient, its spread (sd_log.NAME) or a number of the observation map: name=value. May be repeated.",
        ),
    ] = None,
    days: Annotated[float, typer.Option("--days", help="Days of charting.")] = 60.0,
    seed: Annotated[int, typer.Option("--seed", min=0, max=(1 << 60) - 1, help="The same seed gives the same patients.")] = 1,
    workers: Workers = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="A folder of your own files of the model: each stands in for ours.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw states of the first 200 patients with their bands.", metavar="FILE.svg")
    ] = None,
    plot_patient: Annotated[
        int | None,
        typer.Option("--plot-patient", min=1, help="Draw this patient as well: states, chart and grades, beside --plot."),
    ] = None,
) -> None:
    """Simulate virtual patients into a timeline, to be graded like any other. Nothing here is about a real patient."""
    from aftercar.options import pairs
    from aftercar.serve import show
    from aftercar.simulate.run import BANNER, Scenario, simulate_folder

    if plot_patient is not None and (plot is None or plot_patient > n):
        raise OptionError(f"--plot-patient is one of 1 to {n}, and its figure stands beside the one that --plot FILE.svg names.")
    if plot is not None and plot.suffix.lower() != ".svg":
        raise OptionError("--plot writes SVG: name a FILE.svg.")
    scenario = Scenario(
        product, disease, policy, tuple(drug or ()), _numbers(pairs(set_ or [])), days, None if model is None else str(model)
    )
    with show.counting("simulating", "patients") as step:
        simulate_folder(scenario, n, seed, out, workers=workers, progress=step)
    print(f"{n} virtual patients of {product} in {disease}, treated by {policy}: {out}")
    if plot:
        for file in _drawn(scenario, n, seed, plot, plot_patient):
            print(f"Figure: {file}")
    print(BANNER[0].upper() + BANNER[1:] + ".")
    print(f"Next: aftercar grade {out} --out GRADES")


def _drawn(scenario: Scenario, n: int, seed: int, file: Path, patient: int | None) -> list[Path]:
    """The files of the figures: of many patients, and of one where it is asked for."""
    from aftercar.files import write_text
    from aftercar.report.virtual import patient_figure, states_figure
    from aftercar.simulate.run import simulate as simulated

    write_text(file, states_figure(simulated(scenario, min(n, DRAWN), seed).states, scenario))
    if patient is None:
        return [file]
    beside = file.with_stem(f"{file.stem}-patient-{patient}")
    write_text(beside, patient_figure(simulated(scenario, 1, seed, first=patient - 1), scenario, patient))
    return [file, beside]


def _numbers(told: dict[str, str]) -> tuple[tuple[str, float], ...]:
    numbers: list[tuple[str, float]] = []
    for name, value in told.items():
        try:
            numbers.append((name, float(value)))
        except ValueError:
            raise OptionError(f"--set {name}: {value!r} is not a number.") from None
    return tuple(numbers)
