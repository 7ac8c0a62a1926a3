"""Hides the arithmetic of a plan in which clusters are randomised to two arms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._arms import (
    imbalance_words,
    least_control,
    least_control_apart,
    satterthwaite_df,
    with_imbalance,
)
from gbveval.design._cluster_words import ARM_WORDS, KNOWN, REFERENCES, WORDS
from gbveval.design._clustered import (
    ClusterOutcome,
    beyond_words,
    check_dispersion,
    dispersion_words,
    observed_icc_at,
    published_variance,
    split_variance,
)
from gbveval.design._covariates import NOTHING_EXPLAINED, Explained
from gbveval.design._require import one_of, real, whole
from gbveval.design._sizes import LEAST, draw_sizes, mean_inverse
from gbveval.design.icc import ICC, BetweenCV
from gbveval.design.outcomes import Continuous
from gbveval.design.planned_test import EXACT, Nearness, PlainDesign, PlannedTest
from gbveval.design.processes import ClusterProcess

# Measured by simulation of the planned analysis on raw data.
NEAR_ARMS = Nearness(0.01, "six clusters or more in control and four treated")
NEAR_COVARIATES = Nearness(
    0.07, "eight clusters or more an arm with one covariate of clusters or two, whose chance imbalance costs it"
)
NEAR_EVENTS = Nearness(0.04, "five clusters or more an arm, ten people or more in each and equally many")
_UNEVEN = "six clusters or more an arm, sizes with a coefficient of variation up to 0.8"
NEAR_SIZES = {
    "participants_cr2": Nearness(0.06, _UNEVEN),
    "cluster_means": Nearness(0.03, _UNEVEN),
    "gls": Nearness(0.02, _UNEVEN),
}
# The second-order formula of van Breukelen et al. (2007) makes a variance negative at a CV of 2.
LARGEST_CV = 2.0


@dataclass(frozen=True, slots=True)
class ClusterDesign(PlainDesign):
    """Two arms to which clusters (schools, villages, communities) are randomised.

    Parameters
    ----------
    clusters_per_arm : int
        Clusters in each arm, at least 2.
    cluster_size : int
        Respondents a cluster; their mean when `size_cv` is above zero.
    icc : ICC or BetweenCV
        An ICC with its scale, or for risks and rates the coefficient of variation between clusters. A latent ICC, or a
        coefficient of variation, gives the observed ICC at the level of each arm.
    outcome : Continuous, Binary or Count
        What is measured. For a count, person-time a cluster is `cluster_size` times the exposure, and `dispersion` is
        that within a cluster; the test is one of the difference in rates.
    size_cv : float
        Coefficient of variation of cluster sizes: 0 for equal sizes, below 2.
    analysis : str
        The analysis that is planned, whose variance is used: "participants_cr2" (average over participants, as
        `DifferenceInMeans` has it), "cluster_means" (every cluster counts the same) or "gls" (clusters weighted
        efficiently). They agree for equal sizes and equal arms.
    ratio : float
        Treated over control clusters; `clusters_per_arm` is the number in control, the treated arm is rounded up.
    r_squared_clusters, r_squared_people : float
        Shares of the variance between clusters, and of that within them, which covariates of a continuous outcome
        explain.
    n_cluster_covariates : int
        Covariates of clusters in the regression; each costs a degree of freedom. Their imbalance by chance is not
        counted: `explain_power` gives power with it.
    reference : str
        "t"; "normal", as in tables that take variances as known; or "hayes_bennett", their published formula: normal,
        one cluster of each arm not counted (clusters = 1 + ...), a risk's variance within clusters at the mean risk.

    Raises
    ------
    DesignError
        If something is impossible, or the ICC has no scale.

    Notes
    -----
    The reference is t, also for risks: with 10 clusters an arm the normal would overstate power by 0.05. The analyses
    "cluster_means" and "gls" pool the variance over arms and have k0 + k1 - 2 degrees of freedom (less covariates of
    clusters); "participants_cr2" does not, and has Satterthwaite's, which are the same with equal arms and few when one
    arm is small: 6 and not 23 with 20 clusters against 5. Sizes are independent of outcomes. Not for rates so low that
    many clusters have no event: their rates are then far from normal.

    References
    ----------
    Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials. Bell and McCaffrey (2002), Survey
    Methodology 28, for CR2 and its degrees of freedom. Hayes and Bennett (1999), International Journal of Epidemiology
    28, for rates and between-cluster coefficients of variation.

    Examples
    --------
    >>> from gbveval.design.counts import Count
    >>> from gbveval.design.outcomes import Binary
    >>> icc = ICC(0.03, scale="observed")
    >>> plan = ClusterDesign(clusters_per_arm=20, cluster_size=50, icc=icc, outcome=Binary(0.35))
    >>> round(plan.planned_test(-0.08).std_error, 4)
    0.0324
    >>> reports = Count(rate=0.5, exposure=1.0)
    >>> plan = ClusterDesign(clusters_per_arm=20, cluster_size=50, icc=BetweenCV(0.25), outcome=reports)
    >>> round(plan.planned_test(-0.15).std_error, 4)
    0.0449
    """

    clusters_per_arm: int
    cluster_size: int
    icc: ICC | BetweenCV
    outcome: ClusterOutcome
    size_cv: float = 0.0
    analysis: str = "participants_cr2"
    ratio: float = 1.0
    r_squared_clusters: float = 0.0
    r_squared_people: float = 0.0
    n_cluster_covariates: int = 0
    reference: str = "t"

    def __post_init__(self) -> None:
        whole("clusters_per_arm", self.clusters_per_arm, least=2)
        real("ratio (treated over control)", self.ratio, low=0.0, high=math.inf)
        whole("n_cluster_covariates", self.n_cluster_covariates, least=0)
        real("size_cv", self.size_cv, low=0.0, high=LARGEST_CV, closed=True)
        whole("cluster_size", self.cluster_size, least=self.least_sizes["cluster_size"])
        one_of("analysis", self.analysis, tuple(WORDS))
        one_of("reference", self.reference, REFERENCES)
        check_dispersion(self.outcome, self.icc)
        self._check_covariates()
        if self.treated_clusters < 2:
            raise DesignError(f"A ratio of {self.ratio:g} leaves {self.treated_clusters} treated clusters; at least 2.")

    def _check_covariates(self) -> None:
        real("r_squared_clusters", self.r_squared_clusters, low=0.0, high=1.0, closed=True)
        real("r_squared_people", self.r_squared_people, low=0.0, high=1.0, closed=True)
        if self.r_squared_clusters and not self.n_cluster_covariates:
            raise DesignError(
                "What covariates explain between clusters (r_squared_clusters) takes covariates, each of which costs a "
                "degree of freedom: give n_cluster_covariates, at least 1."
            )
        if self.has_covariates and not isinstance(self.outcome, Continuous):
            raise DesignError("Covariates are planned for with a continuous outcome only; leave the shares out.")
        if self.clusters_per_arm + self.treated_clusters - 2 - self.n_cluster_covariates < 1:
            raise DesignError(
                f"{self.n_cluster_covariates} covariates of clusters leave no degree of freedom; add clusters."
            )

    @property
    def treated_clusters(self) -> int:
        """Clusters in the treated arm."""
        return math.ceil(self.clusters_per_arm * self.ratio * (1.0 - 1e-9))

    @property
    def n_clusters(self) -> int:
        """Clusters in all."""
        return int(self.clusters_per_arm) + self.treated_clusters

    @property
    def sizes_known(self) -> bool:
        """Whether every draw of this plan has the same cluster sizes."""
        return self.size_cv == 0.0

    def draw_clusters(self, rng: np.random.Generator, n_draws: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the arm (0 or 1) of each cluster, and their sizes in each draw, shape (draws, clusters)."""
        arm = np.repeat(np.array([0, 1], dtype=np.intp), [self.clusters_per_arm, self.treated_clusters])
        sizes = draw_sizes(n_draws * arm.size, self.cluster_size, float(self.size_cv), rng)
        return arm, sizes.reshape(n_draws, arm.size)

    @property
    def explained(self) -> Explained:
        """What covariates explain."""
        return Explained(float(self.r_squared_clusters), float(self.r_squared_people), int(self.n_cluster_covariates))

    @property
    def has_covariates(self) -> bool:
        """Whether covariates are planned for."""
        return self.explained != NOTHING_EXPLAINED

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        least = least_control_apart if self.analysis == "participants_cr2" else least_control
        few = least(float(self.ratio), int(self.n_cluster_covariates))
        return MappingProxyType({"clusters_per_arm": few, "cluster_size": 1 if self.size_cv == 0.0 else LEAST})

    def resized(self, name: str, value: int) -> ClusterDesign:
        """Return the design with another number of clusters or of respondents a cluster."""
        one_of("solve_for", name, tuple(self.least_sizes))
        if name == "cluster_size":
            return replace(self, cluster_size=value)
        return replace(self, clusters_per_arm=value)

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        if name == "cluster_size":
            return (
                f"With {self.clusters_per_arm} clusters an arm {dispersion_words(self.icc)} sets a floor under the "
                "standard error. Add clusters instead: solve_for='clusters_per_arm'."
            )
        return "Plan for a larger effect or a lower power."

    def icc_at(self, level: float) -> float:
        """Return the ICC on the observed scale in an arm with this mean, risk or rate."""
        return observed_icc_at(self.outcome, self.icc, level)

    def process(self, effect: float) -> ClusterProcess:
        """Return the process that draws trials of this design with this true effect."""
        return ClusterProcess(self, effect)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PlannedTest:
        """Return the planned test of an effect (treated minus control).

        Parameters
        ----------
        effect : float
            Difference in means, risks or rates.
        size : (str, float), optional
            ("clusters_per_arm" or "cluster_size", any real number) instead of the design's own.
        null : float
            Effect under the null hypothesis: a margin.
        """
        arms, m = (float(self.clusters_per_arm), float(self.treated_clusters)), float(self.cluster_size)
        if size is not None:
            one_of("solve_for", size[0], tuple(self.least_sizes))
            if size[0] == "cluster_size":
                m = float(size[1])
            else:
                arms = float(size[1]), float(size[1]) * self.ratio
        return self.test_with(effect, arms, m, null=null)

    def test_with(
        self, effect: float, arms: tuple[float, float], m: float | tuple[float, float], *, null: float = 0.0
    ) -> PlannedTest:
        """Return the planned test with these clusters in control and treated, and respondents a cluster: any numbers.

        Parameters
        ----------
        effect, null : float
            True effect and that under the null hypothesis.
        arms : (float, float)
            Clusters in control and in the treated arm.
        m : float or (float, float)
            Respondents a cluster, or those in control and in the treated arm.
        """
        levels = self.outcome.levels(effect)
        people = m if isinstance(m, tuple) else (m, m)
        counted = arms if self.reference != "hayes_bennett" else (arms[0] - 1.0, arms[1] - 1.0)
        variance = sum(
            self._cluster_variance(level, size) / k for level, size, k in zip(levels, people, counted, strict=True)
        )
        formula, source, limit = WORDS[self.analysis]
        per_arm, more, published = ARM_WORDS[type(self.outcome)]
        g, total = int(self.n_cluster_covariates), sum(arms)
        df, reference = self._reference(arms)
        explained = "covariates explain the planned shares of the variance, to the same degree in both arms"
        if self.reference == "hayes_bennett":
            published = f"Hayes and Bennett (1999), International Journal of Epidemiology 28; {published}"
        return PlannedTest(
            effect=effect,
            std_error=math.sqrt(variance),
            df=df,
            null=null,
            formula=f"effect over its standard error (squared: the sum over arms of {per_arm}{formula}), against "
            f"{reference}",
            source=f"{published}{source}",
            assumptions=(
                more,
                "cluster sizes do not depend on outcomes",
                *((limit,) if self.size_cv > 0.0 else ()),
                *((explained,) if self.has_covariates else ()),
                *((imbalance_words(total, g, "clusters"),) if g else ()),
                *((KNOWN[self.reference],) if self.reference != "t" else ()),
                *(word for level in levels if (word := beyond_words(self.outcome, self.icc, level))),
            ),
            others=(with_imbalance(total, g, df),) if g else (),
            near=self._near(arms) if null == 0.0 or isinstance(self.outcome, Continuous) else None,
        )

    def _near(self, arms: tuple[float, float]) -> Nearness | None:
        """Return how near the formula is to the planned analysis, as far as that was measured."""
        if self.reference != "t" or (self.has_covariates and self.size_cv > 0.0):
            return None
        if self.has_covariates:
            return NEAR_COVARIATES if self.n_cluster_covariates else None
        if not isinstance(self.outcome, Continuous):
            return NEAR_EVENTS if self.size_cv == 0.0 and self.analysis != "gls" else None
        if self.size_cv > 0.0:
            return NEAR_SIZES[self.analysis]
        return NEAR_ARMS if arms[0] != arms[1] and self.analysis == "participants_cr2" else EXACT

    def _reference(self, arms: tuple[float, float]) -> tuple[float, str]:
        """Return the degrees of freedom of the planned analysis, and which these are."""
        g = int(self.n_cluster_covariates)
        if self.reference != "t":
            less = ", with one cluster of each arm not counted" if self.reference == "hayes_bennett" else ""
            return math.inf, f"the normal distribution{less}"
        if arms[0] != arms[1] and self.analysis == "participants_cr2":
            return satterthwaite_df(*arms, g), (
                "the noncentral t with Satterthwaite's df for clusters of one size and variance, because this analysis "
                "does not pool the variance over arms"
            )
        if arms[0] == arms[1] and not g:
            return sum(arms) - 2.0, "the noncentral t with 2(k - 1) df"
        pools = "" if arms[0] == arms[1] else ", because this analysis pools the variance over arms"
        return sum(arms) - 2.0 - g, f"the noncentral t with k0 + k1 - 2{' - covariates' if g else ''} df{pools}"

    def _cluster_variance(self, level: float, m: float) -> float:
        """Return k x variance of the mean, risk or rate of an arm."""
        cv2 = float(self.size_cv) ** 2
        split = published_variance if self.reference == "hayes_bennett" else split_variance
        between, within = split(self.outcome, self.icc, level)
        between *= 1.0 - float(self.r_squared_clusters)
        within *= 1.0 - float(self.r_squared_people)
        if self.analysis == "cluster_means":
            return between + within * mean_inverse(m, float(self.size_cv))
        within /= m
        if self.analysis == "participants_cr2":
            return between * (1.0 + cv2) + within
        total = between + within
        share = between / total if total > 0.0 else 0.0
        return total / (1.0 - cv2 * share * (1.0 - share))
