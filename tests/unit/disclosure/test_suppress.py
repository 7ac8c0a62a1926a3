"""Suppression against an attacker written apart from it, and against planted cases."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

import gbveval as gbv
from gbveval.core.errors import DataError, DisclosureError
from gbveval.disclosure import _protect
from gbveval.disclosure._witness import Witness
from gbveval.disclosure.audit import INTEGER, INTEGRAL, NOTHING_HIDDEN, UNIMODULAR, feasible_intervals
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.suppress import suppress_table
from gbveval.disclosure.suppressed import (
    FEW_RESPONDENTS,
    FEW_WITH,
    FEW_WITHOUT,
    PROTECTS,
    SHOWN,
    WITHHELD,
    SuppressedTable,
)

QUICK = settings(max_examples=30, deadline=None)
# Tables as they occur: most counts comfortable, some small, some zero.
COUNT = st.one_of(st.integers(0, 9), st.integers(10, 25), st.integers(10, 90))


@st.composite
def frequency_tables(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.sampled_from([(1,), (2,), (5,), (1, 1), (1, 3), (3, 1), (2, 2), (3, 3), (2, 4)]))
    size = int(np.prod(shape))
    return np.array(draw(st.lists(COUNT, min_size=size, max_size=size))).reshape(shape)


@st.composite
def pair_tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.sampled_from([(1,), (2,), (4,), (1, 2), (2, 2)]))
    size = int(np.prod(shape))
    events = draw(st.lists(COUNT, min_size=size, max_size=size))
    others = draw(st.lists(COUNT, min_size=size, max_size=size))
    return np.array(events).reshape(shape), (np.array(events) + np.array(others)).reshape(shape)


def true_table(counts: np.ndarray, totals: np.ndarray | None = None) -> np.ndarray:
    table = counts if totals is None else np.stack([counts, totals - counts], axis=-1)
    for axis in range(table.ndim):
        table = np.concatenate([table, table.sum(axis, keepdims=True)], axis)
    return table


def attack(table: SuppressedTable, threshold: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Bound every hidden number by integer programmes over the inner cells alone, totals being sums of them.

    `threshold` is what the attacker knows of hidden numbers: small ones are below it and the others are not. None:
    the attacker knows only that counts are not negative.
    """
    shape = table.released.shape
    inner = tuple(length - 1 for length in shape)
    size = int(np.prod(inner))
    cells = np.indices(inner).reshape(len(inner), -1)
    rows, low, high = [], [], []
    for place in np.ndindex(*shape):
        # An entry sums the cells that share every coordinate which is not itself a total.
        member = np.ones(size, dtype=bool)
        for axis, coordinate in enumerate(place):
            if coordinate < inner[axis]:
                member &= cells[axis] == coordinate
        shown = table.released[place]
        if not np.isnan(shown):
            bounds = (shown, shown)
        elif threshold is None:
            bounds = (0, np.inf)
        else:
            bounds = (0, threshold - 1) if table.primary[place] else (threshold, np.inf)
        rows.append(member.astype(float))
        low.append(bounds[0])
        high.append(bounds[1])
    known = LinearConstraint(np.array(rows), low, high)
    ends = np.vstack([low, high]).astype(float)
    for row, coefficients in enumerate(rows):
        if low[row] == high[row]:
            continue
        for end, sign in ((0, 1.0), (1, -1.0)):
            result = milp(
                sign * coefficients,
                integrality=np.ones(size),
                bounds=Bounds(0, np.inf),
                constraints=known,
            )
            # Status 3 or 4: unbounded (or said to be infeasible or unbounded, and the true table is feasible).
            ends[end, row] = sign * result.fun if result.status == 0 else sign * -np.inf
    return np.rint(ends[0]).reshape(shape), np.rint(ends[1]).reshape(shape)


def assert_protected(table: SuppressedTable, truth: np.ndarray, policy: Policy) -> None:
    hidden = np.isnan(table.released)
    np.testing.assert_array_equal(table.hidden, hidden)
    # Suppression only hides.
    np.testing.assert_array_equal(table.released[~hidden], truth[~hidden])
    assert not (table.primary & table.complementary).any()
    np.testing.assert_array_equal(table.primary | table.complementary, hidden)
    np.testing.assert_array_equal(table.reasons != SHOWN, hidden)
    # Nothing small is shown.
    assert (truth[~hidden] >= policy.smallest_threshold).all()
    assert table.audit.passed
    assert table.audit.n_primary + table.audit.n_complementary == hidden.sum()
    if table.withheld:
        assert hidden.all()
        return
    low, high = attack(table, policy.min_n if policy.attacker_knows_rule else None)
    assert (low <= truth).all()
    assert (high >= truth).all()
    assert (high - low)[hidden].min(initial=np.inf) >= policy.protection_width
    # The audit itself says neither more nor less than the attacker found.
    np.testing.assert_array_equal(table.lower, low)
    np.testing.assert_array_equal(table.upper, high)
    assert_no_single_gap(table.released)
    assert not has_small_sum(table.released, truth, policy.smallest_threshold)


def has_small_sum(released: np.ndarray, truth: np.ndarray, threshold: int) -> bool:
    """Whether a line with a visible total leaves a group of fewer than the threshold to be had by subtraction."""
    for axis, length in enumerate(released.shape):
        lines = np.moveaxis(released, axis, -1).reshape(-1, length)
        truths = np.moveaxis(truth, axis, -1).reshape(-1, length)
        for shown, true in zip(lines, truths, strict=True):
            gaps = np.isnan(shown)
            if gaps.any() and not gaps[-1] and true[gaps].sum() < threshold:
                return True
    return False


def assert_no_single_gap(released: np.ndarray) -> None:
    """No line leaves exactly one number to be had by subtraction."""
    for axis in range(released.ndim):
        assert not (np.isnan(released).sum(axis=axis) == 1).any()


@given(counts=frequency_tables())
@QUICK
def test_no_hidden_count_is_confined(counts: np.ndarray) -> None:
    table = suppress_table(counts)
    assert_protected(table, true_table(counts), Policy())
    assert table.audit.method in (UNIMODULAR, NOTHING_HIDDEN)
    np.testing.assert_array_equal(table.primary, true_table(counts) < 10)


@given(pair=pair_tables())
@settings(max_examples=15, deadline=None)
def test_no_hidden_pair_is_confined(pair: tuple[np.ndarray, np.ndarray]) -> None:
    events, totals = pair
    table = suppress_table(events, totals=totals)
    truth = true_table(events, totals)
    assert_protected(table, truth, Policy())
    if events.ndim == 2:
        assert table.audit.method in (INTEGRAL, INTEGER, NOTHING_HIDDEN)
    # Where n is shown and x is hidden, n - x is hidden too, and the other way round.
    known_n = ~np.isnan(table.respondents)
    np.testing.assert_array_equal(np.isnan(table.events)[known_n], np.isnan(table.non_events)[known_n])


@given(counts=frequency_tables(), min_n=st.integers(3, 8))
@settings(max_examples=15, deadline=None)
def test_a_reader_without_the_flags_is_held_off_too(counts: np.ndarray, min_n: int) -> None:
    policy = Policy(min_n=min_n, attacker_knows_rule=False)
    assert_protected(suppress_table(counts, policy), true_table(counts), policy)


@given(counts=frequency_tables(), first=st.integers(3, 20), more=st.integers(0, 20))
@settings(max_examples=15, deadline=None)
def test_a_larger_threshold_never_shows_what_was_small(counts: np.ndarray, first: int, more: int) -> None:
    small = suppress_table(counts, Policy(min_n=first)).primary
    larger = suppress_table(counts, Policy(min_n=first + more))
    assert larger.hidden[small].all()
    if not larger.withheld:
        assert larger.primary[small].all()


@given(pair=pair_tables(), min_n=st.integers(10, 30), min_events=st.integers(3, 10))
@settings(max_examples=15, deadline=None)
def test_two_thresholds_hide_by_their_own_rule(
    pair: tuple[np.ndarray, np.ndarray], min_n: int, min_events: int
) -> None:
    events, totals = pair
    policy = Policy(min_n=min_n, min_events=min_events)
    table = suppress_table(events, policy, totals=totals)
    truth = true_table(events, totals)
    few = truth[..., 2] < min_n
    expected = np.stack([few | (truth[..., 0] < min_events), few | (truth[..., 1] < min_events), few], axis=-1)
    assert table.hidden[expected].all()
    if not table.withheld:
        np.testing.assert_array_equal(table.primary, expected)
        gap = (table.upper - table.lower)[table.hidden]
        assert gap.min(initial=np.inf) >= policy.protection_width
        low, high = attack(table, None)
        assert (high - low)[table.hidden].min(initial=np.inf) >= policy.protection_width


@given(counts=frequency_tables())
@settings(max_examples=15, deadline=None)
def test_nothing_is_hidden_needlessly(counts: np.ndarray) -> None:
    table = suppress_table(counts)
    truth = true_table(counts)
    for place in zip(*np.nonzero(table.complementary), strict=True):
        shown = table.released.copy()
        shown[place] = truth[place]
        hidden = np.isnan(shown)
        low = np.where(table.primary, 0, 10)
        high = np.where(table.primary, 9, np.inf)
        found = feasible_intervals(shown, lower=low, upper=high)
        confined = found.width[hidden].min(initial=np.inf) < 5
        assert confined or has_small_sum(shown, truth, 10)


def test_what_repairs_hid_too_much_is_shown_again() -> None:
    # Found by search: the repairs alone hide 11 numbers of this table, and 8 are enough.
    assert suppress_table([[39, 22, 10], [32, 7, 10], [25, 37, 4]]).hidden.sum() <= 8


@given(cells=st.lists(st.integers(10, 99), min_size=6, max_size=6))
@settings(max_examples=15, deadline=None)
def test_a_table_with_nothing_small_is_released_untouched(cells: list[int]) -> None:
    counts = np.array(cells).reshape(2, 3)
    table = suppress_table(counts)
    np.testing.assert_array_equal(table.released, true_table(counts))
    np.testing.assert_array_equal(table.cells, counts)
    assert table.audit.sentence() == "suppressed nothing, because no cell is small"
    both = suppress_table(counts, totals=2 * counts)
    assert not both.hidden.any()


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 1), (1, 3), (3, 1), (3, 3)])
def test_an_empty_table_is_hidden_whole(shape: tuple[int, ...]) -> None:
    table = suppress_table(np.zeros(shape, dtype=int))
    assert table.hidden.all()
    assert table.primary.all()
    assert table.audit.passed


def test_an_empty_row_cannot_be_read_from_its_neighbours() -> None:
    counts = np.array([[50, 40, 30], [0, 0, 0], [25, 80, 90]])
    table = suppress_table(counts)
    assert table.hidden[1].all()
    assert_protected(table, true_table(counts), Policy())


def test_nine_of_nine_is_hidden_with_its_number_of_respondents() -> None:
    table = suppress_table([9, 40, 50], totals=[9, 80, 90])
    assert table.hidden[0].all()
    assert set(table.reasons[0]) == {FEW_RESPONDENTS}
    assert_protected(table, true_table(np.array([9, 40, 50]), np.array([9, 80, 90])), Policy())


def test_twelve_of_twelve_is_hidden_for_its_complement() -> None:
    events, totals = np.array([12, 40, 50]), np.array([12, 80, 90])
    table = suppress_table(events, totals=totals)
    assert table.reasons[0, 1] == FEW_WITHOUT
    assert np.isnan(table.non_events[0])
    # With n shown, "few without" would say that at least 10 of 12 have the outcome.
    assert np.isnan(table.respondents[0])
    assert table.reasons[0, 2] == PROTECTS
    assert_protected(table, true_table(events, totals), Policy())


def test_none_of_sixty_is_hidden_like_four_of_sixty() -> None:
    for events in (0, 4):
        table = suppress_table([events, 30, 45], totals=[60, 80, 90])
        assert table.reasons[0, 0] == FEW_WITH
        assert table.respondents.tolist() == [60.0, 80.0, 90.0, 230.0]
        assert np.isnan(table.events[:2]).all()


def test_a_small_cell_in_a_row_takes_a_rectangle_with_it() -> None:
    counts = np.array([[50, 40, 30], [3, 60, 20], [25, 80, 90]])
    table = suppress_table(counts)
    hidden = np.argwhere(table.hidden)
    # The smallest pattern that leaves no line with one gap is a rectangle: two rows by two columns.
    assert len(hidden) == 4
    assert len(set(hidden[:, 0])) == 2
    assert len(set(hidden[:, 1])) == 2
    assert table.audit.n_totals == 0


def test_a_small_total_is_hidden_and_protected() -> None:
    counts = np.array([[4, 3], [40, 50], [60, 70]])
    table = suppress_table(counts)
    assert table.primary[0].all()
    assert table.hidden[1:, 2].sum() >= 1
    assert_protected(table, true_table(counts), Policy())


def test_totals_go_only_when_cells_are_not_enough() -> None:
    # Both small and summing to 18: who knows that both are below 10 has both, so the total goes.
    table = suppress_table([9, 9])
    assert np.isnan(table.released[-1])
    assert table.audit.n_totals == 1
    # With a third cell to hide the total stays.
    assert suppress_table([9, 9, 30]).released[-1] == 48.0
    # Hiding all six cells protects them; hiding two totals would as well, at the same number of cells.
    whole = suppress_table([[35, 37, 3], [7, 27, 8]])
    assert whole.audit.n_totals == 0
    assert not whole.hidden[-1].any()
    assert not whole.hidden[:, -1].any()


def test_a_group_of_hidden_cells_is_not_small_either() -> None:
    # 6 and 0 could each be 0 to 6, but 236 - 230 would say that 6 people are in neither of the shown categories.
    table = suppress_table([200, 6, 0, 30])
    assert table.hidden.tolist() == [False, True, True, True, False]


def test_a_table_that_cells_and_totals_cannot_protect_is_withheld() -> None:
    # Below 10 with, below 10 without and yet 18 or more in all: the three facts say 9 and 9.
    table = suppress_table([9], Policy(min_n=18, min_events=10), totals=[18])
    assert table.withheld
    assert table.hidden.all()
    assert not table.primary.any()
    assert set(table.reasons.ravel()) == {WITHHELD}
    assert table.footer().startswith("Withheld the whole table")
    assert table.audit.passed


def test_a_number_for_which_no_witness_is_found_ends_in_withholding(monkeypatch: pytest.MonkeyPatch) -> None:
    for search in ("among", "anywhere"):
        monkeypatch.setattr(_protect.Searcher, search, lambda self, target, hidden, **options: None)
    table = suppress_table([[50, 40, 30], [3, 60, 20], [25, 80, 90]])
    assert table.withheld
    assert table.hidden.all()


def test_a_witness_that_is_none_ends_in_withholding(monkeypatch: pytest.MonkeyPatch) -> None:
    # The last check takes nothing on trust: a witness that breaks a sum is found out.
    def broken(self: _protect.Searcher, target: int, hidden: np.ndarray, **options: bool) -> Witness:
        return Witness(np.array([target]), np.array([6]), np.array([0]))

    for search in ("among", "anywhere"):
        monkeypatch.setattr(_protect.Searcher, search, broken)
    assert suppress_table([[50, 40, 30], [3, 60, 20], [25, 80, 90]]).withheld


def test_structural_zeros_are_shown_and_protect_nothing() -> None:
    counts = np.array([[50, 40, 30], [0, 60, 20], [25, 80, 90]])
    impossible = counts == 0
    assert not suppress_table(counts, structural_zeros=impossible).hidden.any()
    counts[1, 1] = 4
    table = suppress_table(counts, structural_zeros=impossible)
    assert table.released[1, 0] == 0.0
    assert table.hidden[1, 1:].sum() >= 2
    assert_no_single_gap(table.released)
    assert not has_small_sum(table.released, true_table(counts), 10)
    whole_row = suppress_table([[0, 0], [30, 40]], structural_zeros=[[True, True], [False, False]])
    assert not whole_row.hidden.any()


def test_a_structural_zero_is_not_taken_for_a_hiding_place() -> None:
    # The cheapest rectangle through the 9 has the impossible cell as a corner, which everybody knows to be 0.
    counts = np.array([[50, 3000, 2000], [0, 9, 4000], [25, 8000, 9000]])
    table = suppress_table(counts, structural_zeros=counts == 0)
    assert not table.withheld
    assert table.released[1, 0] == 0.0
    gap = table.upper - table.lower
    assert gap[table.hidden].min() >= 5


def test_structural_zeros_of_pairs_are_known_in_all_three_places() -> None:
    table = suppress_table([0, 30, 45], totals=[0, 80, 90], structural_zeros=[True, False, False])
    assert not table.hidden.any()
    assert table.released[0].tolist() == [0.0, 0.0, 0.0]


def test_an_override_shows_everything_and_says_so() -> None:
    policy = Policy().override(reason="Simulated data, not people.", enforce=False)
    table = suppress_table([4, 30], policy)
    assert table.released.tolist() == [4.0, 30.0, 34.0]
    assert not table.audit.passed
    assert "1 cell below the threshold is shown" in table.footer()
    assert "Simulated data, not people." in table.footer()


def test_neither_repr_nor_pickle_holds_a_hidden_count() -> None:
    counts = np.array([[4321, 5432, 6543], [7, 4567, 3456], [2345, 6789, 7890]])
    table = suppress_table(counts)
    stored = pickle.dumps(table)
    again = pickle.loads(stored)
    np.testing.assert_array_equal(again.released, table.released)
    for count in counts[table.hidden[:3, :3] & (counts > 9)]:
        assert str(count) not in repr(table)
        for kind in ("<i8", "<f8", "<i4"):
            assert np.array(count, dtype=kind).tobytes() not in stored or count in table.lower or count in table.upper


def test_the_same_table_is_hidden_in_the_same_way() -> None:
    counts = [[5, 40, 41], [38, 7, 52], [60, 33, 90]]
    np.testing.assert_array_equal(suppress_table(counts).hidden, suppress_table(counts).hidden)


def test_the_footer_joins_audit_and_policy() -> None:
    footer = suppress_table([5, 100]).footer()
    assert footer.startswith("Suppressed 1 cell primarily, 1 to protect it; the narrowest hidden interval is 0 to 9. ")
    assert Policy().describe() in footer


@pytest.mark.parametrize(
    ("counts", "options", "words"),
    [
        ([1.5, 20], {}, "1 cells that are not whole"),
        ([-1, -2, 20], {}, "2 cells"),
        ([np.nan, 20], {}, "1 cells"),
        ([], {}, "shape"),
        ([[[[[20]]]]], {}, "shape"),
        (["a"], {}, "numbers"),
        ([True], {}, "numbers"),
        ([20, 30], {"totals": [40]}, "must be the same"),
        ([20, 30], {"totals": [40, 20]}, "exceeds `totals` in 1 cells"),
        ([20, 30], {"structural_zeros": [True, False]}, "not empty"),
        ([20, 30], {"structural_zeros": [0, 1]}, "True or False"),
    ],
)
def test_counts_that_are_not_counts_are_refused(counts: list[object], options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        suppress_table(counts, **options)  # type: ignore[arg-type]


def test_errors_show_no_count() -> None:
    with pytest.raises(DataError) as caught:
        suppress_table([7654, 30], totals=[7653, 40])
    assert "765" not in str(caught.value)


def test_a_table_without_outcome_has_no_events() -> None:
    table = suppress_table([20, 30])
    assert table.respondents.tolist() == [20.0, 30.0, 50.0]
    with pytest.raises(DisclosureError, match="totals"):
        _ = table.events


def test_a_sparse_table_of_four_directions_comes_to_an_end() -> None:
    """Hardly a count has room for one move as long as the protection: several short ones, or few cells, must do.

    Integer programmes over all cells took minutes. The audit inside the release is the proof.
    """
    rng = np.random.default_rng(2)
    frame: dict[str, object] = {
        name: rng.choice(list("abc")[:size], 400) for name, size in (("p", 3), ("q", 3), ("r", 2), ("s", 3))
    }
    frame["y"] = (rng.random(400) < 0.3).astype(float)
    table = gbv.Survey(frame, outcome="y").counts("p", "q", layers=["r", "s"], outcome="y")
    released = gbv.release(table, gbv.Policy(min_n=5))
    assert "no hidden number can be confined to an interval narrower than 2" in released.suppressed[0]
