"""Hides how studies of a planned design are drawn, as people or as cluster totals, and what is true in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gbveval.core.batch import ClusterBatch
from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.data._frame import Labels
from gbveval.data.trial import Trial
from gbveval.design._clustered import split_variance
from gbveval.design._covariates import NOTHING_EXPLAINED, Explained, cluster_sums, covariate_names, with_people
from gbveval.design.counts import Count
from gbveval.design.outcomes import Continuous

if TYPE_CHECKING:
    from gbveval.design.cluster import ClusterDesign
    from gbveval.design.given_clusters import GivenClustersDesign
    from gbveval.design.parallel import ParallelDesign

FloatArray = NDArray[np.float64]
Frame = dict[str, Any]
ARMS = ("control", "treated")
# Draws that share one generator and one allocation; 256 x 1,000 clusters is 2 MB.
BLOCK = 256


class _KnowsTruth(Protocol):
    def truths(self, effect: float) -> dict[str, float]: ...


def known_truth(outcome: _KnowsTruth, effect: float, estimand: Estimand, populations: tuple[str, ...]) -> float:
    """Return the truth of exactly this estimand, or say which are known."""
    known = outcome.truths(effect)
    asked_well = estimand.effect in ("ITT", "ATE") and estimand.scale == "marginal"
    if asked_well and estimand.population in populations and estimand.contrast in known:
        return known[estimand.contrast]
    raise DesignError(
        f"The process does not know the true {estimand.words()}. It knows the marginal effect of assignment (ITT, or "
        f"ATE as everybody takes it up) for {' and '.join(populations)}, as {', '.join(known)}."
    )


@dataclass(frozen=True, slots=True)
class ParallelProcess:
    """Draws trials of a `ParallelDesign`: outcomes are independent between respondents.

    Parameters
    ----------
    design : ParallelDesign
        The plan.
    effect : float
        True effect, treated minus control, in units of the outcome.

    Raises
    ------
    DesignError
        If the effect leads out of (0, 1) for a risk, or below zero for a rate.

    Examples
    --------
    >>> from gbveval.design.outcomes import Binary
    >>> from gbveval.design.parallel import ParallelDesign
    >>> process = ParallelDesign(n_per_arm=30, outcome=Binary(0.4)).process(-0.1)
    >>> process.draw(np.random.default_rng(1)).n
    60
    """

    design: ParallelDesign
    effect: float

    def __post_init__(self) -> None:
        self.design.outcome.levels(self.effect)

    @property
    def covariate_names(self) -> tuple[str, ...]:
        """Names of the covariates that are drawn."""
        return covariate_names(0, max(int(self.design.n_covariates), int(self.design.r_squared > 0.0)))

    def _arrays(self, rng: np.random.Generator) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
        """Return arm, outcome and covariates of each respondent."""
        arm = np.repeat(np.array([0, 1], dtype=np.intp), [self.design.n_per_arm, self.design.n_treated])
        outcome = self.design.outcome.draw(self.effect, arm, rng)
        count = len(self.covariate_names)
        if count == 0:
            return arm, outcome, np.zeros((arm.size, 0))
        # The outcome as drawn has all the variance; the share of the covariates takes the place of noise.
        assert isinstance(self.design.outcome, Continuous)
        share, level = float(self.design.r_squared), np.asarray(self.design.outcome.levels(self.effect))[arm]
        covariates = rng.normal(size=(arm.size, count))
        part = math.sqrt(share * self.design.outcome.variance(0.0) / count) * covariates.sum(axis=1)
        return arm, level + math.sqrt(1.0 - share) * (outcome - level) + part, covariates

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return one simulated trial as columns "outcome", "arm" ("control" or "treated") and covariates."""
        arm, outcome, covariates = self._arrays(rng)
        columns = dict(zip(self.covariate_names, covariates.T, strict=True))
        return {"outcome": outcome, "arm": np.asarray(ARMS, dtype=object)[arm], **columns}

    def check(self, frame: Frame) -> Trial:
        """Return a frame of this process as a checked trial."""
        return Trial(frame, outcome="outcome", arm="arm", control=ARMS[0], covariates=self.covariate_names)

    def draw(self, rng: np.random.Generator) -> Trial:
        """Return one simulated trial as checked data: `check(frame(rng))` without the checking."""
        arm, outcome, covariates = self._arrays(rng)
        return Trial._trusted(
            outcome_names=("outcome",),
            outcomes=outcome[:, None],
            arms=ARMS,
            arm=arm,
            **_as_covariates(self.covariate_names, covariates),
        )

    def truth(self, estimand: Estimand) -> float:
        """Return the true value of exactly this estimand on its link scale, or raise DesignError."""
        return known_truth(self.design.outcome, self.effect, estimand, ("participant_average",))


@dataclass(frozen=True, slots=True)
class ClusterProcess:
    """Draws trials of a `ClusterDesign` or `GivenClustersDesign`, person by person or as cluster totals.

    Parameters
    ----------
    design : ClusterDesign or GivenClustersDesign
        The plan.
    effect : float
        True difference in means, risks or rates, treated minus control.

    Raises
    ------
    DesignError
        If the effect leads out of (0, 1) for a risk, or below zero for a rate.

    Notes
    -----
    A continuous outcome is mean + cluster deviation + personal deviation, both normal, with the ICC's share of the
    variance between clusters. A binary outcome has cluster risks from a beta distribution with mean the arm's risk and
    variance icc x risk x (1 - risk), so that the observed ICC is the planned one in each arm (a latent ICC is converted
    at the arm's risk). A count has cluster rates from a gamma distribution with the planned coefficient of variation
    and is Poisson in each cluster, or with a dispersion negative binomial. Unequal sizes are gamma distributed,
    rounded, at least two, and independent of the outcomes: so participant and cluster averages are equal.

    **Covariates.** Covariates of clusters, and one of respondents where the plan has `r_squared_people`, are standard
    normal and explain the planned shares of the variance between and within clusters.

    **Allocation and sizes.** Clusters are exchangeable before assignment, so the first ones are control without loss.
    Sizes and covariates are drawn anew for each trial, so that draws are independent. `draws_per_batch` says how many
    draws `draw_batch` is asked for at once: a bound on memory.

    Examples
    --------
    >>> from gbveval.design.cluster import ClusterDesign
    >>> from gbveval.design.icc import ICC
    >>> from gbveval.design.outcomes import Continuous
    >>> plan = ClusterDesign(clusters_per_arm=4, cluster_size=10, icc=ICC(0.1, scale="observed"), outcome=Continuous())
    >>> plan.process(0.5).draw_batch(3, np.random.default_rng(1)).totals.shape
    (3, 8)
    """

    design: ClusterDesign | GivenClustersDesign
    effect: float

    def __post_init__(self) -> None:
        for level in self.design.outcome.levels(self.effect):
            if self.design.icc_at(level) >= 1.0:
                raise DesignError(
                    f"At {level:.3g} clusters cannot vary as much as planned, so no trial can be drawn: give a smaller "
                    "effect or coefficient of variation."
                )

    @property
    def draws_per_batch(self) -> int:
        """How many draws one batch holds."""
        return BLOCK

    @property
    def covariate_names(self) -> tuple[str, ...]:
        """Names of the covariates that are drawn: those of clusters, then that of respondents."""
        return covariate_names(self._explained.covariates, int(self._explained.of_people > 0.0))

    @property
    def _explained(self) -> Explained:
        """What covariates explain; nothing in plans that have none."""
        return getattr(self.design, "explained", NOTHING_EXPLAINED)

    def _cluster_levels(self, arm: NDArray[np.intp], n_draws: int, rng: np.random.Generator) -> FloatArray:
        """Return true cluster means, risks or rates, shape (draws, clusters), without what covariates explain."""
        levels = self.design.outcome.levels(self.effect)
        iccs = np.array([self.design.icc_at(level) for level in levels])[arm]
        level = np.asarray(levels)[arm]
        shape = (n_draws, arm.size)
        if isinstance(self.design.outcome, Continuous):
            between = np.sqrt((1.0 - self._explained.of_clusters) * iccs * self.design.outcome.variance(0.0))
            return level + between * rng.normal(size=shape)
        if np.all(iccs == 0.0):
            return np.broadcast_to(level, shape)
        if isinstance(self.design.outcome, Count):
            cv2 = np.array([self._between_cv(rate) ** 2 for rate in levels])[arm]
            return np.asarray(level * rng.gamma(1.0 / cv2, cv2, size=shape), dtype=np.float64)
        strength = (1.0 - iccs) / iccs
        return np.asarray(rng.beta(level * strength, (1.0 - level) * strength, size=shape), dtype=np.float64)

    def _slopes(self) -> tuple[float, float]:
        """Return the slope of each covariate of clusters, and that of the respondents' covariate."""
        level = float(self.design.outcome.levels(self.effect)[0])
        variance, icc = self.design.outcome.variance(level), self.design.icc_at(level)
        return (
            math.sqrt(self._explained.of_clusters * icc * variance / max(self._explained.covariates, 1)),
            math.sqrt(self._explained.of_people * (1.0 - icc) * variance),
        )

    def _between_cv(self, rate: float) -> float:
        """Return the coefficient of variation of the true rates of clusters."""
        between, _ = split_variance(self.design.outcome, self.design.icc, rate)
        return float(np.sqrt(between)) / rate

    def _frailty(self) -> tuple[float, float]:
        """Return the dispersion between respondents of a cluster, in control and treated, given the cluster's rate.

        The planned one is an average over clusters, in which the mean square of the rate is 1 + cv^2 times its square.
        """
        control, treated = self.design.outcome.levels(self.effect)
        planned = float(getattr(self.design.outcome, "dispersion", 0.0))
        return planned / (1.0 + self._between_cv(control) ** 2), planned / (1.0 + self._between_cv(treated) ** 2)

    def _counts(
        self, mean: FloatArray, people: FloatArray | int, arm: NDArray[np.intp], rng: np.random.Generator
    ) -> FloatArray:
        """Return events of so many respondents with this mean each: Poisson, or with gamma frailties."""
        k = np.asarray(self._frailty())[arm]
        if not np.any(k > 0.0):
            return np.asarray(rng.poisson(mean * people), dtype=np.float64)
        return np.asarray(rng.poisson(mean * rng.gamma(people / k, k, size=mean.shape)), dtype=np.float64)

    def _within_sd(self) -> float:
        level = float(self.design.outcome.levels(self.effect)[0])
        unexplained = 1.0 - self._explained.of_people
        return math.sqrt(unexplained * (1.0 - self.design.icc_at(level)) * self.design.outcome.variance(level))

    def _arrays(self, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray, FloatArray]:
        """Return for each respondent the cluster, the arm, the outcome and the covariates."""
        arm, (sizes,) = self.design.draw_clusters(rng, 1)
        level = self._cluster_levels(arm, 1, rng)[0]
        cluster = np.repeat(np.arange(arm.size), sizes)
        if self.design.outcome.binary:
            outcome = (rng.random(cluster.size) < level[cluster]).astype(float)
            return cluster, arm[cluster], outcome, np.zeros((cluster.size, 0))
        if isinstance(self.design.outcome, Count):
            outcome = self._counts(level[cluster] * float(self.design.outcome.exposure), 1, arm[cluster], rng)
            return cluster, arm[cluster], outcome, np.zeros((cluster.size, 0))
        outcome = level[cluster] + self._within_sd() * rng.normal(size=cluster.size)
        of_clusters = rng.normal(size=(arm.size, self._explained.covariates))[cluster]
        of_people = rng.normal(size=(cluster.size, len(self.covariate_names) - of_clusters.shape[1]))
        slopes = self._slopes()
        outcome = outcome + slopes[0] * of_clusters.sum(axis=1) + slopes[1] * of_people.sum(axis=1)
        return cluster, arm[cluster], outcome, np.column_stack([of_clusters, of_people])

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return one simulated trial as columns "outcome", "arm", "cluster" and covariates."""
        cluster, arm, outcome, covariates = self._arrays(rng)
        names = np.asarray(cluster_names(self.design.n_clusters), dtype=object)
        columns = dict(zip(self.covariate_names, covariates.T, strict=True))
        return {"outcome": outcome, "arm": np.asarray(ARMS, dtype=object)[arm], "cluster": names[cluster], **columns}

    def check(self, frame: Frame) -> Trial:
        """Return a frame of this process as a checked trial."""
        return Trial(
            frame, outcome="outcome", arm="arm", control=ARMS[0], cluster="cluster", covariates=self.covariate_names
        )

    def draw(self, rng: np.random.Generator) -> Trial:
        """Return one simulated trial as checked data: `check(frame(rng))` without the checking."""
        cluster, arm, outcome, covariates = self._arrays(rng)
        return Trial._trusted(
            outcome_names=("outcome",),
            outcomes=outcome[:, None],
            arms=ARMS,
            arm=arm,
            cluster=Labels(cluster, cluster_names(self.design.n_clusters)),
            **_as_covariates(self.covariate_names, covariates),
        )

    def draw_batch(self, n_draws: int, rng: np.random.Generator) -> ClusterBatch:
        """Return the cluster cross-products of many simulated trials: the law of `draw`, without the people.

        Parameters
        ----------
        n_draws : int
            Trials.
        rng : numpy.random.Generator
            Where the draws come from.
        """
        arm, drawn = self.design.draw_clusters(rng, 1 if self.design.sizes_known else n_draws)
        sizes = drawn.astype(np.float64)
        if isinstance(self.design.outcome, Continuous) and self._explained == NOTHING_EXPLAINED:
            return ClusterBatch.of_totals(sizes, arm == 1, self._normal_totals(arm, sizes, n_draws, rng))
        level = self._cluster_levels(arm, n_draws, rng)
        if self.design.outcome.binary:
            totals = rng.binomial(sizes.astype(np.intp), level).astype(float)
            return ClusterBatch.of_totals(sizes, arm == 1, totals, binary=True)
        if isinstance(self.design.outcome, Count):
            totals = self._counts(level * float(self.design.outcome.exposure), sizes, arm, rng)
            return ClusterBatch.of_totals(sizes, arm == 1, totals)
        noise = np.sqrt(sizes) * self._within_sd() * rng.normal(size=level.shape)
        of_clusters = rng.normal(size=(n_draws, arm.size, self._explained.covariates))
        slopes = self._slopes()
        level = level + slopes[0] * of_clusters.sum(axis=-1)
        sums = cluster_sums(sizes, level, noise, of_clusters)
        if slopes[1] > 0.0:
            sums = with_people(sums, slopes[1], self._within_sd(), rng)
        return ClusterBatch(*sums, np.atleast_2d(arm == 1))

    def _normal_totals(
        self, arm: NDArray[np.intp], sizes: FloatArray, n_draws: int, rng: np.random.Generator
    ) -> FloatArray:
        """Return sums of a normal outcome: one normal number has the variance between and within a cluster."""
        low, high = self.design.outcome.levels(self.effect)
        between = self.design.icc_at(low) * self.design.outcome.variance(low)
        spread = np.sqrt(sizes**2 * between + sizes * self._within_sd() ** 2)
        means = np.where(arm == 1, high, low)
        return np.asarray(sizes * means + spread * rng.normal(size=(n_draws, arm.size)))

    def truth(self, estimand: Estimand) -> float:
        """Return the true value of exactly this estimand on its link scale, or raise DesignError."""
        return known_truth(self.design.outcome, self.effect, estimand, ("participant_average", "cluster_average"))


def _as_covariates(names: tuple[str, ...], values: FloatArray) -> dict[str, Any]:
    """Return covariates as a trial holds them; nothing where there are none."""
    return {"covariate_names": names, "covariates": values, "covariate_levels": ()} if names else {}


@lru_cache(maxsize=64)
def cluster_names(count: int) -> tuple[str, ...]:
    """Return labels whose sorted order is their number."""
    width = len(str(count))
    return tuple(f"cluster {number + 1:0{width}d}" for number in range(count))
