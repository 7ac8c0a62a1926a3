"""Doubly robust effects: their influence is the derivative in the weights, and they are right when one model is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from gbveval.numerics.doubly_robust import METHODS, adjusted_change, adjusted_cross_sections
from gbveval.numerics.propensity import calibrated_odds, logit_odds

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


def draw(seed: int, n: int = 80) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    treated = rng.random(n) < 1 / (1 + np.exp(0.3 - 0.6 * z[:, 0]))
    return {
        "x": np.column_stack([np.ones(n), z]),
        "treated": treated,
        "after": rng.random(n) < 0.5,
        "weight": rng.uniform(0.5, 2.0, n),
        "change": np.column_stack([z @ [1.0, 0.5] + treated + rng.normal(size=n), rng.normal(size=n)]),
    }


def jackknife(estimate: Any, weight: FloatArray) -> FloatArray:
    """Return the derivative of the estimate in each weight times that weight, by central differences."""
    found = []
    for i in range(weight.size):
        up, down = weight.copy(), weight.copy()
        step = 1e-4 * weight[i]
        up[i], down[i] = up[i] + step, down[i] - step
        found.append((estimate(up) - estimate(down)) / (2 * step) * weight[i])
    return np.array(found)


@pytest.mark.parametrize("method", METHODS)
def test_influence_in_panels_is_the_derivative_in_the_weights(method: str) -> None:
    data = draw(1)

    def fit(weight: FloatArray) -> Any:
        return adjusted_change(data["change"], data["treated"], data["x"], weight, method=method)

    # Central differences with steps of 1e-4 are right to about 1e-8 of a derivative.
    np.testing.assert_allclose(
        fit(data["weight"]).influence, jackknife(lambda w: fit(w).att, data["weight"]), atol=1e-7
    )


@pytest.mark.parametrize("efficient", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_influence_in_cross_sections_is_the_derivative_in_the_weights(method: str, efficient: bool) -> None:
    """This is where R's DRDID 1.2.3 is up to one percent off for the doubly robust methods."""
    data = draw(2, n=120)

    def fit(weight: FloatArray) -> Any:
        y, x = data["change"][:, 0], data["x"]
        return adjusted_cross_sections(y, data["treated"], data["after"], x, weight, method=method, efficient=efficient)

    np.testing.assert_allclose(
        fit(data["weight"]).influence, jackknife(lambda w: fit(w).att, data["weight"]), atol=1e-7
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_propensities_against_statsmodels_and_by_balance(seed: int) -> None:
    data = draw(seed)
    treated, x, weight = data["treated"], data["x"], data["weight"]
    model = sm.GLM(treated.astype(float), x, family=sm.families.Binomial(), freq_weights=weight).fit(tol=1e-14)
    np.testing.assert_allclose(logit_odds(treated, x, weight).odds, np.exp(x @ model.params), rtol=1e-7)
    tilt = calibrated_odds(treated, x, weight).odds
    balanced = (weight * tilt)[~treated] @ x[~treated]
    np.testing.assert_allclose(balanced, weight[treated] @ x[treated], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("odds", [logit_odds, calibrated_odds])
def test_separation_is_said(odds: Any) -> None:
    z = np.linspace(-1, 1, 20)
    found = odds(z > 0, np.column_stack([np.ones(20), z]), np.ones(20))
    assert "tell treated from comparison units apart" in found.reason


def test_the_all_but_certain_get_no_weight_and_are_counted() -> None:
    rng = np.random.default_rng(5)
    z = np.r_[rng.normal(size=400), 9.0]
    treated = np.r_[rng.random(400) < 1 / (1 + np.exp(-2 * z[:-1])), False]
    found = logit_odds(treated, np.column_stack([np.ones(401), z]), np.ones(401))
    assert found.n_trimmed >= 1
    assert found.odds[-1] == 0.0


@pytest.mark.parametrize("wrong", ["neither", "propensity", "regression", "both"])
def test_one_right_model_is_enough(wrong: str) -> None:
    """Large samples: the bias is within four Monte Carlo errors unless both models are wrong."""
    rng = np.random.default_rng(7)
    n, found = 4_000, []
    for _ in range(60):
        z = rng.normal(size=n)
        curve = z**2 - 1.0
        by_propensity = 0.5 * (curve if wrong in ("propensity", "both") else z)
        by_outcome = curve if wrong in ("regression", "both") else z
        treated = rng.random(n) < 1 / (1 + np.exp(-by_propensity))
        change = (by_outcome + treated + rng.normal(size=n))[:, None]
        x = np.column_stack([np.ones(n), z])
        found.append(adjusted_change(change, treated, x, np.ones(n), method="dr").att[0])
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    if wrong == "both":
        assert abs(np.mean(found) - 1.0) > 10 * error
    else:
        assert abs(np.mean(found) - 1.0) < 4 * error


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_without_covariates_all_methods_are_one(seed: int) -> None:
    data = draw(seed)
    one = np.ones((80, 1))
    change, treated, weight = data["change"], data["treated"], data["weight"]
    values = [adjusted_change(change, treated, one, weight, method=method).att for method in METHODS]
    plain = np.average(change[treated], weights=weight[treated], axis=0) - np.average(
        change[~treated], weights=weight[~treated], axis=0
    )
    for value in values:
        np.testing.assert_allclose(value, plain, rtol=1e-9, atol=1e-12)


def test_covariates_that_do_not_vary_among_controls_leave_no_effect() -> None:
    data = draw(3)
    x = data["x"].copy()
    x[~data["treated"], 2] = 0.0
    found = adjusted_change(data["change"], data["treated"], x, data["weight"], method="reg")
    assert "do not vary enough" in found.reason
    assert np.isnan(found.att).all()
