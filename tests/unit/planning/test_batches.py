"""Cross-products instead of people: the same estimate row by row, and the same law of the draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.batch import ClusterBatch
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.replicate import generator

OPTIONS: dict[str, Any] = {"icc": gbv.ICC(0.1, scale="observed"), "outcome": gbv.Continuous(sd=2.0, mean=5.0)}
COVARIATES: dict[str, Any] = {"r_squared_clusters": 0.4, "n_cluster_covariates": 1, "r_squared_people": 0.3}
ESTIMATORS = [
    gbv.DifferenceInMeans(),
    gbv.LinAdjusted(),
    gbv.Ancova(),
    gbv.Ancova(std_error="CR3"),
    gbv.Ancova(std_error="CR1", df="residual"),
    gbv.LinAdjusted(std_error="CR1S"),
    gbv.LinAdjusted(std_error="CR0", df="satterthwaite"),
    gbv.LinAdjusted(std_error="CR2", df="normal"),
]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    clusters=st.integers(4, 9),
    size=st.integers(3, 12),
    cv=st.sampled_from([0.0, 0.7]),
    ratio=st.sampled_from([1.0, 1.5]),
)
def test_a_batch_of_rows_gives_what_estimate_gives(
    seed: int, clusters: int, size: int, cv: float, ratio: float
) -> None:
    plan = gbv.ClusterDesign(
        clusters_per_arm=clusters, cluster_size=size, size_cv=cv, ratio=ratio, **OPTIONS, **COVARIATES
    )
    trial = plan.process(0.4).draw(np.random.default_rng(seed))
    assert trial.cluster is not None
    codes = trial.cluster.codes
    treated = np.bincount(codes, weights=trial.arm) > 0
    batch = ClusterBatch.of_rows(trial.outcomes.T, codes, treated, trial.covariates)
    for estimator in ESTIMATORS:
        one, many = estimator.estimate(trial)[0], estimator.estimate_batch(batch)
        # Both are the same algebra on other bases; cross-products square the conditioning of a few columns.
        assert many.value[0] == pytest.approx(one.value, rel=1e-9, abs=1e-9)
        assert many.std_error[0] == pytest.approx(one.std_error, rel=1e-8)
        assert many.df[0] == pytest.approx(one.df, rel=1e-8)


@pytest.mark.parametrize("estimator", ESTIMATORS[1:4])
def test_allocations_that_differ_between_draws_give_what_each_gives_alone(estimator: Any) -> None:
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(12), rng.integers(3, 9, size=12))
    covariates = np.column_stack([rng.normal(size=12)[cluster], rng.normal(size=cluster.size)])
    outcomes = rng.normal(size=(5, cluster.size)) + covariates[:, 0]
    treated = np.stack([rng.permutation(np.arange(12) < 6) for _ in range(5)])
    together = estimator.estimate_batch(ClusterBatch.of_rows(outcomes, cluster, treated, covariates))
    for place in range(5):
        alone = estimator.estimate_batch(
            ClusterBatch.of_rows(outcomes[place : place + 1], cluster, treated[place], covariates)
        )
        # The same sums in another order.
        np.testing.assert_allclose(together.value[place], alone.value[0], rtol=1e-10)
        np.testing.assert_allclose(together.std_error[place], alone.std_error[0], rtol=1e-10)
        np.testing.assert_allclose(together.df[place], alone.df[0], rtol=1e-10)


@pytest.mark.parametrize("cv", [0.0, 0.6])
def test_cross_products_are_drawn_with_the_law_of_the_people(cv: float) -> None:
    plan = gbv.ClusterDesign(clusters_per_arm=15, cluster_size=8, size_cv=cv, **OPTIONS, **COVARIATES)
    process = plan.process(0.4)
    batch = process.draw_batch(400, generator(1, 0))
    people = []
    for number in range(400):
        trial = process.draw(generator(2, number))
        assert trial.cluster is not None
        codes = trial.cluster.codes
        x = np.column_stack([np.ones(codes.size), trial.covariates])
        y = trial.outcomes[:, 0]
        starts = np.searchsorted(codes, np.arange(30))
        gram = np.add.reduceat(x[:, :, None] * x[:, None, :], starts)
        people.append(np.concatenate([gram.reshape(30, -1), np.add.reduceat(x * y[:, None], starts)], axis=1))
    from_people = np.stack(people).reshape(-1, 12)
    from_batch = np.concatenate(
        [np.broadcast_to(batch.gram, (400, 30, 3, 3)).reshape(400, 30, 9), batch.moment], axis=2
    )
    from_batch = from_batch.reshape(-1, 12)
    # 12,000 clusters a side. Means of the sums and of their squares and products: six standard errors for 90 numbers.
    for power in (lambda z: z, lambda z: (z[:, :, None] * z[:, None, :]).reshape(z.shape[0], -1)):
        a, b = power(from_people), power(from_batch)
        spread = np.sqrt((a.var(axis=0) + b.var(axis=0)) / a.shape[0])
        assert np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) <= 6.0 * spread + 1e-9)


def test_covariates_bring_the_power_that_the_plan_says() -> None:
    plan = gbv.ClusterDesign(clusters_per_arm=25, cluster_size=20, **OPTIONS, **COVARIATES)
    found = gbv.simulate_power(plan, [gbv.Ancova(), gbv.DifferenceInMeans()], effect=0.5, seed=3, n_draws=4000)
    assert found.path == "batch"
    expected = dict(gbv.explain_power(plan, effect=0.5).rows)
    with_imbalance = next(float(value) for what, value in expected.items() if "imbalance" in what)
    # The covariates' imbalance by chance is what `explain_power` tells beside; CR2 costs about one point more.
    assert abs(found["ancova"].power.value - with_imbalance) < 0.01 + 5.0 * found["ancova"].power.mcse
    assert found["ancova"].power.value > found["difference_in_means"].power.value + 0.05


def test_single_people_with_covariates_are_drawn_as_planned() -> None:
    plan = gbv.ParallelDesign(n_per_arm=60, outcome=gbv.Continuous(sd=3.0), r_squared=0.5, n_covariates=2)
    trial = plan.process(1.0).draw(np.random.default_rng(1))
    assert trial.covariate_names == ("covariate 1", "covariate 2")
    found = gbv.simulate_power(plan, gbv.Ancova(), effect=1.0, seed=3, n_draws=1500)
    # HC2 with residual degrees of freedom is within a point of the pooled variance of the plan.
    assert abs(found[0].power.value - gbv.power(plan, effect=1.0)) < 0.015 + 4.0 * found[0].power.mcse


def test_what_a_batch_cannot_do_is_refused() -> None:
    plan = gbv.ClusterDesign(clusters_per_arm=5, cluster_size=8, **OPTIONS)
    for estimator in (
        gbv.Ancova(std_error="HC2"),
        gbv.LinAdjusted(population="cluster_average"),
        gbv.Ancova(cluster_by="site"),
    ):
        assert not estimator.in_batches
        with pytest.raises(DesignError, match="path='data'"):
            estimator.estimate_batch(plan.process(0.1).draw_batch(3, np.random.default_rng(1)))
        with pytest.raises(DesignError, match="cannot take these options"):
            gbv.simulate_power(plan, estimator, effect=0.1, seed=1, path="batch")
    twice = np.repeat(np.arange(8.0), 4)
    batch = ClusterBatch.of_rows(
        np.random.default_rng(1).normal(size=(2, 32)),
        np.repeat(np.arange(8), 4),
        np.arange(8) % 2 == 0,
        np.column_stack([twice, -2.0 * twice]),
    )
    with pytest.raises(IdentificationError, match="collinear"):
        gbv.Ancova().estimate_batch(batch)
