"""The command `rehearse`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aftercar.errors import OptionError, nearest
from aftercar.serve.advise import Options, Rules, subject_named, timeline_of

if TYPE_CHECKING:
    from aftercar.manage.rehearse import Rehearsal

_FILES = (".parquet", ".csv", ".json")
_TABLES = ("rules", "alerts", "days")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rehearse")(rehearse)


def rehearse(
    folder: Annotated[Path, typer.Argument(help="A timeline folder, or the results folder of one.", metavar="TIMELINE|RESULTS")],
    profile: Annotated[str | None, typer.Option("--profile", help="Whose rules; `aftercar rules` lists the profiles.")] = None,
    rules: Rules = None,
    every: Annotated[float, typer.Option("--every", help="Hours between two times at which the rules are asked.")] = 1.0,
    suppress: Annotated[
        float, typer.Option("--suppress", help="Hours within which a repeat is not shown again; 0: none.")
    ] = 24.0,
    topic: Annotated[list[str] | None, typer.Option("--topic", help="Only this topic, such as crs. May be repeated.")] = None,
    rule: Annotated[list[str] | None, typer.Option("--rule", help="Only this rule, by its id. May be repeated.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only this subject.")] = None,
    option: Options = None,
    limit: Annotated[int, typer.Option("--limit", help="How many rules are shown, those with the most alerts first.")] = 20,
    json_: Annotated[bool, typer.Option("--json", help="Print counts, rules and days as JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all tables: a FOLDER; or one: FILE.parquet, .csv or .json.")
    ] = None,
    table: Annotated[str, typer.Option("--table", help="Which one goes into FILE: rules, alerts or days.")] = "rules",
) -> None:
    """Replay a past cohort hour by hour, with what was known by then: how often each rule would have fired, and how long before the worst grade."""
    from aftercar.manage.rehearse import rehearse_folder
    from aftercar.manage.rules import DEFAULT_PROFILE, rulebook
    from aftercar.options import pairs
    from aftercar.serve import show, show_rehearsal
    from aftercar.timeline.store import open_timeline

    if table not in _TABLES:
        raise OptionError(f"--table is one of {', '.join(_TABLES)}. {nearest(table, _TABLES)}")
    timeline, told = timeline_of(folder)
    key = subject_named(timeline, subject) if subject is not None else None
    with _written(out, table) as write, show.counting("rehearsing", "shards") as step:
        found = rehearse_folder(
            timeline, profile=profile or DEFAULT_PROFILE, rules=rules, every_h=every, suppress_h=suppress, topics=topic, only=rule,
            options=told | dict(pairs(option or [])), subject=key, progress=step,
        )  # fmt: skip
        write.append(found)
    if json_:
        show_rehearsal.as_json(found)
        return
    show_rehearsal.cohort(found, rulebook(profile or DEFAULT_PROFILE, rules), limit)
    show.dataset_note(open_timeline(timeline).info.get("banner"), found.simulated)
    if out:
        print(f"Written: {out}")


@contextlib.contextmanager
def _written(out: Path | None, table: str) -> Generator[list[Rehearsal]]:
    """Write what the block put into the list, when it ends well; a folder that must not be written is refused before the work."""
    from aftercar.files import replace_folder
    from aftercar.frames import labelled
    from aftercar.manage.rehearse import MARKER, write_rehearsal
    from aftercar.risk.cohort_files import write_table

    found: list[Rehearsal] = []
    if out is None:
        yield found
    elif out.suffix.lower() in _FILES:
        yield found
        write_table(labelled(getattr(found[0], table), found[0].simulated), out)
    else:
        with replace_folder(out, marker=MARKER) as fresh:
            yield found
            write_rehearsal(found[0], fresh)
