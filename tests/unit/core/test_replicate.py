"""Everything repeated: independent generators and Monte Carlo errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gbveval.core.replicate import binomial_band, generators, mean_of, ratio_of, share_of


def test_a_replicate_is_the_same_whatever_their_number() -> None:
    few = [rng.normal() for rng in generators(7, 3)]
    many = [rng.normal() for rng in generators(7, 50)]
    assert few == many[:3]
    assert len(set(many)) == 50
    assert few != [rng.normal() for rng in generators(8, 3)]


def test_streams_do_not_overlap_and_look_independent() -> None:
    draws = np.array([rng.normal(size=200) for rng in generators(1, 200)])
    correlations = np.corrcoef(draws)[np.triu_indices(200, 1)]
    # 19,900 correlations of sd 1/sqrt(200): the largest stays below 6 sd.
    assert np.abs(correlations).max() < 6 / np.sqrt(200)
    assert abs(correlations.mean()) < 5 / np.sqrt(200 * 19_900)


def test_means_and_shares() -> None:
    draws = np.array([1.0, 2.0, 4.0, 9.0])
    found = mean_of(draws)
    assert found.value == 4.0
    assert found.mcse == pytest.approx(stats.sem(draws), rel=1e-12)
    share = share_of(np.array([True, False, True, True]))
    assert share.value == 0.75
    assert share.mcse == pytest.approx(np.sqrt(0.75 * 0.25 / 4))


def test_calibration_error_is_that_of_a_spread() -> None:
    # With a constant top the ratio is 1 / sd, whose relative standard error is 1 / sqrt(2 (n - 1)) for normal draws.
    rng = np.random.default_rng(3)
    errors = []
    for _ in range(200):
        found = ratio_of(np.ones(400), rng.normal(size=400))
        errors.append(found.mcse)
        assert abs(found.value - 1.0) < 6 / np.sqrt(2 * 399)
    # A jackknife over 20 batches is itself noisy; its mean is right to a fifth.
    assert np.mean(errors) == pytest.approx(1 / np.sqrt(2 * 399), rel=0.2)


@given(st.floats(0.01, 0.99), st.integers(20, 2000), st.sampled_from([1e-2, 1e-4, 1e-6]))
def test_binomial_band_is_the_exact_one(expected: float, n: int, false_alarm: float) -> None:
    low, high = binomial_band(expected, n, false_alarm=false_alarm)
    first, last = round(low * n), round(high * n)
    binomial = stats.binom(n, expected)
    # Leaving the band is rarer than promised on each side, and one step narrower would not be.
    assert binomial.cdf(first - 1) <= false_alarm / 2
    assert binomial.sf(last) <= false_alarm / 2
    assert binomial.cdf(first) > false_alarm / 2
    assert binomial.sf(last - 1) > false_alarm / 2
