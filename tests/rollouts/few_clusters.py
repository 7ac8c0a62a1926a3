"""Measures coverage and pre-tests with few clusters: units of a village share its ups and downs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gbveval as gbv
from gbveval.testing.case import Frame
from tests.rollouts.measure import SEED, Method, count, keep

RECORD = Path(__file__).with_name("few_clusters.json")
CLUSTERS = (6, 10, 20)
DRAWS = 1000
COHORTS = (3.0, 5.0, np.inf)
PERIODS, UNITS = 6, 10

METHODS = (
    Method("CallawaySantAnna, std_error='influence'", gbv.CallawaySantAnna(), draws=DRAWS, pretest=True),
    Method(
        "CallawaySantAnna, std_error='jackknife'",
        gbv.CallawaySantAnna(std_error="jackknife"),
        draws=DRAWS,
        pretest=True,
    ),
    Method("Imputation", gbv.Imputation(), draws=DRAWS),
    Method("ExtendedTwfe, std_error='CR1S'", gbv.ExtendedTwfe(), draws=DRAWS),
    Method("TwoWayFixedEffects, std_error='CR1S'", gbv.TwoWayFixedEffects(), average="", draws=DRAWS),
    Method("TwoWayFixedEffects, std_error='CR2'", gbv.TwoWayFixedEffects(std_error="CR2"), average="", draws=DRAWS),
)


@dataclass(frozen=True)
class FewClusterFrames:
    """Rollouts over few clusters of ten units, with an effect of 1; half of the noise is the cluster's.

    Parameters
    ----------
    clusters : int
        In three cohorts as nearly equal as may be, treated from period 3 or 5 of six on, or never.
    """

    clusters: int

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect."""
        n = self.clusters * UNITS
        cluster = np.arange(n) // UNITS
        cohort = np.array(COHORTS)[np.arange(self.clusters) % len(COHORTS)][cluster]
        periods = np.arange(1.0, PERIODS + 1.0)
        shock = rng.normal(size=(self.clusters, PERIODS))[cluster] + rng.normal(size=(n, PERIODS))
        y = rng.normal(size=(n, 1)) + 0.3 * periods + shock + (periods >= cohort[:, None])
        frame: Frame = {
            "y": y.ravel(),
            "unit": np.repeat(np.arange(n), PERIODS),
            "time": np.tile(periods, n),
            "cohort": np.repeat(cohort, PERIODS),
            "cluster": np.repeat(cluster, PERIODS),
        }
        return frame, 1.0

    def check(self, frame: Frame) -> gbv.Panel:
        """Return the checked panel."""
        return gbv.Panel(frame, outcome="y", unit="unit", time="time", cohort="cohort", cluster="cluster")


def measure(method: Method) -> dict[str, Any]:
    """Return what was counted with each number of clusters."""
    return {
        f"{clusters} clusters": count(method, FewClusterFrames(clusters), np.random.SeedSequence([SEED, clusters]))
        for clusters in CLUSTERS
    }


def run(say: Callable[[str], None], *, only: str = "", again: bool = False) -> dict[str, Any]:
    """Measure the rows that are missing or have changed."""
    return keep(METHODS, measure, RECORD, say, only, again)
