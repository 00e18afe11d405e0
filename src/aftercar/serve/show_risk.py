"""What `risk` and `risk-validate` print."""

from __future__ import annotations

from typing import Any

import polars as pl
from polars import col
from rich.table import Table

from aftercar.errors import InputError, many
from aftercar.evidence.sources import MARKS
from aftercar.risk.run import REGISTRY, Result, centiles
from aftercar.risk.score import Score
from aftercar.risk.validate import Validation
from aftercar.serve.show import console
from aftercar.timeline.store import Store

NOT_A_DECISION = (
    "A score is not a decision: it is derived by software from existing records, tells of groups and not of a person, and must not be the only "
    "basis of a decision. Check the population it was built in."
)


def _table(first: str, *others: str, numbers: bool = True) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    return table


def _title(name: str) -> str:
    return REGISTRY[name].title if name in REGISTRY else name


def _window(name: str, window: str) -> str:
    return next((w.says for w in REGISTRY[name].windows if w.name == window), window) if name in REGISTRY else window


def scores(table: pl.DataFrame) -> None:
    """A line a score and window: how many have a value, a range or none; groups, or the spread of values. Then what was published."""
    computed = table.filter(col("status") != "not_computed")
    shown = _table("score", "window", "scored", "incomplete", "refused", "n/a", "groups, or median (quartiles)")
    shown.columns[1].justify = shown.columns[-1].justify = "left"
    blank = []
    for (name, window), rows in computed.group_by("score", "window", maintain_order=True):
        counts = dict(rows.group_by(col("status").cast(pl.String)).len().iter_rows())
        if not rows["evidence"].list.len().sum() and rows["group"].null_count() == rows.height and not counts.get("scored"):
            blank.append(f"{name}, {window}")
            continue
        cells = [str(counts.get(s, 0)) for s in ("scored", "incomplete", "refused", "not_applicable")]
        shown.add_row(str(name), str(window), *cells, _spread(rows))
    if shown.row_count:
        console.print(shown)
    if blank:
        console.print(f"Nothing charted for: {'; '.join(blank)}.", soft_wrap=True)
    _published([str(n) for n in computed["score"].unique(maintain_order=True)])
    slots = table.filter(col("status") == "not_computed").unique("score", maintain_order=True)
    for name, why in slots.select("score", "published").iter_rows():
        console.print(f"{_title(name)}: {why}.", soft_wrap=True)
    if others := [s.title for s in REGISTRY.values() if s.unpublished and s.name not in set(table["score"])]:
        console.print(f"Not computed: {'; '.join(others)}. `--score all` says why.", soft_wrap=True)
    console.print(
        "incomplete: an input is missing; the value is a range, or there is none. refused: a value that no ratio can be taken of."
    )
    _footer(computed)


def _spread(rows: pl.DataFrame) -> str:
    groups = rows["group"].drop_nulls()
    if len(groups):
        counted = groups.value_counts(sort=True).sort("count", "group", descending=[True, False])
        return ", ".join(f"{name} {n}" for name, n in counted.iter_rows())
    values = rows.filter(col("status") == "scored")["value"]
    if values.is_empty():
        return ""
    q1, q2, q3 = (values.quantile(q, "linear") for q in (0.25, 0.5, 0.75))
    return f"{q2:.3g} ({q1:.3g}-{q3:.3g})"


def _published(names: list[str]) -> None:
    """Of each score what it foretells, in whom it was built, and how it did there."""
    for name in names:
        score = REGISTRY[name]
        console.print(f"{score.title}: {score.predicts}; built in {score.population}{_mark(score)}", style="bold", soft_wrap=True)
        for finding in score.findings:
            console.print(f"  published: {finding}", soft_wrap=True)


def _mark(score: Score) -> str:
    return "" if score.mark == "V" else f" [{score.mark}]"


def _footer(table: pl.DataFrame) -> None:
    told = "; ".join(f"[{m}] {MARKS[m]}" for m in ("M", "M?", "P"))
    rules = ", ".join(table["rules"].unique(maintain_order=True))
    console.print(f"Marks: {told}." + (f" Rules {rules}." if rules else ""), soft_wrap=True)
    console.print(NOT_A_DECISION, soft_wrap=True)


def factors(table: pl.DataFrame) -> None:
    """How many courses have each factor, how it is told, and what the source says."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    states = ("present", "absent", "unknown")
    for name in (*states, "factor"):
        shown.add_column(name, justify="left" if name == "factor" else "right", overflow="fold")
    for (factor, outcome), rows in table.group_by("factor", "outcome", maintain_order=True):
        counts = dict(rows.group_by(col("state").cast(pl.String)).len().iter_rows())
        first = rows.row(0, named=True)
        by = f"; told by {first['by']}" if first["by"] else ""
        shown.add_row(
            *(str(counts.get(s, 0)) for s in states), f"{factor}: {outcome}{by} [{first['source'] or 'no key'}] [{first['mark']}]"
        )
    console.print(shown)
    console.print("No weights: the sources give none. Not told: what a timeline does not hold is unknown.")
    console.print(NOT_A_DECISION, soft_wrap=True)


def of_subject(store: Store, result: Result, subject: str, *, factors: bool) -> None:
    """Each score of one subject with its inputs and the rows they stand in; or the risk factors.

    Raises:
        InputError: there is no such subject.
    """
    own = col("subject_id").cast(pl.String) == subject
    rows = centiles(result.scores).filter(own)
    if rows.is_empty():
        raise InputError("That subject is not in the timeline. Ids are written as in the source.")
    if factors:
        _factors_of(result.factors.filter(own))
        return
    inputs = result.inputs.filter(own)
    ids = inputs["event_id"].drop_nulls().unique()
    charted = store.scan().filter(own & col("event_id").is_in(ids.implode())).select("event_id", "source").collect()
    places = dict(charted.iter_rows())
    for row in rows.iter_rows(named=True):
        _score_of(row, inputs.filter(score=row["score"], infusion=row["infusion"]), places)
    console.print()
    _published(rows.filter(col("status") != "not_computed")["score"].unique(maintain_order=True).to_list())
    _footer(rows)


def _score_of(row: dict[str, Any], inputs: pl.DataFrame, places: dict[int, str | None]) -> None:
    when = _window(row["score"], row["window"])
    console.print(
        f"\n{_title(row['score'])}, infusion {row['infusion']}{', ' + when if when else ''}: {_value(row)}",
        style="bold",
        soft_wrap=True,
    )
    if row["status"] == "not_computed":
        console.print(f"    {row['published']}", soft_wrap=True)
        return
    for word, items in (("because", row["criteria"]), ("unknown", row["missing"]), ("note", row["flags"])):
        if items:
            console.print(f"    {word}: {'; '.join(items)}", soft_wrap=True)
    if row["status"] != "not_applicable":
        # Of scores with several windows the inputs of this one; an input with a window of its own goes with each.
        others = {w.name for w in REGISTRY[row["score"]].windows} - {row["window"]}
        for r in inputs.filter(~col("window").is_in(list(others))).iter_rows(named=True):
            said = (
                f"{r['charted_as'] or ''}{r['value']:.5g} {r['unit']}, {r['time']:%Y-%m-%d %H:%M}, day {r['day']}"
                if r["time"]
                else "not charted"
            )
            place = f"  ({places.get(r['event_id']) or 'no source'}, event {r['event_id']})" if r["time"] else ""
            console.print(f"    | {r['input']}: {said}{place}", soft_wrap=True)


def _value(row: dict[str, Any]) -> str:
    said = row["status"].replace("_", " ")
    if row["value"] is None:
        return said
    value = f"{row['value']:g}" if row["value"] == row["value_upper"] else f"{row['value']:g} to {row['value_upper']:g}"
    parts = [f"{value} ({said})"]
    if row["group"]:
        parts.append(str(row["group"]).replace("_", " "))
    elif row["group_lower"] != row["group_upper"]:
        parts.append(f"{row['group_lower']} or {row['group_upper']}")
    if row["log2"] is not None:
        parts.append(f"log2 {row['log2']:.2f}")
    if row["centile"] is not None:
        parts.append(f"centile {row['centile']:.0f} among {row['cohort_n']} in this timeline")
    return ", ".join(parts)


def _factors_of(rows: pl.DataFrame) -> None:
    for state in ("present", "absent", "unknown"):
        console.print(state, style="bold")
        for r in rows.filter(col("state") == state).iter_rows(named=True):
            effect = f"; {r['effect']}" if r["effect"] else ""
            console.print(f"    {r['factor']}: {r['outcome']}{effect} [{r['source'] or 'no key'}] [{r['mark']}]", soft_wrap=True)
    console.print("No weights: the sources give none.")
    console.print(NOT_A_DECISION, soft_wrap=True)


# ---- validation


def validated(found: Validation) -> None:
    """The counts, and each table."""
    counts = found.counts.filter((col("n") > 0) | (col("state") == "used"))
    extra = found.facts["outcomes_without_a_score"]
    console.print(
        f"{many(found.facts['rows'], 'course')} = " + " + ".join(f"{n:,} {state}" for state, n in counts.iter_rows())
        + (f"; {extra:,} outcomes without a score" if extra else ""), soft_wrap=True,
    )  # fmt: skip
    if found.facts["several_courses"]:
        console.print("Some subjects have several courses, which are not independent: the intervals are too narrow.")
    table = _table("discrimination", "n", "events", "AUC", "95% interval")
    for r in found.discrimination.iter_rows(named=True):
        table.add_row(r["reading"], str(r["n"]), str(r["events"]), _number(r["auc"]), _interval(r))
    console.print(table)
    for name, rows in (("risk group", found.groups), ("score", found.calibration)):
        if rows.height:
            table = _table(name, "n", "events", "mean", "observed", "95% interval")
            for r in rows.iter_rows(named=True):
                table.add_row(
                    r["group"],
                    str(r["n"]),
                    str(r["events"]),
                    f"{r['mean']:.3g}",
                    f"{r['observed']:.0%}",
                    _interval(r, share=True),
                )
            console.print(table)
    if found.at_cut.height:
        table = _table(f"at {found.facts['cut']:g} and above", "k/n", "share", "95% interval")
        for r in found.at_cut.iter_rows(named=True):
            table.add_row(
                r["measure"], f"{r['k']}/{r['n']}", "" if r["share"] is None else f"{r['share']:.0%}", _interval(r, share=True)
            )
        console.print(table)
    _probability(found.probability)
    _decision(found.decision)
    console.print("AUC after DeLong; shares with Wilson intervals. " + found.facts["note"], soft_wrap=True)
    console.print(NOT_A_DECISION, soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(r: dict[str, Any], *, share: bool = False) -> str:
    if r["low"] is None:
        return "none"
    return f"{r['low']:.0%}-{r['high']:.0%}" if share else f"{r['low']:.3f}-{r['high']:.3f}"


def _probability(told: dict[str, float | None]) -> None:
    if told.get("brier") is None:
        return
    console.print(
        f"Brier score {_number(told['brier'])} (of the mean alone {_number(told['brier_of_the_mean'])}); observed by expected {_number(told['observed_by_expected'])}"
    )
    if told["slope"] is None:
        console.print("no slope: the probability does not vary, or parts events and others wholly")
        return
    parts = [
        f"{n} {_number(told[n])} ({_number(told[f'{n}_low'])} to {_number(told[f'{n}_high'])})" for n in ("slope", "intercept")
    ]
    console.print(f"calibration on the logit: {', '.join(parts)}")


def _decision(table: pl.DataFrame) -> None:
    if table.is_empty():
        console.print("No decision curve: it needs known values, and a probability (--probability) or a cut (--cut).")
        return
    shown = _table("threshold", "net benefit", "treat all", "treat none")
    for r in table.filter((col("threshold") * 100).round().cast(pl.Int32).is_in([5, 10, 20, 30, 40, 50])).iter_rows(named=True):
        shown.add_row(f"{r['threshold']:.0%}", *(_number(r[c]) for c in ("net_benefit", "all", "none")))
    console.print(shown)
