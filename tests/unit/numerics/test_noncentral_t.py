"""The power of a t test against scipy's noncentral t, and where scipy has no answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import nctdtr, ndtr, stdtrit

from gbveval.numerics.noncentral_t import t_power


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
