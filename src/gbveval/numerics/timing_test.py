"""Randomisation tests of a rollout: the first treated periods are given to the units again.

If the effect is tau for every treated unit and period, u = y - tau D is what nobody treated would have had, with D
the treatment as it was. Contrasts of cohort means of u, before (X) and after (theta), and their Neyman variances,
follow from four numbers a unit and cohort, theta and X of y and of D:

    theta(u) = theta(y) - tau theta(D),    V(theta, X)(u) = V(y, y) - tau (V(y, D) + V(D, y)) + tau^2 V(D, D).

So an allocation costs sums over units of these numbers and their products, whatever the number of periods, and the
test of any other tau costs nothing but arithmetic on them.

References: Fisher (1935); Roth and Sant'Anna (2023), Journal of Political Economy Microeconomics 1(4), for the
studentised statistic, whose test is in large samples also one of no effect on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import Codes

FloatArray = NDArray[np.float64]
# Below this share of its size a variance is what rounding leaves of zero.
ROUNDING = 1e-12
# Floating-point numbers of an allocation matrix at once.
BLOCK = 2_000_000


@dataclass(frozen=True, eq=False, slots=True)
class TimingParts:
    """What the statistic of each allocation depends on.

    Attributes
    ----------
    first : ndarray, shape (allocations, 4)
        theta(y), X(y), theta(D), X(D).
    second : ndarray, shape (allocations, 4, 4)
        Their Neyman covariances; NaN where a cohort has one unit.
    """

    first: FloatArray
    second: FloatArray

    def statistic(self, tau: float, *, efficient: bool, studentised: bool) -> FloatArray:
        """Return estimates (of the effect beyond tau) or their ratios to standard errors; NaN where undefined."""
        value, variance = self.estimates(tau, efficient=efficient)
        if not studentised:
            return value
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 0, value / np.sqrt(variance), np.where(variance == 0, _sign(value), np.nan))

    def estimates(self, tau: float, *, efficient: bool) -> tuple[FloatArray, FloatArray]:
        """Return estimates and their variances."""
        keep = np.array([[1.0, 0.0, -tau, 0.0], [0.0, 1.0, 0.0, -tau]])
        theta, before = keep @ self.first.T
        v = np.einsum("ia,nab,jb->nij", keep, self.second, keep)
        size = np.diagonal(self.second, axis1=1, axis2=2) @ (keep**2).T
        beta = np.ones_like(theta)
        if efficient:
            known = v[:, 1, 1] > ROUNDING * size[:, 1]
            beta = np.divide(v[:, 0, 1], v[:, 1, 1], out=np.zeros_like(theta), where=known)
        variance = v[:, 0, 0] - 2.0 * beta * v[:, 0, 1] + beta**2 * v[:, 1, 1]
        scale = size[:, 0] + beta**2 * size[:, 1]
        with np.errstate(invalid="ignore"):
            nothing = variance <= ROUNDING * scale
        return theta - beta * before, np.where(nothing, 0.0, variance)


def _sign(value: FloatArray) -> FloatArray:
    """Return zero for zero and an infinity of the sign otherwise."""
    tiny = np.abs(value) <= ROUNDING
    return np.where(tiny, 0.0, np.copysign(np.inf, value))


def join(parts: Sequence[TimingParts]) -> TimingParts:
    """Return the parts of several chunks as one."""
    return TimingParts(np.concatenate([p.first for p in parts]), np.concatenate([p.second for p in parts]))


@dataclass(frozen=True, eq=False, slots=True)
class TimingTest:
    """Four numbers a unit for each cohort that it may be given to.

    Attributes
    ----------
    size : ndarray, shape (cohorts,)
    columns : ndarray, shape (cohorts, units, 14)
        theta(y), X(y), theta(D), X(D) and their ten products.
    """

    size: FloatArray
    columns: FloatArray

    def parts(self, codes: Codes) -> TimingParts:
        """Return the parts of allocations, cohorts by number, shape (allocations, units)."""
        rows = max(1, BLOCK // codes.shape[1])
        return join([self._some(codes[i : i + rows]) for i in range(0, codes.shape[0], rows)])

    def _some(self, codes: Codes) -> TimingParts:
        first = np.zeros((codes.shape[0], 4))
        second = np.zeros((codes.shape[0], 4, 4))
        upper = np.triu_indices(4)
        for number, (n, columns) in enumerate(zip(self.size, self.columns, strict=True)):
            sums = (codes == number).astype(np.float64) @ columns
            mean = sums[:, :4] / n
            first += mean
            square = np.zeros_like(second)
            square[:, upper[0], upper[1]] = square[:, upper[1], upper[0]] = sums[:, 4:]
            with np.errstate(divide="ignore", invalid="ignore"):
                second += (square - n * mean[:, :, None] * mean[:, None, :]) / np.float64(n * (n - 1.0))
        return TimingParts(first, second)


def timing_test(
    paths: FloatArray, treated: FloatArray, size: FloatArray, effect: FloatArray, before: FloatArray
) -> TimingTest:
    """Prepare the test of one average of contrasts.

    Parameters
    ----------
    paths, treated : ndarray, shape (units, periods)
        Outcomes, and the treatment as it was (of clusters, the share of their units).
    size : ndarray, shape (cohorts,)
    effect, before : ndarray, shape (cohorts, periods)
        Contrasts of cohort means that sum to zero over cohorts in every period.
    """
    # Such contrasts do not see what is added to all units in a period; products of small numbers lose fewer digits.
    y, d = paths - paths.mean(axis=0), treated - treated.mean(axis=0)
    found = []
    for a, b in zip(effect, before, strict=True):
        four = np.column_stack([y @ a, y @ b, d @ a, d @ b])
        i, j = np.triu_indices(4)
        found.append(np.column_stack([four, four[:, i] * four[:, j]]))
    return TimingTest(size, np.stack(found))
