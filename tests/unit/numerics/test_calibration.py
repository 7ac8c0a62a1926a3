"""Calibration against closed forms and other optimisers; residuals against the textbook's poststratified variance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from gbveval.numerics.calibration import Linear, Raking, calibrate, calibrated_residuals, margin_columns, rake
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


def _numbers(seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, columns (a constant, a number in the thousands, an indicator) and totals near theirs."""
    rng = np.random.default_rng(seed)
    columns = np.column_stack([np.ones(30), rng.gamma(2.0, 4000.0, 30), rng.integers(0, 2, 30)])
    weights = rng.uniform(5.0, 20.0, 30)
    return weights, columns, (weights @ columns) * [1.1, 1.25, 0.95]


def test_the_linear_distance_is_the_generalised_regression_estimator() -> None:
    d, x, totals = _numbers()
    w = calibrate(d, x, totals, distance=Linear()).weights
    closed = d * (1.0 + x @ np.linalg.solve((x * d[:, None]).T @ x, totals - d @ x))
    np.testing.assert_allclose(w, closed, rtol=1e-9)
    # The total of y is that of the sample plus what regression says of the difference in totals.
    y = np.random.default_rng(5).normal(size=30)
    slope = np.linalg.lstsq(x * np.sqrt(d)[:, None], y * np.sqrt(d), rcond=None)[0]
    assert w @ y == pytest.approx(d @ y + (totals - d @ x) @ slope, rel=1e-9)


def test_bounds_give_the_nearest_weights_within_them() -> None:
    d, x, totals = _numbers()
    bounds = (0.8, 1.5)
    free = calibrate(d, x, totals, distance=Linear()).weights / d
    assert free.min() < bounds[0]
    assert free.max() > bounds[1]
    found = calibrate(d, x, totals, distance=Linear(*bounds))
    assert found.gap <= 1e-10
    factor = found.weights / d
    assert (factor.min(), factor.max()) == pytest.approx(bounds, rel=1e-12)
    scale = d @ x
    other = optimize.minimize(
        lambda g: float(d @ (g - 1.0) ** 2),
        np.ones(30),
        jac=lambda g: 2.0 * d * (g - 1.0),
        bounds=[bounds] * 30,
        constraints={
            "type": "eq",
            "fun": lambda g: (d * g) @ x / scale - totals / scale,
            "jac": lambda g: (d[:, None] * x / scale).T,
        },
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    # SLSQP stops at about the root of its tolerance.
    np.testing.assert_allclose(factor, other.x, atol=1e-5)


def test_raking_numbers_keeps_weights_above_zero_and_multiplies() -> None:
    d, x, totals = _numbers()
    w = calibrate(d, x, totals, distance=Raking()).weights
    np.testing.assert_allclose(w @ x, totals, rtol=1e-9)
    assert w.min() > 0.0
    # Logarithms of the factors are linear in the columns, which makes these weights the only ones.
    logs = np.log(w / d)
    np.testing.assert_allclose(x @ np.linalg.lstsq(x, logs, rcond=None)[0], logs, atol=1e-9)


@pytest.mark.parametrize("distance", [Linear(), Raking()])
def test_one_margin_is_poststratified_by_every_distance(distance: Linear | Raking) -> None:
    codes, d = np.repeat([0, 1, 2], [4, 6, 5]), np.random.default_rng(6).uniform(1, 3, 15)
    totals = np.array([30.0, 20.0, 50.0])
    found = calibrate(d, margin_columns([codes], [3]), totals, distance=distance)
    np.testing.assert_allclose(found.weights, rake(d, [codes], [totals]).weights, rtol=1e-9)


def test_raking_of_margins_is_proportional_fitting() -> None:
    rng = np.random.default_rng(7)
    codes, d = [rng.integers(0, 3, 60), rng.integers(0, 2, 60)], rng.uniform(1, 3, 60)
    totals = [np.array([30.0, 20.0, 50.0]), np.array([60.0, 40.0])]
    # Two margins are linearly dependent, and so are their totals.
    found = calibrate(d, margin_columns(codes, [3, 2]), np.concatenate(totals), distance=Raking())
    np.testing.assert_allclose(found.weights, rake(d, codes, totals, tolerance=1e-12).weights, rtol=1e-8)


def test_totals_out_of_reach_are_told_by_their_gap() -> None:
    d, x, totals = _numbers()
    assert calibrate(d, x, totals, distance=Linear(0.95, 1.1)).gap > 1e-3
    beyond = totals * [1.0, 10.0, 1.0]  # the mean would be above the largest value
    assert calibrate(d, x, beyond, distance=Raking()).gap > 1e-3
