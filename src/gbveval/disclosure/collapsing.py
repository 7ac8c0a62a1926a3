"""Collapsing categories as an alternative to suppression: fewer groups, larger ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.counts import CountTable
from gbveval.core.errors import DesignError


def collapse_categories(table: CountTable, direction: int | str, into: Mapping[str, str]) -> CountTable:
    """Return a table in which categories of one direction are merged.

    The table remembers what was merged, so that a ledger can compare it with the finer one. Two tables that break one
    variable down into categories that were merged by hand are refused.

    Parameters
    ----------
    table : CountTable
        The table, before release.
    direction : int or str
        Number of the direction (0 for rows, 1 for columns, then layers) or its name in `table.variables`.
    into : mapping of str to str
        Old category to new one; categories that are not named stay. Merge categories that mean something together: a
        number that is large because unlike people are in it helps nobody.

    Returns
    -------
    CountTable

    Raises
    ------
    DesignError
        The direction or a category is not there, nothing is merged, or merged categories are in different groups.

    Examples
    --------
    >>> import gbveval as gbv
    >>> table = gbv.CountTable("staff", ("deaf", "blind", "none"), (), ((7,), (8,), (90,)))
    >>> merged = gbv.collapse_categories(table, 0, {"deaf": "sensory", "blind": "sensory"})
    >>> merged.rows, gbv.release(merged).tables()[0].rows
    (('sensory', 'none'), (('sensory', 15), ('none', 90), ('total', 105)))
    """
    number = _number(table, direction)
    labels = table.directions[number]
    unknown = [name for name in into if name not in labels]
    if unknown:
        raise DesignError(f"`into` names {len(unknown)} categories that are not there; there are: {', '.join(labels)}.")
    renamed = [into.get(label, label) for label in labels]
    kept = tuple(dict.fromkeys(renamed))
    if len(kept) == len(labels):
        raise DesignError("`into` merges no categories: give the same new name to two of them.")
    of_new = np.array([kept.index(name) for name in renamed])
    events = table.event_counts()
    directions, finest = list(table.directions), list(table.finest)
    directions[number] = kept
    finest[number] = tuple(
        tuple(name for names, to in zip(finest[number], renamed, strict=True) if to == label for name in names)
        for label in kept
    )
    return replace(
        table,
        rows=directions[0],
        columns=directions[1] if len(directions) > 1 else (),
        layers=tuple(directions[2:]),
        n=_nested(_merge(table.counts(), number, of_new, len(kept))),
        events=None if events is None else _nested(_merge(events, number, of_new, len(kept))),
        groups=_groups(table, number, renamed, kept),
        merged=tuple(finest),
    )


def _number(table: CountTable, direction: int | str) -> int:
    names: tuple[Any, ...] = tuple(range(len(table.directions)))
    if direction in table.variables:
        return table.variables.index(str(direction))
    if direction in names:
        return int(direction)
    known = ", ".join(repr(name) for name in (*names, *table.variables))
    raise DesignError(f"There is no direction {direction!r}; there are: {known}.")


def _merge(counts: NDArray[np.int64], axis: int, of_new: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    moved = np.moveaxis(counts, axis, 0)
    merged = np.zeros((size, *moved.shape[1:]), dtype=np.int64)
    np.add.at(merged, of_new, moved)
    return np.moveaxis(merged, 0, axis)


def _nested(counts: NDArray[np.int64]) -> tuple[tuple[Any, ...], ...]:
    """Return nested tuples; a table of one direction has one column."""

    def tuples(part: Any) -> Any:
        return tuple(tuples(each) for each in part) if isinstance(part, list) else part

    found: tuple[tuple[Any, ...], ...] = tuples((counts[:, None] if counts.ndim == 1 else counts).tolist())
    return found


def _groups(
    table: CountTable, number: int, renamed: list[str], kept: tuple[str, ...]
) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Return the groups over the merged categories, which must not cross them."""
    if not table.groups:
        return ()
    levels = []
    for level in table.groups[number]:
        of_new: dict[str, str] = {}
        for name, group in zip(renamed, level, strict=True):
            if of_new.setdefault(name, group) != group:
                raise DesignError("Merged categories are in different groups, whose totals would no longer hold.")
        levels.append(tuple(of_new[name] for name in kept))
    return tuple(tuple(levels) if i == number else given for i, given in enumerate(table.groups))
