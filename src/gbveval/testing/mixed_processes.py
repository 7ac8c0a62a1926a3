"""Small sources of frames from mixed models with known truth, stepped wedges among them, for the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.data.trial import Trial
from gbveval.testing.case import Frame
from gbveval.testing.processes import TrialFrames

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ClusterEventFrames:
    """Cluster trials with events or counts from a model with a random intercept.

    Parameters
    ----------
    clusters_per_arm, cluster_size : int
        Clusters an arm and people in each.
    effect : float
        Log odds ratio conditional on the cluster (log rate ratio for counts).
    base : float
        Log odds (log rate) in a control cluster at the middle.
    cluster_sd : float
        Standard deviation of the random intercepts.
    counts : bool
        Whether people have counts (Poisson) instead of a yes or no.
    """

    clusters_per_arm: int = 15
    cluster_size: int = 20
    effect: float = 0.5
    base: float = -0.5
    cluster_sd: float = 0.5
    counts: bool = False

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "arm": "arm", "cluster": "cluster"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect on the log scale."""
        groups = 2 * self.clusters_per_arm
        member = np.repeat(np.arange(groups), self.cluster_size)
        treated = (member >= self.clusters_per_arm).astype(float)
        linear = self.base + self.effect * treated + self.cluster_sd * rng.normal(size=groups)[member]
        if self.counts:
            y = rng.poisson(np.exp(linear)).astype(float)
        else:
            y = (rng.random(member.size) < 1.0 / (1.0 + np.exp(-linear))).astype(float)
        frame: Frame = {
            "y": y,
            "arm": np.where(treated == 1, "new", "usual").tolist(),
            "cluster": [f"c{g:03d}" for g in member],
        }
        return frame, self.effect

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        return Trial(frame, outcome="y", arm="arm", control="usual", cluster="cluster")

    def null(self) -> ClusterEventFrames:
        """Return the same trial without an effect."""
        return replace(self, effect=0.0)


@dataclass(frozen=True)
class SteppedWedgeFrames:
    """Stepped wedges: clusters cross from usual practice to the intervention, one sequence a period.

    Parameters
    ----------
    clusters_per_sequence, periods, cell_size : int
        Clusters in each of the `periods` - 1 sequences, and mean people in a cluster and period.
    effect : float
        Effect in the first period of exposure.
    growth : float
        What each further period of exposure adds to the effect.
    cluster_sd, period_sd : float
        Standard deviations between clusters, and between the periods of a cluster.
    trend : float
        Change of the outcome from period to period without the intervention.
    """

    clusters_per_sequence: int = 3
    periods: int = 4
    cell_size: int = 8
    effect: float = 0.5
    growth: float = 0.0
    cluster_sd: float = 0.5
    period_sd: float = 0.3
    trend: float = 0.4

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "arm": "arm", "cluster": "cluster", "time": "time"}

    @property
    def average_effect(self) -> float:
        """Average of the effects over the exposure times."""
        return self.effect + self.growth * (self.periods - 2) / 2.0

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true average effect over exposure times."""
        clusters = self.clusters_per_sequence * (self.periods - 1)
        low = max(2, self.cell_size // 2)
        cells = np.repeat(
            np.arange(clusters * self.periods), rng.integers(low, 2 * self.cell_size - low + 1, clusters * self.periods)
        )
        cluster, period = cells // self.periods, cells % self.periods
        exposed = np.maximum(period - cluster % (self.periods - 1), 0)
        level = self.cluster_sd * rng.normal(size=clusters)[cluster]
        level = level + self.period_sd * rng.normal(size=clusters * self.periods)[cells] + self.trend * period
        gain = np.where(exposed > 0, self.effect + self.growth * (exposed - 1), 0.0)
        frame: Frame = {
            "y": level + gain + rng.normal(size=cells.size),
            "arm": np.where(exposed > 0, "new", "usual").tolist(),
            "cluster": [f"c{g:03d}" for g in cluster],
            "time": period.tolist(),
        }
        return frame, self.average_effect

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        return Trial(frame, outcome="y", arm="arm", control="usual", cluster="cluster", time="time")

    def null(self) -> SteppedWedgeFrames:
        """Return the same trial without an effect at any time."""
        return replace(self, effect=0.0, growth=0.0)


@dataclass(frozen=True)
class IccFrames:
    """Cluster trials with a normal outcome, whose truth is the intracluster correlation.

    Parameters
    ----------
    clusters_per_arm, cluster_size : int
        Clusters an arm, and mean people in each; sizes vary.
    icc : float
        Share of variance between clusters of an arm.
    """

    clusters_per_arm: int = 30
    cluster_size: int = 10
    icc: float = 0.1

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return self._trial().roles

    def _trial(self) -> TrialFrames:
        return TrialFrames(self.clusters_per_arm, cluster_size=self.cluster_size, icc=self.icc, uneven=True)

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true correlation."""
        return self._trial().frame(rng)[0], self.icc

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        return self._trial().check(frame)

    def null(self) -> IccFrames | None:
        """Return no source: nobody tests whether clusters are alike."""
        return None
