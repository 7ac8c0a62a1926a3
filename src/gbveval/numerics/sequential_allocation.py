"""Hides allocation of units one by one: independent draws, and permuted blocks of random size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import Codes, Scheme
from gbveval.numerics.philox import Words

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# States of the count of sequences beyond which it is not finished.
MOST_STATES = 20_000


@dataclass(frozen=True, eq=False, slots=True)
class Independent:
    """Units drawn one by one with the same probabilities.

    Attributes
    ----------
    n_units : int
    parts : tuple of int
        Whole numbers in proportion to the probabilities of the labels.
    """

    n_units: int
    parts: tuple[int, ...]

    @property
    def n_labels(self) -> int:
        """Labels there are."""
        return len(self.parts)

    @property
    def count_is_exact(self) -> bool:
        """Whether the number of allocations is to the last digit."""
        return True

    def draw(self, words: Words, n_draws: int) -> Codes:
        """Return allocations, shape (n_draws, units)."""
        return words.choices(self.parts, n_draws * self.n_units).astype(np.int8).reshape(n_draws, self.n_units)

    def probabilities(self) -> FloatArray:
        """Return the probability of each label, shape (units, labels)."""
        return np.tile(np.array(self.parts) / sum(self.parts), (self.n_units, 1))

    def joint(self, i: int, j: int) -> FloatArray:
        """Return the probability of each pair of labels of two units, shape (labels, labels)."""
        share = np.array(self.parts) / sum(self.parts)
        return np.diag(share) if i == j else np.outer(share, share)

    def count(self) -> int | None:
        """Return how many different allocations there are."""
        return int(sum(part > 0 for part in self.parts) ** self.n_units)

    def scheme(self, codes: Codes) -> Scheme | None:
        """Return the scheme of independent draws."""
        block = np.zeros(self.n_units, dtype=np.intp)
        return Scheme(codes.astype(np.int8), self.n_labels, block, probability=self.probabilities())


@dataclass(frozen=True, eq=False, slots=True)
class RandomBlocks:
    """Permuted blocks whose sizes are drawn, one row of blocks a stratum; the last block is cut where units end.

    Attributes
    ----------
    stratum : ndarray of int, shape (units,)
        Stratum of each unit; inside it units stand in the order in which they are enrolled.
    parts : tuple of int
        Whole numbers in proportion to the labels.
    multiples : tuple of int
        Block sizes over the sum of `parts`; all equally likely.
    """

    stratum: IntArray
    parts: tuple[int, ...]
    multiples: tuple[int, ...]

    @property
    def n_units(self) -> int:
        """Units of assignment."""
        return int(self.stratum.size)

    @property
    def n_labels(self) -> int:
        """Labels there are."""
        return len(self.parts)

    @property
    def count_is_exact(self) -> bool:
        """Whether the number of allocations is to the last digit."""
        return True

    def draw(self, words: Words, n_draws: int) -> Codes:
        """Return allocations, shape (n_draws, units)."""
        out = np.empty((n_draws, self.n_units), dtype=np.int8)
        for number in range(int(self.stratum.max()) + 1):
            where = np.flatnonzero(self.stratum == number)
            out[:, where] = self._draw_stratum(words, n_draws, where.size)
        return out

    def _draw_stratum(self, words: Words, n_draws: int, n: int) -> Codes:
        unit, k = sum(self.parts), self.n_labels
        n_blocks = -(-n // (unit * min(self.multiples)))
        chosen = words.choices((1,) * len(self.multiples), n_draws * n_blocks)
        multiple = np.array(self.multiples, dtype=np.int64)[chosen]
        counts = multiple[:, None] * np.array(self.parts, dtype=np.int64)[None, :]
        labels = np.repeat(np.tile(np.arange(k, dtype=np.int8), multiple.size), counts.ravel())
        block = np.repeat(np.arange(multiple.size), multiple * unit)
        shuffled = labels[np.lexsort((words.raw(labels.size), block))]
        length = (multiple * unit).reshape(n_draws, n_blocks).sum(axis=1)
        start = np.cumsum(length) - length
        return np.asarray(shuffled[start[:, None] + np.arange(n)[None, :]])

    def probabilities(self) -> FloatArray:
        """Return the probability of each label, shape (units, labels): every place of a block is like the others."""
        return np.tile(np.array(self.parts) / sum(self.parts), (self.n_units, 1))

    def joint(self, i: int, j: int) -> FloatArray:
        """Return the probability of each pair of labels of two units, shape (labels, labels)."""
        parts = np.array(self.parts, dtype=np.float64)
        share = parts / parts.sum()
        if i == j:
            return np.diag(share)
        apart = np.outer(share, share)
        if self.stratum[i] != self.stratum[j]:
            return apart
        first, last = sorted(int(np.count_nonzero(self.stratum[:u] == self.stratum[u])) for u in (i, j))
        starts = self._starts(first)
        out, together = np.zeros_like(apart), 0.0
        for multiple in self.multiples:
            size = multiple * int(parts.sum())
            same = float(starts[max(0, last - size + 1) : first + 1].sum()) / len(self.multiples)
            counts = parts * multiple
            out += same * (np.outer(counts, counts) - np.diag(counts)) / (size * (size - 1))
            together += same
        return np.asarray(out + (1.0 - together) * apart)

    def _starts(self, last: int) -> FloatArray:
        """Return the probability that a block starts at each place up to `last`."""
        starts = np.zeros(last + 1)
        starts[0] = 1.0
        unit = sum(self.parts)
        for place in range(1, last + 1):
            back = [place - multiple * unit for multiple in self.multiples]
            starts[place] = sum(starts[b] for b in back if b >= 0) / len(self.multiples)
        return starts

    def count(self) -> int | None:
        """Return how many different sequences of labels can arise; None where too many blocks could be open."""
        total = 1
        sizes: Sequence[int] = np.bincount(self.stratum).tolist()
        found = {n: self._count_sequences(n) for n in set(sizes)}
        for n in sizes:
            number = found[n]
            if number is None:
                return None
            total *= number
        return total

    def _count_sequences(self, n: int) -> int | None:
        """Count by the set of block remainders that the sequence so far leaves possible."""
        fresh = frozenset(tuple(part * multiple for part in self.parts) for multiple in self.multiples)
        ways = {fresh: 1}
        for _ in range(n):
            grown: dict[frozenset[tuple[int, ...]], int] = {}
            for state, number in ways.items():
                for label in range(self.n_labels):
                    after: set[tuple[int, ...]] = set()
                    for have in state:
                        if have[label]:
                            left = (*have[:label], have[label] - 1, *have[label + 1 :])
                            after |= {left} if any(left) else fresh
                    if after:
                        key = frozenset(after)
                        grown[key] = grown.get(key, 0) + number
            if len(grown) > MOST_STATES:
                return None
            ways = grown
        return sum(ways.values())

    def scheme(self, codes: Codes) -> Scheme | None:
        """Return None: what could have been depends on blocks that nobody sees, so it is drawn again."""
        del codes
        return None


def forced_share(counts: Sequence[int]) -> Fraction:
    """Return the expected share of a block's assignments that follow from the earlier ones in it.

    The last t assignments are all label a in C(n - t, c_a - t) of C(n, c_a) orders; summed over t this is
    c_a / (n - c_a + 1).

    Examples
    --------
    >>> forced_share((2, 2))
    Fraction(1, 3)
    """
    n = sum(counts)
    return sum((Fraction(c, n - c + 1) for c in counts if c), Fraction(0)) / n


def guessed_share(counts: Sequence[int]) -> Fraction:
    """Return the expected share of a block guessed rightly by naming the label of which most are left.

    Blackwell and Hodges' (1957) convergence strategy, which is the best one for whoever knows the block.

    Examples
    --------
    >>> guessed_share((1, 1))
    Fraction(3, 4)
    """
    known: dict[tuple[int, ...], Fraction] = {}

    def right(left: tuple[int, ...]) -> Fraction:
        """Return the expected number of right guesses from here on; labels in any order are alike."""
        total = sum(left)
        if total == 0:
            return Fraction(0)
        if left not in known:
            after = Fraction(0)
            for label, have in enumerate(left):
                if have:
                    rest = tuple(sorted((*left[:label], have - 1, *left[label + 1 :])))
                    after += Fraction(have, total) * right(rest)
            known[left] = Fraction(max(left), total) + after
        return known[left]

    return right(tuple(sorted(int(c) for c in counts))) / sum(counts)
