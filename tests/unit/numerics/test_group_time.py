"""Group-time effects of panels: closed forms, conventions, invariances; the aggregation's tests hold the reference."""

from __future__ import annotations

import numpy as np
import pytest

from gbveval.numerics.group_time import group_time_panel, last_cohort_as_control

PERIODS = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


def sample(seed: int = 0, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cohort = rng.permutation(np.resize([3.0, 4.0, 6.0, np.inf], n))
    return rng.normal(size=(n, 6)).cumsum(axis=1), cohort


def test_two_by_two_is_the_difference_of_changes_with_the_two_sample_variance() -> None:
    """Closed form: var = sum of squares / n^2 in each group, which is what is left without a small-sample factor."""
    Y, _ = sample()
    cohort = np.where(np.arange(40) < 15, 2.0, np.inf)
    fit = group_time_panel(Y[:, :2], cohort, periods=[1.0, 2.0])
    change = Y[:, 1] - Y[:, 0]
    a, b = change[:15], change[15:]
    assert fit.att == pytest.approx([a.mean() - b.mean()])
    assert fit.std_errors() == pytest.approx([np.sqrt(a.var() / 15 + b.var() / 25)])
    assert (fit.n_treated.tolist(), fit.n_control.tolist(), fit.n_units) == ([15], [25], 40)


def test_weights_equal_copies_of_units() -> None:
    Y, cohort = sample()
    copies = np.resize([1, 2, 3], 40)
    weighted = group_time_panel(Y, cohort, periods=PERIODS, weights=copies.astype(float), control_group="not_yet")
    many, their_cohort = np.repeat(Y, copies, axis=0), np.repeat(cohort, copies)
    repeated = group_time_panel(many, their_cohort, periods=PERIODS, control_group="not_yet")
    np.testing.assert_allclose(weighted.att, repeated.att, atol=1e-12)
    # Copies of a unit are one cluster of the repeated data.
    np.testing.assert_allclose(weighted.covariance(), repeated.covariance(np.repeat(np.arange(40), copies)), atol=1e-13)


def test_base_periods_and_controls_follow_the_conventions() -> None:
    Y, cohort = sample()
    fit = group_time_panel(Y, cohort, periods=PERIODS, base_period="varying", anticipation=1, control_group="not_yet")
    base = dict(zip(zip(fit.group, fit.time, strict=True), fit.base, strict=True))
    assert [base[4.0, t] for t in PERIODS[1:]] == [1.0, 2.0, 2.0, 2.0, 2.0]
    controls = dict(zip(zip(fit.group, fit.time, strict=True), fit.n_control, strict=True))
    # In period 4 with one period of anticipation only cohort 6 and the never treated are untouched; in 5 the latter.
    assert (controls[3.0, 4.0], controls[3.0, 5.0]) == (20, 10)
    assert not fit.post[(fit.group == 4.0) & (fit.time == 3.0)].any()
    universal = group_time_panel(Y, cohort, periods=PERIODS, base_period="universal", anticipation=1)
    own = universal.time == universal.base
    assert universal.time[own].tolist() == [1.0, 2.0, 4.0]
    assert (universal.att[own] == 0.0).all()
    assert np.isnan(universal.std_errors()[own]).all()
    assert {universal.reason[i] for i in np.flatnonzero(own)} == {"base period"}
    assert len(universal.att) == 18


def test_universal_pre_period_controls_are_untreated_in_the_base_too() -> None:
    """Cohort 6 against period 2: its base is period 5, in which cohorts 3 and 4 are already treated."""
    Y, cohort = sample()
    fit = group_time_panel(Y, cohort, periods=PERIODS, base_period="universal", control_group="not_yet")
    cell = (fit.group == 6.0) & (fit.time == 2.0)
    change = Y[:, 1] - Y[:, 4]
    assert fit.att[cell] == pytest.approx([change[cohort == 6].mean() - change[np.isinf(cohort)].mean()])


def test_already_treated_units_are_dropped_and_counted() -> None:
    Y, cohort = sample()
    early = np.concatenate([cohort, [1.0, 0.5, 2.0]])
    with_early = group_time_panel(np.vstack([Y, Y[:3]]), early, periods=PERIODS, anticipation=1)
    without = group_time_panel(Y, cohort, periods=PERIODS, anticipation=1)
    assert (with_early.n_already_treated, with_early.n_units) == (3, 40)
    np.testing.assert_array_equal(with_early.att, without.att)
    np.testing.assert_array_equal(with_early.influence[:40], without.influence)
    assert not with_early.influence[40:].any()
    cluster = np.resize([1, 2, 3, 4, 5], 43)
    np.testing.assert_allclose(with_early.covariance(cluster), without.covariance(cluster[:40]), atol=1e-15)


def test_cohorts_after_the_last_period_are_never_treated_unless_they_anticipate() -> None:
    Y, cohort = sample()
    late = np.where(np.isinf(cohort), 7.0, cohort)
    plain = group_time_panel(Y, late, periods=PERIODS)
    np.testing.assert_array_equal(plain.att, group_time_panel(Y, cohort, periods=PERIODS).att)
    half = np.where(np.isinf(cohort) & (np.arange(40) % 2 == 0), 7.0, cohort)
    anticipating = group_time_panel(Y, half, periods=PERIODS, anticipation=1, control_group="not_yet")
    assert 7.0 in anticipating.group
    assert not anticipating.post[anticipating.group == 7.0].any()


def test_without_never_treated_units() -> None:
    Y, cohort = sample()
    all_treated = np.where(np.isinf(cohort), 6.0, cohort)
    with pytest.raises(ValueError, match="No unit is never treated"):
        group_time_panel(Y, all_treated, periods=PERIODS)
    fit = group_time_panel(Y, all_treated, periods=PERIODS, control_group="not_yet")
    assert (fit.last_cohort, fit.periods.tolist()) == (6.0, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert set(fit.group) == {3.0, 4.0}
    recoded, kept = last_cohort_as_control(all_treated, PERIODS)
    same = group_time_panel(Y[:, :5], recoded, periods=kept, control_group="not_yet")
    np.testing.assert_array_equal(fit.att, same.att)
    anticipating = group_time_panel(Y, all_treated, periods=PERIODS, control_group="not_yet", anticipation=1)
    assert anticipating.periods.tolist() == [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(ValueError, match="no last cohort"):
        last_cohort_as_control([np.inf], PERIODS)


def test_single_unit_cohort_keeps_only_the_controls_variance() -> None:
    Y, _ = sample()
    one = np.where(np.arange(40) == 0, 3.0, np.inf)
    fit = group_time_panel(Y, one, periods=PERIODS)
    change = (Y[:, 2] - Y[:, 1])[1:]
    assert fit.std_errors()[fit.time == 3.0] == pytest.approx([np.sqrt(change.var() / 39)])
    assert not fit.influence[0].any()
    pair = group_time_panel(Y[:2] + 1e6, [3.0, np.inf], periods=PERIODS)
    assert np.isnan(pair.std_errors()).all()


def test_levels_and_unit_effects_do_not_matter() -> None:
    Y, cohort = sample()
    level = np.random.default_rng(3).normal(size=(40, 1)) * 1e5
    plain = group_time_panel(Y, cohort, periods=PERIODS)
    moved = group_time_panel(Y + level, cohort, periods=PERIODS)
    # Adding 1e5 rounds the outcomes themselves at 1e-11; nothing is lost beyond that.
    np.testing.assert_allclose(moved.att, plain.att, atol=1e-10)
    np.testing.assert_allclose(moved.std_errors(), plain.std_errors(), rtol=1e-9)


def test_covariance_equals_that_of_the_influence_matrix() -> None:
    Y, cohort = sample()
    fit = group_time_panel(Y, cohort, periods=PERIODS, control_group="not_yet", weights=np.linspace(1, 2, 40))
    cluster = np.array(["b", "a", "c", "d", "e", "f"])[np.random.default_rng(1).integers(0, 6, 40)]
    np.testing.assert_allclose(fit.covariance(), fit.influence.T @ fit.influence, atol=1e-15)
    sums = np.array([fit.influence[cluster == c].sum(axis=0) for c in np.unique(cluster)])
    np.testing.assert_allclose(fit.linear.cluster_sums(cluster), sums, atol=1e-14)
    np.testing.assert_allclose(fit.covariance(cluster), sums.T @ sums, atol=1e-15)
    np.testing.assert_allclose(fit.influence.sum(axis=0), 0.0, atol=1e-13)
    with pytest.raises(ValueError, match="one label for each"):
        fit.covariance(cluster[:5])


def test_standard_errors_have_the_spread_of_the_estimates() -> None:
    """In 1,500 samples of 90 units the average variance is that of the estimates, within four Monte Carlo errors."""
    rng = np.random.default_rng(11)
    cohort = np.resize([3.0, 5.0, np.inf], 90)
    estimates, variances = [], []
    for _ in range(1500):
        fit = group_time_panel(rng.normal(size=(90, 6)), cohort, periods=PERIODS, control_group="not_yet")
        estimates.append(fit.att)
        variances.append(np.diag(fit.covariance()))
    ratio = np.mean(variances, axis=0) / np.var(estimates, axis=0)
    # Without a small-sample factor the variance is low by 1/30; the variance of 1,500 values has error 3.7 %.
    assert np.all(np.abs(ratio - 29.0 / 30.0) < 4 * np.sqrt(2 / 1500))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"periods": [1.0, 2.0]}, "expected"),
        ({"periods": PERIODS[::-1]}, "ascending"),
        ({"control_group": "nevertreated"}, "control_group"),
        ({"base_period": "long"}, "base_period"),
        ({"anticipation": -1}, "anticipation"),
        ({"weights": np.zeros(40)}, "40 weights"),
        ({"weights": np.ones(3)}, "weights has shape"),
        ({"anticipation": 9}, "No cohort is first treated"),
        ({"cohort": np.full(40, np.nan)}, "missing for 40"),
        ({"cohort": np.full(40, np.inf)}, "No cohort"),
        ({"cohort": np.full(40, 2.0), "control_group": "not_yet"}, "at least two"),
        ({"Y": np.full((40, 6), np.nan)}, "40 units"),
    ],
)
def test_refusals_say_what_is_wrong(change: dict[str, object], message: str) -> None:
    Y, cohort = sample()
    given: dict[str, object] = {"Y": Y, "cohort": cohort, "periods": PERIODS, **change}
    with pytest.raises(ValueError, match=message):
        group_time_panel(given.pop("Y"), given.pop("cohort"), **given)  # type: ignore[arg-type]
