"""Plans of clusters drawn over a grid: where a formula is called exact, it is the power of the planned analysis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2, f_oneway, norm, ttest_1samp, ttest_ind, ttest_rel

from gbveval.design._levels import Level
from gbveval.design.cluster import ClusterDesign
from gbveval.design.given_clusters import GivenClustersDesign
from gbveval.design.icc import ICC
from gbveval.design.multi_arm_clusters import MultiArmClusterDesign
from gbveval.design.multilevel import MultilevelDesign
from gbveval.design.outcomes import Continuous
from gbveval.design.paired_clusters import PairedClusterDesign
from gbveval.planning.closed_form import power

DRAWS = 20_000
GRID = 12
FALSE_ALARM = 1e-4
Drawn = tuple[Any, float, float]


def normal(rng: np.random.Generator, variance: Any, count: int) -> Any:
    return np.sqrt(variance) * rng.normal(size=(DRAWS, count))


def dispersion(rng: np.random.Generator) -> tuple[float, int]:
    return float(rng.uniform(0.01, 0.3)), int(rng.integers(2, 60))


def effect_for(plan: Any, rng: np.random.Generator) -> float:
    return float(rng.uniform(0.0, 3.5)) * float(plan.planned_test(1.0).unit)


def two_arms(rng: np.random.Generator) -> Drawn:
    (icc, m), k, ratio = dispersion(rng), int(rng.integers(2, 15)), float(rng.choice([1.0, 2.0]))
    plan = ClusterDesign(k, m, ICC(icc, scale="observed"), Continuous(), ratio=ratio, analysis="cluster_means")
    effect, v = effect_for(plan, rng), icc + (1.0 - icc) / m
    arms = normal(rng, v, k), effect + normal(rng, v, plan.treated_clusters)
    return plan, effect, float(np.mean(ttest_ind(*arms, axis=1).pvalue < 0.05))


def pairs(rng: np.random.Generator) -> Drawn:
    (icc, m), k, r = dispersion(rng), int(rng.integers(2, 20)), float(rng.uniform(0.0, 0.9))
    plan = PairedClusterDesign(k, m, ICC(icc, scale="observed"), Continuous(), matching_correlation=r)
    effect, own = effect_for(plan, rng), icc * (1.0 - r) + (1.0 - icc) / m
    shared = normal(rng, icc * r, k)
    arms = shared + normal(rng, own, k), shared + effect + normal(rng, own, k)
    return plan, effect, float(np.mean(ttest_rel(*arms, axis=1).pvalue < 0.05))


def sites(rng: np.random.Generator) -> Drawn:
    (icc, m), k, spread = dispersion(rng), int(rng.integers(3, 15)), float(rng.uniform(0.0, 0.5))
    m += 2
    top = Level("sites", k, icc=ICC(icc, scale="observed"), effect_sd=spread)
    plan = MultilevelDesign((Level("people", m), top), Continuous(), randomised="people")
    effect = effect_for(plan, rng)
    gaps = effect + normal(rng, spread**2 + (1.0 - icc) * 4.0 / m, k)
    return plan, effect, float(np.mean(ttest_1samp(gaps, 0.0, axis=1).pvalue < 0.05))


def several_arms(rng: np.random.Generator) -> Drawn:
    (icc, m), k, pattern = dispersion(rng), int(rng.integers(2, 10)), (1.0, float(rng.uniform(-1.0, 1.0)))
    plan = MultiArmClusterDesign(k, 2, m, ICC(icc, scale="observed"), Continuous(), power_of="overall", pattern=pattern)
    effect, v = effect_for(plan, rng), icc + (1.0 - icc) / m
    arms = [effect * multiple + normal(rng, v, k) for multiple in (0.0, *pattern)]
    return plan, effect, float(np.mean(f_oneway(*arms, axis=1).pvalue < 0.05))


def given_sizes(rng: np.random.Generator) -> Drawn:
    icc = float(rng.uniform(0.01, 0.3))
    sizes = [tuple(int(n) for n in rng.integers(2, 150, size=int(rng.integers(3, 10)))) for _ in range(2)]
    plan = GivenClustersDesign(sizes[0], sizes[1], ICC(icc, scale="observed"), Continuous(), "cluster_means")
    effect = effect_for(plan, rng)
    arms = [normal(rng, icc + (1.0 - icc) / np.array(each), len(each)) for each in sizes]
    return plan, effect, float(np.mean(ttest_ind(arms[0], arms[1] + effect, axis=1).pvalue < 0.05))


@pytest.mark.parametrize("draw", [two_arms, pairs, sites, several_arms, given_sizes])
def test_the_formula_is_the_power_over_a_grid(draw: Callable[[np.random.Generator], Drawn]) -> None:
    z = []
    for number in range(GRID):
        plan, effect, seen = draw(np.random.default_rng([91, number]))
        found = power(plan, effect=effect)
        z.append((seen - found) / math.sqrt(max(found * (1.0 - found), 1.0 / DRAWS) / DRAWS))
    # Bonferroni for the largest, and the sum of squares for all together; each errs once in 10,000.
    assert max(abs(each) for each in z) < norm.isf(FALSE_ALARM / 2.0 / GRID)
    assert chi2.ppf(FALSE_ALARM / 2.0, GRID) < sum(each**2 for each in z) < chi2.isf(FALSE_ALARM / 2.0, GRID)
