"""Hides how trials of clusters over several periods are drawn, and what is true in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.data._frame import Labels
from gbveval.data.trial import Trial
from gbveval.design._cluster_cells import observed_periods
from gbveval.design._labels import numbered
from gbveval.design.processes import ARMS, Frame, known_truth

if TYPE_CHECKING:
    from gbveval.design.longitudinal import LongitudinalClusterDesign

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class LongitudinalProcess:
    """Draws trials of a `LongitudinalClusterDesign` in which other people are asked in every period.

    Parameters
    ----------
    design : LongitudinalClusterDesign
        The plan; its outcome is continuous and its people are not followed.
    effect : float
        True effect, the same at every exposure time.

    Raises
    ------
    DesignError
        If people are followed, or the outcome is a risk.

    Notes
    -----
    An outcome is the level of the period, the effect where treated, a normal deviation of the cluster in the period
    with the planned correlation between periods, and a normal deviation of the person.

    Examples
    --------
    >>> from gbveval.design.cluster_period_correlation import ClusterPeriodCorrelation
    >>> from gbveval.design.cluster_schedule import ClusterSchedule
    >>> from gbveval.design.icc import ICC
    >>> from gbveval.design.longitudinal import LongitudinalClusterDesign
    >>> from gbveval.design.outcomes import Continuous
    >>> likeness = ClusterPeriodCorrelation(ICC(0.05, scale="observed"), cac=0.8)
    >>> plan = LongitudinalClusterDesign(ClusterSchedule.stepped_wedge(3), 4, 10, likeness, Continuous())
    >>> plan.process(0.3).draw(np.random.default_rng(1)).n
    480
    """

    design: LongitudinalClusterDesign
    effect: float

    def __post_init__(self) -> None:
        self.design.outcome.levels(self.effect)
        if self.design.outcome.binary:
            raise DesignError(
                "Trials of a risk over several periods are not drawn: give power by formula, or a Continuous outcome "
                "with sd = sqrt(risk (1 - risk)) for a simulation that is near it."
            )
        if self.design.correlation.cohort:
            raise DesignError(
                "Trials of a cohort are not drawn, because no estimator here models people within clusters: plan for "
                "repeated cross-sections (individual_autocorrelation=0) to simulate."
            )

    def _cells(self) -> tuple[IntArray, IntArray, IntArray]:
        """Return the sequence, the cluster and the period of each respondent."""
        sequences, clusters, periods, first = [], [], [], 0
        for number, (row, count) in enumerate(zip(self.design.schedule.rows, self.design.sequence_sizes, strict=True)):
            seen = observed_periods(row)
            cluster = np.repeat(np.arange(first, first + count), seen.size * self.design.cluster_period_size)
            clusters.append(cluster)
            sequences.append(np.full(cluster.size, number, dtype=np.intp))
            periods.append(np.tile(np.repeat(seen, self.design.cluster_period_size), count))
            first += count
        return np.concatenate(sequences), np.concatenate(clusters), np.concatenate(periods)

    def _deviations(self, rng: np.random.Generator) -> FloatArray:
        """Return the deviation of every cluster in every period, and what its effect adds when treated."""
        design, n = self.design, self.design.schedule.n_periods
        periods = np.arange(float(n))
        between = design.outcome.variance(0.0) * design.correlation.of_means(np.inf, periods)
        lag = np.abs(np.subtract.outer(periods, periods))
        effects = float(design.effect_sd) ** 2 * float(design.correlation.decay) ** lag
        drawn = [rng.normal(size=(design.n_clusters, n)) @ _root(covariance) for covariance in (between, effects)]
        return np.array(drawn)

    def _arrays(self, rng: np.random.Generator) -> tuple[IntArray, IntArray, IntArray, IntArray, FloatArray]:
        sequence, cluster, period = self._cells()
        design = self.design
        treated = np.array([[int(entry or 0) for entry in row] for row in design.schedule.rows])[sequence, period]
        level, change = self._deviations(rng)
        icc = float(design.correlation.icc.value)
        own = np.sqrt(design.outcome.variance(0.0) * (1.0 - icc)) * rng.normal(size=cluster.size)
        last = max(design.schedule.n_periods - 1, 1)
        path = design.outcome.levels(0.0)[0] - float(design.trend) * (1.0 - np.arange(last + 1.0) / last)
        outcome = path[period] + level[cluster, period] + own + treated * (self.effect + change[cluster, period])
        return sequence, cluster, period, treated.astype(np.intp), outcome

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return one simulated trial as columns "outcome", "arm", "cluster", "time" and "sequence"."""
        sequence, cluster, period, treated, outcome = self._arrays(rng)
        return {
            "outcome": outcome,
            "arm": np.asarray(ARMS, dtype=object)[treated],
            "cluster": np.asarray(numbered("cluster ", self.design.n_clusters), dtype=object)[cluster],
            "time": np.asarray(numbered("", self.design.schedule.n_periods), dtype=object)[period],
            "sequence": np.asarray(numbered("sequence ", self.design.schedule.n_sequences), dtype=object)[sequence],
        }

    def check(self, frame: Frame) -> Trial:
        """Return a frame of this process as a checked trial."""
        return Trial(
            frame, outcome="outcome", arm="arm", control=ARMS[0], cluster="cluster", time="time", sequence="sequence"
        )

    def draw(self, rng: np.random.Generator) -> Trial:
        """Return one simulated trial as checked data: `check(frame(rng))` without the checking."""
        sequence, cluster, period, treated, outcome = self._arrays(rng)
        return Trial._trusted(
            outcome_names=("outcome",),
            outcomes=outcome[:, None],
            arms=ARMS,
            arm=treated,
            cluster=Labels(cluster, numbered("cluster ", self.design.n_clusters)),
            time=_observed_labels(period, numbered("", self.design.schedule.n_periods)),
            sequence=Labels(sequence, numbered("sequence ", self.design.schedule.n_sequences)),
        )

    def truth(self, estimand: Estimand) -> float:
        """Return the true value of exactly this estimand on its link scale, or raise DesignError."""
        return known_truth(self.design.outcome, self.effect, estimand, ("participant_average", "cluster_average"))


def _root(covariance: FloatArray) -> FloatArray:
    """Return a symmetric root of a covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    found: FloatArray = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return found


def _observed_labels(codes: IntArray, levels: tuple[str, ...]) -> Labels:
    """Return labels of those levels that occur."""
    used, found = np.unique(codes, return_inverse=True)
    return Labels(found.astype(np.intp), tuple(levels[place] for place in used))
