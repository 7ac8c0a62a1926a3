"""Hides how a ratio of two rates of counts is tested, Poisson or negative binomial.

The log of a mean count over n respondents with exposure t and variance mu + k mu^2, mu = t rate, has variance
(1/mu + k)/n to first order; the difference of two such logs is the log rate ratio (Zhu and Lakkis 2014, Statistics in
Medicine 33). The score-like test divides by the same expression at the rate pooled over arms.
"""

from __future__ import annotations

import math

from gbveval.design._comparison import Comparison
from gbveval.design.planned_test import Nearness, PlannedTest

NEAR = Nearness(0.03, "60 people or more an arm with half an event each or more, the dispersion known")
ANALYSES = ("wald", "null_variance")


def plan_rates(case: Comparison) -> PlannedTest:
    """Return the test of a log rate ratio."""
    outcome = case.outcome
    control, treated = outcome.levels(case.effect)
    under_null = outcome.levels(case.null)
    t, k = float(outcome.exposure), float(outcome.dispersion)
    std_error = math.sqrt((1.0 / (t * control) + k) / case.n0 + (1.0 / (t * treated) + k) / case.n1)
    null_error = None
    words = "its standard error sqrt((1/(t r0) + k)/n0 + (1/(t r1) + k)/n1)"
    if case.analysis == "null_variance":
        case.only_against_zero()
        pooled = (case.n0 * control + case.n1 * treated) / (case.n0 + case.n1)
        null_error = math.sqrt((1.0 / (t * pooled) + k) * (1.0 / case.n0 + 1.0 / case.n1))
        words = "its standard error at the pooled rate, while it varies with the one at the true rates"
    margin: tuple[str, ...] = ()
    if case.null:
        ratio = under_null[1] / under_null[0]
        margin = (
            f"the margin of {case.null:g} is a difference in rates, and is tested as the rate ratio {ratio:.4g} that "
            f"it makes with the planned rate of {control:g} in control; if that rate is another, so is the margin",
        )
    return PlannedTest(
        effect=case.effect,
        std_error=std_error,
        df=math.inf,
        null_std_error=null_error,
        null=case.null,
        shift=math.log(treated / control) - math.log(under_null[1] / under_null[0]),
        scale="log rate ratio",
        formula=f"log rate ratio over {words}, against the normal distribution",
        source="Zhu and Lakkis (2014), Statistics in Medicine 33",
        assumptions=(
            "arms have enough events for the log of a mean count to be normal",
            "dispersion and exposure are as planned and the same in both arms; exposure does not vary between "
            "respondents",
            *margin,
        ),
        near=NEAR if case.null == 0.0 else None,
    )
