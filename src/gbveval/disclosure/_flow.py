"""Witnesses by linear and integer programmes: the cheapest flow of cells, where no single move is long enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gbveval.disclosure._layout import FloatArray
from gbveval.disclosure._problem import Problem
from gbveval.disclosure._programmes import ROUNDING, Constraints, minimise, minimise_whole
from gbveval.disclosure._witness import BLOCKED, Witness

if TYPE_CHECKING:
    pass


class Flows:
    """Searches two tables that differ enough in one number and depart from the true table where that is cheap.

    The variables are the departures of both tables, each split into a rise and a fall. The linear programme is solved
    first; where its solution is no whole table, the integer programme follows.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._matrix = problem.layout.matrix().tocsc()
        self._up, self._down = problem.room()

    def cheapest(self, target: int, price: FloatArray) -> Witness | None:
        """Return a witness for `target` whose departures cost least, or None if none was found."""
        open_ = np.flatnonzero(price < BLOCKED / 2)
        constraints = self._constraints(target, open_)
        cost = np.tile(price[open_], 4)
        solution = minimise(cost, constraints)
        if solution is None:
            return None
        if np.any(np.abs(solution - np.rint(solution)) > ROUNDING):
            whole = minimise_whole(cost, constraints)
            if whole is None:
                return None
            solution = whole
        parts = np.rint(solution).astype(np.int64).reshape(2, 2, open_.size)
        first, second = parts[:, 0] - parts[:, 1]
        moved = (first != 0) | (second != 0)
        return Witness(open_[moved], first[moved], second[moved])

    def _constraints(self, target: int, open_: np.ndarray) -> Constraints:
        from scipy.sparse import csr_array

        some = self._matrix[:, open_]
        used, rows = np.unique(some.indices, return_inverse=True)
        columns = np.repeat(np.arange(open_.size), np.diff(some.indptr))
        size, n_sums = open_.size, used.size
        at = int(np.searchsorted(open_, target))
        # Rises and falls of the first table, then of the second: four copies of the sums, in two diagonal blocks.
        equal = csr_array(
            (
                np.concatenate([some.data, -some.data] * 2),
                (
                    np.concatenate([rows, rows, n_sums + rows, n_sums + rows]),
                    np.concatenate([part * size + columns for part in range(4)]),
                ),
            ),
            shape=(2 * n_sums, 4 * size),
        )
        # The tables are far enough apart, the first high enough, the second low enough.
        first, second = [at, size + at], [2 * size + at, 3 * size + at]
        apart = csr_array(
            (
                [-1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0],
                ([0, 0, 0, 0, 1, 1, 2, 2], [*first, *second, *first, *second]),
            ),
            shape=(3, 4 * size),
        )
        needs = (self._problem.protection, self._problem.rise, self._problem.fall)
        room = np.concatenate([self._up[open_], self._down[open_]])
        return Constraints(
            equal=equal,
            equal_to=np.zeros(2 * n_sums),
            bounds=np.column_stack([np.zeros(4 * size), np.tile(room, 2)]),
            below=apart,
            limit=-np.array([float(need[target]) for need in needs]),
        )
