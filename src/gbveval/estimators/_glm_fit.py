"""Fits generalised linear models with statsmodels and scipy, and says whether the maximum exists."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.glm import Family, adjusted_score, log_likelihood, whiten
from gbveval.numerics.separation import binomial_direction, count_direction

FloatArray = NDArray[np.float64]
# The score at the solution, relative to the sum of its absolute parts: rounding leaves about 1e-15.
SCORE_TOLERANCE = 1e-8
MAXIMUM_STEPS = 100
# A fitted value this far from the middle of its range starts the search for a direction without a maximum.
FAR = 8.0
# A mean this close to the end of its range lies on the boundary of the model.
EDGE = 1e-8
# Rows that enter the constrained search at a time, and how often.
ROWS_A_ROUND, ROUNDS = 200, 30


@dataclass(frozen=True, eq=False, slots=True)
class Fitted:
    """A fit on the columns given.

    Attributes
    ----------
    gamma : ndarray, shape (k,)
        Coefficients; meaningless unless `converged`.
    converged : bool
        Whether the estimating equation holds up to rounding.
    direction : ndarray, shape (k,), or None
        A direction in which the likelihood never falls: there is no maximum.
    boundary : int
        Rows fitted at the end of the range of their mean, where the estimating equation does not hold.
    """

    gamma: FloatArray
    converged: bool
    direction: FloatArray | None = None
    boundary: int = 0


def fit_glm(
    family: Family, z: FloatArray, y: FloatArray, *, offset: FloatArray | None = None, weight: FloatArray | None = None
) -> Fitted:
    """Return the maximum of the (quasi-)likelihood.

    Parameters
    ----------
    family : Family
        Family and link.
    z : ndarray, shape (n, k)
        Columns of full rank on comparable scales, the first one constant.
    y : ndarray, shape (n,)
        Outcomes in the range of the family.
    offset, weight : ndarray, shape (n,), optional
        Offset of the linear predictor and positive prior weights.

    Examples
    --------
    >>> z = np.column_stack([np.ones(4), [0.0, 0.0, 1.0, 1.0]])
    >>> fit = fit_glm(Family("poisson", "log"), z, np.array([1.0, 3.0, 2.0, 6.0]))
    >>> round(float(np.exp(fit.gamma[1])), 8), fit.converged
    (2.0, True)
    """
    start = _start(family, z, y, offset, weight)
    gamma = _scoring(family, z, y, start, offset, weight)
    converged = _balanced(family, z, y, gamma, offset, weight)
    suspicious = not converged or _far(family, z, gamma, offset)
    if suspicious:
        direction = find_direction(family, z, y)
        if direction is not None:
            return Fitted(gamma, False, direction)
    if not converged:
        gamma, boundary = _constrained(family, z, y, start, offset, weight)
        if boundary:
            return Fitted(gamma, False, None, boundary)
        gamma = _root_of_score(family, z, y, gamma, offset, weight)
        converged = _balanced(family, z, y, gamma, offset, weight)
    return Fitted(gamma, converged)


def find_direction(family: Family, z: FloatArray, y: FloatArray) -> FloatArray | None:
    """Return a direction in which the likelihood never falls, or None (also for links that have none)."""
    if family.family == "binomial" and family.link in ("logit", "probit"):
        return binomial_direction(z, y)
    if family.link == "log" and family.family != "gaussian":
        return count_direction(z, y)
    return None


def fit_firth(
    family: Family, z: FloatArray, y: FloatArray, *, offset: FloatArray | None = None, weight: FloatArray | None = None
) -> Fitted:
    """Return the root of the score with Firth's adjustment; parameters as in `fit_glm`.

    Examples
    --------
    In a two-by-two table Firth's estimate adds a half to each cell:

    >>> z = np.column_stack([np.ones(6), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]])
    >>> fit = fit_firth(Family("binomial", "logit"), z, np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0]))
    >>> round(float(np.exp(fit.gamma[1])), 6), round(2.5 / 1.5 * 3.5 / 0.5, 6)
    (11.666667, 11.666667)
    """
    from scipy.optimize import root

    # Shrunken outcomes always have a maximum, close to the root.
    n, k = z.shape
    middle = float(np.average(y, weights=weight))
    shrunken = (y + middle * k / n) / (1.0 + k / n) if 0.0 < middle < 1.0 or family.family != "binomial" else y
    start = _scoring(family, z, shrunken, _start(family, z, y, offset, weight), offset, weight)
    if not np.isfinite(start).all():
        start = _start(family, z, y, offset, weight)

    def equation(gamma: FloatArray) -> FloatArray:
        return np.asarray(adjusted_score(family, z, y, gamma, offset=offset, weight=weight) / n, dtype=np.float64)

    with np.errstate(all="ignore"):
        found = root(equation, start, method="hybr", options={"xtol": 1e-13})
    gamma = np.asarray(found.x, dtype=np.float64)
    white = whiten(family, z, y, gamma, offset=offset, weight=weight)
    size = (np.abs(white.design) * np.abs(white.residual)[:, None]).sum(axis=0) / n
    balanced = bool(np.isfinite(gamma).all() and np.all(np.abs(found.fun) <= SCORE_TOLERANCE * size + 1e-14))
    return Fitted(gamma, balanced)


def _start(
    family: Family, z: FloatArray, y: FloatArray, offset: FloatArray | None, weight: FloatArray | None
) -> FloatArray:
    """Return the model with the intercept alone: inside the range whatever the covariates."""
    start = np.zeros(z.shape[1])
    mean = float(np.average(y, weights=weight))
    if family.link == "log" and offset is not None:
        mean = mean / float(np.average(np.exp(offset), weights=weight))
    if family.family == "binomial":
        mean = min(max(mean, 1e-6), 1.0 - 1e-6)
    elif family.link == "log":
        mean = max(mean, 1e-6)
    start[0] = family.link_value(mean) / z[0, 0]
    return start


def _statsmodels_family(family: Family) -> Any:
    from statsmodels.genmod import families
    from statsmodels.genmod.families import links

    link = {"identity": links.Identity, "logit": links.Logit, "probit": links.Probit, "log": links.Log}[family.link]()
    kind = {"gaussian": families.Gaussian, "binomial": families.Binomial}.get(family.family, families.Poisson)
    return kind(link)


def _scoring(
    family: Family,
    z: FloatArray,
    y: FloatArray,
    start: FloatArray,
    offset: FloatArray | None,
    weight: FloatArray | None,
) -> FloatArray:
    """Return where Fisher's scoring of statsmodels ends, and one more step; NaN where it fails."""
    from statsmodels.genmod.generalized_linear_model import GLM

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # What statsmodels warns of (domains, separation, no convergence) is judged by the score and the programme.
        warnings.simplefilter("ignore")
        try:
            model = GLM(y, z, family=_statsmodels_family(family), offset=offset, var_weights=weight)
            fit = model.fit(
                start_params=start, maxiter=MAXIMUM_STEPS, tol=1e-13, tol_criterion="deviance", wls_method="qr"
            )
        except (ValueError, FloatingPointError, np.linalg.LinAlgError):
            return np.full(z.shape[1], np.nan)
        gamma = np.asarray(fit.params, dtype=np.float64)
        white = whiten(family, z, y, gamma, offset=offset, weight=weight)
        if not (np.isfinite(white.design).all() and np.isfinite(white.residual).all()):
            return np.full(z.shape[1], np.nan)
        # One more step squares what the stopping rule left.
        step = np.linalg.lstsq(white.design, white.residual, rcond=None)[0]
    return np.asarray(gamma + step, dtype=np.float64)


def _balanced(
    family: Family,
    z: FloatArray,
    y: FloatArray,
    gamma: FloatArray,
    offset: FloatArray | None,
    weight: FloatArray | None,
) -> bool:
    """Whether the coefficients are finite, inside the range, and the score is zero up to rounding."""
    if not np.isfinite(gamma).all():
        return False
    with np.errstate(all="ignore"):
        white = whiten(family, z, y, gamma, offset=offset, weight=weight)
        if not family.inside(white.eta):
            return False
        parts = white.design * white.residual[:, None]
        size = np.abs(parts).sum(axis=0)
        # A model that fits every row has parts of rounding size only.
        floor = 1e-12 * np.abs(white.design).sum(axis=0) * max(float(np.abs(y).max()), 1.0)
    return bool(np.all(np.abs(parts.sum(axis=0)) <= SCORE_TOLERANCE * size + floor))


def _far(family: Family, z: FloatArray, gamma: FloatArray, offset: FloatArray | None) -> bool:
    """Whether a linear predictor is so far from the typical one that a coefficient may be on its way to infinity."""
    eta = z @ gamma
    if family.link == "log":
        return bool(np.ptp(eta) > FAR)
    return family.link in ("logit", "probit") and bool(np.abs(eta).max() > (FAR if family.link == "logit" else FAR / 2))


def _constrained(
    family: Family,
    z: FloatArray,
    y: FloatArray,
    start: FloatArray,
    offset: FloatArray | None,
    weight: FloatArray | None,
) -> tuple[FloatArray, int]:
    """Maximise within the range of the mean by sequential quadratic programming; also the rows left at its end.

    The range limits every row. Rows enter the programme when a solution without them breaks theirs.
    """
    from scipy.optimize import LinearConstraint, minimize

    base = np.zeros(y.size) if offset is None else offset
    lower, upper = _limits(family)

    def objective(gamma: FloatArray) -> tuple[float, FloatArray]:
        eta = np.clip(z @ gamma + base, lower, upper)
        value, slope = log_likelihood(family, y, eta, weight)
        return -value / y.size, -(z.T @ slope) / y.size

    gamma, limited = start, np.zeros(y.size, dtype=bool)
    options: Any = {"maxiter": 500, "ftol": 1e-14}
    for _ in range(ROUNDS):
        eta = z @ gamma + base
        over = np.maximum(lower - eta, eta - upper)
        worst = np.argsort(over)[-ROWS_A_ROUND:]
        limited[worst[over[worst] > -0.1]] = True
        limits = LinearConstraint(z[limited], lower - base[limited], upper - base[limited])
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            constraints: Any = [limits] if limited.any() else []
            found = minimize(objective, start, jac=True, method="SLSQP", constraints=constraints, options=options)
        gamma = np.asarray(found.x, dtype=np.float64)
        eta = z @ gamma + base
        if eta.min() >= lower - EDGE and eta.max() <= upper + EDGE:
            break
    at_end = (eta < lower + 10 * EDGE) | (eta > upper - 10 * EDGE)
    return gamma, int(at_end.sum())


def _root_of_score(
    family: Family,
    z: FloatArray,
    y: FloatArray,
    start: FloatArray,
    offset: FloatArray | None,
    weight: FloatArray | None,
) -> FloatArray:
    """Return the root of the score near a maximum; scoring can leave the range where Powell's method stays."""
    from scipy.optimize import root

    def score(gamma: FloatArray) -> FloatArray:
        white = whiten(family, z, y, gamma, offset=offset, weight=weight)
        return np.asarray(white.design.T @ white.residual / y.size, dtype=np.float64)

    with np.errstate(all="ignore"):
        found = root(score, start, method="hybr", options={"xtol": 1e-14, "factor": 0.1})
    return np.asarray(found.x, dtype=np.float64)


def _limits(family: Family) -> tuple[float, float]:
    """Return the range of the linear predictor, a little inside its ends."""
    if family.link == "identity" and family.family != "gaussian":
        return EDGE, (1.0 - EDGE if family.family == "binomial" else np.inf)
    if family.link == "log" and family.family == "binomial":
        return -np.inf, -EDGE
    return -np.inf, np.inf
