"""Print published rates put together: studies, what they make, how far they differ, and what a moderator says."""

from __future__ import annotations

from typing import Any

import polars as pl
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aftercar.report.figures.forest import (
    MEANING,
    SCALE_NOTE,
    UNCHECKED,
    Own,
    apart,
    heterogeneity,
    not_together,
    percent,
    scale_notes,
    told_alone,
    told_of,
)
from aftercar.report.names import endpoint_name
from aftercar.serve.show import console
from aftercar.synthesis.moderators import MODERATORS, Parted, Regression
from aftercar.synthesis.published import LATE, MIXED, PUBLISHED, Group


def pooled(
    name: str, groups: list[Group], parts: dict[str, Parted], tests: list[Regression], alone: pl.DataFrame, own: Own | None, *, mix: bool, compare: bool = False,
) -> None:  # fmt: skip
    """All scales of an endpoint, one after the other, then the studies without counts (`alone`).

    Args:
        compare: whether subgroups or moderators were asked for.
    """
    _say(f"{endpoint_name(name)}, per cent of patients with 95 % intervals", style="bold")
    for group in groups:
        console.print()
        _say(_heading(name, group), style="bold")
        if group.scale != MIXED:
            _studies(group)
        for part in [*(parts[group.scale].groups if group.scale in parts else []), group]:
            _together(part)
        if group.scale in parts:
            _tested(parts[group.scale].test)
        if own is not None and (own.fits(group.scale) or (mix and group.scale == MIXED)):
            _cohort(own)
    if not groups:
        _say("No study tells counts, so that nothing is put together.")
    if own is not None and not any(own.fits(g.scale) or (mix and g.scale == MIXED) for g in groups):
        console.print()
        _say(_stands_alone(name, own, len(groups)))
        _cohort(own)
    for test in tests:
        console.print()
        _tested(test)
    if compare and not (parts or tests):
        console.print()
        _say("Nothing to compare: the counts are of fewer than two studies, or of one scale alone.")
    if not alone.is_empty():
        _alone(alone)
    console.print()
    _legend(groups, alone)


def _say(text: str, indent: int = 0, *, style: str = "") -> None:
    """A sentence, whose further lines stand beneath the first."""
    console.print(Padding(Text(text, style=style), (0, 0, 0, indent), expand=False))


def _stands_alone(name: str, own: Own, groups: int) -> str:
    if name in LATE:
        return "The follow-up of a cohort is its own, so that it stands with none of them."
    return f"No study graded on {own.scale}: the cohort stands alone." + (
        " --mix shows it beside all scales." if groups > 1 else ""
    )


def _heading(name: str, group: Group) -> str:
    if group.scale == MIXED:
        return "All scales together: they do not grade alike"
    return f"Counted until: {group.scale}" if name in LATE else f"Graded by: {group.scale}"


def _studies(group: Group) -> None:
    table = _table("study", "product", "disease", "events/n", "per cent", "from")
    for r in group.studies.iter_rows(named=True):
        noted = f" {SCALE_NOTE}" if r["note"] else ""
        cells = (
            f"{r['trial_id']}{noted}", r["product"] or "", r["disease"] or "", f"{r['events']}/{r['n']}", told_of(r["share"], r["low"], r["high"]), _from(r),
        )  # fmt: skip
        table.add_row(*map(Text, cells))
    console.print(table)
    for line in scale_notes(group.studies):
        _say(f"{SCALE_NOTE} {line}.", 2)


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        of_words = name in ("product", "disease")
        table.add_column(name, justify="right" if name == "events/n" else "left", overflow="fold", no_wrap=not of_words)
    return table


def _from(row: dict[str, Any]) -> str:
    """Where a number is from, with the sign of its mark."""
    return f"{row['source']}{UNCHECKED.get(row['verified'] or '', '')}"


def _alone(studies: pl.DataFrame) -> None:
    """Studies that tell a percentage and no counts, those of each scale or horizon apart."""
    console.print()
    _say("Percentage only, not put together", style="bold")
    for until, own in apart(studies):
        _say(f"{until}:", style="bold")
        table = _table("study", "product", "disease", "per cent", "from")
        for r in own.iter_rows(named=True):
            whom = ", ".join(filter(None, (r["disease"], r["note"])))
            table.add_row(*map(Text, (r["trial_id"], r["product"] or "", whom, told_alone(r), _from(r))))
        console.print(table)


def _together(group: Group) -> None:
    what = f"{group.part}: " if group.part else ""
    if group.pooled is None:
        told = not_together(group)
        _say(what + (told[:1].lower() + told[1:] if what else told), 2)
        return
    further = group.pooled.prediction()
    _say(
        f"{what}{'together' if what else 'Together'} {told_of(*group.pooled.rate())}, {group.studies.height} studies; "
        + (f"a further one {percent(further[0])} to {percent(further[1])}" if further else "too few to place a further one"),
        2,
        style="bold",
    )
    assert group.logit is not None and group.freeman_tukey is not None
    _say(heterogeneity(group), 4)
    _say(f"by log odds {told_of(*group.logit.rate())}; by Freeman-Tukey {told_of(*group.freeman_tukey.rate())}", 4)


def _tested(test: Regression) -> None:
    what = MODERATORS[test.moderator]
    where = "all scales" if test.scale == MIXED else test.scale
    if test.statistic is None or test.p is None or test.logit_p is None:
        _say(f"By {what}, {where}: no comparison. {test.why}", 2)
        return
    of = _studies_of(test.studies) + (f", {test.left_out} left out" if test.left_out else "")
    _say(f"By {what}, {where} ({of}): chi-square {test.statistic:.2f} on {test.df}, {_p(test.p)}", 2, style="bold")
    _say(f"by log odds {_p(test.logit_p)}; tau² {test.tau2:.2f}, {test.before:.2f} without it", 4)
    for term in test.terms:
        against = f" against {test.reference}" if test.reference else ""
        _say(f"{term.name}{against}: odds ratio {term.ratio:.2f} ({term.low:.2f} to {term.high:.2f}), {_p(term.p)}", 4)
    if test.studies < 10 * test.df:
        _say("Fewer than ten studies a coefficient: what it says is uncertain, and studies differ in more than this.", 4)


def _studies_of(n: int) -> str:
    return f"{n} stud{'y' if n == 1 else 'ies'}"


def _cohort(own: Own) -> None:
    low, high = own.interval
    told = "none decided" if low is None or high is None else f"{own.events}/{own.n}, {told_of(own.events / own.n, low, high)}"
    undecided = f"; {own.undecided} undecided for want of data" if own.undecided else ""
    _say(f"This cohort, not put together with them: {own.outcome.name}, {told}{undecided}", 2, style="bold")


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _legend(groups: list[Group], alone: pl.DataFrame) -> None:
    studies = [g.studies for g in groups if g.scale != MIXED]
    if studies:
        reviews = any(PUBLISHED in frame["interval"] for frame in studies)
        _say(f"Intervals of studies: Wilson{'; a meta-analysis with the rate and interval that it tells' if reviews else ''}.")
    if any(g.pooled for g in groups):
        _say("Together: binomial-normal model. LR: likelihood ratio of no variance between studies; I²: of log odds.")
    if not alone.is_empty():
        _say("No count is made from a percentage; an interval stands beside one only where its source tells it.")
    signs = {UNCHECKED[v] for frame in (*studies, alone) for v in frame["verified"].drop_nulls() if v in UNCHECKED}
    if signs:
        _say("; ".join(f"{sign} {MEANING[sign]}" for sign in sorted(signs)) + ".")
    _say("Trials were not randomised against one another: no product is ranked. For research and education.")
