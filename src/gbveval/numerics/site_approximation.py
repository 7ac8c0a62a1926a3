"""Hides how much each site and arm tells about its own level: an estimate and its variance on the model's scale."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.site_cells import SiteCells

FloatArray = NDArray[np.float64]
STEPS, LARGEST_STEP = 60, 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Nuisance:
    """What the levels are estimated beside, at known values.

    Attributes
    ----------
    covariate_effect : ndarray, shape (covariates,)
        Slopes of covariates.
    dispersion : float
        Size of the negative binomial; infinite is Poisson.
    residual_sd : float
        Standard deviation of people within a cell; not positive means that it is taken from the cells.
    cutpoints : ndarray, shape (levels - 1,)
        Of an ordered outcome, the first zero; empty means that they are taken from the shares of the levels.
    """

    covariate_effect: FloatArray = field(default_factory=lambda: np.zeros(0))
    dispersion: float = float("nan")
    residual_sd: float = 0.0
    cutpoints: FloatArray = field(default_factory=lambda: np.zeros(0))


def arm_levels(cells: SiteCells, family: str, nuisance: Nuisance | None = None) -> tuple[FloatArray, FloatArray]:
    """Return each site's and arm's level and its variance, shapes (sites, arms).

    Parameters
    ----------
    cells : SiteCells
        Sufficient statistics.
    family : str
        "binomial", "normal", "negative_binomial" or "ordinal".
    nuisance : Nuisance, optional
        By default no covariates, and the rest by moments.

    Notes
    -----
    Maximum likelihood by Newton's method for one level at a time. Half a person (half an event) is added at each end,
    so that a cell without events has an estimate; the normal needs none of it. A combination of site and arm in which
    nobody is has an infinite variance.
    """
    nuisance = nuisance or Nuisance()
    slopes = nuisance.covariate_effect
    offset = cells.log_exposure + (cells.covariates @ slopes if slopes.size else 0.0)
    sizes = cells.by_site_and_arm(cells.n)
    if family == "normal":
        level = cells.by_site_and_arm(cells.total - cells.n * offset) / np.where(sizes > 0, sizes, 1.0)
        variance = nuisance.residual_sd**2 if nuisance.residual_sd > 0 else _residual_variance(cells)
        return level, np.where(sizes > 0, variance / np.where(sizes > 0, sizes, 1.0), np.inf)
    level, information = np.zeros_like(sizes), np.zeros_like(sizes)
    slope = {"binomial": _binomial, "negative_binomial": _counts, "ordinal": _ordered}[family]
    cuts = nuisance.cutpoints if nuisance.cutpoints.size or family != "ordinal" else _cutpoints(cells)
    size = nuisance.dispersion if np.isfinite(nuisance.dispersion) else _dispersion(cells)
    for _ in range(STEPS):
        score, information = slope(cells, level, offset, cuts if family == "ordinal" else np.array([size]))
        step = np.clip(score / information, -LARGEST_STEP, LARGEST_STEP)
        level = level + step
        if np.max(np.abs(step)) < 1e-10:
            break
    return level, np.where(sizes > 0, 1.0 / information, np.inf)


def _expit(x: FloatArray) -> FloatArray:
    from scipy.special import expit

    return np.asarray(expit(x), dtype=np.float64)


def _binomial(cells: SiteCells, level: FloatArray, offset: FloatArray, _: FloatArray) -> tuple[FloatArray, FloatArray]:
    share, prior = _expit(level[cells.site, cells.arm] + offset), _expit(level)
    score = cells.by_site_and_arm(cells.total - cells.n * share) + 0.5 - prior
    return score, cells.by_site_and_arm(cells.n * share * (1.0 - share)) + prior * (1.0 - prior)


def _counts(cells: SiteCells, level: FloatArray, offset: FloatArray, size: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return score and expected information; half an event is added, and exposure that expects it at the average."""
    rate = float(cells.total.sum() / (cells.n * np.exp(cells.log_exposure)).sum())
    mean, added = np.exp(level[cells.site, cells.arm] + offset), np.exp(level) * (0.5 / max(rate, 1e-12))
    damped = 1.0 / (1.0 + mean / size[0])
    score = cells.by_site_and_arm((cells.total - cells.n * mean) * damped) + 0.5 - added
    return score, cells.by_site_and_arm(cells.n * mean * damped) + added


def _ordered(
    cells: SiteCells, level: FloatArray, offset: FloatArray, cuts: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return score and information of the proportional-odds model; d log(F_b - F_a) = F_a + F_b - 1."""
    below = _expit(cuts - (level[cells.site, cells.arm] + offset)[:, None])
    edge = np.ones((below.shape[0], 1))
    low, high = np.hstack([0.0 * edge, below]), np.hstack([below, edge])
    score = cells.by_site_and_arm((cells.categories * (low + high - 1.0)).sum(axis=1))
    curved = cells.by_site_and_arm((cells.categories * (low * (1.0 - low) + high * (1.0 - high))).sum(axis=1))
    first, last = _expit(cuts[0] - level), _expit(cuts[-1] - level)
    return (
        score + 0.5 * (first - 1.0) + 0.5 * last,
        curved + 0.5 * first * (1.0 - first) + 0.5 * last * (1.0 - last),
    )


def _residual_variance(cells: SiteCells) -> float:
    left = max(float(cells.n.sum()) - cells.n_cells, 1.0)
    return max(float(cells.within[0, 0]) / left, 1e-300)


def _dispersion(cells: SiteCells) -> float:
    """Return the size of a negative binomial by moments over all people; its variance is m + m^2 / size."""
    people = float(cells.n.sum())
    mean = float(cells.total.sum()) / people
    variance = float((cells.people * cells.values**2).sum()) / people - mean**2
    return mean**2 / max(variance - mean, 0.01 * mean) if mean > 0 else 1.0


def _cutpoints(cells: SiteCells) -> FloatArray:
    """Return cutpoints at the shares of the levels over all people, the first zero."""
    counts = cells.categories.sum(axis=0) + 0.5
    share = np.cumsum(counts)[:-1] / counts.sum()
    cuts = np.log(share) - np.log1p(-share)
    return np.asarray(cuts - cuts[0], dtype=np.float64)
