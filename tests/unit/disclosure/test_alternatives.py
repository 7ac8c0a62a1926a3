"""Rounding and collapsing instead of suppression."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.disclosure.attacker import Levels, incidence, linear_attack

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError, DisclosureError
from gbveval.disclosure.rounding import round_table


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.sampled_from([(4,), (3, 4), (2, 2, 3), (2, 2, 2, 2)]))
    size = int(np.prod(shape))
    counts = st.one_of(st.integers(0, 9), st.integers(0, 200))
    return np.array(draw(st.lists(counts, min_size=size, max_size=size))).reshape(shape)


@given(cells=tables(), base=st.sampled_from([3, 5, 10]))
@settings(max_examples=60, deadline=None)
def test_controlled_rounding_adds_up_and_stays_near(cells: np.ndarray, base: int) -> None:
    groupings: dict[int, Levels] = {0: [["a", "a", "b", "b"]]} if cells.shape == (4,) else {}
    try:
        table = round_table(cells, base=base, groupings=groupings)
    except DisclosureError:
        return  # Refused because the totals would give a small number away.
    rows = incidence(cells.shape, groupings)
    truth, shown = rows @ cells.ravel(), table.released.ravel()
    assert (shown % base == 0).all()
    assert (shown >= 0).all()
    assert np.abs(shown - truth).max() <= table.reach
    inner = tuple(slice(None, length) for length in cells.shape)
    np.testing.assert_array_equal(rows @ table.released[inner].ravel(), shown)
    # The reader knows how far off each number can be, and that the true ones add up.
    low, high = np.maximum(shown - table.reach, 0.0), (shown + table.reach).astype(float)
    small = np.flatnonzero(truth < 10)
    least, largest = linear_attack(rows, low, high, rows[small])
    width = (largest - least).min(initial=np.inf)
    assert width >= base // 2 - 1e-6
    if small.size:
        assert table.narrowest is not None
        assert table.narrowest[1] - table.narrowest[0] <= width + 1e-6


def test_controlled_rounding_is_the_nearest_that_adds_up() -> None:
    # Enumeration: every way to take each cell to one of its two neighbours, the totals being sums.
    cells = np.array([[3, 14], [31, 8]])
    truth = incidence(cells.shape) @ cells.ravel()
    best = np.inf
    for steps in itertools.product((0, 1), repeat=4):
        rounded = incidence(cells.shape) @ (5 * (cells.ravel() // 5 + np.array(steps)))
        if (np.abs(rounded - truth) < 5).all():
            best = min(best, np.abs(rounded - truth).sum())
    found = round_table(cells).released.ravel()
    assert np.abs(found - truth).sum() == best


def test_conventional_rounding_goes_to_the_nearest_and_prints_its_loss() -> None:
    table = round_table([12, 14, 31], controlled=False)
    assert table.released.tolist() == [10, 15, 30, 55]
    # 10 + 15 + 30 = 55 by chance; 22, 22 and 22 become 20 each, and 66 becomes 65.
    assert "Parts add up" in table.footer()
    assert "differ by up to 5" in round_table([22, 22, 22], controlled=False).footer()


def test_conventional_rounding_that_gives_a_number_away_is_refused() -> None:
    # 7 and 7 become 5 and 5, 14 becomes 15: two numbers of at most 7 that make at least 13.
    with pytest.raises(DisclosureError, match="controlled=True"):
        round_table([7, 7], controlled=False)
    assert round_table([7, 7]).released.tolist()[-1] in (10, 15)


@pytest.mark.parametrize(
    ("counts", "base", "error"), [([1.5], 5, DataError), ([1], 2, DesignError), ([[]], 5, DataError)]
)
def test_what_cannot_be_rounded_is_refused(counts: list[float], base: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        round_table(counts, base=base)


def test_categories_are_merged_with_their_events_and_groups() -> None:
    table = gbv.CountTable(
        "t",
        ("a", "b", "c"),
        ("x", "y"),
        ((10, 20), (3, 4), (50, 60)),
        ((1, 2), (3, 4), (5, 6)),
        groups=((("g", "g", "h"),), ()),
        variables=("ward", "age"),
    )
    merged = gbv.collapse_categories(table, "ward", {"a": "a or b", "b": "a or b"})
    assert merged.rows == ("a or b", "c")
    assert merged.n == ((13, 24), (50, 60))
    assert merged.events == ((4, 6), (5, 6))
    assert merged.groups == ((("g", "h"),), ())
    assert gbv.collapse_categories(table, 1, {"y": "x"}).n == ((30,), (7,), (110,))


@pytest.mark.parametrize(
    ("direction", "into", "words"),
    [
        (0, {"b": "c"}, "different groups"),
        (0, {"z": "a"}, "not there"),
        (0, {"a": "new"}, "merges no"),
        ("sex", {"a": "b"}, "no direction"),
        (1, {"a": "b"}, "no direction"),
    ],
)
def test_merges_that_cannot_be_are_refused(direction: int | str, into: dict[str, str], words: str) -> None:
    table = gbv.CountTable(
        "t", ("a", "b", "c"), (), ((1,), (2,), (3,)), groups=((("g", "g", "h"),),), variables=("ward",)
    )
    with pytest.raises(DesignError, match=words):
        gbv.collapse_categories(table, direction, into)


def test_a_policy_that_rounds_shows_every_number_of_a_count_table() -> None:
    table = gbv.CountTable("reports", ("a", "b", "c"), (), ((43,), (52,), (61,)), ((3,), (25,), (30,)))
    released = gbv.release(table, gbv.Policy(rounding=5))
    (shown,) = released.tables()
    assert all(isinstance(value, int) and value % 5 == 0 for row in shown.rows for value in row[1:])
    numbers = np.array([row[1:] for row in shown.rows])
    np.testing.assert_array_equal(numbers[:-1].sum(axis=0), numbers[-1])
    assert "multiples of 5" in shown.notes[0]
    assert "rounded to multiples of 5" in released.policy
    with pytest.raises(DesignError, match="rounding"):
        gbv.Policy(rounding=2)


def test_a_rounded_table_is_compared_with_exact_ones(tmp_path: Path) -> None:
    ledger = gbv.Ledger(tmp_path / "l.json")
    exact = gbv.CountTable("staff", ("north", "south"), (), ((43,), (62,)), variables=("region",))
    gbv.release(exact, ledger=ledger)
    # Beside exact numbers a rounded subgroup says little: between 43 - 44 and 43 - 36 people are not in it.
    most = gbv.CountTable(
        "hearing", ("north", "south"), (), ((40,), (60,)), variables=("region",), within=(("hearing", "yes"),)
    )
    (shown,) = gbv.release(most, gbv.Policy(rounding=5), ledger=ledger).tables()
    assert shown.rows == (("north", 40), ("south", 60), ("total", 100))
