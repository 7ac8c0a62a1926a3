"""Losses of clusters and people, groups in one arm only, and several arms of clusters, against draws and limits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import f_oneway, ttest_ind
from scipy.stats import t as student

from gbveval.core.errors import DesignError
from gbveval.design.attrition import AttritionDesign
from gbveval.design.cluster import ClusterDesign
from gbveval.design.icc import ICC
from gbveval.design.multi_arm_clusters import MultiArmClusterDesign
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.paired_clusters import PairedClusterDesign
from gbveval.design.parallel import ParallelDesign
from gbveval.design.partially_nested import PartiallyNestedDesign
from gbveval.planning.closed_form import explain_power, mde, power, required_size

DRAWS = 20_000
# False alarms once in a million a comparison; seeds are fixed and were not tuned.
SDS = 4.9
TENTH = ICC(0.1, scale="observed")
CLUSTERS = ClusterDesign(12, 20, TENTH, Continuous())
GROUPS = PartiallyNestedDesign(8, 6, 40, TENTH, Continuous())
ARMS = MultiArmClusterDesign(8, 3, 10, TENTH, Continuous(), ratio=0.75)


def band(p: float) -> float:
    return SDS * math.sqrt(p * (1.0 - p) / DRAWS)


def test_what_is_left_is_the_plan_of_what_is_left() -> None:
    after = AttritionDesign(CLUSTERS, clusters_lost=2, respondents_lost=0.2)
    assert after.left == (10, 16.0)
    assert power(after, effect=0.5) == pytest.approx(
        power(ClusterDesign(10, 16, TENTH, Continuous()), effect=0.5), rel=1e-12
    )
    told = dict(explain_power(after, effect=0.5).rows)
    assert float(told["power without losses"]) == pytest.approx(power(CLUSTERS, effect=0.5), abs=1e-4)
    assert "10 clusters an arm of 16 respondents" in told["formula"]


def test_people_lost_at_random_cost_what_the_formula_says() -> None:
    after = AttritionDesign(replace(CLUSTERS, cluster_size=40), respondents_lost=0.5)
    rng = np.random.default_rng(61)
    left = rng.binomial(40, 0.5, size=(2, DRAWS, 12))
    means = math.sqrt(0.1) * rng.normal(size=left.shape) + np.sqrt(0.9 / left) * rng.normal(size=left.shape)
    found = power(after, effect=0.4)
    seen = np.mean(ttest_ind(means[0] + 0.4, means[1], axis=1).pvalue < 0.05)
    # Sizes vary a little by chance, with a CV of 0.16: less than 0.01 of power.
    assert found == pytest.approx(seen, abs=band(found) + 0.01)


def test_losses_by_arm_are_the_plans_with_the_arms_that_are_left() -> None:
    people = AttritionDesign(ParallelDesign(200, Continuous(), ratio=0.5), respondents_lost=(0.1, 0.3))
    assert people.left == (180.0,)
    assert people.treated_left == (70.0,)
    assert power(people, effect=0.4) == power(ParallelDesign(180, Continuous(), ratio=70 / 180), effect=0.4)
    clusters = AttritionDesign(replace(CLUSTERS, analysis="cluster_means"), (0, 4), (0.2, 0.5))
    # One arm is 12 clusters of 16, the other 8 of 10; the pooled t has 18 degrees of freedom.
    variance = (0.1 + 0.9 / 16.0) / 12.0 + (0.1 + 0.9 / 10.0) / 8.0
    test = clusters.planned_test(0.4)
    assert (test.std_error**2, test.df) == (pytest.approx(variance), 18.0)
    alike = AttritionDesign(CLUSTERS, (2, 2), (0.1, 0.1))
    assert power(alike, effect=0.4) == power(AttritionDesign(CLUSTERS, 2, 0.1), effect=0.4)
    told = [words for what, words in explain_power(clusters, effect=0.4).rows if what == "assumes"]
    assert any("losses that differ by arm" in words for words in told)


def test_people_to_recruit_are_found() -> None:
    plan = ParallelDesign(200, Continuous(), analysis="normal")
    inside, after = (required_size(each, effect=0.3).exact for each in (plan, AttritionDesign(plan, 0, 0.15)))
    assert after == pytest.approx(inside / 0.85, rel=1e-9)


def test_sizes_to_recruit_are_found() -> None:
    after = AttritionDesign(replace(CLUSTERS, ratio=0.5), clusters_lost=3, respondents_lost=0.2)
    needed = required_size(after, effect=0.5)
    assert needed.achieved_power >= 0.8
    assert power(after.resized("clusters_per_arm", needed.rounded - 1), effect=0.5) < 0.8
    people = required_size(AttritionDesign(CLUSTERS, respondents_lost=0.2), effect=0.5, solve_for="cluster_size")
    inside = required_size(CLUSTERS, effect=0.5, solve_for="cluster_size")
    assert people.exact == pytest.approx(inside.exact / 0.8, rel=1e-9)
    assert mde(after) > mde(after.plan)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "Nothing is lost"),
        ({"clusters_lost": 11}, "leaves no trial"),
        ({"clusters_lost": 1.5}, "whole number"),
        ({"respondents_lost": 1.0}, "respondents_lost"),
        ({"respondents_lost": 0.99}, "would be left"),
        ({"plan": ParallelDesign(10, Continuous()), "clusters_lost": 1}, "no clusters to lose"),
        ({"plan": ParallelDesign(10, Binary(0.4), analysis="fisher"), "respondents_lost": 0.1}, "whole numbers"),
        ({"plan": PairedClusterDesign(9, 20, TENTH, Continuous()), "clusters_lost": (1, 2)}, "lose both clusters"),
        ({"plan": GROUPS, "respondents_lost": 0.1}, "must be a ClusterDesign"),
        ({"respondents_lost": (0.1, 0.1, 0.1)}, "one number, or two"),
        ({"clusters_lost": (0, 11)}, "leaves no trial"),
    ],
)
def test_losses_that_leave_no_trial_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(DesignError, match=match):
        AttritionDesign(**{"plan": CLUSTERS, **options})
    with pytest.raises(DesignError, match="without losses"):
        AttritionDesign(CLUSTERS, clusters_lost=1).process(0.3)


def test_groups_in_one_arm_reject_as_often_as_they_say() -> None:
    rng = np.random.default_rng(62)
    grouped = math.sqrt(0.1 + 0.9 / 6.0) * rng.normal(size=(DRAWS, 8))
    single = rng.normal(size=(DRAWS, 40))
    # Welch's test of the means of groups against people, whose df are estimated.
    a, b = grouped.var(1, ddof=1) / 8.0, single.var(1, ddof=1) / 40.0
    df = (a + b) ** 2 / (a**2 / 7.0 + b**2 / 39.0)
    effect = 0.6
    t = (grouped.mean(1) + effect - single.mean(1)) / np.sqrt(a + b)
    found = power(GROUPS, effect=effect)
    # Estimated df against those at the true variances: less than 0.01 of power with 8 groups.
    assert np.mean(np.abs(t) > student.isf(0.025, df)) == pytest.approx(found, abs=band(found) + 0.01)


def test_groups_of_one_are_two_arms_of_people() -> None:
    plan = PartiallyNestedDesign(50, 1, 50, TENTH, Continuous())
    assert power(plan, effect=0.5) == pytest.approx(power(ParallelDesign(50, Continuous()), effect=0.5), rel=1e-12)
    risks = PartiallyNestedDesign(50, 1, 50, TENTH, Binary(0.4), reference="normal")
    plain = ParallelDesign(50, Binary(0.4))
    assert power(risks, effect=-0.2) == pytest.approx(power(plain, effect=-0.2), rel=1e-12)


def test_known_variances_and_many_groups_agree() -> None:
    many = replace(GROUPS, n_groups=3000, n_control=20_000)
    effect = 2.5 * many.planned_test(0.0).std_error
    assert power(many, effect=effect) == pytest.approx(
        power(replace(many, reference="normal"), effect=effect), abs=1e-3
    )


@pytest.mark.parametrize("name", ["n_groups", "n_control", "group_size"])
def test_each_size_of_a_plan_with_groups_is_found_or_its_floor_is_named(name: str) -> None:
    needed = required_size(GROUPS, effect=0.75, solve_for=name)
    assert needed.achieved_power >= 0.8
    with pytest.raises(DesignError, match="floor under the standard error"):
        required_size(GROUPS, effect=0.2, solve_for=name)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"n_groups": 1}, "n_groups"),
        ({"icc": 0.1}, "ICC"),
        ({"outcome": "y"}, "outcome must be"),
        ({"outcome": Binary(0.3), "treated_sd": 2.0}, "follows from it"),
        ({"reference": "t"}, "reference must be"),
        ({"treated_sd": 0.0}, "treated_sd"),
    ],
)
def test_what_is_no_plan_with_groups_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(DesignError, match=match):
        replace(GROUPS, **change)


def arm_means(effects: tuple[float, ...], seed: int) -> list[Any]:
    """Return cluster means of each arm, control first, shape (draws, clusters)."""
    rng = np.random.default_rng(seed)
    sd = math.sqrt(0.1 + 0.9 / 10.0)
    return [effect + sd * rng.normal(size=(DRAWS, 8 if arm == 0 else 6)) for arm, effect in enumerate((0.0, *effects))]


@pytest.mark.parametrize("adjustment", ["dunnett", "bonferroni"])
def test_arms_that_share_control_are_found_as_often_as_they_say(adjustment: str) -> None:
    plan = replace(ARMS, adjustment=adjustment, pattern=(1.0, 0.5, 1.0))
    control, *arms = arm_means((0.7, 0.35, 0.7), 63)
    pooled = (control.var(1) * 8 + sum(arm.var(1) * 6 for arm in arms)) / 22.0
    assert plan.planned_test(0.7).df == 22.0
    error = np.sqrt(pooled * (1.0 / 8.0 + 1.0 / 6.0))
    critical = plan.planned_test(0.7).critical(0.05)  # type: ignore[union-attr]
    hits = np.array([np.abs(arm.mean(1) - control.mean(1)) > critical * error for arm in arms])
    for power_of, seen in (("each", hits[0]), ("any", hits.any(0)), ("all", hits.all(0))):
        found = power(replace(plan, power_of=power_of), effect=0.7)
        assert found == pytest.approx(seen.mean(), abs=band(found))


def test_the_overall_test_rejects_as_often_as_it_says_and_alpha_without_differences() -> None:
    plan = replace(ARMS, power_of="overall", pattern=(1.0, 0.5, 0.0))
    found = power(plan, effect=0.8)
    seen = np.mean(f_oneway(*arm_means((0.8, 0.4, 0.0), 64), axis=1).pvalue < 0.05)
    assert found == pytest.approx(seen, abs=band(found))
    assert power(plan, effect=0.0) == 0.05
    assert power(plan, effect=1e-5) == pytest.approx(0.05, abs=1e-6)
    assert power(plan, effect=1e9) == 1.0
    assert power(plan, effect=mde(plan)) == pytest.approx(0.8, abs=1e-8)
    assert required_size(plan, effect=0.8).achieved_power >= 0.8
    assert "F with 3 and 22" in dict(explain_power(plan, effect=0.8).rows)["critical value"]
    with pytest.raises(DesignError, match="can be against 'two_sided'"):
        power(plan, effect=0.8, alternative="greater")


def test_two_treated_arms_of_which_one_does_nothing_leave_the_other_its_t() -> None:
    # One comparison of two arms by F is the square of t.
    plan = MultiArmClusterDesign(9, 2, 10, TENTH, Continuous(), power_of="overall", pattern=(0.0, 0.0))
    assert power(plan, effect=3.0) == 0.05


def test_more_people_cannot_help_arms_of_few_clusters() -> None:
    with pytest.raises(DesignError, match="Add clusters instead"):
        required_size(ARMS, effect=0.3, solve_for="cluster_size")
    assert required_size(ARMS, effect=0.8, solve_for="cluster_size").achieved_power >= 0.8


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"n_treated_arms": 1}, "n_treated_arms"),
        ({"power_of": "most"}, "power_of must be"),
        ({"adjustment": "holm"}, "adjustment must be"),
        ({"pattern": (1.0,)}, "pattern must be"),
        ({"outcome": Binary(0.3)}, "outcome must be Continuous"),
        ({"ratio": 0.1}, "clusters an arm"),
        ({"icc": 0.1}, "unnamed scale"),
    ],
)
def test_what_is_no_plan_of_several_arms_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(DesignError, match=match):
        replace(ARMS, **change)
