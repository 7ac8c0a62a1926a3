"""What a caller asks of a table: which groups have totals, and which margins are printed."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np

from gbveval.core.errors import DataError
from gbveval.disclosure._layout import Axis, BoolArray, make_axis

Groupings = Mapping[int, Sequence[Sequence[Hashable]]]
Margins = Collection[Sequence[int]]


def read_axes(shape: Sequence[int], groupings: Groupings | None, pairs: bool) -> tuple[Axis, ...]:
    """Return the axes of a table of cells; of a table of pairs the outcome is the last axis and has no groups."""
    given = dict(groupings or {})
    n_axes = len(shape) - pairs
    wrong = [number for number in given if number not in range(n_axes)]
    if wrong:
        raise DataError(f"`groupings` names {len(wrong)} axes that are not there; the axes are 0 to {n_axes - 1}.")
    return tuple(make_axis(length, given.get(number, ()), f"axis {number}") for number, length in enumerate(shape))


def undeclared(axes: tuple[Axis, ...], margins: Margins | None, pairs: bool) -> BoolArray:
    """Return which entries of a table belong to no declared margin. The outcome is in all of them."""
    shape = tuple(axis.size for axis in axes)
    if margins is None:
        return np.zeros(shape, dtype=bool)
    n_axes = len(axes) - pairs
    asked = {frozenset(margin) for margin in margins}
    if not asked:
        raise DataError("`margins` is empty, so nothing would be printed. Leave it out to print all margins.")
    if any(number not in range(n_axes) for margin in asked for number in margin):
        raise DataError(f"`margins` names an axis that is not there; the axes are 0 to {n_axes - 1}.")
    code = np.zeros(shape, dtype=np.int64)
    for number in range(n_axes):
        kept = np.arange(shape[number]) < shape[number] - 1
        code += np.expand_dims(kept << number, tuple(i for i in range(len(shape)) if i != number))
    wanted = [sum(1 << number for number in margin) for margin in asked]
    return ~np.isin(code, wanted)
