"""Pooling against the formulas by hand and statsmodels, draws against the posterior they come from."""

from __future__ import annotations

import numpy as np
import pytest

from gbveval.numerics.imputation import draw_binary, draw_matched, draw_normal, normal_posterior, pool


def test_pooling_by_hand() -> None:
    q, u = np.array([1.0, 1.4, 0.9, 1.3]), np.array([0.20, 0.25, 0.22, 0.21])
    found = pool(q[:, None], u[:, None, None], np.array([40.0]))
    m, within, between = 4, u.mean(), q.var(ddof=1)
    total = within + (1 + 1 / m) * between
    share = (1 + 1 / m) * between / total
    old = (m - 1) / share**2
    observed = 41 / 43 * 40 * (1 - share)
    assert found.value[0] == pytest.approx(q.mean(), rel=1e-12)
    assert found.covariance[0, 0] == pytest.approx(total, rel=1e-12)
    assert found.df[0] == pytest.approx(1 / (1 / old + 1 / observed), rel=1e-12)
    r = (1 + 1 / m) * between / within
    assert found.missing_information[0] == pytest.approx((r + 2 / (found.df[0] + 3)) / (r + 1), rel=1e-12)


def test_the_joint_covariance_is_that_of_statsmodels() -> None:
    from statsmodels.imputation import mice

    rng = np.random.default_rng(1)
    values = rng.normal(size=(6, 2))
    roots = rng.normal(size=(6, 2, 2))
    covariances = roots @ roots.transpose(0, 2, 1)

    class Fit:
        def __init__(self, value: np.ndarray, covariance: np.ndarray) -> None:
            self.params, self.scale = value, 1.0
            self._covariance, self._results = covariance, self

        def cov_params(self) -> np.ndarray:
            return self._covariance

    chain = mice.MICE.__new__(mice.MICE)
    chain.results_list = [Fit(value, covariance) for value, covariance in zip(values, covariances, strict=True)]
    chain.exog_names, chain.endog_names, chain.model_class = ["a", "b"], "y", None
    expected = chain.combine()
    found = pool(values, covariances, np.full(2, np.inf))
    assert found.value == pytest.approx(np.asarray(expected.params), rel=1e-10)
    assert found.covariance == pytest.approx(np.asarray(expected.cov_params()), rel=1e-10)


def test_without_spread_nothing_is_missing() -> None:
    found = pool(np.ones((5, 1)), np.full((5, 1, 1), 0.3), np.array([17.0]))
    assert found.covariance[0, 0] == pytest.approx(0.3)
    # With nothing missing Barnard and Rubin's degrees of freedom are (nu + 1) / (nu + 3) nu.
    assert found.df[0] == pytest.approx(18 / 20 * 17)
    assert found.missing_information[0] == 0.0


def test_normal_draws_have_the_posterior_predictive_mean_and_variance() -> None:
    rng = np.random.default_rng(2)
    z = np.column_stack([np.ones(12), rng.normal(size=12)])
    y = z @ [1.0, 0.5] + rng.normal(size=12)
    new = np.array([[1.0, 2.0]])
    fit = normal_posterior(z, y, new)
    draws = np.array([draw_normal(fit, rng)[0] for _ in range(20_000)])
    beta, rss = np.linalg.lstsq(z, y, rcond=None)[:2]
    # The predictive is a t with ten degrees of freedom: variance s^2 (1 + x'(Z'Z)^-1 x) 10 / 8.
    variance = float(rss[0]) / 10 * (1 + float((new @ np.linalg.inv(z.T @ z) @ new.T)[0, 0])) * 10 / 8
    # Bands of four Monte Carlo standard errors; a t's variance has more than the normal's.
    assert draws.mean() == pytest.approx(float((new @ beta)[0]), abs=4 * np.sqrt(variance / 20_000))
    assert draws.var() == pytest.approx(variance, rel=0.07)


def test_matching_draws_observed_values_of_the_nearest() -> None:
    rng = np.random.default_rng(3)
    x = np.repeat([0.0, 1.0], 200)
    y = np.where(x == 0, rng.choice([0.0, 1.0], 400), rng.choice([10.0, 11.0], 400, p=[0.25, 0.75]))
    z = np.column_stack([np.ones(400), x])
    fit = normal_posterior(z, y, np.column_stack([np.ones(50), np.ones(50)]))
    drawn = np.concatenate([draw_matched(fit, rng) for _ in range(100)])
    assert set(np.unique(drawn)) <= {10.0, 11.0}
    # All two hundred people alike are donors, not only five of them.
    share = float(np.mean(y[200:] == 11.0))
    assert np.mean(drawn == 11.0) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 5000))


def test_matching_takes_the_donors_nearest_by_brute_force() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=60)
    y = 3.0 * x  # The outcome tells who the donor was, and the coefficients have no uncertainty.
    z = np.column_stack([np.ones(60), x])
    wanted = np.array([-5.0, 0.1, 0.9, 5.0])
    fit = normal_posterior(z, y, np.column_stack([np.ones(4), wanted]))
    drawn = np.array([draw_matched(fit, rng, donors=3) for _ in range(400)])
    for column, point in zip(drawn.T, wanted, strict=True):
        nearest = np.sort(y[np.argsort(np.abs(x - point))[:3]])
        assert np.sort(np.unique(column)) == pytest.approx(nearest)


def test_binary_draws_follow_the_shifted_logit() -> None:
    rng = np.random.default_rng(5)
    z = np.ones((50_000, 1))
    drawn = draw_binary(np.array([-1.0]), np.zeros((1, 1)), z, rng, shift=0.4)
    p = 1 / (1 + np.exp(0.6))
    assert drawn.mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 50_000))
    low, high = (
        draw_binary(np.array([-1.0]), np.eye(1) * 0.1, z, np.random.default_rng(6), shift=s) for s in (0.0, 0.5)
    )
    # The same numbers are drawn for every shift, so a larger one only turns noes into yeses.
    assert np.all(high >= low)
