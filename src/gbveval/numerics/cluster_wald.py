"""Tests of several coefficients at once with few clusters: the approximate Hotelling test and its relatives.

For q constraints C beta = 0 with the cluster-robust covariance V = C V_CR C' the statistic is
Q = (C beta)' V^-1 (C beta). With T_g e_g the part of cluster g in C beta, Omega = E(V) under the working model and
D = Omega^-1/2 V Omega^-1/2, E(D) = I and for normal errors

    Cov(d_st, d_uv) = sum_gh [P_gh]_su [P_gh]_tv + [P_gh]_sv [P_gh]_tu,

where P_gh is the q by q covariance of the parts of g and h. A Wishart matrix with eta degrees of freedom, divided by
eta, has Var(d_st) = (1 + 1{s = t}) / eta; then (eta - q + 1) / (eta q) Q has an F distribution with q and eta - q + 1
degrees of freedom. The versions differ in how eta is matched (Tipton and Pustejovsky 2015; Pustejovsky and Tipton
2018):

- HTZ: the total variance, q (q + 1) / sum_st Var(d_st) (Zhang 2012). It is the one to use.
- HTA: least squares of all covariances on those of the Wishart matrix (Pan and Wall 2002).
- HTB: the same idea on the distinct covariances, counted once. The formula here is the one that clubSandwich computes;
  for q = 2 it doubles the off-diagonal element, which a Wishart matrix does not, so eta comes out too large.

EDF and EDT go another way: they turn C beta to the eigenvectors of D, where the parts are uncorrelated, take
Satterthwaite degrees of freedom nu_i for each, and match an F by two moments (Fai and Cornelius 1996), or bring each t
to a normal by the series of Alexander and Govern (1994) and add squares (Cai and Hayes 2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import SINGULAR, ClusterMoments
from gbveval.numerics.inference import f_upper

FloatArray = NDArray[np.float64]
WALD_TESTS = ("HTZ", "HTA", "HTB", "EDF", "EDT", "chi-squared", "naive-F")


@dataclass(frozen=True, slots=True)
class WaldTest:
    """A test that several combinations of coefficients are zero.

    Attributes
    ----------
    statistic : float
        The statistic that is compared with F(df, df2): Q / q times `scale`.
    scale : float
        What Q / q was multiplied by.
    df : int
        Numerator degrees of freedom: the number of constraints.
    df2 : float
        Denominator degrees of freedom; infinite for a chi-squared reference, NaN where there are too few.
    p_value : float
        NaN where there are too few degrees of freedom.
    """

    statistic: float
    scale: float
    df: int
    df2: float
    p_value: float


def cluster_wald(
    value: FloatArray, covariance: FloatArray, constraints: FloatArray, moments: ClusterMoments, *, test: str = "HTZ"
) -> WaldTest:
    """Return a test of C beta = 0.

    Parameters
    ----------
    value : ndarray, shape (k,)
        Coefficients.
    covariance : ndarray, shape (k, k)
        Cluster-robust covariance.
    constraints : ndarray, shape (q, k)
        C, of full row rank.
    moments : ClusterMoments
        Of the same fit.
    test : str
        "HTZ", "HTA", "HTB", "EDF", "EDT", "chi-squared" or "naive-F" (clusters minus one degrees of freedom).
    """
    if test not in WALD_TESTS:
        raise ValueError(f"The test is one of {', '.join(WALD_TESTS)}, not {test!r}.")
    q = constraints.shape[0]
    target = constraints @ value
    spread = constraints @ covariance @ constraints.T
    per_constraint = float(target @ np.linalg.solve(spread, target)) / q
    if test in ("chi-squared", "naive-F"):
        df2 = np.inf if test == "chi-squared" else moments.own.shape[0] - 1.0
        return WaldTest(per_constraint, 1.0, q, df2, f_upper(per_constraint, q, df2))
    lifted, own, root = _standardised(constraints, moments)
    if test in ("EDF", "EDT"):
        turned = root @ target
        axes = np.linalg.eigh(root @ spread @ root)
        return _by_eigenvectors(turned, axes, ClusterMoments(lifted, own, moments.kernel), test)
    eta = _matched_df(_covariances(lifted, own, moments.kernel), test)
    df2 = eta - q + 1.0
    if df2 <= 0:
        return WaldTest(float("nan"), float("nan"), q, float("nan"), float("nan"))
    scale = df2 / eta
    return WaldTest(scale * per_constraint, scale, q, df2, f_upper(scale * per_constraint, q, df2))


def wishart_df(constraints: FloatArray, moments: ClusterMoments) -> float:
    """Return the degrees of freedom of the Wishart matrix that the covariance of C beta resembles (total variance).

    NaN where the covariance is singular under the working model.
    """
    own = constraints @ moments.own @ constraints.T
    lifted = moments.lifted @ constraints.T
    roots = np.linalg.eigvalsh((own + np.swapaxes(lifted, 1, 2) @ moments.kernel @ lifted).sum(axis=0))
    if not roots[0] > SINGULAR * roots[-1]:
        return float("nan")
    lifted, own, _ = _standardised(constraints, moments)
    return _matched_df(_covariances(lifted, own, moments.kernel), "HTZ")


def _standardised(constraints: FloatArray, moments: ClusterMoments) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return F_g'a_g and a_g'a_g for the constraints on the scale where E(V) = I, and Omega^(-1/2)."""
    lifted = moments.lifted @ constraints.T
    own = constraints @ moments.own @ constraints.T
    omega = (own + np.swapaxes(lifted, 1, 2) @ moments.kernel @ lifted).sum(axis=0)
    values, vectors = np.linalg.eigh((omega + omega.T) / 2.0)
    root = (vectors / np.sqrt(values)) @ vectors.T
    return lifted @ root, root @ own @ root, root


def _covariances(lifted: FloatArray, own: FloatArray, kernel: FloatArray) -> FloatArray:
    """Return Cov(d_st, d_uv), shape (q, q, q, q), in time linear in the clusters.

    sum_gh [P_gh]_su [P_gh]_tv splits into the own parts (g = h) and lifted_g' K lifted_h over all pairs, whose sum
    needs only S_st = sum_g f_gs f_gt'.
    """
    overlap = np.swapaxes(lifted, 1, 2) @ kernel @ lifted
    whole = own + overlap
    same = np.einsum("gsu,gtv->stuv", whole, whole) - np.einsum("gsu,gtv->stuv", overlap, overlap)
    pairs = np.einsum("gas,gbt->stab", lifted, lifted)
    weighted = np.einsum("ab,stbc,cd->stad", kernel, pairs, kernel)
    # sum_gh (f_gs'K f_hu)(f_gt'K f_hv) = sum_gh f_gs'K f_hu f_hv'K f_gt = tr(K S_uv K S_ts).
    product = same + np.einsum("uvab,tsba->stuv", weighted, pairs)
    result: FloatArray = product + np.swapaxes(product, 2, 3)
    return result


def _matched_df(covariances: FloatArray, test: str) -> float:
    q = covariances.shape[0]
    identity = np.eye(q)
    wishart = np.einsum("su,tv->stuv", identity, identity) + np.einsum("sv,tu->stuv", identity, identity)
    if test == "HTZ":
        return float(q * (q + 1) / np.einsum("stst->", covariances))
    if test == "HTA":
        return float(np.sum(covariances * wishart) / np.sum(covariances**2))
    rows, columns = np.tril_indices(q)
    distinct = covariances[rows, columns][:, rows, columns]
    return float(2.0 * np.trace(distinct) / np.sum(np.tril(distinct) ** 2))


def _by_eigenvectors(
    target: FloatArray, axes: tuple[FloatArray, FloatArray], moments: ClusterMoments, test: str
) -> WaldTest:
    values, vectors = axes
    q = target.size
    t = (vectors.T @ target) / np.sqrt(values)
    turned = ClusterMoments(moments.lifted @ vectors, vectors.T @ moments.own @ vectors, moments.kernel)
    variances = np.einsum("iiii->i", _covariances(turned.lifted, turned.own, turned.kernel))
    # E(p'Dp) = 1 and its variance is 2 / nu.
    nu = 2.0 / variances
    if test == "EDT":
        z = _normalising(t, nu)
        statistic = float(z @ z) / q
        return WaldTest(statistic, 1.0, q, np.inf, f_upper(statistic, q, np.inf))
    if np.any(nu <= 4.0):
        return WaldTest(float("nan"), float("nan"), q, float("nan"), float("nan"))
    mean = float(np.sum(nu / (nu - 2.0)))
    variance = float(np.sum(2.0 * nu**2 * (nu - 1.0) / ((nu - 2.0) ** 2 * (nu - 4.0))))
    ratio = variance / (2.0 * mean**2)
    # An F(q, df2) has Var / (2 mean^2) = (q + df2 - 2) / (q (df2 - 4)), which is solved for df2.
    df2 = 4.0 + (q + 2.0) / (q * ratio - 1.0)
    scale = q * df2 / (mean * (df2 - 2.0))
    statistic = scale * float(t @ t) / q
    return WaldTest(statistic, scale, q, df2, f_upper(statistic, q, df2))


def _normalising(t: FloatArray, nu: FloatArray) -> FloatArray:
    """Return t statistics brought to normal scores by the series of Alexander and Govern (1994)."""
    a = nu - 0.5
    b = 48.0 * a**2
    c = np.sqrt(a * np.log1p(t**2 / nu))
    tail = (4.0 * c**7 + 33.0 * c**5 + 240.0 * c**3 + 855.0 * c) / (10.0 * b**2 + 8.0 * b * c**4 + 1000.0 * b)
    result: FloatArray = c + (c**3 + 3.0 * c) / b - tail
    return result
