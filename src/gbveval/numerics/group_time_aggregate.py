"""Hides how group-time effects are averaged, and what estimating the cohort shares adds to the influence functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gbveval.numerics.group_time_cells import BoolArray, GroupTimeFit
from gbveval.numerics.inference import f_upper
from gbveval.numerics.stratum_influence import FloatArray, IntArray, StratumInfluence

AggregationKind = Literal["simple", "event_time", "cohort", "calendar"]

NO_CELLS = "no defined post-treatment cell"
UNDEFINED = "an undefined cell is among those averaged"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Averages of group-time effects: one value a term, and their overall average.

    Attributes
    ----------
    kind : str
    term : ndarray, shape (terms,)
        Event time, cohort or calendar period; empty for "simple".
    value : ndarray, shape (terms,)
    n_cells : ndarray of int, shape (terms,)
        Group-time cells averaged.
    overall : float
        NaN, with a reason, when nothing can be averaged.
    linear : StratumInfluence
        Influence of every unit on the terms and, last, on the overall average.
    reason : tuple of str, length terms + 1
        Empty, or why the value is undefined.
    """

    kind: AggregationKind
    term: FloatArray
    value: FloatArray
    n_cells: IntArray
    overall: float
    linear: StratumInfluence
    reason: tuple[str, ...]

    @property
    def influence(self) -> FloatArray:
        """Influence, shape (units, terms + 1), the overall average last; computed at each access."""
        return self.linear.matrix()

    def covariance(self, cluster: ArrayLike | None = None) -> FloatArray:
        """Return the joint covariance of the terms and, last, the overall average; no small-sample factor."""
        return self.linear.covariance(cluster)

    def std_errors(self, cluster: ArrayLike | None = None) -> FloatArray:
        """Return standard errors of the terms and, last, the overall average; NaN where there is no variation."""
        return self.linear.std_errors(cluster)


@dataclass(frozen=True, slots=True)
class PreTest:
    """Wald test that all pre-period effects are zero.

    Attributes
    ----------
    statistic, p_value : float
        Chi-square statistic and p-value; NaN with a reason where the test is undefined.
    df : int
        Cells tested.
    reason : str
    """

    statistic: float
    df: int
    p_value: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Averages:
    value: FloatArray
    linear: StratumInfluence


def aggregate_group_time(
    fit: GroupTimeFit,
    kind: AggregationKind,
    *,
    balance_e: float | None = None,
    min_e: float = -np.inf,
    max_e: float = np.inf,
    drop_undefined: bool = True,
) -> Aggregation:
    """Average group-time effects.

    Parameters
    ----------
    fit : GroupTimeFit
        From `group_time_panel` or `group_time_cross_section`.
    kind : {"simple", "event_time", "cohort", "calendar"}
        "simple": all post-treatment cells, each with its cohort's share. "event_time": cells at equal distance from the
        first treated period, by cohort share; the overall is the plain mean over event times from 0 on. "cohort": plain
        mean over a cohort's post-treatment cells; the overall weights cohorts by share. "calendar": cohorts treated by
        then, by share; the overall is the plain mean over periods.
    balance_e : float, optional
        For "event_time": only cohorts seen for at least this long after treatment starts, and only up to it.
    min_e, max_e : float
        Range of event times, in the units of time. "event_time" uses both; "simple" and "cohort" use `max_e`.
    drop_undefined : bool
        Leave undefined cells out. Otherwise an average that needs one is undefined, and says so.

    Returns
    -------
    Aggregation

    Notes
    -----
    Post-treatment means `time >= group`, also with anticipation. Cohort shares are estimated from the (weighted) units;
    that is in the influence. In the base period a universal base puts a zero without variance into event times.

    References
    ----------
    Callaway, B. and Sant'Anna, P. H. C. (2021). Difference-in-differences with multiple time periods. Journal of
    Econometrics 225(2), 200-230.

    Examples
    --------
    >>> from gbveval.numerics.group_time import group_time_panel
    >>> fit = group_time_panel([[1, 2, 5], [1, 3, 6], [0, 1, 2], [0, 1, 3]], [3, 3, np.inf, np.inf], periods=[1, 2, 3])
    >>> answer = aggregate_group_time(fit, "event_time")
    >>> answer.term.tolist(), answer.value.tolist(), answer.overall
    ([-1.0, 0.0], [0.5, 1.5], 1.5)
    """
    defined = np.isfinite(fit.att)
    candidate = defined if drop_undefined else np.ones_like(defined)
    event_time = fit.time - fit.group
    post = candidate & fit.post & (event_time <= max_e)
    if kind == "simple":
        return _assemble(fit, kind, np.empty(0), post[:, None])
    if kind == "cohort":
        return _by_label(fit, kind, fit.group, post)
    if kind == "calendar":
        return _by_label(fit, kind, fit.time, candidate & fit.post)
    if kind != "event_time":
        raise ValueError(f"kind must be 'simple', 'event_time', 'cohort' or 'calendar'; it is {kind!r}.")
    chosen = candidate & (event_time >= min_e) & (event_time <= max_e)
    if balance_e is not None and candidate.any():
        chosen &= (fit.time[candidate].max() - fit.group >= balance_e) & (event_time <= balance_e)
    return _by_label(fit, kind, event_time, chosen)


def pretrend_test(
    fit: GroupTimeFit,
    *,
    cluster: ArrayLike | None = None,
    include_anticipation: bool = True,
    covariance: FloatArray | None = None,
) -> PreTest:
    """Test that the effects in all periods before treatment are zero.

    Parameters
    ----------
    fit : GroupTimeFit
    cluster : array_like, optional
        Independent clusters, one label a unit.
    include_anticipation : bool
        Also test periods in which anticipation was allowed for (the reference software does).
    covariance : ndarray, shape (cells, cells), optional
        Of all cells, where it is known already.

    Returns
    -------
    PreTest
        Without a statistic where the covariance is singular: more cells than the units or clusters can carry.

    Notes
    -----
    A test that does not reject is not evidence for parallel trends: its power may be low.

    Examples
    --------
    >>> from gbveval.numerics.group_time import group_time_panel
    >>> paths = [[1, 2, 5], [1, 3, 6], [0, 1, 2], [0, 2, 3], [0, 1, 3]]
    >>> fit = group_time_panel(paths, [3, 3, np.inf, np.inf, np.inf], periods=[1, 2, 3])
    >>> test = pretrend_test(fit)
    >>> test.df, round(test.statistic, 6)
    (1, 0.139535)
    """
    before = ~fit.post if include_anticipation else fit.time + fit.anticipation < fit.group
    chosen = np.flatnonzero(before & np.isfinite(fit.att))
    every = fit.covariance(cluster) if covariance is None else covariance
    own = every[np.ix_(chosen, chosen)]
    sd = np.sqrt(np.maximum(np.diag(own), 0.0))
    usable = np.flatnonzero(sd > fit.linear.resolution)
    df = len(usable)
    if not df:
        return PreTest(np.nan, 0, np.nan, "no pre-treatment cell with a standard error")
    scale = sd[usable]
    roots, axes = np.linalg.eigh(own[np.ix_(usable, usable)] / np.outer(scale, scale))
    if roots[0] <= roots[-1] * df * 100.0 * np.finfo(float).eps:
        return PreTest(np.nan, df, np.nan, "the covariance of the pre-treatment cells is singular")
    projected = axes.T @ (fit.att[chosen][usable] / scale)
    statistic = float(np.sum(projected**2 / roots))
    return PreTest(statistic, df, f_upper(statistic / df, df, np.inf), "")


def _by_label(fit: GroupTimeFit, kind: AggregationKind, label: FloatArray, chosen: BoolArray) -> Aggregation:
    term = np.unique(label[chosen])
    return _assemble(fit, kind, term, (label[:, None] == term[None, :]) & chosen[:, None])


def _assemble(fit: GroupTimeFit, kind: AggregationKind, term: FloatArray, member: BoolArray) -> Aggregation:
    """Average the member cells of each column, then the columns."""
    used = np.flatnonzero(member.any(axis=1))
    member = member[used]
    cells = _Averages(fit.att[used], fit.linear.take(used))
    cohort = fit.cell_cohort[used]
    rows = _share_average(fit, cells, cohort, member)
    if kind == "simple":
        overall, rows = rows, _Averages(np.empty(0), rows.linear.take(np.empty(0, dtype=np.intp)))
        member = member[:, :0]
    elif kind == "cohort":
        overall = _share_average(fit, rows, np.searchsorted(fit.cohort, term), np.ones((len(term), 1), dtype=bool))
    else:
        counted = term >= 0 if kind == "event_time" else np.ones(len(term), dtype=bool)
        overall = _plain_average(rows, np.flatnonzero(counted))
    values = np.append(rows.value, overall.value)
    missing = UNDEFINED if np.isnan(rows.value).any() or np.isnan(cells.value).any() else NO_CELLS
    return Aggregation(
        kind=kind,
        term=term,
        value=rows.value,
        n_cells=member.sum(axis=0).astype(np.intp),
        overall=float(overall.value[0]),
        linear=rows.linear.append(overall.linear).without(np.isnan(values)),
        reason=(*(UNDEFINED if np.isnan(v) else "" for v in rows.value), missing if np.isnan(overall.value[0]) else ""),
    )


def _share_average(fit: GroupTimeFit, parts: _Averages, cohort: IntArray, member: BoolArray) -> _Averages:
    """Average parts with their cohorts' shares; the shares are estimated, so they have an influence of their own."""
    weight = np.where(member, fit.cohort_weight[cohort][:, None], 0.0)
    total = weight.sum(axis=0)
    total = np.where(total > 0, total, np.nan)
    value = _times(parts.value, weight / total)
    # A unit of weight w in cohort g moves the shares by w / total: the average goes towards the parts of cohort g.
    pull = np.where(member, (parts.value[:, None] - value[None, :]) / total, 0.0)
    by_cohort = np.zeros((len(fit.cohort), member.shape[1]))
    np.add.at(by_cohort, cohort, pull)
    return _Averages(value, parts.linear.combine(weight / total, by_cohort[fit.stratum_cohort]))


def _times(value: FloatArray, weight: FloatArray) -> FloatArray:
    """Return weighted sums in which an undefined value spoils only the sums that use it."""
    used = (weight != 0.0) | np.isnan(weight)
    answer: FloatArray = np.where(used, np.where(used, value[:, None], 0.0) * weight, 0.0).sum(axis=0)
    return np.where(np.isnan(weight).any(axis=0) | ~used.any(axis=0), np.nan, answer)


def _plain_average(parts: _Averages, chosen: IntArray) -> _Averages:
    weight = np.full((len(chosen), 1), 1.0 / len(chosen) if len(chosen) else np.nan)
    linear = parts.linear.take(chosen).combine(weight)
    return _Averages(_times(parts.value[chosen], weight), linear)
