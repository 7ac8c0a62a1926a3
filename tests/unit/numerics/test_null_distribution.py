"""p-values by counting, exact sums against brute force, and intervals against a grid."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from gbveval.numerics.exact_sums import exact_sums, lattice, moments
from gbveval.numerics.null_distribution import RESOLUTION, invert, probability_of, tail
from gbveval.numerics.ranks import midranks


def test_tails_count_the_observed_value() -> None:
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    weight = np.full(5, 0.2)
    assert tail(values, 1.0, weight, rule="greater") == pytest.approx(0.4)
    assert tail(values, 1.0, weight, rule="less") == pytest.approx(0.8)
    assert tail(values, 1.0, weight) == pytest.approx(0.8)
    assert tail(values, 2.0, weight, rule="central") == pytest.approx(0.4)
    assert probability_of(values, 1.0, weight) == pytest.approx(0.2)
    # Draws: the observed allocation is one more.
    assert tail(values, 2.5, rule="greater") == pytest.approx(1 / 6)


def test_no_more_likely_is_fishers_rule() -> None:
    n1, n2, total = 8, 9, 6
    hyper = stats.hypergeom(n1 + n2, total, n1)
    values = np.arange(total + 1.0)
    weight = hyper.pmf(values)
    for x in range(total + 1):
        expected = stats.fisher_exact([[x, n1 - x], [total - x, n2 - total + x]]).pvalue
        assert tail(values, float(x), weight, rule="no_more_likely") == pytest.approx(expected, rel=1e-9)


def test_undefined_statistics_count_as_extreme() -> None:
    assert tail(np.array([np.nan, 0.0, 1.0]), 2.0, np.full(3, 1 / 3)) == pytest.approx(1 / 3)


def test_ties_that_rounding_parts_are_ties() -> None:
    values = np.array([0.1 + 0.2, -0.3, 0.0])
    assert tail(values, 0.3, np.full(3, 1 / 3)) == pytest.approx(2 / 3)


def test_midranks_are_those_of_scipy() -> None:
    x = np.random.default_rng(2).integers(0, 6, 40).astype(float)
    np.testing.assert_array_equal(midranks(x), stats.rankdata(x))


@pytest.mark.parametrize("blocks", [1, 3])
def test_exact_sums_equal_enumeration(blocks: int) -> None:
    rng = np.random.default_rng(blocks)
    block = np.sort(np.arange(12) % blocks)
    scores = np.round(rng.normal(size=12), 1) + 0.3
    treated = np.zeros(12, dtype=bool)
    for b in range(blocks):
        member = np.flatnonzero(block == b)
        treated[member[: 1 + member.size // 3]] = True
    sums = np.zeros(1)
    for b in range(blocks):
        member = scores[block == b]
        own = [sum(c) for c in combinations(member, int(treated[block == b].sum()))]
        sums = np.add.outer(sums, own).ravel()
    found = exact_sums(scores, treated, block)
    assert found is not None
    assert found.probability.sum() == pytest.approx(1.0, abs=1e-12)
    values, count = np.unique(np.round(sums, 6), return_counts=True)
    np.testing.assert_allclose(found.values, values, atol=1e-6)
    np.testing.assert_allclose(found.probability, count / sums.size, rtol=1e-10)
    mean, variance = moments(scores, treated, block)
    assert mean == pytest.approx(sums.mean(), rel=1e-12)
    assert variance == pytest.approx(sums.var(), rel=1e-12)


def test_exact_rank_sum_is_scipys_exact_mann_whitney() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(0.5, 1, 23), rng.normal(size=20)
    treated = np.arange(43) < 23
    ranks = midranks(np.concatenate([x, y]))
    found = exact_sums(ranks, treated, np.zeros(43, dtype=int))
    assert found is not None
    p = tail(found.values, float(ranks[treated].sum()), found.probability, rule="greater")
    # C(43, 23) allocations: nobody lists those. scipy uses a recursion of its own.
    assert p == pytest.approx(stats.mannwhitneyu(x, y, alternative="greater", method="exact").pvalue, rel=1e-10)


def test_scores_off_a_lattice_are_not_forced_onto_one() -> None:
    assert lattice(np.array([0.0, np.pi, np.e])) is None
    assert exact_sums(np.array([0.0, np.pi, np.e]), np.array([True, False, False]), np.zeros(3, dtype=int)) is None
    found = lattice(np.array([0.5, 2.0, 3.5]))
    assert found is not None
    assert (found[0].tolist(), found[1], found[2]) == ([0, 1, 2], 0.5, 1.5)


def test_nobody_and_everybody_treated_in_a_block() -> None:
    found = exact_sums(np.array([1.0, 2.0, 4.0]), np.array([True, True, False]), np.array([0, 0, 1]))
    assert found is not None
    assert (found.values.tolist(), found.probability.tolist()) == ([3.0], [1.0])


def test_inversion_finds_the_hull_and_says_when_there_is_no_end() -> None:
    low, high = invert(lambda x: -0.3 <= x <= 1.7, 0.5, 0.2)
    assert (low, high) == (pytest.approx(-0.3, abs=RESOLUTION), pytest.approx(1.7, abs=RESOLUTION))
    assert invert(lambda x: x <= 1.0, 0.0, 1.0) == (-np.inf, pytest.approx(1.0, abs=RESOLUTION))
    # A hole inside the set is inside the hull.
    assert invert(lambda x: abs(x) < 0.1 or 1.0 <= x <= 2.5, 0.0, 1.0)[1] == pytest.approx(2.5, abs=RESOLUTION)
