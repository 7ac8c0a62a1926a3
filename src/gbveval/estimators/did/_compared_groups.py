"""A rollout's rows as cells of cohort and period, and the groups of cells that each comparison is between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._anticipation import refuse_idle_anticipation
from gbveval.estimators.did._rollout import (
    Rows,
    observed_rows,
    refuse_effects,
    refuse_switching,
    require_clusters,
    require_treated_clusters,
)
from gbveval.estimators.did._spatial import refuse_place
from gbveval.numerics.group_moments import GroupMoments, group_moments
from gbveval.numerics.group_time_cells import Cells, Cohorts, ControlGroup, list_cells, sort_cohorts
from gbveval.numerics.trend_scales import Comparisons

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
CONTROLS: dict[str, ControlGroup] = {"never_treated": "never", "not_yet_treated": "not_yet"}
UNBALANCED = ("error", "drop", "as_cross_sections")


@dataclass(frozen=True, eq=False, slots=True)
class ComparedGroups:
    """Rows, their cells, and what is compared.

    Attributes
    ----------
    rows : Rows
    cell : ndarray of int, shape (n,)
        Cohort and period of each row: position of the cohort times periods plus position of the period.
    member : ndarray of bool, shape (groups, cells)
    compared : Comparisons
    cohort, time, base : ndarray, shape (comparisons,)
        First treated period, period, and the earlier one compared with.
    levels : ndarray
        Cohorts, infinite for the never treated.
    n_incomplete, n_already, n_late, n_lone : int
        Units without an outcome in some period and rows of cohorts treated from the first period on, or of periods in
        which all are treated, left out; comparisons without a comparison group.
    """

    rows: Rows
    cell: IntArray
    member: BoolArray
    compared: Comparisons
    cohort: FloatArray
    time: FloatArray
    base: FloatArray
    levels: FloatArray
    n_incomplete: int
    n_already: int
    n_late: int
    n_lone: int

    def moments(self, values: FloatArray) -> GroupMoments:
        """Return the means of the groups, with what influence needs."""
        clusters = self.rows.clusters[0]
        return group_moments(values, self.cell, self.member, clusters.codes, clusters.count, weight=self.rows.weight)

    def words(self) -> tuple[str, ...]:
        """Say what was left out."""
        said = []
        if self.rows.n_missing:
            said.append(f"{plural(self.rows.n_missing, 'row')} without an outcome left out")
        if self.rows.n_weightless:
            said.append(f"{plural(self.rows.n_weightless, 'row')} of weight zero left out")
        if self.n_incomplete:
            said.append(f"{plural(self.n_incomplete, 'unit')} without an outcome in some period left out")
        if self.n_already:
            said.append(
                f"{plural(self.n_already, 'row')} of cohorts treated, or anticipating it, from the start left out"
            )
        if self.n_late:
            said.append(f"{plural(self.n_late, 'row')} of periods in which everybody is treated left out")
        if self.n_lone:
            said.append(f"{plural(self.n_lone, 'comparison')} of cohort and period without a comparison group left out")
        return tuple(said)


def compared_groups(name: str, panel: Panel, *, control: str, anticipation: float, unbalanced: str) -> ComparedGroups:
    """Return the groups of a rollout that are compared; raise where it has roles that are not used here.

    Parameters
    ----------
    name : str
        Of the function, for messages.
    panel : Panel
    control : str
        "never_treated" or "not_yet_treated".
    anticipation : float
    unbalanced : str
        "error", "drop" or "as_cross_sections".
    """
    _check(name, panel, control, anticipation, unbalanced)
    rows, n_incomplete = _complete_rows(panel, unbalanced)
    require_clusters(rows)
    try:
        cohorts = sort_cohorts(rows.cohort, panel.periods, CONTROLS[control], anticipation)
    except ValueError as error:
        raise IdentificationError(str(error)) from error
    rows = rows.take(np.isin(np.arange(rows.n), cohorts.row))
    early = rows.period <= cohorts.periods[-1]
    # A cohort beyond the panel serves as never treated.
    rows = rows.take(early).with_cohort(cohorts.level[cohorts.code[early]])
    require_treated_clusters(rows)
    cell = cohorts.code[early] * cohorts.periods.size + np.searchsorted(cohorts.periods, rows.period)
    listed = list_cells(cohorts, CONTROLS[control], "varying", anticipation)
    kept, member, compared = _groups(cohorts, listed, cell, anticipation)
    return ComparedGroups(
        rows=rows,
        cell=np.asarray(cell, dtype=np.intp),
        member=member,
        compared=compared,
        cohort=cohorts.level[listed.cohort[kept]],
        time=cohorts.periods[listed.time[kept]],
        base=cohorts.periods[listed.base[kept]],
        levels=cohorts.level,
        n_incomplete=n_incomplete,
        n_already=cohorts.n_already_treated,
        n_late=int((~early).sum()),
        n_lone=listed.cohort.size - kept.size,
    )


def _complete_rows(panel: Panel, unbalanced: str) -> tuple[Rows, int]:
    """Return the rows with an outcome, of complete units where that is asked for, and how many units are not."""
    rows = observed_rows(panel)
    if panel.unit is None or panel.is_balanced or unbalanced == "as_cross_sections":
        return rows, 0
    complete = panel.complete_units
    n_incomplete = int((~complete).sum())
    if unbalanced == "error":
        raise DesignError(
            f"{n_incomplete:,} of {panel.n_units:,} units have no outcome in some period. Say unbalanced='drop' to "
            "leave them out (they are then counted), or unbalanced='as_cross_sections' to keep every row."
        )
    if not complete.any():
        raise IdentificationError(
            "No unit has an outcome in every period. Say unbalanced='as_cross_sections', or leave out periods that are "
            "rarely observed."
        )
    return rows.take(complete[rows.unit.codes]), n_incomplete


def _groups(
    cohorts: Cohorts, listed: Cells, cell: IntArray, anticipation: float
) -> tuple[IntArray, BoolArray, Comparisons]:
    """Return the comparisons that have rows on all four sides, the groups, and their places."""
    n_periods, n = cohorts.periods.size, listed.cohort.size
    seen = np.bincount(cell, minlength=cohorts.level.size * n_periods) > 0
    now, base = listed.cohort * n_periods + listed.time, listed.cohort * n_periods + listed.base
    whole = (listed.base >= 0) & seen[now] & seen[base]
    pools = np.zeros((2, n, seen.size), dtype=bool)
    for pool, period in zip(pools, (listed.time, listed.base), strict=True):
        for h in range(cohorts.level.size):
            pool[np.arange(n), h * n_periods + period] = listed.control[h]
        whole &= (pool & seen).any(axis=1)
    kept = np.flatnonzero(whole)
    if not listed.post[kept].any():
        raise IdentificationError(
            "No cohort is observed before and after its treatment began beside rows that are not treated. Use a longer "
            "panel, or control='not_yet_treated'."
        )
    own = np.unique(np.concatenate([now[kept], base[kept]]))
    member = np.zeros((own.size, seen.size), dtype=bool)
    member[np.arange(own.size), own] = True
    time, cohort = cohorts.periods[listed.time[kept]], cohorts.level[listed.cohort[kept]]
    compared = Comparisons(
        own_now=np.searchsorted(own, now[kept]),
        own_base=np.searchsorted(own, base[kept]),
        pool_now=own.size + np.arange(kept.size),
        pool_base=own.size + kept.size + np.arange(kept.size),
        cell=now[kept],
        post=listed.post[kept],
        before=np.asarray(time + anticipation < cohort),
    )
    return kept, np.concatenate([member, *pools[:, kept]]), compared


def _check(name: str, panel: Panel, control: str, anticipation: float, unbalanced: str) -> None:
    refuse_switching(name, panel)
    refuse_effects(name, panel)
    refuse_place(name, panel, "Leave place out, and name as cluster the regions within which places are alike.")
    for option, value, known in (("control", control, tuple(CONTROLS)), ("unbalanced", unbalanced, UNBALANCED)):
        if value not in known:
            raise DesignError(f"{option} must be one of {', '.join(known)}, not {value!r}.")
    if not 0 <= anticipation < np.inf:
        raise DesignError("anticipation is a length of time, zero or more.")
    refuse_idle_anticipation(panel, anticipation)
    if panel.covariate_names:
        raise DesignError(
            f"{name} takes no covariates. Leave them out, or put ExtendedTwfe of several families into compare."
        )
    if panel.second_cluster is not None:
        raise DesignError(f"{name} clusters in one way. Give the coarser of the two cluster columns.")
