"""Which further numbers of a table to hide so that no hidden one can be worked out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.disclosure._layout import BoolArray, IntArray, Layout
from gbveval.disclosure._programmes import Constraints, minimise
from gbveval.disclosure.audit import Intervals, feasible_range

FloatArray = NDArray[np.float64]

# A total is worth so many times what its parts are worth: cells go first, then totals, the grand total last.
_WORTH_OF_TOTAL = 100.0
# Moves through numbers that are hidden anyway cost next to nothing, but not nothing, so that none is made idly.
_HIDDEN_COST = 1e-4
_MOVED = 1e-6
# Trying to show each hidden number again takes one audit each: worth it only while audits are cheap.
_MOST_RETRIALS = 150


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A table to protect, its entries in flat order, totals included.

    Attributes
    ----------
    layout : Layout
        The sums that hold.
    values : ndarray of int
        The counts.
    primary : ndarray of bool
        Numbers hidden for their own sake.
    fixed : ndarray of bool
        Numbers that everyone knows, and that hiding therefore cannot protect.
    threshold : ndarray of int
        Below it a number counts as small.
    lower, upper : ndarray of float
        What the reader knows of each number if it is hidden.
    protection : int
        The narrowest interval allowed.
    """

    layout: Layout
    values: IntArray
    primary: BoolArray
    fixed: BoolArray
    threshold: IntArray
    lower: FloatArray
    upper: FloatArray
    protection: int

    def weight(self) -> FloatArray:
        """Return what is lost by hiding each number: more for a larger count, far more for a total."""
        worth: FloatArray = (1.0 + np.log1p(self.values)) * _WORTH_OF_TOTAL**self.layout.level
        return worth

    def audit(self, hidden: BoolArray) -> Intervals:
        """Return the interval of every number when `hidden` is hidden."""
        return feasible_range(
            self.layout.matrix(),
            np.zeros(len(self.layout.lines)),
            lower=np.where(hidden, self.lower, self.values),
            upper=np.where(hidden, self.upper, self.values),
            unimodular=self.layout.unimodular,
        )

    def exposed(self, hidden: BoolArray, intervals: Intervals) -> IntArray:
        """Return the hidden numbers that can be confined too narrowly, the worst first."""
        narrow = np.flatnonzero(hidden & (intervals.width < self.protection))
        order = np.argsort(intervals.width[narrow], kind="stable")
        return narrow[order]


def protect(problem: Problem) -> tuple[BoolArray, Intervals] | None:
    """Return what to hide and the audit of it, or None if no choice of numbers is enough.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    tuple of (hidden, intervals), or None

    Notes
    -----
    The worst exposed number is repaired first: a linear programme looks for two tables that agree with everything
    shown and known, differ in that number by the protection, and depart from the true table where departing is cheap;
    the numbers in which they depart are hidden. For one and two dimensions the programme has no solution only if
    hiding everything would not do either. At the end, the dearest numbers hidden on the way are shown again where
    the audit allows it. The choice is a good one, not the best: finding the best is a hard problem.

    References
    ----------
    Kelly, J. P., Golden, B. L. and Assad, A. A. (1992). Cell suppression: disclosure protection for sensitive tabular
    data. Networks 22.
    """
    hidden = _cover_small_sums(problem, problem.primary)
    intervals = problem.audit(hidden)
    while (exposed := problem.exposed(hidden, intervals)).size:
        moved = _cheapest_moves(problem, hidden, int(exposed[0]))
        if moved is None:
            return None
        wider = _cover_small_sums(problem, hidden | moved)
        if np.array_equal(wider, hidden):
            # Conceivable with three dimensions, where fractions may reach further than whole numbers do.
            return None
        hidden = wider
        intervals = problem.audit(hidden)
    return _show_again(problem, hidden, intervals)


def _small_sum(problem: Problem, hidden: BoolArray, line: IntArray) -> bool:
    """Return whether the hidden parts of a line add up to a small number that its total gives away."""
    parts, total = line[:-1], int(line[-1])
    concealed = parts[hidden[parts]]
    if hidden[total] or concealed.size == 0:
        return False
    return bool(problem.values[concealed].sum() < problem.threshold[total])


def _cover_small_sums(problem: Problem, hidden: BoolArray) -> BoolArray:
    """Hide more wherever the hidden parts of a line, taken together, are themselves a small number."""
    covered = hidden.copy()
    weight = problem.weight()
    again = True
    while again:
        again = False
        for line in problem.layout.lines:
            while _small_sum(problem, covered, line):
                parts = line[:-1]
                choice = parts[~covered[parts] & ~problem.fixed[parts]]
                chosen = int(choice[np.argmin(weight[choice])]) if choice.size else int(line[-1])
                covered[chosen] = True
                again = True
    return covered


def _cheapest_moves(problem: Problem, hidden: BoolArray, target: int) -> BoolArray | None:
    """Return where two tables that differ enough in `target` depart from the truth; None if there are no such tables.

    The variables are the departures of both tables, each split into a rise and a fall.
    """
    from scipy.sparse import block_diag, hstack

    size = problem.layout.size
    matrix = problem.layout.matrix()
    sums = hstack([matrix, -matrix], format="csr")
    room = np.concatenate([problem.upper - problem.values, problem.values - problem.lower])
    apart = np.zeros((1, 4 * size))
    apart[0, [target, size + target, 2 * size + target, 3 * size + target]] = [-1.0, 1.0, 1.0, -1.0]
    constraints = Constraints(
        equal=block_diag([sums, sums], format="csr"),
        equal_to=np.zeros(2 * len(problem.layout.lines)),
        bounds=np.column_stack([np.zeros(4 * size), np.tile(room, 2)]),
        below=apart,
        limit=np.array([-float(problem.protection)]),
    )
    solution = minimise(np.tile(np.where(hidden, _HIDDEN_COST, problem.weight()), 4), constraints)
    if solution is None:
        return None
    rise_and_fall = solution.reshape(2, 2, size)
    net = np.abs(rise_and_fall[:, 0] - rise_and_fall[:, 1])
    return np.asarray(net.max(axis=0) > _MOVED, dtype=bool) & ~problem.fixed


def _show_again(problem: Problem, hidden: BoolArray, intervals: Intervals) -> tuple[BoolArray, Intervals]:
    """Show what turned out to be hidden needlessly, the dearest first."""
    spare = np.flatnonzero(hidden & ~problem.primary)
    if spare.size > _MOST_RETRIALS:
        return hidden, intervals
    weight = problem.weight()
    for entry in spare[np.argsort(-weight[spare], kind="stable")]:
        trial = hidden.copy()
        trial[entry] = False
        if any(entry in line and _small_sum(problem, trial, line) for line in problem.layout.lines):
            continue
        found = problem.audit(trial)
        if problem.exposed(trial, found).size == 0 and (found.exact or not intervals.exact):
            hidden, intervals = trial, found
    return hidden, intervals
