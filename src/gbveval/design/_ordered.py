"""Hides how an ordered outcome is tested: by a common odds ratio, or by the probability of the higher answer.

Whitehead (1993, Statistics in Medicine 12): near the null the common log odds ratio has information
n0 n1 / (3 n) (1 - sum of the cubed mean shares). The win probability is theta = P(Y1 > Y0) + P(Y1 = Y0)/2; by the
Hajek projection its estimate has variance var F0(Y1)/n1 + var F1(Y0)/n0 up to terms in 1/(n0 n1), with F counting ties
for half.
"""

from __future__ import annotations

import math

import numpy as np

from gbveval.design._comparison import Comparison
from gbveval.design.planned_test import Nearness, PlannedTest

NEAR = Nearness(0.02, "60 people or more an arm and four answers, of which the rarest has a tenth")
ANALYSES = ("proportional_odds", "win_probability")


def plan_ordered(case: Comparison) -> PlannedTest:
    """Return the test of an ordered outcome by the planned analysis."""
    case.only_against_zero()
    control, treated = (np.asarray(shares) for shares in case.outcome.levels(case.effect))
    if case.analysis == "proportional_odds":
        total = case.n0 + case.n1
        mean = (case.n0 * control + case.n1 * treated) / total
        information = case.n0 * case.n1 / (3.0 * total) * (1.0 - float(np.sum(mean**3)))
        return PlannedTest(
            effect=case.effect,
            std_error=1.0 / math.sqrt(information),
            df=math.inf,
            formula="common log odds ratio times sqrt(n0 n1/(3 n) (1 - sum of cubed mean shares)), against the normal "
            "distribution",
            source="Whitehead (1993), Statistics in Medicine 12",
            assumptions=(
                "odds are proportional, and the information is that near the null: power comes out a little high for "
                "odds ratios beyond three",
            ),
            near=NEAR,
        )
    placed_treated = np.cumsum(control) - control / 2.0
    placed_control = np.cumsum(treated) - treated / 2.0
    theta = float(treated @ placed_treated)
    spread1 = float(treated @ placed_treated**2) - theta**2
    spread0 = float(control @ placed_control**2) - (1.0 - theta) ** 2
    return PlannedTest(
        effect=case.effect,
        std_error=math.sqrt(spread1 / case.n1 + spread0 / case.n0),
        df=math.inf,
        shift=theta - 0.5,
        scale="win probability minus one half",
        formula="win probability minus one half over sqrt(var F0(Y1)/n1 + var F1(Y0)/n0), against the normal "
        "distribution",
        source="Brunner and Munzel (2000), Biometrical Journal 42",
        assumptions=(
            "treated answers follow from those of control by a common odds ratio; the test itself does not assume it",
        ),
        near=NEAR,
    )
