"""Hides how allocations are drawn until a rule of balance accepts one, or chosen among a list of acceptable ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import CHUNK, Codes, Scheme
from gbveval.numerics.mechanism import Mechanism
from gbveval.numerics.philox import Words

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# Candidates drawn for one accepted allocation before the rule is said to be too strict.
MOST_CANDIDATES = 2_000_000


class TooStrictError(Exception):
    """Raised where no candidate is accepted; the number of candidates is the argument."""


@dataclass(frozen=True, eq=False, slots=True)
class Within:
    """The rule that every score of an allocation is at most its limit.

    Attributes
    ----------
    score : callable
        Scores of allocations, shape (allocations, scores).
    limits : ndarray, shape (scores,)
    """

    score: Callable[[Codes], FloatArray]
    limits: FloatArray

    def __call__(self, codes: Codes) -> BoolArray:
        """Return which allocations are accepted."""
        return np.asarray((self.score(codes) <= self.limits).all(axis=1))


@dataclass(frozen=True, eq=False, slots=True)
class Listed:
    """Allocations that are all listed and equally likely.

    Attributes
    ----------
    codes : ndarray of int8, shape (allocations, units)
    n_labels : int
    complete : bool
        Whether the list holds all acceptable allocations, rather than those among drawn candidates.
    """

    codes: Codes
    n_labels: int
    complete: bool

    @property
    def n_units(self) -> int:
        """Units of assignment."""
        return int(self.codes.shape[1])

    @property
    def count_is_exact(self) -> bool:
        """Whether the list is complete."""
        return self.complete

    def draw(self, words: Words, n_draws: int) -> Codes:
        """Return allocations, shape (n_draws, units)."""
        return np.asarray(self.codes[words.below(self.codes.shape[0], n_draws)])

    def probabilities(self) -> FloatArray:
        """Return the share of the list in which each unit has each label, shape (units, labels)."""
        return np.column_stack([(self.codes == label).mean(axis=0) for label in range(self.n_labels)])

    def joint(self, i: int, j: int) -> FloatArray:
        """Return the share of the list in which two units have each pair of labels."""
        pair = self.codes[:, i].astype(np.intp) * self.n_labels + self.codes[:, j]
        table = np.bincount(pair, minlength=self.n_labels**2) / pair.size
        return table.reshape(self.n_labels, self.n_labels)

    def count(self) -> int | None:
        """Return how many allocations are listed."""
        return int(self.codes.shape[0])

    def scheme(self, codes: Codes) -> Scheme | None:
        """Return the list, of which one is drawn."""
        block = np.zeros(self.n_units, dtype=np.intp)
        return Scheme(codes.astype(np.int8), self.n_labels, block, recorded=self.codes)


@dataclass(frozen=True, eq=False, slots=True)
class Redrawn:
    """Allocations of a permutation scheme drawn again until a rule accepts one.

    Attributes
    ----------
    base : Mechanism
        What candidates are drawn from.
    rule : Within
        Which of the candidates are accepted.
    """

    base: Mechanism
    rule: Within

    @property
    def n_units(self) -> int:
        """Units of assignment."""
        return self.base.n_units

    @property
    def n_labels(self) -> int:
        """Labels there are."""
        return self.base.n_labels

    @property
    def count_is_exact(self) -> bool:
        """Say that acceptable allocations are not counted."""
        return False

    def candidates(self, words: Words) -> Iterator[tuple[Codes, BoolArray]]:
        """Yield candidates and which are accepted, for ever."""
        rows = max(1, min(CHUNK // self.n_units, 20_000))
        while True:
            codes = self.base.draw(words, rows)
            yield codes, self.rule(codes)

    def draw(self, words: Words, n_draws: int) -> Codes:
        """Return accepted allocations, shape (n_draws, units)."""
        found: list[Codes] = []
        have = seen = 0
        for codes, accepted in self.candidates(words):
            found.append(codes[accepted])
            have, seen = have + found[-1].shape[0], seen + codes.shape[0]
            if have >= n_draws:
                return np.concatenate(found)[:n_draws]
            if have == 0 and seen >= MOST_CANDIDATES:
                raise TooStrictError(seen)
        raise AssertionError

    def probabilities(self) -> FloatArray | None:
        """Return None: they are simulated."""
        return None

    def joint(self, i: int, j: int) -> FloatArray | None:
        """Return None: they are simulated."""
        del i, j
        return None

    def count(self) -> int | None:
        """Return None: they are not counted."""
        return None

    def scheme(self, codes: Codes) -> Scheme | None:
        """Return None: candidates are drawn again."""
        del codes
        return None


def same_arm(codes: Codes, weight: FloatArray | None = None) -> FloatArray:
    """Return the share of allocations in which two units have the same label, shape (units, units)."""
    out = np.zeros((codes.shape[1], codes.shape[1]))
    scale = np.full(codes.shape[0], 1.0 / codes.shape[0]) if weight is None else weight
    for label in np.unique(codes[codes >= 0]):
        member = (codes == label).astype(np.float64)
        out += (member * scale[:, None]).T @ member
    return out
