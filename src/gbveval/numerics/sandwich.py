"""Heteroskedasticity-robust covariances of least squares: HC0 to HC3 (MacKinnon and White 1985)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.least_squares import LeastSquares, blocks

FloatArray = NDArray[np.float64]
HC_TYPES = ("HC0", "HC1", "HC2", "HC3")


@dataclass(frozen=True, slots=True)
class Robust:
    """A heteroskedasticity-robust covariance.

    Attributes
    ----------
    covariance : ndarray, shape (k, k, outcomes)
        Of the coefficients.
    influence : ndarray, shape (n, k, outcomes)
        Adjusted scores by row; the covariance is their cross-product.
    full_leverage : int
        Rows with leverage one: fitted exactly, they carry no information on the error.
    """

    covariance: FloatArray
    influence: FloatArray
    full_leverage: int


def heteroskedasticity_robust(
    fit: LeastSquares,
    design: FloatArray,
    outcome: FloatArray,
    *,
    kind: str = "HC2",
    weights: FloatArray | None = None,
) -> Robust:
    """Return a robust covariance of a least-squares fit.

    Parameters
    ----------
    fit : LeastSquares
        Fit of `outcome` on `design` with the same weights.
    design : ndarray, shape (n, columns)
        Without an intercept column.
    outcome : ndarray, shape (n,) or (n, outcomes)
        As given to the fit.
    kind : str
        "HC0" (White 1980), "HC1" (times n / (n - k)), "HC2" (residual over the root of one minus leverage) or "HC3"
        (over one minus leverage).
    weights : ndarray, optional
        Regression weights; the score is weight times residual.
    """
    if kind not in HC_TYPES:
        raise ValueError(f"The covariance is one of {', '.join(HC_TYPES)}, not {kind!r}.")
    columns = outcome[:, None] if outcome.ndim == 1 else outcome
    n, m = columns.shape
    lift = fit.basis.to_original @ fit.basis.gram_inverse
    influence = np.empty((n, fit.k, m))
    full = 0
    for where in blocks(n):
        z = fit.basis.rows(design, where)
        residual = columns[where] - z @ fit.gamma
        w = None if weights is None else weights[where]
        leverage = np.einsum("ij,jl,il->i", z, fit.basis.gram_inverse, z)
        if w is not None:
            leverage = leverage * w
            residual = residual * w[:, None]
        left = 1.0 - leverage
        exact = left < 1e-10
        full += int(exact.sum())
        safe = np.where(exact, np.inf, left)
        if kind == "HC2":
            residual = residual / np.sqrt(safe)[:, None]
        elif kind == "HC3":
            residual = residual / safe[:, None]
        influence[where] = np.einsum("ik,io->iko", z @ lift.T, residual)
    if kind == "HC1":
        influence *= np.sqrt(n / (n - fit.k))
    covariance = np.einsum("iko,ilo->klo", influence, influence)
    return Robust(covariance, influence, full)
