"""Worst grades counted: how many courses had each, and how many surely, perhaps and surely not reached a grade."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from polars import col

from aftercar.grade.adjudicate import with_family
from aftercar.grade.run import highest_grade
from aftercar.grade.worst import WORDS
from aftercar.intervals import wilson

GRADES = range(6)
CUTS = (1, 2, 3, 4, 5)
SCALE = ["toxicity", "family"]  # what a row is of
_APPLIES = col("status").cast(pl.String) != "not_applicable"


def is_open() -> pl.Expr:
    """Whether missing data leave the worst grade of a row of `worst` open: a diagnosis that is met in part is open, one that is ruled out is not."""
    return _APPLIES & (col("status").cast(pl.String) != "not_met") & (col("grade") < col("grade_upper"))


def worst_counts(worst: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """A row a family of scales: how many courses had each worst grade.

    Args:
        worst: the table `worst`; a row a course and family.
        by: columns of groups, which come first.
    Returns:
        `toxicity, family, n, g0 .. g5, incomplete, not_applicable, scales`. Grades, incomplete (missing data leave a range) and not applicable add up to `n`.
    """
    settled = _APPLIES & (col("grade") == col("grade_upper"))
    return (
        _counted(worst)
        .group_by(*by, *SCALE)
        .agg(
            n=pl.len().cast(pl.Int64),
            **{f"g{g}": (settled & (col("grade") == g)).sum().cast(pl.Int64) for g in GRADES},
            incomplete=(_APPLIES & ~settled).sum().cast(pl.Int64),
            not_applicable=(~_APPLIES).sum().cast(pl.Int64),
            scales=col("scale").filter(_APPLIES).unique().sort(),
        )
        .sort(*by, *SCALE)
    )


def reached(worst: pl.DataFrame, cuts: Sequence[int] = CUTS, by: Sequence[str] = ()) -> pl.DataFrame:
    """A row a family of scales and least grade that they have: in how many courses to which the scale applies it was reached.

    Returns:
        `toxicity, family, grade_at_least, yes, no, undecided, share, low, high, least, least_low, greatest, greatest_high`: `share` is over those in whom it is decided, with Wilson's 95 %
        interval; `least` and `greatest` are over all, if all the undecided had not reached it, and if all had, each with the outer end of its interval. Null where nobody counts.
    """
    rows = _counted(worst).filter(_APPLIES)
    parts = [
        rows.group_by(*by, *SCALE).agg(
            grade_at_least=pl.lit(cut, pl.Int64),
            yes=(col("grade") >= cut).sum().cast(pl.Int64),
            no=(col("grade_upper") < cut).sum().cast(pl.Int64),
            n=pl.len().cast(pl.Int64),
        )
        for cut in cuts
    ]
    tops = {family: highest_grade(family) for family in rows["family"].unique()}
    has = col("grade_at_least") <= col("family").replace_strict(tops, default=5, return_dtype=pl.Int64)
    found = (
        pl.concat(parts).filter(has).with_columns(undecided=col("n") - col("yes") - col("no")).sort(*by, *SCALE, "grade_at_least")
    )
    decided, perhaps = col("yes") + col("no"), col("yes") + col("undecided")
    ends = [
        (*wilson(yes, yes + no), wilson(yes, n)[0], wilson(n - no, n)[1])
        for yes, no, n in found.select("yes", "no", "n").iter_rows()
    ]
    limits = pl.DataFrame(ends, schema=dict.fromkeys(("low", "high", "least_low", "greatest_high"), pl.Float64), orient="row")
    found = found.with_columns(
        share=pl.when(decided > 0).then(col("yes") / decided), least=col("yes") / col("n"), greatest=perhaps / col("n")
    )
    return found.hstack(limits).select(
        *by, *SCALE, "grade_at_least", "yes", "no", "undecided", "share", "low", "high", "least", "least_low", "greatest", "greatest_high"
    )  # fmt: skip


def diagnoses(worst: pl.DataFrame) -> pl.DataFrame:
    """How many courses meet a diagnosis fully or in part: `toxicity, status, n`, a row a toxicity and word that occurs."""
    said = worst.with_columns(col("status").cast(pl.String)).filter(col("status").is_in(list(WORDS)))
    return said.group_by("toxicity", "status").agg(n=pl.len().cast(pl.Int64)).sort("toxicity", "status")


def _counted(worst: pl.DataFrame) -> pl.DataFrame:
    """Rows with their family. A diagnosis that is ruled out may have a grade of its own, which does not count: diarrhoea of an infection is no enterocolitis."""
    out = col("status").cast(pl.String) == "not_met"
    return with_family(worst).with_columns(pl.when(out).then(0).otherwise(c).alias(c) for c in ("grade", "grade_upper"))
