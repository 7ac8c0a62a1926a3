"""A table to protect: what is true, what is small, what a reader knows, and how wide each hidden number must stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gbveval.disclosure._layout import BoolArray, FloatArray, IntArray, Layout

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# A total is worth so many times what its parts are worth: cells go first, then totals, the grand total last.
_WORTH_OF_TOTAL = 100.0
# Beyond three axes the worth no longer grows: sums of it must keep their digits.
_MOST_LEVELS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A table to protect, its entries in flat order, totals included.

    Attributes
    ----------
    layout : Layout
        The sums that hold.
    values : ndarray of int
        The numbers of the table.
    mass : ndarray of int
        Respondents behind each number; the number itself in a table of counts.
    primary : ndarray of bool
        Numbers hidden for their own sake.
    fixed : ndarray of bool
        Numbers that everyone knows, and that hiding therefore cannot protect.
    forced : ndarray of bool
        Numbers hidden because other tables would give something away with them.
    silent : ndarray of bool
        Numbers that are not printed in any case, as they belong to margins that were not declared.
    threshold : ndarray of int
        Below it a number of respondents counts as small.
    lower, upper : ndarray of float
        What the reader knows of each number if it is hidden.
    protection : ndarray of int
        The narrowest interval allowed for each number.
    rise, fall : ndarray of int
        How far above and below the truth an interval must reach at least; 0 where only its width counts.
    """

    layout: Layout
    values: IntArray
    mass: IntArray
    primary: BoolArray
    fixed: BoolArray
    forced: BoolArray
    silent: BoolArray
    threshold: IntArray
    lower: FloatArray
    upper: FloatArray
    protection: IntArray
    rise: IntArray
    fall: IntArray

    def weight(self) -> FloatArray:
        """Return what is lost by hiding each number: more for a larger count, far more for a total."""
        levels = np.minimum(self.layout.level, _MOST_LEVELS)
        worth: FloatArray = (1.0 + np.log1p(self.mass)) * _WORTH_OF_TOTAL**levels
        return worth

    def start(self) -> BoolArray:
        """Return what is not shown in any case."""
        return self.primary | ((self.silent | self.forced) & ~self.fixed)

    def required(self, hidden: BoolArray) -> BoolArray:
        """Return the numbers that must not be confined: those hidden, and small ones that are not printed anyway."""
        return hidden & (~self.silent | self.primary) & ~self.fixed

    def room(self) -> tuple[FloatArray, FloatArray]:
        """Return how far each number could rise and fall within what the reader knows of it."""
        return self.upper - self.values, self.values - self.lower


class Sums:
    """The hidden parts of a line, taken together, must not be a small number that its total gives away."""

    def __init__(self, problem: Problem) -> None:
        from scipy.sparse import csr_array

        self._problem = problem
        lines = problem.layout.lines
        columns = np.concatenate([line[:-1] for line in lines])
        rows = np.repeat(np.arange(len(lines)), [line.size - 1 for line in lines])
        shape = (len(lines), problem.layout.size)
        self._parts: csr_array = csr_array((np.ones(columns.size), (rows, columns)), shape=shape)
        self._totals = np.array([line[-1] for line in lines])
        everything = problem.layout.matrix().tocsc()
        self._lines_of = np.split(everything.indices, everything.indptr[1:-1])

    def bad(self, hidden: BoolArray) -> IntArray:
        """Return the lines whose hidden parts add up to a small number though the total is shown."""
        problem = self._problem
        some = self._parts @ hidden.astype(float) > 0
        small = self._parts @ (hidden * problem.mass).astype(float) < problem.threshold[self._totals]
        return np.flatnonzero(some & small & ~hidden[self._totals])

    def bad_at(self, hidden: BoolArray, entry: int) -> bool:
        """Return whether a line through an entry is bad."""
        problem = self._problem
        for number in self._lines_of[entry]:
            line = problem.layout.lines[number]
            concealed = line[:-1][hidden[line[:-1]]]
            if hidden[line[-1]] or concealed.size == 0:
                continue
            if problem.mass[concealed].sum() < problem.threshold[line[-1]]:
                return True
        return False

    def cover(self, hidden: BoolArray) -> BoolArray:
        """Return `hidden` with more hidden wherever a line is bad."""
        problem = self._problem
        covered = hidden.copy()
        weight = problem.weight()
        while (wrong := self.bad(covered)).size:
            line = problem.layout.lines[wrong[0]]
            parts = line[:-1]
            choice = parts[~covered[parts] & ~problem.fixed[parts]]
            covered[int(choice[np.argmin(weight[choice])]) if choice.size else int(line[-1])] = True
        return covered
