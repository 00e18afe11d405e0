"""What `summarise` and `pool` print."""

from __future__ import annotations

from typing import Any

from polars import col

from aftercar.cohort.outcome import Outcome
from aftercar.errors import many
from aftercar.grade.run import SCALES
from aftercar.serve.show import console, dataset_note, rows
from aftercar.serve.show_compare import interval
from aftercar.sites.counts import Site
from aftercar.sites.pool import PooledSites, main_rows

WIDE = 112  # columns from which on rates across sites are shown as well


def summarised(site: Site) -> None:
    """What a file holds, and how much of it is hidden."""
    cells = [
        c
        for s in site.scales.values()
        for t in (s.worst, *(g for groups in s.by.values() for g in groups.values()))
        for c in t.values()
    ]
    cells += [
        c for s in site.scales.values() for bands in s.onset.values() for b in bands for c in (b.events, b.competing, b.censored)
    ]
    gone = sum(c is None for c in cells)
    console.print(
        f"{site.site}: {many(site.courses, 'subject')} at their first infusion, {many(len(site.scales), 'scale')}; {len(cells):,} cells, {gone:,} of them hidden (1 to {site.min_cell - 1}, and what would give those away).",
        soft_wrap=True,
    )
    for by, groups in site.groups.items():
        console.print(f"  by {by}: " + ", ".join(f"{g} {n}" for g, n in groups.items()), soft_wrap=True)
    console.print(
        "No subject, date or free text is in the file. Cells of 0 are told. Do not send counts of the same cohort at two times to the same reader: their difference "
        "is the subjects between.",
        soft_wrap=True,
    )
    dataset_note(None, site.simulated)


def pooled(found: PooledSites) -> None:
    """The rates of all courses, and what was kept apart."""
    sites = found.facts["sites"]
    console.print(
        f"{many(len(sites), 'site')}, {many(sum(s['courses'] for s in sites), 'subject')} at their first infusion", style="bold"
    )
    table = main_rows(found)
    some = table.filter(col("yes_most") > 0)
    columns = ("scale", "grade", "sites", "events of decided", "open", "share", "middle site", "further site", "p")
    shown = len(columns) if console.width >= WIDE else len(columns) - 3
    rows(columns[:shown], [_line(r)[:shown] for r in some.iter_rows(named=True)])
    if table.height > some.height:
        console.print(f"... and {table.height - some.height} without an event anywhere; --out writes all", soft_wrap=True)
    console.print(
        "share: all counted together; middle site: random effects across sites; further site: where another site's rate may lie; p: that all sites have one rate. Two "
        "numbers with .. are bounds, where sites hid small cells.",
        soft_wrap=True,
    )
    for told in found.apart:
        console.print(f"- {told}", soft_wrap=True)
    console.print(found.facts["note"], soft_wrap=True)
    dataset_note(None, found.facts["simulated"])


def _line(r: dict[str, Any]) -> tuple[str, ...]:
    name = SCALES[Outcome(r["scale"]).scales[0]].title if Outcome(r["scale"]).scales else r["scale"]
    name += f" (variant {r['variant']})" if r["variant"] > 1 else ""
    decided = (r["yes_least"] + r["no_most"], r["yes_most"] + r["no_least"])
    events = _range(r["yes_least"], r["yes_most"]) + " of " + _range(min(decided), max(decided))
    share = interval(r["share"], r["low"], r["high"]) if r["share"] is not None else _bounds(r["share_least"], r["share_most"])
    middle = interval(r["random"], r["random_low"], r["random_high"])
    if r["sites_hidden"]:
        middle = _bounds(r["random"], r["random_if_most"])
    further = "" if r["further_low"] is None else f"{100 * r['further_low']:.0f}-{100 * r['further_high']:.0f}%"
    grade = "any" if r["least_grade"] == 1 else f">= {r['least_grade']}"
    undecided = _range(r["open_least"], r["open_most"])
    return (
        name,
        grade,
        str(r["sites"]),
        events,
        undecided,
        share,
        middle,
        further,
        "" if r["heterogeneity_p"] is None else f"{r['heterogeneity_p']:.2f}",
    )


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,}..{most:,}"


def _bounds(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return ""
    return f"{100 * least:.0f}..{100 * most:.0f}%"
