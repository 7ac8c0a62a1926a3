"""Bounds under attrition against brute force over who could have been trimmed, and against resampling."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from gbveval.numerics.attrition_bounds import (
    TRIMMING,
    NothingLeftError,
    extreme_bounds,
    tightened_bounds,
    trimming_bounds,
)
from gbveval.numerics.inference import bounded_interval

FloatArray = NDArray[np.float64]


def drawn(rng: np.random.Generator, n: int = 400, binary: bool = False) -> tuple[FloatArray, ...]:
    treated = np.arange(n) % 2 == 1
    kind = rng.random(n)
    observed = (kind < 0.6) | (treated & (kind < 0.8))
    y = rng.normal(size=n) - 0.5 * (kind > 0.6) + 0.3 * treated
    return (y > 0).astype(float) if binary else y, treated, observed


@pytest.mark.parametrize("binary", [False, True])
def test_bounds_are_the_extremes_over_all_who_could_have_been_trimmed(binary: bool) -> None:
    # Ten observed treated of ten, eight observed controls of ten: two treated are surplus, any two.
    rng = np.random.default_rng(1)
    y = rng.normal(size=20)
    y = (y > 0).astype(float) if binary else y
    treated = np.arange(20) < 10
    observed = np.ones(20, dtype=bool)
    observed[[18, 19]] = False
    found = trimming_bounds(y, treated, observed)
    control = y[10:18].mean()
    means = [np.delete(y[:10], list(pair)).mean() - control for pair in itertools.combinations(range(10), 2)]
    assert found.lower == pytest.approx(min(means), rel=1e-12)
    assert found.upper == pytest.approx(max(means), rel=1e-12)
    assert found.trimmed == pytest.approx(0.2, rel=1e-12)


def test_a_surplus_that_is_no_whole_number_trims_in_part() -> None:
    y = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    treated = np.arange(10) < 5
    observed = np.array([True] * 8 + [False] * 2)
    # Three fifths over one: q = .4 of five is two whole; with one control fewer seen, q = .6 of five is three.
    found = trimming_bounds(y, treated, observed)
    assert found.upper == pytest.approx(np.mean([2.0, 3.0, 4.0]) - 1.0)
    weights = np.array([1.0] * 5 + [1.0, 1.0, 2.0, 1.0, 1.0])
    heavy = trimming_bounds(y, treated, observed, weights=weights)
    q = 1.0 - 4.0 / 6.0
    kept = 5.0 * (1.0 - q)
    assert heavy.upper == pytest.approx((4.0 + 3.0 + 2.0 + (kept - 3.0) * 1.0) / kept - 1.0)


def test_nobody_missing_gives_the_difference_in_means() -> None:
    y, treated, _ = drawn(np.random.default_rng(2))
    for rule in TRIMMING:
        found = trimming_bounds(y, treated, np.ones(y.size, dtype=bool), trimming=rule)
        assert found.lower == pytest.approx(y[treated].mean() - y[~treated].mean(), abs=1e-12)
        assert found.upper == pytest.approx(found.lower, abs=1e-12)


def test_swapping_arms_turns_the_bounds_around() -> None:
    y, treated, observed = drawn(np.random.default_rng(3))
    one, other = trimming_bounds(y, treated, observed), trimming_bounds(y, ~treated, observed)
    assert (other.lower, other.upper) == pytest.approx((-one.upper, -one.lower), rel=1e-12)
    np.testing.assert_allclose(other.lower_influence, -one.upper_influence, atol=1e-15)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_rules_differ_by_at_most_the_weight_of_one_value(seed: int, binary: bool) -> None:
    y, treated, observed = drawn(np.random.default_rng(seed), 60, binary)
    exact = trimming_bounds(y, treated, observed)
    assert exact.lower <= exact.upper + 1e-12
    kept = max(1.0, np.floor((1.0 - abs(exact.trimmed)) * (observed & treated).sum()))
    for rule in ("empirical_cdf", "quantile"):
        if binary:
            continue  # Ties are kept or dropped together, so any number of values may move.
        found = trimming_bounds(y, treated, observed, trimming=rule)
        for one, other in ((found.lower, exact.lower), (found.upper, exact.upper)):
            assert abs(one - other) <= 2.0 * np.ptp(y) / kept


def test_trimming_whole_values_can_leave_nothing() -> None:
    y = np.ones(20)
    treated = np.arange(20) < 10
    observed = np.arange(20) < 17
    with pytest.raises(NothingLeftError):
        trimming_bounds(y, treated, observed, trimming="empirical_cdf")
    assert trimming_bounds(y, treated, observed).upper == pytest.approx(0.0)


@pytest.mark.parametrize("binary", [False, True])
def test_standard_errors_are_the_spread_over_studies(binary: bool) -> None:
    draws = 800
    values = []
    for seed in range(draws):
        y, treated, observed = drawn(np.random.default_rng(seed), 600, binary)
        found = trimming_bounds(y, treated, observed)
        errors = [np.sqrt(part @ part) for part in (found.lower_influence, found.upper_influence)]
        values.append((found.lower, found.upper, *errors))
    lower, upper, lower_error, upper_error = np.array(values).T
    # A standard deviation over 800 draws is known to 2.5 %; four of those.
    assert lower_error.mean() == pytest.approx(lower.std(), rel=0.1)
    assert upper_error.mean() == pytest.approx(upper.std(), rel=0.1)


def test_cells_never_widen_the_bounds_and_tighten_them_where_they_explain_the_outcome() -> None:
    rng = np.random.default_rng(5)
    y, treated, observed = drawn(rng, 2000)
    cell = rng.integers(0, 3, 2000).astype(np.intp)
    y = y + 3.0 * cell
    plain = trimming_bounds(y, treated, observed)
    tight, turned = tightened_bounds(y, treated, observed, cell)
    assert turned == 0
    assert tight.upper - tight.lower < 0.5 * (plain.upper - plain.lower)
    same, _ = tightened_bounds(y, treated, observed, np.zeros(2000, dtype=np.intp))
    assert (same.lower, same.upper) == pytest.approx((plain.lower, plain.upper), rel=1e-12)
    np.testing.assert_allclose(same.lower_influence, plain.lower_influence, atol=1e-15)


def test_tightened_standard_errors_are_the_spread_over_studies() -> None:
    draws = 500
    values = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        y, treated, observed = drawn(rng, 800)
        cell = rng.integers(0, 3, 800).astype(np.intp)
        found, _ = tightened_bounds(y + cell * (1.0 + treated), treated, observed, cell)
        values.append((found.lower, np.sqrt(found.lower_influence @ found.lower_influence)))
    lower, error = np.array(values).T
    # A standard deviation over 500 draws is known to 3.2 %; four of those.
    assert error.mean() == pytest.approx(lower.std(), rel=0.13)


def test_extreme_bounds_fill_in_the_limits() -> None:
    y, treated, observed = drawn(np.random.default_rng(6), 80, True)
    found = extreme_bounds(y, treated, observed, (0.0, 1.0))
    worst = np.where(observed, y, np.where(treated, 0.0, 1.0))
    assert found.lower == pytest.approx(worst[treated].mean() - worst[~treated].mean(), rel=1e-12)
    missing = [(~observed)[member].mean() for member in (treated, ~treated)]
    assert found.upper - found.lower == pytest.approx(sum(missing), rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.0, 5.0), st.floats(0.1, 3.0), st.floats(0.1, 3.0), st.floats(0.5, 0.999))
def test_the_interval_covers_at_either_end(width: float, a: float, b: float, level: float) -> None:
    low, high = bounded_interval((0.0, width), (a, b), level=level)
    c = -low / a
    assert high == pytest.approx(width + c * b, rel=1e-9)
    # Imbens and Manski's equation for c.
    assert stats.norm.cdf(c + width / max(a, b)) - stats.norm.cdf(-c) == pytest.approx(level, abs=1e-9)
