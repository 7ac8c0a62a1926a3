"""Precision: sizes as inverses of widths, intervals against statsmodels, design effects of weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from gbveval.core.errors import DesignError
from gbveval.design.counts import Count
from gbveval.design.outcomes import Binary, Continuous
from gbveval.planning.precision import interval_width, required_sample, weighting_design_effect

METHODS = {"wilson": "wilson", "clopper_pearson": "beta", "wald": "normal"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "risk"), [(50, 0.2), (120, 0.04)])
def test_expected_widths_are_those_of_the_intervals_of_statsmodels(method: str, n: int, risk: float) -> None:
    low, high = proportion_confint(np.arange(n + 1), n, alpha=0.1, method=METHODS[method])
    expected = float(binom.pmf(np.arange(n + 1), n, risk) @ (high - low))
    found = interval_width(n, risk, method=method, level=0.9)
    # statsmodels clips Wald's intervals to the possible; gbveval gives their width as it is.
    clipped = 0.02 if method == "wald" else 1e-10
    assert found.expected == pytest.approx(expected, abs=clipped)
    at = round(n * risk)
    if at == n * risk:
        assert found.at_risk == pytest.approx(high[at] - low[at], abs=clipped)


@given(
    risk=st.floats(0.02, 0.98),
    half_width=st.floats(0.01, 0.2),
    effect=st.floats(0.5, 5.0),
    population=st.one_of(st.none(), st.integers(50, 10**6)),
)
def test_the_size_reaches_the_width_and_one_fewer_does_not(
    risk: float, half_width: float, effect: float, population: int | None
) -> None:
    found = required_sample(Binary(risk), half_width=half_width, design_effect=effect, population=population)
    assert found.half_width <= half_width * (1.0 + 1e-6)
    assert found.rounded - 1.0 <= found.exact <= found.rounded + 1e-6 * found.exact or found.rounded == 1
    if population is not None:
        assert found.exact < population
    assert found.exact <= found.simple * effect * (1.0 + 1e-12)


def test_sampling_without_replacement_has_the_variance_of_a_hypergeometric() -> None:
    population, risk, n = 400, 0.25, 80
    # Var = p q / n (N - n) / (N - 1); Cochran's correction has (N - n) / N, which differs by one in N.
    variance = risk * (1.0 - risk) / n * (population - n) / (population - 1)
    half_width = 1.959963984540054 * math.sqrt(variance)
    found = required_sample(Binary(risk), half_width=half_width, population=population)
    assert found.exact == pytest.approx(n, rel=2.0 / population)


def test_means_do_not_depend_on_units_and_relative_precision_on_neither() -> None:
    plain = required_sample(Continuous(sd=4.0, mean=10.0), half_width=0.5)
    other = required_sample(Continuous(sd=400.0, mean=1000.0), half_width=50.0)
    assert plain.exact == pytest.approx(other.exact, rel=1e-12)
    relative = required_sample(Continuous(sd=4.0, mean=10.0), cv=0.02)
    assert relative.exact == pytest.approx((4.0 / 10.0 / 0.02) ** 2, rel=1e-12)
    assert required_sample(Continuous(sd=4.0), half_width=0.5, response=0.5).invited == pytest.approx(2 * plain.exact)


@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=30), st.floats(0.01, 100.0))
def test_weights_cost_what_their_variation_says(weights: list[float], unit: float) -> None:
    values = np.asarray(weights)
    found = weighting_design_effect(weights)
    assert found == pytest.approx(1.0 + (values.std() / values.mean()) ** 2, rel=1e-9)
    assert weighting_design_effect((values * unit).tolist()) == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: required_sample(Binary(0.3)), "one precision"),
        (lambda: required_sample(Binary(0.3), half_width=0.1, cv=0.1), "one precision"),
        (lambda: required_sample(Continuous(), cv=0.1), "no relative precision"),
        (lambda: required_sample(Count(1.0), half_width=0.1), "Binary"),
        (lambda: required_sample(Binary(0.3), half_width=0.0), "half_width"),
        (lambda: required_sample(Binary(0.3), half_width=0.1, response=0.0), "response"),
        (lambda: required_sample(Binary(0.3), half_width=0.1, population=0), "population"),
        (
            lambda: required_sample(Binary(0.5), half_width=0.03, population=500, response=0.5),
            "681 people would have to be invited.*the population has 500",
        ),
        (lambda: interval_width(10, 0.3, method="agresti"), "method must be one of"),
        (lambda: interval_width(0, 0.3), "n must be"),
        (lambda: weighting_design_effect([]), "weights"),
        (lambda: weighting_design_effect(["a"]), "sequence of numbers"),
        (lambda: weighting_design_effect([1.0, -1.0]), "none below 0"),
    ],
)
def test_what_is_impossible_is_refused_by_name(make: Any, words: str) -> None:
    with pytest.raises(DesignError, match=words):
        make()
