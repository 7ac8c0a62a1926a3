"""Randomisation tests: statistics of many allocations as matrix products, and what follows from their distribution.

Under the sharp null of a constant effect tau the outcome without treatment is u = y - tau D, with D the treatment that
was received. A difference in means and its design-based variance are linear and quadratic in u, so for an allocation z

    T(z, tau) = (d_y - tau d_D) / sqrt(v_yy - 2 tau v_yD + tau^2 v_DD),

where d and v are the difference and the covariance that the design gives for columns y and D. These five numbers are
computed once an allocation; the test at any tau, and so the interval by inversion, then costs one pass over the draws.

References: Fisher (1935); Rosenbaum (2002), Observational Studies; Phipson and Smyth (2010) for (b + 1)/(m + 1); Wu and
Ding (2021) for studentised statistics, whose test is also asymptotically valid for no effect on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import Codes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

# Elements of an allocation matrix that are turned into floating point at once.
BLOCK = 500_000


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """What the statistic of each allocation depends on.

    Attributes
    ----------
    d_y, d_shift : ndarray, shape (allocations,)
        Difference of the outcome and of the treatment received.
    v_yy, v_ys, v_ss : ndarray, shape (allocations,)
        Their design-based variances and covariance; NaN where the design gives none.
    """

    d_y: FloatArray
    d_shift: FloatArray
    v_yy: FloatArray
    v_ys: FloatArray
    v_ss: FloatArray

    def statistic(self, tau: float, *, studentised: bool) -> FloatArray:
        """Return the statistic for the null of a constant effect tau; NaN where it is undefined."""
        difference = self.d_y - tau * self.d_shift
        if not studentised:
            return difference
        variance = (tau * self.v_ss - 2.0 * self.v_ys) * tau + self.v_yy
        largest = np.abs(self.v_yy).max(initial=0.0) + tau**2 * np.abs(self.v_ss).max(initial=0.0)
        if variance.min(initial=np.inf) > 1e-12 * largest:
            return np.asarray(difference / np.sqrt(variance))
        scale = np.abs(self.v_yy) + tau**2 * np.abs(self.v_ss)
        # What rounding leaves of a variance of zero.
        variance = np.where(variance > 1e-12 * scale, variance, np.where(np.isnan(variance), np.nan, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = difference / np.sqrt(variance)
        size = np.sqrt(scale) + np.abs(self.d_y) + np.abs(tau * self.d_shift)
        return np.where((variance == 0) & (np.abs(difference) <= 1e-12 * size), 0.0, ratio)


def join_parts(parts: Sequence[Parts]) -> Parts:
    """Return the parts of several chunks as one."""
    return Parts(*(np.concatenate([getattr(part, name) for part in parts]) for name in Parts.__dataclass_fields__))


class DesignStatistic(Protocol):
    """A difference between an arm and control with the variance of a design, for many allocations."""

    def parts(self, codes: Codes, arm: int) -> Parts:
        """Return the parts for allocations of the units of assignment, shape (allocations, units)."""


@dataclass(frozen=True, eq=False, slots=True)
class StratumMeans:
    """Size-weighted differences in means within strata, Neyman variance in each; one stratum for a simple trial.

    Made by `stratum_means`. With `pooled` the variance within an arm is pooled over arms, as in Student's t.
    """

    where: IntArray | None
    columns: FloatArray
    groups: tuple[tuple[int, int, FloatArray], ...]
    pooled: bool = False

    def parts(self, codes: Codes, arm: int) -> Parts:
        """Return the parts of many allocations."""
        rows = max(1, BLOCK // max(self.columns.shape[0], 1))
        return join_parts([self._some(codes[i : i + rows], arm) for i in range(0, codes.shape[0], rows)])

    def _some(self, codes: Codes, arm: int) -> Parts:
        used = codes if self.where is None else codes[:, self.where]
        treated = self._sums(used == arm)
        control = self._sums(used == 0)
        totals = np.zeros((5, codes.shape[0]))
        for (_, _, share), one, zero in zip(self.groups, treated, control, strict=True):
            totals += _neyman_parts(one, zero, share, pooled=self.pooled)
        return Parts(*totals)

    def _sums(self, member: BoolArray) -> list[FloatArray]:
        """Return sums of the columns over members by stratum, shape (strata, allocations, 5) a group of strata."""
        z = member.astype(np.float64)
        found, start = [], 0
        for count, size, _ in self.groups:
            stop = start + count * size
            block = z[:, start:stop].reshape(-1, count, size).transpose(1, 0, 2)
            found.append(block @ self.columns[start:stop].reshape(count, size, -1))
            start = stop
        return found


def _neyman_parts(one: FloatArray, zero: FloatArray, share: FloatArray, *, pooled: bool) -> FloatArray:
    """Return d_y, d_D, v_yy, v_yD, v_DD summed over strata, shape (5, allocations), from sums of 1, y, D, y^2, yD."""
    n1, n0 = one[..., 0], zero[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        d_y, d_s = (one[..., j] / n1 - zero[..., j] / n0 for j in (1, 2))
        spread = []
        for a, b, square in ((1, 1, 3), (1, 2, 4), (2, 2, 2)):
            within1 = one[..., square] - one[..., a] * one[..., b] / n1
            within0 = zero[..., square] - zero[..., a] * zero[..., b] / n0
            if pooled:
                spread.append((within1 + within0) / (n1 + n0 - 2.0) * (1.0 / n1 + 1.0 / n0))
            else:
                spread.append(within1 / (n1 * (n1 - 1.0)) + within0 / (n0 * (n0 - 1.0)))
        parts = np.stack([d_y, d_s, *spread])
    weight = np.stack([share, share, *([share**2] * 3)])
    return np.asarray(np.einsum("cba,cb->ca", parts, weight))


def stratum_means(
    y: FloatArray, received: FloatArray, stratum: IntArray, used: BoolArray, *, pooled: bool = False
) -> StratumMeans:
    """Prepare differences in means within strata.

    Parameters
    ----------
    y, received : ndarray, shape (units,)
        Outcome and treatment received (0 or 1); not looked at where `used` is false.
    stratum : ndarray of int, shape (units,)
        Stratum of each unit.
    used : ndarray of bool, shape (units,)
        Units with an outcome. Strata count with these.
    pooled : bool
        Whether the variance is pooled over arms.
    """
    place = np.flatnonzero(used)
    _, code = np.unique(stratum[place], return_inverse=True)
    size = np.bincount(code)
    order = np.lexsort((code, size[code]))
    place, code = place[order], code[order]
    values = y[place] - (np.bincount(code, weights=y[place]) / size)[code]
    d = received[place]
    columns = np.column_stack([np.ones(place.size), values, d, values**2, values * d])
    groups = tuple(
        (int((size == k).sum()), int(k), np.full(int((size == k).sum()), k / place.size)) for k in np.unique(size)
    )
    everyone = place.size == y.size and np.array_equal(place, np.arange(y.size))
    return StratumMeans(None if everyone else place, columns, groups, pooled)


@dataclass(frozen=True, eq=False, slots=True)
class PairDifferences:
    """Mean of differences within matched pairs, with the variance of the differences.

    Attributes
    ----------
    first : ndarray of int, shape (pairs,)
        A unit of each pair.
    first_treated : ndarray of bool
        Whether it was the treated one.
    difference, shift : ndarray, shape (pairs,)
        Treated minus control as it was, of the outcome and of the treatment received.
    """

    first: IntArray
    first_treated: BoolArray
    difference: FloatArray
    shift: FloatArray

    def parts(self, codes: Codes, arm: int) -> Parts:
        """Return the parts of many allocations: each pair keeps or changes its sign."""
        sign = np.where((codes[:, self.first] == arm) == self.first_treated, 1.0, -1.0)
        n = self.first.size
        columns = np.column_stack([self.difference, self.shift])
        mean = sign @ columns / n
        square = columns.T @ columns
        with np.errstate(divide="ignore", invalid="ignore"):
            v = [(square[a, b] - n * mean[:, a] * mean[:, b]) / (n * (n - 1.0)) for a, b in ((0, 0), (0, 1), (1, 1))]
        return Parts(mean[:, 0], mean[:, 1], *v)


@dataclass(frozen=True, eq=False, slots=True)
class ClusterMeans:
    """Difference in participant means when clusters were assigned, CR2 variance (see `mean_difference.clustered`).

    Attributes
    ----------
    where : ndarray of int, shape (clusters,)
        Clusters with an outcome, among the units of assignment.
    size, total, shift : ndarray, shape (clusters,)
        People, sum of their outcome (centred) and of the treatment received.
    """

    where: IntArray
    size: FloatArray
    total: FloatArray
    shift: FloatArray

    def parts(self, codes: Codes, arm: int) -> Parts:
        """Return the parts of many allocations, in time linear in clusters."""
        rows = max(1, BLOCK // max(self.size.size, 1))
        return join_parts([self._some(codes[i : i + rows], arm) for i in range(0, codes.shape[0], rows)])

    def _some(self, codes: Codes, arm: int) -> Parts:
        used = codes[:, self.where]
        n, y, s = self.size, self.total, self.shift
        products = np.column_stack([y * y, n * y, n * n, y * s, n * s, s * s])
        found = np.zeros((5, codes.shape[0]))
        for label, sign in ((arm, 1.0), (0, -1.0)):
            member = (used == label).astype(np.float64)
            people = member @ n
            with np.errstate(divide="ignore", invalid="ignore"):
                mean_y, mean_s = member @ y / people, member @ s / people
                free = 1.0 - n / people[:, None]
                weight = np.where(member > 0, 1.0 / np.where(free > 1e-12, free, np.nan), 0.0) / people[:, None] ** 2
            yy, ny, nn, ys, ns, ss = (weight @ products).T
            found += np.stack(
                [
                    sign * mean_y,
                    sign * mean_s,
                    yy - 2.0 * mean_y * ny + mean_y**2 * nn,
                    ys - mean_y * ns - mean_s * ny + mean_y * mean_s * nn,
                    ss - 2.0 * mean_s * ns + mean_s**2 * nn,
                ]
            )
        return Parts(*found)


@dataclass(frozen=True, eq=False, slots=True)
class WeightedMeans:
    """Difference in means weighted by the inverse probability of the arm (Hajek), without a variance.

    Attributes
    ----------
    size, total, shift : ndarray, shape (units,)
        People with an outcome in each unit of assignment, sum of their outcome (centred) and of the treatment received.
    probability : ndarray, shape (units, arms)
        Probability of each arm.
    """

    size: FloatArray
    total: FloatArray
    shift: FloatArray
    probability: FloatArray

    def parts(self, codes: Codes, arm: int) -> Parts:
        """Return the parts of many allocations; the variances are NaN."""
        d = np.zeros((2, codes.shape[0]))
        for label, sign in ((arm, 1.0), (0, -1.0)):
            with np.errstate(divide="ignore"):
                weight = np.where(self.probability[:, label] > 0, 1.0 / self.probability[:, label], 0.0)
            columns = np.column_stack([self.size, self.total, self.shift]) * weight[:, None]
            rows = max(1, BLOCK // weight.size)
            chunks = [(codes[i : i + rows] == label) @ columns for i in range(0, codes.shape[0], rows)]
            people, y, s = np.concatenate(chunks).T
            with np.errstate(divide="ignore", invalid="ignore"):
                d += sign * np.stack([y / people, s / people])
        none = np.full(codes.shape[0], np.nan)
        return Parts(d[0], d[1], none, none, none)
