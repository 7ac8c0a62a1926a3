"""The audit against enumeration of all tables, against integer programmes, and against systems with a known gap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbveval.core.errors import DataError
from gbveval.disclosure.audit import (
    INTEGER,
    INTEGRAL,
    NOTHING_HIDDEN,
    RELAXED,
    UNIMODULAR,
    AuditReport,
    feasible_intervals,
    feasible_range,
)


def with_totals(cells: np.ndarray) -> np.ndarray:
    table = np.asarray(cells, dtype=float)
    for axis in range(table.ndim):
        table = np.concatenate([table, table.sum(axis, keepdims=True)], axis)
    return table


def enumerate_tables(released: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of every entry over all tables of counts up to `most` that match what is shown."""
    shown = ~np.isnan(released)
    inner = tuple(length - 1 for length in released.shape)
    low, high = np.full(released.shape, np.inf), np.full(released.shape, -np.inf)
    for cells in itertools.product(range(most + 1), repeat=int(np.prod(inner))):
        table = with_totals(np.array(cells).reshape(inner))
        if np.array_equal(table[shown], released[shown]):
            low, high = np.minimum(low, table), np.maximum(high, table)
    return low, high


def test_two_by_two_with_margins_is_the_frechet_interval() -> None:
    shown = [[np.nan, np.nan, 12], [np.nan, np.nan, 30], [20, 22, 42]]
    found = feasible_intervals(shown)
    # Closed form (Frechet bounds): max(0, row + column - n) and min(row, column).
    assert found.lower[0, 0] == max(0, 12 + 20 - 42)
    assert found.upper[0, 0] == min(12, 20)
    assert found.lower[1, 1] == max(0, 30 + 22 - 42)
    assert found.upper[1, 1] == min(30, 22)
    assert found.method == UNIMODULAR
    assert found.exact


@given(
    cells=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    hide=st.lists(st.booleans(), min_size=9, max_size=9),
)
@settings(max_examples=40, deadline=None)
def test_two_dimensions_agree_with_enumeration(cells: list[int], hide: list[bool]) -> None:
    table = with_totals(np.array(cells).reshape(2, 2))
    mask = np.array(hide).reshape(3, 3)
    mask[2, 2] = False
    # The grand total is shown, so no cell exceeds it and the enumeration is complete.
    if table[2, 2] > 6:
        return
    released = np.where(mask, np.nan, table)
    found = feasible_intervals(released)
    low, high = enumerate_tables(released, 6)
    np.testing.assert_array_equal(found.lower, low)
    np.testing.assert_array_equal(found.upper, high)


@given(
    cells=st.lists(st.integers(0, 2), min_size=8, max_size=8),
    hide=st.lists(st.booleans(), min_size=27, max_size=27),
)
@settings(max_examples=15, deadline=None)
def test_three_dimensions_agree_with_enumeration(cells: list[int], hide: list[bool]) -> None:
    table = with_totals(np.array(cells).reshape(2, 2, 2))
    mask = np.array(hide).reshape(3, 3, 3)
    mask[:2, :2, 2] = False
    # The totals of pairs are shown and at most 2 here, so values up to 2 are all there are.
    if table[:2, :2, 2].max() > 2:
        return
    released = np.where(mask, np.nan, table)
    found = feasible_intervals(released)
    low, high = enumerate_tables(released, 2)
    np.testing.assert_array_equal(found.lower, low)
    np.testing.assert_array_equal(found.upper, high)
    assert found.exact
    assert found.method in (INTEGRAL, INTEGER, NOTHING_HIDDEN)


def test_what_the_reader_knows_narrows_the_interval() -> None:
    shown = [np.nan, np.nan, 105.0]
    known = feasible_intervals(shown, lower=[0, 10, 0], upper=[9, np.inf, np.inf])
    assert known.lower.tolist() == [0.0, 96.0, 105.0]
    assert known.upper.tolist() == [9.0, 105.0, 105.0]
    assert known.width.tolist() == [9.0, 9.0, 0.0]


def test_a_number_without_an_upper_end_is_infinite_and_its_neighbours_are_not() -> None:
    released = np.array([[np.nan, 4.0, np.nan], [np.nan, np.nan, 9.0], [np.nan, np.nan, np.nan]])
    found = feasible_intervals(released)
    assert np.isinf(found.upper[0, 0])
    assert np.isinf(found.upper[2, 2])
    assert found.upper[1].tolist() == [9.0, 9.0, 9.0]
    assert found.lower[2, 2] == 13.0
    # Second column: 4 and something from 0 to 9.
    assert (found.lower[2, 1], found.upper[2, 1]) == (4.0, 13.0)


def test_a_single_hidden_cell_of_a_line_is_found_out() -> None:
    found = feasible_intervals([30.0, np.nan, 40.0, 77.0])
    assert (found.lower[1], found.upper[1]) == (7.0, 7.0)


# a + b <= 1, b + c <= 1, a + c <= 1 (slacks d, e, f) and v = 2 (a + b + c): halves reach v = 3, whole numbers v = 2.
TRIANGLE = [
    [1, 1, 0, 1, 0, 0, 0],
    [0, 1, 1, 0, 1, 0, 0],
    [1, 0, 1, 0, 0, 1, 0],
    [2, 2, 2, 0, 0, 0, -1],
]


def test_integer_programmes_close_the_gap_that_linear_ones_leave() -> None:
    bounds = {"lower": np.zeros(7), "upper": np.full(7, np.inf)}
    whole = feasible_range(TRIANGLE, [1, 1, 1, 0], **bounds)
    assert (whole.upper[6], whole.method, whole.exact) == (2.0, INTEGER, True)
    linear = feasible_range(TRIANGLE, [1, 1, 1, 0], max_integer=6, **bounds)
    assert (linear.upper[6], linear.method, linear.exact) == (3.0, RELAXED, False)


def test_linked_tables_reveal_what_each_alone_hides() -> None:
    # "Any form" is 15 of two forms, one of which is 12: inclusion and exclusion, both = first + second - any.
    found = feasible_range([[1, 1, -1]], [15], lower=[12, 0, 0], upper=[12, 9, np.inf])
    assert found.lower.tolist() == [12.0, 3.0, 0.0]
    assert found.upper.tolist() == [12.0, 9.0, 6.0]


@pytest.mark.parametrize(
    "released",
    [
        [1.0, 2.0, 4.0],
        [np.nan, np.nan, -1.0],
        [5.0, np.nan, 4.0],
        [[1.0, np.nan, 3.0], [1.0, np.nan, 3.0], [2.0, 5.0, 6.0]],
    ],
)
def test_numbers_that_contradict_each_other_are_an_error(released: list[float]) -> None:
    with pytest.raises(DataError, match="contradict"):
        feasible_intervals(released)


@pytest.mark.parametrize("shape", [(), (1,), (1, 3), (2, 2, 2, 2, 2, 2)])
def test_a_table_without_room_for_totals_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="needs 1 to 5 axes"):
        feasible_intervals(np.full(shape, np.nan))


def test_many_numbers_are_solved_in_several_blocks() -> None:
    # 230 unknowns make more than one block. One line: each part lies between 0 and the total.
    released = np.append(np.full(230, np.nan), 500.0)
    found = feasible_intervals(released)
    assert set(found.lower[:-1]) == {0.0}
    assert set(found.upper[:-1]) == {500.0}


def report(**changes: object) -> AuditReport:
    base: dict[str, object] = {
        "n_primary": 3,
        "n_complementary": 4,
        "n_totals": 0,
        "narrowest": (0.0, 14.0),
        "protection": 5,
        "attacker": "knows the rule",
        "method": UNIMODULAR,
        "exact": True,
    }
    return AuditReport(**(base | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "passed", "words"),
    [
        ({}, True, "3 cells primarily, 4 to protect them; the narrowest hidden interval is 0 to 14"),
        ({"narrowest": (8.0, 12.0)}, False, "8 to 12"),
        ({"exact": False}, False, "or narrower"),
        ({"narrowest": (10.0, np.inf), "n_primary": 1}, True, "1 cell primarily, 4 to protect it; the narrowest"),
        ({"narrowest": (10.0, np.inf)}, True, "10 or more"),
        ({"n_totals": 1}, True, "(1 of these 7 is a total)"),
        ({"n_totals": 2}, True, "(2 of these 7 are totals)"),
        ({"narrowest": None, "n_primary": 0, "n_complementary": 0}, True, "no cell is small"),
        ({"withheld": True}, True, "withheld the whole table"),
        ({"n_shown_small": 1, "narrowest": None}, False, "1 cell below the threshold is shown"),
    ],
)
def test_the_report_says_what_it_found(changes: dict[str, object], passed: bool, words: str) -> None:
    found = report(**changes)
    assert found.passed is passed
    assert words in found.sentence()
