"""The cheapest choice of numbers to hide, for small tables: an integer programme to which attacks add constraints."""

from __future__ import annotations

from typing import Any

import numpy as np

from gbveval.disclosure._layout import BoolArray, FloatArray
from gbveval.disclosure._problem import Problem
from gbveval.disclosure._programmes import ROUNDING
from gbveval.disclosure._search import Searcher
from gbveval.disclosure._witness import Witness

# Beyond so many numbers among which to choose, or rounds of attacks, the heuristic is kept.
_MOST_CHOICES = 60
_MOST_ROUNDS = 60
_MOST_NODES = 2000
_SLACK = 1e-6


def is_small(problem: Problem) -> bool:
    """Return whether the integer programme is worth trying."""
    if problem.rise.any() or problem.fall.any():
        return False  # The cuts know of widths alone.
    return bool(problem.primary.any()) and int(_choices(problem).sum()) <= _MOST_CHOICES


def best_choice(searcher: Searcher) -> BoolArray | None:
    """Return the cheapest set of numbers to hide, or None if the search was given up.

    Notes
    -----
    The binary variables say which numbers are hidden. If a number can be confined, duality turns the reader's
    linear programme into a constraint on the choice: the room of the hidden numbers, weighted by the dual, must reach
    the protection (Fischetti and Salazar 2001). Where linear programmes reach further than whole tables do, the
    constraint is that something else must be hidden too: to hide more never confines more.
    """
    problem = searcher.problem
    cuts = _line_cuts(problem)
    for _ in range(_MOST_ROUNDS):
        hidden = _master(problem, cuts)
        if hidden is None:
            return None
        fresh = _attack(searcher, hidden)
        if fresh is None:
            return None
        if not fresh:
            return None if searcher.sums.bad(hidden).size else hidden
        cuts.extend(fresh)
    return None


# A cut is (coefficients over all entries, right-hand side): coefficients @ hidden >= right-hand side.
Cut = tuple[FloatArray, float]


def _choices(problem: Problem) -> BoolArray:
    return ~problem.start() & ~problem.fixed


def _line_cuts(problem: Problem) -> list[Cut]:
    """Return the constraints that hidden parts of a line are not a small number together unless its total is hidden."""
    cuts: list[Cut] = []
    for line in problem.layout.lines:
        limit = float(problem.threshold[line[-1]])
        for part in line[:-1]:
            if problem.fixed[part]:
                continue
            row = np.zeros(problem.layout.size)
            row[line[:-1]] = np.minimum(problem.mass[line[:-1]], limit)
            row[line[-1]] = limit
            row[part] -= limit
            if row[part] < 0:
                cuts.append((row, 0.0))
    return cuts


def _master(problem: Problem, cuts: list[Cut]) -> BoolArray | None:
    """Return the cheapest choice that satisfies the cuts."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    start, choice = problem.start(), np.flatnonzero(_choices(problem))
    if choice.size == 0:
        return start
    rows = np.array([row for row, _ in cuts]).reshape(len(cuts), problem.layout.size)
    least = np.array([right for _, right in cuts]) - rows @ start.astype(float)
    result = milp(
        problem.weight()[choice],
        integrality=np.ones(choice.size, dtype=np.int64),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(csr_array(rows[:, choice]), least - _SLACK, np.inf) if cuts else None,
        options={"node_limit": _MOST_NODES, "mip_rel_gap": 0.0},
    )
    if result.status != 0 or result.x is None:
        return None
    hidden = start.copy()
    hidden[choice] = result.x > 0.5
    return hidden


def _attack(searcher: Searcher, hidden: BoolArray) -> list[Cut] | None:
    """Return a cut for each number that the choice leaves too narrow; None if one stays so whatever is hidden."""
    problem = searcher.problem
    cuts: list[Cut] = []
    proved: set[int] = set()
    for entry in np.flatnonzero(problem.required(hidden)).tolist():
        if entry in proved:
            continue
        cut: Cut | None = None
        witness = searcher.by_move(entry, hidden)
        if witness is None:
            witness, cut = _widest(problem, hidden, entry)
        if witness is None and cut is None:
            # The programme has no end, or no whole table at it.
            witness = searcher.among(entry, hidden)
        if witness is not None:
            proved.update(witness.proves(problem).tolist())
            continue
        if cut is None or cut[0] @ hidden >= cut[1] - _SLACK:
            more = (~hidden & ~problem.fixed).astype(float)
            if not more.any():
                return None
            more[entry] -= 1.0
            cut = (more, 0.0)
        cuts.append(cut)
    return cuts


def _widest(problem: Problem, hidden: BoolArray, entry: int) -> tuple[Witness | None, Cut | None]:
    """Return two tables as far apart in an entry as can be if they are witnesses, or the cut if they cannot be."""
    from scipy.optimize import linprog
    from scipy.sparse import block_diag

    solver: Any = linprog
    free = np.flatnonzero(hidden)
    matrix = problem.layout.matrix()
    inner = matrix[:, free]
    inner = inner[np.flatnonzero(np.diff(inner.indptr) > 0)]
    used = np.flatnonzero(np.diff(matrix[:, free].indptr) > 0)
    up, down = problem.room()
    cost = np.zeros(free.size)
    cost[np.searchsorted(free, entry)] = 1.0
    result = solver(
        np.concatenate([-cost, cost]),
        A_eq=block_diag([inner, inner], format="csr"),
        b_eq=np.zeros(2 * used.size),
        bounds=np.tile(np.column_stack([-down[free], up[free]]), (2, 1)),
        method="highs-ds",
    )
    if result.status != 0:
        return None, None
    need = float(problem.protection[entry])
    if -result.fun >= need - ROUNDING:
        whole = np.rint(result.x)
        if np.any(np.abs(result.x - whole) > ROUNDING):
            return None, None
        first, second = whole.astype(np.int64).reshape(2, free.size)
        moved = (first != 0) | (second != 0)
        return Witness(free[moved], first[moved], second[moved]), None
    weights = np.zeros(problem.layout.size)
    duals = result.eqlin.marginals.reshape(2, used.size)
    for sign, dual in zip((-1.0, 1.0), duals, strict=True):
        reduced = -(matrix[used].T @ dual)
        reduced[entry] += sign
        for rate, room in ((np.maximum(reduced, 0.0), down), (np.maximum(-reduced, 0.0), up)):
            active = rate > 1e-9
            weights[active] += np.minimum(rate[active] * room[active], need)
    row = np.minimum(weights, need)
    # The entry is protected only if it is hidden at all.
    row[entry] -= need
    return None, (row, 0.0)
