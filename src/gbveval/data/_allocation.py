"""Hides how the rows of a trial are found among the units that a declared scheme allocated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError
from gbveval.core.protocols import Allocation
from gbveval.data._frame import Labels, Reader, plural

if TYPE_CHECKING:
    from gbveval.data.trial import Trial

IntArray = NDArray[np.intp]


def match_allocation(reader: Reader, trial: Trial, allocation: Any, rows: IntArray) -> IntArray | None:
    """Return the unit of assignment of each row of a trial; note a problem where rows and scheme do not agree.

    Parameters
    ----------
    reader : Reader
        Takes the problems.
    trial : Trial
        Its arms, clusters and units.
    allocation : Allocation or None
        What was allocated; without it there is nothing to find.
    rows : ndarray of int
        Places of the trial's rows in the frame.
    """
    if allocation is None:
        return None
    if not isinstance(allocation, Allocation):
        raise DataError("allocation takes what gbveval.allocate returned.")
    if set(trial.arms) != set(allocation.arms) or trial.arms[0] != allocation.arms[0]:
        reader.problem(
            f"The arms of the allocation are {', '.join(map(repr, allocation.arms))}, control first; the trial's are "
            f"{', '.join(map(repr, trial.arms))}."
        )
        return None
    unit = _units(reader, trial, allocation, rows)
    if unit is None:
        return None
    if np.any(unit < 0):
        reader.problem(
            f"{plural(int((unit < 0).sum()), 'row')} of the trial are no units of the allocation. Leave them out."
        )
        return None
    _check_units(reader, trial, allocation, unit)
    _check_arms(reader, trial, allocation, unit)
    return unit


def _units(reader: Reader, trial: Trial, allocation: Allocation, rows: IntArray) -> IntArray | None:
    """Return the number of each row's unit of assignment, -1 where it was not allocated."""
    if allocation.unit_names is None:
        if allocation.n_rows != reader.n:
            reader.problem(
                f"The allocated frame had {plural(allocation.n_rows, 'row')} without names and the trial's has "
                f"{plural(reader.n, 'row')}, so they cannot be matched. Name units in gbveval.allocate(unit=...), and "
                "here in Trial(unit=...)."
            )
            return None
        return rows
    role = "cluster" if allocation.assigns_clusters else "unit"
    found: Labels | None = getattr(trial, role)
    if found is None:
        reader.problem(f"The allocation names its units; give Trial the role {role} so that rows can be matched.")
        return None
    place = {name: number for number, name in enumerate(allocation.unit_names)}
    by_level = np.array([place.get(level, -1) for level in found.levels], dtype=np.intp)
    return np.asarray(by_level[found.codes])


def _check_units(reader: Reader, trial: Trial, allocation: Allocation, unit: IntArray) -> None:
    """Note where the trial's units of assignment are not those of the allocation."""
    if allocation.assigns_clusters and trial.cluster is None:
        reader.problem("The allocation assigned clusters; give Trial the role cluster.")
    if not allocation.assigns_clusters and trial.cluster is not None and trial.saturation is None:
        reader.problem("The allocation assigned single units and not clusters; leave the role cluster out.")
    if not allocation.assigns_clusters and np.unique(unit).size < unit.size:
        reader.problem("Units of the allocation have several rows; a trial of single units has one row each.")


def _check_arms(reader: Reader, trial: Trial, allocation: Allocation, unit: IntArray) -> None:
    """Note rows that are not in the arm that was allocated."""
    arm_of = allocation.arm_of
    period: IntArray | int = 0
    if arm_of.shape[1] > 1:
        if trial.time is None or trial.time.count != arm_of.shape[1]:
            reader.problem(
                f"The allocation has {arm_of.shape[1]} periods; give Trial the role time with as many, in order."
            )
            return
        period = trial.time.codes
    label = allocation.label_of_unit[unit]
    order = np.array([trial.arms.index(arm) for arm in allocation.arms])
    expected = np.where(label < 0, -1, order[arm_of[label, period]])
    wrong = int((expected != trial.arm).sum())
    if wrong:
        reader.problem(
            f"{plural(wrong, 'row')} are in another arm than was allocated. Analyse people as allocated; what they "
            "received is the role received."
        )
