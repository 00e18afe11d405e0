"""The commands `calibrate fit`, `adopt`, `compare`, `interventions`, `translate`, `sensitivity` and `forecast`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aftercar.serve.shared import Workers

if TYPE_CHECKING:
    import polars as pl

app = typer.Typer(
    help="The mechanism beside published trials: fit its parameters, and see how far virtual trials lie from published ones. All of it is simulated.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Ensemble = Annotated[
    Path | None,
    typer.Option("--ensemble", help="The folder of a fit; without it the one that comes with the software.", metavar="FOLDER"),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same numbers.")]
Out = Annotated[Path, typer.Option("--out", help="The folder to write into.", metavar="FOLDER")]


@app.command()
def fit(
    out: Out,
    seed: Seed = 1,
    members: Annotated[int, typer.Option("--members", help="Sets of parameters in the ensemble.")] = 120,
    patients: Annotated[int, typer.Option("--patients", help="Virtual patients of each set in each trial.")] = 80,
    passes: Annotated[int, typer.Option("--passes", help="How often the ensemble moves.")] = 5,
    workers: Workers = None,
) -> None:
    """Fit the parameters to published rates and onsets and to ranges of cytokine peaks. Each pass is kept: the same command goes on where it was interrupted."""
    import json

    from aftercar.calibrate.fit import fit as fitted
    from aftercar.serve import show

    with show.counting("simulating", "parts") as step:
        fitted(out, seed=seed, members=members, patients=patients, steps=passes, workers=workers, progress=step)
    told = json.loads((out / "fit.json").read_text(encoding="utf-8"))
    print(
        f"{told['free_parameters']} free parameters, of which the data tell {told['informed']:.0f}; {told['data_points']} numbers to fit."
    )
    print(f"Mean squared misfit, in variances, by pass: {', '.join(f'{m:.2f}' for m in told['misfit_by_pass'])}")
    print(f"Ensemble: {out / 'ensemble.csv'}")


@app.command()
def adopt(
    fit: Annotated[Path, typer.Argument(help="The folder of a fit.", metavar="FIT")],
    to: Annotated[Path, typer.Option("--to", help="Where the files of the model are written.", metavar="FOLDER")],
) -> None:
    """Write files of the model with the middle of an ensemble, for `aftercar simulate --model FOLDER`."""
    from aftercar.calibrate.adopt import adopt as adopted
    from aftercar.calibrate.ensemble import read

    for file in adopted(read(fit), to):
        print(file)


@app.command()
def compare(
    out: Out,
    ensemble: Ensemble = None,
    seed: Seed = 2026,
    patients: Annotated[
        int, typer.Option("--patients", min=8, help="Virtual patients of each set of parameters in each trial.")
    ] = 100,
    workers: Workers = None,
) -> None:
    """Published rates and onsets beside those of virtual trials, each graded as the trial graded; trials that were not fitted apart."""
    from aftercar.calibrate.compare import compare as compared
    from aftercar.calibrate.ensemble import fitted_to, read
    from aftercar.calibrate.peaks import TRIAL, peaks
    from aftercar.report.published import comparison_svg
    from aftercar.serve import show

    told, members = fitted_to(ensemble), read(ensemble)
    with show.counting("simulating", "parts") as step:
        found = compared(members, patients=patients, seed=seed, workers=workers, progress=step)
    levels = peaks(members, seed=seed)
    about = {"seed": seed, "patients": patients, "fit": told, "summary": found.summary()}
    figure = comparison_svg(found, "Virtual trials beside published ones")
    _write(out, "compare.json", about, {"comparison.svg": figure}, rates=found.rates, onsets=found.onsets, peaks=levels)
    rows = [
        (r["trial"], r["endpoint"], f"{r['published_pct']:g} ({r['published_low']:.0f}-{r['published_high']:.0f})",
         f"{r['simulated_pct']:.0f} ({r['simulated_low']:.0f}-{r['simulated_high']:.0f})", f"{r['difference']:+.0f}", r["use"])
        for r in found.rates.to_dicts()
    ]  # fmt: skip
    show.rows(
        ("trial", "endpoint", "published, %", "simulated, %", "diff", ""),
        rows,
        title="SIMULATED beside published, 95 % intervals",
    )
    for line in found.summary():
        print(
            f"{line['of']}: mean absolute error {line['mean_absolute_error']} points over {line['cells']} rates; "
            f"{line['inside']} simulated inside the published interval, {line['covered']} published inside the simulated one"
        )
    print(
        f"cytokines: the median peak in virtual patients of {TRIAL} lies within {levels['inside'].sum()} of {levels['inside'].count()} ranges"
    )
    print(
        f"{told['free_parameters']} free parameters and {told['data_points']} numbers behind the fit: agreement with fitted trials describes, it validates nothing."
    )
    print(f"Tables and figure: {out}")


@app.command()
def interventions(
    out: Out,
    ensemble: Ensemble = None,
    seed: Seed = 2027,
    patients: Annotated[int, typer.Option("--patients", min=50, help="Virtual patients of each arm.")] = 800,
    workers: Workers = None,
) -> None:
    """The interventions of the lecture behind the model as virtual arms: toxicity and CAR-T activity with and without, beside what was published."""
    from aftercar.calibrate.ensemble import read
    from aftercar.calibrate.interventions import interventions as simulated
    from aftercar.serve import show

    with show.counting("simulating", "arms") as step:
        found = simulated(read(ensemble), patients=patients, seed=seed, workers=workers, progress=step)
    _write(
        out, "interventions.json", {"seed": seed, "patients": patients}, {},
        effects=found.effects, published=found.published, preclinical=found.preclinical,
    )  # fmt: skip
    asked = found.effects.drop_nulls("expected")
    rows = [
        (r["arm"], r["measure"], f"{r['without']:.2f}", f"{r['with_']:.2f}", r["expected"], r["finds"]) for r in asked.to_dicts()
    ]
    show.rows(
        ("arm", "measure", "without", "with", "expected", "finds"), rows, title="SIMULATED arms, and what sources lead to expect"
    )
    print(f"{(asked['finds'] == 'agrees').sum()} of {asked.height} expectations are met. Tables: {out}")


@app.command()
def translate(
    out: Out,
    from_: Annotated[str, typer.Option("--from", help="The scale that trials were graded by, such as penn2018.")],
    to: Annotated[str, typer.Option("--to", help="The scale to read it in, such as astct2019.")],
    ensemble: Ensemble = None,
    seed: Seed = 2028,
    patients: Annotated[
        int, typer.Option("--patients", min=8, help="Virtual patients of each set of parameters in each trial.")
    ] = 60,
    workers: Workers = None,
) -> None:
    """How likely each grade of one scale is, given the grade on another, and what a published table would have been."""
    from aftercar.calibrate.ensemble import read
    from aftercar.calibrate.translate import translate as translated
    from aftercar.serve import show

    with show.counting("simulating", "parts") as step:
        found = translated(read(ensemble), from_, to, patients=patients, seed=seed, workers=workers, progress=step)
    about = {"from": from_, "to": to, "seed": seed, "patients": patients}
    _write(out, "translate.json", about, {}, grades=found.grades, moves=found.moves, tables=found.tables)
    tables = [
        (r["trial"], r["endpoint"], f"{r['published_pct']:g}", f"{r['would_be_pct']:.0f} ({r['low']:.0f}-{r['high']:.0f})")
        for r in found.tables.to_dicts()
    ]
    show.rows(
        ("trial", "endpoint", "published, %", "would be, %"), tables, title=f"SIMULATED: tables by {from_} in the words of {to}"
    )
    for r in found.moves.to_dicts():
        print(
            f"{r['trial']}: of patients with a grade, {r['lower']:.0f} % lower by {to}, {r['same']:.0f} % the same, {r['higher']:.0f} % higher"
        )
    print(f"Tables: {out}")


@app.command()
def sensitivity(
    out: Out,
    product: Annotated[str, typer.Option("--product", help="The product, such as axi-cel.")] = "axi-cel",
    disease: Annotated[str, typer.Option("--disease", help="The disease, such as LBCL.")] = "LBCL",
    policy: Annotated[str, typer.Option("--policy", help="How the patients are treated.")] = "standard",
    ensemble: Ensemble = None,
    draws: Annotated[int, typer.Option("--draws", help="Of the design of Sobol: a power of two.")] = 256,
    patients: Annotated[int, typer.Option("--patients", min=20, help="Virtual patients with each change of a parameter.")] = 200,
    seed: Seed = 2029,
    workers: Workers = None,
) -> None:
    """What severe toxicity hangs on: Sobol indices of what differs between patients, each parameter in turn, and what the fit tells of its own."""
    from aftercar.calibrate import sensitivity as of
    from aftercar.calibrate.ensemble import read
    from aftercar.serve import show

    told = of.identified(read(ensemble))
    with show.counting("simulating: Sobol", "parts") as step:
        between = of.between_patients(product, disease, policy, draws=draws, seed=seed, workers=workers, progress=step)
    with show.counting("simulating: each parameter", "groups") as step:
        each = of.of_parameters(product, disease, policy, patients=patients, seed=seed, workers=workers, progress=step)
    about = {"product": product, "disease": disease, "policy": policy, "draws": draws, "patients": patients, "seed": seed}
    _write(out, "sensitivity.json", about, {}, between_patients=between, parameters=each, identified=told)
    for toxicity in ("crs", "icans"):
        rows = [
            (r["parameter"], f"{r['first']:.2f}", f"{r['total']:.2f} ({r['total_low']:.2f}-{r['total_high']:.2f})")
            for r in between.filter(toxicity=toxicity).head(6).to_dicts()
        ]
        show.rows(
            ("patients differ in", "alone", "with others"),
            rows,
            title=f"SIMULATED: share of the variance of the worst grade of {toxicity.upper()}",
        )
    print(f"Of {told.height} fitted parameters the data take half or more of the variance of {(told['told'] >= 0.5).sum()}.")
    print(f"Tables: {out}")


@app.command()
def forecast(
    out: Out,
    product: Annotated[str, typer.Option("--product", help="Of the virtual records, such as axi-cel.")] = "axi-cel",
    disease: Annotated[str, typer.Option("--disease", help="Of the virtual records, such as LBCL.")] = "LBCL",
    policy: Annotated[
        str, typer.Option("--policy", help="By which records and twins are treated from that day on.")
    ] = "standard",
    day: Annotated[float, typer.Option("--day", min=0.25, max=28, help="From which day on.")] = 4.0,
    records: Annotated[int, typer.Option("--records", min=10, help="Virtual patients forecast as if they were records.")] = 200,
    twins: Annotated[int, typer.Option("--twins", min=50, help="Virtual twins; one pool serves all records.")] = 2000,
    ensemble: Ensemble = None,
    seed: Seed = 1,
    workers: Workers = None,
) -> None:
    """Forecast virtual patients as if they were records, and see how often the truth lies where a forecast says."""
    from aftercar.calibrate.coverage import coverage, summary
    from aftercar.calibrate.ensemble import read
    from aftercar.calibrate.twins import Start
    from aftercar.serve import show, show_forecast

    start = Start(product, disease, day)
    with show.counting("simulating", "parts") as step:
        found = coverage(start, policy, read(ensemble), records=records, n=twins, seed=seed, workers=workers, progress=step)
    about = {
        "product": product, "disease": disease, "policy": policy, "day": day, "records": records, "twins": twins, "seed": seed, **summary(found)
    }  # fmt: skip
    _write(out, "coverage.json", about, {}, intervals=found.intervals, reliability=found.reliability, skill=found.skill)
    show_forecast.coverage(found)
    print(f"Tables: {out}")


def _write(out: Path, name: str, about: Mapping[str, object], texts: dict[str, str], **tables: pl.DataFrame) -> None:
    """Tables as CSV, texts and a summary, in place of former ones of the same command."""
    import json

    from aftercar import __version__
    from aftercar.files import replace_folder
    from aftercar.frames import labelled
    from aftercar.simulate.run import BANNER

    with replace_folder(out, marker=name) as fresh:
        for table, frame in tables.items():
            labelled(frame, simulated=True).write_csv(fresh / f"{table}.csv", float_precision=4)
        for file, text in texts.items():
            (fresh / file).write_text(text, encoding="utf-8")
        told = {"banner": BANNER, "simulated": True, "version": __version__, **about}
        (fresh / name).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
