"""Several contrasts of one regression: joint covariance, degrees of freedom of each, a test of all of them.

For independent units the covariance is HC2, which is CR2 with every unit on its own, and everything is a sum over
units. With Z whitened (Z'Z = I, rows of root weights), leverage h_i = z_i'z_i, and r_s the whitened contrast s, let
a_is = z_i'r_s / sqrt(1 - h_i). The parts of the contrasts in units i and j have under the working model the covariance

    P_ij = 1{i = j} a_i a_i' - (z_i'z_j) a_i a_j',

which gives the degrees of freedom of Bell and McCaffrey (2002) for one contrast, tr(P)^2 / sum P^2. For q contrasts on
the scale where the sum of all P_ii is the identity, the total variance of the estimated covariance is

    2 (sum_i |a_i|^4 (1 - 2 h_i) + sum_st |B_st|^2),   B_st = sum_i a_is a_it z_i z_i',

and the degrees of freedom eta of the Wishart matrix with the same total are q (q + 1) over it: the approximate
Hotelling test (Pustejovsky and Tipton 2018), of which `cluster_wald` has the version for clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import SINGULAR, ClusterMoments, satterthwaite
from gbveval.numerics.cluster_wald import WaldTest, cluster_wald, wishart_df
from gbveval.numerics.inference import f_upper, wald_joint
from gbveval.numerics.least_squares import LeastSquares, blocks, fit_least_squares
from gbveval.numerics.linear_inference import linear_inference

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# The test by clusters holds arrays of the fourth power of the number of combinations.
MOST_TESTED = 40


@dataclass(frozen=True, eq=False, slots=True)
class JointContrasts:
    """Contrasts of the coefficients of one regression.

    Attributes
    ----------
    value : ndarray, shape (contrasts,)
        Their estimates.
    covariance : ndarray, shape (contrasts, contrasts)
        Joint covariance: the cross-product of the influence.
    influence : ndarray, shape (units or clusters, contrasts)
        By independent unit.
    df : ndarray, shape (contrasts,)
        Satterthwaite degrees of freedom.
    test : WaldTest
        That some combinations of the contrasts are all zero.
    family_df : tuple of float
        For each family of contrasts the degrees of freedom of the Wishart matrix that its covariance resembles;
        infinite where clusters are so many that they are not computed, NaN where it is singular.
    exact_fits : int
        Units, or clusters, that the regression fits exactly.
    """

    value: FloatArray
    covariance: FloatArray
    influence: FloatArray
    df: FloatArray
    test: WaldTest
    family_df: tuple[float, ...]
    exact_fits: int


def joint_contrasts(
    design: FloatArray,
    outcome: FloatArray,
    contrasts: FloatArray,
    tested: FloatArray,
    *,
    families: Sequence[slice] = (),
    cluster: IntArray | None = None,
    n_clusters: int = 0,
    weights: FloatArray | None = None,
) -> JointContrasts:
    """Return contrasts of a least-squares fit with intercept, HC2 or CR2, and a test of combinations of them.

    Parameters
    ----------
    design : ndarray, shape (n, columns)
        Without an intercept column.
    outcome : ndarray, shape (n,)
        Outcome.
    contrasts : ndarray, shape (m, columns)
        Weights of the columns' coefficients in each contrast; zero for columns that may be dropped as collinear.
    tested : ndarray, shape (q, m)
        Combinations of the contrasts that the test is about, of full row rank.
    families : sequence of slice
        Contrasts whose joint covariance will be inverted: see `enlarged`.
    cluster : ndarray of int, shape (n,), optional
        Codes 0 .. n_clusters - 1; without it units are independent.
    n_clusters : int
        Number of codes; those that do not occur have influence zero.
    weights : ndarray, shape (n,), optional
        Positive regression weights.

    Notes
    -----
    With more clusters than the matrices are kept for (two thousand), degrees of freedom of a contrast are the smallest
    of those of its coefficients, and the test is Hotelling's with the smallest of all.
    """
    if cluster is None:
        fit = fit_least_squares(design, outcome, weights=weights)
        return _of_units(fit, design, outcome, _on_kept(fit, contrasts), tested, families, weights)
    found = linear_inference(
        design,
        outcome,
        std_error="CR2",
        df="satterthwaite",
        weights=weights,
        cluster=cluster,
        n_clusters=n_clusters,
    )
    assert found.influence is not None
    c = _on_kept(found.fit, contrasts)
    value, influence = c @ found.beta, found.influence @ c.T
    covariance = influence.T @ influence
    if found.moments is None:
        df = np.array([found.df[row != 0].min() for row in c])
        test = _hotelling(tested @ value, tested @ covariance @ tested.T, float(df.min()))
        family_df = tuple(float("inf") for _ in families)
    else:
        at = ClusterMoments(found.moments.lifted @ c.T, c @ found.moments.own @ c.T, found.moments.kernel)
        df = satterthwaite(at)
        test = _by_clusters(value, covariance, tested, at, float(df.min()))
        family_df = tuple(wishart_df(np.eye(value.size)[family], at) for family in families)
    return JointContrasts(value, covariance, influence, df, test, family_df, found.singular_clusters)


def _on_kept(fit: LeastSquares, contrasts: FloatArray) -> FloatArray:
    """Return contrasts of the coefficients that were estimated, intercept first."""
    return np.column_stack([np.zeros(contrasts.shape[0]), contrasts[:, fit.basis.kept]])


def _of_units(
    fit: LeastSquares,
    design: FloatArray,
    outcome: FloatArray,
    c: FloatArray,
    tested: FloatArray,
    families: Sequence[slice],
    weights: FloatArray | None,
) -> JointContrasts:
    heavy = np.ones(fit.n) if weights is None else np.sqrt(weights)
    values, vectors = np.linalg.eigh(fit.basis.gram_inverse)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    z = (fit.basis.rows(design, slice(None)) * heavy[:, None]) @ root
    residual = fit.residuals(design, outcome) * heavy
    leverage = np.minimum((z**2).sum(axis=1), 1.0)
    exact = 1.0 - leverage <= SINGULAR
    stretch = np.where(exact, 0.0, np.where(exact, 1.0, 1.0 - leverage) ** -0.5)
    whitened = root @ fit.basis.to_original.T @ c.T
    a = (z @ whitened) * stretch[:, None]
    influence = a * residual[:, None]
    covariance = influence.T @ influence
    df = np.array([_one_df(a[:, j], z, leverage) for j in range(a.shape[1])])
    value = c @ fit.beta[:, 0]
    test = _hotelling(tested @ value, tested @ covariance @ tested.T, _wishart_df(a @ tested.T, z, leverage))
    family_df = tuple(_wishart_df(a[:, family], z, leverage) for family in families)
    return JointContrasts(value, covariance, influence, df, test, family_df, int(exact.sum()))


def _one_df(a: FloatArray, z: FloatArray, leverage: FloatArray) -> float:
    """Return tr(P)^2 / sum P^2 of one contrast."""
    square = a**2
    b = z.T @ (z * square[:, None])
    squares = float(square**2 @ (1.0 - 2.0 * leverage)) + float(np.sum(b**2))
    return float(square @ (1.0 - leverage)) ** 2 / squares if squares > 0 else float("nan")


def _wishart_df(a: FloatArray, z: FloatArray, leverage: FloatArray) -> float:
    """Return the degrees of freedom that match the total variance of the covariance of several contrasts."""
    values, vectors = np.linalg.eigh(a.T @ (a * (1.0 - leverage)[:, None]))
    if not values[0] > SINGULAR * values[-1]:
        return float("nan")
    a = a @ (vectors / np.sqrt(values))
    q = a.shape[1]
    total = float((a**2).sum(axis=1) ** 2 @ (1.0 - 2.0 * leverage)) + _pair_squares(a, z)
    return float(q * (q + 1.0) / (2.0 * total))


def _pair_squares(a: FloatArray, z: FloatArray) -> float:
    """Return sum_st |B_st|^2, which is sum_ij (z_i'z_j)^2 (a_i'a_j)^2: whichever of the two is less work."""
    n, q = a.shape
    k = z.shape[1]
    if (q * k) ** 2 > 2 * n * (q + k):
        parts = [float(np.sum(((z @ z[rows].T) * (a @ a[rows].T)) ** 2)) for rows in blocks(n, 512)]
        return sum(parts)
    total = 0.0
    for s in range(q):
        for t in range(s + 1):
            size = float(np.sum((z.T @ (z * (a[:, s] * a[:, t])[:, None])) ** 2))
            total += size if s == t else 2.0 * size
    return total


def _by_clusters(
    value: FloatArray, covariance: FloatArray, tested: FloatArray, moments: ClusterMoments, smallest: float
) -> WaldTest:
    """Return the approximate Hotelling test by clusters, or Hotelling's with the smallest df for very many rows."""
    if tested.shape[0] > MOST_TESTED:
        return _hotelling(tested @ value, tested @ covariance @ tested.T, smallest)
    if wald_joint(tested @ value, tested @ covariance @ tested.T)[1] < tested.shape[0]:
        return _untested(tested.shape[0])
    return cluster_wald(value, covariance, tested, moments)


def _hotelling(value: FloatArray, covariance: FloatArray, eta: float) -> WaldTest:
    """Return Hotelling's T squared with eta degrees of freedom as an F."""
    q = value.size
    statistic, rank, _ = wald_joint(value, covariance)
    df2 = eta - q + 1.0
    if rank < q or not df2 > 0:
        return _untested(q)
    scale = df2 / eta
    return WaldTest(scale * statistic / q, scale, q, df2, f_upper(scale * statistic / q, q, df2))


def _untested(q: int) -> WaldTest:
    return WaldTest(float("nan"), float("nan"), q, float("nan"), float("nan"))


def enlarged(covariance: FloatArray, df: FloatArray, joint_df: float) -> FloatArray | None:
    """Return an estimated covariance enlarged so that its inverse is not too large on average.

    A Wishart matrix over its eta degrees of freedom has E(V^-1) = eta / (eta - S - 1) times the inverse of its mean,
    for one variance df / (df - 2), which is the variance of its t. Each row is enlarged by its own df / (df - 2), and
    the whole by what the joint eta asks beyond that: nothing where the S estimates are independent, for then
    eta = S (S + 1) / sum(2 / df), and eta / (eta - S - 1) is just df / (df - 2) where all df are the same.

    Parameters
    ----------
    covariance : ndarray, shape (S, S)
        Estimated.
    df : ndarray, shape (S,)
        Degrees of freedom of each variance.
    joint_df : float
        Eta; infinite where it is not known and large.

    Returns
    -------
    ndarray or None
        None where there are too few degrees of freedom for an inverse with a mean.

    References
    ----------
    Muirhead (1982), Aspects of Multivariate Statistical Theory, chapter 3, for the mean of an inverse Wishart matrix.
    Hartlap, Simon and Schneider (2007), Astronomy and Astrophysics 464, for its use where a covariance is inverted.
    Pustejovsky and Tipton (2018), Journal of Business and Economic Statistics 36, for eta.
    """
    size = df.size
    if not (np.all(df > 2.0) and joint_df > size + 1.0):
        return None
    apart = size * (size + 1.0) / float(np.sum(2.0 / df))
    own, beyond = np.sqrt(df / (df - 2.0)), 1.0
    if np.isfinite(joint_df) and joint_df < apart:
        beyond = (joint_df / (joint_df - size - 1.0)) * (1.0 - (size + 1.0) / apart)
    result: FloatArray = covariance * np.outer(own, own) * beyond
    return result
