"""Hides how a difference of two risks is tested: by normal approximations, arcsine, a correction, or exactly.

A test with the variance under the null divides by the standard error at the restricted maximum likelihood risks
(Farrington and Manning 1990, Statistics in Medicine 9); without a margin these are the pooled risk.
"""

from __future__ import annotations

import math

from gbveval.design._comparison import Comparison
from gbveval.design.exact_tests import FisherTest
from gbveval.design.planned_test import Nearness, PlannedTest, PowerTest

ANALYSES = ("unpooled", "pooled", "corrected", "arcsine", "fisher")
NEAR = Nearness(0.03, "60 people or more in control and 36 or more treated, with risks of a quarter to three quarters")
LARGE = "arms are large enough for the normal approximation: ten events and non-events in each"
EDGE = 1e-12


def plan_risks(case: Comparison) -> PowerTest:
    """Return the test of a difference in risks by the planned analysis."""
    levels = case.outcome.levels(case.effect)
    if case.analysis == "arcsine":
        return _arcsine(case, levels)
    if case.analysis == "fisher":
        case.only_against_zero()
        return FisherTest(case.effect, _whole(case.n0), _whole(case.n1), levels[0], levels[1])
    each = 1.0 / case.n0, 1.0 / case.n1
    std_error = math.sqrt(sum(share * risk * (1.0 - risk) for share, risk in zip(each, levels, strict=True)))
    if case.analysis == "unpooled":
        return PlannedTest(
            effect=case.effect,
            std_error=std_error,
            df=math.inf,
            null=case.null,
            formula="risk difference over its own (unpooled) standard error sqrt(p0 q0/n0 + p1 q1/n1), against the "
            "normal distribution",
            source="Fleiss (1981), Statistical Methods for Rates and Proportions",
            assumptions=(LARGE, "no continuity correction"),
            near=NEAR if case.null == 0.0 else None,
        )
    under_null = restricted_risks(levels, (case.n0, case.n1), case.null)
    null_error = math.sqrt(sum(share * risk * (1.0 - risk) for share, risk in zip(each, under_null, strict=True)))
    corrected = case.analysis == "corrected"
    if corrected:
        case.only_against_zero()
    words = "pooled under the null" if case.null == 0.0 else "at the restricted risks under the margin"
    source = "Fleiss (1981), Statistical Methods for Rates and Proportions"
    if case.null != 0.0:
        source = "Farrington and Manning (1990), Statistics in Medicine 9"
    if corrected:
        source = "Fleiss, Tytun and Ury (1980), Biometrics 36"
    return PlannedTest(
        effect=case.effect,
        std_error=std_error,
        df=math.inf,
        null_std_error=null_error,
        null=case.null,
        correction=sum(each) / 2.0 if corrected else 0.0,
        formula=f"risk difference over a standard error {words}, while the estimate varies with the unpooled one, "
        "against the normal distribution",
        source=source,
        assumptions=(LARGE, "Yates' correction is taken off" if corrected else "no continuity correction"),
        near=NEAR if case.null == 0.0 else None,
    )


def restricted_risks(risks: tuple[float, float], sizes: tuple[float, float], null: float) -> tuple[float, float]:
    """Return the risks in control and treated, `null` apart, that are the most likely given the true ones.

    The expected log-likelihood in the treated risk r, with r - null in control, is concave; its derivative is
    n1 (p1 - r) / (r (1 - r)) + n0 (p0 + null - r) / ((r - null)(1 - r + null)).

    Examples
    --------
    >>> restricted_risks((0.2, 0.4), (100.0, 300.0), 0.0)
    (0.35, 0.35)
    """
    (p0, p1), (n0, n1) = risks, sizes
    if null == 0.0:
        pooled = (n0 * p0 + n1 * p1) / (n0 + n1)
        return pooled, pooled
    from scipy.optimize import brentq

    def slope(r: float) -> float:
        return n1 * (p1 - r) / (r * (1.0 - r)) + n0 * (p0 + null - r) / ((r - null) * (1.0 - r + null))

    low, high = max(0.0, null) + EDGE, min(1.0, 1.0 + null) - EDGE
    treated = float(brentq(slope, low, high, xtol=1e-15, rtol=1e-14))
    return treated - null, treated


def _arcsine(case: Comparison, levels: tuple[float, float]) -> PlannedTest:
    case.only_against_zero()
    angles = [2.0 * math.asin(math.sqrt(risk)) for risk in levels]
    return PlannedTest(
        effect=case.effect,
        std_error=math.sqrt(1.0 / case.n0 + 1.0 / case.n1),
        df=math.inf,
        shift=angles[1] - angles[0],
        scale="Cohen's h",
        formula="h = 2 asin sqrt(p1) - 2 asin sqrt(p0) over sqrt(1/n0 + 1/n1), against the normal distribution",
        source="Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 6",
        assumptions=(LARGE, "the test is done on arcsine-transformed proportions"),
        near=NEAR,
    )


def _whole(n: float) -> int:
    return math.ceil(n - 1e-9 * n)
