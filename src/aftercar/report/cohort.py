"""Counts over a cohort: worst grades with intervals, onset and duration, and who could not be graded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from polars import col

from aftercar.cohort import worst as counted
from aftercar.cohort.episodes import first_episodes
from aftercar.cohort.told import of_decided
from aftercar.cohort.worst import GRADES
from aftercar.report.names import ALWAYS, WORDS, in_order, scale_name, toxicity_name

SEVERE = 3  # the grade from which on a toxicity is called severe


@dataclass(frozen=True)
class Rate:
    """How many reached a grade, in words, and what the undecided leave open."""

    text: str = "no such grade"
    bounds: str = ""


@dataclass(frozen=True)
class Worst:
    """One toxicity: how many courses had each worst grade. Those with an open range are counted apart."""

    name: str
    scales: str
    n: int
    grades: tuple[int, ...]
    incomplete: int
    not_applicable: int
    any_grade: Rate
    severe: Rate

    def share(self, count: int) -> str:
        """A count as a percentage of the courses to which the scale applies."""
        n = self.n - self.not_applicable
        return f"{count / n:.0%}" if n else ""


def charted(worst: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Rows of the toxicities of which something was charted in some course, and the names of the others."""
    seen = worst.filter(col("assessed") | col("toxicity").is_in(ALWAYS))["toxicity"].unique()
    kept = worst.filter(col("toxicity").is_in(seen.implode()))
    return kept, [toxicity_name(t) for t in in_order(set(worst["toxicity"]) - set(seen))]


@dataclass(frozen=True)
class Diagnosis:
    """How many courses meet the criteria of a diagnosis, fully or in part."""

    name: str
    counts: dict[str, int]


def diagnoses(worst: pl.DataFrame) -> list[Diagnosis]:
    """A row a toxicity whose answer is a word: `criteria met`, `possible`, `suspected`, `watch`."""
    told = counted.diagnoses(worst)
    counts = {(t, WORDS[s]): n for t, s, n in told.iter_rows()}
    return [
        Diagnosis(toxicity_name(t), {word: counts.get((t, word), 0) for word in WORDS.values()})
        for t in in_order(told["toxicity"])
    ]


def worst_table(worst: pl.DataFrame) -> list[Worst]:
    """A row a toxicity, of which `worst` holds one family of scales; grades, incomplete and not applicable add up to `n`."""
    rates = counted.reached(worst, (1, SEVERE))
    told = {
        (r["toxicity"], r["grade_at_least"]): Rate(*of_decided(r["yes"], r["no"], r["undecided"], (r["low"], r["high"])))
        for r in rates.iter_rows(named=True)
    }
    by_name = {r["toxicity"]: r for r in counted.worst_counts(worst).iter_rows(named=True)}
    return [_worst(t, by_name[t], *(told.get((t, cut), Rate()) for cut in (1, SEVERE))) for t in in_order(by_name)]


def _worst(toxicity: str, r: dict[str, Any], any_grade: Rate, severe: Rate) -> Worst:
    return Worst(
        name=toxicity_name(toxicity),
        scales=" / ".join(n for n in map(scale_name, r["scales"]) if n != toxicity_name(toxicity)),
        n=r["n"],
        grades=tuple(r[f"g{g}"] for g in GRADES),
        incomplete=r["incomplete"],
        not_applicable=r["not_applicable"],
        any_grade=any_grade,
        severe=severe,
    )


@dataclass(frozen=True)
class Spread:
    """Median, quartiles and range of some days."""

    n: int
    text: str


@dataclass(frozen=True)
class Timing:
    """Onset day and duration of the first episode of each course with the toxicity."""

    name: str
    onset: Spread
    duration: Spread
    censored: int
    further: int


def timing_table(episodes: pl.DataFrame) -> list[Timing]:
    """A row a toxicity that has an episode. Durations are of those whose end was seen; the rest are counted as censored."""
    told = {r["toxicity"]: r for r in first_episodes(episodes).iter_rows(named=True)}
    return [
        Timing(
            name=toxicity_name(toxicity),
            onset=_spread(told[toxicity]["onset"], 0),
            duration=_spread(told[toxicity]["duration"], 1),
            censored=told[toxicity]["censored"],
            further=told[toxicity]["further"],
        )
        for toxicity in in_order(told)
    ]


def _spread(days: dict[str, float], digits: int) -> Spread:
    """`2 (1 to 4; 0 to 9)`: median, quartiles, least and greatest."""
    if not days["n"]:
        return Spread(0, "")

    def text(value: float) -> str:
        return f"{value:.{digits}f}" if digits or value.is_integer() else f"{value:.1f}"

    low, middle, high, least, most = (text(days[q]) for q in ("q1", "median", "q3", "least", "most"))
    return Spread(int(days["n"]), f"{middle} ({low} to {high}; {least} to {most})")


@dataclass(frozen=True)
class Unsettled:
    """Courses of one toxicity whose worst grade is open, or that cannot be graded at all."""

    name: str
    kind: str
    n: int
    subjects: list[str]


MOST_LISTED = 200


def unsettled(worst: pl.DataFrame) -> list[Unsettled]:
    """Lists of subjects, by toxicity: nothing known (`cannot grade`), range open (`incomplete`, or of a diagnosis), `not applicable`; those that are open are those of `worst_table`."""
    status, is_open = col("status").cast(pl.String), counted.is_open()
    kind = (
        pl.when(status == "not_applicable").then(pl.lit("not applicable"))
        .when(is_open & (col("grade") == 0) & (col("grade_upper") >= 4)).then(pl.lit("cannot grade: 0 to 4 or 5 possible"))
        .when(is_open & status.is_in(list(WORDS))).then(pl.lit("the diagnosis is open"))
        .when(is_open).then(pl.lit("incomplete: a range is known"))
    )  # fmt: skip
    rows = worst.with_columns(kind=kind).filter(col("kind").is_not_null()).sort("subject_id", "infusion")
    several = pl.when(col("infusion") > 1).then(pl.format(" (infusion {})", "infusion")).otherwise(pl.lit(""))
    bounds = pl.when(is_open).then(pl.format(" ({}–{})", "grade", "grade_upper")).otherwise(pl.lit(""))
    rows = rows.with_columns(who=pl.concat_str(col("subject_id").cast(pl.String), several, bounds))
    lists = rows.group_by("toxicity", "kind").agg(pl.len().alias("n"), col("who").head(MOST_LISTED)).sort("kind")
    by_toxicity = lists.partition_by("toxicity", as_dict=True)
    return [
        Unsettled(toxicity_name(t), r["kind"], r["n"], r["who"])
        for t in in_order(k for (k,) in by_toxicity)
        for r in by_toxicity[(t,)].iter_rows(named=True)
    ]


def rejected_table(rejected: pl.DataFrame) -> list[dict[str, Any]]:
    """Rejected rows by reason and code, most frequent first."""
    if rejected.is_empty():
        return []
    counts = rejected.group_by("reason", "code").agg(pl.len().alias("n"), col("detail").drop_nulls().first())
    return counts.sort("n", "reason", "code", descending=[True, False, False], nulls_last=True).head(30).to_dicts()
