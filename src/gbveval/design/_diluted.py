"""Hides how a plan is asked about a true effect when what its test sees is another, mostly smaller, difference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from gbveval.core.errors import DesignError
from gbveval.design.attrition import AttritionDesign
from gbveval.design.cluster import ClusterDesign
from gbveval.design.parallel import ParallelDesign
from gbveval.design.planned_test import PlannedTest, PowerTest, Rows, wrong_tail


@dataclass(frozen=True, slots=True)
class DilutedTest:
    """A planned test of what is seen, read as one of the true effect.

    Parameters
    ----------
    inner : PowerTest
        The test of the difference that is seen, which decides.
    effect, null : float
        True effect, and the true effect at which nothing is seen.
    slope : float
        By how much what is seen changes with the true effect.
    rows : tuple
        What `detail` says first: what is seen, and how far it is from the truth.
    formula, source : str
        What is done before the inner test, and whose that is.
    assumptions : tuple of str
        What must hold besides what the inner test assumes.
    refusal : str
        Why no study finds this effect, for a reason of its own.
    near : object
        How near the formula is to the planned analysis, where the inner test is just that of what is seen; None where
        that was not measured.
    """

    inner: PowerTest
    effect: float
    null: float
    slope: float
    rows: Rows
    formula: str
    source: str
    assumptions: tuple[str, ...]
    refusal: str = ""
    near: Any = None

    @property
    def unit(self) -> float:
        """Standard error of the true effect, if what is seen is divided by the slope."""
        return self.inner.unit / self.slope

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        return self.refusal or wrong_tail(self.effect, self.null, alternative)

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the test of what is seen rejects."""
        return self.inner.power(alpha, alternative)

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return what is seen, and what the inner test computes with."""
        return (*self.rows, *self.inner.detail(alpha, alternative))


@dataclass(frozen=True, slots=True)
class DilutedPlan:
    """What plans of diluted effects share: outcome, sizes and tails are those of the plan inside."""

    plan: Any

    @property
    def outcome(self) -> Any:
        """What is measured, as it truly is."""
        return self.plan.outcome

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Alternatives that the test can be against."""
        known: tuple[str, ...] = self.plan.alternatives
        return known

    @property
    def counted(self) -> bool:
        """Whether power is summed over tables of counts."""
        return bool(self.plan.counted)

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        known: Mapping[str, int] = self.plan.least_sizes
        return known

    def resized(self, name: str, value: int) -> Self:
        """Return the design with another size."""
        return replace(self, plan=self.plan.resized(name, value))

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        return str(self.plan.limit_hint(name))


def core(plan: Any) -> Any:
    """Return the plan of two arms inside all that was put around it."""
    while not isinstance(plan, ParallelDesign | ClusterDesign):
        plan = plan.plan
    return plan


def with_core(plan: Any, **changes: Any) -> Any:
    """Return a plan with fields of the plan of two arms inside it replaced."""
    if isinstance(plan, ParallelDesign | ClusterDesign):
        return replace(plan, **changes)
    return replace(plan, plan=with_core(plan.plan, **changes))


def needs_two_arms(plan: object) -> None:
    """Refuse what is not a plan of two arms of people or clusters, maybe with losses or other layers around it."""
    inner = plan
    while isinstance(inner, DilutedPlan | AttritionDesign):
        inner = inner.plan
    if not isinstance(inner, ParallelDesign | ClusterDesign):
        raise DesignError(
            "plan must be a ParallelDesign or ClusterDesign, or an AttritionDesign or another plan of this kind around "
            f"one; it is a {type(inner).__name__}."
        )


def relative_size(seen: PowerTest, full: PowerTest) -> float:
    """Return by how much the study must be larger, about: the ratio of squared effects over standard errors."""
    seen, full = innermost(seen), innermost(full)
    if not (isinstance(seen, PlannedTest) and isinstance(full, PlannedTest)):
        return math.nan
    if seen.std_error == 0.0 or seen.distance == 0.0:
        return math.nan
    return (full.distance / full.std_error * seen.std_error / seen.distance) ** 2


def innermost(test: PowerTest) -> PowerTest:
    """Return the test that decides."""
    while isinstance(test, DilutedTest):
        test = test.inner
    return test


def nearness(test: PowerTest) -> Any:
    """Return how near the formula of a test is to its planned analysis, or None where that is not known."""
    return getattr(test, "near", None)


def size_row(seen: PowerTest, full: PowerTest, words: str) -> Rows:
    """Return a row that says how much larger a study must be, where that is known."""
    factor = relative_size(seen, full)
    return ((words, f"about {factor:.4g} times"),) if math.isfinite(factor) else ()
