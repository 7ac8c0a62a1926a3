"""Control means and effects together against plain grids, the one-dimensional hierarchy, and what must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gbveval.numerics.control_and_effect import ControlAndEffectPriors, control_and_effect
from gbveval.numerics.fitted_product import gauss_rule
from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.priors import Flat, HalfCauchy, HalfNormal, LogNormal, Normal

Z = np.array([[2.0, -0.4], [1.2, -0.1], [1.9, -0.2], [1.5, 0.3]])
SE = np.array([[0.1, 0.15], [0.2, 0.3], [0.1, 0.2], [0.3, 0.5]])
PRIORS = ControlAndEffectPriors(Normal(1, 1), Normal(0, 0.5), LogNormal(-1.0, 0.4), LogNormal(-1.5, 0.4), 2.0)


def shared(se):
    S = np.empty((len(se), 2, 2))
    S[:, 0, 0], S[:, 1, 1] = se[:, 0] ** 2, se[:, 1] ** 2
    S[:, 0, 1] = S[:, 1, 0] = -(se[:, 0] ** 2)
    return S


def test_against_a_plain_grid():
    """Log-normal priors keep the sds away from zero, so that an equal-step grid converges."""
    a, b = np.exp(-1.0 + 0.4 * np.linspace(-5, 5, 41)), np.exp(-1.5 + 0.4 * np.linspace(-5, 5, 41))
    r, step = np.polynomial.legendre.leggauss(24)
    grid = np.stack(np.meshgrid(a, b, r, indexing="ij"), -1).reshape(-1, 3)
    prior = stats.norm.pdf(np.linspace(-5, 5, 41)) * 0.25
    weight = (prior[:, None, None] * prior[None, :, None] * (step * 0.75 * (1 - r**2))).ravel()
    S, m0, P0 = shared(SE), np.array([1.0, 0.0]), np.diag([1.0, 4.0])
    likelihood, first, second = np.empty(len(grid)), np.empty((len(grid), 2)), np.empty((len(grid), 2))
    for i, (x, y, rho) in enumerate(grid):
        V = S + np.array([[x * x, rho * x * y], [rho * x * y, y * y]])
        big = np.kron(np.ones((4, 4)), np.linalg.inv(P0))
        for k in range(4):
            big[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] += V[k]
        gain = np.kron(np.ones((1, 4)), np.linalg.inv(P0)) @ np.linalg.inv(big)
        rest = Z.ravel() - np.tile(m0, 4)
        likelihood[i] = np.exp(-0.5 * rest @ np.linalg.solve(big, rest)) / np.sqrt(np.linalg.det(2 * np.pi * big))
        first[i] = m0 + gain @ rest
        second[i] = np.diag(np.linalg.inv(P0) - gain @ np.kron(np.ones((4, 1)), np.linalg.inv(P0)))
    total = weight @ likelihood
    share = weight * likelihood / total
    mean = share @ first
    sd = np.sqrt(share @ (second + first**2) - mean**2)
    fit = control_and_effect(Z, shared(SE), PRIORS)
    # Equal steps of a quarter sd of the prior, to five sds: 6e-7 is cut off, the rest converges exponentially.
    assert fit.log_marginal_likelihood == pytest.approx(np.log(total), abs=5e-6)
    np.testing.assert_allclose(fit.effects.mean[:2], mean, atol=5e-6 * sd.min())
    np.testing.assert_allclose(fit.effects.sd[:2], sd, rtol=5e-6)
    assert fit.correlation.mean == pytest.approx(share @ grid[:, 2], abs=5e-6)
    assert fit.sd_effect.mean == pytest.approx(share @ grid[:, 1], rel=5e-6)


def test_the_error_told_is_one():
    fit = control_and_effect(Z, shared(SE), PRIORS)
    assert fit.error < 1e-6


def test_without_anything_shared_the_effects_are_the_plain_hierarchy():
    """Independent errors and a correlation held at zero by its prior: the two hierarchies come apart."""
    S = np.stack([np.diag(se**2) for se in SE])
    priors = ControlAndEffectPriors(Normal(1, 1), Normal(0, 0.5), HalfNormal(0.5), HalfNormal(0.3), 1e8)
    fit = control_and_effect(Z, S, priors)
    for place, prior, scale in ((0, Normal(1, 1), 0.5), (1, Normal(0, 0.5), 0.3)):
        plain = normal_hierarchy(Z[:, place], SE[:, place], mu_prior=prior, tau_prior=HalfNormal(scale))
        sites = fit.effects.select(slice(2 + 4 * place, 6 + 4 * place))
        # eta of 1e8 leaves a correlation of sd 7e-5, which moves means by its square.
        assert fit.effects.mean[place] == pytest.approx(plain.mu.mean[0], abs=1e-6)
        assert fit.effects.sd[place] == pytest.approx(plain.mu.sd[0], abs=1e-6)
        np.testing.assert_allclose(sites.mean, plain.theta.mean, atol=1e-6)
        np.testing.assert_allclose(sites.sd, plain.theta.sd, atol=1e-6)
        if place:
            np.testing.assert_allclose(fit.effects.sd[-1], plain.new_site.sd[0], atol=1e-6)


def test_sharing_the_control_arm_matters():
    """A high control mean by chance hides an effect; treating the errors as independent misses that."""
    alone = control_and_effect(Z, np.stack([np.diag(se**2) for se in SE]), PRIORS)
    together = control_and_effect(Z, shared(SE), PRIORS)
    # Errors that go against each other look like places that do: half of the difference in correlation is the sites'.
    assert together.correlation.mean > alone.correlation.mean + 1e-3


@settings(max_examples=5, deadline=None)
@given(st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_units_and_origin_do_not_matter(unit, shift):
    base = ControlAndEffectPriors(Normal(1, 1), Normal(0, 0.5), HalfNormal(0.5), HalfCauchy(0.3), 1.0)
    moved = ControlAndEffectPriors(
        Normal(unit * 1 + shift, unit), Normal(0, 0.5 * unit), HalfNormal(0.5 * unit), HalfCauchy(0.3 * unit), 1.0
    )
    a = control_and_effect(Z, shared(SE), base)
    b = control_and_effect(unit * Z + [shift, 0.0], unit**2 * shared(SE), moved)
    # Panels fall elsewhere: a hundredth of the error that the quadrature aims at, times the heavy tail's reach.
    np.testing.assert_allclose(b.effects.sd / unit, a.effects.sd, rtol=3e-6)
    np.testing.assert_allclose((b.effects.mean[1:2]) / unit, a.effects.mean[1:2], atol=3e-6 * a.effects.sd[1])
    assert b.correlation.mean == pytest.approx(a.correlation.mean, abs=1e-5)


@pytest.mark.parametrize("ratio", [1e-4, 1e4])
def test_wildly_different_errors(ratio):
    se = SE.copy()
    se[0] *= ratio
    fit = control_and_effect(Z, shared(se), PRIORS)
    assert fit.error < 1e-3
    if ratio < 1:
        np.testing.assert_allclose(fit.effects.mean[[2, 6]], Z[0], atol=1e-4)


def test_gauss_rule_keeps_moments():
    rng = np.random.default_rng(1)
    points, weights = rng.normal(size=300), rng.random(300)
    weights /= weights.sum()
    nodes, mass = gauss_rule(points, weights, 8)
    for power in range(16):
        # Exact up to degree 15; moments grow to 1e5.
        assert mass @ nodes**power == pytest.approx(weights @ points**power, rel=1e-9, abs=1e-9)
    few, share = gauss_rule(np.array([0.0, 1.0]), np.array([0.25, 0.75]), 5)
    np.testing.assert_allclose((few, share), ([0.0, 1.0], [0.25, 0.75]), atol=1e-12)


def test_refusals():
    with pytest.raises(ValueError, match="positive definite"):
        control_and_effect(Z, shared(SE[:, ::-1]), PRIORS)
    with pytest.raises(ValueError, match="shapes"):
        control_and_effect(Z[:, 0], shared(SE), PRIORS)
    with pytest.raises(ValueError, match="finite"):
        control_and_effect(np.where(Z == 2.0, np.nan, Z), shared(SE), PRIORS)
    with pytest.raises(ValueError, match="proper"):
        ControlAndEffectPriors(Normal(0, 1), Normal(0, 1), Flat(), HalfNormal(1), 2.0)
    with pytest.raises(ValueError, match="eta"):
        ControlAndEffectPriors(Normal(0, 1), Normal(0, 1), HalfNormal(1), HalfNormal(1), 0.5)
