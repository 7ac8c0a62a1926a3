"""Hides influence functions linear in a unit's data: summed, combined and clustered without being stored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# A standard error below this many roundings of the largest outcome cannot be told from zero.
_ROUNDINGS = 64.0


@dataclass(frozen=True, slots=True)
class StratumInfluence:
    """Influence of every unit on several estimates, as one coefficient matrix a stratum.

    Unit i of stratum s has influence `data[i] @ coefficient[s]`. The convention is that the variance of an estimate is
    the sum over independent units of the squared influence: the division by the number of units is already done.

    Attributes
    ----------
    data : ndarray, shape (n_used, p)
        Weight times (1, centred values), units sorted by stratum.
    start : ndarray, shape (n_strata + 1,)
        Where each stratum begins in `data`.
    row : ndarray, shape (n_used,)
        Position of each unit in the arrays that the caller passed.
    n_rows : int
        Length of those arrays; a unit that was not used has influence zero.
    coefficient : ndarray, shape (n_strata, p, terms)
    resolution : float
        Standard errors up to this size are rounding noise.
    """

    data: FloatArray
    start: IntArray
    row: IntArray
    n_rows: int
    coefficient: FloatArray
    resolution: float

    @property
    def n_terms(self) -> int:
        """Number of estimates."""
        return int(self.coefficient.shape[2])

    def _strata(self) -> list[tuple[int, slice]]:
        begin, end = self.start[:-1], self.start[1:]
        return [(s, slice(int(a), int(b))) for s, (a, b) in enumerate(zip(begin, end, strict=True)) if b > a]

    def matrix(self) -> FloatArray:
        """Return the influence of every unit, shape (n_rows, terms), in the caller's order; computed at each call."""
        answer = np.zeros((self.n_rows, self.n_terms))
        for s, part in self._strata():
            answer[self.row[part]] = self.data[part] @ self.coefficient[s]
        return answer

    def cluster_sums(self, cluster: ArrayLike) -> FloatArray:
        """Return the influence summed within clusters, shape (n_clusters, terms), clusters in sorted order.

        Parameters
        ----------
        cluster : array_like, shape (n_rows,)
            Cluster of every unit in the caller's order. A cluster without a used unit has a row of zeros.
        """
        labels = np.asarray(cluster)
        if labels.shape != (self.n_rows,):
            raise ValueError(f"cluster has shape {labels.shape}; expected one label for each of {self.n_rows} units.")
        levels, code = np.unique(labels, return_inverse=True)
        code = code.reshape(-1)
        answer = np.zeros((len(levels), self.n_terms))
        for s, part in self._strata():
            order = np.argsort(code[self.row[part]], kind="stable")
            here = code[self.row[part]][order]
            first = np.flatnonzero(np.r_[True, here[1:] != here[:-1]])
            answer[here[first]] += np.add.reduceat(self.data[part][order], first, axis=0) @ self.coefficient[s]
        return answer

    def covariance(self, cluster: ArrayLike | None = None) -> FloatArray:
        """Return the covariance matrix, shape (terms, terms); no small-sample factor.

        Parameters
        ----------
        cluster : array_like, shape (n_rows,), optional
            Independent clusters; without it the units are independent.

        Notes
        -----
        Without clusters only the cross-products of the data within strata are needed, so the cost does not grow with
        units times terms.
        """
        if cluster is not None:
            sums = self.cluster_sums(cluster)
            return np.asarray(sums.T @ sums)
        answer = np.zeros((self.n_terms, self.n_terms))
        for s, part in self._strata():
            coefficient = self.coefficient[s]
            answer += coefficient.T @ ((self.data[part].T @ self.data[part]) @ coefficient)
        return answer

    def std_errors(self, cluster: ArrayLike | None = None) -> FloatArray:
        """Return standard errors, shape (terms,); NaN where the variance is zero up to rounding."""
        return std_errors_of(self.covariance(cluster), self.resolution)

    def take(self, index: ArrayLike) -> StratumInfluence:
        """Return the influence on some of the estimates."""
        return replace(self, coefficient=self.coefficient[:, :, np.asarray(index)])

    def combine(self, weights: FloatArray, constant: FloatArray | None = None) -> StratumInfluence:
        """Return the influence on weighted sums of the estimates.

        Parameters
        ----------
        weights : ndarray, shape (terms, sums)
        constant : ndarray, shape (n_strata, sums), optional
            Influence of the estimated weights, for a unit of weight one.
        """
        undefined = np.isnan(self.coefficient).any(axis=(0, 1))
        # An undefined estimate must spoil only the sums that use it, and NaN times zero is NaN.
        coefficient = np.where(undefined, 0.0, self.coefficient) @ weights
        if constant is not None:
            coefficient[:, 0, :] += constant
        coefficient[:, :, (weights[undefined] != 0.0).any(axis=0)] = np.nan
        return replace(self, coefficient=coefficient)

    def without(self, undefined: NDArray[np.bool_]) -> StratumInfluence:
        """Return the influence with NaN for the estimates marked as undefined."""
        return replace(self, coefficient=np.where(undefined, np.nan, self.coefficient))

    def append(self, other: StratumInfluence) -> StratumInfluence:
        """Return the influence on these estimates followed by others on the same units."""
        return replace(self, coefficient=np.concatenate([self.coefficient, other.coefficient], axis=2))


def std_errors_of(covariance: FloatArray, resolution: float) -> FloatArray:
    """Return square roots of the diagonal, with NaN where they do not exceed `resolution`."""
    std_error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return np.where(std_error > resolution, std_error, np.nan)


def rounding_of(values: FloatArray) -> float:
    """Return the size below which a standard error of an average of `values` is rounding noise."""
    largest = float(np.max(np.abs(values))) if values.size else 0.0
    return _ROUNDINGS * float(np.finfo(np.float64).eps) * largest


def sort_by_stratum(stratum: IntArray, n_strata: int) -> tuple[IntArray, IntArray]:
    """Return the stable order that sorts by stratum, and where each stratum starts, shape (n_strata + 1,)."""
    order = np.argsort(stratum, kind="stable")
    return order, np.r_[0, np.cumsum(np.bincount(stratum, minlength=n_strata))].astype(np.intp)
