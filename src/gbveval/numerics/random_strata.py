"""Hides the likelihood of strata whose levels vary at random about main effects, from sums by cell.

A cell c is the part of stratum j(c) that lies in one site, or all of it. It has n_c people, an outcome total y_c and
columns x_c; given z_j ~ N(0, 1) its linear predictor is x_c'b + s z_j. For yes-or-no outcomes and counts it is a mixed
model with one row a cell (`mixed_glm`); for the normal family the likelihood of the sums is known in closed form. What
is random may also be the effect of a trial in stratum j, by the distribution of its counts given their margins
("tilted" and "split": `mixed_glm_likelihood.cumulant`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sums
from gbveval.numerics.mixed_glm import constants, fit_mixed_glm
from gbveval.numerics.mixed_glm_likelihood import Cells, find_mode, log_likelihood
from gbveval.numerics.mixed_linear import NoMaximumError
from gbveval.numerics.random_intercepts import make_batches

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
FAMILIES = ("binomial", "poisson", "normal")
# Of effects, given margins.
GIVEN_MARGINS = ("tilted", "split")
# A coefficient whose variance is this many times that of a stratum has no maximum, on scales of logs.
FLAT = 1e4
UNBOUNDED = "its coefficients grow without bound"


@dataclass(frozen=True, slots=True, eq=False)
class Strata:
    """Sums by cell.

    Attributes
    ----------
    n : ndarray, shape (cells,), or (cells, counts) if tilted, or (cells, 2) if split
        People; or the log weights of the possible counts 0, 1, ...; or all events, and the log ratio of exposures.
    total : ndarray, shape (cells,)
        The sum of their outcomes.
    X : ndarray, shape (cells, p)
        Intercept, main effects, sites.
    family : str
        "binomial" (logit), "poisson" (log), "normal", "tilted" or "split".
    within : float
        Sum of squares about the means of cells; for the normal family.
    within_df : float
        Its degrees of freedom; zero if the variance within is known, and one.
    stratum : ndarray of int, shape (cells,), optional
        Stratum of each cell; without it every cell is a stratum.
    level : ndarray, shape (strata, p), optional
        Columns of a stratum itself, in the middle of the sites; without it those of its cell.
    sites : int
        Sites. Their effects sum to zero, and are the last `sites` - 1 columns.
    rotation : ndarray, shape (strata, cells), optional
        With orthonormal columns. The cells are then those combinations of strata, one a column, that are independent of
        each other.
    """

    n: FloatArray
    total: FloatArray
    X: FloatArray
    family: str
    within: float = 0.0
    within_df: float = 0.0
    stratum: IntArray | None = None
    level: FloatArray | None = None
    sites: int = 1
    rotation: FloatArray | None = None

    @property
    def mean(self) -> FloatArray:
        """Mean outcome of each cell."""
        return self.total / self.n

    @property
    def place(self) -> IntArray:
        """Stratum of each cell."""
        return np.arange(len(self.total)) if self.stratum is None else self.stratum

    @property
    def levels(self) -> FloatArray:
        """Columns of every stratum itself."""
        return self.X if self.level is None else self.level

    @property
    def main(self) -> slice:
        """Columns of main effects."""
        return slice(1, self.X.shape[1] - (self.sites - 1))

    def by_stratum(self, values: FloatArray) -> FloatArray:
        """Return sums over the cells of each stratum (each combination); `values` has shape (cells,) or (cells, k)."""
        count = len(self.levels) if self.rotation is None else len(self.total)
        if values.ndim == 1:
            return group_sums(self.place, values, count)
        return np.column_stack([group_sums(self.place, column, count) for column in values.T])

    @property
    def cells(self) -> Cells:
        """Rows of a mixed model in which each stratum has a level of its own."""
        return Cells(self.family, self.X, self.total, self.n, make_batches(self.place[:, None]))


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
    if strata.family == "normal" or strata.family in GIVEN_MARGINS:
        return _fit_profile(strata, points)
    fit = fit_mixed_glm(strata.family, strata.X[:, 1:], strata.total, strata.n, strata.place[:, None], points=points)
    # Of people, not of their sums: without the ways to be that many.
    plain = fit.log_likelihood - constants(strata.family, strata.total, strata.n)[0]
    return StrataFit(fit.beta, fit.covariance, float(fit.sds[0]) ** 2, 0.0, plain)


def _fit_profile(strata: Strata, points: int) -> StrataFit:
    """Return the spread at which the likelihood of all else at its best is greatest."""
    from scipy.optimize import minimize_scalar

    def profile(log_sd: float) -> float:
        return -given_sd(strata, float(np.exp(log_sd)), points).log_profile

    # Effects whose logs lie six apart are those of no programme.
    scale = 0.2
    if strata.family == "normal":
        people = max(float(strata.n.sum()), 2.0)
        scale = max(float(np.var(strata.mean)), strata.within / people, 1e-300) ** 0.5
    grid = np.linspace(np.log(1e-4 * scale), np.log(30.0 * scale), 16)
    best = int(np.argmin([profile(x) for x in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(profile, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    sd = float(np.exp(float(found.x)))
    at = given_sd(strata, sd, points)
    return StrataFit(at.beta, at.covariance, sd**2, at.residual, at.log_profile)


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
    deviation, information : ndarray, shape (strata,), or (cells,) where strata are turned
        Predicted deviation of each stratum, and what its own people say of its level.
    lean : ndarray, shape (strata, p)
        Columns of a stratum as its own people weigh them: how its deviation answers to the coefficients.
    residual : float
        Variance within cells, for the normal family.
    """

    beta: FloatArray
    covariance: FloatArray
    log_profile: float
    log_restricted: float
    deviation: FloatArray
    information: FloatArray
    lean: FloatArray
    residual: float


def given_sd(strata: Strata, sd: float, points: int, start: FloatArray | None = None) -> GivenSd:
    """Return the coefficients and the likelihood given the spread between strata.

    Raises
    ------
    NoMaximumError
        If the coefficients have no finite values at which the likelihood is greatest.
    """
    if strata.family == "normal":
        return _normal_given_sd(strata, sd)
    cells, theta = strata.cells, np.array([sd])
    modes = [np.zeros(batch.shape) for batch in cells.batches]

    def height(beta: FloatArray) -> tuple[float, FloatArray]:
        value, slopes = log_likelihood(cells, beta, theta, modes, points)
        return -value, -slopes[:-1]

    def around(beta: FloatArray) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray]]:
        deviation, weight = _told(strata, cells, beta, theta, modes)
        return deviation, _pooled(strata, weight, sd)

    beta = _best_coefficients(height, lambda b: around(b)[1][2], _first_guess(strata) if start is None else start)
    now = -height(beta)[0]
    deviation, (information, lean, hessian) = around(beta)
    covariance = _inverse_of_curvature(hessian)
    if np.diag(covariance).max() > FLAT * (1.0 + sd**2):
        raise NoMaximumError(UNBOUNDED)
    restricted = now - 0.5 * float(np.linalg.slogdet(hessian)[1])
    return GivenSd(beta, covariance, now, restricted, deviation, information, lean, 0.0)


def _best_coefficients(
    height: Callable[[FloatArray], tuple[float, FloatArray]],
    curvature: Callable[[FloatArray], FloatArray],
    start: FloatArray,
) -> FloatArray:
    """Return where minus the log-likelihood is least: steps by the curvature at the modes, which are nearly Newton's.

    Where strata are sparse and far apart that curvature is far from the integrals', and BFGS goes on.
    """
    from scipy.optimize import minimize

    beta, last = start, np.inf
    for _ in range(40):
        now, slopes = height(beta)
        if now > last + 1e-9 * abs(last):
            break
        step = -_inverse_of_curvature(curvature(beta)) @ slopes
        if np.abs(step).max() < 1e-9 or abs(now - last) < 1e-12 * abs(now):
            return beta
        last = now
        beta = np.asarray(beta + step / max(1.0, float(np.abs(step).max())), dtype=np.float64)
    found = minimize(height, beta, jac=True, method="BFGS", options={"gtol": 1e-7, "maxiter": 500})
    return np.asarray(found.x, dtype=np.float64)


def _inverse_of_curvature(hessian: FloatArray) -> FloatArray:
    """Return the inverse; far out, where all or none have the events, nothing is left of the curvature."""
    try:
        return np.asarray(np.linalg.inv(hessian), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        raise NoMaximumError(UNBOUNDED) from error


def _told(
    strata: Strata, cells: Cells, beta: FloatArray, theta: FloatArray, modes: list[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return each stratum's likeliest deviation, and what the people of each cell say of its level there."""
    # A stratum without a cell has nothing to say: its likeliest deviation is none.
    deviation, weight = np.zeros(len(strata.levels)), np.empty(len(cells.events))
    for batch, start in zip(cells.batches, modes, strict=True):
        mode = find_mode(cells, batch, cells.x[batch.rows] @ beta, theta, start)
        deviation[strata.place[batch.rows]] = theta[0] * batch.at_rows(mode.u, 0)
        weight[batch.rows] = mode.w
    return deviation, weight


def _pooled(strata: Strata, weight: FloatArray, sd: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what each stratum's people say, its columns as they weigh them, and the curvature with z integrated.

    With w the cells' weights, w_j their sum over a stratum and m_j the mean of its columns, X'(W^-1 + s^2 blocks)^-1 X
    is (X - m)'W(X - m) + sum_j w_j / (1 + s^2 w_j) m_j m_j': a sum, so that no digits are lost where s^2 w_j is large.
    """
    information = _no_less_than_a_trace(strata.by_stratum(weight))
    lean = strata.by_stratum(weight[:, None] * strata.X) / information[:, None]
    inside = strata.X - lean[strata.place]
    told = information / (1.0 + sd**2 * information)
    hessian = (inside * weight[:, None]).T @ inside + (lean * told[:, None]).T @ lean
    return information, lean, np.asarray(hessian, dtype=np.float64)


def _no_less_than_a_trace(information: FloatArray) -> FloatArray:
    """Return what strata's people say, with a trace of the most for those who say nothing; in any unit."""
    return np.maximum(information, max(1e-12 * float(information.max()), np.finfo(float).tiny))


def _first_guess(strata: Strata) -> FloatArray:
    """Return coefficients from a regression of empirical logits or logs; none for effects."""
    if strata.family in GIVEN_MARGINS:
        return np.zeros(strata.X.shape[1])
    y, n = strata.total + 0.5, strata.n + 1.0
    level = np.log(y / (n - y)) if strata.family == "binomial" else np.log(y / n)
    weight = np.sqrt(strata.n / (1.0 + strata.n / 50.0))
    beta: FloatArray = np.linalg.lstsq(strata.X * weight[:, None], level * weight, rcond=None)[0]
    return beta


def _normal_given_sd(strata: Strata, sd: float) -> GivenSd:
    """Return the restricted likelihood at a spread, maximised over the variance within cells if it is not known."""

    def at(residual: float) -> tuple[float, FloatArray, FloatArray, FloatArray, FloatArray]:
        weight = strata.n / residual
        information, lean, hessian = _pooled(strata, weight, sd)
        told = information / (1.0 + sd**2 * information)

        def apart(y: FloatArray) -> tuple[FloatArray, FloatArray]:
            middle = strata.by_stratum(weight * y) / information
            return middle, np.asarray(y - middle[strata.place], dtype=np.float64)

        middle, inside = apart(strata.mean)
        told_of = (strata.X - lean[strata.place]).T @ (weight * inside) + lean.T @ (told * middle)
        beta = np.asarray(np.linalg.solve(hessian, told_of), dtype=np.float64)
        middle, inside = apart(strata.mean - strata.X @ beta)
        value = strata.within_df * np.log(residual) + strata.within / residual - np.log(weight).sum()
        value += np.log1p(sd**2 * information).sum() + float(weight @ inside**2) + float(told @ middle**2)
        return -0.5 * float(value + np.linalg.slogdet(hessian)[1]), beta, hessian, sd**2 * told * middle, lean

    residual = 1.0 if strata.within_df == 0.0 else _best_residual(strata, lambda x: at(x)[0])
    value, beta, hessian, deviation, lean = at(residual)
    information = strata.by_stratum(strata.n) / residual
    covariance = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
    return GivenSd(beta, covariance, value, value, deviation, information, lean, residual)


def _best_residual(strata: Strata, height: Callable[[float], float]) -> float:
    """Return the variance within cells at which the likelihood is greatest."""
    from scipy.optimize import minimize_scalar

    middle = max(strata.within / strata.within_df, 1e-300)
    ends = (np.log(middle) - 3.0, np.log(middle) + 3.0)
    found = minimize_scalar(
        lambda x: -height(float(np.exp(x))), bounds=ends, method="bounded", options={"xatol": 1e-11}
    )
    return float(np.exp(float(found.x)))
