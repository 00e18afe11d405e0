"""The command `calendar`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aftercar.errors import OptionError

if TYPE_CHECKING:
    from aftercar.manage.calendar import Calendar

_TABLES = (".parquet", ".csv", ".json")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calendar")(calendar)


def calendar(
    timeline: Annotated[Path, typer.Argument(help="A timeline folder, or a MEDS dataset with our codes.", metavar="TIMELINE")],
    at: Annotated[
        str | None,
        typer.Option("--at", help="The asked day: 2031-05-20, or today. Without: the day on which anything was last charted."),
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Show one subject: what is overdue, due and to come.")] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", help="Only one topic, such as counts; `aftercar rules --calendar` lists them.")
    ] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only what is overdue: everybody, the longest first.")] = False,
    until: Annotated[
        float | None, typer.Option("--until", help="Due dates up to so many years after the infusion; 15, at most 100.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", help="A folder of your own items: their topics stand in for ours.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Write the table: FILE.parquet, .csv or .json; or all tables: a folder, for cohorts of any size."
        ),
    ] = None,
    ics: Annotated[Path | None, typer.Option("--ics", help="Write one subject's dates for a calendar program: FILE.ics.")] = None,
) -> None:
    """What is due and overdue for years after the infusion: counts, IgG, infection, movement and cognition, second malignancy, from rules with sources."""
    from aftercar.files import write_text
    from aftercar.frames import labelled
    from aftercar.manage.calendar import HORIZON_Y, calendar_shards, joined, write_calendar
    from aftercar.risk.cohort_files import write_table
    from aftercar.serve import show, show_calendar
    from aftercar.serve.advise import subject_named
    from aftercar.timeline.store import open_timeline

    if ics is not None and subject is None:
        raise OptionError("--ics is for one subject: name it with --subject.")
    if out is not None and out.suffix not in _TABLES and (out.suffix or subject is not None):
        raise OptionError(f"--out is a file that ends with {', '.join(_TABLES)}, or for a cohort a folder.")
    day = _day(at)
    key = subject_named(timeline, subject) if subject is not None else None
    cohort = show_calendar.Cohort()
    kept: list[Calendar] = []
    with show.counting("scheduling", "shards") as step:
        parts = calendar_shards(
            timeline, day, topic=topic, until_y=HORIZON_Y if until is None else until, rules=rules, subject=key, progress=step
        )
        if out is not None and not out.suffix:
            write_calendar(cohort.watching(parts), out)
        elif subject is not None or out is not None:
            kept = list(cohort.watching(parts))
        else:
            for _ in cohort.watching(parts):
                pass
    store = open_timeline(timeline)
    show.dataset_note(store.info.get("banner"), store.simulated)
    whole = joined(kept) if kept else None
    if subject is not None and whole is not None:
        show_calendar.of_subject(whole, asked=at, overdue=overdue)
    else:
        cohort.show(asked=at, overdue=overdue)
    if ics is not None and whole is not None:
        from aftercar.manage.ics import icalendar

        write_text(ics, icalendar(whole))
        print(f"Written: {ics}")
    if out is not None:
        if whole is not None:
            write_table(labelled(whole.overdue if overdue else whole.calendar, whole.simulated), out)
        print(f"Written: {out}")


def _day(at: str | None) -> date | None:
    """A day.

    Raises:
        OptionError: it is none.
    """
    if at is None:
        return None
    if at.strip().lower() == "today":
        return date.today()
    try:
        return date.fromisoformat(at.strip())
    except ValueError:
        raise OptionError("--at takes a day such as 2031-05-20, or today.") from None
