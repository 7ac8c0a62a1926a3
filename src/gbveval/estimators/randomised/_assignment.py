"""How a trial's units were assigned, as a scheme of allocations over units of assignment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import DesignError
from gbveval.data.trial import Trial
from gbveval.numerics.allocations import Codes, Scheme, count_allocations, permuted

IntArray = NDArray[np.intp]
ASSIGNMENTS = ("auto", "complete", "simple")


class RecordedAllocations:
    """Allocations that the trial's own randomisation could have given, recorded beforehand.

    For designs that no formula describes: restricted randomisation with balance constraints, minimisation, a lottery in
    steps. The randomisation's program, run many times, gives the rows.

    Parameters
    ----------
    codes : array_like of int, shape (allocations, units of assignment)
        0 for control, 1, 2, ... for the other arms in the order of `Trial.arms`. Columns are the rows of the trial, or
        its clusters in alphabetical order. Every row counts as equally likely.

    Examples
    --------
    >>> RecordedAllocations([[0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 1, 0]])
    <RecordedAllocations: 3 of 4 units>
    """

    __slots__ = ("codes", "digest")

    def __init__(self, codes: ArrayLike) -> None:
        table = np.asarray(codes)
        if table.ndim != 2 or table.size == 0 or not np.all((table >= 0) & (table < 127) & (table == np.round(table))):
            raise DesignError(
                "Recorded allocations are a table of whole numbers, one row an allocation and one column a unit of "
                "assignment: 0 for control, 1 and on for the other arms."
            )
        self.codes: Codes = table.astype(np.int8)
        self.codes.flags.writeable = False
        self.digest = hashlib.sha256(repr(self.codes.shape).encode() + self.codes.tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedAllocations) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<RecordedAllocations: {self.codes.shape[0]:,} of {self.codes.shape[1]:,} units>"

    def __getstate__(self) -> dict[str, Any]:
        return {"codes": self.codes, "digest": self.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self.codes.flags.writeable = False


@dataclass(frozen=True, eq=False, slots=True)
class Assignment:
    """How units were assigned.

    Attributes
    ----------
    unit : ndarray of int, shape (rows,)
        Unit of assignment of each row of the trial.
    block : ndarray of int, shape (units,)
        Stratum or pair of each unit; zeros when there are none.
    scheme : Scheme
        What was permuted or drawn.
    words : str
        The assignment, said.
    count : int
        Allocations there are.
    arm_of : ndarray of int or None, shape (labels, periods)
        For stepped wedges, the arm of each sequence in each period.
    """

    unit: IntArray
    block: IntArray
    scheme: Scheme
    words: str
    count: int
    arm_of: IntArray | None = None

    def arms(self, codes: Codes, trial: Trial) -> IntArray:
        """Return the arm of every row of the trial under one allocation of the units."""
        if self.arm_of is None:
            return codes[self.unit].astype(np.intp)
        assert trial.time is not None
        return self.arm_of[codes[self.unit], trial.time.codes]


def assignment_of(trial: Trial, how: str | RecordedAllocations) -> Assignment:
    """Return how the units of a trial were assigned.

    Parameters
    ----------
    trial : Trial
        The trial.
    how : str or RecordedAllocations
        "complete": the numbers in each arm (of each stratum or pair) were fixed. "simple": units were drawn one by one
        with the trial's probabilities. "auto": simple where the role probability is given and varies inside blocks,
        else complete; with one probability for all this conditions on the numbers found, which is valid either way.
        Where the trial declares its allocation, "auto" runs the declared scheme again.
    """
    if trial.saturation is not None:
        raise DesignError(
            "This trial declares a saturation: clusters were assigned, and then people inside them. Nothing here draws "
            "allocations in two stages. Use SaturationEffects."
        )
    unit = np.arange(trial.n) if trial.cluster is None else trial.cluster.codes
    _, first = np.unique(unit, return_index=True)
    what = "units" if trial.cluster is None else "clusters"
    role = next((name for name in ("stratum", "pair") if getattr(trial, name) is not None), None)
    block = np.zeros(first.size, dtype=np.intp) if role is None else getattr(trial, role).codes[first]
    if runs_again(trial, how):
        return _allocated(trial, unit, first, block)
    if trial.crosses_over:
        return _stepped(trial, unit, first, block, how)
    label = trial.arm[first]
    if isinstance(how, RecordedAllocations):
        return _recorded(trial, how, unit, block, label)
    if how == "simple" or (how == "auto" and _varies(trial, first, block)):
        if trial.probability is None:
            raise DesignError(
                "Simple assignment needs the probability of each arm. Name its column in Trial(probability=...)."
            )
        scheme = Scheme(label.astype(np.int8), len(trial.arms), block, probability=trial.probability[first])
        words = f"{what} drawn independently with their probabilities, given that every arm has some"
        return Assignment(unit, block, scheme, words, count_allocations(scheme))
    scheme = permuted(label, block)
    within = "" if role is None else (" within strata" if role == "stratum" else " within pairs")
    return Assignment(unit, block, scheme, f"{what} permuted{within}, numbers kept", count_allocations(scheme))


def runs_again(trial: Trial, how: str | RecordedAllocations) -> bool:
    """Return whether the scheme that the trial declares is run again."""
    return trial.allocation is not None and how == "auto"


def _allocated(trial: Trial, unit: IntArray, first: IntArray, block: IntArray) -> Assignment:
    """Run the declared scheme again for the units of assignment that are in the trial."""
    assert trial.allocation is not None
    assert trial.allocated_unit is not None
    arm_of = trial.allocation.arm_of
    # Codes are sequences where arms change over time; else the trial's arms, which may stand in another order there.
    order = np.array([trial.arms.index(arm) for arm in trial.allocation.arms], dtype=np.intp)
    code_of = np.arange(arm_of.shape[0]) if trial.crosses_over else order[arm_of[:, 0]]
    scheme = trial.allocation.scheme_of(trial.allocated_unit[first], code_of)
    words = f"the declared scheme run again ({trial.allocation.words})"
    table = arm_of if trial.crosses_over else None
    return Assignment(unit, block, scheme, words, count_allocations(scheme), table)


def _varies(trial: Trial, first: IntArray, block: IntArray) -> bool:
    """Return whether probabilities differ inside a block, so that permuting labels there would be wrong."""
    if trial.probability is None:
        return False
    found = trial.probability[first]
    low = np.full((int(block.max()) + 1, found.shape[1]), np.inf)
    high = np.full_like(low, -np.inf)
    np.minimum.at(low, block, found)
    np.maximum.at(high, block, found)
    return bool(np.any(high - low > 1e-9))


def _recorded(trial: Trial, how: RecordedAllocations, unit: IntArray, block: IntArray, label: IntArray) -> Assignment:
    if how.codes.shape[1] != label.size or int(how.codes.max()) >= len(trial.arms):
        raise DesignError(
            f"The recorded allocations have {how.codes.shape[1]:,} columns and arms up to {int(how.codes.max())}; the "
            f"trial has {label.size:,} units of assignment and arms 0 to {len(trial.arms) - 1}. Give one column a unit "
            "of assignment, in the trial's order."
        )
    scheme = Scheme(label.astype(np.int8), len(trial.arms), block, recorded=how.codes)
    return Assignment(unit, block, scheme, "allocations recorded beforehand", int(how.codes.shape[0]))


def _stepped(
    trial: Trial, unit: IntArray, first: IntArray, block: IntArray, how: str | RecordedAllocations
) -> Assignment:
    """Permute the sequences of clusters, which are read from the arms where no sequence is declared."""
    assert trial.cluster is not None
    assert trial.time is not None
    if how not in ("auto", "complete"):
        raise DesignError("In a stepped wedge the sequences of clusters are permuted; use assignment='complete'.")
    path = np.full((first.size, trial.time.count), -1, dtype=np.intp)
    path[unit, trial.time.codes] = trial.arm
    if trial.sequence is not None:
        label = trial.sequence.codes[first]
    else:
        if np.any(path < 0):
            raise DesignError(
                "Some clusters have no row in some periods, so their sequence cannot be read. Name it: "
                "Trial(sequence=...)."
            )
        label = np.unique(path, axis=0, return_inverse=True)[1].ravel()
    table = np.full((int(label.max()) + 1, trial.time.count), -1, dtype=np.intp)
    for code in range(table.shape[0]):
        members = path[label == code]
        table[code] = members.max(axis=0)
        if np.any((members >= 0) & (members != table[code])):
            raise DesignError("Clusters of one sequence are in different arms in one period. Mend the column sequence.")
    if np.any(table < 0):
        raise DesignError("A sequence has no cluster with a row in some period, so its arm there is unknown.")
    scheme = permuted(label, block)
    within = "" if trial.stratum is None else " within strata"
    words = f"sequences of clusters permuted{within}"
    return Assignment(unit, block, scheme, words, count_allocations(scheme), table)
