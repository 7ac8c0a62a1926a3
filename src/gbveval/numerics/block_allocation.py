"""Hides how units are allocated inside blocks, with exact probabilities and numbers of allocations.

One block is complete randomisation; strata, clusters in strata, matched pairs and triplets, and the sequences of a
stepped wedge are blocks too. What is left over by whole numbers (misfits) is handled in one of three ways:

- *stratum*: inside its block, so that probabilities are the declared ones there (`remainders`);
- *global*: misfits of all blocks are one more block. A misfit is then what exceeds a multiple of the smallest whole
  numbers in proportion to the shares, so that probabilities stay the declared ones;
- *none*: misfits, drawn by lot, are left unassigned (code -1).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import EXACT_COUNT, Codes, Scheme, arrangements, permuted
from gbveval.numerics.philox import Words, whole_parts
from gbveval.numerics.remainders import Share, Split, draw_left, left_products, split, subsets_left

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
POLICIES = ("stratum", "global", "none")
# Steps of the count of allocations with pooled misfits that are taken before it is left uncounted.
MOST_STEPS = 3_000_000


@dataclass(frozen=True, eq=False)
class Blocks:
    """Units in blocks and how each block divides.

    Attributes
    ----------
    block : ndarray of int, shape (units,)
        Block of each unit, 0 .. blocks - 1.
    splits : tuple of Split
        How each block divides.
    pool : Share or None
        Shares of the pooled misfits; None where they stay in their block, or are left unassigned.
    n_labels : int
        Labels; `unassigned` says that what `splits` leave over gets none.
    unassigned : bool
        Whether units left over are left unassigned.
    """

    block: IntArray
    splits: tuple[Split, ...]
    n_labels: int
    pool: Share | None = None
    unassigned: bool = False

    @property
    def n_units(self) -> int:
        """Units of assignment."""
        return int(self.block.size)

    @cached_property
    def sizes(self) -> IntArray:
        """Units in each block."""
        return np.bincount(self.block, minlength=len(self.splits)).astype(np.intp)

    @cached_property
    def _fixed(self) -> IntArray:
        return np.array([part.fixed for part in self.splits], dtype=np.intp).reshape(-1, self.n_labels)

    @cached_property
    def _n_left(self) -> IntArray:
        return np.asarray(self.sizes - self._fixed.sum(axis=1))

    @cached_property
    def pooled(self) -> Blocks:
        """The misfits of all blocks as one block."""
        assert self.pool is not None
        n = int(self._n_left.sum())
        return Blocks(np.zeros(n, dtype=np.intp), (split(n, self.pool),), self.n_labels)

    @cached_property
    def _slots(self) -> tuple[Codes, IntArray]:
        """Labels in the order of blocks, -1 where left over; and the places of those left over."""
        pattern = np.empty(self.n_units, dtype=np.int8)
        rows = np.concatenate([self._fixed, self._n_left[:, None]], axis=1)
        labels = np.tile(np.append(np.arange(self.n_labels), -1), len(self.splits)).astype(np.int8)
        pattern[:] = np.repeat(labels, rows.ravel())
        return pattern, np.flatnonzero(pattern < 0)

    def draw(self, words: Words, n_draws: int) -> Codes:
        """Return allocations, shape (n_draws, units)."""
        pattern, open_slots = self._slots
        labels = np.repeat(pattern[None, :], n_draws, axis=0)
        keys = words.raw((n_draws, self.n_units))
        if open_slots.size and not self.unassigned:
            labels[:, open_slots] = self._left_labels(words, n_draws)
        out = np.empty_like(labels)
        if len(self.splits) == 1:
            np.put_along_axis(out, np.argsort(keys, axis=1, kind="stable"), labels, axis=1)
            return out
        for row in range(n_draws) if n_draws * 50 < self.n_units else (slice(None),):
            part = np.atleast_2d(keys[row])
            offset = np.arange(part.shape[0])[:, None] * len(self.splits)
            place = np.lexsort((part.ravel(), (self.block[None, :] + offset).ravel()))
            flat = np.empty(part.size, dtype=np.int8)
            flat[place] = labels[row].ravel()
            out[row] = flat.reshape(part.shape) if isinstance(row, slice) else flat
        return out

    def _left_labels(self, words: Words, n_draws: int) -> Codes:
        """Return the labels of the units left over, in the order of blocks, shape (n_draws, left over)."""
        if self.pool is not None:
            return self.pooled.draw(words, n_draws)
        out = np.empty((n_draws, int(self._n_left.sum())), dtype=np.int8)
        start = np.cumsum(self._n_left) - self._n_left
        kinds: dict[Share, list[int]] = {}
        for number, part in enumerate(self.splits):
            if part.n_left:
                kinds.setdefault(part.left, []).append(number)
        for left, members in kinds.items():
            width = int(sum(left))
            drawn = draw_left(left, n_draws * len(members), words).reshape(n_draws, -1)
            where = (start[members][:, None] + np.arange(width)[None, :]).ravel()
            out[:, where] = drawn
        return out

    @cached_property
    def _expected_left(self) -> FloatArray:
        """Expected number of units left over that get each label, shape (blocks, labels)."""
        if self.unassigned:
            return np.zeros((len(self.splits), self.n_labels))
        if self.pool is not None:
            share = np.array([float(p) for p in self.pool])
            return np.asarray(self._n_left[:, None] * share[None, :])
        return np.array([[float(x) for x in part.left] for part in self.splits]).reshape(-1, self.n_labels)

    def probabilities(self) -> FloatArray:
        """Return the probability of each label, shape (units, labels)."""
        table = (self._fixed + self._expected_left) / self.sizes[:, None]
        return np.asarray(table[self.block])

    def joint(self, i: int, j: int) -> FloatArray:
        """Return the probability of each pair of labels of two units, shape (labels, labels)."""
        a, b = int(self.block[i]), int(self.block[j])
        if i == j:
            return np.diag(self.probabilities()[i])
        first, second = self._fixed[a] + self._expected_left[a], self._fixed[b] + self._expected_left[b]
        if a != b and (self.pool is None or not self._n_left[a] * self._n_left[b]):
            return np.outer(first / self.sizes[a], second / self.sizes[b])
        products = self._products(a, b)
        if a == b:
            n = int(self.sizes[a])
            return np.asarray((products - np.diag(first)) / (n * (n - 1)))
        return np.asarray(products / (self.sizes[a] * self.sizes[b]))

    def _products(self, a: int, b: int) -> FloatArray:
        """Return the expected products of the numbers with each label in two blocks (or twice in one)."""
        fixed, left = self._fixed, self._expected_left
        known = np.outer(fixed[a], fixed[b]) + np.outer(fixed[a], left[b]) + np.outer(left[a], fixed[b])
        if self.unassigned:
            return known.astype(np.float64)
        if self.pool is None:
            return np.asarray(known + left_products(self.splits[a].left))
        n_a, n_b = int(self._n_left[a]), int(self._n_left[b])
        if n_a == 0 or n_b == 0:
            return np.asarray(known)
        two = self.pooled.joint(0, 1) if self.pooled.n_units > 1 else np.zeros((self.n_labels, self.n_labels))
        if a != b:
            return np.asarray(known + n_a * n_b * two)
        return np.asarray(known + np.diag(left[a]) + n_a * (n_a - 1) * two)

    @property
    def count_is_exact(self) -> bool:
        """Whether the number of allocations is to the last digit."""
        return int(self.sizes.max()) <= EXACT_COUNT

    def count(self) -> int | None:
        """Return how many different allocations there are; None where pooled misfits make that too long a sum."""
        if self.pool is not None and int(self._n_left.sum()):
            return self._count_pooled()
        kinds: dict[tuple[int, Split], int] = {}
        for size, part in zip(self.sizes, self.splits, strict=True):
            kinds[int(size), part] = kinds.get((int(size), part), 0) + 1
        return int(prod(self._count_block(size, part) ** times for (size, part), times in kinds.items()))

    def _count_block(self, size: int, part: Split) -> int:
        if self.unassigned:
            return arrangements(np.array([*part.fixed, size - sum(part.fixed)]))
        total = 0
        for labels in subsets_left(part.left):
            counts = np.array(part.fixed)
            counts[list(labels)] += 1
            total += arrangements(counts)
        return total

    def _count_pooled(self) -> int | None:
        """Count by the numbers of pooled misfits with each label, block after block."""
        ways: dict[tuple[int, ...], int] = {(0,) * self.n_labels: 1}
        steps = 0
        for fixed, left in zip(self._fixed, self._n_left, strict=True):
            options = [
                (extra, arrangements(fixed + np.array(extra))) for extra in _compositions(int(left), self.n_labels)
            ]
            steps += len(ways) * len(options)
            if steps > MOST_STEPS:
                return None
            grown: dict[tuple[int, ...], int] = {}
            for have, number in ways.items():
                for extra, times in options:
                    key = tuple(x + y for x, y in zip(have, extra, strict=True))
                    grown[key] = grown.get(key, 0) + number * times
            ways = grown
        part = self.pooled.splits[0]
        total = 0
        for labels in subsets_left(part.left):
            counts = list(part.fixed)
            for label in labels:
                counts[label] += 1
            total += ways.get(tuple(counts), 0)
        return total

    def scheme(self, codes: Codes) -> Scheme | None:
        """Return the permutation scheme that this is for the labels found; None where their numbers vary."""
        if not self.unassigned and int(self._n_left.sum()):
            return None
        # Given who was left unassigned, the others are permuted inside their blocks.
        return permuted(codes, self.block) if not np.any(codes < 0) else None


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    if parts == 1:
        return [(total,)]
    return [(first, *rest) for first in range(total + 1) for rest in _compositions(total - first, parts - 1)]


def blocks_by_share(block: IntArray, shares: Share, misfits: str) -> Blocks:
    """Return blocks that divide by shares, with a policy for misfits.

    Examples
    --------
    >>> from fractions import Fraction
    >>> half = (Fraction(1, 2), Fraction(1, 2))
    >>> blocks_by_share(np.zeros(7, dtype=int), half, "stratum").count()
    70
    """
    sizes = np.bincount(block)
    if misfits == "stratum":
        cached = {int(n): split(int(n), shares) for n in np.unique(sizes)}
        return Blocks(block, tuple(cached[int(n)] for n in sizes), len(shares))
    parts = whole_parts(shares)
    unit = sum(parts)
    nothing = tuple(0 * share for share in shares)
    splits = tuple(Split(tuple(part * (int(n) // unit) for part in parts), nothing) for n in sizes)
    pool = shares if misfits == "global" else None
    return Blocks(block, splits, len(shares), pool=pool, unassigned=misfits == "none")


def blocks_by_count(block: IntArray, counts: IntArray) -> Blocks:
    """Return blocks with given numbers of each label, shape (blocks, labels)."""
    nothing = (Fraction(0),) * counts.shape[1]
    return Blocks(block, tuple(Split(tuple(int(x) for x in row), nothing) for row in counts), counts.shape[1])
