"""Hides the common effect of several two-by-two tables: Mantel-Haenszel, Peto, and tests that the tables share it.

With a, b events and not of n1 treated, c, d of n0 controls and N = n1 + n0 in each site: the odds ratio is
sum(ad/N) / sum(bc/N) with the variance of Robins, Breslow and Greenland (1986); the risk ratio sum(a n0/N) /
sum(c n1/N) with that of Greenland and Robins (1985), who give rates too; the risk difference with that of Sato (1989).
No constant is added: a site without events in an arm counts, one without events in both gives nothing to a ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import f_upper

FloatArray = NDArray[np.float64]
COMMON_MEASURES = ("odds_ratio", "risk_ratio", "risk_difference")


@dataclass(frozen=True, slots=True)
class CommonEffect:
    """A common effect on its link scale; NaN where the tables cannot say."""

    estimate: float
    variance: float


def mantel_haenszel(events: FloatArray, n: FloatArray, *, measure: str) -> CommonEffect:
    """Return the Mantel-Haenszel effect of treated against control.

    Parameters
    ----------
    events, n : ndarray, shape (sites, 2)
        Control first.
    measure : str
        One of COMMON_MEASURES; ratios as logarithms.

    Examples
    --------
    >>> table = np.array([[20.0, 10.0]]), np.array([[100.0, 100.0]])
    >>> round(float(np.exp(mantel_haenszel(*table, measure="risk_ratio").estimate)), 6)
    0.5
    """
    (c, a), (n0, n1) = events.T, n.T
    b, d, total = n1 - a, n0 - c, n1 + n0
    with np.errstate(divide="ignore", invalid="ignore"):
        if measure == "odds_ratio":
            p, q, r, s = (a + d) / total, (b + c) / total, a * d / total, b * c / total
            variance = 0.5 * (
                (p * r).sum() / r.sum() ** 2
                + (p * s + q * r).sum() / (r.sum() * s.sum())
                + (q * s).sum() / s.sum() ** 2
            )
            return _finite(np.log(r.sum()) - np.log(s.sum()), variance)
        if measure == "risk_ratio":
            r, s = (a * n0 / total).sum(), (c * n1 / total).sum()
            top = (n1 * n0 * (a + c) / total**2 - a * c / total).sum()
            return _finite(np.log(r) - np.log(s), top / (r * s))
        if measure == "risk_difference":
            weight = n1 * n0 / total
            value = ((a * n0 - c * n1) / total).sum() / weight.sum()
            p = (c * n1**2 - a * n0**2 + n1 * n0 * (n0 - n1) / 2.0) / total**2
            q = (a * d + b * c) / (2.0 * total)
            return _finite(value, (value * p.sum() + q.sum()) / weight.sum() ** 2)
    raise ValueError(f"The measure is one of {', '.join(COMMON_MEASURES)}, not {measure!r}.")


def mantel_haenszel_rate_ratio(events: FloatArray, exposure: FloatArray) -> CommonEffect:
    """Return the Mantel-Haenszel log rate ratio (Greenland and Robins 1985).

    Parameters
    ----------
    events, exposure : ndarray, shape (sites, 2)
        Control first.
    """
    (c, a), (t0, t1) = events.T, exposure.T
    total = t0 + t1
    r, s = (a * t0 / total).sum(), (c * t1 / total).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return _finite(np.log(r) - np.log(s), (t1 * t0 * (a + c) / total**2).sum() / (r * s))


def peto(events: FloatArray, n: FloatArray) -> CommonEffect:
    """Return Peto's one-step log odds ratio: observed less expected events over their hypergeometric variance."""
    expected, spread = _hypergeometric(events, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _finite((events[:, 1] - expected).sum() / spread.sum(), 1.0 / spread.sum())


def cochran_mantel_haenszel(events: FloatArray, n: FloatArray, *, correction: float = 0.5) -> tuple[float, float]:
    """Return the chi-squared statistic (1 degree of freedom) and p-value of no association in any table."""
    expected, spread = _hypergeometric(events, n)
    gap = max(0.0, abs(float((events[:, 1] - expected).sum())) - correction)
    if not spread.sum() > 0:
        return float("nan"), float("nan")
    statistic = gap**2 / float(spread.sum())
    return statistic, f_upper(statistic, 1.0, np.inf)


@dataclass(frozen=True, slots=True)
class SharedOdds:
    """Tests that all tables share the common odds ratio: Breslow and Day's, and with Tarone's correction."""

    breslow_day: float
    tarone: float
    df: int
    p_value: float


def shared_odds(events: FloatArray, n: FloatArray, log_odds_ratio: float) -> SharedOdds:
    """Return tests of one odds ratio for all tables.

    Parameters
    ----------
    events, n : ndarray, shape (sites, 2)
        Control first.
    log_odds_ratio : float
        The common one (Mantel-Haenszel).
    """
    happened = events.sum(axis=1)
    informative = (happened > 0) & (happened < n.sum(axis=1))
    a, (n0, n1), m = events[informative, 1], n[informative].T, happened[informative]
    psi = np.exp(log_odds_ratio)
    # The cell that has this odds ratio under the margins solves a quadratic, here in the form that does not cancel.
    if psi == 1.0:
        fitted = n1 * m / (n1 + n0)
    else:
        lead, middle = 1.0 - psi, n0 - m + psi * (n1 + m)
        root = np.sqrt(middle**2 + 4.0 * lead * psi * n1 * m)
        fitted = 2.0 * psi * n1 * m / (middle + root)
    variance = 1.0 / (1.0 / fitted + 1.0 / (m - fitted) + 1.0 / (n1 - fitted) + 1.0 / (n0 - m + fitted))
    gap = a - fitted
    statistic = float((gap**2 / variance).sum())
    corrected = statistic - float(gap.sum()) ** 2 / float(variance.sum())
    df = int(informative.sum()) - 1
    return SharedOdds(statistic, corrected, df, f_upper(corrected / df, df, np.inf) if df > 0 else float("nan"))


def _hypergeometric(events: FloatArray, n: FloatArray) -> tuple[FloatArray, FloatArray]:
    total, happened = n.sum(axis=1), events.sum(axis=1)
    expected = n[:, 1] * happened / total
    spread = n[:, 1] * n[:, 0] * happened * (total - happened) / (total**2 * np.maximum(total - 1.0, 1.0))
    return expected, spread


def _finite(estimate: float, variance: float) -> CommonEffect:
    good = bool(np.isfinite(estimate) and np.isfinite(variance) and variance > 0)
    return CommonEffect(float(estimate), float(variance)) if good else CommonEffect(float("nan"), float("nan"))
