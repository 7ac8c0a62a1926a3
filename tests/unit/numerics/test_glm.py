"""Links, whitened rows, covariances and separation against statsmodels, differences and dense formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.genmod.families import Binomial, Poisson
from statsmodels.genmod.families import links as sm_links
from statsmodels.genmod.generalized_linear_model import GLM

from gbveval.numerics.cluster_sandwich import cluster_robust, cross_products
from gbveval.numerics.glm import Family, adjusted_score, log_likelihood, whiten
from gbveval.numerics.glm_covariance import coefficient_covariance, whitened_fit
from gbveval.numerics.separation import binomial_direction, count_direction

FloatArray = NDArray[np.float64]
FAMILIES = [("binomial", "logit"), ("binomial", "probit"), ("binomial", "log"), ("poisson", "log"), ("gaussian", "log")]


@pytest.mark.parametrize("link", ["identity", "logit", "probit", "log"])
def test_slope_and_curvature_are_derivatives_of_the_mean(link: str) -> None:
    family = Family("binomial", link)
    eta = np.linspace(-2.0, -0.1, 20)
    h = 1e-5
    numeric = (family.mean(eta + h) - family.mean(eta - h)) / (2 * h)
    # Central differences err by h^2 and by rounding over h: about 1e-10.
    np.testing.assert_allclose(family.slope(eta), numeric, rtol=1e-8)
    second = (family.slope(eta + h) - family.slope(eta - h)) / (2 * h)
    np.testing.assert_allclose(family.curvature(eta) * family.slope(eta), second, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("name", "link"), FAMILIES)
def test_whitened_rows_give_the_score_of_the_likelihood(name: str, link: str) -> None:
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(30), rng.normal(size=30)])
    y = rng.integers(0, 2, 30).astype(float)
    family, beta, weight = Family(name, link), np.array([-1.0, 0.1]), rng.uniform(0.5, 2.0, 30)
    white = whiten(family, x, y, beta, weight=weight)

    def value(b: FloatArray) -> float:
        return log_likelihood(family, y, x @ b, weight)[0]

    h = 1e-6
    numeric = [(value(beta + h * e) - value(beta - h * e)) / (2 * h) for e in np.eye(2)]
    # Differences of a sum of size 30 err by about 1e-9.
    np.testing.assert_allclose(white.design.T @ white.residual, numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "link"), [("binomial", "logit"), ("poisson", "log")])
def test_firths_score_adds_half_the_gradient_of_the_log_determinant_for_canonical_links(name: str, link: str) -> None:
    # For a canonical link the adjustment is the gradient of log |information| / 2 (Firth 1993).
    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(25), rng.normal(size=25)])
    y = rng.integers(0, 2, 25).astype(float)
    family, beta = Family(name, link), np.array([-0.3, 0.4])

    def half_log_determinant(b: FloatArray) -> float:
        white = whiten(family, x, y, b)
        return 0.5 * float(np.linalg.slogdet(white.design.T @ white.design)[1])

    h = 1e-6
    gradient = [(half_log_determinant(beta + h * e) - half_log_determinant(beta - h * e)) / (2 * h) for e in np.eye(2)]
    white = whiten(family, x, y, beta)
    plain = white.design.T @ white.residual
    np.testing.assert_allclose(adjusted_score(family, x, y, beta) - plain, gradient, rtol=1e-6)


def fitted(seed: int = 3) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.intp], FloatArray]:
    rng = np.random.default_rng(seed)
    n = 120
    x = np.column_stack([np.ones(n), rng.normal(size=n), rng.integers(0, 2, n)])
    cluster = np.sort(rng.integers(0, 15, n))
    _, cluster = np.unique(cluster, return_inverse=True)
    y = (rng.random(n) < 1 / (1 + np.exp(0.3 - x[:, 1] * 0.5))).astype(float)
    weight = rng.uniform(0.5, 2.0, n)
    return x, y, weight, cluster.astype(np.intp), np.eye(3)


@pytest.mark.parametrize(
    ("link", "kind", "theirs"),
    # statsmodels takes the observed information as bread of the probit's robust covariance, so that is left out.
    [
        ("logit", "model", "nonrobust"),
        ("probit", "model", "nonrobust"),
        ("logit", "HC0", "HC0"),
        ("logit", "HC1", "HC0"),
        ("logit", "CR1S", "cluster"),
    ],
)
def test_covariances_are_those_of_statsmodels(link: str, kind: str, theirs: str) -> None:
    x, y, _, cluster, lift = fitted()
    sm_link = sm_links.Logit() if link == "logit" else sm_links.Probit()
    extra = {"cov_kwds": {"groups": cluster}} if theirs == "cluster" else {}
    model = GLM(y, x, family=Binomial(sm_link)).fit(cov_type=theirs, tol=1e-14, maxiter=200, **extra)
    white = whiten(Family("binomial", link), x, y, model.params)
    found = coefficient_covariance(white.design, white.residual, lift, kind, cluster=cluster)
    assert found is not None
    # HC1 is n / (n - k) times HC0; that of statsmodels leaves the factor out for these models.
    factor = 120 / 117 if kind == "HC1" else 1.0
    np.testing.assert_allclose(found.covariance, factor * model.cov_params(), rtol=1e-7)


def dense(white_x: FloatArray, e: FloatArray, cluster: NDArray[np.intp], power: float) -> tuple[FloatArray, FloatArray]:
    """Return the covariance and Satterthwaite df by the definition, with n by n matrices."""
    m = np.linalg.inv(white_x.T @ white_x)
    hat = white_x @ m @ white_x.T
    n, k = white_x.shape
    residual_maker = np.eye(n) - hat
    covariance = np.zeros((k, k))
    columns = []
    for g in np.unique(cluster):
        rows = cluster == g
        values, vectors = np.linalg.eigh(residual_maker[np.ix_(rows, rows)])
        adjust = (vectors * values**power) @ vectors.T
        half = m @ white_x[rows].T @ adjust
        covariance += np.outer(half @ e[rows], half @ e[rows])
        columns.append(residual_maker[rows].T @ half.T)
    df = []
    for j in range(k):
        g_matrix = np.column_stack([c[:, j] for c in columns])
        p = g_matrix.T @ g_matrix
        df.append(np.trace(p) ** 2 / (p**2).sum())
    return covariance, np.array(df)


@pytest.mark.parametrize(("kind", "power"), [("CR0", 0.0), ("CR2", -0.5), ("CR3", -1.0)])
def test_clustered_covariances_and_df_follow_their_definition(kind: str, power: float) -> None:
    x, y, weight, cluster, lift = fitted(4)
    beta = np.asarray(GLM(y, x, family=Binomial(), var_weights=weight).fit(tol=1e-14).params)
    white = whiten(Family("binomial", "logit"), x, y, beta, weight=weight)
    found = coefficient_covariance(white.design, white.residual, lift, kind, cluster=cluster)
    covariance, df = dense(white.design, white.residual, cluster, power)
    assert found is not None
    assert found.df is not None
    # Two routes in double precision.
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9)
    np.testing.assert_allclose(found.df, df, rtol=1e-9)


def test_cr1_kinds_are_cr0_times_their_factor() -> None:
    x, y, _, cluster, lift = fitted(5)
    fit = whitened_fit(x, lift)
    assert fit is not None
    sums = cross_products(fit, x, y, cluster, int(cluster.max()) + 1)
    plain, one, stata = (cluster_robust(fit, sums, kind=kind).covariance for kind in ("CR0", "CR1", "CR1S"))
    g, n, k = cluster.max() + 1, *x.shape
    np.testing.assert_allclose(one, plain * g / (g - 1))
    np.testing.assert_allclose(stata, plain * g / (g - 1) * (n - 1) / (n - k))
    with pytest.raises(ValueError, match="CR2"):
        cluster_robust(fit, sums, kind="CR9")


def test_hc2_and_hc3_divide_by_one_minus_the_working_leverage() -> None:
    x, y, weight, _, lift = fitted(6)
    beta = np.asarray(GLM(y, x, family=Poisson(), var_weights=weight).fit(tol=1e-14).params)
    white = whiten(Family("poisson", "log"), x, y, beta, weight=weight)
    m = np.linalg.inv(white.design.T @ white.design)
    leverage = np.einsum("ij,jl,il->i", white.design, m, white.design)
    for kind, power in (("HC2", 1.0), ("HC3", 2.0)):
        meat = (white.design * (white.residual**2 / (1 - leverage) ** power)[:, None]).T @ white.design
        found = coefficient_covariance(white.design, white.residual, lift, kind)
        assert found is not None
        np.testing.assert_allclose(found.covariance, m @ meat @ m, rtol=1e-9)


def test_separation_by_one_covariate_is_that_of_its_ranges() -> None:
    # With one covariate the outcome is separated just where the ranges of the two groups overlap in a point at most.
    for values in itertools.product([0.0, 1.0, 2.0], repeat=5):
        x = np.array(values)
        if np.ptp(x) == 0:
            continue
        y = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
        low, high = x[y == 0], x[y == 1]
        separated = low.max() <= high.min() or high.max() <= low.min()
        found = binomial_direction(np.column_stack([np.ones(5), x]), y)
        assert (found is not None) == separated, values


def test_a_direction_never_lowers_the_likelihood_and_is_none_for_proportions_inside() -> None:
    x = np.column_stack([np.ones(6), [0, 0, 0, 1, 1, 1], [1.0, 2.0, 3.0, 3.0, 1.0, 2.0]])
    y = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    direction = binomial_direction(x, y)
    assert direction is not None
    assert np.all((2 * y - 1) * (x @ direction) >= -1e-9)
    assert direction[2] == 0.0
    assert binomial_direction(x, np.full(6, 0.5)) is None


def test_counts_are_separated_where_a_group_has_none() -> None:
    x = np.column_stack([np.ones(4), [0.0, 0.0, 1.0, 1.0]])
    found = count_direction(x, np.array([2.0, 1.0, 0.0, 0.0]))
    assert found is not None
    assert found[1] < 0
    assert found[0] == 0
    assert count_direction(x, np.array([2.0, 0.0, 0.0, 1.0])) is None
