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
    split_variance,
)
from gbveval.design._require import one_of, real, whole
from gbveval.design.icc import ICC, BetweenCV
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.paired_process import PairedClusterProcess
from gbveval.design.planned_test import PlainDesign, PlannedTest, Rows

ANALYSES = ("t", "permutation")
REFERENCES = ("t", "normal", "hayes_bennett")


def attained(alpha: float, n_pairs: float, alternative: str) -> float:
    """Return the largest size, at most alpha, of a test over all 2^n assignments within pairs: 0 if there is none.

    Examples
    --------
    >>> attained(0.05, 4, "two_sided"), attained(0.05, 6, "two_sided"), attained(0.05, 5, "greater")
    (0.0, 0.03125, 0.03125)
    """
    sides = 2.0 if alternative == "two_sided" else 1.0
    step = sides * 0.5**n_pairs
    # From here on the steps are finer than rounding errors of alpha over them.
    return alpha if n_pairs > 30.0 else min(alpha, math.floor(alpha / step * (1.0 + 1e-12)) * step)


@dataclass(frozen=True, slots=True)
class MatchedTest:
    """A paired test, with what the same clusters would tell unmatched.

    Parameters
    ----------
    test : PlannedTest
        The paired test.
    unmatched : PlannedTest
        That of the same clusters without pairs.
    without, saved : float
        Variance of the estimate without matching, and what a matching correlation of one would take off.
    matching_correlation : float
        The planned one.
    pairs : float
        Pairs.
    permuted : bool
        Whether the test is the one over all assignments within pairs.
    asked : bool
        Whether the number of pairs is the design's own, so that an impossible size is an error.
    """

    test: PlannedTest
    unmatched: PlannedTest
    without: float
    saved: float
    matching_correlation: float
    pairs: float
    permuted: bool
    asked: bool

    @property
    def effect(self) -> float:
        """True effect, treated minus control."""
        return self.test.effect

    @property
    def null(self) -> float:
        """Effect under the null hypothesis."""
        return self.test.null

    @property
    def unit(self) -> float:
        """Standard error of the estimate."""
        return self.test.std_error

    @property
    def std_error(self) -> float:
        """Standard error of the estimate."""
        return self.test.std_error

    @property
    def df(self) -> float:
        """Degrees of freedom."""
        return self.test.df

    @property
    def formula(self) -> str:
        """How power is computed, in words."""
        words = self.test.formula
        return f"{words}, at the size that the assignments within pairs allow" if self.permuted else words

    @property
    def source(self) -> str:
        """Where that is from."""
        return self.test.source

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What must hold."""
        return self.test.assumptions

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        return self.test.never(alternative)

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the test rejects."""
        if not self.permuted:
            return self.test.power(alpha, alternative)
        size = attained(alpha, self.pairs, alternative)
        if size > 0.0:
            return self.test.power(size, alternative)
        if self.asked:
            raise DesignError(self._unreachable(alpha, alternative))
        return 0.0

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return standard error, what matching is worth, what assignments allow, and the critical value."""
        *before, critical = self.test.detail(alpha, alternative)
        least = min(1.0, (2.0 if alternative == "two_sided" else 1.0) * 0.5**self.pairs)
        rows = [
            *before,
            ("power of the same clusters unmatched", f"{self.unmatched.power(alpha, alternative):.4f}"),
            ("matching correlation at which matching begins to pay", self._break_even(alpha, alternative)),
            ("smallest p-value over all assignments within pairs", f"{least:.3g}"),
        ]
        if self.permuted:
            rows.append(("size that these assignments allow", f"{attained(alpha, self.pairs, alternative):.4g}"))
        return (*rows, critical)

    def _break_even(self, alpha: float, alternative: str) -> str:
        """Return the matching correlation at which power is that of the same clusters unmatched."""
        from scipy.optimize import brentq

        target = self.unmatched.power(alpha, alternative)

        def gain(correlation: float) -> float:
            error = math.sqrt(self.without - self.saved * correlation)
            return replace(self.test, std_error=error).power(alpha, alternative) - target

        if self.test.effect == self.test.null:
            return "none: there is no effect to find"
        if gain(0.0) >= 0.0:
            return "0"
        if self.saved == 0.0 or gain(1.0) <= 0.0:
            return "none: the lost degrees of freedom cost more than any matching saves"
        return f"{brentq(gain, 0.0, 1.0, xtol=1e-10):.3f} (planned: {self.matching_correlation:g})"

    def _unreachable(self, alpha: float, alternative: str) -> str:
        sides = 2.0 if alternative == "two_sided" else 1.0
        needed = math.ceil(math.log2(sides / alpha) - 1e-12)
        return (
            f"{self.pairs:g} matched pairs cannot reach a size of {alpha:g} by permutation: of 2^{self.pairs:g} "
            f"assignments the most extreme {'two have' if sides == 2.0 else 'one has'} a p-value of "
            f"{sides * 0.5**self.pairs:.3g}. Plan {needed} pairs or more, or do not match."
        )


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
        (b0, w0), (b1, w1) = (self._split(level) for level in levels)
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

    def _split(self, level: float) -> tuple[float, float]:
        """Return the variances between and within clusters in an arm with this level."""
        between, within = split_variance(self.outcome, self.icc, level)
        if self.reference == "hayes_bennett" and isinstance(self.outcome, Binary):
            # As published: binomial at the mean risk, which counts what lies between clusters again, over m.
            within = self.outcome.variance(level)
        return between, within
