"""The power of exact tests against scipy's own tests, table by table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, fisher_exact

from gbveval.numerics.exact_power import binomial_power, binomial_probabilities, fisher_power, mcnemar_power

WORDS = {"two_sided": "two-sided", "greater": "greater", "less": "less"}


@pytest.mark.parametrize("alternative", WORDS)
def test_fisher_equals_the_sum_over_tables_that_scipy_rejects(alternative: str) -> None:
    (n0, n1), (p0, p1), alpha = (8, 11), (0.25, 0.7), 0.05
    expected = 0.0
    for x0, x1 in itertools.product(range(n0 + 1), range(n1 + 1)):
        p = fisher_exact([[x1, n1 - x1], [x0, n0 - x0]], alternative=WORDS[alternative]).pvalue
        expected += (p <= alpha) * binom.pmf(x0, n0, p0) * binom.pmf(x1, n1, p1)
    assert fisher_power((n0, n1), (p0, p1), alpha, alternative) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("alternative", WORDS)
def test_the_binomial_test_equals_the_sum_over_counts_that_scipy_rejects(alternative: str) -> None:
    n, p0, p1, alpha = 23, 0.3, 0.55, 0.05
    expected = sum(
        binom.pmf(x, n, p1) * (binomtest(x, n, p0, alternative=WORDS[alternative]).pvalue <= alpha)
        for x in range(n + 1)
    )
    assert binomial_power(n, p0, p1, alpha, alternative) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("alternative", WORDS)
def test_mcnemar_equals_the_sum_over_pairs_of_counts(alternative: str) -> None:
    n, b, c, alpha = 14, 0.4, 0.15, 0.05
    expected = 0.0
    for x, y in itertools.product(range(n + 1), range(n + 1)):
        if 0 < x + y <= n and binomtest(x, x + y, 0.5, alternative=WORDS[alternative]).pvalue <= alpha:
            discordant = binom.pmf(x + y, n, b + c)
            expected += discordant * binom.pmf(x, x + y, b / (b + c))
    assert mcnemar_power(n, b, c, alpha, alternative) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(n0=st.integers(2, 25), n1=st.integers(2, 25), p=st.floats(0.02, 0.98), alpha=st.floats(0.005, 0.2))
def test_the_exact_size_never_exceeds_alpha_and_arms_may_be_exchanged(n0: int, n1: int, p: float, alpha: float) -> None:
    assert fisher_power((n0, n1), (p, p), alpha) <= alpha + 1e-9
    assert binomial_power(n0, p, p, alpha) <= alpha + 1e-9
    assert fisher_power((n0, n1), (p, 0.3), alpha) == pytest.approx(fisher_power((n1, n0), (0.3, p), alpha), abs=1e-10)
    assert fisher_power((n0, n1), (p, 0.3), alpha, "less") == pytest.approx(
        fisher_power((n0, n1), (1.0 - p, 0.7), alpha, "greater"), abs=1e-10
    )


def test_probabilities_are_those_of_the_binomial() -> None:
    # Logarithms of factorials of 400 lose about 1e-13.
    np.testing.assert_allclose(binomial_probabilities(400, 0.03), binom.pmf(np.arange(401), 400, 0.03), rtol=1e-10)
