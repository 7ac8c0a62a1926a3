"""Covariances of the coefficients of a generalised linear model, from its whitened rows.

With X* and e* as in `numerics.glm`, beta_hat - beta is to first order (X*'X*)^-1 X*'e*, as in least squares. So HC0 to
HC3 and CR0 to CR3 are those of least squares on the whitened rows; leverages and adjustment matrices then belong to the
working variance V / w as target, with its inverse as weights (Pustejovsky and Tipton 2018).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import CLUSTER_KINDS, cluster_robust, cross_products, small_sample_factor
from gbveval.numerics.least_squares import LeastSquares, make_basis
from gbveval.numerics.sandwich import heteroskedasticity_robust

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
ROBUST_KINDS = ("HC0", "HC1", "HC2", "HC3")


@dataclass(frozen=True, eq=False, slots=True)
class CoefficientCovariance:
    """A covariance of coefficients.

    Attributes
    ----------
    covariance : ndarray, shape (wanted, wanted)
        Of what was wanted.
    influence : ndarray, shape (independent units, wanted), or None
        Its cross-product is the covariance; None for a model-based one.
    df : ndarray, shape (wanted,), or None
        Satterthwaite degrees of freedom, where clusters have them.
    singular : int
        Rows or clusters that fit a direction exactly.
    factor : float
        The root of the small-sample factor in `influence`.
    """

    covariance: FloatArray
    influence: FloatArray | None
    df: FloatArray | None = None
    singular: int = 0
    factor: float = 1.0


def whitened_fit(design: FloatArray, lift: FloatArray) -> LeastSquares | None:
    """Return a fit whose residuals are the outcome it is asked about, or None where the columns have lost their rank.

    Parameters
    ----------
    design : ndarray, shape (n, k)
        Whitened columns.
    lift : ndarray, shape (wanted, k)
        Turns coefficients on these columns into what is wanted.
    """
    basis = make_basis(design, intercept=False)
    n, k = design.shape
    if basis.dropped.size:
        return None
    zero = np.zeros((k, 1))
    return LeastSquares(replace(basis, to_original=lift @ basis.to_original), zero, zero, n, k)


def coefficient_covariance(
    design: FloatArray,
    residual: FloatArray,
    lift: FloatArray,
    kind: str,
    *,
    dispersion: float = 1.0,
    cluster: IntArray | None = None,
) -> CoefficientCovariance | None:
    """Return a covariance of coefficients, or None where the whitened columns have lost their rank.

    Parameters
    ----------
    design : ndarray, shape (n, k)
        X*.
    residual : ndarray, shape (n,)
        e*.
    lift : ndarray, shape (wanted, k)
        Turns coefficients on the columns of X* into what is wanted: other coefficients, or linear functions of them.
    kind : str
        "model" (dispersion times the inverse information), "HC0" to "HC3", "CR0", "CR1", "CR1S", "CR2", "CR3".
    dispersion : float
        For "model".
    cluster : ndarray of int, shape (n,), optional
        Codes 0 .. G - 1, all present, for the CR kinds.
    """
    fit = whitened_fit(design, lift)
    if fit is None:
        return None
    if kind == "model":
        to = fit.basis.to_original
        covariance = dispersion * (to @ fit.basis.gram_inverse @ to.T)
        return CoefficientCovariance((covariance + covariance.T) / 2.0, None)
    if kind in CLUSTER_KINDS:
        if cluster is None:
            raise ValueError(f"{kind} needs clusters.")
        sums = cross_products(fit, design, residual, cluster, int(cluster.max()) + 1)
        clustered = cluster_robust(fit, sums, kind=kind)
        factor = small_sample_factor(kind, sums.gram.shape[0], fit.n, fit.k)
        return CoefficientCovariance(
            clustered.covariance[:, :, 0],
            clustered.influence[:, :, 0],
            clustered.df,
            clustered.singular_clusters,
            float(np.sqrt(factor)),
        )
    own = whitened_fit(design, np.eye(fit.k))
    assert own is not None
    robust = heteroskedasticity_robust(own, design, residual, kind=kind)
    influence = robust.influence[:, :, 0] @ lift.T
    factor = fit.n / (fit.n - fit.k) if kind == "HC1" else 1.0
    return CoefficientCovariance(influence.T @ influence, influence, None, robust.full_leverage, float(np.sqrt(factor)))
