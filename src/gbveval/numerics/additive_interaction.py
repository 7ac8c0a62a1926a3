"""Interaction of two exposures on the additive scale, from their three ratios: RERI, attributable proportion, synergy.

With ratios of risks R10, R01 of one exposure alone and R11 of both, each against neither:
RERI = R11 - R10 - R01 + 1, AP = RERI / R11, S = (R11 - 1) / ((R10 - 1) + (R01 - 1)) (Rothman 1986; delta method as
Hosmer and Lemeshow 1992).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Derived:
    """A function of the three log ratios; `value` is NaN where it is not defined.

    Attributes
    ----------
    value : float
        The function.
    gradient : ndarray, shape (3,)
        Its derivatives by log R10, log R01 and log R11.
    """

    value: float
    gradient: FloatArray


def excess_risk(log_ratios: FloatArray) -> Derived:
    """Return the relative excess risk due to interaction; zero where risks add up.

    Examples
    --------
    >>> round(excess_risk(np.log([2.0, 3.0, 6.0])).value, 6)
    2.0
    """
    ten, one, both = np.exp(log_ratios)
    return Derived(float(both - ten - one + 1.0), np.array([-ten, -one, both]))


def attributable_proportion(log_ratios: FloatArray) -> Derived:
    """Return the share of the risk of those with both that is due to interaction.

    Examples
    --------
    >>> round(attributable_proportion(np.log([2.0, 3.0, 6.0])).value, 6)
    0.333333
    """
    excess = excess_risk(log_ratios)
    both = float(np.exp(log_ratios[2]))
    value = excess.value / both
    return Derived(value, excess.gradient / both - np.array([0.0, 0.0, value]))


def log_synergy(log_ratios: FloatArray) -> Derived:
    """Return the logarithm of the synergy index; defined where both its parts are above zero.

    Examples
    --------
    >>> round(float(np.exp(log_synergy(np.log([2.0, 3.0, 6.0])).value)), 6)
    1.666667
    """
    ten, one, both = np.exp(log_ratios)
    top, bottom = both - 1.0, ten + one - 2.0
    if top <= 0.0 or bottom <= 0.0:
        return Derived(float("nan"), np.full(3, np.nan))
    return Derived(float(np.log(top / bottom)), np.array([-ten / bottom, -one / bottom, both / top]))
