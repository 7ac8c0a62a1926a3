"""How exact group-time effects and their averages are: from influence in one way or two, or without each cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gbveval.core.lazy import LazyMatrix
from gbveval.data.panel import Panel
from gbveval.estimators.did._rollout import NEGATIVE
from gbveval.estimators.did._spatial import by_place
from gbveval.numerics.group_time_aggregate import Aggregation
from gbveval.numerics.group_time_cells import GroupTimeFit
from gbveval.numerics.group_time_jackknife import LeftOut, jackknife_influence, leave_out_averages
from gbveval.numerics.stratum_influence import StratumInfluence, std_errors_of
from gbveval.numerics.two_ways import two_way_covariance

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
WITHOUT = "without one of the clusters it is undefined, so it has no jackknife standard error"


@dataclass(frozen=True, eq=False, slots=True)
class JointErrors:
    """Errors of several estimates.

    Attributes
    ----------
    covariance : ndarray, shape (terms, terms)
    std_error : ndarray, shape (terms,)
        NaN where there is none.
    influence : ndarray, shape (clusters, terms), or None
        Rows whose cross-product is the covariance; None with clusters in two ways.
    df : float
    reason : tuple of str
        Why a term that is defined has no standard error, where it is the kind of error that has none.
    repaired : bool
        Whether negative variances were set to zero.
    """

    covariance: FloatArray
    std_error: FloatArray
    influence: FloatArray | LazyMatrix | None
    df: float
    reason: tuple[str, ...]
    repaired: bool


class GroupTimeErrors(Protocol):
    """A kind of standard error."""

    @property
    def jackknife(self) -> bool:
        """Whether clusters are left out."""
        ...

    def of_cells(self, fit: GroupTimeFit) -> JointErrors:
        """Return the errors of the cells."""
        ...

    def of_averages(
        self, fit: GroupTimeFit, found: Aggregation, order: IntArray, options: dict[str, Any]
    ) -> JointErrors:
        """Return the errors of averages (the overall one is the last of them) in an order."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class FromInfluence:
    """Sums of squared influence, by unit or by clusters in one way or two.

    Attributes
    ----------
    data : Panel
        Which may name places, whose order the rows of influence then have.
    ways : tuple of ndarray
        Codes of the clusters of all units; none where units are independent.
    """

    data: Panel
    ways: tuple[IntArray, ...]

    @property
    def jackknife(self) -> bool:
        """Whether clusters are left out."""
        return False

    def of_cells(self, fit: GroupTimeFit) -> JointErrors:
        """Return the errors of the cells."""
        return self._of(fit, np.arange(fit.att.size))

    def of_averages(
        self, fit: GroupTimeFit, found: Aggregation, order: IntArray, options: dict[str, Any]
    ) -> JointErrors:
        """Return the errors of averages (the overall one is the last of them) in an order."""
        return self._of(found, order)

    def _of(self, found: GroupTimeFit | Aggregation, order: IntArray) -> JointErrors:
        repaired = False
        if len(self.ways) == 2:
            every, repaired = two_way_covariance(found.covariance, *self.ways)
        else:
            every = found.covariance(self.ways[0] if self.ways else None)
        covariance = every[np.ix_(order, order)]
        error = std_errors_of(covariance, found.linear.resolution)
        lost = NEGATIVE if repaired else ""
        return JointErrors(
            covariance=covariance,
            std_error=error,
            influence=None if len(self.ways) == 2 else self._influence(found.linear.take(order)),
            df=np.inf,
            reason=tuple("" if np.isfinite(one) else lost for one in error),
            repaired=repaired,
        )

    def _influence(self, linear: StratumInfluence) -> FloatArray | LazyMatrix:
        """Return the influence of independent units, zero for undefined estimates."""
        if self.ways:
            return by_place(np.nan_to_num(linear.cluster_sums(self.ways[0])), self.ways[0], self.data)
        return LazyMatrix((linear.n_rows, linear.n_terms), lambda: np.nan_to_num(linear.matrix()))


@dataclass(frozen=True, eq=False, slots=True)
class FromJackknife:
    """Changes of the estimates without each cluster.

    Attributes
    ----------
    left : LeftOut
    """

    left: LeftOut

    @property
    def jackknife(self) -> bool:
        """Whether clusters are left out."""
        return True

    def of_cells(self, fit: GroupTimeFit) -> JointErrors:
        """Return the errors of the cells."""
        return self._of(self.left.att, fit.att, fit.linear.resolution)

    def of_averages(
        self, fit: GroupTimeFit, found: Aggregation, order: IntArray, options: dict[str, Any]
    ) -> JointErrors:
        """Return the errors of averages (the overall one is the last of them) in an order."""
        left = leave_out_averages(fit, self.left, found.kind, **options)
        value = np.append(found.value, found.overall)
        return self._of(left[:, order], value[order], found.linear.resolution)

    def _of(self, left: FloatArray, value: FloatArray, resolution: float) -> JointErrors:
        influence = jackknife_influence(left, value)
        covariance = influence.T @ influence
        lost = np.isnan(left).any(axis=0) & np.isfinite(value)
        return JointErrors(
            covariance=covariance,
            std_error=std_errors_of(covariance, resolution),
            influence=np.nan_to_num(influence),
            df=self.left.count - 1.0,
            reason=tuple(WITHOUT if gone else "" for gone in lost),
            repaired=False,
        )
