"""Intervals of a share: exact and approximate ones of a simple sample, and those of a sample with a design."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gbveval.numerics.inference import check_level, f_quantile, logit_interval, normal_quantile, t_quantile

Interval = tuple[float, float]


def clopper_pearson(events: float, n: float, level: float = 0.95) -> Interval:
    """Return the exact interval that inverts two one-sided binomial tests (Clopper and Pearson 1934).

    It never covers less than its level. `events` and `n` need not be whole: effective sizes are not.

    Examples
    --------
    >>> [round(x, 4) for x in clopper_pearson(0, 20)]
    [0.0, 0.1684]
    """
    from scipy.special import betaincinv

    tail = (1.0 - check_level(level)) / 2.0
    low = float(betaincinv(events, n - events + 1.0, tail)) if events > 0 else 0.0
    high = float(betaincinv(events + 1.0, n - events, 1.0 - tail)) if events < n else 1.0
    return low, high


def wilson(events: float, n: float, level: float = 0.95, *, df: float = np.inf) -> Interval:
    """Return the interval that inverts the score test (Wilson 1927), with a t quantile where `df` is finite.

    Examples
    --------
    >>> [round(x, 4) for x in wilson(13, 47)]
    [0.1694, 0.4176]
    """
    z2 = float(t_quantile(0.5 + check_level(level) / 2.0, df)) ** 2
    p = events / n
    centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n)
    half = np.sqrt(z2 * (p * (1.0 - p) / n + z2 / (4.0 * n**2))) / (1.0 + z2 / n)
    # Rounding would leave 1e-18 where nobody has the outcome.
    low = float(max(centre - half, 0.0)) if events > 0 else 0.0
    return low, float(min(centre + half, 1.0)) if events < n else 1.0


def wald_share(events: float, n: float, level: float = 0.95) -> Interval:
    """Return p +- z (p (1 - p) / n)^(1/2); it covers too little, and is one point where nobody or everybody is one."""
    p = events / n
    half = float(normal_quantile(0.5 + check_level(level) / 2.0)) * np.sqrt(p * (1.0 - p) / n)
    return p - half, p + half


def agresti_coull(events: float, n: float, level: float = 0.95) -> Interval:
    """Return Wald's interval around Wilson's centre, z^2 / 2 successes and failures added (Agresti and Coull 1998)."""
    z2 = float(normal_quantile(0.5 + check_level(level) / 2.0)) ** 2
    return wald_share(events + z2 / 2.0, n + z2, level)


def jeffreys(events: float, n: float, level: float = 0.95) -> Interval:
    """Return the equal-tailed interval of Jeffreys' prior, reaching 0 and 1 at the ends (Brown, Cai, DasGupta 2001)."""
    from scipy.special import betaincinv

    tail = (1.0 - check_level(level)) / 2.0
    a, b = events + 0.5, n - events + 0.5
    low = float(betaincinv(a, b, tail)) if events > 0 else 0.0
    return low, float(betaincinv(a, b, 1.0 - tail)) if events < n else 1.0


def blaker(events: int, n: int, level: float = 0.95) -> Interval:
    """Return the exact interval that inverts Blaker's acceptability (Blaker 2000); it lies within Clopper-Pearson's.

    A share p is acceptable when the smaller tail beyond the count, and the largest opposite tail that is no more
    probable, together exceed 1 - level. Limits are the outermost acceptable shares, found exactly.

    Examples
    --------
    >>> [round(x, 4) for x in blaker(3, 20)]
    [0.0422, 0.3694]
    """
    alpha = 1.0 - check_level(level)
    return _blaker_lower(events, n, alpha), 1.0 - _blaker_lower(n - events, n, alpha)


def _blaker_lower(x: int, n: int, alpha: float) -> float:
    """Return the smallest acceptable share.

    Below x/n the acceptability is P(X >= x) + P(X <= k), with k the largest count whose lower tail is no more probable
    than the upper one. k grows with p, at shares where the two tails are equal; between them one minus the sum is the
    probability of the counts between, which has one peak, so the sum crosses alpha upwards at most once.
    """
    from scipy.optimize import brentq
    from scipy.special import bdtr, bdtrc

    if x == 0:
        return 0.0

    def upper(p: float) -> float:
        return float(bdtrc(x - 1, n, p))

    def accept(p: float, k: int) -> float:
        return upper(p) + (float(bdtr(k, n, p)) if k >= 0 else 0.0)

    left = 0.0
    for k in range(-1, x - 1):
        last = k + 1 > x - 2
        right = 1.0 if last else float(brentq(lambda p, j=k + 1: float(bdtr(j, n, p)) - upper(p), 0.0, 1.0, xtol=1e-15))
        if accept(left, k) >= alpha:
            return left
        if accept(right, k) >= alpha:
            return float(brentq(lambda p, j=k: accept(p, j) - alpha, left, right, xtol=1e-15))
        left = right
    return left


SIMPLE: dict[str, Callable[..., Interval]] = {
    "wilson": wilson,
    "clopper_pearson": clopper_pearson,
    "blaker": blaker,
    "jeffreys": jeffreys,
    "agresti_coull": agresti_coull,
    "wald": wald_share,
}


def effective_size(share: float, variance: float, n: int) -> float:
    """Return how large a simple random sample would have the same variance; n where the share is 0 or 1."""
    return share * (1.0 - share) / variance if 0.0 < share < 1.0 else float(n)


def korn_graubard(share: float, variance: float, *, n: int, df: float, level: float = 0.95) -> Interval:
    """Return Clopper-Pearson limits at the effective size times (t(n - 1) / t(df))^2 (Korn and Graubard 1998).

    The effective size is not cut at n. A share of 0 or 1 takes n for its effective size.
    """
    tail = 0.5 + check_level(level) / 2.0
    size = effective_size(share, variance, n) * float(t_quantile(tail, n - 1.0) / t_quantile(tail, df)) ** 2
    return clopper_pearson(share * size, size, level)


def wilson_design(share: float, variance: float, *, n: int, df: float, level: float = 0.95) -> Interval:
    """Return Wilson limits at the effective size with a t quantile (Kott and Carr 1997; Dean and Pagano 2015)."""
    size = effective_size(share, variance, n)
    return wilson(share * size, size, level, df=df)


def arcsine_design(share: float, variance: float, *, n: int, df: float, level: float = 0.95) -> Interval:
    """Return t limits on the scale of arcsin(p^(1/2)), whose standard error is 1 / (2 n_eff^(1/2)).

    NaN for a share of 0 or 1, where they would reach to about 1/n only.
    """
    if share in (0.0, 1.0):
        return float("nan"), float("nan")
    centre = float(np.arcsin(np.sqrt(share)))
    half = float(t_quantile(0.5 + check_level(level) / 2.0, df)) * 0.5 / np.sqrt(effective_size(share, variance, n))
    return float(np.sin(max(centre - half, 0.0)) ** 2), float(np.sin(min(centre + half, np.pi / 2.0)) ** 2)


def likelihood_design(share: float, variance: float, *, n: int, df: float, level: float = 0.95) -> Interval:
    """Return the shares whose scaled deviance is below the F(1, df) quantile (Rao and Scott 1984).

    The deviance is 2 n_eff KL(share, p) over Pearson's dispersion n / (n - 1), as in a quasi-binomial model; KL is the
    Kullback-Leibler divergence of two yes-or-no distributions.
    """
    from scipy.optimize import brentq
    from scipy.special import xlog1py, xlogy

    size = effective_size(share, variance, n) * (n - 1.0) / n
    limit = f_quantile(check_level(level), 1.0, df)
    peak = float(xlogy(share, share) + xlog1py(1.0 - share, -share))

    def beyond(p: float) -> float:
        return 2.0 * size * (peak - float(xlogy(share, p) + xlog1py(1.0 - share, -p))) - limit

    # With one degree of freedom the quantile is 161: a limit can then be nearer to 0 or 1 than a float can tell.
    least, most = 1e-300, float(np.nextafter(1.0, 0.0))
    low = float(brentq(beyond, least, share, xtol=1e-15)) if share > 0.0 and beyond(least) > 0.0 else 0.0
    high = float(brentq(beyond, share, most, xtol=1e-15)) if share < 1.0 and beyond(most) > 0.0 else 1.0
    return low, high


def logit_design(share: float, variance: float, *, n: int, df: float, level: float = 0.95) -> Interval:
    """Return t limits on the log-odds scale; NaN for a share of 0 or 1. `n` changes nothing."""
    low, high = logit_interval([share], [np.sqrt(variance)], df=[df], level=level)
    return float(low[0]), float(high[0])


DESIGN: dict[str, Callable[..., Interval]] = {
    "korn_graubard": korn_graubard,
    "wilson": wilson_design,
    "likelihood": likelihood_design,
    "arcsine": arcsine_design,
}
