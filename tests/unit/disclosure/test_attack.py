"""Tables of two to four dimensions with groups, against the attackers of `attacker.py`."""

from __future__ import annotations

import itertools
import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.disclosure.attacker import Levels, exhaustive_attack, incidence, linear_attack, places, sparse_incidence

from gbveval.core.errors import DataError
from gbveval.disclosure._request import read_axes
from gbveval.disclosure._witness import directions
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.suppress import suppress_table
from gbveval.disclosure.suppressed import NOT_ASKED, SuppressedTable

# Five hundred take some minutes: once, on the Python of the environment.
N_ATTACKS = 50 if os.environ.get("GBVEVAL_KIT") == "brief" else 500
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
@settings(max_examples=N_ATTACKS, deadline=None)
def test_no_hidden_count_of_a_grouped_table_is_confined(drawn: tuple[np.ndarray, dict[int, Levels]]) -> None:
    cells, groupings = drawn
    table = suppress_table(cells, groupings=groupings)
    assert_safe(table, cells, groupings, Policy())


@given(drawn=grouped_tables(), min_n=st.integers(3, 15))
@settings(max_examples=40, deadline=None)
def test_a_reader_without_the_flags_is_held_off_from_grouped_tables(
    drawn: tuple[np.ndarray, dict[int, Levels]], min_n: int
) -> None:
    cells, groupings = drawn
    policy = Policy(min_n=min_n, attacker_knows_rule=False)
    assert_safe(suppress_table(cells, policy, groupings=groupings), cells, groupings, policy)


@st.composite
def tiny_tables(draw: st.DrawFn) -> tuple[np.ndarray, dict[int, Levels]]:
    shape = draw(st.sampled_from([(2, 2), (3, 2), (4,), (2, 2, 2)]))
    size = int(np.prod(shape))
    # Few people, so that every table of so many can be listed.
    cells = draw(st.lists(st.sampled_from([0, 1, 2, 3, 3, 4, 5]), min_size=size, max_size=size))
    groupings: dict[int, Levels] = {0: [draw(st.lists(st.sampled_from("ab"), min_size=4, max_size=4))]}
    return np.array(cells).reshape(shape), groupings if shape == (4,) else {}


@given(drawn=tiny_tables())
@settings(max_examples=40, deadline=None)
def test_the_exhaustive_reader_agrees(drawn: tuple[np.ndarray, dict[int, Levels]]) -> None:
    cells, groupings = drawn
    policy = Policy(min_n=3)
    table = suppress_table(cells, policy, groupings=groupings)
    rows = incidence(cells.shape, groupings)
    low, high = knowledge(table, policy.min_n)
    # A ceiling on cells whose totals are hidden only makes intervals narrower, so what is wide here is wide.
    least, largest = exhaustive_attack(rows, low, high, most=int(cells.max()) + 2)
    hidden = table.hidden.ravel()
    if table.withheld:
        return
    assert (largest - least)[hidden].min(initial=np.inf) >= policy.protection_width
    # Where totals are shown the ceiling binds nowhere, and the audit's ends are those of the list.
    bounded = hidden & np.isfinite(high)
    np.testing.assert_array_less(table.lower.ravel()[bounded] - 1, least[bounded] + 1e-9)
    if not np.isnan(table.released.ravel()[-1]) and cells.sum() <= cells.max() + 2:
        np.testing.assert_array_equal(table.lower.ravel()[hidden], least[hidden])
        np.testing.assert_array_equal(table.upper.ravel()[hidden], largest[hidden])


@given(drawn=grouped_tables(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_margins_that_are_not_printed_give_nothing_away(
    drawn: tuple[np.ndarray, dict[int, Levels]], data: st.DataObject
) -> None:
    cells, groupings = drawn
    every = [m for k in range(cells.ndim + 1) for m in itertools.combinations(range(cells.ndim), k)]
    margins = data.draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
    table = suppress_table(cells, groupings=groupings, margins=margins)
    rows = incidence(cells.shape, groupings)
    truth = rows @ cells.ravel()
    shown = table.released.ravel()
    assert (truth[~np.isnan(shown)] >= 10).all()
    if table.withheld:
        return
    # By set arithmetic: an entry is printed if the axes of which it is no total are a margin asked for.
    axes = [places(n, groupings.get(i, ())) for i, n in enumerate(cells.shape)]
    entry_margins = [
        tuple(i for i, at in enumerate(spot) if at < len(axes[i]) - 1) for spot in np.ndindex(*(len(a) for a in axes))
    ]
    asked = np.array([margin in margins for margin in entry_margins])
    np.testing.assert_array_equal(table.undeclared.ravel(), ~asked)
    assert set(table.reasons.ravel()[~asked]) <= {NOT_ASKED}
    # Small numbers are protected whether they would have been printed or not.
    small = np.flatnonzero(truth < 10)
    least, largest = linear_attack(rows, *knowledge(table, 10), rows[small])
    assert (largest - least).min(initial=np.inf) >= 5 - 1e-6


def fewest_hidden(cells: np.ndarray) -> int:
    """Fewest numbers of a table of two dimensions that can be hidden so that nothing small is shown or confined."""
    rows = incidence(cells.shape)
    truth = rows @ cells.ravel()
    shape = tuple(length + 1 for length in cells.shape)
    position = np.arange(truth.size).reshape(shape)
    lines = [*position, *position.T]
    small = truth < 10
    others = np.flatnonzero(~small)
    for more in range(others.size + 1):
        for choice in itertools.combinations(others.tolist(), more):
            hidden = small.copy()
            hidden[list(choice)] = True
            parts = [(hidden[line].sum(), hidden[line[-1]], truth[line[:-1]] @ hidden[line[:-1]]) for line in lines]
            if any(count == 1 or (count and not total and mass < 10) for count, total, mass in parts):
                continue
            low = np.where(hidden, np.where(small, 0.0, 10.0), truth)
            high = np.where(hidden, np.where(small, 9.0, np.inf), truth)
            least, largest = linear_attack(rows, low, high, rows[hidden])
            if (largest - least).min(initial=np.inf) >= 5 - 1e-6:
                return int(hidden.sum())
    raise AssertionError("hiding everything protects nothing")


def test_small_tables_hide_hardly_more_than_the_fewest_numbers() -> None:
    rng = np.random.default_rng(11)
    ratios = []
    while len(ratios) < 15:
        cells = np.where(rng.random((3, 3)) < 0.25, rng.integers(0, 10, (3, 3)), rng.integers(10, 80, (3, 3)))
        if (cells >= 10).all():
            continue
        table = suppress_table(cells)
        assert not table.withheld
        ratios.append(table.hidden.sum() / fewest_hidden(cells))
    assert min(ratios) >= 1.0
    assert np.median(ratios) <= 1.2


def test_a_large_table_is_protected_within_a_minute() -> None:
    # 50 x 20 x 5 cells with all margins: a minute on one core, audit included.
    rng = np.random.default_rng(3)
    cells = rng.poisson(rng.gamma(0.7, 60 / 0.7, size=(50, 20, 5)))
    start = time.process_time()
    table = suppress_table(cells)
    assert time.process_time() - start < 60
    assert table.audit.passed
    assert not table.withheld
    # The attacker's programmes for some of the hidden numbers, which stand for all.
    rows = sparse_incidence(cells.shape)
    low, high = knowledge(table, 10)
    hidden = np.flatnonzero(table.hidden.ravel())
    some = rng.choice(hidden, size=4, replace=False)
    least, largest = linear_attack(rows, low, high, rows[some].toarray())
    assert (largest - least).min() >= 5 - 1e-6


def test_a_large_grouped_table_is_protected() -> None:
    rng = np.random.default_rng(4)
    cells = rng.poisson(rng.gamma(0.7, 20.0, size=(20, 10, 5)))
    groupings = {0: [[f"district {i // 5}" for i in range(20)], [f"province {i // 10}" for i in range(20)]]}
    table = suppress_table(cells, groupings=groupings)
    assert table.audit.passed
    assert not table.withheld
    rows = sparse_incidence(cells.shape, groupings)
    hidden = np.flatnonzero(table.hidden.ravel())
    some = rng.choice(hidden, size=20, replace=False)
    least, largest = linear_attack(rows, *knowledge(table, 10), rows[some].toarray())
    assert (largest - least).min() >= 5 - 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"groupings": {0: [["a", "b"]]}}, "2 labels and there are 3"),
        ({"groupings": {0: [["a", "a", "b"], ["x", "y", "y"]]}}, "divides a group"),
        ({"groupings": {1: [["a", "b", "c"]]}}, "not there"),
        ({"margins": []}, "empty"),
        ({"margins": [(1,)]}, "not there"),
    ],
)
def test_groupings_and_margins_that_cannot_be_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        suppress_table([20, 30, 40], **options)  # type: ignore[arg-type]


def test_the_attackers_find_a_single_gap() -> None:
    # A table protected by nothing: 7 of a row of 57 is hidden alone.
    cells = np.array([[7, 50], [30, 40]])
    rows = incidence(cells.shape)
    truth = rows @ cells.ravel()
    hidden = truth == 7
    low, high = np.where(hidden, 0.0, truth), np.where(hidden, np.inf, truth)
    for least, largest in (linear_attack(rows, low, high, rows), exhaustive_attack(rows, low, high, most=50)):
        np.testing.assert_array_equal(least, truth)
        np.testing.assert_array_equal(largest, truth)


def test_attackers_agree_on_what_two_gaps_tell() -> None:
    cells = np.array([[2, 3], [1, 4]])
    rows = incidence(cells.shape)
    truth = rows @ cells.ravel()
    hidden = np.array([True, True, False, True, True, False, False, False, False])
    low, high = np.where(hidden, 0.0, truth), np.where(hidden, np.inf, truth)
    linear = linear_attack(rows, low, high, rows)
    listed = exhaustive_attack(rows, low, high, most=10)
    # Frechet: the first cell is between 0 and min(5, 3).
    assert (linear[0][0], linear[1][0]) == (0, 3)
    np.testing.assert_allclose(linear, listed, atol=1e-7)


@given(shape=st.sampled_from([(3,), (3, 2), (4, 2, 2)]), data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_move_changes_no_sum(shape: tuple[int, ...], data: st.DataObject) -> None:
    groupings = data.draw(groupings_of(shape))
    axes = read_axes(shape, groupings, pairs=False)
    spot = tuple(data.draw(st.integers(0, axis.size - 1)) for axis in axes)
    ways = [data.draw(st.sampled_from(directions(axis, at).tolist())) for axis, at in zip(axes, spot, strict=True)]
    move = np.array(ways[0])
    for way in ways[1:]:
        move = np.multiply.outer(move, np.array(way))
    # The move of every entry is the sum of the moves of its cells, so that whatever is added up stays added up.
    inner = move[tuple(slice(None, length) for length in shape)]
    np.testing.assert_array_equal(incidence(shape, groupings) @ inner.ravel(), move.ravel())
    assert move[spot] == 1


def test_the_intervals_of_a_large_table_do_not_depend_on_what_is_hidden() -> None:
    # Two tables with the same sums print the same, so whatever else the results hold must be the same.
    rng = np.random.default_rng(1)
    cells = rng.poisson(12, size=(60, 12))
    tables = [suppress_table(cells)]
    assert tables[0].hidden.sum() > 150
    hidden = tables[0].hidden[:-1, :-1]
    small = tables[0].primary[:-1, :-1]
    other = cells.copy()
    for rows, columns in itertools.product(itertools.combinations(range(60), 2), itertools.combinations(range(12), 2)):
        spot = np.ix_(rows, columns)
        moved = other[spot] + [[1, -1], [-1, 1]]
        if hidden[spot].all() and (moved >= 0).all() and ((moved < 10) == small[spot]).all():
            other[spot] = moved
    assert (other != cells).sum() > 50
    tables.append(suppress_table(other))
    both = tables[0].hidden & tables[1].hidden
    for name in ("lower", "upper"):
        first, second = (getattr(table, name)[both] for table in tables)
        np.testing.assert_array_equal(first, second)
    assert tables[0].audit.narrowest == tables[1].audit.narrowest
