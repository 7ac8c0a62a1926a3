"""Allocations: counts by formula, enumeration against brute force, draws against the uniform distribution."""

from __future__ import annotations

from itertools import permutations, product
from math import comb

import numpy as np
import pytest
from scipy import stats

from gbveval.numerics.allocations import (
    Scheme,
    count_allocations,
    draw_allocations,
    draw_order,
    enumerate_allocations,
    permuted,
)

CASES = {
    "complete": (np.array([0, 1, 0, 1, 1]), np.zeros(5, dtype=int)),
    "strata": (np.array([0, 1, 1, 0, 1, 0, 1]), np.array([0, 0, 0, 1, 1, 1, 1])),
    "pairs": (np.array([0, 1, 1, 0, 0, 1]), np.array([2, 0, 0, 1, 2, 1])),
    "three arms": (np.array([0, 1, 2, 0, 2, 1]), np.array([0, 0, 0, 1, 1, 1])),
    "a stratum with one arm": (np.array([1, 1, 0, 1, 0]), np.array([0, 0, 1, 1, 1])),
}


def by_hand(labels: np.ndarray, block: np.ndarray) -> set[tuple[int, ...]]:
    """Every allocation, from all permutations of every block."""
    where = [np.flatnonzero(block == b) for b in np.unique(block)]
    orders = [set(permutations(labels[w].tolist())) for w in where]
    found = set()
    for choice in product(*orders):
        row = np.zeros(labels.size, dtype=int)
        for w, values in zip(where, choice, strict=True):
            row[w] = values
        found.add(tuple(row.tolist()))
    return found


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    found: tuple[np.ndarray, np.ndarray] = request.param
    return found


def test_enumeration_lists_every_allocation_once(case: tuple[np.ndarray, np.ndarray]) -> None:
    scheme = permuted(*case)
    rows = np.concatenate([codes for codes, _ in enumerate_allocations(scheme)])
    weights = np.concatenate([weight for _, weight in enumerate_allocations(scheme)])
    expected = by_hand(*case)
    assert count_allocations(scheme) == rows.shape[0] == len(expected)
    assert {tuple(row) for row in rows.tolist()} == expected
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)


def test_draws_are_uniform_over_the_allocations(case: tuple[np.ndarray, np.ndarray]) -> None:
    scheme = permuted(*case)
    rows = np.concatenate(list(draw_allocations(scheme, 20_000, np.random.default_rng(5))))
    assert rows.shape == (20_000, case[0].size)
    found, count = np.unique(rows, axis=0, return_counts=True)
    assert {tuple(row) for row in found.tolist()} == by_hand(*case)
    # Fixed seed; a false alarm of 1e-6.
    assert stats.chisquare(count).pvalue > 1e-6


# The three ways to draw subsets: a table (small blocks), sorted keys (middle), corrected coins (large; even or not).
@pytest.mark.parametrize(("n", "k"), [(6, 3), (6, 2), (24, 9), (24, 12), (60, 30), (60, 13), (300, 150), (300, 299)])
def test_large_blocks_keep_their_numbers_and_treat_units_alike(n: int, k: int) -> None:
    labels = np.array([1] * k + [0] * (n - k))
    rows = np.concatenate(list(draw_allocations(permuted(labels), 20_000, np.random.default_rng(8))))
    assert np.all(rows.sum(axis=1) == k)
    share = rows.mean(axis=0)
    band = 5.5 * np.sqrt(k / n * (1 - k / n) / 20_000)  # n units, normal tails of 4e-8
    assert np.all(np.abs(share - k / n) < band)
    # Two units are treated together as often as without replacement.
    pairs = np.array([np.mean(rows[:, i] * rows[:, i + 1]) for i in range(min(n - 1, 40))])
    together = k * (k - 1) / (n * (n - 1))
    assert np.all(np.abs(pairs - together) < 5.5 * np.sqrt(max(together * (1 - together), 1e-9) / 20_000))


def test_counts_far_beyond_floating_point_are_exact() -> None:
    labels = np.tile([0, 1], 2_000)
    assert count_allocations(permuted(labels)) == comb(4_000, 2_000)


def test_counts_of_huge_blocks_have_the_right_size() -> None:
    n = 30_000
    found = count_allocations(permuted(np.tile([0, 1], n // 2)))
    exact = comb(n, n // 2)
    assert found <= exact < 4 * found


def test_independent_assignment_has_the_probabilities_given_and_every_arm() -> None:
    probability = np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]])
    scheme = Scheme(np.array([0, 1, 0], dtype=np.int8), 2, np.zeros(3, dtype=np.intp), probability=probability)
    rows = np.concatenate([codes for codes, _ in enumerate_allocations(scheme)])
    weight = np.concatenate([w for _, w in enumerate_allocations(scheme)])
    assert rows.shape[0] == 8 - 2  # all but nobody and everybody treated
    expected = [np.prod([probability[i, z] for i, z in enumerate(row)]) for row in rows]
    np.testing.assert_allclose(weight, expected, rtol=1e-12)
    drawn = np.concatenate(list(draw_allocations(scheme, 20_000, np.random.default_rng(3))))
    found, count = np.unique(drawn, axis=0, return_counts=True)
    table = {tuple(row): w / weight.sum() for row, w in zip(rows.tolist(), weight, strict=True)}
    share = np.array([table[tuple(row)] for row in found.tolist()])
    assert stats.chisquare(count, 20_000 * share).pvalue > 1e-6


def test_recorded_allocations_are_used_as_they_are() -> None:
    recorded = np.array([[0, 1, 1], [1, 0, 1]], dtype=np.int8)
    scheme = Scheme(recorded[0], 2, np.zeros(3, dtype=np.intp), recorded=recorded)
    codes, weight = next(enumerate_allocations(scheme))
    np.testing.assert_array_equal(codes, recorded)
    np.testing.assert_array_equal(weight, [0.5, 0.5])
    assert count_allocations(scheme) == 2


def test_units_in_draw_order_are_those_of_the_blocks() -> None:
    labels, block = np.array([0, 1, 0, 1, 1, 0, 1]), np.array([1, 0, 0, 1, 1, 2, 2])
    order = draw_order(permuted(labels, block))
    assert sorted(order.tolist()) == list(range(7))
    assert [block[i] for i in order[-3:]] == [1, 1, 1]  # the block with other counts stands apart
