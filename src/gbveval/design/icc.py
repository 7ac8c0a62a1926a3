"""Hides on which scale an intracluster correlation is meant, and how one scale becomes another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, overload

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.design._logistic_normal import LARGEST_SIGMA, LOGISTIC_VARIANCE, observed_icc, sigma_for
from gbveval.design._require import one_of, real

SCALES = ("observed", "latent_logistic")
UNNAMED = ""


@dataclass(frozen=True, slots=True)
class ICC:
    """An intracluster correlation with the scale it is meant on.

    Parameters
    ----------
    value : float
        Share of the variance that lies between clusters: at least 0 and below 1.
    scale : str
        "observed": share of the variance of the outcome as it is recorded (for a 0/1 outcome, the proportion scale).
        "latent_logistic": s2 / (s2 + pi^2/3), with s2 the between-cluster variance of the log odds, as a logistic
        mixed model reports it. For a rare outcome the observed one is much smaller, so a scale is never assumed.

    Raises
    ------
    DesignError
        If the scale is not named or not known, or the value is out of range.

    References
    ----------
    Eldridge, Ukoumunne and Carlin (2009), International Statistical Review 77.

    Examples
    --------
    >>> ICC(0.03, scale="observed").value
    0.03
    """

    value: float
    scale: str = UNNAMED

    def __post_init__(self) -> None:
        if not isinstance(self.scale, str) or self.scale not in SCALES:
            named = "" if self.scale == UNNAMED else f" ({self.scale!r} is not a scale)"
            raise DesignError(
                f"An ICC of unnamed scale{named} cannot be used. Write scale='observed' for the share of variance of "
                "the outcome as recorded (from an analysis of variance or a linear model), or scale='latent_logistic' "
                "for the one that a logistic mixed model reports."
            )
        real("An ICC", self.value, low=0.0, high=1.0, closed=True)

    @classmethod
    def from_between_cv(cls, between_cv: float, *, risk: float) -> ICC:
        """Return the observed ICC of a between-cluster coefficient of variation k of risks: k^2 p / (1 - p).

        References
        ----------
        Hayes and Moulton (2017), Cluster Randomised Trials, 2nd edition.
        """
        real("A between-cluster coefficient of variation", between_cv, low=0.0, high=math.inf, closed=True)
        real("A risk", risk, low=0.0, high=1.0)
        value = between_cv**2 * risk / (1.0 - risk)
        if value >= 1.0:
            raise DesignError(
                f"Risks with mean {risk:g} cannot have a coefficient of variation of {between_cv:g}: it stays below "
                f"{math.sqrt((1.0 - risk) / risk):.4g}. Check whether it was meant in percent."
            )
        return cls(value, scale="observed")


@dataclass(frozen=True, slots=True)
class BetweenCV:
    """How much the true risks or rates of clusters vary: their standard deviation over their mean, k.

    Give it to a design of clusters instead of an ICC, which for a rate would change with the time that people are
    watched. Between clusters the variance is k^2 x risk^2, or k^2 x rate^2, with the same k in both arms.

    Parameters
    ----------
    value : float
        At least 0; 0.25 is usual where nothing is known, and 0.15 within matched pairs.

    Raises
    ------
    DesignError
        If it is negative, not finite or not a number.

    References
    ----------
    Hayes and Bennett (1999), International Journal of Epidemiology 28.

    Examples
    --------
    >>> BetweenCV(0.25).value
    0.25
    """

    value: float

    def __post_init__(self) -> None:
        real("A between-cluster coefficient of variation", self.value, low=0.0, high=math.inf, closed=True)


@overload
def icc_convert(icc: ICC, *, to: Literal["observed", "latent_logistic"], risk: float) -> ICC: ...
@overload
def icc_convert(icc: ICC, *, to: Literal["between_cv"], risk: float) -> float: ...
@overload
def icc_convert(icc: ICC, *, to: str, risk: float) -> ICC | float: ...


def icc_convert(icc: ICC, *, to: str, risk: float) -> ICC | float:
    """Return an ICC of a 0/1 outcome on another scale.

    Cluster risks are taken as logistic-normal: expit(a + s Z) with mean `risk`. The observed ICC is their variance over
    risk (1 - risk), found by numerical integration, not by an approximation for small s.

    Parameters
    ----------
    icc : ICC
        With its own scale.
    to : str
        "observed" or "latent_logistic" for an `ICC`; "between_cv" for the coefficient of variation of the cluster
        risks, a plain float (its way back is `ICC.from_between_cv`).
    risk : float
        Mean risk over clusters; the answer depends on it.

    Returns
    -------
    ICC or float

    Raises
    ------
    DesignError
        If an argument is out of range, or the ICC is so near 1 that cluster risks are all but 0 or 1.

    References
    ----------
    Eldridge, Ukoumunne and Carlin (2009), International Statistical Review 77. Hayes and Moulton (2017), Cluster
    Randomised Trials, 2nd edition.

    Examples
    --------
    >>> latent = ICC(0.0836, scale="latent_logistic")
    >>> round(icc_convert(latent, to="observed", risk=0.2).value, 4)
    0.0457
    """
    if not isinstance(icc, ICC):
        raise DesignError(f"Give an ICC with its scale, such as ICC(0.03, scale='observed'); this is {icc!r}.")
    one_of("The scale to convert to", to, (*SCALES, "between_cv"))
    p = real("A risk", risk, low=0.0, high=1.0)
    if to == icc.scale:
        return icc
    if to == "latent_logistic":
        return ICC(_latent_of(float(icc.value), p), scale="latent_logistic")
    observed = float(icc.value) if icc.scale == "observed" else _observed_of(float(icc.value), p)
    if to == "observed":
        return ICC(observed, scale="observed")
    return math.sqrt(observed * (1.0 - p) / p)


# Power curves and searches ask for the same conversions again and again.
@lru_cache(maxsize=4096)
def _observed_of(latent: float, risk: float) -> float:
    sigma = math.sqrt(LOGISTIC_VARIANCE * latent / (1.0 - latent))
    if sigma > LARGEST_SIGMA:
        raise DesignError(_too_near_one(latent))
    return observed_icc(sigma, risk) if sigma > 0.0 else 0.0


@lru_cache(maxsize=4096)
def _latent_of(observed: float, risk: float) -> float:
    variance = sigma_for(observed, risk) ** 2
    if math.isinf(variance):
        raise DesignError(_too_near_one(observed))
    return variance / (variance + LOGISTIC_VARIANCE)


def _too_near_one(value: float) -> str:
    return (
        f"An ICC of {value:g} means that cluster risks are all but 0 or 1; there is nothing to convert. "
        "Check the value: ICCs between schools or communities are mostly below 0.2."
    )


def design_effect(
    icc: ICC,
    *,
    cluster_sizes: Sequence[float] | None = None,
    mean_size: float | None = None,
    cv: float = 0.0,
    analysis: str = "participants_cr2",
) -> float:
    """Return by how much clustering multiplies the variance of a mean.

    For the average over participants (`DifferenceInMeans`) it is 1 + (sum n^2 / sum n - 1) icc, which with mean size m
    and coefficient of variation cv is 1 + ((1 + cv^2) m - 1) icc. Clusters weighted by the inverse of their variance
    lose less to unequal sizes: sum n / sum (n / (1 + (n - 1) icc)), or to second order in the coefficient of variation.

    Parameters
    ----------
    icc : ICC
        On the observed scale; convert a latent one with `icc_convert` first.
    cluster_sizes : sequence of float, optional
        Respondents in each cluster. Give these, or `mean_size`.
    mean_size, cv : float
        Mean respondents a cluster and their coefficient of variation (population standard deviation over mean).
    analysis : str
        "participants_cr2" (average over participants) or "gls" (clusters weighted efficiently).

    Returns
    -------
    float

    Raises
    ------
    DesignError
        If the ICC is latent, or both or neither of the sizes are given.

    References
    ----------
    Kish (1965), Survey Sampling. Eldridge, Ashby and Kerry (2006), International Journal of Epidemiology 35. van
    Breukelen, Candel and Berger (2007), Statistics in Medicine 26.

    Examples
    --------
    >>> round(design_effect(ICC(0.03, scale="observed"), mean_size=50), 2)
    2.47
    """
    if not isinstance(icc, ICC) or icc.scale != "observed":
        raise DesignError(
            "A design effect needs an ICC on the observed scale. Convert a latent one first: "
            "icc_convert(icc, to='observed', risk=...)."
        )
    if (cluster_sizes is None) == (mean_size is None):
        raise DesignError("Give either cluster_sizes or mean_size (with cv), not both and not neither.")
    efficient = one_of("analysis", analysis, ("participants_cr2", "gls")) == "gls"
    value = float(icc.value)
    if cluster_sizes is not None:
        sizes = np.asarray(cluster_sizes, dtype=float)
        if sizes.ndim != 1 or sizes.size == 0 or not np.all(np.isfinite(sizes)) or np.any(sizes <= 0):
            raise DesignError("cluster_sizes must be a sequence of numbers above zero, one a cluster.")
        if efficient:
            return float(sizes.sum() / np.sum(sizes / (1.0 + (sizes - 1.0) * value)))
        return 1.0 + (float((sizes**2).sum() / sizes.sum()) - 1.0) * value
    m = real("mean_size", mean_size, low=0.0, high=math.inf)
    spread = real("cv", cv, low=0.0, high=math.inf, closed=True) ** 2
    if not efficient:
        return 1.0 + ((1.0 + spread) * m - 1.0) * value
    equal = 1.0 + (m - 1.0) * value
    share = m * value / equal
    if spread * share * (1.0 - share) >= 1.0:
        raise DesignError("With a cv that large the second-order formula has no answer: give cluster_sizes.")
    return equal / (1.0 - spread * share * (1.0 - share))
