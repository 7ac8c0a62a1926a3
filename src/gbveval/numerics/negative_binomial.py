"""The negative binomial with variance mu + mu^2 / theta (NB2): likelihood, scores, information on theta.

Lawless (1987), Canadian Journal of Statistics 15. The expected information is block diagonal in the coefficients and
theta, so that covariances of the coefficients may take theta as known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def log_likelihood_rows(y: FloatArray, mu: FloatArray, theta: float) -> FloatArray:
    """Return each row's log-likelihood.

    log Gamma(y + theta) - log Gamma(theta) - log y! + theta log(theta / (theta + mu)) + y log(mu / (theta + mu)).

    Examples
    --------
    With theta = 1 it is the geometric distribution:

    >>> rows = log_likelihood_rows(np.array([0.0, 2.0]), np.array([1.0, 1.0]), 1.0)
    >>> np.exp(rows).round(6).tolist()
    [0.5, 0.125]
    """
    from scipy.special import gammaln, xlogy

    return np.asarray(
        gammaln(y + theta)
        - gammaln(theta)
        - gammaln(y + 1.0)
        - theta * np.log1p(mu / theta)
        + xlogy(y, mu / (theta + mu)),
        dtype=np.float64,
    )


def eta_score_rows(y: FloatArray, mu: FloatArray, theta: float) -> FloatArray:
    """Return the derivative of each row's log-likelihood by its log mean: (y - mu) theta / (theta + mu)."""
    return (y - mu) / (1.0 + mu / theta)


def theta_score_rows(y: FloatArray, mu: FloatArray, theta: float) -> FloatArray:
    """Return the derivative of each row's log-likelihood by theta.

    psi(y + theta) - psi(theta) - log(1 + mu / theta) - (y - mu) / (mu + theta).
    """
    from scipy.special import psi

    return np.asarray(psi(y + theta) - psi(theta) - np.log1p(mu / theta) - (y - mu) / (mu + theta), dtype=np.float64)


def theta_information_rows(y: FloatArray, mu: FloatArray, theta: float) -> FloatArray:
    """Return minus the second derivative of each row's log-likelihood by theta, the mean held fixed.

    psi'(theta) - psi'(y + theta) - 1 / theta + 2 / (mu + theta) - (y + theta) / (mu + theta)^2.
    """
    from scipy.special import polygamma

    total = mu + theta
    return np.asarray(
        polygamma(1, theta) - polygamma(1, y + theta) - 1.0 / theta + 2.0 / total - (y + theta) / total**2,
        dtype=np.float64,
    )


def overdispersion_score(y: FloatArray, mu: FloatArray, weight: FloatArray | None = None) -> float:
    """Return the derivative of the log-likelihood by 1 / theta where that is zero: half the sum of (y - mu)^2 - y.

    Where it is not positive the likelihood rises towards the Poisson, and theta has no finite maximum nearby.
    """
    rows = 0.5 * ((y - mu) ** 2 - y)
    return float(rows.sum() if weight is None else rows @ weight)
