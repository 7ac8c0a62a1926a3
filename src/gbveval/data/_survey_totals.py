"""Calibration of a survey to known totals: of numbers, of categories, and of people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DataError, DesignError, IdentificationError
from gbveval.data._frame import plural
from gbveval.data._survey_parts import read_margins
from gbveval.numerics.calibration import Linear, Raking, calibrate, margin_columns

if TYPE_CHECKING:
    from gbveval.data.survey import Survey

FloatArray = NDArray[np.float64]
DISTANCES = ("linear", "raking")
Total = float | Mapping[str, float]


@dataclass(frozen=True, eq=False, slots=True)
class Totals:
    """Columns of which the population's totals are known.

    Attributes
    ----------
    names : tuple of str
        Columns of the frame.
    columns : ndarray, shape (n, k)
        Numbers and indicators, and ones where the number of people is known.
    totals : ndarray, shape (k,)
        In the population.
    """

    names: tuple[str, ...]
    columns: FloatArray
    totals: FloatArray

    def met(self, weights: FloatArray, distance: Linear | Raking, max_iterations: int, tolerance: float) -> FloatArray:
        """Return the nearest weights that meet the totals.

        Raises
        ------
        ConvergenceError
            If the totals are not met within the rounds.
        IdentificationError
            If weights above zero fall to zero or below.
        """
        found = calibrate(
            weights, self.columns, self.totals, distance=distance, max_iterations=max_iterations, tolerance=tolerance
        )
        if not found.gap <= tolerance:
            raise ConvergenceError(
                f"No weights were found that meet the totals in {max_iterations:,} rounds (largest relative difference "
                f"{found.gap:.2g}). Totals may contradict each other, be of another unit or population, or lie beyond "
                "what these respondents can be weighted to: check them, widen the bounds, or leave one out."
            )
        wrong = int(((weights > 0.0) & (found.weights <= 0.0)).sum())
        if wrong:
            raise IdentificationError(
                f"{plural(wrong, 'weight')} would be zero or below. Take distance='raking', or bounds such as "
                "(0.3, 3.0), which keep weights above zero."
            )
        return found.weights


def read_totals(survey: Survey, given: Mapping[str, Total], population: float | None) -> Totals:
    """Return the columns of known totals; a DataError lists, by column, what does not fit."""
    problems: list[str] = []
    parts: list[FloatArray] = []
    totals: list[FloatArray] = []
    categories = {name: total for name, total in given.items() if isinstance(total, Mapping)}
    if categories:
        labels = {name: survey.labels(name) for name in categories}
        try:
            codes, totals = read_margins(labels, categories, survey.weights())
            parts.append(margin_columns(codes, [found.count for found in labels.values()]))
        except DataError as error:
            problems += error.problems
    if population is not None:
        problems += _people(population, totals)
        parts.append(np.ones((survey.n, 1)))
        totals = [*totals, np.array([float(population)])]
    for name, total in given.items():
        if not isinstance(total, Mapping):
            wrong = _number_problems(survey, name, total)
            problems += wrong
            if not wrong:
                parts.append(survey.covariates([name])[0])
                totals = [*totals, np.array([float(total)])]
    if problems:
        raise DataError(tuple(problems))
    return Totals(tuple(given), np.concatenate(parts, axis=1), np.concatenate(totals))


def _number_problems(survey: Survey, name: str, total: float) -> list[str]:
    """Return what is wrong with a numeric column or its total."""
    _, names, complete = survey.covariates([name])
    if names != (name,):
        return [f"Column {name!r} (total) is no number; give the total of each of its categories."]
    absent = int((~complete).sum())
    found = [f"Column {name!r} (total) is missing in {plural(absent, 'row')}; fill it in first."] if absent else []
    if not isinstance(total, Real) or isinstance(total, bool) or not np.isfinite(float(total)):
        found.append(f"The total of {name!r} is not a finite number.")
    return found


def _people(population: float, margins: list[FloatArray]) -> list[str]:
    if not (np.isfinite(population) and population > 0):
        return ["population is the number of people, above zero."]
    if any(abs(float(margin.sum()) - population) > 1e-6 * population for margin in margins):
        return ["The categories of a column do not add to the population; give totals of one population."]
    return []


def distance_of(name: str, bounds: tuple[float, float] | None) -> Linear | Raking:
    """Return the distance of a name; DesignError for one that is not known, or bounds that make no sense."""
    if name not in DISTANCES:
        raise DesignError(f"distance is one of {', '.join(DISTANCES)}, not {name!r}.")
    if bounds is None:
        return Raking() if name == "raking" else Linear()
    if name == "raking":
        raise DesignError("bounds belong to distance='linear'; raking has none.")
    low, high = bounds
    if not 0.0 < low < 1.0 < high:
        raise DesignError("bounds are factors of the weights, the lower between 0 and 1, the upper above 1.")
    return Linear(float(low), float(high))
