"""Hold a score against an outcome of one's own cohort: discrimination, calibration, net benefit, and what missing data may change.

The main figures are of those whose value and outcome are both known. Nobody is dropped silently: who is left out is counted by reason, and
the discrimination is told again with ranges at either end and open outcomes either way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.errors import InputError
from aftercar.files import replace_folder
from aftercar.frames import labelled
from aftercar.intervals import Z95, wilson

MOST_VALUES = 10  # a score of at most so many values is told by value, others by tenths
THRESHOLDS = tuple(t / 100 for t in range(1, 100))
SURE = 1e-6  # a probability nearer to 0 or 1 is taken as so near: the logit of 0 does not exist
MARKER = "validation.json"
LEFT_OUT = ("no outcome row", "outcome open", "no value", "value is a range")


@dataclass(frozen=True)
class Validation:
    """What came of it.

    Attributes:
        counts: `state, n`: rows of the score by what became of them; they add up to all. `used` are the main figures.
        discrimination: `reading, n, events, auc, low, high`: first of those used, then what missing data may make of it. DeLong; no
            interval where the score parts events and others wholly.
        calibration: `group, n, events, mean, observed, low, high`: by value or tenth of the score; Wilson.
        groups: the same by the score's own risk groups, ranges within one group too; empty without any.
        at_cut: `measure, k, n, share, low, high`: sensitivity, specificity and predictive values at the cut, ranges on one side of it too;
            empty without one.
        probability: slope, intercept and Brier score; empty where the score is no probability.
        decision: `threshold, net_benefit, all, none`; empty where there is neither a probability nor a cut.
        roc: `cut, sensitivity, false_positive_share`: a row a distinct value.
        facts: what was compared.
    """

    counts: pl.DataFrame
    discrimination: pl.DataFrame
    calibration: pl.DataFrame
    groups: pl.DataFrame
    at_cut: pl.DataFrame
    probability: dict[str, float | None]
    decision: pl.DataFrame
    roc: pl.DataFrame
    facts: dict[str, Any]


def validate(
    scores: pl.DataFrame,
    outcomes: pl.DataFrame,
    *,
    probability: bool = False,
    cut: float | None = None,
    facts: dict[str, Any] | None = None,
) -> Validation:
    """Compare.

    Args:
        scores: `subject_id, value`, perhaps `infusion`, `value_upper` (by default as `value`) and `group`; a row a course.
        outcomes: `subject_id, event` (true, false, null where open), perhaps `infusion`.
        probability: the value is one, 0 to 1.
        cut: from which value on a risk is called high.
    Raises:
        InputError: a subject stands twice, all known outcomes are alike, or a probability is outside 0 to 1.
    """
    rows, unscored = _joined(scores, outcomes)
    known = rows.filter(state="used")
    counts = _counts(rows)
    decided = rows.filter(col("event").is_not_null() & col("upper").is_not_null())
    if decided["event"].n_unique() < 2:
        told = ", ".join(f"{k} {state}" for state, k in counts.iter_rows())
        raise InputError(
            f"Among those with a value and a known outcome ({told}) all outcomes are alike, or there is nobody. Are subjects spelled alike in both files?"
        )
    if probability and not (decided["value"].is_between(0, 1) & decided["upper"].is_between(0, 1)).all():
        raise InputError("--probability: a value lies outside 0 to 1. Percent must be divided by 100.")
    tenth = ((col("value").rank("min") - 1) * 10 / known.height).floor().cast(pl.Int32)
    few = known["value"].n_unique() <= MOST_VALUES
    grouped = known.with_columns(place=col("value").rank("dense") if few else tenth)
    named = decided.filter(col("group").is_not_null())  # also those whose range lies within one group
    return Validation(
        counts=counts,
        discrimination=_discrimination(rows),
        calibration=_calibration(grouped, "place", None),
        groups=_calibration(named.with_columns(place=col("value").mean().over("group")), "place", "group"),
        at_cut=_at_cut(decided, cut),
        probability=_probability(known) if probability else {},
        decision=_decision(known, cut, probability=probability),
        roc=_roc(known),
        facts={
            "aftercar": __version__,
            "probability": probability,
            "cut": cut,
            "rows": rows.height,
            "outcomes_without_a_score": unscored,
            "several_courses": rows["subject_id"].n_unique() < rows.height,
            "note": "A score is not a decision. Figures of the cohort in which a cut or model was made are optimistic.",
            **(facts or {}),
        },
    )


def _counts(rows: pl.DataFrame) -> pl.DataFrame:
    """How many rows there are of each state; they add up."""
    every = pl.DataFrame({"state": ["used", *LEFT_OUT]})
    counted = every.join(rows.group_by("state").len("n"), on="state", how="left", maintain_order="left")
    return counted.with_columns(col("n").fill_null(0).cast(pl.Int64))


def _joined(scores: pl.DataFrame, outcomes: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Each row of the score with its outcome and what becomes of it, and how many outcomes have no score."""
    keys = ["subject_id", *(["infusion"] if "infusion" in scores.columns and "infusion" in outcomes.columns else [])]
    scores, outcomes = (f.with_columns(col(k).cast(pl.String) for k in keys) for f in (scores, outcomes))
    for what, frame in (("score", scores), ("outcome", outcomes)):
        if frame.select(keys).is_duplicated().any():
            raise InputError(
                f"A subject stands more than once among the {what}s. Name one score and window, or give a column `infusion` in both files."
            )
    upper = col("value_upper") if "value_upper" in scores.columns else col("value")
    scores = scores.select(
        *keys,
        value=col("value").cast(pl.Float64),
        upper=upper.cast(pl.Float64),
        group=col("group") if "group" in scores.columns else lit(None, pl.String),
    )
    marked = outcomes.select(*keys, "event", found=lit(True))
    rows = scores.join(marked, on=keys, how="left", maintain_order="left")
    state = (
        pl.when(col("found").is_null()).then(lit("no outcome row"))
        .when(col("event").is_null()).then(lit("outcome open"))
        .when(col("value").is_null() | col("upper").is_null()).then(lit("no value"))
        .when(col("value") != col("upper")).then(lit("value is a range"))
        .otherwise(lit("used"))
    )  # fmt: skip
    return rows.with_columns(state=state), outcomes.join(scores, on=keys, how="anti").height


# ---- discrimination


def auc(value: pl.Series, event: pl.Series) -> tuple[float | None, float | None, float | None]:
    """Area under the ROC curve with its 95 % interval, after DeLong 1988 by ranks; ties count half.

    No interval where the score parts events and others wholly, for there its variance is 0, nor with fewer than two of either.

    >>> auc(pl.Series([1.0, 2.0, 3.0, 4.0]), pl.Series([False, True, False, True]))[0]
    0.75
    """
    n1, n0 = int(event.sum()), int((~event).sum())
    if not n1 or not n0:
        return None, None, None
    ranks = pl.DataFrame({"value": value, "event": event}).with_columns(
        every=col("value").rank("average"), own=col("value").rank("average").over("event")
    )
    # Of each event the share of the others that lie below it, and of each other the share of events above.
    place = pl.when("event").then((col("every") - col("own")) / n0).otherwise(1 - (col("every") - col("own")) / n1)
    found = ranks.with_columns(place=place).group_by("event").agg(col("place").mean(), var=col("place").var())
    by_event = {e: (mean, var) for e, mean, var in found.iter_rows()}
    area = by_event[True][0]
    if min(n1, n0) < 2 or area in (0.0, 1.0):
        return area, None, None
    half = Z95 * sqrt(by_event[True][1] / n1 + by_event[False][1] / n0)
    return area, max(0.0, area - half), min(1.0, area + half)


def _discrimination(rows: pl.DataFrame) -> pl.DataFrame:
    valued = col("value").is_not_null() & col("upper").is_not_null()
    decided = rows.filter(valued & col("event").is_not_null())
    known = rows.filter(state="used")
    readings: list[tuple[str, pl.DataFrame]] = [("known", known)]
    if decided.height > known.height:
        both = pl.when("event").then
        readings += [
            ("ranges at the lower end", decided),
            ("ranges at the upper end", decided.with_columns(value="upper")),
            ("ranges against the score", decided.with_columns(value=both("value").otherwise("upper"))),
            ("ranges for the score", decided.with_columns(value=both("upper").otherwise("value"))),
        ]
    there = rows.filter(valued & (col("value") == col("upper")) & (col("state") != "no outcome row"))
    if there.height > known.height:
        readings += [
            (f"open outcomes as {word}", there.with_columns(col("event").fill_null(e)))
            for word, e in (("none", False), ("events", True))
        ]
    told = [(name, r.height, int(r["event"].sum()), *auc(r["value"], r["event"])) for name, r in readings]
    schema = {"reading": pl.String, "n": pl.Int64, "events": pl.Int64, "auc": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(told, schema=schema, orient="row")


def _roc(known: pl.DataFrame) -> pl.DataFrame:
    """What each distinct value gives as a cut, the highest first."""
    by_value = known.group_by("value").agg(col("event").sum(), n=pl.len()).sort("value", descending=True)
    hits, false = col("event").cum_sum(), (col("n") - col("event")).cum_sum()
    return by_value.select(
        cut="value", sensitivity=hits / col("event").sum(), false_positive_share=false / (col("n") - col("event")).sum()
    )


# ---- calibration


def _shares(counted: pl.DataFrame) -> pl.DataFrame:
    """Add the observed share of `events` among `n` with its interval."""
    limits = [wilson(k, n) for k, n in counted.select("events", "n").iter_rows()]
    return counted.with_columns(
        observed=col("events") / col("n"),
        low=pl.Series([low for low, _ in limits], dtype=pl.Float64),
        high=pl.Series([high for _, high in limits], dtype=pl.Float64),
    )


def _calibration(known: pl.DataFrame, place: str, name: str | None) -> pl.DataFrame:
    ends = pl.format("{} to {}", col("value").min().round_sig_figs(4), col("value").max().round_sig_figs(4))
    one = pl.format("{}", col("value").min().round_sig_figs(4))
    label = pl.when(col("value").min() == col("value").max()).then(one).otherwise(ends) if name is None else col(name).first()
    counted = known.group_by(place).agg(
        label.alias("group"), n=pl.len().cast(pl.Int64), events=col("event").sum().cast(pl.Int64), mean=col("value").mean()
    )
    return _shares(counted.sort(place)).select("group", "n", "events", "mean", "observed", "low", "high")


def _at_cut(decided: pl.DataFrame, cut: float | None) -> pl.DataFrame:
    schema = {"measure": pl.String, "k": pl.Int64, "n": pl.Int64, "share": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    if cut is None:
        return pl.DataFrame(schema=schema)
    # A range that lies on one side of the cut is decided.
    decided = decided.filter((col("value") >= cut) | (col("upper") < cut))
    high, event = decided["value"] >= cut, decided["event"]
    pairs = {
        "sensitivity": (high & event, event),
        "specificity": (~high & ~event, ~event),
        "positive predictive value": (high & event, high),
        "negative predictive value": (~high & ~event, ~high),
    }
    told = []
    for name, (hits, among) in pairs.items():
        k, n = int(hits.sum()), int(among.sum())
        told.append((name, k, n, k / n if n else None, *wilson(k, n)))
    return pl.DataFrame(told, schema=schema, orient="row")


def _probability(known: pl.DataFrame) -> dict[str, float | None]:
    """Brier score, observed by expected, and the slope and intercept of the outcome's logit on that of the probability."""
    p = known["value"]
    event = known["event"].cast(pl.Float64)
    expected = float(p.sum())
    if p.is_empty():
        return dict.fromkeys(("brier", "brier_of_the_mean", "observed_by_expected", *_FIT))
    fit = logistic(p.clip(SURE, 1 - SURE), event)
    return {
        "brier": float(((p - event) ** 2).mean()),  # type: ignore[arg-type]
        "brier_of_the_mean": float(event.mean() * (1 - event.mean())),  # type: ignore[operator]
        "observed_by_expected": float(event.sum()) / expected if expected else None,
        **fit,
    }


_FIT = ("intercept", "intercept_low", "intercept_high", "slope", "slope_low", "slope_high")


def logistic(p: pl.Series, event: pl.Series) -> dict[str, float | None]:
    """Intercept and slope of a logistic model of the outcome on the logit of `p`, with 95 % intervals, by Newton's method.

    All null where there is none: the outcome is parted wholly, or `p` does not vary.
    """
    x = (p / (1 - p)).log()
    a, b = 0.0, 1.0
    for _ in range(50):
        # Beyond 30 a probability is 1 to thirteen places.
        fitted = 1 / (1 + (-(a + b * x).clip(-30, 30)).exp())
        w, rest = fitted * (1 - fitted), event - fitted
        s0, s1, s2 = (float((w * x**k).sum()) for k in (0, 1, 2))
        det = s0 * s2 - s1 * s1
        if det <= 1e-12 * max(s0 * s2, 1e-300):
            break
        g0, g1 = float(rest.sum()), float((rest * x).sum())
        step_a, step_b = (s2 * g0 - s1 * g1) / det, (s0 * g1 - s1 * g0) / det
        a, b = a + step_a, b + step_b
        if abs(a) > 1e3 or abs(b) > 1e3:
            break
        if abs(step_a) + abs(step_b) < 1e-10:
            se_a, se_b = sqrt(s2 / det), sqrt(s0 / det)
            return dict(zip(_FIT, (a, a - Z95 * se_a, a + Z95 * se_a, b, b - Z95 * se_b, b + Z95 * se_b), strict=True))
    return dict.fromkeys(_FIT)


# ---- decision curve


def _decision(known: pl.DataFrame, cut: float | None, *, probability: bool) -> pl.DataFrame:
    """Net benefit of treating those at or above each threshold probability; of a score that is none, of treating those at or above its cut."""
    schema = {"threshold": pl.Float64, "net_benefit": pl.Float64, "all": pl.Float64, "none": pl.Float64}
    if (not probability and cut is None) or known.is_empty():
        return pl.DataFrame(schema=schema)
    n, events = known.height, int(known["event"].sum())
    treated = [col("value") >= (t if probability else cut) for t in THRESHOLDS]
    hits = known.select(pl.concat_list((h & col("event")).sum() for h in treated)).to_series()[0]
    others = known.select(pl.concat_list((h & ~col("event")).sum() for h in treated)).to_series()[0]
    odds = pl.Series([t / (1 - t) for t in THRESHOLDS])
    return pl.DataFrame({
        "threshold": THRESHOLDS,
        "net_benefit": hits / n - others / n * odds,
        "all": events / n - (n - events) / n * odds,
        "none": [0.0] * len(THRESHOLDS),
    }, schema=schema)  # fmt: skip


# ---- files


def tables(found: Validation) -> Iterator[tuple[str, pl.DataFrame]]:
    """The tables by name."""
    for name in ("counts", "discrimination", "calibration", "groups", "at_cut", "decision", "roc"):
        yield name, getattr(found, name)


def write_validation(found: Validation, folder: Path | str, figure: str) -> None:
    """Write every table as CSV, the figure, and `validation.json`; a former folder is replaced whole."""
    with replace_folder(Path(folder), marker=MARKER) as fresh:
        for name, table in tables(found):
            labelled(table, bool(found.facts.get("simulated"))).write_csv(fresh / f"{name}.csv")
        (fresh / "validation.svg").write_text(figure, encoding="utf-8")
        summary = {**found.facts, "probability_measures": found.probability, "discrimination": found.discrimination.to_dicts()}
        (fresh / MARKER).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
