"""Hides how a pooled line of effects moves when each site is left out (Viechtbauer and Cheung 2010).

The variance between sites is estimated anew without the site. With the line b, its unscaled covariance M = (X'WX)^-1
and those without site i in brackets: the deleted residual is y_i - x_i'b(i) over sqrt(v_i + t(i) + x_i'M(i)x_i); Cook's
distance is (b - b(i))'M^-1(b - b(i)); DFFITS is x_i'(b - b(i)) / sqrt(h_i (t(i) + v_i)); the covariance ratio is
|M(i)| / |M|; h_i are the diagonal elements of X M X'W.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.random_effects import RandomEffectsFit, fit_random_effects, weighted_fit

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SiteInfluence:
    """Measures of influence, each of shape (sites,).

    Attributes
    ----------
    without : tuple of RandomEffectsFit or None
        The fit without each site; None where the others do not identify the line.
    hat, residual, cooks_distance, dffits, covariance_ratio : ndarray
        NaN where the others do not identify the line.
    """

    without: tuple[RandomEffectsFit | None, ...]
    hat: FloatArray
    residual: FloatArray
    cooks_distance: FloatArray
    dffits: FloatArray
    covariance_ratio: FloatArray


def site_influence(y: FloatArray, v: FloatArray, x: FloatArray, *, method: str, inference: str) -> SiteInfluence:
    """Return measures of influence.

    Parameters
    ----------
    y, v, x : ndarray
        Estimates, variances and design of full rank.
    method, inference : str
        As for `fit_random_effects`.
    """
    k, p = x.shape
    fit = fit_random_effects(y, v, x, method=method, inference=inference)
    whole = weighted_fit(y, v, x, fit.tau2)
    hat = np.einsum("ki,ij,kj->k", x, whole.unscaled, x) * whole.weights
    measures = np.full((4, k), np.nan)
    without: list[RandomEffectsFit | None] = []
    for i in range(k):
        keep = np.arange(k) != i
        if k - 1 <= p or np.linalg.matrix_rank(x[keep]) < p:
            without.append(None)
            continue
        rest = fit_random_effects(y[keep], v[keep], x[keep], method=method, inference=inference)
        without.append(rest)
        alone = weighted_fit(y[keep], v[keep], x[keep], rest.tau2)
        shift = whole.coefficients - alone.coefficients
        spread = v[i] + rest.tau2
        measures[:, i] = (
            (y[i] - x[i] @ alone.coefficients) / np.sqrt(spread + x[i] @ alone.unscaled @ x[i]),
            shift @ np.linalg.solve(whole.unscaled, shift),
            x[i] @ shift / np.sqrt(hat[i] * spread),
            np.linalg.det(alone.unscaled) / np.linalg.det(whole.unscaled),
        )
    return SiteInfluence(tuple(without), hat, *measures)
