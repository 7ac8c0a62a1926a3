"""Hides how the cross-products of clusters with covariates are drawn without drawing the people.

A covariate of respondents is standard normal and independent of the rest, so in a cluster of n its sum is sqrt(n) z and
its scatter around the cluster's mean is chi-squared with n - 1 degrees of freedom; the outcome's noise has with it a
product that is normal given the scatter. These are the laws of the sums, so drawing them is drawing the people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Sums = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, slots=True)
class Explained:
    """What covariates of a continuous outcome explain.

    Attributes
    ----------
    of_clusters, of_people : float
        Shares of the variance between clusters, and of that within them.
    covariates : int
        Covariates of clusters that explain the first; one of respondents explains the second.
    """

    of_clusters: float = 0.0
    of_people: float = 0.0
    covariates: int = 0


NOTHING_EXPLAINED = Explained()


def covariate_names(of_clusters: int, of_people: int) -> tuple[str, ...]:
    """Return names for covariates of clusters and of respondents."""
    return (
        *(f"cluster covariate {number + 1}" for number in range(of_clusters)),
        *(f"covariate {number + 1}" for number in range(of_people)),
    )


def cluster_sums(sizes: FloatArray, level: FloatArray, noise: FloatArray, of_clusters: FloatArray) -> Sums:
    """Return X'X and X'y where X is the constant and covariates that are constant in a cluster.

    Parameters
    ----------
    sizes : ndarray, shape (1 or draws, clusters)
        Respondents a cluster.
    level : ndarray, shape (draws, clusters)
        Mean of the outcome in each cluster.
    noise : ndarray, shape (draws, clusters)
        Sum of the respondents' deviations from it.
    of_clusters : ndarray, shape (draws, clusters, covariates)
        The covariates.
    """
    columns = np.concatenate([np.ones((*of_clusters.shape[:2], 1)), of_clusters], axis=-1)
    gram = sizes[..., None, None] * columns[..., :, None] * columns[..., None, :]
    return gram, (sizes * level + noise)[..., None] * columns


def with_people(sums: Sums, slope: float, sd: float, rng: np.random.Generator) -> Sums:
    """Return X'X and X'y with one covariate of respondents more, on which the outcome has a slope.

    Parameters
    ----------
    sums : tuple of ndarray
        X'X and X'y without it.
    slope : float
        Its slope.
    sd : float
        Standard deviation of a respondent's deviation given it.
    rng : numpy.random.Generator
        Where the draws come from.
    """
    gram, moment = sums
    sizes, totals = gram[..., 0, 0], moment[..., 0]
    total = np.sqrt(sizes) * rng.normal(size=sizes.shape)
    scatter = np.where(sizes > 1.0, 2.0 * rng.standard_gamma(np.maximum(sizes - 1.0, 1.0) / 2.0), 0.0)
    squares = scatter + total**2 / sizes
    product = total / sizes * totals + np.sqrt(scatter) * sd * rng.normal(size=sizes.shape) + slope * squares
    k = gram.shape[-1]
    wide = np.empty((*gram.shape[:-2], k + 1, k + 1))
    wide[..., :k, :k] = gram
    # Other columns are constant in a cluster: their product with this one is their value times its sum.
    wide[..., :k, k] = wide[..., k, :k] = gram[..., 0, :] / sizes[..., None] * total[..., None]
    wide[..., k, k] = squares
    steeper = moment + slope * wide[..., :k, k]
    return wide, np.concatenate([steeper, product[..., None]], axis=-1)
