"""How a table with its totals is laid out: each axis gets one more place, which holds the total along that axis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The sums that hold in a table with totals.

    Attributes
    ----------
    shape : tuple of int
        Shape with totals: one more than the number of categories along each axis.
    lines : tuple of ndarray
        Flat positions of each line; the last one is the total of the others.
    level : ndarray, shape (size,)
        Along how many axes an entry is a total.
    """

    shape: tuple[int, ...]
    lines: tuple[IntArray, ...]
    level: IntArray

    @property
    def size(self) -> int:
        """Number of entries, totals included."""
        return int(self.level.size)

    @property
    def unimodular(self) -> bool:
        """Whether linear programmes give whole numbers: each entry is then an arc of a network."""
        return len(self.shape) <= 2

    def matrix(self) -> csr_array:
        """Return the sums as a matrix of shape (lines, size): parts count 1, their total -1."""
        from scipy.sparse import csr_array

        columns = np.concatenate(self.lines)
        rows = np.repeat(np.arange(len(self.lines)), [line.size for line in self.lines])
        entries = np.ones(columns.size)
        entries[np.cumsum([line.size for line in self.lines]) - 1] = -1.0
        return csr_array((entries, (rows, columns)), shape=(len(self.lines), self.size))


@lru_cache(maxsize=64)
def layout(shape: tuple[int, ...]) -> Layout:
    """Return the layout of a table whose shape, totals included, is `shape`."""
    position = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    lines: list[IntArray] = []
    level = np.zeros(shape, dtype=np.int64)
    for axis, length in enumerate(shape):
        lines.extend(np.moveaxis(position, axis, -1).reshape(-1, length))
        np.moveaxis(level, axis, -1)[..., -1] += 1
    return Layout(shape, tuple(lines), level.ravel())


def with_totals(cells: IntArray) -> IntArray:
    """Return `cells` with the totals appended along every axis."""
    table = cells
    for axis in range(cells.ndim):
        table = np.concatenate([table, table.sum(axis=axis, keepdims=True)], axis=axis)
    return table


def all_along_lines(mask: BoolArray) -> BoolArray:
    """Return, for every entry of the table with totals, whether `mask` holds for all cells it is made of."""
    table = mask
    for axis in range(mask.ndim):
        table = np.concatenate([table, table.all(axis=axis, keepdims=True)], axis=axis)
    return table
