"""Hides the arithmetic of a plan in which pairs of matched clusters are split at random between the arms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gbveval.core.errors import DesignError
from gbveval.design._clustered import (
    ClusterOutcome,
    beyond_words,
    check_dispersion,
    dispersion_words,
    observed_icc_at,
    published_variance,
    split_variance,
)
from gbveval.design._matched import MatchedTest
from gbveval.design._require import one_of, real, whole
from gbveval.design.icc import ICC, BetweenCV
from gbveval.design.outcomes import Continuous
from gbveval.design.paired_process import PairedClusterProcess
from gbveval.design.planned_test import EXACT, PlainDesign, PlannedTest

ANALYSES = ("t", "permutation")
REFERENCES = ("t", "normal", "hayes_bennett")


@dataclass(frozen=True, slots=True)
class PairedClusterDesign(PlainDesign):
    """Pairs of matched clusters, one of each pair treated.

    Parameters
    ----------
    n_pairs : int
        Pairs, at least 2.
    cluster_size : int
        Respondents a cluster.
    icc : ICC or BetweenCV
        As in `ClusterDesign`: between clusters before matching. A coefficient of variation *within* pairs, as Hayes and
        Bennett have it, goes with a matching correlation of 0.
    outcome : Continuous, Binary or Count
        What is measured.
    matching_correlation : float
        Correlation of the true means, risks or rates of the two clusters of a pair, from 0 to 1.
    analysis : str
        "t" (paired t test of the cluster means) or "permutation" (over all assignments within pairs).
    reference : str
        "t" with n_pairs - 1 degrees of freedom; "normal"; or "hayes_bennett", their published formula: normal, two
        pairs not counted (pairs = 2 + ...), a risk's variance within clusters at the mean risk.

    Raises
    ------
    DesignError
        If something is impossible. Power by permutation is refused where there are too few pairs for the size.

    Notes
    -----
    The variance of the difference of a pair is b0 + b1 - 2 r sqrt(b0 b1) + (w0 + w1)/m, with b the variance between
    clusters and w that within them in each arm and r the matching correlation; it is divided by the pairs. The paired t
    is exact for normal cluster means. The permutation test of the mean difference is taken to have the power of the t
    at the largest size that its assignments allow: with 6 pairs 2 / 2^6 = 0.031, not 0.05. With few pairs matching
    costs half the degrees of freedom: `explain_power` says from which correlation it pays. Not for pairs whose clusters
    differ much in size.

    References
    ----------
    Klar and Donner (1997), Statistics in Medicine 16. Hayes and Bennett (1999), International Journal of Epidemiology
    28.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> icc = ICC(0.05, scale="observed")
    >>> plan = PairedClusterDesign(10, 50, icc, Continuous(), matching_correlation=0.5)
    >>> round(plan.planned_test(0.3).power(0.05), 4)
    0.8117
    """

    n_pairs: int
    cluster_size: int
    icc: ICC | BetweenCV
    outcome: ClusterOutcome
    matching_correlation: float = 0.0
    analysis: str = "t"
    reference: str = "t"

    def __post_init__(self) -> None:
        one_of("analysis", self.analysis, ANALYSES)
        one_of("reference", self.reference, REFERENCES)
        whole("n_pairs", self.n_pairs, least=3 if self.reference == "hayes_bennett" else 2)
        whole("cluster_size", self.cluster_size, least=1)
        if self.matching_correlation != 1.0:
            real("matching_correlation", self.matching_correlation, low=0.0, high=1.0, closed=True)
        if self.analysis == "permutation" and self.reference != "t":
            raise DesignError("A permutation test has no other reference; leave reference out.")
        check_dispersion(self.outcome, self.icc)

    @property
    def counted(self) -> bool:
        """Whether the size is a whole number: the assignments within pairs are counted."""
        return self.analysis == "permutation"

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return MappingProxyType({"n_pairs": 3 if self.reference == "hayes_bennett" else 2, "cluster_size": 1})

    def resized(self, name: str, value: int) -> PairedClusterDesign:
        """Return the design with another number of pairs or of respondents a cluster."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, n_pairs=value) if name == "n_pairs" else replace(self, cluster_size=value)

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        if name == "cluster_size":
            return (
                f"With {self.n_pairs} pairs {dispersion_words(self.icc)} sets a floor under the standard error. Add "
                "pairs instead: solve_for='n_pairs'."
            )
        return "Plan for a larger effect or a lower power."

    def process(self, effect: float) -> PairedClusterProcess:
        """Return the process that draws trials of this design with this true effect."""
        if not isinstance(self.outcome, Continuous):
            raise DesignError("Pairs of clusters are drawn with a continuous outcome only.")
        return PairedClusterProcess(self, effect)

    def icc_at(self, level: float) -> float:
        """Return the ICC on the observed scale in an arm with this mean, risk or rate."""
        return observed_icc_at(self.outcome, self.icc, level)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> MatchedTest:
        """Return the planned test of an effect (treated minus control).

        Parameters
        ----------
        effect : float
            Difference in means, risks or rates.
        size : (str, float), optional
            ("n_pairs" or "cluster_size", any real number) instead of the design's own.
        null : float
            Effect under the null hypothesis: a margin.
        """
        pairs, m = float(self.n_pairs), float(self.cluster_size)
        if size is not None:
            one_of("solve_for", size[0], tuple(self.least_sizes))
            pairs, m = (float(size[1]), m) if size[0] == "n_pairs" else (pairs, float(size[1]))
        return self.test_with(effect, pairs, m, null=null, asked=size is None)

    def test_with(self, effect: float, pairs: float, m: float, *, null: float = 0.0, asked: bool = True) -> MatchedTest:
        """Return the planned test with this many pairs and respondents a cluster: any numbers.

        Parameters
        ----------
        effect, null : float
            True effect and that under the null hypothesis.
        pairs, m : float
            Pairs, and respondents a cluster.
        asked : bool
            Whether pairs that are too few for a permutation test are an error; otherwise it has no power.
        """
        levels = self.outcome.levels(effect)
        counted = pairs - 2.0 if self.reference == "hayes_bennett" else pairs
        split = published_variance if self.reference == "hayes_bennett" else split_variance
        (b0, w0), (b1, w1) = (split(self.outcome, self.icc, level) for level in levels)
        without, saved = (b0 + b1 + (w0 + w1) / m) / counted, 2.0 * math.sqrt(b0 * b1) / counted
        known = self.reference != "t"
        reference = "the normal distribution" if known else "the noncentral t with pairs - 1 df"
        if self.reference == "hayes_bennett":
            reference += ", with two pairs not counted"
        test = PlannedTest(
            effect=effect,
            std_error=math.sqrt(max(0.0, without - saved * float(self.matching_correlation))),
            df=math.inf if known else pairs - 1.0,
            null=null,
            formula="effect over its standard error (squared: b0 + b1 - 2 r sqrt(b0 b1) + (w0 + w1)/m over the pairs, "
            f"with b between clusters and w within them), against {reference}",
            source="Klar and Donner (1997), Statistics in Medicine 16"
            + ("; Hayes and Bennett (1999), International Journal of Epidemiology 28" if known else ""),
            assumptions=(
                "differences of pairs are normal and vary equally",
                "clusters have the same size and none is lost; where one is, its pair is",
                *(word for level in levels if (word := beyond_words(self.outcome, self.icc, level))),
            ),
            near=EXACT if not known and isinstance(self.outcome, Continuous) else None,
        )
        unmatched = replace(test, std_error=math.sqrt(without), df=math.inf if known else 2.0 * pairs - 2.0)
        return MatchedTest(
            test,
            unmatched,
            without,
            saved,
            float(self.matching_correlation),
            pairs,
            permuted=self.analysis == "permutation",
            asked=asked,
        )
