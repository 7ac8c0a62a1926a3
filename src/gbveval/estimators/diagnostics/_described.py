"""The columns of a trial that are described by arm, one by one and as a matrix without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.data.trial import Trial

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Described:
    """One column as it was given.

    Attributes
    ----------
    name : str
        The column.
    levels : tuple of str
        Its categories; a single empty text for numbers.
    values : ndarray, shape (n, levels)
        The numbers, or an indicator of each level; NaN where missing.
    """

    name: str
    levels: tuple[str, ...]
    values: FloatArray

    @property
    def is_category(self) -> bool:
        """Whether the column holds categories."""
        return self.levels != ("",)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Rows without a value, shape (n,)."""
        return np.isnan(self.values[:, 0])


def described(trial: Trial, columns: Sequence[str] | None = None) -> tuple[Described, ...]:
    """Return characteristics, then covariates and the baseline outcome that are not among them.

    Parameters
    ----------
    trial : Trial
        The trial.
    columns : sequence of str, optional
        Only these, in this order.
    """
    found: dict[str, Described] = {}
    for name in dict.fromkeys(column for column, _ in trial.characteristic_names):
        places = [i for i, (column, _) in enumerate(trial.characteristic_names) if column == name]
        levels = tuple(trial.characteristic_names[i][1] for i in places)
        found[name] = Described(name, levels, trial.characteristics[:, places])
    first = dict(trial.covariate_levels)
    for position, name in enumerate(trial.covariate_names):
        column = next((known for known in first if name.startswith(f"{known}[") and name.endswith("]")), None)
        if column is None:
            found.setdefault(name, Described(name, ("",), trial.covariates[:, [position]]))
        elif column not in found:
            found[column] = _category(trial, column, first[column])
    if trial.baseline is not None:
        found.setdefault("baseline", Described("baseline", ("",), trial.baseline[:, None]))
    # A category of which one level occurs has no indicator, and still is described.
    for column in first:
        found.setdefault(column, _category(trial, column, first[column]))
    if not found:
        raise DesignError("The trial has no column to describe. Name them in Trial(characteristics=[...]).")
    if columns is None:
        return tuple(found.values())
    absent = [name for name in columns if name not in found]
    if absent or not columns:
        raise DesignError(
            f"{', '.join(map(repr, absent)) or 'Nothing'} is not among the columns described: {', '.join(found)}. Name "
            "some of these, or add the column to Trial(characteristics=[...])."
        )
    return tuple(found[name] for name in dict.fromkeys(columns))


def _category(trial: Trial, column: str, first: str) -> Described:
    names = trial.covariate_names
    places = [i for i, name in enumerate(names) if name.startswith(f"{column}[") and name.endswith("]")]
    others = trial.covariates[:, places]
    levels = (first, *(names[i][len(column) + 1 : -1] for i in places))
    return Described(column, levels, np.column_stack([1.0 - others.sum(axis=1), others]))


def filled(columns: Sequence[Described]) -> tuple[FloatArray, tuple[str, ...], int]:
    """Return a matrix without gaps: means in place of missing numbers, and an indicator of who is missing.

    Returns
    -------
    matrix : ndarray, shape (n, k)
        The first level of a category is left out.
    names : tuple of str
        The column that each came from.
    incomplete : int
        Columns with missing values.
    """
    parts: list[FloatArray] = []
    names: list[str] = []
    incomplete = 0
    for one in columns:
        missing = one.missing
        values = one.values[:, 1:] if one.is_category else one.values
        if missing.any():
            incomplete += 1
            seen = values[~missing]
            values = np.where(missing[:, None], seen.mean(axis=0) if seen.size else 0.0, values)
            parts.append(missing.astype(float)[:, None])
            names.append(one.name)
        parts.append(values)
        names += [one.name] * values.shape[1]
    matrix = np.hstack(parts) if parts else np.zeros((0, 0))
    return matrix, tuple(names), incomplete
