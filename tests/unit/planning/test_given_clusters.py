"""Plans for clusters of known sizes, against draws of each planned analysis and against gbveval's own CR2."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f, ncf, ttest_ind
from scipy.stats import t as student

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.design.cluster import ClusterDesign
from gbveval.design.given_clusters import GivenClustersDesign
from gbveval.design.icc import ICC
from gbveval.design.outcomes import Continuous
from gbveval.numerics.arm_variance import above_zero
from gbveval.planning.closed_form import explain_power, mde, power, required_size
from gbveval.planning.simulate import simulate_power

DRAWS = 40_000
# False alarms once in a million a comparison; seeds are fixed and were not tuned.
SDS = 4.9
SIZES = (90, 70, 40, 30, 20, 15, 10, 10)
FEWER = (60, 35, 25, 12, 8)
PLAN = GivenClustersDesign(SIZES, FEWER, ICC(0.08, scale="observed"), Continuous())


def cluster_means(effect: float, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    found = []
    for sizes, shift in ((SIZES, 0.0), (FEWER, effect)):
        v = 0.08 + 0.92 / np.array(sizes, dtype=float)
        found.append(shift + np.sqrt(v) * rng.normal(size=(DRAWS, len(sizes))))
    return found


def cr2(means: Any, sizes: tuple[int, ...]) -> tuple[Any, Any]:
    """Return the participant average and its CR2 variance, for clusters whose rows share one regressor."""
    p = np.array(sizes, dtype=float) / sum(sizes)
    estimate = means @ p
    return estimate, ((p * (means - estimate[:, None])) ** 2 / (1.0 - p)).sum(1)


def band(p: float) -> float:
    return SDS * math.sqrt(p * (1.0 - p) / DRAWS)


@pytest.mark.parametrize("effect", [0.0, 0.35, 0.6])
def test_participants_with_cr2_reject_as_often_as_they_say(effect: float) -> None:
    control, treated = cluster_means(effect, 81)
    (a, va), (b, vb) = cr2(control, SIZES), cr2(treated, FEWER)
    df = PLAN.planned_test(effect).df
    seen = np.mean(np.abs(b - a) > student.isf(0.025, df) * np.sqrt(va + vb))
    found = power(PLAN, effect=effect)
    assert found == pytest.approx(seen, abs=band(found))
    assert PLAN.planned_test(effect).std_error == pytest.approx(np.std(b - a), rel=SDS / math.sqrt(2.0 * DRAWS))
    estimated = PLAN.planned_test(effect).estimated
    assert estimated is not None
    assert estimated.ratio == pytest.approx(np.mean(va + vb) / np.var(b - a), rel=0.05)
    # One side: the share of each tail is by moments.
    seen = np.mean(b - a > student.isf(0.05, df) * np.sqrt(va + vb))
    found = power(PLAN, effect=effect, alternative="greater")
    assert found == pytest.approx(seen, abs=band(found) + 0.002)


@pytest.mark.parametrize("effect", [0.0, 0.35, 0.6])
def test_cluster_means_reject_as_often_as_they_say(effect: float) -> None:
    control, treated = cluster_means(effect, 82)
    seen = np.mean(ttest_ind(treated, control, axis=1).pvalue < 0.05)
    found = power(replace(PLAN, analysis="cluster_means"), effect=effect)
    assert found == pytest.approx(seen, abs=band(found))


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_simulated_trials_reject_as_often_as_the_formula_says(effect: float) -> None:
    found = simulate_power(PLAN, gbv.DifferenceInMeans(), effect=effect, n_draws=20_000, seed=84)[0]
    planned = power(PLAN, effect=effect)
    assert found.power.value == pytest.approx(planned, abs=SDS * math.sqrt(planned * (1.0 - planned) / 20_000))
    assert abs(found.bias.value) < SDS * found.bias.mcse


def test_the_df_of_cr2_are_those_of_the_estimator() -> None:
    rng = np.random.default_rng(83)
    rows = [
        {"y": rng.normal(), "arm": arm, "school": f"{arm} {number}"}
        for arm, sizes in (("usual", SIZES), ("new", FEWER))
        for number, size in enumerate(sizes)
        for _ in range(size)
    ]
    columns = {name: [row[name] for row in rows] for name in ("y", "arm", "school")}
    import pandas as pd

    trial = gbv.Trial(pd.DataFrame(columns), outcome="y", arm="arm", control="usual", cluster="school")
    df = float(gbv.DifferenceInMeans().estimate(trial).tidy()["df"].iloc[0])
    assert PLAN.planned_test(0.3).df == pytest.approx(df, rel=1e-8)


@pytest.mark.parametrize("analysis", ["participants_cr2", "cluster_means", "gls"])
def test_equal_sizes_are_a_cluster_design(analysis: str) -> None:
    icc = ICC(0.08, scale="observed")
    given = GivenClustersDesign((25,) * 9, (25,) * 9, icc, Continuous(sd=3.0), analysis)
    plain = ClusterDesign(9, 25, icc, Continuous(sd=3.0), analysis=analysis)
    assert power(given, effect=1.0) == pytest.approx(power(plain, effect=1.0), abs=1e-9)
    assert power(given, effect=mde(given)) == pytest.approx(0.8, abs=1e-8)


def test_which_analysis_is_planned_matters_as_it_should() -> None:
    found = {name: power(replace(PLAN, analysis=name), effect=0.5) for name in ("participants_cr2", "gls")}
    assert found["gls"] > found["participants_cr2"]
    # With little between clusters the participants' average is efficient, with much the clusters' is.
    little, much = (replace(PLAN, icc=ICC(value, scale="observed")) for value in (0.001, 0.5))
    for plan, better, worse in (
        (little, "participants_cr2", "cluster_means"),
        (much, "cluster_means", "participants_cr2"),
    ):
        errors = [replace(plan, analysis=name).planned_test(0.5).std_error for name in (better, worse)]
        assert errors[0] < errors[1]


def test_a_dominant_cluster_leaves_few_degrees_of_freedom() -> None:
    dominant = replace(PLAN, treated_sizes=(500, 5, 5, 5, 5))
    assert dominant.planned_test(0.5).df < PLAN.planned_test(0.5).df
    # Such a test is far from its size, and power is no good news: it is told.
    assert float(dict(explain_power(dominant, effect=0.5).rows)["size that the test has"]) > 0.2
    assert float(dict(explain_power(PLAN, effect=0.5).rows)["size that the test has"]) == pytest.approx(0.05, abs=0.01)


def test_two_tails_are_the_two_one_sided_tests() -> None:
    tails = [power(PLAN, effect=0.3, alpha=0.025, alternative=side) for side in ("greater", "less")]
    assert sum(tails) == pytest.approx(power(PLAN, effect=0.3), abs=1e-9)
    assert tails[0] > 20.0 * tails[1]


@given(values=st.lists(st.floats(0.1, 2.0), min_size=2, max_size=6), ratio=st.floats(0.2, 3.0))
def test_the_probability_of_a_quadratic_form_agrees_with_f(values: list[float], ratio: float) -> None:
    # One square against equal ones is an F test with 1 and n degrees of freedom.
    n = len(values)
    form = np.array([1.0] + [-ratio] * n)
    assert above_zero(form, np.zeros(n + 1)) == pytest.approx(float(f.sf(ratio * n, 1, n)), abs=1e-8)
    shift = np.array([1.3] + [0.0] * n)
    assert above_zero(form, shift) == pytest.approx(float(ncf.sf(ratio * n, 1, n, 1.69)), abs=1e-8)
    # Scale does not matter.
    assert above_zero(values[0] * form, shift) == pytest.approx(above_zero(form, shift), abs=1e-9)


@given(st.permutations(SIZES))
def test_the_order_of_clusters_does_not_matter(sizes: list[int]) -> None:
    other = replace(PLAN, control_sizes=tuple(sizes))
    assert power(other, effect=0.4) == pytest.approx(power(PLAN, effect=0.4), rel=1e-9)


def test_there_is_no_size_to_solve_for() -> None:
    for options in ({}, {"solve_for": "cluster_size"}):
        with pytest.raises(DesignError, match="no size to solve for"):
            required_size(PLAN, effect=0.5, **options)
    with pytest.raises(DesignError, match="none to solve for"):
        PLAN.planned_test(0.5, size=("cluster_size", 10.0))
    with pytest.raises(DesignError, match="none to change"):
        PLAN.resized("cluster_size", 10)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"control_sizes": [10, 10]}, "must be a tuple"),
        ({"control_sizes": (10,)}, "at least 2 clusters"),
        ({"treated_sizes": (10, 0)}, "at least 1"),
        ({"treated_sizes": (10, 2.5)}, "whole number"),
        ({"analysis": "ols"}, "analysis must be"),
        ({"icc": 0.1}, "unnamed scale"),
    ],
)
def test_what_is_no_list_of_sizes_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(DesignError, match=match):
        replace(PLAN, **change)
