"""Hides the arithmetic of a plan in which several arms are compared with one control."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gbveval.core.errors import DesignError
from gbveval.design._require import asked_arms, one_of, real, whole
from gbveval.design.outcomes import Continuous
from gbveval.design.planned_test import EXACT, Nearness, PlainDesign, Rows, wrong_tail, zero_only
from gbveval.numerics.dunnett import dunnett_critical, joint_power
from gbveval.numerics.inference import t_quantile

# The comparisons of Bonferroni's test have a variance each, where the formula takes one for all.
NEAR_BONFERRONI = Nearness(0.04, "five people or more an arm")
ADJUSTMENTS = ("dunnett", "bonferroni")
POWER_OF = ("each", "any", "all")
MEANING = {
    "each": "that the first arm is found to differ from control",
    "any": "that at least one arm is found to differ from control",
    "all": "that every arm is found to differ from control",
}


@dataclass(frozen=True, slots=True)
class ManyToOneTest:
    """Comparisons of several arms with one control at a common critical value."""

    effect: float
    pattern: tuple[float, ...]
    std_error: float
    df: float
    correlation: float
    adjustment: str
    power_of: str
    limits: tuple[str, ...] = ()

    null = 0.0

    @property
    def unit(self) -> float:
        """Standard error of one comparison."""
        return self.std_error

    @property
    def formula(self) -> str:
        """How power is computed, in words."""
        return (
            f"probability {MEANING[self.power_of]}, from the joint {'normal' if math.isinf(self.df) else 't'} "
            "distribution of the comparisons, which share control"
        )

    @property
    def source(self) -> str:
        """Where that is from."""
        if self.adjustment == "dunnett":
            return "Dunnett (1955), Journal of the American Statistical Association 50"
        return "Bonferroni's inequality; joint distribution as Dunnett (1955)"

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What must hold."""
        if self.limits:
            return self.limits
        words = ["the outcome is normal with the same standard deviation in every arm"]
        if self.adjustment == "bonferroni" and self.power_of != "each" and math.isfinite(self.df):
            words.append("comparisons are given one common estimate of the variance, on the df of one comparison")
        return tuple(words)

    @property
    def near(self) -> Nearness:
        """How near the formula is to the planned comparisons."""
        several = self.adjustment == "bonferroni" and self.power_of != "each" and math.isfinite(self.df)
        return NEAR_BONFERRONI if several else EXACT

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        arms = {"each": self.pattern[:1], "any": self.pattern, "all": self.pattern}[self.power_of]
        reasons = [wrong_tail(self.effect * arm, 0.0, alternative) for arm in arms]
        if self.power_of == "any":
            return "" if "" in reasons else reasons[0]
        return next((reason for reason in reasons if reason), "")

    def critical(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the critical value of each comparison."""
        if self.adjustment == "dunnett":
            return dunnett_critical(len(self.pattern), self.df, alpha, self.correlation, alternative)
        tail = alpha / len(self.pattern) / (2.0 if alternative == "two_sided" else 1.0)
        return -float(t_quantile(tail, self.df))

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the arms in question are found to differ from control."""
        shift = [self.effect * arm / self.std_error for arm in self.pattern]
        critical = self.critical(alpha, alternative)
        return joint_power(shift, critical, self.df, self.correlation, power_of=self.power_of, alternative=alternative)

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return standard error, correlation and critical value in words."""
        reference = "normal" if math.isinf(self.df) else f"t with {self.df:g} degrees of freedom"
        return (
            ("standard error of each comparison", f"{self.std_error:.4g}"),
            ("correlation between comparisons", f"{self.correlation:.4g}"),
            ("critical value", f"{self.critical(alpha, alternative):.4f} ({self.adjustment}), {reference}"),
        )


@dataclass(frozen=True, slots=True)
class MultiArmDesign(PlainDesign):
    """Several treated arms of single respondents, each compared with one control.

    Parameters
    ----------
    n_per_arm : int
        Respondents in control.
    n_treated_arms : int
        Treated arms, at least 2.
    outcome : Continuous
        What is measured.
    ratio : float
        Respondents of one treated arm over those of control; rounded up. One over the square root of the number of
        treated arms spends respondents best.
    adjustment : str
        "dunnett" (exact for comparisons that share control) or "bonferroni".
    power_of : str
        "each" (the first arm is found), "any" or "all".
    pattern : tuple of float, optional
        Effects of the arms as multiples of the effect that is asked; by default all have it.
    reference : str
        "t" (for Dunnett the variance is pooled over all arms, for Bonferroni over the two compared) or "normal".

    Raises
    ------
    DesignError
        If something is impossible.

    Examples
    --------
    >>> plan = MultiArmDesign(n_per_arm=100, n_treated_arms=2, outcome=Continuous(), reference="normal")
    >>> round(plan.planned_test(0.4).power(0.05), 4)
    0.7312
    """

    n_per_arm: int
    n_treated_arms: int
    outcome: Continuous
    ratio: float = 1.0
    adjustment: str = "dunnett"
    power_of: str = "each"
    pattern: tuple[float, ...] | None = None
    reference: str = "t"

    def __post_init__(self) -> None:
        whole("n_per_arm", self.n_per_arm, least=2)
        whole("n_treated_arms", self.n_treated_arms, least=2)
        if not isinstance(self.outcome, Continuous):
            raise DesignError("outcome must be Continuous(...).")
        real("ratio (one treated arm over control)", self.ratio, low=0.0, high=math.inf)
        one_of("adjustment", self.adjustment, ADJUSTMENTS)
        one_of("power_of", self.power_of, POWER_OF)
        one_of("reference", self.reference, ("t", "normal"))
        if self.pattern is not None and (
            not isinstance(self.pattern, tuple) or len(self.pattern) != self.n_treated_arms
        ):
            raise DesignError(f"pattern must be a tuple with a number for each of {self.n_treated_arms} treated arms.")
        for arm in self.pattern or ():
            real("A multiple in pattern", arm, low=-math.inf, high=math.inf)
        if self.n_treated < 2:
            raise DesignError(f"A ratio of {self.ratio:g} leaves {self.n_treated} respondents an arm; give at least 2.")

    @property
    def n_treated(self) -> int:
        """Respondents in each treated arm."""
        return math.ceil(self.n_per_arm * self.ratio * (1.0 - 1e-9))

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return MappingProxyType({"n_per_arm": max(2, math.floor(1.0 / self.ratio) + 1)})

    def resized(self, name: str, value: int) -> MultiArmDesign:
        """Return the design with another number of respondents."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, n_per_arm=value)

    def critical_value(self, alpha: float = 0.05, alternative: str = "two_sided") -> float:
        """Return the critical value of each comparison, on the scale of t (or of z)."""
        size = real("alpha", alpha, low=0.0, high=1.0)
        return self.planned_test(0.0).critical(size, one_of("alternative", alternative, self.alternatives))

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> ManyToOneTest:
        """Return the planned comparisons when the arms have this effect, times their multiples."""
        control, treated = asked_arms(size, self.least_sizes, (self.n_per_arm, self.n_treated), self.ratio)
        zero_only("A design with several arms", null)
        self.outcome.levels(effect)
        arms = int(self.n_treated_arms)
        pooled = control + arms * treated - arms - 1.0 if self.adjustment == "dunnett" else control + treated - 2.0
        return ManyToOneTest(
            effect=float(effect),
            pattern=self.pattern or (1.0,) * arms,
            std_error=float(self.outcome.sd) * math.sqrt(1.0 / control + 1.0 / treated),
            df=math.inf if self.reference == "normal" else pooled,
            correlation=treated / (control + treated),
            adjustment=self.adjustment,
            power_of=self.power_of,
        )
