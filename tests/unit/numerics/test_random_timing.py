"""Randomly timed rollouts: unbiased over all assignments, of least variance, with bounds that are what they say."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gbveval.numerics.random_timing import (
    all_before,
    cohort_moments,
    effect_variances,
    timed_effects,
    timing_contrasts,
    unit_influence,
)

FloatArray = NDArray[np.float64]
PERIODS = np.array([1.0, 2.0, 3.0, 4.0])


def drawn(seed: int, sizes: tuple[int, ...] = (5, 6, 7)) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    cohort = np.repeat([3.0, 4.0, np.inf], sizes)
    return np.cumsum(rng.normal(size=(cohort.size, 4)), axis=1) + rng.normal(size=(cohort.size, 1)), cohort


def test_unbiased_over_all_assignments_and_neyman_is_never_too_small() -> None:
    # Six units whose effects differ; every one of the ninety assignments of dates.
    rng = np.random.default_rng(2)
    untreated = np.cumsum(rng.normal(size=(6, 4)), axis=1)
    effect = rng.normal(size=(6, 4))  # of being treated by then
    values, variances = [], []
    for dates in sorted(set(permutations([3.0, 3.0, 4.0, 4.0, np.inf, np.inf]))):
        cohort = np.array(dates)
        y = untreated + effect * (cohort[:, None] <= PERIODS)
        moments = cohort_moments(y, cohort, PERIODS)
        contrasts = timing_contrasts(moments.cohort, moments.size, PERIODS, last_only=False)
        found = timed_effects(moments, contrasts.effect, contrasts.before, every=None, fixed=True)
        values.append(found.value)
        variances.append(np.square(unit_influence(y, cohort, moments, found.weight)).sum(axis=0))
    assert len(values) == 90
    truth = np.array(
        [effect[:, int(t) - 1].mean() if t >= g else 0.0 for g, t in zip(contrasts.cohort, contrasts.time, strict=True)]
    )
    np.testing.assert_allclose(np.mean(values, axis=0), truth, atol=1e-12)
    # Neyman's variance is, on average over the lot, the variance plus that of effects between units.
    assert np.all(np.mean(variances, axis=0) >= np.var(values, axis=0) - 1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), last_only=st.booleans())
def test_no_other_weight_has_a_smaller_variance(seed: int, last_only: bool) -> None:
    y, cohort = drawn(seed)
    moments = cohort_moments(y, cohort, PERIODS)
    contrasts = timing_contrasts(moments.cohort, moments.size, PERIODS, last_only=last_only)

    def variance(scale: float, every: FloatArray | None, fixed: bool) -> FloatArray:
        found = timed_effects(moments, contrasts.effect, scale * contrasts.before, every=every, fixed=fixed)
        return np.asarray(np.square(unit_influence(y, cohort, moments, found.weight)).sum(axis=0))

    best = variance(1.0, None, False)
    for beta in (0.0, 0.5, 1.0, 2.0):
        assert np.all(best <= variance(beta, None, True) + 1e-12)
    assert np.all(variance(1.0, all_before(moments.cohort, PERIODS), False) <= best + 1e-9)


def test_two_cohorts_by_hand() -> None:
    rng = np.random.default_rng(5)
    x, z = rng.normal(size=(2, 40))
    treated = np.arange(40) < 15
    y = np.column_stack([x, 0.8 * x + z + treated * (1.0 + 0.5 * x)])
    moments = cohort_moments(y, np.where(treated, 2.0, np.inf), np.array([1.0, 2.0]))
    contrasts = timing_contrasts(moments.cohort, moments.size, np.array([1.0, 2.0]), last_only=False)
    found = timed_effects(moments, contrasts.effect, contrasts.before, every=None, fixed=False)
    one, zero = (np.cov(y[mask].T) for mask in (treated, ~treated))
    beta = (one[0, 1] / 15 + zero[0, 1] / 25) / (one[0, 0] / 15 + zero[0, 0] / 25)
    raw, before = (y[treated, t].mean() - y[~treated, t].mean() for t in (1, 0))
    assert found.value[1] == pytest.approx(raw - beta * before)
    adjusted = y[:, 1] - beta * y[:, 0]
    variance = adjusted[treated].var(ddof=1) / 15 + adjusted[~treated].var(ddof=1) / 25
    cohort = np.where(treated, 2.0, np.inf)
    influence = unit_influence(y, cohort, moments, found.weight)
    assert influence[:, 1] @ influence[:, 1] == pytest.approx(variance)
    # Effects vary at least as the difference of the two regressions on the period before.
    slopes = one[0, 1] / one[0, 0] - zero[0, 1] / zero[0, 0]
    assert effect_variances(moments, contrasts.effect)[1] == pytest.approx(
        slopes**2 * (one[0, 0] + zero[0, 0]) / 2 / 40
    )


def test_influence_is_the_square_root_of_neymans_covariance() -> None:
    y, cohort = drawn(9)
    moments = cohort_moments(y, cohort, PERIODS)
    contrasts = timing_contrasts(moments.cohort, moments.size, PERIODS, last_only=False)
    found = timed_effects(moments, contrasts.effect, contrasts.before, every=None, fixed=False)
    influence = unit_influence(y, cohort, moments, found.weight)
    expected = np.zeros((found.value.size, found.value.size))
    for k, g in enumerate(moments.cohort):
        mine = y[cohort == g] @ found.weight[:, k].T
        expected += np.cov(mine.T) / len(mine)
    np.testing.assert_allclose(influence.T @ influence, expected, atol=1e-12)


def test_contrasts_before_treatment_span_all_differences() -> None:
    cohort, periods = np.array([2.0, 3.0, np.inf]), np.array([1.0, 2.0, 3.0])
    every = all_before(cohort, periods)
    # Cohort 2 in period 1, cohort 3 in periods 1 and 2, each against those never treated.
    assert every.shape == (3, 3, 3)
    assert np.all(every.sum(axis=1) == 0)
    between = np.zeros((3, 3))
    between[0, 0], between[1, 0] = 1.0, -1.0  # cohorts 2 and 3 in period 1
    np.testing.assert_allclose(every[0] - every[1], between)
