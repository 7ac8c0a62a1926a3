"""What follows from the distribution of a statistic over allocations or draws: tails, ties and inverted intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Limits are found to this share of a standard error: far below what any number of draws says about them.
RESOLUTION = 1e-8
# Two statistics that differ by less than this share of their size are one value computed along two routes.
TIE = 1e-9


def tail(
    values: FloatArray,
    observed: float,
    weight: FloatArray | None = None,
    *,
    rule: str = "absolute",
    ties: bool = True,
) -> float:
    """Return the p-value of an observed statistic under one rule.

    Parameters
    ----------
    values : ndarray, shape (allocations,)
        The statistic of every allocation (the observed one among them), or of drawn ones. Undefined ones count as
        extreme.
    observed : float
        The observed statistic.
    weight : ndarray, optional
        Probability of each allocation when all are enumerated. Without it `values` are draws, and the observed
        allocation counts as one more: p = (b + 1)/(m + 1) (Phipson and Smyth 2010).
    rule : str
        "greater", "less", "absolute", "central" or "no_more_likely".
    ties : bool
        Whether values equal to the observed one count. If not, draws give b/m, which can be zero.

    Examples
    --------
    >>> tail(np.array([-1.0, 0.0, 1.0, 2.0]), 2.0, rule="greater")
    0.4
    """
    if rule == "central":
        return min(1.0, 2.0 * min(tail(values, observed, weight, rule=side, ties=ties) for side in ("greater", "less")))
    slack = _slack(values, observed) * (1.0 if ties else -1.0)
    with np.errstate(invalid="ignore"):
        if rule == "greater":
            inside = values >= observed - slack
        elif rule == "less":
            inside = values <= observed + slack
        elif rule == "absolute":
            inside = np.abs(values) >= abs(observed) - slack
        else:
            inside = _no_more_likely(values, weight, observed, abs(slack))
    counted = inside | np.isnan(values)
    if weight is not None:
        return float(min(weight[counted].sum() / weight.sum(), 1.0))
    own = 1.0 if ties else 0.0
    return float((own + np.count_nonzero(counted)) / (values.size + own))


def _slack(values: FloatArray, observed: float) -> float:
    """Return the difference below which two statistics are one value."""
    if not np.isfinite(observed):
        return 0.0
    square = float(values @ values)
    if not np.isfinite(square):
        finite = values[np.isfinite(values)]
        square = float(finite @ finite) * values.size / max(finite.size, 1)
    return TIE * (abs(observed) + float(np.sqrt(square / max(values.size, 1))))


def probability_of(values: FloatArray, observed: float, weight: FloatArray | None = None) -> float:
    """Return the probability of the observed value itself (for draws: the share of draws equal to it)."""
    with np.errstate(invalid="ignore"):
        same = np.abs(values - observed) <= _slack(values, observed)
    return float(np.mean(same)) if weight is None else float(weight[same].sum() / weight.sum())


def _no_more_likely(values: FloatArray, weight: FloatArray | None, observed: float, slack: float) -> NDArray[np.bool_]:
    """Return which values are no more likely than the observed one."""
    observed_mass = probability_of(values, observed, weight)
    order = np.argsort(values, kind="stable")
    with np.errstate(invalid="ignore"):
        steps = np.diff(values[order]) > slack
    group = np.concatenate([[0], np.cumsum(steps)])
    mass = np.full(values.size, 1.0 / values.size) if weight is None else weight[order] / weight.sum()
    likely = np.bincount(group, weights=mass)
    inside = np.empty(values.size, dtype=bool)
    inside[order] = likely[group] <= observed_mass * (1.0 + 1e-7)
    return inside


def invert(accepts: Callable[[float], bool], centre: float, step: float) -> tuple[float, float]:
    """Return the hull of the values that a test does not reject, found outwards from its centre.

    Parameters
    ----------
    accepts : callable
        Whether a value is not rejected. The centre is accepted.
    centre, step : float
        Where to start, and a scale such as the standard error.

    Returns
    -------
    low, high : float
        Limits; infinite where even a value 4,000 steps away is accepted.

    Notes
    -----
    The set need not be an interval. Values centre +- step x 2^j are tried, j from -4 to 12; between the outermost that
    is accepted and the next one the limit is found by bisection.
    """
    return _limit(accepts, centre, -step), _limit(accepts, centre, step)


def _limit(accepts: Callable[[float], bool], centre: float, step: float) -> float:
    tried = centre + step * 2.0 ** np.arange(12, -5, -1)
    # From the farthest inwards: the first that is accepted is the outermost.
    first = next((j for j, value in enumerate(tried) if accepts(value)), tried.size)
    if first == 0:
        return float(np.copysign(np.inf, step))
    near = tried[first] if first < tried.size else centre
    far = tried[first - 1]
    for _ in range(200):
        middle = 0.5 * (near + far)
        if middle in (near, far) or abs(far - near) <= RESOLUTION * abs(step):
            break
        if accepts(middle):
            near = middle
        else:
            far = middle
    return float(0.5 * (near + far))
