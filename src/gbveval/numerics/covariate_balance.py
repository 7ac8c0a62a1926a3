"""One statistic for how far arms differ in several columns, and its values over the allocations that could have been.

With T_u the total over unit u of a column centred in its block, and 1[z_u = a] whether the unit is in arm a, the sum

    L_a = sum_u T_u (1[z_u = a] - p_ua)

measures how far arm a differs from the rest of its blocks. Under the assignment its covariance is known: with labels
permuted in blocks of n_b units of which a share p_ba is in arm a,

    cov(L_a, L_c) = sum_b n_b / (n_b - 1) (p_ba [a = c] - p_ba p_bc) sum_{u in b} T_u T_u'.

The statistic is d2 = L' V^+ L over all columns and all arms but control, with V that covariance (Hansen and Bowers
2008, Statistical Science 23, "Covariate balance in simple, stratified and clustered comparative studies"; two arms
there, any number here). It is the same whatever the units of the columns, and whichever arm is called control. In large
samples it is chi-squared with rank(V) degrees of freedom; here its distribution is taken over the allocations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import Codes, Scheme, draw_allocations, enumerate_allocations
from gbveval.numerics.groups import group_sums
from gbveval.numerics.inference import f_upper
from gbveval.numerics.null_distribution import tail

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Directions with less than this share of the largest variance are what rounding leaves of collinear columns.
RANK_TOLERANCE = 1e-9
# Elements of an allocation matrix that are turned into floating point at once.
BLOCK = 2_000_000


@dataclass(frozen=True, eq=False, slots=True)
class BalanceTest:
    """A test that assignment is unrelated to some columns.

    Attributes
    ----------
    statistic : float
        d2 of the assignment that happened; NaN where no column could differ.
    rank : int
        Degrees of freedom of its chi-squared limit.
    p_value : float
        Share of allocations at least as far; NaN where no column could differ.
    listed : bool
        Whether all allocations were listed rather than some drawn.
    """

    statistic: float
    rank: int
    p_value: float
    listed: bool


def unit_totals(columns: FloatArray, unit: IntArray, block: IntArray, weight: FloatArray | None = None) -> FloatArray:
    """Return totals by unit of assignment of columns centred in their block, shape (units, columns).

    Columns are first divided by their standard deviation, which changes no d2 and keeps small units from being taken
    for rounding; a constant column gives zeros.

    Parameters
    ----------
    columns : ndarray, shape (rows, columns)
        Complete numbers.
    unit : ndarray of int, shape (rows,)
        Unit of assignment of each row.
    block : ndarray of int, shape (units,)
        Block of each unit.
    weight : ndarray, shape (rows,), optional
        Analysis weights.

    Examples
    --------
    >>> unit_totals(np.array([[1.0], [3.0]]), np.array([0, 1]), np.array([0, 0])).ravel().tolist()
    [-1.0, 1.0]
    """
    w = np.ones(unit.size) if weight is None else weight
    where = block[unit]
    n_blocks = int(block.max()) + 1
    mass = np.bincount(where, weights=w, minlength=n_blocks)
    safe = np.where(mass > 0, mass, 1.0)
    out = np.zeros((block.size, columns.shape[1]))
    for number in range(columns.shape[1]):
        raw = columns[:, number]
        spread = float(raw.std())
        if spread <= 1e-12 * float(np.abs(raw).max(initial=0.0)):
            continue
        # Taking out the overall mean first keeps digits of columns that lie far from zero.
        x = (raw - raw.mean()) / spread
        mean = np.bincount(where, weights=w * x, minlength=n_blocks) / safe
        out[:, number] = group_sums(unit, w * (x - mean[where]), block.size)
    return out


def balance_test(
    totals: FloatArray, scheme: Scheme, *, list_all: bool, n_draws: int, rng: np.random.Generator
) -> BalanceTest:
    """Return the test of all columns together.

    Parameters
    ----------
    totals : ndarray, shape (units, columns)
        From `unit_totals`.
    scheme : Scheme
        How the units were assigned.
    list_all : bool
        Whether to list every allocation.
    n_draws : int
        How many to draw otherwise; with none the p-value is that of the chi-squared limit.
    rng : numpy.random.Generator
        For the draws.
    """
    size = np.abs(totals).max(axis=0, initial=0.0)
    scaled = totals[:, size > 1e-10]
    expected, covariance = sum_moments(scaled, scheme)
    whiten = whitener(covariance)
    if whiten.shape[1] == 0:
        return BalanceTest(float("nan"), 0, float("nan"), list_all)

    def statistic(codes: Codes) -> FloatArray:
        rows = max(1, BLOCK // max(codes.shape[1], 1))
        return np.concatenate(
            [
                (((arm_sums(scaled, codes[i : i + rows], scheme.n_labels) - expected) @ whiten) ** 2).sum(axis=1)
                for i in range(0, codes.shape[0], rows)
            ]
        )

    observed, rank = float(statistic(scheme.labels[None, :])[0]), int(whiten.shape[1])
    if list_all:
        chunks = [(statistic(codes), weight) for codes, weight in enumerate_allocations(scheme)]
        values, weights = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        p_value = tail(values, observed, weights, rule="greater")
    elif n_draws == 0:
        p_value = f_upper(observed / rank, float(rank), float("inf"))
    else:
        drawn = [statistic(codes) for codes in draw_allocations(scheme, n_draws, rng)]
        p_value = tail(np.concatenate(drawn), observed, None, rule="greater")
    return BalanceTest(observed, rank, p_value, list_all)


def arm_sums(totals: FloatArray, codes: Codes, n_labels: int) -> FloatArray:
    """Return the totals over each arm but control, shape (allocations, (arms - 1) x columns)."""
    return np.hstack([(codes == label).astype(np.float64) @ totals for label in range(1, n_labels)])


def sum_moments(totals: FloatArray, scheme: Scheme) -> tuple[FloatArray, FloatArray]:
    """Return expectation and covariance of the sums over allocations."""
    if scheme.recorded is not None:
        sums = arm_sums(totals, scheme.recorded, scheme.n_labels)
        centred = sums - sums.mean(axis=0)
        return sums.mean(axis=0), centred.T @ centred / sums.shape[0]
    if scheme.probability is not None:
        share, stretch = scheme.probability, np.ones(totals.shape[0])
    else:
        count = np.bincount(scheme.block).astype(float)
        labels = [np.bincount(scheme.block, weights=scheme.labels == a) / count for a in range(scheme.n_labels)]
        share = np.column_stack(labels)[scheme.block]
        stretch = (count / np.maximum(count - 1.0, 1.0))[scheme.block]
    arms = range(1, scheme.n_labels)
    expected = np.concatenate([share[:, a] @ totals for a in arms])
    blocks = [
        [(totals * (stretch * share[:, a] * ((a == c) - share[:, c]))[:, None]).T @ totals for c in arms] for a in arms
    ]
    return expected, np.block(blocks)


def whitener(covariance: FloatArray) -> FloatArray:
    """Return W with W W' the pseudo-inverse of the covariance, one column for each direction that varies."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    safe = np.where(scale > 0, scale, 1.0)
    roots, axes = np.linalg.eigh(covariance / np.outer(safe, safe))
    keep = roots > RANK_TOLERANCE * max(float(roots[-1]) if roots.size else 0.0, 1e-300)
    return np.asarray((axes[:, keep] / np.sqrt(roots[keep])) / safe[:, None])
