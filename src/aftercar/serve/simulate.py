"""The command `simulate`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aftercar.errors import OptionError


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


def simulate(
    product: Annotated[str, typer.Option("--product", help="The product, such as axi-cel: `aftercar model show` lists them.")],
    disease: Annotated[str, typer.Option("--disease", help="The disease, such as LBCL.")],
    out: Annotated[Path, typer.Option("--out", help="The timeline folder to write.", metavar="TIMELINE")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many virtual patients.")] = 100,
    policy: Annotated[str, typer.Option("--policy", help="How they are treated; a rule of it sees the grades so far.")] = "standard",
    drug: Annotated[
        list[str] | None, typer.Option("--drug", help="Given in any case: anakinra@day2-10, dexamethasone:10@day0-2. May be repeated.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter or initial state of the median patient: name=value. May be repeated.")
    ] = None,
    days: Annotated[float, typer.Option("--days", help="Days of charting.")] = 60.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same patients.")] = 1,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes at a time; without: one a processor.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="A folder of your own files of the model: each stands in for ours.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the states of the first patients with quantile bands: FILE.svg.")] = None,
) -> None:
    """Simulate virtual patients into a timeline, to be graded like any other. Nothing here is about a real patient."""
    from aftercar.options import pairs
    from aftercar.serve import show
    from aftercar.simulate.run import BANNER, Scenario, simulate_folder

    scenario = Scenario(product, disease, policy, tuple(drug or ()), _numbers(pairs(set_ or [])), days, None if model is None else str(model))
    with show.counting("simulating", "patients") as step:
        simulate_folder(scenario, n, seed, out, workers=workers, progress=step)
    print(f"{n} virtual patients of {product} in {disease}, treated by {policy}: {out}")
    if plot:
        from aftercar.simulate.plot import states_figure

        states_figure(scenario, min(n, 200), seed, plot)
        print(f"Figure: {plot}")
    print(BANNER[0].upper() + BANNER[1:] + ".")
    print(f"Next: aftercar grade {out} --out GRADES")


def _numbers(told: dict[str, str]) -> tuple[tuple[str, float], ...]:
    numbers: list[tuple[str, float]] = []
    for name, value in told.items():
        try:
            numbers.append((name, float(value)))
        except ValueError:
            raise OptionError(f"--set {name}: {value!r} is not a number.") from None
    return tuple(numbers)
