"""What a planned design refuses, and how its sizes are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gbveval.core.errors import DesignError
from gbveval.design._sizes import draw_sizes, mean_inverse
from gbveval.design.cluster import ClusterDesign
from gbveval.design.icc import ICC
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.parallel import ParallelDesign

OBSERVED = ICC(0.05, scale="observed")


def cluster(**changes: Any) -> ClusterDesign:
    values: dict[str, Any] = {"clusters_per_arm": 10, "cluster_size": 20, "icc": OBSERVED, "outcome": Continuous()}
    return ClusterDesign(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clusters_per_arm": 1}, "clusters_per_arm"),
        ({"clusters_per_arm": 10.5}, "whole number"),
        ({"cluster_size": 0}, "cluster_size"),
        ({"cluster_size": 1, "size_cv": 0.3}, "at least 2"),
        ({"size_cv": 2.0}, "size_cv"),
        ({"size_cv": -0.1}, "size_cv"),
        ({"icc": 0.05}, "ICC of unnamed scale"),
        ({"icc": ICC(0.05, scale="latent_logistic")}, "binary outcome"),
        ({"analysis": "mixed"}, "analysis must be one of"),
        ({"outcome": 0.35}, "Continuous"),
        ({"ratio": 0.0}, "ratio"),
        ({"ratio": 0.1}, "treated clusters"),
        ({"outcome": Binary(0.3), "r_squared_people": 0.1}, "continuous outcome only"),
        ({"clusters_per_arm": 2, "n_cluster_covariates": 2}, "no degree of freedom"),
    ],
)
def test_impossible_cluster_designs_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DesignError, match=words):
        cluster(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_per_arm": 1}, "n_per_arm"),
        ({"ratio": 0.0}, "ratio"),
        ({"ratio": 0.1}, "treated respondents"),
        ({"analysis": "exact"}, "analysis must be one of"),
        ({"outcome": None}, "Continuous"),
    ],
)
def test_impossible_parallel_designs_are_refused(changes: dict[str, Any], words: str) -> None:
    values: dict[str, Any] = {"n_per_arm": 10, "outcome": Continuous()}
    with pytest.raises(DesignError, match=words):
        ParallelDesign(**{**values, **changes})


@pytest.mark.parametrize("n_treated", [7, 15, 22, 200])
def test_a_ratio_written_as_a_quotient_gives_the_number_meant(n_treated: int) -> None:
    assert ParallelDesign(n_per_arm=15, outcome=Continuous(), ratio=n_treated / 15).n_treated == n_treated


def test_designs_are_values() -> None:
    assert cluster() == cluster()
    assert hash(cluster(outcome=Binary(0.3))) == hash(cluster(outcome=Binary(0.3)))
    assert cluster().resized("cluster_size", 5).cluster_size == 5
    with pytest.raises(DesignError, match="solve_for"):
        cluster().resized("n_per_arm", 5)


def test_analyses_agree_for_equal_sizes_and_order_as_they_should_for_unequal_ones() -> None:
    equal = {
        name: cluster(analysis=name).planned_test(0.5).std_error
        for name in ("participants_cr2", "cluster_means", "gls")
    }
    assert len({round(value, 12) for value in equal.values()}) == 1
    for value in (0.01, 0.3):
        errors = {
            name: cluster(analysis=name, size_cv=0.7, icc=ICC(value, scale="observed")).planned_test(0.5).std_error
            for name in equal
        }
        # Inverse-variance weights are the best ones, so neither of the others does better.
        assert errors["gls"] <= min(errors.values()) + 1e-12


def test_a_latent_icc_counts_at_the_risk_of_each_arm() -> None:
    plan = cluster(outcome=Binary(0.4), icc=ICC(0.1, scale="latent_logistic"))
    assert plan.icc_at(0.1) < plan.icc_at(0.4) < 0.1


@pytest.mark.parametrize(("mean", "cv"), [(4, 0.9), (30, 0.5), (200, 1.2)])
def test_the_mean_inverse_size_is_that_of_the_sizes_drawn(mean: int, cv: float) -> None:
    inverse = 1.0 / draw_sizes(400_000, mean, cv, np.random.default_rng(5))
    # Five Monte Carlo standard errors.
    assert mean_inverse(mean, cv) == pytest.approx(inverse.mean(), abs=5.0 * inverse.std() / np.sqrt(inverse.size))


def test_sizes_have_the_planned_mean_and_variation() -> None:
    sizes = draw_sizes(200_000, 50, 0.4, np.random.default_rng(6)).astype(float)
    # Rounding adds a variance of 1/12; at this mean the least size of two is out of reach. Five Monte Carlo errors.
    assert sizes.mean() == pytest.approx(50.0, abs=5.0 * sizes.std() / np.sqrt(sizes.size))
    assert sizes.std() / sizes.mean() == pytest.approx(0.4, abs=0.005)
    assert mean_inverse(50.0, 0.0) == 0.02


def test_unequal_arms_are_drawn_as_planned() -> None:
    plan = cluster(ratio=1.55)
    process, rng = plan.process(0.2), np.random.default_rng(1)
    frame = process.frame(rng)
    arms = dict(zip(frame["cluster"], frame["arm"], strict=True))
    assert sorted(arms.values()) == ["control"] * 10 + ["treated"] * 16
    assert process.draw_batch(3, rng).treated.sum() == plan.treated_clusters == 16
    with_covariates = cluster(r_squared_clusters=0.5, n_cluster_covariates=1).process(0.2)
    assert with_covariates.draw(rng).covariate_names == ("cluster covariate 1",)
