"""Lists and randomised responses: against draws of respondents, limits, and what a direct question would have."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, ttest_ind

from gbveval.core.errors import DesignError
from gbveval.design.disclosure import Disclosure, DisclosureDesign
from gbveval.design.list_experiment import ItemCount, ListClusterDesign, ListExperimentDesign, ListTrialDesign
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.parallel import ParallelDesign
from gbveval.design.randomised_response import RandomisedResponseDesign
from gbveval.planning.closed_form import explain_power, mde, power, required_size

DRAWS = 10_000
FALSE_ALARM = 1e-5
SDS = 4.4
ITEMS = ItemCount((0.3, 0.5, 0.6, 0.2))
SURVEY = ListExperimentDesign(800, ITEMS, long_share=0.4)
TRIAL = ListTrialDesign(600, Binary(0.4), ITEMS, ratio=1.5)
SCHOOLS = ListClusterDesign(8, 40, Binary(0.4), ITEMS, between_sd=0.12)
WARNER = RandomisedResponseDesign(1000, 0.7)
PLANS: dict[str, tuple[Any, float]] = {
    "survey": (SURVEY, 0.2),
    "trial": (TRIAL, -0.2),
    "clusters": (replace(SCHOOLS, clusters_per_arm=20), -0.25),
    "Warner": (WARNER, 0.1),
}


def band(p: float) -> float:
    return SDS * math.sqrt(p * (1.0 - p) / DRAWS)


def counts(n: int, rng: np.random.Generator) -> Any:
    return sum(rng.random((DRAWS, n)) < p for p in ITEMS.probabilities)


def moments(answers: Any) -> tuple[Any, Any]:
    """Return the mean of each draw and its estimated variance."""
    return answers.mean(axis=1), answers.var(axis=1, ddof=1) / answers.shape[1]


def same_variance(estimates: Any, planned: float) -> None:
    """Check a variance of nearly normal estimates: chi-square over its degrees of freedom."""
    ratio = float(np.var(estimates, ddof=1)) / planned**2
    low, high = (float(chi2.ppf(tail, DRAWS - 1) / (DRAWS - 1)) for tail in (FALSE_ALARM, 1.0 - FALSE_ALARM))
    assert low < ratio < high


def test_a_list_is_the_difference_of_mean_counts() -> None:
    rng, pi = np.random.default_rng(31), 0.15
    long, its = moments(counts(320, rng) + (rng.random((DRAWS, 320)) < pi))
    short, own = moments(counts(480, rng))
    same_variance(long - short, SURVEY.planned_test(pi).unit)
    found = power(SURVEY, effect=pi)
    seen = float(np.mean(np.abs(long - short) / np.sqrt(its + own) > 1.9599639845400545))
    # The normal stands for the t of 800 respondents: less than 0.002.
    assert found == pytest.approx(seen, abs=band(found) + 0.002)


def test_lists_in_a_trial_are_a_difference_of_differences() -> None:
    rng, total, variance = np.random.default_rng(32), 0.0, 0.0
    for sign, n, p in ((-1.0, 300, 0.4), (1.0, 450, 0.2)):
        long, its = moments(counts(n, rng) + (rng.random((DRAWS, n)) < p))
        short, own = moments(counts(n, rng))
        total, variance = total + sign * (long - short), variance + its + own
    same_variance(total, TRIAL.planned_test(-0.2).unit)
    found = power(TRIAL, effect=-0.2)
    seen = float(np.mean(np.abs(total) / np.sqrt(variance) > 1.9599639845400545))
    assert found == pytest.approx(seen, abs=band(found) + 0.002)


def test_lists_in_clusters_are_a_t_test_of_their_differences() -> None:
    rng, arms = np.random.default_rng(33), []
    for p in (0.4, 0.15):
        strength = p * (1.0 - p) / 0.12**2 - 1.0
        risk = rng.beta(p * strength, (1.0 - p) * strength, size=(DRAWS, 8))
        gaps = [
            (rng.binomial(20, risk[:, j]) + sum(rng.binomial(20, q, DRAWS) for q in ITEMS.probabilities)) / 20.0
            - sum(rng.binomial(20, q, DRAWS) for q in ITEMS.probabilities) / 20.0
            for j in range(8)
        ]
        arms.append(np.stack(gaps, axis=1))
    same_variance(arms[1].mean(axis=1) - arms[0].mean(axis=1), SCHOOLS.planned_test(-0.25).unit)
    found = power(SCHOOLS, effect=-0.25)
    # Differences of counts are nearly normal, and of nearly the same variance in both arms.
    assert found == pytest.approx(float(np.mean(ttest_ind(*arms, axis=1).pvalue < 0.05)), abs=band(found))


def test_randomised_response_is_the_share_of_yes_turned_back() -> None:
    rng, pi, p = np.random.default_rng(34), 0.1, 0.7
    happened = rng.random((DRAWS, 1000)) < pi
    yes = np.where(rng.random(happened.shape) < p, happened, ~happened).mean(axis=1)
    assert float(yes.mean()) == pytest.approx(WARNER.yes_share(pi), abs=SDS * math.sqrt(0.25 / 1000 / DRAWS))
    same_variance((yes - 0.3) / 0.4, WARNER.planned_test(pi).unit)
    error = np.sqrt(yes * (1.0 - yes) / 1000) / 0.4
    found = power(WARNER, effect=pi)
    seen = float(np.mean(np.abs((yes - 0.3) / 0.4) / error > 1.9599639845400545))
    # Counts of 1,000 answers move by steps, which the normal smooths over: less than 0.01.
    assert found == pytest.approx(seen, abs=band(found) + 0.01)


def test_randomised_response_in_a_trial_is_a_known_error_of_disclosure() -> None:
    told = DisclosureDesign(ParallelDesign(1000, Binary(0.2)), Disclosure(0.7, 0.7))
    arms = [WARNER.planned_test(p).unit ** 2 for p in (0.2, 0.1)]
    # The difference seen is (2 p - 1) times the true one, and so is its standard error.
    assert told.planned_test(-0.1).inner.unit / 0.4 == pytest.approx(math.sqrt(sum(arms)), rel=1e-12)


@pytest.mark.parametrize("name", PLANS)
def test_the_questions_agree_with_each_other(name: str) -> None:
    plan, effect = PLANS[name]
    direction = "increase" if effect > 0.0 else "decrease"
    found = mde(plan, direction=direction)
    assert power(plan, effect=found) == pytest.approx(0.8, abs=1e-8)
    size = next(iter(plan.least_sizes))
    needed = required_size(plan, effect=effect)
    assert power(plan.resized(size, needed.rounded), effect=effect) >= 0.8
    assert power(plan.resized(size, needed.rounded - 1), effect=effect) < 0.8
    assert power(plan, effect=0.0) == pytest.approx(0.05, abs=1e-9)
    rows = dict(explain_power(plan, effect=effect).rows)
    direct = float(rows["standard error of a direct question, answered truly"])
    bias = next(float(words) for what, words in rows.items() if what.startswith("bias of the"))
    # A direct question with this bias has the list's mean squared error.
    assert direct**2 + bias**2 == pytest.approx(plan.planned_test(effect).unit ** 2, rel=1e-3)


def test_clusters_that_cannot_vary_as_planned_are_told() -> None:
    told = explain_power(replace(SCHOOLS, between_sd=0.3), effect=-0.35).rows
    assert any("clusters cannot vary" in words for what, words in told if what == "assumes")


def test_clusters_that_do_not_vary_are_people() -> None:
    alike = replace(SCHOOLS, between_sd=0.0, reference="normal")
    people = ListTrialDesign(320, Binary(0.4), ITEMS)
    assert power(alike, effect=-0.2) == pytest.approx(power(people, effect=-0.2), abs=1e-12)
    assert power(alike, effect=-0.2) > power(replace(alike, between_sd=0.1), effect=-0.2)
    with pytest.raises(DesignError, match="sets a floor under the standard error"):
        required_size(replace(SCHOOLS, between_sd=0.2), effect=-0.1, solve_for="cluster_size")


@given(rho=st.floats(-0.3, 0.8))
def test_items_that_pull_apart_cost_least(rho: float) -> None:
    apart, together = ItemCount(ITEMS.probabilities, rho), ItemCount(ITEMS.probabilities, rho + 0.02)
    assert apart.variance < together.variance
    assert power(replace(SURVEY, items=apart), effect=0.1) > power(replace(SURVEY, items=together), effect=0.1)


def test_correlated_items_vary_as_two_that_are_the_same_or_opposite() -> None:
    # Two items that are one count twice: the variance is four times p q; two that are opposite never vary.
    assert ItemCount((0.3, 0.3), 1.0 - 1e-12).variance == pytest.approx(4.0 * 0.21)
    assert ItemCount((0.3, 0.7), -1.0 + 1e-9).variance == pytest.approx(0.0, abs=1e-8)


@given(p=st.floats(0.51, 0.98))
def test_turning_answers_is_the_same_either_way_and_costs_less_when_rarer(p: float) -> None:
    plan = RandomisedResponseDesign(500, p)
    assert plan.planned_test(0.2).unit == pytest.approx(RandomisedResponseDesign(500, 1.0 - p).planned_test(0.2).unit)
    assert RandomisedResponseDesign(500, p + 0.01).planned_test(0.2).unit < plan.planned_test(0.2).unit


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ItemCount((0.3,)), "two or more items"),
        (lambda: ItemCount((0.3, 1.2)), "share of an item"),
        (lambda: ItemCount((0.5, 0.5, 0.5), -0.6), "cannot all be correlated"),
        (lambda: ListExperimentDesign(100, (0.3, 0.4)), "items must be"),
        (lambda: ListExperimentDesign(10, ITEMS, long_share=0.05), "fewer than two respondents"),
        (lambda: ListTrialDesign(100, Continuous(), ITEMS), "outcome must be Binary"),
        (lambda: replace(SCHOOLS, between_sd=0.6), "cannot vary with a standard deviation"),
        (lambda: replace(SCHOOLS, reference="z"), "reference"),
        (lambda: RandomisedResponseDesign(100, 0.5), "say nothing"),
        (lambda: mde(WARNER, direction="decrease"), "prevalence"),
        (lambda: power(SURVEY, effect=-0.1), "prevalence"),
        (lambda: power(WARNER, effect=0.1, alternative="less"), "can be against"),
        (lambda: SURVEY.process(0.1), "by formula only"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Any, match: str) -> None:
    with pytest.raises(DesignError, match=match):
        make()
