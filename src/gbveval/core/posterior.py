"""What a Bayesian answer offers, whether it comes from a grid or from draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import DesignError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@runtime_checkable
class Posterior(Protocol):
    """A joint posterior of the rows of an `Estimates`, on their link scale."""

    def mean(self) -> FloatArray:
        """Return posterior means, one a term."""

    def sd(self) -> FloatArray:
        """Return posterior standard deviations, one a term."""

    def cdf(self, term: int, x: ArrayLike) -> float:
        """Return P(term <= x)."""

    def quantile(self, term: int, probability: float) -> float:
        """Return a quantile of a term."""

    def quantiles(self, probabilities: ArrayLike) -> FloatArray:
        """Return quantiles of all terms, shape (probabilities, terms)."""

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return joint draws, shape (n, terms)."""

    def select(self, terms: NDArray[np.intp]) -> Posterior:
        """Return the posterior of some of the terms."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""


@dataclass(frozen=True, eq=False)
class DrawsPosterior:
    """A posterior known through draws.

    Parameters
    ----------
    draws : ndarray, shape (chains, draws, terms)
        On the link scale.
    """

    draws: FloatArray

    def __post_init__(self) -> None:
        if self.draws.ndim != 3:
            raise ValueError("Draws are (chain, draw, term).")

    def _flat(self) -> FloatArray:
        return self.draws.reshape(-1, self.draws.shape[2])

    def mean(self) -> FloatArray:
        """Return posterior means, one a term."""
        result: FloatArray = self._flat().mean(axis=0)
        return result

    def sd(self) -> FloatArray:
        """Return posterior standard deviations, one a term."""
        result: FloatArray = self._flat().std(axis=0, ddof=1)
        return result

    def cdf(self, term: int, x: ArrayLike) -> float:
        """Return the share of draws at or below x."""
        return float(np.mean(self._flat()[:, term] <= np.asarray(x)))

    def quantile(self, term: int, probability: float) -> float:
        """Return a quantile of the draws of a term."""
        return float(np.quantile(self._flat()[:, term], probability))

    def quantiles(self, probabilities: ArrayLike) -> FloatArray:
        """Return quantiles of all terms, shape (probabilities, terms)."""
        result: FloatArray = np.quantile(self._flat(), np.atleast_1d(np.asarray(probabilities, dtype=float)), axis=0)
        return result

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return draws picked with replacement, shape (n, terms)."""
        flat = self._flat()
        return flat[rng.integers(0, flat.shape[0], size=n)]

    def select(self, terms: NDArray[np.intp]) -> DrawsPosterior:
        """Return the posterior of some of the terms."""
        return DrawsPosterior(self.draws[:, :, terms].copy())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {"kind": "draws", "draws": self.draws.tolist()}


@dataclass(frozen=True, eq=False)
class PartialPosterior:
    """Posteriors of some rows of a result; the other rows are estimates with a sampling distribution.

    Parameters
    ----------
    parts : tuple of Posterior
        Fitted separately, so that nothing is known of their joint distribution.
    places : tuple of ((int, int) or None)
        For each row its part and its term in it; None for rows without a posterior, which are NaN here.
    """

    parts: tuple[Posterior, ...]
    places: tuple[tuple[int, int] | None, ...]

    @property
    def covers(self) -> BoolArray:
        """Which rows have a posterior."""
        return np.array([place is not None for place in self.places], dtype=bool)

    def _spread(self, found: list[FloatArray]) -> FloatArray:
        """Return values of all rows (last axis) from those of the parts."""
        shape = found[0].shape[:-1] if found else ()
        absent = np.full(shape, np.nan)
        return np.stack([absent if p is None else found[p[0]][..., p[1]] for p in self.places], axis=-1)

    def mean(self) -> FloatArray:
        """Return posterior means, one a row."""
        return self._spread([part.mean() for part in self.parts])

    def sd(self) -> FloatArray:
        """Return posterior standard deviations, one a row."""
        return self._spread([part.sd() for part in self.parts])

    def _at(self, term: int) -> tuple[Posterior, int]:
        place = self.places[term]
        if place is None:
            raise DesignError("This row has no posterior: it is an estimate with a standard error.")
        return self.parts[place[0]], place[1]

    def cdf(self, term: int, x: ArrayLike) -> float:
        """Return P(row <= x)."""
        part, position = self._at(term)
        return part.cdf(position, x)

    def quantile(self, term: int, probability: float) -> float:
        """Return a quantile of a row."""
        part, position = self._at(term)
        return part.quantile(position, probability)

    def quantiles(self, probabilities: ArrayLike) -> FloatArray:
        """Return quantiles of all rows, shape (probabilities, rows)."""
        return self._spread([part.quantiles(probabilities) for part in self.parts])

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return draws, shape (n, rows): joint within a part, independent between parts."""
        return self._spread([part.sample(n, rng) for part in self.parts])

    def select(self, terms: NDArray[np.intp]) -> PartialPosterior:
        """Return the posterior of some of the rows."""
        return PartialPosterior(self.parts, tuple(self.places[i] for i in terms))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {
            "kind": "partial",
            "parts": [part.to_dict() for part in self.parts],
            "places": [None if place is None else list(place) for place in self.places],
        }
