"""Cases of prevalences behind answers that do not tell all."""

from __future__ import annotations

import gbveval as gbv
from gbveval.testing.case import Case
from gbveval.testing.reporting_processes import BelievedFrames, ReportedFrames

NONE: frozenset[str] = frozenset()
LEVELS = {
    "check_wider_level_gives_a_wider_interval": "limits that are not value +- quantile x standard error hold at one "
    "level"
}

UNDERREPORTING = (
    Case(gbv.RoganGladen(0.7, 0.95), ReportedFrames(), equivariant=NONE, n_draws=300, exempt=LEVELS, slack=0.02),
    Case(
        gbv.PriorCorrectedPrevalence(gbv.Beta(14, 7), gbv.Beta(38, 2), n_draws=1000),
        BelievedFrames(),
        equivariant=NONE,
        n_draws=300,
        slack=0.015,
    ),
)
