"""Hides which units each group-time effect compares, and between which two periods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.stratum_influence import FloatArray, IntArray, StratumInfluence, sort_by_stratum

BoolArray = NDArray[np.bool_]
ControlGroup = Literal["never", "not_yet"]
BasePeriod = Literal["varying", "universal"]


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Units sorted into cohorts, after the conventions on who is dropped and who counts as never treated.

    Attributes
    ----------
    level : ndarray, shape (n_cohorts,)
        First treated period of each cohort, ascending; infinite for the never treated.
    code : ndarray, shape (n_used,)
        Cohort of each used unit, as a position in `level`.
    row : ndarray, shape (n_used,)
        Position of each used unit in the caller's arrays.
    periods : ndarray, shape (n_periods,)
        Periods that are used.
    n_already_treated : int
        Units dropped because they are treated, or anticipate it, in the first period.
    last_cohort : float
        The cohort that serves as control because nobody is never treated; NaN otherwise.
    """

    level: FloatArray
    code: IntArray
    row: IntArray
    periods: FloatArray
    n_already_treated: int
    last_cohort: float

    def by_level(self) -> tuple[IntArray, IntArray]:
        """Return where each cohort begins among units sorted by cohort, and those units' places for the caller."""
        order, start = sort_by_stratum(self.code, len(self.level))
        return start, self.row[order]


@dataclass(frozen=True, slots=True)
class Cells:
    """The comparisons: one for each cohort and period.

    Attributes
    ----------
    cohort, time, base : ndarray of int, shape (cells,)
        Positions in the cohort levels and in the periods.
    control : ndarray of bool, shape (n_cohorts, cells)
        Which cohorts are the control group.
    post : ndarray of bool, shape (cells,)
        Whether the period is the cohort's first treated one or later.
    """

    cohort: IntArray
    time: IntArray
    base: IntArray
    control: BoolArray
    post: BoolArray


@dataclass(frozen=True, slots=True)
class GroupTimeFit:
    """Group-time average treatment effects on the treated and their influence functions.

    Attributes
    ----------
    group, time, base : ndarray, shape (cells,)
        Cohort (first treated period), period, and the earlier (or base) period compared with.
    att : ndarray, shape (cells,)
        Estimate; NaN where undefined, 0 in the base period itself.
    post : ndarray of bool, shape (cells,)
        `time >= group`; anticipation does not move it.
    n_treated, n_control : ndarray of int, shape (cells,)
        Units (rows in repeated cross-sections, both periods together) compared.
    reason : tuple of str
        Empty, or why the cell has no estimate or no standard error.
    linear : StratumInfluence
        Influence of every unit on every cell.
    cohort, cohort_weight : ndarray, shape (n_cohorts,)
        Cohort levels (infinite for the never treated) and their total weight.
    cell_cohort : ndarray of int, shape (cells,)
        Position of each cell's cohort in `cohort`.
    stratum_cohort : ndarray of int, shape (n_strata,)
        Position in `cohort` of each stratum of `linear`.
    periods : ndarray
        Periods used.
    anticipation : float
    n_units : int
        Units (rows) used.
    n_already_treated : int
        Units (rows) dropped: treated, or anticipating treatment, in the first period.
    n_late : int
        Units (rows) dropped because their period lies after the last cohort's start.
    last_cohort : float
        Cohort that is control because nobody is never treated; NaN otherwise.
    """

    group: FloatArray
    time: FloatArray
    base: FloatArray
    att: FloatArray
    post: BoolArray
    n_treated: IntArray
    n_control: IntArray
    reason: tuple[str, ...]
    linear: StratumInfluence
    cohort: FloatArray
    cohort_weight: FloatArray
    cell_cohort: IntArray
    stratum_cohort: IntArray
    periods: FloatArray
    anticipation: float
    n_units: int
    n_already_treated: int
    n_late: int
    last_cohort: float

    @property
    def influence(self) -> FloatArray:
        """Influence, shape (units, cells): the variance is the sum of its squares. Computed at each access."""
        return self.linear.matrix()

    def covariance(self, cluster: ArrayLike | None = None) -> FloatArray:
        """Return the joint covariance of the cells, without a small-sample factor."""
        return self.linear.covariance(cluster)

    def std_errors(self, cluster: ArrayLike | None = None) -> FloatArray:
        """Return standard errors; NaN for undefined cells, base periods and cells without variation."""
        return self.linear.std_errors(cluster)


def check_options(control_group: str, base_period: str, anticipation: float) -> None:
    """Raise ValueError when an option is not one of those known."""
    if control_group not in ("never", "not_yet"):
        raise ValueError(f"control_group must be 'never' or 'not_yet'; it is {control_group!r}.")
    if base_period not in ("varying", "universal"):
        raise ValueError(f"base_period must be 'varying' or 'universal'; it is {base_period!r}.")
    if not (np.isfinite(anticipation) and anticipation >= 0):
        raise ValueError(f"anticipation must be a number of time units, zero or more; it is {anticipation}.")


def check_weights(weights: ArrayLike | None, n: int) -> FloatArray:
    """Return the weights as an array (ones when there are none), or raise ValueError."""
    if weights is None:
        return np.ones(n)
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (n,):
        raise ValueError(f"weights has shape {array.shape}; expected one weight for each of {n} units.")
    bad = int(np.sum(~(np.isfinite(array) & (array > 0))))
    if bad:
        raise ValueError(f"{bad} weights are not positive and finite; drop those units or give them a weight.")
    return array


def last_cohort_as_control(
    cohort: ArrayLike, periods: ArrayLike, *, anticipation: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Recode the last cohort as never treated, and keep the periods in which that is true.

    Parameters
    ----------
    cohort : array_like, shape (n,)
        First treated period of each unit.
    periods : array_like
        Time values.
    anticipation : float
        Time units before treatment in which it may already act.

    Returns
    -------
    cohort : ndarray, shape (n,)
        With infinity for the last cohort.
    periods : ndarray
        Those before the last cohort's start less the anticipation.

    Examples
    --------
    >>> cohort, periods = last_cohort_as_control([2.0, 4.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    >>> cohort.tolist(), periods.tolist()
    ([2.0, inf, inf], [1.0, 2.0, 3.0])
    """
    values, times = np.asarray(cohort, float), np.asarray(periods, float)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("Every unit is never treated, so there is no last cohort to serve as control.")
    last = float(finite.max())
    return np.where(values == last, np.inf, values), times[times < last - anticipation]


def sort_cohorts(cohort: ArrayLike, periods: FloatArray, control_group: str, anticipation: float) -> Cohorts:
    """Apply the conventions on cohorts and return the units that are used.

    A cohort first treated after the last period plus the anticipation is never treated in these data. Without
    never-treated units, "not_yet" makes the last cohort a control and drops the periods from its start (less the
    anticipation) on; "never" is refused. Units treated, or anticipating it, in the first period are dropped.

    Raises
    ------
    ValueError
        No never-treated units for `"never"`; no cohort left; no earlier period; a cohort that is NaN.
    """
    values = np.array(cohort, dtype=np.float64)
    missing = int(np.sum(np.isnan(values)))
    if missing:
        raise ValueError(f"cohort is missing for {missing} units; use infinity for the never treated.")
    values[values > periods[-1] + anticipation] = np.inf
    last = np.nan
    if not np.isinf(values).any():
        if control_group == "never":
            raise ValueError(
                "No unit is never treated, so control_group='never' has no control group; "
                "use 'not_yet', or recode the last cohort with last_cohort_as_control."
            )
        last = float(values.max())
        values, periods = last_cohort_as_control(values, periods, anticipation=anticipation)
    if len(periods) < 2:
        raise ValueError(f"{len(periods)} usable periods; at least two are needed before the control group is treated.")
    keep = values > periods[0] + anticipation
    used = values[keep]
    # Few cohorts: looking each up is cheaper than sorting the units.
    level = np.unique(used)
    code = np.searchsorted(level, used)
    if not np.isfinite(level).any():
        raise ValueError(
            f"No cohort is first treated after the first period plus anticipation: {int(np.sum(~keep))} units or rows "
            "are treated, or anticipate it, from the start. Use a longer panel, or less anticipation."
        )
    return Cohorts(level, code, np.flatnonzero(keep), periods, int(np.sum(~keep)), last)


def list_cells(cohorts: Cohorts, control_group: str, base_period: str, anticipation: float) -> Cells:
    """Return every comparison, by cohort and then period.

    From the first treated period on, the base is the last period before treatment less the anticipation. Before it,
    a varying base is the previous period and a universal base the same as after it. A not-yet-treated control is a
    different cohort whose treatment starts later than the later of the two periods, plus the anticipation.
    """
    level, periods = cohorts.level, cohorts.periods
    treated = np.flatnonzero(np.isfinite(level)).astype(np.intp)
    first = 1 if base_period == "varying" else 0
    times = np.arange(first, len(periods), dtype=np.intp)
    cohort = np.repeat(treated, len(times))
    time = np.tile(times, len(treated))
    before = np.sum(periods[None, :] + anticipation < level[cohort][:, None], axis=1).astype(np.intp) - 1
    post = periods[time] >= level[cohort]
    base = before if base_period == "universal" else np.where(post, before, time - 1)
    if control_group == "never":
        control = np.repeat(np.isinf(level)[:, None], len(cohort), axis=1)
    else:
        later = np.maximum(periods[time], periods[base]) + anticipation
        control = (level[:, None] > later[None, :]) & (np.arange(len(level))[:, None] != cohort[None, :])
    return Cells(cohort, time, base, control, post)
