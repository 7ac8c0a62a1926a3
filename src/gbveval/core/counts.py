"""A table of counts of respondents, in one to four directions, before anybody may see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_LAYERS = 2


@dataclass(frozen=True, slots=True, repr=False)
class CountTable:
    """Counts of respondents, and of those with an outcome, by one to four sets of categories.

    It holds what small cells would give away, so it has no display of its own: `release` shows it.

    Parameters
    ----------
    title : str
        What is counted.
    rows, columns : tuple of str
        Category labels; `columns` is empty for a one-way table.
    n : nested tuples of int
        Respondents: one tuple a row, in it one number a column (a single one without columns), or one tuple of the
        categories of each further layer.
    events : nested tuples of int, or None
        Respondents with the outcome; None for a plain frequency table.
    left_out : int
        Respondents without an answer, who are in no cell.
    layers : tuple of tuple of str
        Category labels of a third and fourth direction.
    groups : tuple of tuple of tuple of str
        Groups of categories that get totals of their own: for each direction a tuple of levels, from fine to coarse,
        each with one label a category. Empty, or one entry a direction.
    variables : tuple of str
        What the directions are, in the order rows, columns, layers; by these names a ledger recognises tables that
        break the same people down. Empty if unknown.
    within : tuple of (str, str)
        Variable and category to which the table is confined, for tables of a subgroup.
    outcome : str
        Name of the outcome that `events` counts.
    answered : tuple of str
        Those of `variables` and `outcome` to which nobody's answer is missing; all of them if nobody is left out.
    merged : tuple of tuple of tuple of str
        The finer categories that each category was merged from, for each direction one tuple a category; empty if none
        was. `collapse_categories` sets it, and by it a ledger compares the table with finer ones.

    Examples
    --------
    >>> wards = CountTable(
    ...     "reports by ward", ("a", "b", "c"), (), ((40,), (50,), (60,)), groups=((("north", "north", "south"),),)
    ... )
    >>> wards
    <CountTable reports by ward: 3 rows; release() shows what may be shown>
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    n: tuple[tuple[Any, ...], ...]
    events: tuple[tuple[Any, ...], ...] | None = None
    left_out: int = 0
    layers: tuple[tuple[str, ...], ...] = ()
    groups: tuple[tuple[tuple[str, ...], ...], ...] = ()
    variables: tuple[str, ...] = ()
    within: tuple[tuple[str, str], ...] = ()
    outcome: str = ""
    answered: tuple[str, ...] = ()
    merged: tuple[tuple[tuple[str, ...], ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.layers) > _MOST_LAYERS or (self.layers and not self.columns):
            raise ValueError(f"{self.title!r} can have two layers at most, and only beside rows and columns.")
        shape = (len(self.rows), max(len(self.columns), 1), *(len(layer) for layer in self.layers))
        for table in (self.n, self.events):
            if table is not None and _shape(table) != shape:
                further = "".join(f" of {length}" for length in shape[2:])
                raise ValueError(
                    f"The counts of {self.title!r} must have {shape[0]} rows and {shape[1]} columns{further}."
                )
        for name, given in (("groups", self.groups), ("variables", self.variables), ("merged", self.merged)):
            if given and len(given) != len(self.directions):
                raise ValueError(
                    f"`{name}` of {self.title!r} must have one entry for each of {len(self.directions)} directions."
                )
        for labels, finer in zip(self.directions, self.merged, strict=False):
            named = [name for names in finer for name in names]
            if len(finer) != len(labels) or not all(finer) or len(set(named)) != len(named):
                raise ValueError(
                    f"`merged` of {self.title!r} must name the finer categories of each category, each of them once."
                )

    @property
    def directions(self) -> tuple[tuple[str, ...], ...]:
        """The category labels of each direction."""
        return (self.rows, *((self.columns,) if self.columns else ()), *self.layers)

    @property
    def finest(self) -> tuple[tuple[tuple[str, ...], ...], ...]:
        """The finer categories behind each category of each direction; the category itself where none was merged."""
        return self.merged or tuple(tuple((label,) for label in labels) for labels in self.directions)

    def counts(self) -> NDArray[np.int64]:
        """Respondents, one axis a direction."""
        return self._array(self.n)

    def event_counts(self) -> NDArray[np.int64] | None:
        """Respondents with the outcome, one axis a direction; None if none is counted."""
        return None if self.events is None else self._array(self.events)

    def _array(self, nested: tuple[tuple[Any, ...], ...]) -> NDArray[np.int64]:
        return np.array(nested, dtype=np.int64).reshape([len(labels) for labels in self.directions])

    def __repr__(self) -> str:
        lengths = [len(labels) for labels in self.directions]
        shape = " x ".join(str(length) for length in lengths) if len(lengths) > 1 else f"{lengths[0]} rows"
        return f"<CountTable {self.title}: {shape}; release() shows what may be shown>"


def _shape(nested: Any) -> tuple[int, ...] | None:
    """Return the shape of nested sequences; None where their lengths differ."""
    if not isinstance(nested, Sequence) or isinstance(nested, str):
        return ()
    parts = {_shape(part) for part in nested}
    if len(parts) != 1:
        return None
    (inner,) = parts
    return None if inner is None else (len(nested), *inner)
