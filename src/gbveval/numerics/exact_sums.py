"""The exact permutation distribution of a sum of scores on a lattice, without listing the allocations.

Unit by unit, the probability that j of the units seen so far are treated and that their scores sum to s follows from
the probability one unit before: in random sampling without replacement of m out of n the i-th unit is taken with
probability (m - j)/(n - i). All terms are positive, so small tails keep their relative accuracy. Blocks are convolved.
This is the shift algorithm of Streitberg and Roehmel (1986) written with probabilities in place of counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Steps of addition that are allowed before enumeration or draws are the better way; about a second.
LARGEST_WORK = 400_000_000
SCALES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 20, 100, 200, 1_000, 2_000, 10_000, 20_000)


@dataclass(frozen=True, eq=False, slots=True)
class SumDistribution:
    """A distribution over equally spaced sums.

    Attributes
    ----------
    values, probability : ndarray
        The sums and their probabilities.
    """

    values: FloatArray
    probability: FloatArray


def moments(scores: FloatArray, treated: NDArray[np.bool_], block: IntArray) -> tuple[float, float]:
    """Return expectation and variance of the treated units' sum when labels are permuted inside blocks.

    Examples
    --------
    >>> moments(np.array([1.0, 2.0, 3.0]), np.array([True, False, False]), np.zeros(3, dtype=int))
    (2.0, 0.6666666666666666)
    """
    n = np.bincount(block).astype(float)
    m = np.bincount(block, weights=treated)
    total = np.bincount(block, weights=scores)
    mean = total / n
    square = np.bincount(block, weights=(scores - mean[block]) ** 2)
    inner = np.where(n > 1, m * (n - m) / (n * np.maximum(n - 1.0, 1.0)), 0.0)
    return float(m @ mean), float(inner @ square)


def lattice(scores: FloatArray) -> tuple[IntArray, float, float] | None:
    """Return integers, an origin and a step with scores = origin + step x integers; None if there are none in reach."""
    origin = float(scores.min())
    offset = scores - origin
    size = float(np.abs(scores).max())
    for scale in SCALES:
        scaled = offset * scale
        whole = np.round(scaled)
        if np.all(np.abs(scaled - whole) <= 1e-9 * max(1.0, size) * scale) and whole.max() < 2**40:
            integers = whole.astype(np.intp)
            divisor = int(np.gcd.reduce(integers)) or 1
            return integers // divisor, origin, divisor / scale
    return None


def exact_sums(scores: FloatArray, treated: NDArray[np.bool_], block: IntArray) -> SumDistribution | None:
    """Return the distribution of the treated units' sum of scores, labels permuted inside blocks.

    Parameters
    ----------
    scores : ndarray, shape (units,)
        Any numbers on a lattice, such as ranks or outcomes with few decimals.
    treated : ndarray of bool, shape (units,)
        Who was treated.
    block : ndarray of int, shape (units,)
        Codes 0 .. blocks - 1.

    Returns
    -------
    SumDistribution or None
        None when the scores lie on no lattice, or there would be too much work.
    """
    found = lattice(scores)
    if found is None:
        return None
    integers, origin, step = found
    n_blocks = int(block.max()) + 1
    members = [(integers[block == b], int(treated[block == b].sum())) for b in range(n_blocks)]
    ranges = [_largest_sum(x, m) for x, m in members]
    work = sum(x.size * (m + 1) * (r + 1) for (x, m), r in zip(members, ranges, strict=True))
    work += sum(int(np.sum(ranges[:b])) * ranges[b] for b in range(1, n_blocks))
    if work > LARGEST_WORK:
        return None
    whole = np.ones(1)
    for (x, m), r in zip(members, ranges, strict=True):
        whole = np.convolve(whole, _one_block(x, m, r))
    values = origin * int(treated.sum()) + step * np.arange(whole.size)
    keep = whole > 0
    return SumDistribution(np.asarray(values[keep], dtype=np.float64), whole[keep])


def _largest_sum(scores: IntArray, m: int) -> int:
    return int(np.sort(scores)[scores.size - m :].sum())


def _one_block(scores: IntArray, m: int, largest: int) -> FloatArray:
    """Return the probabilities of the sums 0 .. largest of m of the scores."""
    n = scores.size
    if m == 0:
        return np.ones(1)
    state = np.zeros((m + 1, largest + 1))
    state[0, 0] = 1.0
    for i, x in enumerate(scores):
        taken = np.clip((m - np.arange(m + 1)) / (n - i), 0.0, 1.0)[:, None]
        moved = state * taken
        state *= 1.0 - taken
        state[1:, x:] += moved[:-1, : largest + 1 - x]
    return np.asarray(state[m])
