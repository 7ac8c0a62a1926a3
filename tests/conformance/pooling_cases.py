"""One line an estimator that pools sites without a prior."""

from __future__ import annotations

import gbveval as gbv
from gbveval.testing.case import Case
from gbveval.testing.pooling_processes import PooledFrames, PooledTableFrames

SWAP = frozenset({"swap"})
ONE_SITE = "the events of one site are enough for a rate ratio and its variance"
COUNTS = "the same number of events in every arm is a result, not a lack of variation"

POOLING = (
    Case(gbv.RandomEffects(), PooledFrames(), equivariant=frozenset(), n_draws=300, note="twelve sites"),
    Case(gbv.RandomEffects("DL"), PooledFrames(n_sites=6), equivariant=frozenset(), slack=0.015, note="six sites"),
    Case(
        gbv.RandomEffects(inference="truncated_hartung_knapp"),
        PooledFrames(n_sites=3),
        n_draws=300,
        equivariant=frozenset(),
        conservative=True,
        note="three sites",
    ),
    Case(
        gbv.RandomEffects("PM"),
        PooledFrames(n_sites=15, slope=0.3),
        equivariant=frozenset(),
        n_draws=300,
        note="moderator",
    ),
    Case(
        gbv.MultilevelEffects(),
        PooledFrames(n_sites=45, per_study=4, within_sd=0.2),
        equivariant=frozenset(),
        n_draws=400,
        slack=0.015,
    ),
    Case(
        gbv.RobustEffects(),
        PooledFrames(n_sites=10, per_study=4, within_sd=0.2),
        equivariant=frozenset(),
        n_draws=400,
        note="ten studies",
    ),
    Case(
        gbv.MantelHaenszel("odds_ratio"),
        PooledTableFrames(),
        equivariant=SWAP,
        exempt={"check_constant_outcome_has_no_standard_error": COUNTS},
    ),
    Case(
        gbv.MantelHaenszel("rate_ratio"),
        PooledTableFrames(n_sites=8, rates=True, risk=0.1),
        equivariant=SWAP,
        exempt={"check_constant_outcome_has_no_standard_error": COUNTS, "check_refuses_one_group_an_arm": ONE_SITE},
        note="rates",
    ),
    Case(
        gbv.OneStage(),
        PooledTableFrames(n_sites=15, between_sd=0.3),
        equivariant=SWAP,
        n_draws=80,
        slack=0.02,
    ),
)
