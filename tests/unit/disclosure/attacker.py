"""A reader who wants to know: independent of the code under test, and given only what was printed.

Every entry of a table is a sum of inner cells, found from the groupings by set arithmetic. The programmes run over the
inner cells, where the code under test runs over all entries and their sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array, kron, vstack

Levels = Sequence[Sequence[str]]


def places(n_categories: int, levels: Levels = ()) -> list[frozenset[int]]:
    """The categories behind each place of an axis: single ones, groups from fine to coarse, all."""
    found = [frozenset([i]) for i in range(n_categories)]
    for labels in levels:
        groups = dict.fromkeys(labels)
        found += [frozenset(i for i, other in enumerate(labels) if other == label) for label in groups]
    return [*found, frozenset(range(n_categories))]


def incidence(shape: Sequence[int], groupings: dict[int, Levels] | None = None) -> np.ndarray:
    """Which inner cells each entry sums, shape (entries, cells)."""
    return sparse_incidence(shape, groupings).toarray()


def sparse_incidence(shape: Sequence[int], groupings: dict[int, Levels] | None = None) -> csr_array:
    """The same for tables that are large: an entry sums the cells that its place along every axis stands for."""
    found = csr_array(np.ones((1, 1)))
    for number, length in enumerate(shape):
        sets = places(length, (groupings or {}).get(number, ()))
        members = np.array([[float(category in members) for category in range(length)] for members in sets])
        found = csr_array(kron(found, csr_array(members)))
    return found


def linear_attack(
    rows: np.ndarray, low: np.ndarray, high: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of each wanted sum of cells, one linear programme each, given bounds of all sums."""
    rows = csr_array(rows)
    known, vague = low == high, low < high
    above = vague & np.isfinite(high)
    limits = {
        "A_eq": rows[known] if known.any() else None,
        "b_eq": low[known] if known.any() else None,
        "A_ub": vstack([-rows[vague], rows[above]], format="csr") if vague.any() else None,
        "b_ub": np.concatenate([-low[vague], high[above]]) if vague.any() else None,
        "bounds": (0, None),
        "method": "highs",
    }
    ends = np.full((2, len(wanted)), np.nan)
    for number, row in enumerate(wanted):
        for end, sign in ((0, 1.0), (1, -1.0)):
            result = linprog(sign * row, **limits)
            assert result.status in (0, 3), result.message
            ends[end, number] = sign * result.fun if result.status == 0 else np.inf
    return ends[0], ends[1]


def exhaustive_attack(rows: np.ndarray, low: np.ndarray, high: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of each sum over every table of cells up to `most`, cut off early where totals forbid."""
    least, largest = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
    n_cells = rows.shape[1]
    # After the first k cells a sum already has this much, and no cell takes anything away again.
    stack: list[tuple[int, ...]] = [()]
    while stack:
        head = stack.pop()
        done = rows[:, : len(head)] @ np.array(head, dtype=float) if head else np.zeros(len(rows))
        if (done > high).any():
            continue
        if len(head) == n_cells:
            if (done >= low).all():
                least, largest = np.minimum(least, done), np.maximum(largest, done)
            continue
        # A sum that has no further cell is final.
        final = rows[:, len(head) :].sum(axis=1) == 0
        if (done[final] < low[final]).any():
            continue
        stack.extend((*head, value) for value in range(most + 1))
    return least, largest
