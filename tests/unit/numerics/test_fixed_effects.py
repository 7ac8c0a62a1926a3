"""Fixed effects by sweeping against the same regression with an indicator of everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from gbveval.numerics.fixed_effects import Groups, centre_by_group, fixed_effects_fit, indicators
from gbveval.numerics.linear_inference import linear_inference

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


def draw(seed: int, *, units: int = 14, periods: int = 5, gaps: float = 0.2, weighted: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    unit, time = np.repeat(np.arange(units), periods), np.tile(np.arange(periods), units)
    kept = rng.random(unit.size) > gaps
    unit, time = unit[kept], time[kept]
    x = rng.normal(size=(unit.size, 2)) + 0.3 * time[:, None]
    y = rng.normal(size=units)[unit] + 0.5 * time + x @ [1.0, -0.5] + rng.normal(size=unit.size)
    return {
        "y": y,
        "x": x,
        "unit": Groups(unit, units),
        "time": Groups(time, periods),
        "region": Groups(unit // 2, (units + 1) // 2),
        "weights": rng.uniform(0.5, 3.0, unit.size) if weighted else None,
    }


def dense(data: dict[str, Any]) -> FloatArray:
    """Return regressors, then an indicator of every unit and of every period but the first."""
    units = (data["unit"].codes[:, None] == np.unique(data["unit"].codes)[None, :]).astype(float)
    return np.column_stack([data["x"], units, indicators(data["time"])])


def fit(data: dict[str, Any], std_error: str, *clusters: Groups) -> Any:
    return fixed_effects_fit(
        data["y"],
        data["x"],
        absorb=data["unit"],
        effects=(data["time"],),
        weights=data["weights"],
        std_error=std_error,
        clusters=clusters,
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), weighted=st.booleans(), gaps=st.sampled_from([0.0, 0.2, 0.5]))
def test_coefficients_and_clustered_errors_are_those_of_all_indicators(seed: int, weighted: bool, gaps: float) -> None:
    data = draw(seed, weighted=weighted, gaps=gaps)
    weights = np.ones(data["y"].size) if data["weights"] is None else data["weights"]
    found = fit(data, "CR1S", data["region"])
    model = sm.WLS(data["y"], dense(data), weights=weights).fit()
    np.testing.assert_allclose(found.beta, model.params[:2], rtol=1e-9)
    plain = model.get_robustcov_results("cluster", groups=data["region"].codes, use_correction=False)
    n, g = data["y"].size, data["region"].present
    # Units are nested in regions, so K counts two slopes, periods minus one, and one.
    factor = g / (g - 1) * (n - 1) / (n - (2 + data["time"].present - 1 + 1))
    np.testing.assert_allclose(np.diag(found.covariance), factor * plain.bse[:2] ** 2, rtol=1e-8)
    np.testing.assert_allclose(found.influence.T @ found.influence, found.covariance, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
def test_classical_and_hc1_count_every_effect(weighted: bool) -> None:
    data = draw(3, weighted=weighted)
    weights = np.ones(data["y"].size) if data["weights"] is None else data["weights"]
    model = sm.WLS(data["y"], dense(data), weights=weights).fit()
    np.testing.assert_allclose(np.sqrt(np.diag(fit(data, "classical").covariance)), model.bse[:2], rtol=1e-9)
    robust = model.get_robustcov_results("HC1")
    np.testing.assert_allclose(np.sqrt(np.diag(fit(data, "HC1").covariance)), robust.bse[:2], rtol=1e-9)


@pytest.mark.parametrize(("kind", "weighted"), [("CR2", False), ("CR3", False), ("CR3", True)])
def test_few_cluster_corrections_survive_sweeping(kind: str, weighted: bool) -> None:
    data = draw(5, weighted=weighted, gaps=0.1)
    found = fit(data, kind, data["region"])
    every = linear_inference(
        dense(data),
        data["y"],
        std_error=kind,
        df="satterthwaite",
        intercept=False,
        weights=data["weights"],
        cluster=data["region"].codes,
        n_clusters=data["region"].count,
    )
    np.testing.assert_allclose(np.diag(found.covariance), np.diag(every.covariance)[:2], rtol=1e-8)
    if kind == "CR2":
        np.testing.assert_allclose(found.df, every.df[:2], rtol=1e-6)


def test_two_ways_are_two_sums_less_the_intersection() -> None:
    data = draw(8, units=30, gaps=0.0)
    found = fit(data, "CR1", data["region"], data["time"])
    model = sm.OLS(data["y"], dense(data)).fit()
    parts = [
        model.get_robustcov_results("cluster", groups=groups, use_correction=False).cov_params()[:2, :2]
        for groups in (data["region"].codes, data["time"].codes, data["region"].crossed(data["time"]).codes)
    ]
    g = data["time"].present
    np.testing.assert_allclose(found.covariance, g / (g - 1) * (parts[0] + parts[1] - parts[2]), rtol=1e-8)
    assert found.n_clusters == g
    assert found.influence is None


def test_what_the_effects_explain_is_dropped_and_said() -> None:
    data = draw(1)
    constant = np.random.default_rng(0).normal(size=14)[data["unit"].codes]
    trend = 0.1 * data["time"].codes
    data["x"] = np.column_stack([constant, data["x"][:, 0], constant + trend, data["x"][:, 0] + trend])
    found = fit(data, "CR1", data["unit"])
    assert found.kept.tolist() == [1]
    assert found.dropped.tolist() == [0, 2, 3]


@given(shift=st.floats(-1e6, 1e6), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_a_constant_of_a_group_leaves_nothing(shift: float, seed: int) -> None:
    data = draw(seed)
    column = shift + np.arange(14.0)[data["unit"].codes]
    assert not centre_by_group(column[:, None], data["unit"], data["weights"]).any()
