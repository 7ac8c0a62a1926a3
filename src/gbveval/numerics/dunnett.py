"""Hides the joint distribution of several comparisons with one control: critical values, power for any or for all.

Comparisons that share a control are T_i = (nc_i + sqrt(1 - rho) Z_i + sqrt(rho) Z_0) / s, with independent normal Z and
s^2 = chi-square(df) / df (Dunnett 1955, Journal of the American Statistical Association 50). Given Z_0 and s they are
independent, so every probability is a double integral of a product.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import t_quantile
from gbveval.numerics.noncentral_t import scale_nodes

FloatArray = NDArray[np.float64]
# The trapezoidal rule on a normal density with this step errs by exp(-2 (pi / step)^2): nothing; the product adds
# transitions of width sqrt((1 - rho) / rho), for which the step is enough up to a correlation of 0.97.
COMMON = np.linspace(-9.0, 9.0, 361)
DENSITY = np.exp(-0.5 * COMMON**2) / np.exp(-0.5 * COMMON**2).sum()
# Few degrees of freedom spread the scale widely; from 3 df these numbers keep the error of power below 1e-8 at sizes of
# 0.001 and more and correlations up to 0.9. At a size of 1e-4 and 3 df it is 2e-5.
NODES, MORE_NODES, FEW = 64, 500, 20.0


def accepted(
    noncentrality: Sequence[float], critical: float, df: float, correlation: float, alternative: str
) -> tuple[FloatArray, FloatArray]:
    """Return the probability that each comparison is not rejected given (s, Z_0), and the weights of the grid.

    Returns
    -------
    tuple of ndarray
        Shapes (comparisons, scales, common values) and (scales, common values).
    """
    from scipy.special import ndtr

    s, weight = scale_nodes(df, nodes=MORE_NODES if df < FEW else NODES)
    shift = np.asarray(noncentrality, float)[:, None, None] + np.sqrt(correlation) * COMMON[None, None, :]
    reach = critical * s[None, :, None]
    rest = np.sqrt(1.0 - correlation)
    grid = np.outer(weight / weight.sum(), DENSITY)
    if alternative == "greater":
        return ndtr((reach - shift) / rest), grid
    if alternative == "less":
        return ndtr((reach + shift) / rest), grid
    return ndtr((reach - shift) / rest) - ndtr((-reach - shift) / rest), grid


def joint_power(
    noncentrality: Sequence[float],
    critical: float,
    df: float,
    correlation: float,
    *,
    power_of: str,
    alternative: str = "two_sided",
) -> float:
    """Return the probability that the first, any, or all comparisons are rejected ("each", "any", "all").

    Parameters
    ----------
    noncentrality : sequence of float
        Effect over standard error of each comparison.
    critical, df : float
        Critical value of the absolute t and degrees of freedom of the common variance (infinite for the normal).
    correlation : float
        Between two comparisons, from the shared control.
    """
    keep, grid = accepted(noncentrality, critical, df, correlation, alternative)
    if power_of == "each":
        found = float(np.sum(grid * (1.0 - keep[0])))
    elif power_of == "any":
        found = 1.0 - float(np.sum(grid * np.prod(keep, axis=0)))
    else:
        found = float(np.sum(grid * np.prod(1.0 - keep, axis=0)))
    return min(1.0, max(0.0, found))


@lru_cache(maxsize=256)
def dunnett_critical(
    comparisons: int, df: float, alpha: float, correlation: float, alternative: str = "two_sided"
) -> float:
    """Return the critical value at which the probability of any false rejection is alpha.

    Examples
    --------
    >>> round(dunnett_critical(3, 20.0, 0.05, 0.5), 3)
    2.54
    """
    from scipy.optimize import brentq

    nothing = [0.0] * comparisons
    tail = alpha / 2.0 if alternative == "two_sided" else alpha
    # Between the value for one comparison and Bonferroni's.
    low, high = -float(t_quantile(tail, df)), -float(t_quantile(tail / comparisons, df))

    def excess(c: float) -> float:
        return joint_power(nothing, c, df, correlation, power_of="any", alternative=alternative) - alpha

    if comparisons == 1:
        return low
    return float(brentq(excess, low, high + 1e-9, xtol=1e-12, rtol=1e-13))
