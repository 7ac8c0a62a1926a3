"""The test of no design effect: closed forms of its mixture, brute force of its distance, size, power, and R's rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from gbveval.core.replicate import binomial_band
from gbveval.numerics.list_design_test import _distance, _mixture_tail, design_effect_test, joint_shares

FloatArray = NDArray[np.float64]
RACE = Path(__file__).parents[4] / "shared" / "reference" / "risk" / "race_list.csv"
needs_shared = pytest.mark.skipif(not RACE.exists(), reason="../shared/reference is absent")


def test_shares_are_those_of_the_people() -> None:
    rng = np.random.default_rng(1)
    count, has = rng.integers(0, 4, 4000), rng.random(4000) < 0.3
    # The same people with both lists: their joint shares come back exactly.
    y = np.concatenate([count, count + has]).astype(float)
    long = np.repeat([False, True], 4000)
    expected = [[np.mean((count == j) & (has == answer)) for j in range(4)] for answer in (True, False)]
    np.testing.assert_allclose(joint_shares(y, long, 3).value, expected, atol=1e-12)


def test_distance_is_the_least() -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(4, 4))
    covariance = root @ root.T
    values = rng.normal(size=(40, 4))
    inverse = np.linalg.cholesky(np.linalg.inv(covariance)).T
    expected = [optimize.nnls(inverse, inverse @ v)[1] ** 2 for v in values]
    np.testing.assert_allclose(_distance(values, covariance)[0], expected, atol=1e-9)


def test_mixture_of_two_and_three_has_its_closed_form() -> None:
    rho = np.array([[1.0, 0.4, -0.2], [0.4, 1.0, 0.3], [-0.2, 0.3, 1.0]])
    tails = [float(stats.chi2.sf(3.0, k)) for k in (1, 2, 3)]
    both = (np.pi - np.arccos(0.4)) / (2 * np.pi)
    # With two, P(k on the walls): the quadrant beyond has the angle arccos(rho).
    two = 0.5 * tails[0] + (0.5 - both) * tails[1]
    found = _mixture_tail(3.0, rho[:2, :2], np.random.default_rng(3), 400_000)
    # Monte Carlo error of a weight is 0.0008, times a tail of at most 0.22.
    assert found == pytest.approx(two, abs=1e-3)
    # With three (Kudo 1963): inside with the solid angle of the inverse, walls by partial correlations.
    angles = [np.arccos(rho[i, j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    inside = (2 * np.pi - sum(angles)) / (4 * np.pi)
    partial = -np.linalg.inv(rho) / np.sqrt(np.outer(np.diag(np.linalg.inv(rho)), np.diag(np.linalg.inv(rho))))
    one = (3 * np.pi - sum(np.arccos(partial[i, j]) for i, j in ((0, 1), (0, 2), (1, 2)))) / (4 * np.pi)
    three = one * tails[0] + (0.5 - inside) * tails[1] + (0.5 - one) * tails[2]
    assert _mixture_tail(3.0, rho, np.random.default_rng(4), 400_000) == pytest.approx(three, abs=1e-3)


@needs_shared
def test_r_selects_by_the_spread_of_shares() -> None:
    frame = pd.read_csv(RACE).dropna(subset=["y", "treat"])
    y, long = frame["y"].to_numpy(float), frame["treat"].to_numpy() == 1
    found = design_effect_test(joint_shares(y, long, 3), rng=np.random.default_rng(5), selection="spread")
    # One share is left, that of nobody's count, of which R takes Welch's test: its number to all digits.
    a, b = (y[~long] == 0).astype(float), (y[long] == 0).astype(float)
    welch = float(stats.ttest_ind(a, b, equal_var=False, alternative="less").pvalue)
    assert found.kept.tolist() == [1, 0]
    assert 2.0 * welch == pytest.approx(0.0443110858651332, rel=1e-9)
    # Half a chi-square is Welch's test for many respondents.
    assert found.p_value == pytest.approx(2.0 * welch, abs=1e-3)


@pytest.mark.parametrize("selection", ["standard_error", "spread"])
def test_size_where_nobody_has_the_item(selection: str) -> None:
    rng, draws, n = np.random.default_rng(6), 800, 400
    long = np.repeat([False, True], n // 2)
    p_values = [
        design_effect_test(
            joint_shares(rng.binomial(3, 0.5, n).astype(float), long, 3), rng=rng, n_draws=1000, selection=selection
        ).p_value
        for _ in range(draws)
    ]
    rejected = float(np.mean(np.array(p_values) < 0.05))
    # All shares with the item are zero, the least favourable case, of which Bonferroni leaves one half of the size.
    assert rejected <= binomial_band(0.05, draws, false_alarm=1e-6)[1]
    assert rejected >= binomial_band(0.025, draws, false_alarm=1e-6)[0]


def test_counts_that_the_item_changes_are_found() -> None:
    rng = np.random.default_rng(7)
    count = rng.binomial(3, 0.5, 2000).astype(float)
    long = np.repeat([False, True], 1000)
    # A fifth of those with the long list count one item fewer.
    count = np.where(long & (rng.random(2000) < 0.2), np.maximum(count - 1.0, 0.0), count)
    assert design_effect_test(joint_shares(count, long, 3), rng=rng).p_value < 1e-3


def test_counts_that_nobody_gives_change_nothing() -> None:
    """Shares that are one and the same, or sums of others, leave a singular covariance: they count once."""
    rng = np.random.default_rng(9)
    short, long = np.repeat([0.0, 1.0, 3.0], [10, 20, 30]), np.repeat([0.0, 1.0, 3.0, 4.0], [25, 25, 8, 2])
    both, arm = np.concatenate([short, long]), np.repeat([False, True], 60)
    shares = joint_shares(both, arm, 3)
    # Nobody counts two, so that "at most one" and "at most two" are one share; without it two are left.
    assert shares.value[0, 1] == shares.value[0, 2]
    inverse = np.linalg.cholesky(np.linalg.inv(shares.covariance[0][:2, :2])).T
    expected = optimize.nnls(inverse, inverse @ shares.value[0, :2])[1] ** 2
    assert design_effect_test(shares, rng=rng, n_draws=1000).statistic[0] == pytest.approx(expected, rel=1e-9)


def test_small_lists_have_a_test_whatever_counts_are_absent() -> None:
    rng = np.random.default_rng(10)
    for _ in range(300):
        n, items = int(rng.integers(6, 30)), int(rng.integers(2, 6))
        long = np.arange(n) % 2 == 1
        y = rng.choice(rng.integers(0, items + 1, 3), n) + long * (rng.random(n) < 0.1)
        found = design_effect_test(joint_shares(y.astype(float), long, items), rng=rng, n_draws=1000)
        assert 0.0 <= found.p_value <= 1.0
