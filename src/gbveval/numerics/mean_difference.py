"""Differences in means by how units were assigned, with influence values whose squares sum to the variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class MeanDifference:
    """A difference in means.

    Attributes
    ----------
    value : float
        Treated minus control.
    influence : ndarray, shape (independent units,)
        One a row, pair or cluster, in their order; the sum of squares is the variance estimate.
    df : float
        Degrees of freedom of the t reference.
    """

    value: float
    influence: FloatArray
    df: float


def neyman(y: FloatArray, treated: BoolArray) -> MeanDifference:
    """Return the difference in means under complete randomisation (Neyman 1923).

    The variance is s1^2/n1 + s0^2/n0, conservative for the sample; df are Welch's (Satterthwaite's).
    Each arm needs two units.
    """
    influence = np.zeros_like(y)
    means, parts, dfs = [], [], []
    for member in (treated, ~treated):
        n = int(member.sum())
        centred = y[member] - y[member].mean()
        sign = 1.0 if member is treated else -1.0
        influence[member] = sign * centred / np.sqrt(n * (n - 1.0))
        means.append(float(y[member].mean()))
        parts.append(float(centred @ centred) / (n * (n - 1.0)))
        dfs.append(n - 1.0)
    total = sum(parts)
    bottom = sum(part**2 / df for part, df in zip(parts, dfs, strict=True))
    df = total**2 / bottom if bottom > 0 else float("nan")
    return MeanDifference(means[0] - means[1], influence, df)


def pooled(y: FloatArray, treated: BoolArray) -> MeanDifference:
    """Return the difference in means with one variance for both arms (Student's t).

    Influence values are scaled so that their sum of squares is the pooled variance; df are units minus two.
    """
    n, n1 = y.shape[0], int(treated.sum())
    mean1, mean0 = float(y[treated].mean()), float(y[~treated].mean())
    centred = np.where(treated, y - mean1, mean0 - y)
    influence = centred * np.sqrt((1.0 / n1 + 1.0 / (n - n1)) / (n - 2.0))
    return MeanDifference(mean1 - mean0, influence, float(n - 2))


def stratified(
    y: FloatArray, treated: BoolArray, stratum: IntArray, *, sizes: FloatArray | None = None
) -> MeanDifference:
    """Return the size-weighted mean of the differences within strata, Neyman variance in each.

    `sizes` gives the weight of each stratum by its code; by default the units given here count.
    df are units minus twice the strata. Each arm needs two units in every stratum.
    """
    influence = np.zeros_like(y)
    value = 0.0
    codes = np.unique(stratum)
    weight = np.bincount(stratum).astype(float) if sizes is None else sizes
    total = weight[codes].sum()
    for code in codes:
        member = stratum == code
        share = weight[code] / total
        part = neyman(y[member], treated[member])
        value += share * part.value
        influence[member] = share * part.influence
    return MeanDifference(float(value), influence, float(y.shape[0] - 2 * codes.size))


def matched_pairs(y: FloatArray, treated: BoolArray, pair: IntArray, n_pairs: int) -> MeanDifference:
    """Return the mean within-pair difference; df are pairs minus one. Every pair has one unit in each arm."""
    difference = np.zeros(n_pairs)
    np.add.at(difference, pair, np.where(treated, y, -y))
    value = difference.mean()
    influence = (difference - value) / np.sqrt(n_pairs * (n_pairs - 1.0))
    return MeanDifference(float(value), influence, float(n_pairs - 1))


def clustered(totals: FloatArray, sizes: FloatArray, treated: BoolArray) -> tuple[FloatArray, FloatArray, float]:
    """Return differences in participant means under cluster assignment, from cluster totals alone.

    This is least squares on treatment with the CR2 covariance (Bell and McCaffrey 2002) and Satterthwaite degrees of
    freedom. In a saturated design the hat block of a cluster of size n in an arm of N is 11'/N, so the adjustment
    multiplies the cluster's residual total by (1 - n/N)^(-1/2).

    Parameters
    ----------
    totals : ndarray, shape (..., clusters)
        Cluster sums of the outcome, for one study or many draws.
    sizes : ndarray, shape (clusters,)
        Units a cluster.
    treated : ndarray of bool, shape (clusters,)
        Arm of each cluster. Each arm needs two clusters.

    Returns
    -------
    value : ndarray, shape (...)
    influence : ndarray, shape (..., clusters)
    df : float
        Depends on the sizes alone.
    """
    influence = np.empty(np.broadcast_shapes(totals.shape, sizes.shape))
    parts = []
    for member, sign in ((treated, 1.0), (~treated, -1.0)):
        part = _cluster_arm(totals[..., member], sizes[member])
        influence[..., member] = sign * part.influence
        parts.append(part)
    trace, squares = sum(part.trace for part in parts), sum(part.squares for part in parts)
    return parts[0].mean - parts[1].mean, influence, trace**2 / squares


@dataclass(frozen=True, eq=False, slots=True)
class _ClusterArm:
    """The mean of one arm of clusters, the influence of each on it, and the two sums behind Satterthwaite's df."""

    mean: FloatArray
    influence: FloatArray
    trace: float
    squares: float


def _cluster_arm(totals: FloatArray, sizes: FloatArray) -> _ClusterArm:
    """Return the participant mean of clusters with the CR2 influence of each, for one or many draws."""
    n_arm = sizes.sum()
    mean = totals.sum(axis=-1) / n_arm
    stretch = 1.0 / np.sqrt(1.0 - sizes / n_arm)
    residual = totals - mean[..., None] * sizes
    # a_g is constant in the cluster: stretch / N in each of its n rows; Z_g'a_g only meets the arm's own column.
    own = sizes * (stretch / n_arm) ** 2
    lift = sizes * stretch / n_arm
    overlap = lift**2 / n_arm
    inner = float((lift**2).sum() / n_arm) ** 2
    squares = float((own**2).sum() - 2.0 * (own * overlap).sum() + inner)
    return _ClusterArm(mean, residual * stretch / n_arm, float((own - overlap).sum()), squares)


def stratified_clusters(
    totals: FloatArray, sizes: FloatArray, treated: BoolArray, stratum: IntArray, *, weights: FloatArray
) -> MeanDifference:
    """Return the weighted mean of the differences between participant means within strata of clusters.

    With N_s the people of stratum s and N all of them, the estimand is sum_s (N_s / N) tau_s, the average effect over
    participants, whatever the share of clusters treated in each stratum. tau_s is estimated by the difference of the
    ratios R_sa = sum_g T_g / sum_g n_g over the m_sa clusters of each arm a. Numbers of people are not affected by
    assignment, so the weights are constants, and strata and arms are independent:

        V = sum_sa (N_s / N)^2 sum_g d_g^2 e_g^2 / n_sa^2,   e_g = T_g - n_g R_sa,   d_g^2 = 1 / (1 - n_g / n_sa),

    with n_sa the people of the arm in the stratum. e_g is the linearised ratio; for clusters of one size d_g^2 is
    m_sa / (m_sa - 1) and V is Neyman's variance of the cluster means within strata, conservative for the sample. For
    unequal sizes d_g is the CR2 adjustment (Bell and McCaffrey 2002) in the regression on one indicator a stratum and
    arm. df are Satterthwaite's, 2 E(V)^2 / Var(V) for independent errors of one variance, summed over strata and
    arms. One stratum gives `clustered`.

    Parameters
    ----------
    totals, sizes : ndarray, shape (clusters,)
        Sum of the outcome, and people, of each cluster.
    treated : ndarray of bool, shape (clusters,)
        Arm of each cluster. Each arm needs two clusters in every stratum.
    stratum : ndarray of int, shape (clusters,)
        Stratum of each cluster.
    weights : ndarray, shape (strata,)
        N_s by code of the stratum.

    References
    ----------
    Neyman (1923, translated 1990), Statistical Science 5. Imbens and Rubin (2015), Causal Inference, chapter 9, for
    strata. Middleton and Aronow (2015), Statistics, Politics and Policy 6, for totals of clusters.
    """
    influence = np.zeros_like(totals)
    codes = np.unique(stratum)
    whole = weights[codes].sum()
    value = trace = squares = 0.0
    for code in codes:
        share = float(weights[code] / whole)
        for sign, arm in ((1.0, treated), (-1.0, ~treated)):
            member = (stratum == code) & arm
            part = _cluster_arm(totals[member], sizes[member])
            value += sign * share * float(part.mean)
            influence[member] = sign * share * part.influence
            trace += share**2 * part.trace
            squares += share**4 * part.squares
    return MeanDifference(value, influence, trace**2 / squares)


def paired_clusters(
    totals: FloatArray, sizes: FloatArray, treated: BoolArray, pair: IntArray, n_pairs: int
) -> MeanDifference:
    """Return the size-weighted mean difference over pairs of clusters (Imai, King and Nall 2009).

    The weight of a pair is its number of units. Their variance estimator, from how the weighted differences vary
    over pairs, is conservative for the sample; df are pairs minus one.
    """
    mean = totals / sizes
    difference = np.zeros(n_pairs)
    np.add.at(difference, pair, np.where(treated, mean, -mean))
    weight = np.bincount(pair, weights=sizes, minlength=n_pairs)
    total = weight.sum()
    value = float(weight @ difference / total)
    spread = weight * difference - total * value / n_pairs
    influence = spread * np.sqrt(n_pairs / (n_pairs - 1.0)) / total
    return MeanDifference(value, influence, float(n_pairs - 1))
