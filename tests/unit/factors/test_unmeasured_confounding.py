"""E-values and robustness values: by the bias they promise, and by regressions with the confounder really in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.numerics.unmeasured_confounding import difference_at_bias, e_value, robustness, with_confounder


@given(st.floats(min_value=0.05, max_value=30.0), st.floats(min_value=0.2, max_value=5.0))
def test_the_e_value_is_the_strength_whose_bias_factor_closes_the_gap(ratio: float, null: float) -> None:
    strength = float(e_value(ratio, null))
    gap = max(ratio / null, null / ratio)
    assert strength**2 / (2 * strength - 1) == pytest.approx(gap, rel=1e-9)


def test_no_confounder_of_less_strength_explains_it_away() -> None:
    # All binary confounders on a grid: p(U | exposed), p(U | unexposed) and the ratio of risks, below the E-value.
    observed = 2.0
    strength = float(e_value(observed))
    worst = 1.0
    for p1 in np.linspace(0.0, 1.0, 101):
        for p0 in np.linspace(0.001, 1.0, 101):
            if max(p1 / p0, (1 - p1) / max(1 - p0, 1e-12)) <= strength * (1 - 1e-9):
                ratio = strength
                worst = max(worst, (p1 * ratio + 1 - p1) / (p0 * ratio + 1 - p0))
    assert 0.9 * observed < worst < observed


def test_the_limit_beyond_the_null_needs_no_confounder_and_the_far_one_has_none() -> None:
    assert gbv.e_value(1.2, 0.9, 1.6).column("e_value")[1:] == (1.0, None)
    assert gbv.e_value(0.7, 0.5, 1.1).column("e_value")[1:] == (None, 1.0)
    assert gbv.e_value(1.0).column("e_value") == (1.0, None, None)


def test_a_protective_ratio_mirrors_its_inverse() -> None:
    one, other = gbv.e_value(0.5, 0.25, 0.8), gbv.e_value(2.0, 1.25, 4.0)
    assert one.column("e_value")[0] == pytest.approx(other.column("e_value")[0])
    assert one.column("e_value")[2] == pytest.approx(other.column("e_value")[1])


def test_risk_differences_reach_the_null_at_the_bias_factor() -> None:
    exposed, unexposed = (60, 200), (30, 300)
    table = gbv.e_value_of_risks(exposed, unexposed, null=0.05)
    for row, name in zip(table.rows, ("estimate", "conf_low"), strict=True):
        assert getattr(difference_at_bias(exposed, unexposed, row[2]), name) == pytest.approx(0.05, abs=1e-9)
    assert gbv.e_value_of_risks((11, 50), (10, 50)).column("e_value")[1] == 1.0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"estimate": -0.5}, "above zero"),
        ({"estimate": 2.0, "conf_low": 3.0}, "outside"),
        ({"estimate": 2.0, "measure": "odds_ratio"}, "outcome_is_rare"),
        ({"estimate": 2.0, "measure": "mean_difference"}, "e_value_of_means"),
    ],
)
def test_e_values_refuse_what_is_no_ratio(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(gbv.GbvevalError, match=match):
        gbv.e_value(**arguments)  # type: ignore[arg-type]


def _regression(y: np.ndarray, *columns: np.ndarray) -> tuple[float, float, float]:
    x = np.column_stack([*columns, np.ones(y.size)])
    beta, *_ = np.linalg.lstsq(x, y, rcond=None)
    residual = y - x @ beta
    df = y.size - x.shape[1]
    return float(beta[0]), math.sqrt(residual @ residual / df * np.linalg.inv(x.T @ x)[0, 0]), float(df)


def _left(y: np.ndarray, *columns: np.ndarray) -> float:
    x = np.column_stack([*columns, np.ones(y.size)])
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(residual @ residual)


@settings(max_examples=30, deadline=None)
@given(st.integers(min_value=0, max_value=10_000))
def test_bias_formulas_are_exact_algebra(seed: int) -> None:
    # A confounder that is really there: its own partial R^2 give the coefficient and error of the long regression.
    rng = np.random.default_rng(seed)
    z, x = rng.normal(size=(2, 60))
    d = 0.7 * z + 0.4 * x + rng.normal(size=60)
    y = 1.5 * d + z + x + rng.normal(size=60)
    short, error, df = _regression(y, d, x)
    long, long_error, _ = _regression(y, d, z, x)
    r2d = 1.0 - _left(d, z, x) / _left(d, x)
    r2y = 1.0 - _left(y, d, z, x) / _left(y, d, x)
    found = with_confounder(short, error, df, r2_exposure=r2d, r2_outcome=r2y, reduce=abs(long) < abs(short))
    assert found.std_error == pytest.approx(long_error, rel=1e-8)
    if np.sign(long) == np.sign(short):
        assert found.estimate == pytest.approx(long, rel=1e-8, abs=1e-10)


def test_the_robustness_value_turns_estimate_and_test() -> None:
    estimate, error, df = 1.0, 0.25, 100.0
    for alpha in (None, 0.05):
        value = robustness(estimate / error, df, alpha=alpha)
        found = with_confounder(estimate, error, df, r2_exposure=value, r2_outcome=value)
        if alpha is None:
            assert found.estimate == pytest.approx(0.0, abs=1e-12)
        else:
            assert found.conf_low == pytest.approx(0.0, abs=1e-12)
    assert robustness(0.5, 100.0, alpha=0.05) == 0.0


def _survey(**more: object) -> tuple[dict[str, object], gbv.Survey]:
    rng = np.random.default_rng(4)
    age = rng.normal(size=300)
    exposed = (age + rng.normal(size=300) > 0).astype(float)
    frame: dict[str, object] = {"y": exposed + age + rng.normal(size=300), "x": exposed, "age": age}
    frame["place"] = rng.choice(["a", "b", "c"], size=300).tolist()
    return frame, gbv.Survey({**frame, **more}, outcome="y")


def test_a_benchmark_of_several_columns_counts_them_together() -> None:
    frame, survey = _survey()
    table = gbv.omitted_confounding(survey, "x", adjust_for=["age", "place"], benchmark="place", kd=[1.0])
    dummies = [(np.array(frame["place"]) == level).astype(float) for level in ("b", "c")]
    x, age, y = (np.asarray(frame[name], dtype=float) for name in ("x", "age", "y"))
    r2d = 1.0 - _left(x, age, *dummies) / _left(x, age)
    assert table.column("r2_exposure")[1] == pytest.approx(r2d / (1.0 - r2d), rel=1e-9)
    estimate, error, df = _regression(y, x, age, *dummies)
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert (first["estimate"], first["std_error"], first["df"]) == pytest.approx((estimate, error, df))


def test_omitted_confounding_refuses_designs_and_impossible_benchmarks() -> None:
    frame, survey = _survey()
    weighted = gbv.Survey({**frame, "w": np.ones(300)}, outcome="y", weight="w")
    with pytest.raises(gbv.DesignError, match="no weights"):
        gbv.omitted_confounding(weighted, "x", adjust_for=["age"], benchmark="age")
    with pytest.raises(gbv.DesignError, match="not among"):
        gbv.omitted_confounding(survey, "x", adjust_for=["age"], benchmark="place")
    with pytest.raises(gbv.DesignError, match="times as strong"):
        gbv.omitted_confounding(survey, "x", adjust_for=["age"], benchmark="age", kd=[50.0])
    _, twice = _survey(copy=np.asarray(frame["x"]) * 2.0)
    with pytest.raises(gbv.IdentificationError, match="combination"):
        gbv.omitted_confounding(twice, "x", adjust_for=["copy"], benchmark="copy")
    with pytest.raises(gbv.DesignError, match="text"):
        gbv.omitted_confounding(survey, "place", adjust_for=["age"], benchmark="age")
