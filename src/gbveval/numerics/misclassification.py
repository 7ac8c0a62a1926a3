"""Prevalence behind answers that are wrong at known, validated or believed rates (Rogan and Gladen 1978).

With sensitivity Se, specificity Sp and prevalence pi the share of yes is q = 1 - Sp + J pi, J = Se + Sp - 1. Forced
randomised response has J = p and 1 - Sp = the probability of a forced yes; Warner's mirrored one Se = Sp = p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rate:
    """A sensitivity or specificity with its sampling variance; zero where it is known."""

    value: float
    variance: float = 0.0


def validated_rate(correct: float, n: float) -> Rate:
    """Return the share correct in a validation sample, with a variance that is not zero where all are correct.

    The variance is that of the share with one right and one wrong answer added (Agresti and Caffo 2000).

    Examples
    --------
    >>> rate = validated_rate(40, 40)
    >>> rate.value, round(rate.variance, 6)
    (1.0, 0.000553)
    """
    share = (correct + 1.0) / (n + 2.0)
    return Rate(correct / n, share * (1.0 - share) / (n + 2.0))


@dataclass(frozen=True, slots=True)
class CorrectedShare:
    """A corrected prevalence and its slopes in what it is made of.

    Attributes
    ----------
    value : float
        (reported - (1 - Sp)) / J; it may leave 0 to 1.
    by_reported, by_sensitivity, by_specificity : float
        Partial derivatives.
    """

    value: float
    by_reported: float
    by_sensitivity: float
    by_specificity: float


def corrected_share(reported: float, sensitivity: float, specificity: float) -> CorrectedShare:
    """Return the Rogan-Gladen estimate (reported + Sp - 1) / (Se + Sp - 1).

    Parameters
    ----------
    reported : float
        Share of yes.
    sensitivity, specificity : float
        With a sum that is not one.

    References
    ----------
    Rogan and Gladen (1978), American Journal of Epidemiology 107.

    Examples
    --------
    >>> round(corrected_share(0.2, 0.6, 0.98).value, 4)
    0.3103
    """
    slope = sensitivity + specificity - 1.0
    value = (reported + specificity - 1.0) / slope
    return CorrectedShare(value, 1.0 / slope, -value / slope, (1.0 - value) / slope)


def score_limits(
    reported: float, size: float, sensitivity: Rate, specificity: Rate, quantile: float
) -> tuple[float, float] | None:
    """Return the prevalences pi that the score test does not reject: a quadratic in pi.

    (reported - q)^2 <= t^2 (q (1 - q) / size + pi^2 var Se + (1 - pi)^2 var Sp), with q = 1 - Sp + J pi. With known
    rates this is Wilson's interval of the reported share, corrected; with estimated ones it is Fieller's, in which J is
    uncertain too.

    Parameters
    ----------
    reported, size : float
        Share of yes, and how many respondents of a simple random sample it is worth.
    sensitivity, specificity : Rate
        Independent of the survey and of each other.
    quantile : float
        Normal or t quantile of half the level.

    Returns
    -------
    tuple of (float, float), or None
        Not cut at 0 and 1. None where J may be zero at this level: then every prevalence fits.

    Examples
    --------
    >>> low, high = score_limits(0.8, 200, Rate(0.9), Rate(0.95), 1.959964)
    >>> round(low, 4), round(high, 4)
    (0.8108, 0.9406)
    """
    t2 = quantile**2
    f, slope = 1.0 - specificity.value, sensitivity.value + specificity.value - 1.0
    excess = reported - f
    a = slope**2 + t2 * (slope**2 / size - sensitivity.variance - specificity.variance)
    b = -2.0 * excess * slope - t2 * (slope * (1.0 - 2.0 * f) / size - 2.0 * specificity.variance)
    c = excess**2 - t2 * (f * (1.0 - f) / size + specificity.variance)
    if a <= 0.0:
        return None
    root = np.sqrt(max(b * b - 4.0 * a * c, 0.0))
    return float((-b - root) / (2.0 * a)), float((-b + root) / (2.0 * a))


@dataclass(frozen=True, eq=False, slots=True)
class ShareDraws:
    """Draws from the posterior of prevalences and rates.

    Attributes
    ----------
    shares : ndarray, shape (draws, groups)
    sensitivity, specificity : ndarray, shape (draws,)
    effective : float
        How many independent draws the weighted prior draws were worth.
    """

    shares: FloatArray
    sensitivity: FloatArray
    specificity: FloatArray
    effective: float


def draw_shares(
    events: FloatArray,
    size: FloatArray,
    sensitivity: FloatArray,
    specificity: FloatArray,
    *,
    n_draws: int,
    rng: np.random.Generator,
) -> ShareDraws:
    """Return posterior draws of prevalences that share a sensitivity and a specificity.

    Prevalences are uniform on 0 to 1 beforehand. Given the rates, the share of yes is then uniform on (1 - Sp, Se), and
    its posterior a beta distribution cut to that range: its mass there over J is the likelihood of the rates, by which
    their prior draws are weighted and drawn again.

    Parameters
    ----------
    events, size : ndarray, shape (groups,)
        Yes answers and respondents; effective ones, so need not be whole.
    sensitivity, specificity : ndarray, shape (prior draws,)
        Draws of their prior, with a sum above one.
    n_draws : int
        Draws to return.
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If no prior draw gives the answers any probability.
    """
    from scipy.special import betainc, betaincc, betainccinv, betaincinv

    low, high = 1.0 - specificity, sensitivity
    slope = high - low
    weight = np.ones(slope.size)
    shape = np.zeros(slope.size)
    parts = []
    for x, n in zip(events, size, strict=True):
        a, b = x + 1.0, n - x + 1.0
        # Mass far in the upper tail is a difference of complements.
        upper = a / (a + b) < low
        ends = [np.where(upper, betaincc(a, b, edge), betainc(a, b, edge)) for edge in (low, high)]
        mass = np.abs(ends[1] - ends[0])
        parts.append((a, b, upper, ends))
        with np.errstate(divide="ignore"):
            shape = shape + np.log(mass) - np.log(slope)
    best = shape.max()
    if not np.isfinite(best):
        raise ValueError("The answers have no probability under the priors.")
    weight = np.exp(shape - best)
    weight /= weight.sum()
    chosen = rng.choice(slope.size, size=n_draws, p=weight)
    shares = np.empty((n_draws, len(parts)))
    for g, (a, b, upper, ends) in enumerate(parts):
        u = rng.random(n_draws)
        at = ends[0][chosen] * (1.0 - u) + ends[1][chosen] * u
        q = np.where(upper[chosen], betainccinv(a, b, at), betaincinv(a, b, at))
        shares[:, g] = np.clip((q - low[chosen]) / slope[chosen], 0.0, 1.0)
    return ShareDraws(shares, sensitivity[chosen], specificity[chosen], float(1.0 / np.sum(weight**2)))
