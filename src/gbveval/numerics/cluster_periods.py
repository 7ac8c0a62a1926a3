"""Variance of treatment effects estimated by generalised least squares from the means of clusters in periods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
# An effect whose information is less than this share of what it would be without nuisance is not identified. Rounding
# leaves about 1e-15 of it; a design that identifies an effect at all leaves at least about 1 / cells^2.
IDENTIFIED = 1e-9
# Directions of the nuisance below this share of the largest are collinear with others.
COLLINEAR = 1e-11


@dataclass(frozen=True, eq=False, slots=True)
class SequenceCells:
    """What all clusters of one sequence share.

    Attributes
    ----------
    clusters : float
        How many they are; any real number, as sizes are solved for.
    effects : ndarray, shape (cells, effects)
        Columns of the effects, in the observed cells.
    nuisance : ndarray, shape (cells, nuisance)
        Columns of everything else (periods).
    covariance : ndarray, shape (cells, cells)
        Of the means of a cluster's observed cells.
    """

    clusters: float
    effects: FloatArray
    nuisance: FloatArray
    covariance: FloatArray


def cluster_period_correlation(
    between: float, across: float, person: float, decay: float, size: float, periods: FloatArray
) -> FloatArray:
    """Return the covariance of cell means of a cluster, when one respondent has variance 1.

    Parameters
    ----------
    between, across : float
        Correlation of two respondents of a cluster in one period, and in two.
    person : float
        Correlation of a respondent with herself in two periods beyond `across`; 0 where people are asked once.
    decay : float
        What is left of `across` and `person` for each further period between two.
    size : float
        Respondents in a cell; may be infinite.
    periods : ndarray, shape (cells,)
        When the cells are observed.

    Returns
    -------
    ndarray, shape (cells, cells)

    Notes
    -----
    On the diagonal between + (1 - between)/m; off it (across + person/m) decay^lag. With decay 1 that is the block
    exchangeable correlation of Li, Turner and Preisser (2018), whose alpha0, alpha1 and alpha2 are `between`, `across`
    and `across + person`; with person 0 the nested exchangeable one of Hooper et al. (2016); with across = between the
    discrete-time decay of Kasza et al. (2019); with both, Hussey and Hughes (2007).

    Examples
    --------
    >>> cluster_period_correlation(0.1, 0.05, 0.0, 1.0, 10.0, np.arange(2.0)).round(3).tolist()
    [[0.19, 0.05], [0.05, 0.19]]
    """
    lag = np.abs(np.subtract.outer(periods, periods))
    found: FloatArray = (across + person / size) * decay**lag
    np.fill_diagonal(found, between + (1.0 - between) / size)
    return found


def effects_covariance(sequences: Sequence[SequenceCells], *, fixed_clusters: bool = False) -> FloatArray | None:
    """Return the covariance of the effects by generalised least squares with known covariance.

    Parameters
    ----------
    sequences : sequence of SequenceCells
        Clusters of a sequence have the same design and covariance, so that cost does not depend on how many they are.
    fixed_clusters : bool
        Whether every cluster has a level of its own in the model (which sweeps differences between clusters out), or
        its level is random, part of the covariance.

    Returns
    -------
    ndarray, shape (effects, effects), or None
        None if the effects cannot be told from the nuisance. Collinear nuisance columns do no harm.

    Notes
    -----
    The information of one cluster is X' W X with W = V^-1, or with a level of its own W = V^-1 - V^-1 1 1'V^-1 / 1'V^-1
    1. It is summed over clusters, and the nuisance taken out by a Schur complement.

    Examples
    --------
    >>> one = np.ones((2, 1))
    >>> x = np.array([[0.0], [1.0]])
    >>> pair = [SequenceCells(5.0, x, np.eye(2), np.eye(2)), SequenceCells(5.0, 0.0 * x, np.eye(2), np.eye(2))]
    >>> round(float(effects_covariance(pair, fixed_clusters=True)[0, 0]), 6)
    0.8
    """
    k = sequences[0].effects.shape[1]
    p = k + sequences[0].nuisance.shape[1]
    total, alone = np.zeros((p, p)), np.zeros((k, k))
    for cells in sequences:
        X = np.column_stack([cells.effects, cells.nuisance])
        VX = np.linalg.solve(cells.covariance, X)
        information = X.T @ VX
        alone = alone + cells.clusters * information[:k, :k]
        if fixed_clusters:
            one = np.linalg.solve(cells.covariance, np.ones(len(X)))
            swept = X.T @ one
            information = information - np.outer(swept, swept) / one.sum()
        total = total + cells.clusters * information
    left = total[:k, :k] - _explained(total, k)
    scale = np.sqrt(np.diag(alone))
    if not np.all(scale > 0.0):
        return None
    values, vectors = np.linalg.eigh(left / np.outer(scale, scale))
    if values[0] < IDENTIFIED:
        return None
    inverse: FloatArray = (vectors / values) @ vectors.T / np.outer(scale, scale)
    return inverse


def _explained(total: FloatArray, k: int) -> FloatArray:
    """Return what the nuisance takes of the information on the effects."""
    nuisance, cross = total[k:, k:], total[k:, :k]
    size = np.sqrt(np.diag(nuisance))
    kept = size > 0.0
    nuisance, cross = nuisance[np.ix_(kept, kept)], cross[kept]
    size = size[kept]
    values, vectors = np.linalg.eigh(nuisance / np.outer(size, size))
    usable = values > COLLINEAR * max(1.0, float(values[-1])) if values.size else values > 0.0
    turned = vectors[:, usable].T @ (cross / size[:, None])
    explained: FloatArray = turned.T @ (turned / values[usable][:, None])
    return explained
