"""Weighted quantiles against repeated values, and Woodruff's limits against order statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from gbveval.core.replicate import binomial_band
from gbveval.numerics.survey import sample_design, unit_influence
from gbveval.numerics.survey_quantile import weighted_quantile, woodruff


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 4)), min_size=1, max_size=25).filter(
        lambda rows: any(w for _, w in rows)
    ),
    st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9]),
)
def test_whole_weights_are_repeated_values(rows: list[tuple[int, int]], p: float) -> None:
    y, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    repeated = np.sort(np.repeat(y, w.astype(int)))
    expected = np.quantile(repeated, p, method="inverted_cdf")
    assert weighted_quantile(y, w, np.ones(y.size, bool), p) == expected


def test_nobody_has_no_quantile() -> None:
    assert np.isnan(weighted_quantile(np.ones(3), np.zeros(3), np.ones(3, bool), 0.5))


def _simple(y: np.ndarray, p: float):
    n = y.size
    design = sample_design(n)

    def variance(share, at) -> float:
        return float((unit_influence(design, share.row_values) ** 2).sum())

    return woodruff(y, np.ones(n), np.ones(n, bool), p, variance=variance, df=n - 1.0), design


def test_limits_are_order_statistics_at_the_limits_of_the_share() -> None:
    y = np.random.default_rng(4).permutation(np.arange(1.0, 201.0))
    found, design = _simple(y, 0.5)
    share = 100 / 200
    half = t.ppf(0.975, 199) * np.sqrt(share * (1 - share) / 199)
    assert found.value == 100.0
    assert (found.low, found.high) == (np.ceil(200 * (share - half)), np.ceil(200 * (share + half)))
    error = np.sqrt((unit_influence(design, found.row_values) ** 2).sum())
    assert error == pytest.approx((found.high - found.low) / (2 * t.ppf(0.975, 199)), rel=1e-12)


def test_a_limit_beyond_the_sample_is_infinite() -> None:
    found, _ = _simple(np.arange(8.0), 0.1)
    assert found.low == -np.inf
    assert np.isnan(found.slope)


def test_without_variation_there_are_no_limits() -> None:
    found, _ = _simple(np.ones(10), 0.5)
    assert (found.value, np.isnan(found.low)) == (1.0, True)


def test_limits_hold_the_median_where_many_are_tied_at_it() -> None:
    """51 % have none, so that the median is none; half of all samples say one.

    Limits around the share at or below the sample's own median would leave out the truth in a third of the samples.
    """
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(500):
        found, _ = _simple(rng.choice([0.0, 1.0, 2.0, 3.0], 200, p=[0.51, 0.2, 0.15, 0.14]), 0.5)
        held += found.low <= 0.0 <= found.high
    # Limits that are answers themselves hold more than their level; at least it, with a false alarm in 10,000.
    assert held / 500 >= binomial_band(0.95, 500, false_alarm=1e-4)[0]


def test_a_few_ties_leave_limits_around_the_share_at_or_below() -> None:
    y = np.arange(1.0, 201.0)
    y[99:102] = 100.0
    found, design = _simple(y, 0.5)
    share = 102 / 200
    half = t.ppf(0.975, 199) * np.sqrt(share * (1 - share) / 199)
    # Three of 200 at the median are less than half a standard error of the share (0.018).
    assert (found.low, found.high) == (np.ceil(200 * (share - half)), np.ceil(200 * (share + half)))
    assert design.n_units == 200
