"""Hides how the variance of effects between sites is estimated, and what follows from it for their average.

Site i has an estimate y_i = x_i'b + u_i + e_i with var(e_i) = v_i known and var(u_i) = t. With W = diag(1 / (v_i + t)),
M = (X'WX)^-1 and P = W - WXMX'W, b is M X'Wy and the residual sum Q(t) = y'Py. Paule and Mandel (1982) solve
Q(t) = k - p, as does empirical Bayes (Morris 1983); DerSimonian and Laird (1986), Hedges and Olkin (1985) and Sidik and
Jonkman (2005) equate the moments of one quadratic form; likelihoods are maximised. Viechtbauer (2007) inverts Q(t) for
an interval of t. Hartung and Knapp (2001) scale M by Q(t) / (k - p) and take a t distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import chi2_quantile, f_upper

FloatArray = NDArray[np.float64]
METHODS = ("REML", "ML", "DL", "PM", "EB", "HE", "SJ", "EE")
INFERENCES = ("hartung_knapp", "truncated_hartung_knapp", "normal")
# Relative accuracy of a root, and the steps of the search for the highest of several maxima of a likelihood.
ROOT, STEPS = 1e-14, 120


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """A weighted fit at one between-site variance.

    Attributes
    ----------
    coefficients : ndarray, shape (p,)
    unscaled : ndarray, shape (p, p)
        (X'WX)^-1.
    weights : ndarray, shape (k,)
    rss : float
        Q(t) = y'Py.
    """

    coefficients: FloatArray
    unscaled: FloatArray
    weights: FloatArray
    rss: float


@dataclass(frozen=True, slots=True, eq=False)
class RandomEffectsFit:
    """A pooled line of effects.

    Attributes
    ----------
    coefficients, covariance : ndarray, shapes (p,) and (p, p)
    df : float
        Of the reference distribution; infinite for the normal.
    tau2, se_tau2 : float
        Variance between sites and its large-sample standard error (NaN for equal effects).
    q, q_df, q_p_value : float
        Cochran's test that sites do not differ beyond the line.
    i_squared, h_squared : float
        Share (per cent) of variance that lies between sites, and the ratio of total to within.
    typical_variance : float
        The within-site variance in that share (Higgins and Thompson 2002); NaN for equal effects.
    log_likelihood : float
        Restricted for REML.
    scale : float
        What the covariance was multiplied by (1 for the normal).
    weights : ndarray, shape (k,)
    """

    coefficients: FloatArray
    covariance: FloatArray
    df: float
    tau2: float
    se_tau2: float
    q: float
    q_df: int
    q_p_value: float
    i_squared: float
    h_squared: float
    typical_variance: float
    log_likelihood: float
    scale: float
    weights: FloatArray


def weighted_fit(y: FloatArray, v: FloatArray, x: FloatArray, tau2: float) -> Weighted:
    """Return the weighted fit at a between-site variance.

    Parameters
    ----------
    y, v : ndarray, shape (k,)
        Estimates and their variances.
    x : ndarray, shape (k, p)
        Design of full rank, the intercept included.
    tau2 : float
        Variance between sites.
    """
    w = 1.0 / (v + tau2)
    root = np.sqrt(w)
    # By an orthogonal basis, as weights may differ by many powers of ten.
    basis, triangle = np.linalg.qr(x * root[:, None])
    inverse = np.linalg.inv(triangle)
    coefficients = inverse @ (basis.T @ (root * y))
    residual = root * (y - x @ coefficients)
    return Weighted(coefficients, inverse @ inverse.T, w, float(residual @ residual))


def _complement(fit: Weighted, x: FloatArray) -> FloatArray:
    """Return L = W^(1/2) N, shape (k, k - p), with N an orthonormal basis of what the weighted design leaves: P = LL'.

    W - WXMX'W as it is written cancels where weights differ by many powers of ten.
    """
    root = np.sqrt(fit.weights)[:, None]
    result: FloatArray = root * np.linalg.qr(x * root, mode="complete")[0][:, x.shape[1] :]
    return result


def annihilator(fit: Weighted, x: FloatArray) -> FloatArray:
    """Return P, shape (k, k)."""
    left = _complement(fit, x)
    result: FloatArray = left @ left.T
    return result


def trace(fit: Weighted, x: FloatArray) -> float:
    """Return the trace of P."""
    return float(np.sum(_complement(fit, x) ** 2))


def log_likelihood(y: FloatArray, v: FloatArray, x: FloatArray, tau2: float, *, restricted: bool) -> float:
    """Return the (restricted) log likelihood at a between-site variance, the coefficients profiled out."""
    fit = weighted_fit(y, v, x, tau2)
    k, p = x.shape
    plain = 0.5 * float(np.log(fit.weights).sum()) - 0.5 * fit.rss
    if not restricted:
        return float(plain - 0.5 * k * np.log(2 * np.pi))
    volume = np.linalg.slogdet(x.T @ x)[1] + np.linalg.slogdet(fit.unscaled)[1]
    return float(plain - 0.5 * (k - p) * np.log(2 * np.pi) + 0.5 * volume)


def between_variance(y: FloatArray, v: FloatArray, x: FloatArray, *, method: str) -> tuple[float, float]:
    """Return the variance between sites and its large-sample standard error.

    Parameters
    ----------
    y, v, x : ndarray
        As for `weighted_fit`.
    method : str
        One of METHODS.
    """
    if method == "EE":
        return 0.0, float("nan")
    if method in ("ML", "REML"):
        return _by_likelihood(y, v, x, restricted=method == "REML")
    k, p = x.shape
    if method in ("PM", "EB"):
        tau2 = _solve(lambda t: weighted_fit(y, v, x, t).rss - (k - p), float(np.ptp(y)) ** 2 + float(v.max()))
        w = 1.0 / (v + tau2)
        return tau2, float(np.sqrt(2.0 * k**2 / (k - p)) / w.sum())
    return _by_moments(y, v, x, method)


def _by_moments(y: FloatArray, v: FloatArray, x: FloatArray, method: str) -> tuple[float, float]:
    """Return the solution of one moment equation; its variance is that of a quadratic form in normal variables."""
    k, p = x.shape
    if method == "SJ":
        start = float(np.var(y))
        if start == 0.0:
            return 0.0, 0.0
        fit = weighted_fit(y, v, x, start)
        # The quadratic form over its weight on t, P * start / (k - p).
        form, factor = annihilator(fit, x), start / (k - p)
        tau2 = factor * fit.rss
    else:
        fit = weighted_fit(y, v if method == "DL" else np.ones(k), x, 0.0)
        form = annihilator(fit, x)
        factor = 1.0 / float(np.trace(form))
        tau2 = max(0.0, factor * (fit.rss - float((np.diag(form) * v).sum())))
    within = form * v
    spread = np.sum(within * within.T) + 2.0 * tau2 * np.sum(within * form) + tau2**2 * np.sum(form * form)
    return tau2, float(factor * np.sqrt(2.0 * spread))


def _by_likelihood(y: FloatArray, v: FloatArray, x: FloatArray, *, restricted: bool) -> tuple[float, float]:
    """Return the highest maximum over t >= 0: a likelihood may have several."""
    from scipy.optimize import brentq

    def score(t: float) -> float:
        fit = weighted_fit(y, v, x, t)
        half = fit.weights * (y - x @ fit.coefficients)
        return float(half @ half) - (trace(fit, x) if restricted else float(fit.weights.sum()))

    def height(t: float) -> float:
        return log_likelihood(y, v, x, t, restricted=restricted)

    top = 10.0 * (float(np.ptp(y)) ** 2 + float(v.max()))
    grid = np.concatenate([[0.0], np.geomspace(1e-9 * float(v.min()), top, STEPS)])
    slopes = np.array([score(t) for t in grid])
    # A maximum lies where the slope passes from above to below zero, or at the edge.
    falls = np.flatnonzero((slopes[:-1] > 0) & (slopes[1:] <= 0))
    maxima = [float(brentq(score, grid[i], grid[i + 1], xtol=1e-300, rtol=ROOT)) for i in falls]
    candidates = ([0.0] if slopes[0] <= 0 else []) + maxima
    tau2 = max(candidates, key=height) if candidates else top
    fit = weighted_fit(y, v, x, tau2)
    information = np.sum(annihilator(fit, x) ** 2) if restricted else np.sum(fit.weights**2)
    return tau2, float(np.sqrt(2.0 / information))


def _solve(excess: Callable[[float], float], scale: float) -> float:
    """Return the root of a decreasing function on t >= 0; zero where it begins below zero."""
    from scipy.optimize import brentq

    if excess(0.0) <= 0.0:
        return 0.0
    top = scale
    while excess(top) > 0.0:
        top *= 10.0
    return float(brentq(excess, 0.0, top, xtol=1e-300, rtol=ROOT))


def q_profile(y: FloatArray, v: FloatArray, x: FloatArray, *, level: float) -> tuple[float, float]:
    """Return the interval of the between-site variance that inverts Q(t), by Viechtbauer (2007).

    Parameters
    ----------
    y, v, x : ndarray
        As for `weighted_fit`.
    level : float
        Coverage, exact where estimates are normal. Both limits are zero where sites agree better than by
        chance.
    """
    k, p = x.shape
    scale = float(np.ptp(y)) ** 2 + float(v.max())

    def limit(share: float) -> float:
        quantile = chi2_quantile(share, k - p)
        return _solve(lambda t: weighted_fit(y, v, x, t).rss - quantile, scale)

    return limit(0.5 + level / 2.0), limit(0.5 - level / 2.0)


def typical_variance(v: FloatArray, x: FloatArray) -> float:
    """Return the within-site variance typical of these sites (Higgins and Thompson 2002, for lines)."""
    k, p = x.shape
    return float((k - p) / trace(weighted_fit(np.zeros(k), v, x, 0.0), x))


def fit_random_effects(
    y: FloatArray, v: FloatArray, x: FloatArray, *, method: str = "REML", inference: str = "hartung_knapp"
) -> RandomEffectsFit:
    """Return the pooled line of site effects.

    Parameters
    ----------
    y, v, x : ndarray
        As for `weighted_fit`; more sites than columns.
    method : str
        How the variance between sites is estimated, one of METHODS.
    inference : str
        One of INFERENCES. The truncated form never narrows what the normal would give.

    Raises
    ------
    ValueError
        If there are no more sites than coefficients, or the design is collinear.

    Examples
    --------
    >>> y, v = np.array([0.1, 0.3, 0.8]), np.array([0.01, 0.04, 0.09])
    >>> fit = fit_random_effects(y, v, np.ones((3, 1)), method="DL")
    >>> round(fit.tau2, 4), round(fit.q, 3)
    (0.0568, 5.245)
    """
    k, p = x.shape
    if k <= p:
        raise ValueError(f"{k} sites are too few for {p} coefficients; at least {p + 1} are needed.")
    if np.linalg.matrix_rank(x) < p:
        raise ValueError("The moderators are collinear: one of them is a combination of the others. Leave one out.")
    tau2, error = between_variance(y, v, x, method=method)
    fit, alone = weighted_fit(y, v, x, tau2), weighted_fit(y, v, x, 0.0)
    scale = 1.0 if inference == "normal" else fit.rss / (k - p)
    if inference == "truncated_hartung_knapp":
        scale = max(1.0, scale)
    typical = typical_variance(v, x)
    if method == "EE":
        i_squared = 100.0 * max(0.0, 1.0 - (k - p) / alone.rss) if alone.rss > 0 else 0.0
        h_squared, typical = alone.rss / (k - p), float("nan")
    else:
        i_squared, h_squared = 100.0 * tau2 / (tau2 + typical), 1.0 + tau2 / typical
    return RandomEffectsFit(
        coefficients=fit.coefficients,
        covariance=scale * fit.unscaled,
        df=np.inf if inference == "normal" else float(k - p),
        tau2=tau2,
        se_tau2=error,
        q=alone.rss,
        q_df=k - p,
        q_p_value=f_upper(alone.rss / (k - p), k - p, np.inf),
        i_squared=i_squared,
        h_squared=h_squared,
        typical_variance=typical,
        log_likelihood=log_likelihood(y, v, x, tau2, restricted=method == "REML"),
        scale=scale,
        weights=fit.weights,
    )
