"""Plans of rollouts: the questions every design answers, what is refused, and what simulation finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import ttest_ind

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.replicate import binomial_band
from gbveval.design.panel_errors import Autoregressive, AverageCovariances, Equicorrelated, Independent
from gbveval.design.planned_test import PlannedDesign
from gbveval.design.rollout import RolloutDesign
from gbveval.planning.closed_form import mde, power, power_curve, required_size
from gbveval.planning.simulate import simulate_power

# Each band is left by chance once in a million; the seeds are fixed and were not tuned.
FALSE_ALARM = 1e-6
FADING = Autoregressive(0.5, sd=2.0)
STAGGERED = RolloutDesign(8, (None, 4, 6), (20, 12, 8), FADING)
PLANS: dict[str, tuple[RolloutDesign, float]] = {
    "staggered": (STAGGERED, 1.0),
    "without never treated": (RolloutDesign(6, (2, 4, 6), 12, FADING), -1.5),
    "before and after": (RolloutDesign.before_after(20, 10, n_before=2, n_after=3, errors=FADING), 1.5),
    "normal": (replace(STAGGERED, reference="normal"), 1.0),
    "averages": (
        RolloutDesign.before_after(30, 30, n_before=3, n_after=3, errors=AverageCovariances(1.0, 0.4, 0.35, 0.2)),
        -0.5,
    ),
    "waves": (replace(STAGGERED, people_per_period=20, people_sd=5.0), 1.5),
    "alike": (replace(STAGGERED, errors=Equicorrelated(0.5, sd=2.0)), 0.7),
}


@pytest.mark.parametrize("name", PLANS)
@settings(deadline=None, max_examples=6)
@given(target=st.floats(0.3, 0.95))
def test_size_effect_and_power_are_inverses_of_each_other(name: str, target: float) -> None:
    plan, effect = PLANS[name]
    assert isinstance(plan, PlannedDesign)
    found = mde(plan, power=target, direction="increase" if effect > 0.0 else "decrease")
    assert type(found) is float
    assert power(plan, effect=found) == pytest.approx(target, abs=1e-8)
    needed = required_size(plan, effect=effect, power=target)
    assert needed.solve_for == "n_units"
    assert needed.achieved_power >= target - 1e-9
    # Units are whole, so that shares of cohorts are a little off: never by more than a unit a cohort.
    assert needed.rounded <= needed.exact + 1.0 + len(plan.first_treated) or needed.exact == 3.0
    assert power(needed.design, effect=effect) == needed.achieved_power
    assert needed.design.n_units == needed.rounded  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", PLANS)
def test_power_is_alpha_at_no_effect_grows_away_from_it_and_has_two_tails(name: str) -> None:
    plan, effect = PLANS[name]
    assert power(plan, effect=0.0, alpha=0.03) == pytest.approx(0.03, abs=1e-9)
    curve = power_curve(plan, [share * effect for share in (0.1, 0.3, 0.6, 1.0)]).column("power")
    assert list(curve) == sorted(curve)
    tails = [power(plan, effect=effect, alpha=0.025, alternative=side) for side in ("greater", "less")]
    assert sum(tails) == pytest.approx(power(plan, effect=effect), abs=1e-9)
    larger = [power(plan.resized("n_units", n), effect=effect) for n in (30, 60, 120)]
    assert larger == sorted(larger)
    assert plan.planned_test(effect, size=("n_units", np.inf)).std_error == 0.0


def test_more_people_cannot_do_what_places_do() -> None:
    plan = PLANS["waves"][0]
    with pytest.raises(DesignError, match=r"people_per_period alone cannot bring power.*Add places instead"):
        required_size(plan, effect=0.8, solve_for="people_per_period")
    assert required_size(plan, effect=1.5, solve_for="people_per_period").achieved_power >= 0.8


def test_changes_of_units_have_the_t_test_that_is_planned() -> None:
    plan = RolloutDesign.before_after(12, 8, n_before=3, n_after=2, errors=Autoregressive(0.6))
    effect, n = 3.0 * plan.planned_test(0.0).std_error, 20_000
    rng = np.random.default_rng(20261124)
    errors = rng.normal(size=(n, 20, 5)) @ np.linalg.cholesky(plan.errors.covariance(5, None)).T
    change = errors[:, :, 3:].mean(axis=2) - errors[:, :, :3].mean(axis=2)
    change[:, 12:] += effect
    rejected = np.mean(ttest_ind(change[:, 12:], change[:, :12], axis=1).pvalue < 0.05)
    low, high = binomial_band(power(plan, effect=effect), n, false_alarm=FALSE_ALARM)
    assert low <= rejected <= high


@pytest.mark.parametrize("name", ["staggered", "waves", "without never treated"])
def test_the_formula_is_exact_for_the_coefficient_with_known_variance(name: str) -> None:
    plan = replace(PLANS[name][0], reference="normal")
    error = plan.planned_test(0.0).std_error
    effect, n = 2.5 * error, 2000
    process = plan.process(effect)
    D = np.repeat(plan._treatment(), plan.cohort_sizes, axis=0)
    left = D - D.mean(axis=1, keepdims=True) - D.mean(axis=0) + D.mean()
    found = []
    for seed in range(n):
        y = process.frame(np.random.default_rng([20261124, seed]))["outcome"].reshape(D.shape)
        found.append(float((left * y).sum() / (left**2).sum()))
    estimates = np.array(found)
    assert abs(estimates.mean() - effect) < 5.0 * error / n**0.5
    low, high = binomial_band(power(plan, effect=effect), n, false_alarm=FALSE_ALARM)
    assert low <= np.mean(np.abs(estimates) / error > ndtri(0.975)) <= high


def test_the_estimators_that_will_be_run_have_the_planned_power() -> None:
    plan = RolloutDesign(6, (None, 3, 5), (40, 25, 25), Autoregressive(0.5))
    effect, n = 3.0 * plan.planned_test(0.0).std_error, 300
    found = simulate_power(plan, gbv.TwoWayFixedEffects(), effect=effect, n_draws=n, seed=20261124)[0]
    # Clustered errors of 90 units are a little small: 0.02 is allowed for it.
    expected = power(plan, effect=effect)
    assert binomial_band(expected - 0.02, n, false_alarm=FALSE_ALARM)[0] <= found.power.value
    assert found.power.value <= binomial_band(expected + 0.02, n, false_alarm=FALSE_ALARM)[1]
    assert abs(found.bias.value) < 5.0 * found.bias.mcse


def test_drawn_panels_are_checked_data_and_know_their_truth() -> None:
    process = STAGGERED.process(0.7)
    panel = process.draw(np.random.default_rng(2))
    assert (panel.n_units, panel.periods.size) == (40, 8)
    assert process.truth(Estimand("ATT", "mean_difference", "treated")) == 0.7
    for estimand in (
        Estimand("group_time_ATT", "mean_difference", "treated"),
        Estimand("ITT", "mean_difference", "participant_average"),
    ):
        with pytest.raises(DesignError, match="does not know the true"):
            process.truth(estimand)
    odd = RolloutDesign.before_after(9, 9, n_before=3, n_after=3, errors=AverageCovariances(1.0, -0.9, 0.0, 0.0))
    with pytest.raises(DesignError, match="negative eigenvalue"):
        odd.process(0.1)


def test_errors_of_drawn_panels_follow_each_other_as_planned() -> None:
    plan = RolloutDesign.before_after(2000, 2000, n_before=2, n_after=2, errors=FADING)
    panel = plan.process(0.0).draw(np.random.default_rng(20261124))
    y = panel.outcome.reshape(4000, 4)
    # A covariance of 4,000 normal pairs with variance 4 has a standard error of at most 4 sqrt(2 / 4000) = 0.09.
    np.testing.assert_allclose(np.cov(y.T), plan.errors.covariance(4, None), atol=5 * 0.09)


def test_an_event_study_is_planned_with_what_its_pre_test_will_see() -> None:
    study = RolloutDesign.before_after(30, 30, n_before=4, n_after=3, errors=Autoregressive(0.5)).event_study()
    assert study.event_times == (-4.0, -3.0, -2.0, 0.0, 1.0, 2.0)
    # A coefficient is a difference of differences of two periods.
    lag = np.array([3, 2, 1, 1, 2, 3])
    np.testing.assert_allclose(np.diag(study.covariance), 2.0 / 30.0 * 2.0 * (1.0 - 0.5**lag), rtol=1e-9)
    estimates = gbv.event_study_from(np.zeros(6), study.covariance, study.event_times)
    slope = gbv.pretrend_power(estimates, power=[0.8]).column("slope")[-1]
    found = gbv.pretrend_power(estimates, slope=slope, power=()).column("power")[-1]
    assert found == pytest.approx(0.8, abs=1e-4)
    with pytest.raises(DesignError, match="never treated"):
        PLANS["without never treated"][0].event_study()
    # Units that were treated all the time have no period before, and take nothing away.
    assert RolloutDesign(4, (None, 1, 3), 5, FADING).event_study().event_times == (-2.0, 0.0, 1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_periods": 1}, "n_periods must be a whole number"),
        ({"first_treated": [None, 3]}, "must be a tuple"),
        ({"first_treated": (None, 9, 6)}, "beyond the 8 periods"),
        ({"first_treated": (None, 0, 6)}, "A first treated period must be"),
        ({"first_treated": (None, 4, 4)}, "repeat"),
        ({"units_per_cohort": (3, 3)}, "has 2 numbers"),
        ({"units_per_cohort": 0}, "units_per_cohort must be"),
        ({"errors": 0.5}, "errors must be"),
        ({"errors": Autoregressive}, "errors must be"),
        ({"errors": AverageCovariances(1.0, 0.2, 0.2, 0.1)}, "start in one period"),
        ({"people_per_period": 10}, "belong together"),
        ({"people_sd": 1.0}, "belong together"),
        ({"reference": "z"}, "reference must be"),
        ({"first_treated": (None,), "units_per_cohort": 9}, "cannot be told"),
        ({"first_treated": (None, 1), "units_per_cohort": 9}, "cannot be told"),
        ({"first_treated": (None, 4), "units_per_cohort": 1}, "2 units leave nothing"),
    ],
)
def test_what_is_impossible_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DesignError, match=words):
        replace(STAGGERED, **change)


def test_errors_are_refused_by_name() -> None:
    for make, words in (
        (lambda: Autoregressive(1.0), "neighbouring periods must be"),
        (lambda: Autoregressive(0.5, sd=0.0), r"\(sd\) must be"),
        (lambda: Equicorrelated(-0.1), "two periods must be"),
        (lambda: AverageCovariances(1.0, 2.0, 0.0, 0.0), "mean covariance before"),
        (lambda: Independent(sd="x"), r"\(sd\) must be"),  # type: ignore[arg-type]
    ):
        with pytest.raises(DesignError, match=words):
            make()
    with pytest.raises(DesignError, match="without variance"):
        RolloutDesign.before_after(5, 5, n_before=1, n_after=2, errors=AverageCovariances(1.0, 0.0, 0.0, 0.9))


@pytest.mark.parametrize("errors", [Independent(), Autoregressive(0.0), Equicorrelated(0.0)])
def test_independence_over_periods_warns(errors: Any) -> None:
    with pytest.warns(gbv.GbvevalWarning, match="GBV201"):
        replace(STAGGERED, errors=errors)


def test_a_rollout_can_be_planned_against_a_margin() -> None:
    plan = gbv.NonInferiorityDesign(STAGGERED, margin=1.0)
    assert power(plan, effect=0.0) == pytest.approx(power(STAGGERED, effect=-1.0, alternative="less"), abs=1e-9)
