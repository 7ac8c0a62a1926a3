"""Corrected prevalences: closed forms, brute force, quadrature, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gbveval.core.replicate import binomial_band
from gbveval.numerics.misclassification import (
    Rate,
    corrected_share,
    draw_shares,
    score_limits,
    validated_rate,
)
from gbveval.numerics.proportion_intervals import wilson

Z = 1.959963984540054
shares = st.floats(0.0, 1.0)
rates = st.floats(0.55, 1.0)


@given(shares, rates, rates)
def test_correction_undoes_misreporting(pi: float, se: float, sp: float) -> None:
    found = corrected_share(1.0 - sp + (se + sp - 1.0) * pi, se, sp)
    # Dividing by a slope of 0.1 at least loses one digit of sixteen.
    assert found.value == pytest.approx(pi, abs=1e-13)


@given(st.floats(0.05, 0.95), st.floats(0.6, 0.95), st.floats(0.6, 0.95))
def test_slopes_are_derivatives(q: float, se: float, sp: float) -> None:
    found, h = corrected_share(q, se, sp), 1e-6
    moved = [
        (corrected_share(q + h, se, sp).value - corrected_share(q - h, se, sp).value) / (2 * h),
        (corrected_share(q, se + h, sp).value - corrected_share(q, se - h, sp).value) / (2 * h),
        (corrected_share(q, se, sp + h).value - corrected_share(q, se, sp - h).value) / (2 * h),
    ]
    # Central differences of a smooth function of size up to 20: error of order h^2 / slope^3.
    expected = [found.by_reported, found.by_sensitivity, found.by_specificity]
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-7)


@given(st.integers(0, 60), rates, rates)
def test_known_rates_give_corrected_wilson_limits(events: int, se: float, sp: float) -> None:
    limits = score_limits(events / 60, 60, Rate(se), Rate(sp), Z)
    expected = [corrected_share(x, se, sp).value for x in wilson(events, 60)]
    assert limits is not None
    np.testing.assert_allclose(limits, expected, atol=1e-10)


def test_limits_are_where_the_score_test_begins_to_reject() -> None:
    q, n, se, sp = 0.2, 300.0, validated_rate(45, 60), validated_rate(76, 80)
    limits = score_limits(q, n, se, sp, Z)
    assert limits is not None
    pi = np.linspace(-0.5, 1.5, 200_001)
    expected = 1.0 - sp.value + (se.value + sp.value - 1.0) * pi
    variance = expected * (1.0 - expected) / n + pi**2 * se.variance + (1.0 - pi) ** 2 * sp.variance
    kept = pi[(q - expected) ** 2 <= Z**2 * variance]
    # The grid has steps of 1e-5.
    np.testing.assert_allclose(limits, [kept.min(), kept.max()], atol=1.1e-5)


def test_rates_that_may_say_nothing_give_no_limits() -> None:
    assert score_limits(0.4, 200, validated_rate(11, 20), validated_rate(12, 20), Z) is None


def test_limits_cover_when_rates_are_validated_anew_each_time() -> None:
    rng, draws = np.random.default_rng(5), 4000
    pi, se, sp, n, m = 0.15, 0.75, 0.97, 500, 100
    events = rng.binomial(n, 1.0 - sp + (se + sp - 1.0) * pi, draws)
    right = rng.binomial(m, [se, sp], (draws, 2))
    covered = 0
    for x, (a, b) in zip(events, right, strict=True):
        limits = score_limits(x / n, n, validated_rate(a, m), validated_rate(b, m), Z)
        covered += limits is None or limits[0] <= pi <= limits[1]
    # Normal limits from a hundred validated people are right to about two points.
    low = binomial_band(0.93, draws, false_alarm=1e-6)[0]
    high = binomial_band(0.975, draws, false_alarm=1e-6)[1]
    assert low <= covered / draws <= high


def test_without_errors_the_posterior_is_a_beta() -> None:
    ones = np.ones(10)
    found = draw_shares(np.array([7.0]), np.array([40.0]), ones, ones, n_draws=40_000, rng=np.random.default_rng(1))
    statistic = stats.kstest(found.shares[:, 0], stats.beta(8, 34).cdf).statistic
    # Kolmogorov's bound at a false-alarm rate of 1e-6 for 40,000 draws.
    assert statistic < 2.7 / np.sqrt(40_000)


def test_posterior_means_agree_with_quadrature() -> None:
    rng = np.random.default_rng(2)
    a, b = (14.0, 6.0), (40.0, 2.0)
    found = draw_shares(
        np.array([30.0, 8.0]),
        np.array([120.0, 60.0]),
        rng.beta(*a, 200_000),
        rng.beta(*b, 200_000),
        n_draws=40_000,
        rng=rng,
    )
    pi = (np.arange(200) + 0.5) / 200
    se, sp = (np.linspace(0.005, 0.995, 100) for _ in range(2))
    grid = np.stack(np.meshgrid(se, sp, indexing="ij"))
    weight = stats.beta(*a).pdf(grid[0]) * stats.beta(*b).pdf(grid[1])
    like, mean = [], []
    for x, n in ((30, 120), (8, 60)):
        q = 1.0 - grid[1][..., None] + (grid[0] + grid[1] - 1.0)[..., None] * pi
        chance = stats.binom.pmf(x, n, np.clip(q, 0.0, 1.0))
        like.append(chance.mean(axis=-1))
        mean.append((chance * pi).mean(axis=-1) / np.maximum(like[-1], 1e-300))
    joint = weight * like[0] * like[1]
    expected = [(joint * m).sum() / joint.sum() for m in mean]
    # Monte Carlo error of the means is about 0.0005; resampled draws are dependent, and the grid is right to 1e-3.
    np.testing.assert_allclose(found.shares.mean(axis=0), expected, atol=0.004)
    assert found.sensitivity.mean() == pytest.approx(float((joint * grid[0]).sum() / joint.sum()), abs=0.005)


def test_mass_far_in_a_tail_is_no_rounding_error() -> None:
    rng = np.random.default_rng(3)
    # Nobody says yes where 3 % would by mistake: the prevalence is near zero.
    found = draw_shares(np.zeros(1), np.array([3000.0]), np.full(9, 0.8), np.full(9, 0.97), n_draws=500, rng=rng)
    assert np.all(np.isfinite(found.shares))
    assert float(found.shares.mean()) < 0.01
    with pytest.raises(ValueError, match="no probability"):
        draw_shares(np.zeros(1), np.array([1e6]), np.full(9, 0.8), np.full(9, 0.9), n_draws=5, rng=rng)
