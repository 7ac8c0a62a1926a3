"""The cumulative logit model against statsmodels, differences, the jackknife and simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from gbveval.numerics.ordinal import evaluate, fit_ordinal, make_rows, ordinal_influence, proportional_odds_test


def draws(seed: int, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.arange(n) % 2, rng.normal(size=n)]).astype(float)
    x = x - x.mean(axis=0)
    latent = x @ [0.8, -0.5] + rng.logistic(size=n)
    return x, np.digitize(latent, [-0.5, 0.6, 2.0]).astype(np.intp)


def test_maximum_and_information_are_those_of_statsmodels() -> None:
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    x, level = draws(1)
    fit = fit_ordinal(x, level, 4)
    model = OrderedModel(level, x, distr="logit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model.fit(method="bfgs", disp=0, gtol=1e-8, maxiter=500)
    cuts = model.transform_threshold_params(found.params)[1:-1]
    # BFGS stops at a gradient of 1e-8; its Hessian is numerical.
    assert fit.theta == pytest.approx(np.concatenate([cuts, found.params[:2]]), abs=1e-6)
    assert fit.log_likelihood == pytest.approx(found.llf, rel=1e-10)
    error = np.sqrt(np.diag(np.linalg.inv(fit.information)))[3:]
    assert error == pytest.approx(found.bse[:2], rel=1e-5)
    assert fit.converged
    assert not fit.separated


def test_two_levels_are_logistic_regression() -> None:
    import statsmodels.api as sm

    x, level = draws(2)
    binary = (level > 1).astype(np.intp)
    fit = fit_ordinal(x, binary, 2)
    glm = sm.GLM(binary, sm.add_constant(x), family=sm.families.Binomial()).fit(tol=1e-12)
    assert fit.theta == pytest.approx(np.concatenate([[-glm.params[0]], glm.params[1:]]), rel=1e-8)
    robust = sm.GLM(binary, sm.add_constant(x), family=sm.families.Binomial()).fit(cov_type="HC0", tol=1e-12)
    influence = ordinal_influence(fit, "HC0")
    assert np.sqrt((influence**2).sum(axis=0))[1:] == pytest.approx(robust.bse[1:], rel=1e-7)


def test_derivatives_are_those_of_differences() -> None:
    x, level = draws(3, 60)
    rows = make_rows(x, level, 4)
    theta = np.array([-0.4, 0.5, 1.7, 0.3, -0.2])
    fit = fit_ordinal(x, level, 4)

    def total(at: np.ndarray) -> float:
        return float(evaluate(rows, at).value.sum())

    pieces = evaluate(rows, theta)
    score = rows.upper.T @ pieces.d_upper + rows.lower.T @ pieces.d_lower
    # Forward differences are good to about the root of rounding times the size.
    assert score == pytest.approx(approx_fprime(theta, total, 1e-7), abs=1e-4)
    step = 1e-4 * np.eye(5)
    second = [[(total(fit.theta + a + b) - total(fit.theta + a - b) - total(fit.theta - a + b) + total(fit.theta - a - b)) / 4e-8 for b in step] for a in step]  # fmt: skip  # noqa: E501
    assert fit.information == pytest.approx(-np.array(second), abs=1e-3 * np.abs(second).max())
    shares = np.exp([evaluate(make_rows(np.zeros((1, 0)), np.array([j]), 3), np.array([-9.0, 40.0])).value[0] for j in range(3)])  # fmt: skip  # noqa: E501
    assert shares.sum() == pytest.approx(1.0, rel=1e-12)
    assert evaluate(rows, np.array([1.0, 0.0, 2.0, 0.0, 0.0])).value.min() == -np.inf


def test_weights_are_repetitions() -> None:
    x, level = draws(4, 80)
    times = np.random.default_rng(5).integers(1, 4, 80)
    fit = fit_ordinal(x, level, 4, weight=times.astype(float))
    again = fit_ordinal(np.repeat(x, times, axis=0), np.repeat(level, times), 4)
    assert fit.theta == pytest.approx(again.theta, rel=1e-8)
    assert fit.information == pytest.approx(again.information, rel=1e-8)


def test_one_step_is_close_to_the_jackknife_of_refits() -> None:
    x, level = draws(6)
    cluster = (np.arange(500) // 25).astype(np.intp)
    fit = fit_ordinal(x, level, 4)
    moved = np.array([fit_ordinal(x[cluster != g], level[cluster != g], 4).theta for g in range(20)]) - fit.theta
    jackknife = np.sqrt(19 / 20 * (moved**2).sum(axis=0))
    # The second step of Newton's method is of second order in a twentieth of the data.
    assert np.sqrt((ordinal_influence(fit, "CR3", cluster) ** 2).sum(axis=0)) == pytest.approx(jackknife, rel=0.01)
    cr0, cr1 = (ordinal_influence(fit, kind, cluster) for kind in ("CR0", "CR1"))
    assert cr1 == pytest.approx(cr0 * np.sqrt(20 / 19), rel=1e-12)
    single = ordinal_influence(fit, "CR0", np.arange(500))
    assert single == pytest.approx(ordinal_influence(fit, "HC0"), rel=1e-10)
    assert ordinal_influence(fit, "model") is None


def test_separation_is_found_and_an_ordinary_outcome_is_not() -> None:
    x = np.repeat([-0.5, 0.5], 30)[:, None]
    rng = np.random.default_rng(7)
    apart = np.where(x[:, 0] > 0, 2, rng.integers(0, 2, 60)).astype(np.intp)
    assert fit_ordinal(x, apart, 3).separated
    quasi = np.where(x[:, 0] > 0, 1 + rng.integers(0, 2, 60), rng.integers(0, 2, 60)).astype(np.intp)
    # The treated are never lowest and the others never highest: both cuts and the coefficient move for ever.
    assert fit_ordinal(x, quasi, 3).separated
    quasi[[0, 59]] = [2, 0]
    assert not fit_ordinal(x, quasi, 3).separated
    assert fit_ordinal(x, np.where(x[:, 0] > 0, 2, 0).astype(np.intp) // 2, 2).separated


def test_the_score_test_keeps_its_size_and_finds_crossing_odds() -> None:
    p_values = []
    for seed in range(300):
        x, level = draws(1000 + seed, 200)
        found = proportional_odds_test(fit_ordinal(x, level, 4), x, level, 4, np.array([0]))
        assert found is not None
        p_values.append(found.p_value)
    # Binomial band of 300 draws at 5 per cent: four Monte Carlo standard errors.
    assert np.mean(np.array(p_values) < 0.05) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(p_values) == pytest.approx(0.5, abs=4 / np.sqrt(12 * 300))
    rng = np.random.default_rng(8)
    x = (np.arange(600) % 2 - 0.5)[:, None]
    crossing = np.where(x[:, 0] > 0, rng.choice(3, 600, p=[0.45, 0.1, 0.45]), rng.choice(3, 600, p=[0.3, 0.4, 0.3]))
    strong = proportional_odds_test(fit_ordinal(x, crossing, 3), x, crossing, 3, np.array([0]))
    assert strong is not None
    assert strong.p_value < 1e-6


def test_the_score_test_agrees_with_two_logits_in_large_samples() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(9)
    n = 4000
    x = (np.arange(n) % 2 - 0.5)[:, None]
    level = np.digitize(0.5 * x[:, 0] + rng.logistic(size=n) * np.where(x[:, 0] > 0, 1.06, 1.0), [-0.5, 1.0])
    found = proportional_odds_test(fit_ordinal(x, level, 3), x, level, 3, np.array([0]))
    assert found is not None
    fits = [sm.GLM((level > cut).astype(float), sm.add_constant(x), family=sm.families.Binomial()).fit() for cut in (0, 1)]  # fmt: skip  # noqa: E501
    scores = [sm.add_constant(x) * ((level > cut) - fit.fittedvalues)[:, None] for cut, fit in enumerate(fits)]
    lifted = [score @ fit.normalized_cov_params[:, 1] for score, fit in zip(scores, fits, strict=True)]
    difference = fits[1].params[1] - fits[0].params[1]
    wald = difference**2 / np.sum((lifted[1] - lifted[0]) ** 2)  # Brant's test
    assert found.statistic == pytest.approx(wald, rel=0.05)


def test_the_score_test_needs_cuts_and_groups() -> None:
    x, level = draws(10, 100)
    binary = (level > 1).astype(np.intp)
    assert proportional_odds_test(fit_ordinal(x, binary, 2), x, binary, 2, np.array([0])) is None
    cluster = (np.arange(100) // 34).astype(np.intp)
    assert proportional_odds_test(fit_ordinal(x, level, 4), x, level, 4, np.array([0]), cluster) is None
    many = (np.arange(100) // 4).astype(np.intp)
    found = proportional_odds_test(fit_ordinal(x, level, 4), x, level, 4, np.array([0]), many)
    assert found is not None
    assert (found.df1, found.df2) == (2.0, 23.0)
