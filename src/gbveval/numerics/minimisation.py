"""Hides the steps of minimisation: imbalance if a unit joined each arm, the probabilities that follow, all in integers.

Pocock and Simon (1975): for each factor the numbers by arm among those with the new unit's level are looked at as they
would be if the unit joined arm a; their imbalance (range, or variance) is summed over factors with weights to G(a). The
arm with the least G is preferred. With unequal ratios r numbers are divided by r, and the preferred arm i is given with
probability 1 - (1 - p) (R - r_i) / (R - min r), R the sum of r, any other arm j with (1 - p) r_j / (R - min r): then
arms that are preferred in the ratio r are given in the ratio r, and with equal ratios the preferred arm has p (the
biased coin of Han, Enas and McEntegart 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations
from math import lcm

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import Codes, Scheme
from gbveval.numerics.philox import Words

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
Int64 = NDArray[np.int64]
IMBALANCES = ("range", "variance")


@dataclass(frozen=True, eq=False)
class Minimised:
    """Units allocated one after the other by minimisation.

    Attributes
    ----------
    levels : ndarray of int, shape (units, factors)
        Levels of the factors, in order of enrolment.
    parts : tuple of int
        Ratio of the arms.
    weights : tuple of int
        Weight of each factor.
    preferred : Fraction
        Probability of the preferred arm (of the smallest arm, where ratios differ).
    imbalance : str
        "range" or "variance".
    """

    levels: IntArray
    parts: tuple[int, ...]
    weights: tuple[int, ...]
    preferred: Fraction
    imbalance: str

    @property
    def n_units(self) -> int:
        """Units of assignment."""
        return int(self.levels.shape[0])

    @property
    def n_labels(self) -> int:
        """Labels there are."""
        return len(self.parts)

    @property
    def count_is_exact(self) -> bool:
        """Whether the number of allocations is to the last digit."""
        return True

    @cached_property
    def _step(self) -> Int64:
        """What one unit more in each arm adds to its number divided by its ratio, in whole numbers."""
        whole = lcm(*self.parts)
        return np.array([whole // part for part in self.parts], dtype=np.int64)

    @cached_property
    def _given(self) -> tuple[Int64, int]:
        """Numerators of the probability of each arm given the preferred one, shape (arms, arms), and denominator."""
        total, least = sum(self.parts), min(self.parts)
        rows = [
            [
                1 - (1 - self.preferred) * Fraction(total - part, total - least)
                if a == i
                else (1 - self.preferred) * Fraction(other, total - least)
                for a, other in enumerate(self.parts)
            ]
            for i, part in enumerate(self.parts)
        ]
        scale = lcm(*(p.denominator for row in rows for p in row))
        return np.array([[int(p * scale) for p in row] for row in rows], dtype=np.int64), scale

    @cached_property
    def _tie_scale(self) -> int:
        """A bound that every sum of ratios divides, for drawing among ties."""
        k = len(self.parts)
        return lcm(*(sum(self.parts[a] for a in ties) for n in range(1, k + 1) for ties in combinations(range(k), n)))

    def scores(self, numbers: Int64) -> Int64:
        """Return the imbalance if the unit joined each arm, in whole numbers; variances times arms (arms - 1).

        Parameters
        ----------
        numbers : ndarray of int, shape (draws, factors, arms)
            Numbers by arm among those with the unit's level of each factor, times `_step`.
        """
        out = np.empty((numbers.shape[0], self.n_labels), dtype=np.int64)
        weights = np.array(self.weights, dtype=np.int64)
        for arm in range(self.n_labels):
            after = numbers.copy()
            after[:, :, arm] += self._step[arm]
            if self.imbalance == "range":
                spread = after.max(axis=2) - after.min(axis=2)
            else:
                spread = self.n_labels * (after**2).sum(axis=2) - after.sum(axis=2) ** 2
            out[:, arm] = spread @ weights
        return out

    def step_probabilities(self, numbers: Int64) -> FloatArray:
        """Return the probability of each arm, shape (draws, arms)."""
        scores = self.scores(numbers)
        ties = scores == scores.min(axis=1, keepdims=True)
        weight = ties * np.array(self.parts)
        given, scale = self._given
        return np.asarray((weight / weight.sum(axis=1, keepdims=True)) @ (given / scale))

    def draw(self, words: Words, n_draws: int) -> Codes:
        """Return allocations, shape (n_draws, units)."""
        numbers = self._start(n_draws)
        factors, rows = np.arange(self.levels.shape[1]), np.arange(n_draws)
        parts = np.array(self.parts, dtype=np.int64)
        given, scale = self._given
        edges = np.cumsum(given, axis=1)[:, :-1]
        out = np.empty((n_draws, self.n_units), dtype=np.int8)
        for unit, level in enumerate(self.levels):
            scores = self.scores(numbers[:, factors, level])
            weight = (scores == scores.min(axis=1, keepdims=True)) * parts
            reach = np.cumsum(weight, axis=1)
            point = words.below(self._tie_scale, n_draws) // (self._tie_scale // reach[:, -1])
            liked = (point[:, None] >= reach).sum(axis=1)
            label = (words.below(scale, n_draws)[:, None] >= edges[liked]).sum(axis=1)
            out[:, unit] = label
            numbers[rows[:, None], factors[None, :], level[None, :], label[:, None]] += self._step[label][:, None]
        return out

    def _start(self, n: int) -> Int64:
        return np.zeros((n, self.levels.shape[1], int(self.levels.max()) + 1, self.n_labels), dtype=np.int64)

    def log_probability(self, codes: Codes) -> FloatArray:
        """Return the logarithm of the probability of allocations, shape (allocations,)."""
        numbers, out = self._start(codes.shape[0]), np.zeros(codes.shape[0])
        factors, rows = np.arange(self.levels.shape[1]), np.arange(codes.shape[0])
        for unit, level in enumerate(self.levels):
            label = codes[:, unit].astype(np.intp)
            out += np.log(self.step_probabilities(numbers[:, factors, level])[rows, label])
            numbers[rows[:, None], factors[None, :], level[None, :], label[:, None]] += self._step[label][:, None]
        return out

    def listed(self, most: int) -> tuple[Codes, FloatArray] | None:
        """Return every allocation with its probability, if there are at most so many."""
        if self.n_units * np.log(self.n_labels) > np.log(most):
            return None
        codes, weight, numbers = np.zeros((1, 0), dtype=np.int8), np.ones(1), self._start(1)
        factors = np.arange(self.levels.shape[1])
        for level in self.levels:
            probability = self.step_probabilities(numbers[:, factors, level])
            row, label = np.nonzero(probability > 0)
            codes = np.column_stack([codes[row], label.astype(np.int8)])
            weight, numbers = weight[row] * probability[row, label], numbers[row]
            rows = np.arange(row.size)
            numbers[rows[:, None], factors[None, :], level[None, :], label[:, None]] += self._step[label][:, None]
        return codes, weight

    def probabilities(self) -> FloatArray | None:
        """Return the probability of each label, which equal ratios make equal; None for unequal ones."""
        if len(set(self.parts)) > 1:
            return None
        return np.full((self.n_units, self.n_labels), 1.0 / self.n_labels)

    def joint(self, i: int, j: int) -> FloatArray | None:
        """Return None: no formula has the joint probabilities."""
        del i, j
        return None

    def count(self) -> int | None:
        """Return how many different allocations there are: all, unless the preferred arm is certain."""
        return int(self.n_labels**self.n_units) if self.preferred < 1 else None

    def scheme(self, codes: Codes) -> Scheme | None:
        """Return None: minimisation is run again."""
        del codes
        return None
