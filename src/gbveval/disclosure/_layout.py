"""How a table with its totals is laid out: each axis is a tree, and every total sums its parts along one axis."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Axis:
    """The places along one axis: categories first, then totals of groups, finer before coarser, and the total last.

    Attributes
    ----------
    n_categories : int
        Number of categories, which have the first places.
    parts : tuple of tuple of int
        For each total, in the order of their places, the places that add up to it.
    """

    n_categories: int
    parts: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """Number of places, totals included."""
        return self.n_categories + len(self.parts)

    @property
    def is_plain(self) -> bool:
        """Whether there is no total but the last one."""
        return len(self.parts) == 1

    def members(self) -> IntArray:
        """Return which categories each place is made of, as 0 and 1, shape (size, n_categories)."""
        table = np.zeros((self.size, self.n_categories), dtype=np.int64)
        table[: self.n_categories] = np.eye(self.n_categories, dtype=np.int64)
        for place, parts in enumerate(self.parts, self.n_categories):
            table[place] = table[list(parts)].sum(axis=0)
        return table

    def parents(self) -> list[int]:
        """Return the total that each place is a part of; -1 for the last."""
        above = [-1] * self.size
        for place, parts in enumerate(self.parts, self.n_categories):
            for part in parts:
                above[part] = place
        return above

    def level(self) -> FloatArray:
        """Return how much of a total each place is: 0 for a category, 1 for the total, a half for groups between."""
        weight = np.full(self.size, 0.5)
        weight[: self.n_categories] = 0.0
        weight[-1] = 1.0
        return weight


def make_axis(n_categories: int, levels: Sequence[Sequence[Hashable]] = (), name: str = "the axis") -> Axis:
    """Return an axis whose categories are grouped by `levels`, finer before coarser, one label a category in each."""
    parts: list[tuple[int, ...]] = []
    below = list(range(n_categories))  # the place, on the level reached so far, of each category
    for number, labels in enumerate(levels, 1):
        if len(labels) != n_categories:
            raise DataError(
                f"Grouping {number} of {name} has {len(labels)} labels and there are {n_categories} categories; "
                "give one label for each category."
            )
        groups: dict[Hashable, dict[int, None]] = {}
        of_part: dict[int, Hashable] = {}
        for place, label in zip(below, labels, strict=True):
            groups.setdefault(label, {})[place] = None
            if of_part.setdefault(place, label) != label:
                raise DataError(
                    f"Grouping {number} of {name} divides a group of the one before it. List groupings from fine to "
                    "coarse, each made of whole groups of the one before."
                )
        start = n_categories + len(parts)
        place_of = {label: start + position for position, label in enumerate(groups)}
        parts.extend(tuple(group) for group in groups.values())
        below = [place_of[label] for label in labels]
    parts.append(tuple(dict.fromkeys(below)))
    return Axis(n_categories, tuple(parts))


def plain_axes(shape: Sequence[int]) -> tuple[Axis, ...]:
    """Return axes without groups for a table whose shape, totals included, is `shape`."""
    return tuple(make_axis(length - 1) for length in shape)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The sums that hold in a table with totals.

    Attributes
    ----------
    axes : tuple of Axis
        What the table is broken down by.
    lines : tuple of ndarray
        Flat positions of each line; the last one is the total of the others.
    level : ndarray, shape (size,)
        Along how many axes an entry is a total; totals of groups count a half.
    """

    axes: tuple[Axis, ...]
    lines: tuple[IntArray, ...]
    level: FloatArray

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of places along each axis."""
        return tuple(axis.size for axis in self.axes)

    @property
    def size(self) -> int:
        """Number of entries, totals included."""
        return int(self.level.size)

    @property
    def unimodular(self) -> bool:
        """Whether linear programmes give whole numbers: each entry is then an arc of a network.

        So it is for one or two axes of which at most one has groups.
        """
        return len(self.axes) <= 2 and sum(not axis.is_plain for axis in self.axes) <= 1

    def matrix(self) -> csr_array:
        """Return the sums as a matrix of shape (lines, size): parts count 1, their total -1."""
        return _matrix(self.axes)


@lru_cache(maxsize=64)
def layout(axes: tuple[Axis, ...]) -> Layout:
    """Return the layout of a table with these axes."""
    shape = tuple(axis.size for axis in axes)
    position = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    lines: list[IntArray] = []
    level = np.zeros(shape)
    for number, axis in enumerate(axes):
        along = np.moveaxis(position, number, -1).reshape(-1, axis.size)
        for place, parts in enumerate(axis.parts, axis.n_categories):
            lines.extend(along[:, [*parts, place]])
        level += np.expand_dims(axis.level(), tuple(i for i in range(len(axes)) if i != number))
    return Layout(axes, tuple(lines), level.ravel())


def with_totals(cells: IntArray, axes: tuple[Axis, ...]) -> IntArray:
    """Return `cells` with the totals of groups and of all appended along every axis."""
    table = cells
    for number, axis in enumerate(axes):
        table = np.moveaxis(np.tensordot(axis.members(), table, axes=(1, number)), 0, number)
    return np.ascontiguousarray(table)


def all_along_lines(mask: BoolArray, axes: tuple[Axis, ...]) -> BoolArray:
    """Return, for every entry of the table with totals, whether `mask` holds for all cells it is made of."""
    return np.asarray(with_totals((~mask).astype(np.int64), axes) == 0, dtype=bool)


@lru_cache(maxsize=64)
def _matrix(axes: tuple[Axis, ...]) -> csr_array:
    from scipy.sparse import csr_array

    lines = layout(axes).lines
    columns = np.concatenate(lines)
    rows = np.repeat(np.arange(len(lines)), [line.size for line in lines])
    entries = np.ones(columns.size)
    entries[np.cumsum([line.size for line in lines]) - 1] = -1.0
    return csr_array((entries, (rows, columns)), shape=(len(lines), layout(axes).size))
