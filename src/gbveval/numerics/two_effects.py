"""Two large sets of fixed effects taken out of columns exactly: means of the first, a sparse solve for the second.

With M the residuals from (weighted) means within units and E the indicators of another partition of the rows, the
residuals of a column x from both are M(x - E b) with

    S b = E' W M x,    S = E' W M E,

the normal equations after units are partialled out (Frisch and Waugh 1933; Lovell 1963). S is the Laplacian of a graph
whose nodes are levels of the second effect, joined where a unit is seen in both: its null space is one constant for
each connected component of the graph of units and levels (Abowd, Creecy and Kramarz 2002), so that with one level of
each component left out S is positive definite and is factorised directly. No iteration, and no tolerance of one:
residuals are taken twice, which leaves rounding.

The rank of both sets of indicators together is units plus levels minus components.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# What is left of a column, as a share of its size, that the factorisation cannot tell from rounding.
LEFT = 1e-9
# Standard deviations up to this share of the largest number are its rounding.
ROUNDINGS = 64.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class TwoEffects:
    """Two partitions of the same rows.

    Attributes
    ----------
    first, second : ndarray of int, shape (rows,)
        Level of each row, 0 .. count - 1; every level has a row.
    weights : ndarray, shape (rows,)
        Positive.
    """

    first: IntArray
    second: IntArray
    weights: FloatArray

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Levels of the first and of the second partition."""
        return int(self.first.max()) + 1, int(self.second.max()) + 1

    @cached_property
    def _table(self) -> Any:
        """Weight of every pair of levels, sparse, shape (levels of the first, levels of the second)."""
        from scipy.sparse import coo_array

        return coo_array((self.weights, (self.first, self.second)), shape=self.shape).tocsr()

    @cached_property
    def component(self) -> IntArray:
        """Connected component of every level of the second partition."""
        from scipy.sparse import block_array
        from scipy.sparse.csgraph import connected_components

        _, label = connected_components(block_array([[None, self._table], [self._table.T, None]]), directed=False)
        return np.asarray(label[self.shape[0] :], dtype=np.intp)

    @property
    def rank(self) -> int:
        """Rank of the indicators of both partitions.

        Examples
        --------
        >>> pairs = TwoEffects(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 0, 2]), np.ones(5))
        >>> pairs.rank
        4
        """
        return sum(self.shape) - np.unique(self.component).size

    @cached_property
    def _solver(self) -> tuple[IntArray, Any]:
        """Return the levels of the second partition that stay, and the factorised normal equations of them."""
        from scipy.sparse import diags_array
        from scipy.sparse.linalg import splu

        _, left_out = np.unique(self.component, return_index=True)
        stays = np.setdiff1d(np.arange(self.shape[1]), left_out)
        if not stays.size:
            return stays, None
        table = self._table[:, stays]
        share = diags_array(1.0 / np.asarray(self._table.sum(axis=1)).ravel())
        system = diags_array(np.asarray(table.sum(axis=0)).ravel()) - table.T @ share @ table
        # Positive definite, so that no pivoting is needed and the symmetric ordering keeps it sparse.
        return stays, splu(
            system.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )

    def residuals(self, columns: FloatArray) -> FloatArray:
        """Return columns less what both partitions explain; what is rounding of nothing becomes zero.

        Parameters
        ----------
        columns : ndarray, shape (rows, k)

        Examples
        --------
        >>> effects = TwoEffects(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.ones(4))
        >>> effects.residuals(np.array([[1.0], [2.0], [3.0], [8.0]])).ravel().tolist()
        [1.0, -1.0, -1.0, 1.0]
        """
        result = np.array(columns, dtype=np.float64, order="F")
        for j in range(result.shape[1]):
            column = result[:, j]
            # A large level is no variation: what is left is held against what varies, and against rounding.
            rounding = ROUNDINGS * float(np.abs(column).max(initial=0.0))
            column -= self._mean(column)
            before = float(np.sqrt(np.mean(column**2)))
            for _ in range(2):
                column -= self._explained(column)
            if float(np.sqrt(np.mean(column**2))) <= max(LEFT * before, rounding):
                column[:] = 0.0
        return result

    def _explained(self, column: FloatArray) -> FloatArray:
        inner = column - self._mean(column)
        stays, solver = self._solver
        level = np.zeros(self.shape[1])
        if stays.size:
            level[stays] = solver.solve(group_sums(self.second, self.weights * inner, self.shape[1])[stays])
        rest = inner - level[self.second]
        return column - (rest - self._mean(rest))

    def _mean(self, column: FloatArray) -> FloatArray:
        """Return the weighted mean of each row's level of the first partition."""
        total = group_sums(self.first, self.weights * column, self.shape[0])
        return np.asarray((total / group_sums(self.first, self.weights, self.shape[0]))[self.first])


def alone(partitions: tuple[IntArray, ...]) -> NDArray[np.bool_]:
    """Return rows that are alone in a level of some partition, or become so when such rows are set aside.

    Indicators of their level fit them exactly, so that they weigh nothing in other coefficients.

    Examples
    --------
    >>> alone((np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]))).tolist()
    [True, True, False, False]
    """
    out = np.zeros(partitions[0].size, dtype=bool)
    while True:
        single = np.zeros_like(out)
        for codes in partitions:
            single |= ~out & (np.bincount(codes[~out], minlength=int(codes.max()) + 1) == 1)[codes]
        if not single.any():
            return out
        out |= single
