"""How the numbers of a report were made: a methods section written from `run.json`, its limits, and a numbered list of what it cites."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from markupsafe import Markup, escape
from polars import col

from aftercar.errors import many
from aftercar.evidence.sources import references
from aftercar.grade.options import OPTIONS
from aftercar.grade.run import SCALES
from aftercar.report.names import scale_name

# Choices where the papers are silent on which CRS, ICANS and ICAHT hang most.
MATTER = (
    "day0", "unknown_attribution", "fever_waiver_drugs", "fever_carry_h", "map_cut", "vasopressin_alone", "hfnc_le6", "resolution_h", "new_episode_gap_h",
    "ice_locf_h", "seizure_hold_h", "max_gap_days", "icaht_duration",
)  # fmt: skip
LIMITS = (
    "Grades are derived from what was charted. A sign that nobody charted, or that was charted only as free text, is not in them.",
    "A range that missing data leave is told beside each rate; it does not cover what came and went between two readings.",
    "Whether a sign was due to the cells, to infection or to another drug is taken from what a person said, where anybody did; otherwise it counts.",
    "The end of the record censors: if those whose record ends early differ from the others, curves are biased.",
    "Intervals treat courses as independent, and nothing is adjusted for: groups and published trials differ in patients, products, follow-up and charting.",
    "Definitions that no checked source decides are options of this software; other options may give other grades.",
)


@dataclass
class Cited:
    """The papers of a page, in the order in which they are first cited; a number each."""

    lines: dict[str, str] = field(default_factory=dict[str, str])

    def cite(self, *keys: str) -> Markup:
        """The numbers of papers, as links; of a key that nobody knows none."""
        known = [k for k in keys if k in references()]
        for key in known:
            self.lines.setdefault(key, _line(key))
        order = list(self.lines)
        numbers = sorted({order.index(k) + 1 for k in known})
        links = Markup(", ").join(Markup('<a href="#ref-{0}">{0}</a>').format(n) for n in numbers)
        return Markup(" [{}]").format(links) if numbers else Markup("")


def _line(key: str) -> str:
    paper = references()[key]
    doi = f". doi {paper.doi}" if paper.doi else ""
    return f"{paper.line}{doi}" + ("" if paper.verified == "primary" else f" [{paper.verified}]")


@dataclass(frozen=True)
class Methods:
    """The section: paragraphs, options that differ from their default, those that matter most, and the papers."""

    paragraphs: list[Markup]
    changed: list[tuple[str, str, str, str]]
    usual: list[tuple[str, str, str]]
    papers: list[str]


def methods(run: dict[str, Any], worst: pl.DataFrame, *, trials: Iterable[str] = (), pooled: bool = False) -> Methods:
    """Write the section.

    Args:
        run: `run.json`.
        worst: rows of the toxicities that the page tells of.
        trials: keys of the papers of trials that are drawn beside the cohort.
        pooled: whether their rates are put together.
    """
    cited = Cited()
    options: dict[str, Any] = run.get("options") or {}
    paragraphs = [*_simulated(run), _records(run), _grading(run, worst, cited), _missing(worst), _statistics(cited)]
    keys = list(dict.fromkeys(trials))
    if keys:
        text = Markup(
            "<b>Published rates.</b> Rates beside the cohort are of studies that graded on the same scale{}, from the source that the evidence tables recommend of each; rates on other scales are left out."
        ).format(cited.cite(*keys))
        if pooled:
            text += Markup(
                " Rates of several studies were put together by the binomial-normal model with maximum likelihood{}; the cohort itself was not put together with them."
            ).format(cited.cite("hamza2008", "stijnen2010"))
        paragraphs.append(text)
    if rest := [key for key in run.get("sources", []) if key not in cited.lines]:
        paragraphs.append(Markup("<b>Inputs and options.</b> They rest on further papers{}.").format(cited.cite(*rest)))
    changed = [
        (name, _said(value), _said(OPTIONS[name].default), OPTIONS[name].question)
        for name, value in options.items()
        if name in OPTIONS and value != OPTIONS[name].default
    ]
    usual = [(name, _said(options[name]), OPTIONS[name].question) for name in MATTER if name in options and name in OPTIONS]
    return Methods(paragraphs, changed, usual, list(cited.lines.values()))


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _simulated(run: dict[str, Any]) -> list[Markup]:
    """Of virtual patients how they were made; of records nothing."""
    if not run.get("simulated"):
        return []
    told: dict[str, Any] = run.get("simulation") or {}
    if not told:
        how = "How they were made is not recorded with the results."
    else:
        more = [f"with {drug}" for drug in told.get("drugs") or []]
        more += [f"{name} = {value:g}" for name, value in told.get("changed") or []]
        how = (
            f"The mechanism of aftercar, model {told.get('model')}, made {many(told.get('n', 0), 'patient')} given {told.get('product')} for {told.get('disease')}, treated by the policy "
            f"{told.get('policy')}{''.join(f', {word}' for word in more)}, and charted for {told.get('days', 0):g} days, with seed {told.get('seed')}. Its rates were calibrated to published summary rates."
        )
    return [
        Markup(
            "<b>Virtual patients.</b> No row is of a person: patients, their course and its charting were simulated. {} Nothing here predicts the course of a person."
        ).format(how)
    ]


def _records(run: dict[str, Any]) -> Markup:
    counts = run.get("counts") or {}
    read = "".join(
        f" {counts[name]:,} {words}"
        for name, words in (("read", "rows were read,"), ("accepted", "accepted and"), ("rejected", "rejected;"))
        if counts.get(name) is not None
    )
    mark = run.get("timeline_fingerprint")
    return Markup("<b>Records.</b> Grades were derived on {} with aftercar {} (Polars {}).{} rejected rows are counted by reason above. {}Day 0 is the infusion{}; days are differences of calendar dates.").format(
        str(run.get("created", ""))[:10] or "a day not recorded", run.get("aftercar", ""), run.get("polars", ""), read or " ",
        f"The fingerprint of the records is {mark}. " if mark else "", ", the first one of a course of several doses" if (run.get("options") or {}).get("day0") == "first_infusion" else "",
    )  # fmt: skip


def _grading(run: dict[str, Any], worst: pl.DataFrame, cited: Cited) -> Markup:
    versions = dict(rule.partition("@")[::2] for rule in run.get("rules") or [])
    told = set(worst.filter(col("status").cast(pl.String) != "not_applicable")["scale"])
    named = [
        Markup("{}{}{}").format(
            scale_name(name), f" (version {versions[name]})" if name in versions else "", cited.cite(*scale.papers)
        )
        for name, scale in SCALES.items()
        if name in told
    ]
    locked = int(worst["adjudicated_grade"].is_not_null().sum()) if "adjudicated_grade" in worst.columns else 0
    review = (
        f"{many(locked, 'worst grade')} {'were' if locked != 1 else 'was'} locked by two readers; the figures and tables hold those derived."
        if locked
        else "No grade was adjudicated."
    )
    if since := run.get("said_since"):
        review += f" {since}"
    return Markup("<b>Grading.</b> Each stretch of time was graded by rule, without training on grades: {}. {} Definitions that papers leave open were decided by the options below.").format(
        Markup("; ").join(named) or escape("no scale applies"), review
    )  # fmt: skip


def _missing(worst: pl.DataFrame) -> Markup:
    applies = worst.filter(col("status").cast(pl.String) != "not_applicable")
    unsettled = applies.filter(col("grade") < col("grade_upper")).height
    share = (
        f" ({unsettled / applies.height:.0%} of the {applies.height:,} worst grades told of here are open)"
        if applies.height
        else ""
    )
    return Markup(
        "<b>Missing data.</b> A finding that was not charted, or is no longer valid, was neither taken for normal nor filled in: the grade then has a lower bound, with unknown criteria unmet, and an "
        "upper bound, with them met{}. A course in which the bounds do not decide whether a grade was reached is not in the rate, and counted beside it, with the rate if all of them had reached it "
        "and if none had. Time in which a finding had expired does not make a worst grade."
    ).format(share)


def _statistics(cited: Cited) -> Markup:
    return Markup(
        "<b>Statistics.</b> Rates have 95 % Wilson score intervals{}. Cumulative incidence is the Aalen-Johansen estimate{} with death as a competing event, the end of the record as censoring, and 95 % "
        "intervals of log(-log){}, or exact ones{} where nobody or everybody had the event; what missing data leave open is told as a range of shares. A grade counts from the day on which it was surely reached. Onset and duration are medians with quartiles by linear interpolation; durations whose end was not seen "
        "are counted and left out of them. No test was made, and nothing was adjusted for."
    ).format(cited.cite("wilson1927"), cited.cite("aalen1978"), cited.cite("marubini1995"), cited.cite("clopper1934"))
