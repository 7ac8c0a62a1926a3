"""How strong an unmeasured confounder would have to be: E-values, robustness values, and bounds by a benchmark.

**E-value.** A confounder that multiplies the risk by R and is R times as common with exposure can move a risk ratio by
the factor R^2 / (2R - 1) at most (Ding and VanderWeele 2016). The E-value is the R at which this factor is the ratio g
of the observed to the null risk ratio, g + sqrt(g (g - 1)) (VanderWeele and Ding 2017).

**Robustness value.** In a linear regression with partial f = |t| / sqrt(df), a confounder that explains the share R^2
of what is left of both exposure and outcome moves the estimate by sqrt(R^2 R^2 / (1 - R^2)) standard errors times
sqrt(df). The robustness value is the R^2 that takes off the share q of the estimate, or of it less its margin of error
(Cinelli and Hazlett 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.inference import normal_quantile, t_quantile

FloatArray = NDArray[np.float64]
# A standardised mean difference d stands for a risk ratio of about exp(0.91 d) (VanderWeele 2017); 1.78 is 0.91 times
# 1.96, rounded as its authors do.
PER_SD, LIMIT_PER_SD = 0.91, 1.78


def e_value(risk_ratio: ArrayLike, null: float = 1.0) -> FloatArray:
    """Return E-values of risk ratios: the smallest strength of a confounder that would move them to `null`.

    Parameters
    ----------
    risk_ratio : array_like
        Positive; NaN gives NaN.
    null : float
        The ratio that it would be moved to.

    Examples
    --------
    >>> round(float(e_value(3.9)), 4), round(float(e_value(1 / 3.9)), 4)
    (7.263, 7.263)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.asarray(risk_ratio, float) / null
        gap = np.where(away < 1.0, 1.0 / away, away)
        return np.asarray(gap + np.sqrt(gap * (gap - 1.0)), dtype=np.float64)


def e_value_of_limit(low: ArrayLike, high: ArrayLike, null: float = 1.0) -> FloatArray:
    """Return E-values of the limit nearest the null: one where the interval holds it.

    Examples
    --------
    >>> e_value_of_limit([1.8, 0.9], [8.7, 1.2]).tolist()
    [3.0, 1.0]
    """
    lower, upper = np.asarray(low, float), np.asarray(high, float)
    nearest = np.where(lower > null, lower, np.where(upper < null, upper, null))
    return np.where(np.isnan(lower) | np.isnan(upper), np.nan, e_value(nearest, null))


def risk_ratio_of_odds(odds_ratio: ArrayLike) -> FloatArray:
    """Return about the risk ratio of an odds ratio of a common outcome: its root (VanderWeele 2017)."""
    return np.asarray(np.sqrt(np.asarray(odds_ratio, float)), dtype=np.float64)


def risk_ratio_of_hazards(hazard_ratio: ArrayLike) -> FloatArray:
    """Return about the risk ratio of a hazard ratio of a common outcome (VanderWeele 2017).

    Examples
    --------
    >>> round(float(risk_ratio_of_hazards(0.56)), 6)
    0.670084
    """
    h = np.asarray(hazard_ratio, float)
    return np.asarray((1.0 - 0.5 ** np.sqrt(h)) / (1.0 - 0.5 ** np.sqrt(1.0 / h)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class BiasedDifference:
    """A risk difference at a bias factor, and its limits.

    Attributes
    ----------
    estimate, conf_low, conf_high : float
        If a confounder had the bias factor.
    """

    estimate: float
    conf_low: float
    conf_high: float


def difference_at_bias(
    exposed: tuple[float, float], unexposed: tuple[float, float], bias: float, *, level: float = 0.95
) -> BiasedDifference:
    """Return the smallest risk difference that a bias factor leaves possible.

    Parameters
    ----------
    exposed, unexposed : tuple of (float, float)
        Events and people.
    bias : float
        The bias factor B, one or more.
    level : float
        Of the limits.

    Notes
    -----
    With risks p1, p0 and the share f exposed, (p1 - B p0) (f + (1 - f) / B) (Ding and VanderWeele 2016), its variance
    by the delta method with independent p1, p0 and f.
    """
    (a, n1), (c, n0) = exposed, unexposed
    p1, p0, f = a / n1, c / n0, n1 / (n1 + n0)
    gap, mix = p1 - bias * p0, f + (1.0 - f) / bias
    variance = mix**2 * (p1 * (1.0 - p1) / n1 + bias**2 * p0 * (1.0 - p0) / n0)
    variance += (gap * (1.0 - 1.0 / bias)) ** 2 * f * (1.0 - f) / (n1 + n0)
    half = float(normal_quantile(0.5 + level / 2.0)) * np.sqrt(variance)
    return BiasedDifference(gap * mix, gap * mix - half, gap * mix + half)


def bias_to_reach(
    exposed: tuple[float, float],
    unexposed: tuple[float, float],
    null: float,
    *,
    limit: bool = False,
    level: float = 0.95,
) -> float:
    """Return the smallest bias factor at which a positive risk difference, or its lower limit, falls to `null`.

    One where it is there already; found by a root, so there is no grid.
    """
    from scipy.optimize import brentq

    def above(bias: float) -> float:
        found = difference_at_bias(exposed, unexposed, bias, level=level)
        return (found.conf_low if limit else found.estimate) - null

    if above(1.0) <= 0.0:
        return 1.0
    far = 2.0
    while above(far) > 0.0:
        if far > 1e12:
            return float("inf")
        far *= 2.0
    return float(brentq(above, far / 2.0, far, xtol=1e-13, rtol=1e-14))


def partial_r2(statistic: float, df: float) -> float:
    """Return the share of what is left of the outcome that one column explains, t^2 / (t^2 + df)."""
    return statistic**2 / (statistic**2 + df)


def robustness(statistic: float, df: float, *, q: float = 1.0, alpha: float | None = None) -> float:
    """Return a robustness value.

    Parameters
    ----------
    statistic, df : float
        t statistic of the exposure and residual degrees of freedom.
    q : float
        Share of the estimate that is taken off: 1 for all of it.
    alpha : float, optional
        Take off as much as makes a two-sided test of this size fail to reject; absent, the estimate itself.

    Examples
    --------
    >>> round(robustness(4.18, 783), 3), round(robustness(4.18, 783, alpha=0.05), 3)
    (0.139, 0.076)
    """
    if df < 2:
        return float("nan")
    f = q * abs(statistic) / np.sqrt(df)
    margin = 0.0 if alpha is None else float(t_quantile(1.0 - alpha / 2.0, df - 1.0)) / np.sqrt(df - 1.0)
    left = f - margin
    if left <= 0.0:
        return 0.0
    if margin > 0.0 and f > 1.0 / margin:
        # So strong an estimate is turned by the outcome's share alone: no bias of the margin needs both.
        return float((f**2 - margin**2) / (1.0 + f**2))
    return float(0.5 * (np.sqrt(left**4 + 4.0 * left**2) - left**2))


@dataclass(frozen=True, slots=True)
class ConfoundedEstimate:
    """A coefficient if a confounder of given strength had been left out.

    Attributes
    ----------
    r2_exposure, r2_outcome : float
        Shares of what is left of exposure and outcome that it explains.
    estimate, std_error, statistic : float
        With the confounder in the model; `statistic` tests the estimate less the share that is not taken off.
    conf_low, conf_high : float
        Limits.
    """

    r2_exposure: float
    r2_outcome: float
    estimate: float
    std_error: float
    statistic: float
    conf_low: float
    conf_high: float


def benchmark_strength(r2_exposure: float, r2_outcome: float, *, kd: float, ky: float) -> tuple[float, float]:
    """Return how much a confounder explains that is kd and ky times as strong as a benchmark covariate.

    Parameters
    ----------
    r2_exposure, r2_outcome : float
        Partial R^2 of the benchmark with the exposure given the other covariates, and with the outcome given these and
        the exposure.
    kd, ky : float
        Multiples of its strength with exposure and outcome.

    Raises
    ------
    ValueError
        If no confounder is that strong: it would explain all of the exposure.
    """
    d = kd * r2_exposure / (1.0 - r2_exposure)
    between = kd * r2_exposure**2 / ((1.0 - kd * r2_exposure) * (1.0 - r2_exposure))
    if not (d < 1.0 and 0.0 <= between < 1.0):
        raise ValueError(f"Nothing is {kd:g} times as strong as the benchmark: it would explain all of the exposure.")
    eta = (np.sqrt(ky) + np.sqrt(between)) / np.sqrt(1.0 - between)
    return d, float(min(eta**2 * r2_outcome / (1.0 - r2_outcome), 1.0))


def with_confounder(
    estimate: float,
    std_error: float,
    df: float,
    *,
    r2_exposure: float,
    r2_outcome: float,
    q: float = 1.0,
    reduce: bool = True,
    level: float = 0.95,
) -> ConfoundedEstimate:
    """Return the coefficient that a regression with the confounder would give.

    Parameters
    ----------
    estimate, std_error, df : float
        As estimated without it.
    r2_exposure, r2_outcome : float
        Its partial R^2 with exposure and outcome.
    q, reduce
        The share of the estimate in question, and whether the bias is towards a smaller estimate.
    level : float
        Of the limits.
    """
    bias = np.sqrt(r2_outcome * r2_exposure / (1.0 - r2_exposure)) * std_error * np.sqrt(df)
    new = float(np.sign(estimate)) * (abs(estimate) - bias if reduce else abs(estimate) + bias)
    error = float(std_error * np.sqrt((1.0 - r2_outcome) / (1.0 - r2_exposure)) * np.sqrt(df / (df - 1.0)))
    h0 = estimate * (1.0 - q) if reduce else estimate * (1.0 + q)
    half = float(t_quantile(0.5 + level / 2.0, df - 1.0)) * error
    statistic = (new - h0) / error if error > 0 else float("nan")
    return ConfoundedEstimate(r2_exposure, r2_outcome, new, error, statistic, new - half, new + half)
