"""Cases of attributable fractions, additive interaction and matched sets."""

from __future__ import annotations

import gbveval as gbv
from gbveval.testing.association_processes import AssociationFrames, MatchedFrames
from gbveval.testing.case import Case
from gbveval.testing.processes import SurveyFrames

ASSOCIATIONS = (
    Case(
        gbv.RiskFactors(
            [gbv.Factor("exposed", direction="risk")],
            {"exposed": ["stratum"]},
            behaviour="experience",
            measures=("ratio", "difference", "odds_ratio", "standardised_ratio", "attributable_fraction"),
        ),
        SurveyFrames(target="ratio"),
        equivariant=frozenset(),
        n_draws=200,
        note="all measures",
    ),
    *(
        Case(
            gbv.RiskFactors(["first"], {"first": ["stratum"]}, behaviour="experience", measures=(target,)),
            AssociationFrames(target),
            equivariant=frozenset(),
            n_draws=200,
            note=f"adjusted {target}",
            term=f"first: yes vs no (adjusted {target.replace('_', ' ')})",
        )
        for target in ("difference", "odds_ratio")
    ),
    Case(
        gbv.AttributableFraction(gbv.Factor("first", direction="protective"), ["stratum"]),
        AssociationFrames("prevented_fraction"),
        equivariant=frozenset(),
        n_draws=200,
        note="prevented",
    ),
    Case(
        gbv.AttributableFraction("first", ["stratum"]),
        AssociationFrames("attributable_fraction"),
        equivariant=frozenset(),
        n_draws=200,
    ),
    Case(
        # Risks are logistic here, and the log-link model is off by 0.0025 in the population: a twentieth of an error.
        gbv.AttributableFraction("first", ["stratum"], model="log_poisson"),
        AssociationFrames("attributable_fraction"),
        equivariant=frozenset(),
        n_draws=200,
        note="Miettinen",
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
