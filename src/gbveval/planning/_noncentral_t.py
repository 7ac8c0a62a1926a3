"""Hides how the power of a two-sided t test is integrated: both tails, for any degrees of freedom, never NaN."""

from __future__ import annotations

import math

import numpy as np

from gbveval.numerics.inference import normal_quantile, t_quantile

# e^-40 and a normal tail beyond 9 are below the rounding error of a double.
NEGLIGIBLE = 40.0
FAR = 9.0
MOST_POINTS = 200_000


def t_power(noncentrality: float, df: float, alpha: float) -> float:
    """Return P(|T| > critical value) for a noncentral t: both tails are counted.

    T = (Z + nc) / s with s^2 = chi-square(df) / df, so given s both tails are normal; the mean over y = log s^2, whose
    density is proportional to exp(df (y - e^y) / 2), is taken by the trapezoidal rule, which converges geometrically
    for such integrands. scipy's own noncentral t returns NaN where a tail is far out.

    Parameters
    ----------
    noncentrality : float
        Effect over its standard error; may be infinite. Its sign does not matter.
    df : float
        Above zero; infinite for the normal.
    alpha : float
        Size of the test, both tails together.

    Examples
    --------
    >>> round(t_power(0.0, 10.0, 0.05), 12)
    0.05
    """
    from scipy.special import ndtr

    nc = abs(noncentrality)
    if math.isinf(nc):
        return 1.0
    if math.isinf(df):
        critical = -float(normal_quantile(alpha / 2.0))
        return float(ndtr(nc - critical) + ndtr(-nc - critical))
    critical = -float(t_quantile(alpha / 2.0, df))
    width = math.sqrt(2.0 / df)
    # Outside these limits df (y - e^y + 1) / 2 is below -NEGLIGIBLE: it is linear far left and quadratic near zero.
    low = -(2.0 * NEGLIGIBLE / df + 1.0) if df < 80.0 else -FAR * width * 1.5
    high = min(math.log1p(2.0 * NEGLIGIBLE / df + 2.0 * math.sqrt(2.0 * NEGLIGIBLE / df)) + width, FAR * width * 1.5)
    if nc - critical * math.exp(high / 2.0) > FAR:
        return 1.0
    # The normal tail turns from 0 to 1 within about 2 / nc of y.
    step = min(width / 8.0, 0.25 / (1.0 + nc))
    y = np.linspace(low, high, min(max(int((high - low) / step), 200), MOST_POINTS) + 1)
    weight = np.exp(0.5 * df * (y - np.expm1(y)))
    s = critical * np.exp(y / 2.0)
    return float((weight @ (ndtr(nc - s) + ndtr(-nc - s))) / weight.sum())
