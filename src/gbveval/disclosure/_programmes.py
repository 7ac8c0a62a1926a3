"""The linear and integer programmes behind the audit: which solver is called, how, and what its answers mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DataError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# The stubs of scipy know its solvers to take dense matrices only.
Matrix = Any

# Solutions within this distance of a whole number are that number; HiGHS works to 1e-7.
ROUNDING = 1e-5
NO_FIT = "The released numbers contradict each other: no table of counts has them. Check that the parts add up."

# Programmes for different numbers are solved side by side, up to so many variables at once.
_BLOCK = 20_000
_SECONDS_PER_PROGRAMME = 5.0
_MOST_NODES = 500


@dataclass(frozen=True, slots=True, eq=False)
class Constraints:
    """Linear constraints: ``equal @ x = equal_to``, ``below @ x <= limit`` and bounds of shape (variables, 2)."""

    equal: Matrix
    equal_to: FloatArray
    bounds: FloatArray
    below: Matrix = None
    limit: FloatArray | None = None


def minimise(cost: FloatArray, constraints: Constraints) -> FloatArray | None:
    """Return a vertex at which the linear cost is least, or None if nothing fits the constraints."""
    from scipy.optimize import linprog

    solver: Any = linprog
    result = solver(
        cost,
        A_ub=constraints.below,
        b_ub=constraints.limit,
        A_eq=constraints.equal,
        b_eq=constraints.equal_to,
        bounds=constraints.bounds,
        method="highs-ds",
    )
    if result.status == 2:
        return None
    _check(int(result.status))
    return np.asarray(result.x, dtype=float)


def minimise_whole(cost: FloatArray, constraints: Constraints, gap: float = 0.05) -> FloatArray | None:
    """Return whole numbers at which the linear cost is least, up to a relative gap, or None if the search found none.

    The search stops after a number of nodes rather than of seconds, so that its answer is always the same.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    rows = [LinearConstraint(constraints.equal, constraints.equal_to, constraints.equal_to)]
    if constraints.below is not None:
        limit = np.zeros(0) if constraints.limit is None else constraints.limit
        rows.append(LinearConstraint(constraints.below, -np.inf, limit))
    result = milp(
        cost,
        integrality=np.ones(cost.size, dtype=np.int64),
        bounds=Bounds(constraints.bounds[:, 0], constraints.bounds[:, 1]),
        constraints=rows,
        options={"node_limit": _MOST_NODES, "mip_rel_gap": gap},
    )
    return None if result.x is None else np.asarray(result.x, dtype=float)


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """Unknown counts x with matrix @ x = rhs and lower <= x <= upper."""

    matrix: Matrix
    rhs: FloatArray
    lower: FloatArray
    upper: FloatArray

    @property
    def size(self) -> int:
        return int(self.lower.size)

    def bounds(self) -> tuple[FloatArray, BoolArray]:
        """Return the linear ends, shape (2, size), and whether each was attained by whole numbers."""
        ends = np.vstack([self.lower, np.where(self.unbounded(), np.inf, np.nan)])
        whole = np.ones((2, self.size), dtype=bool)
        wanted = [(0, j) for j in range(self.size)]
        wanted += [(1, j) for j in range(self.size) if np.isnan(ends[1, j])]
        step = max(1, _BLOCK // self.size)
        for start in range(0, len(wanted), step):
            block = wanted[start : start + step]
            for (end, j), x in zip(block, self._solve_side_by_side(block), strict=True):
                ends[end, j] = x[j]
                whole[end, j] = bool(np.all(np.abs(x - np.rint(x)) <= ROUNDING))
        return ends, whole

    def _solve_side_by_side(self, wanted: Sequence[tuple[int, int]]) -> FloatArray:
        """Solve one programme for each wanted end, all in one call, because a call costs more than a programme."""
        from scipy.sparse import eye_array, kron

        copies = len(wanted)
        cost = np.zeros((copies, self.size))
        for row, (end, j) in enumerate(wanted):
            cost[row, j] = 1.0 if end == 0 else -1.0
        constraints = Constraints(
            equal=kron(eye_array(copies), self.matrix, format="csr"),
            equal_to=np.tile(self.rhs, copies),
            bounds=np.tile(np.column_stack([self.lower, self.upper]), (copies, 1)),
        )
        solution = minimise(cost.ravel(), constraints)
        if solution is None:
            raise DataError(NO_FIT)
        return solution.reshape(copies, self.size)

    def unbounded(self) -> BoolArray:
        """Return which unknowns have no upper end: those that some direction of recession increases."""
        from scipy.sparse import csr_array, eye_array, hstack

        endless = np.isinf(self.upper)
        if not endless.any():
            return endless
        identity = eye_array(self.size)
        # The variables are a direction and, for each unknown, how much of a unit the direction covers.
        most = np.concatenate([np.where(endless, np.inf, 0.0), np.ones(self.size)])
        constraints = Constraints(
            equal=hstack([self.matrix, csr_array(self.matrix.shape)], format="csr"),
            equal_to=np.zeros(self.rhs.size),
            bounds=np.column_stack([np.zeros(2 * self.size), most]),
            below=hstack([-identity, identity], format="csr"),
            limit=np.zeros(self.size),
        )
        solution = minimise(np.repeat([0.0, -1.0], self.size), constraints)
        covered = np.zeros(2 * self.size) if solution is None else solution
        return np.asarray(covered[self.size :] > 0.5, dtype=bool)

    def tighten(self, ends: FloatArray, whole: BoolArray) -> bool:
        """Replace in `ends` what whole numbers do not attain; return whether every programme was solved."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        solved = True
        for end, j in zip(*np.nonzero(~whole), strict=True):
            cost = np.zeros(self.size)
            cost[j] = 1.0 if end == 0 else -1.0
            result = milp(
                cost,
                integrality=np.ones(self.size, dtype=np.int64),
                bounds=Bounds(self.lower, self.upper),
                constraints=LinearConstraint(self.matrix, self.rhs, self.rhs),
                options={"time_limit": _SECONDS_PER_PROGRAMME, "mip_rel_gap": 0.0},
            )
            if result.status == 0:
                ends[end, j] = result.x[j]
            elif result.status == 1:
                solved = False
            else:
                _check(int(result.status))
        return solved


def _check(status: int) -> None:
    """Turn the status of a solver into an error."""
    if status == 2:
        raise DataError(NO_FIT)
    if status != 0:
        raise ConvergenceError(
            f"The audit of the table stopped with solver status {status}. Merge categories and try again."
        )
