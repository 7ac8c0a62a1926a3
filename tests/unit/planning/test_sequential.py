"""Plans that are looked at several times: what they reduce to, raw data, clusters, interim tools, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.design.planned_test import PlannedDesign, PowerTest

mpl.use("Agg")
ICC = gbv.ICC(0.05, scale="observed")
MEANS = gbv.ParallelDesign(n_per_arm=60, outcome=gbv.Continuous(sd=2.0))
KNOWN = replace(MEANS, analysis="normal")
CLUSTERS = gbv.ClusterDesign(16, 30, ICC, gbv.Binary(0.4))
BOUNDARIES = (gbv.Pocock(), gbv.OBrienFleming(), gbv.AlphaSpending(), gbv.HaybittlePeto(), gbv.WangTsiatis(0.25))
HARM = gbv.HarmSpending(alpha=0.1)


def looked_at(plan: Any, looks: tuple[float, ...] = (0.5, 1.0), boundary: Any = None, **options: Any) -> Any:
    return gbv.SequentialDesign(plan, looks, gbv.OBrienFleming() if boundary is None else boundary, **options)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([MEANS, KNOWN, CLUSTERS, replace(CLUSTERS, ratio=1.5), gbv.ParallelDesign(50, gbv.Count(0.6))]),
    st.floats(-0.3, 0.5),
    st.sampled_from(["two_sided", "greater", "less"]),
    st.floats(0.005, 0.2),
    st.sampled_from(BOUNDARIES),
)
def test_a_single_look_is_the_plan_itself(plan: Any, effect: float, side: str, alpha: float, boundary: Any) -> None:
    once = gbv.power(plan, effect=effect, alpha=alpha, alternative=side)
    asked = {"effect": effect, "alpha": alpha, "alternative": side}
    assert gbv.power(looked_at(plan, (1.0,), boundary), **asked) == pytest.approx(once, abs=1e-9)
    # A look at which nothing can stop is none.
    assert gbv.power(looked_at(plan, (0.5, 1.0), gbv.EfficacyAtEnd()), **asked) == pytest.approx(once, abs=1e-9)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("plan", [MEANS, KNOWN, CLUSTERS, replace(CLUSTERS, analysis="gls", size_cv=0.5)])
def test_without_an_effect_power_is_the_size(plan: Any, boundary: Any) -> None:
    for looks_by in plan.least_sizes:
        design = looked_at(plan, (0.4, 0.7, 1.0), boundary, looks_by=looks_by)
        for side in ("two_sided", "greater", "less"):
            assert gbv.power(design, effect=0.0, alpha=0.05, alternative=side) == pytest.approx(0.05, abs=1e-9)
        assert gbv.boundaries(design).column("alpha_spent")[-1] == pytest.approx(0.05, abs=1e-9)


def test_more_looks_cost_power_and_save_people() -> None:
    designs = [looked_at(KNOWN, tuple((k + 1) / looks for k in range(looks)), gbv.Pocock()) for looks in range(1, 7)]
    power = [gbv.power(design, effect=1.0) for design in designs]
    assert all(more < less for less, more in pairwise(power))
    needed = [gbv.required_size(design, effect=1.0, power=0.9) for design in designs]
    assert all(more.exact > less.exact for less, more in pairwise(needed))
    expected = [gbv.expected_size(found.design, effect=1.0) for found in needed]
    assert all(more < less for less, more in pairwise(expected))


def test_answers_go_back_and_forth() -> None:
    for plan, effect in ((MEANS, -1.1), (CLUSTERS, -0.12)):
        design = looked_at(plan, futility=gbv.BetaSpending(0.8), higher_is_worse=True)
        smallest = gbv.mde(design, alpha=0.025)
        assert smallest < 0.0
        assert gbv.power(design, effect=smallest, alpha=0.025) == pytest.approx(0.8, abs=1e-8)
        needed = gbv.required_size(design, effect=effect, alpha=0.025)
        assert gbv.power(needed.design, effect=effect, alpha=0.025) == needed.achieved_power >= 0.8
        once = gbv.required_size(plan, effect=effect, alpha=0.025, alternative="less")
        assert needed.exact > once.exact


def test_signs_follow_the_direction_that_harms() -> None:
    down = looked_at(MEANS, futility=HARM, higher_is_worse=True)
    up = replace(down, higher_is_worse=False)
    assert down.alternatives == ("less",)
    assert gbv.power(down, effect=-1.0) == pytest.approx(gbv.power(up, effect=1.0), abs=1e-12)
    told, mirrored = gbv.boundaries(down), gbv.boundaries(up)
    assert told.column("z") == mirrored.column("z")
    np.testing.assert_allclose(told.column("estimate"), -np.array(mirrored.column("estimate")))
    assert all(value > 0.0 for value in told.column("lower_estimate"))
    idle = gbv.stopping_probabilities(down, effect=0.0)
    assert sum(idle.column("lower")) == pytest.approx(0.1, abs=1e-9)
    assert gbv.stopping_probabilities(down, effect=1.0).column("lower")[0] > 0.3


def test_stopping_adds_up_and_gives_the_expected_size() -> None:
    design = looked_at(CLUSTERS, (0.4, 0.7, 1.0), gbv.Pocock())
    told = gbv.stopping_probabilities(design, effect=-0.15)
    both = sum(told.column("efficacy")) + sum(told.column("lower"))
    assert both == pytest.approx(gbv.power(design, effect=-0.15), abs=1e-12)
    assert sum(told.column("last")) == pytest.approx(1.0, abs=1e-12)
    mean = float(np.dot(told.column("last"), told.column("clusters_per_arm")))
    assert gbv.expected_size(design, effect=-0.15) == pytest.approx(mean, rel=1e-12)


# Raw data. Bands of the eight comparisons together: 1e-4, that is 4.4 standard errors each.
BAND = 4.4
# The notes of SequentialDesign: with a t reference the true size may be 0.0015 above the formula and true power 0.006,
# for bounds of O'Brien and Fleming's kind and 4 clusters or more in an arm at the first look.
SIZE_GAP, POWER_GAP = 0.0015, 0.006


def near(found: np.ndarray, expected: float, gap: float = 0.0) -> bool:
    error = math.sqrt(expected * (1.0 - expected) / found.size)
    return -BAND * error <= found.mean() - expected <= gap + BAND * error


@pytest.mark.parametrize("effect", [0.0, 0.9])
def test_raw_data_of_people(effect: float) -> None:
    rng, draws, looks = np.random.default_rng(3), 60_000, (20, 40, 60)
    for plan in (KNOWN, MEANS):
        design = looked_at(plan, (1 / 3, 2 / 3, 1.0), gbv.AlphaSpending("hwang_shih_decani", shape=-2.0))
        told = gbv.boundaries(design)
        control = 2.0 * rng.normal(size=(draws, 60))
        treated = 2.0 * rng.normal(size=(draws, 60)) + effect
        rejected = np.zeros(draws, bool)
        for n, z, t in zip(looks, told.column("z"), told.column("statistic"), strict=True):
            a, b = control[:, :n], treated[:, :n]
            spread = 4.0 if plan is KNOWN else (a.var(axis=1, ddof=1) + b.var(axis=1, ddof=1)) / 2.0
            statistic = (b.mean(axis=1) - a.mean(axis=1)) / np.sqrt(2.0 * spread / n)
            rejected |= np.abs(statistic) >= (z if plan is KNOWN else t)
        gap = 0.0 if plan is KNOWN else POWER_GAP if effect else SIZE_GAP
        assert near(rejected, gbv.power(design, effect=effect), gap)


def clustered(rng: np.random.Generator, draws: int, clusters: int, people: int, icc: float) -> np.ndarray:
    between = math.sqrt(icc) * rng.normal(size=(draws, clusters, 1))
    return np.asarray(between + math.sqrt(1.0 - icc) * rng.normal(size=(draws, clusters, people)))


@pytest.mark.parametrize("effect", [0.0, 0.4])
def test_raw_data_of_clusters_that_come_one_after_the_other(effect: float) -> None:
    rng, draws = np.random.default_rng(4), 30_000
    design = looked_at(gbv.ClusterDesign(12, 10, ICC, gbv.Continuous()), (1 / 3, 2 / 3, 1.0))
    means = [clustered(rng, draws, 12, 10, 0.05).mean(axis=2) for _ in range(2)]
    rejected = np.zeros(draws, bool)
    for k, t in zip((4, 8, 12), gbv.boundaries(design).column("statistic"), strict=True):
        a, b = means[0][:, :k], means[1][:, :k] + effect
        error = np.sqrt((a.var(axis=1, ddof=1) + b.var(axis=1, ddof=1)) / k)
        rejected |= np.abs(b.mean(axis=1) - a.mean(axis=1)) >= t * error
    assert near(rejected, gbv.power(design, effect=effect), POWER_GAP if effect else SIZE_GAP)


@pytest.mark.parametrize("effect", [0.0, 0.35])
def test_raw_data_of_people_who_come_within_clusters(effect: float) -> None:
    rng, draws, icc = np.random.default_rng(5), 20_000, gbv.ICC(0.1, scale="observed")
    plan = gbv.ClusterDesign(10, 20, icc, gbv.Continuous(), reference="normal")
    design = looked_at(plan, (0.25, 0.5, 1.0), gbv.Pocock(), looks_by="cluster_size")
    people = [clustered(rng, draws, 10, 20, 0.1) for _ in range(2)]
    rejected = np.zeros(draws, bool)
    for m, z in zip((5, 10, 20), gbv.boundaries(design).column("z"), strict=True):
        gap = people[1][:, :, :m].mean(axis=(1, 2)) + effect - people[0][:, :, :m].mean(axis=(1, 2))
        rejected |= np.abs(gap) >= z * math.sqrt(2.0 * (0.1 + 0.9 / m) / 10)
    assert near(rejected, gbv.power(design, effect=effect))


def test_people_are_not_information_where_clusters_are() -> None:
    design = looked_at(CLUSTERS, looks_by="cluster_size")
    share = (0.05 + 0.95 / 30) / (0.05 + 0.95 / 15)
    assert gbv.boundaries(design).column("information") == (pytest.approx(share, abs=1e-11), 1.0)
    assert gbv.interim_information(CLUSTERS, cluster_size=15) == pytest.approx(share, rel=1e-12)
    assert gbv.interim_information(CLUSTERS, clusters_per_arm=8) == pytest.approx(0.5, rel=1e-12)
    both = gbv.interim_information(CLUSTERS, clusters_per_arm=8, cluster_size=15)
    assert both == pytest.approx(0.5 * share, rel=1e-12)
    alone = replace(CLUSTERS, icc=gbv.ICC(0.0, scale="observed"))
    assert gbv.interim_information(alone, cluster_size=15) == pytest.approx(0.5, rel=1e-12)


def test_one_size_grows_from_look_to_look_while_another_is_solved_for() -> None:
    for looks_by, solve_for in (("clusters_per_arm", "cluster_size"), ("cluster_size", "clusters_per_arm")):
        design = looked_at(CLUSTERS, looks_by=looks_by)
        needed = gbv.required_size(design, effect=-0.15, solve_for=solve_for)
        again = replace(design, plan=replace(CLUSTERS, **{solve_for: needed.rounded}))
        assert gbv.power(again, effect=-0.15) == needed.achieved_power >= 0.8
        # With people added the shares of information change with their number, and with them the bounds.
        shares = [gbv.boundaries(plan).column("information")[0] for plan in (design, again)]
        assert shares[0] == pytest.approx(shares[1], abs=1e-9)


def test_looking_for_harm_alone_costs_next_to_nothing() -> None:
    design = looked_at(CLUSTERS, (0.25, 0.5, 1.0), gbv.EfficacyAtEnd(), futility=HARM, higher_is_worse=True)
    once = gbv.power(CLUSTERS, effect=-0.15, alpha=0.025, alternative="less")
    assert once - 0.005 < gbv.power(design, effect=-0.15, alpha=0.025) < once
    told = gbv.boundaries(design, alpha=0.025)
    assert told.column("z")[:2] == (None, None)
    assert told.column("nominal_p")[-1] == pytest.approx(0.025, abs=1e-12)
    assert gbv.plot_boundaries(told).get_xlabel() == "clusters per arm"


def test_people_added_to_clusters_reach_a_floor_and_it_is_named() -> None:
    design = looked_at(CLUSTERS, looks_by="cluster_size")
    with pytest.raises(DesignError, match="Add clusters instead"):
        gbv.required_size(design, effect=-0.06, solve_for="cluster_size")


def test_conditional_power_against_what_follows_in_draws() -> None:
    looks, draws = (0.3, 0.6, 1.0), 400_000
    design = looked_at(KNOWN, looks, gbv.Pocock(), futility=gbv.FutilityBounds((-1.0, 0.5)), higher_is_worse=False)
    told = gbv.conditional_power(design, look=1, z=1.1, effect=1.0, alpha=0.025)
    bounds = gbv.boundaries(design, alpha=0.025)
    rng = np.random.default_rng(6)
    planned = 1.0 / (2.0 * math.sqrt(2.0 / 60))
    drifts = {
        "assumed effect": np.full(draws, planned),
        "trend": np.full(draws, 1.1 / math.sqrt(0.3)),
        "predictive": 1.1 / math.sqrt(0.3) + rng.normal(size=draws) / math.sqrt(0.3),
    }
    assert [row[0] for row in told.rows] == list(drifts)
    for name, found in told.rows:
        middle = 1.1 * math.sqrt(0.3) + 0.3 * drifts[name] + math.sqrt(0.3) * rng.normal(size=draws)
        end = middle + 0.4 * drifts[name] + math.sqrt(0.4) * rng.normal(size=draws)
        second, last = middle / math.sqrt(0.6), end
        early = second > bounds.column("z")[1]
        rejected = early | ((second > 0.5) & ~early & (last > bounds.column("z")[2]))
        assert near(rejected, found)


def test_more_information_than_planned_leaves_less_to_come() -> None:
    design = looked_at(KNOWN, boundary=gbv.EfficacyAtEnd())
    asked = {"look": 1, "z": 1.0, "effect": 1.0, "alpha": 0.025, "alternative": "greater"}
    early, late = (dict(gbv.conditional_power(design, information=t, **asked).rows) for t in (0.3, 0.8))
    assert late["assumed effect"] < early["assumed effect"]
    with pytest.raises(DesignError, match=r"next look is at 0.6"):
        gbv.conditional_power(replace(design, looks=(0.3, 0.6, 1.0)), information=0.7, **asked)
    with pytest.raises(DesignError, match="nothing is to come"):
        gbv.conditional_power(design, **{**asked, "look": 2})


def test_explanations_tell_bounds_cost_and_harm() -> None:
    design = looked_at(CLUSTERS, futility=HARM, higher_is_worse=True)
    told = dict(gbv.explain_power(design, effect=-0.12, alpha=0.025).rows)
    assert "z 2.797" in told["look 1"]
    assert "on the scale" not in told["look 1"]
    assert told["lower bounds"].endswith("not binding")
    assert float(told["power of a single look at the end"]) == pytest.approx(
        gbv.power(CLUSTERS, effect=-0.12, alpha=0.025, alternative="less"), abs=5e-5
    )
    assert told["information against a single look of the same power"].endswith("times")


def test_several_arms_are_planned_and_drawn_from_one_place() -> None:
    plan = gbv.MultiStageDesign(30, 3, 2, gbv.Continuous(), gbv.Pocock(), higher_is_worse=True, other_effect=-0.1)
    smallest = gbv.mde(plan, power=0.8)
    assert smallest < -0.1
    assert gbv.power(plan, effect=smallest) == pytest.approx(0.8, abs=1e-8)
    needed = gbv.required_size(plan, effect=-0.5, power=0.9)
    assert gbv.power(needed.design, effect=-0.5) >= 0.9
    with pytest.raises(DesignError, match="where that is no worse"):
        gbv.required_size(plan, effect=-0.1)
    binding = replace(plan, futility=gbv.FutilityBounds((0.5,)), binding=True)
    assert binding.bounds().column("upper")[0] < plan.bounds().column("upper")[0]
    free = replace(binding, binding=False)
    assert free.bounds().column("upper") == plan.bounds().column("upper")


def test_the_picture_says_what_stops() -> None:
    table = gbv.boundaries(looked_at(CLUSTERS, futility=HARM, higher_is_worse=True), alpha=0.025)
    ax = gbv.plot_boundaries(table, seen=[0.4])
    lines = {line.get_label(): line for line in ax.lines if not str(line.get_label()).startswith("_")}
    assert list(lines) == ["stop: effect shown", "stop: futility or harm", "seen"]
    np.testing.assert_array_equal(lines["stop: effect shown"].get_ydata(), table.column("z"))
    assert ax.get_xlabel() == "clusters per arm"
    both = gbv.plot_boundaries(gbv.boundaries(looked_at(MEANS)))
    assert "effect in the other direction" in str([line.get_label() for line in both.lines])
    with pytest.raises(DesignError, match="from boundaries"):
        gbv.plot_boundaries(gbv.power_curve(MEANS, [0.1]))
    with pytest.raises(DesignError, match="3 values seen"):
        gbv.plot_boundaries(table, seen=[0.1, 0.2, 0.3])


LOWER = gbv.FutilityBounds((0.0,))
REFUSED: tuple[tuple[Any, str], ...] = (
    (lambda: looked_at(gbv.ParallelDesign(60, gbv.Binary(0.4), analysis="pooled")), "another standard error"),
    (lambda: looked_at(gbv.ParallelDesign(60, gbv.Binary(0.4), analysis="fisher")), "or is exact"),
    (lambda: looked_at(looked_at(MEANS)), "plan must be"),
    (lambda: looked_at(MEANS, ()), "tuple of shares"),
    (lambda: looked_at(MEANS, [0.5, 1.0]), "tuple of shares"),
    (lambda: looked_at(MEANS, (0.5, 0.9)), "end with 1.0"),
    (lambda: looked_at(MEANS, (0.5, 0.5, 1.0)), "must increase"),
    (lambda: looked_at(MEANS, ("half", 1.0)), "share in looks"),
    (lambda: looked_at(MEANS, boundary="pocock"), "boundary must be"),
    (lambda: looked_at(MEANS, boundary=gbv.Pocock), "boundary must be"),
    (lambda: looked_at(MEANS, futility=HARM), "which direction harms"),
    (lambda: looked_at(MEANS, futility=0.0, higher_is_worse=True), "futility must be"),
    (lambda: looked_at(MEANS, binding=True), "give futility"),
    (lambda: looked_at(MEANS, (1.0,), futility=HARM, higher_is_worse=True), "single look"),
    (lambda: looked_at(MEANS, (0.3, 0.6, 1.0), futility=LOWER, higher_is_worse=True), "1 bounds for 3 looks"),
    (lambda: looked_at(MEANS, looks_by="clusters_per_arm"), "looks_by"),
    (lambda: looked_at(gbv.ClusterDesign(6, 30, ICC, gbv.Binary(0.4))), "at least 8 are needed"),
    (
        lambda: looked_at(replace(CLUSTERS, icc=gbv.ICC(1.0 - 1e-9, scale="observed")), looks_by="cluster_size"),
        "no information",
    ),
    (lambda: gbv.AlphaSpending("power"), "shape"),
    (lambda: gbv.AlphaSpending("pocock", shape=2.0), "has no shape"),
    (lambda: gbv.AlphaSpending("hwang_shih_decani", shape=0.0), "shape of zero"),
    (lambda: gbv.AlphaSpending("bonferroni"), "kind must be"),
    (lambda: gbv.BetaSpending(80), "power"),
    (lambda: gbv.FutilityBounds([0.0]), "tuple"),
    (lambda: gbv.power(looked_at(MEANS, boundary=gbv.HaybittlePeto(1.5)), effect=1.0), "spend all of the size"),
    (
        lambda: gbv.power(looked_at(MEANS, futility=HARM, higher_is_worse=True), effect=1.0, alternative="greater"),
        "les",
    ),
    (lambda: gbv.required_size(looked_at(MEANS, futility=HARM, higher_is_worse=True), effect=1.0), "other direction"),
    (lambda: gbv.simulate_power(looked_at(MEANS), [gbv.DifferenceInMeans()], effect=1.0, seed=1), "looked at once"),
    (lambda: gbv.boundaries(MEANS), "Give a SequentialDesign"),
    (lambda: gbv.interim_information(looked_at(MEANS), n_per_arm=30), "plan inside"),
    (lambda: gbv.interim_information(MEANS, clusters_per_arm=3), "n_per_arm"),
    (lambda: gbv.interim_information(MEANS), "Give the sizes"),
    (lambda: gbv.MultiStageDesign(30, 3, 4, gbv.Continuous(), gbv.Pocock()), "up to 3"),
    (lambda: gbv.MultiStageDesign(30, 3, 2, gbv.Continuous(), gbv.AlphaSpending()), "several arms"),
    (lambda: gbv.MultiStageDesign(30, 3, 2, gbv.Binary(0.3), gbv.Pocock()), "outcome must be"),  # type: ignore[arg-type]
)


@pytest.mark.parametrize(("asked", "words"), REFUSED)
def test_what_cannot_be_is_refused_by_name(asked: Any, words: str) -> None:
    with pytest.raises(DesignError, match=words):
        asked()


def test_the_contract_of_plans_holds() -> None:
    for plan, effect in ((looked_at(MEANS, (0.4, 1.0), gbv.Pocock()), -0.9), (looked_at(CLUSTERS), -0.12)):
        assert isinstance(plan, PlannedDesign)
        assert isinstance(plan.planned_test(effect), PowerTest)
        # Each side of a two-sided test stops for the other side too, which matters only where both are likely.
        sides = [gbv.power(plan, effect=effect, alpha=0.025, alternative=side) for side in ("greater", "less")]
        assert sum(sides) == pytest.approx(gbv.power(plan, effect=effect), abs=2e-4)
        name = next(iter(plan.least_sizes))
        larger = [gbv.power(plan.resized(name, n), effect=effect) for n in (30, 60, 120, 240)]
        assert larger == sorted(larger)
        curve = gbv.power_curve(plan, [0.0, 0.3 * effect, 0.6 * effect, effect]).column("power")
        assert list(curve) == sorted(curve)
        needed = gbv.required_size(plan, effect=effect)
        assert gbv.power(needed.design, effect=effect) == needed.achieved_power >= 0.8


@settings(max_examples=15, deadline=None)
@given(unit=st.floats(1e-3, 1e3), shift=st.floats(-100.0, 100.0))
def test_units_of_measurement_do_not_matter(unit: float, shift: float) -> None:
    other = replace(MEANS, outcome=gbv.Continuous(sd=2.0 * unit, mean=shift))
    for options in ({}, {"futility": HARM, "higher_is_worse": True}):
        before, after = looked_at(MEANS, **options), looked_at(other, **options)
        assert gbv.power(after, effect=-0.9 * unit) == pytest.approx(gbv.power(before, effect=-0.9), abs=1e-9)
        assert gbv.boundaries(after).column("z") == gbv.boundaries(before).column("z")
