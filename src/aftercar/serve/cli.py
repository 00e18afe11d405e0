"""The command line. Everything heavy is imported by the command that needs it, so that `aftercar --help` is quick."""

from __future__ import annotations

import enum
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from aftercar import __version__
from aftercar.errors import AftercarError, OptionError, place_of
from aftercar.files import place
from aftercar.serve import (
    advise,
    calendar,
    calibrate,
    cohort,
    evidence,
    federate,
    figure,
    forecast,
    model,
    registry,
    rehearse,
    risk,
    simulate,
    trial,
    ward,
)
from aftercar.serve.shared import Master, SparkSettings

if TYPE_CHECKING:
    import polars as pl

# How `--help` parts the commands: in the order in which work goes.
SECTIONS = {
    "Records and grades": ("import", "codes", "grade", "explain", "attribute", "adjudicate", "regrade", "export", "conformance"),
    "A patient": ("advise", "calendar", "risk", "forecast", "serve", "ward"),
    "A cohort": ("report", "figure", "cohort", "registry", "summarise", "pool", "rehearse", "risk-validate"),
    "What is known": ("scales", "concepts", "options", "rules", "evidence", "cite"),
    "Simulation": ("simulate", "trial", "calibrate", "model"),
}


class InSections(TyperGroup):
    """The help of all commands, parted."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        space = formatter.width - max(map(len, self.commands)) - 6
        for section, names in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, _brief(self.commands[name].get_short_help_str(999), space)) for name in names])


def _brief(sentence: str, space: int) -> str:
    """What stands before its first colon or semicolon; where that does not fit, before the last comma that does, or as many words as do."""
    own = re.split(r"[:;]", sentence, maxsplit=1)[0].rstrip(".")
    if len(own) <= space:
        return own
    words = textwrap.shorten(own, space, placeholder="...")
    return words.rpartition(",")[0] or words


app = typer.Typer(
    cls=InSections,
    name="aftercar",
    help="Toxicities after CAR-T cell therapy: records in, grades out. For research, education, quality and registry work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
risk.add_to(app)
advise.add_to(app)
calendar.add_to(app)
rehearse.add_to(app)
figure.add_to(app)
simulate.add_to(app)
forecast.add_to(app)
trial.add_to(app)
federate.add_to(app)
ward.add_to(app)
app.add_typer(model.app, name="model")
app.add_typer(calibrate.app, name="calibrate")
app.add_typer(cohort.app, name="cohort")
app.add_typer(registry.app, name="registry")

Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="An open question decided: name=value. May be repeated.")
]
Scales = Annotated[
    list[str] | None, typer.Option("--scale", "-s", help="A scale or toxicity; `all`: every scale. Without: the default scales.")
]


class Engine(enum.StrEnum):
    """What grades the shards."""

    local = "local"
    spark = "spark"


class Paper(enum.StrEnum):
    """What a report is printed on."""

    a4 = "a4"
    letter = "letter"


# Polars' allocator gives freed memory back to the system at once and asks for it again: a tenth of the time of a large grading.
# Read when polars is first imported; what the user set stays.
ALLOCATOR = ("_RJEM_MALLOC_CONF", "background_thread:true,dirty_decay_ms:10000,muzzy_decay_ms:10000")


def main() -> None:
    """Run, and turn every error into a sentence: 2 for a problem that the user can mend, 70 for one of ours."""
    os.environ.setdefault(*ALLOCATOR)
    try:
        code = app(standalone_mode=False)
        raise SystemExit(code if isinstance(code, int) else 0)
    except AftercarError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except (KeyboardInterrupt, typer.Abort):
        _interrupted()
    except SystemExit as stop:
        if stop.code == 130:  # the parser caught the interrupt first
            _interrupted()
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        if "No space left" in str(error):  # as Polars reports it, too
            print(f"The disk is full. {_left(error)}", file=sys.stderr)
            raise SystemExit(2) from None
        print(f"The system refused{_file(error)}: {error.strerror or type(error).__name__}. {_left(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except Exception as error:
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if show is not None and code is not None:  # a usage error: the parser's own words and code
            show()
            raise SystemExit(code) from None
        if "No space left" in str(error):  # as Polars reports it
            print(f"The disk is full. {_left(error)}", file=sys.stderr)
            raise SystemExit(2) from None
        if os.environ.get("AFTERCAR_DEBUG"):
            raise
        # The message of a foreign error may quote a value of a patient: only its kind and place are shown.
        place = place_of(error)
        print(
            f"A fault of aftercar ({type(error).__name__} at {place}). Please report it; AFTERCAR_DEBUG=1 shows the details.",
            file=sys.stderr,
        )
        raise SystemExit(70) from None


def _interrupted() -> NoReturn:
    print("Interrupted. What stood there before still stands.", file=sys.stderr)
    raise SystemExit(130) from None


def _file(error: OSError) -> str:
    """The file that an error is about, as the user named it: what is written lies under another name until it is whole."""
    if not isinstance(error.filename, str):
        return ""
    path = Path(error.filename)
    whole = re.fullmatch(r"\.(.+?)\.[0-9a-f]+(\.part)?", path.name)
    return f" {path.with_name(whole[1]) if whole else path}"


def _left(error: BaseException) -> str:
    """What an error left on the disk."""
    return " ".join(getattr(error, "__notes__", ["Nothing half-written was left."]))


def _version(show: bool) -> None:
    if show:
        print(f"aftercar {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="CSV, Parquet, MEDS, FHIR, OMOP, SDTM or Excel: a file, folder, zip, or the URL of a database or FHIR export."
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="The timeline folder to write.")],
    map_: Annotated[Path | None, typer.Option("--map", help="The mapping file: your names and units as ours.")] = None,
) -> None:
    """Read records into a timeline; rows that cannot be used are listed in TIMELINE/rejected.parquet."""
    from aftercar.serve import show
    from aftercar.timeline.store import import_folder, open_timeline

    with show.reading() as say:
        import_folder(source, to, map_, progress=say)
    show.imported(open_timeline(to))


@app.command()
def codes(
    source: Annotated[str, typer.Argument(help="What `aftercar import` would read.")],
    map_: Annotated[Path | None, typer.Option("--map", help="The mapping file so far.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also codes that mean something already.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Print at most so many.")] = 40,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write all of them to this file.")] = None,
) -> None:
    """List the codes of a source that nothing is mapped to, the commonest first: what a mapping still needs."""
    import polars as pl

    from aftercar.files import write_text
    from aftercar.serve import show
    from aftercar.timeline.readers.survey import survey

    with show.reading() as say:
        found = survey(source, map_, progress=say)
    if csv:
        write_text(csv, found.with_columns(pl.col("units", "files").list.join("; ")).write_csv())
    show.codes(found, every=every, limit=limit)


@app.command()
def grade(
    timeline: Annotated[
        str, typer.Argument(help="A timeline folder, or a MEDS dataset with our codes; also at s3://...", metavar="TIMELINE")
    ],
    out: Annotated[str, typer.Option("--out", help="The results folder to write; also at s3://...")],
    scale: Scales = None,
    option: Options = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes at a time; without: one a processor. Each holds one shard.")
    ] = None,
    engine: Annotated[Engine, typer.Option("--engine", help="What does the work.")] = Engine.local,
    master: Master = None,
    setting: SparkSettings = None,
) -> None:
    """Grade every toxicity of every subject, and print a summary. A run that was stopped goes on where it stopped."""
    from aftercar.grade import options as questions
    from aftercar.grade.folder import grade_folder, on_this_machine
    from aftercar.options import pairs
    from aftercar.serve import show

    options = questions.Options.of_words(option)
    if engine is Engine.spark:
        from aftercar.grade.spark import on_spark

        if workers:
            raise OptionError(
                "--workers is for this machine; the number of Spark's tasks at a time is in --master local[N] or --spark."
            )
        work = on_spark(master, pairs(setting or []))
    else:
        if master or setting:
            raise OptionError("--master and --spark are for --engine spark.")
        work = on_this_machine(workers)
    with show.counting("grading", "rows") as step:
        run = grade_folder(timeline, out, scale, options, engine=work, progress=step)
    show.graded(run, place(out))


@app.command()
def explain(
    folder: Annotated[Path, typer.Argument(help="The results folder.", metavar="RESULTS")],
    subject: Annotated[str, typer.Option("--subject", help="The subject's id, as in the source.")],
    toxicity: Annotated[str | None, typer.Option("--toxicity", help="One toxicity only, such as crs.")] = None,
    timeline: Annotated[Path | None, typer.Option("--timeline", help="Where the timeline is, if it was moved.")] = None,
) -> None:
    """Print one subject's grade course with the records behind each change."""
    from aftercar.grade import explain as why
    from aftercar.serve import show

    show.explained(why.explain(folder, subject, toxicity, timeline=timeline))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The results folder.", metavar="RESULTS")],
    out: Annotated[Path | None, typer.Option("--out", help="The HTML file; RESULTS/report.html by default.")] = None,
    subject: Annotated[list[str] | None, typer.Option("--subject", help="Show this subject only. May be repeated.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Draw at most so many subjects.")] = 200,
    timeline: Annotated[Path | None, typer.Option("--timeline", help="Where the timeline is, if it was moved.")] = None,
    pdf: Annotated[Path | None, typer.Option("--pdf", help="Also print it into this file, by Chromium, Chrome or Edge.")] = None,
    paper: Annotated[Paper, typer.Option("--paper", help="Of the PDF.")] = Paper.a4,
) -> None:
    """Write the report, HTML and PDF: the cohort with methods and references, and a figure for each subject."""

    from aftercar.grade.results import open_results
    from aftercar.report import write_report
    from aftercar.report.pdf import ready, write_pdf
    from aftercar.serve import show

    results = open_results(folder)
    store = results.timeline(timeline)
    shown = results.match(subject) if subject else None
    target = out or folder / "report.html"
    if target.suffix.lower() == ".pdf":
        raise OptionError(f"--out {target}: that file is HTML. --pdf {target} prints it as PDF.")
    if pdf:
        ready(pdf)
    with show.working("drawing"), store.reading():
        write_report(folder, target, timeline=store.scan(), subjects_shown=shown, limit=limit)
    print(f"Report: {target}")
    show.dataset_note(results.said_since, simulated=False)
    if pdf:
        with show.working("printing"):
            write_pdf(target.read_text(encoding="utf-8"), pdf, paper=paper)
        print(f"Printed: {pdf}")


@app.command()
def conformance(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of worked cases (the schema of vignettes.yaml).", metavar="FILE.yaml...")
    ] = None,
    whole_suite: Annotated[bool, typer.Option("--suite", help="Every case that comes with aftercar.")] = False,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Ask another grader instead: a command or an HTTP address (docs/conformance.md)."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that the other grader has for a case.")] = 30.0,
    trap: Annotated[list[str] | None, typer.Option("--trap", help="Only cases of this trap. May be repeated.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write every check as JSON.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every check, not only what failed.")] = False,
) -> None:
    """Run worked cases through our graders, or another. Exit 1 if any check failed."""
    import json

    from aftercar.conformance.against import CONTRACT, run_against
    from aftercar.conformance.run import run_cases, suite
    from aftercar.errors import InputError
    from aftercar.files import write_text
    from aftercar.serve import show

    paths = [*(suite() if whole_suite else []), *(files or [])]
    if not paths:
        raise InputError("Name files of cases, or take --suite.")
    if against is None:
        checks = run_cases(paths, trap)
    else:
        with show.working("asking"):
            checks = run_against(paths, against, traps=trap, timeout=timeout)
    if json_:
        told = {"aftercar": __version__, **({"contract": CONTRACT} if against is not None else {})}
        content = {**told, "checks": [c.to_json() for c in checks]}
        write_text(json_, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")
    if show.checked(checks, verbose=verbose, tables=whole_suite or against is not None):
        raise typer.Exit(1)


@app.command()
def scales(
    names: Annotated[
        list[str] | None, typer.Argument(help="Scales or toxicities, or all; none lists them.", metavar="[NAME...]")
    ] = None,
    option: Options = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print as the page docs/scales.md.")] = False,
) -> None:
    """List the scales, or print each one's table beside its source, options and marks."""
    import json

    from aftercar.grade import describe as words
    from aftercar.grade import options as questions
    from aftercar.grade.run import scales_named
    from aftercar.serve import show_scales

    chosen = questions.Options.of_words(option)
    described = [words.describe(s, chosen) for s in scales_named(names or ["all"], others=True)]
    if json_:
        print(json.dumps([d.to_json() for d in described], indent=2, ensure_ascii=False))
    elif markdown:
        print(words.markdown(described), end="")
    elif names:
        for d in described:
            show_scales.one(d)
        print(show_scales.legend(described))
    else:
        show_scales.listed(described)


@app.command()
def concepts() -> None:
    """List the concepts that a timeline can hold, with units and codes."""
    from aftercar.serve import show

    show.concepts()


@app.command()
def options() -> None:
    """List every open question of the scales and scores, with its default and what else it may be."""
    from aftercar.serve import show

    show.options()


@app.command()
def attribute(
    timeline: Annotated[Path, typer.Argument(help="The timeline folder.", metavar="TIMELINE")],
    subject: Annotated[str | None, typer.Option("--subject", help="The subject's id, as in the source.")] = None,
    event: Annotated[int | None, typer.Option("--event", help="The sign: its event_id.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Its cause: iec, other or unknown.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who says so.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Why.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Many: a CSV with subject_id, event_id, attributable_to, rater.")
    ] = None,
) -> None:
    """Say what caused a sign. Grade again afterwards; signs of another cause do not count."""
    import polars as pl

    from aftercar.errors import InputError
    from aftercar.timeline.statements import as_given, attributions, read_rows
    from aftercar.timeline.store import open_timeline

    store = open_timeline(timeline)
    optional = ("said_at", "comment")
    if file:
        if subject or event is not None or to or by or comment:
            raise InputError("Give either --file, or one sign by --subject, --event, --to and --by.")
        given = read_rows(file, ("subject_id", "event_id", "attributable_to", "rater"), optional)
    else:
        if not (subject and event is not None and to and by):
            raise InputError("Name the sign and its cause by --subject, --event, --to and --by; or give many by --file.")
        row = {"subject_id": subject, "event_id": str(event), "attributable_to": to, "rater": by, "comment": comment}
        given = as_given(pl.DataFrame([row], schema=dict.fromkeys(row, pl.String)), optional)
    good, bad = attributions(store.scan(), given)
    _record(store.folder, good, bad, one=not file)


def _record(folder: Path, good: pl.DataFrame, bad: pl.DataFrame, *, one: bool) -> None:
    """Append what can be used and print the rest; nothing usable is an error."""
    from aftercar.errors import InputError
    from aftercar.serve import show_review
    from aftercar.timeline.statements import append

    if good.is_empty() and bad.height:
        if one:
            lines = bad.select("column", "reason").iter_rows()
            raise InputError("; ".join(f"{column}: {reason}" for column, reason in lines) + ".")
        show_review.refused(bad)
        raise InputError("No row could be used; nothing was recorded.")
    show_review.recorded(append(folder, good), bad)


app.add_typer(evidence.app, name="evidence")
app.command()(evidence.cite)

adjudicating = typer.Typer(
    help="Grades by readers beside those by software: record, lock, compare. Statements are kept with the timeline.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(adjudicating, name="adjudicate")

Subject = Annotated[str, typer.Option("--subject", help="The subject's id, as in the source.")]
Toxicity = Annotated[str, typer.Option("--toxicity", help="Such as crs.")]
Infusion = Annotated[int, typer.Option("--infusion", min=1, help="Which infusion of the subject.")]
OneScale = Annotated[str | None, typer.Option("--scale", help="The default scale of the toxicity, if left out.")]
Graded = Annotated[Path, typer.Argument(help="The results folder.", metavar="RESULTS")]
GradedOrNot = Annotated[Path, typer.Argument(help="The results folder, or a timeline.", metavar="RESULTS")]
Moved = Annotated[Path | None, typer.Option("--timeline", help="Where the timeline is, if it was moved.")]


def _folders(folder: Path, timeline: Path | None) -> tuple[Path, Path | None]:
    """The timeline folder, and the results folder where RESULTS is one."""
    from aftercar.grade.results import read_run, timeline_of
    from aftercar.timeline.store import open_timeline

    results = folder if (folder / "run.json").is_file() or not (folder / "data").is_dir() else None
    return open_timeline(timeline_of(folder, read_run(folder), timeline) if results else folder).folder, results


def _worst(folder: Path, moved: Path | None) -> tuple[Path, pl.DataFrame]:
    """The timeline folder and the table `worst`."""
    from aftercar.errors import InputError
    from aftercar.grade.results import open_results

    timeline, results = _folders(folder, moved)
    if results is None:
        raise InputError("This needs a results folder: `aftercar grade TIMELINE --out RESULTS` makes one.")
    return timeline, open_results(results).worst


@adjudicating.command("grade")
def adjudicate_grade(
    folder: Graded,
    subject: Annotated[str | None, typer.Option("--subject", help="The subject's id, as in the source.")] = None,
    toxicity: Annotated[str | None, typer.Option("--toxicity", help="Such as crs.")] = None,
    grade: Annotated[int | None, typer.Option("--grade", help="The worst grade, as this reader sees it.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="The reader.")] = None,
    infusion: Infusion = 1,
    scale: OneScale = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Why.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Many: a CSV with subject_id, toxicity, grade, rater.")] = None,
    moved: Moved = None,
) -> None:
    """Record the worst grade that a reader gives; a later one of the same reader does not overwrite it."""
    import polars as pl

    from aftercar.errors import InputError
    from aftercar.grade.adjudicate import grades_said
    from aftercar.timeline.statements import as_given, read_rows

    timeline, worst = _worst(folder, moved)
    optional = ("infusion", "scale", "said_at", "comment")
    if file:
        if subject or toxicity or grade is not None or by or comment:
            raise InputError("Give either --file, or one grade by --subject, --toxicity, --grade and --by.")
        given = read_rows(file, ("subject_id", "toxicity", "grade", "rater"), optional)
    else:
        if not (subject and toxicity and grade is not None and by):
            raise InputError("Name the grade by --subject, --toxicity, --grade and --by; or give many by --file.")
        row = {"subject_id": subject, "toxicity": toxicity, "grade": str(grade), "rater": by, "comment": comment}
        row |= {"infusion": str(infusion), "scale": scale}
        given = as_given(pl.DataFrame([row], schema=dict.fromkeys(row, pl.String)), optional)
    good, bad = grades_said(worst, given)
    _record(timeline, good, bad, one=not file)


@adjudicating.command("comment")
def adjudicate_comment(
    folder: GradedOrNot,
    subject: Subject,
    by: Annotated[str, typer.Option("--by", help="The reader.")],
    comment: Annotated[str, typer.Option("--comment", help="What is to be said.")],
    moved: Moved = None,
) -> None:
    """Record a comment on a subject."""
    import polars as pl

    from aftercar.errors import InputError
    from aftercar.grade.results import match_id
    from aftercar.serve import show_review
    from aftercar.timeline.statements import append
    from aftercar.timeline.store import open_timeline

    timeline, _ = _folders(folder, moved)
    ids = open_timeline(timeline).scan().select("subject_id")
    key = match_id(subject, ids.collect_schema()["subject_id"])
    if key is None or not ids.select((pl.col("subject_id") == key).any()).collect().item():
        raise InputError("No such subject in the timeline. Ids are written as in the source.")
    row = {"rater": by, "kind": "comment", "subject_id": key, "comment": comment.strip() or None}
    show_review.recorded(append(timeline, pl.DataFrame([row])))


@adjudicating.command("lock")
def adjudicate_lock(
    folder: Graded,
    subject: Subject,
    toxicity: Toxicity,
    by: Annotated[list[str], typer.Option("--by", help="A reader; two or more are needed.")],
    infusion: Infusion = 1,
    scale: OneScale = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Why.")] = None,
    moved: Moved = None,
) -> None:
    """Lock the grade on which two readers agree."""
    from aftercar.grade.adjudicate import lock_said, one_key
    from aftercar.serve import show_review
    from aftercar.timeline.statements import append

    timeline, worst = _worst(folder, moved)
    about = one_key(worst, subject, toxicity, infusion, scale)
    show_review.locked(append(timeline, lambda log: lock_said(log, about, by, comment)))


@adjudicating.command("unlock")
def adjudicate_unlock(
    folder: Graded,
    subject: Subject,
    toxicity: Toxicity,
    by: Annotated[str, typer.Option("--by", help="Who opens it.")],
    comment: Annotated[str, typer.Option("--comment", help="Why.")],
    infusion: Infusion = 1,
    scale: OneScale = None,
    moved: Moved = None,
) -> None:
    """Open a lock, so that readers can grade again; what was locked stays in the history."""
    from aftercar.grade.adjudicate import one_key, unlock_said
    from aftercar.serve import show_review
    from aftercar.timeline.statements import append

    timeline, worst = _worst(folder, moved)
    about = one_key(worst, subject, toxicity, infusion, scale)
    show_review.recorded(append(timeline, lambda log: unlock_said(log, about, by, comment)))


@adjudicating.command("agreement")
def adjudicate_agreement(folder: GradedOrNot, moved: Moved = None) -> None:
    """Print how far readers agree with one another and with the software."""
    from aftercar.grade.adjudicate import agreement
    from aftercar.grade.results import open_results
    from aftercar.serve import show_review
    from aftercar.timeline.statements import read_statements

    timeline, results = _folders(folder, moved)
    worst = open_results(results).worst if results else None
    show_review.agreed(agreement(read_statements(timeline), worst))


@adjudicating.command("history")
def adjudicate_history(
    folder: GradedOrNot,
    subject: Annotated[str | None, typer.Option("--subject", help="One subject only.")] = None,
    moved: Moved = None,
) -> None:
    """Print every statement in order; those after a lock are marked and do not change it."""
    import polars as pl

    from aftercar.grade.adjudicate import history
    from aftercar.serve import show_review
    from aftercar.timeline.statements import read_statements

    timeline, _ = _folders(folder, moved)
    rows = history(read_statements(timeline))
    show_review.history(rows.filter(pl.col("subject_id").cast(pl.String) == subject) if subject else rows)


@adjudicating.command("verify")
def adjudicate_verify(
    folder: GradedOrNot,
    head: Annotated[str | None, typer.Option("--head", help="The hash of a statement that was noted down.")] = None,
    moved: Moved = None,
) -> None:
    """Check that no statement was changed or taken out. Exit 1 if one was."""
    from aftercar.serve import show_review
    from aftercar.timeline.statements import read_statements, verify

    timeline, _ = _folders(folder, moved)
    problems = verify(timeline, head)
    show_review.verified(read_statements(timeline), problems)
    if problems.height:
        raise typer.Exit(1)


@app.command()
def regrade(
    folder: Annotated[Path, typer.Argument(help="The results folder.", metavar="RESULTS")],
    from_: Annotated[str, typer.Option("--from", help="The one scale, such as penn2018.")],
    to: Annotated[str, typer.Option("--to", help="The other scale of the same toxicity.")],
    out: Annotated[Path | None, typer.Option("--out", help="A folder for shift.csv, subjects.csv and regrading.json.")] = None,
    subjects: Annotated[bool, typer.Option("--subjects", help="List who is behind each cell.")] = False,
    timeline: Annotated[Path | None, typer.Option("--timeline", help="Where the timeline is, if it was moved.")] = None,
) -> None:
    """Compare two scales of one toxicity: who moves where, agreement, incidence, onset and duration."""
    from aftercar.grade import regrade as two
    from aftercar.serve import show, show_review

    with show.counting("grading", "shards") as step:
        found = two.regrade(folder, from_, to, timeline=timeline, progress=step)
    if out:
        two.write_regraded(found, out)
    show_review.regraded(found, subjects=subjects)
    show.dataset_note(found.facts["timeline_note"], found.facts["simulated"])
    if out:
        print(f"Written: {out}")


@app.command()
def export(
    folder: Annotated[str, typer.Argument(help="The results folder; for `--to tables` an export.", metavar="RESULTS")],
    to: Annotated[str, typer.Option("--to", help="fhir, omop or sdtm; `tables` reads an export back.")],
    out: Annotated[str, typer.Option("--out", help="The folder to write.")],
    timeline: Annotated[
        Path | None, typer.Option("--timeline", help="Also list where the rows behind each grade came from.")
    ] = None,
    zone: Annotated[str | None, typer.Option("--zone", help="FHIR: where the clocks stood, such as Europe/Berlin.")] = None,
    table_format: Annotated[str | None, typer.Option("--table-format", help="OMOP: csv (the default) or parquet.")] = None,
    study: Annotated[str | None, typer.Option("--study", help="SDTM: STUDYID; AFTERCAR by default.")] = None,
) -> None:
    """Write grades in a format of hospitals and trials, or read such an export back."""
    from aftercar.errors import OptionError
    from aftercar.export import export_folder, write_tables
    from aftercar.serve import show

    given = {"timeline": timeline, "zone": zone, "table_format": table_format, "study": study}
    given = {name: value for name, value in given.items() if value is not None}
    with show.working("writing"):
        if to != "tables":
            made = export_folder(folder, to, out, **given)
        elif given:
            raise OptionError(f"--{next(iter(given)).replace('_', '-')} has no meaning with `--to tables`.")
        else:
            made = write_tables(folder, out)
    print(", ".join(f"{made['counts'][name]:,} {name}" for name in ("grades", "episodes", "subjects")))
    print(f"{made['use']}\nWritten: {out}")
