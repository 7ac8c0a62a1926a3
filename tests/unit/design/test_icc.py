"""ICC scales: conversions against Monte Carlo and each other, refusals, design effects."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from gbveval.core.errors import DesignError
from gbveval.design._logistic_normal import LOGISTIC_VARIANCE, intercept_for, moments
from gbveval.design.icc import ICC, design_effect, icc_convert


def test_an_icc_of_unnamed_scale_is_refused() -> None:
    with pytest.raises(DesignError, match=r"ICC of unnamed scale.*scale='observed'.*scale='latent_logistic'"):
        ICC(0.03)


def test_an_icc_of_unknown_scale_is_refused() -> None:
    with pytest.raises(DesignError, match="'logit' is not a scale"):
        ICC(0.03, scale="logit")


@pytest.mark.parametrize("value", [-0.01, 1.0, 3.0, math.nan])
def test_an_icc_lies_between_zero_and_one(value: float) -> None:
    with pytest.raises(DesignError, match="An ICC"):
        ICC(value, scale="observed")


@pytest.mark.parametrize(("intercept", "sigma"), [(-3.0, 0.2), (0.5, 1.5), (-8.0, 6.0), (2.0, 30.0)])
def test_moments_equal_adaptive_quadrature(intercept: float, sigma: float) -> None:
    def risk(z: float) -> float:
        return 1.0 / (1.0 + math.exp(-np.clip(intercept + sigma * z, -700, 700)))

    def density(z: float) -> float:
        return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

    edge = [-intercept / sigma]
    mean = quad(lambda z: risk(z) * density(z), -12, 12, points=edge, epsabs=1e-13, limit=400)[0]
    square = quad(lambda z: risk(z) ** 2 * density(z), -12, 12, points=edge, epsabs=1e-13, limit=400)[0]
    found = moments(intercept, sigma)
    # Both integrate to about 1e-12.
    assert found[0] == pytest.approx(mean, abs=1e-11)
    assert found[1] == pytest.approx(square - mean**2, abs=1e-11)


def test_a_small_latent_variance_is_the_delta_method() -> None:
    # For small s the risks vary by p (1 - p) s, so the observed ICC is p (1 - p) s^2; the next term is of order s^4.
    sigma, risk = 0.01, 0.3
    latent = ICC(sigma**2 / (sigma**2 + LOGISTIC_VARIANCE), scale="latent_logistic")
    assert icc_convert(latent, to="observed", risk=risk).value == pytest.approx(risk * (1 - risk) * sigma**2, rel=1e-3)


def test_the_observed_icc_is_that_of_simulated_risks() -> None:
    sigma, risk = 1.2, 0.15
    rng = np.random.default_rng(3)
    draws = 1.0 / (1.0 + np.exp(-(intercept_for(risk, sigma) + sigma * rng.normal(size=400_000))))
    latent = ICC(sigma**2 / (sigma**2 + LOGISTIC_VARIANCE), scale="latent_logistic")
    # The variance of 400,000 such draws is known to about 0.4 %.
    assert icc_convert(latent, to="observed", risk=risk).value == pytest.approx(
        float(draws.var()) / (risk * (1 - risk)), rel=0.02
    )


@settings(deadline=None, max_examples=40)
@given(value=st.floats(1e-4, 0.9), risk=st.floats(0.005, 0.995))
def test_there_and_back_is_the_same_icc(value: float, risk: float) -> None:
    latent = ICC(value, scale="latent_logistic")
    observed = icc_convert(latent, to="observed", risk=risk)
    assert 0.0 < observed.value < value + 1e-12
    assert icc_convert(observed, to="latent_logistic", risk=risk).value == pytest.approx(value, rel=1e-7)
    between = icc_convert(latent, to="between_cv", risk=risk)
    assert ICC.from_between_cv(between, risk=risk).value == pytest.approx(observed.value, rel=1e-12)


@settings(deadline=None, max_examples=25)
@given(a=st.floats(1e-3, 0.8), b=st.floats(1e-3, 0.8), risk=st.floats(0.02, 0.98))
def test_a_larger_latent_icc_is_a_larger_observed_one(a: float, b: float, risk: float) -> None:
    low, high = (icc_convert(ICC(x, scale="latent_logistic"), to="observed", risk=risk).value for x in sorted((a, b)))
    assert low <= high + 1e-13


def test_no_correlation_stays_none_and_near_one_is_refused() -> None:
    assert icc_convert(ICC(0.0, scale="latent_logistic"), to="observed", risk=0.2).value == 0.0
    assert icc_convert(ICC(0.0, scale="observed"), to="latent_logistic", risk=0.2).value == 0.0
    for icc, to in (
        (ICC(0.9999, scale="latent_logistic"), "observed"),
        (ICC(0.999, scale="observed"), "latent_logistic"),
    ):
        with pytest.raises(DesignError, match="all but 0 or 1"):
            icc_convert(icc, to=to, risk=0.2)


def test_a_plain_number_or_an_unknown_target_is_refused() -> None:
    with pytest.raises(DesignError, match="ICC with its scale"):
        icc_convert(0.03, to="observed", risk=0.2)  # type: ignore[call-overload]
    with pytest.raises(DesignError, match="must be one of"):
        icc_convert(ICC(0.03, scale="observed"), to="probit", risk=0.2)


def test_a_between_cluster_variation_that_risks_cannot_have_is_refused() -> None:
    with pytest.raises(DesignError, match="stays below 1"):
        ICC.from_between_cv(1.5, risk=0.5)


def test_the_design_effect_of_sizes_is_the_ratio_of_variances() -> None:
    sizes, icc = np.array([3.0, 8.0, 20.0]), 0.07
    total = sizes.sum()
    # Variance of the participants' mean, written out person by person, over that without correlation.
    covariance = np.full((int(total), int(total)), 0.0)
    start = 0
    for n in sizes.astype(int):
        covariance[start : start + n, start : start + n] = icc
        start += n
    np.fill_diagonal(covariance, 1.0)
    ratio = covariance.mean() / (1.0 / total)
    effect = design_effect(ICC(icc, scale="observed"), cluster_sizes=sizes.tolist())
    assert effect == pytest.approx(ratio, rel=1e-12)
    by_cv = design_effect(
        ICC(icc, scale="observed"), mean_size=float(sizes.mean()), cv=float(sizes.std() / sizes.mean())
    )
    assert by_cv == pytest.approx(ratio, rel=1e-12)


def test_a_design_effect_needs_an_observed_icc_and_one_kind_of_size() -> None:
    with pytest.raises(DesignError, match="observed scale"):
        design_effect(ICC(0.03, scale="latent_logistic"), mean_size=50)
    with pytest.raises(DesignError, match="either cluster_sizes or mean_size"):
        design_effect(ICC(0.03, scale="observed"))
    with pytest.raises(DesignError, match="above zero"):
        design_effect(ICC(0.03, scale="observed"), cluster_sizes=[10, 0])


def test_efficient_weights_have_the_variance_of_generalised_least_squares() -> None:
    sizes, icc = [3, 8, 20], 0.15
    covariance = np.zeros((31, 31))
    edges = np.cumsum([0, *sizes])
    for low, high in itertools.pairwise(edges):
        covariance[low:high, low:high] = icc
    np.fill_diagonal(covariance, 1.0)
    variance = 1.0 / np.linalg.inv(covariance).sum()
    observed = ICC(icc, scale="observed")
    found = design_effect(observed, cluster_sizes=sizes, analysis="gls")
    assert found == pytest.approx(31.0 * variance, rel=1e-12)
    # No linear unbiased estimate does better, and unequal sizes cost something whatever the weights.
    assert design_effect(observed, mean_size=31 / 3) < found < design_effect(observed, cluster_sizes=sizes)
    equal = design_effect(observed, mean_size=10, analysis="gls")
    assert equal == pytest.approx(design_effect(observed, mean_size=10))
    with pytest.raises(DesignError, match="give cluster_sizes"):
        design_effect(observed, mean_size=6, cv=2.5, analysis="gls")
