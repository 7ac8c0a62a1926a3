"""E-values beside the ratios of a result, and robustness values beside differences, from their 95 % intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gbveval.core.estimates import Estimates
from gbveval.core.term import Term
from gbveval.numerics.inference import wald_interval
from gbveval.numerics.unmeasured_confounding import e_value, e_value_of_limit, robustness

RATIOS = {"prevalence_ratio": 1.0, "odds_ratio": 0.5}
LEVEL = 0.95


def with_e_values(estimates: Estimates) -> Estimates:
    """Return a result with the columns `e_value` and `e_value_limit`: numbers for ratios, null for other rows.

    Odds ratios are turned into about the ratio of risks by their root.
    """
    return replace(estimates, terms=tuple(_with_e_value(row) for row in estimates.terms))


def with_robustness(estimates: Estimates) -> Estimates:
    """Return a result with robustness values of the rows that say their `partial_r2`.

    The value is how much a confounder would have to explain, of what covariates leave of factor and outcome both, to
    take the difference to zero (Cinelli and Hazlett 2020); of the limit, to take it to where the 95 % interval, as wide
    as it is, holds zero.
    """
    return replace(estimates, terms=tuple(_with_robustness(row) for row in estimates.terms))


def _with_robustness(row: Term) -> Term:
    explained = dict(row.extra).get("partial_r2")
    point: float | None = None
    limit: float | None = None
    if isinstance(explained, float) and explained < 1.0 and row.value:
        # With f^2 = R^2 / (1 - R^2) standing for t^2 / df, the value needs neither.
        f, whole = float(np.sqrt(explained / (1.0 - explained))), 1e6
        point = robustness(f * np.sqrt(whole), whole)
        if row.std_error is not None:
            margin = float(_half_width(row)) / abs(row.value)
            limit = robustness(f * np.sqrt(whole), whole, q=1.0 - margin) if margin < 1.0 else 0.0
    return replace(row, extra=(*row.extra, ("robustness_value", point), ("robustness_value_limit", limit)))


def _half_width(row: Term) -> float:
    value, error, df = (np.array([x], dtype=float) for x in (0.0, row.std_error, row.df))
    return float(wald_interval(value, error, df=df, level=LEVEL)[1][0])


def _with_e_value(row: Term) -> Term:
    point: float | None = None
    limit: float | None = None
    power = RATIOS.get(row.estimand.contrast)
    if power is not None and row.value is not None:
        point = float(e_value(np.exp(power * row.value)))
        if row.std_error is not None:
            value, error, df = (np.array([x], dtype=float) for x in (row.value, row.std_error, row.df))
            low, high = wald_interval(value, error, df=df, level=LEVEL)
            # A limit beyond what a float holds is no reason to warn: its partner is the one that counts.
            with np.errstate(over="ignore"):
                limit = float(e_value_of_limit(np.exp(power * low[0]), np.exp(power * high[0])))
    return replace(row, extra=(*row.extra, ("e_value", point), ("e_value_limit", limit)))
