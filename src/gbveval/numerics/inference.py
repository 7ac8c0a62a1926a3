"""The only place that turns an estimate and its standard error into a statistic, a p-value and an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
ALTERNATIVES = ("two_sided", "greater", "less")


@dataclass(frozen=True, slots=True)
class Wald:
    """Wald inference for several parameters.

    Attributes
    ----------
    statistic, p_value, conf_low, conf_high : ndarray, shape (terms,)
        NaN where the standard error is not positive and finite.
    """

    statistic: FloatArray
    p_value: FloatArray
    conf_low: FloatArray
    conf_high: FloatArray


def check_level(level: float) -> float:
    """Return `level`, or raise ValueError if it is not strictly between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"The confidence level must be between 0 and 1, such as 0.95; it is {level}.")
    return float(level)


def t_quantile(probability: ArrayLike, df: ArrayLike) -> FloatArray:
    """Return quantiles of Student's t; infinite `df` means the normal distribution.

    Examples
    --------
    >>> round(float(t_quantile(0.975, 10.0)), 4)
    2.2281
    """
    from scipy.special import ndtri, stdtrit

    asked, given = np.asarray(probability, float), np.asarray(df, float)
    if asked.ndim == 0 and given.size > 1 and np.all(given == given.flat[0]):
        # Simulated studies of one size share their degrees of freedom: one quantile for all.
        return np.full(given.shape, float(t_quantile(asked, given.flat[0])))
    p, degrees = np.broadcast_arrays(np.asarray(probability, float), np.asarray(df, float))
    finite = np.isfinite(degrees)
    safe = np.where(finite, degrees, 1.0)
    result: FloatArray = np.where(finite, stdtrit(safe, p), ndtri(p))
    return result


def t_two_sided(statistic: ArrayLike, df: ArrayLike) -> FloatArray:
    """Return two-sided p-values of t statistics, accurate far into the tail; infinite `df` means normal."""
    from scipy.special import ndtr, stdtr

    value, degrees = np.broadcast_arrays(np.asarray(statistic, float), np.asarray(df, float))
    finite = np.isfinite(degrees)
    safe = np.where(finite, degrees, 1.0)
    lower = -np.abs(value)
    result: FloatArray = 2.0 * np.where(finite, stdtr(safe, lower), ndtr(lower))
    return result


def _p_value(statistic: FloatArray, df: FloatArray, alternative: str) -> FloatArray:
    """Return p-values of t statistics for an alternative, accurate far into the tail."""
    if alternative == "two_sided":
        return t_two_sided(statistic, df)
    # Half the two-sided p-value is the smaller tail.
    half = t_two_sided(statistic, df) / 2.0
    small = statistic > 0 if alternative == "greater" else statistic < 0
    return np.where(small, half, 1.0 - half)


def t_upper(statistic: float, df: float) -> float:
    """Return the upper tail of Student's t at one statistic; infinite `df` means normal."""
    from scipy.special import ndtr, stdtr

    return float(ndtr(-statistic)) if np.isinf(df) else float(stdtr(df, -statistic))


def normal_upper(statistic: float) -> float:
    """Return the upper tail of the standard normal distribution."""
    return t_upper(statistic, np.inf)


def f_upper(statistic: float, df1: float, df2: float) -> float:
    """Return the upper tail of an F distribution; infinite `df2` means chi-square over `df1`."""
    from scipy.special import chdtrc, fdtrc

    if np.isinf(df2):
        return float(chdtrc(df1, statistic * df1))
    return float(fdtrc(df1, df2, statistic))


def f_quantile(probability: float, df1: float, df2: float) -> float:
    """Return a quantile of an F distribution with finite degrees of freedom.

    Examples
    --------
    >>> round(f_quantile(0.95, 3.0, 20.0), 4)
    3.0984
    """
    from scipy.special import fdtri

    return float(fdtri(df1, df2, probability))


def chi2_quantile(probability: float, df: float) -> float:
    """Return a quantile of a chi-square distribution.

    Examples
    --------
    >>> round(chi2_quantile(0.95, 4.0), 4)
    9.4877
    """
    from scipy.special import chdtri

    return float(chdtri(df, 1.0 - probability))


def folded_normal_lower(value: float, mean: float) -> float:
    """Return the probability that a normal variable with this mean and sd 1 is at most `value` in absolute size."""
    from scipy.special import ndtr

    return float(ndtr(value - mean) - ndtr(-value - mean))


def folded_normal_quantile(probability: float, mean: float) -> float:
    """Return a quantile of the absolute value of a normal variable with this mean and standard deviation 1.

    Examples
    --------
    >>> round(folded_normal_quantile(0.95, 0.0), 4), round(folded_normal_quantile(0.95, 3.0), 4)
    (1.96, 4.6449)
    """
    from scipy.optimize import brentq

    centre = abs(mean)
    one_sided, two_sided = (float(q) for q in normal_quantile([probability, 0.5 + probability / 2.0]))
    low, high = max(two_sided, centre + one_sided) - 1e-9, centre + two_sided + 1e-9
    return float(brentq(lambda x: folded_normal_lower(x, centre) - probability, max(low, 0.0), high, xtol=1e-13))


def truncated_normal_upper(statistic: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> FloatArray:
    """Return upper tails of standard normal variables that are known to lie in an interval, accurate far out.

    Examples
    --------
    >>> round(float(truncated_normal_upper(2.0, 0.0, np.inf)), 6)
    0.0455
    >>> round(float(truncated_normal_upper(40.1, 40.0, np.inf)), 4)
    0.0182
    """
    from scipy.special import log_ndtr

    x, a, b = np.broadcast_arrays(*(np.asarray(v, float) for v in (statistic, lower, upper)))
    # The tail that does not round to one: below zero that is the lower one.
    left = b <= 0.0
    ends = [np.where(left, log_ndtr(v), log_ndtr(-v)) for v in (x, a, b)]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Of an interval from a to b the larger tail is at b on the left side, and at a on the right.
        whole = np.where(left, _log_less(ends[2], ends[1]), _log_less(ends[1], ends[2]))
        part = np.where(left, _log_less(ends[2], ends[0]), _log_less(ends[0], ends[2]))
        share = np.exp(part - whole)
    return np.where(x <= a, 1.0, np.where(x >= b, 0.0, share))


def _log_less(larger: FloatArray, smaller: FloatArray) -> FloatArray:
    """Return the logarithm of a difference of two numbers given by their logarithms."""
    result: FloatArray = larger + np.log1p(-np.exp(smaller - larger))
    return result


def wald(
    value: ArrayLike,
    std_error: ArrayLike,
    *,
    df: ArrayLike = np.inf,
    level: float = 0.95,
    null: ArrayLike = 0.0,
    alternative: str = "two_sided",
) -> Wald:
    """Return Wald tests and intervals.

    Parameters
    ----------
    value, std_error : array_like, shape (terms,)
        On the scale of inference (log for ratios).
    df : array_like
        Degrees of freedom of the t reference; infinite for the normal.
    level : float
        Coverage of the interval.
    null : array_like
        Value under the null hypothesis.
    alternative : str
        "two_sided", "greater" (than the null) or "less". The interval stays two-sided.

    Examples
    --------
    >>> answer = wald([1.0], [0.5], df=[10.0])
    >>> round(float(answer.p_value[0]), 4), round(float(answer.conf_low[0]), 4)
    (0.0734, -0.1141)
    """
    check_level(level)
    if alternative not in ALTERNATIVES:
        raise ValueError(f"The alternative is one of {', '.join(ALTERNATIVES)}, not {alternative!r}.")
    x, se, degrees, h0 = (np.atleast_1d(np.asarray(a, float)) for a in (value, std_error, df, null))
    x, se, degrees, h0 = np.broadcast_arrays(x, se, degrees, h0)
    usable = _usable(x, se, degrees)
    safe = np.where(usable, se, 1.0)
    safe_df = np.where(usable, degrees, 1.0)
    statistic = np.where(usable, (x - h0) / safe, np.nan)
    p_value = np.where(usable, _p_value(np.where(usable, statistic, 0.0), safe_df, alternative), np.nan)
    return Wald(statistic, p_value, *wald_interval(x, se, df=degrees, level=level))


def wald_interval(
    value: FloatArray, std_error: FloatArray, *, df: FloatArray, level: float
) -> tuple[FloatArray, FloatArray]:
    """Return the limits of Wald intervals; NaN where there is no standard error above zero.

    Parameters
    ----------
    value, std_error, df : ndarray, shape (terms,)
        On the scale of inference.
    level : float
        Coverage.
    """
    usable = _usable(value, std_error, df)
    half = t_quantile(0.5 + level / 2.0, np.where(usable, df, 1.0)) * np.where(usable, std_error, 1.0)
    return np.where(usable, value - half, np.nan), np.where(usable, value + half, np.nan)


def wald_rejects(
    value: FloatArray, std_error: FloatArray, *, df: FloatArray, alpha: float, alternative: str = "two_sided"
) -> NDArray[np.bool_]:
    """Return whether Wald tests of zero reject; False where there is no standard error above zero.

    Parameters
    ----------
    value, std_error, df : ndarray, shape (terms,)
        On the scale of inference.
    alpha : float
        Size of the tests.
    alternative : str
        "two_sided", "greater" or "less".
    """
    usable = _usable(value, std_error, df)
    tail = alpha / 2.0 if alternative == "two_sided" else alpha
    reach = -t_quantile(tail, np.where(usable, df, 1.0)) * np.where(usable, std_error, 1.0)
    far = {"two_sided": np.abs(value), "greater": value, "less": -value}[alternative]
    return np.asarray(usable & (far > reach))


def _usable(value: FloatArray, std_error: FloatArray, df: FloatArray) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(std_error) & (std_error > 0) & np.isfinite(value) & (df > 0))


def wald_joint(value: FloatArray, covariance: FloatArray, *, df2: float = np.inf) -> tuple[float, int, float]:
    """Return the Wald statistic, its rank and its p-value for the hypothesis that all of `value` is zero.

    The pseudo-inverse is used when the covariance is singular; the rank is then below the number of terms.
    """
    # On the scale of each row's own standard error, so that rows in small units count like the others.
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    scale = np.where(scale > 0, scale, 1.0)
    vector = np.asarray(value, float) / scale
    correlation = covariance / np.outer(scale, scale)
    roots, axes = np.linalg.eigh((correlation + correlation.T) / 2.0)
    largest = roots[-1] if roots.size else 0.0
    keep = roots > max(largest, 0.0) * len(vector) * np.finfo(float).eps * 100.0
    projected = axes[:, keep].T @ vector
    statistic = float(np.sum(projected**2 / roots[keep]))
    rank = int(keep.sum())
    if rank == 0:
        return float("nan"), 0, float("nan")
    return statistic, rank, f_upper(statistic / rank, rank, df2)


def binomial_two_sided(count: int, total: int, share: float) -> float:
    """Return the exact two-sided p-value of a binomial count: all counts no more likely than the one found.

    Examples
    --------
    >>> round(binomial_two_sided(1, 10, 0.5), 6)
    0.021484
    """
    from scipy.special import gammaln, xlog1py, xlogy

    values = np.arange(total + 1.0)
    ways = gammaln(total + 1.0) - gammaln(values + 1.0) - gammaln(total - values + 1.0)
    logarithm = ways + xlogy(values, share) + xlog1py(total - values, -share)
    # Equal probabilities along two routes differ in their last digits.
    slack = 1e-12 * max(1.0, float(np.abs(ways).max()))
    return min(1.0, float(np.exp(logarithm[logarithm <= logarithm[count] + slack + 1e-9]).sum()))


def normal_quantile(probability: ArrayLike) -> FloatArray:
    """Return standard normal quantiles."""
    from scipy.special import ndtri

    result: Any = ndtri(np.asarray(probability, float))
    return np.asarray(result, dtype=np.float64)


def logit_interval(
    proportion: ArrayLike, std_error: ArrayLike, *, df: ArrayLike = np.inf, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Return limits for proportions, symmetric on the log-odds scale (delta method)."""
    p, se = np.asarray(proportion, float), np.asarray(std_error, float)
    inside = (p > 0) & (p < 1)
    safe = np.where(inside, p, 0.5)
    centre = np.log(safe / (1 - safe))
    answer = wald(centre, se / (safe * (1 - safe)), df=df, level=level)

    def back(x: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.where(inside, 1.0 / (1.0 + np.exp(-x)), np.nan)

    return back(answer.conf_low), back(answer.conf_high)


def bounded_interval(
    bounds: tuple[float, float], std_errors: tuple[float, float], *, level: float = 0.95
) -> tuple[float, float]:
    """Return an interval for a quantity that lies between two estimated bounds (Imbens and Manski 2004).

    It reaches c standard errors beyond each bound, where Phi(c + width / max(standard error)) - Phi(-c) = level: the
    quantity is somewhere between the bounds, so it can be near one of them only.

    Parameters
    ----------
    bounds, std_errors : tuple of (float, float)
        Lower and upper bound, and their standard errors.
    level : float
        Coverage.

    Examples
    --------
    >>> tuple(round(x, 3) for x in bounded_interval((0.0, 5.0), (1.0, 1.0)))
    (-1.645, 6.645)
    >>> tuple(round(x, 3) for x in bounded_interval((0.0, 0.0), (1.0, 1.0)))
    (-1.96, 1.96)
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    check_level(level)
    largest = max(std_errors)
    width = bounds[1] - bounds[0]
    if not (np.isfinite(largest) and np.isfinite(width) and min(std_errors) > 0):
        return float("nan"), float("nan")
    # An estimated width below zero means that the two bounds crossed by chance.
    gap = max(width, 0.0) / largest
    one_sided, two_sided = (float(normal_quantile(p)) for p in (level, 0.5 + level / 2.0))
    c = brentq(lambda x: ndtr(x + gap) - ndtr(-x) - level, one_sided - 1e-9, two_sided + 1e-9, xtol=1e-13)
    return bounds[0] - c * std_errors[0], bounds[1] + c * std_errors[1]


def anderson_rubin_interval(
    values: FloatArray, covariance: FloatArray, *, df: float = np.inf, level: float = 0.95
) -> tuple[float, float, str]:
    """Return the hull and shape of the set of ratios b that are not rejected (Anderson and Rubin 1949; Fieller 1954).

    With the effects r of an instrument on outcome and s on regressor, b is kept where
    (r - b s)^2 <= c^2 (V_rr - 2 b V_rs + b^2 V_ss), a quadratic in b.

    Parameters
    ----------
    values : ndarray, shape (2,)
        r and s.
    covariance : ndarray, shape (2, 2)
        Their covariance.
    df : float
        Degrees of freedom of the t reference.
    level : float
        Coverage.

    Returns
    -------
    low, high : float
        Hull of the set; infinite where it has no end.
    shape : str
        "interval", "line" (all values) or "complement" (all but a gap).

    Examples
    --------
    >>> low, high, shape = anderson_rubin_interval(np.array([2.0, 1.0]), np.diag([0.01, 0.0001]))
    >>> round(low, 3), round(high, 3), shape
    (1.801, 2.201, 'interval')
    """
    check_level(level)
    c2 = float(t_quantile(0.5 + level / 2.0, df)) ** 2
    r, s = (float(x) for x in values)
    a = s**2 - c2 * float(covariance[1, 1])
    b = -2.0 * (r * s - c2 * float(covariance[0, 1]))
    c = r**2 - c2 * float(covariance[0, 0])
    discriminant = b**2 - 4.0 * a * c
    if a > 0 and discriminant >= 0:
        root = float(np.sqrt(discriminant))
        return (-b - root) / (2.0 * a), (-b + root) / (2.0 * a), "interval"
    return -np.inf, np.inf, "complement" if discriminant > 0 else "line"
