"""Group-time effects and their averages without each cluster in turn, for errors that few clusters do not make small.

With theta the estimate from all G clusters and theta_(-g) that without cluster g,

    V = (G - 1) / G  sum over g of (theta_(-g) - theta)(theta_(-g) - theta)',

referred to t with G - 1 degrees of freedom. In regressions, and so in contrasts of means, it is not too small in
expectation, whatever dependence there is within clusters (Hansen 2022, Jackknife standard errors for clustered
regression; MacKinnon, Nielsen and Webb 2023, Journal of Applied Econometrics 38, for the cluster jackknife), where sums
of squared influence treat estimated means as known.

Without covariates an effect is a contrast of means by cohort and period, so that the sums of every cluster, taken from
the totals, give all effects without it in one pass over the units. A cell whose cohort or comparison has no unit left
is undefined without that cluster, and then has no jackknife error. Averages estimate the shares of cohorts again: a
cohort that is gone has none, and an average over others stays defined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.group_time_aggregate import AggregationKind, aggregate_group_time
from gbveval.numerics.group_time_cells import (
    BasePeriod,
    Cells,
    ControlGroup,
    GroupTimeFit,
    check_weights,
    list_cells,
    sort_cohorts,
)
from gbveval.numerics.groups import compact, group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class LeftOut:
    """Group-time effects without each cluster.

    Attributes
    ----------
    att : ndarray, shape (clusters, cells)
        NaN where a cell is undefined without the cluster.
    cohort_weight : ndarray, shape (clusters, cohorts)
        Total weight of each cohort that is left.
    """

    att: FloatArray
    cohort_weight: FloatArray

    @property
    def count(self) -> int:
        """Clusters."""
        return int(self.att.shape[0])


def leave_out_panel(
    Y: ArrayLike,
    cohort: ArrayLike,
    cluster: IntArray,
    *,
    periods: ArrayLike,
    control_group: ControlGroup = "never",
    base_period: BasePeriod = "varying",
    anticipation: float = 0.0,
    weights: ArrayLike | None = None,
) -> LeftOut:
    """Return the effects of `group_time_panel` without each cluster.

    Parameters
    ----------
    Y, cohort, periods, control_group, base_period, anticipation, weights
        As given to `group_time_panel`, which has checked them.
    cluster : ndarray of int, shape (n_units,)

    Examples
    --------
    >>> Y = [[1, 2, 5], [1, 3, 6], [0, 1, 2], [0, 1, 3]]
    >>> left = leave_out_panel(Y, [3, 3, np.inf, np.inf], np.array([0, 1, 2, 3]), periods=[1, 2, 3])
    >>> left.att[:, 1].tolist()
    [1.5, 1.5, 1.0, 2.0]
    """
    outcome, times = np.asarray(Y, dtype=np.float64), np.asarray(periods, dtype=np.float64)
    cohorts = sort_cohorts(cohort, times, control_group, anticipation)
    cells = list_cells(cohorts, control_group, base_period, anticipation)
    path = outcome[cohorts.row, : cohorts.periods.size]
    # Effects are contrasts over time, so a unit's level may go.
    path = path - path[:, :1]
    w = check_weights(weights, len(outcome))[cohorts.row]
    there, code = compact(cluster[cohorts.row], int(cluster.max()) + 1)
    n_cohorts = cohorts.level.size
    place, size = code * n_cohorts + cohorts.code, there.size * n_cohorts
    sums = np.stack([group_sums(place, w * column, size) for column in path.T], axis=1)
    sums = sums.reshape(there.size, n_cohorts, -1)
    mass = group_sums(place, w, size).reshape(there.size, n_cohorts)
    units = np.bincount(place, minlength=size).reshape(there.size, n_cohorts)
    total, whole, everybody = sums.sum(axis=0), mass.sum(axis=0), units.sum(axis=0)
    att = np.empty((there.size, cells.time.size))
    left = np.empty((there.size, n_cohorts))
    for g in range(there.size):
        # Differences of sums are zero up to rounding only; units are counted exactly.
        left[g] = np.where(everybody > units[g], whole - mass[g], 0.0)
        safe = np.where(left[g] > 0, left[g], np.nan)
        att[g] = _contrasts(cells, (total - sums[g]) / safe[:, None], left[g])
    return LeftOut(att, left)


def _contrasts(cells: Cells, mean: FloatArray, weight: FloatArray) -> FloatArray:
    """Return effects from means by cohort and period; NaN where a side has no unit."""
    change = mean[:, cells.time] - mean[:, cells.base]
    pool = cells.control * weight[:, None]
    mass = pool.sum(axis=0)
    compared = (pool * np.where(np.isnan(change), 0.0, change)).sum(axis=0) / np.where(mass > 0, mass, np.nan)
    att = change[cells.cohort, np.arange(cells.time.size)] - compared
    # In the base period itself the effect is zero by definition.
    return np.where(cells.time == cells.base, 0.0, att)


def leave_out_by_refit(
    fit: GroupTimeFit, cluster: IntArray, refit: Callable[[BoolArray], GroupTimeFit | None]
) -> LeftOut:
    """Return the effects without each cluster from fits to the others.

    Parameters
    ----------
    fit : GroupTimeFit
        To all units (or rows).
    cluster : ndarray of int, shape (n,)
    refit : callable
        From the units to keep to their fit; None where there is none.
    """
    used = np.unique(cluster[fit.linear.row])
    cells = {(g, t): i for i, (g, t) in enumerate(zip(fit.group.tolist(), fit.time.tolist(), strict=True))}
    cohorts = {g: i for i, g in enumerate(fit.cohort.tolist())}
    att = np.full((used.size, fit.att.size), np.nan)
    weight = np.zeros((used.size, fit.cohort.size))
    for place, label in enumerate(used):
        again = refit(np.asarray(cluster != label))
        if again is None:
            continue
        for g, t, value in zip(again.group.tolist(), again.time.tolist(), again.att.tolist(), strict=True):
            if (g, t) in cells:
                att[place, cells[g, t]] = value
        for g, mass in zip(again.cohort.tolist(), again.cohort_weight.tolist(), strict=True):
            if g in cohorts:
                weight[place, cohorts[g]] = mass
    return LeftOut(att, weight)


def leave_out_averages(fit: GroupTimeFit, left: LeftOut, kind: AggregationKind, **options: Any) -> FloatArray:
    """Return averages without each cluster, the overall one last; NaN where a cell with a share is undefined.

    Parameters
    ----------
    fit : GroupTimeFit
    left : LeftOut
    kind : str
    **options
        As given to `aggregate_group_time` for all units.

    Returns
    -------
    ndarray, shape (clusters, averages + 1)
    """
    kept = np.flatnonzero(np.isfinite(fit.att))
    some = replace(
        fit,
        group=fit.group[kept],
        time=fit.time[kept],
        base=fit.base[kept],
        att=fit.att[kept],
        post=fit.post[kept],
        n_treated=fit.n_treated[kept],
        n_control=fit.n_control[kept],
        reason=tuple(fit.reason[i] for i in kept),
        linear=fit.linear.take(kept),
        cell_cohort=fit.cell_cohort[kept],
    )
    found = []
    for att, weight in zip(left.att[:, kept], left.cohort_weight, strict=True):
        # Cells that all units define must not drop out of an average in silence.
        again = aggregate_group_time(
            replace(some, att=att, cohort_weight=weight), kind, drop_undefined=False, **options
        )
        found.append(np.append(again.value, again.overall))
    return np.array(found)


def jackknife_influence(left: FloatArray, value: FloatArray) -> FloatArray:
    """Return the rows whose cross-product is the jackknife covariance, shape (clusters, terms).

    Parameters
    ----------
    left : ndarray, shape (clusters, terms)
        Estimates without each cluster.
    value : ndarray, shape (terms,)

    Examples
    --------
    >>> rows = jackknife_influence(np.array([[1.0], [3.0], [2.0]]), np.array([2.0]))
    >>> round((rows.T @ rows).item(), 6)
    1.333333
    """
    count = left.shape[0]
    return np.asarray(np.sqrt((count - 1.0) / count) * (left - value))
