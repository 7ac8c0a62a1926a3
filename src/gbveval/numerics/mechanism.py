"""Hides how an allocation mechanism is run again: for tests, and for probabilities that no formula has."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import CHUNK, Codes, Scheme
from gbveval.numerics.philox import Words

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Allocations of a mechanism without a formula that are listed rather than drawn.
MOST_LISTED = 65_536


class Mechanism(Protocol):
    """A way to allocate units of assignment to labels 0, 1, ...; -1 is unassigned."""

    @property
    def n_units(self) -> int:
        """Units of assignment."""

    @property
    def n_labels(self) -> int:
        """Labels there are."""

    @property
    def count_is_exact(self) -> bool:
        """Whether `count` is exact."""

    def draw(self, words: Words, n_draws: int) -> Codes:
        """Return allocations, shape (n_draws, units)."""

    def probabilities(self) -> FloatArray | None:
        """Return exact probabilities, shape (units, labels); None where they are simulated."""

    def joint(self, i: int, j: int) -> FloatArray | None:
        """Return exact joint probabilities of two units, shape (labels, labels); None where they are simulated."""

    def count(self) -> int | None:
        """Return how many different allocations there are; None where that is not known."""

    def scheme(self, codes: Codes) -> Scheme | None:
        """Return the permutation scheme, independent draws or list that this is; None where it is run again."""


def listed(mechanism: Mechanism) -> tuple[Codes, FloatArray] | None:
    """Return every allocation with its probability where the mechanism can list them."""
    found = getattr(mechanism, "listed", None)
    answer: tuple[Codes, FloatArray] | None = None if found is None else found(MOST_LISTED)
    return answer


def draw(mechanism: Mechanism, words: Words, n_draws: int) -> Codes:
    """Return allocations drawn in chunks, so that memory holds one chunk of sort keys."""
    rows = max(1, CHUNK // mechanism.n_units)
    parts = [mechanism.draw(words, min(rows, n_draws - start)) for start in range(0, n_draws, rows)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class Again:
    """A mechanism that a randomisation test runs again, for some of its units.

    Attributes
    ----------
    mechanism : Mechanism
    columns : ndarray of int
        The units that are looked at, in their order.
    code_of : ndarray of int8
        What each label counts as.
    about : int or None
        About how many allocations there are, where the mechanism itself does not know.
    """

    mechanism: Mechanism
    columns: IntArray = field(repr=False)
    code_of: Codes = field(repr=False)
    about: int | None = None

    @cached_property
    def listed(self) -> tuple[Codes, FloatArray] | None:
        """Every allocation with its probability, or None."""
        found = listed(self.mechanism)
        return None if found is None else (self.code_of[found[0][:, self.columns]], found[1])

    @property
    def count(self) -> int | None:
        """Allocations there are, if known."""
        return self.mechanism.count() or self.about

    def draw(self, n_draws: int, rng: np.random.Generator) -> Codes:
        """Return allocations, shape (n_draws, columns)."""
        words = Words("test", str(int(rng.integers(2**63))))
        return np.asarray(self.code_of[draw(self.mechanism, words, n_draws)[:, self.columns]])

    def probabilities(self) -> FloatArray:
        """Return the probability of each label, shape (columns, labels), simulated where no formula has it."""
        exact = self.mechanism.probabilities()
        if exact is None:
            exact = moments(self.mechanism, Words("probabilities"), 10_000).probabilities
        return _by_code(exact[self.columns], self.code_of)


@dataclass(frozen=True, eq=False)
class Moments:
    """Probabilities of a mechanism without formulas, from all its allocations or from drawn ones.

    Attributes
    ----------
    codes : ndarray of int8, shape (allocations, units)
    weight : ndarray or None
        Probability of each allocation; None for draws.
    n_labels : int
    """

    codes: Codes
    weight: FloatArray | None
    n_labels: int

    @property
    def exact(self) -> bool:
        """Whether every allocation is there."""
        return self.weight is not None

    @cached_property
    def probabilities(self) -> FloatArray:
        """Probability of each label, shape (units, labels)."""
        return np.column_stack([np.average(self.codes == a, axis=0, weights=self.weight) for a in range(self.n_labels)])

    def joint(self, i: int, j: int) -> FloatArray:
        """Return the probability of each pair of labels of two units, shape (labels, labels)."""
        member = [(self.codes[:, u] == a) for u in (i, j) for a in range(self.n_labels)]
        k = self.n_labels
        return np.array(
            [[float(np.average(member[a] & member[k + b], weights=self.weight)) for b in range(k)] for a in range(k)]
        )

    def error(self, probability: FloatArray) -> FloatArray:
        """Return the Monte Carlo standard error of probabilities."""
        if self.exact:
            return np.zeros_like(probability)
        return np.asarray(np.sqrt(probability * (1.0 - probability) / self.codes.shape[0]))


def simulated_number(mechanism: Mechanism, words: Words, n_draws: int) -> tuple[int, float] | None:
    """Return how many allocations there are with its standard error, from the probabilities of drawn ones.

    The number of allocations is the mean of one over the probability of a drawn one. None where probabilities of
    allocations are not known, or the number has too many digits.
    """
    known = getattr(mechanism, "log_probability", None)
    if known is None:
        return None
    logs = -known(draw(mechanism, words, n_draws))
    if float(logs.max()) > 600.0:
        return None
    numbers = np.exp(logs)
    return round(float(numbers.mean())), float(numbers.std(ddof=1) / np.sqrt(n_draws))


def moments(mechanism: Mechanism, words: Words, n_draws: int) -> Moments:
    """Return the probabilities of a mechanism by listing its allocations, or else by drawing some."""
    found = listed(mechanism)
    if found is not None:
        return Moments(found[0], found[1], mechanism.n_labels)
    return Moments(draw(mechanism, words, n_draws), None, mechanism.n_labels)


def pick(mechanism: Mechanism, codes: Codes, columns: IntArray, code_of: IntArray, about: int | None = None) -> Scheme:
    """Return the allocations that could have been of some units, as a test takes them.

    Units that the mechanism left unassigned are among no columns; given which they are, the others are permuted.

    Parameters
    ----------
    mechanism : Mechanism
        What allocated.
    codes : ndarray of int, shape (units,)
        The labels found.
    columns : ndarray of int
        Units of the test.
    code_of : ndarray of int, shape (labels,)
        What each label counts as in the test.
    about : int, optional
        About how many allocations there are, where the mechanism itself does not know.
    """
    to = code_of.astype(np.int8)
    labels, n_codes = to[codes[columns]], int(to.max()) + 1
    one = np.zeros(columns.size, dtype=np.intp)
    assigned = np.flatnonzero(codes >= 0)
    whole = columns.size == assigned.size and np.array_equal(np.sort(columns), assigned)
    if assigned.size < codes.size:
        block = np.unique(np.asarray(getattr(mechanism, "block"))[columns], return_inverse=True)[1]  # noqa: B009
        return Scheme(labels, n_codes, block.astype(np.intp))
    found = mechanism.scheme(codes)
    if found is None:
        return Scheme(labels, n_codes, one, source=Again(mechanism, columns, to, about))
    if found.recorded is not None:
        return Scheme(labels, n_codes, one, recorded=to[found.recorded[:, columns]])
    if found.probability is not None:
        return Scheme(labels, n_codes, one, probability=_by_code(found.probability[columns], to))
    if whole:
        return Scheme(labels, n_codes, found.block[columns])
    return Scheme(labels, n_codes, one, source=Again(mechanism, columns, to, about))


def _by_code(probability: FloatArray, code_of: Codes) -> FloatArray:
    """Return probabilities of codes from those of labels."""
    out = np.zeros((probability.shape[0], int(code_of.max()) + 1))
    for label, code in enumerate(code_of):
        out[:, code] += probability[:, label]
    return out
