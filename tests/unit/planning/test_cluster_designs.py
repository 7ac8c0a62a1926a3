"""Cluster trials with unequal arms and covariates, against draws of cluster means and their t tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_ind

from gbveval.design.cluster import ClusterDesign
from gbveval.design.icc import ICC
from gbveval.design.outcomes import Continuous
from gbveval.planning.closed_form import power, required_size

DRAWS = 20_000
OBSERVED = ICC(0.1, scale="observed")


def band(found: float) -> float:
    """Five Monte Carlo standard errors."""
    return 5.0 * math.sqrt(found * (1.0 - found) / DRAWS)


def test_unequal_arms_reject_as_often_as_they_say() -> None:
    plan = ClusterDesign(5, 20, OBSERVED, Continuous(sd=2.0), ratio=2.0, analysis="cluster_means")
    rng = np.random.default_rng(21)
    spread = 2.0 * math.sqrt(0.1 + 0.9 / 20.0)
    control, treated = spread * rng.normal(size=(DRAWS, 5)), 1.2 + spread * rng.normal(size=(DRAWS, 10))
    found = power(plan, effect=1.2)
    assert found == pytest.approx(np.mean(ttest_ind(control, treated, axis=1).pvalue < 0.05), abs=band(found))


def test_covariates_of_clusters_and_people_buy_what_they_explain() -> None:
    plan = ClusterDesign(
        20, 25, OBSERVED, Continuous(), r_squared_clusters=0.6, r_squared_people=0.3, n_cluster_covariates=1
    )
    rng = np.random.default_rng(22)
    x = rng.normal(size=(DRAWS, 2, 20))
    # What covariates of people explain has been taken out of the variance within clusters.
    rest = math.sqrt(0.1 * 0.4 + 0.9 * 0.7 / 25.0)
    y = math.sqrt(0.1 * 0.6) * x + rest * rng.normal(size=(DRAWS, 2, 20)) + np.array([0.0, 0.2])[:, None]
    xc, yc = x - x.mean(2, keepdims=True), y - y.mean(2, keepdims=True)
    sxx = (xc**2).sum((1, 2))
    slope = (xc * yc).sum((1, 2)) / sxx
    gap = x[:, 1].mean(1) - x[:, 0].mean(1)
    estimate = y[:, 1].mean(1) - y[:, 0].mean(1) - slope * gap
    residual = ((yc - slope[:, None, None] * xc) ** 2).sum((1, 2)) / 37.0
    seen = np.mean(np.abs(estimate) > student.isf(0.025, 37.0) * np.sqrt(residual * (2.0 / 20.0 + gap**2 / sxx)))
    found = power(plan, effect=0.2)
    # Chance imbalance of the covariate costs one cluster in 40, worth 0.015 of power.
    assert found == pytest.approx(seen, abs=band(found) + 0.015)


def test_unequal_arms_cost_clusters_and_covariates_save_them() -> None:
    even = ClusterDesign(10, 20, OBSERVED, Continuous())
    uneven = ClusterDesign(10, 20, OBSERVED, Continuous(), ratio=3.0)
    adjusted = ClusterDesign(10, 20, OBSERVED, Continuous(), r_squared_clusters=0.5, n_cluster_covariates=1)
    total = 2.0 * required_size(even, effect=0.4).exact
    assert 4.0 * required_size(uneven, effect=0.4).exact > total
    assert 2.0 * required_size(adjusted, effect=0.4).exact < total
    # Exchanging the arms changes nothing.
    mirrored = ClusterDesign(30, 20, OBSERVED, Continuous(), ratio=1.0 / 3.0)
    assert power(mirrored, effect=0.4) == pytest.approx(power(uneven, effect=-0.4), abs=1e-12)
