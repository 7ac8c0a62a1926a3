"""The columns of one survey that a table of factors reads: each is read once, however many rows need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gbveval.data._frame import Labels
from gbveval.data.survey import Survey
from gbveval.factors._rows import category
from gbveval.factors.factor import Factor
from gbveval.numerics.patterns import Patterns

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Covariate:
    """A covariate as codes, and what each code is in the columns of a model.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        -1 where missing.
    values : ndarray, shape (codes, columns)
        A number, or indicators of every category but the first.
    names : tuple of str
        Names of the columns.
    """

    codes: IntArray
    values: FloatArray
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Columns:
    """Reads and keeps the factors and covariates of a survey."""

    survey: Survey
    _labels: dict[str, Labels] = field(default_factory=dict)
    _covariates: dict[str, Covariate] = field(default_factory=dict)

    def domain(self, member: BoolArray) -> Columns:
        """Return the columns of a subpopulation: the same answers, outcomes outside not observed."""
        return Columns(self.survey.domain(member), self._labels, self._covariates)

    def replica(self, number: int) -> Columns:
        """Return the columns of the survey as a replicate weights it."""
        return Columns(self.survey.replica(number), self._labels, self._covariates)

    def labels(self, column: str) -> Labels:
        """Return a factor's categories; DesignError for outcomes, numbers, identifiers and primary units."""
        if column not in self._labels:
            self._labels[column] = category(self.survey, column)
        return self._labels[column]

    def join(self, name: str, labels: Labels) -> Factor:
        """Keep a combination of factors under a name, and return it as a factor, its first category the reference."""
        self._labels[name] = labels
        return Factor(name, reference=labels.levels[0])

    def covariate(self, column: str) -> Covariate:
        """Return a covariate; DesignError when a text column is an identifier or the primary unit."""
        if column not in self._covariates:
            self._covariates[column] = self._read(column)
        return self._covariates[column]

    def _read(self, column: str) -> Covariate:
        block, names, complete = self.survey.covariates([column])
        if names == (column,):
            values, inverse = np.unique(block[complete, 0], return_inverse=True)
            codes = np.full(self.survey.n, -1, dtype=np.intp)
            codes[complete] = inverse
            return Covariate(codes, values[:, None], names)
        found = self.labels(column)
        return Covariate(found.codes, np.eye(found.count)[:, 1:], names)

    def complete(self, columns: Sequence[str]) -> BoolArray:
        """Return who has all of some covariates."""
        result = np.ones(self.survey.n, dtype=bool)
        for column in columns:
            result &= self.covariate(column).codes >= 0
        return result

    def names(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the columns of a model with some covariates."""
        return tuple(name for column in columns for name in self.covariate(column).names)

    def design(self, columns: Sequence[str], rows: IntArray) -> FloatArray:
        """Return the columns of a model with some covariates, for some complete respondents."""
        parts = [self.covariate(column) for column in columns]
        return np.column_stack([np.zeros((rows.size, 0)), *(part.values[part.codes[rows]] for part in parts)])


@dataclass(frozen=True, eq=False, slots=True)
class ModelData:
    """What a model of one exposure is fitted on: respondents, and the patterns that they fall into.

    Attributes
    ----------
    y, weights : ndarray, shape (n,)
        Outcome, 0 or 1, and positive sampling weight of the respondents.
    patterns : Patterns
        Combinations of exposure and covariates.
    exposures : ndarray, shape (patterns, exposures)
        An indicator for each category of the factor but the reference.
    covariates : ndarray, shape (patterns, covariates)
        What is adjusted for.
    names : tuple of str
        Names of the covariates.
    """

    y: FloatArray
    weights: FloatArray
    patterns: Patterns
    exposures: FloatArray
    covariates: FloatArray
    names: tuple[str, ...]

    @property
    def total(self) -> FloatArray:
        """Weight of each pattern."""
        return self.patterns.sums(self.weights)

    @property
    def share(self) -> FloatArray:
        """Weighted share of each pattern with the outcome."""
        return np.clip(self.patterns.sums(self.weights * self.y) / self.total, 0.0, 1.0)

    def partial_r2(self) -> FloatArray:
        """Return how much of what covariates leave of the outcome each exposure column explains, shape (exposures,).

        Of the weighted least-squares regression of the outcome on all columns: f^2 = b^2 x'x / e'e with x what the
        other columns leave of the exposure and e the residuals of the whole regression, R^2 = f^2 / (1 + f^2). NaN
        where nothing is left of the exposure, or of the outcome.
        """
        root = np.sqrt(self.total)
        columns = np.column_stack([np.ones(self.patterns.count), self.covariates, self.exposures]) * root[:, None]
        outcome = self.share * root
        fitted = columns @ np.linalg.lstsq(columns, outcome, rcond=None)[0]
        # Outcomes of 0 and 1 vary within a pattern too.
        within = float(self.total @ (self.share * (1.0 - self.share)))
        residual = within + float(np.sum((outcome - fitted) ** 2))
        found = np.full(self.exposures.shape[1], np.nan)
        first = columns.shape[1] - self.exposures.shape[1]
        for k in range(self.exposures.shape[1]):
            others, own = np.delete(columns, first + k, axis=1), columns[:, first + k]
            left = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
            square = float(left @ left)
            if square > 1e-9 * float(own @ own) and residual > 0.0:
                found[k] = (
                    1.0 / (1.0 + residual * square / float(left @ outcome) ** 2) if left @ outcome != 0.0 else 0.0
                )
        return found

    def cases_without(self, log_ratio: FloatArray, row_values: FloatArray) -> tuple[float, FloatArray]:
        """Return the mean over cases of 1 - exp(-log ratio of their category), and its linearised values.

        Parameters
        ----------
        log_ratio : ndarray, shape (exposures,)
            Log ratios of the categories.
        row_values : ndarray, shape (n, exposures)
            Their linearised values by respondent.
        """
        cases = self.share * self.total
        n_cases = float(cases.sum())
        left = np.exp(-self.exposures @ log_ratio)
        value = 1.0 - float(cases @ left) / n_cases
        gradient = self.exposures.T @ (cases * left) / n_cases
        own = self.spread(np.zeros(self.patterns.count), (1.0 - left - value) / n_cases)
        return value, row_values @ gradient + own

    def spread(self, level: FloatArray, slope: FloatArray) -> FloatArray:
        """Return w (level + y slope) by respondent, from what is the same for all of a pattern."""
        at = self.patterns.index
        if slope.ndim == 1:
            return self.weights * (level[at] + self.y * slope[at])
        return self.weights[:, None] * (level[at] + self.y[:, None] * slope[at])
