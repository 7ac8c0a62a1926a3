"""Hides the restricted likelihood of effects nested in studies, with known sampling variances.

Row i of study g has y_i = x_i'b + s_g + u_i + e_i with var(e_i) = v_i known, var(s_g) = t and var(u_i) = r
(Konstantopoulos 2011). With w_i = 1 / (v_i + r) and W_g their sum in the study,
V^-1 = diag(w) - c_g w w' in each study, c_g = t / (1 + t W_g), so that everything is linear in the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.random_effects import weighted_fit

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class NestedFit:
    """A pooled line of effects nested in studies.

    Attributes
    ----------
    coefficients, covariance : ndarray, shapes (p,) and (p, p)
        Large-sample covariance given the variances.
    between, within : float
        Variance between studies, and between the rows of a study.
    q : float
        Cochran's statistic, which ignores the nesting.
    log_likelihood : float
        Restricted.
    """

    coefficients: FloatArray
    covariance: FloatArray
    between: float
    within: float
    q: float
    log_likelihood: float


@dataclass(frozen=True, slots=True, eq=False)
class _At:
    coefficients: FloatArray
    unscaled: FloatArray
    log_likelihood: float
    score: FloatArray


def _evaluate(y: FloatArray, v: FloatArray, x: FloatArray, study: IntArray, between: float, within: float) -> _At:
    """Return fit, restricted log likelihood and its slopes at two variances."""
    k, p = x.shape
    w = 1.0 / (v + within)
    total = np.bincount(study, weights=w)
    damp = 1.0 + between * total

    def solve(columns: FloatArray) -> FloatArray:
        sums = np.column_stack([np.bincount(study, weights=w * c, minlength=total.size) for c in columns.T])
        result: FloatArray = w[:, None] * (columns - (between * sums / damp[:, None])[study])
        return result

    weighted = solve(x)
    information = x.T @ weighted
    unscaled: FloatArray = np.asarray(np.linalg.inv(information), dtype=np.float64)
    coefficients = unscaled @ (weighted.T @ y)
    residual = y - x @ coefficients
    projected = solve(residual[:, None])[:, 0]
    volume = np.linalg.slogdet(x.T @ x)[1] - np.linalg.slogdet(information)[1]
    height = -0.5 * (
        (k - p) * np.log(2 * np.pi) - np.log(w).sum() + np.log(damp).sum() - volume + float(residual @ projected)
    )
    sums = np.column_stack([np.bincount(study, weights=c, minlength=total.size) for c in weighted.T])
    in_study = total / damp - np.einsum("gi,ij,gj->g", sums, unscaled, sums)
    by_row = w - w**2 * (between / damp)[study] - np.einsum("ki,ij,kj->k", weighted, unscaled, weighted)
    by_study = np.bincount(study, weights=projected, minlength=total.size)
    score: FloatArray = 0.5 * np.array(
        [by_study @ by_study - in_study.sum(), projected @ projected - by_row.sum()], dtype=np.float64
    )
    return _At(coefficients, unscaled, float(height), score)


def fit_nested_effects(y: FloatArray, v: FloatArray, x: FloatArray, study: IntArray) -> NestedFit:
    """Return the line of effects by restricted maximum likelihood of both variances.

    Parameters
    ----------
    y, v : ndarray, shape (k,)
        Estimates and their variances.
    x : ndarray, shape (k, p)
        Design of full rank.
    study : ndarray of int, shape (k,)
        Codes from zero without gaps.

    Examples
    --------
    Balanced studies give what the analysis of variance gives: mean squares 0.02 within, 0.5 between means.

    >>> y = np.array([0.0, 0.2, 1.0, 1.2])
    >>> fit = fit_nested_effects(y, np.full(4, 0.01), np.ones((4, 1)), np.array([0, 0, 1, 1]))
    >>> round(float(fit.coefficients[0]), 4), round(fit.between, 4), round(fit.within, 4)
    (0.6, 0.49, 0.01)
    """
    from scipy.optimize import minimize

    unit = max(float(np.var(y)), float(np.median(v)))

    def negative(scaled: Any) -> tuple[float, FloatArray]:
        found = _evaluate(y, v, x, study, unit * scaled[0], unit * scaled[1])
        return -found.log_likelihood, -unit * found.score

    # A restricted likelihood may have several maxima: the best of a coarse grid is where the search begins.
    steps = (0.0, 0.01, 0.1, 0.5, 2.0)
    start = min(((a, b) for a in steps for b in steps), key=lambda point: negative(np.array(point))[0])
    bounds: Any = [(0.0, None)] * 2
    options: Any = {"ftol": 1e-16, "gtol": 1e-11, "maxiter": 1000}
    found: Any = minimize(negative, np.array(start), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    between, within = (float(unit * part) for part in found.x)
    at = _evaluate(y, v, x, study, between, within)
    return NestedFit(at.coefficients, at.unscaled, between, within, weighted_fit(y, v, x, 0.0).rss, at.log_likelihood)


def marginal_covariance(v: FloatArray, study: IntArray, between: float, within: float) -> FloatArray:
    """Return V, shape (k, k)."""
    result: FloatArray = between * (study[:, None] == study[None, :]) + np.diag(v + within)
    return result
