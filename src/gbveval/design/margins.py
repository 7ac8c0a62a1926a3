"""Hides how a plan is tested against margins: not worse by more than one, or between two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from gbveval.core.errors import DesignError
from gbveval.design._require import real
from gbveval.design.cluster import ClusterDesign
from gbveval.design.longitudinal import LongitudinalClusterDesign
from gbveval.design.multilevel import MultilevelDesign
from gbveval.design.one_sample import OneSampleDesign
from gbveval.design.outcomes import Binary
from gbveval.design.paired import PairedDesign
from gbveval.design.parallel import ParallelDesign
from gbveval.design.planned_test import EXACT, Nearness, PlannedTest, PowerTest, Rows
from gbveval.design.repeated import RepeatedMeasuresDesign
from gbveval.design.rollout import RolloutDesign
from gbveval.numerics.inference import normal_quantile, t_quantile
from gbveval.numerics.noncentral_t import equivalence_power

Plan = (
    ParallelDesign
    | ClusterDesign
    | MultilevelDesign
    | RepeatedMeasuresDesign
    | PairedDesign
    | OneSampleDesign
    | LongitudinalClusterDesign
    | RolloutDesign
)


@dataclass(frozen=True, slots=True)
class EquivalenceTest:
    """Two one-sided tests of one estimate, against a lower and an upper margin; both must reject."""

    lower: PlannedTest
    upper: PlannedTest

    null = 0.0

    @property
    def source(self) -> str:
        """Where the formula is from."""
        jointly = "; Phillips (1990), ibid. 18" if math.isfinite(self.lower.df) else ""
        return f"Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15{jointly}; {self.lower.source}"

    @property
    def formula(self) -> str:
        """How power is computed, in words."""
        if math.isfinite(self.lower.df):
            return "probability that both one-sided t tests reject (Owen's Q: the estimate and its error jointly)"
        return f"probability that both one-sided tests reject, each of them: {self.lower.formula}"

    @property
    def effect(self) -> float:
        """True effect, treated minus control."""
        return self.lower.effect

    @property
    def unit(self) -> float:
        """Standard error of the estimate."""
        return self.lower.std_error

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the plan assumes, at either margin."""
        return tuple(dict.fromkeys(self.lower.assumptions + self.upper.assumptions))

    @property
    def near(self) -> Nearness | None:
        """Exact where each of the two tests is; otherwise not measured."""
        return EXACT if self.lower.near == EXACT and self.upper.near == EXACT else None

    def never(self, alternative: str) -> str:
        """Return why no study, however large, shows equivalence; nothing if one can."""
        if self.lower.null < self.effect < self.upper.null:
            return ""
        return (
            f"A true difference of {self.effect:g} is not between the margins of {self.lower.null:g} and "
            f"{self.upper.null:g}: no study, however large, shows equivalence."
        )

    def power(self, alpha: float, alternative: str = "equivalence") -> float:
        """Return the probability that both tests, each of size alpha, reject."""
        above, below, error = self.lower.distance, -self.upper.distance, self.lower.std_error
        if error == 0.0:
            return float(above > 0.0 and below > 0.0)
        if self.lower.null_std_error is None or self.upper.null_std_error is None:
            return equivalence_power(above / error, below / error, self.lower.df, alpha)
        from scipy.special import ndtr

        z = -float(normal_quantile(alpha))
        reach = above - z * self.lower.null_std_error, below - z * self.upper.null_std_error
        return max(0.0, float(ndtr(reach[0] / error) - ndtr(-reach[1] / error)))

    def detail(self, alpha: float, alternative: str = "equivalence") -> Rows:
        """Return margins, standard error and critical value in words."""
        df = self.lower.df
        reference = "normal" if math.isinf(df) else f"t with {df:g} degrees of freedom"
        return (
            ("margins", f"{self.lower.null:g} and {self.upper.null:g}"),
            ("standard error of the estimate", f"{self.lower.std_error:.4g}"),
            *self._others(alpha),
            ("critical value", f"{-float(t_quantile(alpha, df)):.4f} in each direction, {reference}"),
        )

    def _others(self, alpha: float) -> Rows:
        """Return the power of both tests where each is computed in another way."""
        return tuple(
            (
                f"power {other.words}",
                f"{EquivalenceTest(self.lower.otherwise(other), self.upper.otherwise(other)).power(alpha):.4f}",
            )
            for other in self.lower.others
        )


@dataclass(frozen=True, slots=True)
class _WithinPlan:
    """A plan asked another question: its outcome and sizes are those of the plan inside."""

    plan: Plan

    @property
    def outcome(self) -> Any:
        """What is measured."""
        return self.plan.outcome

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return self.plan.least_sizes

    @property
    def counted(self) -> bool:
        """Whether power is summed over tables of counts."""
        return self.plan.counted

    def resized(self, name: str, value: int) -> Self:
        """Return the design with another size."""
        return replace(self, plan=self.plan.resized(name, value))

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        return self.plan.limit_hint(name)

    def process(self, effect: float) -> Any:
        """Refuse: what is counted in simulated studies is the rejection of no effect, not of a margin."""
        raise DesignError(
            "simulate_power counts how often no effect is rejected, not a margin: it would answer another question. "
            "Ask power, or simulate the plan inside and compare its intervals with the margin."
        )


@dataclass(frozen=True, slots=True)
class NonInferiorityDesign(_WithinPlan):
    """A plan whose treated arm shall be shown not to be worse than control by more than a margin.

    Parameters
    ----------
    plan : ParallelDesign, ClusterDesign, MultilevelDesign, RepeatedMeasuresDesign, PairedDesign or OneSampleDesign
        The design, whose test is then one-sided: alpha is all in one tail (0.025 is usual).
    margin : float
        The largest acceptable effect in the bad direction, in units of the outcome: above zero when higher is worse,
        below it otherwise.
    higher_is_worse : bool
        Whether a higher outcome is worse, as with harassment.

    Raises
    ------
    DesignError
        If the margin has the wrong sign, risks cannot be apart by it, or the plan's analysis tests against no
        difference only.

    Notes
    -----
    With `ParallelDesign(..., Binary(...), analysis="pooled")` the test is that of Farrington and Manning (1990).

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> plan = ParallelDesign(n_per_arm=200, outcome=Continuous())
    >>> test = NonInferiorityDesign(plan, margin=0.25).planned_test(0.0)
    >>> round(test.power(0.025, "less"), 4)
    0.7033
    """

    margin: float
    higher_is_worse: bool = True

    def __post_init__(self) -> None:
        _needs_plan(self.plan)
        real("margin", self.margin, low=-math.inf, high=math.inf)
        if not (self.margin > 0.0 if self.higher_is_worse else self.margin < 0.0):
            raise DesignError(
                "The margin must lie on the bad side of no effect: above zero when higher is worse, below otherwise; "
                f"it is {self.margin:g}."
            )
        _check_margins(self.plan, self.margin)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """The side of the margin that is not worse."""
        return ("less",) if self.higher_is_worse else ("greater",)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> PowerTest:
        """Return the planned test of a true effect (treated minus control) against the margin."""
        return self.plan.planned_test(effect, size=size, null=float(self.margin))


@dataclass(frozen=True, slots=True)
class EquivalenceDesign(_WithinPlan):
    """A plan whose arms shall be shown to differ by less than two margins.

    Parameters
    ----------
    plan : ParallelDesign, ClusterDesign, MultilevelDesign, RepeatedMeasuresDesign, PairedDesign or OneSampleDesign
        The design.
    margin_low, margin_high : float
        The smallest effects that would matter, below and above zero, in units of the outcome.

    Raises
    ------
    DesignError
        If the margins are not on either side of zero, risks cannot be apart by them, or the plan's analysis tests
        against no difference only.

    Notes
    -----
    Each of the two one-sided tests has size alpha. Both margins count also where the true difference is not zero. For
    tests with a t reference the estimate and its standard error are taken jointly; for risks and counts of single
    respondents the estimate is taken as normal with the standard errors of the plan.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> plan = ParallelDesign(n_per_arm=150, outcome=Continuous())
    >>> test = EquivalenceDesign(plan, margin_low=-0.3, margin_high=0.3).planned_test(0.0)
    >>> round(test.power(0.05), 4)
    0.6565
    """

    margin_low: float
    margin_high: float

    def __post_init__(self) -> None:
        _needs_plan(self.plan)
        real("margin_low", self.margin_low, low=-math.inf, high=0.0)
        real("margin_high", self.margin_high, low=0.0, high=math.inf)
        _check_margins(self.plan, self.margin_low, self.margin_high)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Equivalence alone."""
        return ("equivalence",)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> EquivalenceTest:
        """Return the two planned tests of a true effect (treated minus control)."""
        lower, upper = (
            self.plan.planned_test(effect, size=size, null=float(margin))
            for margin in (self.margin_low, self.margin_high)
        )
        if not isinstance(lower, PlannedTest) or not isinstance(upper, PlannedTest):
            raise DesignError("Equivalence is planned for tests of an estimate over its standard error.")
        return EquivalenceTest(lower, upper)


def _check_margins(plan: Plan, *margins: float) -> None:
    """Refuse a margin that no effect can reach, or that the plan's analysis does not test."""
    for margin in margins:
        if isinstance(plan.outcome, Binary) and not 0.0 < plan.outcome.risk + margin < 1.0:
            raise DesignError(
                f"A risk of {plan.outcome.risk:g} in control and a margin of {margin:g} give a risk of "
                f"{plan.outcome.risk + margin:g} at the margin, which is not between 0 and 1. A margin is a "
                "difference in risks, 3 % given as 0.03; give one nearer to 0."
            )
        plan.planned_test(0.0, null=float(margin))


def _needs_plan(plan: object) -> None:
    if not isinstance(plan, Plan):
        names = (
            "ParallelDesign, ClusterDesign, MultilevelDesign, RepeatedMeasuresDesign, PairedDesign, OneSampleDesign, "
            "LongitudinalClusterDesign or RolloutDesign"
        )
        raise DesignError(f"plan must be a {names}; it is a {type(plan).__name__}.")
