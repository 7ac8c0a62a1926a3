"""Replicate weights: the same sample weighted as if units had been left out or drawn again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.survey import SampleDesign

FloatArray = NDArray[np.float64]
CENTRES = ("estimate", "mean")
# What replicate weights are called that came with the data: they know nothing of declared finite populations.
GIVEN = "the survey's replicate weights"


@dataclass(frozen=True, eq=False, slots=True)
class Replicates:
    """Replicate weights and how far each replicate counts: V = sum of scale_r (theta_r - centre)^2.

    Attributes
    ----------
    weights : ndarray, shape (n, replicates)
        Weights of each replicate.
    scale : ndarray, shape (replicates,)
        Factor of each squared deviation.
    kind : str
        How they were made, in words.
    df : float
        Degrees of freedom: primary units minus strata, or the rank of given weights minus one.
    centre : str
        "estimate": deviations from the full-sample estimate; "mean": from the mean of the replicates, which leaves out
        how far that is from the estimate.
    """

    weights: FloatArray
    scale: FloatArray
    kind: str
    df: float
    centre: str = "estimate"

    @property
    def count(self) -> int:
        """Replicates."""
        return int(self.weights.shape[1])

    def deviations(self, value: FloatArray, replicated: FloatArray) -> FloatArray:
        """Return scaled deviations of the replicates, whose cross-product is the covariance.

        Parameters
        ----------
        value : ndarray, shape (terms,)
            Full-sample estimates.
        replicated : ndarray, shape (replicates, terms)
            Estimates under each replicate's weights.
        """
        middle = value if self.centre == "estimate" else replicated.mean(axis=0)
        result: FloatArray = (replicated - middle) * np.sqrt(self.scale)[:, None]
        return result


def jackknife(design: SampleDesign, weights: FloatArray, *, centre: str = "estimate") -> Replicates:
    """Return weights with one primary unit left out at a time, the others of its stratum weighted up (JKn; JK1).

    Parameters
    ----------
    design : SampleDesign
        Strata and primary units; each stratum has at least two. The first stage's finite population enters the scale.
    weights : ndarray, shape (n,)
        Sampling weights.
    centre : str
        As in `Replicates`.

    References
    ----------
    Wolter (2007), Introduction to Variance Estimation.

    Examples
    --------
    >>> from gbveval.numerics.survey import sample_design
    >>> found = jackknife(sample_design(3), np.ones(3))
    >>> found.weights[:, 0].tolist(), [round(float(x), 4) for x in found.scale]
    ([0.0, 1.5, 1.5], [0.6667, 0.6667, 0.6667])
    """
    size = design.sizes[design.stratum]
    up = size / (size - 1.0)
    home = design.stratum[design.unit]
    replicated = np.repeat(weights[:, None], design.n_units, axis=1)
    for unit in range(design.n_units):
        replicated[home == design.stratum[unit], unit] *= up[unit]
    replicated[np.arange(weights.size), design.unit] = 0.0
    scale = (1.0 - design.fraction[design.stratum]) / up
    kind = "jackknife, one primary unit left out at a time"
    return Replicates(replicated, scale, kind, design.df(), centre)


def rescaled_bootstrap(
    design: SampleDesign, weights: FloatArray, *, count: int, rng: np.random.Generator
) -> Replicates:
    """Return weights of a bootstrap that draws m - 1 of m primary units in each stratum, with replacement.

    With k_i the times that unit i was drawn, its weights are multiplied by k_i m / (m - 1) (Rao, Wu and Yue 1992, with
    m - 1 draws). With a sampling fraction f the factor is 1 + (1 - f)^(1/2) (k_i m / (m - 1) - 1).

    Parameters
    ----------
    design : SampleDesign
        Strata and primary units; each stratum has at least two.
    weights : ndarray, shape (n,)
        Sampling weights.
    count : int
        Replicates.
    rng : numpy.random.Generator
        Source of the draws.

    References
    ----------
    Rao, Wu and Yue (1992), Survey Methodology 18. Rao and Wu (1988), Journal of the American Statistical Association
    83.

    Examples
    --------
    >>> from gbveval.numerics.survey import sample_design
    >>> design = sample_design(5)
    >>> found = rescaled_bootstrap(design, np.ones(5), count=3, rng=np.random.default_rng(1))
    >>> [float(x) for x in found.weights.sum(axis=0)]  # four draws, each counting 5/4
    [5.0, 5.0, 5.0]
    """
    drawn = np.zeros((design.n_units, count))
    for stratum in range(design.n_strata):
        units = np.flatnonzero(design.stratum == stratum)
        drawn[units] = rng.multinomial(units.size - 1, np.full(units.size, 1.0 / units.size), size=count).T
    size = design.sizes[design.stratum]
    shrink = np.sqrt(1.0 - design.fraction[design.stratum])
    factor = 1.0 + shrink[:, None] * (drawn * (size / (size - 1.0))[:, None] - 1.0)
    scale = np.full(count, 1.0 / count)
    kind = "rescaled bootstrap of primary units"
    return Replicates(weights[:, None] * factor[design.unit], scale, kind, min(design.df(), count - 1.0))


def given_replicates(weights: FloatArray, scale: FloatArray) -> Replicates:
    """Return replicate weights that came with the data; their rank tells the degrees of freedom.

    Examples
    --------
    >>> given_replicates(np.array([[0.0, 2.0], [2.0, 0.0]]), np.full(2, 0.5)).df
    1.0
    """
    roots = np.linalg.eigvalsh(weights.T @ weights)
    rank = int((roots > roots[-1] * roots.size * np.finfo(float).eps).sum())
    return Replicates(weights, scale, GIVEN, rank - 1.0)
