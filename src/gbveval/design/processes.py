"""Hides how studies of a planned design are drawn, as people or as cluster totals, and what is true in them."""

from __future__ import annotations

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
from gbveval.design._sizes import draw_sizes

if TYPE_CHECKING:
    from gbveval.design.cluster import ClusterDesign
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

    def _arrays(self, rng: np.random.Generator) -> tuple[NDArray[np.intp], FloatArray]:
        arm = np.repeat(np.array([0, 1], dtype=np.intp), [self.design.n_per_arm, self.design.n_treated])
        return arm, self.design.outcome.draw(self.effect, arm, rng)

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return one simulated trial as columns "outcome" and "arm" ("control" or "treated")."""
        arm, outcome = self._arrays(rng)
        return {"outcome": outcome, "arm": np.asarray(ARMS, dtype=object)[arm]}

    def check(self, frame: Frame) -> Trial:
        """Return a frame of this process as a checked trial."""
        return Trial(frame, outcome="outcome", arm="arm", control=ARMS[0])

    def draw(self, rng: np.random.Generator) -> Trial:
        """Return one simulated trial as checked data: `check(frame(rng))` without the checking."""
        arm, outcome = self._arrays(rng)
        return Trial._trusted(outcome_names=("outcome",), outcomes=outcome[:, None], arms=ARMS, arm=arm)

    def truth(self, estimand: Estimand) -> float:
        """Return the true value of exactly this estimand on its link scale, or raise DesignError."""
        return known_truth(self.design.outcome, self.effect, estimand, ("participant_average",))


@dataclass(frozen=True, slots=True)
class ClusterProcess:
    """Draws trials of a `ClusterDesign`, person by person or as cluster totals.

    Parameters
    ----------
    design : ClusterDesign
        The plan.
    effect : float
        True difference in means, or in risks, treated minus control.

    Raises
    ------
    DesignError
        If the effect leads out of (0, 1) for a risk.

    Notes
    -----
    A continuous outcome is mean + cluster deviation + personal deviation, both normal, with the ICC's share of the
    variance between clusters. A binary outcome has cluster risks from a beta distribution with mean the arm's risk and
    variance icc x risk x (1 - risk), so that the observed ICC is the planned one in each arm (a latent ICC is converted
    at the arm's risk). Unequal sizes are gamma distributed, rounded, at least two, and independent of the outcomes: so
    participant and cluster averages are equal.

    **Allocation and sizes.** Clusters are exchangeable before assignment, so the first ones are control without loss.
    `draw` draws sizes anew each time. `draw_batch` draws them once, since a batch shares one allocation; draws of a
    batch are then only independent given those sizes. `draws_per_batch` says how many draws may share: many when sizes
    are fixed, one when they vary. A simulation that keeps to it has independent draws with the distribution of `draw`.

    Examples
    --------
    >>> from gbveval.design.cluster import ClusterDesign
    >>> from gbveval.design.icc import ICC
    >>> from gbveval.design.outcomes import Continuous
    >>> plan = ClusterDesign(clusters_per_arm=4, cluster_size=10, icc=ICC(0.1, scale="observed"), outcome=Continuous())
    >>> plan.process(0.5).draw_batch(3, np.random.default_rng(1)).totals.shape
    (3, 8)
    """

    design: ClusterDesign
    effect: float

    def __post_init__(self) -> None:
        self.design.outcome.levels(self.effect)

    @property
    def draws_per_batch(self) -> int:
        """How many draws may share one batch and still be independent draws of this process."""
        return BLOCK if self.design.size_cv == 0.0 else 1

    def _clusters(self, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the arm and the size of each cluster."""
        arm = np.repeat(np.array([0, 1], dtype=np.intp), [self.design.clusters_per_arm, self.design.treated_clusters])
        return arm, draw_sizes(arm.size, self.design.cluster_size, float(self.design.size_cv), rng)

    def _cluster_levels(self, arm: NDArray[np.intp], n_draws: int, rng: np.random.Generator) -> FloatArray:
        """Return true cluster means or risks, shape (draws, clusters)."""
        levels = self.design.outcome.levels(self.effect)
        iccs = np.array([self.design.icc_at(level) for level in levels])[arm]
        level = np.asarray(levels)[arm]
        shape = (n_draws, arm.size)
        if not self.design.outcome.binary:
            between = np.sqrt(iccs * self.design.outcome.variance(0.0))
            return level + between * rng.normal(size=shape)
        if np.all(iccs == 0.0):
            return np.broadcast_to(level, shape)
        strength = (1.0 - iccs) / iccs
        return np.asarray(rng.beta(level * strength, (1.0 - level) * strength, size=shape), dtype=np.float64)

    def _within_sd(self) -> float:
        level = float(self.design.outcome.levels(self.effect)[0])
        return float(np.sqrt((1.0 - self.design.icc_at(level)) * self.design.outcome.variance(level)))

    def _arrays(self, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
        """Return for each respondent the cluster, the arm and the outcome."""
        arm, sizes = self._clusters(rng)
        level = self._cluster_levels(arm, 1, rng)[0]
        cluster = np.repeat(np.arange(arm.size), sizes)
        if self.design.outcome.binary:
            outcome = (rng.random(cluster.size) < level[cluster]).astype(float)
        else:
            outcome = level[cluster] + self._within_sd() * rng.normal(size=cluster.size)
        return cluster, arm[cluster], outcome

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return one simulated trial as columns "outcome", "arm" ("control" or "treated") and "cluster"."""
        cluster, arm, outcome = self._arrays(rng)
        names = np.asarray(_cluster_names(self.design.clusters_per_arm + self.design.treated_clusters), dtype=object)
        return {"outcome": outcome, "arm": np.asarray(ARMS, dtype=object)[arm], "cluster": names[cluster]}

    def check(self, frame: Frame) -> Trial:
        """Return a frame of this process as a checked trial."""
        return Trial(frame, outcome="outcome", arm="arm", control=ARMS[0], cluster="cluster")

    def draw(self, rng: np.random.Generator) -> Trial:
        """Return one simulated trial as checked data: `check(frame(rng))` without the checking."""
        cluster, arm, outcome = self._arrays(rng)
        return Trial._trusted(
            outcome_names=("outcome",),
            outcomes=outcome[:, None],
            arms=ARMS,
            arm=arm,
            cluster=Labels(cluster, _cluster_names(self.design.clusters_per_arm + self.design.treated_clusters)),
        )

    def draw_batch(self, n_draws: int, rng: np.random.Generator) -> ClusterBatch:
        """Return the cluster totals of many simulated trials that share their sizes (see Notes of the class).

        Parameters
        ----------
        n_draws : int
            Trials.
        rng : numpy.random.Generator
            Where the draws come from.
        """
        arm, sizes = self._clusters(rng)
        level = self._cluster_levels(arm, n_draws, rng)
        binary = self.design.outcome.binary
        if binary:
            totals = rng.binomial(sizes, level).astype(float)
        else:
            totals = sizes * level + np.sqrt(sizes) * self._within_sd() * rng.normal(size=level.shape)
        return ClusterBatch(sizes=sizes.astype(float), treated=arm == 1, totals=totals, binary=binary)

    def truth(self, estimand: Estimand) -> float:
        """Return the true value of exactly this estimand on its link scale, or raise DesignError."""
        return known_truth(self.design.outcome, self.effect, estimand, ("participant_average", "cluster_average"))


@lru_cache(maxsize=64)
def _cluster_names(count: int) -> tuple[str, ...]:
    """Return labels whose sorted order is their number."""
    width = len(str(count))
    return tuple(f"cluster {number + 1:0{width}d}" for number in range(count))
