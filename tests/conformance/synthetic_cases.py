"""Cases of rollouts with random timing and of synthetic controls."""

from __future__ import annotations

import numpy as np

import gbveval as gbv
from gbveval.testing.case import Case
from gbveval.testing.processes import PanelFrames

ONE_LEVEL = "an interval by inverting a test holds at one level; another needs the permutations again"

TIMING_AND_SYNTHETIC = (
    Case(gbv.StaggeredEfficient(), PanelFrames(n_units=90), n_draws=200, term="cohort 3, period 3"),
    Case(
        gbv.StaggeredEfficient(std_error="adjusted"),
        PanelFrames(n_units=150),
        n_draws=200,
        term="cohort 3, period 4",
        note="adjusted",
    ),
    Case(
        gbv.RandomisedTiming(n_draws=199),
        PanelFrames(n_units=30),
        n_draws=200,
        exempt={"check_wider_level_gives_a_wider_interval": ONE_LEVEL},
    ),
    Case(
        gbv.RandomisedTiming(estimator="cs", statistic="difference", n_draws=199),
        PanelFrames(n_units=40, cohorts=(3.0, np.inf), cluster_size=2),
        n_draws=200,
        exempt={"check_wider_level_gives_a_wider_interval": ONE_LEVEL},
        note="clusters",
    ),
    Case(gbv.SyntheticDid(n_draws=40), PanelFrames(n_units=24, n_periods=8, cohorts=(6.0, *[np.inf] * 7)), n_draws=150),
    Case(
        gbv.SyntheticDid(std_error="jackknife"),
        PanelFrames(n_units=40, n_periods=8, cohorts=(6.0, np.inf)),
        n_draws=150,
        note="jackknife",
    ),
    Case(
        gbv.SyntheticDid(std_error="bootstrap", n_draws=30),
        PanelFrames(n_units=45, n_periods=8, cohorts=(5.0, 6.0, np.inf)),
        n_draws=100,
        note="several cohorts",
    ),
    # One treated unit and nineteen placebos, all of them listed.
    Case(
        gbv.SyntheticControl(n_draws=40),
        PanelFrames(n_units=20, n_periods=10, cohorts=(8.0, *[np.inf] * 19)),
        n_draws=150,
    ),
)
