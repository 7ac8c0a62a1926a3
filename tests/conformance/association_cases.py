"""Cases of attributable fractions, additive interaction and matched sets."""

from __future__ import annotations

import gbveval as gbv
from gbveval.testing.association_processes import AssociationFrames, MatchedFrames
from gbveval.testing.case import Case

ASSOCIATIONS = (
    Case(
        gbv.AttributableFraction("first", ["stratum"]),
        AssociationFrames("attributable_fraction"),
        equivariant=frozenset(),
        n_draws=200,
    ),
    Case(
        gbv.AdditiveInteraction("first", "second", ["stratum"], behaviour="experience"),
        AssociationFrames("relative_excess_risk", psu_per_stratum=20, psu_size=40),
        equivariant=frozenset(),
        n_draws=200,
    ),
    Case(
        gbv.ConditionalLogistic("exposed", "set"),
        MatchedFrames(),
        equivariant=frozenset(),
        n_draws=300,
    ),
)
