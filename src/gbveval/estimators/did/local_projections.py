"""`LocalProjections`: long differences of outcomes on starting treatment, one regression a horizon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.estimators.did._cells import EventAggregator
from gbveval.estimators.did._rollout import (
    Rows,
    cohort_support,
    event_label,
    point,
    rollout_estimates,
    rollout_rows,
    rounding,
    row_checks,
    sample_words,
)
from gbveval.numerics.fixed_effects import FixedEffectsFit, Groups, fixed_effects_fit

FloatArray = NDArray[np.float64]
WEIGHTINGS = ("variance", "equal")


@register("local_projections")
@dataclass(frozen=True, slots=True)
class LocalProjections:
    """Effects by horizon: the change of the outcome since the period before, on starting treatment now.

    Parameters
    ----------
    before, after : int
        Horizons from -1 - before to after, in periods in their order.
    weighting : str
        "variance": cohorts weighted by size and by how balanced their comparison is, as the regression does. "equal":
        every treated unit counts alike.

    Notes
    -----
    For horizon h, over units that start treatment in period t and those untreated until t + h (clean controls), regress
    y(t + h) - y(t - 1) on starting, with an effect of every period t and covariates at t - 1. No treated unit is a
    control.

    **Identifies** a weighted average of the cohorts' effects on the treated at each horizon, with weights above zero,
    if untreated outcomes would have changed in parallel and nothing was anticipated; with "equal" it is the average
    over treated units. "variance" is the more precise, and equal to the other when cohorts have the same effects.

    **Variance** clustered; one matrix for all horizons from the scores by cluster; factor G/(G - 1); t with clusters
    minus one degrees of freedom.

    **Do not use when** one or two units (clusters) are treated, or when covariates are changed by treatment.

    References
    ----------
    Dube, Girardi, Jorda and Taylor (2023), A local projections approach to difference-in-differences, NBER working
    paper 31184.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> [row.term for row in LocalProjections(before=0, after=1).estimate(panel).terms]
    ['event time 0', 'event time +1']
    """

    before: int = 2
    after: int = 2
    weighting: str = "variance"
    name: ClassVar[str] = "local_projections"

    def __post_init__(self) -> None:
        if self.weighting not in WEIGHTINGS:
            raise DesignError(f"weighting must be one of {', '.join(WEIGHTINGS)}, not {self.weighting!r}.")
        if self.before < 0 or self.after < 0:
            raise DesignError("before and after are numbers of periods, zero or more.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row an event time.

        Parameters
        ----------
        data : Panel
            A panel of units, complete or not: a row needs its own period and the one before treatment only.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            For repeated cross-sections, treatment that ends, clusters in two ways, or a period that no cohort starts
            in.
        IdentificationError
            If no horizon is identified, there are too few clusters, or one unit (cluster) is treated.
        """
        if data.second_cluster is not None:
            raise DesignError("LocalProjections clusters in one way. Give the coarser of the two cluster columns.")
        rows = rollout_rows("LocalProjections", data)
        horizons = [h for h in range(-1 - self.before, self.after + 1) if h != -1]
        table = _Table.of(rows, data.periods)
        fits = {h: fit for h in horizons if (fit := self._fit(rows, table, h)) is not None}
        if not fits:
            raise IdentificationError(
                "At no horizon do units start treatment beside clean controls that are seen before and after."
            )
        influence = np.column_stack([fit.influence[:, 0] for fit in fits.values() if fit.influence is not None])
        covariance = influence.T @ influence
        terms = _terms(data, rows, fits, covariance)
        lost = [event_label(float(h)) for h in horizons if h not in fits]
        return rollout_estimates(
            self,
            data,
            terms,
            covariance=covariance,
            influence=influence,
            method=_method(self, data, rows),
            checks=(*_checks(lost), *row_checks(rows)),
            aggregator=EventAggregator(),
        )

    def _fit(self, rows: Rows, table: _Table, horizon: int) -> FixedEffectsFit | None:
        """Return the regression of one horizon, or None where nothing is compared."""
        found = table.differences(horizon)
        if not found.starts.any() or found.starts.all():
            return None
        both = np.isin(found.time, np.unique(found.time[found.starts]))
        both &= np.isin(found.time, np.unique(found.time[~found.starts]))
        if not found.starts[both].any():
            return None
        used = found.take(both)
        weight = None if table.weight is None else table.weight[used.unit, used.time]
        if self.weighting == "equal":
            weight = _equal_weights(used, weight)
        fit = fixed_effects_fit(
            used.change,
            np.column_stack([used.starts.astype(float), used.x]),
            absorb=Groups(used.time, table.y.shape[1]),
            weights=weight,
            std_error="CR1",
            clusters=(Groups(table.cluster[used.unit], rows.clusters[0].count),),
        )
        return fit if fit.kept.size and fit.kept[0] == 0 else None


@dataclass(frozen=True, eq=False, slots=True)
class _Table:
    """Outcomes as units by periods, NaN where missing.

    Attributes
    ----------
    y : ndarray, shape (units, periods)
    begin : ndarray of int, shape (units,)
        Position of the first treated period; the number of periods if never or later.
    cluster : ndarray of int, shape (units,)
    weight : ndarray, shape (units, periods) or None
    x : ndarray, shape (units, periods, covariates)
    """

    y: FloatArray
    begin: NDArray[np.intp]
    cluster: NDArray[np.intp]
    weight: FloatArray | None
    x: FloatArray

    @classmethod
    def of(cls, rows: Rows, periods: FloatArray) -> _Table:
        """Return the table of a panel's rows."""
        shape = rows.unit.count, rows.time.count
        at = rows.unit.codes, rows.time.codes
        y = np.full(shape, np.nan)
        y[at] = rows.y
        times = rows.period_of_code()
        known = np.where(np.isnan(times), np.inf, times)
        begin = np.full(shape[0], shape[1], dtype=np.intp)
        begin[rows.unit.codes] = np.searchsorted(
            np.maximum.accumulate(np.where(np.isinf(known), -np.inf, known)), rows.cohort
        )
        cluster = np.zeros(shape[0], dtype=np.intp)
        cluster[rows.unit.codes] = rows.clusters[0].codes
        weight = None
        if rows.weight is not None:
            weight = np.zeros(shape)
            weight[at] = rows.weight
        x = np.full((*shape, rows.covariates.shape[1]), np.nan)
        x[at] = rows.covariates
        return cls(y, begin, cluster, weight, x)

    def differences(self, horizon: int) -> _Differences:
        """Return the rows of a horizon: units that start, and clean controls, seen now and in the period before."""
        periods = self.y.shape[1]
        parts = []
        for t in range(1, periods):
            if not 0 <= t + horizon < periods:
                continue
            starts = self.begin == t
            change = self.y[:, t + horizon] - self.y[:, t - 1]
            seen = np.isfinite(change) & (starts | (self.begin > max(t, t + horizon)))
            if self.weight is not None:
                seen &= self.weight[:, t] > 0
            who = np.flatnonzero(seen)
            time = np.full(who.size, t, dtype=np.intp)
            parts.append(_Differences(change[who], starts[who], who, time, self.x[who, t - 1]))
        if not parts:
            nobody = np.zeros(0, dtype=np.intp)
            none = np.zeros((0, self.x.shape[2]))
            return _Differences(np.zeros(0), np.zeros(0, dtype=bool), nobody, nobody, none)
        return _Differences(
            np.concatenate([part.change for part in parts]),
            np.concatenate([part.starts for part in parts]),
            np.concatenate([part.unit for part in parts]),
            np.concatenate([part.time for part in parts]),
            np.concatenate([part.x for part in parts]),
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Differences:
    """Long differences: change, whether treatment starts, unit, period, covariates of the period before."""

    change: FloatArray
    starts: NDArray[np.bool_]
    unit: NDArray[np.intp]
    time: NDArray[np.intp]
    x: FloatArray

    def take(self, rows: NDArray[np.bool_]) -> _Differences:
        """Return some rows."""
        return _Differences(self.change[rows], self.starts[rows], self.unit[rows], self.time[rows], self.x[rows])


def _equal_weights(rows: _Differences, weight: FloatArray | None) -> FloatArray:
    """Return weights under which every treated unit counts alike: one over the share of controls of its period."""
    w = np.ones(rows.starts.size) if weight is None else weight
    total = np.bincount(rows.time, weights=w)
    treated = np.bincount(rows.time, weights=w * rows.starts, minlength=total.size)
    share = np.divide(treated, total, out=np.zeros(total.size), where=total > 0)
    # Within a period the regression weighs by share x (1 - share) x total; dividing by 1 - share leaves the treated.
    return np.asarray(w / (1.0 - share[rows.time]))


def _terms(data: Panel, rows: Rows, fits: dict[int, FixedEffectsFit], covariance: FloatArray) -> tuple[Term, ...]:
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    support = cohort_support(data, rows.cohort_sizes(), "cohorts of the regression")
    least = rounding(rows)
    return tuple(
        point(
            event_label(float(h)),
            Estimand("ATT", "mean_difference", "treated"),
            data.outcome_name,
            (float(fit.beta[0]), float(errors[i]) if errors[i] > least else np.nan),
            df=float(fit.df[0]),
            n_units=rows.n_units,
            n_clusters=fit.n_clusters,
            support=support,
            extra=(("event_time", float(h)),),
        )
        for i, (h, fit) in enumerate(fits.items())
    )


def _method(estimator: LocalProjections, data: Panel, rows: Rows) -> Method:
    given = f" given {', '.join(data.covariate_names)} in the period before" if data.covariate_names else ""
    return Method(
        sample=f"{sample_words(data, rows)}; weighting: {estimator.weighting}",
        std_error=f"clustered by {data.cluster_name}",
        small_sample="G / (G - 1)",
        reference="t with clusters minus one degrees of freedom",
        inference_for="a superpopulation of units",
        assumptions=(
            f"untreated outcomes would have changed in parallel{given}",
            "treatment does not act before it begins",
            "one unit's treatment does not change another's outcome",
        ),
        source="Dube, Girardi, Jorda and Taylor 2023",
        comparison="units untreated until the horizon, the period before treatment starts",
    )


def _checks(lost: list[str]) -> tuple[Check, ...]:
    if not lost:
        return ()
    return (Check("horizons", "warn", f"nothing is compared at {', '.join(lost)}, so there is no row."),)
