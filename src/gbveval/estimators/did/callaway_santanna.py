"""`CallawaySantAnna`: effects of a staggered rollout, cohort by cohort and period by period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.numerics.group_time import group_time_panel
from gbveval.numerics.group_time_aggregate import Aggregation, aggregate_group_time, pretrend_test
from gbveval.numerics.group_time_cells import GroupTimeFit, last_cohort_as_control
from gbveval.numerics.group_time_rcs import group_time_cross_section

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
CONTROLS: dict[str, Literal["never", "not_yet"]] = {
    "never_treated": "never",
    "not_yet_treated": "not_yet",
    "last_treated": "never",
}
AVERAGES = ("simple", "event_time", "cohort", "calendar", "pretest")
# Below this many units in a cohort the normal approximation of its own effects is not to be relied on.
SMALL_COHORT = 10
# The groups that all rows of a rollout share, so that a small cohort cannot be had from averages of others.
COHORTS = "cohorts"


@register("callaway_santanna")
@dataclass(frozen=True, slots=True)
class CallawaySantAnna:
    """Group-time average effects on the treated, for staggered adoption, without covariates.

    For each cohort (units first treated in the same period) and each period, compares the change of its mean outcome
    since the base period with the change of units that are not (yet) treated. No treated unit ever serves as a control.

    Parameters
    ----------
    control : str
        "not_yet_treated" (units never treated, and those treated later), "never_treated", or "last_treated": the last
        cohort, until it is treated, where nobody is never treated; later periods are then not used.
    base_period : str
        "varying": effects before treatment compare with the period just before; "universal": all with the last
        untreated period of the cohort.
    anticipation : float
        Periods before treatment in which it may already act.
    unbalanced : str
        What to do with units without an outcome in every period: "error", or "drop", which counts them.

    Notes
    -----
    **Identifies** the average effect on the treated of each cohort in each period, if untreated outcomes of treated and
    comparison units would have changed in parallel, and treatment is not anticipated (beyond `anticipation`).

    **Valid when** there are many units (clusters) in each cohort: standard errors come from influence functions,
    without a small-sample factor. **Do not use when** one or a few units are treated.

    `aggregate("simple" | "event_time" | "cohort" | "calendar")` averages the cells with cohort shares, whose
    estimation is part of the standard error; the row "overall" comes first. `aggregate("pretest")` is the Wald test
    that all effects before treatment are zero. `with_band()` then gives a uniform band. "Post-treatment" is period
    >= cohort, also with anticipation.

    References
    ----------
    Callaway and Sant'Anna (2021), Journal of Econometrics 225(2), 200-230.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> effects = CallawaySantAnna().estimate(panel)
    >>> study = effects.aggregate("event_time")
    >>> study.terms[0].term
    'overall'
    """

    control: str = "not_yet_treated"
    base_period: str = "varying"
    anticipation: float = 0.0
    unbalanced: str = "error"
    name: ClassVar[str] = "callaway_santanna"

    def __post_init__(self) -> None:
        for option, known in (
            ("control", tuple(CONTROLS)),
            ("base_period", ("varying", "universal")),
            ("unbalanced", ("error", "drop")),
        ):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        if not 0 <= self.anticipation < np.inf:
            raise DesignError("anticipation is a number of periods, zero or more.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row a cohort and period.

        Parameters
        ----------
        data : Panel
            A panel, or repeated cross-sections.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the panel is unbalanced and `unbalanced="error"`, or weights vary within a unit.
        IdentificationError
            If nobody is left to compare with, or no cohort can be seen before and after.
        """
        used = _panel_arrays(data, self.unbalanced) if data.unit is not None else _row_arrays(data)
        if self.control == "last_treated":
            used = _last_as_control(used, float(self.anticipation))
        fit = self._fit(used)
        clusters = used.cluster
        rows = _cell_terms(data, fit, clusters)
        covariance = fit.covariance(clusters)
        errors = np.array([np.nan if row.std_error is None else row.std_error for row in rows])
        covariance = _mask(covariance, errors)
        source = _Source(fit, clusters, data.outcome_name, _cohort_sizes(data, fit))
        influence = fit.influence if clusters is None else fit.linear.cluster_sums(clusters)
        return Estimates(
            estimator=self.name,
            terms=rows,
            covariance=covariance,
            method=_method(self, data, used, fit),
            checks=_checks(data, used, fit, clusters),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
            flow=data.flow(),
            influence=np.where(np.isnan(influence), 0.0, influence),
            aggregator=source,
        )

    def _fit(self, used: _Arrays) -> GroupTimeFit:
        options: dict[str, Any] = {
            "control_group": CONTROLS[self.control],
            "base_period": self.base_period,
            "anticipation": float(self.anticipation),
            "weights": used.weight,
        }
        try:
            if used.paths is not None:
                fit = group_time_panel(used.paths, used.cohort, periods=used.periods, **options)
            else:
                assert used.outcome is not None
                assert used.time is not None
                fit = group_time_cross_section(used.outcome, used.time, used.cohort, **options)
        except ValueError as error:
            raise IdentificationError(str(error)) from error
        if not np.isfinite(fit.att).any():
            raise IdentificationError(
                "No cohort is observed before and after its treatment began beside units that are not treated; "
                "group-time effects need both. Use a longer panel, or another control group."
            )
        return fit


@dataclass(frozen=True, eq=False, slots=True)
class _Arrays:
    """A panel as the numeric functions take it: paths of units, or rows of repeated cross-sections."""

    paths: FloatArray | None
    outcome: FloatArray | None
    time: FloatArray | None
    cohort: FloatArray
    periods: FloatArray
    weight: FloatArray | None
    cluster: IntArray | None
    n_left_out: int


def _panel_arrays(data: Panel, unbalanced: str) -> _Arrays:
    assert data.unit is not None
    complete = data.complete_units
    lost = int((~complete).sum())
    if lost and unbalanced == "error":
        raise DesignError(
            f"{lost:,} of {data.n_units:,} units have no outcome in some period. Say unbalanced='drop' to leave them "
            "out (they are then counted), or complete the panel."
        )
    if lost == data.n_units:
        raise IdentificationError(
            "No unit has an outcome in every period, so nothing can be compared over time. Leave out periods that are "
            "rarely observed, or use repeated cross-sections (no unit)."
        )
    paths = np.full((data.n_units, data.periods.size), np.nan)
    paths[data.unit.codes, data.time] = data.outcome
    weight = None if data.weight is None else _unit_value(data, data.weight)
    cluster = None
    if data.cluster is not None:
        cluster = np.zeros(data.n_units, dtype=np.intp)
        cluster[data.unit.codes] = data.cluster.codes
    return _Arrays(
        paths=paths[complete],
        outcome=None,
        time=None,
        cohort=data.cohort_of_unit()[complete],
        periods=data.periods,
        weight=None if weight is None else weight[complete],
        cluster=None if cluster is None else cluster[complete],
        n_left_out=lost,
    )


def _last_as_control(used: _Arrays, anticipation: float) -> _Arrays:
    """Return the arrays with the last cohort as never treated, and only the periods in which it is untreated."""
    if np.isinf(used.cohort).any():
        raise DesignError("Some units are never treated; say control='never_treated' or 'not_yet_treated'.")
    cohort, periods = last_cohort_as_control(used.cohort, used.periods, anticipation=anticipation)
    if periods.size < 2:
        raise IdentificationError(
            "The last cohort is untreated in fewer than two periods, so it cannot serve as control."
        )
    if used.paths is not None:
        keep = np.isin(used.periods, periods)
        return replace(used, paths=used.paths[:, keep], cohort=cohort, periods=periods)
    assert used.outcome is not None
    assert used.time is not None
    rows = np.isin(used.time, periods)
    return replace(
        used,
        outcome=used.outcome[rows],
        time=used.time[rows],
        cohort=cohort[rows],
        periods=periods,
        weight=None if used.weight is None else used.weight[rows],
        cluster=None if used.cluster is None else used.cluster[rows],
    )


def _unit_value(data: Panel, values: FloatArray) -> FloatArray:
    """Return a weight a unit; raise if it varies within one."""
    assert data.unit is not None
    first = np.zeros(data.n_units)
    first[data.unit.codes] = values
    varying = int(np.unique(data.unit.codes[values != first[data.unit.codes]]).size)
    if varying:
        raise DesignError(
            f"The weight varies within {varying:,} units; group-time effects need one weight a unit. Use the weight "
            "of the first period in all periods."
        )
    return first


def _row_arrays(data: Panel) -> _Arrays:
    seen = ~np.isnan(data.outcome)
    return _Arrays(
        paths=None,
        outcome=data.outcome[seen],
        time=data.periods[data.time[seen]],
        cohort=data.cohort[seen],
        periods=data.periods,
        weight=None if data.weight is None else data.weight[seen],
        cluster=None if data.cluster is None else data.cluster.codes[seen],
        n_left_out=int((~seen).sum()),
    )


def _mask(covariance: FloatArray, errors: FloatArray) -> FloatArray:
    """Return the covariance with NaN where a row has no standard error."""
    result = covariance.copy()
    undefined = ~np.isfinite(errors)
    result[undefined, :] = result[:, undefined] = np.nan
    return result


def _point(term: str, estimand: Estimand, outcome: str, numbers: tuple[float, float], why: str, **more: Any) -> Term:
    """Return a row from an estimate and a standard error of which either may be NaN."""
    value, error = numbers
    defined = np.isfinite(value)
    known = bool(defined and np.isfinite(error) and error > 0)
    reason = "" if known else (why or "the outcome does not vary, so there is no standard error")
    return Term(
        term=term,
        estimand=estimand,
        outcome=outcome,
        value=float(value) if defined else None,
        std_error=float(error) if known else None,
        reason=reason,
        **more,
    )


def _cell_terms(data: Panel, fit: GroupTimeFit, clusters: IntArray | None) -> tuple[Term, ...]:
    errors = fit.std_errors(clusters)
    cohorts = _cohort_sizes(data, fit)
    # Repeated cross-sections count the rows of both periods.
    halves = 1 if data.unit is not None else 2
    estimand = Estimand("group_time_ATT", "mean_difference", "treated")
    rows = []
    for i in range(fit.att.size):
        cell = f"cohort {fit.group[i]:g}"
        sizes = (
            Cell(cell, cohorts[float(fit.group[i])], None, COHORTS),
            Cell("comparison", int(fit.n_control[i]) // halves, None, f"comparison of {cell} in {fit.time[i]:g}"),
        )
        rows.append(
            _point(
                f"cohort {fit.group[i]:g}, period {fit.time[i]:g}",
                estimand,
                data.outcome_name,
                (float(fit.att[i]), float(errors[i])),
                fit.reason[i],
                n_units=int(fit.n_treated[i] + fit.n_control[i]),
                n_clusters=None if clusters is None else _clusters_used(fit, clusters),
                support=sizes,
                extra=(
                    ("cohort", float(fit.group[i])),
                    ("time", float(fit.time[i])),
                    ("treated_by_then", "yes" if fit.post[i] else "no"),
                ),
            )
        )
    return tuple(rows)


def _clusters_used(fit: GroupTimeFit, clusters: IntArray) -> int:
    """Return the clusters of the units that take part; those always treated do not."""
    return int(np.unique(clusters[fit.linear.row]).size)


def _cohort_sizes(data: Panel, fit: GroupTimeFit) -> dict[float, int]:
    """Return units a cohort; for repeated cross-sections the fewest rows of a cohort in any period."""
    if data.unit is not None:
        return {float(g): int(fit.n_treated[fit.group == g].max()) for g in np.unique(fit.group)}
    seen = ~np.isnan(data.outcome)
    sizes = {}
    for g in np.unique(fit.group):
        counts = np.bincount(data.time[seen & (data.cohort == g)], minlength=data.periods.size)
        sizes[float(g)] = int(counts[counts > 0].min())
    return sizes


@dataclass(frozen=True, eq=False, slots=True)
class _Source:
    """What averaging needs, in memory only."""

    fit: GroupTimeFit
    clusters: IntArray | None
    outcome: str
    sizes: Mapping[float, int]

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return averages of the group-time rows."""
        if by not in AVERAGES:
            raise DesignError(f"Group-time effects are averaged by one of {', '.join(AVERAGES)}, not {by!r}.")
        unknown = sorted(set(options) - {"balance", "min_event_time", "max_event_time"})
        if unknown:
            raise DesignError(
                f"Unknown options: {', '.join(unknown)}; there are balance, min_event_time, max_event_time."
            )
        if by == "pretest":
            return self._pretest(estimates)
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
            label = "overall" if overall else _label(by, float(found.term[i]))
            own: tuple[tuple[str, float | str | None], ...] = (
                (("cells", float(found.n_cells[i])),) if not overall else ()
            )
            if by == "event_time" and not overall:
                own = (("event_time", float(found.term[i])), *own)
            rows.append(
                _point(
                    label,
                    estimand,
                    self.outcome,
                    (float(values[position]), float(errors[i])),
                    found.reason[i] or ("base period" if values[position] == 0 else ""),
                    n_units=self.fit.n_units,
                    n_clusters=first.n_clusters,
                    support=self._support(by, None if overall else float(found.term[i])),
                    extra=own,
                )
            )
        shown = np.array([np.nan if row.std_error is None else row.std_error for row in rows])
        influence = found.influence if self.clusters is None else found.linear.cluster_sums(self.clusters)
        chosen = [
            f"averaged by {by.replace('_', ' ')}",
            *(f"{key} {value}" for key, value in options.items() if value is not None),
        ]
        return replace(
            estimates,
            terms=tuple(rows),
            covariance=_mask(covariance, shown),
            influence=np.where(np.isnan(influence), 0.0, influence)[:, order].copy(),
            method=replace(estimates.method, sample=f"{estimates.method.sample}; {', '.join(chosen)}"),
            aggregator=None,
            band=None,
        )

    def _support(self, by: str, label: float | None) -> tuple[Cell, ...]:
        """Return the cohorts and the smallest comparison group behind an average."""
        member = self._member(by, label)
        name = f"comparison, {by.replace('_', ' ')} {'overall' if label is None else f'{label:g}'}"
        cohorts = tuple(
            Cell(f"cohort {g:g}", self.sizes[float(g)], None, COHORTS) for g in np.unique(self.fit.group[member])
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
        found = pretrend_test(self.fit, cluster=self.clusters)
        row = Term(
            term="all effects before treatment are zero",
            estimand=Estimand("pretest", "none", "treated"),
            outcome=self.outcome,
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


def _label(by: str, term: float) -> str:
    if by == "event_time":
        return f"event time {term:+g}" if term else "event time 0"
    return f"cohort {term:g}" if by == "cohort" else f"period {term:g}"


def _method(estimator: CallawaySantAnna, data: Panel, used: _Arrays, fit: GroupTimeFit) -> Method:
    what = "units" if data.unit is not None else "rows of repeated cross-sections"
    sample = f"{fit.n_units:,} {what} in {fit.periods.size} periods"
    if used.n_left_out:
        missing = "an outcome missing in some period" if data.unit is not None else "no outcome"
        sample += f"; {used.n_left_out:,} with {missing} are left out"
    if fit.n_already_treated:
        sample += (
            f"; {fit.n_already_treated:,} treated in (or anticipating treatment from) the first period are left out"
        )
    level = "the unit" if used.cluster is None and data.unit is not None else data.cluster_name
    base = "the period before" if estimator.base_period == "varying" else "the last untreated period"
    ahead = f", with anticipation of {estimator.anticipation:g} periods" if estimator.anticipation else ""
    return Method(
        sample=sample,
        std_error=f"influence functions, clustered by {level}",
        small_sample="none",
        reference="normal",
        inference_for="a superpopulation of units",
        assumptions=(
            f"untreated outcomes of treated and {estimator.control.replace('_', ' ')} units would have changed in "
            "parallel",
            f"treatment does not act before it begins{ahead}",
            f"before treatment, changes are from {base}",
            "one unit's treatment does not change another's outcome",
        ),
        source="Callaway and Sant'Anna 2021",
    )


def _checks(data: Panel, used: _Arrays, fit: GroupTimeFit, clusters: IntArray | None) -> tuple[Check, ...]:
    found = []
    if used.n_left_out:
        found.append(Check("balance", "warn", f"{used.n_left_out:,} units or rows were left out for missing outcomes."))
    if fit.n_already_treated:
        text = f"{fit.n_already_treated:,} units were treated from the first period on; they were left out."
        found.append(Check("already treated", "info", text))
    if np.isfinite(fit.last_cohort):
        text = (
            f"nobody is never treated: the cohort of {fit.last_cohort:g} serves as control until it is treated, and "
            "later periods are not used."
        )
        found.append(Check("never treated", "info", text))
    sizes = _cohort_sizes(data, fit)
    small = [f"{g:g} ({n})" for g, n in sizes.items() if n < SMALL_COHORT]
    if small and data.unit is not None:
        text = f"cohorts with few units (size): {', '.join(small)}; their own standard errors are not to be relied on."
        public = "some cohorts have few units; their own standard errors are not to be relied on."
        found.append(Check("small cohorts", "warn", text, public))
    n_independent = fit.n_units if clusters is None else _clusters_used(fit, clusters)
    if n_independent < 40:
        text = f"{n_independent} independent units or clusters; influence-function standard errors need more."
        found.append(Check("few clusters", "warn", text))
    before = pretrend_test(fit, cluster=clusters)
    if np.isfinite(before.p_value):
        text = (
            f"Wald test that all effects before treatment are zero: chi-square {before.statistic:.2f} on {before.df} "
            f"df, p = {before.p_value:.3f}. Passing it does not show parallel trends."
        )
        public = "a joint test of the effects before treatment was made; `aggregate('pretest')` gives it."
        found.append(Check("pre-trends", "warn" if before.p_value < 0.05 else "info", text, public))
    else:
        found.append(Check("pre-trends", "info", f"no joint test of pre-treatment effects: {before.reason}."))
    return tuple(found)
