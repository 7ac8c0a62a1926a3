"""Hides how levels and covariances of cluster-period cells follow from a longitudinal plan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.numerics.cluster_periods import SequenceCells

if TYPE_CHECKING:
    from gbveval.design.cluster_schedule import ClusterSchedule
    from gbveval.design.longitudinal import LongitudinalClusterDesign
    from gbveval.design.outcomes import Outcome

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class CellLevels:
    """Expected outcomes in each observed cell.

    Attributes
    ----------
    means : tuple of ndarray
        For each sequence, in its observed periods.
    slopes : tuple of ndarray
        How much a mean moves with its linear predictor: 1 for the identity.
    shift : float
        The effect on the scale of the link.
    """

    means: tuple[FloatArray, ...]
    slopes: tuple[FloatArray, ...]
    shift: float


def observed_periods(row: tuple[int | None, ...]) -> NDArray[np.intp]:
    """Return the periods in which a sequence is observed."""
    return np.array([period for period, entry in enumerate(row) if entry is not None], dtype=np.intp)


def cell_levels(schedule: ClusterSchedule, outcome: Outcome, link: str, trend: float, effect: float) -> CellLevels:
    """Return the expected outcomes, or say which risk leaves (0, 1)."""
    control, treated = outcome.levels(effect)
    first = control - trend
    if outcome.binary and not 0.0 < first < 1.0:
        raise DesignError(
            f"A risk of {control:g} in control in the last period and a trend of {trend:g} give {first:g} in the "
            "first, which is not between 0 and 1."
        )
    shift = _to(link, treated) - _to(link, control)
    time = np.linspace(0.0, 1.0, schedule.n_periods) if schedule.n_periods > 1 else np.ones(1)
    path = _to(link, first) + (_to(link, control) - _to(link, first)) * time
    means, slopes = [], []
    for row in schedule.rows:
        seen = observed_periods(row)
        mean = _from(link, path[seen] + shift * np.array([float(row[period] or 0) for period in seen]))
        if outcome.binary and not np.all((mean > 0.0) & (mean < 1.0)):
            raise DesignError(
                f"With an effect of {effect:g} and a trend of {trend:g} a risk in some period is not between 0 and 1; "
                "give a smaller one, or link='logit'."
            )
        means.append(mean)
        slopes.append(_slope(link, mean))
    return CellLevels(tuple(means), tuple(slopes), shift)


def cells_of(
    design: LongitudinalClusterDesign, levels: CellLevels, counts: tuple[float, ...], size: float
) -> tuple[SequenceCells, ...]:
    """Return for each sequence what the variance of the effects is computed from."""
    found = []
    for row, exposure, count, mean, slope in zip(
        design.schedule.rows, design.schedule.exposure, counts, levels.means, levels.slopes, strict=True
    ):
        seen = observed_periods(row)
        x = np.array([float(row[period] or 0) for period in seen])
        deviations = np.array([design.outcome.variance(float(level)) for level in mean]) ** 0.5
        covariance = np.outer(deviations, deviations) * design.correlation.of_means(size, seen.astype(float))
        if design.effect_sd:
            lag = np.abs(np.subtract.outer(seen, seen))
            covariance = covariance + float(design.effect_sd) ** 2 * np.outer(x, x) * float(
                design.correlation.decay
            ) ** lag.astype(float)
        if design.course == "immediate":
            effects = x[:, None]
        else:
            since = np.array([exposure[period] for period in seen], dtype=float)
            effects = (since[:, None] == np.array(design.schedule.exposure_times)).astype(float)
        nuisance = _nuisance(design, seen)
        found.append(SequenceCells(count, effects * slope[:, None], nuisance * slope[:, None], covariance))
    return tuple(found)


def _nuisance(design: LongitudinalClusterDesign, seen: NDArray[np.intp]) -> FloatArray:
    """Return the columns of the periods; of the intercept, where there is one, without them."""
    if design.period_effects:
        return np.eye(design.schedule.n_periods)[seen]
    return np.ones((seen.size, 0 if design.cluster_effects == "fixed" else 1))


def _to(link: str, mean: float) -> float:
    if link == "identity":
        return mean
    return math.log(mean) if link == "log" else math.log(mean / (1.0 - mean))


def _from(link: str, linear: FloatArray) -> FloatArray:
    if link == "identity":
        return linear
    return np.exp(linear) if link == "log" else 1.0 / (1.0 + np.exp(-linear))


def _slope(link: str, mean: FloatArray) -> FloatArray:
    if link == "identity":
        return np.ones_like(mean)
    return mean if link == "log" else mean * (1.0 - mean)
