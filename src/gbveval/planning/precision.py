"""Hides how many answers a prevalence or a mean needs for an interval of a given width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._require import one_of, real, whole
from gbveval.design.outcomes import Binary, Continuous, Outcome
from gbveval.numerics.exact_power import binomial_probabilities
from gbveval.numerics.inference import normal_quantile
from gbveval.planning.solver import check_share

INTERVALS = ("wilson", "clopper_pearson", "wald")
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RequiredSample:
    """How many respondents a survey needs.

    Attributes
    ----------
    simple : float
        Answers needed by a simple random sample of an endless population.
    exact : float
        Answers needed with the design effect and the finite population, a real number.
    rounded : int
        `exact` rounded up.
    invited : float
        People to invite so that `exact` answer.
    half_width : float
        Half-width of the interval at `rounded`, in units of the outcome.
    level : float
        Confidence level of the interval.
    """

    simple: float
    exact: float
    rounded: int
    invited: float
    half_width: float
    level: float


def required_sample(
    outcome: Outcome,
    *,
    half_width: float | None = None,
    cv: float | None = None,
    level: float = 0.95,
    design_effect: float = 1.0,
    population: int | None = None,
    response: float = 1.0,
) -> RequiredSample:
    """Return how many answers a prevalence or a mean needs for the precision asked for.

    Parameters
    ----------
    outcome : Binary or Continuous
        What is measured: the prevalence expected, or the mean and standard deviation.
    half_width : float, optional
        Half-width of the confidence interval, in units of the outcome.
    cv : float, optional
        Standard error over the estimate; instead of `half_width`.
    level : float
        Confidence level of the interval.
    design_effect : float
        Factor by which clusters and weights multiply the variance; see `design_effect` and `weighting_design_effect`.
    population : int, optional
        People in the population, sampled without replacement; by default endless.
    response : float
        Share of those invited who answer, above 0 and at most 1.

    Raises
    ------
    DesignError
        If not exactly one precision is asked for, something is impossible, or more people would have to be invited
        than there are.

    Notes
    -----
    With variance v the simple sample is n0 = z^2 v / half_width^2, or v / (cv mean)^2; with a design effect d and N
    people n = d n0 / (1 + d n0 / N) (Cochran 1977). Not for a prevalence so low that fewer than about ten answers
    are yes: use `interval_width`. Inviting more people makes up for numbers, not for who stays silent.

    References
    ----------
    Cochran (1977), Sampling Techniques, chapter 4.

    Examples
    --------
    >>> needed = required_sample(Binary(0.3), half_width=0.05, population=1_000_000, response=0.8)
    >>> needed.rounded, round(needed.invited, 1)
    (323, 403.2)
    """
    confidence = check_share("level", level)
    real("design_effect", design_effect, low=0.0, high=math.inf)
    real("response", response, low=0.0, high=1.0 + 1e-12)
    if population is not None:
        whole("population", population, least=1)
    if (half_width is None) == (cv is None):
        raise DesignError("Ask for one precision: half_width (in units of the outcome) or cv (relative).")
    if not isinstance(outcome, Binary | Continuous):
        raise DesignError("outcome must be Binary(...) or Continuous(...).")
    centre = outcome.levels(0.0)[0]
    variance = outcome.variance(centre)
    z = -float(normal_quantile((1.0 - confidence) / 2.0))
    if half_width is not None:
        std_error = real("half_width", half_width, low=0.0, high=math.inf) / z
    else:
        std_error = real("cv", cv, low=0.0, high=math.inf) * abs(centre)
        if std_error == 0.0:
            raise DesignError("A mean of 0 has no relative precision: ask for half_width.")
    simple = variance / std_error**2
    share = 0.0 if population is None else float(design_effect) * simple / population
    exact = float(design_effect) * simple / (1.0 + share)
    rounded = max(1, math.ceil(exact - 1e-9 * exact))
    invited = exact / float(response)
    if population is not None and invited > population:
        raise DesignError(
            f"The precision takes {rounded:,} answers, for which {math.ceil(invited):,} people would have to be "
            f"invited at a response of {float(response):g}; the population has {population:,}. Ask for a "
            "wider interval or raise the response."
        )
    unsampled = 0.0 if population is None else rounded / population
    reached = z * math.sqrt(float(design_effect) * variance * max(0.0, 1.0 - unsampled) / rounded)
    return RequiredSample(simple, exact, rounded, invited, reached, confidence)


@dataclass(frozen=True, slots=True)
class IntervalWidth:
    """Full widths of an interval of a proportion.

    Attributes
    ----------
    at_risk : float
        Where the observed proportion equals the risk.
    expected : float
        Mean over the binomial distribution of the count.
    """

    at_risk: float
    expected: float


def interval_width(n: int, risk: float, *, method: str = "wilson", level: float = 0.95) -> IntervalWidth:
    """Return how wide the interval of a proportion will be.

    Parameters
    ----------
    n : int
        Answers, from a simple random sample.
    risk : float
        True proportion.
    method : str
        "wilson", "clopper_pearson" (exact, never covers less than its level) or "wald" (covers too little when few
        answers are yes).
    level : float
        Confidence level.

    References
    ----------
    Newcombe (1998), Statistics in Medicine 17.

    Examples
    --------
    >>> round(interval_width(100, 0.2).expected, 4)
    0.1543
    """
    whole("n", n, least=1)
    real("A risk", risk, low=0.0, high=1.0)
    one_of("method", method, INTERVALS)
    tail = (1.0 - check_share("level", level)) / 2.0
    counts = np.arange(n + 1.0)
    expected = float(binomial_probabilities(int(n), float(risk)) @ _widths(counts, n, method, tail))
    return IntervalWidth(float(_widths(np.array([n * float(risk)]), n, method, tail)[0]), expected)


def _widths(x: FloatArray, n: int, method: str, tail: float) -> FloatArray:
    """Return full widths at x successes of n; x may be any real number."""
    from scipy.special import betaincinv

    z, p = -float(normal_quantile(tail)), x / n
    if method == "wald":
        return np.asarray(2.0 * z * np.sqrt(p * (1.0 - p) / n))
    if method == "wilson":
        return np.asarray(2.0 * z / (1.0 + z * z / n) * np.sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n)))
    # Quantiles of beta distributions; at the ends of the range the interval ends there too.
    low = np.where(x > 0.0, betaincinv(np.maximum(x, 1e-300), n - x + 1.0, tail), 0.0)
    high = np.where(x < n, betaincinv(x + 1.0, np.maximum(n - x, 1e-300), 1.0 - tail), 1.0)
    return np.asarray(high - low)


def weighting_design_effect(weights: Sequence[float]) -> float:
    """Return by how much unequal weights multiply the variance of a mean: n times sum w^2 over (sum w)^2.

    Weights that do not go with the outcome are assumed; multiply by the design effect of clusters where both are there.

    References
    ----------
    Kish (1965), Survey Sampling.

    Examples
    --------
    >>> weighting_design_effect([1.0, 1.0, 4.0])
    1.5
    """
    try:
        values = np.asarray(weights, dtype=float)
    except (TypeError, ValueError):
        raise DesignError("weights must be a sequence of numbers.") from None
    if (
        values.ndim != 1
        or values.size == 0
        or not np.all(np.isfinite(values))
        or np.any(values < 0.0)
        or values.sum() == 0.0
    ):
        raise DesignError("weights must be finite numbers, none below 0 and not all 0.")
    return float(values.size * np.sum(values**2) / values.sum() ** 2)


def pilot_inflation(df: float, *, confidence: float = 0.8) -> float:
    """Return by what to multiply a pilot's variance so that the true one is below it with some confidence.

    A variance estimated on few degrees of freedom is more often too small than too large, and a study planned with it
    is then too small.

    Parameters
    ----------
    df : float
        Degrees of freedom of the pilot's variance: clusters (or people) minus what was estimated.
    confidence : float
        Probability that the true variance is below the inflated one.

    References
    ----------
    Browne (1995), Statistics in Medicine 14.

    Examples
    --------
    >>> round(pilot_inflation(20), 4)
    1.3719
    """
    from scipy.special import chdtri

    degrees = real("df", df, low=0.0, high=math.inf)
    return float(degrees / chdtri(degrees, check_share("confidence", confidence)))
