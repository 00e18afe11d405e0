"""What `registry` prints: how many answers are drafted, unknown and decided by part of the form; one course; the fields of a form."""

from __future__ import annotations

import polars as pl
from polars import col
from rich.table import Table

from aftercar.errors import InputError
from aftercar.registry.decisions import DECIDED
from aftercar.registry.draft import HANGS, NOTE, Draft
from aftercar.registry.forms import Form
from aftercar.serve.show import console

_MOST = 20  # changed answers that are listed


def _table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in right else "left")
    return table


def summary(draft: Draft, rows: pl.DataFrame, elsewhere: int) -> None:
    """Counts by part of the form.

    Args:
        rows: `decisions.reviewed`.
        elsewhere: decisions about what the draft does not have.
    """
    form = draft.form
    console.print(
        f"{form.registry}, {form.title}; revision {draft.revision} ({form.revisions[draft.revision]}); periods {', '.join(draft.periods)}",
        soft_wrap=True,
    )
    names = ("drafted", "unknown", "not asked", "decided", "changed")
    shown = _table("part", *names, right=names)
    status, review = col("status").cast(pl.String), col("review").cast(pl.String)
    by_group = rows.group_by("group", maintain_order=True).agg(
        *((status == s).sum().alias(s) for s in ("drafted", "unknown", "not_asked")),
        decided=review.is_in(list(DECIDED)).sum(),
        changed=(review == "changed").sum(),
    )
    for row in by_group.iter_rows():
        shown.add_row(row[0], *(f"{n:,}" if n else "" for n in row[1:]))
    shown.add_row("all", *(f"{n:,}" for n in by_group.select(pl.exclude("group").sum()).row(0)), style="bold")
    console.print(shown)
    if elsewhere:
        console.print(
            f"{elsewhere:,} decisions are about courses, periods or fields that this draft does not have; they stay in the log.",
            soft_wrap=True,
        )
    console.print(NOTE, soft_wrap=True)


def changed(rows: pl.DataFrame) -> None:
    """Answers that are not what they were when somebody decided: both are shown."""
    own = rows.filter(col("review").cast(pl.String) == "changed")
    if own.is_empty():
        return
    console.print("\nChanged since accepted", style="bold")
    shown = _table("subject", "infusion", "period", "field", "now drafted", "drafted then", "decided", "by")
    for r in own.head(_MOST).iter_rows(named=True):
        shown.add_row(
            *(
                str(r[c] if r[c] is not None else "not asked")
                for c in ("subject_id", "infusion", "period", "field", "answer", "decided_was", "decided", "decided_by")
            )
        )
    console.print(shown)
    if own.height > _MOST:
        console.print(f"... and {own.height - _MOST:,} more; --template FILE.csv lists all")


def course(rows: pl.DataFrame, subject: str, infusion: int) -> None:
    """The answers of one course that were asked.

    Raises:
        InputError: it is not in the draft.
    """
    own = rows.filter((col("subject_id").cast(pl.String) == subject) & (col("infusion") == infusion))
    if own.is_empty():
        raise InputError("That subject and infusion are not in the draft. Ids are written as in the source.")
    asked = own.filter(col("status").cast(pl.String) != "not_asked")
    if asked.is_empty():
        console.print(f"Nothing is asked: {own['reason'][0]}.")
    for (period,), part in asked.group_by("period", maintain_order=True):
        console.print(f"\n{period}", style="bold")
        shown = _table("field", "answer", "why", "source", "review")
        hanging = col("reason").str.starts_with(HANGS) & (col("review") == "open")
        for r in part.filter(~hanging).iter_rows(named=True):
            decided = "" if r["review"] == "open" else f"{str(r['review']).replace('_', ' ')}: {r['decided']} ({r['decided_by']})"
            shown.add_row(r["field"], r["answer"], r["reason"], r["source"] or "", decided)
        console.print(shown)
        if n := part.filter(hanging).height:
            console.print(f"{n} more hang on an answer that is unknown; they are unknown as well.")


def recorded(new: pl.DataFrame, bad: pl.DataFrame) -> None:
    """What was taken into the log, and what was not."""
    console.print(f"{new.height:,} decisions recorded." if new.height != 1 else "1 decision recorded.")
    for row, column, reason in bad.iter_rows():
        console.print(f"  row {row}, {column}: {reason}", soft_wrap=True)


def verified(log: pl.DataFrame, problems: pl.DataFrame) -> None:
    """What is wrong with the log of decisions, or its last hash."""
    for n, problem in problems.iter_rows():
        console.print(f"decision {n if n is not None else '?'}: {problem}", soft_wrap=True)
    if problems.is_empty():
        last = (
            f", the last with hash {log['hash'][-1]}. Note it down elsewhere: --verify --head HASH finds a log that was rewritten as a whole"
            if log.height
            else ""
        )
        console.print(f"{log.height:,} decisions, none changed or taken out{last}.", soft_wrap=True)


def fields(form: Form, revision: str | None) -> None:
    """Every field of a form."""
    name, chosen = form.of(revision)
    console.print(f"{form.registry}, {form.title}; revision {name}: {form.revisions[name]}", style="bold", soft_wrap=True)
    group = ""
    for one in chosen:
        if one.group != group:
            group = one.group
            console.print(f"\n{group}", style="bold")
        answers = " | ".join(f"{value} = {code}" for value, code, _ in one.choices) or one.type
        console.print(f"  {one.id}: {one.ask} ({answers})", soft_wrap=True)
        told = [f"asked if {one.when[0]} is {' or '.join(one.when[1])}"] if one.when else []
        told += [
            f"by {one.derive}" if one.derive else "not among the record's concepts: unknown",
            f"{one.source} [{one.mark}]",
            *filter(None, [one.note]),
        ]
        console.print(f"    {'; '.join(told)}", soft_wrap=True)
    console.print(f"\n{'; '.join(f'{k}: {v}' for k, v in form.sources.items())}", soft_wrap=True)
