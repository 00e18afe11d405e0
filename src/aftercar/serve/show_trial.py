"""What `trial` prints: a design with what is exact of it, and what came of its trials."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

from aftercar.report.trial import MARKS
from aftercar.serve.show import console, dataset_note
from aftercar.trial.boundary import operating
from aftercar.trial.compare import power
from aftercar.trial.design import Design, Endpoint
from aftercar.trial.replicate import boundaries, compared
from aftercar.trial.run import Outcome
from aftercar.trial.summary import boundary_table, rejected

RATES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the exact tables


def designed(design: Design) -> None:
    """A design, with what its boundary and its test do exactly; nothing is simulated."""
    _head(design)
    watched = boundaries(design)
    _boundary(design, boundary_table(design, watched))
    for k, own in watched.items():
        found = operating(own, RATES)
        table = _table(f"true rate in {design.arms[k].name}, exact", [_percent(r) for r in RATES])
        table.add_row("boundary reached", *map(_percent, found.stops))
        table.add_row("patients known by then", *(f"{n:.1f}" for n in found.patients))
        console.print(table)
    for k in compared(design):
        _power(design, k)
    console.print("Exact for independent patients of one rate. No trial was simulated.")


def _power(design: Design, arm: int) -> None:
    own, table = rejected(design, arm), _table(f"power of {design.arms[arm].name}, exact", [_percent(r) for r in RATES])
    for control in RATES if arm else RATES[:1]:
        row = f"control {_percent(control)}" if arm else "without a boundary"
        table.add_row(row, *map(_percent, power(own, np.array(RATES), control)))
    console.print(table)


def found(outcome: Outcome) -> None:
    """What came of the trials."""
    told, design = outcome.summary, outcome.design
    dataset_note(None, simulated=True)
    _head(design)
    console.print(
        f"{told['replicates']:,} trials, seed {told['seed']}; {told['simulated_patients']:,} virtual patients simulated."
    )
    runs = told["runs"]
    table = _table("", [MARKS[run][2] for run in runs])

    def add(what: str, of: Callable[[dict[str, Any]], str]) -> None:
        table.add_row(what, *(of(run) for run in runs.values()))

    for arm in design.arms:
        add(f"{arm.name}: event", lambda run, a=arm.name: _shown(run["arms"][a]["event"]))
    if any(run["arms"][arm.name]["open"] for run in runs.values() for arm in design.arms):
        for arm in design.arms:
            add(f"{arm.name}: not known", lambda run, a=arm.name: _percent(run["arms"][a]["open"]))
    for k in compared(design):
        name = design.arms[k].name
        add(f"{name}: success", lambda run, a=name: _shown(run["comparisons"][a]["success"]))
        if design.stopping is not None:
            add("  without the boundary", lambda run, a=name: _shown(run["comparisons"][a]["without_boundary"]))
        add("  the same, exact", lambda run, a=name: _percent(run["comparisons"][a]["exact_without_boundary"]))
    if len(compared(design)) > 1:
        add("success of any arm", lambda run: _shown(run["any_success"]))
    if design.stopping is not None:
        _stopping(design, add)
    for arm in design.arms:
        add(f"{arm.name}: bias of the rate", lambda run, a=arm.name: _points(run["arms"][a]["bias"]))
    add("candidates asked", lambda run, f=outcome.replicates: f"{f['screened'].mean():.1f}")
    console.print(table)
    for name, size in told["exact_type_1_error"].items():
        console.print(f"Exact type I error of {name}, without a boundary, {_where(design, told)}: {_percent(size)}.")
    _boundary(design, outcome.boundary)
    console.print(_reading(design))


def _stopping(design: Design, add: Callable[[str, Callable[[dict[str, Any]], str]], None]) -> None:
    if design.harm != design.endpoint:
        for arm in design.arms:
            add(f"{arm.name}: harm", lambda run, a=arm.name: _shown(run["arms"][a]["harm"]))
    add("stopped for harm", lambda run: _shown(run["stopped"]))
    for k in design.monitored:
        name = design.arms[k].name
        add(f"  boundary of {name}", lambda run, a=name: _shown(run["arms"][a]["crossed"]))
        add("  the same, exact", lambda run, a=name: _percent(run["arms"][a]["exact_crossed"]))
    add(f"patients, of {design.n}", lambda run: f"{run['enrolled']:.1f}")
    add("  spared where stopped", lambda run: _number(run["spared_if_stopped"]))
    add("  in flight then", lambda run: _number(run["in_flight_if_stopped"]))
    if design.accrual is not None:
        add("weeks", lambda run: _number(run["weeks"]))
        add("  where stopped", lambda run: _number(run["weeks_if_stopped"]))


def _where(design: Design, told: dict[str, Any]) -> str:
    control = design.arms[0].name
    rate = told["runs"]["design"]["arms"][control]["rate"]
    if design.test.rate is not None:
        return f"at a rate of {_percent(design.test.rate)}"
    margin = "" if design.test.margin is None else f" and the margin of {_percent(design.test.margin)}"
    return f"at the simulated rate of {control} ({_percent(rate)}){margin}"


def _reading(design: Design) -> str:
    """How to read the columns."""
    if design.null_scenario is None:
        return "Success as designed is the power. The null was not simulated."
    if design.test.margin is not None:
        return "Success as designed is the power; where every arm is treated alike, the power at no difference."
    return "Success as designed is the power; where every arm is treated alike, the type I error."


def _head(design: Design) -> None:
    console.print(design.title, style="bold")
    who, test = design.population, design.test
    console.print(f"{who.product} in {who.disease}. Endpoint: {design.endpoint.name}")
    console.print(f"  {_parts(design.endpoint)}")
    for arm in design.arms:
        drugs = "".join(f", {d}" for d in arm.drugs) + "".join(f", {k}={v:g}" for k, v in arm.changed.items())
        console.print(f"  {arm.name}: {arm.n} patients, policy {arm.policy}{drugs}")
    held = f" against {_percent(test.rate)}" if test.rate is not None else ""
    held += f", margin {_percent(test.margin)}" if test.margin is not None else ""
    sides = {"two": "two sides", "lower": "lower", "higher": "higher"}[test.asked]
    console.print(f"Test: {test.method}{held}, {sides}, alpha {test.alpha:g}" + (f", {test.adjust}" if test.adjust else ""))


def _parts(endpoint: Endpoint) -> str:
    return " or ".join(f"{c.scale} >= {c.grade} by day {c.by_day}" for c in endpoint.any_of)


def _boundary(design: Design, found: pl.DataFrame) -> None:
    if design.stopping is not None and found.is_empty():
        console.print("The boundary cannot be reached: no number of events among so few patients is evidence enough.")
    what = "the event" if design.harm == design.endpoint else _parts(design.harm)
    for (arm,), own in found.group_by("arm", maintain_order=True):
        rows = [f"{e} of {a}" if a == b else f"{e} of {a}-{b}" for a, b, e in own.select("from_n", "to_n", "events").iter_rows()]
        console.print(f"Stop for harm when of the patients of {arm} whose outcome is known so many have {what}:")
        console.print(textwrap.fill(", ".join(rows), console.width, initial_indent="  ", subsequent_indent="  "))


def _table(first: str, columns: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _shown(told: dict[str, Any]) -> str:
    if told["share"] is None:
        return "none"
    return f"{told['share']:.1%} ({100 * told['low']:.1f}-{100 * told['high']:.1f})"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _points(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:+.2f} points".replace("-0.00", "0.00").replace("+0.00", "0.00")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"
