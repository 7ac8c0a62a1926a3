"""Plans of clusters for rates and with between-cluster coefficients of variation, against draws and published forms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, ttest_ind

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.design.cluster import ClusterDesign
from gbveval.design.counts import Count
from gbveval.design.icc import ICC, BetweenCV
from gbveval.design.outcomes import Binary, Continuous
from gbveval.planning.closed_form import explain_power, mde, power, required_size
from gbveval.planning.simulate import simulate_power

DRAWS = 20_000
# False alarms once in a million a comparison; seeds are fixed and were not tuned.
SDS = 4.9
RATES = ClusterDesign(20, 50, BetweenCV(0.25), Count(0.5))


def spread(p: float, n: int = DRAWS) -> float:
    return SDS * math.sqrt(p * (1.0 - p) / n)


def test_rates_reject_as_often_as_the_formula_says() -> None:
    rng = np.random.default_rng(31)
    k2 = 0.25**2
    rates = np.array([0.5, 0.35])[:, None, None] * rng.gamma(1.0 / k2, k2, size=(2, DRAWS, 20))
    seen = rng.poisson(rates * 50.0) / 50.0
    share = np.mean(ttest_ind(seen[1], seen[0], axis=1).pvalue < 0.05)
    found = power(RATES, effect=-0.15)
    # Gamma-Poisson rates are skewed, and the treated arm varies less; this moves power by less than 0.01.
    assert found == pytest.approx(share, abs=spread(found) + 0.01)


@pytest.mark.parametrize("dispersion", [0.0, 0.8])
@pytest.mark.parametrize("analysis", ["participants_cr2", "cluster_means"])
@pytest.mark.parametrize("size_cv", [0.0, 0.6])
def test_drawn_counts_have_the_variance_of_the_plan(dispersion: float, analysis: str, size_cv: float) -> None:
    plan = ClusterDesign(
        200, 20, BetweenCV(0.3), Count(0.4, dispersion, exposure=2.0), size_cv=size_cv, analysis=analysis
    )
    process = plan.process(-0.1)
    rng = np.random.default_rng(32)
    gaps = []
    for _ in range(400):
        batch = process.draw_batch(1, rng)
        arms = []
        for side in (False, True):
            totals, sizes = batch.totals[0, batch.treated[0] == side], batch.sizes[0, batch.treated[0] == side]
            mean = (totals / sizes).mean() if analysis == "cluster_means" else totals.sum() / sizes.sum()
            arms.append(mean / 2.0)
        gaps.append(arms[1] - arms[0])
    error = plan.planned_test(-0.1).std_error
    # A ratio of sums is linear but for terms of the order of 1 / 200 clusters.
    assert np.std(gaps) == pytest.approx(error, rel=SDS / math.sqrt(2.0 * 400) + 0.01)
    assert np.mean(gaps) == pytest.approx(-0.1, abs=SDS * error / math.sqrt(400))


@pytest.mark.parametrize("dispersion", [0.0, 0.8])
def test_people_and_totals_of_counts_have_the_same_law(dispersion: float) -> None:
    process = ClusterDesign(30, 8, BetweenCV(0.3), Count(0.6, dispersion, exposure=1.5)).process(0.2)
    rng = np.random.default_rng(33)
    people = np.array([process.draw(rng).outcomes[:, 0].reshape(60, 8) for _ in range(400)])
    totals = process.draw_batch(400, rng).totals
    mean = 1.5 * np.repeat([0.6, 0.8], 30)
    planned = np.sqrt(8.0 * (mean + dispersion * mean**2) + (8.0 * 0.3 * mean) ** 2)
    for drawn in (people.sum(axis=2), totals):
        z = (drawn - 8.0 * mean) / planned
        assert abs(z.mean()) < SDS / math.sqrt(z.size)
        # Gamma mixtures have an excess kurtosis below 2 here: the variance of a variance is at most 4 / n.
        assert (z**2).mean() == pytest.approx(1.0, abs=SDS * math.sqrt(4.0 / z.size))
    # Within clusters, people differ by the planned dispersion.
    within = people.var(axis=2, ddof=1).mean(axis=0)
    expected = mean + dispersion * mean**2
    for arm in (slice(0, 30), slice(30, 60)):
        assert within[arm].mean() == pytest.approx(expected[arm].mean(), rel=0.06)


def test_simulated_trials_of_counts_cover_and_reject_as_planned() -> None:
    found = simulate_power(RATES, gbv.DifferenceInMeans(), effect=-0.15, n_draws=10_000, seed=34)[0]
    planned = power(RATES, effect=-0.15)
    assert found.power.value == pytest.approx(planned, abs=spread(planned, 10_000) + 0.01)
    assert found.coverage.value == pytest.approx(0.95, abs=spread(0.95, 10_000) + 0.005)
    assert abs(found.bias.value) < SDS * found.bias.mcse
    truth = RATES.process(-0.15).truth(Estimand("ITT", "mean_difference", "participant_average"))
    assert truth == pytest.approx(-0.15)


def test_a_checked_frame_of_counts_is_the_trial_that_is_drawn() -> None:
    process = ClusterDesign(3, 4, BetweenCV(0.3), Count(0.6)).process(0.2)
    drawn = process.draw(np.random.default_rng(1))
    checked = process.check(process.frame(np.random.default_rng(1)))
    assert np.array_equal(drawn.outcomes, checked.outcomes)


def published(p0: float, p1: float, within: float, k: float, alpha: float, target: float, constant: float) -> float:
    """Hayes and Bennett's number of clusters an arm, written out."""
    z = norm.isf(alpha / 2.0) + norm.ppf(target)
    return float(constant + z**2 * (within + k**2 * (p0**2 + p1**2)) / (p0 - p1) ** 2)


def test_hayes_and_bennetts_formula_is_reached() -> None:
    k, options = 0.3, {"alpha": 0.025, "alternative": "less", "power": 0.9}
    rates = ClusterDesign(10, 100, BetweenCV(k), Count(0.02, exposure=2.0), reference="hayes_bennett")
    assert required_size(rates, effect=-0.008, **options).exact == pytest.approx(
        published(0.02, 0.012, (0.02 + 0.012) / 200.0, k, 0.05, 0.9, 1.0), rel=1e-9
    )
    risks = ClusterDesign(10, 60, BetweenCV(k), Binary(0.25), reference="hayes_bennett")
    within = (0.25 * 0.75 + 0.15 * 0.85) / 60.0
    assert required_size(risks, effect=-0.1, **options).exact == pytest.approx(
        published(0.25, 0.15, within, k, 0.05, 0.9, 1.0), rel=1e-9
    )


def test_the_references_agree_when_there_are_many_clusters() -> None:
    plans = [replace(RATES, clusters_per_arm=4000, reference=word) for word in ("t", "normal", "hayes_bennett")]
    effect = 2.5 * plans[0].planned_test(-0.01).std_error
    values = [power(plan, effect=-effect) for plan in plans]
    assert max(values) - min(values) < 5e-4
    few = [power(replace(RATES, clusters_per_arm=6, reference=word), effect=-0.2) for word in ("t", "normal")]
    assert few[0] < few[1] - 0.02


def test_a_coefficient_of_variation_is_an_icc_at_the_level_of_each_arm() -> None:
    by_cv = ClusterDesign(15, 40, BetweenCV(0.4), Binary(0.3))
    for level in (0.3, 0.2):
        assert by_cv.icc_at(level) == pytest.approx(ICC.from_between_cv(0.4, risk=level).value)
    rates = ClusterDesign(15, 40, BetweenCV(0.4), Count(0.3, exposure=2.0))
    by_icc = replace(rates, icc=ICC(rates.icc_at(0.3), scale="observed"))
    # At no effect both arms have the control's level, and the plans are the same.
    assert by_icc.planned_test(0.0).std_error == pytest.approx(rates.planned_test(0.0).std_error, rel=1e-12)


def test_without_variation_between_clusters_a_rate_is_poisson() -> None:
    plan = ClusterDesign(15, 40, BetweenCV(0.0), Count(0.3, exposure=2.0), reference="normal")
    person_time = 15 * 40 * 2.0
    assert plan.planned_test(0.1).std_error == pytest.approx(math.sqrt((0.3 + 0.4) / person_time))


def test_the_mde_of_rates_is_found_on_both_sides() -> None:
    for direction in ("increase", "decrease"):
        assert power(RATES, effect=mde(RATES, direction=direction)) == pytest.approx(0.8, abs=1e-8)


def test_risks_that_cannot_vary_so_much_are_named() -> None:
    with pytest.raises(DesignError, match="cannot have a coefficient of variation"):
        ClusterDesign(15, 40, BetweenCV(0.9), Binary(0.7))
    plan = ClusterDesign(15, 40, BetweenCV(0.9), Binary(0.5))
    words = [row[1] for row in explain_power(plan, effect=0.3).rows if row[0] == "assumes"]
    assert any("cannot have a coefficient of variation of 0.9" in word for word in words)
    assert plan.icc_at(0.8) == 1.0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"outcome": Continuous()}, "depends on where zero is"),
        ({"icc": ICC(0.1, scale="latent_logistic")}, "A count needs ICC"),
        ({"icc": 0.1}, "unnamed scale"),
        ({"reference": "z"}, "reference must be one of"),
        ({"outcome": gbv.Ordinal((0.5, 0.5))}, "outcome must be"),
        ({"r_squared_people": 0.2}, "continuous outcome only"),
    ],
)
def test_what_does_not_describe_a_plan_of_rates_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(DesignError, match=match):
        replace(RATES, **change)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, True, "0.2", None])
def test_a_coefficient_of_variation_is_a_number_from_zero(value: Any) -> None:
    with pytest.raises(DesignError, match="coefficient of variation"):
        BetweenCV(value)


def test_more_people_cannot_help_beyond_the_variation_between_clusters() -> None:
    plan = ClusterDesign(6, 20, BetweenCV(0.4), Count(0.5))
    with pytest.raises(DesignError, match="between-cluster coefficient of variation of"):
        required_size(plan, effect=-0.1, solve_for="cluster_size")
