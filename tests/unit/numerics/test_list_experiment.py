"""List experiments: other programs, closed forms without covariates, and another algorithm for the likelihood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import optimize, stats

from gbveval.numerics.list_experiment import linear_list, logistic, two_step_list
from gbveval.numerics.list_likelihood import likelihood_list

FloatArray = NDArray[np.float64]
RACE = Path(__file__).parents[4] / "shared" / "reference" / "risk" / "race_list.csv"
needs_shared = pytest.mark.skipif(not RACE.exists(), reason="../shared/reference is absent")


def _lists(n: int = 500, seed: int = 1) -> tuple[FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    long = rng.integers(0, 2, n).astype(float)
    y = rng.binomial(3, logistic(0.2 + 0.3 * x[:, 1])) + long * (rng.random(n) < logistic(-0.4 + 0.8 * x[:, 1]))
    return x, y.astype(float), long


def test_linear_agrees_with_statsmodels() -> None:
    x, y, long = _lists()
    found = linear_list(x, y, long)
    other = sm.OLS(y, np.column_stack([long[:, None] * x, x])).fit(cov_type="HC3")
    np.testing.assert_allclose(np.concatenate([found.sensitive, found.control]), other.params, rtol=1e-10)
    np.testing.assert_allclose(found.covariance, other.cov_params(), rtol=1e-8, atol=1e-12)


def test_two_steps_without_covariates_are_the_difference_in_means() -> None:
    _, y, long = _lists()
    found = two_step_list(np.ones((y.size, 1)), y, long, 3)
    share = float(logistic(found.sensitive)[0])
    one, zero = y[long == 1], y[long == 0]
    assert found.converged
    assert share == pytest.approx(one.mean() - zero.mean(), abs=1e-8)
    # The delta method turns the error of the log odds into that of the share: Neyman's, without n / (n - 1).
    error = float(np.sqrt(found.covariance[0, 0])) * share * (1.0 - share)
    assert error == pytest.approx(float(np.sqrt(one.var() / one.size + zero.var() / zero.size)), rel=1e-7)


def test_two_steps_find_the_minimum() -> None:
    x, y, long = _lists()
    found = two_step_list(x, y, long, 3)
    rest = y[long == 1] - 3.0 * logistic(x[long == 1] @ found.control)
    for start in ([0.0, 0.0], [-1.0, 1.0]):
        other = optimize.least_squares(lambda b: rest - logistic(x[long == 1] @ b), start, ftol=1e-15)
        # Sums of squares tell minima apart to the root of the rounding of doubles, 1e-8, and a flat one worse.
        np.testing.assert_allclose(found.sensitive, other.x, atol=1e-5)


def _expectation_maximisation(x: FloatArray, y: FloatArray, long: FloatArray, items: int) -> FloatArray:
    """Return the maximum by filling in the sensitive answers, again and again."""
    beta = np.zeros((2, x.shape[1]))
    treated = long == 1
    for _ in range(800):
        f, g = logistic(x @ beta[0]), logistic(x @ beta[1])
        has, has_not = f * stats.binom.pmf(y - 1, items, g), (1.0 - f) * stats.binom.pmf(y, items, g)
        answer = np.where(treated, has / np.where(treated, has + has_not, 1.0), 0.0)
        beta[0] = _newton(x[treated], answer[treated], 1.0, beta[0])
        beta[1] = _newton(x, y - answer, float(items), beta[1])
    return beta


def _newton(x: FloatArray, y: FloatArray, size: float, beta: FloatArray) -> FloatArray:
    for _ in range(4):
        p = logistic(x @ beta)
        beta = beta + np.linalg.solve((x * (size * p * (1 - p))[:, None]).T @ x, x.T @ (y - size * p))
    return beta


def test_likelihood_agrees_with_expectation_maximisation() -> None:
    x, y, long = _lists()
    found = likelihood_list(x, y, long, 3)
    other = _expectation_maximisation(x, y, long, 3)
    # EM gains a digit in some hundred rounds here.
    np.testing.assert_allclose([found.sensitive, found.control], other, atol=1e-6)


def test_information_is_that_of_differences_of_the_likelihood() -> None:
    x, y, long = _lists()
    found = likelihood_list(x, y, long, 3)
    at, h = np.concatenate([found.sensitive, found.control]), 1e-4

    def value(beta: FloatArray) -> float:
        f, g = logistic(x @ beta[:2]), logistic(x @ beta[2:])
        share = np.where(long == 1, f, 0.0)
        return float(np.log(share * stats.binom.pmf(y - 1, 3, g) + (1 - share) * stats.binom.pmf(y, 3, g)).sum())

    steps = h * np.eye(4)
    curvature = [
        [(value(at + a + b) - value(at + a - b) - value(at - a + b) + value(at - a - b)) / (4 * h * h) for b in steps]
        for a in steps
    ]
    # Second differences of sums of about 700: rounding of 1e-13 x 700 / (4 h^2), or 2e-3 of entries of about 20 to 100.
    np.testing.assert_allclose(np.linalg.inv(found.covariance), -np.array(curvature), rtol=1e-3, atol=5e-3)
    assert found.log_likelihood == pytest.approx(value(at), rel=1e-12)


def test_an_item_of_nobody_has_no_finite_log_odds() -> None:
    x, y, long = _lists()
    counts = y - long * (y > 0)
    assert not likelihood_list(x, np.minimum(counts, 3.0), long, 3).converged


@needs_shared
def test_r_stops_short_of_the_minimum() -> None:
    """R's nls stops once the part of the residual along the tangent is below 1e-5 of the rest."""
    frame = pd.read_csv(RACE).dropna(subset=["y", "treat", "south", "age", "male", "college"])
    x = np.column_stack([np.ones(len(frame)), frame[["south", "age", "male", "college"]].to_numpy(float)])
    y, long = frame["y"].to_numpy(float), frame["treat"].to_numpy(float)
    theirs = np.array([1.38810645758853, -0.276546342514073, 0.033069962285015, -0.332226277885312, -0.661750418801555])
    ours = two_step_list(x, y, long, 3).control
    short = long == 0

    def offset(beta: FloatArray) -> tuple[float, float]:
        g = logistic(x[short] @ beta)
        residual = y[short] - 3.0 * g
        tangent, _ = np.linalg.qr(x[short] * (3.0 * g * (1.0 - g))[:, None])
        along = float(np.linalg.norm(tangent.T @ residual))
        return along / float(np.sqrt(residual @ residual - along**2)), float(residual @ residual)

    assert 1e-6 < offset(theirs)[0] < 1e-5
    assert offset(ours)[0] < 1e-12
    assert offset(ours)[1] < offset(theirs)[1]
