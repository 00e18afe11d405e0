"""Random-effects meta-analysis of proportions: the binomial-normal model, and for comparison the two ways with transformed shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aftercar.errors import InputError
from aftercar.intervals import Z95

Floats = NDArray[np.float64]
Method = Literal["glmm", "logit", "freeman_tukey"]

POINTS = 41  # of the quadrature, by study
_STARTS = (0.2, 1.0)  # of tau: the likelihood may have two tops
MOST_TAU = 10.0  # in log odds; beyond it studies are all or nothing
_NONE = 1e-3  # a tau below it is none


@dataclass(frozen=True, eq=False)
class Pooled:
    """Studies put together, on the scale of the model: log odds, or the transformed share.

    Attributes:
        coefficient, se: of the intercept and each covariate.
        covariance: of the coefficients.
        tau2: variance between studies beyond chance.
        heterogeneity: chi-square of the hypothesis that all studies have one rate (given the covariates), `df` and `p`. Likelihood ratio for `glmm`, Cochran's Q for the others.
        i2: share of the variance that is between studies, 0 to 1; null for `glmm`, where it is not defined.
        log_likelihood: of `glmm`.
        studies: how many.
        harmonic_n: of `freeman_tukey`, the harmonic mean of the sizes, with which shares are transformed back.
    """

    method: Method
    coefficient: Floats
    se: Floats
    covariance: Floats
    tau2: float
    heterogeneity: float
    df: int
    p: float
    i2: float | None
    log_likelihood: float | None
    studies: int
    harmonic_n: float | None = None

    def rate(self, at: ArrayLike | None = None) -> tuple[float, float, float]:
        """The pooled share with its 95 % interval: of the middle of the studies, at values of the covariates (by default all 0)."""
        x = np.concatenate([[1.0], np.zeros(len(self.coefficient) - 1) if at is None else np.asarray(at, dtype=float)])
        middle, se = float(x @ self.coefficient), float(np.sqrt(x @ self.covariance @ x))
        return self._share(middle), self._share(middle - Z95 * se), self._share(middle + Z95 * se)

    def prediction(self) -> tuple[float, float] | None:
        """Where the true share of a further study lies with 95 % (Higgins 2009, J R Stat Soc A 172:137); null with fewer than three studies, or with covariates."""
        if self.studies < 3 or len(self.coefficient) > 1:
            return None
        from scipy.stats import t

        half = float(t.ppf(0.975, self.studies - 2)) * float(np.sqrt(self.tau2 + self.se[0] ** 2))
        middle = float(self.coefficient[0])
        return self._share(middle - half), self._share(middle + half)

    def _share(self, x: float) -> float:
        if self.method == "freeman_tukey":
            assert self.harmonic_n is not None
            return _back(x, self.harmonic_n)
        return float(1 / (1 + np.exp(-x)))


def pooled(events: ArrayLike, n: ArrayLike, covariates: ArrayLike | None = None, method: Method = "glmm") -> Pooled:
    """Put studies together.

    `glmm`: events are binomial, and log odds of studies normal about what the covariates say (Hamza 2008, J Clin Epidemiol 61:41); maximum likelihood by adaptive Gauss-Hermite quadrature;
    studies without an event need no correction. `logit`: log odds, with 0.5 added to the counts of studies in which nobody or everybody had it. `freeman_tukey`: double arcsine (Freeman and
    Tukey 1950), transformed back by Miller 1978 with the harmonic mean of the sizes, which can mislead where sizes differ much (Schwarzer 2019). Both estimate the variance between studies by
    restricted maximum likelihood.

    Args:
        events, n: of each study, shape `[study]`.
        covariates: shape `[study, covariate]`, for a meta-regression.
    Raises:
        InputError: there are fewer studies than coefficients and one, counts are not whole, or there are more events than patients; for `glmm` also where nobody or everybody had it in all
            studies, or they do not tell how far they differ: no estimate is likeliest.
    """
    k, size = np.asarray(events, dtype=float), np.asarray(n, dtype=float)
    if (
        k.shape != size.shape
        or k.ndim != 1
        or np.any((k < 0) | (k > size) | (size < 1) | (k != np.round(k)) | (size != np.round(size)))
    ):
        raise InputError(
            "Each study needs whole numbers of events and patients, at least one patient, and no more events than patients."
        )
    x = np.ones((len(k), 1)) if covariates is None else np.column_stack([np.ones(len(k)), np.asarray(covariates, dtype=float)])
    if len(k) < x.shape[1] + 1 or np.linalg.matrix_rank(x) < x.shape[1]:
        raise InputError(f"{len(k)} studies are too few for {x.shape[1]} coefficients, or the covariates say the same twice.")
    if method == "glmm":
        return _glmm(k, size, x)
    if method == "logit":
        whole = (k == 0) | (k == size)
        a, b = k + 0.5 * whole, size - k + 0.5 * whole
        return _normal(method, np.log(a / b), 1 / a + 1 / b, x)
    y = (np.arcsin(np.sqrt(k / (size + 1))) + np.arcsin(np.sqrt((k + 1) / (size + 1)))) / 2
    return _normal(method, y, 1 / (4 * size + 2), x, float(len(size) / np.sum(1 / size)))


# ---- binomial-normal


def _glmm(k: Floats, n: Floats, x: Floats) -> Pooled:
    from scipy.optimize import minimize
    from scipy.special import xlogy
    from scipy.stats import chi2

    if k.sum() in (0, n.sum()):
        raise InputError(
            "In all studies nobody, or everybody, had it: no rate is likeliest. Show the exact interval of all counted together."
        )
    common = _binomial_fit(k, n, x)
    saturated = _constant(k, n) + float(np.sum(xlogy(k, k / n) + xlogy(n - k, 1 - k / n)))
    at_common = _log_likelihood(np.append(common, 0.0), k, n, x)
    bounds = [*((b - 10, b + 10) for b in common), (0.0, MOST_TAU)]

    def unlikely(at: Floats) -> tuple[float, Floats]:
        value, slope = _likelihood(at, k, n, x)
        return -value, -slope

    found = [
        minimize(
            unlikely, np.append(common, start), method="L-BFGS-B", jac=True, bounds=bounds,
            options={"ftol": 1e-14, "gtol": 1e-7, "maxiter": 500},
        )
        for start in _STARTS
    ]  # fmt: skip
    best = min(found, key=lambda f: f.fun)
    beta, tau = np.asarray(best.x[:-1], dtype=np.float64), float(best.x[-1])
    if tau < _NONE or -best.fun <= at_common:
        beta, tau = common, 0.0
    free = np.append(beta, tau) if tau else beta
    information = -_second(lambda at: _log_likelihood(at if tau else np.append(at, 0.0), k, n, x), free)
    if tau >= MOST_TAU or np.linalg.eigvalsh(information).min() <= 0:
        raise InputError(
            "The studies do not tell how far they differ: no rate is likeliest. Pool them by log odds, or show them alone."
        )
    covariance = np.linalg.inv(information)[: len(beta), : len(beta)].astype(np.float64)
    q, df = max(2 * (saturated - at_common), 0.0), len(k) - x.shape[1]
    return Pooled(
        "glmm", beta, np.sqrt(np.diag(covariance)), covariance, tau**2, q, df, float(chi2.sf(q, df)), None, _log_likelihood(np.append(beta, tau), k, n, x), len(k)
    )  # fmt: skip


def _binomial_fit(k: Floats, n: Floats, x: Floats) -> Floats:
    """Coefficients where studies differ by nothing else."""
    from scipy.special import expit

    beta = np.zeros(x.shape[1])
    beta[0] = np.log((k.sum() + 0.5) / (n.sum() - k.sum() + 0.5))
    for _ in range(100):
        p = expit(x @ beta)
        step = np.linalg.solve((x * (n * p * (1 - p) + 1e-12)[:, None]).T @ x, x.T @ (k - n * p))
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-12:
            break
    return beta


def _constant(k: Floats, n: Floats) -> float:
    from scipy.special import gammaln

    return float(np.sum(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)))


def _log_likelihood(at: Floats, k: Floats, n: Floats, x: Floats) -> float:
    return _likelihood(at, k, n, x)[0]


def _likelihood(at: Floats, k: Floats, n: Floats, x: Floats) -> tuple[float, Floats]:
    """The log likelihood of coefficients and tau, and its slope; each study is integrated over its own standard normal, about its likeliest value.

    The slope is the mean of that of the studies' binomial likelihood over where their normals lie, given the counts (Fisher's identity).
    """
    from scipy.special import expit

    middle, tau = x @ at[:-1], at[-1]
    u = np.zeros_like(middle)
    for _ in range(50):
        p = expit(middle + tau * u)
        step = (tau * (k - n * p) - u) / (tau**2 * n * p * (1 - p) + 1)
        u = u + np.clip(step, -3, 3)
        if np.abs(step).max() < 1e-12:
            break
    p = expit(middle + tau * u)
    width = 1 / np.sqrt(tau**2 * n * p * (1 - p) + 1)
    nodes, weights = _quadrature()
    at_nodes = u[:, None] + np.sqrt(2) * width[:, None] * nodes
    eta = middle[:, None] + tau * at_nodes
    logs = k[:, None] * eta - n[:, None] * np.logaddexp(0, eta) - at_nodes**2 / 2 + nodes**2 + np.log(weights)
    top = logs.max(axis=1)
    parts = np.exp(logs - top[:, None])
    whole = parts.sum(axis=1)
    integrals = top + np.log(whole) + np.log(width) - 0.5 * np.log(np.pi)
    pull = (k[:, None] - n[:, None] * expit(eta)) * parts / whole[:, None]
    slope = np.append(pull.sum(axis=1) @ x, (pull * at_nodes).sum())
    return _constant(k, n) + float(integrals.sum()), slope


@cache
def _quadrature() -> tuple[Floats, Floats]:
    """Nodes and weights, the same for every study and step."""
    return np.polynomial.hermite.hermgauss(POINTS)


def _second(of: Callable[[Floats], float], at: Floats) -> Floats:
    """Second derivatives by central differences."""
    h = 1e-4 * np.maximum(1, np.abs(at))
    steps = np.diag(h)
    size = len(at)
    found = np.empty((size, size))
    for i in range(size):
        for j in range(i, size):
            a, b = steps[i], steps[j]
            found[i, j] = found[j, i] = (of(at + a + b) - of(at + a - b) - of(at - a + b) + of(at - a - b)) / (4 * h[i] * h[j])
    return found


# ---- transformed shares


def _normal(method: Method, y: Floats, v: Floats, x: Floats, harmonic_n: float | None = None) -> Pooled:
    """Transformed shares with known variances; the variance between studies by restricted maximum likelihood (Fisher scoring; Viechtbauer 2005)."""
    from scipy.stats import chi2

    fixed = _projection(1 / v, x)
    q, df = float(y @ fixed @ y), len(y) - x.shape[1]
    tau2 = max((q - df) / float(np.trace(fixed)), 0.0)
    for _ in range(1000):
        p = _projection(1 / (v + tau2), x)
        step = float(y @ p @ p @ y - np.trace(p)) / float(np.trace(p @ p))
        new = max(tau2 + step, 0.0)
        if abs(new - tau2) < 1e-12:
            break
        tau2 = new
    w = 1 / (v + tau2)
    covariance = np.linalg.inv((x * w[:, None]).T @ x)
    coefficient = covariance @ x.T @ (w * y)
    typical = df / float(np.trace(fixed))  # variance within a study, as I2 takes it (Higgins 2002)
    return Pooled(
        method, coefficient, np.sqrt(np.diag(covariance)), covariance, tau2, q, df, float(chi2.sf(q, df)), tau2 / (tau2 + typical), None, len(y), harmonic_n
    )  # fmt: skip


def _projection(w: Floats, x: Floats) -> Floats:
    """What takes from values what weights and covariates explain, in the metric of the weights."""
    wx = x * w[:, None]
    return np.diag(w) - wx @ np.linalg.solve(wx.T @ x, wx.T)


def _back(t: float, n: float) -> float:
    """A double arcsine as a share (Miller 1978, Am Stat 32:138)."""
    low, high = (float(np.arcsin(np.sqrt(e / (n + 1))) + np.arcsin(np.sqrt((e + 1) / (n + 1)))) / 2 for e in (0.0, n))
    if t <= low:
        return 0.0
    if t >= high:
        return 1.0
    s = np.sin(2 * t)
    return float((1 - np.sign(np.cos(2 * t)) * np.sqrt(max(1 - (s + (s - 1 / s) / n) ** 2, 0.0))) / 2)
