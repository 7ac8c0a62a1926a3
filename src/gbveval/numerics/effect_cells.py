"""Effects by cohort and period, and their averages with fixed weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
AVERAGES = ("simple", "event_time", "cohort", "calendar")


@dataclass(frozen=True, eq=False, slots=True)
class EffectCells:
    """Effects on the treated by cohort and period.

    Attributes
    ----------
    cohort, time : ndarray, shape (cells,)
        First treated period, and period.
    value : ndarray, shape (cells,)
        Effect; NaN where it is not identified.
    weight : ndarray, shape (cells,)
        Rows of the cell, or their total weight.
    covariance : ndarray, shape (cells, cells)
    influence : ndarray or None, shape (independent units, cells)
        Its cross-product is the covariance.
    """

    cohort: FloatArray
    time: FloatArray
    value: FloatArray
    weight: FloatArray
    covariance: FloatArray
    influence: FloatArray | None

    @property
    def event_time(self) -> FloatArray:
        """Periods since the first treated one."""
        return self.time - self.cohort

    @property
    def post(self) -> NDArray[np.bool_]:
        """Cells at or after the first treated period."""
        return np.asarray(self.time >= self.cohort)


@dataclass(frozen=True, eq=False, slots=True)
class CellAverages:
    """Averages of cells, the overall one first.

    Attributes
    ----------
    label : ndarray, shape (averages,)
        Event time, cohort or calendar period; NaN for the overall average.
    value : ndarray, shape (averages,)
    covariance : ndarray, shape (averages, averages)
    influence : ndarray or None
    n_cells : ndarray of int, shape (averages,)
    member : ndarray of bool, shape (averages, cells)
    weight : ndarray, shape (averages, cells)
    """

    label: FloatArray
    value: FloatArray
    covariance: FloatArray
    influence: FloatArray | None
    n_cells: NDArray[np.intp]
    member: NDArray[np.bool_]
    weight: FloatArray


def average_cells(
    cells: EffectCells, by: str, *, lowest: float = -np.inf, highest: float = np.inf, balance: float | None = None
) -> CellAverages:
    """Average cells with their weights, which are taken as fixed.

    Parameters
    ----------
    cells : EffectCells
    by : str
        "simple": all cells at or after treatment, by weight; "event_time", "cohort" and "calendar": within each label
        by weight. Overall averages of event times and of periods are plain means (of event times from zero on); that
        of cohorts weighs cohorts by the rows of their largest cell.
    lowest, highest : float
        Range of event times used.
    balance : float, optional
        Only cohorts seen for at least this many periods after treatment begins, and only up to it.

    Returns
    -------
    CellAverages
        Labels without an identified cell are left out.
    """
    event = cells.event_time
    usable = np.isfinite(cells.value) & (cells.weight > 0) & (event >= lowest) & (event <= highest)
    if balance is not None and usable.any():
        usable &= (cells.time[usable].max() - cells.cohort >= balance) & (event <= balance)
    chosen = usable if by == "event_time" else usable & cells.post
    key = {"event_time": event, "cohort": cells.cohort, "calendar": cells.time}.get(by)
    labels = np.empty(0) if key is None else np.unique(key[chosen])
    member = np.zeros((labels.size, cells.value.size), dtype=bool) if key is None else chosen & (key == labels[:, None])
    weight = np.where(member, cells.weight, 0.0)
    weight = weight / np.where(weight.sum(axis=1) > 0, weight.sum(axis=1), 1.0)[:, None]
    overall = _overall(cells, by, labels, weight, usable & cells.post)
    matrix = np.vstack([overall, weight])
    value = np.where(np.isfinite(cells.value), cells.value, 0.0)
    undefined = ~matrix.any(axis=1)
    averaged = matrix @ value
    averaged[undefined] = np.nan
    covariance = np.where(np.isfinite(cells.covariance), cells.covariance, 0.0)
    influence = None if cells.influence is None else np.nan_to_num(cells.influence) @ matrix.T
    return CellAverages(
        label=np.append(np.nan, labels),
        value=averaged,
        covariance=matrix @ covariance @ matrix.T,
        influence=influence,
        n_cells=(matrix != 0).sum(axis=1).astype(np.intp),
        member=matrix != 0,
        weight=matrix,
    )


def _overall(
    cells: EffectCells, by: str, labels: FloatArray, weight: FloatArray, post: NDArray[np.bool_]
) -> FloatArray:
    """Return the weights of the overall average."""
    if by == "simple":
        every = np.where(post, cells.weight, 0.0)
        return np.asarray(every / every.sum()) if every.sum() > 0 else every
    if by == "cohort":
        size = np.array([cells.weight[post & (cells.cohort == g)].max() for g in labels])
        share = size / size.sum() if labels.size else size
    else:
        counted = labels >= 0 if by == "event_time" else np.ones(labels.size, dtype=bool)
        share = counted / max(int(counted.sum()), 1)
    return np.asarray(share @ weight if labels.size else np.zeros(cells.value.size))
