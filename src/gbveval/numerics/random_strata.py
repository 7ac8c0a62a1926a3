"""Hides the likelihood of people in strata whose levels vary at random about main effects, from sums by stratum.

Stratum j has n_j people, an outcome total y_j and main effects x_j; given z ~ N(0, 1) its linear predictor is
x_j'b + s z. Its likelihood is the integral over z by adaptive Gauss-Hermite quadrature, one point of which is Laplace's
approximation; for the normal family it is known in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
FAMILIES = ("binomial", "poisson", "normal")
_STEPS = 60


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

    def expected(self, eta: FloatArray) -> FloatArray:
        """Return the mean of one person at a linear predictor (strata, ...)."""
        if self.family == "binomial":
            return np.asarray(1.0 / (1.0 + np.exp(-eta)), dtype=np.float64)
        return np.asarray(np.exp(np.minimum(eta, 700.0)), dtype=np.float64)

    def log_density(self, eta: FloatArray) -> FloatArray:
        """Return log likelihoods of the people at linear predictors (strata, points), up to constants of the data."""
        y, n = self.total[:, None], self.n[:, None]
        if self.family == "binomial":
            return np.asarray(y * eta - n * np.logaddexp(0.0, eta), dtype=np.float64)
        return np.asarray(y * eta - n * self.expected(eta), dtype=np.float64)

    def information(self, eta: FloatArray) -> FloatArray:
        """Return minus the second derivative of the log likelihood at linear predictors (strata,)."""
        mean = self.expected(eta)
        return self.n * mean * (1.0 - mean) if self.family == "binomial" else self.n * mean

    def bend(self, eta: FloatArray) -> FloatArray:
        """Return the derivative of the information at linear predictors (strata,)."""
        mean = self.expected(eta)
        information = self.information(eta)
        return information * (1.0 - 2.0 * mean) if self.family == "binomial" else information


@dataclass(frozen=True, slots=True, eq=False)
class Integrated:
    """The likelihood at some coefficients and spread.

    Attributes
    ----------
    log_likelihood : ndarray, shape (strata,)
        With the stratum's own deviation integrated out.
    score : ndarray, shape (strata,)
        Derivative of it by the linear predictor.
    mode, information : ndarray, shape (strata,)
        Deviation at which the integrand peaks, on the scale of the predictor, and what the people say of it there.
    """

    log_likelihood: FloatArray
    score: FloatArray
    mode: FloatArray
    information: FloatArray


def integrate(strata: Strata, beta: FloatArray, sd: float, points: int) -> Integrated:
    """Return the integrated likelihood of every stratum.

    Parameters
    ----------
    strata : Strata
        Of the binomial or Poisson family.
    beta : ndarray, shape (p,)
        Coefficients.
    sd : float
        Of the deviations.
    points : int
        Of Gauss-Hermite quadrature about the mode; one is Laplace's approximation.

    References
    ----------
    Pinheiro and Bates (1995), Journal of Computational and Graphical Statistics 4.
    """
    centre = strata.X @ beta
    z = _modes(strata, centre, sd)
    information = strata.information(centre + sd * z)
    width = 1.0 / np.sqrt(1.0 + sd**2 * information)
    t, w = np.polynomial.hermite_e.hermegauss(points)
    node = z[:, None] + width[:, None] * t
    eta = centre[:, None] + sd * node
    log_part = strata.log_density(eta) - 0.5 * node**2 + 0.5 * t**2 + np.log(w) - 0.5 * np.log(2.0 * np.pi)
    top = log_part.max(axis=1, keepdims=True)
    part = np.exp(log_part - top)
    whole = part.sum(axis=1)
    score = strata.total - strata.n * (part * strata.expected(eta)).sum(axis=1) / whole
    if points == 1:
        # Laplace's approximation moves with the curvature at the mode, which the average over one point leaves out.
        score = score - 0.5 * sd**2 * strata.bend(centre + sd * z) * width**4
    return Integrated(top[:, 0] + np.log(whole * width), score, sd * z, information)


def _modes(strata: Strata, centre: FloatArray, sd: float) -> FloatArray:
    """Return where the integrand peaks in z, by Newton's method with steps that never overshoot its concave log."""
    z = np.zeros_like(centre)
    for _ in range(_STEPS):
        eta = centre + sd * z
        slope = sd * (strata.total - strata.n * strata.expected(eta)) - z
        step = slope / (1.0 + sd**2 * strata.information(eta))
        # Half a unit of the predictor at a time: beyond that the quadratic is no guide.
        z = z + np.clip(step, -4.0, 4.0) / np.maximum(1.0, np.abs(step * sd) / 2.0)
        if np.abs(step).max() < 1e-10:
            break
    return z


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
        Quadrature points; ignored for the normal family, whose restricted likelihood is exact.

    Raises
    ------
    ValueError
        If the search ends without a maximum.
    """
    from scipy.optimize import minimize_scalar

    def profile(log_sd: float) -> float:
        return -given_sd(strata, float(np.exp(log_sd)), points).log_profile

    scale = _scale(strata)
    ends = (np.log(1e-4 * scale), np.log(30.0 * scale))
    grid = np.linspace(*ends, 16)
    best = int(np.argmin([profile(x) for x in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(profile, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    sd = float(np.exp(found.x))
    at = given_sd(strata, sd, points)
    covariance = at.covariance if strata.family == "normal" else _joint_covariance(strata, at.beta, sd, points)
    return StrataFit(at.beta, covariance, sd**2, at.residual, at.log_profile)


def _joint_covariance(strata: Strata, beta: FloatArray, sd: float, points: int) -> FloatArray:
    """Return the covariance of coefficients when the spread is estimated too: the inverse of the joint curvature."""
    p, step = len(beta), 1e-4

    def gradient(b: FloatArray, s: float) -> FloatArray:
        # A spread and its negative are one model: the likelihood is even in it, and so smooth at zero.
        return strata.X.T @ integrate(strata, b, abs(s), points).score

    def total(s: float) -> float:
        return float(integrate(strata, beta, abs(s), points).log_likelihood.sum())

    curvature = np.empty((p + 1, p + 1))
    for k, unit in enumerate(np.eye(p)):
        curvature[:p, k] = (gradient(beta + step * unit, sd) - gradient(beta - step * unit, sd)) / (2.0 * step)
    cross = (gradient(beta, sd + step) - gradient(beta, sd - step)) / (2.0 * step)
    wide = 1e-3
    second = (total(sd + wide) - 2.0 * total(sd) + total(sd - wide)) / wide**2
    curvature[:p, p] = curvature[p, :p] = cross
    curvature[p, p] = min(second, -1e-12)
    curvature[:p, :p] = 0.5 * (curvature[:p, :p] + curvature[:p, :p].T)
    return np.asarray(np.linalg.inv(-curvature)[:p, :p], dtype=np.float64)


def _scale(strata: Strata) -> float:
    """Return a spread of stratum levels that the data make thinkable."""
    if strata.family == "normal":
        return float(np.sqrt(max(np.var(strata.mean), strata.within / max(strata.n.sum(), 2.0), 1e-300)))
    return 1.0


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
    beta: FloatArray = _first_guess(strata) if start is None else start
    last = -np.inf
    for _ in range(200):
        found = integrate(strata, beta, sd, points)
        now = float(found.log_likelihood.sum())
        weight = 1.0 / (sd**2 + 1.0 / np.maximum(found.information, 1e-12))
        hessian = (strata.X * weight[:, None]).T @ strata.X
        step = np.linalg.solve(hessian, strata.X.T @ found.score)
        if np.abs(step).max() < 1e-9 or abs(now - last) < 1e-12 * abs(now):
            break
        last, beta = now, np.asarray(beta + step / max(1.0, float(np.abs(step).max())), dtype=np.float64)
    covariance: FloatArray = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
    restricted = now - 0.5 * float(np.linalg.slogdet(hessian)[1])
    return GivenSd(beta, covariance, now, restricted, found.mode, found.information, 0.0)


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
