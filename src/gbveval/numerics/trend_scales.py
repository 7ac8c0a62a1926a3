"""One rollout with trends parallel on several scales, each effect translated to outcome units of the treated.

For a cohort in period t with base period b, own means (y, l, n) of outcome, its logarithm and exposure, and those of
the comparison group (capitals), trends are parallel on a scale if the treated, untreated, would have had

    level        y0 = y_b + Y_t - Y_b
    ratio        y0 = y_b Y_t / Y_b
    log          mean log = l_b + L_t - L_b,   y0 = y_b exp(L_t - L_b)
    rate         rate r0 = y_b/n_b + Y_t/N_t - Y_b/N_b,   y0 = n_t r0
    rate_ratio   rate r0 = (y_b/n_b) (Y_t/N_t) / (Y_b/N_b),   y0 = n_t r0

The mean of an exponential is not the exponential of a mean. Logs give a mean because the factor y / exp(l) between a
cohort's arithmetic and geometric mean is taken to have stayed, without treatment, what it was in the base period: logs
of the untreated move together and do not spread. Rates are ratios of totals, which are unit rates weighted by exposure;
they give a mean at the exposure that the treated had.

Level and ratio differ by y0_ratio - y0_level = (y_b - Y_b) (Y_t / Y_b - 1): the gap before treatment times the growth
of the comparison. If either is nil the scale does not matter. (Own derivation, by the delta method throughout. Roth and
Sant'Anna (2023), Econometrica 91(2), and Kahn-Lang and Lang (2020), Journal of Business and Economic Statistics 38(3),
for the question.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.group_moments import GroupMoments

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
SCALES = ("level", "log", "ratio", "rate", "rate_ratio")
OUTCOME, LOG, EXPOSURE = 0, 1, 2


@dataclass(frozen=True, eq=False, slots=True)
class Comparisons:
    """Which groups are compared: positions among the groups of `GroupMoments`, one entry a cohort and period.

    Attributes
    ----------
    own_now, own_base, pool_now, pool_base : ndarray of int, shape (comparisons,)
    cell : ndarray of int, shape (comparisons,)
        Cell of the cohort in the period.
    post : ndarray of bool, shape (comparisons,)
        Whether the cohort is treated.
    before : ndarray of bool, shape (comparisons,)
        Whether it is neither treated nor anticipating it.
    """

    own_now: IntArray
    own_base: IntArray
    pool_now: IntArray
    pool_base: IntArray
    cell: IntArray
    post: BoolArray
    before: BoolArray


@dataclass(frozen=True, eq=False, slots=True)
class ScaleFit:
    """Effects with trends parallel on one scale.

    Attributes
    ----------
    effect : float
        Average effect on the treated on the scale: a difference of means, logs or rates; the logarithm of the ratio of
        average means for ratios.
    counterfactual, in_units : float
        Average mean of the treated without treatment, and the effect in outcome units; NaN where not defined.
    before : ndarray, shape (comparisons before treatment,)
        Effects before treatment on the scale; those that are not defined are left out.
    influence : ndarray, shape (clusters, 3 + comparisons before treatment)
        Of effect, counterfactual and effect in units, and of `before`.
    n_untested : int
        Comparisons before treatment that are not defined.
    """

    effect: float
    counterfactual: float
    in_units: float
    before: FloatArray
    influence: FloatArray
    n_untested: int


def fit_scale(scale: str, moments: GroupMoments, compared: Comparisons) -> ScaleFit:
    """Return the effects with trends parallel on a scale.

    Parameters
    ----------
    scale : str
        One of `SCALES`.
    moments : GroupMoments
        Means of outcome, logarithm and exposure, in this order.
    compared : Comparisons

    Returns
    -------
    ScaleFit
        Averages over treated rows, their weights as shares that are estimated.
    """
    transformed, slope = _transform(scale, moments)
    before, lead = _differences(transformed, slope, compared, np.flatnonzero(compared.before))
    value, gradient, by_weight = _averages(scale, moments, compared, transformed, slope)
    tested = np.isfinite(before)
    every = np.concatenate([gradient, lead[tested]])
    weights = np.concatenate([by_weight, np.zeros((int(tested.sum()), by_weight.shape[1]))])
    known = bool(np.isfinite(value).all())
    influence = moments.influence(np.nan_to_num(every), np.nan_to_num(weights))
    if not known:
        influence[:, :3] = np.nan
        value = np.full(3, np.nan)
    return ScaleFit(
        effect=float(value[0]),
        counterfactual=float(value[1]),
        in_units=float(value[2]),
        before=before[tested],
        influence=influence,
        n_untested=int((~tested).sum()),
    )


def _transform(scale: str, moments: GroupMoments) -> tuple[FloatArray, FloatArray]:
    """Return what is parallel, for every group, and its derivative in the means, shape (groups, 3)."""
    y, log, n = moments.mean.T
    slope = np.zeros_like(moments.mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "level":
            value = y
            slope[:, OUTCOME] = 1.0
        elif scale == "log":
            value = log
            slope[:, LOG] = 1.0
        elif scale == "ratio":
            value = np.log(y)
            slope[:, OUTCOME] = 1.0 / y
        elif scale == "rate":
            value = y / n
            slope[:, OUTCOME], slope[:, EXPOSURE] = 1.0 / n, -y / n**2
        else:
            value = np.log(y) - np.log(n)
            slope[:, OUTCOME], slope[:, EXPOSURE] = 1.0 / y, -1.0 / n
    return np.where(np.isfinite(value), value, np.nan), slope


def _differences(
    transformed: FloatArray, slope: FloatArray, compared: Comparisons, chosen: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return differences in differences on the scale, and their derivatives, shape (comparisons, groups, 3)."""
    gradient = np.zeros((chosen.size, *slope.shape))
    value = np.zeros(chosen.size)
    at = np.arange(chosen.size)
    for sign, group in (
        (1.0, compared.own_now[chosen]),
        (-1.0, compared.own_base[chosen]),
        (-1.0, compared.pool_now[chosen]),
        (1.0, compared.pool_base[chosen]),
    ):
        value = value + sign * transformed[group]
        np.add.at(gradient, (at, group), sign * slope[group])
    return value, gradient


def _averages(
    scale: str, moments: GroupMoments, compared: Comparisons, transformed: FloatArray, slope: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return effect, counterfactual and effect in units, with derivatives in means and in weights of cells."""
    chosen = np.flatnonzero(compared.post)
    now = compared.own_now[chosen]
    total = moments.weight[now].sum()
    share = moments.weight[now] / total
    untreated, by_means = _counterfactual(scale, moments, compared, chosen, transformed, slope)
    observed = moments.mean[now, OUTCOME]
    n_groups, k = slope.shape
    at = np.arange(chosen.size)
    own, exposed = np.zeros((chosen.size, n_groups, k)), np.zeros((chosen.size, n_groups, k))
    own[at, now, OUTCOME], exposed[at, now, EXPOSURE] = 1.0, 1.0
    parts = [(untreated, by_means), (observed, own), (moments.mean[now, EXPOSURE], exposed)]
    if scale in ("level", "log"):
        parts.append(_differences(transformed, slope, compared, chosen))
    means = np.array([share @ values for values, _ in parts])
    gradients = np.array([np.tensordot(share, derivative, 1) for _, derivative in parts])
    weights = np.zeros((len(parts), moments.member.shape[1]))
    for row, (values, _) in enumerate(parts):
        # The shares are those of the treated rows found, so that a row moves the average towards its own cell.
        weights[row, compared.cell[chosen]] = (values - means[row]) / total
    on_scale, lever = _on_scale(scale, means)
    matrix = np.zeros((3, len(parts)))
    matrix[0, : lever.size] = lever
    matrix[1, 0] = matrix[2, 1] = 1.0
    matrix[2, 0] = -1.0
    value = np.array([on_scale, means[0], means[1] - means[0]])
    return value, np.tensordot(matrix, gradients, 1), matrix @ weights


def _on_scale(scale: str, means: FloatArray) -> tuple[float, FloatArray]:
    """Return the average effect on the scale, and its derivative in the averaged parts."""
    untreated, observed, exposure = means[:3]
    if scale in ("level", "log"):
        return float(means[3]), np.array([0.0, 0.0, 0.0, 1.0])
    if scale == "rate":
        # An average rate is over all exposure of the treated.
        excess = (observed - untreated) / exposure
        return float(excess), np.array([-1.0, 1.0, -excess]) / exposure
    # The ratio of an average is that of the averaged means.
    if not (untreated > 0 and observed > 0):
        return np.nan, np.full(3, np.nan)
    return float(np.log(observed / untreated)), np.array([-1.0 / untreated, 1.0 / observed, 0.0])


def _counterfactual(
    scale: str,
    moments: GroupMoments,
    compared: Comparisons,
    chosen: IntArray,
    transformed: FloatArray,
    slope: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the means that the treated would have had, and their derivatives, shape (comparisons, groups, 3)."""
    y, _, n = moments.mean.T
    now, base = compared.own_now[chosen], compared.own_base[chosen]
    pool_now, pool_base = compared.pool_now[chosen], compared.pool_base[chosen]
    at = np.arange(chosen.size)
    growth = transformed[pool_now] - transformed[pool_base]
    gradient = np.zeros((chosen.size, *slope.shape))
    np.add.at(gradient, (at, pool_now), slope[pool_now])
    np.add.at(gradient, (at, pool_base), -slope[pool_base])
    if scale in ("level", "rate"):
        value = transformed[base] + growth
        gradient[at, base] += slope[base]
    else:
        # The base period's mean (or rate) times the exponential of the comparison's growth.
        start = y[base] / n[base] if scale == "rate_ratio" else y[base]
        factor = np.exp(growth)
        value = start * factor
        gradient *= value[:, None, None]
        gradient[at, base, OUTCOME] += factor / (n[base] if scale == "rate_ratio" else 1.0)
        if scale == "rate_ratio":
            gradient[at, base, EXPOSURE] -= value / n[base]
    if scale in ("rate", "rate_ratio"):
        gradient *= n[now][:, None, None]
        gradient[at, now, EXPOSURE] += value
        value = value * n[now]
    return value, gradient
