"""Variances of planned rollouts against regressions with a dummy for every unit and period, and closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference.power_longitudinal import clusters_in_waves

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.design.panel_errors import (
    Autoregressive,
    AverageCovariances,
    Equicorrelated,
    Independent,
    ResidualCovariance,
)
from gbveval.design.rollout import RolloutDesign, _shared
from gbveval.numerics.two_way_variance import event_covariance, fit_fading, two_way_variance

# Variances of an average over simulations are left by chance five times in ten million.
MCSE = 5.0


def by_dummies(columns: np.ndarray, units: tuple[int, ...], covariance: np.ndarray) -> np.ndarray:
    """Return the sandwich of least squares with a dummy for every unit and period, (cohorts, periods, k) columns."""
    X = np.repeat(columns, units, axis=0)
    n, periods, k = X.shape
    one_each = np.kron(np.eye(n), np.ones((periods, 1)))
    A = np.column_stack([X.reshape(n * periods, k), one_each, np.tile(np.eye(periods), (n, 1))])
    bread = np.linalg.pinv(A.T @ A, hermitian=True)
    meat = A.T @ np.kron(np.eye(n), covariance) @ A
    return (bread @ meat @ bread)[:k, :k]


@settings(deadline=None, max_examples=40)
@given(
    periods=st.integers(2, 7),
    units=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    rho=st.floats(-0.8, 0.95),
    never=st.booleans(),
    data=st.data(),
)
def test_the_variance_is_that_of_the_regression(
    periods: int, units: list[int], rho: float, never: bool, data: Any
) -> None:
    starts = data.draw(
        st.lists(st.integers(2, periods + 1), min_size=len(units), max_size=len(units), unique=True)
        if periods >= len(units)
        else st.just(list(range(2, len(units) + 2)))
    )
    treatment = np.array([np.arange(1, periods + 1) >= start for start in starts], dtype=float)
    if never:
        treatment[0] = 0.0
    covariance = Autoregressive(rho, sd=1.3).covariance(periods, None)
    found = two_way_variance(treatment, np.array(units, dtype=float), covariance)
    if math.isnan(found):
        left = treatment - treatment.mean(axis=1, keepdims=True)
        assert np.allclose(left, left[0])
        return
    # Two ways to the same least squares, of a condition below 1e4.
    assert found == pytest.approx(by_dummies(treatment[:, :, None], tuple(units), covariance)[0, 0], rel=1e-9)


@pytest.mark.parametrize("starts", [(math.nan, 3.0), (math.nan, 3.0, 5.0)])
def test_event_studies_have_the_covariance_of_the_regression(starts: tuple[float, ...]) -> None:
    periods, units = 6, (5, 3, 2)[: len(starts)]
    event = np.arange(1.0, periods + 1.0)[None, :] - np.array(starts)[:, None]
    times = np.unique(event[np.isfinite(event) & (event != -1.0)])
    covariance = Autoregressive(0.6).covariance(periods, None)
    found = event_covariance(event, times, np.array(units, dtype=float), covariance)
    expected = by_dummies((event[:, :, None] == times).astype(float), units, covariance)
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)
    assert event_covariance(event, np.append(times, -1.0), np.array(units, dtype=float), covariance) is None


@settings(deadline=None, max_examples=30)
@given(
    before=st.integers(1, 5),
    after=st.integers(1, 5),
    psi=st.tuples(st.floats(-0.5, 0.9), st.floats(-0.5, 0.9), st.floats(-0.5, 0.3)),
    n=st.tuples(st.integers(2, 30), st.integers(2, 30)),
)
def test_average_covariances_give_the_variance_of_burlig_preonas_and_woerman(
    before: int, after: int, psi: tuple[float, float, float], n: tuple[int, int]
) -> None:
    m, r = float(before), float(after)
    factor = (m + r) / (m * r) + (m - 1) / m * psi[0] + (r - 1) / r * psi[1] - 2.0 * psi[2]
    if factor < 1e-3 or not any(psi):
        return
    errors = AverageCovariances(1.0, *psi)
    plan = RolloutDesign.before_after(n[0], n[1], n_before=before, n_after=after, errors=errors)
    assert plan.planned_test(0.0).std_error ** 2 == pytest.approx((1 / n[0] + 1 / n[1]) * factor, rel=1e-9)


def test_levels_that_last_do_not_matter() -> None:
    for starts in ((None, 3), (2, 4, None), (2, 3)):
        alike = RolloutDesign(5, starts, 6, Equicorrelated(0.36, sd=2.0)).planned_test(0.0)
        with pytest.warns(gbv.GbvevalWarning, match="GBV201"):
            apart = RolloutDesign(5, starts, 6, Independent(sd=2.0 * 0.8)).planned_test(0.0)
        assert alike.std_error == pytest.approx(apart.std_error, rel=1e-12)


def test_independence_is_wrong_in_both_directions() -> None:
    # The numbers that the documentation gives.
    for before, after, rho, sizes, expected in ((3, 4, 0.6, (60, 40), 0.64), (1, 1, 0.5, (50, 50), 0.98)):
        options: dict[str, Any] = {"n_before": before, "n_after": after}
        plan = RolloutDesign.before_after(*sizes, **options, errors=Autoregressive(rho))
        with pytest.warns(gbv.GbvevalWarning, match="independent over periods"):
            naive = RolloutDesign.before_after(*sizes, **options, errors=Independent())
        believed = gbv.mde(naive)
        assert gbv.power(plan, effect=believed) == pytest.approx(expected, abs=0.005)
        told = dict(gbv.explain_power(plan, effect=believed).rows)
        assert told["power if errors of different periods were independent"] == "0.8000"
        assert any("both directions" in words for words in naive.planned_test(0.0).assumptions)


def test_clusters_by_waves_are_translated_to_the_plan_that_they_are() -> None:
    given_ = {"k": 12, "m": 30, "pre": 2, "post": 3, "cp_var": 0.03, "rho": 0.4, "ind_var": 0.9}
    inputs = {**given_, "alpha": 0.05, "power": 0.8, "alternative": "two.sided"}
    found = clusters_in_waves(None, {"inputs": inputs, "results": {}})  # type: ignore[arg-type]
    weights = np.array([-1 / 2, -1 / 2, 1 / 3, 1 / 3, 1 / 3])
    lag = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    V = 0.03 * 0.4**lag + 0.9 / 30 * np.eye(5)
    error = float(np.sqrt(2.0 / 12 * weights @ V @ weights))
    assert found["se"] == pytest.approx(error, rel=1e-12)
    # Central quantiles of t with 22 degrees of freedom: 2.07387 and 0.85827, within the allowance of the translation.
    assert found["mde"] == pytest.approx((2.07387 + 0.85827) * error, rel=found["_off"]["mde"][0])


def test_pilots_give_an_unbiased_variance_from_a_biased_matrix() -> None:
    truth = Autoregressive(0.6)
    root = np.linalg.cholesky(truth.covariance(6, None))
    plans = {n: RolloutDesign.before_after(20, 20, n_before=2, n_after=n - 2, errors=truth) for n in (4, 6)}
    rng = np.random.default_rng(20261124)
    pilots = []
    for _ in range(600):
        levels = 3.0 * rng.normal(size=(12, 1)) + np.linspace(0.0, 2.0, 6)
        pilots.append(ResidualCovariance.from_array(levels + rng.normal(size=(12, 6)) @ root.T))
    for n, plan in plans.items():
        found = np.array(
            [
                RolloutDesign.before_after(20, 20, n_before=2, n_after=n - 2, errors=pilot).planned_test(0.0).std_error
                for pilot in pilots
            ]
        )
        expected = plan.planned_test(0.0).std_error ** 2
        noise = np.std(found**2, ddof=1)
        assert abs(np.mean(found**2) - expected) < MCSE * noise / len(pilots) ** 0.5
        # What the documentation says about the noise: sqrt(2 / 11) of the variance, less where windows are averaged.
        # The spread of 600 of them is known to 3 % or so, as they are skewed: a sixth is allowed.
        assert noise / expected < 1.17 * np.sqrt(2.0 / 11.0)
        if n == 6:
            assert noise / expected == pytest.approx(np.sqrt(2.0 / 11.0), rel=1 / 6)
    diagonal = np.mean([np.diag(pilot.matrix) for pilot in pilots], axis=0)
    assert np.all(diagonal < 0.75)


@settings(deadline=None, max_examples=40)
@given(correlation=st.floats(-0.9, 0.97), periods=st.integers(3, 10), sd=st.floats(0.1, 10.0))
def test_an_autoregression_is_found_behind_what_unit_levels_take_out(
    correlation: float, periods: int, sd: float
) -> None:
    centre = np.eye(periods) - 1.0 / periods
    fitted = fit_fading(centre @ Autoregressive(correlation, sd).covariance(periods, None) @ centre)
    # The search stops at 1e-8 of the correlation, of which the variance knows 1 / (1 - correlation) times as much.
    assert fitted.correlation == pytest.approx(correlation, abs=1e-6)
    assert fitted.variance == pytest.approx(sd**2, rel=1e-4)


def test_a_pilot_gives_the_correlation_that_its_residuals_hide() -> None:
    root = np.linalg.cholesky(Autoregressive(0.6).covariance(5, None))
    rng = np.random.default_rng(20261124)
    y = 3.0 * rng.normal(size=(4000, 1)) + rng.normal(size=(4000, 5)) @ root.T
    residuals = np.asarray(ResidualCovariance.from_array(y).matrix)
    assert residuals[1, 2] / residuals[1, 1] < 0.2
    # With three differences a unit the correlation has a standard error of about 1.5 / sqrt(3 x 4000) = 0.014.
    assert Autoregressive.from_array(y).correlation == pytest.approx(0.6, abs=5 * 0.014)
    with pytest.raises(DesignError, match="at least three periods"):
        Autoregressive.from_array(y[:, :2])
    with pytest.raises(DesignError, match=r"\(sd\) must be"):
        Autoregressive.from_array(np.ones((5, 4)))


def test_pilots_come_from_panels_before_treatment() -> None:
    y = np.random.default_rng(3).normal(size=(5, 4))
    frame = {
        "y": y.ravel(),
        "unit": np.repeat(np.arange(5), 4),
        "time": np.tile([1, 2, 3, 4], 5),
        "cohort": np.repeat([np.nan, np.nan, 9.0, 9.0, 9.0], 4),
    }
    roles: dict[str, Any] = {"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort"}
    pilot = ResidualCovariance.from_panel(gbv.Panel(frame, **roles))
    assert pilot == ResidualCovariance.from_array(y)
    assert pilot.n_units == 5
    assert Autoregressive.from_panel(gbv.Panel(frame, **roles)) == Autoregressive.from_array(y)
    late = {**frame, "cohort": np.repeat([np.nan, np.nan, 4.0, 4.0, 9.0], 4)}
    with pytest.raises(DesignError, match="2 rows of the pilot are under treatment"):
        ResidualCovariance.from_panel(gbv.Panel(late, **roles))
    short = {name: column[1:] for name, column in frame.items()}
    with pytest.raises(DesignError, match="every unit in every period"):
        ResidualCovariance.from_panel(gbv.Panel(short, **roles))
    with pytest.raises(DesignError, match="Give a Panel"):
        ResidualCovariance.from_panel(y)  # type: ignore[arg-type]
    for wrong in (y[:2], y[:, :1], np.where(y > 1.0, np.nan, y)):
        with pytest.raises(DesignError, match="A pilot needs"):
            ResidualCovariance.from_array(wrong)
    with pytest.raises(DesignError, match="cannot be put back"):
        RolloutDesign(5, (None, 3), 10, pilot)
    with pytest.raises(DesignError, match="no covariance"):
        ResidualCovariance(((1.0, 2.0), (2.0, 1.0)), 10)
    with pytest.raises(DesignError, match="must be square"):
        ResidualCovariance(((1.0, 2.0),), 10)


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5), total=st.integers(5, 500))
def test_units_are_shared_over_cohorts_in_their_proportions(sizes: list[int], total: int) -> None:
    found = _shared(tuple(sizes), total)
    assert sum(found) == total
    exact = np.array(sizes) * total / sum(sizes)
    # Cohorts of less than one unit have one, at most a unit for each of the other cohorts is taken for it.
    assert np.all(np.abs(np.array(found) - exact) < 1.0 + np.sum(exact < 1.0))
    assert _shared(tuple(sizes), sum(sizes)) == tuple(sizes)
