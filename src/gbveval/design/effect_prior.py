"""Hides how what is known of an effect on one scale, such as a risk ratio, becomes the difference that a plan has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gbveval.core.errors import DesignError
from gbveval.design._require import one_of
from gbveval.design.counts import Count
from gbveval.design.outcomes import Binary, Continuous
from gbveval.numerics.priors import QuantilePrior

MEASURES = ("difference", "risk_ratio", "rate_ratio", "odds_ratio", "standardised_mean_difference")


@dataclass(frozen=True, slots=True)
class EffectPrior:
    """A prior of an effect that is known on another scale than that of the plan, such as a risk ratio.

    It becomes a difference at the plan's own level in control, also where that is uncertain.

    Parameters
    ----------
    prior : Normal, LogNormal, Beta, Uniform or another with quantiles
        What is known, on the scale of `measure`.
    measure : str
        "difference", "risk_ratio", "rate_ratio", "odds_ratio" or "standardised_mean_difference".

    Raises
    ------
    DesignError
        If the measure is not known, or the prior has no quantiles.

    Examples
    --------
    >>> from gbveval.numerics.priors import LogNormal
    >>> known = EffectPrior(LogNormal(-0.25, 0.1), measure="risk_ratio")
    >>> round(known.difference(0.8, Binary(0.3)), 3)
    -0.06
    """

    prior: QuantilePrior
    measure: str = "difference"

    def __post_init__(self) -> None:
        needs_quantiles("prior", self.prior)
        one_of("measure", self.measure, MEASURES)

    def describe(self) -> str:
        """Return for example ``risk ratio: log-normal(mean of log -0.25, sd of log 0.1)``."""
        told = self.prior.describe()
        return told if self.measure == "difference" else f"{self.measure.replace('_', ' ')}: {told}"

    @property
    def nothing(self) -> float:
        """What no effect is on the scale of the measure."""
        return 1.0 if self.measure.endswith("ratio") else 0.0

    def difference(self, value: float, outcome: Any) -> float:
        """Return the effect that a plan with this outcome has: a difference in means, risks or rates."""
        if self.measure == "difference":
            return value
        kind: type[Any] = {"rate_ratio": Count, "standardised_mean_difference": Continuous}.get(self.measure, Binary)
        if not isinstance(outcome, kind):
            raise DesignError(
                f"A {self.measure.replace('_', ' ')} is an effect on a {kind.__name__} outcome; this plan has a "
                f"{type(outcome).__name__}."
            )
        if isinstance(outcome, Continuous):
            return value * float(outcome.sd)
        if isinstance(outcome, Count):
            return float(outcome.rate) * (value - 1.0)
        risk = float(outcome.risk)
        if self.measure == "risk_ratio":
            return risk * (value - 1.0)
        return value * risk / (1.0 - risk + value * risk) - risk


def needs_quantiles(what: str, prior: object) -> None:
    """Refuse what is no prior with quantiles."""
    if not isinstance(prior, QuantilePrior):
        raise DesignError(
            f"{what} must be a number or a prior with quantiles, such as Normal, LogNormal, Beta or Uniform; it is "
            f"{prior!r}."
        )
