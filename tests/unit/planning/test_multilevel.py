"""Plans with nested levels, against draws of their planned analyses, designs that they contain, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_1samp, ttest_ind

from gbveval.core.errors import DesignError
from gbveval.design._levels import Level
from gbveval.design.cluster import ClusterDesign
from gbveval.design.icc import ICC
from gbveval.design.moderator import ModeratorDesign
from gbveval.design.multilevel import MultilevelDesign
from gbveval.design.outcomes import Continuous
from gbveval.design.parallel import ParallelDesign
from gbveval.planning.closed_form import explain_power, mde, power, required_size

DRAWS = 20_000
# False alarms once in a million a comparison; seeds are fixed and were not tuned.
SDS = 4.9
FloatArray = Any


def observed(value: float) -> ICC:
    return ICC(value, scale="observed")


def band(p: float) -> float:
    return SDS * math.sqrt(p * (1.0 - p) / DRAWS)


def three(randomised: str, sites: str = "random", effect_sd: tuple[float, float] = (0.0, 0.0)) -> MultilevelDesign:
    return MultilevelDesign(
        levels=(
            Level("pupils", 4),
            Level("schools", 4, icc=observed(0.2), effect_sd=effect_sd[0]),
            Level("districts", 6, icc=observed(0.15), effect_sd=effect_sd[1]),
        ),
        outcome=Continuous(sd=2.0),
        randomised=randomised,
        sites=sites,
    )


def outcomes(plan: MultilevelDesign, effect: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return outcomes, shape (draws, districts, schools, pupils), and who is treated: the first half of the level."""
    pupils, schools, districts = (int(size) for size in plan.sizes)
    shape = (DRAWS, districts, schools, pupils)
    sd = [math.sqrt(4.0 * share) for share in (0.65, 0.2, 0.15)]
    scale = (shape, (*shape[:3], 1), (*shape[:2], 1, 1))
    y = sum(s * rng.normal(size=size) for s, size in zip(sd, scale, strict=True))
    own = effect + sum(
        level.effect_sd * rng.normal(size=size) for level, size in zip(plan.levels[1:], scale[1:], strict=True)
    )
    axis = {"pupils": 3, "schools": 2, "districts": 1}[plan.randomised]
    place = np.arange(shape[axis]) < shape[axis] // 2
    treated = np.broadcast_to(place.reshape([-1 if a == axis else 1 for a in range(4)]), shape)
    return y + np.where(treated, own, 0.0), treated


def two_sided(estimate: FloatArray, error: FloatArray, df: float) -> float:
    return float(np.mean(np.abs(estimate) > student.isf(0.025, df) * error))


def within(y: FloatArray, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return differences by block and the sums of squares within arms; units on the last axis, the first n treated."""
    on, off = y[..., :n], y[..., n:]
    return on.mean(-1) - off.mean(-1), on.var(-1) * n, off.var(-1) * (y.shape[-1] - n)


@pytest.mark.parametrize("randomised", ["pupils", "schools", "districts"])
def test_random_sites_and_randomised_tops_reject_as_often_as_they_say(randomised: str) -> None:
    heterogeneous = {"pupils": (0.5, 0.6), "schools": (0.0, 0.6), "districts": (0.0, 0.0)}[randomised]
    plan = three(randomised, effect_sd=heterogeneous)
    effect = 2.4 * plan.planned_test(1.0).std_error
    y, treated = outcomes(plan, effect, np.random.default_rng(41))
    if randomised == "districts":
        means = y.mean((2, 3))
        p = ttest_ind(means[:, :3], means[:, 3:], axis=1).pvalue
    else:
        on = np.where(treated, y, 0.0).sum((2, 3)) / treated.sum((2, 3))
        off = np.where(treated, 0.0, y).sum((2, 3)) / (~treated).sum((2, 3))
        p = ttest_1samp(on - off, 0.0, axis=1).pvalue
    found = power(plan, effect=effect)
    assert 0.3 < found < 0.8
    assert np.mean(p < 0.05) == pytest.approx(found, abs=band(found))


@pytest.mark.parametrize("sites", ["fixed", "constant"])
def test_fixed_sites_reject_as_often_as_they_say(sites: str) -> None:
    plan = three("schools", sites)
    effect = 2.4 * plan.planned_test(1.0).std_error
    y, _ = outcomes(plan, effect, np.random.default_rng(42))
    gaps, on, off = within(y.mean(3), 2)
    inside = (on + off).sum(1)
    if sites == "constant":
        # One effect: what differences of districts have between them is error too.
        inside = inside + gaps.var(1) * gaps.shape[1]
    df = {"fixed": 6 * 4 - 12, "constant": 6 * 4 - 7}[sites]
    assert plan.planned_test(effect).df == df
    error = np.sqrt(inside / df * 4.0 / (6 * 4))
    found = power(plan, effect=effect)
    assert two_sided(gaps.mean(1), error, df) == pytest.approx(found, abs=band(found))


def test_schools_that_are_a_sample_of_fixed_districts_have_their_own_degrees_of_freedom() -> None:
    plan = three("pupils", "fixed", effect_sd=(0.6, 0.0))
    effect = 2.4 * plan.planned_test(1.0).std_error
    y, _ = outcomes(plan, effect, np.random.default_rng(43))
    gaps, _, _ = within(y, 2)
    df = 6 * 3
    assert plan.planned_test(effect).df == df
    error = np.sqrt(gaps.var(2).sum(1) * 4 / df / (6 * 4))
    found = power(plan, effect=effect)
    assert two_sided(gaps.mean((1, 2)), error, df) == pytest.approx(found, abs=band(found))


def test_a_difference_of_effects_is_found_as_often_as_it_says() -> None:
    levels = (Level("pupils", 8), Level("schools", 10, icc=observed(0.2)))
    asked = ModeratorDesign(MultilevelDesign(levels, Continuous(), "schools"), "pupils", gap_sd=0.4)
    effect = 2.4 * asked.planned_test(1.0).std_error
    rng = np.random.default_rng(44)
    girls = np.arange(8) < 4
    y = math.sqrt(0.2) * rng.normal(size=(DRAWS, 10, 1)) + math.sqrt(0.8) * rng.normal(size=(DRAWS, 10, 8))
    y = y + girls * (0.4 * rng.normal(size=(DRAWS, 10, 1)) + effect * (np.arange(10) < 5)[:, None])
    gaps = y[..., girls].mean(2) - y[..., ~girls].mean(2)
    found = power(asked, effect=effect)
    assert np.mean(ttest_ind(gaps[:, :5], gaps[:, 5:], axis=1).pvalue < 0.05) == pytest.approx(found, abs=band(found))


def test_groups_of_schools_are_a_two_by_two_table_of_schools() -> None:
    levels = (Level("pupils", 8), Level("schools", 16, icc=observed(0.2)))
    asked = ModeratorDesign(MultilevelDesign(levels, Continuous(), "schools"), "schools")
    test = asked.planned_test(0.5)
    # A difference of differences of four means of four schools each.
    assert test.std_error == pytest.approx(math.sqrt(4.0 * (0.2 + 0.8 / 8.0) / 4.0))
    assert test.df == 12.0


def test_two_levels_with_the_upper_one_randomised_are_a_cluster_trial() -> None:
    levels = (Level("pupils", 30, r_squared=0.2), Level("schools", 24, icc=observed(0.1), r_squared=0.4))
    nested = MultilevelDesign(levels, Continuous(sd=3.0), "schools", n_covariates=2)
    plain = ClusterDesign(
        12, 30, observed(0.1), Continuous(sd=3.0), r_squared_clusters=0.4, r_squared_people=0.2, n_cluster_covariates=2
    )
    assert power(nested, effect=0.9) == pytest.approx(power(plain, effect=0.9), rel=1e-12)


def test_blocks_that_do_not_differ_are_a_trial_of_people_that_spends_degrees_of_freedom() -> None:
    levels = (Level("pupils", 40), Level("schools", 5, icc=observed(0.0)))
    test = MultilevelDesign(levels, Continuous(), "pupils", sites="constant").planned_test(0.3)
    plain = ParallelDesign(100, Continuous()).planned_test(0.3)
    assert test.std_error == pytest.approx(plain.std_error)
    assert test.df == plain.df - 4.0
    # What varies between blocks is taken out.
    blocked = replace(levels[1], icc=observed(0.4))
    better = MultilevelDesign((levels[0], blocked), Continuous(), "pupils", sites="constant").planned_test(0.3)
    assert better.std_error == pytest.approx(test.std_error * math.sqrt(0.6))


def test_a_level_of_one_unit_each_changes_nothing() -> None:
    two = MultilevelDesign((Level("pupils", 20), Level("schools", 30, icc=observed(0.3))), Continuous(), "schools")
    split = (
        Level("pupils", 20),
        Level("classes", 1, icc=observed(0.1)),
        Level("schools", 30, icc=observed(0.2)),
    )
    three_levels = MultilevelDesign(split, Continuous(), "schools")
    assert power(three_levels, effect=0.4) == pytest.approx(power(two, effect=0.4), rel=1e-12)


@settings(deadline=None, max_examples=15)
@given(
    randomised=st.sampled_from(["pupils", "schools", "districts"]),
    sites=st.sampled_from(["random", "fixed", "constant"]),
    share=st.floats(0.25, 0.75),
    target=st.floats(0.3, 0.9),
)
def test_sizes_and_effects_are_inverses_of_power(randomised: str, sites: str, share: float, target: float) -> None:
    levels = (Level("pupils", 12), Level("schools", 12, icc=observed(0.1)), Level("districts", 12, icc=observed(0.1)))
    sites = "random" if randomised == "districts" else sites
    plan = MultilevelDesign(levels, Continuous(), randomised, sites=sites, treated_share=share)
    found = mde(plan, power=target)
    assert power(plan, effect=found) == pytest.approx(target, abs=1e-8)
    for name in plan.least_sizes:
        needed = required_size(plan, effect=1.1 * found, power=target, solve_for=name)
        assert needed.rounded <= 12 + 1
        assert needed.achieved_power >= target - 1e-9
    mirrored = replace(plan, treated_share=1.0 - share)
    assert power(mirrored, effect=0.3) == pytest.approx(power(plan, effect=0.3), rel=1e-12)


def test_the_first_size_to_solve_for_gives_the_degrees_of_freedom() -> None:
    first = {
        ("pupils", "random"): "districts",
        ("districts", "random"): "districts",
        ("schools", "fixed"): "schools",
        ("pupils", "constant"): "schools",
    }
    for (randomised, sites), name in first.items():
        assert next(iter(three(randomised, sites).least_sizes)) == name


def test_what_no_number_of_people_can_reach_is_named() -> None:
    with pytest.raises(
        DesignError, match=r"pupils alone cannot bring power .* effects that differ between districts.*Add"
    ):
        required_size(three("schools", effect_sd=(0.0, 1.0)), effect=0.5, solve_for="pupils")


def test_explain_says_what_the_variance_is_made_of() -> None:
    told = dict(explain_power(three("schools", effect_sd=(0.0, 1.0)), effect=1.0).rows)
    assert "from effects that differ between districts" in told["formula"]
    assert "districts are a sample" in " ".join(
        row[1] for row in explain_power(three("schools"), effect=1.0).rows if row[0] == "assumes"
    )


LEVELS = three("schools").levels


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"levels": list(LEVELS)}, "must be a tuple"),
        ({"levels": LEVELS[:1]}, "at least two levels"),
        ({"randomised": "classes"}, "randomised must be one of"),
        ({"sites": "mixed"}, "sites must be one of"),
        ({"treated_share": 0.1}, "cannot be in both arms"),
        ({"treated_share": 1.0}, "treated_share must be"),
        ({"n_covariates": 5}, "0 degrees of freedom"),
        ({"randomised": "districts", "sites": "fixed"}, "no sites"),
        ({"levels": (replace(LEVELS[0], icc=observed(0.1)), *LEVELS[1:])}, "what is left"),
        ({"levels": (LEVELS[0], replace(LEVELS[1], icc=None), LEVELS[2])}, "needs an icc"),
        ({"levels": (LEVELS[0], replace(LEVELS[1], icc=observed(0.9)), LEVELS[2])}, "1 or more"),
        ({"levels": (LEVELS[0], replace(LEVELS[1], effect_sd=0.2), LEVELS[2])}, "not compared within schools"),
        ({"levels": (*LEVELS[:2], replace(LEVELS[2], r_squared=0.2))}, "compared within districts"),
        ({"levels": (*LEVELS[:2], replace(LEVELS[2], effect_sd=0.2)), "sites": "fixed"}, "these districts alone"),
        ({"levels": (*LEVELS[:2], replace(LEVELS[2], name="schools"))}, "name of its own"),
        ({"outcome": "y"}, "outcome must be"),
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(DesignError, match=match):
        replace(three("schools"), **change)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": ""}, "name of a level"),
        ({"size": 0}, "at least 1"),
        ({"size": 2.5}, "whole number"),
        ({"icc": 0.1}, "scale='observed'"),
        ({"icc": ICC(0.1, scale="latent_logistic")}, "scale='observed'"),
        ({"r_squared": 1.0}, "r_squared"),
        ({"effect_sd": -1.0}, "effect_sd"),
        ({"effect_r_squared": 0.1}, "give effect_sd"),
    ],
)
def test_a_level_is_checked(options: dict[str, Any], match: str) -> None:
    with pytest.raises(DesignError, match=match):
        Level(**{"name": "schools", "size": 5, **options})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"plan": three("schools")}, "top level is randomised"),
        ({"level": "villages"}, "level must be one of"),
        ({"level": "districts", "gap_sd": 0.1}, "no gap within them"),
        ({"gap_r_squared": 0.1}, "give gap_sd"),
        ({"share": 0.0}, "share must be"),
        ({"level": "districts", "n_covariates": 2}, "0 degrees of freedom"),
        ({"plan": ParallelDesign(10, Continuous())}, "must be a MultilevelDesign"),
    ],
)
def test_a_difference_of_effects_that_is_not_planned_for_is_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(DesignError, match=match):
        ModeratorDesign(**{"plan": three("districts"), "level": "pupils", **options})
