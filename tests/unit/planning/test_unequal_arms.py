"""Arms of unequal size and covariates that differ by chance: against draws, and in what is said about them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_ind

from gbveval.core.errors import DesignError
from gbveval.design._arms import imbalance_factor, satterthwaite_df
from gbveval.design.cluster import ClusterDesign
from gbveval.design.icc import ICC
from gbveval.design.margins import EquivalenceDesign, NonInferiorityDesign
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.parallel import ParallelDesign
from gbveval.design.repeated import RepeatedMeasuresDesign
from gbveval.numerics.mean_difference import clustered
from gbveval.planning.closed_form import explain_power, mde, power, required_size

DRAWS = 20_000
OBSERVED = ICC(0.05, scale="observed")


def band(found: float) -> float:
    """Five Monte Carlo standard errors."""
    return 5.0 * math.sqrt(found * (1.0 - found) / DRAWS)


def told(plan: object, effect: float, words: str) -> float:
    """Return the power that the explanation gives in the row that has these words."""
    rows = explain_power(plan, effect=effect).rows  # type: ignore[arg-type]
    (value,) = [value for what, value in rows if what.startswith("power ") and words in what]
    return float(value)


@pytest.mark.parametrize(("control", "ratio"), [(20, 0.25), (16, 0.25), (6, 3.0), (10, 2.0), (12, 1.0)])
def test_clusters_in_unequal_arms_are_found_as_often_as_planned(control: int, ratio: float) -> None:
    plan = ClusterDesign(control, 30, OBSERVED, Continuous(), ratio=ratio)
    treated = np.repeat([False, True], [control, plan.treated_clusters])
    effect = mde(plan)
    rng = np.random.default_rng(5)
    spread = math.sqrt(0.05 + 0.95 / 30.0)
    totals = 30.0 * (effect * treated + spread * rng.normal(size=(DRAWS, treated.size)))
    value, influence, df = clustered(totals, np.full(treated.size, 30.0), treated)
    # The df are those of the estimator itself: they depend on sizes alone.
    assert plan.planned_test(effect).df == pytest.approx(df, rel=1e-9)
    found = np.mean(np.abs(value) > student.isf(0.025, df) * np.sqrt((influence**2).sum(axis=-1)))
    # A variance that is a sum of two has not quite the chi-square that Satterthwaite gives it: 0.01 at 4 df.
    assert power(plan, effect=effect) == pytest.approx(found, abs=band(found) + 0.01)


def test_analyses_that_pool_keep_the_df_of_both_arms_and_say_so() -> None:
    plan = ClusterDesign(20, 30, OBSERVED, Continuous(), ratio=0.25)
    assert plan.planned_test(0.3).df == pytest.approx(satterthwaite_df(20.0, 5.0))
    assert "does not pool" in dict(explain_power(plan, effect=0.3).rows)["formula"]
    for analysis in ("cluster_means", "gls"):
        pools = replace(plan, analysis=analysis)
        assert pools.planned_test(0.3).df == 23.0
        assert "pools the variance" in dict(explain_power(pools, effect=0.3).rows)["formula"]
    equal = ClusterDesign(20, 30, OBSERVED, Binary(0.3))
    assert equal.planned_test(0.1).df == 38.0


@pytest.mark.parametrize(("control", "ratio"), [(60, 0.1), (20, 0.25), (10, 3.0)])
def test_welch_rejects_as_often_as_planned(control: int, ratio: float) -> None:
    plan = ParallelDesign(control, Continuous(sd=3.0), ratio=ratio, analysis="welch")
    pooled = replace(plan, analysis="t")
    effect = mde(pooled)
    rng = np.random.default_rng(6)
    a, b = 3.0 * rng.normal(size=(DRAWS, control)), effect + 3.0 * rng.normal(size=(DRAWS, plan.n_treated))
    found = np.mean(ttest_ind(a, b, axis=1, equal_var=False).pvalue < 0.05)
    # Welch estimates its df, which Satterthwaite's formula takes as known: 0.015 with 5 or 6 in an arm.
    assert power(plan, effect=effect) == pytest.approx(found, abs=band(found) + 0.015)
    assert told(pooled, effect, "'welch'") == pytest.approx(power(plan, effect=effect), abs=5e-5)


def test_with_equal_arms_welch_is_the_t_test() -> None:
    plan = ParallelDesign(30, Continuous(), n_covariates=2)
    assert power(replace(plan, analysis="welch"), effect=0.5) == power(plan, effect=0.5)
    assert not [what for what, _ in explain_power(replace(plan, n_covariates=0), effect=0.5).rows if "power " in what]


def test_the_least_size_leaves_two_in_the_small_arm() -> None:
    for plan in (
        ClusterDesign(30, 20, OBSERVED, Continuous(), ratio=0.21),
        ParallelDesign(30, Continuous(), ratio=0.21, analysis="welch"),
    ):
        needed = required_size(plan, effect=20.0)
        # Two over 0.21 is 9.5.
        assert needed.rounded == 10
        assert needed.achieved_power >= 0.8


def rejections(control: int, treated: int, covariates: int, explained: float, effect: float, seed: int) -> float:
    """Return how often least squares on an arm and covariates rejects; the outcome has variance one."""
    rng = np.random.default_rng(seed)
    n = control + treated
    arm = np.repeat([0.0, 1.0], [control, treated])
    x = rng.normal(size=(DRAWS, n, covariates))
    y = effect * arm + math.sqrt(explained / covariates) * x.sum(2)
    y += math.sqrt(1.0 - explained) * rng.normal(size=(DRAWS, n))
    design = np.concatenate([np.broadcast_to(np.column_stack([np.ones(n), arm]), (DRAWS, n, 2)), x], axis=2)
    gram = np.linalg.inv(np.einsum("dni,dnj->dij", design, design))
    beta = np.einsum("dij,dnj,dn->di", gram, design, y)
    residual = ((y - np.einsum("dni,di->dn", design, beta)) ** 2).sum(1) / (n - 2 - covariates)
    df = n - 2.0 - covariates
    return float(np.mean(np.abs(beta[:, 1]) > student.isf(0.025, df) * np.sqrt(residual * gram[:, 1, 1])))


@pytest.mark.parametrize(("clusters", "covariates"), [(6, 3), (8, 2)])
def test_the_power_told_counts_chance_imbalance_of_covariates_of_clusters(clusters: int, covariates: int) -> None:
    # Clusters so large that only what is between them counts: cluster means have variance one.
    plan = ClusterDesign(
        clusters,
        10**7,
        ICC(0.5, scale="observed"),
        Continuous(sd=math.sqrt(2.0)),
        r_squared_clusters=0.6,
        n_cluster_covariates=covariates,
    )
    effect = mde(plan)
    found = rejections(clusters, clusters, covariates, 0.6, effect, 7)
    # The factor is a mean, and power is not linear in it: 0.02 at these few clusters.
    with_imbalance = told(plan, effect, "chance imbalance")
    assert with_imbalance == pytest.approx(found, abs=band(found) + 0.02)
    assert with_imbalance < 0.8 - 0.04
    words = [value for what, value in explain_power(plan, effect=effect).rows if what == "assumes"]
    assert any(f"{imbalance_factor(2.0 * clusters, covariates):.3g}" in value for value in words)


def test_the_power_told_counts_chance_imbalance_of_the_mean_before() -> None:
    plan = RepeatedMeasuresDesign(5, Continuous(), 0.7)
    effect = mde(plan)
    found = rejections(5, 5, 1, 0.49, effect, 8)
    assert told(plan, effect, "chance imbalance") == pytest.approx(found, abs=band(found) + 0.02)
    after = RepeatedMeasuresDesign(5, Continuous(), 0.7, analysis="after")
    assert not [what for what, _ in explain_power(after, effect=1.0).rows if "imbalance" in what]


def test_the_imbalance_factor_is_the_mean_over_draws() -> None:
    rng = np.random.default_rng(9)
    arm = np.repeat([0.0, 1.0], [14, 10])
    x = rng.normal(size=(DRAWS, 24, 3))
    both = np.concatenate([np.broadcast_to(np.column_stack([np.ones(24), arm]), (DRAWS, 24, 2)), x], axis=2)
    factor = np.linalg.inv(np.einsum("dni,dnj->dij", both, both))[:, 1, 1] / (1.0 / 14 + 1.0 / 10)
    error = factor.std() / math.sqrt(DRAWS)
    assert imbalance_factor(24.0, 3) == pytest.approx(factor.mean(), abs=5.0 * error)
    assert math.isinf(imbalance_factor(5.0, 2))


def test_margins_are_told_the_same() -> None:
    inner = ParallelDesign(40, Continuous(), ratio=0.2, n_covariates=2)
    for plan in (NonInferiorityDesign(inner, margin=1.5), EquivalenceDesign(inner, margin_low=-1.5, margin_high=1.5)):
        welch = replace(plan, plan=replace(inner, analysis="welch"))
        assert told(plan, 0.0, "'welch'") == pytest.approx(power(welch, effect=0.0), abs=5e-5)
        assert told(plan, 0.0, "chance imbalance") < power(plan, effect=0.0)


def test_what_is_explained_between_clusters_takes_covariates() -> None:
    with pytest.raises(DesignError, match="give n_cluster_covariates"):
        ClusterDesign(20, 30, OBSERVED, Continuous(), r_squared_clusters=0.9)
