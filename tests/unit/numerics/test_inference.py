"""The one place for p-values and intervals: scipy.stats, closed forms, far tails, joint tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gbveval.numerics.inference import (
    check_level,
    f_upper,
    logit_interval,
    normal_quantile,
    t_quantile,
    t_two_sided,
    wald,
    wald_joint,
)

DFS = [0.3, 1.0, 1.7, 2.0, 3.67, 10.0, 4.5e3, 1e7, np.inf]


@pytest.mark.parametrize("df", DFS)
def test_quantiles_and_tails_are_those_of_scipy(df: float) -> None:
    reference = stats.norm() if np.isinf(df) else stats.t(df)
    for p in (1e-12, 1e-4, 0.025, 0.5, 0.8, 0.975, 1 - 1e-9):
        assert float(t_quantile(p, df)) == pytest.approx(reference.ppf(p), rel=1e-8, abs=1e-12)
    for t in (0.0, 0.1, 1.0, 3.5, 12.0, 37.0, 1e3):
        expected = 2 * reference.sf(t)
        if expected > 1e-300:
            assert float(t_two_sided(t, df)) == pytest.approx(expected, rel=1e-8)
            assert float(t_two_sided(-t, df)) == float(t_two_sided(t, df))


@pytest.mark.parametrize("t", [1e-8, 0.3, 2.0, 50.0, 1e4, 1e8, 1e12])
def test_far_tails_by_closed_forms(t: float) -> None:
    # One and two degrees of freedom have elementary tails, written so that nothing cancels.
    assert float(t_two_sided(t, 1.0)) == pytest.approx(2 / np.pi * np.arctan2(1.0, t), rel=1e-9, abs=1e-8)
    root = np.sqrt(t * t + 2.0)
    assert float(t_two_sided(t, 2.0)) == pytest.approx(2.0 / (root * (root + t)), rel=1e-7)


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.5, 1e6))
def test_quantiles_invert_the_tail(p: float, df: float) -> None:
    q = float(t_quantile(p, df))
    assert float(t_two_sided(q, df)) == pytest.approx(2 * min(p, 1 - p), rel=1e-6)


def test_many_degrees_of_freedom_are_nearly_the_normal() -> None:
    z = float(normal_quantile(0.975))
    assert z == pytest.approx(stats.norm.ppf(0.975), rel=1e-14)
    # The first term of the Cornish-Fisher series, (z^3 + z) / (4 df).
    assert float(t_quantile(0.975, 1e6)) - z == pytest.approx((z**3 + z) / 4e6, rel=1e-3)
    assert float(t_quantile(0.975, 30.0)) > z


@pytest.mark.parametrize(("df1", "df2"), [(1, 5.0), (3, 7.5), (10, 1e5), (2, np.inf), (1, 0.7)])
def test_f_tails_are_those_of_scipy(df1: float, df2: float) -> None:
    for x in (0.01, 1.0, 4.0, 50.0):
        expected = stats.chi2.sf(x * df1, df1) if np.isinf(df2) else stats.f.sf(x, df1, df2)
        assert f_upper(x, df1, df2) == pytest.approx(expected, rel=1e-8)
    assert f_upper(2.0**2, 1, df2) == pytest.approx(float(t_two_sided(2.0, df2)), rel=1e-8)


def test_wald_is_the_textbook() -> None:
    found = wald([1.0, -2.0], [0.5, 0.4], df=[7.3, np.inf], level=0.9, null=[0.2, 0.0])
    for i, (x, se, df, null) in enumerate([(1.0, 0.5, 7.3, 0.2), (-2.0, 0.4, np.inf, 0.0)]):
        reference = stats.norm() if np.isinf(df) else stats.t(df)
        assert found.statistic[i] == pytest.approx((x - null) / se)
        assert found.p_value[i] == pytest.approx(2 * reference.sf(abs(x - null) / se), rel=1e-9)
        assert found.conf_low[i] == pytest.approx(x - reference.ppf(0.95) * se, rel=1e-9)
        assert found.conf_high[i] == pytest.approx(x + reference.ppf(0.95) * se, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.floats(-50, 50), st.floats(1e-3, 50), st.floats(0.5, 500), st.floats(0.5, 0.999))
def test_the_test_and_the_interval_say_the_same(x: float, se: float, df: float, level: float) -> None:
    found = wald([x], [se], df=[df], level=level)
    outside = not found.conf_low[0] <= 0.0 <= found.conf_high[0]
    if abs(found.p_value[0] - (1 - level)) > 1e-9:
        assert outside == (found.p_value[0] < 1 - level)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_without_a_standard_error_there_is_nothing(bad: float) -> None:
    found = wald([1.0, 1.0], [bad, 0.5], df=[5.0, 5.0])
    for array in (found.statistic, found.p_value, found.conf_low, found.conf_high):
        assert np.isnan(array[0])
        assert np.isfinite(array[1])


@pytest.mark.parametrize("df", [0.0, -3.0, np.nan])
def test_without_degrees_of_freedom_there_is_nothing(df: float) -> None:
    found = wald([1.0], [0.5], df=[df])
    assert np.isnan(found.p_value[0])
    assert np.isnan(found.conf_low[0])


def test_an_infinite_value_is_nothing() -> None:
    assert np.isnan(wald([np.inf, np.nan], [1.0, 1.0]).p_value).all()


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 95, float("nan"), float("inf")])
def test_levels_lie_between_zero_and_one(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        check_level(level)


# -- joint ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0.01, 100))
def test_joint_statistic_is_the_quadratic_form(seed: int, k: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(k, k + 2))
    covariance = root @ root.T
    value = rng.normal(size=k)
    statistic, rank, p = wald_joint(scale * value, scale**2 * covariance, df2=9.5)
    expected = float(value @ np.linalg.solve(covariance, value))
    assert rank == k
    assert statistic == pytest.approx(expected, rel=1e-6)
    assert p == pytest.approx(stats.f.sf(expected / k, k, 9.5), rel=1e-5)


def test_joint_test_of_linear_combinations_is_the_same() -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(3, 5))
    covariance, value = root @ root.T, rng.normal(size=3)
    stack = np.vstack([np.eye(3), [1.0, 1.0, 1.0], [1.0, -1.0, 0.0]])
    plain, wide = wald_joint(value, covariance), wald_joint(stack @ value, stack @ covariance @ stack.T)
    assert wide[1] == 3
    assert wide[0] == pytest.approx(plain[0], rel=1e-8)


def test_joint_test_without_variance_has_no_answer() -> None:
    statistic, rank, p = wald_joint(np.array([1.0, 2.0]), np.zeros((2, 2)))
    assert rank == 0
    assert np.isnan(statistic)
    assert np.isnan(p)


def test_rows_of_very_different_scale_all_count() -> None:
    # A rate per million beside a share: the small variance is no rounding error of the large one.
    covariance = np.diag([1e10, 1e-10])
    statistic, rank, _ = wald_joint(np.array([2e5, 3e-5]), covariance)
    assert rank == 2
    assert statistic == pytest.approx(4.0 + 9.0, rel=1e-8)


# -- logit ----------------------------------------------------------------------------------------------------------


def test_logit_limits_stay_inside_and_are_those_of_the_delta_method() -> None:
    low, high = logit_interval([0.3, 0.001, 0.0, 1.0], [0.05, 0.001, 0.0, 0.0], df=12.0)
    half = stats.t.ppf(0.975, 12) * 0.05 / (0.3 * 0.7)
    centre = np.log(0.3 / 0.7)
    assert low[0] == pytest.approx(1 / (1 + np.exp(half - centre)), rel=1e-9)
    assert high[0] == pytest.approx(1 / (1 + np.exp(-half - centre)), rel=1e-9)
    assert 0 < low[1] < 0.001 < high[1] < 1
    assert np.isnan(low[2:]).all()
    assert np.isnan(high[2:]).all()


def test_huge_standard_errors_of_a_proportion_do_not_overflow() -> None:
    low, high = logit_interval([0.5], [500.0])
    assert 0.0 <= low[0] < 1e-6
    assert 1 - 1e-6 < high[0] <= 1.0


@pytest.mark.parametrize("df", [3.0, 40.0, np.inf])
def test_one_sided_tests_against_a_null_are_tails_of_scipy(df: float) -> None:
    reference = stats.norm() if np.isinf(df) else stats.t(df)
    value, error = np.array([-8.0, -1.0, 0.3, 2.0, 9.0]), np.full(5, 0.8)
    statistic = (value - 0.25) / error
    for alternative, tail in (("greater", reference.sf), ("less", reference.cdf)):
        found = wald(value, error, df=df, null=0.25, alternative=alternative)
        np.testing.assert_allclose(found.statistic, statistic, rtol=1e-12)
        np.testing.assert_allclose(found.p_value, tail(statistic), rtol=1e-8)
    with pytest.raises(ValueError, match="greater"):
        wald([1.0], [1.0], alternative="larger")
