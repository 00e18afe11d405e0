"""What `attribute`, `adjudicate` and `regrade` print."""

from __future__ import annotations

from typing import Any

import polars as pl
from polars import col
from rich.table import Table

from aftercar.errors import many
from aftercar.grade.adjudicate import LOCKED, SOFTWARE, Agreement
from aftercar.grade.regrade import OPEN, Regraded
from aftercar.grade.run import SCALES
from aftercar.report.names import scale_name, toxicity_name
from aftercar.serve.show import console
from aftercar.timeline.statements import HEEDED

AGAIN = "Results that were made before do not have it: grade again."


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def refused(bad: pl.DataFrame) -> None:
    """Rows of a file that were left out, with the column and what to do."""
    for row, column, reason in bad.select("row", "column", "reason").iter_rows():
        console.print(f"row {row}, {column}: {reason}", style="bold", soft_wrap=True)


def recorded(new: pl.DataFrame, bad: pl.DataFrame | None = None) -> None:
    """How many statements were added, and what was left out."""
    left = ""
    if bad is not None and bad.height:
        refused(bad)
        left = f"; {many(bad['row'].n_unique(), 'row')} left out"
    if new.height:
        last = new.row(-1, named=True)
        console.print(f"{new.height:,} recorded{left}. The log ends with statement {last['n']:,}, hash {last['hash'][:16]}")
        if new["kind"].is_in(HEEDED).any():
            console.print(AGAIN, soft_wrap=True)
    else:
        console.print(f"Nothing recorded{left}.")


def history(rows: pl.DataFrame) -> None:
    """Every statement in order."""
    for r in rows.with_columns(said=col("said_at").dt.strftime("%Y-%m-%d %H:%MZ")).iter_rows(named=True):
        about = f"subject {r['subject_id']}"
        if r["toxicity"]:
            about += f", {scale_name(r['scale'])}, infusion {r['infusion']}"
        what = {
            "attribution": f"row {r['event_id']} attributed to {r['attributable_to']}",
            "grade": f"grade {r['grade']}",
            "lock": f"locked at grade {r['grade']}",
            "unlock": "unlocked",
            "comment": "comment",
        }[r["kind"]]
        after = " (after lock)" if r["after_lock"] else ""
        console.print(f"{r['n']:>4}  {r['said']}  {r['rater']}: {about}: {what}{after}", soft_wrap=True)
        if r["comment"]:
            console.print(f"      {r['comment']}", soft_wrap=True)
    if rows.is_empty():
        console.print("Nobody has said anything.")


def verified(log: pl.DataFrame, problems: pl.DataFrame) -> None:
    """Whether the log is whole."""
    for n, problem in problems.iter_rows():
        console.print(f"statement {n}: {problem}" if n else problem, style="bold", soft_wrap=True)
    if problems.is_empty():
        head = f", the last with hash {log['hash'][-1]}" if log.height else ""
        console.print(f"{log.height:,} statements, none changed or taken out{head}", soft_wrap=True)
        console.print("Note the hash down elsewhere: `verify --head HASH` then finds a log that was rewritten as a whole.")


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def agreed(found: Agreement) -> None:
    """Each pair with its kappa, and the table behind it."""
    if found.pairs.is_empty():
        console.print("No two readings of the same grade yet.")
        return
    table = _table("who", "reading", "n", "open", "agree", "kappa", "linear")
    for r in found.pairs.iter_rows(named=True):
        who = f"{_family_name(r['family'])}: {r['a']} and {r['b']}"
        table.add_row(
            who, r["reading"], str(r["n"]), str(r["open"]), _share(r["raw"]), _number(r["kappa"]), _number(r["kappa_linear"])
        )
    console.print(table)
    for r in found.pairs.filter(col("reason").is_not_null()).iter_rows(named=True):
        console.print(
            f"no kappa for {_family_name(r['family'])}, {r['a']} and {r['b']}, {r['reading']}: {r['reason']}", soft_wrap=True
        )
    for (_, family, a, b, reading), cells in found.cross.group_by("toxicity", "family", "a", "b", "reading", maintain_order=True):
        console.print(f"\n{_family_name(str(family))}, {reading}: {a} down, {b} across", style="bold", soft_wrap=True)
        console.print(_cross(cells))
    console.print(
        f"first: each reader's first grade; latest: the last one. {SOFTWARE}: the worst grade derived by software, without its open ones. "
        f"{LOCKED}: what two readers locked.",
        soft_wrap=True,
    )


def _family_name(family: str) -> str:
    """A scale, or scales that take turns by age, as people write them."""
    return scale_name(family) if family in SCALES else toxicity_name(family)


def _cross(cells: pl.DataFrame) -> Table:
    levels = sorted({*cells["grade_a"], *cells["grade_b"]})
    counts = {(a, b): n for a, b, n in cells.select("grade_a", "grade_b", "n").iter_rows()}
    table = _table("", *map(str, levels))
    for a in levels:
        table.add_row(str(a), *(str(counts.get((a, b), 0)) for b in levels))
    return table


def locked(new: pl.DataFrame) -> None:
    """What a lock recorded."""
    console.print(f"Locked at grade {new['grade'][0]} by {' and '.join(new['rater'])}. {AGAIN}", soft_wrap=True)


# ---- regrading


def regraded(found: Regraded, *, subjects: bool) -> None:
    """The shift table, agreement and what changes; who is behind each cell where asked."""
    first, second = found.facts["from"], found.facts["to"]
    console.print(f"worst grade: {first} down, {second} across", style="bold")
    console.print(_shift(found))
    if subjects:
        _who(found.shift)
    _agreement(found.agreement.row(0, named=True))
    console.print(_incidence(found.incidence, first, second))
    console.print(_times(found.times, first, second))
    if found.ungraded.height:
        console.print("not settled on both (no agreement or disagreement):", style="bold")
        for a, b, n in found.ungraded.select("from", "to", "n").iter_rows():
            console.print(f"  {first} {a}, {second} {b}: {n}")
        if subjects:
            _who(found.ungraded.join(found.shift, on=["from", "to"], how="anti"))
    _footer(found.facts)


def _shift(found: Regraded) -> Table:
    counts = {(a, b): n for a, b, n in found.shift.select("from", "to", "n").iter_rows()}
    levels = sorted({level for pair in counts for level in pair}, key=lambda level: (level == OPEN, level))
    table = _table("", *levels, "all")
    for a in levels:
        row = [counts.get((a, b), 0) for b in levels]
        table.add_row(a, *map(str, row), str(sum(row)))
    columns = [sum(counts.get((a, b), 0) for a in levels) for b in levels]
    table.add_row("all", *map(str, columns), str(sum(columns)))
    return table


def _who(cells: pl.DataFrame) -> None:
    for a, b, n, ids in cells.select("from", "to", "n", "subjects").iter_rows():
        console.print(f"  {a} to {b} ({n}): {', '.join(map(str, ids))}", soft_wrap=True)


def _agreement(r: dict[str, Any]) -> None:
    line = f"agreement: {r['agreed']} of {r['n']}"
    if r["n"]:
        line += f" ({r['raw']:.0%})"
    if r["kappa"] is not None:
        line += f"; kappa {r['kappa']:.2f}, linear {r['kappa_linear']:.2f}, quadratic {r['kappa_quadratic']:.2f}"
    console.print(line + (f"; no kappa: {r['reason']}" if r["reason"] else ""), soft_wrap=True)


def _incidence(incidence: pl.DataFrame, first: str, second: str) -> Table:
    table = _table("grade", first, second, "difference", "undecided")
    for r in incidence.iter_rows(named=True):
        sides = [
            f"{r[f'reached_{s}']}/{r['n']} {r[f'share_{s}']:.0%} ({r[f'low_{s}']:.0%}-{r[f'high_{s}']:.0%})" if r["n"] else "0/0"
            for s in ("from", "to")
        ]
        change = "" if r["difference"] is None else f"{r['difference'] * 100:+.0f} points"
        cut = "any" if r["grade_at_least"] == 1 else f">= {r['grade_at_least']}"
        table.add_row(cut, *sides, change, str(r["undecided"]))
    return table


def _times(times: pl.DataFrame, first: str, second: str) -> Table:
    table = _table("first episode, days", first, second, "difference, paired")
    names = {"onset_day": "onset after day 0", "duration_d": "duration"}
    for r in times.iter_rows(named=True):
        cells = [
            f"{r[f'median_{s}']:.1f} ({r[f'q1_{s}']:.1f}-{r[f'q3_{s}']:.1f}), n {r[f'n_{s}']}" if r[f"n_{s}"] else "n 0"
            for s in ("from", "to", "difference")
        ]
        for n, side in enumerate(("from", "to")):
            if r[f"censored_{side}"]:
                cells[n] += f", {r[f'censored_{side}']} without an end"
        table.add_row(names[r["measure"]], *cells)
    return table


def _footer(facts: dict[str, Any]) -> None:
    again = "graded again from the timeline" if facts["graded_again"] else "the tables of the results"
    console.print("shares with 95% Wilson intervals, of those decided on both; times are medians with quartiles")
    console.print(f"{again}; rules {', '.join(facts['rules'])}", soft_wrap=True)
    if facts["timeline_note"]:
        console.print(f"Note: {facts['timeline_note']}", soft_wrap=True)
    console.print(facts["note"])
