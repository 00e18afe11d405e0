"""Print published rates put together: studies, what they make, how far they differ, and what a moderator says."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from aftercar.report.figures.forest import UNCHECKED, Own, heterogeneity, percent, told_of
from aftercar.report.names import endpoint_name
from aftercar.serve.show import console
from aftercar.synthesis.moderators import MODERATORS, Parted, Regression
from aftercar.synthesis.published import LATE, MIXED, Group


def pooled(
    name: str,
    groups: list[Group],
    parts: dict[str, Parted],
    tests: list[Regression],
    left_out: list[str],
    own: Own | None,
    *,
    mix: bool,
) -> None:
    """All scales of an endpoint, one after the other."""
    console.print(f"{endpoint_name(name)}, per cent of patients with 95 % intervals", style="bold")
    for group in groups:
        console.print()
        console.print(_heading(name, group), style="bold")
        if group.scale != MIXED:
            _studies(group)
        for part in [*(parts[group.scale].groups if group.scale in parts else []), group]:
            _together(part)
        if group.scale in parts:
            _tested(parts[group.scale].test)
        if own is not None and (own.fits(group.scale) or (mix and group.scale == MIXED)):
            _cohort(own)
    if not groups:
        console.print("No study tells counts, so that nothing is put together.")
    if own is not None and not any(own.fits(g.scale) or (mix and g.scale == MIXED) for g in groups):
        console.print()
        console.print(f"No study graded on {own.scale}: the cohort stands alone. --mix shows it beside all scales.")
        _cohort(own)
    for test in tests:
        console.print()
        _tested(test)
    if left_out:
        console.print()
        console.print("Left out, for they tell no counts, and none is made from a percentage:", style="bold")
        for told in left_out:
            console.print(f"  {told}", soft_wrap=True)
    console.print()
    _legend(groups)


def _heading(name: str, group: Group) -> str:
    if group.scale == MIXED:
        return "All scales together: they do not grade alike"
    return f"Counted until: {group.scale}" if name in LATE else f"Graded by: {group.scale}"


def _studies(group: Group) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in (
        ("study", False),
        ("product", False),
        ("disease", False),
        ("events/n", True),
        ("per cent", False),
        ("from", False),
    ):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for r in group.studies.iter_rows(named=True):
        cells = (
            r["trial_id"], r["product"] or "", r["disease"] or "", f"{r['events']}/{r['n']}", told_of(r["share"], r["low"], r["high"]),
            f"{r['source']}{UNCHECKED.get(r['verified'] or '', '')}",
        )  # fmt: skip
        table.add_row(*map(Text, cells))
    console.print(table)


def _together(group: Group) -> None:
    what = f"{group.part}: " if group.part else ""
    if group.pooled is None:
        console.print(f"  {what}not put together: {group.why[:1].lower()}{group.why[1:].rstrip('.')}.")
        return
    further = group.pooled.prediction()
    n = group.studies.height
    console.print(
        f"  {what}together {told_of(*group.pooled.rate())} of {n} studies; "
        + (
            f"a further study {percent(further[0])} to {percent(further[1])}"
            if further
            else "too few to say where a further one lies"
        ),
        style="bold",
    )
    assert group.logit is not None and group.freeman_tukey is not None
    console.print(
        f"    {heterogeneity(group)}; by log odds {told_of(*group.logit.rate())}, Freeman-Tukey {told_of(*group.freeman_tukey.rate())}"
    )


def _tested(test: Regression) -> None:
    what = MODERATORS[test.moderator]
    where = "all scales" if test.scale == MIXED else test.scale
    if test.statistic is None or test.p is None or test.logit_p is None:
        console.print(f"  {what}, {where}: no comparison. {test.why}")
        return
    of = f"{test.studies} studies" + (f", {test.left_out} left out" if test.left_out else "")
    console.print(
        f"  By {what}, {where} ({of}): chi-square {test.statistic:.2f} on {test.df}, {_p(test.p)} (log odds {_p(test.logit_p)}); tau² {test.tau2:.2f}, {test.before:.2f} without it",
        style="bold",
    )
    for term in test.terms:
        against = f" against {test.reference}" if test.reference else ""
        console.print(f"    {term.name}{against}: odds ratio {term.ratio:.2f} ({term.low:.2f} to {term.high:.2f}), {_p(term.p)}")
    if test.studies < 10 * test.df:
        console.print(
            "    Fewer than ten studies a coefficient: what it says is uncertain, and studies differ in more than this."
        )


def _cohort(own: Own) -> None:
    low, high = own.interval
    told = "none decided" if low is None or high is None else f"{own.events}/{own.n}, {told_of(own.events / own.n, low, high)}"
    console.print(
        f"  This cohort, not put together with them: {own.outcome.name}, {told}"
        + (f"; {own.undecided} undecided for want of data" if own.undecided else ""),
        style="bold",
    )


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _legend(groups: list[Group]) -> None:
    console.print(
        "Together: binomial-normal model; intervals of studies: Wilson. LR: likelihood ratio of no variance between studies; I²: of log odds."
    )
    signs = {UNCHECKED[v] for g in groups for v in g.studies["verified"].drop_nulls() if v in UNCHECKED}
    if signs:
        console.print("† from memory, ‡ told by a lecture alone: check before use.")
    console.print("Trials were not randomised against one another: no product is ranked. For research and education.")
