"""Measures of one two-by-two table of a factor and an outcome, with large-sample, score and exact intervals.

    a exposed with the outcome, b without;   c unexposed with the outcome, d without;   n1 = a + b, n0 = c + d, N.

Large-sample: log risk and odds ratios (Katz and others 1978; Woolf 1955), differences of risks; the population risk
difference and log(1 - attributable fraction) by the delta method over the four cells (Walter 1976; Pirikahu and others
2016). Score: limits at which the squared distance over the variance fitted under them is the normal quantile's square
(Mee 1984 for differences, Cornfield 1956 for odds). Small samples: Jewell's (2004) estimates; exact and mid-P limits
condition on the margins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.exact_odds import Margins
from gbveval.numerics.inference import normal_quantile

FloatArray = NDArray[np.float64]
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Limits:
    """An estimate and its limits; NaN where undefined, infinite where there is no limit."""

    estimate: float
    low: float
    high: float

    def turned(self, change: Callable[[float], float]) -> Limits:
        """Return the interval under an increasing change of scale."""
        return Limits(change(self.estimate), change(self.low), change(self.high))


UNDEFINED = Limits(NAN, NAN, NAN)


@dataclass(frozen=True, slots=True)
class ExposureTable:
    """The four counts: exposed and unexposed, with the outcome and without."""

    a: float
    b: float
    c: float
    d: float

    @property
    def exposed(self) -> float:
        """People with the factor."""
        return self.a + self.b

    @property
    def unexposed(self) -> float:
        """People without it."""
        return self.c + self.d

    @property
    def n(self) -> float:
        """Everybody."""
        return self.exposed + self.unexposed


def _z(level: float) -> float:
    return float(normal_quantile(0.5 + level / 2.0))


def _on_log(estimate: float, std_error: float, level: float) -> Limits:
    if not (np.isfinite(estimate) and estimate > 0.0 and np.isfinite(std_error)):
        return Limits(estimate, NAN, NAN)
    half = np.exp(_z(level) * std_error)
    return Limits(float(estimate), float(estimate / half), float(estimate * half))


def _ratio_error(table: ExposureTable) -> float:
    return float(np.sqrt(1.0 / table.a - 1.0 / table.exposed + 1.0 / table.c - 1.0 / table.unexposed))


def risk_ratio(table: ExposureTable, *, level: float = 0.95) -> Limits:
    """Return the ratio of risks with large-sample limits; none where a group has no events.

    Examples
    --------
    >>> found = risk_ratio(ExposureTable(30, 44, 29, 86))
    >>> round(found.estimate, 4), round(found.low, 4), round(found.high, 4)
    (1.6076, 1.0578, 2.4433)
    """
    if table.c == 0.0:
        return UNDEFINED
    estimate = table.a / table.exposed / (table.c / table.unexposed)
    return _on_log(estimate, _ratio_error(table) if table.a > 0 else NAN, level)


def small_sample_risk_ratio(table: ExposureTable, *, level: float = 0.95) -> Limits:
    """Return Jewell's risk ratio, less biased in small samples: one is added to the unexposed with the outcome."""
    estimate = table.a / table.exposed / ((table.c + 1.0) / (table.unexposed + 1.0))
    return _on_log(estimate, _ratio_error(table) if min(table.a, table.c) > 0 else NAN, level)


def odds_ratio(table: ExposureTable, *, level: float = 0.95) -> Limits:
    """Return the odds ratio with Woolf's limits; none where a cell is empty."""
    if table.b * table.c == 0.0:
        return UNDEFINED
    error = NAN if min(table.a, table.d) == 0 else np.sqrt(1 / table.a + 1 / table.b + 1 / table.c + 1 / table.d)
    return _on_log(table.a * table.d / (table.b * table.c), float(error), level)


def small_sample_odds_ratio(table: ExposureTable, *, level: float = 0.95) -> Limits:
    """Return Jewell's odds ratio a d / ((b + 1)(c + 1)), with Woolf's limits after a half was added to every cell."""
    a, b, c, d = (x + 0.5 for x in (table.a, table.b, table.c, table.d))
    limits = _on_log(a * d / (b * c), float(np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)), level)
    return Limits(table.a * table.d / ((table.b + 1.0) * (table.c + 1.0)), limits.low, limits.high)


def risk_difference(table: ExposureTable, *, level: float = 0.95) -> Limits:
    """Return the difference of risks with large-sample limits."""
    p1, p0 = table.a / table.exposed, table.c / table.unexposed
    half = _z(level) * np.sqrt(p1 * (1 - p1) / table.exposed + p0 * (1 - p0) / table.unexposed)
    return Limits(p1 - p0, float(p1 - p0 - half), float(p1 - p0 + half)) if half > 0 else Limits(p1 - p0, NAN, NAN)


def score_odds_ratio(table: ExposureTable, *, level: float = 0.95) -> Limits:
    """Return the odds ratio with score limits, which exist when a cell is empty (Cornfield 1956)."""
    m, low = table.a + table.c, max(0.0, table.a + table.c - table.unexposed)
    high = min(table.exposed, m)

    def distance(log_odds: float) -> float:
        fitted = _expected(table, np.exp(log_odds))
        cells = (fitted, m - fitted, table.exposed - fitted, table.d - table.a + fitted)
        # At the ends of the range rounding can take a cell below zero.
        return (table.a - fitted) * float(np.sqrt(sum(1.0 / max(cell, 1e-12) for cell in cells)))

    if not low < high:
        return UNDEFINED
    bottom = 0.0 if table.a == low else float(np.exp(_root(distance, _z(level))))
    top = np.inf if table.a == high else float(np.exp(_root(distance, -_z(level))))
    zero = table.b * table.c == 0.0
    return Limits(np.inf if zero else table.a * table.d / (table.b * table.c), bottom, top)


def _root(falling: Callable[[float], float], target: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(lambda x: falling(x) - target, -60.0, 60.0, xtol=1e-13, rtol=1e-13))


def _expected(table: ExposureTable, psi: float) -> float:
    """Return the count of exposed with the outcome under these margins at an odds ratio."""
    if psi > 1.0:
        # Those without the outcome have the inverse odds, for which no sum cancels.
        return table.exposed - _root_of_odds(table.exposed, table.unexposed, table.b + table.d, 1.0 / psi)
    return _root_of_odds(table.exposed, table.unexposed, table.a + table.c, psi)


def _root_of_odds(n1: float, n0: float, m: float, psi: float) -> float:
    lead, middle = 1.0 - psi, n0 - m + psi * (n1 + m)
    root = np.sqrt(middle**2 + 4.0 * lead * psi * n1 * m)
    if middle >= 0.0:
        return float(2.0 * psi * n1 * m / (middle + root))
    return float((root - middle) / (2.0 * lead))


def score_risk_difference(table: ExposureTable, *, level: float = 0.95) -> Limits:
    """Return the difference of risks with Mee's score limits, which stay within -1 to 1."""
    from scipy.optimize import brentq

    n1, n0 = table.exposed, table.unexposed
    difference = table.a / n1 - table.c / n0

    def distance(delta: float) -> float:
        p0 = _restricted(table, delta)
        p1 = min(max(p0 + delta, 0.0), 1.0)
        variance = max(p1 * (1.0 - p1) / n1 + p0 * (1.0 - p0) / n0, 1e-300)
        return (difference - delta) / float(np.sqrt(variance))

    z, edge = _z(level), 1e-12
    below, above = distance(-1.0 + edge), distance(1.0 - edge)
    low = (
        -1.0
        if below <= z
        else float(brentq(lambda x: distance(x) - z, -1.0 + edge, difference, xtol=1e-14, rtol=1e-13))
    )
    high = (
        1.0 if above >= -z else float(brentq(lambda x: distance(x) + z, difference, 1.0 - edge, xtol=1e-14, rtol=1e-13))
    )
    return Limits(difference, low, high)


def _restricted(table: ExposureTable, delta: float) -> float:
    """Return the likeliest risk of the unexposed when the risks differ by delta: the middle root of a cubic."""
    n1, n0, n = table.exposed, table.unexposed, table.n
    x0, m = table.c, table.a + table.c
    # Likelihood equation in p0 (Farrington and Manning 1990), roles of the groups as here.
    lead, square = n, (n1 + 2.0 * n0) * delta - n - m
    linear = (n0 * delta - n - 2.0 * x0) * delta + m
    constant = x0 * delta * (1.0 - delta)
    u = square / (3.0 * lead)
    v = u**3 - square * linear / (6.0 * lead**2) + constant / (2.0 * lead)
    w = float(np.sign(v) or 1.0) * np.sqrt(max(u**2 - linear / (3.0 * lead), 0.0))
    if w == 0.0:
        return float(np.clip(-u, max(0.0, -delta), min(1.0, 1.0 - delta)))
    angle = (np.pi + np.arccos(np.clip(v / w**3, -1.0, 1.0))) / 3.0
    return float(np.clip(2.0 * w * np.cos(angle) - u, max(0.0, -delta), min(1.0, 1.0 - delta)))


def population_risk_difference(table: ExposureTable, *, level: float = 0.95) -> Limits:
    """Return the risk of everybody less that of the unexposed; the variance knows that these are among them."""
    p, p0, share = (table.a + table.c) / table.n, table.c / table.unexposed, table.unexposed / table.n
    parts = ((table.a, 1 - p), (table.b, -p), (table.c, 1 - p - (1 - p0) / share), (table.d, -p + p0 / share))
    half = _z(level) * np.sqrt(sum(count * value**2 for count, value in parts)) / table.n
    return Limits(p - p0, float(p - p0 - half), float(p - p0 + half)) if half > 0 else Limits(p - p0, NAN, NAN)


def attributable_fraction(table: ExposureTable, *, level: float = 0.95) -> Limits:
    """Return 1 - (risk of the unexposed) / (risk of everybody), limits on the logarithm of the second term."""
    if table.c == 0.0:
        return UNDEFINED
    value = 1.0 - (table.c / table.unexposed) / ((table.a + table.c) / table.n)
    error = np.sqrt((table.b + value * (table.a + table.d)) / (table.n * table.c))
    return _one_minus(_on_log(1.0 - value, float(error), level))


def attributable_fraction_from_odds(table: ExposureTable, *, level: float = 0.95) -> Limits:
    """Return the population attributable fraction of a case-control study, where the outcome is rare (Walter 1978)."""
    cases, controls = table.a + table.c, table.b + table.d
    if table.c == 0.0 or table.d == 0.0:
        return UNDEFINED
    left = (table.c / cases) / (table.d / controls)
    error = np.sqrt(table.a / (table.c * cases) + table.b / (table.d * controls))
    return _one_minus(_on_log(left, float(error), level))


def _one_minus(limits: Limits) -> Limits:
    return Limits(1.0 - limits.estimate, 1.0 - limits.high, 1.0 - limits.low)


def mid_p_odds_ratio(margins: Margins, observed: int, *, level: float = 0.95) -> Limits:
    """Return the median unbiased odds ratio and mid-P limits.

    Half the probability of the count observed belongs to each tail. Given the margins (as `exact_odds.margins`); zero
    or infinite where the count is at an end of its range.
    """
    from scipy.optimize import brentq

    def below(log_odds: float) -> float:
        p = margins.probabilities(log_odds)
        return float(p[margins.counts < observed].sum() + 0.5 * p[margins.counts == observed].sum())

    def solve(target: float, end: float) -> float:
        if not below(60.0) < target < below(-60.0):
            return end
        return float(np.exp(brentq(lambda b: below(b) - target, -60.0, 60.0, xtol=1e-13)))

    tail = (1.0 - level) / 2.0
    at_end = 0.0 if observed == margins.counts[0] else np.inf
    return Limits(
        solve(0.5, at_end),
        solve(1.0 - tail, 0.0) if observed > margins.counts[0] else 0.0,
        solve(tail, np.inf) if observed < margins.counts[-1] else np.inf,
    )


def mid_p_value(margins: Margins, observed: int) -> float:
    """Return the two-sided mid-P value of no association: twice the smaller tail."""
    p = margins.probabilities(0.0)
    half = 0.5 * float(p[margins.counts == observed].sum())
    tails = (float(p[margins.counts < observed].sum()) + half, float(p[margins.counts > observed].sum()) + half)
    return min(1.0, 2.0 * min(tails))
