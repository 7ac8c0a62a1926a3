"""Group-time effects as rows of `Estimates`, and their averages with estimated shares of cohorts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.lazy import LazyMatrix
from gbveval.core.method import Cell
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.estimators.did._cells import check_average
from gbveval.estimators.did._rollout import COHORTS, average_label, cohort_label, masked, point
from gbveval.estimators.did._spatial import by_place
from gbveval.numerics.group_time_aggregate import Aggregation, aggregate_group_time, pretrend_test
from gbveval.numerics.group_time_cells import GroupTimeFit
from gbveval.numerics.stratum_influence import StratumInfluence

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def group_time_terms(
    data: Panel,
    fit: GroupTimeFit,
    errors: FloatArray,
    clusters: IntArray | None,
    cohorts: Mapping[float, int],
    *,
    followed: bool,
    whom: str,
) -> tuple[Term, ...]:
    """Return one row a cohort and period."""
    n_clusters = None if clusters is None else clusters_used(fit, clusters)
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
                (float(fit.att[i]), float(errors[i])),
                fit.reason[i],
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


def clusters_used(fit: GroupTimeFit, clusters: IntArray) -> int:
    """Return the clusters of the units that take part; those always treated do not."""
    return int(np.unique(clusters[fit.linear.row]).size)


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


def unit_influence(
    linear: StratumInfluence, clusters: IntArray | None, data: Panel, order: IntArray | None = None
) -> FloatArray | LazyMatrix:
    """Return the influence of independent units, zero for undefined estimates; some estimates in an order, or all."""
    used = linear if order is None else linear.take(order)
    if clusters is not None:
        return by_place(np.nan_to_num(used.cluster_sums(clusters)), clusters, data)
    return LazyMatrix((used.n_rows, used.n_terms), lambda: np.nan_to_num(used.matrix()))


@dataclass(frozen=True, eq=False, slots=True)
class GroupTimeAverages:
    """What averaging needs, in memory only."""

    data: Panel
    fit: GroupTimeFit
    clusters: IntArray | None
    sizes: Mapping[float, int]

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return averages of the group-time rows."""
        if by == "pretest":
            return self._pretest(estimates)
        check_average(by, options)
        low, high = options.get("min_event_time"), options.get("max_event_time")
        found = aggregate_group_time(
            self.fit,
            cast(Literal["simple", "event_time", "cohort", "calendar"], by),
            balance_e=options.get("balance"),
            min_e=-np.inf if low is None else float(low),
            max_e=np.inf if high is None else float(high),
        )
        return self._averages(estimates, by, found, options)

    def _averages(self, estimates: Estimates, by: str, found: Aggregation, options: Mapping[str, Any]) -> Estimates:
        errors = found.std_errors(self.clusters)
        order = np.array([found.value.size, *range(found.value.size)])
        values = np.append(found.value, found.overall)[order]
        covariance = found.covariance(self.clusters)[np.ix_(order, order)]
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
                    (float(values[position]), float(errors[i])),
                    found.reason[i] or ("base period" if values[position] == 0 else ""),
                    n_units=self.fit.n_units,
                    n_clusters=first.n_clusters,
                    support=self._support(by, None if overall else float(found.term[i]), estimates.method.comparison),
                    extra=own,
                )
            )
        influence = unit_influence(found.linear, self.clusters, self.data, order)
        chosen = [
            f"averaged by {by.replace('_', ' ')}",
            *(f"{key} {value}" for key, value in options.items() if value is not None),
        ]
        return replace(
            estimates,
            terms=tuple(rows),
            covariance=masked(covariance, rows),
            influence=influence,
            method=replace(estimates.method, sample=f"{estimates.method.sample}; {', '.join(chosen)}"),
            aggregator=None,
            band=None,
        )

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
        # Rows without a standard error take no part in the test.
        found = pretrend_test(self.fit, covariance=np.nan_to_num(estimates.covariance))
        row = Term(
            term="all effects before treatment are zero",
            estimand=Estimand("pretest", "none", "treated"),
            outcome=self.data.outcome_name,
            value=None,
            std_error=None,
            kind="test",
            df=float(found.df),
            statistic=float(found.statistic) if np.isfinite(found.statistic) else None,
            p_value=float(found.p_value) if np.isfinite(found.p_value) else None,
            n_units=self.fit.n_units,
            support=tuple(dict.fromkeys(cell for each in estimates.terms for cell in each.support)),
            reason=found.reason,
        )
        return replace(
            estimates, terms=(row,), covariance=np.full((1, 1), np.nan), influence=None, aggregator=None, band=None
        )
