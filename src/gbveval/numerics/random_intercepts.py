"""The blocks of rows that random intercepts tie together: matrices stay small and cost is linear in rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Blocks of one size class: rows in different blocks share no random intercept.

    Attributes
    ----------
    rows : ndarray of int, shape (r,)
        Rows that lie in these blocks.
    block : ndarray of int, shape (r,)
        Block of each of them.
    place : ndarray of int, shape (r, components)
        Position, within the block, of the level that each component has in the row.
    component : ndarray of int, shape (blocks, q)
        Component that each position belongs to; -1 where a block has fewer than q levels.
    """

    rows: IntArray
    block: IntArray
    place: IntArray
    component: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """Blocks, and positions in each."""
        return int(self.component.shape[0]), int(self.component.shape[1])

    def level_sums(self, values: FloatArray, component: int) -> FloatArray:
        """Return the sums of row values by block and level of one component, shape (blocks, q)."""
        count, q = self.shape
        flat = self.block * q + self.place[:, component]
        return group_sums(flat, values, count * q).reshape(count, q)

    def pair_sums(self, values: FloatArray, first: int, second: int) -> FloatArray:
        """Return the sums of row values by block and pair of levels of two components, shape (blocks, q, q)."""
        count, q = self.shape
        flat = (self.block * q + self.place[:, first]) * q + self.place[:, second]
        return group_sums(flat, values, count * q * q).reshape(count, q, q)

    def at_rows(self, levels: FloatArray, component: int) -> FloatArray:
        """Return for each row the value of its level; `levels` has shape (blocks, q)."""
        found: FloatArray = levels[self.block, self.place[:, component]]
        return found


def crossed(codes: list[IntArray]) -> IntArray:
    """Return the codes of the combinations of several columns of codes that occur."""
    key = codes[0]
    for other in codes[1:]:
        _, key = np.unique(key * (int(other.max()) + 1) + other, return_inverse=True)
    return np.unique(key, return_inverse=True)[1].astype(np.intp)


def make_batches(codes: IntArray) -> tuple[Batch, ...]:
    """Return the independent blocks of rows, those of similar size together.

    Parameters
    ----------
    codes : ndarray of int, shape (n, components)
        Level of each component in each row.

    Notes
    -----
    Two levels lie in one block when some row has both. Nested components (a cluster and its periods) give one small
    block a cluster; crossed ones (clusters and periods) give one large block.
    """
    n, count = codes.shape
    level = np.empty((n, count), dtype=np.intp)
    owner: list[IntArray] = []
    total = 0
    for j in range(count):
        present, inverse = np.unique(codes[:, j], return_inverse=True)
        level[:, j] = inverse + total
        owner.append(np.full(present.size, j, dtype=np.intp))
        total += present.size
    component_of = np.concatenate(owner)
    block_of = _linked(level, total)
    order = np.argsort(block_of, kind="stable")
    size = np.bincount(block_of)
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    position = np.empty(total, dtype=np.intp)
    position[order] = np.arange(total) - start[block_of[order]]
    # Classes of sizes up to 1, 2, 4, 8, ...: padding at most doubles a block.
    size_class = np.ceil(np.log2(size)).astype(np.intp)
    block_of_row = block_of[level[:, 0]]
    batches = []
    for member in np.unique(size_class):
        chosen = np.flatnonzero(size_class == member)
        number = np.full(size.size, -1, dtype=np.intp)
        number[chosen] = np.arange(chosen.size)
        rows = np.flatnonzero(number[block_of_row] >= 0)
        component = np.full((chosen.size, int(size[chosen].max())), -1, dtype=np.intp)
        levels = np.flatnonzero(number[block_of] >= 0)
        component[number[block_of[levels]], position[levels]] = component_of[levels]
        batches.append(Batch(rows, number[block_of_row[rows]], position[level[rows]], component))
    return tuple(batches)


def _linked(level: IntArray, total: int) -> IntArray:
    """Return for each level the block of levels that it is linked with through rows."""
    if level.shape[1] == 1:
        return np.arange(total, dtype=np.intp)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = np.repeat(level[:, 0], level.shape[1] - 1)
    other = level[:, 1:].ravel()
    graph = coo_array((np.ones(first.size), (first, other)), shape=(total, total))
    return np.asarray(connected_components(graph.tocsr(), directed=False)[1], dtype=np.intp)
