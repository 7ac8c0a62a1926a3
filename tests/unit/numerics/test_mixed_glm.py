"""Mixed models of counts against brute-force integration, each other, and the linear algebra of their slopes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.stats import binom, norm, poisson

from gbveval.numerics import mixed_glm_lme4
from gbveval.numerics.mixed_glm import _Search, collapse, constants, fit_mixed_glm
from gbveval.numerics.mixed_glm_likelihood import Cells
from gbveval.numerics.mixed_linear import NoMaximumError
from gbveval.numerics.random_intercepts import make_batches

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def counts(seed: int, family: str) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(14), 4)
    x = np.column_stack([(cluster % 2).astype(float), np.tile([0.0, 0.0, 1.0, 1.0], 14)])
    eta = -0.5 + x @ [0.6, -0.4] + 0.8 * rng.normal(size=14)[cluster]
    size = rng.integers(3, 9, cluster.size).astype(float)
    if family == "binomial":
        return x, rng.binomial(size.astype(int), 1 / (1 + np.exp(-eta))).astype(float), size, cluster[:, None]
    return x, rng.poisson(size * np.exp(eta)).astype(float), size, cluster[:, None]


def integrated(
    family: str, data: tuple[FloatArray, FloatArray, FloatArray, IntArray], beta: FloatArray, sd: float
) -> float:
    """Return the log-likelihood by the trapezoidal rule, cluster by cluster; exact to rounding for such integrands."""
    x, y, size, codes = data
    eta = np.column_stack([np.ones(len(y)), x]) @ beta
    u = np.arange(-9.0, 9.0, 0.05)
    linear = eta[:, None] + sd * u
    if family == "binomial":
        chance = binom.logpmf(y[:, None], size[:, None], 1 / (1 + np.exp(-linear)))
    else:
        chance = poisson.logpmf(y[:, None], size[:, None] * np.exp(linear))
    sums = np.array([chance[codes[:, 0] == g].sum(axis=0) for g in np.unique(codes)])
    return float(np.sum(np.log(np.sum(np.exp(sums) * norm.pdf(u) * 0.05, axis=1))))


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_many_points_give_the_integral(family: str) -> None:
    data = counts(1, family)
    fit = fit_mixed_glm(family, *data, points=30)
    value = integrated(family, data, fit.beta, float(fit.sds[0]))
    # Adaptive quadrature with 30 points is exact to rounding for clusters of this size.
    assert fit.log_likelihood == pytest.approx(value, rel=1e-9)
    for j in range(4):
        moved = np.append(fit.beta, fit.sds)
        moved[j] += 0.05
        assert integrated(family, data, moved[:3], moved[3]) < value


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_covariance_is_the_curvature_of_the_integral(family: str) -> None:
    data = counts(2, family)
    fit = fit_mixed_glm(family, *data, points=30)
    at = np.append(fit.beta, fit.sds)
    step = 0.01
    hessian = np.empty((4, 4))
    for i in range(4):
        for j in range(4):
            a, b = step * np.eye(4)[i], step * np.eye(4)[j]
            corners = [integrated(family, data, p[:3], p[3]) for p in (at + a + b, at + a - b, at - a + b, at - a - b)]
            hessian[i, j] = -(corners[0] - corners[1] - corners[2] + corners[3]) / (4 * step**2)
    # Second differences of an integral known to 1e-10, step 0.01: about 1e-4.
    np.testing.assert_allclose(fit.covariance, np.linalg.inv(hessian)[:3, :3], rtol=2e-3, atol=1e-5)
    assert fit.sd_errors[0] == pytest.approx(np.sqrt(np.linalg.inv(hessian)[3, 3]), rel=2e-3)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
@pytest.mark.parametrize(("parts", "points"), [(1, 1), (1, 7), (2, 1), (3, 1)])
def test_slopes_are_those_of_the_value(family: str, parts: int, points: int) -> None:
    x, y, size, codes = counts(3, family)
    more = np.column_stack([codes[:, 0], np.arange(56) // 2, np.arange(56) % 4])[:, :parts]
    cells, _ = collapse(family, np.column_stack([np.ones(56), x]), y, size, more)
    search = _Search(cells, points)
    at = np.concatenate([[-0.3, 0.4, -0.2], np.linspace(0.5, 0.9, parts)])
    numeric = approx_fprime(at, lambda psi: search.both(psi)[0], 1e-6)
    np.testing.assert_allclose(search.both(at)[1], numeric, rtol=1e-4, atol=1e-4)


def test_laplace_of_several_intercepts_is_that_of_one_when_the_others_are_absent() -> None:
    x, y, size, codes = counts(4, "binomial")
    cells, _ = collapse("binomial", np.column_stack([np.ones(56), x]), y, size, codes)
    both, _ = collapse(
        "binomial", np.column_stack([np.ones(56), x]), y, size, np.column_stack([codes[:, 0], np.arange(56)])
    )
    beta = np.array([-0.3, 0.4, -0.2])
    one = _Search(cells, 1).value(np.append(beta, 0.7))
    two = _Search(both, 1).value(np.concatenate([beta, [0.7, 0.0]]))
    assert two == pytest.approx(one, rel=1e-12)


def test_people_and_their_counts_give_the_same() -> None:
    x, y, size, codes = counts(5, "binomial")
    row = np.repeat(np.arange(56), size.astype(int))
    first = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(int)
    person = np.arange(row.size) - first[row]
    fit = fit_mixed_glm("binomial", x, y, size, codes, points=5)
    people = fit_mixed_glm("binomial", x[row], (person < y[row]).astype(float), np.ones(row.size), codes[row], points=5)
    np.testing.assert_allclose(people.beta, fit.beta, rtol=1e-8)
    np.testing.assert_allclose(people.covariance, fit.covariance, rtol=1e-6)
    assert people.cells == fit.cells == 28


def test_no_variation_between_clusters_gives_the_glm() -> None:
    import statsmodels.api as sm

    x = np.column_stack([np.repeat([0.0, 1.0], 20)])
    y, size = np.tile([3.0, 4.0], 20), np.full(40, 8.0)
    fit = fit_mixed_glm("binomial", x, y, size, np.arange(40)[:, None])
    other = sm.GLM(np.column_stack([y, size - y]), sm.add_constant(x), family=sm.families.Binomial()).fit()
    assert fit.sds[0] == 0.0
    assert np.isnan(fit.sd_errors[0])
    np.testing.assert_allclose(fit.beta, other.params, atol=1e-9)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), other.bse, rtol=1e-6)
    assert fit.log_likelihood == pytest.approx(other.llf, rel=1e-10)
    assert fit.deviance == pytest.approx(other.deviance, rel=1e-8)


def test_clusters_with_all_events_or_none_have_no_maximum() -> None:
    x = np.repeat([0.0, 1.0], 10)[:, None]
    y = np.tile([0.0, 200.0], 10)
    with pytest.raises(NoMaximumError):
        fit_mixed_glm("binomial", x, y, np.full(20, 200.0), np.arange(20)[:, None])


@pytest.mark.parametrize("family", ["binomial", "poisson"])
@pytest.mark.parametrize(("parts", "points"), [(1, 1), (1, 7), (2, 1)])
def test_lme4s_likelihood_is_the_converged_one_when_its_steps_converge(
    family: str, parts: int, points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, size, codes = counts(6, family)
    more = np.column_stack([codes[:, 0], np.arange(56) // 2])[:, :parts]
    columns = np.column_stack([np.ones(56), x])
    cells, _ = collapse(family, columns, y, size, more)
    at = np.concatenate([[-0.3, 0.4, -0.2], np.linspace(0.5, 0.9, parts)])
    exact = 2.0 * _Search(cells, points).both(at)[0]
    constant, saturated = constants(family, y, size)
    rows = Cells(family, columns, y, size, make_batches(more))
    lagged = mixed_glm_lme4._Lagged(rows, saturated - constant, points).value(at)
    # One step short moves Laplace's determinant visibly, and quadrature hardly.
    assert abs(lagged - exact) < 0.05
    assert points > 1 or abs(lagged - exact) > 1e-9
    monkeypatch.setattr(mixed_glm_lme4, "TOLERANCE", 1e-14)
    settled = mixed_glm_lme4._Lagged(rows, saturated - constant, points).value(at)
    assert settled == pytest.approx(exact, rel=1e-9)


def test_lme4s_fit_is_near_the_converged_one() -> None:
    data = counts(7, "binomial")
    fit = fit_mixed_glm("binomial", *data)
    other = mixed_glm_lme4.as_lme4(fit, "binomial", *data, 1)
    errors = np.sqrt(np.diag(fit.covariance))
    assert np.max(np.abs(other.beta - fit.beta) / errors) < 0.05
    np.testing.assert_allclose(np.sqrt(np.diag(other.covariance)), errors, rtol=0.05)
    assert np.max(np.abs(other.beta - fit.beta)) > 1e-6
