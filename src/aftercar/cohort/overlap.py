"""Two groups made alike in what was measured, by overlap weights (Li, Morgan and Zaslavsky 2018, J Am Stat Assoc 113:390)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aftercar.errors import AftercarError
from aftercar.intervals import Z95

Floats = NDArray[np.float64]


class Separated(AftercarError):
    """The covariates tell the groups apart: nobody of one group could have been in the other."""

    def __init__(self, covariates: list[str]) -> None:
        self.covariates = covariates
        super().__init__(
            f"No overlap: {', '.join(covariates)} tell the groups apart (separation), so that they cannot be made alike."
        )


@dataclass(frozen=True, eq=False)
class Weighted:
    """The groups weighted to the courses that could have been in either.

    Attributes:
        propensity: of each course, to be in the group; shape `[course]`.
        weight: one less the propensity in the group, the propensity in the reference.
        coefficient: of the logistic model: the intercept, and each column of the covariates that was kept.
        kept: the columns of the covariates that were used; the others say what these say already.
        influence: of each course on the coefficients, shape `[course, coefficient]`.
    """

    group: NDArray[np.bool_]
    design: Floats
    propensity: Floats
    weight: Floats
    coefficient: Floats
    kept: tuple[int, ...]
    influence: Floats

    def effective(self) -> tuple[float, float]:
        """The effective number of courses in group and reference (Kish)."""
        group, reference = (self.weight[who] for who in (self.group, ~self.group))
        return float(group.sum() ** 2 / (group**2).sum()), float(reference.sum() ** 2 / (reference**2).sum())

    def shares(self, outcome: Floats, clusters: NDArray[np.int64] | None = None) -> Shares:
        """The weighted shares of an outcome with the covariance that an estimated propensity leaves them: a sandwich of the stacked equations
        (Lunceford and Davidian 2004, Stat Med 23:2937; Li, Thomas and Li 2019, Am J Epidemiol 188:250).

        Args:
            outcome: 0 or 1 of each course.
            clusters: a number of each course's subject: what several courses of one subject say is counted together.
        """
        z, e, x, n = self.group.astype(float), self.propensity, self.design, len(outcome)
        spread = (e * (1 - e))[:, None] * x
        found, influences = [], []
        for who, sign in ((z, -1.0), (1 - z, 1.0)):
            w = who * self.weight
            share = float((w @ outcome) / w.sum())
            off = outcome - share
            slope = sign * (who * off) @ spread / n  # how the coefficients move the weighted mean
            influences.append((w * off + self.influence @ slope) / (w.sum() / n))
            found.append(share)
        own = np.column_stack(influences)
        if clusters is not None:
            together = np.zeros((int(clusters.max()) + 1, 2))
            np.add.at(together, clusters, own)
            own = together
        return Shares(found[0], found[1], own.T @ own / n**2)


@dataclass(frozen=True, eq=False)
class Shares:
    """The weighted share of a group and of its reference, with the covariance of the two."""

    group: float
    reference: float
    covariance: Floats

    def difference(self) -> tuple[float, float, float] | None:
        """With its 95 % interval; null where in both groups nobody or everybody had it: the spread is not known."""
        variance = float(np.array([1.0, -1.0]) @ self.covariance @ np.array([1.0, -1.0]))
        if variance <= 1e-15:
            return None
        middle, half = self.group - self.reference, Z95 * float(np.sqrt(variance))
        return middle, max(middle - half, -1.0), min(middle + half, 1.0)

    def ratio(self) -> tuple[float, float, float] | None:
        """With the 95 % interval of its log; null where one of the groups has no event."""
        if self.group <= 0 or self.reference <= 0:
            return None
        slope = np.array([1 / self.group, -1 / self.reference])
        half = Z95 * float(np.sqrt(max(float(slope @ self.covariance @ slope), 0.0)))
        ratio = self.group / self.reference
        return ratio, float(ratio * np.exp(-half)), float(ratio * np.exp(half))


def overlap(group: NDArray[np.bool_], covariates: Floats, names: list[str]) -> Weighted:
    """Weigh two groups by a logistic model of who is in which.

    With the weights of this model the weighted means of each covariate are the same in both groups, exactly.

    Args:
        group: whether each course is in the group; both groups hold somebody.
        covariates: numbers, shape `[course, covariate]`, none missing.
        names: of the columns, for the error.
    Raises:
        Separated: a combination of covariates tells the groups apart, wholly or but for ties; the model has no solution then.
    """
    kept = _independent(covariates)
    own = covariates[:, kept]
    scale = np.where(own.std(axis=0) > 0, own.std(axis=0), 1.0)
    x = np.column_stack([np.ones(len(group)), (own - own.mean(axis=0)) / scale])
    if apart := separating(group, x):
        raise Separated([names[kept[k - 1]] for k in apart if k])
    z = group.astype(float)
    beta = np.zeros(x.shape[1])
    for _ in range(100):
        e = _logistic(x @ beta)
        step = np.linalg.solve((x * (e * (1 - e))[:, None]).T @ x, x.T @ (z - e))
        beta = beta + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-12:
            break
    e = _logistic(x @ beta)
    information = (x * (e * (1 - e))[:, None]).T @ x / len(z)
    influence = np.linalg.solve(information, (x * (z - e)[:, None]).T).T.astype(np.float64)
    plain = beta[1:] / scale
    coefficient = np.concatenate([[beta[0] - plain @ own.mean(axis=0)], plain])
    return Weighted(group, x, e, np.where(group, 1 - e, e), coefficient, tuple(kept), influence)


def _logistic(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def _independent(covariates: Floats) -> list[int]:
    """The columns that say something which the intercept and the columns before them do not."""
    kept: list[int] = []
    basis = [np.ones(len(covariates)) / np.sqrt(len(covariates))]
    for k, column in enumerate(covariates.T):
        rest = column - column.mean()
        size = float(np.linalg.norm(rest))
        for _ in range(2):
            for b in basis:
                rest = rest - b * (b @ rest)
        if size > 0 and np.linalg.norm(rest) > 1e-9 * size:
            kept.append(k)
            basis.append(rest / np.linalg.norm(rest))
    return kept


def separating(group: NDArray[np.bool_], x: Floats) -> list[int]:
    """The columns of `x` in a combination that is never lower in the group than in the reference, and higher for somebody (Konis 2007); empty where
    there is none, which is when a logistic model has a solution."""
    from scipy.optimize import linprog

    signed = np.where(group, 1.0, -1.0)[:, None] * x
    found = linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(x)), bounds=(-1, 1), method="highs")
    if found.x is None or -found.fun <= 1e-7:
        return []
    return [int(k) for k in np.flatnonzero(np.abs(found.x) > 1e-7)]


def standardised(group: NDArray[np.bool_], covariates: Floats, weight: Floats | None = None) -> Floats:
    """Difference of the means of each covariate in units of its spread within the groups (unweighted, so that before and after compare); null (nan)
    where it does not vary."""
    w = np.ones(len(group)) if weight is None else weight
    means = [np.average(covariates[who], axis=0, weights=w[who]) for who in (group, ~group)]
    variance = sum(
        covariates[who].var(axis=0, ddof=1) if who.sum() > 1 else np.zeros(covariates.shape[1]) for who in (group, ~group)
    )
    spread = np.sqrt(np.asarray(variance, dtype=float) / 2)
    return np.divide(means[0] - means[1], spread, out=np.full(covariates.shape[1], np.nan), where=spread > 1e-12)
