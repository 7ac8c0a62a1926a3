"""Standard errors that allow for neighbours: the covariance of Conley (1999) in the place of clustering by place.

A panel with the role `place` clusters by place, so that every estimator sums influence within places as it does within
clusters. Here the sums of neighbours are added: to the rows of a result, and to whatever averages are made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Aggregator, Estimates
from gbveval.core.lazy import LazyMatrix
from gbveval.core.method import Check
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.numerics.spatial import Neighbourhood, SpatialCovariance, spatial_covariance

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Sums over clusters, which sums over neighbours extend; other kinds correct each cluster by itself, or have none.
EXTENDED = ("CR0", "CR1", "CR1S", "influence")
# Fewer independent places than this, treated or not, and 95 % intervals cover clearly less (see the how-to page).
FEW_PLACES = 20.0
CANCELLED = (
    "sums over neighbours give no variance above zero: the cutoff is too wide for these places (or use the "
    "bartlett kernel)"
)


def refuse_place(estimator: str, data: Panel, advice: str) -> None:
    """Raise where the panel names places, and the estimator has no sums over places to extend to neighbours."""
    if data.place is not None:
        raise DesignError(f"{estimator} cannot allow for neighbours, and this panel names places (place). {advice}")


def by_place(sums: FloatArray, clusters: IntArray, data: Panel) -> FloatArray:
    """Return sums over the clusters that occur, in order, as one row a place of the panel; unchanged without places."""
    if data.neighbourhood is None:
        return sums
    result = np.zeros((data.neighbourhood.latitude.size, *sums.shape[1:]))
    result[np.unique(clusters)] = sums
    return result


def joint_covariance(data: Panel, covariance: FloatArray, influence: FloatArray | LazyMatrix) -> FloatArray:
    """Return the covariance with neighbours where the panel names places, else the one given."""
    if data.neighbourhood is None:
        return covariance
    return _spatial(np.nan_to_num(np.asarray(influence)), data.neighbourhood).covariance


def _spatial(influence: FloatArray, near: Neighbourhood) -> SpatialCovariance:
    missing = near.latitude.size - influence.shape[0]
    if missing < 0:
        raise ValueError("Influence has more rows than there are places.")
    # Sums by code may end with the last place that is used.
    return spatial_covariance(np.pad(influence, ((0, missing), (0, 0))), near)


def with_neighbours(estimator: Any, data: Panel, result: Estimates) -> Estimates:
    """Return a result whose errors are clustered by place with errors that allow for neighbours.

    Raises
    ------
    DesignError
        If the estimator keeps no influence of places, or its option `std_error` is not one that extends to neighbours.
    """
    near = data.neighbourhood
    assert near is not None
    assert data.place is not None
    kind = getattr(estimator, "std_error", "CR0")
    if kind not in EXTENDED or result.influence is None:
        raise DesignError(
            f"{type(estimator).__name__} with std_error={kind!r} cannot allow for neighbours, and this panel names "
            f"places (place). Use one of {', '.join(EXTENDED)}, or leave place out and name clusters."
        )
    answer, checks = _errors(result, near)
    aggregator = None if result.aggregator is None else SpatialAverages(result.aggregator, result, near)
    return replace(
        answer,
        aggregator=aggregator,
        method=replace(result.method, std_error=f"{result.method.std_error}, {data.place.words()}"),
        checks=(*result.checks, _regions(data, near), *checks),
    )


def _errors(result: Estimates, near: Neighbourhood) -> tuple[Estimates, tuple[Check, ...]]:
    """Return the rows with errors from sums over neighbours, and what is to be said of them."""
    assert result.influence is not None
    found = _spatial(np.asarray(result.influence), near)
    terms = tuple(_term(row, found, i) for i, row in enumerate(result.terms))
    undefined = np.array([row.std_error is None for row in terms], dtype=bool)
    covariance = np.where(undefined[:, None] | undefined[None, :], np.nan, found.covariance)
    checks = []
    if any(row.reason == CANCELLED for row in terms):
        checks.append(Check("spatial variance", "warn", f"in some rows {CANCELLED}."))
    if found.indefinite:
        text = "sums over neighbours need not give a covariance: joint tests and bands leave out negative directions."
        checks.append(Check("spatial covariance", "warn", text))
    answer = replace(result, terms=terms, covariance=covariance, influence=None, aggregator=None, band=None)
    return answer, tuple(checks)


def _term(row: Term, found: SpatialCovariance, i: int) -> Term:
    if row.std_error is None:
        return row
    if found.negative[i] or found.covariance[i, i] <= 0:
        return replace(row, std_error=None, reason=CANCELLED)
    return replace(row, std_error=float(np.sqrt(found.covariance[i, i])))


def _regions(data: Panel, near: Neighbourhood) -> Check:
    """Say how many independent places the treated and the others are like."""
    assert data.cluster is not None
    seen = ~np.isnan(data.outcome)
    kinds = {"ever treated": np.isfinite(data.cohort) & seen, "never treated": np.isinf(data.cohort) & seen}
    words, fewest = [], np.inf
    for kind, rows in kinds.items():
        member = np.zeros(near.latitude.size, dtype=bool)
        member[data.cluster.codes[rows]] = True
        if member.any():
            like = near.independent(member)
            fewest = min(fewest, like)
            words.append(f"{int(member.sum()):,} places {kind} count like {like:.3g} without neighbours")
    text = f"{'; '.join(words)}."
    if fewest >= FEW_PLACES:
        return Check("independent places", "info", text, "places are spread widely beside the cutoff.")
    public = "places make few independent regions: standard errors are then too small, and intervals too short."
    return Check("independent places", "warn", f"{text} With so few, standard errors are too small.", public)


@dataclass(frozen=True, eq=False, slots=True)
class SpatialAverages:
    """Averages whose errors allow for neighbours, from averages that sum influence by place.

    Attributes
    ----------
    inner : Aggregator
        Of the estimator.
    plain : Estimates
        The rows with their influence by place, in memory only.
    near : Neighbourhood
    """

    inner: Aggregator = field(repr=False)
    plain: Estimates = field(repr=False)
    near: Neighbourhood

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return averages, or a test of rows from their covariance with neighbours."""
        if by == "pretest":
            return self.inner.aggregate(estimates, by, options)
        plain = replace(
            estimates,
            terms=self.plain.terms,
            covariance=self.plain.covariance,
            influence=self.plain.influence,
            aggregator=self.inner,
            band=None,
        )
        answer, checks = _errors(self.inner.aggregate(plain, by, options), self.near)
        return replace(answer, checks=(*_others(answer.checks, checks), *checks))


def _others(before: Sequence[Check], after: Sequence[Check]) -> list[Check]:
    """Return the checks that are not said again."""
    return [check for check in before if check not in after]
