"""Chi-squared tests of two proportions: plain, corrected for continuity, and adjusted for clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import f_upper, normal_quantile

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChiSquared:
    """A chi-squared test with one degree of freedom.

    Attributes
    ----------
    statistic, p_value : float
        NaN where nobody, or everybody, has the outcome.
    """

    statistic: float
    p_value: float


def two_proportions(events: tuple[float, float], sizes: tuple[float, float], *, corrected: bool = False) -> ChiSquared:
    """Return Pearson's test of two proportions, pooled variance; `corrected` is Yates's continuity correction.

    The correction takes half a person off every cell's distance from its expectation, and at most that distance.
    """
    n1, n0 = sizes
    pooled = sum(events) / (n1 + n0)
    if not 0.0 < pooled < 1.0:
        return ChiSquared(float("nan"), float("nan"))
    distance = abs(events[0] - n1 * pooled)
    if corrected:
        distance -= min(0.5, distance)
    statistic = distance**2 * (1.0 / n1 + 1.0 / n0) / (pooled * (1.0 - pooled))
    # Each of the four cells has the same distance; summing their squares over expectations gives this.
    return ChiSquared(statistic, f_upper(statistic, 1.0, np.inf))


def difference_interval(
    events: tuple[float, float], sizes: tuple[float, float], *, level: float = 0.95, corrected: bool = False
) -> tuple[float, float]:
    """Return Wald limits of the difference of two proportions, within -1 to 1, widened for continuity if asked."""
    p1, p0 = events[0] / sizes[0], events[1] / sizes[1]
    spread = 1.0 / sizes[0] + 1.0 / sizes[1]
    half = float(normal_quantile(0.5 + level / 2.0)) * np.sqrt(p1 * (1 - p1) / sizes[0] + p0 * (1 - p0) / sizes[1])
    if corrected:
        half += min(0.5 * spread, abs(p1 - p0))
    return max(p1 - p0 - half, -1.0), min(p1 - p0 + half, 1.0)


@dataclass(frozen=True, eq=False, slots=True)
class ArmOfClusters:
    """Events and people of the clusters of one arm."""

    events: FloatArray
    people: FloatArray

    @property
    def share(self) -> float:
        """Proportion over all people of the arm."""
        return float(self.events.sum() / self.people.sum())


def pooled_correlation(arms: tuple[ArmOfClusters, ArmOfClusters]) -> float:
    """Return the analysis-of-variance intracluster correlation within arms (Donner and Klar 2000)."""
    clusters = sum(arm.people.size for arm in arms)
    people = sum(float(arm.people.sum()) for arm in arms)
    between = sum(float(arm.people @ (arm.events / arm.people - arm.share) ** 2) for arm in arms) / (clusters - 2)
    inner = sum(float(np.sum(arm.events * (1.0 - arm.events / arm.people))) for arm in arms)
    if people <= clusters:
        return float("nan")
    within = inner / (people - clusters)
    size = (people - sum(float(arm.people @ arm.people / arm.people.sum()) for arm in arms)) / (clusters - 2)
    bottom = between + (size - 1.0) * within
    return (between - within) / bottom if bottom > 0 else float("nan")


def donner_test(arms: tuple[ArmOfClusters, ArmOfClusters], correlation: float) -> ChiSquared:
    """Return Donner's adjusted chi-squared: each arm's term over its inflation 1 + (size - 1) ICC, people-weighted."""
    people = [float(arm.people.sum()) for arm in arms]
    pooled = sum(float(arm.events.sum()) for arm in arms) / sum(people)
    if not 0.0 < pooled < 1.0:
        return ChiSquared(float("nan"), float("nan"))
    statistic = 0.0
    for arm, n in zip(arms, people, strict=True):
        inflation = float(arm.people @ (1.0 + (arm.people - 1.0) * correlation)) / n
        statistic += n * (arm.share - pooled) ** 2 / (inflation * pooled * (1.0 - pooled))
    return ChiSquared(statistic, f_upper(statistic, 1.0, np.inf))


@dataclass(frozen=True, slots=True)
class DesignEffect:
    """What clustering does to the variance of an arm's proportion.

    Attributes
    ----------
    binomial, ratio : float
        Variance if people were independent, and of the ratio of totals over clusters.
    """

    binomial: float
    ratio: float

    @property
    def deff(self) -> float:
        """The ratio of the two."""
        return self.ratio / self.binomial if self.binomial > 0 else float("nan")


def design_effect_of(arm: ArmOfClusters) -> DesignEffect:
    """Return the design effect of an arm (Rao and Scott 1992)."""
    k, n, p = arm.people.size, float(arm.people.sum()), arm.share
    residual = arm.events - arm.people * p
    return DesignEffect(p * (1.0 - p) / n, k / ((k - 1.0) * n**2) * float(residual @ residual))


def rao_scott_test(arms: tuple[ArmOfClusters, ArmOfClusters]) -> ChiSquared:
    """Return Pearson's test on the counts of each arm divided by its design effect."""
    effects = [design_effect_of(arm).deff for arm in arms]
    if not all(np.isfinite(effect) and effect > 0 for effect in effects):
        return ChiSquared(float("nan"), float("nan"))
    a, b = (
        (float(arm.events.sum()) / effect, float(arm.people.sum()) / effect)
        for arm, effect in zip(arms, effects, strict=True)
    )
    return two_proportions((a[0], b[0]), (a[1], b[1]))
