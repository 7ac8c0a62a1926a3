"""Hides how trials of matched pairs of clusters are drawn, and what is true in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.data._frame import Labels
from gbveval.data.trial import Trial
from gbveval.design.processes import ARMS, FloatArray, Frame, cluster_names, known_truth

if TYPE_CHECKING:
    from gbveval.design.paired_clusters import PairedClusterDesign


@dataclass(frozen=True, slots=True)
class PairedClusterProcess:
    """Draws trials of a `PairedClusterDesign` with a continuous outcome.

    Parameters
    ----------
    design : PairedClusterDesign
        The plan.
    effect : float
        True difference in means, treated minus control.

    Notes
    -----
    An outcome is mean + what the pair shares + what the cluster has of its own + what the person has, all normal. The
    pair's share of the variance between clusters is the matching correlation. Clusters are exchangeable within a pair,
    so the first of each is control without loss.

    Examples
    --------
    >>> from gbveval.design.icc import ICC
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.paired_clusters import PairedClusterDesign
    >>> plan = PairedClusterDesign(4, 10, ICC(0.1, scale="observed"), Continuous(), matching_correlation=0.5)
    >>> plan.process(0.5).draw(np.random.default_rng(1)).n
    80
    """

    design: PairedClusterDesign
    effect: float

    def __post_init__(self) -> None:
        self.design.outcome.levels(self.effect)

    def _arrays(self, rng: np.random.Generator) -> tuple[NDArray[np.intp], FloatArray]:
        """Return for each respondent the cluster (of pair c // 2 and arm c % 2) and the outcome."""
        pairs, people = int(self.design.n_pairs), int(self.design.cluster_size)
        levels = self.design.outcome.levels(self.effect)
        share, total = self.design.icc_at(levels[0]), self.design.outcome.variance(levels[0])
        shared = share * float(self.design.matching_correlation)
        pair = math.sqrt(shared * total) * rng.normal(size=(pairs, 1, 1))
        own = math.sqrt((share - shared) * total) * rng.normal(size=(pairs, 2, 1))
        person = math.sqrt((1.0 - share) * total) * rng.normal(size=(pairs, 2, people))
        outcome = np.asarray(levels)[:, None] + pair + own + person
        return np.repeat(np.arange(2 * pairs), people), outcome.ravel()

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return one simulated trial as columns "outcome", "arm" ("control" or "treated"), "cluster" and "pair"."""
        cluster, outcome = self._arrays(rng)
        names = np.asarray(cluster_names(2 * self.design.n_pairs), dtype=object)
        pairs = np.asarray(_pair_names(self.design.n_pairs), dtype=object)
        return {
            "outcome": outcome,
            "arm": np.asarray(ARMS, dtype=object)[cluster % 2],
            "cluster": names[cluster],
            "pair": pairs[cluster // 2],
        }

    def check(self, frame: Frame) -> Trial:
        """Return a frame of this process as a checked trial."""
        return Trial(frame, outcome="outcome", arm="arm", control=ARMS[0], cluster="cluster", pair="pair")

    def draw(self, rng: np.random.Generator) -> Trial:
        """Return one simulated trial as checked data: `check(frame(rng))` without the checking."""
        cluster, outcome = self._arrays(rng)
        return Trial._trusted(
            outcome_names=("outcome",),
            outcomes=outcome[:, None],
            arms=ARMS,
            arm=cluster % 2,
            cluster=Labels(cluster, cluster_names(2 * self.design.n_pairs)),
            pair=Labels(cluster // 2, _pair_names(self.design.n_pairs)),
        )

    def truth(self, estimand: Estimand) -> float:
        """Return the true value of exactly this estimand on its link scale, or raise DesignError."""
        populations = ("participant_average", "cluster_average")
        return known_truth(self.design.outcome, self.effect, estimand, populations)


def _pair_names(count: int) -> tuple[str, ...]:
    """Return labels whose sorted order is their number."""
    width = len(str(count))
    return tuple(f"pair {number + 1:0{width}d}" for number in range(count))
