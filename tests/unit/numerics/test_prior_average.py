"""Averages over normal scores against moments that are known, and quantiles of priors against their densities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy.special import ndtr

from gbveval.numerics.prior_average import average
from gbveval.numerics.priors import (
    Beta,
    Exponential,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    LogNormal,
    Normal,
    QuantilePrior,
    Uniform,
)

PRIORS: list[Any] = [
    Normal(0.3, 0.15),
    HalfNormal(2.0),
    HalfStudentT(3.0, 1.5),
    HalfCauchy(0.7),
    Uniform(4.0),
    Exponential(2.0),
    LogNormal(-1.0, 0.6),
    Beta(2.0, 38.0),
    Beta(0.8, 3.0),
]


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.describe())
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_below_a_quantile_lies_its_share(prior: Any, share: float) -> None:
    assert isinstance(prior, QuantilePrior)
    end = float(prior.quantile(share))
    low = -math.inf if isinstance(prior, Normal) else 0.0
    below, _ = integrate.quad(lambda x: float(np.exp(prior.log_density(x))), low, end, epsabs=1e-11, limit=200)
    # The density of beta(0.8, 3) has a pole at zero, which costs the quadrature some digits.
    assert below == pytest.approx(share, abs=1e-7)


def test_a_beta_has_the_mean_and_spread_it_was_asked_for() -> None:
    prior = Beta.from_mean(0.2, 0.05)
    first = average(lambda t: float(prior.quantile(float(ndtr(t[0])))), 1, seed=1)
    second = average(lambda t: float(prior.quantile(float(ndtr(t[0])))) ** 2, 1, seed=1)
    assert first.value == pytest.approx(0.2, abs=1e-9)
    assert second.value - first.value**2 == pytest.approx(0.05**2, abs=1e-9)
    for mean, sd in ((0.5, 0.6), (1.0, 0.1), (0.5, 0.0)):
        with pytest.raises(ValueError, match="beta prior"):
            Beta.from_mean(mean, sd)


@given(reach=st.floats(-2.0, 2.0), slope=st.floats(0.2, 4.0))
def test_one_number_is_averaged_exactly_where_the_answer_is_known(reach: float, slope: float) -> None:
    found = average(lambda t: float(ndtr(reach + slope * t[0])), 1, seed=1)
    # E Phi(a + b Z) = Phi(a / sqrt(1 + b^2)).
    assert found.value == pytest.approx(float(ndtr(reach / math.sqrt(1.0 + slope**2))), abs=1e-9)
    assert found.error < 1e-9
    assert found.outside == 0.0
    # The sample has the same mean, to the error of a midpoint rule of 16,384 points.
    assert float(found.sample.mean()) == pytest.approx(found.value, abs=2e-4)


def test_two_numbers_and_more() -> None:
    known = float(ndtr(0.4 / math.sqrt(1.0 + 0.7**2 + 0.3**2)))
    two = average(lambda t: float(ndtr(0.4 + 0.7 * t[0] + 0.3 * t[1])), 2, seed=1)
    assert two.value == pytest.approx(known, abs=1e-9)
    assert float(two.sample.mean()) == pytest.approx(known, abs=1e-3)
    three = average(lambda t: float(ndtr(0.4 + 0.7 * t[0] + 0.3 * t[1] + 0.0 * t[2])), 3, seed=1)
    assert 0.0 < three.error < 2e-3
    # Three standard errors of eight scramblings: t with 7 df passes five of them once in 1,500.
    assert three.value == pytest.approx(known, abs=5.0 / 3.0 * three.error)
    assert three.value == average(lambda t: float(ndtr(0.4 + 0.7 * t[0] + 0.3 * t[1])), 3, seed=1).value


def test_nothing_uncertain_is_the_value_itself() -> None:
    found = average(lambda t: 0.7, 0, seed=1)
    assert (found.value, found.error, found.evaluations) == (0.7, 0.0, 1)


def test_what_is_not_defined_is_left_out_and_told() -> None:
    found = average(lambda t: 1.0 if t[0] < 2.0 else math.nan, 1, seed=1)
    assert found.value == 1.0
    # A jump is found to half a step of the finest grid.
    assert found.outside == pytest.approx(float(ndtr(-2.0)), abs=1e-3)
    assert math.isnan(average(lambda t: math.nan, 1, seed=1).value)
