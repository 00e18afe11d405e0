"""Counts of several sites put together: added up where scale, rule version and options are the same, as bounds where a site hid a cell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars import col

from aftercar import __version__
from aftercar.errors import InputError
from aftercar.files import replace_folder
from aftercar.frames import labelled
from aftercar.intervals import wilson
from aftercar.sites.counts import BANDS, CLASSES, NO, YES, Band, Cells, ScaleCounts, Site, read_site
from aftercar.synthesis.proportions import pooled

MARKER = "pooled.json"


@dataclass(frozen=True)
class Bounded:
    """A count that is known, or between two numbers."""

    least: int
    most: int

    def __add__(self, other: Bounded) -> Bounded:
        return Bounded(self.least + other.least, self.most + other.most)

    @property
    def known(self) -> bool:
        return self.least == self.most


@dataclass(frozen=True, eq=False)
class PooledSites:
    """What sites make together; `docs/federated.md` describes each table.

    Attributes:
        pooled: a row a scale, variant (one rule version and one set of options), least grade and group.
        sites: the same of each site.
        onset: a row a scale, variant, least grade and band of days.
        apart: where scales or options differ between sites, in words.
    """

    pooled: pl.DataFrame
    sites: pl.DataFrame
    onset: pl.DataFrame
    facts: dict[str, Any]
    apart: list[str]


def pool_files(paths: Sequence[Path | str]) -> PooledSites:
    """Pool the files of sites.

    Raises:
        InputError: a file is damaged, there is one only, a site or cohort is there twice, or real and virtual patients would be mixed.
    """
    return pool([read_site(path) for path in paths])


def pool(sites: list[Site]) -> PooledSites:
    """Pool sites; errors as `pool_files`."""
    if len(sites) < 2:
        raise InputError("Pooling takes the files of two sites or more.")
    for what, words in (("site", [s.site.casefold() for s in sites]), ("cohort", [s.cohort for s in sites])):
        twice = [sites[n].site for n, w in enumerate(words) if w in words[:n]]
        if twice:
            raise InputError(
                f"{twice[0]} is there twice: {'two files are of a site of that name' if what == 'site' else 'two files are of the same cohort'}. Its patients would be counted twice; leave one out."
            )
    if len({s.simulated for s in sites}) > 1:
        raise InputError("Some of the files are of virtual patients and others are not. Pool them apart.")
    sites = sorted(sites, key=lambda s: s.site)
    rows: list[dict[str, Any]] = []
    each: list[dict[str, Any]] = []
    onset: list[dict[str, Any]] = []
    apart: list[str] = []
    for family in dict.fromkeys(name for s in sites for name in s.scales):
        variants = _variants(sites, family)
        apart += _told_apart(sites, family, variants)
        for n, members in enumerate(variants, 1):
            about = {"toxicity": members[0].scales[family].toxicity, "scale": family, "variant": n}
            for by, group in _groups(members, family):
                for cut in YES:
                    own = [
                        (s, _answers(s, family, by, group, cut))
                        for s in members
                        if by is None or group in s.scales[family].by.get(by, {})
                    ]
                    head = about | {"least_grade": cut, "by": by, "group": group}
                    rows.append(head | _together([a for _, a in own]))
                    each += [head | {"site": s.site} | _of_site(a) for s, a in own]
            onset += [about | row for row in _onset(members, family)]
    return PooledSites(
        pl.DataFrame(rows, schema=POOLED, orient="row"), pl.DataFrame(each, schema=SITES, orient="row"), pl.DataFrame(onset, schema=ONSET, orient="row"),
        _facts(sites), apart,
    )  # fmt: skip


# ---- what agrees


def _variants(sites: list[Site], family: str) -> list[list[Site]]:
    """The sites that graded a scale, together where rule versions and options are the same; the largest set first."""
    found: dict[str, list[Site]] = {}
    for site in sites:
        if family in site.scales:
            found.setdefault(_key(site.scales[family]), []).append(site)
    return sorted(found.values(), key=lambda members: (-len(members), members[0].site))


def _key(scale: ScaleCounts) -> str:
    return json.dumps([scale.rules, scale.options], sort_keys=True)


def _told_apart(sites: list[Site], family: str, variants: list[list[Site]]) -> list[str]:
    """In words, which sites are not together and why."""
    told = []
    if without := [s.site for s in sites if family not in s.scales]:
        told.append(f"{family}: not graded by {', '.join(without)}.")
    first = variants[0][0].scales[family]
    for n, members in enumerate(variants[1:], 2):
        own = members[0].scales[family]
        why = [f"rules {', '.join(own.rules)}, not {', '.join(first.rules)}"] if own.rules != first.rules else []
        names = sorted({*own.options, *first.options})
        why += [
            f"{name}={own.options.get(name, 'not there')}, not {first.options.get(name, 'not there')}"
            for name in names
            if own.options.get(name) != first.options.get(name)
        ]
        told.append(f"{family}: {', '.join(s.site for s in members)} kept apart as variant {n} ({'; '.join(why)}).")
    return told


def _groups(members: list[Site], family: str) -> list[tuple[str | None, str | None]]:
    found = sorted({(by, group) for s in members for by, groups in s.scales[family].by.items() for group in groups})
    return [(None, None), *found]


# ---- adding up

Answers = dict[str, Bounded]  # courses, yes, no, open, not_applicable


def _answers(site: Site, family: str, by: str | None, group: str | None, cut: int) -> Answers:
    scale = site.scales[family]
    if by is None or group is None:
        return _bounded(scale.worst, site.courses, cut)
    return _bounded(scale.by[by][group], site.groups[by][group], cut)


def _bounded(cells: Cells, n: int, cut: int) -> Answers:
    """Each answer by least and most, from the cells that are told and the size of all together."""
    apart = ("not applicable",)
    undecided = tuple(c for c in CLASSES if c not in (*YES[cut], *NO[cut], *apart))
    known = sum(c for c in cells.values() if c is not None)

    def of(classes: tuple[str, ...]) -> Bounded:
        told = [cells[c] for c in classes]
        least = sum(c for c in told if c is not None)
        others_hidden = any(v is None for c, v in cells.items() if c not in classes)
        hidden = n - known if any(c is None for c in told) else 0
        return Bounded(least + (0 if others_hidden else hidden), least + hidden)

    return {"courses": Bounded(n, n), "yes": of(YES[cut]), "no": of(NO[cut]), "open": of(undecided), "not_applicable": of(apart)}


_SHARES = ("share", "low", "high", "share_least", "share_most")
_HEAD = {
    "toxicity": pl.String,
    "scale": pl.String,
    "variant": pl.Int64,
    "least_grade": pl.Int64,
    "by": pl.String,
    "group": pl.String,
}
_COUNTS = {
    "courses": pl.Int64,
    **{f"{a}_{end}": pl.Int64 for a in ("yes", "no", "open", "not_applicable") for end in ("least", "most")},
}
SITES = _HEAD | {"site": pl.String} | _COUNTS | dict.fromkeys(_SHARES, pl.Float64)
_RANDOM = ("random", "random_low", "random_high")
POOLED = _HEAD | {"sites": pl.Int64, "sites_hidden": pl.Int64} | _COUNTS | dict.fromkeys(_SHARES, pl.Float64) | {
    **dict.fromkeys((*_RANDOM, *(f"{r}_if_most" for r in _RANDOM), "tau2", "heterogeneity_p", "further_low", "further_high"), pl.Float64), "why": pl.String,
}  # fmt: skip
ONSET = {
    "toxicity": pl.String, "scale": pl.String, "variant": pl.Int64, "least_grade": pl.Int64, "first_day": pl.Int64, "last_day": pl.Int64, "sites": pl.Int64, "sites_hidden": pl.Int64,
    **dict.fromkeys(("at_risk", "events", "competing", "censored"), pl.Int64), "incidence": pl.Float64,
}  # fmt: skip


def _of_site(answers: Answers) -> dict[str, Any]:
    row: dict[str, Any] = {"courses": answers["courses"].least}
    for name in ("yes", "no", "open", "not_applicable"):
        row |= {f"{name}_least": answers[name].least, f"{name}_most": answers[name].most}
    yes, no = answers["yes"], answers["no"]
    if yes.most + no.least:
        row["share_most"] = yes.most / (yes.most + no.least)
    if yes.least + no.most:
        row["share_least"] = yes.least / (yes.least + no.most)
    if yes.known and no.known and yes.least + no.least:
        low, high = wilson(yes.least, yes.least + no.least)
        row |= {"share": yes.least / (yes.least + no.least), "low": low, "high": high}
    return row


def _together(several: list[Answers]) -> dict[str, Any]:
    total = several[0]
    for more in several[1:]:
        total = {name: total[name] + more[name] for name in total}
    hidden = sum(not (a["yes"].known and a["no"].known) for a in several)
    return {"sites": len(several), "sites_hidden": hidden} | _of_site(total) | _random(several, hidden)


def _random(several: list[Answers], hidden: int) -> dict[str, Any]:
    """The rate of a middle site, by the binomial-normal model: with what is hidden at its least, and at its most."""
    row: dict[str, Any] = {}
    for suffix, counts in {
        "": [(a["yes"].least, a["yes"].least + a["no"].most) for a in several],
        "_if_most": [(a["yes"].most, a["yes"].most + a["no"].least) for a in several],
    }.items():
        if suffix and not hidden:
            break
        counts = [(k, n) for k, n in counts if n]
        if len(counts) < 2:
            row["why"] = "no random effects: one site with a decided course"
            continue
        try:
            found = pooled([k for k, _ in counts], [n for _, n in counts])
        except InputError as error:
            row["why"] = str(error)
            continue
        row |= dict(zip((f"{r}{suffix}" for r in _RANDOM), found.rate(), strict=True))
        if not hidden:
            further = found.prediction() or (None, None)
            row |= {"tau2": found.tau2, "heterogeneity_p": found.p, "further_low": further[0], "further_high": further[1]}
    if hidden:
        row.setdefault("why", f"{hidden} of {len(several)} sites hid cells: bounds, and no test of heterogeneity")
    return row


def _onset(members: list[Site], family: str) -> list[dict[str, Any]]:
    """Bands of days added up, and the share that had the event by the end of each (Aalen and Johansen, those censored in a band at its end)."""
    rows = []
    for cut in YES:
        told = [s.scales[family].onset[str(cut)] for s in members if str(cut) in s.scales[family].onset]
        if not told:
            continue
        free, incidence = 1.0, 0.0
        known = True
        for n, (first, last) in enumerate(BANDS):
            bands: list[Band] = [bands[n] for bands in told]
            row: dict[str, Any] = {"least_grade": cut, "first_day": first, "last_day": last, "sites": len(told)}
            row["sites_hidden"] = sum(None in (b.at_risk, b.events, b.competing, b.censored) for b in bands)
            row |= {what: _sum([getattr(b, what) for b in bands]) for what in ("at_risk", "events", "competing", "censored")}
            at_risk, events, competing = row["at_risk"], row["events"], row["competing"]
            known = known and at_risk is not None and events is not None and competing is not None
            if known and at_risk is not None and events is not None and competing is not None:
                if at_risk:
                    incidence += free * events / at_risk
                    free *= 1 - (events + competing) / at_risk
                row["incidence"] = incidence
            rows.append(row)
    return rows


def _sum(cells: list[int | None]) -> int | None:
    known = [c for c in cells if c is not None]
    return sum(known) if len(known) == len(cells) else None


def _facts(sites: list[Site]) -> dict[str, Any]:
    return {
        "aftercar": __version__,
        "sites": [{"site": s.site, "courses": s.courses, "min_cell": s.min_cell, "aftercar": s.aftercar} for s in sites],
        "simulated": sites[0].simulated,
        "note": "Derived by software, not adjudicated. Counts of sites; a hidden cell counts as bounds.",
    }


def write_pooled(found: PooledSites, out: Path | str) -> None:
    """Write a folder of `pooled.csv`, `sites.csv`, `onset.csv` and `pooled.json`; a former one is replaced whole.

    Raises:
        InputError: the folder holds something else.
    """
    with replace_folder(Path(out), marker=MARKER) as fresh:
        for name in ("pooled", "sites", "onset"):
            table: pl.DataFrame = getattr(found, name)
            labelled(table, bool(found.facts["simulated"])).write_csv(fresh / f"{name}.csv")
        text = json.dumps(found.facts | {"apart": found.apart}, indent=2, ensure_ascii=False)
        (fresh / MARKER).write_text(text + "\n", encoding="utf-8")


def main_rows(found: PooledSites) -> pl.DataFrame:
    """The rows of all courses, without groups, where anybody is decided."""
    return found.pooled.filter(col("by").is_null() & (col("share_most").is_not_null() | col("share").is_not_null()))
