"""Hides what is left of a planned cluster trial when clusters and people are lost."""

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
from gbveval.design.planned_test import Otherwise, PlannedTest


@dataclass(frozen=True, slots=True)
class AttritionDesign:
    """A plan of clusters whose sizes are those recruited, some of which are lost before the outcome is measured.

    Parameters
    ----------
    plan : ClusterDesign or PairedClusterDesign
        The design as recruited. Sizes that are asked for are those to recruit.
    clusters_lost : int
        Clusters lost in each arm, or pairs: a pair that loses a cluster is lost.
    respondents_lost : float
        Share of respondents lost in each cluster that stays, below 1.

    Raises
    ------
    DesignError
        If nothing is lost, or what is left is no trial.

    Notes
    -----
    Losses are taken to be the same in both arms and not to depend on outcomes; otherwise they bias the estimate, which
    no size repairs (see `LeeBounds`). Where the ICC limits power, people who are lost cost little; a cluster that is
    lost costs as much as one that was never recruited. `explain_power` says what is left, and gives power without
    losses beside. People are lost in equal numbers a cluster; that they are not, by chance, costs less than 0.01 of
    power.

    Examples
    --------
    >>> from gbveval.design.icc import ICC
    >>> from gbveval.design.outcomes import Continuous
    >>> plan = ClusterDesign(20, 30, ICC(0.05, scale="observed"), Continuous())
    >>> after = AttritionDesign(plan, clusters_lost=2, respondents_lost=0.15)
    >>> before, left = (design.planned_test(0.25).power(0.05) for design in (plan, after))
    >>> round(before, 4), round(left, 4)
    (0.7691, 0.6939)
    """

    plan: ClusterDesign | PairedClusterDesign
    clusters_lost: int = 0
    respondents_lost: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.plan, ClusterDesign | PairedClusterDesign):
            raise DesignError(
                f"plan must be a ClusterDesign or PairedClusterDesign; it is a {type(self.plan).__name__}. Where "
                "single respondents are randomised, give the number that is left."
            )
        whole("clusters_lost", self.clusters_lost, least=0)
        real("respondents_lost", self.respondents_lost, low=0.0, high=1.0, closed=True, hint="It is a share.")
        if not self.clusters_lost and not self.respondents_lost:
            raise DesignError("Nothing is lost: ask the plan itself, or give clusters_lost or respondents_lost.")
        first, least = next(iter(self.least_sizes.items()))
        fewest = int(getattr(self.plan, first))
        if isinstance(self.plan, ClusterDesign):
            fewest = min(fewest, self.plan.treated_clusters)
        if getattr(self.plan, first) < least or fewest - self.clusters_lost < 2:
            raise DesignError(
                f"{first}={getattr(self.plan, first)} with {self.clusters_lost} lost leaves no trial; recruit more."
            )
        if self.left[1] < self.plan.least_sizes["cluster_size"]:
            raise DesignError(f"{self.left[1]:.3g} respondents a cluster would be left; recruit more.")

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
    def left(self) -> tuple[int, float]:
        """Clusters in control (or pairs), and respondents a cluster, that are left."""
        recruited = int(getattr(self.plan, next(iter(self.plan.least_sizes))))
        return recruited - int(self.clusters_lost), self._people(float(self.plan.cluster_size))

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes to recruit that can be solved for, with the least that each may be."""
        (first, clusters), (people, respondents) = self.plan.least_sizes.items()
        ratio = float(self.plan.ratio) if isinstance(self.plan, ClusterDesign) else 1.0
        # The smaller arm keeps two clusters.
        smaller = math.ceil((2.0 + self.clusters_lost) / min(1.0, ratio) * (1.0 - 1e-9))
        return MappingProxyType(
            {
                first: max(clusters + int(self.clusters_lost), smaller),
                people: math.ceil(respondents / (1.0 - float(self.respondents_lost)) * (1.0 - 1e-9)),
            }
        )

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
        lost, plan = float(self.clusters_lost), self.plan
        first = next(iter(plan.least_sizes))
        if size is not None:
            one_of("solve_for", size[0], tuple(plan.least_sizes))
        people = self._people(float(size[1] if size and size[0] == "cluster_size" else plan.cluster_size))
        asked = float(size[1]) if size and size[0] == first else None
        whole_plan = plan.planned_test(effect, size=size, null=null)
        if isinstance(plan, PairedClusterDesign):
            pairs = (float(plan.n_pairs) if asked is None else asked) - lost
            matched = plan.test_with(effect, pairs, people, null=null, asked=size is None)
            return replace(matched, test=self._told(matched.test, whole_plan, f"{pairs:g} pairs", people))
        own = float(plan.clusters_per_arm), float(plan.treated_clusters)
        arms = own if asked is None else (asked, asked * float(plan.ratio))
        arms = arms[0] - lost, arms[1] - lost
        words = f"{arms[0]:g} clusters an arm" if arms[0] == arms[1] else f"{arms[0]:g} and {arms[1]:g} clusters"
        return self._told(plan.test_with(effect, arms, people, null=null), whole_plan, words, people)

    def _people(self, recruited: float) -> float:
        return recruited * (1.0 - float(self.respondents_lost))

    def _told(self, test: PlannedTest, before: PlannedTest | MatchedTest, clusters: str, people: float) -> PlannedTest:
        """Return the test with what is left in its words, and power without losses beside."""
        others = test.others
        if test.std_error > 0.0:
            others = (Otherwise("without losses", before.df, (before.std_error / test.std_error) ** 2), *others)
        return replace(
            test,
            formula=f"with what is left ({clusters} of {people:g} respondents): {test.formula}",
            assumptions=(*test.assumptions, "losses are the same in both arms and do not depend on outcomes"),
            others=others,
        )
