"""Why studies differ: subgroups with a test between them, and meta-regression on what is known of the studies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col

from aftercar.errors import InputError, OptionError, nearest
from aftercar.intervals import Z95
from aftercar.synthesis.proportions import Pooled, pooled
from aftercar.synthesis.published import Group, grouped

Floats = NDArray[np.float64]

BY = ("product", "disease", "scale")
MODERATORS = {
    "product": "product", "disease": "disease group", "target": "target", "costim": "costimulatory domain", "scale": "scale", "year": "year of the paper",
    "n": "size of the study",
}  # fmt: skip
_NUMBERS = {"year": 1.0, "n": 100.0}  # with the unit of a step


@dataclass(frozen=True)
class Term:
    """A coefficient as an odds ratio: against the first level, or by a step of a number."""

    name: str
    ratio: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Regression:
    """What a moderator says of the rates within a scale.

    Attributes:
        reference: the level with which the others are compared; null of a number.
        terms: of the binomial-normal model.
        statistic: Wald chi-square that all coefficients but the intercept are 0, with `df` and `p`; `logit_p` by log odds with known variances.
        tau2: what is left between studies; `before` without the moderator.
        why: why there is none.
    """

    scale: str
    moderator: str
    studies: int
    left_out: int
    reference: str | None = None
    terms: tuple[Term, ...] = ()
    statistic: float | None = None
    df: int = 0
    p: float | None = None
    logit_p: float | None = None
    tau2: float | None = None
    before: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Parted:
    """The subgroups of a scale, and the test between them."""

    groups: list[Group]
    test: Regression


def wald(found: Pooled) -> tuple[float, int, float]:
    """Chi-square, degrees of freedom and p of the hypothesis that every coefficient but the intercept is 0."""
    from scipy.stats import chi2

    b, v = found.coefficient[1:], found.covariance[1:, 1:]
    statistic = float(b @ np.linalg.solve(v, b))
    return statistic, len(b), float(chi2.sf(statistic, len(b)))


def regress(scale: str, studies: pl.DataFrame, moderator: str) -> Regression:
    """Regress the rates of studies on one moderator, by the binomial-normal model with one variance between studies.

    Args:
        studies: of `published.counted`; those of which the moderator is not known are left out, and counted.
        moderator: a key of `MODERATORS`.
    Raises:
        OptionError: there is no such moderator.
    """
    if moderator not in MODERATORS:
        raise OptionError(f"A moderator is one of {', '.join(MODERATORS)}. {nearest(moderator, MODERATORS)}")
    known = studies.filter(col(moderator).is_not_null())
    missing = studies.height - known.height
    reference, names, x = _design(known, moderator)
    about = Regression(scale, moderator, known.height, missing, reference)
    if known.height < 3:
        return replace(about, why="Too few studies" + (" of which it is known." if missing else "."))
    if not names:
        return replace(about, why="All studies are alike in it.")
    k, n = known["events"].to_list(), known["n"].to_list()
    try:
        found, logit, before = pooled(k, n, x), pooled(k, n, x, method="logit"), pooled(k, n)
        if not np.all(np.isfinite(found.se)) or found.se.max() > 50:
            raise InputError("A group in which nobody, or everybody, had it has no ratio.")
    except (InputError, np.linalg.LinAlgError) as error:
        return replace(about, why=str(error) if isinstance(error, InputError) else "The studies do not tell the groups apart.")
    statistic, df, p = wald(found)
    return replace(
        about, terms=tuple(_term(*row) for row in zip(names, found.coefficient[1:], found.se[1:], strict=True)), statistic=statistic, df=df, p=p,
        logit_p=wald(logit)[2], tau2=found.tau2, before=before.tau2,
    )  # fmt: skip


def parted(scale: str, studies: pl.DataFrame, by: str) -> Parted:
    """The subgroups of studies, each put together, and the test between them.

    Args:
        by: one of `BY`.
    Raises:
        OptionError: it is another.
    """
    if by not in BY:
        raise OptionError(f"--by is one of {', '.join(BY)}. {nearest(by, BY)}")
    levels = studies.with_columns(col(by).fill_null("not told")).partition_by(by, as_dict=True, maintain_order=True)
    return Parted([grouped(scale, own, str(level)) for (level,), own in levels.items()], regress(scale, studies, by))


def _design(studies: pl.DataFrame, moderator: str) -> tuple[str | None, list[str], Floats]:
    """The reference level, and the names and columns of what is regressed on. The level with the most patients is the reference."""
    values = studies[moderator]
    if moderator in _NUMBERS:
        step = _NUMBERS[moderator]
        number = np.array(values.to_list(), dtype=float) / step
        constant = number.size == 0 or np.ptp(number) == 0
        return (
            None,
            [] if constant else [f"{moderator}, by {step:g}"],
            (number - number.mean())[:, None] if number.size else number[:, None],
        )
    sizes = studies.group_by(moderator).agg(col("n").sum()).sort("n", moderator, descending=[True, False])
    levels = sizes[moderator].to_list()
    x = np.array([[float(v == level) for level in levels[1:]] for v in values], dtype=float)
    return (levels[0] if levels else None), levels[1:], x


def _term(name: str, b: float, se: float) -> Term:
    from scipy.stats import norm

    return Term(name, float(np.exp(b)), float(np.exp(b - Z95 * se)), float(np.exp(b + Z95 * se)), float(2 * norm.sf(abs(b / se))))
