"""Hides variances of pooled effects that hold however the effects of one study depend on each other.

A working covariance Phi gives the weights Phi^-1 (Hedges, Tipton and Johnson 2010). CR2 adjusts the residuals of study
g by A_g = D'B^(-1/2)D with D'D = Phi_g and B = D(Phi_g - X_g M X_g')D', M = (X'Phi^-1 X)^-1, so that the variance is
unbiased when Phi is right (Pustejovsky and Tipton 2018). With a_g = A_g'Phi_g^-1 X_g M the parts of the covariance have
P_gh = 1{g = h} a_g'Phi_g a_g - (X_g'a_g)'M(X_h'a_h), from which the degrees of freedom follow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import SINGULAR, ClusterMoments, ClusterRobust, satterthwaite

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
SMALL_SAMPLE = ("CR2", "CR1")


def robust_effects(
    y: FloatArray, x: FloatArray, working: FloatArray, study: IntArray, *, kind: str = "CR2"
) -> tuple[FloatArray, ClusterRobust]:
    """Return coefficients and their cluster-robust covariance (one outcome).

    Parameters
    ----------
    y : ndarray, shape (k,)
        Estimates.
    x : ndarray, shape (k, p)
        Design of full rank.
    working : ndarray, shape (k, k)
        Working covariance, zero between studies; its inverse gives the weights.
    study : ndarray of int, shape (k,)
        Codes from zero without gaps.
    kind : str
        "CR2" (Satterthwaite degrees of freedom) or "CR1" (m / (m - p); studies less coefficients).

    Examples
    --------
    With studies of one size the variance is that of their means, 0.19 / 3 here, and the degrees of freedom are m - 1.

    >>> y, study = np.array([0.1, 0.3, 0.8, 1.0, 0.2, 0.0]), np.array([0, 0, 1, 1, 2, 2])
    >>> value, robust = robust_effects(y, np.ones((6, 1)), np.eye(6), study)
    >>> round(float(value[0]), 2), round(float(robust.covariance[0, 0, 0]), 4), round(float(robust.df[0]), 2)
    (0.4, 0.0633, 2.0)
    """
    groups = [np.flatnonzero(study == g) for g in range(int(study.max()) + 1)]
    weighted = [np.linalg.solve(working[np.ix_(rows, rows)], x[rows]) for rows in groups]
    p = x.shape[1]
    information = sum((x[rows].T @ w for rows, w in zip(groups, weighted, strict=True)), np.zeros((p, p)))
    unscaled: FloatArray = np.asarray(np.linalg.inv(information), dtype=np.float64)
    coefficients = unscaled @ sum((w.T @ y[rows] for rows, w in zip(groups, weighted, strict=True)), np.zeros(p))
    residual = y - x @ coefficients
    # The rows of a study's part are Phi^-1 X M, adjusted.
    parts = [w @ unscaled for w in weighted]
    singular = 0
    if kind == "CR2":
        for g, rows in enumerate(groups):
            adjustment, lost = _adjustment(x[rows], working[np.ix_(rows, rows)], unscaled)
            parts[g] = adjustment.T @ parts[g]
            singular += lost
    influence = np.array([part.T @ residual[rows] for rows, part in zip(groups, parts, strict=True)])
    m = len(groups)
    if kind == "CR1":
        influence *= np.sqrt(m / (m - p))
        df, moments = np.full(p, float(m - p)), None
    else:
        lifted = np.array([x[rows].T @ part for rows, part in zip(groups, parts, strict=True)])
        own = np.array([part.T @ working[np.ix_(r, r)] @ part for r, part in zip(groups, parts, strict=True)])
        moments = ClusterMoments(lifted, own, -unscaled)
        df = satterthwaite(moments)
    covariance = influence.T @ influence
    return coefficients, ClusterRobust(covariance[:, :, None], influence[:, :, None], df, singular, moments)


def _adjustment(x: FloatArray, working: FloatArray, unscaled: FloatArray) -> tuple[FloatArray, bool]:
    """Return A_g, and whether the study is fitted perfectly in some direction, which then has no weight."""
    upper = np.linalg.cholesky(working).T
    values, vectors = np.linalg.eigh(upper @ (working - x @ unscaled @ x.T) @ upper.T)
    keep = values > SINGULAR * values[-1]
    roots = vectors[:, keep] / np.sqrt(values[keep])
    return upper.T @ (roots @ vectors[:, keep].T) @ upper, bool((~keep).any())
