"""Bounds of sequential tests: published tables, the multivariate normal, exact sizes, what is spent."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gbveval.numerics.group_sequential import begin, crossing, go_on
from gbveval.numerics.sequential_bounds import Futility, NoBounds, Rule, sequential_bounds


def equal(looks: int) -> tuple[float, ...]:
    return tuple((k + 1) / looks for k in range(looks))


# Jennison and Turnbull (2000), tables 2.1 and 2.3: two-sided, printed to three decimals.
POCOCK = {(2, 0.05): 2.178, (3, 0.05): 2.289, (5, 0.05): 2.413, (10, 0.05): 2.555, (5, 0.01): 2.986, (5, 0.1): 2.122}
OBRIEN_FLEMING = {(2, 0.05): 1.977, (3, 0.05): 2.004, (5, 0.05): 2.040, (10, 0.05): 2.087, (4, 0.01): 2.609}


@pytest.mark.parametrize(("case", "value"), POCOCK.items())
def test_the_table_of_pocock(case: tuple[int, float], value: float) -> None:
    found = sequential_bounds(equal(case[0]), case[1], Rule("factor", (1.0,) * case[0]), two_sided=True)
    assert found.upper[-1] == pytest.approx(value, abs=5.1e-4)


@pytest.mark.parametrize(("case", "value"), OBRIEN_FLEMING.items())
def test_the_table_of_obrien_and_fleming(case: tuple[int, float], value: float) -> None:
    shape = tuple(t**-0.5 for t in equal(case[0]))
    found = sequential_bounds(equal(case[0]), case[1], Rule("factor", shape), two_sided=True)
    assert found.upper[-1] == pytest.approx(value, abs=5.1e-4)


SHARES = st.lists(st.floats(0.05, 0.95), min_size=1, max_size=4, unique=True).map(
    lambda found: (*(round(t, 3) for t in sorted(found)), 1.0)
)


def apart(shares: tuple[float, ...]) -> bool:
    return bool(np.all(np.diff(shares) > 0.02))


@settings(max_examples=25, deadline=None)
@given(SHARES.filter(apart), st.floats(0.005, 0.2), st.floats(0.0, 0.7), st.booleans())
def test_the_size_is_alpha_wherever_the_looks_are(
    information: tuple[float, ...], alpha: float, delta: float, two_sided: bool
) -> None:
    shape = tuple(t ** (delta - 0.5) for t in information)
    found = sequential_bounds(information, alpha, Rule("factor", shape), two_sided=two_sided)
    crossed = crossing(found.lower, found.upper, information)
    # The integration errs below 1e-12, the root is found to 1e-12.
    assert crossed.above.sum() + crossed.below.sum() == pytest.approx(alpha, abs=1e-10)


@settings(max_examples=25, deadline=None)
@given(SHARES.filter(apart), st.floats(0.005, 0.1), st.floats(0.4, 4.0))
def test_what_is_spent_is_spent(information: tuple[float, ...], alpha: float, power: float) -> None:
    spent = tuple(alpha * t**power for t in information)
    found = sequential_bounds(information, alpha, Rule("spend", spent), two_sided=False)
    crossed = crossing(found.lower, found.upper, information)
    np.testing.assert_allclose(np.cumsum(crossed.above), spent, atol=1e-11)
    # Earlier bounds do not depend on what comes later.
    if len(information) > 2:
        sooner = sequential_bounds(
            (*information[:-2], 1.0), alpha, Rule("spend", (*spent[:-2], alpha)), two_sided=False
        )
        np.testing.assert_allclose(sooner.upper[:-1], found.upper[:-2], atol=1e-9)


def test_the_chance_of_going_on_is_that_of_the_multivariate_normal() -> None:
    information = np.array([0.2, 0.5, 1.0])
    lower, upper = np.array([-1.5, -1.0, -0.4]), np.array([2.1, 1.2, 1.7])
    covariance = np.sqrt(np.minimum.outer(information, information) / np.maximum.outer(information, information))
    crossed = crossing(list(lower), list(upper), list(information))
    inside = stats.multivariate_normal.cdf(
        upper, cov=covariance, lower_limit=lower, abseps=1e-9, releps=1e-9, maxpts=10**7, rng=np.random.default_rng(1)
    )
    # scipy integrates by quasi-random points, to about 1e-8 here.
    assert 1.0 - crossed.above.sum() - crossed.below.sum() == pytest.approx(float(inside), abs=1e-6)


def test_a_look_without_bounds_changes_nothing_and_only_shares_of_information_count() -> None:
    plain = crossing([-1.0, -math.inf], [2.0, 1.8], [0.4, 1.0])
    more = crossing([-1.0, -math.inf, -math.inf], [2.0, math.inf, 1.8], [0.4, 0.41, 1.0])
    scaled = crossing([-1.0, -math.inf], [2.0, 1.8], [400.0, 1000.0])
    assert more.above[[0, 2]] == pytest.approx(plain.above, abs=1e-11)
    assert scaled.above == pytest.approx(plain.above, abs=1e-12)


def test_what_follows_a_look_averages_to_what_was_expected_before() -> None:
    lower, upper, information = [-0.5, 0.3, -math.inf], [2.4, 2.2, 2.0], [0.3, 0.7, 1.0]
    whole = crossing(lower, upper, information)
    state = go_on(begin(), 0.3, lower[0], upper[0], after=0.7)
    later = [crossing(lower[1:], upper[1:], information[1:], start=begin(0.3, float(z))).above.sum() for z in state.z]
    assert state.mass @ np.array(later) == pytest.approx(whole.above[1:].sum(), abs=1e-11)


@pytest.mark.parametrize("binding", [False, True])
def test_futility_spends_what_it_shall_and_the_size_holds(binding: bool) -> None:
    information, alpha, missed = (0.3, 0.6, 1.0), 0.025, (0.02, 0.08, 0.2)
    spent = tuple(alpha * t**2 for t in information)
    found = sequential_bounds(
        information, alpha, Rule("spend", spent), two_sided=False, futility=Futility("beta", missed, binding)
    )
    assert found.drift is not None
    away = found.drift * np.sqrt(information)
    under = crossing(list(found.lower - away), list(found.upper - away), information)
    np.testing.assert_allclose(np.cumsum(under.below), missed, atol=1e-9)
    assert under.above.sum() == pytest.approx(1.0 - missed[-1], abs=1e-9)
    counted = found.lower if binding else (-math.inf,) * 3
    assert crossing(counted, found.upper, information).above.sum() == pytest.approx(alpha, abs=1e-10)
    # Stopping for futility can only lower the probability to reject.
    assert crossing(found.lower, found.upper, information).above.sum() <= alpha + 1e-12


def test_harm_is_heeded_with_its_own_error() -> None:
    information, alpha, harm = (0.3, 0.6, 1.0), 0.025, (0.04, 0.07, 0.1)
    found = sequential_bounds(
        information,
        alpha,
        Rule("spend", tuple(alpha * t for t in information)),
        two_sided=False,
        futility=Futility("harm", harm, False),
    )
    np.testing.assert_allclose(np.cumsum(crossing(found.lower, found.upper, information).below), harm, atol=1e-10)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(NoBounds, match="all of the size"):
        sequential_bounds((0.5, 1.0), 0.025, Rule("fixed", (1.0,)), two_sided=False)
    with pytest.raises(NoBounds, match="no more than the size"):
        sequential_bounds(
            (0.5, 1.0), 0.5, Rule("factor", (1.0, 1.0)), two_sided=False, futility=Futility("beta", (0.1, 0.6), False)
        )
