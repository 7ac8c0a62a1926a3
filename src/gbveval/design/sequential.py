"""Hides the arithmetic of a plan that is looked at before it is complete."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from gbveval.core.errors import DesignError
from gbveval.design._require import asked_size, one_of, real
from gbveval.design.cluster import ClusterDesign
from gbveval.design.efficacy import EfficacyBoundary, is_efficacy
from gbveval.design.futility import LowerBoundary
from gbveval.design.one_sample import OneSampleDesign
from gbveval.design.paired import PairedDesign
from gbveval.design.parallel import ParallelDesign
from gbveval.design.planned_test import PlannedTest
from gbveval.design.repeated import RepeatedMeasuresDesign
from gbveval.design.sequential_test import LookWords, SequentialTest

Plan = ParallelDesign | ClusterDesign | OneSampleDesign | PairedDesign | RepeatedMeasuresDesign
NAMES = "ParallelDesign, ClusterDesign, OneSampleDesign, PairedDesign or RepeatedMeasuresDesign"
# With fewer an interim test hangs on single clusters, and its bound on t is out of reach.
FEWEST_CLUSTERS = 4
# Shares of information nearer than this are one look.
LEAST_STEP = 1e-6
MOST_LOOKS = 50


@dataclass(frozen=True, slots=True)
class SequentialDesign:
    """A plan that is looked at several times, and may stop early.

    Parameters
    ----------
    plan : ParallelDesign, ClusterDesign, OneSampleDesign, PairedDesign or RepeatedMeasuresDesign
        The design; its size is the largest, reached if the study never stops.
    looks : tuple of float
        Shares of the size at which the study is looked at, increasing, the last of them 1.
    boundary : Pocock, OBrienFleming, WangTsiatis, AlphaSpending, HaybittlePeto or EfficacyAtEnd
        When it stops because the effect is shown.
    futility : BetaSpending, HarmSpending or FutilityBounds, optional
        When it stops because it will show nothing, or because it harms; the test is then one-sided.
    binding : bool
        Whether the bounds for efficacy count on stopping at the lower ones. They hold in any case if not.
    higher_is_worse : bool, optional
        Which direction harms: needed with `futility`, and only there. True for harassment, whose rise is harm.
    looks_by : str, optional
        Which size grows from look to look: "clusters_per_arm" (clusters are recruited one after the other) or
        "cluster_size" (people within all clusters); by default the first that the plan has.

    Raises
    ------
    DesignError
        If something is impossible, or a look has fewer than 4 clusters in an arm.

    Notes
    -----
    With clusters, half of the people is not half of the information. If clusters are recruited one after the other it
    is; if all clusters take part from the start and people are added, the ICC decides: with 50 people a cluster and an
    ICC of 0.05, half of them give 0.78 of the information, and bounds are drawn for that. `interim_information` gives
    the share for clusters and people as they are at an interim look.

    Power is exact where the variance is known. With a t reference the bounds on z are tested as t at their nominal
    levels, on the degrees of freedom at each look, and the looks are put together as if normal. In simulated trials
    with clusters of one size, 4 to 8 an arm at the first look, and a size of 0.05, the true size is at most 0.003
    above it with `Pocock` and 0.0015 with `OBrienFleming` or `AlphaSpending`, and true power at most 0.011 or 0.006
    above the formula. With sizes that differ (a coefficient of variation of 0.5, 6 and then 12 clusters an arm, a
    risk, CR2) the true size was 0.057 and 0.054, where a single look at the end has 0.053. Not for analyses that
    divide by a variance pooled under the null, or exact ones.

    Looks that did not happen when planned: give the shares at which they did. Bounds of `AlphaSpending` keep those
    already used; those of the other families do not.

    References
    ----------
    Jennison and Turnbull (2000), Group Sequential Methods with Applications to Clinical Trials. Zou, Donner and Klar
    (2005), Clinical Trials 2, for clusters.

    Examples
    --------
    >>> from gbveval.design.efficacy import OBrienFleming
    >>> from gbveval.design.outcomes import Continuous
    >>> plan = ParallelDesign(n_per_arm=64, outcome=Continuous())
    >>> design = SequentialDesign(plan, looks=(0.5, 1.0), boundary=OBrienFleming())
    >>> round(plan.planned_test(0.5).power(0.05), 3), round(design.planned_test(0.5).power(0.05), 3)
    (0.801, 0.798)
    """

    plan: Plan
    looks: tuple[float, ...]
    boundary: EfficacyBoundary
    futility: LowerBoundary | None = None
    binding: bool = False
    higher_is_worse: bool | None = None
    looks_by: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.plan, Plan):
            raise DesignError(f"plan must be a {NAMES}; it is a {type(self.plan).__name__}.")
        self._check_looks()
        self._check_bounds()
        by = next(iter(self.plan.least_sizes)) if self.looks_by is None else self.looks_by
        object.__setattr__(self, "looks_by", one_of("looks_by", by, tuple(self.plan.least_sizes)))
        for name, least in self.least_sizes.items():
            if (own := getattr(self.plan, name)) < least:
                raise DesignError(
                    f"{name}={own} is too few for a first look at {self.looks[0]:.3g} of {self.looks_by}: at least "
                    f"{least} are needed. Look later, or plan for more."
                )
        _plain(self.plan.planned_test(0.0), self.plan)
        steps = (0.0, *self.planned_test(0.0).information)
        if min(b - a for a, b in pairwise(steps)) < LEAST_STEP:
            raise DesignError(f"Another look by {self.looks_by} adds no information; look by another size.")

    def _check_looks(self) -> None:
        if not isinstance(self.looks, tuple) or not self.looks:
            raise DesignError("looks must be a tuple of shares of the size, such as (0.5, 1.0).")
        for share in self.looks:
            real("A share in looks", share, low=0.0, high=1.0 + 1e-12)
        if any(b <= a for a, b in pairwise(self.looks)) or self.looks[-1] != 1.0:
            raise DesignError(f"looks must increase and end with 1.0, the whole size; they are {self.looks!r}.")
        if len(self.looks) > MOST_LOOKS:
            raise DesignError(f"{len(self.looks)} looks are more than {MOST_LOOKS}; look less often.")

    def _check_bounds(self) -> None:
        if not is_efficacy(self.boundary):
            raise DesignError(
                "boundary must be Pocock(), OBrienFleming(), WangTsiatis(...), AlphaSpending(...), HaybittlePeto(...) "
                f"or EfficacyAtEnd(); it is {self.boundary!r}."
            )
        if not isinstance(self.binding, bool):
            raise DesignError(f"binding must be True or False; it is {self.binding!r}.")
        if self.futility is None:
            if self.binding or self.higher_is_worse is not None:
                raise DesignError("binding and higher_is_worse are about lower bounds; give futility, or leave them.")
            return
        if not isinstance(self.futility, LowerBoundary) or isinstance(self.futility, type):
            raise DesignError(
                "futility must be BetaSpending(...), HarmSpending(...) or FutilityBounds(...); it is "
                f"{self.futility!r}."
            )
        if not isinstance(self.higher_is_worse, bool):
            raise DesignError(
                "Lower bounds need to know which direction harms: higher_is_worse=True for harassment, False for "
                "something that shall rise."
            )
        if len(self.looks) < 2:
            raise DesignError("A single look, at the end, stops for nothing; leave futility out or look earlier.")
        # The tuple of bounds must be as long as the looks.
        self.futility.rule(tuple(map(float, self.looks)), binding=self.binding)

    @property
    def outcome(self) -> Any:
        """What is measured."""
        return self.plan.outcome

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Alternatives that the test can be against: with lower bounds, that the programme benefits."""
        if self.futility is None:
            return self.plan.alternatives
        return ("less",) if self.higher_is_worse else ("greater",)

    @property
    def counted(self) -> bool:
        """Whether power is summed over tables of counts."""
        return False

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        least = {name: float(number) for name, number in self.plan.least_sizes.items()}
        if isinstance(self.plan, ClusterDesign):
            fewest = FEWEST_CLUSTERS / min(1.0, float(self.plan.ratio))
            least["clusters_per_arm"] = max(least["clusters_per_arm"], fewest)
        least[str(self.looks_by)] /= float(self.looks[0])
        return MappingProxyType({name: math.ceil(number * (1.0 - 1e-9)) for name, number in least.items()})

    def resized(self, name: str, value: int) -> SequentialDesign:
        """Return the design with another size."""
        return replace(self, plan=self.plan.resized(name, value))

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        return self.plan.limit_hint(name)

    def process(self, effect: float) -> Any:
        """Refuse: what is drawn are trials that are looked at once."""
        raise DesignError(
            "simulate_power draws trials that are looked at once, at the end: simulate the plan inside, or ask power."
        )

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> SequentialTest:
        """Return the planned test of an effect (treated minus control) at every look.

        Parameters
        ----------
        effect : float
            Difference in means, risks or rates.
        size : (str, float), optional
            A size, any real number, instead of the plan's own.
        """
        by = str(self.looks_by)
        whole = asked_size(size if size and size[0] == by else None, self.least_sizes, getattr(self.plan, by))
        sizes = tuple(whole * float(share) for share in self.looks)
        still = [self._at(0.0, part, size) for part in sizes]
        first = still[-1].std_error
        information = tuple(1.0 if first == 0.0 else round((first / test.std_error) ** 2, 12) for test in still)
        return SequentialTest(
            tests=tuple(self._at(effect, part, size) for part in sizes),
            information=information,
            looks=LookWords(by, sizes),
            boundary=self.boundary,
            futility=self.futility,
            binding=self.binding,
        )

    def _at(self, effect: float, part: float, size: tuple[str, float] | None) -> PlannedTest:
        """Return the test of the plan inside when its growing size is at `part`."""
        by, plan = str(self.looks_by), self.plan
        if size is None and part == getattr(plan, by):
            return _plain(plan.planned_test(effect), plan)
        if isinstance(plan, ClusterDesign):
            asked = dict([size] if size is not None else []) | {by: part}
            own = float(plan.clusters_per_arm), float(plan.treated_clusters)
            k = asked.get("clusters_per_arm")
            arms = own if k is None else (k, k * float(plan.ratio))
            return plan.test_with(effect, arms, float(asked.get("cluster_size", plan.cluster_size)))
        return _plain(plan.planned_test(effect, size=(by, part)), plan)


def _plain(test: object, plan: Plan) -> PlannedTest:
    """Return a test of an estimate over its own standard error, or say that it is another one."""
    if not isinstance(test, PlannedTest) or test.null_std_error is not None or test.correction:
        raise DesignError(
            f"The analysis {getattr(plan, 'analysis', '')!r} divides by another standard error than that of its "
            "estimate, or is exact: its looks are not put together. Plan for an analysis by the estimate's own "
            "standard error, such as 'unpooled' for risks."
        )
    return test
