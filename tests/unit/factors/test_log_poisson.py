"""The log-link fit: against statsmodels, against its own score, and where no maximum exists."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

import gbveval as gbv
from gbveval.factors._log_poisson import fit_log_poisson


def _data(n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, 2)), rng.integers(0, 2, n)])
    risk = np.exp(-1.5 + 0.3 * x[:, 1] + 0.4 * x[:, 3])
    return x, (rng.random(n) < np.minimum(risk, 1)).astype(float), rng.uniform(0.5, 4, n)


def test_coefficients_are_those_of_statsmodels():
    x, y, w = _data()
    ours = fit_log_poisson(x, y, w)
    theirs = sm.GLM(y, x, family=sm.families.Poisson(), freq_weights=w).fit(tol=1e-14)
    # Their last step leaves about 1e-9.
    np.testing.assert_allclose(ours.gamma, theirs.params, rtol=1e-7)
    np.testing.assert_allclose(ours.fitted, theirs.fittedvalues, rtol=1e-7)


def test_the_score_is_zero_and_weights_have_no_scale():
    x, y, w = _data()
    fit = fit_log_poisson(x, y, w)
    assert fit.converged
    parts = np.abs(x * (w * (y - fit.fitted))[:, None]).sum(axis=0)
    assert np.all(np.abs(x.T @ (w * (y - fit.fitted))) < 1e-11 * parts)
    again = fit_log_poisson(x, y, 1e6 * w)
    np.testing.assert_allclose(again.row_values, fit.row_values, rtol=1e-8, atol=1e-14)


def test_row_values_are_the_effect_of_a_little_more_weight():
    """A respondent's linearised value is its weight times the derivative of the coefficients in its weight."""
    x, y, w = _data(60)
    fit = fit_log_poisson(x, y, w)
    for i in range(0, 60, 7):
        step = np.zeros(60)
        step[i] = 1e-4
        slope = (fit_log_poisson(x, y, w + step).gamma - fit_log_poisson(x, y, w - step).gamma) / 2e-4
        # Central differences of a smooth function: the error is of the order of the squared step.
        np.testing.assert_allclose(fit.row_values[i], w[i] * slope, atol=1e-6)


def test_without_a_maximum_the_fitted_means_fall_to_nothing():
    x = np.column_stack([np.ones(40), np.repeat([0.0, 1.0], 20)])
    y = np.where(x[:, 1] == 1, 0.0, np.tile([0.0, 1.0], 20))
    fit = fit_log_poisson(x, y, np.ones(40))
    assert fit.fitted.min() < 1e-8
    assert fit.fitted[0] == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("share", [0.002, 0.5, 1.0])
def test_rare_common_and_constant_outcomes_converge(share: float):
    x, _, w = _data()
    y = (np.arange(400) < 400 * share).astype(float)
    fit = fit_log_poisson(x[:, :1], y, w)
    assert fit.converged
    assert fit.fitted[0] == pytest.approx(np.average(y, weights=w), rel=1e-10)


def test_a_weight_that_is_nearly_all_of_the_sum_is_no_bare_error() -> None:
    rng = np.random.default_rng(8)
    n = 240
    frame = {
        "y": (rng.random(n) < 0.3).astype(float),
        "x": rng.choice(["n", "y"], n),
        "g": rng.choice(["u", "v", "z"], n),
        "w": np.where(np.arange(n) == 5, 1e8, rng.uniform(1, 2, n)),
    }
    survey = gbv.Survey(frame, outcome="y", weight="w")
    with pytest.raises(gbv.ConvergenceError, match="found no solution"):
        gbv.RiskFactors(["x"], {"x": ["g"]}, behaviour="experience", measures=["ratio"]).estimate(survey)
