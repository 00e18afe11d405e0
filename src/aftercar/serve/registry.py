"""The commands `registry`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from aftercar.errors import OptionError

app = typer.Typer(
    help="Draft answers for registry forms (CIBMTR, EBMT) from graded records, review them, and hand them on. For data managers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FormName = Annotated[str, typer.Option("--form", help="cibmtr_4100, ebmt_day100 or ebmt_follow_up.")]
Revision = Annotated[str | None, typer.Option("--revision", help="Of the form; without: the current one.")]
Folder = Annotated[Path, typer.Argument(help="What `registry draft` wrote.", metavar="DRAFT")]


class Only(enum.StrEnum):
    """Which answers are handed on."""

    all = "all"
    accepted = "accepted"


@app.command()
def fields(form: FormName = "cibmtr_4100", revision: Revision = None) -> None:
    """List the fields of a form: question, answers, when it is asked, what derives it, and what stands behind it."""
    from aftercar.registry.forms import form_named
    from aftercar.serve import show_registry

    show_registry.fields(form_named(form), revision)


@app.command()
def draft(
    results: Annotated[Path, typer.Argument(help="What `aftercar grade` wrote.", metavar="RESULTS")],
    out: Annotated[
        Path, typer.Option("--out", help="The folder to write. A former draft of the form is made anew; decisions on it stay.")
    ],
    form: FormName = "cibmtr_4100",
    period: Annotated[
        list[str] | None,
        typer.Option("--period", help="day100, month6, year1 ... year15, or all. May be repeated. Without: the form's first."),
    ] = None,
    revision: Revision = None,
    timeline: Annotated[Path | None, typer.Option("--timeline", help="Where the timeline is now, if it was moved.")] = None,
) -> None:
    """Draft a form for every course: an answer or `unknown` for each field, with the rule and the rows of the record behind it."""
    from aftercar.registry.decisions import left_over
    from aftercar.registry.draft import draft_folder
    from aftercar.registry.folder import DECISION_LOG, read_reviewed, write_draft
    from aftercar.report.registry import registry_page
    from aftercar.serve import show, show_registry

    with show.counting("drafting", "shards") as step:
        found = draft_folder(results, form, periods=period, revision=revision, timeline=timeline, progress=step)
    write_draft(found, out, registry_page)
    show.dataset_note(found.facts.get("timeline_note"), found.simulated)
    _, rows = read_reviewed(out)
    show_registry.summary(found, rows, left_over(rows, DECISION_LOG.read(out)))
    print(f"Written: {out}")


@app.command()
def review(
    folder: Folder,
    accept: Annotated[str | None, typer.Option("--accept", help="Accept what is drafted for FIELD.", metavar="FIELD")] = None,
    correct: Annotated[
        tuple[str, str] | None, typer.Option("--correct", help="Give FIELD another answer.", metavar="FIELD ANSWER")
    ] = None,
    unknown: Annotated[str | None, typer.Option("--unknown", help="Say that FIELD cannot be known.", metavar="FIELD")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Of whom.")] = None,
    infusion: Annotated[int, typer.Option("--infusion", help="Of which infusion.")] = 1,
    period: Annotated[str | None, typer.Option("--period", help="Of which period, where the draft has several.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who says so.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Why.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            help="Many at once, CSV: subject_id, field, decision (accept, correct, unknown), rater; also infusion, period, answer, comment ...",
        ),
    ] = None,
    template: Annotated[
        Path | None, typer.Option("--template", help="Write what is open or changed as a CSV to fill in for --file.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check that nobody changed the log of decisions by other means.")
    ] = False,
    head: Annotated[str | None, typer.Option("--head", help="With --verify: a hash that was noted down.")] = None,
) -> None:
    """Accept, correct or mark unknown; without a decision, show what was decided, what is open and what changed since."""
    from aftercar.files import write_text
    from aftercar.registry.decisions import NEEDED, OPTIONAL, as_template, decided, left_over
    from aftercar.registry.folder import DECISION_LOG, PAGE, read_draft, read_reviewed
    from aftercar.report.registry import registry_page
    from aftercar.serve import show, show_registry
    from aftercar.timeline.statements import as_given, read_rows

    asked = [x for x in (accept, correct, unknown, file) if x is not None]
    if len(asked) > 1 or (asked and verify):
        raise OptionError("One of --accept, --correct, --unknown, --file or --verify at a time.")
    draft_ = read_draft(folder)
    if verify:
        show_registry.verified(DECISION_LOG.read(folder), problems := DECISION_LOG.verify(folder, head))
        raise typer.Exit(1 if problems.height else 0)
    if file is None and asked and (subject is None or by is None):
        raise OptionError("A decision needs --subject and --by.")
    if asked:
        import polars as pl

        if file is not None:
            given = read_rows(file, NEEDED, OPTIONAL)
            given = given.filter(pl.col("decision").is_not_null())  # rows of a template that nobody filled in
        else:
            kind = "accept" if accept is not None else "correct" if correct is not None else "unknown"
            row = {"subject_id": subject, "field": accept or unknown or (correct[0] if correct else None), "decision": kind, "rater": by,
                   "infusion": str(infusion), "period": period, "answer": correct[1] if correct else None, "comment": comment}  # fmt: skip
            given = as_given(pl.DataFrame([row]), OPTIONAL)
        bad = pl.DataFrame()

        def rows(_: pl.DataFrame) -> pl.DataFrame:
            nonlocal bad
            current = read_draft(folder)  # nobody makes it anew in between
            good, bad = decided(current.answers, current.evidence, current.form, given)
            return good

        new = DECISION_LOG.append(folder, rows)
        write_text(folder / PAGE, registry_page(*read_reviewed(folder)))
        show_registry.recorded(new, bad)
        if bad.height:
            raise typer.Exit(1)
        return
    _, now = read_reviewed(folder)
    if template is not None:
        write_text(template, as_template(now, ("open", "changed")).write_csv())
        print(f"Written: {template}")
        return
    show.dataset_note(draft_.facts.get("timeline_note"), draft_.simulated)
    if subject is not None:
        show_registry.course(now, subject, infusion)
    else:
        show_registry.summary(draft_, now, left_over(now, DECISION_LOG.read(folder)))
        show_registry.changed(now)


@app.command()
def export(
    folder: Folder,
    to: Annotated[Path, typer.Option("--to", help="FILE.csv to write.")],
    wide: Annotated[bool, typer.Option("--wide", help="A row a course and period; without: a row an answer.")] = False,
    only: Annotated[
        Only, typer.Option("--only", help="all: drafted answers where nobody decided; accepted: decided ones alone.")
    ] = Only.all,
    redcap: Annotated[
        Path | None,
        typer.Option(
            "--redcap",
            help="Instead, for REDCap: FILE.csv is what to import, and this one the data dictionary.",
            metavar="DICTIONARY.csv",
        ),
    ] = None,
    event: Annotated[
        str | None, typer.Option("--event", help="With --redcap: the unique name of the event, where the project has events.")
    ] = None,
) -> None:
    """Hand a draft on as CSV, long or wide, or as a data dictionary and an import file for REDCap."""
    from aftercar.registry.export import write_export, write_redcap
    from aftercar.registry.folder import read_reviewed

    if (redcap is not None and wide) or (event is not None and redcap is None):
        raise OptionError("--wide is for CSV, and --event for --redcap.")
    if any(path is not None and path.suffix.lower() != ".csv" for path in (to, redcap)):
        raise OptionError("--to and --redcap name files that end with .csv.")
    if redcap is not None and redcap.resolve() == to.resolve():
        raise OptionError("--to and --redcap name two files.")
    draft_, rows = read_reviewed(folder)
    if redcap is not None:
        write_redcap(draft_, rows, redcap, to, only.value, event)
        print(f"Written: {redcap}")
    else:
        write_export(draft_, rows, to, only.value, layout="wide" if wide else "long")
    print(f"Written: {to}" + ("" if only is Only.accepted else " (drafted answers included; --only accepted leaves them out)"))
