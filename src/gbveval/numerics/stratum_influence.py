"""Hides influence functions linear in a unit's data: summed, combined and clustered without being stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

# A standard error below this many roundings of the largest outcome cannot be told from zero.
_ROUNDINGS = 64.0


@dataclass(frozen=True, slots=True)
class StratumInfluence:
    """Influence of every unit on several estimates, as one coefficient matrix a stratum.

    Unit i of stratum s has influence `data[s][i] @ coefficient[s]`. The convention is that the variance of an estimate
    is the sum over independent units of the squared influence: the division by the number of units is already done.

    Attributes
    ----------
    data : tuple of ndarray, shapes (n_s, p_s)
        One array a stratum, the weight first: for example weight times (1, centred values).
    start : ndarray, shape (n_strata + 1,)
        Where each stratum begins in `row`.
    row : ndarray, shape (n_used,)
        Position of each unit in the arrays that the caller passed, units sorted by stratum.
    n_rows : int
        Length of those arrays; a unit that was not used has influence zero.
    coefficient : tuple of ndarray, shapes (p_s, terms)
        One matrix a stratum.
    resolution : float
        Standard errors up to this size are rounding noise.
    """

    data: tuple[FloatArray, ...]
    start: IntArray
    row: IntArray
    n_rows: int
    coefficient: tuple[FloatArray, ...]
    resolution: float

    @property
    def n_terms(self) -> int:
        """Number of estimates."""
        return int(self.coefficient[0].shape[1])

    def _strata(self) -> Iterator[tuple[IntArray, FloatArray, FloatArray]]:
        """Yield the rows, data and coefficients of the strata that are not empty."""
        for s, (data, coefficient) in enumerate(zip(self.data, self.coefficient, strict=True)):
            if data.shape[0]:
                yield self.row[self.start[s] : self.start[s + 1]], data, coefficient

    def _undefined(self) -> BoolArray:
        """Return which estimates have no influence function."""
        spoilt = [np.isnan(matrix).any(axis=0) for matrix in self.coefficient]
        return np.asarray(np.any(spoilt, axis=0))

    def matrix(self) -> FloatArray:
        """Return the influence of every unit, shape (n_rows, terms), in the caller's order; computed at each call."""
        answer = np.zeros((self.n_rows, self.n_terms))
        for row, data, coefficient in self._strata():
            answer[row] = data @ coefficient
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
        for row, data, coefficient in self._strata():
            order = np.argsort(code[row], kind="stable")
            here = code[row][order]
            first = np.flatnonzero(np.r_[True, here[1:] != here[:-1]])
            answer[here[first]] += np.add.reduceat(data[order], first, axis=0) @ coefficient
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
        for _, data, coefficient in self._strata():
            answer += coefficient.T @ ((data.T @ data) @ coefficient)
        return answer

    def std_errors(self, cluster: ArrayLike | None = None) -> FloatArray:
        """Return standard errors, shape (terms,); NaN where the variance is zero up to rounding."""
        return std_errors_of(self.covariance(cluster), self.resolution)

    def take(self, index: ArrayLike) -> StratumInfluence:
        """Return the influence on some of the estimates."""
        chosen = np.asarray(index)
        return replace(self, coefficient=tuple(matrix[:, chosen] for matrix in self.coefficient))

    def combine(self, weights: FloatArray, constant: FloatArray | None = None) -> StratumInfluence:
        """Return the influence on weighted sums of the estimates.

        Parameters
        ----------
        weights : ndarray, shape (terms, sums)
        constant : ndarray, shape (n_strata, sums), optional
            Influence of the estimated weights, for a unit of weight one.
        """
        undefined = self._undefined()
        spoilt = (weights[undefined] != 0.0).any(axis=0)
        combined = []
        for s, matrix in enumerate(self.coefficient):
            # An undefined estimate must spoil only the sums that use it, and NaN times zero is NaN.
            sums = np.where(undefined, 0.0, matrix) @ weights
            if constant is not None:
                sums[0] += constant[s]
            sums[:, spoilt] = np.nan
            combined.append(sums)
        return replace(self, coefficient=tuple(combined))

    def without(self, undefined: BoolArray) -> StratumInfluence:
        """Return the influence with NaN for the estimates marked as undefined."""
        return replace(self, coefficient=tuple(np.where(undefined, np.nan, matrix) for matrix in self.coefficient))

    def append(self, other: StratumInfluence) -> StratumInfluence:
        """Return the influence on these estimates followed by others on the same units."""
        pairs = zip(self.coefficient, other.coefficient, strict=True)
        return replace(self, coefficient=tuple(np.concatenate(pair, axis=1) for pair in pairs))


def std_errors_of(covariance: FloatArray, resolution: float) -> FloatArray:
    """Return square roots of the diagonal, with NaN where they do not exceed `resolution`."""
    std_error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return np.where(std_error > resolution, std_error, np.nan)


def rounding_of(values: FloatArray) -> float:
    """Return the size below which a standard error of an average of `values` is rounding noise."""
    largest = max(float(values.max()), -float(values.min())) if values.size else 0.0
    return _ROUNDINGS * float(np.finfo(np.float64).eps) * largest


def sort_by_stratum(stratum: IntArray, n_strata: int) -> tuple[IntArray, IntArray]:
    """Return the stable order that sorts by stratum, and where each stratum starts, shape (n_strata + 1,)."""
    # Sixteen bits are sorted by counting.
    narrow = stratum.astype(np.int16) if n_strata <= np.iinfo(np.int16).max else stratum
    order = np.argsort(narrow, kind="stable")
    return order, np.r_[0, np.cumsum(np.bincount(stratum, minlength=n_strata))].astype(np.intp)
