"""Hides rows that are alike: which rows share a combination of codes, and one row that stands for each.

What a regression learns from respondents who are alike in all columns is their summed weight and their weighted mean
outcome, so it is fitted on patterns rather than on people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.intp]
FloatArray = NDArray[np.float64]
# Products of numbers of codes stay below this, so that a combination is one whole number.
LARGEST = 2**62


@dataclass(frozen=True, eq=False, slots=True)
class Patterns:
    """Combinations of codes that occur.

    Attributes
    ----------
    index : ndarray of int, shape (n,)
        Pattern of each row.
    first : ndarray of int, shape (patterns,)
        A row of each pattern.
    """

    index: IntArray
    first: IntArray

    @property
    def count(self) -> int:
        """Patterns."""
        return int(self.first.size)

    def sums(self, values: FloatArray) -> FloatArray:
        """Return sums over the rows of each pattern."""
        return np.asarray(np.bincount(self.index, weights=values, minlength=self.count), dtype=np.float64)


def find_patterns(columns: Sequence[IntArray]) -> Patterns:
    """Return the combinations of several columns of codes (0, 1, ...).

    Parameters
    ----------
    columns : sequence of ndarray of int, shape (n,)
        At least one.

    Examples
    --------
    >>> found = find_patterns([np.array([0, 1, 0, 1]), np.array([2, 0, 2, 1])])
    >>> found.index.tolist(), found.first.tolist()
    ([0, 1, 0, 2], [0, 1, 3])
    """
    joint = np.zeros(columns[0].size, dtype=np.int64)
    size = 1
    for codes in columns:
        width = int(codes.max()) + 1 if codes.size else 1
        if size > LARGEST // width:
            # Combinations that occur are numbered anew: at most as many as rows.
            used, joint = np.unique(joint, return_inverse=True)
            size = used.size
        joint = joint * width + codes
        size *= width
    _, first, index = np.unique(joint, return_index=True, return_inverse=True)
    return Patterns(index.astype(np.intp), first.astype(np.intp))
