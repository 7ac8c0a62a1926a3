"""Group-time effects as rows of `Estimates`, and their averages with estimated shares of cohorts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.estimators.did._cells import check_average, pretest
from gbveval.estimators.did._derived import PRETEST, averaged, pretested
from gbveval.estimators.did._group_time_errors import GroupTimeErrors, JointErrors
from gbveval.estimators.did._rollout import COHORTS, average_label, cohort_label, point
from gbveval.numerics.group_time_aggregate import Aggregation, aggregate_group_time, pretrend_test
from gbveval.numerics.group_time_cells import GroupTimeFit
from gbveval.numerics.inference import f_upper

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def group_time_terms(
    data: Panel,
    fit: GroupTimeFit,
    errors: JointErrors,
    n_clusters: int | None,
    cohorts: Mapping[float, int],
    *,
    followed: bool,
    whom: str,
) -> tuple[Term, ...]:
    """Return one row a cohort and period."""
    # Repeated cross-sections count the rows of both periods.
    halves = 1 if followed else 2
    estimand = Estimand("group_time_ATT", "mean_difference", "treated")
    rows = []
    for i in range(fit.att.size):
        cell = cohort_label(data, float(fit.group[i]))
        period = data.calendar.name(float(fit.time[i]))
        sizes = (
            Cell(cell, cohorts[float(fit.group[i])], None, COHORTS),
            Cell("comparison", int(fit.n_control[i]) // halves, None, f"comparison of {cell} in {period} ({whom})"),
        )
        rows.append(
            point(
                f"{cell}, period {period}",
                estimand,
                data.outcome_name,
                (float(fit.att[i]), float(errors.std_error[i])),
                fit.reason[i] or errors.reason[i],
                df=errors.df,
                n_units=int(fit.n_treated[i] + fit.n_control[i]),
                n_clusters=n_clusters,
                support=sizes,
                extra=(
                    ("cohort", float(fit.group[i])),
                    ("time", float(fit.time[i])),
                    ("treated_by_then", "yes" if fit.post[i] else "no"),
                ),
            )
        )
    return tuple(rows)


def clusters_used(fit: GroupTimeFit, ways: tuple[IntArray, ...]) -> int:
    """Return the clusters (in the way with fewer) of the units that take part; those always treated do not."""
    return min((int(np.unique(way[fit.linear.row]).size) for way in ways), default=fit.n_units)


def cohort_sizes(data: Panel, fit: GroupTimeFit, *, followed: bool) -> dict[float, int]:
    """Return units a cohort; for repeated cross-sections the fewest rows of a cohort in any period."""
    if followed:
        return {float(g): int(fit.n_treated[fit.group == g].max()) for g in np.unique(fit.group)}
    seen = ~np.isnan(data.outcome)
    sizes = {}
    for g in np.unique(fit.group):
        counts = np.bincount(data.time[seen & (data.cohort == g)], minlength=data.periods.size)
        sizes[float(g)] = int(counts[counts > 0].min())
    return sizes


@dataclass(frozen=True, eq=False, slots=True)
class GroupTimeAverages:
    """What averaging needs, in memory only."""

    data: Panel
    fit: GroupTimeFit
    errors: GroupTimeErrors
    sizes: Mapping[float, int]

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return averages of the group-time rows."""
        if by == "pretest":
            return self._pretest(estimates)
        check_average(by, options)
        low, high = options.get("min_event_time"), options.get("max_event_time")
        ranges: dict[str, Any] = {
            "balance_e": options.get("balance"),
            "min_e": -np.inf if low is None else float(low),
            "max_e": np.inf if high is None else float(high),
        }
        kind = cast(Literal["simple", "event_time", "cohort", "calendar"], by)
        found = aggregate_group_time(self.fit, kind, **ranges)
        # The overall average comes first.
        order = np.array([found.value.size, *range(found.value.size)])
        errors = self.errors.of_averages(self.fit, found, order, ranges)
        return self._averages(estimates, by, found, errors, options)

    def _averages(
        self, estimates: Estimates, by: str, found: Aggregation, errors: JointErrors, options: Mapping[str, Any]
    ) -> Estimates:
        order = np.array([found.value.size, *range(found.value.size)])
        values = np.append(found.value, found.overall)[order]
        estimand = Estimand("ATT", "mean_difference", "treated")
        first = estimates.terms[0]
        rows = []
        for position, i in enumerate(order):
            overall = position == 0
            label = "overall" if overall else average_label(self.data, by, float(found.term[i]))
            own: tuple[tuple[str, float | str | None], ...] = (
                (("cells", float(found.n_cells[i])),) if not overall else ()
            )
            if by == "event_time" and not overall:
                own = (("event_time", float(found.term[i])), *own)
            rows.append(
                point(
                    label,
                    estimand,
                    self.data.outcome_name,
                    (float(values[position]), float(errors.std_error[position])),
                    found.reason[i] or errors.reason[position] or ("base period" if values[position] == 0 else ""),
                    df=errors.df,
                    n_units=self.fit.n_units,
                    n_clusters=first.n_clusters,
                    support=self._support(by, None if overall else float(found.term[i]), estimates.method.comparison),
                    extra=own,
                )
            )
        chosen = [
            f"averaged by {by.replace('_', ' ')}",
            *(f"{key} {value}" for key, value in options.items() if value is not None),
        ]
        return averaged(estimates, rows, errors.covariance, errors.influence, chosen)

    def _support(self, by: str, label: float | None, whom: str) -> tuple[Cell, ...]:
        """Return the cohorts and the smallest comparison group behind an average."""
        member = self._member(by, label)
        name = f"comparison, {by.replace('_', ' ')} {'overall' if label is None else f'{label:g}'} ({whom})"
        cohorts = tuple(
            Cell(cohort_label(self.data, float(g)), self.sizes[float(g)], None, COHORTS)
            for g in np.unique(self.fit.group[member])
        )
        if not member.any():
            return cohorts
        return (*cohorts, Cell("comparison", int(self.fit.n_control[member].min()), None, name))

    def _member(self, by: str, label: float | None) -> NDArray[np.bool_]:
        """Return which cells an average is over."""
        event_time = self.fit.time - self.fit.group
        chosen = {
            "event_time": np.isclose(event_time, np.nan if label is None else label),
            "cohort": self.fit.post & (self.fit.group == label),
            "calendar": self.fit.post & (self.fit.time == label),
        }
        member = self.fit.post if label is None or by == "simple" else chosen[by]
        return np.asarray(np.isfinite(self.fit.att) & member, dtype=bool)

    def _pretest(self, estimates: Estimates) -> Estimates:
        if self.errors.jackknife:
            ahead = self.fit.time + self.fit.anticipation < self.fit.group
            return _hotelling(pretest(estimates, np.flatnonzero(ahead).tolist()))
        # Rows without a standard error take no part in the test.
        found = pretrend_test(self.fit, covariance=np.nan_to_num(estimates.covariance), include_anticipation=False)
        return pretested(
            estimates,
            PRETEST,
            df=found.df,
            statistic=found.statistic,
            p_value=found.p_value,
            reason=found.reason,
            n_units=self.fit.n_units,
        )


def _hotelling(tested: Estimates) -> Estimates:
    """Return a Wald test over G clusters as Hotelling's: q effects and a covariance that G clusters estimate.

    The Wald statistic times (G - q) / (q (G - 1)) is referred to F with q and G - q degrees of freedom; with few
    clusters F with q and G - 1 rejects far too often.
    """
    row = tested.terms[0]
    if row.statistic is None or row.df2 is None:
        return tested
    left, q = row.df2 + 1.0 - row.df, row.df
    if left < 1.0:
        why = "there are as many effects before treatment as clusters"
        return replace(tested, terms=(replace(row, statistic=None, df2=None, p_value=None, reason=why),))
    statistic = row.statistic * left / row.df2
    return replace(tested, terms=(replace(row, statistic=statistic, df2=left, p_value=f_upper(statistic, q, left)),))
