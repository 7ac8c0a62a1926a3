"""A table of counts as it may be shown: suppressed, and laid out in rows and columns."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from gbveval.core.counts import CountTable
from gbveval.disclosure._asked import ask_counts
from gbveval.disclosure._facts import TableFacts
from gbveval.disclosure._layout import FloatArray
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.released import ReleasedTable
from gbveval.disclosure.rounding import round_table
from gbveval.disclosure.suppressed import SuppressedTable

TOTAL = "total"


def place_labels(table: CountTable) -> tuple[tuple[str, ...], ...]:
    """Return what each place of each direction is called: categories, groups from fine to coarse, and the total."""
    found = []
    for number, labels in enumerate(table.directions):
        levels = table.groups[number] if table.groups else ()
        groups = [label for level in levels for label in dict.fromkeys(level)]
        found.append((*labels, *groups, TOTAL))
    return tuple(found)


def shown_counts(table: CountTable, found: SuppressedTable, policy: Policy) -> ReleasedTable:
    """Return the released numbers in rows and columns, the layers one below the other."""
    shown = {"n": found.respondents} | ({"with outcome": found.events} if found.pairs else {})
    return _laid_out(table, shown, found.audit.sentence(), policy)


def round_counts(table: CountTable, base: int, policy: Policy) -> tuple[ReleasedTable, TableFacts]:
    """Return the table rounded, and what it says: each number lies within an interval."""
    asked = ask_counts(table)
    cells = asked.n if asked.events is None else np.stack([asked.events, asked.n - asked.events], axis=-1)
    found = round_table(cells, base=base, small=policy.min_n, groupings=asked.groups)
    numbers = found.released.astype(float)
    pairs = asked.events is not None
    shown = {"n": numbers[..., -1], "with outcome": numbers[..., 0]} if pairs else {"n": numbers}
    low, high = np.maximum(numbers - found.reach, 0.0), numbers + found.reach
    return _laid_out(table, shown, found.footer(), policy), asked.vague_facts(low, high)


def _laid_out(table: CountTable, shown: Mapping[str, FloatArray], note: str, policy: Policy) -> ReleasedTable:
    places = place_labels(table)
    one_way = len(places) == 1
    names = table.variables[2:] or tuple(f"layer {number}" for number in range(1, len(places) - 1))
    columns = ["", *names]
    for name in shown:
        columns += [name] if one_way else [f"{name}: {label}" for label in places[1]]
    rows = []
    for layer in itertools.product(*(range(len(labels)) for labels in places[2:])):
        for row, label in enumerate(places[0]):
            values = [value for part in shown.values() for value in _line(part, row, layer)]
            rows.append((label, *_names(places, layer), *(None if np.isnan(x) else int(x) for x in values)))
    notes = [note]
    if table.left_out:
        notes.append(f"{_left_out(table, shown, policy)} respondents without an answer are in no cell")
    return ReleasedTable(table.title, tuple(columns), tuple(rows), tuple(notes))


def _left_out(table: CountTable, shown: Mapping[str, FloatArray], policy: Policy) -> str:
    """Return in words how many are in no cell."""
    if np.isnan(shown["n"].flat[-1]):
        return "Some"  # The size of the sample, which is no secret, less those would be the hidden total.
    if table.left_out < policy.min_n and policy.enforce:
        return f"fewer than {policy.min_n}"
    return f"{table.left_out:,}"


def _line(part: FloatArray, row: int, layer: tuple[int, ...]) -> list[float]:
    """Return the numbers of a row of one layer; a table of one direction has one."""
    if part.ndim == 1:
        return [float(part[row])]
    inside = part[row]
    for place in reversed(layer):
        inside = inside[..., place]
    return [float(value) for value in inside]


def _names(places: tuple[tuple[str, ...], ...], layer: tuple[int, ...]) -> list[str]:
    return [labels[place] for labels, place in zip(places[2:], layer, strict=True)]
