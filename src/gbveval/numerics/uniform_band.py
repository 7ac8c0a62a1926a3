"""Hides how the critical value of a simultaneous confidence band is simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gbveval.numerics.inference import check_level, normal_quantile
from gbveval.numerics.stratum_influence import FloatArray, IntArray

Multiplier = Literal["rademacher", "mammen"]
Scale = Literal["std_error", "interquartile"]

# Draws are made in blocks of about this many numbers, so that memory does not grow with the number of draws.
_BLOCK_NUMBERS = 1_000_000
# A term this much less variable than the most variable one is rounding noise.
_NEGLIGIBLE = 1e-10


@dataclass(frozen=True, slots=True)
class CriticalValue:
    """Critical value of a sup-t band.

    Attributes
    ----------
    value : float
        Half-width of the band in units of `scale`; never below the pointwise normal quantile.
    mc_error : float
        Monte Carlo standard error of `value`; 0 when every sign vector was enumerated.
    n_draws : int
        Draws, or sign vectors enumerated.
    n_terms : int
        Terms with a positive variance, which the band covers.
    scale : ndarray, shape (terms,)
        Standard errors by which the terms were divided; NaN for terms that are left out.
    """

    value: float
    mc_error: float
    n_draws: int
    n_terms: int
    scale: FloatArray


def sup_t_critical(
    covariance: ArrayLike,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    n_draws: int = 25_000,
    df: float = np.inf,
) -> CriticalValue:
    """Return the critical value of a band that covers all terms at once, from their joint covariance.

    Parameters
    ----------
    covariance : array_like, shape (terms, terms)
        May be singular; terms whose variance is zero up to rounding, or not finite, are left out.
    rng : numpy.random.Generator
    level : float
        Simultaneous coverage.
    n_draws : int
        Gaussian draws. Given the data, a Gaussian multiplier bootstrap of the influence functions is exactly this.
    df : float
        Degrees of freedom of the standard errors; with finite ones the draws are of a multivariate t with one common
        scale, so that the band of a single term is its t interval.

    Returns
    -------
    CriticalValue
        NaN when no term has a positive variance.

    Notes
    -----
    Relies on the terms being jointly normal; where a term rests on few units or clusters use `multiplier_critical`.

    References
    ----------
    Callaway, B. and Sant'Anna, P. H. C. (2021). Difference-in-differences with multiple time periods. Journal of
    Econometrics 225(2), 200-230 (the multiplier bootstrap that this replaces).

    Examples
    --------
    >>> answer = sup_t_critical(np.eye(3), rng=np.random.default_rng(1))
    >>> abs(answer.value - 2.388) < 4 * answer.mc_error
    True
    """
    check_level(level)
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"covariance has shape {matrix.shape}; expected a square matrix.")
    _check_draws(n_draws)
    std_error, kept = _usable(np.sqrt(np.maximum(np.diag(matrix), 0.0)))
    if not kept.size:
        return CriticalValue(np.nan, np.nan, 0, 0, std_error)
    scale = std_error[kept]
    roots, axes = np.linalg.eigh(matrix[np.ix_(kept, kept)] / np.outer(scale, scale))
    positive = roots > roots[-1] * len(kept) * np.finfo(float).eps
    root = axes[:, positive] * np.sqrt(roots[positive])
    root /= np.sqrt(np.sum(root**2, axis=1, keepdims=True))
    largest = np.empty(n_draws)
    step = max(1, _BLOCK_NUMBERS // root.shape[0])
    for begin in range(0, n_draws, step):
        size = min(step, n_draws - begin)
        draw = rng.standard_normal((size, root.shape[1])) @ root.T
        largest[begin : begin + size] = np.abs(draw, out=draw).max(axis=1)
    if np.isfinite(df):
        largest /= np.sqrt(rng.chisquare(df, size=n_draws) / df)
    return _critical(largest, level, std_error, exact=False)


def multiplier_critical(
    influence: ArrayLike,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    n_draws: int = 25_000,
    multiplier: Multiplier = "rademacher",
    scale: Scale = "std_error",
) -> CriticalValue:
    """Return the critical value of a band from a multiplier bootstrap of influence functions.

    Parameters
    ----------
    influence : array_like, shape (n_clusters, terms)
        Influence summed within independent clusters (or of independent units), so that the variance is its sum of
        squares. `StratumInfluence.cluster_sums` gives it. Terms with NaN or without variation are left out.
    rng : numpy.random.Generator
    level : float
        Simultaneous coverage.
    n_draws : int
        Draws. With Rademacher multipliers and few clusters all sign vectors are enumerated, if they are no more.
    multiplier : {"rademacher", "mammen"}
        Random signs, or the two-point distribution with third moment one.
    scale : {"std_error", "interquartile"}
        What the terms are divided by, and so what the value multiplies: their standard errors, or the interquartile
        range of their draws over that of a standard normal (as R's did does: a smaller value on larger errors).

    Returns
    -------
    CriticalValue

    Notes
    -----
    Differs from `sup_t_critical` where terms rest on few units or clusters, whose draws are not normal. It does not
    repair standard errors that are too small with few clusters. Time grows with clusters times terms times draws.

    References
    ----------
    Callaway, B. and Sant'Anna, P. H. C. (2021). Difference-in-differences with multiple time periods. Journal of
    Econometrics 225(2), 200-230.
    Mammen, E. (1993). Bootstrap and wild bootstrap for high dimensional linear models. Annals of Statistics 21(1).

    Examples
    --------
    >>> scores = np.random.default_rng(2).standard_normal((8, 3))
    >>> answer = multiplier_critical(scores, rng=np.random.default_rng(3))
    >>> answer.n_draws, answer.mc_error
    (128, 0.0)
    """
    check_level(level)
    _check_draws(n_draws)
    if multiplier not in ("rademacher", "mammen"):
        raise ValueError(f"multiplier must be 'rademacher' or 'mammen'; it is {multiplier!r}.")
    if scale not in ("std_error", "interquartile"):
        raise ValueError(f"scale must be 'std_error' or 'interquartile'; it is {scale!r}.")
    scores = np.asarray(influence, dtype=np.float64)
    if scores.ndim != 2 or not scores.shape[0]:
        raise ValueError(f"influence has shape {scores.shape}; expected clusters by terms.")
    std_error, kept = _usable(np.sqrt(np.sum(scores**2, axis=0)))
    if not kept.size:
        return CriticalValue(np.nan, np.nan, 0, 0, std_error)
    exact = multiplier == "rademacher" and len(scores) <= 30 and 2 ** (len(scores) - 1) <= n_draws
    draws = _multiplied(scores[:, kept] / std_error[kept], 0 if exact else n_draws, multiplier, rng)
    if scale == "interquartile":
        # Enumeration holds one of each pair of opposite sign vectors; quartiles need both.
        spread = _normal_spread(np.concatenate([draws, -draws]) if exact else draws)
        positive = spread > 0
        draws, kept = draws[:, positive] / spread[positive], kept[positive]
        scaled = np.full_like(std_error, np.nan)
        scaled[kept] = std_error[kept] * spread[positive]
        std_error = scaled
        if not kept.size:
            return CriticalValue(np.nan, np.nan, 0, 0, std_error)
    return _critical(np.abs(draws).max(axis=1), level, std_error, exact=exact)


def _usable(std_error: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the standard errors with NaN for those that are not positive and finite, and where the others are."""
    finite = np.where(np.isfinite(std_error), std_error, 0.0)
    kept = finite > _NEGLIGIBLE * finite.max(initial=0.0)
    return np.where(kept, std_error, np.nan), np.flatnonzero(kept)


def _multiplied(scores: FloatArray, n_draws: int, multiplier: Multiplier, rng: np.random.Generator) -> FloatArray:
    """Return random multiples of the scores, or with no draws every signed sum, shape (draws, terms)."""
    if not n_draws:
        signed: FloatArray = _all_signs(len(scores)) @ scores
        return signed
    draws = np.empty((n_draws, scores.shape[1]))
    step = max(1, _BLOCK_NUMBERS // len(scores))
    for begin in range(0, n_draws, step):
        size = min(step, n_draws - begin)
        draws[begin : begin + size] = _draw(rng, (size, len(scores)), multiplier) @ scores
    return draws


def _normal_spread(draws: FloatArray) -> FloatArray:
    """Return the interquartile range of each column over that of a standard normal."""
    low, high = np.quantile(draws, [0.25, 0.75], axis=0, method="inverted_cdf")
    quartiles = normal_quantile([0.25, 0.75])
    spread: FloatArray = (high - low) / (quartiles[1] - quartiles[0])
    return spread


def _check_draws(n_draws: int) -> None:
    if n_draws < 100:
        raise ValueError(f"n_draws is {n_draws}; a quantile in the tail needs at least 100, better 10,000.")


def _draw(rng: np.random.Generator, shape: tuple[int, int], multiplier: Multiplier) -> FloatArray:
    if multiplier == "rademacher":
        return rng.integers(0, 2, size=shape).astype(np.float64) * 2.0 - 1.0
    root = 5.0**0.5
    low = rng.random(shape) < (root + 1.0) / (2.0 * root)
    points: FloatArray = np.where(low, (1.0 - root) / 2.0, (1.0 + root) / 2.0)
    return points


def _all_signs(n: int) -> FloatArray:
    """Return every sign vector of length n up to a common sign, which absolute values do not see."""
    bits = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n - 1)) & 1
    signs: FloatArray = np.concatenate([np.ones((len(bits), 1)), 2.0 * bits - 1.0], axis=1)
    return signs


def _critical(largest: FloatArray, level: float, scale: FloatArray, *, exact: bool) -> CriticalValue:
    ordered = np.sort(largest)
    n = len(ordered)
    value = float(ordered[min(n - 1, max(0, int(np.ceil(n * level)) - 1))])
    mc_error = 0.0
    if not exact:
        # Order statistics one binomial standard deviation either side bracket the quantile.
        spread = np.sqrt(n * level * (1.0 - level))
        high = ordered[min(n - 1, int(np.ceil(n * level + spread)) - 1)]
        low = ordered[max(0, int(np.floor(n * level - spread)) - 1)]
        mc_error = float(high - low) / 2.0
    pointwise = float(normal_quantile(0.5 + level / 2.0))
    return CriticalValue(max(value, pointwise), mc_error, n, int(np.sum(np.isfinite(scale))), scale)
