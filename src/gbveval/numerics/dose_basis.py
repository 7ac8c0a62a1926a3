"""Curves along a dose: what each dose weighs on the coefficients of its level and of its slope.

A level of the curve is an effect: what the regression of changes on the dose says, less the mean change of the
untreated. So every dose has a row of K + 1 numbers for its level and one for its slope, the last of them for the mean
change of the untreated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.interpolate import BSpline

FloatArray = NDArray[np.float64]


class DoseBasis(Protocol):
    """Levels and slopes of a curve along the dose, linear in K coefficients and the mean change of the untreated."""

    @property
    def size(self) -> int:
        """Coefficients, K."""

    def level(self, dose: FloatArray) -> FloatArray:
        """Return the rows of the levels, shape (doses, K + 1)."""

    def slope(self, dose: FloatArray) -> FloatArray:
        """Return the rows of the slopes, per unit of dose, shape (doses, K + 1)."""

    def interval(self, dose: FloatArray) -> NDArray[np.intp]:
        """Return which piece of the curve each dose lies in, from zero."""


@dataclass(frozen=True, eq=False, slots=True)
class SplineBasis:
    """B-splines between the smallest and the largest dose.

    Attributes
    ----------
    knots : ndarray
        Interior knots and the two ends, ascending, each once.
    degree : int

    Examples
    --------
    >>> line = SplineBasis(np.array([1.0, 3.0]), 1)
    >>> line.level(np.array([2.0])).tolist(), line.slope(np.array([2.0])).tolist()
    ([[0.5, 0.5, -1.0]], [[-0.5, 0.5, 0.0]])
    """

    knots: FloatArray = field(repr=False)
    degree: int

    @property
    def size(self) -> int:
        """Coefficients."""
        return int(self.knots.size) - 1 + self.degree

    def _spline(self) -> BSpline:
        from scipy.interpolate import BSpline

        ends = np.repeat(self.knots[[0, -1]], self.degree)
        padded = np.concatenate([ends[: self.degree], self.knots, ends[self.degree :]])
        return BSpline(padded, np.eye(self.size), self.degree, extrapolate=False)

    def level(self, dose: FloatArray) -> FloatArray:
        """Return the rows of the levels; doses beyond the ends have none (NaN)."""
        rows = self._spline()(dose)
        return np.column_stack([rows, np.full(dose.size, -1.0)])

    def slope(self, dose: FloatArray) -> FloatArray:
        """Return the rows of the slopes: derivatives, which the untreated have no part in."""
        rows = self._spline()(dose, nu=1)
        return np.column_stack([rows, np.zeros(dose.size)])

    def interval(self, dose: FloatArray) -> NDArray[np.intp]:
        """Return which piece between two knots each dose lies in."""
        return np.searchsorted(self.knots[1:-1], dose, side="right").astype(np.intp)


@dataclass(frozen=True, eq=False, slots=True)
class SaturatedBasis:
    """One level for each of a few doses; slopes are the steps between neighbours, the first from no treatment.

    Attributes
    ----------
    doses : ndarray, shape (K,)
        Ascending, above zero.

    Examples
    --------
    >>> few = SaturatedBasis(np.array([2.0, 6.0]))
    >>> few.level(np.array([6.0])).tolist()
    [[0.0, 1.0, -1.0]]
    >>> few.slope(np.array([2.0, 6.0])).tolist()
    [[0.5, 0.0, -0.5], [-0.25, 0.25, 0.0]]
    """

    doses: FloatArray = field(repr=False)

    @property
    def size(self) -> int:
        """Coefficients."""
        return int(self.doses.size)

    def level(self, dose: FloatArray) -> FloatArray:
        """Return the rows of the levels."""
        return np.column_stack([np.eye(self.size)[self.interval(dose)], np.full(dose.size, -1.0)])

    def slope(self, dose: FloatArray) -> FloatArray:
        """Return the rows of the steps up to each dose, divided by their width."""
        width = np.diff(self.doses, prepend=0.0)
        levels = self.level(self.doses)
        below = np.vstack([np.zeros(self.size + 1), levels[:-1]])
        return np.asarray(((levels - below) / width[:, None])[self.interval(dose)])

    def interval(self, dose: FloatArray) -> NDArray[np.intp]:
        """Return the place of each dose; they are among those of the curve."""
        return np.searchsorted(self.doses, dose).astype(np.intp)


def quantile_knots(dose: FloatArray, interior: int) -> FloatArray:
    """Return the ends of the doses and knots at their quantiles between, shape (interior + 2,).

    Examples
    --------
    >>> quantile_knots(np.array([1.0, 2.0, 3.0, 9.0, 10.0]), 1).tolist()
    [1.0, 3.0, 10.0]
    """
    return np.asarray(np.quantile(dose, np.linspace(0.0, 1.0, interior + 2)), dtype=np.float64)


def round_grid(low: float, high: float, steps: int = 9) -> FloatArray:
    """Return evenly spaced round numbers between two limits: multiples of 1, 2 or 5 times a power of ten.

    There are at most `steps` steps. No number is one of the limits unless that is round itself, so that a grid between
    quantiles of people's doses shows nobody's.

    Examples
    --------
    >>> round_grid(0.83, 9.64).tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    >>> round_grid(12.2, 14.1).tolist()
    [12.5, 13.0, 13.5, 14.0]
    """
    least = (high - low) / steps
    power = 10.0 ** np.floor(np.log10(least))
    # Relative slack: 2 x 0.1 must not miss 0.2 by a rounding.
    step = next(size * power for size in (1.0, 2.0, 5.0, 10.0) if size * power >= least * (1.0 - 1e-9))
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    # Dividing by a whole number of steps to the unit gives 0.3 and not 0.30000000000000004.
    numbers = np.arange(first, last + 1.0)
    return np.asarray(numbers / round(1.0 / step) if step < 1.0 else numbers * step)


def dose_labels(doses: FloatArray) -> tuple[str, ...]:
    """Return doses in digits: six significant ones, all of whole numbers, and more where neighbours are close.

    Decimals go to a hundredth of the smallest distance or finer, so that labels differ where doses do.

    Parameters
    ----------
    doses : ndarray
        Ascending, above zero, no two alike.

    Examples
    --------
    >>> dose_labels(np.array([0.5, 2.0, 1_000_001.0, 1_000_002.0]))
    ('0.5', '2', '1000001', '1000002')
    >>> dose_labels(np.array([1.0, 1.00000001]))
    ('1', '1.00000001')
    """
    gap = float(np.diff(doses).min()) if doses.size > 1 else np.inf
    close = 0 if np.isinf(gap) else int(np.ceil(-np.log10(gap))) + 2
    texts = []
    for dose in doses:
        usual = 5 - int(np.floor(np.log10(dose)))
        texts.append(np.format_float_positional(dose, precision=max(usual, close, 0), trim="-"))
    return tuple(texts)
