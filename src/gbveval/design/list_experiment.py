"""Hides how a prevalence is planned for that nobody is asked about directly: lists of items, of which some are counted.

With V0 the variance of the count of the other items, pi the prevalence, and n1 and n0 respondents with the long and
the short list, the difference of mean counts has variance (V0 + pi (1 - pi)) / n1 + V0 / n0, the sensitive item being
independent of the others (Droitcour et al. 1991; Blair, Coppock and Moor 2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gbveval.core.errors import DesignError
from gbveval.design._diluted import DilutedTest
from gbveval.design._require import asked_size, one_of, real, whole
from gbveval.design.outcomes import Binary
from gbveval.design.planned_test import PlainDesign, PlannedTest, Rows

SOURCE = (
    "Droitcour, Caspar, Hubbard, Parsley, Visscher and Ezzati (1991), in Measurement Errors in Surveys; Blair, Coppock "
    "and Moor (2020), American Political Science Review 114"
)
# No prevalence is below zero.
ABOVE_ZERO = ("two_sided", "greater")
HONEST = (
    "nobody counts differently because the sensitive item is on the list (no design effect), and nobody leaves it out",
    "the sensitive item is independent of the others",
    "there are enough respondents for the normal approximation",
)


@dataclass(frozen=True, slots=True)
class ItemCount:
    """The items of the short list, of which respondents say how many apply to them.

    Parameters
    ----------
    probabilities : tuple of float
        Share of respondents to whom each item applies: two or more.
    correlation : float
        Correlation between any two items. Below zero is better: counts then vary less, and few respondents have none
        or all, which would give them away (Glynn 2013).

    Raises
    ------
    DesignError
        If a share is not between 0 and 1, or items cannot be correlated like that.

    References
    ----------
    Glynn (2013), Public Opinion Quarterly 77.

    Examples
    --------
    >>> round(ItemCount((0.3, 0.5, 0.6, 0.2)).variance, 2)
    0.86
    """

    probabilities: tuple[float, ...]
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.probabilities, tuple) or len(self.probabilities) < 2:
            raise DesignError("probabilities is a tuple of the shares of two or more items, such as (0.3, 0.5, 0.6).")
        for share in self.probabilities:
            real("The share of an item", share, low=0.0, high=1.0)
        real("The correlation of items", self.correlation, low=-1.0, high=1.0)
        if self.variance <= 0.0:
            raise DesignError(
                f"{len(self.probabilities)} items cannot all be correlated by {self.correlation:g}: the variance of "
                "their count would not be above zero. Give a correlation nearer to 0."
            )

    @property
    def variance(self) -> float:
        """Variance of the count between respondents."""
        sds = [math.sqrt(float(p) * (1.0 - float(p))) for p in self.probabilities]
        own = sum(sd**2 for sd in sds)
        return own + float(self.correlation) * (sum(sds) ** 2 - own)


@dataclass(frozen=True, slots=True)
class Prevalence:
    """The prevalence that a survey shall show to be above zero: the effect of a plan without arms."""

    def largest_effect(self, direction: str) -> float:
        """Return the size that a prevalence stays below."""
        return 1.0 if direction == "increase" else 0.0


def prevalence(value: object) -> float:
    """Return a prevalence, at least 0 and below 1."""
    return real("A prevalence", value, low=0.0, high=1.0, closed=True, hint="A percentage is given as its share.")


def beside_direct(variance: float, direct: float, what: str = "prevalence") -> Rows:
    """Return what a direct question would have: its standard error, and the bias that makes it as far off."""
    if not (0.0 < direct < math.inf and variance < math.inf):
        return ()
    return (
        ("standard error of a direct question, answered truly", f"{math.sqrt(direct):.4g}"),
        ("variance over that of a direct question", f"{variance / direct:.4g}"),
        (
            f"bias of the {what} by a direct question that makes it as far off (root mean square)",
            f"{math.sqrt(max(0.0, variance - direct)):.4g}",
        ),
    )


@dataclass(frozen=True, slots=True)
class ListExperimentDesign(PlainDesign):
    """A survey in which a random part gets a list with the sensitive item, the others one without.

    The effect is the prevalence, which is shown to be above zero.

    Parameters
    ----------
    n : int
        Respondents in all, at least 4.
    items : ItemCount
        The items of the short list.
    long_share : float
        Share of respondents who get the long list.

    Raises
    ------
    DesignError
        If a list has fewer than two respondents, or something is out of range.

    Notes
    -----
    Nobody tells about themselves, and the price is a variance 5 to 20 times that of a direct question. `explain_power`
    says which bias of a direct question that is worth: only a larger one pays for the list. Not for a rare outcome,
    whose difference of counts drowns in the other items.

    References
    ----------
    Droitcour et al. (1991), in Measurement Errors in Surveys. Blair and Imai (2012), Political Analysis 20. Blair,
    Coppock and Moor (2020), American Political Science Review 114.

    Examples
    --------
    >>> plan = ListExperimentDesign(1000, ItemCount((0.3, 0.5, 0.6, 0.2)))
    >>> round(plan.planned_test(0.3).unit, 4)
    0.0621
    """

    n: int
    items: ItemCount
    long_share: float = 0.5

    def __post_init__(self) -> None:
        whole("n", self.n, least=4)
        _needs_items(self.items)
        real("long_share", self.long_share, low=0.0, high=1.0)
        if self.n < self.least_sizes["n"]:
            raise DesignError(
                "A list would have fewer than two respondents; raise n, or take long_share nearer to 0.5."
            )

    @property
    def outcome(self) -> Prevalence:
        """A prevalence."""
        return Prevalence()

    @property
    def alternatives(self) -> tuple[str, ...]:
        """A prevalence is zero or above it."""
        return ABOVE_ZERO

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Respondents in all: two with each list."""
        smaller = min(float(self.long_share), 1.0 - float(self.long_share))
        return MappingProxyType({"n": math.ceil(2.0 / smaller * (1.0 - 1e-9))})

    def resized(self, name: str, value: int) -> ListExperimentDesign:
        """Return the design with another number of respondents."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, n=value)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> DilutedTest:
        """Return the planned test that the prevalence is above zero, where it is `effect`.

        Parameters
        ----------
        effect : float
            True prevalence.
        size : (str, float), optional
            ("n", any real number) instead of the design's own.
        """
        n, pi = asked_size(size, self.least_sizes, self.n), prevalence(effect)
        binary, items = pi * (1.0 - pi), self.items.variance
        share = float(self.long_share)
        variance = (items + binary) / (n * share) + items / (n * (1.0 - share))
        return _counted(
            pi,
            variance,
            math.inf,
            beside_direct(variance, binary / n),
            "difference of mean counts between lists over its standard error, squared (V0 + p (1 - p)) / n1 + V0 / n0, "
            "against the normal distribution",
        )


@dataclass(frozen=True, slots=True)
class ListTrialDesign(PlainDesign):
    """A trial of single respondents whose outcome is asked by lists: in each arm a part gets the sensitive item.

    Parameters
    ----------
    n_per_arm : int
        Respondents in the control arm, at least 4.
    outcome : Binary
        The true outcome; an effect is a risk difference.
    items : ItemCount
        The items of the short list, the same in both arms.
    long_share : float
        Share of each arm that gets the long list.
    ratio : float
        Treated over control respondents.

    Raises
    ------
    DesignError
        If something is out of range.

    Notes
    -----
    The estimate is a difference of differences of mean counts. The programme must not change the other items, or how
    people count. Set it beside `DisclosureDesign` of the direct question: a list has no bias by disclosure, also where
    the programme changes it, and needs many times the respondents.

    References
    ----------
    Blair, Coppock and Moor (2020), American Political Science Review 114.

    Examples
    --------
    >>> plan = ListTrialDesign(1000, Binary(0.3), ItemCount((0.3, 0.5, 0.6, 0.2)))
    >>> round(plan.planned_test(-0.1).unit, 4)
    0.0873
    """

    n_per_arm: int
    outcome: Binary
    items: ItemCount
    long_share: float = 0.5
    ratio: float = 1.0

    def __post_init__(self) -> None:
        whole("n_per_arm", self.n_per_arm, least=4)
        _needs_binary(self.outcome)
        _needs_items(self.items)
        real("long_share", self.long_share, low=0.0, high=1.0)
        real("ratio (treated over control)", self.ratio, low=0.0, high=math.inf)
        if self.n_per_arm < self.least_sizes["n_per_arm"]:
            raise DesignError("A list would have fewer than two respondents in an arm; raise n_per_arm.")

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Respondents in control: two with each list in each arm."""
        smaller = min(float(self.long_share), 1.0 - float(self.long_share)) * min(1.0, float(self.ratio))
        return MappingProxyType({"n_per_arm": math.ceil(2.0 / smaller * (1.0 - 1e-9))})

    def resized(self, name: str, value: int) -> ListTrialDesign:
        """Return the design with another number of respondents."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, n_per_arm=value)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> DilutedTest:
        """Return the planned test of a risk difference (treated minus control).

        Parameters
        ----------
        effect : float
            True risk difference.
        size : (str, float), optional
            ("n_per_arm", any real number) instead of the design's own; the treated arm is then not rounded.
        """
        control = asked_size(size, self.least_sizes, self.n_per_arm)
        treated = control * float(self.ratio)
        if size is None:
            treated = float(math.ceil(treated * (1.0 - 1e-9)))
        variance = direct = 0.0
        share, items = float(self.long_share), self.items.variance
        for p, n in zip(self.outcome.levels(effect), (control, treated), strict=True):
            variance += (items + p * (1.0 - p)) / (n * share) + items / (n * (1.0 - share))
            direct += p * (1.0 - p) / n
        return _counted(
            effect,
            variance,
            math.inf,
            beside_direct(variance, direct, "effect"),
            "difference between arms of the differences of mean counts between lists, over its standard error "
            "(squared: the sum over arms of (V0 + p (1 - p)) / n1 + V0 / n0), against the normal distribution",
        )


@dataclass(frozen=True, slots=True)
class ListClusterDesign(PlainDesign):
    """A trial of clusters whose outcome is asked by lists: in each cluster a part gets the sensitive item.

    Parameters
    ----------
    clusters_per_arm : int
        Clusters in each arm, at least 2.
    cluster_size : int
        Respondents a cluster, at least 2.
    outcome : Binary
        The true outcome; an effect is a risk difference.
    items : ItemCount
        The items of the short list, the same in both arms.
    between_sd : float
        Standard deviation of the true risk between clusters of an arm: sqrt(icc p (1 - p)).
    long_share : float
        Share of each cluster that gets the long list.
    reference : str
        "t" with 2 (k - 1) degrees of freedom, or "normal".

    Raises
    ------
    DesignError
        If something is out of range, or risks cannot vary as much.

    Notes
    -----
    What lists add is variance within clusters, so clustering costs less, relatively, than for a direct question. Both
    lists are given in every cluster: what the other items vary by between clusters cancels.

    References
    ----------
    Blair, Coppock and Moor (2020), American Political Science Review 114. Donner and Klar (2000), Design and Analysis
    of Cluster Randomization Trials.

    Examples
    --------
    >>> plan = ListClusterDesign(20, 60, Binary(0.3), ItemCount((0.3, 0.5, 0.6, 0.2)), between_sd=0.08)
    >>> round(plan.planned_test(-0.1).unit, 4)
    0.0835
    """

    clusters_per_arm: int
    cluster_size: int
    outcome: Binary
    items: ItemCount
    between_sd: float
    long_share: float = 0.5
    reference: str = "t"

    def __post_init__(self) -> None:
        whole("clusters_per_arm", self.clusters_per_arm, least=2)
        whole("cluster_size", self.cluster_size, least=2)
        _needs_binary(self.outcome)
        _needs_items(self.items)
        real("between_sd", self.between_sd, low=0.0, high=1.0, closed=True)
        real("long_share", self.long_share, low=0.0, high=1.0)
        one_of("reference", self.reference, ("t", "normal"))
        most = math.sqrt(self.outcome.variance(float(self.outcome.risk)))
        if self.between_sd > most:
            raise DesignError(
                f"At a risk of {self.outcome.risk:g} clusters cannot vary with a standard deviation of "
                f"{self.between_sd:g}; at most with {most:.3g}. Give a smaller between_sd."
            )

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for: two clusters an arm; two people a cluster, one a list."""
        return MappingProxyType({"clusters_per_arm": 2, "cluster_size": 2})

    def resized(self, name: str, value: int) -> ListClusterDesign:
        """Return the design with another number of clusters or of respondents a cluster."""
        if one_of("solve_for", name, tuple(self.least_sizes)) == "cluster_size":
            return replace(self, cluster_size=value)
        return replace(self, clusters_per_arm=value)

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        if name == "cluster_size":
            return (
                f"With {self.clusters_per_arm} clusters an arm a standard deviation of {self.between_sd:g} between "
                "them sets a floor under the standard error. Add clusters: solve_for='clusters_per_arm'."
            )
        return "Plan for a larger effect or a lower power."

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> DilutedTest:
        """Return the planned test of a risk difference (treated minus control).

        Parameters
        ----------
        effect : float
            True risk difference.
        size : (str, float), optional
            A size, any real number, instead of the design's own.
        """
        k, m = float(self.clusters_per_arm), float(self.cluster_size)
        if size is not None:
            asked = asked_size(size, self.least_sizes, k)
            k, m = (asked, m) if size[0] == "clusters_per_arm" else (k, asked)
        share, items = float(self.long_share), self.items.variance
        variance = direct = 0.0
        levels = self.outcome.levels(effect)
        for p in levels:
            between = min(float(self.between_sd) ** 2, p * (1.0 - p))
            within = p * (1.0 - p) - between
            variance += (between + (items + within) / (m * share) + items / (m * (1.0 - share))) / k
            direct += (between + within / m) / k
        known = self.reference == "normal"
        against = "the normal distribution" if known else "the noncentral t with 2(k - 1) df"
        return _counted(
            effect,
            variance,
            math.inf if known else 2.0 * k - 2.0,
            beside_direct(variance, direct, "effect"),
            "difference between arms of the mean over clusters of the difference of counts between lists, over its "
            "standard error (squared: the sum over arms of (s^2 + (V0 + p (1 - p) - s^2) / m1 + V0 / m0) / k), against "
            f"{against}",
            self._beyond(levels),
        )

    def _beyond(self, levels: tuple[float, float]) -> tuple[str, ...]:
        """Return what is taken instead where clusters cannot vary as much as planned."""
        return tuple(
            f"at a risk of {p:.3g} clusters cannot vary with a standard deviation of {self.between_sd:g}: there in "
            "each cluster everybody is taken to have the outcome, or nobody"
            for p in levels
            if p * (1.0 - p) < float(self.between_sd) ** 2
        )


def _counted(
    effect: float, variance: float, df: float, rows: Rows, formula: str, more: tuple[str, ...] = ()
) -> DilutedTest:
    """Return the test of an estimate from counts, with what a direct question would have."""
    test = PlannedTest(effect, math.sqrt(variance), df, formula=formula, source=SOURCE, assumptions=(*HONEST, *more))
    return DilutedTest(test, float(effect), 0.0, 1.0, rows, test.formula, test.source, test.assumptions)


def _needs_items(items: object) -> None:
    if not isinstance(items, ItemCount):
        raise DesignError(f"items must be ItemCount((0.3, 0.5, ...)); it is {items!r}.")


def _needs_binary(outcome: object) -> None:
    if not isinstance(outcome, Binary):
        raise DesignError(f"outcome must be Binary(...), the sensitive item; it is {outcome!r}.")
