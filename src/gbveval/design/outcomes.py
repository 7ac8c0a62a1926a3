"""Hides how an outcome's variance and true contrasts follow from what a plan assumes about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._require import real


@dataclass(frozen=True, slots=True)
class Continuous:
    """A continuous outcome that varies equally in both arms.

    Parameters
    ----------
    sd : float
        Standard deviation between respondents of an arm, clusters included, in units of the outcome.
    mean : float
        Mean in control.

    Raises
    ------
    DesignError
        If `sd` is not above zero or something is not finite.

    Examples
    --------
    >>> Continuous(sd=10.0, mean=50.0).levels(-3.0)
    (50.0, 47.0)
    """

    sd: float = 1.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        real("The standard deviation of an outcome (sd)", self.sd, low=0.0, high=math.inf)
        real("The mean of an outcome", self.mean, low=-math.inf, high=math.inf)

    @property
    def binary(self) -> bool:
        """Whether the outcome is 0 or 1."""
        return False

    def levels(self, effect: float) -> tuple[float, float]:
        """Return the means in control and in the treated arm."""
        real("An effect", effect, low=-math.inf, high=math.inf)
        return float(self.mean), float(self.mean + effect)

    def variance(self, level: float) -> float:
        """Return the variance between respondents where the mean is `level`."""
        return float(self.sd) ** 2

    def largest_effect(self, direction: str) -> float:
        """Return the size that effects in a direction stay below."""
        return math.inf

    def draw(self, effect: float, arm: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float64]:
        """Return independent outcomes of respondents, whose arm is 0 (control) or 1."""
        level = np.asarray(self.levels(effect))[arm]
        return np.asarray(level + float(self.sd) * rng.normal(size=arm.size), dtype=np.float64)

    def truths(self, effect: float) -> dict[str, float]:
        """Return the true value of each contrast on its link scale."""
        self.levels(effect)
        return {"mean_difference": float(effect), "standardised_mean_difference": float(effect) / self.sd}


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary outcome, such as having been harassed in the past 12 months.

    Parameters
    ----------
    risk : float
        Risk in control, strictly between 0 and 1. An effect is a risk difference, treated minus control.

    Raises
    ------
    DesignError
        If a risk lies outside (0, 1).

    Examples
    --------
    >>> [round(level, 2) for level in Binary(0.35).levels(-0.08)]
    [0.35, 0.27]
    """

    risk: float

    def __post_init__(self) -> None:
        real("A risk", self.risk, low=0.0, high=1.0, hint="A percentage is given as its share, 35 % as 0.35.")

    @property
    def binary(self) -> bool:
        """Whether the outcome is 0 or 1."""
        return True

    def levels(self, effect: float) -> tuple[float, float]:
        """Return the risks in control and in the treated arm."""
        real("An effect", effect, low=-math.inf, high=math.inf)
        treated = float(self.risk + effect)
        if not 0.0 < treated < 1.0:
            raise DesignError(
                f"A risk of {self.risk:g} in control and an effect of {effect:g} give a treated risk of {treated:g}, "
                "which is not between 0 and 1. An effect is a risk difference, treated minus control; give a smaller "
                "one."
            )
        return float(self.risk), treated

    def variance(self, level: float) -> float:
        """Return the variance between respondents where the risk is `level`."""
        return level * (1.0 - level)

    def largest_effect(self, direction: str) -> float:
        """Return the size that effects in a direction stay below."""
        return float(1.0 - self.risk if direction == "increase" else self.risk)

    def draw(self, effect: float, arm: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float64]:
        """Return independent outcomes of respondents, whose arm is 0 (control) or 1."""
        level = np.asarray(self.levels(effect))[arm]
        return np.asarray(rng.random(arm.size) < level, dtype=np.float64)

    def truths(self, effect: float) -> dict[str, float]:
        """Return the true value of each contrast on its link scale; the odds ratio is the marginal one."""
        control, treated = self.levels(effect)
        return {
            "risk_difference": float(effect),
            "risk_ratio": math.log(treated / control),
            "odds_ratio": math.log(treated / (1.0 - treated)) - math.log(control / (1.0 - control)),
        }


Outcome = Continuous | Binary
