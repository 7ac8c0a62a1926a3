"""Studies drawn from a plan: frames, checked data and cluster totals agree, and the truth is the one declared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.protocols import BatchProcess, Process
from gbveval.design.cluster import ClusterDesign
from gbveval.design.icc import ICC
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.parallel import ParallelDesign
from gbveval.design.processes import ClusterProcess

OBSERVED = ICC(0.1, scale="observed")


def process(outcome: Any, *, size_cv: float = 0.0, k: int = 5, m: int = 8, icc: ICC = OBSERVED) -> ClusterProcess:
    plan = ClusterDesign(clusters_per_arm=k, cluster_size=m, icc=icc, outcome=outcome, size_cv=size_cv)
    return plan.process(-0.1)


PROCESSES = [
    ParallelDesign(n_per_arm=12, outcome=Continuous(sd=2.0, mean=5.0), ratio=1.5).process(1.0),
    ParallelDesign(n_per_arm=12, outcome=Binary(0.4)).process(-0.1),
    process(Continuous(sd=3.0, mean=10.0)),
    process(Binary(0.35), size_cv=0.5),
    process(Binary(0.35), k=60, m=3, icc=ICC(0.0, scale="observed")),
    process(Binary(0.35), icc=ICC(0.1, scale="latent_logistic")),
]


@pytest.mark.parametrize("source", PROCESSES)
def test_a_drawn_trial_is_the_checked_frame_of_the_same_seed(source: Any) -> None:
    drawn = source.draw(np.random.default_rng(11))
    checked = source.check(source.frame(np.random.default_rng(11)))
    assert drawn.digest == checked.digest
    assert drawn.arms == checked.arms == ("control", "treated")
    assert drawn.outcome_names == checked.outcome_names
    assert drawn.covariates.shape == checked.covariates.shape
    assert drawn.n_assessed == checked.n_assessed
    assert (drawn.cluster is None) == (checked.cluster is None)
    if drawn.cluster is not None:
        assert drawn.cluster.levels == checked.cluster.levels
    a, b = (gbv.DifferenceInMeans().estimate(trial) for trial in (drawn, checked))
    assert a.values == b.values
    assert a.std_errors == b.std_errors


def test_processes_are_what_planning_expects() -> None:
    assert all(isinstance(source, Process) for source in PROCESSES)
    assert not isinstance(PROCESSES[0], BatchProcess)
    assert isinstance(PROCESSES[2], BatchProcess)


def test_the_truth_is_that_of_exactly_the_estimand_asked_for() -> None:
    source = process(Binary(0.4))
    assert source.truth(Estimand("ITT", "risk_difference")) == -0.1
    assert source.truth(Estimand("ITT", "risk_ratio", "cluster_average")) == pytest.approx(np.log(0.75), rel=1e-12)
    for other in (
        Estimand("ITT", "odds_ratio", scale="conditional"),
        Estimand("ITT", "mean_difference"),
        Estimand("ATT", "risk_difference"),
        Estimand("ITT", "risk_difference", "compliers"),
    ):
        with pytest.raises(DesignError, match="does not know the true"):
            source.truth(other)
    with pytest.raises(DesignError, match="does not know"):
        PROCESSES[1].truth(Estimand("ITT", "risk_difference", "cluster_average"))


def test_an_effect_that_leads_out_of_the_unit_interval_makes_no_process() -> None:
    with pytest.raises(DesignError, match="treated risk"):
        ParallelDesign(n_per_arm=12, outcome=Binary(0.05)).process(-0.1)


@pytest.mark.parametrize("outcome", [Continuous(sd=3.0, mean=10.0), Binary(0.35)])
@pytest.mark.parametrize("size_cv", [0.0, 0.6])
def test_totals_of_batches_and_of_people_have_the_same_moments(outcome: Any, size_cv: float) -> None:
    source = process(outcome, size_cv=size_cv, k=40, m=12)
    batches = [source.draw_batch(1, np.random.default_rng([1, i])) for i in range(150)]
    trials = [source.draw(np.random.default_rng([2, i])) for i in range(150)]
    from_batches = np.concatenate([b.totals[0] / b.sizes[0] for b in batches])
    sizes = [np.bincount(t.cluster.codes) for t in trials]
    from_people = np.concatenate(
        [np.bincount(t.cluster.codes, weights=t.outcomes[:, 0]) / n for t, n in zip(trials, sizes, strict=True)]
    )
    # 12,000 independent cluster means a side: five standard errors of the mean and of the log variance
    # (whose standard error is at most sqrt(4 / n) for these light tails).
    n = from_people.size
    spread = np.sqrt((from_people.var() + from_batches.var()) / n)
    assert abs(from_people.mean() - from_batches.mean()) < 5.0 * spread
    assert abs(np.log(from_people.var() / from_batches.var())) < 5.0 * np.sqrt(2.0 * 4.0 / n)
    assert np.concatenate(sizes).mean() == pytest.approx(np.concatenate([b.sizes for b in batches]).mean(), rel=0.03)


def test_batch_totals_of_a_risk_are_beta_binomial_with_the_planned_icc() -> None:
    source = process(Binary(0.3), k=200, m=25, icc=ICC(0.04, scale="observed"))
    batch = source.draw_batch(500, np.random.default_rng(4))
    control = batch.totals[:, ~batch.treated[0]].ravel()
    expected = 25 * 0.3 * 0.7 * (1 + 24 * 0.04)
    # 100,000 totals: five standard errors of mean and variance (kurtosis of a beta-binomial near 3).
    assert control.mean() == pytest.approx(7.5, abs=5.0 * np.sqrt(expected / control.size))
    assert control.var() == pytest.approx(expected, rel=5.0 * np.sqrt(2.5 / control.size))
    treated = batch.totals[:, batch.treated[0]]
    assert treated.mean() / 25 == pytest.approx(0.2, abs=0.002)


def test_draws_of_a_batch_share_sizes_only_where_these_are_fixed() -> None:
    assert process(Binary(0.3)).draw_batch(7, np.random.default_rng(1)).sizes.shape == (1, 10)
    batch = process(Binary(0.3), size_cv=0.5).draw_batch(7, np.random.default_rng(1))
    assert batch.totals.shape == batch.sizes.shape == (7, 10)
    assert np.unique(batch.sizes.sum(axis=1)).size > 1
