"""Hides how the power of t tests is integrated: one tail, two, or two one-sided tests.

T = (Z + nc) / s with s^2 = chi-square(df) / df, so given s every rejection region is an interval of a normal variable;
its probability is averaged over y = log s^2, whose density is proportional to exp(df (y - e^y) / 2).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import normal_quantile, t_quantile

FloatArray = NDArray[np.float64]
# e^-40 and a normal tail beyond 9 are below the rounding error of a double.
NEGLIGIBLE = 40.0
FAR = 9.0
MOST_POINTS = 200_000
NODES = 200


def scale_limits(df: float) -> tuple[float, float]:
    """Return limits of y = log s^2 outside of which its density is negligible."""
    width = math.sqrt(2.0 / df)
    # Outside these limits df (y - e^y + 1) / 2 is below -NEGLIGIBLE: it is linear far left and quadratic near zero.
    low = -(2.0 * NEGLIGIBLE / df + 1.0) if df < 80.0 else -FAR * width * 1.5
    high = min(math.log1p(2.0 * NEGLIGIBLE / df + 2.0 * math.sqrt(2.0 * NEGLIGIBLE / df)) + width, FAR * width * 1.5)
    return low, high


def log_scale_weight(y: FloatArray, df: float) -> FloatArray:
    """Return the density of y = log s^2 up to a constant: exp(df (y - e^y + 1) / 2)."""
    return np.asarray(np.exp(0.5 * df * (y - np.expm1(y))), dtype=np.float64)


@lru_cache(maxsize=8)
def _legendre(nodes: int) -> tuple[FloatArray, FloatArray]:
    return np.polynomial.legendre.leggauss(nodes)


def scale_nodes(
    df: float, high: float = math.inf, *, nodes: int = NODES, turns: tuple[float, ...] = ()
) -> tuple[FloatArray, FloatArray]:
    """Return values of s and weights that average a smooth function of s over its distribution below log s^2 = high.

    Gauss-Legendre, piece by piece between the values of log s^2 at which the function turns (`turns`), where nodes are
    then dense; the weights sum to the probability of that part. For infinite df s is one.
    """
    from scipy.special import gammaln

    if math.isinf(df):
        return np.ones(1), np.full(1, 1.0 if high >= 0.0 else 0.0)
    low, top = scale_limits(df)
    top = min(top, high)
    if top <= low:
        return np.ones(1), np.zeros(1)
    node, weight = _legendre(nodes)
    edges = np.array([low, *sorted(turn for turn in turns if low < turn < top), top])
    half = np.diff(edges)[:, None] / 2.0
    y = (edges[:-1, None] + (node + 1.0) * half).ravel()
    weight = (weight * half).ravel()
    # The density of log(chi-square / df) is (df/2)^(df/2) / Gamma(df/2) exp(df (y - e^y) / 2).
    log_constant = 0.5 * df * math.log(0.5 * df) - float(gammaln(0.5 * df)) - 0.5 * df
    density = math.exp(log_constant) * log_scale_weight(y, df)
    return np.exp(y / 2.0), weight * density


def t_power(noncentrality: float, df: float, alpha: float, alternative: str = "two_sided") -> float:
    """Return the probability that a t test rejects, for a noncentral t.

    The mean over y is taken by the trapezoidal rule, which converges geometrically for such integrands. scipy's own
    noncentral t returns NaN where a tail is far out.

    Parameters
    ----------
    noncentrality : float
        Effect over its standard error; may be infinite. Its sign does not matter to a two-sided test.
    df : float
        Above zero; infinite for the normal.
    alpha : float
        Size of the test, both tails together when it is two-sided.
    alternative : str
        "two_sided" (both tails are counted), "greater" or "less".

    Examples
    --------
    >>> round(t_power(0.0, 10.0, 0.05), 12)
    0.05
    >>> round(t_power(2.0, 10.0, 0.05, "less"), 5)
    0.00021
    """
    from scipy.special import ndtr

    two_sided = alternative == "two_sided"
    nc = abs(noncentrality) if two_sided else (-noncentrality if alternative == "less" else noncentrality)
    if math.isinf(nc):
        return 1.0 if nc > 0.0 else 0.0
    tail = alpha / 2.0 if two_sided else alpha
    if math.isinf(df):
        critical = -float(normal_quantile(tail))
        return min(1.0, float(ndtr(nc - critical) + (ndtr(-nc - critical) if two_sided else 0.0)))
    critical = -float(t_quantile(tail, df))
    low, high = scale_limits(df)
    if nc - critical * math.exp((high if critical > 0.0 else low) / 2.0) > FAR:
        return 1.0
    # The normal tail turns from 0 to 1 within about 2 / nc of y.
    step = min(math.sqrt(2.0 / df) / 8.0, 0.25 / (1.0 + abs(nc)))
    y = np.linspace(low, high, min(max(int((high - low) / step), 200), MOST_POINTS) + 1)
    weight = log_scale_weight(y, df)
    s = critical * np.exp(y / 2.0)
    rejects = ndtr(nc - s) + (ndtr(-nc - s) if two_sided else 0.0)
    return min(1.0, float((weight @ rejects) / weight.sum()))


def equivalence_power(above_low: float, below_high: float, df: float, alpha: float) -> float:
    """Return the probability that two one-sided t tests, each of size alpha, both reject.

    Given s both reject when the estimate lies in an interval that shrinks as s grows and vanishes at
    s = (above_low + below_high) / (2 critical); the mean over s up to there is Owen's Q (Phillips 1990,
    Journal of Pharmacokinetics and Biopharmaceutics 18).

    Parameters
    ----------
    above_low, below_high : float
        Distance of the true difference from the lower and the upper margin, over the standard error.
    df, alpha : float
        Degrees of freedom (infinite for the normal) and size of each test.

    Examples
    --------
    >>> round(equivalence_power(2.598076, 2.598076, 298.0, 0.05), 4)
    0.6565
    """
    from scipy.special import ndtr

    if math.isinf(above_low) and math.isinf(below_high):
        return 1.0
    critical = -float(t_quantile(alpha, df))
    if above_low + below_high <= 0.0:
        return 0.0
    vanishes = math.inf
    turns: tuple[float, ...] = ()
    if critical > 0.0:
        end = (above_low + below_high) / (2.0 * critical)
        if end == 0.0:
            return 0.0
        vanishes = 2.0 * math.log(end)
        # The normal probabilities turn where a margin is the critical value away, within 2 FAR / margin of y.
        turns = tuple(
            2.0 * math.log(each / critical) + side * 2.0 * FAR / each
            for each in (above_low, below_high)
            if each / critical > 0.0
            for side in (-1.0, 0.0, 1.0)
        )
    s, weight = scale_nodes(df, vanishes, turns=turns)
    inside = ndtr(above_low - critical * s) - ndtr(critical * s - below_high)
    return min(1.0, float(weight @ np.maximum(inside, 0.0)))
