"""A panel as the group-time functions take it: paths of units, or rows of repeated cross-sections."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.data.panel import Panel
from gbveval.estimators.did._rollout import refuse_few_treated, unit_weight
from gbveval.numerics.group_time_cells import last_cohort_as_control

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class GroupTimeArrays:
    """What group-time effects are computed from.

    Attributes
    ----------
    paths : ndarray, shape (units, periods), or None
        Outcomes of units followed over time.
    outcome, time : ndarray, shape (rows,), or None
        Repeated cross-sections.
    cohort : ndarray, shape (units,) or (rows,)
    periods : ndarray
    covariates : ndarray or None
        Shape (units, k), (units, periods, k) or (rows, k).
    weight : ndarray or None
    cluster : ndarray of int or None
        Of units or rows; None where they are independent.
    n_left_out, n_weightless : int
        Units or rows left out for missing outcomes, and for weights of zero.
    second : ndarray of int or None
        Clusters in the second way.
    """

    paths: FloatArray | None
    outcome: FloatArray | None
    time: FloatArray | None
    cohort: FloatArray
    periods: FloatArray
    covariates: FloatArray | None
    weight: FloatArray | None
    cluster: IntArray | None
    n_left_out: int
    n_weightless: int = 0
    second: IntArray | None = None

    @property
    def followed(self) -> bool:
        """Whether these are units followed over time."""
        return self.paths is not None

    @property
    def ever_treated(self) -> BoolArray:
        """Who is first treated after the first period used and not after the last."""
        return np.asarray((self.cohort > self.periods[0]) & (self.cohort <= self.periods[-1]))

    def take(self, rows: BoolArray) -> GroupTimeArrays:
        """Return some units or rows."""
        return _take(self, rows)

    @property
    def ways(self) -> tuple[IntArray, ...]:
        """The ways of clustering; none where units are independent."""
        return tuple(way for way in (self.cluster, self.second) if way is not None)

    @property
    def n_clusters(self) -> int | None:
        """Clusters, in the way with fewer; None where units are independent."""
        return min((int(np.unique(way).size) for way in self.ways), default=None)

    def refuse_few_treated(self, treated: BoolArray) -> None:
        """Raise where the treated are one unit, or in one cluster of either way."""
        units = int(np.count_nonzero(treated))
        refuse_few_treated(min((np.unique(way[treated]).size for way in self.ways), default=units))


def used_units(data: Panel) -> BoolArray:
    """Return which units are observed in every period and have a weight above zero."""
    complete = data.complete_units
    return complete if data.weight is None else np.asarray(complete & (data.of_unit(data.weight) > 0))


def unit_paths(estimator: str, data: Panel, unbalanced: str, *, sections: bool = False) -> GroupTimeArrays:
    """Return the paths of the units observed in every period.

    Parameters
    ----------
    estimator : str
        Its name, for messages.
    data : Panel
    unbalanced : str
        "error" or "drop".
    sections : bool
        Whether the estimator also takes "as_cross_sections", which a refusal then names.
    """
    assert data.unit is not None
    complete = data.complete_units
    lost = int((~complete).sum())
    if lost and unbalanced == "error":
        rows = " unbalanced='as_cross_sections' to keep every row," if sections else ""
        raise DesignError(
            f"{lost:,} of {data.n_units:,} units have no outcome in some period. Say unbalanced='drop' to leave them "
            f"out (they are then counted),{rows} or complete the panel."
        )
    if lost == data.n_units:
        rows = ", or say unbalanced='as_cross_sections'" if sections else ""
        raise IdentificationError(
            "No unit has an outcome in every period, so nothing can be compared over time. Leave out periods that are "
            f"rarely observed{rows}."
        )
    used = GroupTimeArrays(
        paths=data.table(data.outcome),
        outcome=None,
        time=None,
        cohort=data.cohort_of_unit(),
        periods=data.periods,
        covariates=_unit_covariates(data) if data.covariate_names else None,
        weight=unit_weight(estimator, data),
        cluster=data.cluster_of_unit(),
        n_left_out=lost,
        second=second_way(estimator, data),
    )
    return _weighted(used if not lost else _take(used, complete))


def cross_section_rows(data: Panel) -> GroupTimeArrays:
    """Return the rows with an outcome, those of one unit as a cluster."""
    seen = ~np.isnan(data.outcome)
    cluster = data.cluster.codes if data.cluster is not None else None
    if cluster is None and data.unit is not None:
        cluster = data.unit.codes
    used = GroupTimeArrays(
        paths=None,
        outcome=data.outcome,
        time=data.periods[data.time],
        cohort=data.cohort,
        periods=data.periods,
        covariates=data.covariates if data.covariate_names else None,
        weight=data.weight,
        cluster=cluster,
        n_left_out=int((~seen).sum()),
        second=second_way("Repeated cross-sections", data),
    )
    return _weighted(_take(used, seen))


def second_way(estimator: str, data: Panel) -> IntArray | None:
    """Return clusters in the second way, of units or of rows; raise where that way is periods."""
    if data.second_cluster is None:
        return None
    codes = data.second_cluster.codes
    if np.array_equal(codes, data.time):
        raise DesignError(
            f"{estimator} cannot cluster by period ({data.cluster_name}): a unit's influence on an effect spans the "
            "periods that are compared. Name a second way that is constant within units, such as a provider, or use "
            "TwoWayFixedEffects or SunAbraham."
        )
    return codes if data.unit is None else np.asarray(data.of_unit(codes), dtype=np.intp)


def last_as_control(used: GroupTimeArrays, anticipation: float) -> GroupTimeArrays:
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
        x = used.covariates
        return replace(
            used,
            paths=used.paths[:, keep],
            cohort=cohort,
            periods=periods,
            covariates=x[:, keep] if x is not None and x.ndim == 3 else x,
        )
    assert used.time is not None
    return _take(replace(used, cohort=cohort, periods=periods), np.isin(used.time, periods))


def _take(used: GroupTimeArrays, rows: BoolArray) -> GroupTimeArrays:
    def part(values: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return None if values is None else values[rows]

    return replace(
        used,
        paths=part(used.paths),
        outcome=part(used.outcome),
        time=part(used.time),
        cohort=used.cohort[rows],
        covariates=part(used.covariates),
        weight=part(used.weight),
        cluster=None if used.cluster is None else used.cluster[rows],
        second=None if used.second is None else used.second[rows],
    )


def _weighted(used: GroupTimeArrays) -> GroupTimeArrays:
    """Return the arrays without units or rows of weight zero, which take part in nothing."""
    if used.weight is None or (used.weight > 0).all():
        return used
    heavy = used.weight > 0
    return replace(_take(used, heavy), n_weightless=int((~heavy).sum()))


def _unit_covariates(data: Panel) -> FloatArray:
    """Return covariates of units; with a dimension of periods where they change over time."""
    table: FloatArray = data.table(data.covariates)
    last: FloatArray = data.of_unit(data.covariates)
    constant = np.array_equal(np.broadcast_to(last[:, None], table.shape), table)
    return last if constant else table
