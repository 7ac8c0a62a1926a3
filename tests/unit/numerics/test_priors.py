"""Priors against scipy.stats and numerical integration."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from scipy import integrate, stats

from gbveval.numerics.priors import (
    Exponential,
    Flat,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    LogNormal,
    Normal,
    Uniform,
)

WITNESSES = [
    (Normal(1.5, 2.0), stats.norm(1.5, 2.0)),
    (HalfNormal(3.0), stats.halfnorm(scale=3.0)),
    (HalfCauchy(2.5), stats.halfcauchy(scale=2.5)),
    (Uniform(4.0), stats.uniform(0.0, 4.0)),
    (Exponential(0.7), stats.expon(scale=0.7)),
    (LogNormal(-0.5, 0.8), stats.lognorm(s=0.8, scale=math.exp(-0.5))),
]
PROPER_SCALES = [prior for prior, _ in WITNESSES[1:]] + [HalfStudentT(3.0, 1.2), HalfStudentT(0.8, 5.0)]


@pytest.mark.parametrize(("prior", "witness"), WITNESSES, ids=lambda value: type(value).__name__)
def test_log_density_agrees_with_scipy(prior, witness):
    x = np.array([1e-3, 0.1, 0.9, 2.0, 3.9, 30.0])
    np.testing.assert_allclose(prior.log_density(x), witness.logpdf(x), rtol=1e-12, atol=1e-12)


def test_half_t_is_twice_a_t():
    x = np.array([0.0, 0.3, 2.0, 50.0])
    expected = np.log(2.0) + stats.t(3.0, scale=1.2).logpdf(x)
    np.testing.assert_allclose(HalfStudentT(3.0, 1.2).log_density(x), expected, rtol=1e-12)


@pytest.mark.parametrize("prior", PROPER_SCALES, ids=lambda prior: prior.describe())
def test_a_proper_density_integrates_to_one(prior):
    end = np.inf if math.isinf(prior.support_upper) else prior.support_upper
    total, _ = integrate.quad(lambda x: math.exp(float(prior.log_density(x))), 0.0, end, limit=400, epsabs=1e-10)
    assert prior.is_proper
    assert total == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("prior", PROPER_SCALES, ids=lambda prior: prior.describe())
def test_a_scale_cannot_be_negative(prior):
    assert prior.log_density(-0.1) == -np.inf


@pytest.mark.parametrize("prior", [Flat(), HalfCauchy(2.0), HalfStudentT(4.0, 1.0)], ids=lambda prior: prior.describe())
def test_tail_exponent_is_the_slope_of_the_log_density(prior):
    near, far = prior.log_density(1e8), prior.log_density(1e10)
    assert float(near - far) / math.log(100.0) == pytest.approx(prior.tail_exponent, abs=1e-9)


def test_edges_and_flatness():
    assert Uniform(4.0).log_density(4.0 + 1e-9) == -np.inf
    assert LogNormal(0.0, 1.0).log_density(0.0) == -np.inf
    assert not Flat().is_proper
    np.testing.assert_array_equal(Flat().log_density([1.0, -5.0]), [0.0, 0.0])


def test_half_t_does_not_overflow_far_out():
    assert np.isfinite(HalfCauchy(1.0).log_density(1e200))


@pytest.mark.parametrize("prior", [*PROPER_SCALES, Flat(), Normal(0.0, 1.0)], ids=lambda prior: prior.describe())
def test_priors_are_values(prior):
    again = pickle.loads(pickle.dumps(prior))
    assert again == prior
    assert hash(again) == hash(prior)
    assert prior.describe() in repr(prior.describe())


@pytest.mark.parametrize(
    "build",
    [
        lambda: Normal(0.0, 0.0),
        lambda: Normal(math.nan, 1.0),
        lambda: HalfNormal(-1.0),
        lambda: HalfCauchy(math.inf),
        lambda: HalfStudentT(0.0, 1.0),
        lambda: HalfStudentT(3.0, math.nan),
        lambda: Uniform(0.0),
        lambda: Exponential(-2.0),
        lambda: LogNormal(math.inf, 1.0),
        lambda: LogNormal(0.0, 0.0),
    ],
)
def test_impossible_parameters_are_refused(build):
    with pytest.raises(ValueError, match="must be a finite number"):
        build()
