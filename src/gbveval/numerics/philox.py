"""Hides how random choices are made from raw 64-bit words, so that a list is the same under every version of NumPy.

NumPy promises the stream of a bit generator and not that of the distributions made from it. Allocation therefore takes
the raw words of Philox (Salmon and others 2011), a counter-based generator, and uses integer arithmetic alone: numbers
below a bound by rejecting the words beyond the largest multiple of it, orders by sorting words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Words64 = NDArray[np.uint64]
IntArray = NDArray[np.intp]

# Recorded with every list. It changes when the same seed would give another list.
STREAM = "gbveval-allocation-1"


class Words:
    """A stream of raw words that depends on nothing but the texts of its key.

    Parameters
    ----------
    *key : str
        Texts, of which the SHA-256 digest makes the key.

    Examples
    --------
    >>> Words("seed 1").below(6, 5).tolist() == Words("seed 1").below(6, 5).tolist()
    True
    """

    def __init__(self, *key: str) -> None:
        digest = hashlib.sha256("\x1f".join((STREAM, *key)).encode()).digest()
        words = np.array([int.from_bytes(digest[i : i + 8], "little") for i in (0, 8)], dtype=np.uint64)
        self._bits = np.random.Philox(key=words)

    def raw(self, shape: int | tuple[int, ...]) -> Words64:
        """Return raw words, uniform on 0 to 2**64 - 1."""
        size = int(np.prod(shape))
        return np.asarray(self._bits.random_raw(size), dtype=np.uint64).reshape(shape)

    def below(self, bound: int, size: int) -> NDArray[np.int64]:
        """Return whole numbers, uniform on 0 to bound - 1; the bound is at most 2**63."""
        words = self.raw(size)
        largest = (2**64 // bound) * bound
        if largest < 2**64:
            wrong = np.flatnonzero(words >= np.uint64(largest))
            while wrong.size:
                words[wrong] = self.raw(wrong.size)
                wrong = wrong[words[wrong] >= np.uint64(largest)]
        return (words % np.uint64(bound)).astype(np.int64)

    def choices(self, parts: Sequence[int], size: int) -> IntArray:
        """Return positions in `parts`, each as likely as its part is of the sum of all."""
        edges = np.cumsum(np.asarray(parts, dtype=np.int64))
        return np.searchsorted(edges, self.below(int(edges[-1]), size), side="right").astype(np.intp)


def whole_parts(shares: Sequence[Fraction]) -> tuple[int, ...]:
    """Return the smallest whole numbers in the same proportions as shares that sum to one.

    Examples
    --------
    >>> whole_parts((Fraction(1, 3), Fraction(2, 3)))
    (1, 2)
    """
    denominator = int(np.lcm.reduce([share.denominator for share in shares]))
    return tuple(int(share * denominator) for share in shares)
