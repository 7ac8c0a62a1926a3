"""Hides how effects by stratum are estimated where clusters were assigned, with a joint covariance of full rank.

A linear mixed model with a mean for each arm and stratum, a random intercept for each cluster and one for each
stratum in a cluster. People of a cluster in several strata make the effects covary: what clusters differ in, all
strata share. The variance of that shared part rests on few clusters, and its degrees of freedom are told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.mixed_inference import kenward_roger
from gbveval.numerics.mixed_linear import fit_mixed_linear, mixed_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ClusterEffects:
    """Effects by stratum.

    Attributes
    ----------
    estimate, covariance : ndarray, shape (strata,), (strata, strata)
        Kenward and Roger's covariance.
    shared_variance, shared_df : float
        Variance of their most precise weighted average, and its degrees of freedom.
    between, within_stratum : float
        Variances between clusters, and between strata of a cluster, over the residual variance.
    """

    estimate: FloatArray
    covariance: FloatArray
    shared_variance: float
    shared_df: float
    between: float
    within_stratum: float


def effects_in_clusters(
    y: FloatArray, treated: BoolArray, stratum: IntArray, cluster: IntArray, blocks: FloatArray
) -> ClusterEffects:
    """Return the effect in every stratum.

    Parameters
    ----------
    y : ndarray, shape (n,)
    treated : ndarray of bool, shape (n,)
    stratum : ndarray of int, shape (n,)
        From zero, each with people in both arms.
    cluster : ndarray of int, shape (n,)
    blocks : ndarray, shape (n, columns)
        What assignment was stratified by.

    Raises
    ------
    NoMaximumError
        If the restricted likelihood has no maximum.
    LinAlgError
        If the covariance has no full rank.
    """
    count = int(stratum.max()) + 1
    own = (stratum[:, None] == np.arange(1, count)).astype(float)
    effects = ((stratum[:, None] == np.arange(count)) & treated[:, None]).astype(float)
    codes = np.column_stack([cluster, cluster * count + stratum])
    if np.unique(codes[:, 1]).size == len(y):
        # One person in each stratum of a cluster: what they differ in is the residual.
        codes = codes[:, :1]
    fit = fit_mixed_linear(mixed_sums(np.column_stack([own, effects, blocks]), y, codes.astype(np.intp)))
    inference = kenward_roger(fit)
    # The columns of the arms come after the intercept and the strata, and none of them is collinear.
    place = slice(count, 2 * count)
    covariance = inference.covariance[place, place]
    told = np.linalg.solve(covariance, np.ones(count))
    weights = np.zeros(len(fit.beta))
    weights[place] = told / told.sum()
    if np.linalg.eigvalsh(covariance)[0] <= 1e-12 * np.trace(covariance):
        raise np.linalg.LinAlgError("the effects' covariance has no full rank")
    return ClusterEffects(
        estimate=fit.beta[place],
        covariance=covariance,
        shared_variance=float(1.0 / told.sum()),
        shared_df=inference.df_of(fit, weights),
        between=float(fit.ratios[0]),
        within_stratum=float(fit.ratios[1]) if len(fit.ratios) > 1 else 0.0,
    )
