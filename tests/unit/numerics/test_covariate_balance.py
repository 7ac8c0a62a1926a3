"""The balance statistic: its covariance and p-value by enumeration, its limit, its invariances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from gbveval.numerics.allocations import Scheme, permuted
from gbveval.numerics.covariate_balance import balance_test, unit_totals
from gbveval.numerics.inference import binomial_two_sided

BLOCK = np.array([0, 0, 0, 0, 1, 1, 1])
LABELS = np.array([0, 1, 0, 1, 2, 0, 1])


def _columns(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(7, 2)) + 1e6


def _by_hand(x: np.ndarray) -> tuple[float, float]:
    """Every distinct assignment inside the blocks, its sums, their covariance over all of them, and d2 with it."""
    centred = x.copy()
    for block in (0, 1):
        centred[block == BLOCK] -= x[block == BLOCK].mean(axis=0)
    first = sorted(set(itertools.permutations(LABELS[:4].tolist())))
    second = sorted(set(itertools.permutations(LABELS[4:].tolist())))
    rows = [np.array([*a, *b]) for a in first for b in second]
    sums = np.array([np.concatenate([centred[row == arm].sum(axis=0) for arm in (1, 2)]) for row in rows])
    inverse = np.linalg.pinv(np.cov(sums.T, bias=True), rcond=1e-9)
    d2 = np.einsum("ij,jk,ik->i", sums, inverse, sums)
    observed = d2[[np.array_equal(row, LABELS) for row in rows].index(True)]
    return float(observed), float(np.mean(d2 >= observed * (1 - 1e-9)))


def test_statistic_and_p_value_by_enumeration() -> None:
    x = _columns()
    scheme = permuted(LABELS, BLOCK)
    totals = unit_totals(x, np.arange(7), scheme.block)
    found = balance_test(totals, scheme, list_all=True, n_draws=0, rng=np.random.default_rng(1))
    statistic, p_value = _by_hand(x)
    # The columns lie at a million, so ten digits of sixteen are left.
    assert found.statistic == pytest.approx(statistic, rel=1e-6)
    assert found.p_value == pytest.approx(p_value, abs=1e-12)
    assert found.rank == 4


def test_draws_agree_with_the_list() -> None:
    scheme = permuted(LABELS, BLOCK)
    totals = unit_totals(_columns(), np.arange(7), scheme.block)
    listed = balance_test(totals, scheme, list_all=True, n_draws=0, rng=np.random.default_rng(1))
    drawn = balance_test(totals, scheme, list_all=False, n_draws=20_000, rng=np.random.default_rng(1))
    # Four standard errors of a share of 20,000 draws.
    band = 4 * np.sqrt(listed.p_value * (1 - listed.p_value) / 20_000)
    assert abs(drawn.p_value - listed.p_value) < band + 1 / 20_001


def test_two_arms_and_one_column_is_the_permutation_test_of_a_mean() -> None:
    x = np.array([1.0, 2.5, 4.0, 7.0, 11.0, 13.5])
    arm = np.array([0, 0, 1, 0, 1, 1])
    scheme = permuted(arm)
    found = balance_test(
        unit_totals(x[:, None], np.arange(6), scheme.block),
        scheme,
        list_all=True,
        n_draws=0,
        rng=np.random.default_rng(1),
    )

    def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(a.mean(axis=axis) - b.mean(axis=axis))

    witness = stats.permutation_test((x[arm == 1], x[arm == 0]), difference, vectorized=True, alternative="greater")
    assert found.p_value == pytest.approx(witness.pvalue, abs=1e-12)
    # The finite-population z, squared.
    z = (x[arm == 1].mean() - x.mean()) / np.sqrt(x.var(ddof=1) / 3 * (1 - 3 / 6))
    assert found.statistic == pytest.approx(z**2, rel=1e-12)


def test_units_of_columns_and_names_of_arms_do_not_matter() -> None:
    x = np.random.default_rng(3).normal(size=(40, 3))
    arm = np.resize([0, 1, 2], 40)
    changed = x @ np.array([[1e-9, 0, 0], [0, 1e7, 1.0], [0, 0, 1.0]]) + np.array([0, 5.0, -3.0])
    values = []
    for columns, labels in ((x, arm), (changed, arm), (x, (arm + 1) % 3)):
        scheme = permuted(labels)
        totals = unit_totals(columns, np.arange(40), scheme.block)
        values.append(balance_test(totals, scheme, list_all=False, n_draws=0, rng=np.random.default_rng(1)).statistic)
    assert values == pytest.approx([values[0]] * 3, rel=1e-8)


def test_constant_and_collinear_columns_count_for_nothing() -> None:
    x = np.random.default_rng(4).normal(size=(30, 1))
    arm = np.resize([0, 1], 30)
    scheme = permuted(arm)
    rng = np.random.default_rng(1)
    one = balance_test(unit_totals(x, np.arange(30), scheme.block), scheme, list_all=False, n_draws=0, rng=rng)
    more = np.column_stack([x, 2 * x, np.full(30, 1e8)])
    found = balance_test(unit_totals(more, np.arange(30), scheme.block), scheme, list_all=False, n_draws=0, rng=rng)
    assert (found.rank, found.statistic) == (1, pytest.approx(one.statistic, rel=1e-9))
    none = unit_totals(np.full((30, 1), 7.0), np.arange(30), scheme.block)
    empty = balance_test(none, scheme, list_all=False, n_draws=99, rng=rng)
    assert empty.rank == 0
    assert np.isnan(empty.p_value)


def test_clusters_are_the_units() -> None:
    """Within-cluster noise that sums to zero changes nothing; the size of a cluster alone is no imbalance."""
    unit = np.repeat(np.arange(8), [2, 4, 6, 8, 2, 4, 6, 8])
    arm = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    scheme = permuted(arm)
    level = np.random.default_rng(2).normal(size=8)[unit]
    wiggle = np.tile([1.0, -1.0], unit.size // 2)
    rng = np.random.default_rng(1)
    values = [
        balance_test(unit_totals(x[:, None], unit, scheme.block), scheme, list_all=True, n_draws=0, rng=rng)
        for x in (level, level + wiggle)
    ]
    assert values[1].statistic == pytest.approx(values[0].statistic, rel=1e-9)
    assert values[1].p_value == pytest.approx(values[0].p_value, abs=1e-12)


def test_independent_draws_and_recorded_allocations() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6, 1))
    p = np.array([0.2, 0.5, 0.7, 0.4, 0.5, 0.6])
    labels = np.array([0, 1, 1, 0, 1, 0], dtype=np.int8)
    scheme = Scheme(labels, 2, np.zeros(6, dtype=np.intp), probability=np.column_stack([1 - p, p]))
    totals = unit_totals(x, np.arange(6), scheme.block)
    found = balance_test(totals, scheme, list_all=True, n_draws=0, rng=rng)
    t = totals[:, 0]
    rows = np.array(list(itertools.product([0, 1], repeat=6)))
    rows = rows[(rows.min(axis=1) == 0) & (rows.max(axis=1) == 1)]
    weight = np.prod(np.where(rows == 1, p, 1 - p), axis=1)
    d2 = (rows @ t - p @ t) ** 2 / np.sum(p * (1 - p) * t**2)
    seen = (labels @ t - p @ t) ** 2 / np.sum(p * (1 - p) * t**2)
    assert found.statistic == pytest.approx(seen, rel=1e-10)
    assert found.p_value == pytest.approx(weight[d2 >= seen * (1 - 1e-9)].sum() / weight.sum(), abs=1e-12)
    kept = rows[[0, 5, 9, 20]].astype(np.int8)
    recorded = Scheme(kept[1], 2, np.zeros(6, dtype=np.intp), recorded=kept)
    sums = kept @ t
    d2 = (sums - sums.mean()) ** 2 / sums.var()
    found = balance_test(totals, recorded, list_all=True, n_draws=0, rng=rng)
    assert found.statistic == pytest.approx(d2[1], rel=1e-9)
    assert found.p_value == pytest.approx(np.mean(d2 >= d2[1] * (1 - 1e-9)), abs=1e-12)


def test_the_limit_is_chi_squared() -> None:
    x = np.random.default_rng(6).normal(size=(400, 3))
    scheme = permuted(np.resize([0, 1], 400))
    totals = unit_totals(x, np.arange(400), scheme.block)
    rng = np.random.default_rng(1)
    limit = balance_test(totals, scheme, list_all=False, n_draws=0, rng=rng)
    assert limit.p_value == pytest.approx(stats.chi2.sf(limit.statistic, 3), rel=1e-10)
    drawn = balance_test(totals, scheme, list_all=False, n_draws=9_999, rng=rng)
    # Four Monte Carlo errors, and one hundredth for the limit itself at 400 units.
    assert abs(drawn.p_value - limit.p_value) < 4 * np.sqrt(0.25 / 9_999) + 0.01


@pytest.mark.parametrize(
    ("count", "total", "share"), [(1, 10, 0.5), (0, 7, 0.3), (7, 7, 0.3), (330, 1000, 0.3), (5, 10, 0.5)]
)
def test_binomial_against_scipy(count: int, total: int, share: float) -> None:
    witness = stats.binomtest(count, total, share).pvalue
    # Sums of the same probabilities; their logarithms come from the gamma function, good to about 1e-12 here.
    assert binomial_two_sided(count, total, share) == pytest.approx(witness, rel=1e-9)
