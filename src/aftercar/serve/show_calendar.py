"""What `calendar` prints: of a subject what is overdue, due and to come by date; of a cohort how each item stands, and whose is overdue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import polars as pl
from polars import col
from rich.table import Table

from aftercar.manage.calendar import USE, Calendar
from aftercar.manage.calendar_tables import STATE, added, counts, longest_first
from aftercar.manage.items import TOPICS, Item
from aftercar.serve.show import console
from aftercar.serve.show_advice import place_of, sources

_FIRST = 20  # subjects of a cohort that are listed; with --overdue all


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in _WHOLE, justify="right" if name in _NUMBERS else "left")
    return table


_SHOWN = ("overdue", "due", "may_apply", "up_to_date")
_WHOLE = {"item", "subject", "date", "overdue for", "last done"}
_NUMBERS = {"overdue for", "n", "missed", "done", "other", *(s.replace("_", " ") for s in _SHOWN)}


def _day_line(at: date, asked: str | None) -> str:
    how = {None: "the day on which anything was last charted in this timeline; --at names another", "today": "today"}
    return f"Asked for {at}" + (f", {how[asked]}." if asked in how else ".")


# ---- one subject


def of_subject(calendar: Calendar, *, asked: str | None, overdue: bool) -> None:
    """The screen of one subject, course by course."""
    console.print(_day_line(calendar.at, asked), soft_wrap=True)
    for course in calendar.courses.iter_rows(named=True):
        if not course["asked"]:
            console.print("No infusion is charted by then: there is nothing to count from.")
            continue
        own = (col("subject_id") == course["subject_id"]) & (col("infusion") == course["infusion"])
        items = calendar.items.filter(own)
        _heading(course, calendar.at)
        if not course["ended"]:
            _open(items)
            if not overdue:
                _may(items)
                _to_come(calendar.calendar.filter(own & (col("status") == "upcoming")))
        if not overdue:
            _settled(items)
    _foot(calendar.items)


def _heading(course: dict[str, Any], at: date) -> None:
    zero = course["day0"].date()
    months = (at.year - zero.year) * 12 + at.month - zero.month - (at.day < zero.day)
    product = ", ".join(filter(None, (course["product"], course["target"] and f"against {course['target']}")))
    console.print(
        f"\nInfusion {course['infusion']}, {zero}, {product or 'product not charted'}; {months} months. "
        f"Last charted {course['last_charted']}.",
        style="bold", soft_wrap=True,
    )  # fmt: skip
    for name, words in (("progression", "Progression"), ("next_therapy", "Next anti-tumour therapy")):
        if course[name]:
            console.print(f"{words} {course[name]}.")
    if course["ended"]:
        console.print(f"Ended {course['ended']}: {course['ended_by']}. Nothing is due any longer.")


def _open(items: pl.DataFrame) -> None:
    """A date and what is due, and beneath it the item, when it was last done, why, and on what it stands."""
    late, due = items.filter(col("state") == "overdue").sort("overdue_since"), items.filter(col("state") == "due").sort("due")
    for title, rows in (("Overdue since", late), ("Due on", due)):
        console.print(f"\n{title}", style="bold")
        if rows.is_empty():
            console.print("  nothing")
        for row in rows.iter_rows(named=True):
            days = "" if row["overdue_d"] is None else f" ({row['overdue_d']} d)"
            console.print(f"  {row['overdue_since'] or row['due']}{days}  {row['todo']}", soft_wrap=True)
            last = [f"last done {row['last_done']}"] if row["last_done"] else []
            basis = f"{row['source']} [{row['mark']}]" + (f" {row['note']}" if row["note"] else "")
            console.print(f"      {'; '.join([row['item'], *last, *row['reasons'], basis])}", soft_wrap=True)


def _may(items: pl.DataFrame) -> None:
    """What would be due if what is not known is so, by what would settle it."""
    rows = items.filter(col("state") == "may_apply")
    if rows.is_empty():
        return
    console.print("\nMay apply: these depend on what is not known", style="bold")
    by_missing = rows.group_by("missing", maintain_order=True).agg(pl.format("{} ({}, due {})", "todo", "item", "due"))
    for row in by_missing.iter_rows(named=True):
        console.print(f"  {'; '.join(row['missing'])}", soft_wrap=True)
        for line in row["todo"]:
            console.print(f"    would settle: {line}", soft_wrap=True)


def _to_come(rows: pl.DataFrame) -> None:
    """A line a due date."""
    if rows.is_empty():
        return
    console.print("\nTo come", style="bold")
    shown = _table("date", "items")
    named = rows.with_columns(col("item") + pl.when(col("applies") == "may").then(pl.lit(" (may apply)")).otherwise(pl.lit("")))
    for due, items in named.sort("due", maintain_order=True).group_by("due", maintain_order=True).agg("item").iter_rows():
        shown.add_row(str(due), ", ".join(items))
    console.print(shown)


def _settled(items: pl.DataFrame) -> None:
    """What was done and missed so far, and what is not asked of this patient, and why."""
    console.print("\nSo far", style="bold")
    shown = _table("item", "done", "last done", "missed", "now")
    for row in items.iter_rows(named=True):
        cells = (row["times_done"] or "", row["last_done"] or "", row["times_missed"] or "", row["state"].replace("_", " "))
        shown.add_row(row["item"], *map(str, cells))
    console.print(shown)
    for row in items.filter(col("state").is_in(["stopped", "not_applicable"])).iter_rows(named=True):
        console.print(f"  {row['item']}: {'; '.join(row['reasons'])}", soft_wrap=True)


# ---- a cohort


class Cohort:
    """Counts and overdue items of parts of a cohort as they pass; the parts themselves are not kept."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._counts: list[pl.DataFrame] = []
        self._overdue: list[pl.DataFrame] = []
        self._courses = {"courses": 0, "asked": 0, "ended": 0}
        self._at = date.min

    def watching(self, parts: Iterable[Calendar]) -> Iterator[Calendar]:
        """The parts, each noted."""
        for part in parts:
            self._counts.append(counts(part.items))
            self._overdue.append(part.overdue)
            self._at = part.at
            self._courses["courses"] += part.courses.height
            self._courses["asked"] += part.courses.filter("asked").height
            self._courses["ended"] += part.courses.drop_nulls("ended").height
            yield part

    def show(self, *, asked: str | None, overdue: bool) -> None:
        """The screen of a cohort."""
        late = longest_first(pl.concat(self._overdue, how="vertical_relaxed"))
        told = self._courses
        console.print(_day_line(self._at, asked), soft_wrap=True)
        console.print(
            f"{told['courses']:,} courses; {told['courses'] - told['asked']:,} without an infusion by then; {told['ended']:,} ended "
            "(death, another infusion)", soft_wrap=True,
        )  # fmt: skip
        if not overdue:
            self._by_item()
        _overdue_list(late, None if overdue else _FIRST)
        _foot(late)

    def _by_item(self) -> None:
        shown = _table("item", *(s.replace("_", " ") for s in _SHOWN), "other", "missed", "mark")
        for row in added(self._counts).iter_rows(named=True):
            other = sum(row[s] for s in STATE.categories if s not in _SHOWN)
            numbers = (*(row[s] for s in _SHOWN), other, row["times_missed"])
            shown.add_row(row["item"], *(f"{n:,}" if n else "" for n in numbers), row["mark"])
        console.print(shown)
        console.print("other: not begun, finished, stopped, not for this patient, or the course has ended", soft_wrap=True)


def _overdue_list(late: pl.DataFrame, most: int | None) -> None:
    by_course = late.group_by("subject_id", "infusion", maintain_order=True).agg(
        col("overdue_d").max(), pl.len().alias("n"), col("item") + pl.when(col("applies") == "may").then(pl.lit("?")).otherwise(pl.lit(""))
    )  # fmt: skip
    console.print(f"\nOverdue: {by_course.height:,} courses, the longest first (? may apply)", style="bold")
    shown = _table("subject", "infusion", "overdue for", "n", "items")
    for row in (by_course if most is None else by_course.head(most)).iter_rows(named=True):
        shown.add_row(
            str(row["subject_id"]), str(row["infusion"]), f"{row['overdue_d']} d", str(row["n"]), ", ".join(row["item"])
        )
    console.print(shown)
    if most is not None and by_course.height > most:
        console.print(f"... and {by_course.height - most:,} more; --overdue lists all")


# ---- the items themselves


def items(chosen: Iterable[Item]) -> None:
    """Each item: what, when, for whom, until when, basis."""
    rows = list(chosen)
    topic = ""
    for item in rows:
        if item.topic != topic:
            topic = item.topic
            console.print(f"{topic}: {TOPICS[topic]}", style="bold")
        console.print(f"  {item.id}: {item.todo}", soft_wrap=True)
        console.print(f"    {item.schedule}; window from {item.early.text} before to {item.late.text} after", soft_wrap=True)
        done = (" and " if item.together else " or ").join(f"{a.code} {a.word}".strip() for a in item.done_by)
        told = {
            "done by": done,
            "for": "" if item.when.text == "always" else item.when.text,
            "stops": item.stop.text if item.stop else "",
        }
        told["ends with"] = ", ".join(item.ends_with)
        console.print("    " + "; ".join(f"{k}: {v}" for k, v in told.items() if v), soft_wrap=True)
        note = f"; {item.note}" if item.note else ""
        console.print(
            f"    {place_of(item.basis.source, item.basis.at, item.basis.date, item.basis.strength, item.basis.mark)}{note}",
            soft_wrap=True,
        )
    sources({i.basis.source for i in rows}, {i.basis.mark for i in rows})


def _foot(rows: pl.DataFrame) -> None:
    sources(set(rows["source"]), set(rows["mark"]))
    console.print(USE, soft_wrap=True)
