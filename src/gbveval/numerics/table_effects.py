"""Hides the formulas that turn two arms' counts or means into an estimate and its variance, site by site.

Events a of n1 in the treated arm, c of n0 in the control arm. Log risk ratio: 1/a - 1/n1 + 1/c - 1/n0; log odds ratio:
the sum of reciprocal cells; risk difference: p(1 - p)/n of both arms; log rate ratio: 1/a + 1/c; arcsine difference
asin(sqrt(p1)) - asin(sqrt(p0)): 1/(4 n1) + 1/(4 n0) (Rucker and others 2009); Peto's one-step log odds ratio:
(a - E) / V with the hypergeometric variance V, and 1 / V (Yusuf and others 1985). Standardised mean difference:
Hedges's g with the exact correction, and variance 1/n1 + 1/n0 + g^2 / (2 (n1 + n0)) (Hedges 1981; Hedges and Olkin
1985).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
RISK_MEASURES = ("risk_ratio", "odds_ratio", "risk_difference", "peto_odds_ratio", "arcsine_difference")
# To which tables a half is added: those with an empty cell, all of them, or all as soon as one has an empty cell.
ZERO_CELLS = ("zero_cell_sites", "all_sites", "all_sites_if_any_zero_cell", "none")


@dataclass(frozen=True, slots=True, eq=False)
class EffectSizes:
    """Estimates and variances, shape (sites,); NaN where a table has none."""

    estimate: FloatArray
    variance: FloatArray


def corrected(cells: FloatArray, *, add: float, to: str) -> FloatArray:
    """Return cells with a constant added where the rule says so.

    Parameters
    ----------
    cells : ndarray, shape (sites, cells)
        Counts.
    add : float
        What is added to each cell of a table.
    to : str
        One of ZERO_CELLS.

    Examples
    --------
    >>> corrected(np.array([[0.0, 9.0], [3.0, 7.0]]), add=0.5, to="zero_cell_sites").tolist()
    [[0.5, 9.5], [3.0, 7.0]]
    """
    empty = (cells == 0).any(axis=1)
    if to == "none":
        return cells
    if to == "all_sites_if_any_zero_cell":
        empty = np.full(empty.shape, bool(empty.any()))
    elif to == "all_sites":
        empty = np.ones(empty.shape, dtype=bool)
    result: FloatArray = cells + add * empty[:, None]
    return result


def risk_effects(
    events: FloatArray, n: FloatArray, *, measure: str, add: float = 0.5, to: str = "zero_cell_sites"
) -> EffectSizes:
    """Return effects of treated against control from numbers of people.

    Parameters
    ----------
    events, n : ndarray, shape (sites, 2)
        People with the outcome, and people; control first.
    measure : str
        One of RISK_MEASURES; ratios as logarithms.
    add, to
        As for `corrected`; Peto's needs no correction and gets none.

    Examples
    --------
    >>> found = risk_effects(np.array([[10.0, 5.0]]), np.array([[100.0, 100.0]]), measure="risk_difference")
    >>> found.estimate.tolist(), round(float(found.variance[0]), 6)
    ([-0.05], 0.001375)
    """
    if measure == "peto_odds_ratio":
        return _peto(events, n)
    cells = np.column_stack([events, n - events])
    c, a, d, b = corrected(cells, add=add, to=to).T
    n1, n0 = a + b, c + d
    with np.errstate(divide="ignore", invalid="ignore"):
        if measure == "risk_ratio":
            pair = np.log(a / n1) - np.log(c / n0), 1 / a - 1 / n1 + 1 / c - 1 / n0
        elif measure == "odds_ratio":
            pair = np.log(a / b) - np.log(c / d), 1 / a + 1 / b + 1 / c + 1 / d
        elif measure == "risk_difference":
            pair = a / n1 - c / n0, a * b / n1**3 + c * d / n0**3
        elif measure == "arcsine_difference":
            pair = np.arcsin(np.sqrt(a / n1)) - np.arcsin(np.sqrt(c / n0)), 0.25 / n1 + 0.25 / n0
        else:
            raise ValueError(f"The measure is one of {', '.join(RISK_MEASURES)}, not {measure!r}.")
    return _defined(*pair)


def _peto(events: FloatArray, n: FloatArray) -> EffectSizes:
    total, happened = n.sum(axis=1), events.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = n[:, 1] * happened / total
        spread = n[:, 1] * n[:, 0] * happened * (total - happened) / (total**2 * (total - 1.0))
        return _defined((events[:, 1] - expected) / spread, 1.0 / spread)


def rate_effects(
    events: FloatArray, exposure: FloatArray, *, add: float = 0.5, to: str = "zero_cell_sites"
) -> EffectSizes:
    """Return log rate ratios of treated against control.

    Parameters
    ----------
    events, exposure : ndarray, shape (sites, 2)
        Events and time at risk; control first.
    add, to
        As for `corrected`.
    """
    c, a = corrected(events, add=add, to=to).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return _defined(np.log(a / exposure[:, 1]) - np.log(c / exposure[:, 0]), 1 / a + 1 / c)


def standardised_mean_differences(mean: FloatArray, sd: FloatArray, n: FloatArray) -> EffectSizes:
    """Return Hedges's g of treated against control.

    Parameters
    ----------
    mean, sd, n : ndarray, shape (sites, 2)
        Of the outcome in each arm; control first.

    Examples
    --------
    >>> found = standardised_mean_differences(np.array([[0.0, 1.0]]), np.ones((1, 2)), np.full((1, 2), 50.0))
    >>> round(float(found.estimate[0]), 4)
    0.9923
    """
    from scipy.special import gammaln

    df = n.sum(axis=1) - 2.0
    pooled = np.sqrt(((n - 1.0) * sd**2).sum(axis=1) / df)
    correction = np.exp(gammaln(df / 2.0) - gammaln((df - 1.0) / 2.0)) / np.sqrt(df / 2.0)
    g = correction * (mean[:, 1] - mean[:, 0]) / pooled
    return _defined(g, (1.0 / n).sum(axis=1) + g**2 / (2.0 * n.sum(axis=1)))


def _defined(estimate: FloatArray, variance: FloatArray) -> EffectSizes:
    good = np.isfinite(estimate) & np.isfinite(variance) & (variance > 0)
    return EffectSizes(np.where(good, estimate, np.nan), np.where(good, variance, np.nan))
