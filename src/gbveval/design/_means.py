"""Hides how a difference of two means is tested: the t test, the normal one, and covariates.

With covariates that explain a share R^2 of the variance and g of them, the residual variance is sd^2 (1 - R^2) and g
degrees of freedom are spent (Borm, Fransen and Lemmens 2007, Journal of Clinical Epidemiology 60, for the variance).
Their imbalance by chance is not in the variance; power with it is told beside.
"""

from __future__ import annotations

import math

from gbveval.design._arms import imbalance_words, satterthwaite_df, with_imbalance
from gbveval.design._comparison import Comparison
from gbveval.design.planned_test import EXACT, Nearness, Otherwise, PlannedTest

WELCH = Nearness(0.03, "four people or more in the smaller arm, and within 0.01 of twelve or more")
WITH_COVARIATES = Nearness(0.04, "12 people or more an arm with up to three covariates, whose imbalance costs it")
ANALYSES = ("t", "welch", "normal", "unpooled", "pooled")


def plan_means(case: Comparison) -> PlannedTest:
    """Return the test of a difference in means."""
    case.outcome.levels(case.effect)
    variance = case.outcome.variance(0.0) * (1.0 - case.r_squared)
    std_error = math.sqrt(variance * (1.0 / case.n0 + 1.0 / case.n1))
    limits = ["the outcome is normal with the same standard deviation in both arms"]
    spread, spent = "sd", "2"
    source = "Cohen (1988), Statistical Power Analysis for the Behavioral Sciences"
    if case.r_squared > 0.0 or case.n_covariates:
        spread, spent = "sd sqrt(1 - R2)", "2 - covariates"
        source += "; Borm, Fransen and Lemmens (2007), Journal of Clinical Epidemiology 60"
        limits.append("covariates explain the planned share of the variance in both arms")
    if case.n_covariates:
        limits.append(imbalance_words(case.n0 + case.n1, case.n_covariates))
    others: list[Otherwise] = []
    if case.analysis == "normal":
        df, reference = math.inf, "the normal distribution"
        limits.append("the standard deviation is known; estimating it costs power when arms are small")
    elif case.analysis == "welch":
        df = satterthwaite_df(case.n0, case.n1, case.n_covariates)
        reference = "the noncentral t with Welch's (Satterthwaite's) df for one standard deviation"
        source += "; Satterthwaite (1946), Biometrics Bulletin 2, for the df"
        limits.append("the test estimates a variance in each arm, as DifferenceInMeans does")
    else:
        df, reference = case.n0 + case.n1 - 2.0 - case.n_covariates, f"the noncentral t with n0 + n1 - {spent} df"
        limits.append(
            "the test pools the variance over arms; DifferenceInMeans does not, and has fewer degrees of freedom when "
            "arms are unequal: then plan for analysis='welch'"
        )
        if case.n0 != case.n1 and min(case.n0, case.n1) > 1.0:
            welch = satterthwaite_df(case.n0, case.n1, case.n_covariates)
            others.append(Otherwise(f"of the analysis 'welch', which has {welch:.4g} degrees of freedom", welch))
    if case.n_covariates:
        others.append(with_imbalance(case.n0 + case.n1, case.n_covariates, df))
    near = WITH_COVARIATES if case.n_covariates else WELCH if case.analysis == "welch" else EXACT
    return PlannedTest(
        effect=case.effect,
        std_error=std_error,
        df=df,
        null=case.null,
        formula=f"effect over {spread} sqrt(1/n0 + 1/n1), against {reference}",
        source=source,
        assumptions=tuple(limits),
        others=tuple(others),
        near=None if case.r_squared and not case.n_covariates else near,
    )
