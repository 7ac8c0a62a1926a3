"""Hides allocation in two stages: clusters to shares treated, then people inside each cluster."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import comb, lcm

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import EXACT_COUNT, Codes, Scheme
from gbveval.numerics.block_allocation import Blocks
from gbveval.numerics.philox import Words

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
MOST_STEPS = 3_000_000


@dataclass(frozen=True, eq=False)
class TwoStage:
    """People in clusters; label 2 s is control and 2 s + 1 treated in a cluster with the share of number s.

    Attributes
    ----------
    cluster : ndarray of int, shape (people,)
    first : Blocks
        How clusters get the numbers of their shares.
    shares : tuple of Fraction
    """

    cluster: IntArray
    first: Blocks
    shares: tuple[Fraction, ...]

    @property
    def n_units(self) -> int:
        """People."""
        return int(self.cluster.size)

    @property
    def n_labels(self) -> int:
        """Pairs of a share and an arm."""
        return 2 * len(self.shares)

    @cached_property
    def _sizes(self) -> IntArray:
        return np.bincount(self.cluster).astype(np.intp)

    @cached_property
    def _scale(self) -> int:
        return lcm(*(share.denominator for share in self.shares))

    @cached_property
    def _numerators(self) -> NDArray[np.int64]:
        """People times share in units of 1 / scale, shape (clusters, shares)."""
        return np.array([[int(n) * int(s * self._scale) for s in self.shares] for n in self._sizes], dtype=np.int64)

    def draw(self, words: Words, n_draws: int) -> Codes:
        """Return allocations, shape (n_draws, people)."""
        level = self.first.draw(words, n_draws).astype(np.intp)
        exact = self._numerators[np.arange(self._sizes.size)[None, :], level]
        coin = words.below(self._scale, level.size).reshape(level.shape)
        treated = exact // self._scale + (coin < exact % self._scale)
        keys = words.raw((n_draws, self.n_units))
        offset = np.arange(n_draws)[:, None] * self._sizes.size
        group = self.cluster[None, :] + offset
        place = np.lexsort((keys.ravel(), group.ravel()))
        sizes = np.tile(self._sizes, n_draws)
        rank = np.empty(keys.size, dtype=np.intp)
        rank[place] = np.arange(keys.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        chosen = rank.reshape(keys.shape) < treated[:, self.cluster]
        return (2 * level[:, self.cluster] + chosen).astype(np.int8)

    def probabilities(self) -> FloatArray:
        """Return the probability of each label, shape (people, labels); misfits leave the shares as declared."""
        first = self.first.probabilities()[self.cluster]
        share = np.array([float(s) for s in self.shares])
        return np.stack([first * (1.0 - share), first * share], axis=2).reshape(self.n_units, -1)

    def joint(self, i: int, j: int) -> FloatArray:
        """Return the probability of each pair of labels of two people, shape (labels, labels)."""
        a, b = int(self.cluster[i]), int(self.cluster[j])
        if i == j:
            return np.diag(self.probabilities()[i])
        share = np.array([float(s) for s in self.shares])
        arms = np.stack([1.0 - share, share], axis=1)
        if a != b:
            both = self.first.joint(a, b)
            return np.asarray(np.einsum("st,sx,ty->sxty", both, arms, arms).reshape(self.n_labels, -1))
        out = np.zeros((self.n_labels, self.n_labels))
        n = int(self._sizes[a])
        for s, level in enumerate(self.first.probabilities()[a]):
            whole, extra = divmod(int(self._numerators[a, s]), self._scale)
            more = extra / self._scale
            square = (1.0 - more) * whole * (whole - 1) + more * (whole + 1) * whole
            paired = square / (n * (n - 1))
            one = float(share[s]) - paired
            place = slice(2 * s, 2 * s + 2)
            out[place, place] = level * np.array([[1.0 - 2.0 * one - paired, one], [one, paired]])
        return out

    @property
    def count_is_exact(self) -> bool:
        """Whether the number of allocations is to the last digit."""
        return int(self._sizes.max()) <= EXACT_COUNT and self.first.count_is_exact

    def count(self) -> int | None:
        """Return how many allocations there are, as shares of clusters and arms of people."""
        if self.first.scheme(np.zeros(self._sizes.size, dtype=np.int8)) is None:
            return None
        total = 1
        for number, part in enumerate(self.first.splits):
            ways: dict[tuple[int, ...], int] = {part.fixed: 1}
            steps = 0
            for cluster in np.flatnonzero(self.first.block == number):
                times = [self._arrangements(int(cluster), s) for s in range(len(self.shares))]
                grown: dict[tuple[int, ...], int] = {}
                for left, have in ways.items():
                    for s, number_of in enumerate(times):
                        if left[s]:
                            key = (*left[:s], left[s] - 1, *left[s + 1 :])
                            grown[key] = grown.get(key, 0) + have * number_of
                steps += len(ways) * len(times)
                if steps > MOST_STEPS:
                    return None
                ways = grown
            total *= sum(ways.values())
        return total

    def _arrangements(self, cluster: int, s: int) -> int:
        whole, extra = divmod(int(self._numerators[cluster, s]), self._scale)
        n = int(self._sizes[cluster])
        return comb(n, whole) + (comb(n, whole + 1) if extra else 0)

    def scheme(self, codes: Codes) -> Scheme | None:
        """Return None: both stages are drawn again."""
        del codes
        return None
