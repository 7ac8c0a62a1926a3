"""Plans of clusters over periods: the questions every design answers, what is refused, and what simulation finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri, stdtrit

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.replicate import binomial_band
from gbveval.design.cluster_period_correlation import ClusterPeriodCorrelation
from gbveval.design.cluster_schedule import ClusterSchedule
from gbveval.design.icc import ICC
from gbveval.design.longitudinal import LongitudinalClusterDesign
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.planned_test import PlannedDesign
from gbveval.planning.closed_form import explain_power, mde, power, power_curve, required_size
from gbveval.planning.simulate import simulate_power

# Each band is left by chance once in a million; the seeds are fixed and were not tuned.
FALSE_ALARM = 1e-6
OBSERVED = ICC(0.04, scale="observed")
LIKENESS = ClusterPeriodCorrelation(OBSERVED, cac=0.8, decay=0.9)
WEDGE = LongitudinalClusterDesign(ClusterSchedule.stepped_wedge(4), 3, 20, LIKENESS, Continuous(sd=2.0))
PLANS: dict[str, tuple[LongitudinalClusterDesign, float]] = {
    "wedge": (WEDGE, 0.6),
    "wedge, normal": (replace(WEDGE, reference="normal"), -0.6),
    "by exposure time": (replace(WEDGE, course="exposure_time"), 0.8),
    "second exposure time": (replace(WEDGE, course="exposure_time", exposure_time=2), 0.8),
    "cohort": (replace(WEDGE, correlation=replace(LIKENESS, individual_autocorrelation=0.5)), 0.5),
    "no periods": (replace(WEDGE, period_effects=False), 0.4),
    "effects differ": (replace(WEDGE, effect_sd=0.2), 0.6),
    "crossover": (replace(WEDGE, schedule=ClusterSchedule.crossover(), clusters_per_sequence=6), 0.6),
    "change": (
        replace(
            WEDGE,
            schedule=ClusterSchedule.parallel_with_baseline(),
            clusters_per_sequence=10,
            cluster_effects="fixed",
        ),
        -0.6,
    ),
    "risk": (replace(WEDGE, outcome=Binary(0.3), cluster_period_size=40, trend=-0.05), -0.1),
    "odds": (replace(WEDGE, outcome=Binary(0.3), cluster_period_size=40, link="logit"), -0.1),
    "risk ratio": (replace(WEDGE, outcome=Binary(0.3), cluster_period_size=40, link="log"), 0.1),
}


@pytest.mark.parametrize("name", PLANS)
@settings(deadline=None, max_examples=6)
@given(target=st.floats(0.3, 0.95))
def test_size_effect_and_power_are_inverses_of_each_other(name: str, target: float) -> None:
    plan, effect = PLANS[name]
    assert isinstance(plan, PlannedDesign)
    if not isinstance(plan.outcome, Binary):
        found = mde(plan, power=target, direction="increase" if effect > 0.0 else "decrease")
        assert type(found) is float
        assert power(plan, effect=found) == pytest.approx(target, abs=1e-8)
    needed = required_size(plan, effect=effect, power=target)
    assert needed.solve_for == "clusters_per_sequence"
    assert needed.achieved_power >= target - 1e-9
    assert needed.rounded - 1 < needed.exact * (1.0 + 1e-8) or needed.exact == plan.least_sizes[needed.solve_for]
    assert power(needed.design, effect=effect) == needed.achieved_power


@pytest.mark.parametrize("name", PLANS)
def test_power_is_alpha_at_no_effect_grows_away_from_it_and_has_two_tails(name: str) -> None:
    plan, effect = PLANS[name]
    assert power(plan, effect=0.0, alpha=0.03) == pytest.approx(0.03, abs=1e-9)
    curve = power_curve(plan, [share * effect for share in (0.1, 0.3, 0.6, 1.0)]).column("power")
    assert list(curve) == sorted(curve)
    tails = [power(plan, effect=effect, alpha=0.025, alternative=side) for side in ("greater", "less")]
    assert sum(tails) == pytest.approx(power(plan, effect=effect), abs=1e-9)
    for size in plan.least_sizes:
        larger = [power(plan.resized(size, n), effect=effect) for n in (4, 8, 16)]
        assert larger == sorted(larger)


def test_a_detectable_effect_on_a_risk_has_the_power_asked_for() -> None:
    for name in ("risk", "odds", "risk ratio"):
        found = mde(PLANS[name][0], power=0.8, direction="decrease")
        assert found < 0.0
        assert power(PLANS[name][0], effect=found) == pytest.approx(0.8, abs=1e-8)


def test_the_price_of_the_small_sample_correction_is_told() -> None:
    told = dict(explain_power(WEDGE, effect=0.6).rows)
    normal = power(replace(WEDGE, reference="normal"), effect=0.6)
    assert told["power against the normal, too large with few clusters"] == f"{normal:.4f}"
    assert normal > power(WEDGE, effect=0.6) + 0.03
    told = dict(explain_power(replace(WEDGE, reference="normal"), effect=0.6).rows)
    assert told["power against t with 10 df, safe with few clusters"] == f"{power(WEDGE, effect=0.6):.4f}"


def test_more_respondents_in_a_cell_cannot_do_what_clusters_do() -> None:
    with pytest.raises(
        DesignError, match=r"cluster_period_size alone cannot bring power.*cac 0.8.*Add clusters instead"
    ):
        required_size(WEDGE, effect=0.25, solve_for="cluster_period_size")
    steady = replace(WEDGE, correlation=ClusterPeriodCorrelation(OBSERVED, cac=1.0))
    assert required_size(steady, effect=0.25, solve_for="cluster_period_size").achieved_power >= 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule": ((0, 1),)}, "must be a ClusterSchedule"),
        ({"correlation": 0.05}, "must be ClusterPeriodCorrelation"),
        ({"outcome": 1.0}, "must be Continuous"),
        ({"clusters_per_sequence": (3, 3)}, "has 2 numbers, and the schedule 4"),
        ({"clusters_per_sequence": 0}, "clusters_per_sequence must be a whole number"),
        ({"cluster_period_size": 2.5}, "cluster_period_size must be a whole number"),
        ({"course": "later"}, "course must be one of"),
        ({"exposure_time": 2}, "needs course='exposure_time'"),
        ({"course": "exposure_time", "exposure_time": 9}, "must be one of those observed"),
        ({"course": "exposure_time", "exposure_time": True}, "must be one of those observed"),
        ({"course": "exposure_time", "schedule": ClusterSchedule.crossover()}, "stay treated"),
        ({"link": "logit"}, "are for Binary outcomes"),
        ({"link": "probit"}, "link must be one of"),
        ({"outcome": Binary(0.3), "effect_sd": 0.1}, "units of a Continuous outcome"),
        ({"outcome": Binary(0.3), "trend": 0.4}, "not between 0 and 1"),
        ({"period_effects": 1}, "must be True or False"),
        ({"reference": "z"}, "reference must be one of"),
        ({"schedule": ClusterSchedule.stepped_wedge(2), "clusters_per_sequence": 1}, "no degree of freedom"),
    ],
)
def test_what_is_impossible_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DesignError, match=words):
        replace(WEDGE, **change)


def test_schedules_and_correlations_are_refused_by_name() -> None:
    for rows, words in (
        ([[0, 1]], "must be tuples"),
        (((0, 1), (0,)), "an entry for every period"),
        (((0, 2),), "is 0"),
        (((0, True),), "is 0"),
        (((0, 0),), "needs observed periods"),
        (((0, 1), (None, None)), "never observed"),
    ):
        with pytest.raises(DesignError, match=words):
            ClusterSchedule(rows)  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="must exceed transition_periods"):
        ClusterSchedule.stepped_wedge(3, transition_periods=1, observed_around=1)
    with pytest.raises(DesignError, match="observed scale"):
        ClusterPeriodCorrelation(ICC(0.05, scale="latent_logistic"), cac=1.0)
    with pytest.raises(DesignError, match="cac must be"):
        ClusterPeriodCorrelation(OBSERVED, cac=1.2)
    with pytest.raises(DesignError, match="at least as alike in one period"):
        ClusterPeriodCorrelation.from_alphas(0.05, 0.06)
    with pytest.raises(DesignError, match="a risk in some period is not between 0 and 1"):
        power(replace(PLANS["risk"][0], outcome=Binary(0.1), trend=0.08), effect=-0.05)
    with pytest.raises(DesignError, match="against no difference only"):
        PLANS["odds"][0].planned_test(0.1, null=0.05)


def _generalised_least_squares(plan: LongitudinalClusterDesign, effect: float, n: int) -> np.ndarray:
    """Return estimates from drawn trials with the covariance that is true, cluster by cluster."""
    process = plan.process(effect)
    periods = np.arange(float(plan.schedule.n_periods))
    V = plan.outcome.variance(0.0) * plan.correlation.of_means(float(plan.cluster_period_size), periods)
    X = np.repeat(np.array(plan.schedule.rows, dtype=float), plan.sequence_sizes, axis=0)
    design = [np.column_stack([row, np.eye(periods.size)]) for row in X]
    weights = [(x.T @ np.linalg.inv(V + plan.effect_sd**2 * np.outer(x[:, 0], x[:, 0]))) for x in design]
    information = sum(w @ x for w, x in zip(weights, design, strict=True))
    found = []
    for seed in range(n):
        trial = process.draw(np.random.default_rng([20261124, seed]))
        assert trial.cluster is not None
        assert trial.time is not None
        place = trial.cluster.codes * periods.size + trial.time.codes
        means = np.bincount(place, weights=trial.outcomes[:, 0]) / np.bincount(place)
        cells = means.reshape(-1, periods.size)
        right = sum(w @ y for w, y in zip(weights, cells, strict=True))
        found.append(np.linalg.solve(information, right)[0])
    return np.array(found)


@pytest.mark.parametrize("changes", [{}, {"trend": 1.0, "effect_sd": 0.0}, {"schedule": ClusterSchedule.crossover()}])
def test_the_formula_is_exact_for_least_squares_with_known_covariance(changes: dict[str, Any]) -> None:
    plan = replace(WEDGE, correlation=ClusterPeriodCorrelation(OBSERVED, cac=0.7, decay=0.8), reference="normal")
    plan = replace(plan, **changes)
    error = plan.planned_test(0.0).std_error
    effect, n = 2.5 * error, 2000
    found = _generalised_least_squares(plan, effect, n)
    assert abs(found.mean() - effect) < 5.0 * error / n**0.5
    low, high = binomial_band(power(plan, effect=effect), n, false_alarm=FALSE_ALARM)
    assert low <= np.mean(np.abs(found) / error > ndtri(0.975)) <= high


def test_the_estimator_that_will_be_run_lies_between_the_two_references() -> None:
    plan = replace(WEDGE, correlation=ClusterPeriodCorrelation(OBSERVED, cac=0.8))
    found = simulate_power(plan, gbv.SteppedWedge(effect="immediate"), effect=0.6, n_draws=400, seed=20261124)[0]
    n = 400
    # Kenward and Roger's df are those of the cells, more than clusters - 2 and fewer than infinity. REML holds the
    # variances at zero or above, so that a few draws have a standard error that is too large: 0.03 is allowed for it.
    low = binomial_band(power(plan, effect=0.6) - 0.03, n, false_alarm=FALSE_ALARM)[0]
    high = binomial_band(power(replace(plan, reference="normal"), effect=0.6), n, false_alarm=FALSE_ALARM)[1]
    assert low <= found.power.value <= high
    assert abs(found.bias.value) < 5.0 * found.bias.mcse


def test_effects_by_exposure_time_are_those_of_the_estimator() -> None:
    plan = replace(WEDGE, course="exposure_time", correlation=ClusterPeriodCorrelation(OBSERVED, cac=0.8))
    found = simulate_power(plan, gbv.SteppedWedge(), effect=0.0, n_draws=200, seed=20261124)[0]
    # The spread of 200 estimates is known to 5 %: four of these.
    assert found.rmse.value == pytest.approx(plan.planned_test(0.0).std_error, rel=0.2)


def test_drawn_trials_are_checked_data_and_know_their_truth() -> None:
    plan = replace(WEDGE, schedule=ClusterSchedule.stepped_wedge(10, observed_around=2), clusters_per_sequence=2)
    process = plan.process(0.5)
    drawn = process.draw(np.random.default_rng(4))
    checked = process.check(process.frame(np.random.default_rng(4)))
    assert drawn.digest == checked.digest
    assert drawn.crosses_over
    assert process.truth(Estimand("ITT", "mean_difference", "participant_average")) == 0.5
    with pytest.raises(DesignError, match="does not know the true"):
        process.truth(Estimand("ATT", "mean_difference", "treated"))
    with pytest.raises(DesignError, match="Trials of a cohort"):
        replace(WEDGE, correlation=replace(LIKENESS, individual_autocorrelation=0.5)).process(0.1)


def test_clusters_whose_effects_differ_are_drawn_so() -> None:
    plan = replace(WEDGE, effect_sd=1.0, cluster_period_size=400, clusters_per_sequence=60)
    trial = plan.process(0.0).draw(np.random.default_rng(20261124))
    assert trial.cluster is not None
    assert trial.time is not None
    last = trial.outcomes[trial.time.codes == 4, 0].reshape(plan.n_clusters, -1).mean(axis=1)
    first = trial.outcomes[trial.time.codes == 0, 0].reshape(plan.n_clusters, -1).mean(axis=1)
    expected = 4.0 * plan.correlation.of_means(400.0, np.zeros(1))[0, 0]
    # A variance of 240 normal means is known to 9 %: five of these.
    assert np.var(first, ddof=1) == pytest.approx(expected, rel=0.46)
    assert np.var(last, ddof=1) == pytest.approx(expected + 1.0, rel=0.46)


def _feasible(plan: LongitudinalClusterDesign, n: int) -> tuple[np.ndarray, int]:
    """Return |z| of feasible generalised least squares without an effect, variances by the method of moments.

    Residual and cluster variance come from the sums of squares left by the model with and without cluster levels.
    """
    X = np.repeat(np.array(plan.schedule.rows, dtype=float), plan.sequence_sizes, axis=0)
    count, t = X.shape
    rng, m = np.random.default_rng(20261124), plan.cluster_period_size
    icc = float(plan.correlation.icc.value)
    y = icc**0.5 * rng.normal(size=(n, count, 1)) + ((1.0 - icc) / m) ** 0.5 * rng.normal(size=(n, count, t))
    D = np.array([np.column_stack([x, np.eye(t)]) for x in X])
    Z, centred = D.sum(axis=1), np.eye(t) - 1.0 / t

    def left(weight: np.ndarray) -> np.ndarray:
        inverse = np.linalg.pinv(np.einsum("itp,ts,isq->pq", D, weight, D), hermitian=True)
        right = np.einsum("itp,ts,nis->np", D, weight, y)
        total = np.einsum("nit,ts,nis->n", y, weight, y)
        return np.asarray(total - np.einsum("np,pq,nq->n", right, inverse, right))

    every = np.einsum("itp,itq->pq", D, D)
    residual = left(centred) / (count * t - count - t)
    spread = count * t - np.einsum("ip,pq,iq->", Z, np.linalg.inv(every), Z)
    between = np.maximum((left(np.eye(t)) - residual * (count * t - t - 1)) / spread, 0.0)
    share = between / (residual + t * between)
    information = (every - share[:, None, None] * (Z.T @ Z)) / residual[:, None, None]
    right = np.einsum("itp,nit->np", D, y) - share[:, None] * np.einsum("ip,ni->np", Z, y.sum(axis=2))
    inverse = np.linalg.inv(information)[:, 0]
    return np.abs(np.einsum("np,np->n", inverse, right / residual[:, None])) / np.sqrt(inverse[:, 0]), count


@pytest.mark.parametrize(("sequences", "size", "icc"), [(4, 20, 0.04), (5, 50, 0.01)])
def test_with_few_clusters_the_normal_rejects_too_often_and_the_t_too_seldom(
    sequences: int, size: int, icc: float
) -> None:
    clusters = {4: 3, 5: 2}[sequences]
    likeness = ClusterPeriodCorrelation(ICC(icc, scale="observed"), cac=1.0)
    plan = LongitudinalClusterDesign(
        ClusterSchedule.stepped_wedge(sequences), clusters, size, likeness, Continuous(), reference="normal"
    )
    n = 20_000
    z, count = _feasible(plan, n)
    df = replace(plan, reference="t").planned_test(0.0).df
    assert df == count - 2.0
    by_normal, by_t = np.mean(z > ndtri(0.975)), np.mean(z > stdtrit(df, 0.975))
    # What the documentation says: 0.06 to 0.07, and 0.03 to 0.04.
    low, high = binomial_band(0.06, n, false_alarm=FALSE_ALARM)[0], binomial_band(0.07, n, false_alarm=FALSE_ALARM)[1]
    assert low <= by_normal <= high
    assert by_normal > binomial_band(0.05, n, false_alarm=FALSE_ALARM)[1]
    low, high = binomial_band(0.03, n, false_alarm=FALSE_ALARM)[0], binomial_band(0.04, n, false_alarm=FALSE_ALARM)[1]
    assert low <= by_t <= high
    assert by_t < binomial_band(0.05, n, false_alarm=FALSE_ALARM)[0]


def test_a_wedge_can_be_planned_against_a_margin() -> None:
    plan = gbv.NonInferiorityDesign(WEDGE, margin=0.5)
    assert power(plan, effect=0.0) == pytest.approx(power(WEDGE, effect=-0.5, alternative="less"), abs=1e-9)
    both = gbv.EquivalenceDesign(replace(WEDGE, cluster_period_size=400), margin_low=-1.0, margin_high=1.0)
    assert power(both, effect=0.0) > 0.8
    with pytest.raises(DesignError, match="against no difference only"):
        gbv.NonInferiorityDesign(PLANS["odds"][0], margin=0.05)


def test_risks_are_drawn_with_the_planned_means_and_correlations() -> None:
    likeness = ClusterPeriodCorrelation(ICC(0.1, scale="observed"), cac=0.6, decay=0.8)
    schedule = ClusterSchedule(((0, 0, 0), (0, 0, 1)))
    plan = LongitudinalClusterDesign(
        schedule, 3000, 4, likeness, Binary(0.3), link="logit", trend=0.0, reference="normal"
    )
    process = plan.process(0.2)
    trial = process.draw(np.random.default_rng(20261124))
    assert trial.digest == process.check(process.frame(np.random.default_rng(20261124))).digest
    cells = trial.outcomes[:, 0].reshape(6000, 3, 4)
    means = cells[3000:].mean(axis=(0, 2))
    # A share of 12,000 clustered answers has a standard error below 0.006.
    np.testing.assert_allclose(means, [0.3, 0.3, 0.5], atol=5 * 0.006)
    control = cells[:3000] - 0.3
    sums = control.sum(axis=2)
    within = np.mean((sums**2 - (control**2).sum(axis=2)) / 12.0) / 0.21
    across = [np.mean(sums[:, s] * sums[:, t]) / 16.0 / 0.21 for s, t in ((0, 1), (1, 2), (0, 2))]
    # Products of two answers over 3,000 clusters: standard errors of at most 0.25 / 0.21 / sqrt(3000) / 2 = 0.011.
    assert within == pytest.approx(0.1, abs=5 * 0.011)
    np.testing.assert_allclose(across, [0.048, 0.048, 0.0384], atol=5 * 0.011)


def test_the_formula_for_risks_is_near_the_estimator_that_will_be_run() -> None:
    likeness = ClusterPeriodCorrelation(ICC(0.03, scale="observed"), cac=0.8)
    plan = LongitudinalClusterDesign(ClusterSchedule.stepped_wedge(4), 5, 25, likeness, Binary(0.35), trend=-0.03)
    effect, n = -0.12, 300
    found = simulate_power(plan, gbv.SteppedWedge(effect="immediate"), effect=effect, n_draws=n, seed=20261124)[0]
    low = binomial_band(power(plan, effect=effect) - 0.03, n, false_alarm=FALSE_ALARM)[0]
    high = binomial_band(power(replace(plan, reference="normal"), effect=effect) + 0.02, n, false_alarm=FALSE_ALARM)[1]
    assert low <= found.power.value <= high
    assert abs(found.bias.value) < 5.0 * found.bias.mcse
    process = plan.process(effect)
    assert process.truth(Estimand("ITT", "risk_difference", "participant_average")) == effect
    with pytest.raises(DesignError, match="only the risk_difference"):
        process.truth(Estimand("ITT", "odds_ratio", "participant_average"))
