"""The statistic of a trial under many allocations: by matrix products for differences in means, else by refitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, GbvevalError
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._trials import changed
from gbveval.estimators.randomised._assignment import Assignment
from gbveval.numerics.allocations import Codes
from gbveval.numerics.groups import group_sizes, group_sums
from gbveval.numerics.randomisation import (
    ClusterMeans,
    DesignStatistic,
    PairDifferences,
    Parts,
    WeightedMeans,
    join_parts,
    stratum_means,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


def complete_pairs(trial: Trial, assignment: Assignment, used: BoolArray) -> BoolArray:
    """Leave out the rows of pairs in which one unit of assignment has no outcome."""
    if trial.pair is None:
        return used
    present = np.zeros(assignment.block.size, dtype=bool)
    present[assignment.unit[used]] = True
    whole = np.bincount(assignment.block, weights=present, minlength=trial.pair.count) == 2
    return np.asarray(used & whole[trial.pair.codes])


def design_statistic(
    trial: Trial, assignment: Assignment, y: FloatArray, arm: int, used: BoolArray, kind: str
) -> DesignStatistic:
    """Return the difference in means between an arm and control, as the trial's design has it.

    Parameters
    ----------
    trial : Trial
        Whose pairs, strata and clusters count.
    assignment : Assignment
        Units of assignment.
    y : ndarray, shape (rows,)
        Outcome.
    arm : int
        The arm compared with control.
    used : ndarray of bool, shape (rows,)
        Rows with an outcome.
    kind : str
        "design", "ipw" (weights inverse to the probability of the arm) or "pooled" (Student's variance).
    """
    received = (trial.arm == arm).astype(np.float64)
    if kind == "ipw":
        return _weighted(assignment, y, received, used)
    if trial.pair is not None:
        return _pairs(trial, assignment, y, used)
    if trial.cluster is None:
        if kind == "pooled" and trial.stratum is not None:
            raise DesignError("Student's t has one variance for all; use the studentised statistic with strata.")
        return stratum_means(y, received, assignment.block, used, pooled=kind == "pooled")
    return _clusters(assignment, y, received, used)


def _unit_sums(
    assignment: Assignment, y: FloatArray, received: FloatArray, used: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return people, centred outcome totals and totals of treatment received, by unit of assignment."""
    unit, count = assignment.unit[used], assignment.block.size
    values = y[used] - y[used].mean()
    return group_sizes(unit, count), group_sums(unit, values, count), group_sums(unit, received[used], count)


def _weighted(assignment: Assignment, y: FloatArray, received: FloatArray, used: BoolArray) -> WeightedMeans:
    scheme = assignment.scheme
    size, total, shift = _unit_sums(assignment, y, received, used)
    if scheme.probability is not None:
        probability = scheme.probability
    elif scheme.source is not None:
        probability = scheme.source.probabilities()
    elif scheme.recorded is not None:
        probability = np.column_stack([(scheme.recorded == a).mean(axis=0) for a in range(scheme.n_labels)])
    else:
        count = np.bincount(scheme.block)
        found = [np.bincount(scheme.block, weights=scheme.labels == a) / count for a in range(scheme.n_labels)]
        probability = np.column_stack(found)[scheme.block]
    return WeightedMeans(size, total, shift, probability)


def _pairs(trial: Trial, assignment: Assignment, y: FloatArray, used: BoolArray) -> PairDifferences:
    assert trial.pair is not None
    label = assignment.scheme.labels
    unit, n_units = assignment.unit[used], assignment.block.size
    size = group_sizes(unit, n_units)
    present = np.flatnonzero(size > 0)
    mean = group_sums(unit, y[used], n_units)[present] / size[present]
    order = np.lexsort((label[present], assignment.block[present]))
    control, treated = order[0::2], order[1::2]
    difference = mean[treated] - mean[control]
    # Pairs of clusters count with their people, as in Imai, King and Nall (2009).
    weight = size[present][treated] + size[present][control] if trial.cluster is not None else np.ones(treated.size)
    scale = weight * treated.size / weight.sum()
    first = present[treated]
    return PairDifferences(first, np.ones(first.size, dtype=bool), scale * difference, scale)


def _clusters(assignment: Assignment, y: FloatArray, received: FloatArray, used: BoolArray) -> DesignStatistic:
    size, total, shift = _unit_sums(assignment, y, received, used)
    parts = []
    for block in np.unique(assignment.block):
        where = np.flatnonzero((assignment.block == block) & (size > 0))
        if where.size:
            share = float(size[where].sum() / size.sum())
            parts.append((share, ClusterMeans(where, size[where], total[where], shift[where])))
    return parts[0][1] if len(parts) == 1 else StratifiedClusters(tuple(parts))


@dataclass(frozen=True, eq=False, slots=True)
class StratifiedClusters:
    """Differences of clusters within strata, each stratum with the share of its people."""

    strata: tuple[tuple[float, ClusterMeans], ...]

    def parts(self, codes: Codes, arm: int) -> Parts:
        """Return the parts of many allocations."""
        found = np.zeros((5, codes.shape[0]))
        for share, stratum in self.strata:
            part = stratum.parts(codes, arm)
            found += np.stack([part.d_y * share, part.d_shift * share, *(v * share**2 for v in _variances(part))])
        return Parts(*found)


def _variances(part: Parts) -> tuple[FloatArray, FloatArray, FloatArray]:
    return part.v_yy, part.v_ys, part.v_ss


@dataclass(frozen=True, eq=False, slots=True)
class Refit:
    """Any estimator, fitted again on every allocation of a trial with two arms.

    When `linear`, the estimate is linear and its variance quadratic in the outcome; then the fits to the outcome y, to
    the treatment received D and to y + D tell what the estimator gives for y - tau D, at every tau.
    """

    estimator: Any
    trial: Trial
    assignment: Assignment
    linear: bool

    def parts(self, codes: Codes, arm: int) -> Parts:
        """Return the parts of many allocations; an allocation that the estimator refuses is undefined."""
        del arm
        return join_parts([self._one(row) for row in codes])

    def _one(self, row: Codes) -> Parts:
        data = changed(self.trial, arm=self.assignment.arms(row, self.trial))
        try:
            rows = main_rows(self.estimator, data, data.outcomes.shape[1])
        except GbvevalError:
            rows = []
        if not rows or rows[0].value is None:
            return Parts(*(np.array([np.nan]) for _ in range(5)))
        value = [0.0 if row.value is None else row.value for row in rows]
        variance = [np.nan if row.std_error is None else row.std_error**2 for row in rows]
        if not self.linear:
            return Parts(*(np.array([x]) for x in (value[0], 0.0, variance[0], 0.0, 0.0)))
        v_ss = 0.0 if np.isnan(variance[1]) else variance[1]
        both = variance[0] + v_ss if np.isnan(variance[2]) else variance[2]
        v_ys = (both - variance[0] - v_ss) / 2.0
        return Parts(*(np.array([x]) for x in (value[0], value[1], variance[0], v_ys, v_ss)))


def main_rows(estimator: Any, trial: Trial, n_outcomes: int) -> list[Term]:
    """Return the first causal row of each outcome."""
    found = [row for row in estimator.estimate(trial).terms if row.estimand.effect != "nuisance"]
    first: dict[str, Term] = {}
    for row in found:
        first.setdefault(row.outcome, row)
    if len(first) != n_outcomes or any(row.kind != "point" for row in first.values()):
        raise DesignError(
            f"{estimator.name} does not give one estimate an outcome, so allocations cannot be compared by it. Use an "
            "estimator with one effect, or the difference in means."
        )
    return list(first.values())


def refit(estimator: Any, trial: Trial, assignment: Assignment, outcome: int) -> Refit:
    """Prepare refits of an estimator to one outcome of a trial with two arms, and find out whether it is linear."""
    y = trial.outcomes[:, outcome]
    # Sums of large outcomes and small effects would lose the digits that tell whether an estimator is linear.
    centred = y - np.nanmean(y)
    d = np.where(np.isnan(y), np.nan, trial.arm.astype(float))
    name = trial.outcome_names[outcome]

    def with_outcomes(*columns: FloatArray) -> Trial:
        names = tuple(f"{name} {i}" for i in range(len(columns)))
        return changed(trial, outcome_names=names, outcomes=np.column_stack(columns))

    alone = with_outcomes(y)
    base = main_rows(estimator, alone, 1)[0]
    spread = float(np.nanstd(y)) or 1.0
    linear = base.estimand.link == "identity" and base.value is not None
    if linear:
        try:
            rows = main_rows(estimator, with_outcomes(centred, centred + 0.37 * spread * d, 2.0 * centred), 3)
            values = [np.nan if row.value is None else row.value for row in rows]
            start = float(values[0])
            expected = [start, start + 0.37 * spread, 2.0 * start]
            linear = bool(np.allclose(values, expected, rtol=1e-7, atol=1e-7 * spread))
            if linear:
                main_rows(estimator, with_outcomes(centred, d, centred + d), 3)
        except GbvevalError:
            linear = False
    data = with_outcomes(centred, d, centred + d) if linear else alone
    return Refit(estimator, data, assignment, linear)
