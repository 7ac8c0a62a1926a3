"""Tables of two to four dimensions with groups, against the attackers of `attacker.py`."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbveval.core.errors import DataError
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.suppress import NOT_ASKED, SuppressedTable, suppress_table
from tests.unit.disclosure.attacker import Levels, exhaustive_attack, incidence, linear_attack, places

COUNT = st.one_of(st.integers(0, 9), st.integers(10, 40), st.integers(10, 90), st.integers(40, 300))
SHAPES = [(3, 4), (4, 4), (6, 3), (5, 2), (2, 2, 2), (3, 2, 2), (4, 3, 2), (2, 2, 2, 2), (3, 2, 2, 2)]


@st.composite
def groupings_of(draw: st.DrawFn, shape: tuple[int, ...]) -> dict[int, Levels]:
    """One or two nested levels along some of the axes, groups of neighbours or not."""
    found: dict[int, Levels] = {}
    for number, length in enumerate(shape):
        if length < 3 or not draw(st.booleans()):
            continue
        fine = draw(st.lists(st.sampled_from("abc"), min_size=length, max_size=length))
        levels = [fine]
        if draw(st.booleans()):
            above = {label: draw(st.sampled_from("xy")) for label in "abc"}
            levels.append([above[label] for label in fine])
        found[number] = levels
    return found


@st.composite
def grouped_tables(draw: st.DrawFn) -> tuple[np.ndarray, dict[int, Levels]]:
    shape = draw(st.sampled_from(SHAPES))
    size = int(np.prod(shape))
    cells = np.array(draw(st.lists(COUNT, min_size=size, max_size=size))).reshape(shape)
    return cells, draw(groupings_of(shape))


def knowledge(table: SuppressedTable, threshold: int | None) -> tuple[np.ndarray, np.ndarray]:
    """What is known of each entry from what is printed; with a threshold also which hidden ones are small."""
    shown = table.released.ravel()
    low, high = np.zeros(shown.size), np.full(shown.size, np.inf)
    if threshold is not None:
        low = np.where(table.complementary.ravel(), threshold, low)
        high = np.where(table.primary.ravel(), threshold - 1.0, high)
    seen = ~np.isnan(shown)
    return np.where(seen, shown, low), np.where(seen, shown, high)


def assert_safe(table: SuppressedTable, cells: np.ndarray, groupings: dict[int, Levels], policy: Policy) -> None:
    """No small number is shown, none is confined, and nothing is hidden where nothing is small."""
    rows = incidence(cells.shape, groupings)
    truth = rows @ cells.ravel()
    shown = table.released.ravel()
    seen = ~np.isnan(shown)
    np.testing.assert_array_equal(shown[seen], truth[seen])
    assert (truth[seen] >= policy.min_n).all()
    assert table.audit.passed
    if (truth >= policy.min_n).all():
        assert seen.all()
        return
    if table.withheld:
        assert not seen.any()
        return
    low, high = knowledge(table, policy.min_n if policy.attacker_knows_rule else None)
    hidden = np.flatnonzero(table.hidden.ravel())
    least, largest = linear_attack(rows, low, high, rows[hidden])
    assert (least <= truth[hidden] + 1e-6).all()
    assert (largest >= truth[hidden] - 1e-6).all()
    assert (largest - least).min(initial=np.inf) >= policy.protection_width - 1e-6
    # The audit claims no more than the attacker found.
    np.testing.assert_array_less(table.lower.ravel()[hidden] - 1 + 1e-6, truth[hidden])


@given(drawn=grouped_tables())
@settings(max_examples=500, deadline=None)
def test_no_hidden_count_of_a_grouped_table_is_confined(drawn: tuple[np.ndarray, dict[int, Levels]]) -> None:
    cells, groupings = drawn
    table = suppress_table(cells, groupings=groupings)
    assert_safe(table, cells, groupings, Policy())
