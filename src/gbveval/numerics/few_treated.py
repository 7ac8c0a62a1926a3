"""Tests of an effect on few treated groups, from where its statistic lies among those of the other groups.

With few treated groups their own shocks do not average out, so that the error of the two-way coefficient has the shape
of one or two groups' shocks, which the many untreated groups show (Conley and Taber 2011, Review of Economics and
Statistics 93). Groups of other sizes have shocks of another spread, which is modelled (Ferman and Pinto 2019, Review of
Economics and Statistics 101).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import perm

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# What is left of a variable below this share of its size is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False, slots=True)
class Placements:
    """What each group's residuals would give in the place of each treated group.

    Attributes
    ----------
    outcome, treatment : ndarray, shape (groups, treated)
        Products of the residuals of outcome, and of treatment, with the treated group's path about its mean.
    treated : ndarray of int, shape (treated,)
        Positions of the treated groups.
    size : ndarray, shape (groups,), or None
        Of groups, where the spread of their shocks depends on it.
    """

    outcome: FloatArray
    treatment: FloatArray
    treated: IntArray
    size: FloatArray | None = None

    @property
    def scale(self) -> float:
        """Sum of squares of treatment that units, periods and covariates do not explain."""
        return float(self.treatment[self.treated, np.arange(self.treated.size)].sum())

    @property
    def estimate(self) -> float:
        """The two-way coefficient."""
        return float(self.outcome[self.treated, np.arange(self.treated.size)].sum()) / self.scale

    def errors(self, null: float) -> FloatArray:
        """Return, in units of the effect, each group's error in each place if the effect is `null`."""
        raw = (self.outcome - null * self.treatment) / self.scale
        if self.size is None:
            return raw
        spread = np.sqrt(variance_by_size(raw**2, self.size))
        own = spread[self.treated, np.arange(self.treated.size)]
        return np.asarray(raw * own[None, :] / spread)

    def observed(self, null: float) -> float:
        """Return how far the estimate is from `null`."""
        return self.estimate - null

    def statistics(self, null: float, groups: IntArray) -> FloatArray:
        """Return the errors that the estimate would have with other groups' shocks, shape (placements,).

        Parameters
        ----------
        null : float
        groups : ndarray of int, shape (placements, treated)
            Which group's shocks stand in each place.
        """
        errors = self.errors(null)
        return np.asarray(errors[groups, np.arange(self.treated.size)[None, :]].sum(axis=1))

    def spread(self) -> float:
        """Return the standard deviation of the error of the estimate, from groups that are not treated."""
        others = np.setdiff1d(np.arange(self.outcome.shape[0]), self.treated)
        errors = self.errors(self.estimate)[others]
        # Residuals about the mean of n groups are too small by (n - 1)/n, and the estimate has that mean's own error.
        n = others.size
        return float(np.sqrt(np.mean(errors**2, axis=0).sum() * (n + 1.0) / (n - 1.0)))


def placements(
    outcome: FloatArray, treatment: FloatArray, covariates: FloatArray, size: FloatArray | None = None
) -> Placements | None:
    """Return what a test on few treated groups is made from; None where treatment is explained.

    Parameters
    ----------
    outcome, treatment : ndarray, shape (groups, periods)
        Means of groups in periods.
    covariates : ndarray, shape (groups, periods, k)
    size : ndarray, shape (groups,), optional

    Examples
    --------
    >>> y = np.array([[0.0, 3.0], [1.0, 2.0], [2.0, 2.0]])
    >>> d = np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    >>> found = placements(y, d, np.zeros((3, 2, 0)))
    >>> found.estimate, found.statistics(0.0, np.array([[0], [1], [2]])).round(2).tolist()
    (2.5, [2.5, -0.5, -2.0])
    """
    stacked = np.concatenate([outcome[:, :, None], treatment[:, :, None], covariates], axis=2)
    left = stacked - stacked.mean(axis=1, keepdims=True)
    left = left - left.mean(axis=0, keepdims=True)
    flat = left.reshape(outcome.size, -1)
    wide = np.sqrt(np.mean(stacked.reshape(outcome.size, -1) ** 2, axis=0))
    x = flat[:, 2:]
    norm = np.sqrt(np.mean(x**2, axis=0))
    x = x[:, norm > ROUNDING * wide[2:]] / norm[norm > ROUNDING * wide[2:]]
    residual = flat[:, :2] - x @ np.linalg.lstsq(x, flat[:, :2], rcond=1e-10)[0] if x.shape[1] else flat[:, :2]
    y, d = (residual[:, j].reshape(outcome.shape) for j in (0, 1))
    own = treatment - treatment.mean(axis=1, keepdims=True)
    treated = np.flatnonzero(np.abs(own).max(axis=1) > 0).astype(np.intp)
    if treated.size == 0 or np.sqrt(np.mean(d**2)) <= 1e-9 * wide[1]:
        return None
    paths = own[treated].T
    return Placements(y @ paths, d @ paths, treated, size)


def variance_by_size(squares: FloatArray, size: FloatArray) -> FloatArray:
    """Return the fit of squared errors on a constant and the inverse size, neither below zero.

    Parameters
    ----------
    squares : ndarray, shape (groups, places)
    size : ndarray, shape (groups,)

    Notes
    -----
    The variance of a mean over M people who share a shock is a + b / M. Where least squares has a negative part, the
    better of the two parts alone is taken.

    Examples
    --------
    >>> size = np.array([1.0, 2.0, 4.0])
    >>> variance_by_size((1.0 + 2.0 / size)[:, None], size).round(6).ravel().tolist()
    [3.0, 2.0, 1.5]
    """
    inverse = 1.0 / size
    design = np.column_stack([np.ones(size.size), inverse])
    both = np.linalg.lstsq(design, squares, rcond=None)[0]
    constant = np.broadcast_to(squares.mean(axis=0), squares.shape)
    shrinking = inverse[:, None] * (inverse @ squares / (inverse @ inverse))[None, :]
    worse = np.sum((squares - shrinking) ** 2, axis=0) > np.sum((squares - constant) ** 2, axis=0)
    alone = np.where(worse[None, :], constant, shrinking)
    fitted = np.where(both.min(axis=0)[None, :] >= 0, design @ both, alone)
    return np.asarray(np.maximum(fitted, np.finfo(float).tiny))


def all_placements(groups: int, treated: int, most: int) -> IntArray | None:
    """Return every way to put different groups in the places of the treated, or None if there are more than `most`."""
    if perm(groups, treated) > most:
        return None
    return np.array(list(permutations(range(groups), treated)), dtype=np.intp)


def drawn_placements(groups: int, treated: int, draws: int, rng: np.random.Generator) -> IntArray:
    """Return random ways to put different groups in the places of the treated, shape (draws, treated)."""
    found = np.empty((draws, treated), dtype=np.intp)
    for i in range(draws):
        found[i] = rng.choice(groups, treated, replace=False)
    return found
