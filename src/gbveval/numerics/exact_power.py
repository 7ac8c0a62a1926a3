"""Hides the power of exact tests of counts: every table is enumerated and those that are rejected are summed.

A two-sided p-value is the probability of all tables no likelier than the observed one, with the relative slack of 1e-7
that absorbs rounding of tables that are equally likely.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SLACK = 1e-7
# Margins (numbers of events, of discordant pairs) rarer than this are left out: all of them together are below the
# rounding error of the sum.
NEGLIGIBLE = 1e-18


def p_values(probability: FloatArray, alternative: str) -> FloatArray:
    """Return the p-value of every outcome of an ordered list with these probabilities under the null.

    Parameters
    ----------
    probability : ndarray, shape (outcomes,)
        Ordered from the least to the greatest.
    alternative : str
        "two_sided" (no likelier), "greater" or "less".
    """
    if alternative == "greater":
        return np.asarray(np.cumsum(probability[::-1])[::-1], dtype=np.float64)
    if alternative == "less":
        return np.asarray(np.cumsum(probability), dtype=np.float64)
    order = np.argsort(probability, kind="stable")
    sums = np.cumsum(probability[order])
    last = np.searchsorted(probability[order], probability * (1.0 + SLACK), side="right") - 1
    return np.asarray(sums[last], dtype=np.float64)


def binomial_probabilities(n: int, p: float) -> FloatArray:
    """Return the probabilities of 0 to n successes."""
    from scipy.special import gammaln, xlog1py, xlogy

    x = np.arange(n + 1.0)
    log_choose = gammaln(n + 1.0) - gammaln(x + 1.0) - gammaln(n - x + 1.0)
    return np.asarray(np.exp(log_choose + xlogy(x, p) + xlog1py(n - x, -p)), dtype=np.float64)


def _rejected(probability: FloatArray, alpha: float, alternative: str) -> NDArray[np.bool_]:
    """Return which outcomes have a p-value of at most alpha; sums are exact to about 1e-13."""
    return np.asarray(p_values(probability, alternative) <= alpha * (1.0 + 1e-12))


def binomial_power(n: int, p0: float, p1: float, alpha: float, alternative: str = "two_sided") -> float:
    """Return the power of the exact binomial test of p0 when the probability is p1.

    Examples
    --------
    >>> [round(binomial_power(n, 0.5, 0.5, 0.05), 6) for n in (5, 6)]
    [0.0, 0.03125]
    """
    rejected = _rejected(binomial_probabilities(n, p0), alpha, alternative)
    return min(1.0, float(binomial_probabilities(n, p1)[rejected].sum()))


def fisher_power(
    sizes: tuple[int, int], risks: tuple[float, float], alpha: float, alternative: str = "two_sided"
) -> float:
    """Return the power of Fisher's exact test of two risks.

    Parameters
    ----------
    sizes, risks : (control, treated)
        Respondents and true risks.
    alpha : float
        Size; the exact size is at most that.
    alternative : str
        "greater" for a higher risk among the treated.

    Examples
    --------
    >>> round(fisher_power((30, 30), (0.2, 0.5), 0.05), 4)
    0.5964
    """
    from scipy.special import gammaln

    n0, n1 = sizes
    control, treated = binomial_probabilities(n0, risks[0]), binomial_probabilities(n1, risks[1])
    log_factorial = gammaln(np.arange(n0 + n1 + 1.0) + 1.0)
    total = 0.0
    for number in np.flatnonzero(np.convolve(control, treated) > NEGLIGIBLE):
        events = int(number)
        x = np.arange(max(0, events - n0), min(n1, events) + 1)
        log_weight = -log_factorial[x] - log_factorial[n1 - x] - log_factorial[events - x]
        log_weight -= log_factorial[n0 - events + x]
        weight = np.exp(log_weight - log_weight.max())
        rejected = x[_rejected(weight / weight.sum(), alpha, alternative)]
        total += float(treated[rejected] @ control[events - rejected])
    return min(1.0, total)


def mcnemar_power(
    n_pairs: int, only_treated: float, only_control: float, alpha: float, alternative: str = "two_sided"
) -> float:
    """Return the power of the exact McNemar test.

    Given the number of discordant pairs, those in which only the treated has the outcome are binomial.

    Examples
    --------
    >>> mcnemar_power(4, 0.9, 0.1, 0.05)
    0.0
    """
    share = only_treated + only_control
    discordant = binomial_probabilities(n_pairs, share)
    likely = np.flatnonzero(discordant > NEGLIGIBLE)
    inside = [binomial_power(int(m), 0.5, only_treated / share, alpha, alternative) for m in likely]
    return min(1.0, float(discordant[likely] @ np.asarray(inside)))
