"""The commands `risk` and `risk-validate`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Timeline = Annotated[Path, typer.Argument(help="A timeline folder, or a MEDS dataset with our codes.", metavar="TIMELINE")]
Scores = Annotated[
    list[str] | None,
    typer.Option("--score", "-s", help="A score, or a part of its name; `all`: also those that cannot be computed."),
]
Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="An open question decided: name=value. May be repeated.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("risk")(risk)
    app.command("risk-validate")(risk_validate)


def risk(
    timeline: Timeline,
    score: Scores = None,
    option: Options = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Show one subject: each score with its inputs and rows.")
    ] = None,
    factors: Annotated[bool, typer.Option("--factors", help="The risk factors instead of the scores.")] = False,
    grades: Annotated[
        Path | None, typer.Option("--grades", help="The results folder of this timeline, for what depends on a grade.")
    ] = None,
    coefficients: Annotated[
        Path | None, typer.Option("--coefficients", help="A TOML file of coefficients that are not published.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the table: FILE.parquet, .csv or .json.")] = None,
) -> None:
    """Score risk from what was charted in each score's own window; what is missing widens a score, or leaves it without a value."""
    from aftercar.frames import labelled
    from aftercar.grade.results import open_results
    from aftercar.risk import options as questions
    from aftercar.risk.cohort_files import write_table
    from aftercar.risk.run import score_folder
    from aftercar.serve import show, show_risk
    from aftercar.timeline.store import open_timeline

    options = questions.Options.of_words(option)
    store = open_timeline(timeline)
    worst = None
    if grades:
        results = open_results(grades)
        results.timeline(timeline)  # grades of another timeline are refused
        worst = results.worst
    with show.counting("scoring", "shards") as step:
        result = score_folder(timeline, score, options, worst=worst, coefficients=coefficients, progress=step)
    table = result.factors if factors else result.scores
    if subject is not None:
        show_risk.of_subject(store, result, subject, factors=factors)
    elif factors:
        show_risk.factors(table)
    else:
        show_risk.scores(table)
    show.dataset_note(store.info.get("banner"), store.simulated)
    if out:
        write_table(labelled(table, store.simulated), out)
        print(f"Written: {out}")


def risk_validate(
    scores: Annotated[
        Path, typer.Argument(help="What `aftercar risk --out` wrote, or a table with subject_id and a value.", metavar="SCORES")
    ],
    outcomes: Annotated[
        Path, typer.Argument(help="A results folder of `aftercar grade`, or a table with subject_id.", metavar="OUTCOMES")
    ],
    outcome: Annotated[str, typer.Option("--outcome", help="The event: a scale and least grade, icaht_early>=3; else a column.")],
    score: Annotated[str | None, typer.Option("--score", "-s", help="Which score of the table.")] = None,
    window: Annotated[str | None, typer.Option("--window", help="Which window of the score; its own by default.")] = None,
    column: Annotated[str | None, typer.Option("--column", help="The value, in a table of your own.")] = None,
    cut: Annotated[
        float | None, typer.Option("--cut", help="From which value on a risk is called high; the score's own by default.")
    ] = None,
    probability: Annotated[bool, typer.Option("--probability", help="The value is a probability, 0 to 1.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the tables, the figure and validation.json.")] = None,
) -> None:
    """Hold a score against an outcome of your own cohort: discrimination, calibration, decision curve."""
    from aftercar.report.validation import validation_svg
    from aftercar.risk.cohort_files import read_outcomes, read_scores, says_simulated
    from aftercar.risk.run import REGISTRY
    from aftercar.risk.validate import validate, write_validation
    from aftercar.serve import show, show_risk

    rows = read_scores(scores, score, window, column)
    names = rows["score"].unique().to_list() if "score" in rows.columns else []
    known = REGISTRY.get(names[0]) if len(names) == 1 else None
    cut = known.cut if cut is None and known is not None and not probability else cut
    window = rows["window"][0] if "window" in rows.columns and rows.height else window
    outcomes_read = read_outcomes(outcomes, outcome)
    simulated = says_simulated(scores) or says_simulated(outcomes)
    facts = {"score": known.name if known else column or "value", "window": window, "outcome": outcome, "simulated": simulated}
    found = validate(rows, outcomes_read, probability=probability, cut=cut, facts=facts)
    show_risk.validated(found)
    show.dataset_note(None, simulated)
    if out:
        title = f"{known.title if known else facts['score']}{', ' + window if window else ''}, against {outcome}{'; simulated' if simulated else ''}"
        write_validation(found, out, validation_svg(found, title))
        print(f"Written: {out}")
