"""The search for witnesses: where to look first, and at what price."""

from __future__ import annotations

import numpy as np

from gbveval.disclosure._flow import Flows
from gbveval.disclosure._layout import BoolArray, FloatArray
from gbveval.disclosure._problem import Problem, Sums
from gbveval.disclosure._witness import BLOCKED, Moves, Witness

# Moves through numbers that are hidden anyway cost next to nothing, but not nothing, so that none is made idly.
_HIDDEN_COST = 1e-4
# In larger tables programmes are asked only for what moves do not reach.
_MOST_FOR_FLOWS = 400


class Searcher:
    """Finds witnesses: by moves first, as they cost a thousandth of a programme, then by programmes."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.sums = Sums(problem)
        self.weight = problem.weight()
        self.is_large = problem.layout.size > _MOST_FOR_FLOWS
        self._moves = Moves(problem)
        self._flows = Flows(problem)

    def by_move(self, target: int, hidden: BoolArray) -> Witness | None:
        """Return a witness for `target` that is a single move of hidden numbers."""
        return self._moves.cheapest(target, np.where(hidden, 1.0, BLOCKED))

    def among(self, target: int, hidden: BoolArray, *, thorough: bool = True) -> Witness | None:
        """Return a witness for `target` that departs from the truth in hidden numbers only."""
        price = np.where(hidden, 1.0, BLOCKED)
        found = self._moves.cheapest(target, price)
        if found is not None or not thorough:
            return found
        steps = self._moves.steps(target, price)
        return self._flows.cheapest(target, price) if steps is None else steps

    def anywhere(self, target: int, hidden: BoolArray) -> Witness | None:
        """Return a cheap witness for `target`, at the price of hiding more."""
        price: FloatArray = np.where(hidden, _HIDDEN_COST, self.weight)
        price = np.where(self.problem.fixed, BLOCKED, price)
        move = self._moves.cheapest(target, price)
        if move is not None and self.is_large:
            return move
        flow = self._flows.cheapest(target, price, self._moves.steps(target, price) if move is None else move)
        if move is None or flow is None:
            return flow if move is None else move
        return min(
            (move, flow), key=lambda witness: float(self.weight[witness.entries][~hidden[witness.entries]].sum())
        )
