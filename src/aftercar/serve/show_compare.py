"""What `cohort compare`, `cohort multiverse` and `cohort safety` print."""

from __future__ import annotations

from typing import Any

import polars as pl
from polars import col

from aftercar.cohort.contrast import Contrast
from aftercar.cohort.decided import MOST_OPEN
from aftercar.cohort.multiverse import Multiverse
from aftercar.errors import many
from aftercar.serve.show import console, dataset_note, rows
from aftercar.trial.safety import APART, IN_WINDOW, UNDECIDED, Safety

WIDE = 104  # columns from which on tables show all that they have
_DAYS = (7, 14, 28, 100)


def compared(found: Contrast) -> None:
    """Groups, differences, tests and limits of a comparison."""
    facts = found.facts
    when = "" if facts["day"] is None else f" by day {facts['day']}"
    console.print(f"{facts['outcome']}{when}, by {facts['by']}; reference: {facts['reference']}", style="bold", soft_wrap=True)
    rows(
        ("group", "courses", "yes", "no", "open", "share of decided", "if all open: no, yes"),
        [
            (r["group"], f"{r['courses']:,}", f"{r['yes']:,}", f"{r['no']:,}", f"{r['open']:,}", interval(r["share"], r["low"], r["high"]), f"{r['least']:.0%}, {r['most']:.0%}")
            for r in found.groups.iter_rows(named=True)
        ],
    )  # fmt: skip
    for (name,), own in found.differences.group_by("group", maintain_order=True):
        _difference(str(name), own, found)
    if found.tests.height > 2 * found.differences["group"].n_unique():
        console.print(f"All groups: {_p(found.tests.filter(col('group').is_null()))}", soft_wrap=True)
    if found.incidence.height:
        _incidence(found)
    _left_out(found.left_out)
    console.print()
    for note in found.notes:
        console.print(f"- {note}", soft_wrap=True)
    dataset_note(facts["timeline_note"], facts["simulated"])


def _difference(name: str, own: pl.DataFrame, found: Contrast) -> None:
    reference = own["reference"][0]
    console.print(f"\n{name} against {reference}", style="bold", soft_wrap=True)
    main = own.filter(undecided="left out")
    table = []
    for r in main.iter_rows(named=True):
        table.append((
            "overlap weights" if r["adjusted"] else "unadjusted", interval(r["share"]), interval(r["reference_share"]),
            points(r["difference"], r["difference_low"], r["difference_high"]), number(r["ratio"], r["ratio_low"], r["ratio_high"]),
            number(r["odds_ratio"], r["odds_ratio_low"], r["odds_ratio_high"]),
        ))  # fmt: skip
    rows(("", "group", "reference", "difference, points", "risk ratio", "odds ratio"), table)
    for r in main.filter(col("why").is_not_null()).iter_rows(named=True):
        console.print(f"  {'weighted' if r['adjusted'] else 'unadjusted'}: {r['why']}", soft_wrap=True)
    last = main.row(-1, named=True)
    if last["e_value"] is not None and f"{last['e_value']:.1f}" != "1.0":
        end = (
            "its interval holds 1 as it is"
            if last["e_value_interval"] == 1
            else f"{last['e_value_interval']:.1f} to take its interval to 1"
        )
        console.print(
            f"  A hidden cause would need a risk ratio of {last['e_value']:.1f} with both group and outcome to explain the ratio away; {end} (E-value).",
            soft_wrap=True,
        )
    if last["effective_n"] is not None:
        console.print(
            f"  Effective courses after weighting: {last['effective_n']:.1f} of {last['n']}, reference {last['reference_effective_n']:.1f} of {last['reference_n']}.",
            soft_wrap=True,
        )
    for adjusted in (False, True):
        worst = own.filter((col("adjusted") == adjusted) & (col("undecided") != "left out") & col("difference").is_not_null())
        if worst.height:
            low, high = worst["difference"].min(), worst["difference"].max()
            console.print(
                f"  {'Weighted' if adjusted else 'Unadjusted'} difference with the undecided counted as no or yes: {100 * low:+.1f} to {100 * high:+.1f} points.",  # type: ignore[operator]
                soft_wrap=True,
            )
    if (tests := found.tests.filter(group=name)).height:
        console.print(f"  {_p(tests)}", soft_wrap=True)
    balance = found.balance.filter(group=name)
    if balance.height:
        rows(
            ("covariate", "group", "reference", "SMD", "weighted", "weighted SMD"),
            [
                (r["covariate"] + ("" if r["used"] else " (not used)"), f"{r['mean']:.2f}", f"{r['reference_mean']:.2f}", _smd(r["standardised"]), f"{r['weighted_mean']:.2f}", _smd(r["weighted_standardised"]))
                for r in balance.iter_rows(named=True)
            ],
        )  # fmt: skip


def _smd(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}".replace("-0.00", "0.00").replace("+0.00", "0.00")


def _p(tests: pl.DataFrame) -> str:
    words = []
    for r in tests.iter_rows(named=True):
        title = "Gray's test" if r["test"] == "gray" else "log-rank test"
        words.append(f"{title}: " + ("not told apart" if r["p"] is None else f"chi-square {r['statistic']:.2f}, p {r['p']:.3f}"))
    return "; ".join(words)


def _incidence(found: Contrast) -> None:
    """By some days."""
    from aftercar.cohort.incidence import by_day

    table = []
    for name in found.facts["groups"]:
        curve = found.incidence.filter(group=name)
        table.append((name, *(interval(**_share(by_day(curve, d))) for d in _DAYS)))
    console.print()
    rows(("cumulative incidence by day", *map(str, _DAYS)), table)


def _share(told: dict[str, Any]) -> dict[str, Any]:
    return {"share": told["incidence"], "low": told["low"], "high": told["high"]}


def _left_out(left_out: pl.DataFrame) -> None:
    if left_out.is_empty():
        return
    console.print("\nLeft out", style="bold")
    for r in left_out.iter_rows(named=True):
        who = f" ({r['group']}{' against ' + r['reference'] if r['reference'] else ''})" if r["group"] else ""
        console.print(f"  {many(r['courses'], 'course')}{who}: {r['why']}", soft_wrap=True)


def interval(share: float | None, low: float | None = None, high: float | None = None) -> str:
    """A share with its interval, in per cent."""
    if share is None:
        return ""
    return f"{share:.0%}" + ("" if low is None or high is None else f" ({100 * low:.0f}-{100 * high:.0f})")


def points(value: float | None, low: float | None, high: float | None) -> str:
    """A difference of shares in percentage points."""
    if value is None:
        return ""
    return f"{100 * value:+.1f}" + ("" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})")


def number(value: float | None, low: float | None, high: float | None) -> str:
    """A ratio."""
    return "" if value is None or low is None or high is None else f"{value:.2f} ({low:.2f}-{high:.2f})"


def universes(found: Multiverse, seconds: float, limit: int) -> None:
    """Of each outcome the range over the universes, and the choices that move it most."""
    facts = found.facts
    groups = facts["groups"]
    console.print(facts["title"], style="bold", soft_wrap=True)
    what = f"difference {groups['group']} less {groups['reference']}" if groups else "share of decided courses"
    when = "" if facts["day"] is None else f" by day {facts['day']}"
    n = sum(found.summary["universes"])
    console.print(
        f"{many(n, 'result')}, {what}{when}, in {seconds:.1f} s. A universe is one scale with one set of options.", soft_wrap=True
    )
    moved = "difference_moved" if groups else "moved"
    for r in found.summary.iter_rows(named=True):
        default = "no estimate" if r["default"] is None else _in(r["default"], groups)
        console.print(f"\n{r['outcome']}: default {default}, {many(r['universes'], 'universe')}", style="bold", soft_wrap=True)
        if r["least"] is not None:
            console.print(
                f"  from {_in(r['least'], groups)} ({r['least_in']}) to {_in(r['most'], groups)} ({r['most_in']})", soft_wrap=True
            )
        if r["unsettled"]:
            console.print(
                f"  {many(r['unsettled'], 'universe')} without an estimate: more than {MOST_OPEN:.0%} of the courses are undecided there",
                soft_wrap=True,
            )
        if r["conclusion"] is not None:
            about = "interval against 0" if groups else f"interval against {facts['limit']:.0%}"
            console.print(f"  {about}: {r['conclusion']} by default, otherwise in {r['other_conclusion']}" + (
                f"; the other sign in {r['other_sign']}; either sign possible with the undecided in {r['either_sign']}" if groups else ""
            ), soft_wrap=True)  # fmt: skip
        own = found.choices.filter((col("outcome") == r["outcome"]) & (col(moved).abs() > 1e-9))
        if own.is_empty():
            console.print("  no choice moves it", soft_wrap=True)
            continue
        rows(
            ("what moves it", "scale", "choice", "points"),
            [(c["kind"], c["scale"], c["choice"], f"{100 * c[moved]:+.1f}") for c in own.head(limit).iter_rows(named=True)],
        )
        if own.height > limit:
            console.print(f"... and {own.height - limit} more; --limit shows them, choices.csv has all", soft_wrap=True)
    console.print(
        "\nDerived by software, not adjudicated. Points: of a scale against the default scale, of an option against the default of its scale.",
        soft_wrap=True,
    )
    dataset_note(facts["timeline_note"], facts["simulated"])


def _in(value: float, groups: object) -> str:
    return f"{100 * value:+.0f} points" if groups else f"{value:.0%}"


def board(found: Safety) -> None:
    """What a safety board is told, in short."""
    from aftercar.report.safety import answer, rule_text, steps_text

    facts = found.facts
    console.print(f"{facts['title']}, data cut {facts['cuts'][-1]}", style="bold", soft_wrap=True)
    console.print(f"Event: {', or '.join(facts['event'])}", soft_wrap=True)
    console.print(f"Rule: {rule_text(found)}", soft_wrap=True)
    console.print(f"Stop at: {steps_text(found)}", soft_wrap=True)
    console.print(f"\n{answer(found)}", style="bold", soft_wrap=True)
    columns = {
        "cut": "cut", "infused": "infused", "counted": "counted", "event": "events", "no_event": "no event", "undecided": "undecided", "in_window": "in window", "cannot_be_graded": "ungradable",
        "deaths": "deaths", "stops_at": "stop at",
    }  # fmt: skip
    if console.width < WIDE:
        columns = {k: v for k, v in columns.items() if k not in ("in_window", "cannot_be_graded", "deaths", "no_event")}
    rows(
        (*columns.values(), "posterior"),
        [
            (*("" if c[k] is None else str(c[k]) for k in columns), f"{c['probability']:.2f}" + (f", {c['probability_if']:.2f}" if c["undecided"] else ""))
            for c in found.cuts.iter_rows(named=True)
        ],
    )  # fmt: skip
    rows(
        ("true rate, exact", *(f"{r:.0%}" for r in found.operating["rate"])),
        [
            ("stops", *(f"{s:.0%}" for s in found.operating["stops"])),
            ("patients", *(f"{n:.0f}" for n in found.operating["patients"])),
        ],
    )
    for state, heading in (
        (UNDECIDED, "Undecided"),
        (APART, "Cannot be graded"),
        (IN_WINDOW, "Still in the window, never counted as free of an event"),
    ):
        own = found.patients.filter(state=state)
        if own.height:
            who = ", ".join(
                f"{r['subject_id']}{'' if r['infusion'] == 1 else ' (infusion ' + str(r['infusion']) + ')'}"
                for r in own.head(12).iter_rows(named=True)
            )
            console.print(f"{heading}: {who}{' ...' if own.height > 12 else ''}", soft_wrap=True)
    console.print(
        "counted: the outcome is known, or the window is over and the outcome undecided. posterior: probability of a rate above the limit, with the undecided as no event, and as an event.",
        soft_wrap=True,
    )
    if facts["after_records"]:
        console.print(facts["after_records"], soft_wrap=True)
    console.print(facts["note"], soft_wrap=True)
    dataset_note(facts["timeline_note"], facts["simulated"])
