"""Hides how group-time effects of repeated cross-sections follow from cohort-by-period means of the outcome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gbveval.numerics.group_time_cells import (
    BasePeriod,
    BoolArray,
    Cells,
    ControlGroup,
    GroupTimeFit,
    check_options,
    check_weights,
    list_cells,
    sort_cohorts,
)
from gbveval.numerics.stratum_influence import FloatArray, IntArray, StratumInfluence, rounding_of, sort_by_stratum


@dataclass(frozen=True, slots=True)
class _Means:
    """Weighted means, weights and rows by cohort and period; zero where there is no row."""

    mean: FloatArray
    total: FloatArray
    size: IntArray


def group_time_cross_section(
    y: ArrayLike,
    time: ArrayLike,
    cohort: ArrayLike,
    *,
    control_group: ControlGroup = "never",
    base_period: BasePeriod = "varying",
    anticipation: float = 0.0,
    weights: ArrayLike | None = None,
) -> GroupTimeFit:
    """Estimate group-time effects without covariates from repeated cross-sections.

    ATT(g, t) is the difference between the periods in the mean outcome of cohort g, less the same of the control group;
    the people in the two periods are different ones. Rows are independent unless clusters are given to the covariance.

    Parameters
    ----------
    y, time, cohort : array_like, shape (n_rows,)
        Outcome, period and first treated period (infinite for never) of every row.
    control_group, base_period, anticipation
        As in `group_time_panel`.
    weights : array_like, shape (n_rows,), optional
        Positive sampling weights.

    Returns
    -------
    GroupTimeFit
        With NaN and a reason where a cohort or its controls have no row in one of the two periods. Cohort shares, for
        aggregation, are those among all rows used.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, or a design without cohorts, controls or base periods.

    Notes
    -----
    Needs a composition of the cohorts that does not change over time. Where the same units are seen again and again,
    `group_time_panel` is usually far more precise.

    References
    ----------
    Callaway, B. and Sant'Anna, P. H. C. (2021). Difference-in-differences with multiple time periods. Journal of
    Econometrics 225(2), 200-230.

    Examples
    --------
    >>> fit = group_time_cross_section([1, 3, 0, 1], [1, 2, 1, 2], [2, 2, np.inf, np.inf])
    >>> fit.att.tolist()
    [1.0]
    """
    check_options(control_group, base_period, anticipation)
    outcome, when, groups = (np.asarray(a, dtype=np.float64) for a in (y, time, cohort))
    _check_rows(outcome, when, groups)
    weight = check_weights(weights, len(outcome))
    cohorts = sort_cohorts(groups, np.unique(when), control_group, anticipation)
    used = np.isin(when[cohorts.row], cohorts.periods)
    rows, code = cohorts.row[used], cohorts.code[used]
    n_periods = len(cohorts.periods)
    stratum = code * n_periods + np.searchsorted(cohorts.periods, when[rows])
    order, start = sort_by_stratum(stratum, len(cohorts.level) * n_periods)
    row, w = rows[order], weight[rows[order]]
    rounding = rounding_of(outcome[row])
    means = _cell_means(outcome[row], w, stratum[order], (len(cohorts.level), n_periods))
    data = np.stack([w, (outcome[row] - means.mean.reshape(-1)[stratum[order]]) * w], axis=1)
    cells = list_cells(cohorts, control_group, base_period, anticipation)
    att, coefficient = _contrasts(cells, means)
    treated, control = _row_counts(cells, means.size)
    return GroupTimeFit(
        group=cohorts.level[cells.cohort],
        time=cohorts.periods[cells.time],
        base=cohorts.periods[cells.base],
        att=att,
        post=cells.post,
        n_treated=treated,
        n_control=control,
        reason=_reasons(cells, means.size),
        linear=StratumInfluence(
            tuple(np.split(data, start[1:-1])), start, row, len(outcome), tuple(coefficient), rounding
        ),
        cohort=cohorts.level,
        cohort_weight=means.total.sum(axis=1),
        cell_cohort=cells.cohort,
        stratum_cohort=np.repeat(np.arange(len(cohorts.level), dtype=np.intp), n_periods),
        periods=cohorts.periods,
        anticipation=anticipation,
        n_units=len(row),
        n_already_treated=cohorts.n_already_treated,
        n_late=int(np.sum(~used)),
        last_cohort=cohorts.last_cohort,
    )


def _check_rows(outcome: FloatArray, when: FloatArray, groups: FloatArray) -> None:
    if outcome.ndim != 1 or when.shape != outcome.shape or groups.shape != outcome.shape:
        raise ValueError(f"y, time, cohort have shapes {outcome.shape}, {when.shape}, {groups.shape}; expected one.")
    bad = int(np.sum(~(np.isfinite(outcome) & np.isfinite(when))))
    if bad:
        raise ValueError(f"{bad} rows have an outcome or a time that is not finite; drop them first.")
    if len(np.unique(when)) < 2:
        raise ValueError("time has fewer than two values; a difference in differences needs two.")


def _cell_means(y: FloatArray, w: FloatArray, stratum: IntArray, shape: tuple[int, int]) -> _Means:
    n = shape[0] * shape[1]
    total: FloatArray = np.bincount(stratum, weights=w, minlength=n).astype(np.float64)
    divisor = np.where(total > 0, total, 1.0)
    rough = np.bincount(stratum, weights=w * y, minlength=n) / divisor
    # A second pass on the residuals takes out the rounding of the first when the outcome has a large level.
    mean = rough + np.bincount(stratum, weights=w * (y - rough[stratum]), minlength=n) / divisor
    size = np.bincount(stratum, minlength=n).astype(np.intp)
    return _Means(mean.reshape(shape), total.reshape(shape), size.reshape(shape))


def _half(cells: Cells, means: _Means, at: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return treated less control means in the periods `at`, with the slope and constant of their influence."""
    k = np.arange(len(at))
    weight = np.where(cells.control, means.total[:, at], 0.0)
    pool = weight.sum(axis=0)
    usable = np.where(pool > 0, pool, np.nan)
    level = means.mean[:, at]
    control_mean = (weight * level).sum(axis=0) / usable
    treated_total = means.total[cells.cohort, at]
    treated_total = np.where(treated_total > 0, treated_total, np.nan)
    difference = level[cells.cohort, k] + 0.0 * treated_total - control_mean
    slope = -np.where(cells.control, 1.0 / usable, 0.0)
    constant = slope * np.where(cells.control, level - control_mean, 0.0)
    slope[cells.cohort, k] = 1.0 / treated_total
    return difference, slope, constant


def _contrasts(cells: Cells, means: _Means) -> tuple[FloatArray, FloatArray]:
    """Return the effects and the coefficients of their influence on (1, centred outcome), by cohort and period."""
    n_cohorts, n_periods = means.mean.shape
    n_cells = len(cells.time)
    k = np.arange(n_cells)
    coefficient = np.zeros((n_cohorts, n_periods, 2, n_cells))
    late, late_slope, late_constant = _half(cells, means, cells.time)
    early, early_slope, early_constant = _half(cells, means, cells.base)
    for at, sign, slope, constant in (
        (cells.time, 1.0, late_slope, late_constant),
        (cells.base, -1.0, early_slope, early_constant),
    ):
        coefficient[:, at, 0, k] += sign * constant
        coefficient[:, at, 1, k] += sign * slope
    att = late - early
    own = cells.time == cells.base
    att[own] = 0.0
    coefficient[..., own] = 0.0
    coefficient[..., np.isnan(att)] = np.nan
    return att, coefficient.reshape(n_cohorts * n_periods, 2, n_cells)


def _row_counts(cells: Cells, size: IntArray) -> tuple[IntArray, IntArray]:
    both = size[:, cells.time] + size[:, cells.base]
    own = cells.time == cells.base
    both[:, own] //= 2
    treated = both[cells.cohort, np.arange(len(cells.time))]
    return treated, (cells.control * both).sum(axis=0).astype(np.intp)


def _reasons(cells: Cells, size: IntArray) -> tuple[str, ...]:
    def lacks(at: IntArray) -> tuple[BoolArray, BoolArray]:
        return size[cells.cohort, at] == 0, (cells.control * size[:, at]).sum(axis=0) == 0

    (no_group, no_control), (no_group_base, no_control_base) = lacks(cells.time), lacks(cells.base)
    answer: list[str] = []
    for i in range(len(cells.time)):
        if cells.time[i] == cells.base[i]:
            answer.append("base period")
        elif no_group[i] or no_group_base[i]:
            answer.append("no treated rows in " + ("the period" if no_group[i] else "the base period"))
        elif no_control[i] or no_control_base[i]:
            answer.append("no control rows in " + ("the period" if no_control[i] else "the base period"))
        else:
            answer.append("")
    return tuple(answer)
