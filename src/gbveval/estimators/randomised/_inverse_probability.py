"""What the estimators by assignment probability share: units, their totals, and how they were assigned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import (
    Row,
    all_samples,
    arm_support,
    assemble,
    mean_contrast,
    require_parallel,
)
from gbveval.numerics.inverse_probability import Assigned

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]
ASSIGNMENTS = ("auto", "complete", "independent")


@dataclass(frozen=True, eq=False, slots=True)
class Units:
    """The units of assignment that have an outcome.

    Attributes
    ----------
    total, number : ndarray, shape (units,)
        Sums of the outcome and numbers of participants.
    arm : ndarray of int
        Arm of each.
    block : ndarray of int or None
        Blocks with fixed numbers by arm; None for independent draws.
    probability : ndarray or None, shape (units, arms)
        Declared probabilities.
    """

    total: FloatArray
    number: FloatArray
    arm: IntArray
    block: IntArray | None
    probability: FloatArray | None


def assignment_of(data: Trial, assignment: str) -> str:
    """Return how the trial assigned: independently where probabilities are declared, else fixed numbers."""
    if assignment != "auto":
        if assignment == "independent" and data.probability is None:
            raise DesignError("assignment='independent' needs the role `probability`: nothing else says how likely.")
        return assignment
    return "complete" if data.probability is None else "independent"


def units_of(data: Trial, outcome: int, assignment: str) -> Units:
    """Return the units of assignment of one outcome, with their totals."""
    used = data.observed(outcome)
    codes = np.flatnonzero(used) if data.cluster is None else data.cluster.codes[used]
    _, first, unit = np.unique(codes, return_index=True, return_inverse=True)
    rows = np.flatnonzero(used)[first]
    block = None
    if assignment == "complete":
        groups = data.stratum or data.pair
        block = (
            np.zeros(rows.size, dtype=np.intp)
            if groups is None
            else np.unique(groups.codes[rows], return_inverse=True)[1].astype(np.intp)
        )
    probability = None
    if data.probability is not None:
        if _varies(data.probability[used], unit):
            raise DesignError(
                "The probability of assignment varies inside clusters; a cluster is assigned as a whole. Give each one."
            )
        probability = data.probability[rows]
    y = data.outcomes[used, outcome]
    total: FloatArray = np.bincount(unit, weights=y).astype(float)
    return Units(total, np.bincount(unit).astype(float), data.arm[rows], block, probability)


def _varies(values: FloatArray, unit: IntArray) -> bool:
    count = int(unit.max()) + 1
    size = np.bincount(unit, minlength=count).astype(float)
    means = np.column_stack([np.bincount(unit, weights=column, minlength=count) / size for column in values.T])
    return bool(np.any(np.abs(values - means[unit]) > 1e-9))


def assigned(units: Units, arm: int) -> Assigned:
    """Return the comparison of an arm with control, with declared probabilities or those of the numbers observed."""
    treated, control = units.arm == arm, units.arm == 0
    if units.probability is not None:
        return Assigned(treated, control, units.probability[:, arm], units.probability[:, 0], units.block)
    assert units.block is not None
    size = np.bincount(units.block).astype(float)
    shares = [np.bincount(units.block, weights=member, minlength=size.size) / size for member in (treated, control)]
    return Assigned(treated, control, shares[0][units.block], shares[1][units.block], units.block)


def check_units(data: Trial, units: Units, arm: int, pairwise: Assigned) -> list[Check]:
    """Raise if an arm or a block lacks an arm; note where numbers and declared probabilities differ."""
    for member, label in ((pairwise.treated, data.arms[arm]), (pairwise.control, data.arms[0])):
        if member.sum() < 2:
            what = "units" if data.cluster is None else "clusters"
            raise IdentificationError(
                f"{int(member.sum())} {what} with an outcome in arm {label!r}; at least 2 are needed for a standard "
                "error."
            )
    if units.block is None:
        return []
    count = int(units.block.max()) + 1
    short = 0
    for member in (pairwise.treated, pairwise.control):
        short += int((np.bincount(units.block, weights=member, minlength=count) == 0).sum())
    if short:
        raise IdentificationError(
            f"{short} times a stratum has no unit with an outcome in one of the arms, so its people cannot be "
            "compared. Merge strata, or leave those out and say so."
        )
    if units.probability is None:
        return []
    size = np.bincount(units.block).astype(float)
    off = 0
    for member, share in ((pairwise.treated, pairwise.p_treated), (pairwise.control, pairwise.p_control)):
        if any(np.ptp(share[units.block == code]) > 1e-9 for code in range(count)):
            raise DesignError(
                "assignment='complete' fixes numbers within a stratum, so everybody in it has one probability; here "
                "they differ. Declare the strata, or use assignment='independent'."
            )
        expected = np.bincount(units.block, weights=share, minlength=count)
        off += int((np.abs(np.bincount(units.block, weights=member, minlength=count) - expected) > 0.5).sum())
    if not off:
        return []
    text = (
        f"in {off} of {count} strata and arms the number assigned is not the declared probability times the "
        f"{int(size.sum())} units; look at the assignment log."
    )
    return [Check("numbers assigned", "warn", text)]


Comparison = Callable[[Units, Assigned], tuple[float, float]]


def estimate_by_probability(
    estimator: Any, data: Trial, *, assignment: str, compare: Comparison, method: Method
) -> Estimates:
    """Return a row for each arm and outcome from a function that gives estimate and variance."""
    require_parallel(type(estimator).__name__, data)
    if data.weight is not None:
        raise DesignError(
            f"{type(estimator).__name__} weights by assignment probabilities and takes no analysis weights. Use Ancova."
        )
    rows, variances, checks = [], [], []
    for outcome, name in enumerate(data.outcome_names):
        units = units_of(data, outcome, assignment)
        used = data.observed(outcome)
        # In fixed numbers an outcome that does not vary leaves no variance, up to rounding.
        constant = units.block is not None and float(np.ptp(data.outcomes[used, outcome])) == 0.0
        for arm in range(1, len(data.arms)):
            pairwise = assigned(units, arm)
            checks += check_units(data, units, arm, pairwise)
            value, variance = compare(units, pairwise)
            variances.append(0.0 if constant else max(variance, 0.0))
            rows.append(
                Row(
                    term=f"{data.arms[arm]} vs {data.arms[0]}",
                    outcome=name,
                    value=value,
                    influence=None,
                    df=float("inf"),
                    estimand=Estimand("ITT", mean_contrast(data, outcome)),
                    n_units=int(used.sum()),
                    n_clusters=None if data.cluster is None else int(units.arm.size),
                    support=arm_support(data, outcome, used, (0, arm)),
                )
            )
    covariance = np.full((len(rows), len(rows)), np.nan)
    np.fill_diagonal(covariance, variances)
    return assemble(estimator, data, rows, method=method, checks=checks, covariance=covariance)


def method_of(data: Trial, std_error: str, source: str, assignment: str) -> Method:
    """Return the method in words."""
    unit = "clusters" if data.cluster is not None else "units"
    how = "with the declared probabilities, independently" if assignment == "independent" else "in fixed numbers"
    return Method(
        sample=all_samples(data),
        std_error=std_error,
        small_sample="none",
        reference="normal",
        inference_for="the participants of the trial (conservative)",
        assumptions=(
            f"{unit} were assigned at random as declared, {how}",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source=source,
    )
