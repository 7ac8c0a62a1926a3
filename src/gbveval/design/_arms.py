"""Hides what follows from the sizes of two arms alone: degrees of freedom, chance imbalance, the least sizes."""

from __future__ import annotations

import math

from gbveval.design.planned_test import Otherwise

ROUNDING = 1e-9


def satterthwaite_df(n0: float, n1: float, covariates: int = 0) -> float:
    """Return Satterthwaite's df of a difference whose variance is estimated in each arm on its own.

    With one true variance in both arms they are (1/n0 + 1/n1)^2 / (1/(n0^2 d0) + 1/(n1^2 d1)), d the df of each arm:
    n - 1, of which covariates of the regression take the share g / (n0 + n1 - 2). This is what Welch's df are about,
    and what the df of CR2 are for clusters of one size (Bell and McCaffrey 2002, Survey Methodology 28), whose working
    model has one variance. Each arm is larger than 1.

    Examples
    --------
    >>> round(satterthwaite_df(20.0, 5.0), 3), satterthwaite_df(12.0, 12.0)
    (6.169, 22.0)
    """
    if n0 == n1:
        return n0 + n1 - 2.0 - covariates
    bottom = 1.0 / (n0**2 * (n0 - 1.0)) + 1.0 / (n1**2 * (n1 - 1.0))
    return (1.0 / n0 + 1.0 / n1) ** 2 / bottom * (1.0 - covariates / (n0 + n1 - 2.0))


def imbalance_factor(n: float, covariates: int) -> float:
    """Return what adjusting for g normal covariates multiplies the variance by, for their imbalance by chance.

    Given the covariates, the variance of the adjusted difference is that of the balanced one times 1 + T^2 / (n - 2),
    T^2 Hotelling's statistic of the covariates with mean g (n - 2) / (n - g - 3); infinite where that has no mean.

    Examples
    --------
    >>> round(imbalance_factor(12.0, 3), 6)
    1.5
    """
    return (n - 3.0) / (n - covariates - 3.0) if n - covariates > 3.0 else math.inf


def imbalance_words(n: float, covariates: int, units: str = "respondents") -> str:
    """Return what is not counted about the chance imbalance of covariates."""
    factor = imbalance_factor(n, covariates)
    size = f"by about {factor:.3g}" if math.isfinite(factor) else "without bound"
    return (
        f"chance imbalance of {covariates} covariate{'s' if covariates > 1 else ''} over {n:.6g} {units}, which "
        f"multiplies the variance {size} on average, is not counted; power with it is given beside"
    )


def with_imbalance(n: float, covariates: int, df: float) -> Otherwise:
    """Return the test with the variance that chance imbalance of covariates gives it."""
    factor = imbalance_factor(n, covariates)
    return Otherwise(f"with chance imbalance of covariates (variance x {factor:.3g})", df, factor)


def least_control(ratio: float, covariates: int = 0) -> int:
    """Return the least size of control that leaves a degree of freedom, and more than one in the treated arm.

    Examples
    --------
    >>> least_control(0.25), least_control(1.0, 10), least_control(3.0)
    (5, 7, 2)
    """
    free = math.ceil((3.0 + covariates) / (1.0 + ratio) * (1.0 - ROUNDING))
    return max(2, free, math.floor(1.0 / ratio * (1.0 + ROUNDING)) + 1)


def least_control_apart(ratio: float, covariates: int = 0) -> int:
    """Return the least size of control where each arm has its own variance: the treated arm has two, not rounded.

    With fewer, the df of the treated arm go to zero, and power with them.

    Examples
    --------
    >>> least_control_apart(0.25), least_control_apart(1.0, 10)
    (8, 7)
    """
    return max(least_control(ratio, covariates), math.ceil(2.0 / ratio * (1.0 - ROUNDING)))
