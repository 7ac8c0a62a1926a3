"""The power of a t test against scipy's noncentral t, and where scipy has no answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from scipy.special import chdtri, nctdtr, ndtr, stdtrit

from gbveval.numerics.noncentral_t import equivalence_power, scale_nodes, t_power


@pytest.mark.parametrize("df", [0.5, 1.0, 2.0, 7.3, 38.0, 79.0, 81.0, 1e3, 1e6])
@pytest.mark.parametrize("noncentrality", [0.0, 0.5, 2.0, 3.5, 8.0])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_both_tails_equal_scipy(df: float, noncentrality: float, alpha: float) -> None:
    critical = -float(stdtrit(df, alpha / 2.0))
    upper = 1.0 - float(nctdtr(df, noncentrality, critical))
    # scipy returns NaN for a lower tail that is too small to matter.
    lower = float(np.nan_to_num(nctdtr(df, noncentrality, -critical)))
    # scipy's own error is about 1e-12 here.
    assert t_power(noncentrality, df, alpha) == pytest.approx(upper + lower, abs=1e-10)


@settings(deadline=None, max_examples=60)
@given(df=st.floats(0.2, 1e8), noncentrality=st.floats(0.0, 1e4), alpha=st.floats(1e-8, 0.5))
def test_power_is_a_probability_of_at_least_the_size(df: float, noncentrality: float, alpha: float) -> None:
    found = t_power(noncentrality, df, alpha)
    assert alpha - 1e-10 <= found <= 1.0 + 1e-12
    assert t_power(-noncentrality, df, alpha) == found


def test_limits() -> None:
    assert t_power(np.inf, 5.0, 0.05) == 1.0
    assert t_power(2.8, np.inf, 0.05) == pytest.approx(ndtr(2.8 - 1.959963984540054) + ndtr(-2.8 - 1.959963984540054))
    assert t_power(2.8, 1e9, 0.05) == pytest.approx(t_power(2.8, np.inf, 0.05), abs=1e-8)


@pytest.mark.parametrize("df", [1.0, 7.3, 79.0, 1e3])
@pytest.mark.parametrize("noncentrality", [-2.0, 0.0, 0.5, 3.5])
@pytest.mark.parametrize("alpha", [0.05, 0.6])
def test_one_tail_equals_scipy_and_the_other_mirrors_it(df: float, noncentrality: float, alpha: float) -> None:
    critical = -float(stdtrit(df, alpha))
    expected = 1.0 - float(nctdtr(df, noncentrality, critical))
    assert t_power(noncentrality, df, alpha, "greater") == pytest.approx(expected, abs=1e-10)
    assert t_power(-noncentrality, df, alpha, "less") == t_power(noncentrality, df, alpha, "greater")


@pytest.mark.parametrize(
    ("above", "below", "df"), [(2.6, 2.6, 4.0), (3.5, 1.8, 10.0), (3.0, 3.0, 298.0), (1.0, 6.0, 2.0)]
)
def test_equivalence_is_how_often_draws_pass_both_tests(above: float, below: float, df: float) -> None:
    rng, draws = np.random.default_rng(3), 400_000
    z, s = rng.normal(size=draws), np.sqrt(rng.chisquare(df, size=draws) / df)
    critical = -float(stdtrit(df, 0.05))
    seen = np.mean(((above + z) / s > critical) & ((z - below) / s < -critical))
    found = equivalence_power(above, below, df, 0.05)
    # Five Monte Carlo standard errors.
    assert found == pytest.approx(seen, abs=5.0 * np.sqrt(max(found, 1e-4) / draws))


def test_equivalence_tends_to_its_normal_limit_and_to_nothing() -> None:
    normal = ndtr(3.0 - 1.6448536269514722) + ndtr(2.5 - 1.6448536269514722) - 1.0
    assert equivalence_power(3.0, 2.5, np.inf, 0.05) == pytest.approx(normal, abs=1e-12)
    assert equivalence_power(3.0, 2.5, 1e7, 0.05) == pytest.approx(normal, abs=1e-6)
    assert equivalence_power(1.0, 0.5, np.inf, 0.05) == 0.0
    assert equivalence_power(1.0, -1.0, 10.0, 0.05) == 0.0


@pytest.mark.parametrize("df", [1.0, 5.0, 79.0, 1e4])
def test_nodes_average_over_the_scale(df: float) -> None:
    s, weight = scale_nodes(df)
    # E s^2 = 1, and the median of s^2 splits the weight.
    assert weight.sum() == pytest.approx(1.0, abs=1e-10)
    assert weight @ s**2 == pytest.approx(1.0, abs=1e-9)
    below = scale_nodes(df, float(np.log(chdtri(df, 0.5) / df)))[1].sum()
    assert below == pytest.approx(0.5, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(df=st.floats(0.5, 1e6), above=st.floats(0.0, 1e3), below=st.floats(0.0, 1e3), alpha=st.floats(1e-4, 0.4))
def test_equivalence_is_a_probability_below_that_of_either_test(
    df: float, above: float, below: float, alpha: float
) -> None:
    found = equivalence_power(above, below, df, alpha)
    assert 0.0 <= found <= 1.0
    # Both are integrals, good to 1e-9 or better.
    assert found <= min(t_power(above, df, alpha, "greater"), t_power(below, df, alpha, "greater")) + 1e-8


@pytest.mark.parametrize("df", [0.5, 1.0, 2.0, 5.0, 298.0])
@pytest.mark.parametrize("alpha", [0.1, 0.01, 1e-5])
def test_equivalence_is_the_integral_that_adaptive_quadrature_finds(df: float, alpha: float) -> None:
    critical = -float(stats.t.ppf(alpha, df))
    for above, below in ((0.5, 7.0), (7.0, 219.0), (50.0, 50.0), (1000.0, 2.0)):

        def inside(y: float, above: float = above, below: float = below) -> float:
            s = np.exp(y / 2.0)
            probability = stats.norm.cdf(above - critical * s) - stats.norm.cdf(critical * s - below)
            return float(max(probability, 0.0) * stats.chi2.pdf(df * np.exp(y), df) * df * np.exp(y))

        turns = [2.0 * np.log(each / critical) for each in (above, below)]
        end = 2.0 * np.log((above + below) / (2.0 * critical))
        low = min(-(80.0 / df + 5.0), end - 1.0)
        points = sorted(turn + side for turn in turns for side in (-1.0, 0.0, 1.0) if low < turn + side < end)
        # The reference stops at an absolute error of 1e-11.
        expected = quad(inside, low, end, points=points or None, limit=1000, epsabs=1e-11)[0]
        assert equivalence_power(above, below, df, alpha) == pytest.approx(expected, abs=1e-9)
