"""Unweighted counts of a survey's respondents by categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.counts import CountTable
from gbveval.core.errors import DataError

if TYPE_CHECKING:
    from gbveval.data.survey import Survey

BoolArray = NDArray[np.bool_]


def count_respondents(
    survey: Survey, by: Sequence[str], *, outcome: str | None, within: tuple[str, str] | None
) -> CountTable:
    """Return the table of respondents by one to four category columns, and of those with an outcome."""
    labels = [survey.labels(column) for column in by]
    inside = np.ones(survey.n, dtype=bool) if within is None else _inside(survey, *within)
    known = {column: label.codes >= 0 for column, label in zip(by, labels, strict=True)}
    y = None if outcome is None else _outcome(survey, outcome)
    if y is not None and outcome is not None:
        known[outcome] = ~np.isnan(y)
    keep = inside & np.all(list(known.values()), axis=0)
    if y is not None and not set(np.unique(y[keep]).tolist()) <= {0.0, 1.0}:
        raise DataError(f"Column {outcome!r} (outcome) is not 0 or 1, so those with it cannot be counted.")
    shape = tuple(label.count for label in labels)

    def count(member: BoolArray) -> tuple[tuple[Any, ...], ...]:
        cells = np.zeros(shape, dtype=np.int64)
        np.add.at(cells, tuple(label.codes[member] for label in labels), 1)
        return _nested(cells[:, None] if cells.ndim == 1 else cells)

    title = f"{outcome or 'respondents'} by {' and '.join(by)}"
    return CountTable(
        title=title if within is None else f"{title}, {within[0]} {within[1]}",
        rows=labels[0].levels,
        columns=labels[1].levels if len(labels) > 1 else (),
        layers=tuple(label.levels for label in labels[2:]),
        n=count(keep),
        events=None if y is None else count(keep & (y == 1)),
        left_out=int((inside & ~keep).sum()),
        variables=tuple(by),
        within=() if within is None else (within,),
        outcome=outcome or "",
        answered=tuple(column for column, answered in known.items() if answered[inside].all()),
    )


def _inside(survey: Survey, column: str, category: str) -> BoolArray:
    label = survey.labels(column)
    if category not in label.levels:
        raise DataError(f"Column {column!r} has no such category to confine the table to; it has {label.count}.")
    found: BoolArray = label.codes == label.levels.index(category)
    return found


def _outcome(survey: Survey, outcome: str) -> NDArray[np.float64]:
    if outcome not in survey.outcome_names:
        raise DataError(f"{outcome!r} is not an outcome of the survey; there are: {', '.join(survey.outcome_names)}.")
    return np.asarray(survey.outcomes[:, survey.outcome_names.index(outcome)], dtype=float)


def _nested(cells: NDArray[np.int64]) -> tuple[tuple[Any, ...], ...]:
    def tuples(part: Any) -> Any:
        return tuple(tuples(each) for each in part) if isinstance(part, list) else part

    found: tuple[tuple[Any, ...], ...] = tuples(cells.tolist())
    return found
