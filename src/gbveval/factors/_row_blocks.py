"""Rows in blocks: within a block the joint distribution is known, between blocks nothing is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.grid_posterior import GridPosterior
from gbveval.core.posterior import DrawsPosterior, PartialPosterior, Posterior
from gbveval.core.term import Term
from gbveval.numerics.mixtures import NormalMixtures

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RowBlocks:
    """Rows, with blocks of their covariance and the distributions that their intervals are quantiles of."""

    terms: tuple[Term, ...] = ()
    blocks: tuple[FloatArray, ...] = ()
    posteriors: tuple[Posterior, ...] = ()

    def __add__(self, other: RowBlocks) -> RowBlocks:
        return RowBlocks(self.terms + other.terms, self.blocks + other.blocks, self.posteriors + other.posteriors)

    def joined(self) -> tuple[tuple[Term, ...], FloatArray, PartialPosterior]:
        """Return terms, covariance (not known between blocks) and the posterior."""
        sizes = [len(block) for block in self.blocks]
        covariance = np.full((sum(sizes), sum(sizes)), np.nan)
        start = 0
        for block in self.blocks:
            covariance[start : start + len(block), start : start + len(block)] = block
            start += len(block)
        places = tuple((k, i) for k, size in enumerate(sizes) for i in range(size))
        return self.terms, covariance, PartialPosterior(self.posteriors, places)


def of_mixtures(terms: list[Term], mixtures: NormalMixtures) -> RowBlocks:
    """Return a block of rows that are mixtures of normals."""
    nodes = np.zeros((len(mixtures.weights), 0))
    posterior = GridPosterior(mixtures, nodes, (), tuple(range(len(mixtures))))
    return RowBlocks(tuple(terms), (mixtures.covariance,), (posterior,))


def of_draws(terms: list[Term], draws: FloatArray) -> RowBlocks:
    """Return a block of rows known by draws, shape (draws, rows)."""
    return RowBlocks(tuple(terms), (np.cov(draws, rowvar=False),), (DrawsPosterior(draws[None]),))
