"""Hides the likelihood of people in strata whose levels vary at random about main effects, from sums by stratum.

Stratum j has n_j people, an outcome total y_j and main effects x_j; given z ~ N(0, 1) its linear predictor is
x_j'b + s z. For yes-or-no outcomes and counts it is a mixed model with one row a stratum (`mixed_glm`); for the normal
family the likelihood of the sums is known in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.mixed_glm import constants, fit_mixed_glm
from gbveval.numerics.mixed_glm_likelihood import Cells, find_mode, log_likelihood
from gbveval.numerics.random_intercepts import make_batches

FloatArray = NDArray[np.float64]
FAMILIES = ("binomial", "poisson", "normal")


@dataclass(frozen=True, slots=True, eq=False)
class Strata:
    """Sums by stratum.

    Attributes
    ----------
    n, total : ndarray, shape (strata,)
        People, and the sum of their outcomes.
    X : ndarray, shape (strata, p)
        Intercept and main effects.
    family : str
        "binomial" (logit), "poisson" (log) or "normal".
    within : float
        Sum of squares about the stratum means; for the normal family.
    """

    n: FloatArray
    total: FloatArray
    X: FloatArray
    family: str
    within: float = 0.0

    @property
    def mean(self) -> FloatArray:
        """Mean outcome of each stratum."""
        return self.total / self.n

    @property
    def cells(self) -> Cells:
        """The strata as cells of a mixed model, each with a level of its own."""
        return Cells(self.family, self.X, self.total, self.n, make_batches(np.arange(len(self.n))[:, None]))


@dataclass(frozen=True, slots=True, eq=False)
class StrataFit:
    """Maximum likelihood, or restricted maximum likelihood for the normal family.

    Attributes
    ----------
    beta, covariance : ndarray
        Coefficients, and their covariance given the variances.
    variance, residual : float
        Between strata; and within, for the normal family (otherwise zero).
    log_likelihood : float
        Up to constants of the data.
    """

    beta: FloatArray
    covariance: FloatArray
    variance: float
    residual: float
    log_likelihood: float


def fit_strata(strata: Strata, points: int) -> StrataFit:
    """Return the maximum of the likelihood over coefficients and the variance between strata.

    Parameters
    ----------
    strata : Strata
        The sums.
    points : int
        Quadrature points, one for Laplace's method; ignored for the normal family, whose restricted likelihood is
        exact.

    Raises
    ------
    NoMaximumError
        If the likelihood has no maximum at finite values.
    """
    if strata.family == "normal":
        return _fit_normal(strata)
    places = np.arange(len(strata.n))[:, None]
    fit = fit_mixed_glm(strata.family, strata.X[:, 1:], strata.total, strata.n, places, points=points)
    # Of people, not of their sums: without the ways to be that many.
    plain = fit.log_likelihood - constants(strata.family, strata.total, strata.n)[0]
    return StrataFit(fit.beta, fit.covariance, float(fit.sds[0]) ** 2, 0.0, plain)


def _fit_normal(strata: Strata) -> StrataFit:
    from scipy.optimize import minimize_scalar

    def profile(log_sd: float) -> float:
        return -_normal_given_sd(strata, float(np.exp(log_sd))).log_profile

    scale = float(np.sqrt(max(np.var(strata.mean), strata.within / max(strata.n.sum(), 2.0), 1e-300)))
    grid = np.linspace(np.log(1e-4 * scale), np.log(30.0 * scale), 16)
    best = int(np.argmin([profile(x) for x in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(profile, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    at = _normal_given_sd(strata, float(np.exp(found.x)))
    return StrataFit(at.beta, at.covariance, float(np.exp(2.0 * found.x)), at.residual, at.log_profile)


@dataclass(frozen=True, slots=True, eq=False)
class GivenSd:
    """What holds given the spread between strata.

    Attributes
    ----------
    beta, covariance : ndarray
        Coefficients that maximise the likelihood, and the inverse of its curvature.
    log_profile : float
        The likelihood there; restricted for the normal family.
    log_restricted : float
        With the coefficients integrated out under a flat prior (Laplace's approximation, exact for the normal).
    deviation, information : ndarray, shape (strata,)
        Predicted deviation of each stratum, and what its own people say of its level.
    residual : float
        Variance within strata, for the normal family.
    """

    beta: FloatArray
    covariance: FloatArray
    log_profile: float
    log_restricted: float
    deviation: FloatArray
    information: FloatArray
    residual: float


def given_sd(strata: Strata, sd: float, points: int, start: FloatArray | None = None) -> GivenSd:
    """Return the coefficients and the likelihood given the spread between strata."""
    if strata.family == "normal":
        return _normal_given_sd(strata, sd)
    cells, theta = strata.cells, np.array([sd])
    modes = [np.zeros(batch.shape) for batch in cells.batches]
    beta: FloatArray = _first_guess(strata) if start is None else start
    last = -np.inf
    for _ in range(200):
        now, slopes = log_likelihood(cells, beta, theta, modes, points)
        deviation, information = _told(cells, beta, theta, modes)
        weight = 1.0 / (sd**2 + 1.0 / np.maximum(information, 1e-12))
        hessian = (strata.X * weight[:, None]).T @ strata.X
        step = np.linalg.solve(hessian, slopes[:-1])
        if np.abs(step).max() < 1e-9 or abs(now - last) < 1e-12 * abs(now):
            break
        last, beta = now, np.asarray(beta + step / max(1.0, float(np.abs(step).max())), dtype=np.float64)
    covariance: FloatArray = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
    restricted = now - 0.5 * float(np.linalg.slogdet(hessian)[1])
    return GivenSd(beta, covariance, now, restricted, deviation, information, 0.0)


def _told(cells: Cells, beta: FloatArray, theta: FloatArray, modes: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Return each stratum's likeliest deviation, and what its own people say of its level there."""
    deviation, information = np.empty(len(cells.events)), np.empty(len(cells.events))
    for batch, start in zip(cells.batches, modes, strict=True):
        mode = find_mode(cells, batch, cells.x[batch.rows] @ beta, theta, start)
        deviation[batch.rows] = theta[0] * batch.at_rows(mode.u, 0)
        information[batch.rows] = mode.w
    return deviation, information


def _first_guess(strata: Strata) -> FloatArray:
    """Return coefficients from a regression of empirical logits or logs."""
    y, n = strata.total + 0.5, strata.n + 1.0
    level = np.log(y / (n - y)) if strata.family == "binomial" else np.log(y / n)
    weight = np.sqrt(strata.n / (1.0 + strata.n / 50.0))
    beta: FloatArray = np.linalg.lstsq(strata.X * weight[:, None], level * weight, rcond=None)[0]
    return beta


def _normal_given_sd(strata: Strata, sd: float) -> GivenSd:
    """Return the restricted likelihood at a spread, maximised over the variance within strata."""
    from scipy.optimize import minimize_scalar

    people, places = float(strata.n.sum()), len(strata.n)

    def parts(residual: float) -> tuple[float, FloatArray, FloatArray, FloatArray]:
        weight = 1.0 / (sd**2 + residual / strata.n)
        hessian = np.asarray((strata.X * weight[:, None]).T @ strata.X, dtype=np.float64)
        beta = np.asarray(np.linalg.solve(hessian, strata.X.T @ (weight * strata.mean)), dtype=np.float64)
        left = np.asarray(strata.mean - strata.X @ beta, dtype=np.float64)
        value = (people - places) * np.log(residual) + strata.within / residual
        value += -np.log(weight).sum() + float(weight @ left**2) + np.linalg.slogdet(hessian)[1]
        return -0.5 * float(value), beta, hessian, left

    middle = max(strata.within / max(people - places, 1.0), 1e-300)
    ends = (np.log(middle) - 3.0, np.log(middle) + 3.0)
    found = minimize_scalar(
        lambda x: -parts(float(np.exp(x)))[0], bounds=ends, method="bounded", options={"xatol": 1e-11}
    )
    residual = float(np.exp(found.x))
    value, beta, hessian, left = parts(residual)
    information = strata.n / residual
    shrink = sd**2 * information / (1.0 + sd**2 * information)
    return GivenSd(
        beta, np.asarray(np.linalg.inv(hessian), dtype=np.float64), value, value, shrink * left, information, residual
    )
