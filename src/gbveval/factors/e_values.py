"""E-values: how strong an unmeasured confounder would have to be to explain an association away."""

from __future__ import annotations

from typing import Final

import numpy as np

from gbveval.core.errors import DataError, DesignError
from gbveval.core.table import Table
from gbveval.numerics.unmeasured_confounding import (
    LIMIT_PER_SD,
    PER_SD,
    BiasedDifference,
    bias_to_reach,
    difference_at_bias,
    e_value_of_limit,
    risk_ratio_of_hazards,
    risk_ratio_of_odds,
)
from gbveval.numerics.unmeasured_confounding import e_value as e_value_of_ratio

RATIOS: Final = ("risk_ratio", "odds_ratio", "hazard_ratio")
COLUMNS = ("row", "risk_ratio", "e_value")
CAUSAL_NOTE = (
    "An E-value speaks of a causal reading that the association itself does not claim: a confounder this strongly "
    "associated with both factor and outcome, beyond what was adjusted for, could explain it away; a weaker one could "
    "not."
)


def e_value(
    estimate: float,
    conf_low: float | None = None,
    conf_high: float | None = None,
    *,
    measure: str = "risk_ratio",
    outcome_is_rare: bool | None = None,
    null: float = 1.0,
) -> Table:
    """Return E-values of a ratio and of the limit of its interval that is nearest the null.

    Parameters
    ----------
    estimate, conf_low, conf_high : float
        A ratio and its interval.
    measure : str
        "risk_ratio" (or a ratio of prevalences or rates), "odds_ratio" or "hazard_ratio".
    outcome_is_rare : bool, optional
        Odds and hazard ratios need it: whether fewer than about 15 % have the outcome. If so they stand for risk
        ratios; if not they are turned into about the risk ratio (roots of odds ratios).
    null : float
        The ratio to which a confounder would move the estimate.

    Returns
    -------
    Table
        Rows "estimate", "conf_low" and "conf_high" with the risk ratio and its E-value. The limit far from the null
        has none; a limit beyond the null has 1: no confounder is needed.

    Notes
    -----
    **Do not use** an E-value as evidence that there is no confounding: it says how much there would have to be.

    References
    ----------
    VanderWeele and Ding (2017), Annals of Internal Medicine 167. VanderWeele (2017), Biometrics 73 (approximate risk
    ratios).

    Examples
    --------
    >>> table = e_value(3.9, 1.8, 8.7)
    >>> [None if x is None else round(x, 3) for x in table.column("e_value")]
    [7.263, 3.0, None]
    """
    if measure not in RATIOS:
        raise DesignError(
            f"measure is one of {', '.join(RATIOS)}, not {measure!r}. Differences of means have e_value_of_means, "
            "differences of risks e_value_of_risks."
        )
    if measure != "risk_ratio" and outcome_is_rare is None:
        raise DesignError(
            f"An {measure.replace('_', ' ')} needs outcome_is_rare=True or False to stand for a risk ratio."
        )
    given = [estimate, null, *(limit for limit in (conf_low, conf_high) if limit is not None)]
    if not all(np.isfinite(given)) or min(given) <= 0.0:
        raise DataError(
            "A ratio, its limits and its null are finite numbers above zero; logarithms must be undone first."
        )
    _check_order(estimate, conf_low, conf_high)
    common = "risk_ratio" if outcome_is_rare else measure
    ratios = [None if x is None else _as_risk_ratio(x, common) for x in (estimate, conf_low, conf_high)]
    return _table(ratios, _as_risk_ratio(null, common), measure)


def _as_risk_ratio(ratio: float, measure: str) -> float:
    """Return about the risk ratio of a ratio of a common outcome."""
    if measure == "odds_ratio":
        return float(risk_ratio_of_odds(ratio))
    return float(risk_ratio_of_hazards(ratio)) if measure == "hazard_ratio" else ratio


def e_value_of_means(
    estimate: float,
    std_error: float | None = None,
    *,
    outcome_sd: float = 1.0,
    contrast: float = 1.0,
    null: float = 0.0,
) -> Table:
    """Return E-values of a difference of means, or of a coefficient of a regression for a continuous outcome.

    Parameters
    ----------
    estimate, std_error : float
        A standardised difference, or a coefficient with the two arguments that follow.
    outcome_sd : float
        Standard deviation of the outcome; 1 for a standardised difference.
    contrast : float
        Difference of the exposure that is spoken of; 1 for two groups.
    null : float
        The difference, on the scale of `estimate`, to which a confounder would move it.

    Returns
    -------
    Table
        As from `e_value`. A standardised difference d stands for a risk ratio of about exp(0.91 d), with 95 % limits
        exp(0.91 d -+ 1.78 standard errors).

    References
    ----------
    VanderWeele and Ding (2017), Annals of Internal Medicine 167.

    Examples
    --------
    >>> [None if x is None else round(x, 3) for x in e_value_of_means(0.5, 0.25).column("e_value")]
    [2.529, 1.111, None]
    """
    if not outcome_sd > 0.0 or (std_error is not None and not std_error > 0.0):
        raise DataError("outcome_sd and std_error are above zero.")
    scale = contrast / outcome_sd
    middle = PER_SD * estimate * scale
    half = None if std_error is None else LIMIT_PER_SD * std_error * abs(scale)
    limits = [None, None] if half is None else [float(np.exp(middle - half)), float(np.exp(middle + half))]
    return _table([float(np.exp(middle)), *limits], float(np.exp(PER_SD * null * scale)), "difference of means")


def e_value_of_risks(
    exposed: tuple[int, int], unexposed: tuple[int, int], *, null: float = 0.0, level: float = 0.95
) -> Table:
    """Return E-values of a risk difference above the null, from the counts of its table.

    Parameters
    ----------
    exposed, unexposed : tuple of (int, int)
        Those with the outcome and all, with and without the factor. Turn the groups round for a protective factor.
    null : float
        The difference to which a confounder would move it.
    level : float
        Of the limit.

    Returns
    -------
    Table
        Rows "estimate" and "conf_low": the risk difference (under `risk_difference`), the bias factor that takes it to
        the null, and the E-value of that factor.

    References
    ----------
    Ding and VanderWeele (2016), Epidemiology 27.

    Examples
    --------
    With a null of zero this is the E-value of the risk ratio:

    >>> table = e_value_of_risks((30, 74), (29, 115))
    >>> same = e_value((30 / 74) / (29 / 115)).column("e_value")[0]
    >>> abs(table.column("e_value")[0] - same) < 1e-9
    True
    """
    for events, n in (exposed, unexposed):
        if not 0 <= events <= n or n == 0:
            raise DataError("Events lie between 0 and the people of their group, and each group has people.")
    found = difference_at_bias(exposed, unexposed, 1.0, level=level)
    if found.estimate < null:
        raise DesignError("The difference lies below the null; exchange the groups (and the sign of the null).")
    rows = [
        _risk_row("estimate", found, bias_to_reach(exposed, unexposed, null)),
        _risk_row("conf_low", found, bias_to_reach(exposed, unexposed, null, limit=True, level=level)),
    ]
    return Table(
        "E-values of a risk difference",
        ("row", "risk_difference", "bias_factor", "e_value"),
        tuple(rows),
        (CAUSAL_NOTE,),
    )


def _risk_row(name: str, found: BiasedDifference, bias: float) -> tuple[str, float, float | None, float | None]:
    shown = bias if np.isfinite(bias) else None
    return name, float(getattr(found, name)), shown, None if shown is None else float(e_value_of_ratio(bias))


def _check_order(estimate: float, low: float | None, high: float | None) -> None:
    if (low is not None and low > estimate) or (high is not None and high < estimate):
        raise DataError(
            "The estimate lies outside its interval; give the estimate first, then its lower and upper limit."
        )


def _table(ratios: list[float | None], null: float, what: str) -> Table:
    """Return the table of a ratio and its limits."""
    point, low, high = ratios
    assert point is not None
    rising = point >= null
    near = low if rising else high
    limit = None
    if near is not None:
        limit = float(e_value_of_limit(near, np.inf, null)) if rising else float(e_value_of_limit(0.0, near, null))
    rows = (
        ("estimate", point, float(e_value_of_ratio(point, null))),
        ("conf_low", low, limit if rising else None),
        ("conf_high", high, None if rising else limit),
    )
    return Table(f"E-values of a {what.replace('_', ' ')}", COLUMNS, rows, (CAUSAL_NOTE,))
