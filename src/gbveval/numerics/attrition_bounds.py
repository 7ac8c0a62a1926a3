"""Bounds for an effect when outcomes are missing: trimming (Lee 2009) and extreme values (Manski 1990).

Trimming. In the arm that is observed more often, a share q = 1 - p_less / p_more of the observed would not have been
observed in the other arm. They are at worst the lowest or the highest. The largest possible mean of the others is

    mu_U = E[max(Y - c, 0)] / (1 - q) + c,   c the q-quantile,

which is exact also where outcomes are tied: the mass at c is then trimmed in part. Its influence function (the quantile
drops out, since c maximises the same expression) is, for a unit observed in that arm with share t of all units,

    [max(y - c, 0) - E max(Y - c, 0)] / (t (1 - q)) + (mu_U - c) / (1 - q) IF_q,
    IF_q = -(IF_less - (1 - q) IF_more) / p_more.

The variance is that of Lee (2009), Proposition 3, and adds up over clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
TRIMMING = ("fractional", "empirical_cdf", "quantile")


@dataclass(frozen=True, eq=False, slots=True)
class Bounds:
    """Lower and upper bound of treated minus control.

    Attributes
    ----------
    lower, upper : float
        Bounds.
    lower_influence, upper_influence : ndarray, shape (n,)
        Their sums of squares over independent units are the variances.
    trimmed : float
        Share trimmed (negative where the control arm was trimmed); zero for extreme values.
    """

    lower: float
    upper: float
    lower_influence: FloatArray
    upper_influence: FloatArray
    trimmed: float


class NothingLeftError(ValueError):
    """Trimming whole values leaves none: too many outcomes are tied."""


@dataclass(frozen=True, eq=False, slots=True)
class _Trimmed:
    """What is left when one end is trimmed: its mean, where the cut is, and the share kept."""

    mean: float
    threshold: float
    kept: float


def _trim_low(y: FloatArray, weights: FloatArray, q: float, rule: str, *, turned: bool) -> _Trimmed:
    """Return what is left without the lowest share q; `turned` says that the values are the negatives of outcomes."""
    order = np.argsort(y, kind="stable")
    ordered, mass = y[order], weights[order] / weights.sum()
    cumulated = np.cumsum(mass)
    if rule == "fractional":
        threshold = float(ordered[min(int(np.searchsorted(cumulated, q - 1e-12)), y.size - 1)])
        mean = float(mass @ np.maximum(ordered - threshold, 0.0)) / (1.0 - q) + threshold
        return _Trimmed(mean, threshold, 1.0 - q)
    if rule == "empirical_cdf":
        # The distribution function of the outcome counts all ties: kept are F(y) > q, or F(y) <= 1 - q at the top.
        first = np.searchsorted(ordered, ordered, side="left")
        last = np.searchsorted(ordered, ordered, side="right") - 1
        above = 1.0 - np.concatenate([[0.0], cumulated])[first]
        keep = above <= 1.0 - q + 1e-12 if turned else cumulated[last] > q + 1e-12
        if not keep.any():
            raise NothingLeftError("Too many outcomes are tied to trim whole values.")
        threshold = float(ordered[keep][0])
    else:
        threshold = float(np.quantile(y, q))
        keep = ordered >= threshold
    return _Trimmed(float(np.average(ordered[keep], weights=mass[keep])), threshold, float(mass[keep].sum()))


def trimming_bounds(
    y: FloatArray,
    treated: BoolArray,
    observed: BoolArray,
    *,
    weights: FloatArray | None = None,
    trimming: str = "fractional",
) -> Bounds:
    """Return trimming bounds of the effect on those observed whichever arm they are in.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Outcome, anything where it is not observed.
    treated, observed : ndarray of bool, shape (n,)
        Arm, and whether the outcome was observed.
    weights : ndarray, shape (n,), optional
        Analysis weights.
    trimming : str
        "fractional" (exactly the share), "empirical_cdf" (keep values whose cumulated share exceeds it; ties together)
        or "quantile" (keep values at least as large as the interpolated quantile).

    Raises
    ------
    NothingLeftError
        If "empirical_cdf" keeps nothing, as it can where outcomes are tied.
    """
    if trimming not in TRIMMING:
        raise ValueError(f"trimming is one of {', '.join(TRIMMING)}, not {trimming!r}.")
    w = np.ones(y.size) if weights is None else weights / weights.mean()
    share = [float(np.average(observed[member], weights=w[member])) for member in (~treated, treated)]
    more = treated if share[1] >= share[0] else ~treated
    sign = 1.0 if share[1] >= share[0] else -1.0
    p_more, p_less = max(share), min(share)
    q = 1.0 - p_less / p_more
    inside, other = more & observed, ~more & observed
    value = np.where(observed, y, 0.0)
    fixed = float(np.average(value[other], weights=w[other]))
    fixed_if = _mean_influence(value, w, other, fixed)
    # IF of q = 1 - p_less / p_more.
    part_more = _mean_influence(observed.astype(float), w, more, p_more)
    part_less = _mean_influence(observed.astype(float), w, ~more, p_less)
    q_if = -(part_less - (1.0 - q) * part_more) / p_more
    ends = []
    for turn in (1.0, -1.0):
        cut = _trim_low(turn * value[inside], w[inside], q, trimming, turned=turn < 0)
        excess = np.where(inside, np.maximum(turn * value - cut.threshold, 0.0), 0.0)
        mean_excess = float(np.average(excess[inside], weights=w[inside]))
        influence = _lee_factor(cut, excess[inside], w[inside], q) * _mean_influence(excess, w, inside, mean_excess)
        influence = influence / cut.kept
        influence = influence + (cut.mean - cut.threshold) / (1.0 - q) * q_if
        ends.append((sign * (turn * cut.mean - fixed), sign * (turn * influence - fixed_if)))
    (a, a_if), (b, b_if) = ends
    if a <= b:
        return Bounds(a, b, a_if, b_if, sign * q)
    return Bounds(b, a, b_if, a_if, sign * q)


def _lee_factor(cut: _Trimmed, excess: FloatArray, w: FloatArray, q: float) -> float:
    """Return what brings the variance of the trimmed mean to Lee's, whose quantile term has q.

    Where whole values are kept or dropped the share kept is not exactly 1 - q; his formula has V + q (mu - c)^2 over
    the number kept, where V is the variance of the values kept. With fractional trimming the factor is one.
    """
    distance = (cut.mean - cut.threshold) ** 2
    total = float(np.average(excess**2, weights=w)) / cut.kept
    within = total - distance
    found = within + (1.0 - cut.kept) * distance
    if abs(cut.kept - (1.0 - q)) < 1e-12 or found <= 0:
        return 1.0
    return float(np.sqrt(max(within + q * distance, 0.0) / found))


def _mean_influence(values: FloatArray, w: FloatArray, member: BoolArray, mean: float) -> FloatArray:
    """Return the influence of each unit on a weighted mean over members: w (y - mean) / sum of weights."""
    return np.where(member, w * (values - mean), 0.0) / float(w[member].sum())


def tightened_bounds(
    y: FloatArray,
    treated: BoolArray,
    observed: BoolArray,
    cell: NDArray[np.intp],
    *,
    weights: FloatArray | None = None,
    trimming: str = "fractional",
) -> tuple[Bounds, int]:
    """Return the average of the trimming bounds within cells of baseline covariates, never wider than without.

    Cells are weighted by their share of those observed whichever arm they are in: p_less times the cell's people. The
    weights' own influence is added. Cells in which the other arm is observed more are not trimmed.

    Parameters
    ----------
    y, treated, observed, weights, trimming
        As for `trimming_bounds`.
    cell : ndarray of int, shape (n,)
        Cell of each unit; every cell has observed units in both arms.

    Returns
    -------
    bounds : Bounds
    reversed_cells : int
        Cells in which the order of the observed shares is the other way round.
    """
    w = np.ones(y.size) if weights is None else weights / weights.mean()
    whole = [float(np.average(observed[member], weights=w[member])) for member in (~treated, treated)]
    more = treated if whole[1] >= whole[0] else ~treated
    parts, masses, mass_ifs, turned = [], [], [], 0
    total = float(w.sum())
    for code in np.unique(cell):
        here = cell == code
        less = here & ~more
        share_less = float(np.average(observed[less], weights=w[less]))
        share_more = float(np.average(observed[here & more], weights=w[here & more]))
        inside = np.flatnonzero(here)
        if share_more < share_less:
            turned += 1
            part = _untrimmed(y[inside], treated[inside], observed[inside], w[inside])
        else:
            part = trimming_bounds(y[inside], treated[inside], observed[inside], weights=w[inside], trimming=trimming)
        lower, upper = np.zeros(y.size), np.zeros(y.size)
        lower[inside], upper[inside] = part.lower_influence, part.upper_influence
        parts.append((part.lower, part.upper, lower, upper, part.trimmed))
        mass = float(w[here].sum()) / total
        masses.append(mass * share_less)
        share_if = _mean_influence(observed.astype(float), w, less, share_less)
        mass_ifs.append(mass * share_if + share_less * w * (here - mass) / total)
    always = sum(masses)
    weight = [m / always for m in masses]
    ends = []
    for end in (0, 1):
        value = sum(share * part[end] for share, part in zip(weight, parts, strict=True))
        influence = sum(share * part[2 + end] for share, part in zip(weight, parts, strict=True))
        drift = sum((part[end] - value) / always * mass_if for part, mass_if in zip(parts, mass_ifs, strict=True))
        ends.append((float(value), np.asarray(influence + drift)))
    trimmed = sum(share * part[4] for share, part in zip(weight, parts, strict=True))
    return Bounds(ends[0][0], ends[1][0], ends[0][1], ends[1][1], float(trimmed)), turned


def _untrimmed(y: FloatArray, treated: BoolArray, observed: BoolArray, w: FloatArray) -> Bounds:
    """Return the difference of observed means, as bounds of width zero."""
    value = np.where(observed, y, 0.0)
    means, influences = [], []
    for member in (treated & observed, ~treated & observed):
        mean = float(np.average(value[member], weights=w[member]))
        means.append(mean)
        influences.append(_mean_influence(value, w, member, mean))
    influence = influences[0] - influences[1]
    return Bounds(means[0] - means[1], means[0] - means[1], influence, influence, 0.0)


def extreme_bounds(
    y: FloatArray,
    treated: BoolArray,
    observed: BoolArray,
    limits: tuple[float, float],
    *,
    weights: FloatArray | None = None,
) -> Bounds:
    """Return the bounds in which every missing outcome takes the least or the largest possible value.

    Parameters
    ----------
    y, treated, observed, weights
        As for `trimming_bounds`.
    limits : tuple of (float, float)
        Least and largest possible outcome.
    """
    w = np.ones(y.size) if weights is None else weights / weights.mean()
    ends = []
    for treated_value, control_value in (limits, limits[::-1]):
        whole, influences = [], []
        for member, missing in ((treated, treated_value), (~treated, control_value)):
            mean, influence = _filled_mean(y, w, member, observed, missing)
            whole.append(mean)
            influences.append(influence)
        ends.append((whole[0] - whole[1], influences[0] - influences[1]))
    return Bounds(ends[0][0], ends[1][0], ends[0][1], ends[1][1], 0.0)


def _filled_mean(
    y: FloatArray, w: FloatArray, member: BoolArray, observed: BoolArray, missing: float
) -> tuple[float, FloatArray]:
    """Return the mean of an arm with a value put in for what is missing, and its influence function.

    Observed outcomes vary by their sample variance (count minus one).
    """
    inside = member & observed
    seen = float(np.average(y[inside], weights=w[inside]))
    filled = np.where(observed, y, missing)
    mean = float(np.average(filled[member], weights=w[member]))
    count = float(inside.sum())
    stretch = np.sqrt(count / (count - 1.0)) if count > 1 else 1.0
    spread = np.where(inside, stretch * (filled - seen) + seen - mean, filled - mean)
    return mean, np.where(member, w * spread, 0.0) / float(w[member].sum())
