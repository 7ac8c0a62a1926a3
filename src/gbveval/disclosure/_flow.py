"""Witnesses by linear and integer programmes: the cheapest flow of cells, where no single move is long enough."""

from __future__ import annotations

import numpy as np

from gbveval.disclosure._layout import BoolArray, FloatArray, IntArray
from gbveval.disclosure._problem import Problem
from gbveval.disclosure._programmes import ROUNDING, Constraints, minimise, minimise_whole
from gbveval.disclosure._witness import BLOCKED, Witness

# Departures of both tables, up and down: so many are searched for the cheapest although another witness is there.
_MOST_FOR_CHOICE = 800
# A linear programme takes a hundredth of the time of an integer one.
_CORNERS = 6
# How far costs are changed, in logarithms: ever more, so that other cells are met.
_SPREADS = (0.7, 2.0, 4.0, 8.0)


def _is_whole(solution: FloatArray) -> bool:
    return bool(np.all(np.abs(solution - np.rint(solution)) <= ROUNDING))


def _departs(solution: FloatArray) -> BoolArray:
    """Return in which cells either table departs."""
    return np.asarray((solution.reshape(4, -1) > ROUNDING).any(axis=0), dtype=bool)


def _witness(cells: IntArray, solution: FloatArray) -> Witness:
    parts = np.rint(solution).astype(np.int64).reshape(2, 2, cells.size)
    first, second = parts[:, 0] - parts[:, 1]
    moved = (first != 0) | (second != 0)
    return Witness(cells[moved], first[moved], second[moved])


class Flows:
    """Searches two tables that differ enough in one number and depart from the true table where that is cheap.

    The variables are the departures of both tables, each split into a rise and a fall. The linear programme is solved
    first; where its solution is no whole table, the integer programme follows.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._matrix = problem.layout.matrix().tocsc()
        self._up, self._down = problem.room()

    def cheapest(self, target: int, price: FloatArray, otherwise: Witness | None = None) -> Witness | None:
        """Return a witness for `target` whose departures cost least, or None if none was found.

        In larger tables `otherwise`, a witness that is there, stands where the linear programme's is no whole table:
        integer programmes of thousands of numbers take seconds each.
        """
        open_ = np.flatnonzero(price < BLOCKED / 2)
        constraints = self._constraints(target, open_)
        cost = np.tile(price[open_], 4)
        solution = minimise(cost, constraints)
        if solution is None:
            return None
        if _is_whole(solution):
            return _witness(open_, solution)
        if cost.size > _MOST_FOR_CHOICE:
            near = self._near(target, open_, (cost, constraints), solution) if otherwise is None else otherwise
            if near is not None:
                return near
        whole = minimise_whole(cost, constraints)
        return otherwise if whole is None else _witness(open_, whole)

    def _near(
        self, target: int, open_: IntArray, programme: tuple[FloatArray, Constraints], solution: FloatArray
    ) -> Witness | None:
        """Return a witness through cells that corners of little more cost go through, or None if none was met.

        Many corners of these sets are whole; at costs that are a little different another one is the cheapest. Where
        none of a few is, an integer programme over their cells alone takes a hundredth of the time of one over all.
        """
        cost, constraints = programme
        rng = np.random.default_rng(0)
        seen = _departs(solution)
        for spread in _SPREADS:
            for _ in range(_CORNERS):
                corner = minimise(cost * np.exp(spread * rng.random(cost.size)), constraints)
                if corner is None:
                    continue
                if _is_whole(corner):
                    return _witness(open_, corner)
                seen |= _departs(corner)
            some = open_[seen]
            whole = minimise_whole(cost.reshape(4, -1)[:, seen].ravel(), self._constraints(target, some))
            if whole is not None:
                return _witness(some, whole)
        return None

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
