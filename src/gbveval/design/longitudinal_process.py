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
from gbveval.design._cluster_cells import cell_levels, observed_periods
from gbveval.design._labels import numbered
from gbveval.design.processes import ARMS, Frame, known_truth

if TYPE_CHECKING:
    from gbveval.design.longitudinal import LongitudinalClusterDesign

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# The contrast that each link holds constant over periods.
CONSTANT = {"identity": "risk_difference", "logit": "odds_ratio", "log": "risk_ratio"}


@dataclass(frozen=True, slots=True)
class LongitudinalProcess:
    """Draws trials of a `LongitudinalClusterDesign` in which other people are asked in every period.

    Parameters
    ----------
    design : LongitudinalClusterDesign
        The plan; its people are not followed.
    effect : float
        True effect, the same at every exposure time.

    Raises
    ------
    DesignError
        If people are followed, or a risk leaves (0, 1).

    Notes
    -----
    A continuous outcome is the level of the period, the effect where treated, a normal deviation of the cluster in the
    period with the planned correlation between periods, and a normal deviation of the person. For a risk, that of a
    cluster in a period is from a beta distribution with the planned mean and ICC. Its rank among clusters is kept to
    the next period with the probability `decay`, else drawn anew, and shown with the probability sqrt(cac), else
    another is drawn for that period: correlations between periods of one mean risk are then exactly the planned ones,
    and a hair lower between periods of two.

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
        self._means()
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

    def _means(self) -> FloatArray:
        """Return the expected outcome of each sequence in each period, zero where nothing is observed."""
        design = self.design
        found = np.zeros((design.schedule.n_sequences, design.schedule.n_periods))
        levels = cell_levels(design.schedule, design.outcome, design.link, float(design.trend), self.effect)
        for number, (row, mean) in enumerate(zip(design.schedule.rows, levels.means, strict=True)):
            found[number, observed_periods(row)] = mean
        return found

    def _ranks(self, rng: np.random.Generator) -> FloatArray:
        """Return the rank, in (0, 1), of each cluster's risk in each period."""
        shape = (self.design.n_clusters, self.design.schedule.n_periods)
        kept = rng.random(shape)
        stays = rng.random(shape) < float(self.design.correlation.decay)
        for period in range(1, shape[1]):
            kept[:, period] = np.where(stays[:, period], kept[:, period - 1], kept[:, period])
        shown = rng.random(shape) < float(self.design.correlation.cac) ** 0.5
        return np.where(shown, kept, rng.random(shape))

    def _events(self, mean: FloatArray, cluster: IntArray, period: IntArray, rng: np.random.Generator) -> FloatArray:
        """Return a yes or no for each respondent, whose expected risk is given."""
        from scipy.special import betaincinv

        icc = float(self.design.correlation.icc.value)
        risk: FloatArray = mean
        if icc > 0.0:
            strength = (1.0 - icc) / icc
            cell = cluster * self.design.schedule.n_periods + period
            _, first, place = np.unique(cell, return_index=True, return_inverse=True)
            rank = self._ranks(rng)[cluster[first], period[first]]
            level = mean[first]
            risk = np.asarray(betaincinv(level * strength, (1.0 - level) * strength, rank), dtype=np.float64)[place]
        return (rng.random(cluster.size) < risk).astype(np.float64)

    def _arrays(self, rng: np.random.Generator) -> tuple[IntArray, IntArray, IntArray, IntArray, FloatArray]:
        sequence, cluster, period = self._cells()
        design = self.design
        treated = np.array([[int(entry or 0) for entry in row] for row in design.schedule.rows], dtype=np.intp)[
            sequence, period
        ]
        mean = self._means()[sequence, period]
        if design.outcome.binary:
            return sequence, cluster, period, treated, self._events(mean, cluster, period, rng)
        level, change = self._deviations(rng)
        icc = float(design.correlation.icc.value)
        own = np.sqrt(design.outcome.variance(0.0) * (1.0 - icc)) * rng.normal(size=cluster.size)
        outcome = mean + level[cluster, period] + own + treated * change[cluster, period]
        return sequence, cluster, period, treated, outcome

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
        own = CONSTANT[self.design.link]
        if self.design.outcome.binary and self.design.trend and estimand.contrast != own:
            raise DesignError(f"With a trend only the {own} is the same in all periods; its truth is known, no other.")
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
