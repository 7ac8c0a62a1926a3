"""Hides the arithmetic of a plan in which clusters are randomised to several treated arms and one control."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gbveval.core.errors import DesignError
from gbveval.design._clustered import check_dispersion, dispersion_words, split_variance
from gbveval.design._require import asked_arms, one_of, real, whole
from gbveval.design.icc import ICC
from gbveval.design.multi_arm import ADJUSTMENTS, POWER_OF, ManyToOneTest
from gbveval.design.outcomes import Continuous
from gbveval.design.overall import OverallTest
from gbveval.design.planned_test import EXACT, PlainDesign, zero_only
from gbveval.numerics.inference import ALTERNATIVES

LIMITS = (
    "cluster means are normal with the same variance in every arm, which is pooled over all of them",
    "clusters have the same size",
)


@dataclass(frozen=True, slots=True)
class MultiArmClusterDesign(PlainDesign):
    """Clusters randomised to several treated arms and one control that they share.

    Parameters
    ----------
    clusters_per_arm : int
        Clusters in control.
    n_treated_arms : int
        Treated arms, at least 2.
    cluster_size : int
        Respondents a cluster.
    icc : ICC
        On the observed scale.
    outcome : Continuous
        What is measured.
    ratio : float
        Clusters of one treated arm over those of control; rounded up.
    adjustment : str
        "dunnett" (exact for comparisons that share control) or "bonferroni".
    power_of : str
        "each" (the first arm is found to differ from control), "any", "all", or "overall": one F test of whether arms
        differ at all, which needs no adjustment.
    pattern : tuple of float, optional
        Effects of the arms as multiples of the effect that is asked; by default all have it.

    Raises
    ------
    DesignError
        If something is impossible.

    Notes
    -----
    The variance of a cluster mean is sd^2 (icc + (1 - icc)/m), pooled over all arms: its degrees of freedom are the
    clusters less the arms. Exact for normal outcomes and clusters of one size.

    References
    ----------
    Dunnett (1955), Journal of the American Statistical Association 50. Donner and Klar (2000), Design and Analysis of
    Cluster Randomization Trials.

    Examples
    --------
    >>> plan = MultiArmClusterDesign(20, 2, 30, ICC(0.05, scale="observed"), Continuous(), power_of="any")
    >>> round(plan.planned_test(0.3).power(0.05), 3)
    0.941
    """

    clusters_per_arm: int
    n_treated_arms: int
    cluster_size: int
    icc: ICC
    outcome: Continuous
    ratio: float = 1.0
    adjustment: str = "dunnett"
    power_of: str = "each"
    pattern: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        whole("clusters_per_arm", self.clusters_per_arm, least=2)
        whole("n_treated_arms", self.n_treated_arms, least=2)
        whole("cluster_size", self.cluster_size, least=1)
        real("ratio (one treated arm over control)", self.ratio, low=0.0, high=math.inf)
        one_of("adjustment", self.adjustment, ADJUSTMENTS)
        one_of("power_of", self.power_of, (*POWER_OF, "overall"))
        if not isinstance(self.outcome, Continuous):
            raise DesignError("outcome must be Continuous(...).")
        check_dispersion(self.outcome, self.icc)
        if self.pattern is not None and (
            not isinstance(self.pattern, tuple) or len(self.pattern) != self.n_treated_arms
        ):
            raise DesignError(f"pattern must be a tuple with a number for each of {self.n_treated_arms} treated arms.")
        for arm in self.pattern or ():
            real("A multiple in pattern", arm, low=-math.inf, high=math.inf)
        if self.treated_clusters < 2:
            raise DesignError(f"A ratio of {self.ratio:g} leaves {self.treated_clusters} clusters an arm; at least 2.")

    @property
    def treated_clusters(self) -> int:
        """Clusters in each treated arm."""
        return math.ceil(self.clusters_per_arm * self.ratio * (1.0 - 1e-9))

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Alternatives that the test can be against; the overall one has no sides."""
        return ("two_sided",) if self.power_of == "overall" else ALTERNATIVES

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return MappingProxyType({"clusters_per_arm": max(2, math.floor(1.0 / self.ratio) + 1), "cluster_size": 1})

    def resized(self, name: str, value: int) -> MultiArmClusterDesign:
        """Return the design with another number of clusters or of respondents a cluster."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, cluster_size=value) if name == "cluster_size" else replace(self, clusters_per_arm=value)

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        if name == "cluster_size":
            return (
                f"With {self.clusters_per_arm} clusters an arm {dispersion_words(self.icc)} sets a floor under the "
                "standard error. Add clusters instead: solve_for='clusters_per_arm'."
            )
        return "Plan for a larger effect or a lower power."

    def planned_test(
        self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0
    ) -> ManyToOneTest | OverallTest:
        """Return the planned test or tests when the arms have this effect, times their multiples."""
        zero_only("A design with several arms", null)
        self.outcome.levels(effect)
        people, clusters = float(self.cluster_size), size
        if size is not None and size[0] == "cluster_size":
            people, clusters = float(size[1]), None
        own = float(self.clusters_per_arm), float(self.treated_clusters)
        control, treated = asked_arms(clusters, self.least_sizes, own, float(self.ratio))
        arms, pattern = int(self.n_treated_arms), self.pattern or (1.0,) * int(self.n_treated_arms)
        between, within = split_variance(self.outcome, self.icc, 0.0)
        cluster_variance = between + within / people
        std_error = math.sqrt(cluster_variance * (1.0 / control + 1.0 / treated))
        df = control + arms * treated - arms - 1.0
        if self.power_of == "overall":
            mean = treated * sum(pattern) / (control + arms * treated)
            far = control * mean**2 + treated * sum((arm - mean) ** 2 for arm in pattern)
            spread = far / cluster_variance if cluster_variance > 0.0 else math.inf
            return OverallTest(
                effect=float(effect),
                noncentrality=float(effect) ** 2 * spread if effect else 0.0,
                df1=float(arms),
                df2=df,
                formula="noncentral F of the means of clusters; noncentrality: clusters x squared distances of arms "
                "from their mean, over the variance of a cluster mean",
                source="Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, on means of clusters",
                assumptions=LIMITS,
                near=EXACT,
            )
        return ManyToOneTest(
            effect=float(effect),
            pattern=pattern,
            std_error=std_error,
            df=df,
            correlation=treated / (control + treated),
            adjustment=self.adjustment,
            power_of=self.power_of,
            limits=LIMITS,
        )
