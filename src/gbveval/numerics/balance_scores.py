"""Hides how far allocations are from balance: Mahalanobis distances, in tiers, and sums of squared differences.

For blocks with fixed numbers let t_a be the total over arm a of covariates centred in their block. M is the quadratic
form of (t_1, ..) in the inverse of its covariance over allocations; with two arms and one block it is
n_1 n_0 / n d' S^-1 d of Morgan and Rubin (2012, eq. 1), S with n - 1. In large samples M is chi-squared with as many
degrees of freedom as covariates times (arms - 1), so accepting M <= a leaves v = P(chi2_{k+2} <= a) / P(chi2_k <= a) of
the covariates' variance (their Theorem 3.1). Tiers (Morgan and Rubin 2015): the covariates of each tier, less what
those of earlier tiers explain of their difference, are held to a threshold of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import Codes, permuted
from gbveval.numerics.covariate_balance import arm_sums, sum_moments, unit_totals, whitener

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Floating-point numbers of an allocation matrix at once.
BLOCK = 8_000_000


@dataclass(frozen=True, eq=False, slots=True)
class Mahalanobis:
    """Mahalanobis distances of allocations with the numbers of one of them.

    Attributes
    ----------
    totals : tuple of ndarray, shape (units, columns)
        Covariates of each tier.
    expected, whiten : tuple of ndarray
        Expectation of their sums, and W with W W' the inverse of the covariance.
    n_labels : int
    """

    totals: tuple[FloatArray, ...]
    expected: tuple[FloatArray, ...]
    whiten: tuple[FloatArray, ...]
    n_labels: int

    @property
    def ranks(self) -> tuple[int, ...]:
        """Degrees of freedom of each tier."""
        return tuple(int(w.shape[1]) for w in self.whiten)

    def __call__(self, codes: Codes) -> FloatArray:
        """Return the distances, shape (allocations, tiers)."""
        rows = max(1, BLOCK // codes.shape[1])
        parts = [self._some(codes[i : i + rows]) for i in range(0, codes.shape[0], rows)]
        return np.concatenate(parts)

    def _some(self, codes: Codes) -> FloatArray:
        tiers = zip(self.totals, self.expected, self.whiten, strict=True)
        return np.column_stack([(((arm_sums(x, codes, self.n_labels) - e) @ w) ** 2).sum(axis=1) for x, e, w in tiers])


def mahalanobis(x: FloatArray, tiers: Sequence[Sequence[int]], block: IntArray, codes: Codes) -> Mahalanobis:
    """Return the distances of allocations that have the numbers in blocks of the one given.

    Parameters
    ----------
    x : ndarray, shape (units, columns)
        Covariates.
    tiers : sequence of sequence of int
        Columns of each tier.
    block : ndarray of int, shape (units,)
    codes : ndarray of int, shape (units,)
        One allocation.
    """
    scheme = permuted(codes, block)
    whole = unit_totals(x, np.arange(x.shape[0]), block)
    share = np.bincount(block, weights=codes == 1) / np.bincount(block)
    n = np.bincount(block).astype(float)
    spread = (share * (1.0 - share) * n / np.maximum(n - 1.0, 1.0))[block]
    earlier = np.zeros((x.shape[0], 0))
    found: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    for columns in tiers:
        own = whole[:, list(columns)]
        if earlier.shape[1]:
            root = np.sqrt(spread)[:, None]
            own = own - earlier @ np.linalg.lstsq(root * earlier, root * own, rcond=1e-10)[0]
            own[:, np.abs(own).max(axis=0) < 1e-9] = 0.0
        expected, covariance = sum_moments(own, scheme)
        found.append((own, expected, whitener(covariance)))
        earlier = np.column_stack([earlier, own])
    totals, expecteds, whitens = zip(*found, strict=True)
    return Mahalanobis(tuple(totals), tuple(expecteds), tuple(whitens), scheme.n_labels)


@dataclass(frozen=True, eq=False, slots=True)
class SquaredDifferences:
    """The l2 score of Raab and Butcher (2001): squared standardised differences of arm means, weighted and summed.

    Attributes
    ----------
    x : ndarray, shape (units, columns)
        Covariates over their standard deviation (n - 1), times the root of their weight.
    n_labels : int
    """

    x: FloatArray
    n_labels: int

    def __call__(self, codes: Codes) -> FloatArray:
        """Return the scores, shape (allocations, 1); with several arms the sum over pairs of arms."""
        rows = max(1, BLOCK // codes.shape[1])
        parts = [self._some(codes[i : i + rows]) for i in range(0, codes.shape[0], rows)]
        return np.concatenate(parts)[:, None]

    def _some(self, codes: Codes) -> FloatArray:
        means = []
        for label in range(self.n_labels):
            member = (codes == label).astype(np.float64)
            means.append((member @ self.x) / member.sum(axis=1, keepdims=True))
        total = np.zeros(codes.shape[0])
        for a in range(self.n_labels):
            for b in range(a):
                total += ((means[a] - means[b]) ** 2).sum(axis=1)
        return total


def squared_differences(x: FloatArray, weight: FloatArray, n_labels: int) -> SquaredDifferences:
    """Return the l2 score; a constant column counts nothing."""
    spread = x.std(axis=0, ddof=1)
    known = spread > 1e-12 * np.abs(x).max(axis=0, initial=1e-300)
    scaled = (x - x.mean(axis=0)) / np.where(known, spread, 1.0) * np.where(known, np.sqrt(weight), 0.0)
    return SquaredDifferences(scaled, n_labels)
