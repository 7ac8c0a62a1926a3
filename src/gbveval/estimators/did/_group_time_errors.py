"""How exact group-time effects and their averages are: from influence in one way or two, or without each cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gbveval.estimators.did._rollout import NEGATIVE
from gbveval.numerics.group_time_aggregate import Aggregation
from gbveval.numerics.group_time_cells import GroupTimeFit
from gbveval.numerics.group_time_jackknife import LeftOut, jackknife_influence, leave_out_averages
from gbveval.numerics.stratum_influence import std_errors_of
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
    influence: FloatArray | None
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

    def of_averages(self, fit: GroupTimeFit, found: Aggregation, options: dict[str, Any]) -> JointErrors:
        """Return the errors of averages, the overall one last."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class FromInfluence:
    """Sums of squared influence, by unit or by clusters in one way or two.

    Attributes
    ----------
    ways : tuple of ndarray
        Codes of the clusters of all units; none where units are independent.
    """

    ways: tuple[IntArray, ...]

    @property
    def jackknife(self) -> bool:
        """Whether clusters are left out."""
        return False

    def of_cells(self, fit: GroupTimeFit) -> JointErrors:
        """Return the errors of the cells."""
        return self._of(fit)

    def of_averages(self, fit: GroupTimeFit, found: Aggregation, options: dict[str, Any]) -> JointErrors:
        """Return the errors of averages, the overall one last."""
        return self._of(found)

    def _of(self, found: GroupTimeFit | Aggregation) -> JointErrors:
        linear = found.linear
        influence: FloatArray | None
        repaired = False
        if len(self.ways) == 2:
            covariance, repaired = two_way_covariance(found.covariance, *self.ways)
            influence = None
        elif self.ways:
            covariance, influence = found.covariance(self.ways[0]), linear.cluster_sums(self.ways[0])
        else:
            covariance, influence = found.covariance(), found.influence
        error = std_errors_of(covariance, linear.resolution)
        lost = NEGATIVE if repaired else ""
        reason = tuple("" if np.isfinite(one) else lost for one in error)
        return JointErrors(covariance, error, influence, np.inf, reason, repaired)


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

    def of_averages(self, fit: GroupTimeFit, found: Aggregation, options: dict[str, Any]) -> JointErrors:
        """Return the errors of averages, the overall one last."""
        left = leave_out_averages(fit, self.left, found.kind, **options)
        return self._of(left, np.append(found.value, found.overall), found.linear.resolution)

    def _of(self, left: FloatArray, value: FloatArray, resolution: float) -> JointErrors:
        influence = jackknife_influence(left, value)
        covariance = influence.T @ influence
        lost = np.isnan(left).any(axis=0) & np.isfinite(value)
        return JointErrors(
            covariance=covariance,
            std_error=std_errors_of(covariance, resolution),
            influence=influence,
            df=self.left.count - 1.0,
            reason=tuple(WITHOUT if gone else "" for gone in lost),
            repaired=False,
        )
