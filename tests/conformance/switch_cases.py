"""Cases of treatment that starts and ends, and of few treated groups."""

from __future__ import annotations

import numpy as np

import gbveval as gbv
from gbveval.testing.case import Case
from gbveval.testing.processes import PanelFrames
from gbveval.testing.switch_processes import SwitchFrames

ONE_LEVEL = "an interval by inverting a test holds at one level; another needs the placements again"

SWITCHES_AND_FEW_TREATED = (
    Case(gbv.ChaisemartinDHaultfoeuille(), SwitchFrames(n_units=240), n_draws=150),
    Case(
        gbv.ChaisemartinDHaultfoeuille(normalised=True),
        PanelFrames(n_units=150),
        n_draws=150,
        note="lasting treatment",
    ),
    # In two periods those alike in treatment are alike in trends too, as instantaneous effects need.
    Case(
        gbv.ChaisemartinDHaultfoeuille(effects="instantaneous"),
        SwitchFrames(n_units=400, n_periods=2, cluster_size=2),
        n_draws=150,
        note="instantaneous",
    ),
    Case(
        gbv.ConleyTaber(),
        PanelFrames(n_units=40, cohorts=(3.0, *[np.inf] * 39)),
        conservative=True,
        n_draws=200,
        exempt={"check_wider_level_gives_a_wider_interval": ONE_LEVEL},
        note="one treated unit",
    ),
    Case(
        gbv.ConleyTaber(n_draws=499),
        PanelFrames(n_units=60, cohorts=(3.0, 4.0, *[np.inf] * 28), cluster_size=2),
        conservative=True,
        n_draws=200,
        exempt={"check_wider_level_gives_a_wider_interval": ONE_LEVEL},
        note="two treated clusters",
    ),
)
