"""Tests of several differences at once: special cases, witnesses from statsmodels and scipy, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import FTestAnovaPower, GofChisquarePower

import gbveval as gbv
from gbveval.core.errors import DesignError


def test_an_f_test_of_two_arms_is_the_two_sided_t_test() -> None:
    arms = gbv.AnovaDesign(n_per_arm=20, sd=2.0, pattern=(0.0, 1.0))
    pair = gbv.ParallelDesign(n_per_arm=20, outcome=gbv.Continuous(sd=2.0))
    for effect in (0.5, 1.0, 2.0):
        assert gbv.power(arms, effect=effect) == pytest.approx(gbv.power(pair, effect=effect), abs=1e-9)


def test_statsmodels_has_the_same_power() -> None:
    plan = gbv.AnovaDesign(n_per_arm=15, sd=3.0, pattern=(0.0, 1.0, 1.0, 4.0))
    expected = FTestAnovaPower().power(plan.cohen_f(0.9), nobs=60, alpha=0.05, k_groups=4)
    assert gbv.power(plan, effect=0.9) == pytest.approx(expected, abs=1e-8)
    expected = GofChisquarePower().power(0.25, 120, 0.05, n_bins=5)
    assert gbv.power(gbv.ChiSquareDesign(n=120, df=4), effect=0.25) == pytest.approx(expected, abs=1e-9)


def test_one_coefficient_is_a_t_test_of_a_slope() -> None:
    plan = gbv.RegressionDesign(n=40, n_tested=1)
    critical = stats.t.isf(0.025, 38)
    shift = math.sqrt(0.2 * 40)
    expected = stats.nct.sf(critical, 38, shift) + stats.nct.cdf(-critical, 38, shift)
    assert gbv.power(plan, effect=0.2) == pytest.approx(expected, abs=1e-9)


def test_only_differences_of_the_pattern_count() -> None:
    base = gbv.power(gbv.AnovaDesign(20, 1.0, (0.0, 1.0, 2.0)), effect=0.4)
    assert gbv.power(gbv.AnovaDesign(20, 1.0, (7.0, 8.0, 9.0)), effect=0.4) == pytest.approx(base, abs=1e-12)
    assert gbv.power(gbv.AnovaDesign(20, 10.0, (0.0, 10.0, 20.0)), effect=0.4) == pytest.approx(base, abs=1e-12)


def test_independent_outcomes_multiply_and_identical_ones_are_one() -> None:
    plan = gbv.ParallelDesign(n_per_arm=30, outcome=gbv.Continuous())
    one = gbv.power(plan, effect=0.6)

    def several(**options: Any) -> float:
        return gbv.power(gbv.SeveralOutcomesDesign(plan, (1.0, 1.0, 1.0), **options), effect=0.6)

    assert several(correlation=0.0, correction="none", power_of="all") == pytest.approx(one**3, abs=1e-9)
    assert several(correlation=0.0, correction="none", power_of="any") == pytest.approx(1 - (1 - one) ** 3, abs=1e-9)
    # At 0.97 the grid of the common factor still resolves the transitions; one test in place of three at the limit.
    nearly = several(correlation=0.97, correction="none", power_of="all")
    assert one - 0.1 < nearly < one
    corrected = several(correlation=0.3, correction="bonferroni", power_of="each")
    assert corrected == pytest.approx(gbv.power(plan, effect=0.6, alpha=0.05 / 3), abs=1e-12)


@pytest.mark.parametrize("side", ["greater", "less"])
def test_opposite_effects_are_found_on_their_own_side(side: str) -> None:
    plan = gbv.ParallelDesign(n_per_arm=30, outcome=gbv.Continuous(), analysis="normal")
    mixed = gbv.SeveralOutcomesDesign(plan, (1.0, -1.0), correlation=0.0, correction="none", power_of="any")
    found = gbv.power(mixed, effect=0.6, alternative=side)
    one, other = (gbv.power(plan, effect=effect, alternative=side) for effect in (0.6, -0.6))
    assert found == pytest.approx(1.0 - (1.0 - one) * (1.0 - other), abs=1e-9)


def test_events_are_counted_and_not_people() -> None:
    needed = gbv.required_size(gbv.EventsDesign(10), effect=math.log(0.5), power=0.9)
    expected = 4.0 * (stats.norm.isf(0.025) + stats.norm.isf(0.1)) ** 2 / math.log(0.5) ** 2
    # The other tail is counted too, which is nothing at this effect.
    assert needed.exact == pytest.approx(expected, rel=1e-6)
    unequal = gbv.required_size(gbv.EventsDesign(10, treated_share=0.2), effect=math.log(0.5), power=0.9)
    assert unequal.exact == pytest.approx(expected * 0.25 / 0.16, rel=1e-6)


def test_a_pilot_of_many_needs_no_inflation() -> None:
    assert gbv.pilot_inflation(1e7) == pytest.approx(1.0, abs=1e-3)
    assert gbv.pilot_inflation(5, confidence=0.9) > gbv.pilot_inflation(5) > gbv.pilot_inflation(50) > 1.0
    # Eight in ten pilots with ten degrees of freedom give an inflated variance above the true one.
    drawn = np.random.default_rng(3).chisquare(10, 40_000) / 10.0 * gbv.pilot_inflation(10)
    assert abs(np.mean(drawn > 1.0) - 0.8) < 5.0 * math.sqrt(0.16 / 40_000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gbv.AnovaDesign(20, 1.0, (1.0, 1.0)), "no arm ever differs"),
        (lambda: gbv.AnovaDesign(20, 1.0, [0.0, 1.0]), "must be a tuple"),
        (lambda: gbv.AnovaDesign(20, 0.0, (0.0, 1.0)), "sd must be"),
        (lambda: gbv.power(gbv.AnovaDesign(20, 1.0, (0.0, 1.0)), effect=-1.0), "A departure must be"),
        (lambda: gbv.mde(gbv.ChiSquareDesign(50, 2), direction="decrease"), "has no direction"),
        (lambda: gbv.power(gbv.ChiSquareDesign(50, 2), effect=0.2, alternative="greater"), "against 'any'"),
        (lambda: gbv.required_size(gbv.ChiSquareDesign(50, 2), effect=0.0), "nothing to find"),
        (lambda: gbv.RegressionDesign(5, n_tested=3, n_others=1), "n must be"),
        (lambda: gbv.CorrelationDesign(3), "n must be"),
        (lambda: gbv.power(gbv.CorrelationDesign(30), effect=1.0), "A correlation must be"),
        (lambda: gbv.EventsDesign(100, treated_share=1.0), "treated_share must be"),
        (lambda: gbv.SeveralOutcomesDesign("x", (1.0, 1.0), 0.3), "plan must be"),
        (
            lambda: gbv.SeveralOutcomesDesign(
                gbv.ParallelDesign(20, gbv.Binary(0.3), analysis="fisher"), (1.0, 1.0), 0.3
            ),
            "estimate over its standard error",
        ),
        (lambda: gbv.pilot_inflation(0), "df must be"),
    ],
)
def test_what_is_impossible_is_refused_by_name(make: Any, words: str) -> None:
    with pytest.raises(DesignError, match=words):
        make()
