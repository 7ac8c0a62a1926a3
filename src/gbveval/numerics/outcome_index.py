"""Several outcomes as one: averages of z scores, equally weighted or by the inverse of their covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Index:
    """An index of outcomes.

    Attributes
    ----------
    value : ndarray, shape (units,)
        NaN where no component was observed.
    weight : ndarray, shape (components,)
        Of the z scores; they sum to one.
    """

    value: FloatArray
    weight: FloatArray


def z_scores(outcomes: FloatArray, control: BoolArray) -> FloatArray:
    """Return outcomes minus the mean and over the standard deviation of the control arm, NaN where missing."""
    reference = outcomes[control]
    return np.asarray((outcomes - np.nanmean(reference, axis=0)) / np.nanstd(reference, axis=0, ddof=1))


def mean_of_z(outcomes: FloatArray, control: BoolArray, arm: NDArray[np.intp]) -> Index:
    """Return the mean of z scores, missing components set to the mean of the unit's arm (Kling et al. 2007)."""
    z = z_scores(outcomes, control)
    none = np.isnan(z).all(axis=1)
    for code in np.unique(arm):
        member = arm == code
        filled = z[member]
        holes = np.isnan(filled)
        if holes.any():
            filled[holes] = np.broadcast_to(np.nanmean(filled, axis=0), filled.shape)[holes]
            z[member] = filled
    value = z.mean(axis=1)
    value[none] = np.nan
    return Index(value, np.full(z.shape[1], 1.0 / z.shape[1]))


def inverse_covariance(outcomes: FloatArray, control: BoolArray) -> Index:
    """Return the generalised least squares average of z scores (Anderson 2008).

    With S the covariance matrix of the z scores (each entry over the units that have both), the weights are
    S^-1 1/(1'S^-1 1): components that others repeat count less. A unit with missing components has the weighted average
    of those it has.
    """
    z = z_scores(outcomes, control)
    weight = np.linalg.solve(pairwise_covariance(z), np.ones(z.shape[1]))
    weight = weight / weight.sum()
    seen = ~np.isnan(z)
    total = seen @ weight
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(seen, z, 0.0) @ weight / total
    # Weights of mixed sign may cancel among the components that were observed.
    value[~seen.any(axis=1) | (np.abs(total) < 1e-8)] = np.nan
    return Index(value, weight)


def pairwise_covariance(z: FloatArray) -> FloatArray:
    """Return covariances, each over the rows in which both columns are observed."""
    k = z.shape[1]
    found = np.empty((k, k))
    for a in range(k):
        for b in range(a, k):
            both = ~np.isnan(z[:, a]) & ~np.isnan(z[:, b])
            x, y = z[both, a], z[both, b]
            n = max(int(both.sum()) - 1, 1)
            found[a, b] = found[b, a] = float((x - x.mean()) @ (y - y.mean()) / n) if both.any() else np.nan
    return found
