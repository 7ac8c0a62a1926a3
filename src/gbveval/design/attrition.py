"""Hides what is left of a planned trial when clusters and people are lost, in both arms alike or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from gbveval.core.errors import DesignError
from gbveval.design._matched import MatchedTest
from gbveval.design._require import one_of, real, whole
from gbveval.design.cluster import ClusterDesign
from gbveval.design.paired_clusters import PairedClusterDesign
from gbveval.design.parallel import ParallelDesign
from gbveval.design.planned_test import Otherwise, PlannedTest, PowerTest

# Where a number of one arm stands for both, the other is found by a ratio, up to rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class AttritionDesign:
    """A plan whose sizes are those recruited, some of which are lost before the outcome is measured.

    Parameters
    ----------
    plan : ClusterDesign, PairedClusterDesign or ParallelDesign
        The design as recruited. Sizes that are asked for are those to recruit.
    clusters_lost : int or (int, int)
        Clusters lost in each arm, or in control and in the treated arm; of pairs, the pairs: one that loses a cluster
        is lost.
    respondents_lost : float or (float, float)
        Share of respondents lost (in each cluster that stays), below 1; in each arm, or in control and in the treated
        arm.

    Raises
    ------
    DesignError
        If nothing is lost, or what is left is no trial.

    Notes
    -----
    Losses are taken not to depend on outcomes; otherwise they bias the estimate, which no size repairs, and losses that
    differ by arm are the sign of it (see `LeeBounds` and `differential_attrition`). Where the ICC limits power, people
    who are lost cost little; a cluster that is lost costs as much as one that was never recruited. `explain_power` says
    what is left, and gives power without losses beside. People are lost in equal numbers a cluster; that they are not,
    by chance, costs less than 0.01 of power.

    Examples
    --------
    >>> from gbveval.design.icc import ICC
    >>> from gbveval.design.outcomes import Continuous
    >>> plan = ClusterDesign(20, 30, ICC(0.05, scale="observed"), Continuous())
    >>> after = AttritionDesign(plan, clusters_lost=2, respondents_lost=0.15)
    >>> before, left = (design.planned_test(0.25).power(0.05) for design in (plan, after))
    >>> round(before, 4), round(left, 4)
    (0.7691, 0.6939)
    >>> apart = AttritionDesign(ParallelDesign(200, Continuous()), respondents_lost=(0.1, 0.25))
    >>> apart.left, apart.treated_left
    ((180.0,), (150.0,))
    """

    plan: ClusterDesign | PairedClusterDesign | ParallelDesign
    clusters_lost: int | tuple[int, int] = 0
    respondents_lost: float | tuple[float, float] = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.plan, ClusterDesign | PairedClusterDesign | ParallelDesign):
            raise DesignError(
                "plan must be a ClusterDesign, PairedClusterDesign or ParallelDesign; it is a "
                f"{type(self.plan).__name__}."
            )
        for lost in _both("clusters_lost", self.clusters_lost):
            whole("clusters_lost", lost, least=0)
        for share in _both("respondents_lost", self.respondents_lost):
            real("respondents_lost", share, low=0.0, high=1.0, closed=True, hint="It is a share.")
        self._check_plan()
        if not any((*self._clusters, *self._shares)):
            raise DesignError("Nothing is lost: ask the plan itself, or give clusters_lost or respondents_lost.")
        first, least = next(iter(self.least_sizes.items()))
        fewest = min(self.left[0], self.treated_left[0])
        if getattr(self.plan, first) < least or fewest < 2.0:
            raise DesignError(
                f"{first}={getattr(self.plan, first)} leaves no trial after these losses; recruit more: at least "
                f"{least}."
            )
        people = min(self.left[-1], self.treated_left[-1])
        if not isinstance(self.plan, ParallelDesign) and people < self.plan.least_sizes["cluster_size"]:
            raise DesignError(f"{people:.3g} respondents a cluster would be left; recruit more.")

    def _check_plan(self) -> None:
        """Refuse losses that this plan cannot have."""
        if isinstance(self.plan, ParallelDesign):
            if any(self._clusters):
                raise DesignError("Single respondents have no clusters to lose; give respondents_lost.")
            if self.plan.counted:
                raise DesignError(
                    "An exact test needs whole numbers, and what is left is not: plan the exact test with the number "
                    "that is left, or another analysis."
                )
        elif isinstance(self.plan, PairedClusterDesign) and (self._apart(self._clusters) or self._apart(self._shares)):
            raise DesignError("Pairs lose both clusters, and in both the same share of people: give one number.")

    @staticmethod
    def _apart(both: tuple[float, float]) -> bool:
        return both[0] != both[1]

    @property
    def _clusters(self) -> tuple[int, int]:
        control, treated = _both("clusters_lost", self.clusters_lost)
        return int(control), int(treated)

    @property
    def _shares(self) -> tuple[float, float]:
        control, treated = _both("respondents_lost", self.respondents_lost)
        return float(control), float(treated)

    @property
    def outcome(self) -> Any:
        """What is measured."""
        return self.plan.outcome

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Alternatives that the test can be against."""
        return self.plan.alternatives

    @property
    def counted(self) -> bool:
        """Whether the size is a whole number."""
        return self.plan.counted

    @property
    def left(self) -> tuple[float, ...]:
        """Clusters in control (or pairs) and respondents a cluster that are left; of single respondents, their number.

        In the treated arm: `treated_left`.
        """
        if isinstance(self.plan, ParallelDesign):
            return (self.plan.n_per_arm * (1.0 - self._shares[0]),)
        recruited = int(getattr(self.plan, next(iter(self.plan.least_sizes))))
        return recruited - self._clusters[0], self.plan.cluster_size * (1.0 - self._shares[0])

    @property
    def treated_left(self) -> tuple[float, ...]:
        """What is left in the treated arm, as `left` has it for control."""
        if isinstance(self.plan, ParallelDesign):
            return (self.plan.n_treated * (1.0 - self._shares[1]),)
        plan = self.plan
        recruited = plan.treated_clusters if isinstance(plan, ClusterDesign) else int(plan.n_pairs)
        return recruited - self._clusters[1], plan.cluster_size * (1.0 - self._shares[1])

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes to recruit that can be solved for, with the least that each may be."""
        (first, units), *more = self.plan.least_sizes.items()
        left = 1.0 - max(self._shares)
        if not more:
            return MappingProxyType({first: _up(max(units, 2) / left)})
        ratio = float(self.plan.ratio) if isinstance(self.plan, ClusterDesign) else 1.0
        # Each arm keeps two clusters.
        least = max(units + max(self._clusters), 2 + self._clusters[0], _up((2.0 + self._clusters[1]) / ratio))
        people, respondents = more[0]
        return MappingProxyType({first: least, people: _up(respondents / left)})

    def resized(self, name: str, value: int) -> AttritionDesign:
        """Return the design with another size recruited."""
        return replace(self, plan=self.plan.resized(name, value))

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        return self.plan.limit_hint(name)

    def process(self, effect: float) -> Any:
        """Refuse: what is drawn are trials without losses."""
        raise DesignError("Trials are drawn without losses: simulate a plan with the sizes that are left.")

    def planned_test(
        self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0
    ) -> PlannedTest | MatchedTest:
        """Return the planned test of an effect (treated minus control) with what is left.

        Parameters
        ----------
        effect : float
            Difference in means, risks or rates.
        size : (str, float), optional
            A size recruited, any real number, instead of the plan's own.
        null : float
            Effect under the null hypothesis: a margin.
        """
        plan = self.plan
        first = next(iter(plan.least_sizes))
        if size is not None:
            one_of("solve_for", size[0], tuple(plan.least_sizes))
        asked = float(size[1]) if size and size[0] == first else None
        before = plan.planned_test(effect, size=size, null=null)
        if isinstance(plan, ParallelDesign):
            own = (float(plan.n_per_arm), float(plan.n_treated)) if asked is None else (asked, asked * plan.ratio)
            n0, n1 = (n * (1.0 - share) for n, share in zip(own, self._shares, strict=True))
            words = f"{n0:g} respondents an arm" if n0 == n1 else f"{n0:g} and {n1:g} respondents"
            return self._told(plan.test_with(effect, (n0, n1), null=null), before, words)
        recruited = float(size[1]) if size and size[0] == "cluster_size" else float(plan.cluster_size)
        people = recruited * (1.0 - self._shares[0]), recruited * (1.0 - self._shares[1])
        each = (
            f"{people[0]:g} respondents" if people[0] == people[1] else f"{people[0]:g} and {people[1]:g} respondents"
        )
        if isinstance(plan, PairedClusterDesign):
            pairs = (float(plan.n_pairs) if asked is None else asked) - self._clusters[0]
            matched = plan.test_with(effect, pairs, people[0], null=null, asked=size is None)
            return replace(matched, test=self._told(matched.test, before, f"{pairs:g} pairs of {each}"))
        clusters = (float(plan.clusters_per_arm), float(plan.treated_clusters))
        if asked is not None:
            clusters = asked, asked * float(plan.ratio)
        k0, k1 = clusters[0] - self._clusters[0], clusters[1] - self._clusters[1]
        words = f"{k0:g} clusters an arm" if k0 == k1 else f"{k0:g} and {k1:g} clusters"
        return self._told(plan.test_with(effect, (k0, k1), people, null=null), before, f"{words} of {each}")

    def _told(self, test: PowerTest, before: PowerTest | MatchedTest, left: str) -> PlannedTest:
        """Return the test with what is left in its words, and power without losses beside."""
        if not isinstance(test, PlannedTest):
            raise DesignError("Losses are planned for tests of an estimate over its standard error.")
        others = test.others
        if test.std_error > 0.0 and test.null_std_error is None and isinstance(before, PlannedTest | MatchedTest):
            others = (Otherwise("without losses", before.df, (before.std_error / test.std_error) ** 2), *others)
        apart = self._apart(self._clusters) or self._apart(self._shares)
        alike = "losses are the same in both arms and do not depend on outcomes"
        return replace(
            test,
            formula=f"with what is left ({left}): {test.formula}",
            assumptions=(*test.assumptions, APART if apart else alike),
            others=others,
            # So many stay on average only; and those who leave leave clusters unequal.
            near=None if any(self._shares) else test.near,
        )


APART = (
    "those lost do not differ from those who stay in what matters; losses that differ by arm are a reason to doubt it, "
    "and the bias they make is not in this power"
)


def _both(name: str, value: object) -> tuple[Any, Any]:
    """Return a number for each arm."""
    if not isinstance(value, tuple):
        return value, value
    if len(value) != 2:
        raise DesignError(f"{name} is one number, or two: in control and in the treated arm; it is {value!r}.")
    return value[0], value[1]


def _up(value: float) -> int:
    return math.ceil(value * (1.0 - ROUNDING))
