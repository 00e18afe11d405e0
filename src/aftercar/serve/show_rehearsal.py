"""What `rehearse` prints: the burden in a few lines, the rules with the most alerts, and what a rehearsal cannot say."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
from polars import col
from rich.table import Table

from aftercar.manage.alerts import KINDS
from aftercar.manage.rehearse import Rehearsal, summary
from aftercar.manage.rules import RuleBook
from aftercar.manage.tallies import SEVERE
from aftercar.serve.show import console

WHAT_IT_IS = (
    "Counted in a past record with what was charted by each time. What would have come of an alert no record can say. aftercar is not a monitor or an "
    "alarm, does not replace assessment at the bedside, and must not be the only basis of a decision."
)
WIDE = 112  # columns from which on the table shows all that it has
_WORDS = dict(zip(KINDS, ("option", "measure", "blocked"), strict=True))
_WEEKS = ((0, 7), (7, 14), (14, 30), (30, None))  # of days since the infusion


def as_json(found: Rehearsal) -> None:
    """Counts, rules and days as JSON."""
    tables = {"rules": found.rules.to_dicts(), "days": found.days.to_dicts()}
    console.print(json.dumps(summary(found) | tables, indent=2, ensure_ascii=False), soft_wrap=True)


def cohort(found: Rehearsal, book: RuleBook, limit: int) -> None:
    """The screen of a rehearsal."""
    counts, asked = found.counts, found.asked
    left = counts["not_rehearsed"]
    console.print(
        f"Profile {book.profile.name}: {book.profile.title}. Asked every {asked['every_h']:g} h; a repeat within {asked['suppress_h']:g} h is "
        f"suppressed. Courses: {counts['rehearsed']:,} of {counts['courses']:,}"
        + (f" ({left:,} without an infusion, or without an hour after it)" if left else "")
        + f"; {counts['patient_days']:,.0f} patient-days.",
        soft_wrap=True,
    )
    if counts["patient_days"]:
        _burden(found)
        _rules(found.rules, limit)
    console.print(WHAT_IT_IS, soft_wrap=True)


def _burden(found: Rehearsal) -> None:
    """Alerts by patient-day: in all, by what is said, by topic, by time since the infusion."""
    days, rules = found.counts["patient_days"], found.rules
    shown, hidden = int(rules["alerts"].sum()), int(rules["suppressed"].sum())
    console.print(
        f"\n{shown:,} alerts, {shown / days:.2f} a patient-day; {hidden:,} repeats suppressed", style="bold", soft_wrap=True
    )
    by_kind = _sums(rules, "status")
    console.print("  " + "; ".join(f"{_WORDS[k]} {by_kind[k] / days:.2f}" for k in KINDS if by_kind.get(k)), soft_wrap=True)
    console.print(
        "  by topic: " + "; ".join(f"{t} {n / days:.2f}" for t, n in _sums(rules, "topic").items() if n), soft_wrap=True
    )
    console.print("  by days since the infusion: " + "; ".join(_weeks(found.days)), soft_wrap=True)


def _sums(rules: pl.DataFrame, by: str) -> dict[str, int]:
    return dict(rules.group_by(by, maintain_order=True).agg(col("alerts").sum()).iter_rows())


def _weeks(days: pl.DataFrame) -> list[str]:
    told = []
    at_risk = days.unique("day")  # each topic has the same patient-days
    for first, end in _WEEKS:
        within = (col("day") >= first) & (col("day") < end if end else pl.lit(True))
        n, patient_days = (float(t.filter(within)[c].sum()) for t, c in ((days, "alerts"), (at_risk, "patient_days")))
        if patient_days:
            told.append(f"{first}-{end - 1}: {n / patient_days:.2f}" if end else f"{first} on: {n / patient_days:.2f}")
    return told


def _rules(rules: pl.DataFrame, limit: int) -> None:
    """The rules with the most alerts; on a wide screen with intervals and what followed."""
    fired = rules.filter(col("alerts") > 0).sort("alerts", descending=True, maintain_order=True)
    wide = console.width >= WIDE
    columns = ["rule", "says", "alerts", "per 100 days", "courses", "lead, h"]
    if wide:
        columns[4:] = ["95 %", "repeats", "courses", "before, after, none", f"later >= {SEVERE}", "lead, h"]
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in columns:
        shown.add_column(name, justify="left" if name in ("rule", "says") else "right", no_wrap=name == "rule", overflow="fold")
    for row in fired.head(limit).iter_rows(named=True):
        shown.add_row(*_cells(row, wide=wide))
    console.print()
    console.print(shown)
    if fired.height > limit:
        console.print(f"... and {fired.height - limit} more; --limit shows them, --out writes all")
    silent = rules.group_by("rule").agg(col("alerts").sum()).filter(alerts=0).height
    if silent:
        console.print(f"{silent} rules never fired.")
    severe = (
        f"before, after, none: courses of grade {SEVERE} or more by when the first alert came; later >= {SEVERE}: of courses with an alert before it"
        if wide
        else ""
    )
    console.print(
        "per 100 days: alerts shown by 100 patient-days; lead: median hours from the first alert of a course to the worst grade of its toxicity, "
        "negative where it came after" + (f"; {severe}." if wide else "."),
        soft_wrap=True,
    )  # fmt: skip


def _cells(row: dict[str, Any], *, wide: bool) -> list[str]:
    lead = "" if row["lead_h_median"] is None else f"{row['lead_h_median']:.1f}"
    cells = [row["rule"], _WORDS[row["status"]], f"{row['alerts']:,}", f"{row['per_100']:.2f}", f"{row['courses']:,}", lead]
    if not wide:
        return cells
    held = "" if row["toxicity"] is None else f"{row['preceded']}, {row['followed']}, {row['missed']}"
    share = "" if row["predictive_value"] is None else (
        f"{row['predictive_value']:.0%} ({row['predictive_low']:.0%}-{row['predictive_high']:.0%})"
    )  # fmt: skip
    return [
        *cells[:4],
        f"{row['per_100_low']:.2f}-{row['per_100_high']:.2f}",
        f"{row['suppressed']:,}",
        cells[4],
        held,
        share,
        lead,
    ]
