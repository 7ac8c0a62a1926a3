"""Hides how group-time effects of a balanced panel follow from cohort-by-period means of the outcome paths."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from gbveval.numerics.group_time_cells import (
    BasePeriod,
    Cells,
    Cohorts,
    ControlGroup,
    GroupTimeFit,
    check_options,
    check_weights,
    last_cohort_as_control,
    list_cells,
    sort_cohorts,
)
from gbveval.numerics.stratum_influence import FloatArray, IntArray, StratumInfluence, rounding_of

__all__ = ["BasePeriod", "ControlGroup", "GroupTimeFit", "group_time_panel", "last_cohort_as_control"]

NO_CONTROLS = "no control units"
BASE_PERIOD = "base period"


def group_time_panel(
    Y: ArrayLike,
    cohort: ArrayLike,
    *,
    periods: ArrayLike,
    control_group: ControlGroup = "never",
    base_period: BasePeriod = "varying",
    anticipation: float = 0.0,
    weights: ArrayLike | None = None,
) -> GroupTimeFit:
    """Estimate group-time effects without covariates from a balanced panel.

    ATT(g, t) is the mean change in the outcome of cohort g between the base period and t, less the same of the control
    group. It is the effect on those treated when, without treatment, both would have changed alike on average.

    Parameters
    ----------
    Y : array_like, shape (n_units, n_periods)
        Outcomes, all finite.
    cohort : array_like, shape (n_units,)
        First treated period; infinite for never. Cohorts beyond the last period plus `anticipation` count as never.
    periods : array_like, shape (n_periods,)
        Time values, ascending; they need not be evenly spaced.
    control_group : {"never", "not_yet"}
        Never-treated units, or all units of other cohorts not yet treated in either period of the comparison.
    base_period : {"varying", "universal"}
        Before treatment compare with the previous period, or with the last one before treatment.
    anticipation : float
        Time units before treatment in which it may already act. Base periods and not-yet-treated controls keep clear
        of them; with a varying base the anticipating periods themselves are compared with the previous period.
    weights : array_like, shape (n_units,), optional
        Positive sampling weights, constant over time.

    Returns
    -------
    GroupTimeFit
        Cells by cohort and then period: from the second period for a varying base, from the first for a universal one.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, or a design without cohorts, controls or base periods.

    Notes
    -----
    Units treated in the first period (plus anticipation) are dropped and counted. Without never-treated units,
    "not_yet" makes the last cohort the control and drops periods from its start on. Without covariates, outcome
    regression, inverse-probability weighting and the doubly robust estimator are the same numbers.

    Do not use it when treatment can be switched off, or when parallel changes are believed only given covariates.

    References
    ----------
    Callaway, B. and Sant'Anna, P. H. C. (2021). Difference-in-differences with multiple time periods. Journal of
    Econometrics 225(2), 200-230.

    Examples
    --------
    >>> fit = group_time_panel([[1, 2, 5], [1, 3, 6], [0, 1, 2], [0, 1, 3]], [3, 3, np.inf, np.inf], periods=[1, 2, 3])
    >>> fit.time.tolist(), fit.att.tolist()
    ([2.0, 3.0], [0.5, 1.5])
    """
    check_options(control_group, base_period, anticipation)
    outcome, times, groups = check_panel(Y, periods, cohort)
    weight = None if weights is None else check_weights(weights, len(outcome))
    cohorts = sort_cohorts(groups, times, control_group, anticipation)
    cells = list_cells(cohorts, control_group, base_period, anticipation)
    start, row = cohorts.by_level()
    data, mean, largest = _centred_paths(outcome, weight, start, row, len(cohorts.periods))
    total = np.array([part[:, 0].sum() for part in data])
    att, coefficient = _contrasts(cells, mean, total)
    linear = StratumInfluence(data, start, row, len(outcome), tuple(coefficient), rounding_of(largest))
    return panel_fit(cohorts, cells, att, linear, anticipation=anticipation, total=total)


def _centred_paths(
    outcome: FloatArray, weight: FloatArray | None, start: IntArray, row: IntArray, n_periods: int
) -> tuple[tuple[FloatArray, ...], FloatArray, FloatArray]:
    """Return weight times (1, centred path) cohort by cohort, mean paths, and the extremes of the outcome.

    A cohort at a time stays in the cache. Every estimate is a contrast over time, so a unit's level may go; what is
    left carries no cancellation.
    """
    data, means, extremes = [], [], []
    for first, last in pairwise(start):
        units = row[first:last]
        path = outcome[units] if n_periods == outcome.shape[1] else outcome[units, :n_periods]
        extremes += [path.min(), path.max()]
        path -= path[:, :1].copy()
        w = np.ones(units.size) if weight is None else weight[units]
        mean = (w @ path) / w.sum()
        block = np.empty((units.size, n_periods + 1))
        block[:, 0] = w
        np.subtract(path, mean, out=block[:, 1:])
        if weight is not None:
            block[:, 1:] *= w[:, None]
        data.append(block)
        means.append(mean)
    return tuple(data), np.array(means), np.array(extremes)


def check_panel(y: ArrayLike, periods: ArrayLike, cohort: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return outcomes, periods and cohorts as arrays; raise ValueError unless the panel is complete and in order."""
    outcome, times = np.asarray(y, dtype=np.float64), np.asarray(periods, dtype=np.float64)
    groups = np.asarray(cohort, dtype=np.float64)
    if outcome.ndim != 2 or times.shape != outcome.shape[1:] or groups.shape != outcome.shape[:1]:
        raise ValueError(
            f"Y has shape {outcome.shape}, periods {times.shape} and cohort {groups.shape}; "
            "expected (units, periods), (periods,) and (units,)."
        )
    if not np.all(np.diff(times) > 0) or not np.all(np.isfinite(times)) or len(times) < 2:
        raise ValueError("periods must be two or more finite values in ascending order, each once.")
    if not np.isfinite(outcome).all():
        bad = int(np.sum(~np.isfinite(outcome).all(axis=1)))
        raise ValueError(f"{bad} units have an outcome that is not finite; a balanced panel needs every one.")
    return outcome, times, groups


def _contrasts(cells: Cells, mean: FloatArray, total: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the effects and the coefficients of their influence on (1, centred path), by cohort."""
    n_cohorts, n_cells = cells.control.shape
    k = np.arange(n_cells)
    change = mean[:, cells.time] - mean[:, cells.base]
    pool = cells.control * total[:, None]
    pool_total = pool.sum(axis=0)
    usable = np.where(pool_total > 0, pool_total, np.nan)
    control_change = (pool * change).sum(axis=0) / usable
    att = change[cells.cohort, k] - control_change
    slope = -(cells.control / usable)
    slope[cells.cohort, k] = np.where(np.isnan(usable), np.nan, 1.0 / total[cells.cohort])
    coefficient = np.zeros((n_cohorts, mean.shape[1] + 1, n_cells))
    coefficient[:, 0, :] = np.where(cells.control, slope * (change - control_change), 0.0)
    coefficient[:, 1 + cells.time, k] += slope
    coefficient[:, 1 + cells.base, k] -= slope
    own = cells.time == cells.base
    att[own] = 0.0
    coefficient[:, :, own] = 0.0
    coefficient[:, :, np.isnan(att)] = np.nan
    return att, coefficient


def panel_fit(
    cohorts: Cohorts, cells: Cells, att: FloatArray, linear: StratumInfluence, *, anticipation: float, total: FloatArray
) -> GroupTimeFit:
    """Return the effects of a panel with the sizes of what they compare."""
    size = np.diff(linear.start)
    own = cells.time == cells.base
    reason = tuple(
        BASE_PERIOD if is_base else (NO_CONTROLS if undefined else "")
        for is_base, undefined in zip(own, np.isnan(att), strict=True)
    )
    return GroupTimeFit(
        group=cohorts.level[cells.cohort],
        time=cohorts.periods[cells.time],
        base=cohorts.periods[cells.base],
        att=att,
        post=cells.post,
        n_treated=size[cells.cohort],
        n_control=(cells.control * size[:, None]).sum(axis=0),
        reason=reason,
        linear=linear,
        cohort=cohorts.level,
        cohort_weight=total,
        cell_cohort=cells.cohort,
        stratum_cohort=np.arange(len(cohorts.level), dtype=np.intp),
        periods=cohorts.periods,
        anticipation=anticipation,
        n_units=len(cohorts.row),
        n_already_treated=cohorts.n_already_treated,
        n_late=0,
        last_cohort=cohorts.last_cohort,
    )
