"""A least-squares fit with the covariance that was asked for, in one shape whatever the covariance is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import (
    CLUSTER_KINDS,
    ClusterMoments,
    cluster_robust,
    cross_products,
)
from gbveval.numerics.least_squares import LeastSquares, fit_least_squares
from gbveval.numerics.many_clusters import many_cluster_robust
from gbveval.numerics.many_weighted_clusters import many_weighted_bias_reduced
from gbveval.numerics.sandwich import HC_TYPES, heteroskedasticity_robust
from gbveval.numerics.weighted_cluster_sandwich import weighted_bias_reduced

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
STD_ERRORS = ("classical", *HC_TYPES, *CLUSTER_KINDS)
# Beyond this many clusters their matrices are not kept: an F with clusters minus one degrees of freedom then differs
# from the small-sample tests that need them in the fourth digit.
MANY_CLUSTERS = 2_000
DEGREES = ("residual", "clusters_minus_1", "satterthwaite", "normal")


@dataclass(frozen=True, eq=False, slots=True)
class LinearInference:
    """A linear fit and its inference, for one outcome.

    Attributes
    ----------
    fit : LeastSquares
        Coefficients on the intercept (if any) and the kept columns.
    covariance : ndarray, shape (k, k)
        Of the coefficients.
    influence : ndarray or None, shape (rows or clusters, k)
        Its cross-product is the covariance; None for the classical covariance, which has none.
    df : ndarray, shape (k,)
        Degrees of freedom of each coefficient's t.
    moments : ClusterMoments or None
        For joint tests with few clusters; None beyond `MANY_CLUSTERS`.
    residual_squares, total_squares : float
        (Weighted) sums of squares of the residuals, and of the outcome about its (weighted) mean.
    singular_clusters, full_leverage : int
        Clusters, or rows, that were fitted exactly.
    """

    fit: LeastSquares
    covariance: FloatArray
    influence: FloatArray | None
    df: FloatArray
    moments: ClusterMoments | None = None
    residual_squares: float = float("nan")
    total_squares: float = float("nan")
    singular_clusters: int = 0
    full_leverage: int = 0

    @property
    def beta(self) -> FloatArray:
        """Coefficients, shape (k,)."""
        return self.fit.beta[:, 0]

    @property
    def r_squared(self) -> float:
        """Share of the outcome's variance that the columns explain; NaN where the outcome does not vary."""
        return 1.0 - self.residual_squares / self.total_squares if self.total_squares > 0 else float("nan")

    @property
    def adjusted_r_squared(self) -> float:
        """The same with both variances divided by their degrees of freedom."""
        n, k = self.fit.n, self.fit.k
        return 1.0 - (1.0 - self.r_squared) * (n - 1.0) / (n - k)

    @property
    def residual_sd(self) -> float:
        """Root of the residual sum of squares over rows minus coefficients."""
        return float(np.sqrt(self.residual_squares / (self.fit.n - self.fit.k)))


def linear_inference(
    design: FloatArray,
    outcome: FloatArray,
    *,
    std_error: str,
    df: str,
    intercept: bool = True,
    weights: FloatArray | None = None,
    cluster: IntArray | None = None,
    n_clusters: int = 0,
) -> LinearInference:
    """Return a (weighted) least-squares fit with its inference.

    Parameters
    ----------
    design : ndarray, shape (n, columns)
        Without an intercept column.
    outcome : ndarray, shape (n,)
        Outcome.
    std_error : str
        "classical", "HC0" to "HC3", or "CR0", "CR1", "CR1S", "CR2", "CR3" with `cluster`. With weights CR2 has an
        identity working model.
    df : str
        "residual", "clusters_minus_1", "satterthwaite" (of the clusters, for the covariance asked for) or "normal".
    intercept : bool
        Whether the model has an intercept.
    weights : ndarray, shape (n,), optional
        Positive regression weights.
    cluster : ndarray of int, shape (n,), optional
        Codes 0 .. n_clusters - 1; codes that do not occur have influence zero.
    n_clusters : int
        Number of codes.
    """
    if std_error not in STD_ERRORS or df not in DEGREES:
        raise ValueError(f"{std_error!r} with {df!r} is not known.")
    fit = fit_least_squares(design, outcome, weights=weights, intercept=intercept)
    if std_error in CLUSTER_KINDS:
        assert cluster is not None
        found = _clustered(fit, (design, outcome, weights), std_error, df, cluster, n_clusters)
    else:
        found = _unclustered(fit, (design, outcome, weights), std_error, df)
    residual = fit.residuals(design, outcome)
    centred = outcome - np.average(outcome, weights=weights) if intercept else outcome
    w = 1.0 if weights is None else weights
    return replace(found, residual_squares=float(np.sum(w * residual**2)), total_squares=float(np.sum(w * centred**2)))


def _unclustered(
    fit: LeastSquares, data: tuple[FloatArray, FloatArray, FloatArray | None], std_error: str, df: str
) -> LinearInference:
    design, outcome, weights = data
    free = np.full(fit.k, np.inf if df == "normal" else float(fit.n - fit.k))
    if std_error == "classical":
        residual = fit.residuals(design, outcome)
        heavy = residual if weights is None else residual * weights
        lift = fit.basis.to_original
        covariance = float(residual @ heavy) / (fit.n - fit.k) * lift @ fit.basis.gram_inverse @ lift.T
        return LinearInference(fit, covariance, None, free)
    robust = heteroskedasticity_robust(fit, design, outcome, kind=std_error, weights=weights)
    return LinearInference(
        fit, robust.covariance[:, :, 0], robust.influence[:, :, 0], free, full_leverage=robust.full_leverage
    )


def _clustered(
    fit: LeastSquares,
    data: tuple[FloatArray, FloatArray, FloatArray | None],
    std_error: str,
    df: str,
    cluster: IntArray,
    n_clusters: int,
) -> LinearInference:
    design, outcome, weights = data
    present, codes = np.unique(cluster, return_inverse=True)
    count = present.size
    if std_error == "CR2" and weights is not None and count > MANY_CLUSTERS:
        robust = many_weighted_bias_reduced(fit, design, outcome, codes, count, weights=weights)
    elif std_error == "CR2" and weights is not None:
        robust = weighted_bias_reduced(fit, design, outcome, codes, count, weights=weights)
    elif count > MANY_CLUSTERS:
        robust = many_cluster_robust(fit, design, outcome, codes, count, kind=std_error, weights=weights)
    else:
        sums = cross_products(fit, design, outcome, codes, count, weights=weights)
        robust = cluster_robust(fit, sums, kind=std_error)
    known = {
        "satterthwaite": robust.df,
        "clusters_minus_1": np.full(fit.k, count - 1.0),
        "residual": np.full(fit.k, float(fit.n - fit.k)),
        "normal": np.full(fit.k, np.inf),
    }
    influence = np.zeros((n_clusters, fit.k))
    influence[present] = robust.influence[:, :, 0]
    return LinearInference(
        fit,
        robust.covariance[:, :, 0],
        influence,
        known[df],
        robust.moments,
        singular_clusters=robust.singular_clusters,
    )
