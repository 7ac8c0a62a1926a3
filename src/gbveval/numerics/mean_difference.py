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
    means = []
    own = np.empty(sizes.shape)
    inner = 0.0
    overlap = np.empty(sizes.shape)
    for member in (treated, ~treated):
        n_arm = sizes[member].sum()
        mean = totals[..., member].sum(axis=-1) / n_arm
        stretch = 1.0 / np.sqrt(1.0 - sizes[member] / n_arm)
        residual = totals[..., member] - mean[..., None] * sizes[member]
        influence[..., member] = (1.0 if member is treated else -1.0) * residual * stretch / n_arm
        means.append(mean)
        # a_g is constant in the cluster: stretch / N in each of its n rows; Z_g'a_g only meets the arm's own column.
        own[member] = sizes[member] * (stretch / n_arm) ** 2
        lift = sizes[member] * stretch / n_arm
        overlap[member] = lift**2 / n_arm
        inner += float((lift**2).sum() / n_arm) ** 2
    trace = float((own - overlap).sum())
    squares = float((own**2).sum() - 2.0 * (own * overlap).sum() + inner)
    return means[0] - means[1], influence, trace**2 / squares


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
