"""Hides how counts of events follow from what a plan assumes about their rate, dispersion and exposure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._require import real


@dataclass(frozen=True, slots=True)
class Count:
    """A count of events, such as incidents in the recall period: Poisson, or negative binomial with a dispersion.

    Parameters
    ----------
    rate : float
        Events per unit of exposure in control. An effect is a difference in rates, treated minus control; tests are
        done on the log rate ratio, or with clusters on their rates.
    dispersion : float
        k in variance = mean + k mean^2, the same in both arms; 0 for Poisson. In a plan of clusters it is that between
        respondents of one cluster.
    exposure : float
        Exposure of each respondent, such as years at risk.

    Raises
    ------
    DesignError
        If a rate or an exposure is not above zero, or the dispersion is negative.

    Notes
    -----
    Not for a count that is mostly zero with a few very large values: the log of a mean count is then far from normal.

    Examples
    --------
    >>> Count(rate=0.6, dispersion=1.0).variance(0.6)
    0.96
    """

    rate: float
    dispersion: float = 0.0
    exposure: float = 1.0

    def __post_init__(self) -> None:
        real("A rate", self.rate, low=0.0, high=math.inf)
        real("dispersion", self.dispersion, low=0.0, high=math.inf, closed=True)
        real("exposure", self.exposure, low=0.0, high=math.inf)

    @property
    def binary(self) -> bool:
        """Whether the outcome is 0 or 1."""
        return False

    def levels(self, effect: float) -> tuple[float, float]:
        """Return the rates in control and in the treated arm."""
        real("An effect", effect, low=-math.inf, high=math.inf)
        treated = float(self.rate + effect)
        if treated <= 0.0:
            raise DesignError(
                f"A rate of {self.rate:g} in control and an effect of {effect:g} give a treated rate of {treated:g}, "
                "which is not above 0. An effect is a difference in rates, treated minus control; give a smaller one."
            )
        return float(self.rate), treated

    def variance(self, level: float) -> float:
        """Return the variance of a respondent's count where the rate is `level`."""
        mean = float(level) * float(self.exposure)
        return mean + float(self.dispersion) * mean**2

    def largest_effect(self, direction: str) -> float:
        """Return the size that effects in a direction stay below."""
        return math.inf if direction == "increase" else float(self.rate)

    def draw(self, effect: float, arm: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float64]:
        """Return independent counts of respondents, whose arm is 0 (control) or 1."""
        mean = np.asarray(self.levels(effect))[arm] * float(self.exposure)
        if self.dispersion > 0.0:
            mean = mean * rng.gamma(1.0 / float(self.dispersion), float(self.dispersion), size=arm.size)
        return np.asarray(rng.poisson(mean), dtype=np.float64)

    def truths(self, effect: float) -> dict[str, float]:
        """Return the true value of each contrast on its link scale; means are of counts, not of rates."""
        control, treated = self.levels(effect)
        return {
            "mean_difference": float(effect) * float(self.exposure),
            "rate_ratio": math.log(treated / control),
        }
