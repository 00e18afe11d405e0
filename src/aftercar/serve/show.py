"""What the command line prints. Tables by rich; no colour carries meaning alone."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from polars import col
from rich.console import Console
from rich.table import Table

from aftercar.conformance.run import TRAPS, Check
from aftercar.errors import many
from aftercar.evidence.sources import MARKS
from aftercar.frames import scan
from aftercar.grade.describe import allowed
from aftercar.grade.explain import Explanation
from aftercar.grade.options import OPTIONS
from aftercar.grade.run import SCALES, highest_grade
from aftercar.grade.worst import WORDS
from aftercar.risk.options import OPTIONS as RISK_OPTIONS
from aftercar.timeline import concepts as known
from aftercar.timeline.readers import reasons
from aftercar.timeline.readers.piece import Progress
from aftercar.timeline.store import Store

# Markup off: [degF] is a unit and [codes] a section, not a style.
console = Console(highlight=False, markup=False, emoji=False)  # `file.csv:100:temp` is a place, no picture
_status = Console(stderr=True, highlight=False, markup=False, emoji=False)


@contextlib.contextmanager
def working(what: str) -> Generator[Callable[[str], None]]:
    """A line on the terminal that says what is being done; silent where nobody watches."""
    if not _status.is_terminal:
        yield lambda _: None
        return
    with _status.status(what) as line:
        yield lambda name: line.update(f"{what}: {name}")


@contextlib.contextmanager
def counting(what: str, unit: str) -> Generator[Callable[[int, int], None]]:
    """A bar with rate and time left; called with what is done and all, in that unit, first before anything is done."""
    try:
        with _bar(what, unit) as step:
            yield step
    except KeyboardInterrupt as stop:
        for note in getattr(stop, "__notes__", ()):
            _status.print(note)
        raise


@contextlib.contextmanager
def _bar(what: str, unit: str) -> Generator[Callable[[int, int], None]]:
    if not _status.is_terminal:
        yield lambda done, all_: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    with Progress(
        TextColumn(what), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[pace]}"), console=_status, transient=True
    ) as bar:
        task = bar.add_task(what, total=None, pace="")
        began, first = time.monotonic(), -1

        def step(done: int, all_: int) -> None:
            nonlocal began, first
            if first < 0:  # a former run may have done a part
                began, first = time.monotonic(), done
            # Over all the time: shards from several processes come in bursts, of which each gives another rate.
            rate = (done - first) / max(time.monotonic() - began, 1e-9)
            pace = f"{rate:,.0f} {unit}/s, {timedelta(seconds=round((all_ - done) / rate))} left" if rate else ""
            bar.update(task, completed=done, total=all_, pace=pace)

        yield step


@contextlib.contextmanager
def reading() -> Generator[Callable[[Progress], None]]:
    """A bar of the bytes of a source that are read, with its files, rows and rate, and the time left."""
    if not _status.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    begun = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rows]}"), TimeRemainingColumn())
    with Bar(*columns, console=_status, transient=True) as bar:
        task = bar.add_task("reading", total=None, rows="")

        def say(told: Progress) -> None:
            rate = told.rows / max(time.monotonic() - begun, 1e-9)
            place = told.place
            files = f"file {place.file} of {place.files}: " if place else ""
            bar.update(
                task, description=f"reading {files}{told.name}", rows=f"{told.rows:,} rows, {rate:,.0f}/s", total=1.0 if place else None,
                completed=place.share if place else 0.0,
            )  # fmt: skip
            if place and place.share >= 1.0:
                bar.update(task, description="sorting and writing", total=None)

        yield say


def rows(columns: Sequence[str], told: Iterable[Sequence[str]], title: str | None = None) -> None:
    """A table of words."""
    table = _table(*columns)
    for row in told:
        table.add_row(*row)
    if title:
        console.print(title, style="bold", soft_wrap=True)
    console.print(table)


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for n, name in enumerate(columns):
        # Names are to be copied: they are not broken.
        whole = name in ("concept", "option", "code")
        table.add_column(
            name, justify="left" if n == 0 else "right" if name in _NUMBERS else "left", overflow="fold", no_wrap=whole
        )
    return table


_NUMBERS = {
    *WORDS.values(),
    "rows",
    "with a number",
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "any",
    ">= 3",
    "open",
    "n/a",
    "subjects",
    "day",
    "grade",
}


def imported(timeline: Store) -> None:
    """Counts, why rows were refused and where to look, and what was mended."""
    told, folder = timeline.info, timeline.folder
    console.print(
        f"{told['read']:,} read = {told['accepted']:,} accepted + {told['rejected']:,} rejected; {many(told['subjects'], 'subject')}"
    )
    if told["rejected"]:
        groups = reasons(scan(folder / "rejected.parquet"))
        for reason, detail, n, first in groups.head(12).iter_rows():
            console.print(f"  {reason}: {many(n, 'row')}, first at {first}", style="bold", soft_wrap=True)
            if detail:
                console.print(f"    {detail}", soft_wrap=True)
        if groups.height > 12:
            console.print(f"... and {groups.height - 12} more reasons")
        console.print(f"All are listed in {folder / 'rejected.parquet'}")
    for what, n in told["repairs"].items():
        console.print(f"noted: {what}, {many(n, 'row')}")
    for file, columns in told["ignored_columns"].items():
        console.print(f"not mapped in {file}: {', '.join(columns)}")
    for file, why in told["skipped_files"].items():
        console.print(f"skipped: {file}: {why}", soft_wrap=True)
    if told["offsets_not_applied"]:
        first, *others = told["offsets_not_applied"]
        several = f" and {len(others)} more files" if others else ""
        console.print(
            f"noted: times with an offset from UTC in {first}{several} count as they are written; "
            '[time] zone = "Europe/Berlin" (where the patients are) brings them there',
            soft_wrap=True,
        )
    for match in told["unused_parts"]:
        console.print(f"no file fits [[file]] match = {match!r}: is it spelled as the files are?", soft_wrap=True)
    if without := told["subjects_without_infusion"]:
        console.print(
            f"{many(without, 'subject')} {'has' if without == 1 else 'have'} no infusion (cart_infusion) and cannot be graded: are ids spelled alike in all files?"
        )
    dataset_note(told["banner"], told["simulated"])
    console.print(f"Timeline: {folder}")


def dataset_note(note: str | None, simulated: bool) -> None:
    """What every result of a dataset must say."""
    if simulated:
        console.print("Simulated: virtual patients, not a prediction for a person.", style="bold")
    if note:
        console.print(f"Note: {note}", soft_wrap=True)


def codes(found: pl.DataFrame, *, every: bool, limit: int) -> None:
    """The codes of a source by frequency; those that mean nothing to us yet, or all."""
    shown = found if every else found.filter(col("concept").is_null())
    table = _table("code", "rows", "subjects", "with a number", "units", "concept", "name")
    for row in shown.head(limit).iter_rows(named=True):
        table.add_row(
            row["code"], f"{row['rows']:,}", f"{row['subjects']:,}", f"{row['numbers']:,}", ", ".join(row["units"][:4]), row["concept"] or "",
            row["name"] or "",
        )  # fmt: skip
    console.print(table)
    if shown.height > limit:
        console.print(f"... and {shown.height - limit:,} more; --limit and --csv show them")
    mapped = found.filter(col("concept").is_not_null())
    console.print(
        f"{found.height:,} codes, {mapped.height:,} of them mapped; {found['rows'].sum():,} rows, {mapped['rows'].sum():,} of them mapped"
    )


def graded(run: dict[str, Any], out: Path) -> None:
    """Worst grade by scale; diagnoses by their word; what was not charted in anyone in one line."""
    counts = run["counts"]
    console.print(f"{many(counts['subjects'], 'subject')}, {many(counts['infusions'], 'infusion')}")
    family = {s.name: s.family for s in SCALES.values()}
    alike = ["scale", "grade", "grade_upper", "status", "assessed"]
    worst = scan(out / "worst.parquet").group_by(alike).len("n").collect(engine="streaming")
    table = _table("worst grade", "0", "1", "2", "3", "4", "5", "any", ">= 3", "open", "n/a")
    words = _table("diagnosis", *WORDS.values())
    blank = []
    for name in run["graded"]:
        scale = next(s for s in SCALES.values() if s.family == name)
        rows = worst.filter(col("scale").replace_strict(family) == name)
        if not rows["assessed"].any():
            blank.append(scale.title)
            continue
        applies = rows.filter(col("status") != "not_applicable")
        # A diagnosis that is ruled out may have a grade of its own: diarrhoea of an infection is no enterocolitis.
        applies = applies.with_columns(
            pl.when(col("status") == "not_met").then(0).otherwise(c).alias(c) for c in ("grade", "grade_upper")
        )
        by_grade, all_ = _sums(applies, "grade"), int(applies["n"].sum())
        open_ = applies.filter(col("grade") < col("grade_upper"))["n"].sum()
        any_, severe = (sum(n for g, n in by_grade.items() if g >= least) for least in (1, 3))
        cells = [str(by_grade.get(g, 0)) for g in range(6)]
        shares = [f"{n} ({n / all_:.0%})" if all_ else "0" for n in (any_, severe)]
        if highest_grade(name) < 3:
            shares[1] = ""
        table.add_row(scale.title, *cells, *shares, str(open_), str(int(rows["n"].sum()) - all_))
        by_word = _sums(rows, "status")
        if any(word in by_word for word in WORDS):
            words.add_row(scale.title, *(str(by_word.get(word, 0)) for word in WORDS))
    console.print(table)
    if words.row_count:
        console.print(words)
    if blank:
        console.print(f"Nothing charted for: {'; '.join(blank)}.")
    console.print(
        "open: missing data leave a higher grade possible (grade_upper). n/a: the scale does not apply. Derived by software, not adjudicated."
    )
    dataset_note(run["timeline_note"], run["simulated"])
    console.print(f"Results: {out}")


def _sums(counted: pl.DataFrame, by: str) -> dict[Any, int]:
    return dict(counted.group_by(by).agg(col("n").sum()).iter_rows())


def _unit(unit: str | None) -> str:
    """A unit as people read it: UCUM annotations such as {score} are silent."""
    return "" if unit is None or unit.startswith("{") else unit


def _evidence_lines(ids: list[int], rows: dict[int, dict[str, Any]]) -> list[str]:
    lines = []
    for event_id in ids:
        row = rows.get(event_id)
        if row is None:
            continue
        value = f"{row['numeric_value']:g} {_unit(row['unit'])}".strip() if row["numeric_value"] is not None else ""
        until = f" to {row['end_time']:%Y-%m-%d %H:%M}" if row["end_time"] else ""
        said = f", attributed to {row['attributable_to']}" if row["attributable_to"] else ""
        note = f", {row['note']}" if row["note"] else ""
        what = " ".join(w for w in (value, row["text_value"]) if w)
        lines.append(
            f"{row['time']:%Y-%m-%d %H:%M}{until}  {row['code']} {what}{said}{note}  ({row['source']}, event {event_id})"
        )
    return lines


def explained(why: Explanation) -> None:
    """The course: each change with its cells, what is missing, warnings and records; then what is clear or not charted."""
    rows = {r["event_id"]: r for r in why.evidence.iter_rows(named=True)}
    day0 = {r["infusion"]: r["day0"] for r in why.subject.iter_rows(named=True)}
    for (scale, infusion), course in why.grades.group_by("scale", "infusion", maintain_order=True):
        zero = day0.get(infusion)
        console.print(
            f"\n{_title(str(scale))}, infusion {infusion}" + (f", day 0 is {zero:%Y-%m-%d %H:%M}" if zero else ""), style="bold"
        )
        for row in why.worst.filter(scale=scale, infusion=infusion).iter_rows(named=True):
            when = f" from {row['time']:%Y-%m-%d %H:%M}, day {row['day']}" if row["time"] and row["grade"] else ""
            silent = f"; {row['unassessed_h']:.0f} h not assessed" if row["unassessed_h"] >= 1 else ""
            console.print(f"worst: {_grade(row)}{when}{silent}", style="bold")
        for row in course.iter_rows(named=True):
            when = f"{row['start']:%Y-%m-%d %H:%M}" if row["start"] else ""
            hours = f"  h {(row['start'] - zero).total_seconds() / 3600:.1f}" if zero and row["start"] else ""
            console.print(f"{when}{hours}  {_grade(row)}", style="bold" if row["grade"] else None)
            for label, items in (("because", row["criteria"]), ("unknown", row["missing"]), ("note", row["flags"])):
                if items:
                    console.print(f"    {label}: {'; '.join(items)}", soft_wrap=True)
            numbers = [f"{m['name']} {m['value']:g}" for m in row["measures"] or [] if m["value"] is not None]
            if numbers:
                console.print(f"    numbers: {', '.join(numbers)}")
            for line in _evidence_lines(row["evidence"] or [], rows):
                console.print(f"    | {line}", soft_wrap=True)
        used = ", ".join(f"{k}={v}" for k, v in json.loads(course["options"][0]).items())
        console.print(f"    rules {course['rules'][0]}; options {used}", soft_wrap=True)
    console.print()
    for what, scales in (("Clear", why.clear), ("Nothing charted for", why.blank)):
        if scales:
            console.print(f"{what}: {'; '.join(map(_title, scales))}.")
    cells = why.grades["criteria"].list.explode(keep_nulls=False, empty_as_null=False).unique().to_list()
    if marks := [m for m in MARKS if any(f"[{m}]" in cell for cell in cells)]:
        console.print("Marks: " + "; ".join(f"[{m}] {MARKS[m]}" for m in marks) + ".")
    adjudicated = why.worst.drop_nulls("adjudicated_grade")
    for row in adjudicated.iter_rows(named=True):
        by = " and ".join(row["adjudicated_by"])
        console.print(
            f"Adjudicated: {_title(row['scale'])}, infusion {row['infusion']}: grade {row['adjudicated_grade']} by {by}, {row['adjudicated_at']:%Y-%m-%d}.",
            style="bold",
        )
    dataset_note(why.run.get("timeline_note"), why.run.get("simulated", False))
    console.print(
        "Other grades are derived by software, not adjudicated."
        if adjudicated.height
        else "Grade derived by software, not adjudicated."
    )


def _grade(row: dict[str, Any]) -> str:
    """The grade of a row of `grades` or `worst` in words."""
    grade = str(row["grade"]) if row["grade"] == row["grade_upper"] else f"{row['grade']} to {row['grade_upper']}"
    said = row["status"].replace("_", " ") + (f", {row['group']}" if row["group"] else "")
    return f"grade {grade} ({said})"


def _title(scale: str) -> str:
    return SCALES[scale].title if scale in SCALES else scale


def checked(checks: list[Check], *, verbose: bool, tables: bool = False) -> int:
    """Print what failed (or everything), the counts, and on demand the counts by trap and by scale; the number that failed."""
    for check in checks:
        if check.outcome == "failed" or verbose:
            line = f"{check.outcome}: {check.case} {check.scale} ({check.at})"
            console.print(line + (f": {check.difference}" if check.difference else ""), soft_wrap=True)
    counts = Counter(c.outcome for c in checks)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['not supported']} not supported")
    if tables:
        by_trap, by_scale = _table("trap", "what it checks", "passed"), _table("scale", "passed", "not supported")
        for trap, what in {**TRAPS, "": "cases without a trap"}.items():
            if mine := Counter(c.outcome for c in checks if c.trap == trap):
                by_trap.add_row(trap or "-", what, _passed(mine))
        for scale in dict.fromkeys(sorted(c.scale for c in checks)):
            mine = Counter(c.outcome for c in checks if c.scale == scale)
            by_scale.add_row(scale or "-", _passed(mine), str(mine["not supported"] or ""))
        console.print(by_trap)
        console.print(by_scale)
    return counts["failed"]


def _passed(counts: Counter[str]) -> str:
    """Passed of all that were judged."""
    judged = counts["passed"] + counts["failed"]
    return f"{counts['passed']}/{judged}" if judged else "not supported"


def concepts() -> None:
    """The concept list."""
    table = _table("concept", "what", "unit", "stands for", "words or groups", "codes")
    for c in known.concepts().values():
        words = ", ".join(c.values or c.groups)
        codes = "; ".join(
            f"{system} {', '.join(values[:3])}{' ...' if len(values) > 3 else ''}" for system, values in c.codes.items()
        )
        table.add_row(c.name, c.label, c.unit or "", f"{c.valid_for_h:g} h" if c.valid_for_h else "", words, codes)
    console.print(table)


def options() -> None:
    """The option list, of scales and then of risk scores."""
    table = _table("option", "default", "may be", "mark", "question")
    for o in {**OPTIONS, **RISK_OPTIONS}.values():
        table.add_row(o.name, str(o.default), allowed(o), o.mark, o.question)
    console.print(table)
    console.print("Marks: P a convention of this project, M from memory, V checked against a source.")
