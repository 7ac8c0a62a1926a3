"""Hides how a plan is judged by several outcomes at once: any of them, all of them, with a correction or without."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from gbveval.core.errors import DesignError
from gbveval.design._require import one_of, real
from gbveval.design.cluster import ClusterDesign
from gbveval.design.parallel import ParallelDesign
from gbveval.design.planned_test import EXACT, Nearness, PlainDesign, PlannedTest, Rows, wrong_tail, zero_only
from gbveval.numerics.dunnett import joint_power
from gbveval.numerics.inference import normal_quantile

CORRECTIONS = ("bonferroni", "sidak", "none")
POWER_OF = ("any", "all", "each")
MEANING = {
    "each": "that an effect on the first outcome is found",
    "any": "that an effect on at least one outcome is found",
    "all": "that an effect on every outcome is found",
}


@dataclass(frozen=True, slots=True)
class SeveralTests:
    """Tests of several outcomes, whose statistics correlate.

    Each has the power that its own reference gives. Jointly they are taken as normal with the same power each, which is
    exact where the reference is the normal.
    """

    tests: tuple[PlannedTest, ...]
    correlation: float
    correction: str
    power_of: str

    null = 0.0

    @property
    def effect(self) -> float:
        """True effect on the first outcome."""
        return self.tests[0].effect

    @property
    def unit(self) -> float:
        """Standard error of the effect on the first outcome."""
        return self.tests[0].std_error

    @property
    def near(self) -> Nearness | None:
        """Exact where every test is and the reference is the normal."""
        normal = all(test.near == EXACT and math.isinf(test.df) for test in self.tests)
        return EXACT if normal or (self.power_of == "each" and self.tests[0].near == EXACT) else None

    @property
    def formula(self) -> str:
        """How power is computed, in words."""
        return f"probability {MEANING[self.power_of]}, tests jointly normal; each of them: {self.tests[0].formula}"

    @property
    def source(self) -> str:
        """Where that is from."""
        return f"Senn and Bretz (2007), Pharmaceutical Statistics 6; {self.tests[0].source}"

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What must hold."""
        joint = f"any two test statistics have a correlation of {self.correlation:g}"
        return (joint, *dict.fromkeys(words for test in self.tests for words in test.assumptions))

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this; nothing if one can."""
        tests = self.tests[:1] if self.power_of == "each" else self.tests
        reasons = [wrong_tail(test.effect, 0.0, alternative) for test in tests]
        if self.power_of == "any":
            return "" if "" in reasons else reasons[0]
        return next((reason for reason in reasons if reason), "")

    def size_of_each(self, alpha: float) -> float:
        """Return the size of each test that the correction leaves."""
        count = len(self.tests)
        if self.correction == "none":
            return alpha
        return alpha / count if self.correction == "bonferroni" else -math.expm1(math.log1p(-alpha) / count)

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the outcomes in question are found to differ."""
        size = self.size_of_each(alpha)
        each = [test.power(size, alternative) for test in self.tests]
        if self.power_of == "each":
            return each[0]
        two_sided = alternative == "two_sided"
        critical = -float(normal_quantile(size / 2.0 if two_sided else size))
        shifts = [_shift(power, size, alternative) for power in each]
        if two_sided:
            shifts = [math.copysign(shift, test.distance) for shift, test in zip(shifts, self.tests, strict=True)]
        # A one-sided shift is towards the side that is tested.
        side = "two_sided" if two_sided else "greater"
        return joint_power(shifts, critical, math.inf, self.correlation, power_of=self.power_of, alternative=side)

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return the power of each outcome and the critical value in words."""
        size = self.size_of_each(alpha)
        words = {"none": "no correction"}.get(self.correction, self.correction)
        powers = ", ".join(f"{test.power(size, alternative):.4f}" for test in self.tests)
        return (
            ("size of each test", f"{size:.4g} ({words})"),
            ("power of each outcome", powers),
            ("correlation of the tests", f"{self.correlation:g}"),
            self.tests[0].detail(size, alternative)[-1],
        )


def _shift(power: float, size: float, alternative: str) -> float:
    """Return the mean of a normal statistic whose test of this size has this power."""
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    if alternative != "two_sided":
        return float(ndtri(power) - ndtri(size))
    critical = -float(ndtri(size / 2.0))
    if power <= size:
        return 0.0
    most = max(critical + 40.0, 1.0)
    if power >= 1.0:
        return most
    return float(brentq(lambda x: ndtr(x - critical) + ndtr(-x - critical) - power, 0.0, most, xtol=1e-13, rtol=1e-14))


@dataclass(frozen=True, slots=True)
class SeveralOutcomesDesign(PlainDesign):
    """A plan whose effect is tested on several outcomes.

    Parameters
    ----------
    plan : ParallelDesign or ClusterDesign
        The plan for each outcome, tested by an estimate over its standard error.
    pattern : tuple of float
        Effects on the outcomes as multiples of the effect that is asked, one for each outcome. An outcome that is less
        variable counts with a larger multiple.
    correlation : float
        Between two test statistics: about that of the outcomes within arms (of cluster means, in cluster trials).
    correction : str
        "bonferroni", "sidak" or "none" for the number of outcomes.
    power_of : str
        "any" (at least one is found), "all" or "each" (the first is found).

    Raises
    ------
    DesignError
        If something is impossible, or the plan is tested in another way.

    Notes
    -----
    "all" without a correction is the test of outcomes that must all improve (co-primary): its size is kept, its power
    is below that of the weakest. "any" without a correction is a test whose size is not kept.

    References
    ----------
    Senn and Bretz (2007), Pharmaceutical Statistics 6.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> plan = ParallelDesign(n_per_arm=64, outcome=Continuous(), analysis="normal")
    >>> both = SeveralOutcomesDesign(plan, pattern=(1.0, 1.0), correlation=0.3, power_of="any")
    >>> round(both.planned_test(0.5).power(0.05), 4)
    0.8865
    """

    plan: ParallelDesign | ClusterDesign
    pattern: tuple[float, ...]
    correlation: float
    correction: str = "bonferroni"
    power_of: str = "any"

    def __post_init__(self) -> None:
        if not isinstance(self.plan, ParallelDesign | ClusterDesign):
            raise DesignError(f"plan must be a ParallelDesign or ClusterDesign; it is a {type(self.plan).__name__}.")
        if not isinstance(self.pattern, tuple) or len(self.pattern) < 2:
            raise DesignError("pattern must be a tuple with a number for each outcome, at least two.")
        for multiple in self.pattern:
            real("A multiple in pattern", multiple, low=-math.inf, high=math.inf)
        real("correlation", self.correlation, low=0.0, high=1.0, closed=True)
        one_of("correction", self.correction, CORRECTIONS)
        one_of("power_of", self.power_of, POWER_OF)
        self.planned_test(0.0)

    @property
    def outcome(self) -> Any:
        """What is measured."""
        return self.plan.outcome

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return MappingProxyType(dict(self.plan.least_sizes))

    def resized(self, name: str, value: int) -> SeveralOutcomesDesign:
        """Return the design with another size."""
        return replace(self, plan=self.plan.resized(name, value))

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        return self.plan.limit_hint(name)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> SeveralTests:
        """Return the planned tests when the outcomes have this effect, times their multiples."""
        zero_only("A design with several outcomes", null)
        tests = tuple(self.plan.planned_test(effect * multiple, size=size) for multiple in self.pattern)
        plain = tuple(test for test in tests if isinstance(test, PlannedTest))
        if len(plain) < len(tests):
            raise DesignError("Several outcomes are planned for tests of an estimate over its standard error.")
        return SeveralTests(plain, float(self.correlation), self.correction, self.power_of)
