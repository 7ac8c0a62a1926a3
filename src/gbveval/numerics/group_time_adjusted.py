"""Hides how group-time effects adjusted for covariates are made of two-period comparisons that share their first steps.

A propensity depends on the cohort, its comparison group and the period whose covariates are used, and not on the later
period; so do the cross-products of an outcome regression. Cells that have these three in common are estimated together,
one column of changes each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.doubly_robust import adjusted_change, adjusted_cross_sections
from gbveval.numerics.group_time import check_panel, panel_fit
from gbveval.numerics.group_time_cells import (
    BasePeriod,
    Cells,
    Cohorts,
    ControlGroup,
    GroupTimeFit,
    check_options,
    check_weights,
    list_cells,
    sort_cohorts,
)
from gbveval.numerics.group_time_rcs import group_time_cross_section
from gbveval.numerics.least_squares import make_basis
from gbveval.numerics.stratum_influence import FloatArray, IntArray, StratumInfluence, rounding_of

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class AdjustedFit:
    """Group-time effects adjusted for covariates.

    Attributes
    ----------
    fit : GroupTimeFit
    n_trimmed : int
        Comparison units that had no weight in some cell because their propensity is all but one.
    n_reduced : int
        Cells in which a covariate does not vary, or is collinear, and was left out.
    """

    fit: GroupTimeFit
    n_trimmed: int
    n_reduced: int


def group_time_adjusted(  # noqa: PLR0913  (one argument a choice)
    Y: ArrayLike,
    cohort: ArrayLike,
    covariates: FloatArray,
    *,
    periods: ArrayLike,
    control_group: ControlGroup = "never",
    base_period: BasePeriod = "varying",
    anticipation: float = 0.0,
    weights: ArrayLike | None = None,
    method: str = "dr",
) -> AdjustedFit:
    """Estimate group-time effects from a balanced panel when parallel changes hold given covariates.

    Parameters
    ----------
    Y, cohort, periods, control_group, base_period, anticipation, weights
        As in `group_time_panel`.
    covariates : ndarray, shape (n_units, k) or (n_units, n_periods, k)
        Without an intercept. Where they vary over time, the values of the earlier of a cell's two periods are used.
    method : str
        As in `adjusted_change`.

    Notes
    -----
    Influence functions are stored by unit, for the cells in which a unit is compared; every first step is in them.

    References
    ----------
    Callaway and Sant'Anna (2021), Journal of Econometrics 225(2), 200-230. Sant'Anna and Zhao (2020), Journal of
    Econometrics 219(1), 101-122.
    """
    check_options(control_group, base_period, anticipation)
    outcome, times, groups = check_panel(Y, periods, cohort)
    weight = check_weights(weights, outcome.shape[0])
    cohorts = sort_cohorts(groups, times, control_group, anticipation)
    cells = list_cells(cohorts, control_group, base_period, anticipation)
    start, row = cohorts.by_level()
    # Sorted by cohort, a comparison is a few slices.
    y, w, z = np.take(outcome, row, axis=0), weight[row], covariates[row]
    found = _estimated(y, w, z, cells, start, method)
    linear = StratumInfluence(found.data, start, row, outcome.shape[0], _selection(cells, found), rounding_of(y))
    total = np.add.reduceat(w, start[:-1])
    fit = panel_fit(cohorts, cells, found.att, linear, anticipation=anticipation, total=total)
    reason = tuple(own or said for own, said in zip(found.reasons, fit.reason, strict=True))
    return AdjustedFit(replace(fit, reason=reason), found.n_trimmed, found.n_reduced)


@dataclass(eq=False, slots=True)
class _Estimated:
    """Effects of all cells, and the influence of each cohort's units on the cells in which they are compared.

    Attributes
    ----------
    att : ndarray, shape (cells,)
    reasons : list of str
    places : tuple of ndarray of int
        For each cohort, its cells.
    data : tuple of ndarray, shapes (n_s, 1 + cells of the cohort)
        Weight, and influence.
    n_trimmed, n_reduced : int
    """

    att: FloatArray
    reasons: list[str]
    places: tuple[IntArray, ...]
    data: tuple[FloatArray, ...]
    n_trimmed: int = 0
    n_reduced: int = 0


def _estimated(y: FloatArray, w: FloatArray, z: FloatArray, cells: Cells, start: IntArray, method: str) -> _Estimated:
    own = cells.time == cells.base
    compared = ~own & cells.control.any(axis=0)
    places, data = [], []
    for s, (first, last) in enumerate(pairwise(start)):
        places.append(np.flatnonzero(compared & ((cells.cohort == s) | cells.control[s])))
        block = np.empty((last - first, 1 + places[-1].size))
        block[:, 0] = w[first:last]
        data.append(block)
    found = _Estimated(np.where(own, 0.0, np.nan), [""] * own.size, tuple(places), tuple(data))
    for batch in _batches(cells, start, z.ndim == 3):
        _estimate_batch(found, batch, y, w, z, cells, method)
    return found


def _estimate_batch(
    found: _Estimated, now: _Batch, y: FloatArray, w: FloatArray, z: FloatArray, cells: Cells, method: str
) -> None:
    """Estimate the cells of one batch."""
    mass = _stack(w, now.blocks)
    x, lost = _basis(_stack(z if z.ndim == 2 else z[:, now.period], now.blocks), mass)
    # A change is a product with 1 and -1, which rounds once, as a difference does.
    contrast = np.zeros((y.shape[1], now.cells.size))
    columns = np.arange(now.cells.size)
    contrast[cells.time[now.cells], columns] = 1.0
    contrast[cells.base[now.cells], columns] = -1.0
    answer = adjusted_change(_stack(y, now.blocks) @ contrast, now.treated, x, mass, method=method)
    found.att[now.cells] = answer.att
    done = 0
    for s, part in zip(now.strata, now.blocks, strict=True):
        size = part.stop - part.start
        found.data[s][:, 1 + np.searchsorted(found.places[s], now.cells)] = answer.influence[done : done + size]
        done += size
    found.n_trimmed += answer.n_trimmed
    found.n_reduced += lost * now.cells.size
    for cell in now.cells if answer.reason else ():
        found.reasons[cell] = answer.reason


def _selection(cells: Cells, found: _Estimated) -> tuple[FloatArray, ...]:
    """Return, for each cohort, which column of its data is the influence on which cell; NaN where undefined."""
    undefined = np.isnan(found.att)
    answer = []
    for data, places in zip(found.data, found.places, strict=True):
        matrix = np.zeros((1 + places.size, cells.time.size))
        matrix[1 + np.arange(places.size), places] = 1.0
        matrix[:, undefined] = np.nan
        data[:, 1:][:, undefined[places]] = 0.0
        answer.append(matrix)
    return tuple(answer)


@dataclass(frozen=True, eq=False, slots=True)
class _Batch:
    """Cells that compare the same units, and where those stand among units sorted by cohort."""

    strata: IntArray
    blocks: tuple[slice, ...]
    cells: IntArray
    treated: BoolArray
    period: int


def _batches(cells: Cells, start: IntArray, by_period: bool) -> Iterator[_Batch]:
    """Yield the cells that share cohort, comparison group and period of the covariates."""
    keys: dict[tuple[int, bytes, int], list[int]] = {}
    for cell in range(cells.time.size):
        if cells.time[cell] == cells.base[cell] or not cells.control[:, cell].any():
            continue
        earlier = int(min(cells.time[cell], cells.base[cell])) if by_period else 0
        key = (int(cells.cohort[cell]), cells.control[:, cell].tobytes(), earlier)
        keys.setdefault(key, []).append(cell)
    for (cohort, _, period), shared in keys.items():
        chosen = cells.control[:, shared[0]].copy()
        chosen[cohort] = True
        strata = np.flatnonzero(chosen)
        blocks = tuple(slice(int(start[s]), int(start[s + 1])) for s in strata)
        treated = np.repeat(strata == cohort, [part.stop - part.start for part in blocks])
        yield _Batch(strata, blocks, np.array(shared, dtype=np.intp), treated, period)


def _stack(values: FloatArray, blocks: tuple[slice, ...]) -> FloatArray:
    """Return the rows of several slices."""
    return np.concatenate([values[part] for part in blocks])


def _basis(covariates: FloatArray, weight: FloatArray) -> tuple[FloatArray, int]:
    """Return an intercept and the independent covariates, centred and scaled, and whether some were left out."""
    basis = make_basis(covariates, weights=weight)
    return basis.rows(covariates, slice(None)), int(basis.dropped.size > 0)


def _stored(data: FloatArray, like: StratumInfluence) -> StratumInfluence:
    """Return influence that is stored by row and cell, behind the weights that estimated shares need."""
    n_cells = data.shape[1] - 1
    undefined = np.isnan(data.sum(axis=0)[1:])
    if undefined.any():
        data[:, 1:][:, undefined] = 0.0
    one = np.vstack([np.zeros((1, n_cells)), np.eye(n_cells)])
    one[:, undefined] = np.nan
    return replace(like, data=tuple(np.split(data, like.start[1:-1])), coefficient=(one,) * len(like.data))


def group_time_adjusted_cross_section(  # noqa: PLR0913  (one argument a choice)
    y: ArrayLike,
    time: ArrayLike,
    cohort: ArrayLike,
    covariates: FloatArray,
    *,
    control_group: ControlGroup = "never",
    base_period: BasePeriod = "varying",
    anticipation: float = 0.0,
    weights: ArrayLike | None = None,
    method: str = "dr",
) -> AdjustedFit:
    """Estimate group-time effects from repeated cross-sections when parallel changes hold given covariates.

    Parameters
    ----------
    y, time, cohort, control_group, base_period, anticipation, weights
        As in `group_time_cross_section`.
    covariates : ndarray, shape (n_rows, k)
        Without an intercept.
    method : str
        As in `adjusted_cross_sections`; the doubly robust one is locally efficient.
    """
    outcome, when = np.asarray(y, dtype=np.float64), np.asarray(time, dtype=np.float64)
    plain = group_time_cross_section(
        outcome,
        when,
        cohort,
        control_group=control_group,
        base_period=base_period,
        anticipation=anticipation,
        weights=weights,
    )
    weight = check_weights(weights, outcome.size)
    cohorts = sort_cohorts(cohort, np.unique(when), control_group, anticipation)
    cells = list_cells(cohorts, control_group, base_period, anticipation)
    start, row = plain.linear.start, plain.linear.row
    data = np.zeros((row.size, 1 + cells.time.size))
    data[:, 0] = weight[row]
    att, reasons = plain.att.copy(), list(plain.reason)
    trimmed = reduced = 0
    for cell in range(cells.time.size):
        if reasons[cell]:
            data[:, 1 + cell] = 0.0 if cells.time[cell] == cells.base[cell] else np.nan
            continue
        members, treated, after = _rows_of(cells, cell, start, cohorts)
        here = row[members]
        x, lost = _basis(covariates[here], weight[here])
        found = adjusted_cross_sections(outcome[here], treated, after, x, weight[here], method=method)
        att[cell], data[members, 1 + cell] = found.att[0], found.influence[:, 0]
        trimmed, reduced = trimmed + found.n_trimmed, reduced + lost
        reasons[cell] = found.reason
    linear = _stored(data, plain.linear)
    return AdjustedFit(replace(plain, att=att, reason=tuple(reasons), linear=linear), trimmed, reduced)


def _rows_of(cells: Cells, cell: int, start: IntArray, cohorts: Cohorts) -> tuple[IntArray, BoolArray, BoolArray]:
    """Return the rows that a cell compares (strata are cohorts by periods), and which are treated, and later."""
    n_periods = len(cohorts.periods)
    parts, treated, after = [], [], []
    for g in (int(cells.cohort[cell]), *np.flatnonzero(cells.control[:, cell])):
        for period, late in ((int(cells.base[cell]), False), (int(cells.time[cell]), True)):
            stratum = int(g) * n_periods + period
            block = np.arange(start[stratum], start[stratum + 1])
            parts.append(block)
            treated.append(np.full(block.size, g == cells.cohort[cell]))
            after.append(np.full(block.size, late))
    return np.concatenate(parts), np.concatenate(treated), np.concatenate(after)
