"""Means under exposures that follow from everybody's assignment, with conservative variances (Aronow and Samii 2017).

An allocation puts every unit i into one exposure. With pi_i(k) the probability of exposure k and pi_ij(k, l) that i is
in k while j is in l, the mean of y(k) over N units is estimated by sum_i 1{i in k} u_i / N, u_i = y_i / pi_i(k). The
variance of a difference of two such sums has a term for each ordered pair of units, estimated from the pairs seen,

    T_kl = sum_(i in k, j in l) u_i u_j (1 - pi_i(k) pi_j(l) / pi_ij(k, l)),

the pair of a unit with itself in T_kk included, where pi_ii(k, k) = pi_i(k). Pairs with pi_ij(k, l) = 0 are never seen;
a unit is one with itself in T_kl. For those Young's inequality, -y_i y_j <= (y_i^2 + y_j^2) / 2, bounds the term by
what can be estimated. With m_i(k, l) the number of units j with pi_ij(k, l) = 0, the unit itself not counted in
m_i(k, k),

    V = T_kk + T_ll - 2 T_kl + sum_(i in k) y_i u_i (m_i(k, k) + m_i(k, l))
                             + sum_(j in l) y_j u_j (m_j(l, l) + m_j(l, k)),

whose expectation is at least the variance.

Probabilities are counted over allocations. Where these are all there are, both statements are exact. Where R were
drawn, the one that was made is counted with them. A unit seen in k then has (B + 1) / (R + 1) with B binomial, and
E[1{i in k} / that] = 1 - (1 - pi)^(R + 1): one, up to what no draw would show (the estimator is Fattorini's, 2006). A
pair that no draw shows need not be impossible; it is taken to be so only where the two units' exposures depend on the
same units of assignment, or on units of one small block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
Codes = NDArray[np.int8]

# Exposures: twice the own assignment, plus one for those who are reached.
NONE, INDIRECT, DIRECT, BOTH = range(4)
# Units whose joint probabilities with all others are held at once.
BLOCK = 256


@dataclass(frozen=True, eq=False, slots=True)
class Exposures:
    """The exposure of every unit under many allocations.

    Attributes
    ----------
    codes : ndarray of int8, shape (allocations, units)
        NONE, INDIRECT, DIRECT or BOTH. Where allocations were drawn, the last row is the one that was made.
    weight : ndarray or None, shape (allocations,)
        Probabilities; None where all rows count the same.
    touched : scipy CSR array or None, shape (units, things)
        What the exposure of a unit depends on. Two units that share nothing are not taken to exclude each other when no
        row shows them together; None where every allocation is a row.
    """

    codes: Codes
    weight: FloatArray | None
    touched: Any | None

    def probability(self) -> FloatArray:
        """Return the probability of each exposure, shape (units, 4)."""
        return self._shares(slice(None))

    def possible(self) -> BoolArray:
        """Return which exposures each unit could have, shape (units, 4): by the draws alone, without the one made."""
        return self._shares(slice(None) if self.touched is None else slice(-1)) > 0

    def _shares(self, rows: slice) -> FloatArray:
        codes = self.codes[rows]
        if self.weight is None:
            counts = [np.count_nonzero(codes == code, axis=0) for code in range(4)]
            shares: FloatArray = np.column_stack(counts) / codes.shape[0]
            return shares
        weight = self.weight[rows]
        return np.column_stack([np.asarray(weight @ (codes == code)) for code in range(4)])

    def joint(self, first: IntArray, k: int, second: IntArray, code: int) -> Iterator[tuple[slice, FloatArray]]:
        """Yield blocks of pi_ij(k, code): the part of `first` they are of, and shape (block, second)."""
        # Counts of rows are exact in single precision, which halves the work.
        kind: Any = np.float32 if self.weight is None else np.float64
        other = (self.codes[:, second] == code).astype(kind)
        for start in range(0, first.size, BLOCK):
            part = slice(start, min(start + BLOCK, first.size))
            own = (self.codes[:, first[part]] == k).astype(kind)
            if self.weight is not None:
                yield part, (own * self.weight[:, None]).T @ other
            else:
                yield part, (own.T @ other).astype(np.float64) / self.codes.shape[0]

    def linked(self, first: IntArray, second: IntArray) -> BoolArray | bool:
        """Return which pairs exclude each other if no row shows them together, shape (first, second)."""
        if self.touched is None:
            return True
        shared = self.touched[first] @ self.touched[second].T
        return np.asarray(shared.toarray() > 0, dtype=bool)


def exposure_codes(treated: NDArray[np.integer], adjacency: Any, least_share: float) -> Codes:
    """Return the exposure of every unit under each allocation.

    Parameters
    ----------
    treated : ndarray of 0 and 1, shape (allocations, units)
        Who is treated.
    adjacency : scipy CSR array, shape (units, units)
        Symmetric, 0 and 1.
    least_share : float
        Reached are those with at least one treated neighbour, and at least this share of their neighbours treated.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> path = csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.float32))
    >>> exposure_codes(np.array([[1, 0, 0], [1, 1, 0]]), path, 0.0).tolist()
    [[2, 1, 0], [3, 3, 1]]
    >>> exposure_codes(np.array([[1, 0, 0]]), path, 0.6).tolist()
    [[2, 0, 0]]
    """
    counts = (adjacency @ treated.T.astype(np.float32)).T
    degree = adjacency.sum(axis=1)
    # A share such as 0.6 times five neighbours is three, whatever its last digit.
    needed = np.maximum(1.0, np.ceil(least_share * degree - 1e-6))
    return np.asarray(2 * treated + (counts >= needed), dtype=np.int8)


@dataclass(frozen=True, eq=False, slots=True)
class ExposureContrast:
    """A difference between the means under two exposures.

    Attributes
    ----------
    value, variance : float
        The estimate, and its conservative variance, which can fall below zero where few units are seen.
    noise : float
        About the standard deviation of the variance over draws of allocations; zero where all are listed. A joint
        probability near pi^2 from R draws has the relative error 1 / (pi sqrt(R)), so with a_k = sum_(i in k) u_i^2 /
        pi the terms of all pairs add up to 2 (a_k + a_l)^2 / R.
    """

    value: float
    variance: float
    noise: float


def exposure_contrast(
    exposures: Exposures,
    y: FloatArray,
    seen: NDArray[np.integer],
    pair: tuple[int, int],
    units: IntArray,
    *,
    hajek: bool,
) -> ExposureContrast:
    """Return the mean under one exposure minus that under another, over some units.

    Parameters
    ----------
    exposures : Exposures
        Of all units.
    y : ndarray, shape (all units,)
        Outcomes.
    seen : ndarray of int, shape (all units,)
        The exposure that each unit had.
    pair : tuple of int
        The two exposures; some unit was seen in each.
    units : ndarray of int
        Positions of the units averaged over, all of whom could have been in both.
    hajek : bool
        Whether weights are divided by their sum; the variance is then that of residuals (linearisation).
    """
    probability = exposures.probability()[units]
    size = float(units.size)
    means, values, loose = [], [], 0.0
    for code in pair:
        member = seen[units] == code
        share = np.where(member, probability[:, code], 1.0)
        mass = float((member / share).sum()) if hajek else size
        mean = float((member * y[units] / share).sum()) / mass
        means.append(mean)
        values.append(np.where(member, (y[units] - mean) * size / mass if hajek else y[units], 0.0))
        loose += float(np.sum((values[-1] / share) ** 2)) / float(share[member].mean()) if member.any() else 0.0
    variance = sum(
        _pairs(exposures, (units, probability), (v, k), (w, code))
        for v, k in zip(values, pair, strict=True)
        for w, code in zip(values, pair, strict=True)
    )
    draws = exposures.codes.shape[0]
    noise = 0.0 if exposures.touched is None else float(np.sqrt(2.0 / draws)) * loose
    return ExposureContrast(means[0] - means[1], variance / size**2, noise / size**2)


def _pairs(
    exposures: Exposures,
    people: tuple[IntArray, FloatArray],
    first: tuple[FloatArray, int],
    second: tuple[FloatArray, int],
) -> float:
    """Return T_kk with its bound, or for two exposures minus T_kl with the part of the bound that belongs to k."""
    (units, probability), (v, k), (w, code) = people, first, second
    seen = np.flatnonzero(v)
    own, other = v / probability[:, k], w / probability[:, code]
    sign = 1.0 if k == code else -1.0
    total = 0.0
    for part, joint in exposures.joint(units[seen], k, units, code):
        rows = seen[part]
        together = joint > 0
        expected = np.outer(probability[rows, k], probability[:, code])
        term = np.where(together, 1.0 - expected / np.where(together, joint, 1.0), 0.0)
        never = ~together & exposures.linked(units[rows], units)
        if k == code:
            never[np.arange(rows.size), rows] = False
        total += sign * float(own[rows] @ term @ other) + float((v[rows] * own[rows]) @ never.sum(axis=1))
    return total
