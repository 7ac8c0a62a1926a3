"""A posterior on a grid: joint moments, draws, selection and JSON against brute force."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import integrate, stats

import gbveval as gbv
from gbveval.core.estimates import Estimates
from gbveval.core.grid_posterior import GridPosterior
from gbveval.core.posterior import DrawsPosterior, Posterior

EFFECT, ERROR = np.array([28.0, 8.0, -3.0, 7.0, -1.0]), np.array([15.0, 10.0, 16.0, 11.0, 9.0])
AVERAGE_SD, BETWEEN = 20.0, 10.0


@pytest.fixture(scope="module")
def answer() -> Estimates:
    sites = gbv.SiteEffects({"e": EFFECT, "s": ERROR}, estimate="e", std_error="s")
    prior = gbv.HierarchyPrior(gbv.Normal(0.0, AVERAGE_SD), gbv.HalfNormal(BETWEEN))
    return gbv.NormalHierarchy(prior).estimate(sites)


@pytest.fixture(scope="module")
def grid(answer: Estimates) -> GridPosterior:
    assert isinstance(answer.posterior, GridPosterior)
    return answer.posterior


def _log_weight(tau: float) -> float:
    """Log density of the between-site sd: the sites are jointly normal given it."""
    covariance = np.diag(ERROR**2 + tau**2) + AVERAGE_SD**2
    return float(
        stats.multivariate_normal(np.zeros(5), covariance).logpdf(EFFECT) + stats.halfnorm.logpdf(tau, scale=BETWEEN)
    )


def _average_given(tau: float) -> tuple[float, float]:
    precision = 1 / AVERAGE_SD**2 + np.sum(1 / (ERROR**2 + tau**2))
    return float(np.sum(EFFECT / (ERROR**2 + tau**2)) / precision), float(1 / precision)


def _expect(function: object) -> float:
    peak = _log_weight(5.0)
    # The half-normal prior leaves nothing beyond ten of its scales.
    top = integrate.quad(lambda t: np.exp(_log_weight(t) - peak) * function(t), 0, 10 * BETWEEN, limit=400)[0]  # type: ignore[operator]
    bottom = integrate.quad(lambda t: np.exp(_log_weight(t) - peak), 0, 10 * BETWEEN, limit=400)[0]
    return float(top / bottom)


def test_moments_are_those_of_brute_force_integration(answer: Estimates, grid: GridPosterior) -> None:
    average = next(i for i, row in enumerate(answer.terms) if row.estimand.effect == "average_effect")
    spread = next(i for i, row in enumerate(answer.terms) if row.estimand.effect == "between_site_sd")
    mean = _expect(lambda t: _average_given(t)[0])
    second = _expect(lambda t: _average_given(t)[1] + _average_given(t)[0] ** 2)
    # Adaptive quadrature is good to about 1e-8.
    assert grid.mean()[average] == pytest.approx(mean, rel=1e-6)
    assert grid.sd()[average] == pytest.approx(np.sqrt(second - mean**2), rel=1e-6)
    tau = _expect(lambda t: t)
    assert grid.mean()[spread] == pytest.approx(tau, rel=1e-5)
    together = _expect(lambda t: t * _average_given(t)[0]) - tau * mean
    scale = grid.sd()[average] * grid.sd()[spread]
    assert grid.covariance()[average, spread] == pytest.approx(together, abs=1e-5 * scale)
    below = _expect(lambda t: stats.norm.cdf(5.0, _average_given(t)[0], np.sqrt(_average_given(t)[1])))
    assert grid.cdf(average, 5.0) == pytest.approx(below, rel=1e-6)


def test_quantiles_invert_the_cdf_and_agree_one_by_one(grid: GridPosterior) -> None:
    probabilities = [0.025, 0.5, 0.9]
    table = grid.quantiles(probabilities)
    for term in range(table.shape[1]):
        for position, p in enumerate(probabilities):
            assert grid.cdf(term, table[position, term]) == pytest.approx(p, abs=1e-7)
            assert grid.quantile(term, p) == pytest.approx(table[position, term], rel=1e-8, abs=1e-8)


def test_draws_have_the_joint_moments(grid: GridPosterior) -> None:
    n = 60_000
    drawn = grid.sample(n, np.random.default_rng(3))
    error = grid.sd() / np.sqrt(n)
    assert np.all(np.abs(drawn.mean(axis=0) - grid.mean()) < 6 * error)
    expected = grid.covariance()
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    # Fourth moments of such mixtures stay below ten: a correlation has a Monte Carlo sd below 3 / sqrt(n).
    assert np.abs((np.cov(drawn.T) - expected) / scale).max() < 18 / np.sqrt(n)


def test_covariance_is_the_one_of_the_result(answer: Estimates, grid: GridPosterior) -> None:
    np.testing.assert_allclose(answer.covariance, grid.covariance(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.sqrt(np.diag(grid.covariance())), grid.sd(), rtol=1e-9)
    assert np.linalg.eigvalsh(grid.covariance()).min() > -1e-9 * grid.covariance().max()


def test_selection_reorders_everything(grid: GridPosterior) -> None:
    chosen = np.array([3, 0])
    part = grid.select(chosen)
    np.testing.assert_array_equal(part.mean(), grid.mean()[chosen])
    # Quantiles are solved for together, so the last digit may depend on the company.
    np.testing.assert_allclose(part.quantiles([0.1]), grid.quantiles([0.1])[:, chosen], rtol=1e-9)
    np.testing.assert_array_equal(part.covariance(), grid.covariance()[np.ix_(chosen, chosen)])


def test_json_there_and_back_is_exact(grid: GridPosterior) -> None:
    text = json.dumps(grid.to_dict(), allow_nan=False)
    back = GridPosterior.from_dict(json.loads(text))
    assert json.dumps(back.to_dict(), allow_nan=False) == text
    np.testing.assert_array_equal(back.mean(), grid.mean())
    np.testing.assert_array_equal(back.quantiles([0.3, 0.99]), grid.quantiles([0.3, 0.99]))
    np.testing.assert_array_equal(back.sample(7, np.random.default_rng(1)), grid.sample(7, np.random.default_rng(1)))


def test_draws_posterior_counts() -> None:
    values = np.random.default_rng(0).normal(size=(2, 300, 2))
    posterior = DrawsPosterior(values)
    flat = values.reshape(-1, 2)
    np.testing.assert_allclose(posterior.mean(), flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(posterior.sd(), flat.std(axis=0, ddof=1), rtol=1e-12)
    assert posterior.cdf(1, 0.3) == np.mean(flat[:, 1] <= 0.3)
    np.testing.assert_allclose(posterior.select(np.array([1])).mean(), posterior.mean()[[1]], rtol=1e-12)
    rows = posterior.sample(50, np.random.default_rng(1))
    assert all(any(np.array_equal(row, known) for known in flat) for row in rows)
    with pytest.raises(ValueError, match="chain, draw, term"):
        DrawsPosterior(flat)


def test_both_kinds_offer_the_same(grid: GridPosterior) -> None:
    assert isinstance(grid, Posterior)
    assert isinstance(DrawsPosterior(np.zeros((1, 2, 1))), Posterior)
