"""Cases of prevalences behind answers that do not tell all."""

from __future__ import annotations

import gbveval as gbv
from gbveval.testing.case import Case
from gbveval.testing.reporting_processes import (
    BelievedFrames,
    HonestLists,
    ListFrames,
    ReportedFrames,
    ScrambledFrames,
    ToldTrials,
)

NONE: frozenset[str] = frozenset()
LEVELS = {
    "check_wider_level_gives_a_wider_interval": "limits that are not value +- quantile x standard error hold at one "
    "level"
}
COUNTS = {
    "check_planted_secrets_show_nowhere": "a count that its list does not allow is refused before anything is shown"
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
    Case(
        gbv.RandomisedResponse(2 / 3, forced_yes=1 / 6),
        ReportedFrames(sensitivity=5 / 6, specificity=5 / 6),
        equivariant=NONE,
        n_draws=300,
        exempt=LEVELS,
        slack=0.02,
        note="forced",
    ),
    Case(
        gbv.RandomisedResponse(0.2),
        ReportedFrames(sensitivity=0.2, specificity=0.2),
        equivariant=NONE,
        n_draws=300,
        exempt=LEVELS,
        slack=0.02,
        note="mirrored",
    ),
    Case(
        gbv.RandomisedResponseRegression("x", 2 / 3, forced_yes=1 / 6),
        ScrambledFrames(),
        equivariant=NONE,
        n_draws=300,
        note="design",
    ),
    Case(
        gbv.RandomisedResponseRegression("x", 2 / 3, forced_yes=1 / 6, std_error="model"),
        ScrambledFrames(),
        equivariant=NONE,
        n_draws=300,
        note="model",
    ),
    Case(gbv.ListExperiment(4), ListFrames(), equivariant=NONE, n_draws=400, exempt=COUNTS),
    Case(
        gbv.ListRegression(4),
        ListFrames(slope=0.8, n_per_list=800),
        equivariant=NONE,
        n_draws=200,
        exempt=COUNTS,
        note="likelihood",
    ),
    Case(
        gbv.ListRegression(4, "two_step"),
        ListFrames(slope=0.5, n_per_list=1500),
        equivariant=NONE,
        n_draws=200,
        exempt=COUNTS,
        note="two steps",
    ),
    Case(
        gbv.ListRegression(4, "linear"),
        ListFrames(slope=0.8),
        equivariant=NONE,
        n_draws=300,
        exempt=COUNTS,
        note="linear",
    ),
    Case(
        gbv.ListDesignTest(4, n_draws=2000),
        HonestLists(n_per_list=400),
        equivariant=NONE,
        n_draws=400,
        conservative=True,
        exempt=COUNTS,
        term="no design effect",
    ),
    Case(gbv.CorrectedEffect({"usual": 0.6, "new": 0.8}), ToldTrials(), equivariant=NONE, n_draws=600, note="units"),
    Case(
        gbv.CorrectedEffect({"usual": 0.6, "new": 0.8}),
        ToldTrials(n_per_arm=10, cluster_size=20),
        equivariant=NONE,
        n_draws=600,
        slack=0.02,
        note="clusters",
    ),
)
