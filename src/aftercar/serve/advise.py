"""The commands `advise` and `rules`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from aftercar.errors import InputError, OptionError

Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="An open question of grading decided: name=value. May be repeated.")
]
Rules = Annotated[Path | None, typer.Option("--rules", help="A folder of your own rules: their topics stand in for ours.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("advise")(advise)
    app.command("rules")(rules)


def advise(
    folder: Annotated[Path, typer.Argument(help="A timeline folder, or the results folder of one.", metavar="TIMELINE|RESULTS")],
    at: Annotated[
        str | None,
        typer.Option("--at", help="When: 2024-01-03T14:00, or since the infusion h:50 or day2. Without: the last charting."),
    ] = None,
    every: Annotated[float | None, typer.Option("--every", help="Instead: every so many hours of each record.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Show one subject: options, reasons, block list, doses.")
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Whose rules; `aftercar rules` lists the profiles.")] = None,
    diff: Annotated[
        tuple[str, str] | None, typer.Option("--diff", help="Where two profiles differ.", metavar="PROFILE PROFILE")
    ] = None,
    rules: Rules = None,
    option: Options = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the table: FILE.parquet, .csv or .json.")] = None,
) -> None:
    """Options of management with their reasons, never orders: what published tables say of a record, and what to measure first."""
    from aftercar.frames import labelled
    from aftercar.manage.advise import advise_folder
    from aftercar.manage.diff import difference_folder
    from aftercar.manage.rules import DEFAULT_PROFILE, rulebook
    from aftercar.options import pairs
    from aftercar.risk.cohort_files import write_table
    from aftercar.serve import show, show_advice
    from aftercar.timeline.store import open_timeline

    if diff and (profile or every is not None):
        raise OptionError("--diff names its two profiles, and is asked at one time: leave --profile and --every out.")
    if at is not None and every is not None:
        raise OptionError("Give either --at or --every.")
    timeline, told = timeline_of(folder)
    key = subject_named(timeline, subject) if subject is not None else None
    asked: dict[str, Any] = {
        "rules": rules,
        "options": told | dict(pairs(option or [])),
        "subject": key,
    }
    with show.counting("advising", "shards") as step:
        if diff:
            table = difference_folder(timeline, *diff, time_asked(at), progress=step, **asked)
            found = None
        else:
            found = advise_folder(
                timeline, time_asked(at), profile=profile or DEFAULT_PROFILE, every_h=every, progress=step, **asked
            )
            table = found.advice
    store = open_timeline(timeline)
    show.dataset_note(store.info.get("banner"), store.simulated)
    if diff and found is None:
        show_advice.differences(table, *diff)
    elif found is not None:
        screen = show_advice.of_subject if subject is not None and every is None else show_advice.cohort
        screen(found, rulebook(profile or DEFAULT_PROFILE, rules))
    if out:
        write_table(labelled(table, store.simulated), out)
        print(f"Written: {out}")


def timeline_of(folder: Path) -> tuple[Path, dict[str, object]]:
    """The timeline that a folder is, or that its results were made of; and the options of those."""
    from aftercar.grade.results import open_results

    if not (folder / "run.json").is_file():
        return folder, {}
    results = open_results(folder)
    return results.timeline().folder, dict(results.run["options"])


def subject_named(timeline: Path, subject: str) -> str | int:
    """The id of a subject of a timeline, as the timeline has it.

    Raises:
        InputError: it is not there.
    """
    import polars as pl

    from aftercar.grade.results import match_id
    from aftercar.timeline.store import open_timeline

    rows = open_timeline(timeline).scan().select("subject_id")
    key = match_id(subject, rows.collect_schema()["subject_id"])
    if key is None or rows.filter(pl.col("subject_id") == key).head(1).collect().is_empty():
        raise InputError("That subject is not in the timeline. Ids are written as in the source.")
    return key


def time_asked(at: str | None) -> datetime | float | None:
    """A time, or hours since the infusion.

    Raises:
        OptionError: it is neither.
    """
    if at is None:
        return None
    if since := re.fullmatch(r"(h:|day)(\d+(?:\.\d+)?)", at.strip()):
        return float(since[2]) * (24.0 if since[1] == "day" else 1.0)
    try:
        time = datetime.fromisoformat(at.strip())
    except ValueError:
        raise OptionError(
            "--at takes a time such as 2024-01-03T14:00, or the time since the infusion such as h:50 or day2.5."
        ) from None
    if time.tzinfo is not None:
        raise OptionError("--at takes a local time without a zone, as the timeline has it.")
    return time


def rules(
    check: Annotated[Path | None, typer.Option("--check", help="A folder of your own rules: say what is wrong in it.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="Print the rules of one topic.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Of one profile; without: of all.")] = None,
    disagree: Annotated[
        bool, typer.Option("--disagree", help="Print where sources disagree, and what each profile follows.")
    ] = False,
    lint: Annotated[bool, typer.Option("--lint", help="Check the rules that come with aftercar.")] = False,
    calendar: Annotated[bool, typer.Option("--calendar", help="Print the items of the late-effects calendar instead.")] = False,
) -> None:
    """List profiles and topics, print the rules of a topic with their sources, where sources disagree, or check a folder of your own rules."""
    from aftercar.errors import nearest
    from aftercar.manage.items import calendar_items, check_items
    from aftercar.manage.lint import lint as lint_all
    from aftercar.manage.rules import TOPICS, every_rule, rulebook
    from aftercar.manage.rules import check as check_rules
    from aftercar.serve import show_advice, show_calendar

    if check is not None or lint:
        found = list(dict.fromkeys([*check_rules(check), *check_items(check)])) if check is not None else lint_all()
        show_advice.problems(found)
        raise typer.Exit(1 if found else 0)
    if disagree:
        show_advice.disagreements()
        return
    if calendar:
        if profile:
            raise OptionError("The calendar is the same for all profiles: leave --profile out.")
        show_calendar.items(calendar_items(topic=topic))
        return
    if topic is not None and topic not in TOPICS:
        raise OptionError(f"There is no topic {topic!r}. {nearest(topic, TOPICS)}")
    chosen = rulebook(profile).rules if profile else every_rule()
    if topic is None and profile is None:
        show_advice.profiles()
    else:
        show_advice.rules([r for r in chosen if topic in (None, r.topic)])
