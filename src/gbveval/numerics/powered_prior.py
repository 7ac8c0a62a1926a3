"""Hides how the density of a prior is raised to a power, to see what an answer leans on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.priors import Normal, ScalePrior

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PoweredPrior:
    """A scale prior whose density is raised to a power, not normalised."""

    base: ScalePrior
    power: float

    @property
    def is_proper(self) -> bool:
        """False: it integrates to some number, but not to one."""
        return False

    @property
    def support_upper(self) -> float:
        """The upper end of the support."""
        return self.base.support_upper

    @property
    def tail_exponent(self) -> float:
        """The e in density ~ x^-e for large x."""
        return self.power * self.base.tail_exponent

    def log_landmarks(self) -> FloatArray:
        """Return points on the log axis between which the density has its structure."""
        return self.base.log_landmarks()

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log of the powered density."""
        return self.power * self.base.log_density(x)

    def describe(self) -> str:
        """Return for example ``half-normal(sd 5) to the power 0.8``."""
        return f"{self.base.describe()} to the power {self.power:g}"


def powered(prior: Normal, power: float) -> Normal:
    """Return a normal prior whose density is the power of another's, up to a constant."""
    return Normal(prior.mean, prior.sd / power**0.5)


def check_power(power: float) -> None:
    """Raise ValueError unless a power is above 0."""
    if not (np.isfinite(power) and power > 0.0):
        raise ValueError(f"A power must be a finite number above 0, such as 0.8 or 1.25; it is {power}.")
