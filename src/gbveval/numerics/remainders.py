"""Hides which labels the units left over by whole numbers get, so that every label keeps its declared probability.

In a block of n units with shares p_a, floor(n p_a) units get label a and r = n - sum of these are left. They get r
different labels, drawn so that label a is among them with probability n p_a - floor(n p_a): systematic sampling from
labels in random order, which has these probabilities exactly (Madow 1949) and with equal shares makes every subset of r
labels equally likely.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise, permutations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.philox import Words, whole_parts

IntArray = NDArray[np.intp]
Share = tuple[Fraction, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """How a block divides: the whole numbers of each label, and the probabilities of the labels left over.

    Attributes
    ----------
    fixed : tuple of int
        Units that get each label in any case.
    left : tuple of Fraction
        Probability that each label gets one more; the sum is the whole number of units left over.
    """

    fixed: tuple[int, ...]
    left: Share

    @property
    def n_left(self) -> int:
        """Units left over."""
        return int(sum(self.left))


def split(n: int, shares: Share) -> Split:
    """Return how n units divide by shares.

    Examples
    --------
    >>> split(7, (Fraction(1, 2), Fraction(1, 2)))
    Split(fixed=(3, 3), left=(Fraction(1, 2), Fraction(1, 2)))
    """
    fixed = tuple(int(n * share) for share in shares)
    return Split(fixed, tuple(n * share - whole for share, whole in zip(shares, fixed, strict=True)))


def draw_left(left: Share, size: int, words: Words) -> IntArray:
    """Return the labels left over, in the order of the labels, shape (size, n_left)."""
    n_left, k = int(sum(left)), len(left)
    if n_left == 0:
        return np.zeros((size, 0), dtype=np.intp)
    if n_left == 1:
        return words.choices(whole_parts(left), size)[:, None]
    scale = int(np.lcm.reduce([share.denominator for share in left]))
    numerators = np.array([int(share * scale) for share in left], dtype=np.int64)
    order = np.argsort(words.raw((size, k)), axis=1, kind="stable")
    edges = np.cumsum(numerators[order], axis=1)
    start = words.below(scale, size)[:, None]
    # Points start, start + scale, ... below each edge; a label is chosen where its stretch holds a point.
    passed = np.maximum(0, -((start - edges) // scale))
    chosen = np.diff(passed, axis=1, prepend=0) > 0
    taken = np.zeros((size, k), dtype=bool)
    np.put_along_axis(taken, order, chosen, axis=1)
    return np.nonzero(taken)[1].reshape(size, n_left).astype(np.intp)


@cache
def subsets_left(left: Share) -> dict[tuple[int, ...], Fraction]:
    """Return every set of labels that can be left over, with its probability.

    Examples
    --------
    >>> subsets_left((Fraction(2, 3), Fraction(1, 3)))
    {(0,): Fraction(2, 3), (1,): Fraction(1, 3)}
    """
    n_left = int(sum(left))
    if n_left == 0:
        return {(): Fraction(1)}
    if n_left == 1:
        return {(label,): share for label, share in enumerate(left) if share > 0}
    found: dict[tuple[int, ...], Fraction] = {}
    active = [label for label, share in enumerate(left) if share > 0]
    orders = list(permutations(active))
    for order in orders:
        edges = [Fraction(0)]
        for label in order:
            edges.append(edges[-1] + left[label])
        cuts = sorted({edge % 1 for edge in edges} | {Fraction(1)})
        for low, high in pairwise(cuts):
            middle = (low + high) / 2
            points = [middle + step for step in range(n_left)]
            chosen = (
                label
                for label, a, b in zip(order, edges[:-1], edges[1:], strict=True)
                if any(a <= p < b for p in points)
            )
            key = tuple(sorted(chosen))
            found[key] = found.get(key, Fraction(0)) + (high - low) / len(orders)
    return found


def left_products(left: Share) -> NDArray[np.float64]:
    """Return the probability that two labels are both left over, shape (labels, labels); the diagonal is each one's."""
    out = np.zeros((len(left), len(left)))
    for labels, probability in subsets_left(left).items():
        for a in labels:
            for b in labels:
                out[a, b] += float(probability)
    return out
