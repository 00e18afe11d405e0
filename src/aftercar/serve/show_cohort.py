"""What `cohort describe` prints: the cohort in a screen or two; the tables in the folder hold the rest."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from polars import col
from rich.table import Table

from aftercar.cohort.describe import Described
from aftercar.cohort.groups import EVERYBODY
from aftercar.cohort.mortality import UNSURE, label
from aftercar.cohort.told import cell, days_between, percent, plain_days, rate, share
from aftercar.errors import many
from aftercar.grade.run import SCALES
from aftercar.serve.show import console

MOST_GROUPS = 4  # beside one another; more stand in the folder
WIDE = 112  # columns from which on outcomes have their full names beside groups


def described(found: Described) -> None:
    """The screen of a description."""
    facts = found.facts
    without = facts["without_infusion"]
    console.print(
        f"{many(facts['courses'], 'course')} of {many(facts['subjects'], 'subject')}" + (f"; {without:,} without an infusion {'is' if without == 1 else 'are'} left out" if without else "") + ".",
        soft_wrap=True,
    )  # fmt: skip
    groups = [name for name in facts["groups"] if name != EVERYBODY]
    if facts["asked"]["by"]:
        told = ", ".join(f"{name} {facts['groups'][name]:,}" for name in groups) or "none known"
        unknown = facts["without_group"]
        console.print(
            f"By {facts['asked']['by']}: {told}" + (f"; not known {unknown:,}" if unknown else "") + ".", soft_wrap=True
        )
    if not facts["courses"]:
        console.print("Nothing to describe: no course has an infusion.")
    else:
        shown = [EVERYBODY, *groups] if len(groups) <= MOST_GROUPS else [EVERYBODY]
        _table_one(found.baseline, shown)
        _worst(found)
        _incidence(found.incidence, shown)
        _times(found.times)
        _mortality(found, shown)
        _malignancies(found, shown)
    for note in facts["notes"]:
        console.print(note, soft_wrap=True)
    if len(groups) > MOST_GROUPS:
        console.print(f"{len(groups)} groups are too many for the screen; --out writes them.", soft_wrap=True)


def _headed(title: str, *columns: str, words: int = 1) -> Table:
    """A table; all but the first so many columns are numbers."""
    console.print(f"\n{title}", style="bold", soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for n, name in enumerate(columns):
        table.add_column(name, justify="left" if n < words else "right", overflow="fold")
    return table


def _table_one(table: pl.DataFrame, groups: Sequence[str]) -> None:
    shown = _headed("Who they are: number (%), or median (quartiles)", "", *groups, *(["SMD"] if len(groups) > 2 else []))
    cells = {(r["group"], r["variable"], r["level"]): r for r in table.iter_rows(named=True)}
    for variable, name, unit, level in table.filter(group=EVERYBODY).select("variable", "label", "unit", "level").iter_rows():
        own = [cells[group, variable, level] for group in groups]
        first = level is None or level == next(k[2] for k in cells if k[1] == variable)
        title = name + (f", {unit}" if unit else "") if first else ""
        what = title if level is None else f"{title}: {level}" if title else f"  {level}"
        difference = own[0]["smd"]
        shown.add_row(
            what, *map(cell, own), *([f"{difference:.2f}" if difference is not None else ""] if len(groups) > 2 else [])
        )
    console.print(shown)
    if len(groups) > 2:
        console.print(
            "SMD: standardised mean difference, the largest between two groups, of those in whom it is known.", soft_wrap=True
        )


def _worst(found: Described) -> None:
    names = ("scale", "n", *("0", "1", "2", "3", "4", "5"), "open", "any, %", "3 or more, %")
    shown = _headed("Worst grades, and the share that reached one, with Wilson's interval", *names)
    rates = {(r["family"], r["grade_at_least"]): r for r in found.rates.filter(group=EVERYBODY).iter_rows(named=True)}
    order = {name: n for n, name in enumerate(dict.fromkeys(s.family for s in SCALES.values()))}
    blank = 0
    for row in sorted(
        found.grades.filter(group=EVERYBODY).iter_rows(named=True), key=lambda r: order.get(r["family"], len(order))
    ):
        if row["n"] == row["not_applicable"]:
            blank += 1
            continue
        counts = (str(row[name] or "") for name in ("g0", "g1", "g2", "g3", "g4", "g5", "incomplete"))
        has = [rates.get((row["family"], cut)) for cut in (1, 3)]
        shares = (share(r, "least") if r else "" for r in has)
        shown.add_row(_scale(row["family"]), f"{row['n'] - row['not_applicable']:,}", *counts, *shares)
    console.print(shown)
    console.print(
        "open: missing data leave a higher grade possible; then the share lies between two, were the open ones all without it, and all with, and the interval holds both."
        + (f" {many(blank, 'scale')} not shown: of no use to anybody here, or nothing that it reads was charted." if blank else ""),
        soft_wrap=True,
    )  # fmt: skip


def _scale(family: str) -> str:
    return next((s.title for s in SCALES.values() if s.family == family), family)


def _incidence(table: pl.DataFrame, groups: Sequence[str]) -> None:
    own = table.filter(col("group").is_in(list(groups)))
    if own.is_empty():
        return
    days = own["day"].unique(maintain_order=True).to_list()
    several = len(groups) > 1
    shown = _headed(
        "Cumulative incidence, %, death competes" if several else "Cumulative incidence, %, with death competing",
        "outcome", *(["group"] if several else []), "n", "events", *(f"day {d}" for d in days), words=2 if several else 1,
    )  # fmt: skip
    name = "outcome" if several and console.width < WIDE else "label"
    for outcome in own["outcome"].unique(maintain_order=True):
        for group in groups:
            rows = own.filter(outcome=outcome, group=group)
            first = rows.row(0, named=True)
            told = [
                first[name] if group == groups[0] else "",
                *([group] if several else []),
                f"{first['n']:,}",
                f"{first['events']:,}",
            ]
            shown.add_row(*told, *map(share, rows.iter_rows(named=True)))
    console.print(shown)
    console.print(
        "-: nobody was followed so long. Where missing data leave open who had it, the share lies between two, and the interval holds both.",
        soft_wrap=True,
    )


def _times(table: pl.DataFrame) -> None:
    own = table.filter((col("group") == EVERYBODY) & (col("measure") != "onset_of_all") & (col("events") > 0))
    if own.is_empty():
        return
    shown = _headed(
        "Onset and duration, days: median (quartiles)", "outcome", "", "n", "plain", "between two looks", "unsure", words=2
    )
    for (name, measure), rows in own.group_by("label", "measure", maintain_order=True):
        row = rows.row(0, named=True)
        shown.add_row(
            str(name) if measure == "onset" else "",
            str(measure),
            f"{row['n']:,}",
            plain_days(row),
            days_between(row),
            str(row["uncertain"] or ""),
        )
    console.print(shown)
    console.print(
        "Onset of those who had it, duration of the first episode. plain: as if the first sure sign were the onset and the first clear reading the end. between two looks: from the earliest to the latest that the record allows "
        "(Turnbull). unsure: known only between two times.",
        soft_wrap=True,
    )  # fmt: skip


def _mortality(found: Described, groups: Sequence[str]) -> None:
    own = found.mortality.filter(col("group").is_in(list(groups)))
    days = own["day"].unique(maintain_order=True).to_list()
    several = len(groups) > 1
    shown = _headed("Deaths without a relapse before them, %; relapse competes", "cause", *(["group"] if several else []), "events", *(f"day {d}" for d in days), words=2 if several else 1)  # fmt: skip
    for cause in own["cause"].unique(maintain_order=True):
        for group in groups:
            rows = own.filter(cause=cause, group=group)
            cells = map(share, rows.iter_rows(named=True))
            shown.add_row(
                label(cause) if group == groups[0] else "", *([group] if several else []), f"{rows['events'][0]:,}", *cells
            )
    console.print(shown)
    unsure = own.filter((col("cause") == UNSURE) & (col("group") == EVERYBODY))["events"][0]
    if unsure:
        console.print(
            f"Of {many(unsure, 'death')} cause or relapse are not known: each share, that of relapse too, lies between two, were they none of that cause, and all.",
            soft_wrap=True,
        )
    told = found.causes.filter((col("group") == EVERYBODY) & col("share").is_not_null() & col("published").is_not_null())
    for cause, deaths, part, published, of, source in told.select(
        "cause", "deaths", "share", "published", "published_of", "source"
    ).iter_rows():
        console.print(
            f"Of non-relapse deaths of known cause {deaths:,} ({percent(part)} %) were of {label(cause)}; published {percent(published, 1)} % of {of:,} [{source}].",
            soft_wrap=True,
        )


def _malignancies(found: Described, groups: Sequence[str]) -> None:
    own = found.malignancies.filter(col("group").is_in(list(groups)))
    if own.is_empty():
        return
    days = own["day"].unique(maintain_order=True).to_list()
    shown = _headed(
        "Second malignancies; death competes",
        "group",
        "subjects",
        "events",
        "person-years",
        "by 1,000 years",
        *(f"day {d}, %" for d in days),
    )
    for (group,), rows in own.group_by("group", maintain_order=True):
        r = rows.row(0, named=True)
        shown.add_row(
            str(group),
            f"{r['n']:,}",
            f"{r['events']:,}",
            f"{r['person_years']:,.1f}",
            rate(r),
            *(share(d) for d in rows.iter_rows(named=True)),
        )
    console.print(shown)
    for row in found.standardised.filter(col("sex").is_null() & col("group").is_in(list(groups))).iter_rows(named=True):
        ratio = "not defined" if row["ratio"] is None else f"{row['ratio']:.2f} ({row['low']:.2f}-{row['high']:.2f})"
        left = f"; {many(row['left_out'], 'subject')} without age or sex left out" if row["left_out"] else ""
        console.print(
            f"Standardised incidence ratio, {row['group']}: {row['observed']:,} observed, {row['expected']:.2f} expected: {ratio}{left}. Reference: {row['source']}.",
            soft_wrap=True,
        )
