"""Counts above zero: the Poisson truncated at zero, in its canonical form.

With lambda = exp(eta) the mean of a positive count is m = lambda / (1 - exp(-lambda)), its variance m (1 + lambda - m).
The link is canonical, so that the score is sum of (y - m) z: with a coefficient for each arm the fitted means of the
arms are the sample means of their positive counts, whatever the counts' distribution (Mullahy 1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
LARGEST_LOG = 700.0


@dataclass(frozen=True, eq=False, slots=True)
class PositivePart:
    """Moments of positive counts at linear predictors.

    Attributes
    ----------
    mean, variance : ndarray, shape (n,)
        m, and its variance, which is also the derivative of m by eta.
    log_partition : ndarray, shape (n,)
        log(exp(lambda) - 1): the log-likelihood of y is y eta less this, up to a constant.
    """

    mean: FloatArray
    variance: FloatArray
    log_partition: FloatArray


def positive_part(eta: FloatArray) -> PositivePart:
    """Return the moments at linear predictors.

    Parameters
    ----------
    eta : ndarray, shape (n,)
        Logarithms of lambda.

    Examples
    --------
    For a small lambda nearly every positive count is one:

    >>> found = positive_part(np.array([-20.0, np.log(2.0)]))
    >>> found.mean.round(6).tolist()
    [1.0, 2.313035]
    """
    rate = np.exp(np.minimum(eta, LARGEST_LOG))
    some = -np.expm1(-rate)
    mean = np.where(rate > 0.0, rate / np.where(some > 0.0, some, 1.0), 1.0)
    # For a small lambda, 1 + lambda - m is lambda / 2: the difference would lose its digits.
    spread = np.where(rate > 1e-5, 1.0 + rate - mean, rate / 2.0)
    log_partition = rate + np.log(np.where(some > 0.0, some, 1.0))
    return PositivePart(mean, mean * spread, log_partition)
