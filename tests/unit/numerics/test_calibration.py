"""Raking against its closed form and its fixed points; residuals against the textbook's poststratified variance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbveval.numerics.calibration import calibrated_residuals, margin_columns, rake
from gbveval.numerics.survey import mean, sample_design, unit_influence


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_raking_meets_the_margins_and_keeps_the_odds_ratio(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = np.concatenate([[0, 0, 1, 1], rng.integers(0, 2, 30)])
    b = np.concatenate([[0, 1, 0, 1], rng.integers(0, 2, 30)])
    w = rng.uniform(0.5, 2.0, 34)
    totals = [np.array([300.0, 700.0]), np.array([450.0, 550.0])]
    found = rake(w, [a, b], totals, tolerance=1e-12, max_iterations=5000)
    assert found.gap <= 1e-12
    for codes, total in zip((a, b), totals, strict=True):
        np.testing.assert_allclose(np.bincount(codes, weights=found.weights), total, rtol=1e-11)

    def odds_ratio(weights):
        cell = np.bincount(2 * a + b, weights=weights)
        return cell[0] * cell[3] / (cell[1] * cell[2])

    # Multiplying rows and columns changes no odds ratio, which makes the raked table the only one (Deming, Stephan).
    assert odds_ratio(found.weights) == pytest.approx(odds_ratio(w), rel=1e-9)


def test_one_margin_takes_one_round() -> None:
    codes = np.array([0, 0, 1, 1, 1])
    w = np.array([1.0, 3.0, 1.0, 1.0, 2.0])
    found = rake(w, [codes], [np.array([8.0, 20.0])], max_iterations=1)
    np.testing.assert_allclose(found.weights, [2.0, 6.0, 5.0, 5.0, 10.0])


def test_a_margin_out_of_reach_is_told_by_its_gap() -> None:
    codes = np.array([0, 0, 1])
    assert not rake(np.array([1.0, 1.0, 0.0]), [codes], [np.array([8.0, 20.0])]).gap <= 1e-6


def test_poststratified_variance_by_hand() -> None:
    """In a simple sample the residuals are those from the means of the poststrata, weighted by N_g / n_g."""
    rng = np.random.default_rng(8)
    codes, y = np.repeat([0, 1], [12, 8]), rng.normal(size=20)
    totals = np.array([700.0, 300.0])
    w = rake(np.ones(20), [codes], [totals]).weights
    found = mean(y, w, np.ones(20, bool))
    columns = margin_columns([codes], [2])
    values = calibrated_residuals(found.row_values[:, None], columns=columns, base=np.ones(20), weights=w)
    variance = float((unit_influence(sample_design(20), values) ** 2).sum())
    e = np.concatenate([y[:12] - y[:12].mean(), y[12:] - y[12:].mean()])
    factor = np.repeat(totals / 1000 / np.array([12, 8]), [12, 8])
    assert variance == pytest.approx(20 / 19 * ((factor * e) ** 2).sum(), rel=1e-12)


def test_an_outcome_that_the_margins_determine_does_not_vary() -> None:
    codes = np.array([0, 0, 1, 1, 1, 2])
    w = rake(np.array([1.0, 2.0, 1.0, 0.5, 1.0, 1.0]), [codes], [np.array([5.0, 8.0, 2.0])]).weights
    found = mean((codes == 1).astype(float), w, np.ones(6, bool))
    columns = margin_columns([codes], [3])
    base = np.array([1.0, 2.0, 1.0, 0.5, 1.0, 1.0])
    values = calibrated_residuals(found.row_values[:, None], columns=columns, base=base, weights=w)
    np.testing.assert_allclose(values, 0.0, atol=1e-15)


def test_residuals_of_several_margins_are_those_of_the_regression_before_calibration() -> None:
    """Normal equations: under the weights before calibration, residuals add to zero in every category."""
    rng = np.random.default_rng(9)
    codes = [rng.integers(0, 3, 40), rng.integers(0, 2, 40)]
    base, y = rng.uniform(0.5, 3.0, 40), rng.normal(size=40)
    totals = [np.array([30.0, 20.0, 50.0]), np.array([60.0, 40.0])]
    w = rake(base, codes, totals).weights
    columns = margin_columns(codes, [3, 2])
    found = mean(y, w, np.ones(40, bool))
    values = calibrated_residuals(found.row_values[:, None], columns=columns, base=base, weights=w)[:, 0]
    np.testing.assert_allclose(columns.T @ (base * values / w), 0.0, atol=1e-12)
