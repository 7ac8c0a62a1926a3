"""Effects of a rollout whose timing was random: efficient estimates from cohort means (Roth and Sant'Anna 2023).

Let Ybar_g be the mean path of cohort g, S_g its covariance over periods and N_g its size. An effect without
adjustment is a contrast of cohort means, theta_0 = sum_g A_g Ybar_g, and X = sum_g B_g Ybar_g are contrasts of
cohorts before any of them is treated, which have mean zero when timing is random. For any beta, theta_0 - beta' X is
unbiased, with variance (Neyman's, an upper bound) sum_g (A_g - beta' B_g) S_g (A_g - beta' B_g)' / N_g. It is
smallest at beta* = V_X^-1 V_X,theta; beta = 1 with X the contrast in the last period before treatment is Callaway and
Sant'Anna's (or Sun and Abraham's) difference in differences. The derivation is that of least squares: the best linear
prediction of theta_0 by X is taken off.

Neyman's variance leaves out the variance of effects between units, which is at least that of its projection on the
periods before anybody in the contrast is treated: with M choosing these periods and b_g = (M S_g M')^-1 M S_g A_g',
(1/N) (sum_g b_g)' (M S M') (sum_g b_g) over the cohorts not treated by then, M S M' averaged over them.

References: Roth and Sant'Anna (2023), Journal of Political Economy Microeconomics 1(4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
KINDS = ("efficient", "cs", "sa")
# Singular values below this share of the largest one are rounding.
SINGULAR = 1e-8


@dataclass(frozen=True, eq=False, slots=True)
class CohortMoments:
    """Means and covariances of the outcome by cohort.

    Attributes
    ----------
    cohort : ndarray, shape (cohorts,)
        First treated periods in order, infinite last if there is any.
    periods : ndarray, shape (periods,)
    size : ndarray, shape (cohorts,)
    mean : ndarray, shape (cohorts, periods)
    covariance : ndarray, shape (cohorts, periods, periods)
        With divisor size - 1; NaN in a cohort of one unit.
    """

    cohort: FloatArray
    periods: FloatArray
    size: FloatArray
    mean: FloatArray
    covariance: FloatArray


def cohort_moments(paths: FloatArray, cohort: FloatArray, periods: FloatArray) -> CohortMoments:
    """Return means and covariances by cohort from complete paths, shape (units, periods)."""
    values, code = np.unique(cohort, return_inverse=True)
    count = values.size
    member = (code == np.arange(count)[:, None]).astype(float)
    size = member.sum(axis=1)
    mean = member @ paths / size[:, None]
    away = paths - mean[code]
    covariance = np.stack([away[code == k].T @ away[code == k] for k in range(count)])
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = covariance / (size - 1.0)[:, None, None]
    return CohortMoments(values, periods, size, mean, covariance)


@dataclass(frozen=True, eq=False, slots=True)
class TimingContrasts:
    """Contrasts of cohort means that estimate the effect on a cohort in a period.

    Attributes
    ----------
    cohort, time : ndarray, shape (cells,)
    effect : ndarray, shape (cells, cohorts, periods)
        The cohort's mean in the period less that of those treated later.
    before : ndarray, shape (cells, cohorts, periods)
        The same in the cohort's last untreated period; zero where the panel has none.
    compared : ndarray, shape (cells,)
        Units that the cohort is compared with.
    """

    cohort: FloatArray
    time: FloatArray
    effect: FloatArray
    before: FloatArray
    compared: FloatArray


def timing_contrasts(cohort: FloatArray, size: FloatArray, periods: FloatArray, *, last_only: bool) -> TimingContrasts:
    """Return the contrasts of every cohort but the last and every period in which the last is untreated.

    Parameters
    ----------
    cohort, size : ndarray, shape (cohorts,)
        First treated periods in order, and units.
    periods : ndarray, shape (periods,)
    last_only : bool
        Compare with the last cohort only (Sun and Abraham), not with all that are treated later than both the period
        and the cohort (Callaway and Sant'Anna).
    """
    pairs = [(g, t) for g in cohort[:-1] for t in periods[periods < cohort[-1]]]
    effect = np.zeros((len(pairs), cohort.size, periods.size))
    before = np.zeros_like(effect)
    compared = np.zeros(len(pairs))
    for i, (g, t) in enumerate(pairs):
        later = cohort == cohort[-1] if last_only else cohort > max(t, g)
        contrast = (cohort == g) - np.where(later, size, 0.0) / size[later].sum()
        effect[i, :, periods == t] = contrast
        earlier = np.flatnonzero(periods < g)
        if earlier.size:
            before[i, :, earlier[-1]] = contrast
        compared[i] = size[later].sum()
    g, t = np.array(pairs).reshape(-1, 2).T
    return TimingContrasts(g, t, effect, before, compared)


def all_before(cohort: FloatArray, periods: FloatArray) -> FloatArray:
    """Return every contrast of a cohort with the last one before it is treated, shape (contrasts, cohorts, periods).

    Differences between any two cohorts before either is treated are differences of these.
    """
    found = []
    for k, g in enumerate(cohort[:-1]):
        for j in np.flatnonzero(periods < g):
            row = np.zeros((cohort.size, periods.size))
            row[k, j], row[-1, j] = 1.0, -1.0
            found.append(row)
    return np.array(found).reshape(-1, cohort.size, periods.size)


@dataclass(frozen=True, eq=False, slots=True)
class TimedEffects:
    """Estimates under random timing.

    Attributes
    ----------
    value : ndarray, shape (rows,)
    weight : ndarray, shape (rows, cohorts, periods)
        Of the cohort means, adjustment included.
    """

    value: FloatArray
    weight: FloatArray


def timed_effects(
    moments: CohortMoments, effect: FloatArray, before: FloatArray, *, every: FloatArray | None, fixed: bool
) -> TimedEffects:
    """Return estimates for contrasts.

    Parameters
    ----------
    moments : CohortMoments
    effect, before : ndarray, shape (rows, cohorts, periods)
        The contrasts of each row, and those before treatment.
    every : ndarray, shape (contrasts, cohorts, periods), or None
        Adjust every row for all of these; None: each for its own.
    fixed : bool
        Take the contrast before treatment off as it is (beta = 1): differences in differences.
    """
    spread = moments.covariance / moments.size[:, None, None]
    if fixed:
        weight = effect - before
    elif every is None:
        cross, own = _paired(before, spread, effect), _paired(before, spread, before)
        scale = _paired(effect, spread, effect)
        beta = np.where(own > SINGULAR**2 * scale, cross / np.where(own > 0, own, 1.0), 0.0)
        weight = effect - beta[:, None, None] * before
    else:
        joint = np.einsum("kgt,gtu,lgu->kl", every, spread, every, optimize=True)
        cross_all = np.einsum("kgt,gtu,rgu->kr", every, spread, effect, optimize=True)
        weight = effect - np.einsum("kr,kgt->rgt", np.linalg.pinv(joint, rcond=SINGULAR**2) @ cross_all, every)
    return TimedEffects(
        value=np.einsum("rgt,gt->r", weight, moments.mean),
        weight=weight,
    )


def _paired(a: FloatArray, spread: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("rgt,gtu,rgu->r", a, spread, b, optimize=True))


def effect_variances(moments: CohortMoments, effect: FloatArray) -> FloatArray:
    """Return lower bounds of the variance of effects between units, divided by units, for the adjusted variance.

    Parameters
    ----------
    moments : CohortMoments
    effect : ndarray, shape (rows, cohorts, periods)
        Contrasts without adjustment.
    """
    return np.array([_effect_variance(moments, row) for row in effect])


def _effect_variance(moments: CohortMoments, effect: FloatArray) -> float:
    involved = np.abs(effect).max(axis=1) > 0
    if not involved.any():
        return 0.0
    first = moments.cohort[involved][0]
    late, early = moments.cohort >= first, moments.periods < first
    if not early.any():
        return 0.0
    total = np.zeros(int(early.sum()))
    for s, a in zip(moments.covariance[late], effect[late], strict=True):
        total += np.linalg.pinv(s[np.ix_(early, early)], rcond=SINGULAR) @ (s[early] @ a)
    average = moments.covariance[late].mean(axis=0)[np.ix_(early, early)]
    return float(total @ average @ total / moments.size.sum())


def unit_influence(paths: FloatArray, cohort: FloatArray, moments: CohortMoments, weight: FloatArray) -> FloatArray:
    """Return influence functions whose cross-product is Neyman's covariance, shape (units, rows).

    Made from units rather than from cohort covariances, they are zero to the last digits where a row has no variance.
    """
    code = np.searchsorted(moments.cohort, cohort)
    away = paths - moments.mean[code]
    scale = np.sqrt(moments.size * (moments.size - 1.0))
    return np.asarray(np.einsum("it,rit->ir", away, weight[:, code]) / scale[code][:, None])
