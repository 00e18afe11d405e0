"""The command line. Everything heavy is imported by the command that needs it, so that `aftercar --help` is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from aftercar import __version__
from aftercar.errors import AftercarError

app = typer.Typer(
    name="aftercar",
    help="Toxicities after CAR-T cell therapy: records in, grades out. For research, education, quality and registry work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="An open question decided: name=value. May be repeated.")
]
Scales = Annotated[list[str] | None, typer.Option("--scale", "-s", help="A scale or toxicity; all by default. May be repeated.")]


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
        print(
            f"The system refused: {error.strerror or type(error).__name__}. Nothing half-written was left.",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except Exception as error:
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if show is not None and code is not None:  # a usage error: the parser's own words and code
            show()
            raise SystemExit(code) from None
        if "No space left" in str(error):  # as Polars reports it
            print("The disk is full. Nothing half-written was left.", file=sys.stderr)
            raise SystemExit(2) from None
        if os.environ.get("AFTERCAR_DEBUG"):
            raise
        # The message of a foreign error may quote a value of a patient: only its kind and place are shown.
        place = _place(error)
        print(
            f"A fault of aftercar ({type(error).__name__} at {place}). Please report it; AFTERCAR_DEBUG=1 shows the details.",
            file=sys.stderr,
        )
        raise SystemExit(70) from None


def _interrupted() -> NoReturn:
    print("Interrupted. What stood there before still stands.", file=sys.stderr)
    raise SystemExit(130) from None


def _place(error: BaseException) -> str:
    place, trace = "?", error.__traceback__
    while trace:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if name.startswith("aftercar"):
            place = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


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
    source: Annotated[Path, typer.Argument(help="A CSV or Parquet file, a folder of them, or a MEDS dataset.")],
    to: Annotated[Path, typer.Option("--to", help="The timeline folder to write.")],
    map_: Annotated[Path | None, typer.Option("--map", help="The mapping file: your names and units as ours.")] = None,
) -> None:
    """Read records into a timeline; rows that cannot be used are listed in TIMELINE/rejected.parquet."""
    from aftercar.serve import show
    from aftercar.timeline.readers import read, require_rows
    from aftercar.timeline.store import write_timeline

    with show.working("reading") as say:
        imported = read(source, map_, progress=say)
        require_rows(imported)
        say("writing")
        write_timeline(imported, to)
    show.imported(imported, to)


@app.command()
def grade(
    timeline: Annotated[Path, typer.Argument(help="A timeline folder, or a MEDS dataset with our codes.")],
    out: Annotated[Path, typer.Option("--out", help="The results folder to write.")],
    scale: Scales = None,
    option: Options = None,
) -> None:
    """Grade every toxicity of every subject, and print a summary."""
    from aftercar.grade.options import parse_pairs
    from aftercar.grade.run import grade_folder
    from aftercar.serve import show

    options = parse_pairs(option or [])
    with show.counting("grading") as step:
        run = grade_folder(timeline, out, scale, options, progress=step)
    show.graded(run, out)


@app.command()
def explain(
    folder: Annotated[Path, typer.Argument(help="The results folder.", metavar="DIR")],
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
    folder: Annotated[Path, typer.Argument(help="The results folder.", metavar="DIR")],
    out: Annotated[Path | None, typer.Option("--out", help="The HTML file; DIR/report.html by default.")] = None,
    subject: Annotated[list[str] | None, typer.Option("--subject", help="Show this subject only. May be repeated.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Draw at most so many subjects.")] = 200,
    timeline: Annotated[Path | None, typer.Option("--timeline", help="Where the timeline is, if it was moved.")] = None,
) -> None:
    """Write the HTML report: the cohort, and a figure for each subject."""
    import polars as pl

    from aftercar.errors import InputError
    from aftercar.grade.explain import match_id, read_run, timeline_of
    from aftercar.report import write_report
    from aftercar.serve import show
    from aftercar.timeline.store import open_timeline

    run = read_run(folder)
    store = open_timeline(timeline_of(folder, run, timeline))
    known = pl.read_parquet(folder / "subjects.parquet", columns=["subject_id"])["subject_id"]
    shown = [match_id(s, known.dtype) for s in subject] if subject else None
    if shown and not set(shown) <= set(known):
        raise InputError("A subject that was asked for is not among the results. Ids are written as in the source.")
    target = out or folder / "report.html"
    with show.working("drawing"):
        write_report(folder, target, timeline=store.scan(), subjects_shown=shown, limit=limit)
    print(f"Report: {target}")


@app.command()
def conformance(
    files: Annotated[
        list[Path], typer.Argument(help="Files of worked cases (the schema of vignettes.yaml).", metavar="FILE.yaml...")
    ],
    json_: Annotated[Path | None, typer.Option("--json", help="Write every check as JSON.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every check, not only what failed.")] = False,
) -> None:
    """Run worked cases through the readers and graders. Exit 1 if any check failed."""
    import json

    from aftercar.files import write_text
    from aftercar.grade.conformance import run_cases
    from aftercar.serve import show

    checks = run_cases(files)
    if json_:
        content = {"aftercar": __version__, "checks": [c.to_json() for c in checks]}
        write_text(json_, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")
    if show.checked(checks, verbose=verbose):
        raise typer.Exit(1)


@app.command()
def concepts() -> None:
    """List the concepts that a timeline can hold, with units and codes."""
    from aftercar.serve import show

    show.concepts()


@app.command()
def options() -> None:
    """List every open question of the scales, with its default and what else it may be."""
    from aftercar.serve import show

    show.options()
