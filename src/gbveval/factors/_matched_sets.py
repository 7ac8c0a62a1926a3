"""Matched sets of cases and controls: which are informative, and the fit of their conditional likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, IdentificationError
from gbveval.core.method import Cell
from gbveval.data._frame import Labels
from gbveval.factors._columns import Columns
from gbveval.numerics.conditional_logit import ConditionalFit, SetsOfOneSize, fit_conditional_logit
from gbveval.numerics.least_squares import make_basis
from gbveval.numerics.separation import binomial_direction

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]
SEPARATED = (
    "in every set the case's covariates lie to one side of the controls', so the odds ratio has no finite value; merge "
    "small categories or adjust for fewer columns"
)


@dataclass(frozen=True, eq=False, slots=True)
class MatchedSets:
    """The informative sets of a factor.

    Attributes
    ----------
    columns : Columns
        The data.
    labels, matched : Labels
        Categories of the factor, and matched sets.
    y : ndarray, shape (n,)
        1 for cases.
    informative : ndarray of bool, shape (n,)
        Who is in a set with both a case and a control.
    codes : list of int
        Categories but the reference that are found in such sets.
    """

    columns: Columns
    labels: Labels
    matched: Labels
    y: FloatArray
    informative: BoolArray
    codes: list[int]

    def cell(self, code: int, table: str) -> Cell:
        """Return the counts of a category."""
        member = self.informative & (self.labels.codes == code)
        return Cell(self.labels.levels[code], int(member.sum()), int(self.y[member].sum()), table)

    def fit(self, adjust_for: tuple[str, ...], factor: str) -> tuple[ConditionalFit | None, tuple[str, ...], str]:
        """Return the fit with the factor's columns first, the columns dropped, and why there is no fit."""
        rows = np.flatnonzero(self.informative)
        # Cases first within each set.
        rows = rows[np.lexsort((-self.y[rows], self.matched.codes[rows]))]
        exposures = np.column_stack([(self.labels.codes[rows] == code).astype(float) for code in self.codes])
        x = np.column_stack([exposures, self.columns.design(adjust_for, rows)])
        names = (*(factor for _ in self.codes), *self.columns.names(adjust_for))
        sets = np.unique(self.matched.codes[rows], return_inverse=True)[1]
        within = x - (_sums(sets, x) / np.bincount(sets)[:, None])[sets]
        # Covariates come first for the rank, so that a factor that they explain is the one found out.
        k = exposures.shape[1]
        order = [*range(k, x.shape[1]), *range(k)]
        basis = make_basis(within[:, order], intercept=False)
        gone = [order[i] for i in basis.dropped]
        if any(column < k for column in gone):
            raise IdentificationError(
                f"Factor {factor!r} does not vary within matched sets, or is a combination of the columns it is "
                "adjusted for there. Leave those out."
            )
        kept = [column for column in range(x.shape[1]) if column not in gone]
        dropped = tuple(names[column] for column in gone)
        scale = np.sqrt((within[:, kept] ** 2).mean(axis=0))
        y = self.y[rows]
        if _separated(within[:, kept] / scale, y, sets):
            return None, dropped, SEPARATED
        found = fit_conditional_logit(_by_size(x[:, kept] / scale, y, sets))
        if not found.converged:
            raise ConvergenceError(f"The conditional model of factor {factor!r} found no solution. Adjust for less.")
        scaled = found.covariance / np.outer(scale, scale)
        return ConditionalFit(found.beta / scale, scaled, found.scores, found.log_likelihood, True), dropped, ""


def informative_in(y: FloatArray, sets: IntArray, used: BoolArray) -> BoolArray:
    """Return who is in a set with both a case and a control."""
    count = int(sets.max()) + 1
    n = np.bincount(sets[used], minlength=count)
    cases = np.bincount(sets[used], weights=y[used], minlength=count)
    mixed = (cases > 0) & (cases < n)
    result: BoolArray = used & mixed[np.maximum(sets, 0)]
    return result


def _sums(groups: IntArray, x: FloatArray) -> FloatArray:
    return np.column_stack([np.bincount(groups, weights=column) for column in x.T])


def _by_size(x: FloatArray, y: FloatArray, sets: IntArray) -> list[SetsOfOneSize]:
    """Return the sets by members and cases; rows come set by set, cases first."""
    n, cases = np.bincount(sets), np.bincount(sets, weights=y).astype(int)
    start = np.concatenate([[0], np.cumsum(n)[:-1]])
    found = []
    for members, c in sorted(set(zip(n.tolist(), cases.tolist(), strict=True))):
        here = start[(n == members) & (cases == c)]
        found.append(SetsOfOneSize(x[here[:, None] + np.arange(members)], c))
    return found


def _separated(x: FloatArray, y: FloatArray, sets: IntArray) -> bool:
    """Whether some direction puts no case below a control of its set, and one above: there is no maximum then."""
    differences = []
    n = np.bincount(sets)
    cases = np.bincount(sets, weights=y).astype(int)
    start = np.concatenate([[0], np.cumsum(n)[:-1]])
    for begin, members, c in zip(start, n, cases, strict=True):
        block = x[begin : begin + members]
        differences.append((block[:c, None, :] - block[None, c:, :]).reshape(-1, x.shape[1]))
    unique = np.unique(np.concatenate(differences).round(12), axis=0)
    return binomial_direction(unique, np.ones(unique.shape[0])) is not None
